package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveBodies serves a handler that responds with the size of the body. failed
// receives the errors that are not for the client.
func serveBodies(t *testing.T, bodies *Bodies, readTimeout time.Duration) (addr string, failed chan error) {
	t.Helper()
	failed = make(chan error, 1000)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, free, err := bodies.Read(w, r)
		if refused := (*BodyError)(nil); errors.As(err, &refused) {
			http.Error(w, refused.Detail, refused.Status)
			return
		}
		if err != nil {
			failed <- err
			panic(http.ErrAbortHandler)
		}
		defer free()
		fmt.Fprint(w, len(body))
	}))
	server.Config.ReadHeaderTimeout, server.Config.ReadTimeout = patience, readTimeout
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), failed
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// patience bounds how long a test waits for what must happen.
const patience = time.Minute

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}

// response reads the response that arrives at conn.
func response(t *testing.T, conn net.Conn) (status int, body string) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(text)
}

func TestBodies(t *testing.T) {
	addr, _ := serveBodies(t, &Bodies{}, patience)
	for _, size := range []int{0, 1, 511, 512, 513, freeBody, freeBody + 1, MaxBody - 1, MaxBody, MaxBody + 1, 3 * MaxBody} {
		for what, body := range map[string]io.Reader{
			"with its length": bytes.NewReader(make([]byte, size)),
			"in chunks":       io.MultiReader(bytes.NewReader(make([]byte, size))),
		} {
			t.Run(fmt.Sprintf("of %d bytes, %s", size, what), func(t *testing.T) {
				r, err := http.Post("http://"+addr, "", body)
				require.NoError(t, err)
				defer r.Body.Close()
				text, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				if size > MaxBody {
					assert.Equal(t, http.StatusRequestEntityTooLarge, r.StatusCode)
					return
				}
				assert.Equal(t, http.StatusOK, r.StatusCode)
				assert.Equal(t, fmt.Sprint(size), string(text))
			})
		}
	}
}

func TestBodyThatDoesNotArrive(t *testing.T) {
	const header = "POST / HTTP/1.1\r\nHost: x\r\n"
	for what, row := range map[string]struct {
		request string
		status  int
	}{
		"ends early":                   {header + "Content-Length: 10\r\n\r\n12345", http.StatusBadRequest},
		"ends before its first byte":   {header + "Content-Length: 10\r\n\r\n", http.StatusBadRequest},
		"ends in the middle of chunks": {header + "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", http.StatusBadRequest},
		"has a chunk without a size":   {header + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n12345\r\n0\r\n\r\n", http.StatusBadRequest},
		"has a chunk of another size":  {header + "Transfer-Encoding: chunked\r\n\r\n2\r\n12345\r\n0\r\n\r\n", http.StatusBadRequest},
		"has a chunk of a huge size":   {header + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", http.StatusBadRequest},
	} {
		t.Run("one that "+what+" is a 400, which a client that half-closes receives", func(t *testing.T) {
			addr, _ := serveBodies(t, &Bodies{}, patience)
			conn := dial(t, addr)
			write(t, conn, row.request)
			require.NoError(t, conn.CloseWrite())
			status, _ := response(t, conn)
			assert.Equal(t, row.status, status)
		})
	}

	t.Run("one that stops arriving is a 408", func(t *testing.T) {
		addr, _ := serveBodies(t, &Bodies{}, 100*time.Millisecond)
		for _, sent := range []string{"Content-Length: 10\r\n\r\n12345", "Content-Length: 10\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\n123"} {
			conn := dial(t, addr)
			write(t, conn, header+sent)
			status, _ := response(t, conn)
			assert.Equal(t, http.StatusRequestTimeout, status, sent)
		}
	})

	t.Run("one whose connection is reset is an error without a response", func(t *testing.T) {
		addr, failed := serveBodies(t, &Bodies{}, patience)
		conn := dial(t, addr)
		write(t, conn, header+"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "100 Continue", "the body is being read")
		require.NoError(t, conn.SetLinger(0))
		require.NoError(t, conn.Close())
		assert.ErrorIs(t, <-failed, ErrDisconnected)
	})

	t.Run("one that is announced as too large is not asked for", func(t *testing.T) {
		addr, _ := serveBodies(t, &Bodies{}, patience)
		conn := dial(t, addr)
		write(t, conn, header+fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", MaxBody+1))
		status, _ := response(t, conn)
		assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	})
}

// TestHalfSentBodies: large bodies that are never completed take a bounded amount
// of memory, and small ones are read beside them.
func TestHalfSentBodies(t *testing.T) {
	const clients = 256
	var bodies Bodies
	addr, _ := serveBodies(t, &bodies, 5*patience)
	before := heap()
	part := make([]byte, MaxBody-1)
	conns := make([]*net.TCPConn, clients)
	for i := range conns {
		conns[i] = dial(t, addr)
	}
	refused := make(chan struct{}, clients)
	var reading sync.WaitGroup
	for i, conn := range conns {
		header := "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		reading.Go(func() {
			if i%2 == 0 {
				fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", header, MaxBody)
			} else {
				fmt.Fprintf(conn, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n", header, MaxBody)
			}
			_, _ = conn.Write(part) // fails when it is refused
			if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				r.Body.Close()
				if assert.Equal(t, http.StatusServiceUnavailable, r.StatusCode) {
					refused <- struct{}{}
				}
			}
		})
	}
	require.Eventually(t, func() bool { return bodies.reserved.Load() > bodyBudget-2*MaxBody }, patience, 5*time.Millisecond)
	for range clients / 2 { // most of them: when its connection is reset a client may miss the response
		select {
		case <-refused:
		case <-time.After(patience):
			require.FailNow(t, "timed out waiting for refusals")
		}
	}
	require.Eventually(t, func() bool { return bodies.reserved.Load() <= bodyBudget }, patience, 5*time.Millisecond, "a body that is refused tries for more")
	assert.Less(t, heap()-before, int64(2*bodyBudget+clients*(freeBody+64<<10)))

	r, err := http.Post("http://"+addr, "", strings.NewReader(strings.Repeat("x", freeBody)))
	require.NoError(t, err)
	defer r.Body.Close()
	assert.Equal(t, http.StatusOK, r.StatusCode)

	for _, conn := range conns {
		conn.Close()
	}
	reading.Wait()
	require.Eventually(t, func() bool { return bodies.reserved.Load() == 0 }, patience, 5*time.Millisecond, "what was reserved is free again")
}

// heap returns the bytes of the heap that are in use.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse)
}
