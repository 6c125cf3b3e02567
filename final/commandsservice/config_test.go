package commandsservice

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigFromEnv(t *testing.T) {
	from := func(env map[string]string) (Config, error) {
		return ConfigFromEnv(func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	}

	t.Run("without any variable is that of development", func(t *testing.T) {
		cfg, err := from(nil)
		require.NoError(t, err)
		assert.Equal(t, Config{
			HTTPAddr:    "localhost:6000",
			DatabaseURL: "sqlite::memory:",
			RabbitMQURL: "amqp://localhost:5672/",
			Exchange:    "trigger",
			GRPCTarget:  "localhost:5001",
		}, cfg)
	})

	t.Run("takes every variable", func(t *testing.T) {
		cfg, err := from(map[string]string{
			"COMMANDS_HTTP_ADDR":    ":8080",
			"COMMANDS_DATABASE_URL": "sqlite:/data/commands.db",
			"RABBITMQ_URL":          "amqp://user:secret@rabbitmq:5672/",
			"RABBITMQ_EXCHANGE":     "other",
			"PLATFORMS_GRPC_TARGET": "platforms:777",
		})
		require.NoError(t, err)
		assert.Equal(t, Config{
			HTTPAddr:    ":8080",
			DatabaseURL: "sqlite:/data/commands.db",
			RabbitMQURL: "amqp://user:secret@rabbitmq:5672/",
			Exchange:    "other",
			GRPCTarget:  "platforms:777",
		}, cfg)
	})

	for _, url := range []string{"", "localhost:5672", "http://user:secret@host/", "amqp://user:secret@host:port/", "amqp://user:se cret@host/"} {
		t.Run("names RABBITMQ_URL when it is "+url+", and does not show it", func(t *testing.T) {
			_, err := from(map[string]string{"RABBITMQ_URL": url})
			require.ErrorContains(t, err, "RABBITMQ_URL")
			assert.NotContains(t, err.Error(), "cret")
		})
	}

	t.Run("names RABBITMQ_EXCHANGE when it is empty", func(t *testing.T) {
		_, err := from(map[string]string{"RABBITMQ_EXCHANGE": ""})
		require.ErrorContains(t, err, "RABBITMQ_EXCHANGE")
	})
}
