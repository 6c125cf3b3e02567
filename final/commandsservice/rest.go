package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"microcomm/final/internal/sqlserver"
)

// restAPI handles the HTTP requests of clients and of PlatformService.
type restAPI struct {
	store    commandStore
	inFlight keysInFlight
	log      *slog.Logger
}

// handler returns the routes.
func (a *restAPI) handler() http.Handler {
	routes := newRouter(a.fail)
	routes.handle("/api/c/platforms", methods{http.MethodGet: a.listPlatforms, http.MethodPost: timed(a.receivePlatform)})
	routes.handle("/api/c/platforms/{platformId}/commands", methods{http.MethodGet: a.listCommands, http.MethodPost: timed(a.createCommand)})
	routes.handle("/api/c/platforms/{platformId}/commands/{commandId}", methods{http.MethodGet: timed(a.getCommand)})
	return routes
}

func (a *restAPI) listPlatforms(w http.ResponseWriter, r *http.Request) error {
	return writeList(w, r, func(ctx context.Context, after int32, limit int) ([]platformRead, bool, error) {
		platforms, more, err := a.store.platformsAfter(ctx, after, limit)
		return toPlatformReads(platforms), more, err
	})
}

// receivePlatform is called by PlatformService for each new platform.
func (a *restAPI) receivePlatform(w http.ResponseWriter, r *http.Request) error {
	var body platformCreate
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	added, err := a.store.addPlatform(r.Context(), body.toPlatform())
	if err != nil {
		return err
	}
	a.log.InfoContext(r.Context(), "platform received by HTTP", "id", body.ID, "name", body.Name, "new", added)
	stored, err := a.store.platform(r.Context(), body.ID) // a known one may have another name
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, toPlatformRead(stored))
}

func (a *restAPI) listCommands(w http.ResponseWriter, r *http.Request) error {
	platformID, err := pathID(r, "platformId")
	if err != nil {
		return err
	}
	return writeList(w, r, func(ctx context.Context, after int32, limit int) ([]commandRead, bool, error) {
		commands, more, err := a.store.commandsAfter(ctx, platformID, after, limit)
		return toCommandReads(commands), more, err
	})
}

func (a *restAPI) getCommand(w http.ResponseWriter, r *http.Request) error {
	platformID, err := pathID(r, "platformId")
	if err != nil {
		return err
	}
	commandID, err := pathID(r, "commandId")
	if err != nil {
		return err
	}
	found, err := a.store.command(r.Context(), platformID, commandID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, toCommandRead(found))
}

func (a *restAPI) createCommand(w http.ResponseWriter, r *http.Request) error {
	platformID, err := pathID(r, "platformId")
	if err != nil {
		return err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	if key != "" {
		if !a.inFlight.begin(key) {
			return newProblem(http.StatusConflict, "the first request with this "+idempotencyHeader+" is still being handled")
		}
		defer a.inFlight.end(key)
	}
	var body commandCreate
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	created, replayed, err := a.save(r.Context(), key, body.toCommand(platformID))
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set(replayedHeader, "true")
	} else {
		a.log.InfoContext(r.Context(), "command created", "id", created.ID, "platform", platformID)
	}
	w.Header().Set("Location", fmt.Sprintf("/api/c/platforms/%d/commands/%d", platformID, created.ID))
	return writeJSON(w, http.StatusCreated, toCommandRead(created))
}

// save stores c, and with it key unless that is empty.
func (a *restAPI) save(ctx context.Context, key string, c command) (created command, replayed bool, err error) {
	if key == "" {
		created, err = a.store.createCommand(ctx, c)
		return created, false, err
	}
	return a.store.createCommandOnce(ctx, key, c)
}

// fail writes the response for err. This is the one table from errors to status
// codes. Any other error is internal: it is logged, and the client gets a 500
// that does not show it.
func (a *restAPI) fail(w http.ResponseWriter, r *http.Request, err error) {
	log := a.log.With("method", r.Method, "path", r.URL.Path, "error", err)
	var p *problem
	var fields fieldErrors
	switch {
	case errors.As(err, &p): // it is one already
	case errors.As(err, &fields):
		p = invalid(fields)
	case errors.Is(err, errKeyReused):
		p = newProblem(http.StatusUnprocessableEntity, errKeyReused.Error())
	case errors.Is(err, errPlatformNotFound):
		p = notFound(r, "platform", "platformId")
	case errors.Is(err, errCommandNotFound):
		p = notFound(r, "command", "commandId")
	case errors.Is(r.Context().Err(), context.Canceled):
		log.DebugContext(r.Context(), "client disconnected")
		return // nobody is there to read a response
	case errors.Is(err, errCutOff):
		log.WarnContext(r.Context(), "list not completed")
		return
	case errors.Is(err, sqlserver.ErrNotConfirmed): // a 503 would say that nothing was stored
		log.ErrorContext(r.Context(), "outcome unknown")
		p = newProblem(http.StatusInternalServerError,
			"the database did not confirm: the command may have been created; a request with an "+idempotencyHeader+" can be repeated without harm")
	case databaseUnavailable(err):
		log.WarnContext(r.Context(), "database unavailable")
		p = unavailable(w, "the database is unavailable; retry later")
	default:
		log.ErrorContext(r.Context(), "request failed")
		p = newProblem(http.StatusInternalServerError, "internal error; the service's log has the cause")
	}
	writeProblem(w, p)
}
