package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"
)

// requestTimeout bounds what one request may take.
const requestTimeout = 10 * time.Second

// restAPI answers the HTTP requests of clients and of PlatformService.
type restAPI struct {
	store commandStore
	log   *slog.Logger
}

// handler returns the routes:
//
//	GET  /api/c/platforms                                     all platforms
//	POST /api/c/platforms                                     PlatformService tells of one
//	GET  /api/c/platforms/{platformId}/commands               its commands
//	POST /api/c/platforms/{platformId}/commands               create one
//	GET  /api/c/platforms/{platformId}/commands/{commandId}   one command
func (a *restAPI) handler() http.Handler {
	router := mux.NewRouter().SkipClean(true) // cleaning a path redirects, and a redirected POST loses its body
	router.Handle("/api/c/platforms", methods{http.MethodGet: a.listPlatforms, http.MethodPost: a.receivePlatform})
	router.Handle("/api/c/platforms/{platformId}/commands",
		methods{http.MethodGet: a.listCommands, http.MethodPost: a.createCommand})
	router.Handle("/api/c/platforms/{platformId}/commands/{commandId}", methods{http.MethodGet: a.getCommand})
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, newProblem(http.StatusNotFound, "there is nothing at this path"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.Clone(ctx)
		r.URL.Path = strings.TrimSuffix(r.URL.Path, "/") // /api/c/platforms/ is /api/c/platforms
		router.ServeHTTP(w, r)
	})
}

// fail answers err; those of the store that a client can cause are its 404s.
func (a *restAPI) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errPlatformNotFound):
		err = newProblem(http.StatusNotFound, "there is no platform "+mux.Vars(r)["platformId"])
	case errors.Is(err, errCommandNotFound):
		err = newProblem(http.StatusNotFound, "the platform has no command "+mux.Vars(r)["commandId"])
	}
	writeError(w, r, a.log, err)
}

func (a *restAPI) listPlatforms(w http.ResponseWriter, r *http.Request) {
	platforms, err := a.store.platforms(r.Context())
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, toPlatformReads(platforms))
}

// receivePlatform is PlatformService's way of telling about a new platform, and
// of seeing that its connection to this service works.
func (a *restAPI) receivePlatform(w http.ResponseWriter, r *http.Request) {
	var body platformCreate
	if err := readJSON(w, r, &body); err != nil {
		a.fail(w, r, err)
		return
	}
	if err := body.validate().problem(); err != nil {
		a.fail(w, r, err)
		return
	}
	added, err := a.store.addPlatform(r.Context(), body.toPlatform())
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.log.Info("platform received by HTTP", "id", body.ID, "name", body.Name, "new", added)
	platform, err := a.store.platform(r.Context(), body.ID)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, toPlatformRead(platform))
}

func (a *restAPI) listCommands(w http.ResponseWriter, r *http.Request) {
	platformID, err := parseID("platformId", mux.Vars(r)["platformId"])
	if err != nil {
		a.fail(w, r, err)
		return
	}
	commands, err := a.store.commands(r.Context(), platformID)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, toCommandReads(commands))
}

func (a *restAPI) getCommand(w http.ResponseWriter, r *http.Request) {
	platformID, err := parseID("platformId", mux.Vars(r)["platformId"])
	if err != nil {
		a.fail(w, r, err)
		return
	}
	commandID, err := parseID("commandId", mux.Vars(r)["commandId"])
	if err != nil {
		a.fail(w, r, err)
		return
	}
	command, err := a.store.command(r.Context(), platformID, commandID)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, toCommandRead(command))
}

func (a *restAPI) createCommand(w http.ResponseWriter, r *http.Request) {
	platformID, err := parseID("platformId", mux.Vars(r)["platformId"])
	if err != nil {
		a.fail(w, r, err)
		return
	}
	var body commandCreate
	if err := readJSON(w, r, &body); err != nil {
		a.fail(w, r, err)
		return
	}
	if err := body.validate().problem(); err != nil {
		a.fail(w, r, err)
		return
	}
	command, err := a.store.createCommand(r.Context(), body.toCommand(platformID))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.log.Info("command created", "id", command.ID, "platform", platformID)
	w.Header().Set("Location", fmt.Sprintf("/api/c/platforms/%d/commands/%d", platformID, command.ID))
	writeJSON(w, http.StatusCreated, toCommandRead(command))
}
