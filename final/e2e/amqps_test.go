package e2e

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startTLSBroker starts the test's own RabbitMQ, which shares nothing with others
// (see docs/tools/internal/rabbitmq) and accepts connections by TLS alone, from
// clients with a certificate of the same CA. It returns its amqps URL.
func startTLSBroker(t *testing.T, c certificate) string {
	t.Helper()
	requireBroker(t)
	server := ""
	for _, path := range []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server", "rabbitmq-server"} {
		if found, err := exec.LookPath(path); err == nil && server == "" {
			server = found
		}
	}
	if server == "" {
		t.Skip("there is no rabbitmq-server on this machine, and the one at RABBITMQ_URL is not the test's to configure")
	}
	addrs := freeAddrs(t, 3)
	ports := make([]string, len(addrs))
	for i, addr := range addrs {
		_, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		ports[i] = port
	}
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	env := []string{
		"HOME=" + dir, "ERL_EPMD_PORT=" + ports[1], "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_AFLAGS=-start_epmd false", "ERL_CRASH_DUMP_SECONDS=0",
		"RUNNING_UNDER_SYSTEMD=true", // the script becomes the node: no shell is left between
		"RABBITMQ_NODENAME=e2e" + ports[0] + "@localhost", "RABBITMQ_DIST_PORT=" + ports[2],
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_CONFIG_FILE=" + write("rabbitmq.conf", strings.Join([]string{
			"listeners.tcp = none", "listeners.ssl.1 = " + addrs[0],
			"ssl_options.cacertfile = " + c.ca, "ssl_options.certfile = " + c.cert, "ssl_options.keyfile = " + c.key,
			"ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true", ""}, "\n")),
		"RABBITMQ_CONF_ENV_FILE=" + write("env.conf", ""), "RABBITMQ_ENABLED_PLUGINS_FILE=" + write("enabled_plugins", "[].\n"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "data"), "RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_PLUGINS_EXPAND_DIR=" + filepath.Join(dir, "plugins"), "RABBITMQ_SCHEMA_DIR=" + filepath.Join(dir, "schema"),
		"RABBITMQ_GENERATED_CONFIG_DIR=" + filepath.Join(dir, "config"),
	}
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "RABBITMQ_") && !strings.HasPrefix(setting, "ERL_") && !strings.HasPrefix(setting, "HOME=") {
			env = append(env, setting)
		}
	}
	startProcess(t, env, dir, "epmd", "-port", ports[1], "-address", "127.0.0.1")
	eventually(t, "epmd, which a node needs to start", func() bool {
		connection, err := net.Dial("tcp", addrs[1])
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
	node, logs := startProcess(t, env, dir, server)
	url := "amqps://" + addrs[0] + "/"
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute) // Erlang starts slowly
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		connection, err := amqp.DialTLS(url, &tls.Config{RootCAs: c.roots, Certificates: []tls.Certificate{pair}})
		if err == nil {
			require.NoError(t, connection.Close())
			return url
		}
		select {
		case <-tick.C:
		case <-node:
			require.FailNow(t, "rabbitmq-server has ended", logs)
		case <-ctx.Done():
			require.FailNow(t, "rabbitmq-server is not up", "%v\n%s", err, logs)
		}
	}
}

// startProcess starts a program that ends with the test. The channel is closed
// when it has ended.
func startProcess(t *testing.T, env []string, dir string, args ...string) (<-chan struct{}, *logBuffer) {
	t.Helper()
	logs := &logBuffer{}
	process := exec.Command(args[0], args[1:]...)
	process.Env, process.Dir, process.Stdout, process.Stderr = env, dir, logs, logs
	require.NoError(t, process.Start())
	ended := make(chan struct{})
	go func() { // ends with the process, which the cleanup waits for
		defer close(ended)
		_ = process.Wait()
	}()
	t.Cleanup(func() {
		_ = process.Process.Kill() // fails only if it has ended
		<-ended
	})
	return ended, logs
}

// TestAMQPS runs the services, and dlq, over mutual TLS to a real broker.
func TestAMQPS(t *testing.T) {
	if os.Getenv("PLATFORMS_URL") != "" {
		t.Skip("starts services: not done to those at PLATFORMS_URL")
	}
	c, stranger := issueCertificate(t), issueCertificate(t)
	url := startTLSBroker(t, c)
	t.Setenv("RABBITMQ_URL", "") // the tests' other broker
	require.NoError(t, os.Unsetenv("RABBITMQ_URL"))
	urlFile := filepath.Join(t.TempDir(), "rabbitmq-url")
	require.NoError(t, os.WriteFile(urlFile, []byte(url+"\n"), 0o600))
	settings := func(ca, cert, key string) []string {
		return []string{"RABBITMQ_TLS_CA_FILE=" + ca, "RABBITMQ_TLS_CERT_FILE=" + cert, "RABBITMQ_TLS_KEY_FILE=" + key}
	}

	t.Run("an event passes, and dlq reads the same settings", func(t *testing.T) {
		s := local(t, append(settings(c.ca, c.cert, c.key), "RABBITMQ_URL_FILE="+urlFile)...)
		s.platforms.start(t)
		s.commands.start(t)
		s.commands.connected(t, 0)
		s.platforms.connected(t, 0)
		created := createPlatform(t, s, "Docker")
		eventually(t, "the event has arrived", func() bool { return s.knows(created.ID) })

		dlq := exec.Command(filepath.Join(os.Getenv("E2E_BIN"), "dlq"), "list")
		dlq.Env = append(os.Environ(), s.commands.env...)
		out, err := dlq.CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), "0 dead letters of")
	})

	for what, row := range map[string]struct {
		url      string
		settings []string
		logs     string
	}{
		"a broker of another CA":                     {url, settings(stranger.ca, c.cert, c.key), "certificate signed by unknown authority"},
		"a broker of another name":                   {strings.Replace(url, "127.0.0.1", "localhost", 1), settings(c.ca, c.cert, c.key), "wanted to match localhost"},
		"a client without a certificate":             {url, settings(c.ca, "", ""), "tls: certificate required"},
		"a client with a certificate of another CA":  {url, settings(c.ca, stranger.cert, stranger.key), "tls: unknown certificate authority"},
		"a broker of a CA that the system knows not": {url, settings("", "", ""), "certificate signed by unknown authority"},
	} {
		t.Run(what+" is refused", func(t *testing.T) {
			s := local(t, append(row.settings, "RABBITMQ_URL="+row.url)...)
			s.platforms.start(t)
			eventually(t, "the log says why", func() bool { return strings.Contains(s.platforms.logs.String(), row.logs) })
			assert.NotContains(t, s.platforms.logs.String(), "publisher connected")
		})
	}
}
