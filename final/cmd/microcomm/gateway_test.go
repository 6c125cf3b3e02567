package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/requestid"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

// serveGateway serves a gateway to service and returns its URL.
func serveGateway(t *testing.T, service http.HandlerFunc) string {
	t.Helper()
	return serveGatewayWithin(t, patience, patience, service)
}

// serveGatewayWithin is serveGateway with limits for the arrival of a request, and
// for its response.
func serveGatewayWithin(t *testing.T, readTimeout, writeTimeout time.Duration, service http.HandlerFunc) string {
	t.Helper()
	behind := httptest.NewServer(service)
	t.Cleanup(behind.Close)
	addr := strings.TrimPrefix(behind.URL, "http://")
	gateway := httptest.NewUnstartedServer(newGateway(addr, addr, "", nil, slog.New(slog.DiscardHandler)))
	gateway.Config.ReadHeaderTimeout, gateway.Config.ReadTimeout, gateway.Config.WriteTimeout = patience, readTimeout, writeTimeout
	gateway.Start()
	t.Cleanup(gateway.Close)
	return gateway.URL
}

func TestGatewayDoesNotCutOffWhatStillArrives(t *testing.T) {
	const shorter = 100 * time.Millisecond // than the response takes
	url := serveGatewayWithin(t, patience, shorter, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 5 {
			fmt.Fprint(w, i)
			_ = http.NewResponseController(w).Flush()
			<-time.After(50 * time.Millisecond)
		}
	})
	_, body, err := get(url + "/api/platforms")
	require.NoError(t, err)
	assert.Equal(t, "01234", body)
}

func TestGatewayShowsThatAResponseWasCutOff(t *testing.T) {
	url := serveGateway(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "[1")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	_, _, err := get(url + "/api/platforms")
	require.Error(t, err)
}

// exchange sends a request to url byte by byte as given, closes the client's side
// of the connection if halfClose is true, and returns the response.
func exchange(t *testing.T, url, request string, halfClose bool) (status int, contentType, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	if halfClose {
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header.Get("Content-Type"), string(text)
}

func TestGatewayRespondsToAClientThatHalfCloses(t *testing.T) {
	url := serveGateway(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select { // as a service that has to wait for its database
		case <-r.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s", r.Method, body)
	})
	for request, expected := range map[string]string{
		"GET /api/platforms HTTP/1.1\r\nHost: x\r\n\r\n":                                                        "GET ",
		"GET /api/c/platforms HTTP/1.0\r\n\r\n":                                                                 "GET ",
		"POST /api/platforms HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody":                              "POST body",
		"POST /api/c/platforms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n": "POST body",
	} {
		status, _, body := exchange(t, url, request, true)
		assert.Equal(t, http.StatusCreated, status, request)
		assert.Equal(t, expected, body, request)
	}
}

func TestGatewayDoesNotBlameTheServiceForTheClientsFaults(t *testing.T) {
	var called atomic.Bool
	service := func(http.ResponseWriter, *http.Request) { called.Store(true) }
	patient, impatient := serveGateway(t, service), serveGatewayWithin(t, 100*time.Millisecond, patience, service)
	for what, row := range map[string]struct {
		request   string
		halfClose bool
		status    int
	}{
		"a body that ends early":         {"Content-Length: 10\r\n\r\n12345", true, http.StatusBadRequest},
		"a chunk without a size":         {"Transfer-Encoding: chunked\r\n\r\nx\r\n1\r\n0\r\n\r\n", false, http.StatusBadRequest},
		"chunks without an end":          {"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n", true, http.StatusBadRequest},
		"a body that stops arriving":     {"Content-Length: 10\r\n\r\n12345", false, http.StatusRequestTimeout},
		"chunks that stop arriving":      {"Transfer-Encoding: chunked\r\n\r\n5\r\n12", false, http.StatusRequestTimeout},
		"a body announced as too large":  {"Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n", false, http.StatusRequestEntityTooLarge},
		"a body that turns out to be so": {"Transfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat("x", web.MaxBody+1) + "\r\n0\r\n\r\n", false, http.StatusRequestEntityTooLarge},
	} {
		t.Run(what, func(t *testing.T) {
			url := patient
			if row.status == http.StatusRequestTimeout {
				url = impatient
			}
			status, contentType, body := exchange(t, url, "POST /api/platforms HTTP/1.1\r\nHost: x\r\n"+row.request, row.halfClose)
			assert.Equal(t, row.status, status)
			assert.Equal(t, "application/problem+json", contentType)
			assert.Contains(t, body, fmt.Sprintf(`"status":%d`, row.status))
			assert.False(t, called.Load(), "the service is not involved")
		})
	}
}

func TestGatewayPassesTheBodyOnAndAsksForItOnce(t *testing.T) {
	url := serveGateway(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %d %s", len(body), r.ContentLength, r.Header.Get("Expect"))
	})
	request, err := http.NewRequestWithContext(t.Context(), "POST", url+"/api/platforms", io.MultiReader(strings.NewReader(strings.Repeat("x", web.MaxBody))))
	require.NoError(t, err)
	request.Header.Set("Expect", "100-continue")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "1048576 1048576 ", string(body))
}

func TestGatewayNamesAServiceThatDoesNotRespond(t *testing.T) {
	url := serveGateway(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	status, contentType, _ := exchange(t, url, "GET /api/platforms HTTP/1.1\r\nHost: x\r\n\r\n", false)
	assert.Equal(t, http.StatusBadGateway, status)
	assert.Equal(t, "application/problem+json", contentType)
}

func TestGatewayGivesEachRequestOneID(t *testing.T) {
	var seen atomic.Value // by the service; a GET without a response arrives twice when the gateway repeats it
	url := serveGateway(t, requestid.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if seen.Store(requestid.From(r.Context())); r.URL.Path == "/api/platforms/1" {
			panic(http.ErrAbortHandler)
		}
	})).ServeHTTP)
	for _, header := range [][]string{nil, {requestid.Header, "mine"}} {
		served := testkit.Send(t, "GET", url+"/api/platforms", "", header...)
		assert.Equal(t, []string{seen.Load().(string)}, served.Header.Values(requestid.Header))
		for path, status := range map[string]int{"/": http.StatusNotFound, "/api/platforms/1": http.StatusBadGateway} {
			refused := testkit.Send(t, "GET", url+path, "", header...)
			testkit.RequireProblem(t, refused, status)
			id := refused.Header.Get(requestid.Header)
			assert.Contains(t, refused.Body, `"instance":"`+id+`"`)
			assert.Equal(t, header != nil, id == "mine")
		}
	}
}

func TestGatewayPassesOnWhatTheServiceRefuses(t *testing.T) {
	url := serveGateway(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.RawQuery) })
	for _, query := range []string{"limit=%zz", "limit=1;after=2", "limit=1&after=%"} {
		assert.Equal(t, query, testkit.Send(t, "GET", url+"/api/platforms?"+query, "").Body)
	}
}
