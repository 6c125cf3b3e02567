package web

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

const (
	// MaxBody is the size of the largest body that is read, in bytes.
	MaxBody = 1 << 20
	// freeBody is how much of a body counts for nothing, in bytes. So small bodies
	// are read however many large ones are sent.
	freeBody = 8 << 10
	// bodyBudget bounds the rest of all bodies that are in memory, in bytes.
	bodyBudget = 16 << 20
)

// StatusClientDisconnected is what a request counts as when its client
// disconnected before it had the response. No client ever receives it. The
// number is nginx's.
const StatusClientDisconnected = 499

// ErrDisconnected is returned when the client's connection has failed.
var ErrDisconnected = errors.New("client disconnected")

// BodyError says why a body was not read, and is meant for the client.
type BodyError struct {
	Status int // 400, 408, 413 or 503
	Detail string
}

// Error implements error.
func (e *BodyError) Error() string { return e.Detail }

// Problem returns the response.
func (e *BodyError) Problem(w http.ResponseWriter) *Problem {
	if e.Status == http.StatusServiceUnavailable {
		return Unavailable(w, e.Detail)
	}
	return NewProblem(e.Status, e.Detail)
}

// Bodies reads the bodies of requests, and bounds the memory that they take
// together: a client may send its body slowly, or never complete it. The zero
// value is ready to use.
type Bodies struct {
	reserved atomic.Int64
}

// Read returns the body of r. The caller must call free when it no longer needs
// the body. The error is a *BodyError, or wraps ErrDisconnected.
func (b *Bodies) Read(w http.ResponseWriter, r *http.Request) (body []byte, free func(), err error) {
	from := http.MaxBytesReader(w, r.Body, MaxBody)
	if r.ContentLength > MaxBody {
		err = &http.MaxBytesError{Limit: MaxBody}
		if r.Header.Get("Expect") == "" { // most clients read no response before they have sent much
			_, err = io.Copy(io.Discard, from)
		}
		return nil, nil, bodyError(err)
	}
	var reserved int64
	free = func() { b.reserved.Add(-reserved) }
	body = make([]byte, 0, 512)
	for {
		if len(body) == cap(body) {
			// A Content-Length is no more than a promise: what is reserved is what has arrived.
			size := min(2*cap(body), MaxBody+1) // one more, to see the end
			more := max(0, int64(size-freeBody)) - reserved
			if more > 0 && b.reserved.Add(more) > bodyBudget { // 0 needs no room, even while others try for it
				b.reserved.Add(-more)
				free()
				return nil, nil, &BodyError{http.StatusServiceUnavailable, "too many large bodies at once; retry later"}
			}
			reserved += more
			body = append(make([]byte, 0, size), body...)
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, free, nil
		}
		if err != nil {
			free()
			return nil, nil, bodyError(err)
		}
	}
}

// bodyError returns what err, of reading a body, is for the client.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	var connection *net.OpError
	switch {
	case errors.As(err, &tooLarge):
		return &BodyError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &BodyError{http.StatusRequestTimeout, "the body arrived too slowly"}
	case errors.Is(err, io.ErrUnexpectedEOF): // the client may still read a response
		return &BodyError{http.StatusBadRequest, "the body ended early"}
	case errors.As(err, &connection):
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	default: // such as a chunk without a size
		return &BodyError{http.StatusBadRequest, "the body cannot be read"}
	}
}
