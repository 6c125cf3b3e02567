package platformservice

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/tlsconfig"
)

// configFrom reads the configuration from an environment of these variables.
func configFrom(env map[string]string) (Config, error) {
	return ConfigFromEnv(func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
}

func TestConfigFromEnv(t *testing.T) {
	t.Run("has a default for everything", func(t *testing.T) {
		cfg, err := configFrom(nil)
		require.NoError(t, err)
		assert.Equal(t, Config{
			HTTPAddr:               "localhost:5000",
			GRPCAddr:               "localhost:5001",
			DatabaseURL:            "sqlite::memory:",
			DatabaseWait:           time.Minute,
			Seed:                   true,
			CommandsServiceTimeout: 2 * time.Second,
			RabbitMQURL:            "amqp://localhost:5672/",
			RequestLimit:           256,
			MaxConnections:         512,
			SQLiteSynchronous:      "FULL",
			Exchange:               "microcomm.platforms",
			Docs:                   "own",
		}, cfg)
	})

	t.Run("reads every variable", func(t *testing.T) {
		cfg, err := configFrom(map[string]string{
			"PLATFORMS_HTTP_ADDR":      ":8080",
			"PLATFORMS_GRPC_ADDR":      ":7777",
			"DATABASE_URL":             "sqlite:platforms.db",
			"DATABASE_WAIT":            "5m",
			"SEED_DATA":                "false",
			"COMMANDS_SERVICE_URL":     "https://commands/api/c/platforms",
			"COMMANDS_SERVICE_TIMEOUT": "500ms",
			"RABBITMQ_URL":             "amqps://user:password@broker/vhost",
			"RABBITMQ_EXCHANGE":        "other",
			"HTTP_MAX_IN_FLIGHT":       "20",
			"HTTP_MAX_CONNECTIONS":     "30",
			"DRAIN_TIME":               "3s",
			"SQLITE_SYNCHRONOUS":       "NORMAL",
			"RABBITMQ_BIND_TRIGGER":    "true",
			"PLATFORMS_DOCS":           "all",
		})
		require.NoError(t, err)
		assert.Equal(t, Config{
			HTTPAddr:               ":8080",
			GRPCAddr:               ":7777",
			DatabaseURL:            "sqlite:platforms.db",
			DatabaseWait:           5 * time.Minute,
			Seed:                   false,
			CommandsServiceURL:     "https://commands/api/c/platforms",
			CommandsServiceTimeout: 500 * time.Millisecond,
			RabbitMQURL:            "amqps://user:password@broker/vhost",
			Exchange:               "other",
			DrainTime:              3 * time.Second,
			RequestLimit:           20,
			MaxConnections:         30,
			Docs:                   "all",
			SQLiteSynchronous:      "NORMAL",
			BindTrigger:            true,
		}, cfg)
	})

	t.Run("without COMMANDS_SERVICE_URL, or with an empty one, CommandsService is not called", func(t *testing.T) {
		cfg, err := configFrom(nil)
		require.NoError(t, err)
		assert.Empty(t, cfg.CommandsServiceURL)
		cfg, err = configFrom(map[string]string{"COMMANDS_SERVICE_URL": ""})
		require.NoError(t, err)
		assert.Empty(t, cfg.CommandsServiceURL)
	})

	t.Run("SQL Server is seeded only when asked", func(t *testing.T) {
		for _, url := range []string{"sqlserver://SA:x@host?database=d", "Server=host;Initial Catalog=d", "Data Source=host;Database=d"} {
			cfg, err := configFrom(map[string]string{"DATABASE_URL": url})
			require.NoError(t, err)
			assert.False(t, cfg.Seed)
			cfg, err = configFrom(map[string]string{"DATABASE_URL": url, "SEED_DATA": "true"})
			require.NoError(t, err)
			assert.True(t, cfg.Seed)
		}
	})

	t.Run("all that are wrong are named at once", func(t *testing.T) {
		_, err := configFrom(map[string]string{"PLATFORMS_HTTP_ADDR": "", "SEED_DATA": "maybe"})
		require.ErrorContains(t, err, "PLATFORMS_HTTP_ADDR")
		assert.ErrorContains(t, err, "SEED_DATA")
	})

	t.Run("the exchange trigger cannot be bound to itself", func(t *testing.T) {
		_, err := configFrom(map[string]string{"RABBITMQ_EXCHANGE": "trigger", "RABBITMQ_BIND_TRIGGER": "true"})
		require.ErrorContains(t, err, "RABBITMQ_EXCHANGE")
	})

	t.Run("a CA for CommandsService without https is an error", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "ca.pem")
		server := httptest.NewTLSServer(nil)
		defer server.Close()
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		require.NoError(t, os.WriteFile(file, ca, 0o600))
		env := map[string]string{"COMMANDS_SERVICE_TLS_CA_FILE": file, "COMMANDS_SERVICE_URL": "https://commands/api/c/platforms"}
		cfg, err := configFrom(env)
		require.NoError(t, err)
		assert.Equal(t, tlsconfig.Files{CA: file}, cfg.CommandsServiceTLS)
		env["COMMANDS_SERVICE_URL"] = "http://commands/api/c/platforms"
		_, err = configFrom(env)
		assert.ErrorContains(t, err, "COMMANDS_SERVICE_URL is not an https URL")
	})

	for name, values := range map[string][]string{
		"COMMANDS_SERVICE_TLS_CA_FILE": {"missing.pem"},

		"PLATFORMS_HTTP_ADDR":      {"", ":", "localhost", "localhost:", "localhost:99999", "localhost:-1", " localhost:1"},
		"PLATFORMS_GRPC_ADDR":      {"", ":", "localhost", "localhost:", "localhost:99999", "localhost:-1", "localhost:5000"},
		"DATABASE_URL":             {"", " sqlite:x.db", "x.db", "Password = s3cret", "sqlserver://u:s3cret@host"},
		"SEED_DATA":                {"", "yes"},
		"DATABASE_WAIT":            {"", "1", "0s", "-1m"},
		"COMMANDS_SERVICE_TIMEOUT": {"", "2", "0s", "-2s"},
		"COMMANDS_SERVICE_URL":     {"localhost:6000", "/api/c/platforms", "ftp://u:s3cret@host/", "http://", "http://u:s3cret@host:x/"},
		"DRAIN_TIME":               {"", "-1s", "31s", "5", "soon"},
		"HTTP_MAX_IN_FLIGHT":       {"", "0", "-1", "x", "1.5", "1000001"},
		"RABBITMQ_EXCHANGE":        {"", " x", "amq.fanout", strings.Repeat("x", 256)},
		"HTTP_MAX_CONNECTIONS":     {"", "0", "-1", "x", "1.5", "1000001"},
		"RABBITMQ_TLS_CA_FILE":     {"missing.pem"},
		"SQLITE_SYNCHRONOUS":       {"", "OFF", "full"},
		"RABBITMQ_URL":             {"", "localhost:5672", "http://u:s3cret@host/", "amqp://u:s3cret@host:x/", "amqp://u:s3cret%@host/"},
	} {
		for _, value := range values {
			t.Run(name+"="+value+" is an error that names it", func(t *testing.T) {
				_, err := configFrom(map[string]string{name: value})
				require.ErrorContains(t, err, name)
				assert.NotContains(t, err.Error(), "s3cret")
			})
		}
	}
}
