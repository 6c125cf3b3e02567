package main

import (
	"bytes"
	"encoding/binary"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// headerOf returns a frame of a message's properties: a content type, this table of
// headers, and a delivery mode behind it.
func headerOf(table []byte) []byte {
	payload := append(make([]byte, 12), 0xb0, 0, 1, 'x') // flags: content type, headers, delivery mode
	payload = binary.BigEndian.AppendUint32(payload, uint32(len(table)))
	payload = append(append(payload, table...), 2)
	frame := binary.BigEndian.AppendUint32([]byte{headerFrame, 0, 1}, uint32(len(payload)))
	return append(append(frame, payload...), 0xce)
}

func TestReadableHeadersStay(t *testing.T) {
	for what, table := range map[string]string{
		"none": "", "a text": "\x01xS\x00\x00\x00\x01y", "a number": "\x01xl\x00\x00\x00\x00\x00\x00\x00\x01", "nothing": "\x01xV",
		"a table": "\x01xF\x00\x00\x00\x03\x01yV", "an array": "\x01xA\x00\x00\x00\x03Vt\x01",
	} {
		frame := headerOf([]byte(table))
		assert.Equal(t, frame, withReadableHeaders(frame), what)
	}
	for what, table := range map[string]string{
		"an unknown type": "\x01x?", "a text that is too long": "\x01xS\x00\x00\x01\x00y", "half a name": "\x05x", "no type": "\x01x",
	} {
		changed := withReadableHeaders(headerOf([]byte(table)))
		assert.Contains(t, string(changed), unreadableHeaders, what)
		assert.Equal(t, []byte{2, 0xce}, changed[len(changed)-2:], "what is behind them stays")
	}
	assert.True(t, isReadable([]byte(unreadableHeaders[4:])))
	assert.Len(t, unreadableHeaders[4:], int(binary.BigEndian.Uint32([]byte(unreadableHeaders))))
}

// FuzzHeaders: whatever the broker sends as a header, what the library reads is a
// frame, and dlq shows what is in it.
func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{"", "\x01xV", "\x01xF\xff\xff\xff\xff", "\x01xA\x00\x00\x00\x01A", "\xff"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, isTable bool) {
		frame := headerOf(data)
		if !isTable { // anything at all
			frame = append(binary.BigEndian.AppendUint32([]byte{headerFrame, 0, 1}, uint32(len(data))), append(data, 0xce)...)
		}
		got, err := readFrame(bytes.NewReader(frame))
		require.NoError(t, err)
		require.Equal(t, len(got)-frameOverhead, int(binary.BigEndian.Uint32(got[3:])))
		require.Equal(t, byte(0xce), got[len(got)-1])
		if isTable {
			table := got[frameOverhead-1+20 : len(got)-2]
			require.True(t, isReadable(table), "%q", table)
		}
		text := quoted(reason(amqp.Delivery{Headers: amqp.Table{"x-death": []any{amqp.Table{"reason": string(data)}}, "x": data}})) + body(data)
		require.NotContains(t, text, "\x1b")
		require.NotContains(t, text, "\r")
	})
}
