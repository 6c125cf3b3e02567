package settings_test

import (
	"bytes"
	"io"
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

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

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

const hiddenURL = "config.URL=xxxxx "

func TestWithFilesDoesNotShowASecretThatIsSetInsteadOfItsFile(t *testing.T) {
	_, err := settings.WithFiles(env(map[string]string{"RABBITMQ_URL_FILE": "amqp://user:s3cret@host/"}))
	require.ErrorContains(t, err, "RABBITMQ_URL_FILE")
	assert.NotContains(t, err.Error(), "s3cret")
}

func TestMasked(t *testing.T) {
	for _, row := range []struct{ value, shown string }{
		{"localhost:5000", "localhost:5000"},
		{"sqlite:/data/platforms.db", "sqlite:/data/platforms.db"},
		{"amqps://s3cret:s3cret@host:5671/v", "amqps://host:5671/v "},
		{"amqp://user:s3c%72et@host/", "amqp://host/ "},
		{"amqp://host/?password=s3cret", "amqp://host/ "},
		{"http://user:s3cret@host/s3cret?token=s3cret#s3cret", "http://host "},
		{"sqlserver://user:s3cret@host:1433?database=d&encrypt=true", `"sqlserver://host:1433?database=d" `},
		{"sqlserver://host/instance?database=d&user+id=user&password=s3cret", `"sqlserver://host\\instance?database=d" `},
		{"Server=host,1433;Initial Catalog=d;User Id=user;Password=s3cret", `"sqlserver://host:1433?database=d" `},
		{"server=host;database=d;uid=user;PWD=s3cret", `"sqlserver://host?database=d" `},
		{" Server = host ; Database = d ; User Id = user ; Password = s3cret ", `"sqlserver://host?database=d" `},
		{"Password=s3cret;Database=d;Addr=host", `"sqlserver://host?database=d" `},
		{"pwd = s3cret; initial catalog = d; network address = host", `"sqlserver://host?database=d" `},
		{`Data Source=host;Initial Catalog=d;User Id=user;Password="a;s3cret"`, `"sqlserver://host?database=d" `},

		// What is no setting that can be read is not shown at all.
		{"amqp://user:s3cret%@host/", hiddenURL},
		{"amqp://user:1/s3cret@host/", hiddenURL},
		{"amqp://user:s3cret#@host/", hiddenURL},
		{"amqp:user:s3cret@host", hiddenURL},
		{"postgres://user:1?s3cret@host/d", hiddenURL},
		{"host=h user=u password=s3cret", hiddenURL},
		{"user:s3cret@host", hiddenURL},
		{"Password = s3cret; Database = d", hiddenURL},
		{"odbc:server=host;database=d;pwd={s3cret}", hiddenURL},
		{" sqlserver://user:s3cret@host?database=d", hiddenURL},
		{"sqlserver://user:1/s3cret@host?database=d", hiddenURL},
		{"sqlserver://user:s3cret@host:x?database=d", hiddenURL},
		{"Server=host Password=s3cret;Database=d", hiddenURL},
		{"Server=host;Database=d Password=s3cret", hiddenURL},
		{"Server=host;Database=d,Password=s3cret", hiddenURL},
		{"Server=host;Database=d;User Id=u Password=s3cret", hiddenURL},
		{"Server=host;Password=s3cret", hiddenURL},
		{"Server=host;Database=d;Encrypt=s3cret", hiddenURL},
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
			logTo(&out).Info("starting", "config", settings.Masked(config))
			assert.Contains(t, out.String(), "config.URL=")
			assert.Contains(t, out.String(), "config.Max=7")
			assert.Contains(t, out.String(), "config.Zero=0s")
			assert.NotContains(t, out.String(), "config.Unset")
			assert.NotContains(t, out.String(), "config.Files")
			assert.Contains(t, out.String(), row.shown)
			assert.NotContains(t, out.String(), "s3cret")
			assert.NotContains(t, out.String(), "s3c%72et")
			assert.NotContains(t, out.String(), "user")
		})
	}
}
