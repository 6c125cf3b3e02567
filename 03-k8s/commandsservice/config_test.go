package commandsservice

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestConfigFromEnv(t *testing.T) {
	from := func(env map[string]string) Config {
		return ConfigFromEnv(func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	}

	t.Run("without any variable is that of development", func(t *testing.T) {
		assert.Equal(t, Config{
			HTTPAddr:    "localhost:6000",
			DatabaseURL: "sqlite::memory:",
		}, from(nil))
	})

	t.Run("takes every variable", func(t *testing.T) {
		assert.Equal(t, Config{
			HTTPAddr:    ":8080",
			DatabaseURL: "sqlite:/data/commands.db",
		}, from(map[string]string{
			"COMMANDS_HTTP_ADDR":    ":8080",
			"COMMANDS_DATABASE_URL": "sqlite:/data/commands.db",
		}))
	})
}
