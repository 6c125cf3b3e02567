// Package access tests final's access control with an issuer of another project.
package access

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

// program builds PlatformService.
func program(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", dir+string(filepath.Separator), "./cmd/platformservice")
	build.Dir, build.Env = filepath.Join("..", "..", "..", "final"), append(os.Environ(), "GOWORK=off")
	text, err := build.CombinedOutput()
	require.NoError(t, err, "%s", text)
	return filepath.Join(dir, "platformservice")
}

// logBuffer collects what a process prints.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start runs the program with the provider as its issuer, and returns its URL and log.
func start(t *testing.T, path string, p *provider, env ...string) (string, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	process := exec.CommandContext(t.Context(), path) // killed before the cleanup that waits for it
	process.Env = append([]string{"PLATFORMS_HTTP_ADDR=127.0.0.1:0", "PLATFORMS_GRPC_ADDR=127.0.0.1:0", "RABBITMQ_URL=amqp://127.0.0.1:1/", "LOG_LEVEL=debug",
		"AUTH_ISSUER=" + p.url, "AUTH_AUDIENCE=" + audience, "AUTH_TOKEN_TYPE=JWT"}, env...)
	process.Stdout, process.Stderr = log, log
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		_ = process.Wait()
		if t.Failed() {
			t.Log(log)
		}
	})
	addr := regexp.MustCompile(`msg="listening for HTTP" addr=(\S+)`)
	require.Eventually(t, func() bool { return addr.MatchString(log.String()) }, patience, 20*time.Millisecond, "an address in the log")
	return "http://" + addr.FindStringSubmatch(log.String())[1], log
}

// get returns the status of a GET with that token, or 0 while nothing responds.
func get(t *testing.T, url, token string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// eventually waits until a GET has that status.
func eventually(t *testing.T, url, token string, status int) {
	t.Helper()
	require.Eventually(t, func() bool { return get(t, url, token) == status }, patience, 20*time.Millisecond, "%s: %d", url, status)
}

func TestAnotherIssuer(t *testing.T) {
	path := program(t)
	p := newProvider(t)
	url, log := start(t, path, p)
	list := url + "/api/platforms"
	eventually(t, url+"/readyz", "", http.StatusOK)
	token := p.token(t, "openid", "platforms:read")

	t.Run("its token is accepted, for its scopes alone", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, get(t, list, token))
		assert.Equal(t, http.StatusForbidden, get(t, list, p.token(t, "platforms:write", "platforms:readonly")))
		assert.Equal(t, http.StatusForbidden, get(t, list, p.token(t, "openid")))
		assert.Equal(t, http.StatusUnauthorized, get(t, list, ""))
	})

	t.Run("its key rotates, twice", func(t *testing.T) {
		p.rotate(t, "second")
		eventually(t, list, p.token(t, "platforms:read"), http.StatusOK)
		assert.Equal(t, http.StatusOK, get(t, list, token), "the key before is published still")
		p.rotate(t, "third") // at most one refresh in ten seconds
		eventually(t, list, p.token(t, "platforms:read"), http.StatusOK)
		assert.Equal(t, http.StatusUnauthorized, get(t, list, token), "two keys before is not")
		token = p.token(t, "platforms:read")
	})

	t.Run("a token for another audience is refused, and one that has expired", func(t *testing.T) {
		p.change(func() { p.audience = "https://other.example" })
		assert.Equal(t, http.StatusUnauthorized, get(t, list, p.token(t, "platforms:read")))
		p.change(func() { p.audience, p.lifetime = audience, -31*time.Second })
		assert.Equal(t, http.StatusUnauthorized, get(t, list, p.token(t, "platforms:read")))
		p.change(func() { p.lifetime = -time.Second })
		assert.Equal(t, http.StatusOK, get(t, list, p.token(t, "platforms:read")), "within the leeway")
		p.change(func() { p.lifetime = time.Hour })
	})

	t.Run("its token is none for a service that expects RFC 9068", func(t *testing.T) {
		url, _ := start(t, path, p, "AUTH_TOKEN_TYPE=at+jwt")
		eventually(t, url+"/readyz", "", http.StatusOK)
		assert.Equal(t, http.StatusUnauthorized, get(t, url+"/api/platforms", token))
	})

	t.Run("it may be down later", func(t *testing.T) {
		fresh := p.token(t, "platforms:read")
		p.change(func() { p.down = true })
		assert.Equal(t, http.StatusOK, get(t, list, token))
		assert.Equal(t, http.StatusOK, get(t, list, fresh), "one that the service has never seen")
		assert.Equal(t, http.StatusOK, get(t, url+"/readyz", ""))
	})

	t.Run("it may be down at the start", func(t *testing.T) {
		url, log := start(t, path, p)
		require.Eventually(t, func() bool { return strings.Contains(log.String(), "keys not read, retrying") }, patience, 20*time.Millisecond)
		eventually(t, url+"/api/platforms", token, http.StatusServiceUnavailable)
		assert.Equal(t, http.StatusServiceUnavailable, get(t, url+"/readyz", ""))
		assert.Equal(t, http.StatusOK, get(t, url+"/livez", ""))
		p.change(func() { p.down = false })
		eventually(t, url+"/api/platforms", token, http.StatusOK)
		eventually(t, url+"/readyz", "", http.StatusOK)
	})

	_, claims, _ := strings.Cut(token, ".")
	assert.NotContains(t, log.String(), claims[:40])
}

// TestKeysElsewhere: inside a cluster the issuer may have another address than
// outside, which is the one in its tokens.
func TestKeysElsewhere(t *testing.T) {
	p := newProvider(t)
	inside := strings.Replace(p.url, "127.0.0.1", "localhost", 1)
	url, _ := start(t, program(t), p, "AUTH_JWKS_URL="+inside+"/keys")
	eventually(t, url+"/api/platforms", p.token(t, "platforms:read"), http.StatusOK)
}
