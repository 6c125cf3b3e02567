package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

// handshakeTimeout bounds the handshake of a connection. RabbitMQ takes 3 seconds
// to refuse a wrong password, on purpose.
const handshakeTimeout = 5 * time.Second

// dial connects to the broker, and ends the connection with ctx. Unlike that of the
// services, the connection survives a message whose headers the library refuses to
// read: without that, dlq would not get past it.
func dial(ctx context.Context, cfg config) (*amqp.Connection, error) {
	plain, secure, err := splitTLS(cfg.url, cfg.tls)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	connection, err := amqp.DialConfig(plain, amqp.Config{
		Locale: "en_US",
		Dial: func(network, address string) (net.Conn, error) {
			dialCtx, cancel := context.WithTimeout(ctx, bus.BrokerTimeout)
			defer cancel()
			conn, err := (&net.Dialer{}).DialContext(dialCtx, network, address)
			if err != nil {
				return nil, err
			}
			raw := conn
			forget := context.AfterFunc(ctx, func() { raw.Close() })
			if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil { // the library clears it afterwards
				return nil, err
			}
			if secure != nil {
				secured := tls.Client(raw, secure)
				if err := secured.Handshake(); err != nil {
					raw.Close()
					return nil, err
				}
				conn = secured
			}
			return &tolerantConn{Conn: conn, frames: bufio.NewReader(conn), forget: forget}, nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return connection, nil
}

// splitTLS returns the URL as one for plain text, and how to secure the connection,
// which the library would do before tolerantConn can read anything.
func splitTLS(rawURL string, files tlsconfig.Files) (plain string, secure *tls.Config, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", nil, errors.New("RABBITMQ_URL is not a URL")
	}
	if u.Scheme != "amqps" {
		return rawURL, nil, nil
	}
	if query := u.Query(); files == (tlsconfig.Files{}) { // the library's own parameters
		files = tlsconfig.Files{Cert: query.Get("certfile"), Key: query.Get("keyfile"), CA: query.Get("cacertfile")}
	}
	if secure, err = files.Client(); err != nil {
		return "", nil, err
	}
	if secure.ServerName = u.Query().Get("server_name_indication"); secure.ServerName == "" {
		secure.ServerName = u.Hostname()
	}
	if u.Scheme = "amqp"; u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "5671")
	}
	return u.String(), secure, nil
}

// tolerantConn is a connection whose frames are readable: from the header of a
// message it removes headers that the library refuses, which would end the connection.
type tolerantConn struct {
	net.Conn
	frames *bufio.Reader
	rest   []byte // of the frame that is being read
	forget func() bool
}

// Close implements net.Conn.
func (c *tolerantConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// Read implements net.Conn.
func (c *tolerantConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		frame, err := readFrame(c.frames)
		if err != nil {
			return 0, err
		}
		c.rest = frame
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

const (
	frameOverhead = 8       // type, channel and size before the payload, and an octet behind it
	maxFrame      = 1 << 20 // more than what any broker sends: the library asks for 128 KiB
	headerFrame   = 2       // properties of a message
)

// readFrame reads a frame, https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf 4.2.3.
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, frameOverhead-1)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(frame[3:])
	if size > maxFrame {
		return nil, errors.New("the broker sent a frame that is too large")
	}
	frame = append(frame, make([]byte, size+1)...)
	if _, err := io.ReadFull(r, frame[frameOverhead-1:]); err != nil {
		return nil, err
	}
	if frame[0] == headerFrame {
		frame = withReadableHeaders(frame)
	}
	return frame, nil
}

// unreadableHeaders replaces headers that cannot be read: a table of one text.
const unreadableHeaders = "\x00\x00\x00\x2d" + "\x07x-error" + "S\x00\x00\x00\x20" + "its headers were not readable..."

// withReadableHeaders returns the frame of a message's properties, with other
// headers when the library would refuse them.
func withReadableHeaders(frame []byte) []byte {
	const beforeProperties = 14 // class, weight, size of the body, flags
	const hasType, hasEncoding, hasHeaders = 0x8000, 0x4000, 0x2000
	payload := frame[frameOverhead-1 : len(frame)-1]
	if len(payload) < beforeProperties {
		return frame
	}
	flags := binary.BigEndian.Uint16(payload[beforeProperties-2:])
	if flags&hasHeaders == 0 {
		return frame
	}
	at := beforeProperties
	for _, flag := range []uint16{hasType, hasEncoding} { // short strings that come before
		if flags&flag != 0 && at < len(payload) {
			at += 1 + int(payload[at])
		}
	}
	if at+4 > len(payload) {
		return frame
	}
	end := at + 4 + int(binary.BigEndian.Uint32(payload[at:]))
	if end > len(payload) || isReadable(payload[at+4:end]) {
		return frame
	}
	changed := append([]byte{}, frame[:frameOverhead-1+at]...)
	changed = append(changed, unreadableHeaders...)
	changed = append(changed, payload[end:]...)
	binary.BigEndian.PutUint32(changed[3:], uint32(len(changed)-(frameOverhead-1)))
	return append(changed, frame[len(frame)-1])
}

// isReadable reports whether the library reads a table with these contents.
func isReadable(table []byte) bool {
	rest, ok := skip(table, 0, true)
	return ok && len(rest) == 0
}

// skip reads the entries of a table, or of an array, to their end.
func skip(entries []byte, depth int, named bool) (rest []byte, ok bool) {
	const maxDepth, maxEntries = 32, 8192 // of the library
	for n := 0; len(entries) > 0; n++ {
		if n >= maxEntries || depth > maxDepth {
			return entries, false
		}
		if named {
			if length := 1 + int(entries[0]); length < len(entries) {
				entries = entries[length:]
			} else {
				return entries, false
			}
		}
		kind := entries[0]
		entries = entries[1:]
		size, ok := map[byte]int{'t': 1, 'B': 1, 'b': 1, 's': 2, 'u': 2, 'I': 4, 'i': 4, 'f': 4, 'l': 8, 'd': 8, 'T': 8, 'D': 5, 'V': 0}[kind]
		if !ok { // with its size before it
			if len(entries) < 4 {
				return entries, false
			}
			size = int(binary.BigEndian.Uint32(entries))
			entries = entries[4:]
		}
		if size > len(entries) {
			return entries, false
		}
		switch kind {
		case 'A', 'F':
			if rest, ok := skip(entries[:size], depth+1, kind == 'F'); !ok || len(rest) > 0 {
				return entries, false
			}
		case 'S', 'x':
		default:
			if !ok {
				return entries, false
			}
		}
		entries = entries[size:]
	}
	return entries, true
}
