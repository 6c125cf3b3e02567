package web

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Route is a handler and who may call it. Needs, Authenticated and Public make
// one: there is no other way to put a handler into a route table.
type Route struct {
	handle handlerFunc
	public bool
	scope  string // "": any token does
}

// Needs returns the route for requests with a token that has this scope.
func Needs(scope string, handle handlerFunc) Route { return Route{handle: handle, scope: scope} }

// Authenticated returns the route for requests with a token, whatever its scopes.
func Authenticated(handle handlerFunc) Route { return Route{handle: handle} }

// Public returns the route for all requests.
func Public(handle handlerFunc) Route { return Route{handle: handle, public: true} }

// GuardConfig holds the settings of a Guard.
type GuardConfig struct {
	Access AccessConfig
	// RateLimit is how many requests a client may send in a second; 0: any number.
	RateLimit int
	// TrustedProxies may name the client in X-Forwarded-For.
	TrustedProxies []netip.Prefix
	// Warned says that another guard of this process warns when access control is off.
	Warned bool
}

// Guard decides which requests are handled: those of clients that may send them,
// and that do not send too many. A nil Guard lets every request pass.
type Guard struct {
	tokens  *tokens    // nil: access control is off
	clients *rateLimit // nil: there is no limit
	trusted []netip.Prefix
}

// NewGuard returns a guard. It warns with log when access control is off, unless cfg
// says that another one does. The caller must call Start. The error is one of reading
// the issuer's CA.
func NewGuard(cfg GuardConfig, log *slog.Logger) (*Guard, error) {
	g := &Guard{trusted: cfg.TrustedProxies}
	if cfg.RateLimit > 0 {
		g.clients = newRateLimit(cfg.RateLimit)
	}
	if cfg.Access.Issuer == "" {
		if !cfg.Warned {
			log.Warn("access control off: every client may read and write; AUTH_ISSUER turns it on")
		}
		return g, nil
	}
	keys, err := newKeySet(cfg.Access, log)
	if err != nil {
		return nil, err
	}
	g.tokens = newTokens(cfg.Access, keys)
	return g, nil
}

// Start begins to read the issuer's keys, in the background. The caller must call Stop.
func (g *Guard) Start() {
	if g.tokens != nil {
		g.tokens.keys.start()
	}
}

// Stop ends what Start has begun. Requests that are still handled are checked with
// the keys that are known.
func (g *Guard) Stop() {
	if g.tokens != nil {
		g.tokens.keys.stop()
	}
}

// Checks are those of the readiness probe: without any key a service can only
// refuse. Once it has keys, an issuer that is down makes no difference.
func (g *Guard) Checks() []Check {
	if g.tokens == nil {
		return nil
	}
	return []Check{{Name: "issuer", Failing: "its keys have not been read yet", Run: func(context.Context) error {
		if g.tokens.keys.current.Load() == nil {
			return errKeysUnknown
		}
		return nil
	}}}
}

type callerKey struct{}

// caller is who sent a request, or why that is not known.
type caller struct {
	*identity
	authorization string // the header, which is never logged
	err           error
}

func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// Subject returns whose token the request of ctx has, or "" when access control is off.
func Subject(ctx context.Context) string {
	if c := callerOf(ctx); c != nil && c.identity != nil {
		return c.subject
	}
	return ""
}

// Authorization returns the header of that name which the request of ctx was
// accepted with, for a call that is made on the client's behalf, or "".
func Authorization(ctx context.Context) string {
	if c := callerOf(ctx); c != nil && c.identity != nil {
		return c.authorization
	}
	return ""
}

// admit finds out who sent r, and counts the request. It returns a request whose
// context has the caller, or the 429.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	if g == nil {
		return r, nil
	}
	if g.tokens != nil {
		c := g.tokens.caller(r)
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
	}
	if g.clients != nil {
		client := "address " + clientNetwork(r, g.trusted)
		if subject := Subject(r.Context()); subject != "" {
			client = "subject " + subject
		}
		if wait := g.clients.take(client, time.Now()); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			return nil, NewProblem(http.StatusTooManyRequests, "too many requests from this client; retry later")
		}
	}
	return r, nil
}

// authorize returns the 401 or the 403 (RFC 6750, section 3) for a request that
// admit has returned, or nil when its caller may call route.
func (g *Guard) authorize(w http.ResponseWriter, r *http.Request, route Route) error {
	if g == nil || g.tokens == nil || route.public {
		return nil
	}
	c := callerOf(r.Context())
	switch {
	case errors.Is(c.err, errKeysUnknown):
		return Unavailable(w, "the token cannot be checked: the issuer's keys are not known yet; retry later")
	case errors.Is(c.err, errNoToken):
		w.Header().Set("WWW-Authenticate", "Bearer")
		return NewProblem(http.StatusUnauthorized, "send a token: Authorization: Bearer TOKEN")
	case c.err != nil:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return NewProblem(http.StatusUnauthorized, c.err.Error())
	case route.scope != "" && !slices.Contains(c.scopes, route.scope):
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+route.scope+`"`)
		return NewProblem(http.StatusForbidden, "the token does not have the scope "+route.scope)
	}
	return nil
}
