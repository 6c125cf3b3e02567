package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// load is what a number of clients measured: each sends its next request when
// it has the response to the last.
type load struct {
	perSecond float64
	latencies []time.Duration // sorted
}

func (l load) percentile(p float64) time.Duration {
	if len(l.latencies) == 0 {
		return 0
	}
	return l.latencies[min(len(l.latencies)-1, int(p*float64(len(l.latencies))))]
}

// drive has clients send request for d. Any status but want is an error.
func drive(ctx context.Context, clients int, d time.Duration, want int, request func(client, n int) *http.Request) (load, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var mu sync.Mutex
	var all []time.Duration
	var failure error
	var running sync.WaitGroup
	began := time.Now()
	for c := range clients {
		running.Go(func() {
			var own []time.Duration
			var err error
			for n := 0; err == nil && time.Since(began) < d && ctx.Err() == nil; n++ {
				sent := time.Now()
				err = send(client, request(c, n), want)
				own = append(own, time.Since(sent))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
			if err != nil {
				failure = err
			}
		})
	}
	running.Wait()
	took := time.Since(began)
	if failure != nil {
		return load{}, failure
	}
	slices.Sort(all)
	return load{perSecond: float64(len(all)) / took.Seconds(), latencies: all}, ctx.Err()
}

func send(client *http.Client, request *http.Request, want int) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != want {
		return fmt.Errorf("%s %s returned %s", request.Method, request.URL, response.Status)
	}
	return nil
}

// post returns requests that create platforms at addr.
func post(ctx context.Context, addr string) func(client, n int) *http.Request {
	return func(client, n int) *http.Request {
		body := fmt.Sprintf(`{"name":"platform %d of client %d","publisher":"bench","cost":"Free"}`, n, client)
		request, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/api/platforms", strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		return request
	}
}

// get returns requests for a path at addr.
func get(ctx context.Context, addr string, path func(client, n int) string) func(client, n int) *http.Request {
	return func(client, n int) *http.Request {
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path(client, n), nil)
		return request
	}
}
