package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
)

// Here is as much of SQL Server's protocol, TDS 7.4, as the fake server needs:
// https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/

// Kinds of request.
const (
	tdsBatch       = 1
	tdsRPC         = 3
	tdsTransaction = 14
	tdsLogin       = 16
	tdsPrelogin    = 18
)

// Kinds of tdsTransaction, and of the notice that it has been done.
const (
	tdsBegin, tdsBegun         = 5, 8
	tdsCommit, tdsCommitted    = 7, 9
	tdsRollback, tdsRolledBack = 8, 10
)

// Types of a value.
const (
	tdsInt   = 0x26
	tdsBit   = 0x68
	tdsText  = 0xE7 // UTF-16
	tdsBytes = 0xA5
)

// tdsRequest is one request of a client.
type tdsRequest struct {
	kind byte
	body []byte
}

// readTDS reads the packets of one request.
func readTDS(from io.Reader) (tdsRequest, error) {
	var r tdsRequest
	for {
		var header [8]byte // kind, status, length (2), …
		if _, err := io.ReadFull(from, header[:]); err != nil {
			return r, err
		}
		packet := make([]byte, max(8, binary.BigEndian.Uint16(header[2:]))-8)
		if _, err := io.ReadFull(from, packet); err != nil {
			return r, err
		}
		r.kind, r.body = header[0], append(r.body, packet...)
		if header[1]&1 != 0 { // the last packet of the request
			return r, nil
		}
	}
}

// content is what follows the headers of a batch, a call or a tdsTransaction.
func (r tdsRequest) content() *tdsReader {
	reader := &tdsReader{rest: r.body}
	reader.take(max(4, int(reader.number(4))) - 4)
	return reader
}

// statement is the SQL of a batch or of a call of sp_executesql, and its arguments.
func (r tdsRequest) statement() (text string, args map[string]any, err error) {
	in := r.content()
	if r.kind == tdsBatch {
		return utf16Text(in.rest), nil, nil
	}
	if in.number(2) != 0xFFFF || in.number(2) != 10 {
		return "", nil, errors.New("a procedure that is not sp_executesql")
	}
	in.take(2) // options
	_, statement := in.argument()
	text, _ = statement.(string)
	in.argument() // the declaration of the others
	args = map[string]any{}
	for len(in.rest) > 0 {
		name, value := in.argument()
		args[name] = value
	}
	if in.failed {
		return "", nil, errors.New("an argument that cannot be read")
	}
	return text, args, nil
}

// tdsReader reads a request's body. What is not there is zero, and notes it.
type tdsReader struct {
	rest   []byte
	failed bool
}

func (r *tdsReader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.rest, r.failed = nil, true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// number reads a little-endian number of n bytes.
func (r *tdsReader) number(n int) uint64 {
	var all [8]byte
	copy(all[:], r.take(n))
	return binary.LittleEndian.Uint64(all[:])
}

// argument reads a named argument of a call: an int64, a string or a []byte.
func (r *tdsReader) argument() (name string, value any) {
	name = utf16Text(r.take(2 * int(r.number(1))))
	r.take(1) // status
	switch kind := r.number(1); kind {
	case tdsInt, tdsBit:
		r.take(1) // size
		return name, int64(r.number(int(r.number(1))))
	case tdsText, tdsBytes:
		size := r.number(2)
		if kind == tdsText {
			r.take(5) // collation
		}
		var data []byte
		if size != 0xFFFF {
			data = r.take(int(r.number(2)))
		} else {
			r.take(8) // the length, or that it is not known
			for n := int(r.number(4)); n > 0; n = int(r.number(4)) {
				data = append(data, r.take(n)...)
			}
		}
		if kind == tdsText {
			return name, utf16Text(data)
		}
		return name, data
	}
	r.rest, r.failed = nil, true
	return name, nil
}

func utf16Text(data []byte) string {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	return string(utf16.Decode(units))
}

func utf16Bytes(text string) []byte {
	var data []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		data = binary.LittleEndian.AppendUint16(data, unit)
	}
	return data
}

// tdsResponse is a response in packets, of the tokens in body.
func tdsResponse(body []byte) []byte {
	const most = 4096 - 8
	var packets []byte
	for first := true; first || len(body) > 0; first = false {
		part := body[:min(most, len(body))]
		body = body[len(part):]
		last := byte(0)
		if len(body) == 0 {
			last = 1
		}
		packets = append(packets, 4, last)
		packets = binary.BigEndian.AppendUint16(packets, uint16(8+len(part)))
		packets = append(append(packets, 0, 0, 1, 0), part...)
	}
	return packets
}

func tdsToken(kind byte, body []byte) []byte {
	return append(binary.LittleEndian.AppendUint16([]byte{kind}, uint16(len(body))), body...)
}

// tdsDone ends a response: rows is how many rows were returned or changed.
func tdsDone(status byte, rows int) []byte {
	const countIsValid = 0x10
	return binary.LittleEndian.AppendUint64([]byte{0xFD, status | countIsValid, 0, 0, 0}, uint64(rows))
}

// tdsPreloginResponse has one option, 1: encryption, at offset 6, 1 byte long. It
// is not supported.
func tdsPreloginResponse() []byte { return []byte{1, 0, 6, 0, 1, 0xFF, 2} }

func tdsLoginResponse() []byte {
	ack := append([]byte{1, 0x74, 0, 0, 4, 4}, utf16Bytes("fake")...) // interface, TDS 7.4, name of the server
	ack = append(ack, 16, 0, 0, 0)                                    // its version
	return append(tdsToken(0xAD, ack), tdsDone(0, 0)...)
}

// tdsNotice says that a transaction began or ended.
func tdsNotice(kind byte) []byte {
	id := "\x08\x01\x02\x03\x04\x05\x06\x07\x08"
	if kind == tdsBegun {
		return tdsToken(0xE3, []byte(string(kind)+id+"\x00"))
	}
	return tdsToken(0xE3, []byte(string(kind)+"\x00"+id))
}

// tdsRows are the columns and rows of a result. The first row tells the types.
func tdsRows(rows [][]any) []byte {
	columns := []any{int64(0)} // of no rows nobody asks for the types
	if len(rows) > 0 {
		columns = rows[0]
	}
	body := []byte{0x81, byte(len(columns)), 0}
	for _, value := range columns {
		body = append(body, 0, 0, 0, 0, 0, 0) // user type, flags
		switch value.(type) {
		case int64:
			body = append(body, tdsInt, 8)
		case string:
			body = append(body, tdsText, 0x40, 0x1F, 0, 0, 0, 0, 0) // 8000 bytes, collation
		case []byte:
			body = append(body, tdsBytes, 0x40, 0x1F)
		}
		body = append(body, 0) // no name
	}
	for _, row := range rows {
		body = append(body, 0xD1)
		for _, value := range row {
			switch value := value.(type) {
			case int64:
				body = binary.LittleEndian.AppendUint64(append(body, 8), uint64(value))
			case string:
				data := utf16Bytes(value)
				body = append(binary.LittleEndian.AppendUint16(body, uint16(len(data))), data...)
			case []byte:
				body = append(binary.LittleEndian.AppendUint16(body, uint16(len(value))), value...)
			}
		}
	}
	return body
}

// sqlError is an error of SQL Server.
type sqlError struct {
	number int32
	class  byte // severity
	text   string
}

func (e *sqlError) Error() string { return fmt.Sprintf("%d: %s", e.number, e.text) }

func (e *sqlError) token() []byte {
	body := binary.LittleEndian.AppendUint32(nil, uint32(e.number))
	body = append(body, 1, e.class)
	text := utf16Bytes(e.text)
	body = append(binary.LittleEndian.AppendUint16(body, uint16(len(text)/2)), text...)
	return tdsToken(0xAA, append(body, make([]byte, 6)...)) // no server, no procedure, line 0
}
