package main

import (
	"fmt"
	"net/http"

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
	d.options.access, d.options.authorization = i.Settings(), "Bearer "+token
	return i.Close, nil
}

// authorized sends each request with a header, so that no drill has to know of it.
type authorized struct {
	*http.Transport
	header string
}

// RoundTrip implements http.RoundTripper.
func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.header != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", a.header)
	}
	return a.Transport.RoundTrip(r)
}
