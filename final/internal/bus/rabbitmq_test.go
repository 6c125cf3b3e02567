package bus_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

func TestTLSFromEnv(t *testing.T) {
	read := func(url string, env map[string]string) (tlsconfig.Files, error) {
		return bus.TLSFromEnv(func(name string) (string, bool) {
			value, ok := env[name]
			return value, ok
		}, url)
	}
	for _, url := range []string{"amqp://rabbitmq/", "amqps://rabbitmq/"} {
		files, err := read(url, map[string]string{"RABBITMQ_TLS_CA_FILE": ""})
		require.NoError(t, err, "none are needed")
		assert.Equal(t, tlsconfig.Files{}, files)
	}
	for _, name := range []string{"RABBITMQ_TLS_CA_FILE", "RABBITMQ_TLS_CERT_FILE", "RABBITMQ_TLS_KEY_FILE"} {
		for url, why := range map[string]string{
			"amqp://u:s3cret@rabbitmq/":  "RABBITMQ_URL is not an amqps URL", // it would be plain text
			"AMQP://u:s3cret@rabbitmq/":  "RABBITMQ_URL is not an amqps URL",
			"amqps://u:s3cret@rabbitmq/": "read ",
		} {
			_, err := read(url, map[string]string{name: "missing.pem"})
			require.ErrorContains(t, err, name)
			require.ErrorContains(t, err, why)
			assert.NotContains(t, err.Error(), "s3cret")
		}
	}
}
