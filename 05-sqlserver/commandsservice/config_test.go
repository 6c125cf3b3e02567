package commandsservice

import (
	"testing"

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
		}, cfg)
	})

	t.Run("reads every variable", func(t *testing.T) {
		cfg, err := configFrom(map[string]string{
			"COMMANDS_HTTP_ADDR":    ":8080",
			"COMMANDS_DATABASE_URL": "sqlite:/data/commands.db",
		})
		require.NoError(t, err)
		assert.Equal(t, Config{
			HTTPAddr:    ":8080",
			DatabaseURL: "sqlite:/data/commands.db",
		}, cfg)
	})

	for name, values := range map[string][]string{
		"COMMANDS_HTTP_ADDR": {"", ":", "localhost", "localhost:"},
	} {
		for _, value := range values {
			t.Run(name+"="+value+" is an error that names it", func(t *testing.T) {
				_, err := configFrom(map[string]string{name: value})
				require.ErrorContains(t, err, name)
			})
		}
	}
}
