package console

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

func TestPageIsServedWithItsPolicy(t *testing.T) {
	_, url := startFeed(t, &fakeClock{})
	for path, contentType := range map[string]string{"/": "text/html; charset=utf-8", "/console/app.js": "text/javascript; charset=utf-8"} {
		got := testkit.Send(t, "GET", url+path, "")
		require.Equal(t, http200, got.Status, path)
		assert.Equal(t, contentType, got.Header.Get("Content-Type"))
		assert.Equal(t, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
			got.Header.Get("Content-Security-Policy"))
		assert.NotEmpty(t, got.Body)

		again := testkit.Send(t, "GET", url+path, "", "If-None-Match", got.Header.Get("ETag"))
		assert.Equal(t, http.StatusNotModified, again.Status)
		assert.Empty(t, again.Body)
	}
	for _, path := range []string{"/console/", "/console/missing.js", "/console/../page.go", "/index.html", "/page/index.html"} {
		assert.Equal(t, http.StatusNotFound, testkit.Send(t, "GET", url+path, "").Status, path)
	}
	assert.Equal(t, http.StatusMethodNotAllowed, testkit.Send(t, "DELETE", url+"/", "").Status)
}

func TestWrongSettingsAreNamedAtOnce(t *testing.T) {
	_, err := ConfigFromEnv(env(map[string]string{"CONSOLE_HTTP_ADDR": "x", "CONSOLE_STAGE": "08", "PLATFORMS_URL": "localhost:5000",
		"COMMANDS_URL": "http://a,ftp://b", "PLATFORMS_ADMIN_URL": "x", "CONSOLE_CONTROL_URL": "http://localhost:1", "CONSOLE_TOKEN_FILE": "missing"}))
	for _, name := range []string{"CONSOLE_HTTP_ADDR", "CONSOLE_STAGE", "PLATFORMS_URL", "COMMANDS_URL", "PLATFORMS_ADMIN_URL", "CONSOLE_CONTROL_SECRET", "CONSOLE_TOKEN_FILE"} {
		assert.ErrorContains(t, err, name+": ")
	}
}
