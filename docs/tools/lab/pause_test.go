//go:build unix

package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPauseAndResume(t *testing.T) {
	l := miniStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	address, ended := startRun(t, ctx, l)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	response := make(chan error, 1)
	get := func() {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/api/platforms", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			got, err := client.Do(request)
			if err == nil {
				got.Body.Close()
			}
			response <- err
		}()
	}

	if err := l.do(t.Context(), "pause", "PlatformService"); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("a paused service still has its socket: %v", err)
	}
	conn.Close()
	get()
	select {
	case err := <-response:
		t.Fatalf("a paused service responds (error: %v)", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := l.do(t.Context(), "resume", "platformservice"); err != nil {
		t.Fatal(err)
	}
	if err := <-response; err != nil {
		t.Errorf("after resume: %v", err)
	}
	if err := l.do(t.Context(), "pause", "gateway"); err == nil || !strings.Contains(err.Error(), "unknown service gateway; the running ones are platformservice") {
		t.Errorf("an unknown service: %v", err)
	}

	// A paused service ends with lab run, too.
	if err := l.do(t.Context(), "pause", "platformservice"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped: %v", err)
	}
	if err := portFree(t.Context(), address); err != nil {
		t.Errorf("the paused service is left: %v", err)
	}
	if err := l.do(t.Context(), "resume", "platformservice"); err == nil || !strings.Contains(err.Error(), "no lab run") {
		t.Errorf("without a lab run: %v", err)
	}
}
