package settings_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/settings"
)

func env(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func TestWithFiles(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "url")
	for name, content := range map[string]string{
		"without a line break": "amqp://u:p@host/", "with one": "amqp://u:p@host/\n", "of Windows": "amqp://u:p@host/\r\n",
	} {
		t.Run("reads a file "+name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(secret, []byte(content), 0o600))
			lookup, err := settings.WithFiles(env(map[string]string{"RABBITMQ_URL_FILE": secret, "LOG_LEVEL": "warn"}))
			require.NoError(t, err)
			value, ok := lookup("RABBITMQ_URL")
			assert.True(t, ok)
			assert.Equal(t, "amqp://u:p@host/", value)
			value, _ = lookup("LOG_LEVEL")
			assert.Equal(t, "warn", value)
			_, ok = lookup("DATABASE_URL")
			assert.False(t, ok)
		})
	}
	t.Run("all that are wrong are named at once", func(t *testing.T) {
		_, err := settings.WithFiles(env(map[string]string{
			"DATABASE_URL": "x", "DATABASE_URL_FILE": secret, "RABBITMQ_URL_FILE": secret + ".missing",
		}))
		require.ErrorContains(t, err, "DATABASE_URL_FILE")
		assert.ErrorContains(t, err, "RABBITMQ_URL_FILE")
	})
}

func TestMasked(t *testing.T) {
	for _, row := range []struct{ value, shown string }{
		{"localhost:5000", "localhost:5000"},
		{"sqlite:/data/platforms.db", "sqlite:/data/platforms.db"},
		{"amqps://user:s3cret@host:5671/v", "user:xxxxx@host:5671/v"},
		{"amqp://user:s3c%72et@host/", "user:xxxxx@host/"},
		{"amqp://host/?password=s3cret", "host"},
		{"amqp://user:s3cret%@host/", "xxxxx"},
		{"sqlserver://user:s3cret@host:1433?database=d&encrypt=true", "user:xxxxx@host?database=d"},
		{"sqlserver://host?database=d&user+id=user&password=s3cret", "host?database=d"},
		{"Server=host,1433;Initial Catalog=d;User Id=user;Password=s3cret", "user:xxxxx@host?database=d"},
		{"server=host;database=d;uid=user;PWD=s3cret", "host?database=d"},
		{`Data Source=host;Initial Catalog=d;User Id=user;Password="a;s3cret"`, ""},
	} {
		t.Run(row.value, func(t *testing.T) {
			var out bytes.Buffer
			config := struct {
				URL   string
				Max   int
				Unset string
				Zero  time.Duration
				Files struct{ Cert string }
			}{URL: row.value, Max: 7}
			slog.New(slog.NewTextHandler(&out, nil)).Info("starting", "config", settings.Masked(config))
			assert.Contains(t, out.String(), "config.URL=")
			assert.Contains(t, out.String(), "config.Max=7")
			assert.Contains(t, out.String(), "config.Zero=0s")
			assert.NotContains(t, out.String(), "config.Unset")
			assert.NotContains(t, out.String(), "config.Files")
			assert.Contains(t, out.String(), row.shown)
			assert.NotContains(t, out.String(), "s3cret")
			assert.NotContains(t, out.String(), "s3c%72et")
		})
	}
}
