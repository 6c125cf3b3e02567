package commandsservice

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/requestid"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

func TestRequestID(t *testing.T) {
	_, logged := testkit.CaptureLog()
	log, err := telemetry.NewLogger(logged, func(name string) (string, bool) { return "debug", name == "LOG_LEVEL" })
	require.NoError(t, err)
	store := memoryStore(t)
	health := web.NewHealth(log, web.Check{Name: "database", Run: store.ping})
	api := &restAPI{store: store, slots: web.NewSlots(100), log: log}
	url := testkit.Serve(t, requestid.Handler(health.Handler(api.handler())))

	t.Run("is in a problem, also while the service is starting", func(t *testing.T) {
		r := testkit.Send(t, "GET", url+"/api/c/platforms", "", requestid.Header, "a b")
		assert.Equal(t, "a b", testkit.RequireProblem(t, r, http.StatusServiceUnavailable).Instance)
	})

	health.Set(web.Ready)
	for path, status := range map[string]int{"/nothing": 404, "/api/c/platforms/5/commands": 404, "/api/c/platforms/x/commands": 400} {
		t.Run("is in the problem for "+path, func(t *testing.T) {
			r := testkit.Send(t, "GET", url+path, "")
			id := r.Header.Get(requestid.Header)
			require.NotEmpty(t, id)
			assert.Contains(t, r.Body, `"instance":"`+id+`"`)
			assert.Equal(t, status, r.Status)
		})
	}

	t.Run("is in every line of the log", func(t *testing.T) {
		r := testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"x"}`, requestid.Header, "my-id")
		require.Equal(t, http.StatusOK, r.Status)
		assert.Equal(t, "my-id", r.Header.Get(requestid.Header))
		r = testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`, requestid.Header, "my-id")
		require.Equal(t, http.StatusCreated, r.Status)
		require.NoError(t, store.close())
		testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/c/platforms", "", requestid.Header, "my-id"), http.StatusInternalServerError)
		assert.NotEmpty(t, logged.Lines("platform received"))
		assert.NotEmpty(t, logged.Lines("command created"))
		assert.NotEmpty(t, logged.Lines("request failed"))
		assert.Equal(t, logged.Lines(""), logged.Lines("request_id=my-id"))
	})
}
