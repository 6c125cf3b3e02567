package settings_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/settings"
	"microcomm/final/internal/web"
)

func TestGuard(t *testing.T) {
	t.Run("reads the settings of access control and of the limits", func(t *testing.T) {
		e := settings.NewEnv(env(map[string]string{"AUTH_ISSUER": "https://issuer.example/realms/a", "AUTH_AUDIENCE": "microcomm",
			"AUTH_LEEWAY": "0s", "HTTP_RATE_LIMIT": "10", "TRUSTED_PROXIES": "10.1.2.3/8, 192.0.2.1,::1"}))
		assert.Equal(t, web.GuardConfig{
			Access:    web.AccessConfig{Issuer: "https://issuer.example/realms/a", Audience: "microcomm", TokenType: "at+jwt"},
			RateLimit: 10,
			TrustedProxies: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("::1/128")},
		}, e.Guard())
		require.NoError(t, e.Err())
	})

	t.Run("without an issuer access control is off", func(t *testing.T) {
		e := settings.NewEnv(env(map[string]string{"AUTH_ISSUER": "", "AUTH_AUDIENCE": "", "AUTH_TOKEN_TYPE": "JWT"})) // as Compose sets what is not set
		assert.Equal(t, web.GuardConfig{}, e.Guard())
		require.NoError(t, e.Err())
	})

	issuer := map[string]string{"AUTH_ISSUER": "https://issuer.example", "AUTH_AUDIENCE": "microcomm"}
	for _, row := range []struct{ setting, value, named string }{
		{"AUTH_AUDIENCE", "", "AUTH_AUDIENCE"},
		{"AUTH_ISSUER", "", "AUTH_ISSUER"},
		{"AUTH_ISSUER", "issuer.example", "AUTH_ISSUER"},
		{"AUTH_ISSUER", "http://issuer.example", "AUTH_ISSUER"},
		{"AUTH_ISSUER", "http://localhost.issuer.example", "AUTH_ISSUER"},
		{"AUTH_ISSUER", "https://user:s3cret@issuer.example", "AUTH_ISSUER"},
		{"AUTH_JWKS_URL", "http://192.0.2.1/keys", "AUTH_JWKS_URL"},
		{"AUTH_JWKS_URL", "file:///keys", "AUTH_JWKS_URL"},
		{"AUTH_TOKEN_TYPE", "any", "AUTH_TOKEN_TYPE"},
		{"AUTH_LEEWAY", "1h", "AUTH_LEEWAY"},
		{"AUTH_CA_FILE", "missing.pem", "AUTH_CA_FILE"},
		{"HTTP_RATE_LIMIT", "-1", "HTTP_RATE_LIMIT"},
		{"TRUSTED_PROXIES", "10.0.0.0/33", "TRUSTED_PROXIES"},
		{"TRUSTED_PROXIES", "proxy.example", "TRUSTED_PROXIES"},
	} {
		t.Run("refuses "+row.setting+"="+row.value, func(t *testing.T) {
			values := map[string]string{row.setting: row.value}
			for name, value := range issuer {
				if name != row.setting {
					values[name] = value
				}
			}
			e := settings.NewEnv(env(values))
			e.Guard()
			require.ErrorContains(t, e.Err(), row.named+": ")
			assert.NotContains(t, e.Err().Error(), "s3cret")
		})
	}

	t.Run("this machine needs no HTTPS", func(t *testing.T) {
		for _, local := range []string{"http://localhost:7010", "http://127.0.0.1:1/realm", "http://[::1]:1"} {
			e := settings.NewEnv(env(map[string]string{"AUTH_ISSUER": local, "AUTH_AUDIENCE": "microcomm"}))
			assert.Equal(t, 30*time.Second, e.Guard().Access.Leeway)
			require.NoError(t, e.Err())
		}
	})
}

func TestAdminAddr(t *testing.T) {
	e := settings.NewEnv(env(map[string]string{"A": ":9090", "B": "", "C": "nonsense"}))
	assert.Equal(t, ":9090", e.AdminAddr("A"))
	assert.Empty(t, e.AdminAddr("B"))
	require.NoError(t, e.Err())
	e.OwnAddr("A", ":9090", ":8080")
	e.OwnAddr("A", ":0", ":0")
	e.OwnAddr("A", "", "")
	require.NoError(t, e.Err())
	e.OwnAddr("A", ":9090", ":8080", ":9090")
	e.AdminAddr("C")
	require.ErrorContains(t, e.Err(), "A: ")
	require.ErrorContains(t, e.Err(), "C: ")
}
