package commandsservice

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"

	"microcomm/final/apidoc"
	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/web"
)

// restAPI handles the HTTP requests of clients and of PlatformService.
type restAPI struct {
	store       commandStore
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
	routes.Handle("/api/c/platforms", web.ByMethod{
		http.MethodGet:  web.Needs("platforms:read", a.listPlatforms),
		http.MethodPost: web.Needs("platforms:write", a.receivePlatform)})
	routes.Handle("/api/c/platforms/{platformId}/commands", web.ByMethod{
		http.MethodGet:  web.Needs("commands:read", a.listCommands),
		http.MethodPost: web.Needs("commands:write", a.createCommand)})
	routes.Handle("/api/c/platforms/{platformId}/commands/{commandId}", web.ByMethod{
		http.MethodGet: web.Needs("commands:read", a.getCommand)})
	routes.HandleFiles(a.described)
	return routes
}

func (a *restAPI) listPlatforms(w http.ResponseWriter, r *http.Request) error {
	return web.WriteList(w, r, &a.large, web.InSlots(a.slots, func(ctx context.Context, after int32, limit int) ([]platformRead, bool, error) {
		platforms, more, err := a.store.platformsAfter(ctx, after, limit)
		return toPlatformReads(platforms), more, err
	}))
}

// receivePlatform is called by PlatformService for each new platform. A request
// without a body only asks whether the connection works, as API clients that
// were set up for the .NET service do.
func (a *restAPI) receivePlatform(w http.ResponseWriter, r *http.Request) error {
	if !hasBody(r) {
		a.log.InfoContext(r.Context(), "inbound connection tested")
		return web.WriteJSON(w, http.StatusOK, map[string]string{"status": "the inbound connection works"})
	}
	var body platformCreate
	if err := web.ReadJSON(w, r, &a.bodies, &body); err != nil {
		return err
	}
	var stored platform
	err := a.slots.Do(r.Context(), func(ctx context.Context) error {
		added, err := a.store.addPlatform(ctx, body.toPlatform())
		if err != nil {
			return err
		}
		a.log.InfoContext(ctx, "platform received by HTTP", "id", body.ID, "name", body.Name, "new", added)
		stored, err = a.store.platform(ctx, body.ID) // a known one may have another name
		return err
	})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, toPlatformRead(stored))
}

// hasBody reports whether r has a body. The length of one that is sent in chunks
// is not known in advance, so it reads ahead.
func hasBody(r *http.Request) bool {
	reader := bufio.NewReader(r.Body)
	_, err := reader.Peek(1)
	r.Body = io.NopCloser(reader) // the server closes the original
	return err != io.EOF
}

func (a *restAPI) listCommands(w http.ResponseWriter, r *http.Request) error {
	platformID, err := web.PathID(r, "platformId")
	if err != nil {
		return err
	}
	return web.WriteList(w, r, &a.large, web.InSlots(a.slots, func(ctx context.Context, after int32, limit int) ([]commandRead, bool, error) {
		commands, more, err := a.store.commandsAfter(ctx, platformID, after, limit)
		return toCommandReads(commands), more, err
	}))
}

func (a *restAPI) getCommand(w http.ResponseWriter, r *http.Request) error {
	platformID, err := web.PathID(r, "platformId")
	if err != nil {
		return err
	}
	commandID, err := web.PathID(r, "commandId")
	if err != nil {
		return err
	}
	var found command
	err = a.slots.Do(r.Context(), func(ctx context.Context) error {
		found, err = a.store.command(ctx, platformID, commandID)
		return err
	})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, toCommandRead(found))
}

func (a *restAPI) createCommand(w http.ResponseWriter, r *http.Request) error {
	platformID, err := web.PathID(r, "platformId")
	if err != nil {
		return err
	}
	key, err := web.IdempotencyKey(r)
	if err != nil {
		return err
	}
	var body commandCreate
	if err := web.ReadJSON(w, r, &a.bodies, &body); err != nil {
		return err
	}
	if key != "" {
		if !a.pendingKeys.Begin(key) {
			return web.KeyPending(w)
		}
		defer a.pendingKeys.End(key)
	}
	var created command
	var replayed bool
	err = a.slots.Do(r.Context(), func(ctx context.Context) error {
		created, replayed, err = a.save(ctx, key, body.toCommand(platformID))
		return err
	})
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set(web.ReplayedHeader, "true")
	} else {
		a.log.InfoContext(r.Context(), "command created", "id", created.ID, "platform", platformID)
	}
	w.Header().Set("Location", fmt.Sprintf("/api/c/platforms/%d/commands/%d", platformID, created.ID))
	return web.WriteJSON(w, http.StatusCreated, toCommandRead(created))
}

// save stores c, and with it key unless that is empty.
func (a *restAPI) save(ctx context.Context, key string, c command) (created command, replayed bool, err error) {
	if key == "" {
		created, err = a.store.createCommand(ctx, c)
		return created, false, err
	}
	return a.store.createCommandOnce(ctx, key, c)
}

// fail writes the response for err. With web.ProblemOf, this is the one table from
// errors to status codes. Any other error is internal: it is logged, and the client
// gets a 500 that does not show it.
func (a *restAPI) fail(w http.ResponseWriter, r *http.Request, err error) {
	log := a.log.With("method", r.Method, "path", r.URL.Path, "error", err)
	p := web.ProblemOf(w, r, log, err)
	switch {
	case p != nil:
	case errors.Is(err, errPlatformNotFound):
		p = web.NotFound(r, "platform", "platformId")
	case errors.Is(err, errCommandNotFound):
		p = web.NotFound(r, "command", "commandId")
	case errors.Is(err, sqlserver.ErrNotConfirmed): // a 503 would say that nothing was stored
		log.ErrorContext(r.Context(), "outcome unknown")
		p = web.NewProblem(http.StatusInternalServerError,
			"the database did not confirm: the command may have been created; a request with an "+web.IdempotencyHeader+" can be repeated without harm")
	case databaseUnavailable(err):
		log.WarnContext(r.Context(), "database unavailable")
		p = web.Unavailable(w, "the database is unavailable; retry later")
	default:
		log.ErrorContext(r.Context(), "request failed")
		p = web.NewProblem(http.StatusInternalServerError, "internal error; the service's log has the cause")
	}
	web.WriteProblem(w, p)
}
