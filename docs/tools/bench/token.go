package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"microcomm/docs/tools/internal/issuer"
)

// tokenClients is how many clients measureToken has. Each has a token of its own.
const tokenClients = 8

// measureToken measures what access control costs: requests with a token, against
// the same service without access control. It counts processor time, of which the
// check of a token takes some and the client's work none.
func measureToken(ctx context.Context, b *bench) ([]result, error) {
	const rows = 1000
	file, err := b.filled(ctx, rows)
	if err != nil {
		return nil, err
	}
	one := func(client, n int) string { return fmt.Sprintf("/api/platforms/%d", 1+(client*7919+n)%rows) }
	gets, err := b.compareToken(ctx, "GET one with a token", [2]string{file, file}, http.StatusOK,
		func(addr string) func(client, n int) *http.Request { return get(ctx, addr, one) })
	if err != nil {
		return nil, err
	}
	files := [2]string{filepath.Join(b.dir, "with-token.db"), filepath.Join(b.dir, "without-token.db")}
	posts, err := b.compareToken(ctx, "POST with a token", files, http.StatusCreated,
		func(addr string) func(client, n int) *http.Request { return post(ctx, addr) })
	return []result{gets, posts}, err
}

// compareToken compares a service with access control and one without, each on a
// file, by the requests that they handle in a second of processor time.
func (b *bench) compareToken(ctx context.Context, name string, files [2]string, want int, requests func(addr string) func(client, n int) *http.Request) (result, error) {
	i, err := issuer.Start("127.0.0.1:0")
	if err != nil {
		return result{}, err
	}
	defer i.Close()
	headers := make([]string, tokenClients)
	for client := range headers {
		token, err := i.Token(fmt.Sprint("client ", client), issuer.Scopes()...)
		if err != nil {
			return result{}, err
		}
		headers[client] = "Bearer " + token
	}
	var rates [2]func() (float64, error)
	for side, env := range [][]string{i.Settings(), nil} {
		p, err := b.start(ctx, "platformservice", "/readyz",
			append(env, noBroker, "DATABASE_URL=sqlite:"+files[side], "SQLITE_SYNCHRONOUS=NORMAL", "LOG_LEVEL=warn"))
		if err != nil {
			return result{}, err
		}
		defer p.stop()
		bare := requests(p.addr)
		request := func(client, n int) *http.Request {
			r := bare(client, n)
			if side == 0 {
				r.Header.Set("Authorization", headers[client])
			}
			return r
		}
		rates[side] = func() (float64, error) {
			before := p.processorTime()
			l, err := drive(ctx, tokenClients, b.duration(), want, request)
			return float64(len(l.latencies)) / (p.processorTime() - before).Seconds(), err
		}
	}
	with, without, err := b.inTurns(rates[0], rates[1])
	if err != nil {
		return result{}, err
	}
	// At most a tenth more processor time for each.
	return compare(fmt.Sprintf("%s, %d clients", name, tokenClients), "per CPU second", with, without, 0.91), nil
}
