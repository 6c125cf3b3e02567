package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
)

// requestTimeout bounds the handling of one request.
const requestTimeout = 10 * time.Second

// handlerFunc handles a request. It returns an error instead of writing one:
// the router turns every error into a response in the same way.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// byMethod holds the handlers of one path, by HTTP method. HEAD is handled as GET.
type byMethod map[string]handlerFunc

// router finds the handler for a request, by path and then by method. A
// trailing slash makes no difference: /api/platforms/ is /api/platforms.
type router struct {
	paths *mux.Router
	fail  func(w http.ResponseWriter, r *http.Request, err error) // writes the response for err
}

func newRouter(fail func(http.ResponseWriter, *http.Request, error)) *router {
	// SkipClean: cleaning a path redirects, and a redirected POST loses its body.
	rt := &router{paths: mux.NewRouter().SkipClean(true), fail: fail}
	rt.paths.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, r, newProblem(http.StatusNotFound, "there is nothing at this path"))
	})
	return rt
}

// handle registers the handlers of a path. {name} in it stands for one element.
func (rt *router) handle(path string, handlers byMethod) {
	rt.paths.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		if err := handlers.serve(w, r); err != nil {
			rt.fail(w, r, err)
		}
	})
}

// ServeHTTP implements http.Handler.
func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	r = r.Clone(ctx)
	r.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
	rt.paths.ServeHTTP(w, r)
}

// serve calls the handler for the request's method, or returns a 405.
func (m byMethod) serve(w http.ResponseWriter, r *http.Request) error {
	handler := m[r.Method]
	if r.Method == http.MethodHead {
		handler = m[http.MethodGet]
	}
	if handler == nil {
		w.Header().Set("Allow", m.allowed())
		return newProblem(http.StatusMethodNotAllowed, r.Method+" is not allowed here")
	}
	return handler(w, r)
}

// allowed returns the value of the Allow header (RFC 9110, section 10.2.1).
func (m byMethod) allowed() string {
	names := slices.Collect(maps.Keys(m))
	if m[http.MethodGet] != nil {
		names = append(names, http.MethodHead)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// detached returns a context for work that has to be finished once it has begun:
// it does not end when the client disconnects. Otherwise a platform could be
// stored and the work after that left undone. The time limit starts again. The
// caller must call cancel to release its resources.
func detached(r *http.Request) (ctx context.Context, cancel context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), requestTimeout)
}

// pathID returns the id that the path has at {name}. For text that is not an
// integer it returns fieldErrors. For an integer out of range it returns 0, an
// id that never exists: the store does not find it, and the response is a 404.
func pathID(r *http.Request, name string) (int32, error) {
	id, err := strconv.ParseInt(mux.Vars(r)[name], 10, 32)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, fieldErrors{name: {"must be an integer"}}
	}
	if err != nil || id < 1 {
		return 0, nil
	}
	return int32(id), nil
}

// notFound returns the 404 for the thing of this kind that the path names at {name}.
func notFound(r *http.Request, kind, name string) *problem {
	return newProblem(http.StatusNotFound, fmt.Sprintf("there is no %s %s", kind, mux.Vars(r)[name]))
}
