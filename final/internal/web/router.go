package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"microcomm/final/internal/telemetry"
)

// RequestTimeout bounds the reading of one request, and its handling.
const RequestTimeout = 10 * time.Second

// handlerFunc handles a request. It returns an error instead of writing one:
// the router turns every error into a response in the same way.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// ByMethod holds the routes of one path, by HTTP method. HEAD is handled as GET.
type ByMethod map[string]Route

// Router finds the handler for a request, by path and then by method. A
// trailing slash makes no difference: /api/platforms/ is /api/platforms.
type Router struct {
	paths *mux.Router
	guard *Guard
	fail  func(w http.ResponseWriter, r *http.Request, err error) // writes the response for err
}

// NewRouter returns a router without routes, whose requests guard lets pass. fail
// writes the response for an error, the 404 and the 405 included.
func NewRouter(guard *Guard, fail func(http.ResponseWriter, *http.Request, error)) *Router {
	// SkipClean: cleaning a path redirects, and a redirected POST loses its body.
	rt := &Router{paths: mux.NewRouter().SkipClean(true), guard: guard, fail: fail}
	rt.paths.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := guard.admit(w, r)
		if err == nil {
			err = NewProblem(http.StatusNotFound, "there is nothing at this path")
		}
		fail(w, r, err)
	})
	return rt
}

// Handle registers the routes of a path. {name} in it stands for one element.
func (rt *Router) Handle(path string, routes ByMethod) {
	rt.paths.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		telemetry.SetRoute(r.Context(), path)
		if err := routes.serve(w, r, rt.guard); err != nil {
			rt.fail(w, r, err)
		}
	})
}

// Abort closes the connection of r, whose response cannot be written to its end.
// To return instead would send one that looks complete, or an empty 200. The
// request counts as one with this status.
func Abort(r *http.Request, status int) {
	telemetry.SetStatus(r.Context(), status)
	panic(http.ErrAbortHandler) // net/http closes the connection, and logs nothing
}

// ServeHTTP implements http.Handler.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if path, ok := strings.CutSuffix(r.URL.Path, "/"); ok {
		trimmed, target := *r, *r.URL // a handler does not change its request
		target.Path = path
		trimmed.URL = &target
		r = &trimmed
	}
	// As paths.ServeHTTP does, which copies the request twice to keep the same.
	var match mux.RouteMatch
	rt.paths.Match(r, &match) // when it finds none, the handler is that of a 404
	for name, value := range match.Vars {
		r.SetPathValue(name, value)
	}
	match.Handler.ServeHTTP(w, r)
}

// serve calls the handler for the request's method if guard lets it pass. Otherwise
// it returns a 401, 403, 405, 429 or 503.
func (m ByMethod) serve(w http.ResponseWriter, r *http.Request, guard *Guard) error {
	r, err := guard.admit(w, r)
	if err != nil {
		return err
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	route, ok := m[method]
	if !ok {
		w.Header().Set("Allow", m.allowed())
		return NewProblem(http.StatusMethodNotAllowed, r.Method+" is not allowed here")
	}
	if err := guard.authorize(w, r, route); err != nil {
		return err
	}
	return route.handle(w, r)
}

// allowed returns the value of the Allow header (RFC 9110, section 10.2.1).
func (m ByMethod) allowed() string {
	names := slices.Collect(maps.Keys(m))
	if _, ok := m[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// PathID returns the id that the path has at {name}. For text that is not an
// integer it returns FieldErrors. For an integer out of range it returns 0, an
// id that never exists: the store does not find it, and the response is a 404.
func PathID(r *http.Request, name string) (int32, error) {
	id, err := strconv.ParseInt(r.PathValue(name), 10, 32)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, FieldErrors{name: {"must be an integer"}}
	}
	if err != nil || id < 1 {
		return 0, nil
	}
	return int32(id), nil
}

// NotFound returns the 404 for the thing of this kind that the path names at {name}.
func NotFound(r *http.Request, kind, name string) *Problem {
	return NewProblem(http.StatusNotFound, fmt.Sprintf("there is no %s %s", kind, r.PathValue(name)))
}
