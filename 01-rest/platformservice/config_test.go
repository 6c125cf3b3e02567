package platformservice

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
			HTTPAddr:    "localhost:5000",
			DatabaseURL: "sqlite::memory:",
			Seed:        true,
		}, cfg)
	})

	t.Run("reads every variable", func(t *testing.T) {
		cfg, err := configFrom(map[string]string{
			"PLATFORMS_HTTP_ADDR": ":8080",
			"DATABASE_URL":        "sqlite:platforms.db",
			"SEED_DATA":           "false",
		})
		require.NoError(t, err)
		assert.Equal(t, Config{
			HTTPAddr:    ":8080",
			DatabaseURL: "sqlite:platforms.db",
			Seed:        false,
		}, cfg)
	})

	t.Run("all that are wrong are named at once", func(t *testing.T) {
		_, err := configFrom(map[string]string{"PLATFORMS_HTTP_ADDR": "", "SEED_DATA": "maybe"})
		require.ErrorContains(t, err, "PLATFORMS_HTTP_ADDR")
		assert.ErrorContains(t, err, "SEED_DATA")
	})

	for name, values := range map[string][]string{
		"PLATFORMS_HTTP_ADDR": {"", ":", "localhost", "localhost:"},
		"SEED_DATA":           {"", "yes"},
	} {
		for _, value := range values {
			t.Run(name+"="+value+" is an error that names it", func(t *testing.T) {
				_, err := configFrom(map[string]string{name: value})
				require.ErrorContains(t, err, name)
			})
		}
	}
}
