package platformservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
)

// restAPI handles the HTTP requests of clients.
type restAPI struct {
	store    platformStore
	commands *commandsClient // nil: CommandsService is not notified
	log      *slog.Logger
}

// handler returns the routes.
func (a *restAPI) handler() http.Handler {
	routes := newRouter(a.fail)
	routes.handle("/api/platforms", byMethod{http.MethodGet: a.list, http.MethodPost: a.create})
	routes.handle("/api/platforms/{id}", byMethod{http.MethodGet: a.get})
	return routes
}

func (a *restAPI) list(w http.ResponseWriter, r *http.Request) error {
	platforms, err := a.store.platforms(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, toPlatformReads(platforms))
}

func (a *restAPI) get(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	found, err := a.store.platform(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, toPlatformRead(found))
}

func (a *restAPI) create(w http.ResponseWriter, r *http.Request) error {
	var body platformCreate
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	created, err := a.store.createPlatform(ctx, body.toPlatform())
	if err != nil {
		return err
	}
	a.log.Info("platform created", "id", created.ID, "name", created.Name)

	// The platform is stored, so the response is a 201 even if this fails.
	a.notifyCommands(ctx, created)

	w.Header().Set("Location", fmt.Sprintf("/api/platforms/%d", created.ID))
	return writeJSON(w, http.StatusCreated, toPlatformRead(created))
}

// notifyCommands sends the platform to CommandsService and waits for the response.
func (a *restAPI) notifyCommands(ctx context.Context, p platform) {
	if a.commands == nil {
		return
	}
	if err := a.commands.sendPlatform(ctx, p); err != nil {
		a.log.Warn("CommandsService not notified", "id", p.ID, "error", err)
		return
	}
	a.log.Info("CommandsService notified", "id", p.ID)
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
	case errors.Is(err, errNotFound):
		p = notFound(r, "platform", "id")
	case errors.Is(err, context.Canceled): // a context that ends early is that of the client
		log.Debug("client disconnected")
		panic(http.ErrAbortHandler) // closes the connection: to return would send an empty 200
	default:
		log.Error("request failed")
		p = newProblem(http.StatusInternalServerError, "internal error; the service's log has the cause")
	}
	writeProblem(w, p)
}
