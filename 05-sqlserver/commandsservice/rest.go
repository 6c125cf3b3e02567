package commandsservice

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
	routes.handle("/api/c/platforms", byMethod{http.MethodGet: a.listPlatforms, http.MethodPost: a.receivePlatform})
	routes.handle("/api/c/platforms/{platformId}/commands", byMethod{http.MethodGet: a.listCommands, http.MethodPost: a.createCommand})
	routes.handle("/api/c/platforms/{platformId}/commands/{commandId}", byMethod{http.MethodGet: a.getCommand})
	return routes
}

func (a *restAPI) listPlatforms(w http.ResponseWriter, r *http.Request) error {
	platforms, err := a.store.platforms(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, toPlatformReads(platforms))
}

// receivePlatform is called by PlatformService for each new platform. A request
// without a body only asks whether the connection works, as API clients that
// were set up for the .NET service do.
func (a *restAPI) receivePlatform(w http.ResponseWriter, r *http.Request) error {
	if !hasBody(r) {
		a.log.Info("inbound connection tested")
		return writeJSON(w, http.StatusOK, map[string]string{"status": "the inbound connection works"})
	}
	var body platformCreate
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	added, err := a.store.addPlatform(ctx, body.toPlatform())
	if err != nil {
		return err
	}
	a.log.Info("platform received by HTTP", "id", body.ID, "name", body.Name, "new", added)
	stored, err := a.store.platform(ctx, body.ID) // a known one may have another name
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, toPlatformRead(stored))
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
	ctx, cancel := detached(r)
	defer cancel()
	created, err := a.store.createCommand(ctx, body.toCommand(platformID))
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
	case errors.Is(err, context.Canceled): // a context that ends early is that of the client
		log.Debug("client disconnected")
		panic(http.ErrAbortHandler) // closes the connection: to return would send an empty 200
	default:
		log.Error("request failed")
		p = newProblem(http.StatusInternalServerError, "internal error; the service's log has the cause")
	}
	writeProblem(w, p)
}
