package commandsservice

import (
	"strings"
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
			HTTPAddr:       "localhost:6000",
			DatabaseURL:    "sqlite::memory:",
			RabbitMQURL:    "amqp://localhost:5672/",
			Exchange:       "microcomm.platforms",
			Queue:          "commands.platforms",
			Prefetch:       512,
			RetryDelays:    []time.Duration{time.Second, 10 * time.Second, time.Minute},
			GRPCTarget:     "localhost:5001",
			RequestLimit:   256,
			MaxConnections: 512,

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
			"COMMANDS_QUEUE":        "mine",
			"COMMANDS_PREFETCH":     "20",
			"COMMANDS_RETRY_DELAYS": "50ms, 1h",
			"PLATFORMS_GRPC_TARGET": "platforms:777",
			"HTTP_MAX_IN_FLIGHT":    "20",
			"HTTP_MAX_CONNECTIONS":  "30",
			"DRAIN_TIME":            "3s",

			"COMMANDS_DATABASE_WAIT": "2m",
			"BACKFILL_READY_TIMEOUT": "5s",
		})
		require.NoError(t, err)
		assert.Equal(t, Config{
			HTTPAddr:       ":8080",
			DatabaseURL:    "sqlite:/data/commands.db",
			RabbitMQURL:    "amqp://user:s3cret@rabbitmq:5672/",
			Exchange:       "other",
			Queue:          "mine",
			Prefetch:       20,
			RetryDelays:    []time.Duration{50 * time.Millisecond, time.Hour},
			GRPCTarget:     "platforms:777",
			RequestLimit:   20,
			MaxConnections: 30,
			DrainTime:      3 * time.Second,

			DatabaseWait:         2 * time.Minute,
			BackfillReadyTimeout: 5 * time.Second,
		}, cfg)
	})

	t.Run("a queue may be as long as the names of its others allow", func(t *testing.T) {
		name := strings.Repeat("x", 255-len(".retry.1h0m0.001s"))
		_, err := configFrom(map[string]string{"COMMANDS_QUEUE": name, "COMMANDS_RETRY_DELAYS": "1s,1h0m0.001s"})
		require.NoError(t, err)
		_, err = configFrom(map[string]string{"COMMANDS_QUEUE": name + "x", "COMMANDS_RETRY_DELAYS": "1s,1h0m0.001s"})
		require.ErrorContains(t, err, "COMMANDS_QUEUE")
		_, err = configFrom(map[string]string{"COMMANDS_QUEUE": strings.Repeat("x", 250), "COMMANDS_RETRY_DELAYS": ""})
		require.NoError(t, err)
		_, err = configFrom(map[string]string{"COMMANDS_QUEUE": strings.Repeat("x", 251), "COMMANDS_RETRY_DELAYS": ""})
		require.ErrorContains(t, err, "COMMANDS_QUEUE")
	})

	t.Run("an empty COMMANDS_RETRY_DELAYS turns retries off", func(t *testing.T) {
		cfg, err := configFrom(map[string]string{"COMMANDS_RETRY_DELAYS": ""})
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{}, cfg.RetryDelays)
	})

	for name, values := range map[string][]string{
		"DRAIN_TIME":             {"", "-1s", "31s", "5", "soon"},
		"HTTP_MAX_IN_FLIGHT":     {"", "0", "-1", "x", "1.5", "1000001"},
		"HTTP_MAX_CONNECTIONS":   {"", "0", "-1", "x", "1.5", "1000001"},
		"COMMANDS_DATABASE_WAIT": {"", "0s", "-1s", "5", "soon"},
		"BACKFILL_READY_TIMEOUT": {"", "0s", "-1s", "5", "soon"},

		"COMMANDS_HTTP_ADDR":    {"", ":", "localhost", "localhost:", "localhost:99999", "localhost:-1", "localhost:1 "},
		"COMMANDS_DATABASE_URL": {"", " sqlite:x.db", "x.db", "Password = s3cret", "sqlserver://u:s3cret@host"},
		"RABBITMQ_URL":          {"", "localhost:5672", "http://user:s3cret@host/", "amqp://user:s3cret@host:port/", "amqp://user:s3 cret@host/"},
		"RABBITMQ_EXCHANGE":     {"", " x", "amq.fanout", strings.Repeat("x", 256)},
		"RABBITMQ_TLS_CA_FILE":  {"missing.pem"},
		"COMMANDS_QUEUE":        {"", " x", "amq.x", strings.Repeat("x", 255-len(".retry.1m0s")+1)},
		"COMMANDS_PREFETCH":     {"", "0", "-1", "65536", "x"},
		"COMMANDS_RETRY_DELAYS": {"1", "1s,,2s", "-1s", "1us", "x"},
		"PLATFORMS_GRPC_TARGET": {"", ":", "platforms", "http://platforms:777", "platforms:0", "platforms:99999"},
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
