package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// broker is a RabbitMQ to work with.
type broker struct {
	url  string
	what string   // what it is, in words
	node *process // the private node, when that is what it is
	stop func()   // ends it and all it started; does nothing to a broker that was there before
}

// startBroker finds a RabbitMQ or starts one: RABBITMQ_URL, a private node of
// the rabbitmq-server on this machine, a container, or, on Debian and Ubuntu, a
// private node of one that it installs.
func startBroker(ctx context.Context, progress io.Writer) (*broker, error) {
	if given := os.Getenv("RABBITMQ_URL"); given != "" {
		return givenBroker(ctx, given)
	}
	// Another lab may be installing one: half of it is none.
	unlock, err := lockFile(ctx, installLock())
	if err != nil {
		return nil, err
	}
	server := findRabbitMQ()
	unlock()
	var reasons []error
	if server != "" {
		b, err := privateNode(ctx, server, progress)
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		fmt.Fprintln(progress, "broker:", err)
		reasons = append(reasons, err)
	} else {
		reasons = append(reasons, errors.New("no rabbitmq-server on this machine"))
	}
	if err := dockerAnswers(ctx); err == nil {
		b, err := containerBroker(ctx, progress)
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		fmt.Fprintln(progress, "broker:", err)
		reasons = append(reasons, err)
	} else {
		reasons = append(reasons, err)
	}
	if server == "" {
		err := installRabbitMQ(ctx, progress)
		if err == nil {
			return privateNode(ctx, findRabbitMQ(), progress)
		}
		reasons = append(reasons, err)
	}
	var why strings.Builder
	for _, reason := range reasons {
		fmt.Fprintf(&why, "\n  - %v", reason)
	}
	return nil, fmt.Errorf("no RabbitMQ to work with:%s\nSet RABBITMQ_URL, or see: go tool lab doctor", why.String())
}

// givenBroker checks that the broker the user named answers. It never prints
// the URL, which may hold a password.
func givenBroker(ctx context.Context, given string) (*broker, error) {
	u, err := url.Parse(given)
	if err != nil || u.Host == "" {
		return nil, errors.New("RABBITMQ_URL is not of the form amqp://host:port/")
	}
	port := u.Port()
	if port == "" {
		port = "5672"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	b := &broker{url: given, what: "the one at RABBITMQ_URL, " + address, stop: func() {}}
	if u.Scheme == "amqps" {
		return b, nil // the services will see; a TLS handshake needs their settings
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := waitForAMQP(ctx, address, nil, io.Discard); err != nil {
		return nil, fmt.Errorf("RABBITMQ_URL is set, but %s does not answer: %w", address, err)
	}
	return b, nil
}

// findRabbitMQ is the path of rabbitmq-server, or empty. The packages' wrapper
// in /usr/sbin changes the user, so the script behind it comes first.
func findRabbitMQ() string {
	if runtime.GOOS == "windows" {
		return "" // its service scripts cannot run a private node; Docker can
	}
	for _, dir := range []string{"/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/sbin", "/usr/local/opt/rabbitmq/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, "rabbitmq-server")); err == nil {
			return path
		}
	}
	if path, err := exec.LookPath("rabbitmq-server"); err == nil {
		return path
	}
	if path, err := exec.LookPath("/usr/sbin/rabbitmq-server"); err == nil {
		return path
	}
	return ""
}

// privateNode starts a node with everything of its own: ports, files, cookie,
// and the port mapper (epmd) that Erlang nodes register with.
func privateNode(ctx context.Context, server string, progress io.Writer) (*broker, error) {
	epmdPath, err := exec.LookPath("epmd")
	if err != nil {
		return nil, fmt.Errorf("start %s: Erlang's epmd is not in PATH", server)
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	amqp, dist, mapper := ports[0], ports[1], ports[2]
	dir, err := os.MkdirTemp("", "microcomm-broker-")
	if err != nil {
		return nil, err
	}
	var epmd, node *process
	stop := func() {
		// Nothing in the folder is worth an orderly stop: a kill takes no time.
		if node != nil {
			killGroup(node.cmd)
			<-node.done
		}
		if epmd != nil {
			epmd.stop(time.Second)
		}
		removeAll(dir)
	}
	fail := func(err error) (*broker, error) {
		stop()
		return nil, err
	}

	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(amqp))
	settings := map[string]string{
		"rabbitmq.conf":   "listeners.tcp.lab = " + address + "\nlog.console = true\n",
		"enabled_plugins": "[].\n",
		"env.conf":        "",
	}
	for name, content := range settings {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fail(err)
		}
	}
	env := []string{
		"HOME=" + dir, // Erlang keeps its cookie there
		"ERL_EPMD_PORT=" + strconv.Itoa(mapper),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_CRASH_DUMP_SECONDS=0",
		// As under systemd the script becomes the node instead of waiting for it,
		// so that there is no shell between the node and us.
		"RUNNING_UNDER_SYSTEMD=true",
		"RABBITMQ_NODENAME=lab" + strconv.Itoa(amqp) + "@localhost",
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(dist),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_CONF_ENV_FILE=" + filepath.Join(dir, "env.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "data"),
		"RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"),
		"RABBITMQ_LOGS=-",
		"RABBITMQ_PLUGINS_EXPAND_DIR=" + filepath.Join(dir, "plugins"),
		"RABBITMQ_SCHEMA_DIR=" + filepath.Join(dir, "schema"),
		"RABBITMQ_GENERATED_CONFIG_DIR=" + filepath.Join(dir, "config"),
	}
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "RABBITMQ_") && !strings.HasPrefix(setting, "ERL_") && !strings.HasPrefix(setting, "HOME=") {
			env = append(env, setting)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log.txt"))
	if err != nil {
		return fail(err)
	}
	defer log.Close()

	mapperCmd := exec.Command(epmdPath, "-port", strconv.Itoa(mapper), "-address", "127.0.0.1")
	mapperCmd.Dir, mapperCmd.Env = dir, env
	if epmd, err = startProcess("epmd", mapperCmd, log); err != nil {
		return fail(err)
	}
	nodeCmd := exec.Command(server)
	nodeCmd.Dir, nodeCmd.Env = dir, env
	if node, err = startProcess("rabbitmq-server", nodeCmd, log); err != nil {
		return fail(err)
	}
	fmt.Fprintf(progress, "broker: starting a private node of %s\n", server)
	waiting, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := waitForAMQP(waiting, address, node, progress); err != nil {
		if ctx.Err() == nil {
			text, _ := os.ReadFile(log.Name())
			err = fmt.Errorf("start %s: %w; the end of its log:\n%s", server, err, lastLines(text, 15))
		}
		return fail(err)
	}
	return &broker{url: "amqp://" + address + "/", what: "a private node at " + address, node: node, stop: stop}, nil
}

// dockerAnswers tells why a container cannot be had, or nil.
func dockerAnswers(ctx context.Context) error {
	if _, err := exec.LookPath("docker"); err != nil {
		return errors.New("no Docker")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").Run(); err != nil {
		return errors.New("Docker is installed, but its daemon does not answer")
	}
	return nil
}

func containerBroker(ctx context.Context, progress io.Writer) (*broker, error) {
	const image = "rabbitmq:4-management"
	name := fmt.Sprintf("microcomm-lab-%d", os.Getpid())
	docker := func(ctx context.Context, wait time.Duration, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		cmd := exec.CommandContext(ctx, "docker", args...)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("docker %s: %w: %s", args[0], err, lastLines(complaint.Bytes(), 3))
		}
		return strings.TrimSpace(string(out)), nil
	}
	stop := func() {
		// not ctx: it has ended when Ctrl-C brings us here
		if _, err := docker(context.Background(), 20*time.Second, "rm", "--force", "--volumes", name); err != nil {
			fmt.Fprintln(progress, "broker:", err)
		}
	}
	fmt.Fprintf(progress, "broker: starting a container of %s (the first time downloads it)\n", image)
	if _, err := docker(ctx, 10*time.Minute, "run", "--detach", "--rm", "--name", name, "--publish", "127.0.0.1::5672", image); err != nil {
		stop()
		return nil, err
	}
	published, err := docker(ctx, 10*time.Second, "port", name, "5672/tcp")
	if err != nil {
		stop()
		return nil, err
	}
	address, _, _ := strings.Cut(published, "\n")
	waiting, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := waitForAMQP(waiting, address, nil, progress); err != nil {
		stop()
		return nil, fmt.Errorf("start a container of %s: %w", image, err)
	}
	return &broker{url: "amqp://" + address + "/", what: "a container at " + address, stop: stop}, nil
}

// installLock is the file that a lab locks while it installs.
func installLock() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("microcomm-lab-%d.lock", os.Getuid()))
}

// installScript installs the package without starting the system's service,
// which would take the ports of the whole machine.
const installScript = `set -e
trap 'exit 1' INT TERM HUP
if ! [ -e /usr/sbin/policy-rc.d ]; then
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q || true
apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 rabbitmq-server
`

// installRabbitMQ installs Debian's package where that needs no password.
func installRabbitMQ(ctx context.Context, progress io.Writer) error {
	if _, err := exec.LookPath("apt-get"); err != nil || runtime.GOOS != "linux" {
		return errors.New("no apt-get to install it with")
	}
	command := []string{"sh", "-c", installScript}
	if os.Geteuid() != 0 {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := exec.CommandContext(ctx, "sudo", "-n", "true").Run(); err != nil {
			return errors.New("installing it with apt-get needs root, or sudo without a password")
		}
		command = append([]string{"sudo", "-n"}, command...)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	unlock, err := lockFile(ctx, installLock())
	if err != nil {
		return err
	}
	defer unlock()
	if findRabbitMQ() != "" {
		return nil // another lab has installed it meanwhile
	}
	fmt.Fprintln(progress, "broker: none here; installing one: apt-get install rabbitmq-server (its service is not started)")
	var log bytes.Buffer
	install, err := startProcess("apt-get", exec.Command(command[0], command[1:]...), &log)
	if err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for start := time.Now(); ; {
		select {
		case <-install.done:
			if install.err != nil {
				return fmt.Errorf("apt-get install rabbitmq-server: %w:\n%s", install.err, lastLines(log.Bytes(), 15))
			}
			if findRabbitMQ() == "" {
				return errors.New("apt-get install rabbitmq-server: installed, but there is no rabbitmq-server")
			}
			return nil
		case <-tick.C:
			fmt.Fprintf(progress, "broker: still installing (%.0fs)\n", time.Since(start).Seconds())
		case <-ctx.Done():
			// dpkg cut short would leave the machine with a broken package
			fmt.Fprintln(progress, "broker: letting apt-get finish first")
			install.stop(2 * time.Minute)
			return ctx.Err()
		}
	}
}

// waitForAMQP waits until a broker at address answers the protocol's greeting,
// or ctx ends, or node does, which may be nil.
func waitForAMQP(ctx context.Context, address string, node *process, progress io.Writer) error {
	var ended chan struct{}
	if node != nil {
		ended = node.done
	}
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	report := time.NewTicker(5 * time.Second)
	defer report.Stop()
	start := time.Now()
	deadline, _ := ctx.Deadline() // every caller sets one
	var last error
	for {
		err := greetAMQP(ctx, address)
		if err == nil {
			return nil
		}
		if last == nil || time.Now().Before(deadline) { // cut short, it says nothing of the broker
			last = err
		}
		for wait := true; wait; {
			select {
			case <-ended:
				return fmt.Errorf("it ended by itself: %s", node.ending())
			case <-ctx.Done():
				return fmt.Errorf("not ready after %.0fs: %w", time.Since(start).Seconds(), last)
			case <-report.C:
				fmt.Fprintf(progress, "broker: still starting (%.0fs)\n", time.Since(start).Seconds())
			case <-poll.C:
				wait = false
			}
		}
	}
}

// greetAMQP opens a connection and expects the broker's first method,
// Connection.Start: a port that merely listens is not a broker yet.
func greetAMQP(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := io.WriteString(conn, "AMQP\x00\x00\x09\x01"); err != nil {
		return err
	}
	var frame [11]byte // type, channel (2), size (4), class (2), method (2)
	if _, err := io.ReadFull(conn, frame[:]); err != nil {
		return fmt.Errorf("read its greeting: %w", err)
	}
	class, method := binary.BigEndian.Uint16(frame[7:]), binary.BigEndian.Uint16(frame[9:])
	if frame[0] != 1 || class != 10 || method != 10 {
		return fmt.Errorf("%s does not speak AMQP 0-9-1", address)
	}
	return nil
}

// freePorts finds n ports on the loopback address that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close() // at the end, so that no port is given twice
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// removeAll removes a temporary folder, and tries again for a moment when
// a process that was just killed still wrote into it.
func removeAll(dir string) {
	deadline := time.Now().Add(2 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for os.RemoveAll(dir) != nil && time.Now().Before(deadline) {
		<-tick.C
	}
}

func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
