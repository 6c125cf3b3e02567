package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
)

// restAPI handles the HTTP requests of clients and of PlatformService.
type restAPI struct {
	store commandStore
	log   *slog.Logger
}

// handler returns the routes.
func (a *restAPI) handler() http.Handler {
	routes := newRouter(a.fail)
	routes.handle("/api/c/platforms", methods{http.MethodGet: a.listPlatforms, http.MethodPost: a.receivePlatform})
	routes.handle("/api/c/platforms/{platformId}/commands", methods{http.MethodGet: a.listCommands, http.MethodPost: a.createCommand})
	routes.handle("/api/c/platforms/{platformId}/commands/{commandId}", methods{http.MethodGet: a.getCommand})
	return routes
}

func (a *restAPI) listPlatforms(w http.ResponseWriter, r *http.Request) error {
	platforms, err := a.store.platforms(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, toPlatformReads(platforms))
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
	a.log.Info("platform received by HTTP", "id", body.ID, "name", body.Name, "new", added)
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
	commands, err := a.store.commands(r.Context(), platformID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, toCommandReads(commands))
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
	var body commandCreate
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	created, err := a.store.createCommand(r.Context(), body.toCommand(platformID))
	if err != nil {
		return err
	}
	a.log.Info("command created", "id", created.ID, "platform", platformID)
	w.Header().Set("Location", fmt.Sprintf("/api/c/platforms/%d/commands/%d", platformID, created.ID))
	return writeJSON(w, http.StatusCreated, toCommandRead(created))
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
	case errors.Is(err, errPlatformNotFound):
		p = notFound(r, "platform", "platformId")
	case errors.Is(err, errCommandNotFound):
		p = notFound(r, "command", "commandId")
	case errors.Is(r.Context().Err(), context.Canceled):
		log.Debug("client disconnected")
		return // nobody is there to read a response
	default:
		log.Error("request failed")
		p = newProblem(http.StatusInternalServerError, "internal error; the service's log has the cause")
	}
	writeProblem(w, p)
}
