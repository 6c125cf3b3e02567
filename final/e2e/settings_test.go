package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
			assert.Contains(t, service.logs.String(), "amqp://127.0.0.1:1/")
			assert.NotContains(t, service.logs.String(), "s3cret")
		})
	}
}

// secret stands for a password, in a form that a URL accepts.
const secret = "s3cret"

// TestNoSecretIsPrinted starts each binary with a password in each setting that may
// hold one. DATABASE_URL makes it end: no server listens there.
func TestNoSecretIsPrinted(t *testing.T) {
	if os.Getenv("E2E_BIN") == "" {
		t.Skip("starts programs: not done to those at PLATFORMS_URL")
	}
	const unreachable = "Server = 127.0.0.1,1 ; Database = d ; User Id = s3cret ; Pwd = s3cret"
	key := filepath.Join(t.TempDir(), "missing")
	services := []string{"platformservice", "commandsservice", "microcomm"}
	brokerUsers := []string{"platformservice", "commandsservice", "dlq"}
	for _, row := range []struct {
		setting, value string
		programs       []string
		status         int // of all
	}{
		{"DATABASE_URL", unreachable, services, 1},
		{"DATABASE_URL", "Password=s3cret;Database=d;Addr=127.0.0.1,1", services, 1},
		{"DATABASE_URL", "sqlserver://s3cret:s3cret@127.0.0.1:1?database=d", services, 1},
		{"DATABASE_URL", "Password = s3cret; Database = d", services, 2},
		{"DATABASE_URL", "Server=127.0.0.1 Password=s3cret;Database=d", services, 2},
		{"DATABASE_URL", "Server=127.0.0.1;Database=d Password=s3cret", services, 2},
		{"DATABASE_URL", "odbc:server=127.0.0.1;database=d;pwd={s3cret}", services, 2},
		{"DATABASE_URL", "sqlserver://u:s3cret%@127.0.0.1?database=d", services, 2},
		{"DATABASE_URL", "sqlserver://u:s3cret@127.0.0.1:99999?database=d", services, 2},
		{"DATABASE_URL", "host=127.0.0.1 user=u password=s3cret", services, 2},
		{"DATABASE_URL_FILE", "Server=127.0.0.1;Database=d;Password=s3cret", services, 2},
		{"RABBITMQ_URL", "amqp://s3cret:s3cret@127.0.0.1:1/?x=s3cret", brokerUsers, 1},
		{"RABBITMQ_URL", "amqp://u:s3cret%@127.0.0.1:1/", brokerUsers, 2},
		{"RABBITMQ_URL", "amqp://u:1/s3cret@127.0.0.1:1/", brokerUsers, 2},
		{"RABBITMQ_URL", "amqp://u:s3 cret@127.0.0.1:1/", brokerUsers, 2},
		{"RABBITMQ_URL", "u:s3cret@127.0.0.1:1", brokerUsers, 2},
		{"RABBITMQ_URL_FILE", "amqp://u:s3cret@127.0.0.1:1/", append(brokerUsers, "microcomm"), 2},
		{"RABBITMQ_TLS_KEY_FILE", "s3cret", brokerUsers, 2},
		{"COMMANDS_SERVICE_URL", "http://u:s3cret@127.0.0.1:1/s3cret?s3cret#s3cret", services[:1], 1},
		{"COMMANDS_SERVICE_URL", "http://u:s3cret%@127.0.0.1:1/", services[:1], 2},
		{"COMMANDS_SERVICE_URL", "http://u:1/s3cret@127.0.0.1:1/", services[:1], 2},
		{"PLATFORMS_TLS_KEY_FILE", "s3cret", services[:1], 2},
		{"PLATFORMS_HTTP_ADDR", "http://u:s3cret@127.0.0.1:1", services[:1], 2},
		{"PLATFORMS_GRPC_TARGET", "u:s3cret@127.0.0.1:1", services[1:2], 2},
		{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret", services, 1},
		{"OTEL_EXPORTER_OTLP_HEADERS", "s3cret", services, 2},
		{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret%zz", services, 2},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:s3cret@127.0.0.1:x/", services, 2},
		{"OTEL_RESOURCE_ATTRIBUTES", "s3cret", services, 2},
		{"RABBITMQ_URL", "amqp://u:s3cret%@127.0.0.1:1/", []string{"console"}, 2},
		{"PLATFORMS_URL", "http://u:s3cret@127.0.0.1:1", []string{"console", "microcomm"}, 2},
		{"CONSOLE_CONTROL_URL", "http://u:s3cret%@127.0.0.1:1", []string{"console"}, 2},
		{"CONSOLE_TOKEN_FILE", "s3cret", []string{"console"}, 2},
	} {
		for i, program := range row.programs {
			t.Run(program+" "+row.setting+"="+row.value, func(t *testing.T) {
				format := []string{"text", "json"}[i%2]
				setting := row.setting
				if program == "commandsservice" && strings.HasPrefix(setting, "DATABASE_") {
					setting = "COMMANDS_" + setting
				}
				settings := []string{"LOG_FORMAT=" + format, "DATABASE_WAIT=200ms", "COMMANDS_DATABASE_WAIT=200ms",
					"PLATFORMS_HTTP_ADDR=127.0.0.1:0", "PLATFORMS_GRPC_ADDR=127.0.0.1:0", "COMMANDS_HTTP_ADDR=127.0.0.1:0", "GATEWAY_ADDR=127.0.0.1:0",
					"DATABASE_URL=" + unreachable, "COMMANDS_DATABASE_URL=" + unreachable, "RABBITMQ_URL=amqp://127.0.0.1:1/",
					"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "PLATFORMS_TLS_CERT_FILE=", "RABBITMQ_TLS_CERT_FILE="}
				if setting == "PLATFORMS_TLS_KEY_FILE" {
					settings = append(settings, "PLATFORMS_TLS_CERT_FILE="+key)
				}
				if secretsName, ok := strings.CutSuffix(setting, "URL_FILE"); ok {
					settings = without(settings, secretsName+"URL=")
				}
				output, status := runProgram(t, program, append(settings, setting+"="+row.value))
				assert.Equal(t, row.status, status, "%s", output)
				assert.NotContains(t, output, secret)
				assert.NotContains(t, output, "panic")
				if row.status == 2 {
					assert.Contains(t, output, setting)
				}
				if format == "json" && program != "dlq" {
					for line := range strings.Lines(output) {
						assert.True(t, json.Valid([]byte(line)), line)
					}
				}
			})
		}
	}
}

func without(settings []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(settings), func(s string) bool { return strings.HasPrefix(s, prefix) })
}

// runProgram runs a program, whose environment is settings, to its end.
func runProgram(t *testing.T, name string, settings []string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var args []string
	if name == "dlq" {
		args = []string{"list"}
	}
	command := exec.CommandContext(ctx, filepath.Join(os.Getenv("E2E_BIN"), name), args...)
	var out bytes.Buffer
	command.Env, command.Stdout, command.Stderr = append(os.Environ(), settings...), &out, &out
	_ = command.Run()
	require.NoError(t, ctx.Err(), "%s does not end:\n%s", name, out.String())
	return out.String(), command.ProcessState.ExitCode()
}

func TestMistypedSettingIsNamed(t *testing.T) {
	if os.Getenv("E2E_BIN") == "" {
		t.Skip("starts programs: not done to those at PLATFORMS_URL")
	}
	for program, mistyped := range map[string]string{"platformservice": "PLATFORM_HTTP_ADDR", "commandsservice": "COMMAND_HTTP_ADDR",
		"microcomm": "GATEWAYADDR", "dlq": "COMMANDS_QUEU"} {
		t.Run(program, func(t *testing.T) {
			output, status := runProgram(t, program, []string{mistyped + "=" + secret, "DATABASE_WAIT=200ms", "COMMANDS_DATABASE_WAIT=200ms",
				"PLATFORMS_HTTP_ADDR=127.0.0.1:0", "COMMANDS_HTTP_ADDR=127.0.0.1:0", "GATEWAY_ADDR=127.0.0.1:0", "RABBITMQ_URL=amqp://127.0.0.1:1/",
				"DATABASE_URL=Server=127.0.0.1,1;Database=d", "COMMANDS_DATABASE_URL=Server=127.0.0.1,1;Database=d"})
			assert.Equal(t, 1, status)
			assert.Contains(t, output, mistyped)
			assert.Contains(t, output, "unknown setting")
			assert.NotContains(t, output, secret)
		})
	}
}
