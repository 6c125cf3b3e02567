package main

import (
	"fmt"
	"net/http"
	"sync/atomic"

	"microcomm/docs/tools/internal/issuer"
)

// guard has the services accept only requests with a token, which the drill's clients
// send. The caller must call the function that it returns.
func (d *driller) guard() (stop func(), err error) {
	i, err := issuer.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	token, err := i.Token("drill", issuer.Scopes()...)
	if err != nil {
		i.Close()
		return nil, fmt.Errorf("a token for the drill: %w", err)
	}
	d.options.access, d.options.bearer = i.Settings(), newBearer(token)
	return i.Close, nil
}

// bearer is the token that the clients of a drill send. It may be replaced meanwhile.
// A nil one sends none.
type bearer struct{ token atomic.Pointer[string] }

func newBearer(token string) *bearer {
	b := &bearer{}
	b.token.Store(&token)
	return b
}

// header is the value of Authorization; empty: there is none.
func (b *bearer) header() string {
	if b == nil {
		return ""
	}
	return "Bearer " + *b.token.Load()
}

// authorized sends each request with a token, so that no drill has to know of it.
type authorized struct {
	*http.Transport
	bearer *bearer
}

// RoundTrip implements http.RoundTripper.
func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	if value := a.bearer.header(); value != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", value)
	}
	return a.Transport.RoundTrip(r)
}
