package testkit

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Conn is a connection of a client that speaks HTTP in its own way.
type Conn struct {
	*net.TCPConn
	Reader *bufio.Reader
}

// Dial connects to the server at url. The connection is closed when the test ends.
func Dial(t testing.TB, url string) Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(Patience)))
	return Conn{conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// Send sends text.
func (c Conn) Send(t testing.TB, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

// RequireContinue returns when the server asks for the body.
func (c Conn) RequireContinue(t testing.TB) {
	t.Helper()
	line, err := c.Reader.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")
	_, err = c.Reader.ReadString('\n') // the empty line after it
	require.NoError(t, err)
}

// Response reads the response.
func (c Conn) Response(t testing.TB) Response {
	t.Helper()
	r, err := http.ReadResponse(c.Reader, nil)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return Response{Status: r.StatusCode, Header: r.Header, Body: string(body)}
}

// Reset closes the connection without the handshake that ends one in good order.
func (c Conn) Reset(t testing.TB) {
	t.Helper()
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
}
