// Package requestid gives each HTTP request an id: the client's own or a new
// one. The id goes with the context of the request, into the response and into
// the log.
package requestid

import (
	"context"
	"crypto/rand"
	"net/http"
)

// Header is the HTTP header with the id, in a request and in its response.
const Header = "X-Request-ID"

// maxLength is the length of the longest id that is accepted from a client.
const maxLength = 128

type contextKey struct{}

// New returns an id that no other request has.
func New() string { return rand.Text() }

// With returns a context that carries the id.
func With(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// From returns the id that ctx carries, or "" when it has none.
func From(ctx context.Context) string {
	id, _ := ctx.Value(contextKey{}).(string)
	return id
}

// Handler gives each request its id before next handles it. It uses
// the client's if that has 1 to 128 printable ASCII characters, since the id goes
// into headers and logs.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(Header)
		if !valid(id) {
			id = New()
		}
		w.Header().Set(Header, id)
		next.ServeHTTP(w, r.WithContext(With(r.Context(), id)))
	})
}

func valid(id string) bool {
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return false
		}
	}
	return 1 <= len(id) && len(id) <= maxLength
}
