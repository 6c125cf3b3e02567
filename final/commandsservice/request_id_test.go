package commandsservice

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/requestid"
)

// idHandler adds the id that a log line's context carries.
type idHandler struct{ slog.Handler }

func (h idHandler) Handle(ctx context.Context, record slog.Record) error {
	record.AddAttrs(slog.String("request_id", requestid.From(ctx)))
	return h.Handler.Handle(ctx, record)
}

func (h idHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return idHandler{h.Handler.WithAttrs(attrs)}
}

func TestRequestID(t *testing.T) {
	log, logged := captureLog()
	store := memoryStore(t)
	health := newHealth(log, check{name: "database", run: store.ping})
	api := &restAPI{store: store, slots: newSlots(100), log: slog.New(idHandler{log.Handler()})}
	url := serve(t, requestid.Handler(health.handler(api.handler())))

	t.Run("is in a problem, also while the service is starting", func(t *testing.T) {
		r := send(t, "GET", url+"/api/c/platforms", "", requestid.Header, "a b")
		assert.Equal(t, "a b", requireProblem(t, r, http.StatusServiceUnavailable).Instance)
	})

	health.set("ready")
	for path, status := range map[string]int{"/nothing": 404, "/api/c/platforms/5/commands": 404, "/api/c/platforms/x/commands": 400} {
		t.Run("is in the problem for "+path, func(t *testing.T) {
			r := send(t, "GET", url+path, "")
			id := r.header.Get(requestid.Header)
			require.NotEmpty(t, id)
			assert.Contains(t, r.body, `"instance":"`+id+`"`)
			assert.Equal(t, status, r.status)
		})
	}

	t.Run("is in every line of the log", func(t *testing.T) {
		r := send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"x"}`, requestid.Header, "my-id")
		require.Equal(t, http.StatusOK, r.status)
		assert.Equal(t, "my-id", r.header.Get(requestid.Header))
		r = send(t, "POST", url+"/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`, requestid.Header, "my-id")
		require.Equal(t, http.StatusCreated, r.status)
		require.NoError(t, store.close())
		requireProblem(t, send(t, "GET", url+"/api/c/platforms", "", requestid.Header, "my-id"), http.StatusInternalServerError)
		assert.NotEmpty(t, logged.lines("platform received"))
		assert.NotEmpty(t, logged.lines("command created"))
		assert.NotEmpty(t, logged.lines("request failed"))
		assert.Equal(t, logged.lines(""), logged.lines("request_id=my-id"))
	})
}
