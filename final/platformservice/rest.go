package platformservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"microcomm/final/apidoc"
	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/web"
	"microcomm/final/proto"
)

// restAPI handles the HTTP requests of clients.
type restAPI struct {
	store       platformStore
	wake        func()          // called when there is a new event in the outbox; nil: nothing waits for one
	commands    *commandsClient // nil: CommandsService is not notified
	log         *slog.Logger
	guard       *web.Guard // nil: every request may pass
	slots       web.Slots
	bodies      web.Bodies
	pendingKeys web.PendingKeys
	large       atomic.Int32 // lists that are being written in parts
	described   map[string]apidoc.File
}

// handler returns the routes.
func (a *restAPI) handler() http.Handler {
	routes := web.NewRouter(a.guard, a.fail)
	routes.Handle("/api/platforms", web.ByMethod{
		http.MethodGet:  web.Needs("platforms:read", a.list),
		http.MethodPost: web.Needs("platforms:write", a.create)})
	routes.Handle("/api/platforms/{id}", web.ByMethod{http.MethodGet: web.Needs("platforms:read", a.get)})
	routes.Handle("/protos/platforms.proto", web.ByMethod{http.MethodGet: web.Needs("platforms:read", a.protoFile)})
	routes.HandleFiles(a.described)
	return routes
}

func (a *restAPI) list(w http.ResponseWriter, r *http.Request) error {
	return web.WriteList(w, r, &a.large, web.InSlots(a.slots, func(ctx context.Context, after int32, limit int) ([]platformRead, bool, error) {
		platforms, more, err := a.store.platformsAfter(ctx, after, limit)
		return toPlatformReads(platforms), more, err
	}))
}

func (a *restAPI) get(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "id")
	if err != nil {
		return err
	}
	var found platform
	err = a.slots.Do(r.Context(), func(ctx context.Context) error {
		found, err = a.store.platform(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, toPlatformRead(found))
}

func (a *restAPI) create(w http.ResponseWriter, r *http.Request) error {
	key, err := web.IdempotencyKey(r)
	if err != nil {
		return err
	}
	var body platformCreate
	if err := web.ReadJSON(w, r, &a.bodies, &body); err != nil {
		return err
	}
	if key != "" {
		if !a.pendingKeys.Begin(key) {
			return web.KeyPending(w)
		}
		defer a.pendingKeys.End(key)
	}
	var created platform
	var replayed bool
	err = a.slots.Do(r.Context(), func(ctx context.Context) error {
		created, replayed, err = a.save(ctx, key, body.toPlatform())
		if err == nil {
			describeSpan(ctx, created, replayed)
		}
		if err == nil && !replayed {
			a.log.InfoContext(ctx, "platform created", "id", created.ID, "name", created.Name)
			a.notifyCommands(ctx, created) // even if it fails the response is a 201: the platform is stored
		}
		return err
	})
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set(web.ReplayedHeader, "true")
	}
	w.Header().Set("Location", fmt.Sprintf("/api/platforms/%d", created.ID))
	return web.WriteJSON(w, http.StatusCreated, toPlatformRead(created))
}

// save stores p with its event, and with key unless that is empty. The relay
// publishes the event: this does not wait for the bus.
func (a *restAPI) save(ctx context.Context, key string, p platform) (created platform, replayed bool, err error) {
	if key == "" {
		created, err = a.store.createPlatform(ctx, p)
	} else {
		created, replayed, err = a.store.createPlatformOnce(ctx, key, p)
	}
	if err == nil && !replayed && a.wake != nil {
		a.wake()
	}
	return created, replayed, err
}

// notifyCommands sends the platform to CommandsService and waits for the response.
func (a *restAPI) notifyCommands(ctx context.Context, p platform) {
	if a.commands == nil {
		return
	}
	if err := a.commands.sendPlatform(ctx, p); err != nil {
		a.log.WarnContext(ctx, "CommandsService not notified", "id", p.ID, "error", err)
		return
	}
	a.log.InfoContext(ctx, "CommandsService notified", "id", p.ID)
}

// protoFile returns the gRPC contract, for clients that generate their own code.
func (a *restAPI) protoFile(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(proto.Source)) // fails only when the client has disconnected
	return nil
}

// fail writes the response for err. With web.ProblemOf, this is the one table from
// errors to status codes. Any other error is internal: it is logged, and the client
// gets a 500 that does not show it.
func (a *restAPI) fail(w http.ResponseWriter, r *http.Request, err error) {
	log := a.log.With("method", r.Method, "path", r.URL.Path, "error", err)
	p := web.ProblemOf(w, r, log, err)
	switch {
	case p != nil:
	case errors.Is(err, errNotFound):
		p = web.NotFound(r, "platform", "id")
	case errors.Is(err, sqlserver.ErrNotConfirmed): // a 503 would say that nothing was stored
		log.ErrorContext(r.Context(), "outcome unknown")
		p = web.NewProblem(http.StatusInternalServerError,
			"the database did not confirm: the platform may have been created; a request with an "+web.IdempotencyHeader+" can be repeated without harm")
	case databaseUnavailable(err):
		log.WarnContext(r.Context(), "database unavailable")
		p = web.Unavailable(w, "the database is unavailable; retry later")
	default:
		log.ErrorContext(r.Context(), "request failed")
		p = web.NewProblem(http.StatusInternalServerError, "internal error; the service's log has the cause")
	}
	web.WriteProblem(w, p)
}
