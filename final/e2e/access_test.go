package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

// guarded returns a system that accepts the tokens of issuer, not started yet.
func guarded(t *testing.T, issuer *testkit.Issuer, env ...string) *system {
	t.Helper()
	return local(t, append([]string{"RABBITMQ_URL=amqp://127.0.0.1:1/", "AUTH_ISSUER=" + issuer.URL, "AUTH_AUDIENCE=" + testkit.Audience}, env...)...)
}

// reply is a response as these tests read it.
type reply struct {
	status int
	header http.Header
}

// ask sends a request with a token, unless that is empty.
func ask(t *testing.T, method, url, token string, header ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("{}"))
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	response.Body.Close()
	return reply{response.StatusCode, response.Header}
}

func TestAccessControl(t *testing.T) {
	issuer := testkit.NewIssuer(t)
	key := testkit.NewKey(t, "first", "ES256")
	issuer.Publish(key)
	token := func(scope string) string { return testkit.Sign(t, key, issuer.Claims("ann", scope), nil) }
	s := guarded(t, issuer)
	s.callCommandsService()
	s.commands.token, s.platforms.token = token("platforms:read"), token("platforms:read platforms:write")
	s.commands.start(t)
	s.platforms.start(t)

	t.Run("a platform is created with a token, and CommandsService hears of it with the same", func(t *testing.T) {
		var created struct{ ID int }
		s.platforms.call(t, http.MethodPost, "/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`, http.StatusCreated, &created)
		var known []struct{ ID int }
		s.commands.call(t, http.MethodGet, "/api/c/platforms", "", http.StatusOK, &known)
		assert.Contains(t, known, created)
	})

	for _, route := range []struct {
		service            *service
		method, path, need string
	}{
		{s.platforms, "GET", "/api/platforms", "platforms:read"},
		{s.platforms, "HEAD", "/api/platforms", "platforms:read"},
		{s.platforms, "POST", "/api/platforms", "platforms:write"},
		{s.platforms, "GET", "/api/platforms/1", "platforms:read"},
		{s.platforms, "GET", "/protos/platforms.proto", "platforms:read"},
		{s.platforms, "GET", "/metrics", ""},
		{s.commands, "GET", "/api/c/platforms", "platforms:read"},
		{s.commands, "POST", "/api/c/platforms", "platforms:write"},
		{s.commands, "GET", "/api/c/platforms/1/commands", "commands:read"},
		{s.commands, "POST", "/api/c/platforms/1/commands/", "commands:write"},
		{s.commands, "GET", "/api/c/platforms/1/commands/1", "commands:read"},
		{s.commands, "GET", "/metrics", ""},
	} {
		t.Run(route.method+" "+route.path, func(t *testing.T) {
			refused := ask(t, route.method, route.service.url+route.path, "")
			assert.Equal(t, http.StatusUnauthorized, refused.status)
			assert.Equal(t, "Bearer", refused.header.Get("WWW-Authenticate"))
			for _, scope := range []string{"platforms:read", "platforms:write", "commands:read", "commands:write"} {
				got := ask(t, route.method, route.service.url+route.path, token(scope))
				assert.NotEqual(t, http.StatusUnauthorized, got.status)
				assert.Equal(t, route.need != "" && scope != route.need, got.status == http.StatusForbidden, scope)
			}
		})
	}

	t.Run("probes need no token", func(t *testing.T) {
		for _, service := range []*service{s.platforms, s.commands} {
			assert.Equal(t, http.StatusOK, ask(t, "GET", service.url+"/livez", "").status)
			assert.NotEqual(t, http.StatusUnauthorized, ask(t, "GET", service.url+"/readyz", "").status)
		}
	})

	t.Run("a header of a megabyte is refused", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.platforms.url, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		go func() { // the service may close the connection before it has read everything
			_, _ = conn.Write([]byte("GET /api/platforms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + strings.Repeat("a", 1<<20) + "\r\n\r\n"))
		}()
		first := make([]byte, len("HTTP/1.1 431"))
		if _, err := conn.Read(first); err == nil { // else it was reset
			assert.Equal(t, "HTTP/1.1 431", string(first))
		}
		assert.Equal(t, http.StatusOK, ask(t, "GET", s.platforms.url+"/api/platforms", s.platforms.token).status)
	})

	t.Run("keys rotate without a restart, and a key that is withdrawn ends", func(t *testing.T) {
		next := testkit.NewKey(t, "second", "RS256")
		issuer.Publish(key, next)
		token := testkit.Sign(t, next, issuer.Claims("ann", "platforms:read"), nil)
		eventually(t, "the new key is known", func() bool { // at once, unless the issuer takes longer than a request waits
			return ask(t, "GET", s.platforms.url+"/api/platforms", token).status == http.StatusOK
		})
	})

	t.Run("no token is logged", func(t *testing.T) {
		_, claims, _ := strings.Cut(s.platforms.token, ".")
		assert.NotContains(t, s.platforms.logs.String()+s.commands.logs.String(), claims[:40])
	})
}

func TestIssuerThatIsDown(t *testing.T) {
	issuer := testkit.NewIssuer(t) // without keys, which is as good
	key := testkit.NewKey(t, "first", "EdDSA")
	token := testkit.Sign(t, key, issuer.Claims("ann", "platforms:read"), nil)
	s := guarded(t, issuer)
	s.platforms.launch(t)
	eventually(t, "unreadiness that names the issuer", func() bool {
		status, body, err := s.platforms.send(http.MethodGet, "/readyz", "")
		return err == nil && status == http.StatusServiceUnavailable && strings.Contains(string(body), `"issuer":{"status":"failing"`) &&
			strings.Contains(string(body), `"status":"unavailable"`) // no longer starting
	})
	refused := ask(t, "GET", s.platforms.url+"/api/platforms", token)
	assert.Equal(t, http.StatusServiceUnavailable, refused.status)
	assert.NotEmpty(t, refused.header.Get("Retry-After"))
	assert.Equal(t, http.StatusUnauthorized, ask(t, "GET", s.platforms.url+"/api/platforms", "").status)

	issuer.Publish(key)
	s.platforms.token = token
	eventually(t, "the issuer is up, and the token accepted", func() bool {
		status, _, err := s.platforms.send(http.MethodGet, "/api/platforms", "")
		return err == nil && status == http.StatusOK
	})
	issuer.Publish()
	assert.Equal(t, http.StatusOK, ask(t, "GET", s.platforms.url+"/api/platforms", token).status)
	assert.Equal(t, http.StatusOK, ask(t, "GET", s.platforms.url+"/readyz", "").status)
}

func TestHalfOfAccessControl(t *testing.T) {
	s := local(t)
	for _, service := range []*service{s.platforms, s.commands} {
		for _, half := range [][]string{
			{"AUTH_ISSUER=https://issuer.example"},
			{"AUTH_AUDIENCE=microcomm"},
			{"AUTH_ISSUER=", "AUTH_JWKS_URL=https://issuer.example/keys"},
			{"AUTH_ISSUER=http://issuer.example", "AUTH_AUDIENCE=microcomm"},
			{"AUTH_ISSUER=https://issuer.example", "AUTH_AUDIENCE=microcomm", "AUTH_JWKS_URL=http://issuer.example/keys"},
			{"AUTH_ISSUER=https://issuer.example", "AUTH_AUDIENCE=microcomm", "AUTH_TOKEN_TYPE=any"},
		} {
			output, status := runProgram(t, service.name, append(service.env, half...))
			assert.Equal(t, 2, status, half)
			assert.Contains(t, output, "AUTH_")
		}
	}
}

func TestAdminPort(t *testing.T) {
	issuer := testkit.NewIssuer(t)
	issuer.Publish(testkit.NewKey(t, "first", "EdDSA"))
	addrs := freeAddrs(t, 2)
	s := guarded(t, issuer, "BACKFILL_READY_TIMEOUT=1s", "PLATFORMS_ADMIN_ADDR="+addrs[0], "COMMANDS_ADMIN_ADDR="+addrs[1])
	s.platforms.launch(t)
	s.commands.launch(t)
	for service, admin := range map[*service]string{s.platforms: "http://" + addrs[0], s.commands: "http://" + addrs[1]} {
		t.Run(service.name, func(t *testing.T) {
			eventually(t, "readiness, at the admin port", func() bool {
				response, err := http.Get(admin + "/readyz")
				if err != nil {
					return false
				}
				response.Body.Close()
				return response.StatusCode == http.StatusOK
			})
			assert.Equal(t, http.StatusOK, ask(t, "GET", admin+"/livez", "").status)
			assert.Equal(t, http.StatusOK, ask(t, "GET", admin+"/metrics", "").status)
			assert.Equal(t, http.StatusNotFound, ask(t, "GET", admin+"/api/platforms", "").status)
			for _, moved := range []string{"/livez", "/readyz", "/metrics"} {
				assert.Equal(t, http.StatusNotFound, ask(t, "GET", service.url+moved, "").status)
			}
			assert.NoError(t, service.stop(t))
		})
	}
}

// TestClientsBehindTheGateway: in one process, a client is whom the gateway sees.
func TestClientsBehindTheGateway(t *testing.T) {
	if os.Getenv("E2E_BIN") == "" {
		t.Skip("starts programs: not done to those at PLATFORMS_URL")
	}
	for trusted, want := range map[string]int{"": http.StatusTooManyRequests, "127.0.0.1": http.StatusOK} {
		addr := freeAddrs(t, 1)[0]
		gateway := newService(t, "microcomm", "http://"+addr, []string{"GATEWAY_ADDR=" + addr, "HTTP_RATE_LIMIT=1", "TRUSTED_PROXIES=" + trusted})
		gateway.launch(t)
		eventually(t, "the gateway serves", func() bool {
			status, _, err := gateway.send(http.MethodGet, "/api/platforms", "")
			return err == nil && status == http.StatusOK
		})
		next := 0
		request := func() int { // each under another address, if that counts
			next++
			return ask(t, "GET", gateway.url+"/api/platforms", "", "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", next%256)).status
		}
		if want == http.StatusTooManyRequests {
			eventually(t, "a refusal", func() bool { return request() == want }) // the third one, unless a second has passed
			continue
		}
		for range 10 {
			assert.Equal(t, want, request())
		}
	}
}

func TestNamesThatMayCall(t *testing.T) {
	files := issueCertificate(t)
	for names, served := range map[string]bool{"commands.example, 127.0.0.1": true, "127.0.0.2": false} {
		s := local(t, "RABBITMQ_URL=amqp://127.0.0.1:1/", "SEED_DATA=true", "PLATFORMS_GRPC_TLS_CLIENT_NAMES="+names,
			"PLATFORMS_GRPC_TLS_CERT_FILE="+files.cert, "PLATFORMS_GRPC_TLS_KEY_FILE="+files.key, "PLATFORMS_GRPC_TLS_CLIENT_CA_FILE="+files.ca,
			"COMMANDS_GRPC_TLS_CERT_FILE="+files.cert, "COMMANDS_GRPC_TLS_KEY_FILE="+files.key, "COMMANDS_GRPC_TLS_CA_FILE="+files.ca)
		s.platforms.start(t)
		s.commands.start(t)
		if served {
			eventually(t, "a backfill", func() bool {
				status, _, err := s.commands.send(http.MethodGet, "/api/c/platforms/1/commands", "")
				return err == nil && status == http.StatusOK
			})
			continue
		}
		eventually(t, "a refusal in the log", func() bool { return strings.Contains(s.platforms.logs.String(), "client refused") })
		status, _, err := s.commands.send(http.MethodGet, "/api/c/platforms/1/commands", "")
		require.NoError(t, err)
		assert.Equal(t, http.StatusNotFound, status)
	}
	output, status := runProgram(t, "platformservice", []string{"PLATFORMS_GRPC_TLS_CLIENT_NAMES=x"})
	assert.Equal(t, 2, status)
	assert.Contains(t, output, "PLATFORMS_GRPC_TLS_CLIENT_NAMES")
}

// TestAdminPortOverTLS: it speaks TLS as the HTTP port does, but a probe has no certificate.
func TestAdminPortOverTLS(t *testing.T) {
	files := issueCertificate(t)
	admin := freeAddrs(t, 1)[0]
	s := local(t, "RABBITMQ_URL=amqp://127.0.0.1:1/", "PLATFORMS_ADMIN_ADDR="+admin,
		"PLATFORMS_TLS_CERT_FILE="+files.cert, "PLATFORMS_TLS_KEY_FILE="+files.key, "PLATFORMS_TLS_CLIENT_CA_FILE="+files.ca)
	s.platforms.launch(t)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: files.roots}}}
	t.Cleanup(client.CloseIdleConnections)
	eventually(t, "readiness, at the admin port", func() bool {
		response, err := client.Get("https://" + admin + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	_, err := client.Get(strings.Replace(s.platforms.url, "http:", "https:", 1) + "/api/platforms")
	assert.Error(t, err, "the HTTP port wants a certificate")
}
