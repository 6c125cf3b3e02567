package platformservice

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

// requestTimeout bounds what one request may take, the calls it makes included.
const requestTimeout = 10 * time.Second

// restAPI answers the HTTP requests of clients.
type restAPI struct {
	store    platformStore
	commands *commandsClient // nil: CommandsService is not told
	log      *slog.Logger
}

// handler returns the routes:
//
//	GET  /api/platforms       all platforms
//	POST /api/platforms       create one
//	GET  /api/platforms/{id}  one platform
func (a *restAPI) handler() http.Handler {
	router := mux.NewRouter().SkipClean(true) // cleaning a path redirects, and a redirected POST loses its body
	router.Handle("/api/platforms", methods{http.MethodGet: a.list, http.MethodPost: a.create})
	router.Handle("/api/platforms/{id}", methods{http.MethodGet: a.get})
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, r, a.log, newProblem(http.StatusNotFound, "there is nothing at this path"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.Clone(ctx)
		r.URL.Path = strings.TrimSuffix(r.URL.Path, "/") // /api/platforms/ is /api/platforms
		router.ServeHTTP(w, r)
	})
}

func (a *restAPI) list(w http.ResponseWriter, r *http.Request) {
	platforms, err := a.store.platforms(r.Context())
	if err != nil {
		writeError(w, r, a.log, err)
		return
	}
	writeJSON(w, http.StatusOK, toPlatformReads(platforms))
}

func (a *restAPI) get(w http.ResponseWriter, r *http.Request) {
	id, err := parseID("id", mux.Vars(r)["id"])
	if err != nil {
		writeError(w, r, a.log, err)
		return
	}
	platform, err := a.store.platform(r.Context(), id)
	if errors.Is(err, errNotFound) {
		err = newProblem(http.StatusNotFound, "there is no platform "+mux.Vars(r)["id"])
	}
	if err != nil {
		writeError(w, r, a.log, err)
		return
	}
	writeJSON(w, http.StatusOK, toPlatformRead(platform))
}

func (a *restAPI) create(w http.ResponseWriter, r *http.Request) {
	var body platformCreate
	if err := readJSON(w, r, &body); err != nil {
		writeError(w, r, a.log, err)
		return
	}
	if err := body.validate().problem(); err != nil {
		writeError(w, r, a.log, err)
		return
	}
	// From here on a client that goes away changes nothing: what it asked for is
	// done to the end, and not left half done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), requestTimeout)
	defer cancel()
	platform, err := a.store.createPlatform(ctx, body.toPlatform())
	if err != nil {
		writeError(w, r, a.log, err)
		return
	}
	a.log.Info("platform created", "id", platform.ID, "name", platform.Name)

	// The platform is stored: nothing turns the 201 into an error now.
	a.tellCommands(ctx, platform)

	w.Header().Set("Location", fmt.Sprintf("/api/platforms/%d", platform.ID))
	writeJSON(w, http.StatusCreated, toPlatformRead(platform))
}

// tellCommands sends the platform to CommandsService and waits for its answer.
func (a *restAPI) tellCommands(ctx context.Context, platform platform) {
	if a.commands == nil {
		return
	}
	if err := a.commands.sendPlatform(ctx, platform); err != nil {
		a.log.Warn("CommandsService was not told", "id", platform.ID, "error", err)
		return
	}
	a.log.Info("CommandsService was told", "id", platform.ID)
}
