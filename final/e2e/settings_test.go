package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWrongSettings(t *testing.T) {
	s := local(t, "LOG_FORMAT=xml", "RABBITMQ_EXCHANGE=", "RABBITMQ_URL=amqp://u:s3cret%@host/", "DATABASE_URL_FILE=/missing")
	for _, service := range []*service{s.platforms, s.commands} {
		t.Run(service.name+" names all that are wrong and ends with status 2", func(t *testing.T) {
			service.launch(t)
			<-service.ended
			service.process = nil
			var exit *exec.ExitError
			require.True(t, errors.As(service.status, &exit), "%v", service.status)
			assert.Equal(t, 2, exit.ExitCode())
			for _, name := range []string{"LOG_FORMAT", "RABBITMQ_EXCHANGE", "RABBITMQ_URL", "DATABASE_URL_FILE"} {
				assert.Contains(t, service.logs.String(), name)
			}
			assert.NotContains(t, service.logs.String(), "s3cret")
		})
	}
}

func TestSecretsFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rabbitmq-url")
	require.NoError(t, os.WriteFile(file, []byte("amqp://u:s3cret@127.0.0.1:1/\n"), 0o600))
	t.Setenv("RABBITMQ_URL", "") // whatever it was
	require.NoError(t, os.Unsetenv("RABBITMQ_URL"))
	s := local(t, "RABBITMQ_URL_FILE="+file)
	for _, service := range []*service{s.platforms, s.commands} {
		t.Run(service.name+" prints its settings without passwords", func(t *testing.T) {
			service.start(t)
			eventually(t, "an attempt to connect", func() bool { return strings.Contains(service.logs.String(), "retrying") })
			assert.Contains(t, service.logs.String(), "u:xxxxx@127.0.0.1:1")
			assert.NotContains(t, service.logs.String(), "s3cret")
		})
	}
}
