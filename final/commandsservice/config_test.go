package commandsservice

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
			HTTPAddr:    "localhost:6000",
			DatabaseURL: "sqlite::memory:",
			RabbitMQURL: "amqp://localhost:5672/",
			Exchange:    "trigger",
			GRPCTarget:  "localhost:5001",
			MaxInFlight: 256,

			DatabaseWait:         time.Minute,
			BackfillReadyTimeout: 30 * time.Second,
		}, cfg)
	})

	t.Run("reads every variable", func(t *testing.T) {
		cfg, err := configFrom(map[string]string{
			"COMMANDS_HTTP_ADDR":    ":8080",
			"COMMANDS_DATABASE_URL": "sqlite:/data/commands.db",
			"RABBITMQ_URL":          "amqp://user:s3cret@rabbitmq:5672/",
			"RABBITMQ_EXCHANGE":     "other",
			"PLATFORMS_GRPC_TARGET": "platforms:777",
			"HTTP_MAX_IN_FLIGHT":    "20",

			"COMMANDS_DATABASE_WAIT": "2m",
			"BACKFILL_READY_TIMEOUT": "5s",
		})
		require.NoError(t, err)
		assert.Equal(t, Config{
			HTTPAddr:    ":8080",
			DatabaseURL: "sqlite:/data/commands.db",
			RabbitMQURL: "amqp://user:s3cret@rabbitmq:5672/",
			Exchange:    "other",
			GRPCTarget:  "platforms:777",
			MaxInFlight: 20,

			DatabaseWait:         2 * time.Minute,
			BackfillReadyTimeout: 5 * time.Second,
		}, cfg)
	})

	for name, values := range map[string][]string{
		"COMMANDS_HTTP_ADDR":     {"", ":", "localhost", "localhost:"},
		"RABBITMQ_URL":           {"", "localhost:5672", "http://user:s3cret@host/", "amqp://user:s3cret@host:port/", "amqp://user:s3 cret@host/"},
		"HTTP_MAX_IN_FLIGHT":     {"", "0", "-1", "x", "1.5", "1000001"},
		"RABBITMQ_EXCHANGE":      {""},
		"COMMANDS_DATABASE_WAIT": {"", "0s", "-1s", "5", "soon"},
		"BACKFILL_READY_TIMEOUT": {"", "0s", "-1s", "5", "soon"},

		"PLATFORMS_GRPC_TARGET": {"", ":", "platforms", "http://platforms:777"},
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
