package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveGateway serves a gateway to service and returns its URL.
func serveGateway(t *testing.T, service http.HandlerFunc) string {
	t.Helper()
	behind := httptest.NewServer(service)
	t.Cleanup(behind.Close)
	addr := strings.TrimPrefix(behind.URL, "http://")
	gateway := httptest.NewUnstartedServer(newGateway(addr, addr, slog.New(slog.DiscardHandler)))
	gateway.Config.WriteTimeout = 100 * time.Millisecond
	gateway.Start()
	t.Cleanup(gateway.Close)
	return gateway.URL
}

func TestGatewayDoesNotCutOffWhatStillArrives(t *testing.T) {
	url := serveGateway(t, func(w http.ResponseWriter, _ *http.Request) {
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
