package rabbitmq

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"microcomm/docs/tools/internal/apt"
	"microcomm/docs/tools/internal/freeport"
	"microcomm/docs/tools/internal/process"
)

// Node is a private node: it shares neither ports, files and cookie nor the port mapper
// (epmd) that Erlang nodes register with.
type Node struct {
	server   string
	address  string
	ports    []*freeport.Port
	dir      string
	env      []string
	progress io.Writer
	epmd     *process.Process
	node     *process.Process
}

// StartNode starts a private node, of the rabbitmq-server on this machine or,
// on Debian and Ubuntu, of one that it installs.
func StartNode(ctx context.Context, progress io.Writer) (*Node, error) {
	server, err := apt.Settled(ctx, Find)
	if err != nil {
		return nil, err
	}
	if server == "" {
		if server, err = apt.Install(ctx, "rabbitmq-server", Find, progress); err != nil {
			return nil, fmt.Errorf("no rabbitmq-server on this machine: %w", err)
		}
	}
	return startNode(ctx, server, Ports{}, progress)
}

// Find is the path of rabbitmq-server, or empty. The packages' wrapper in
// /usr/sbin changes the user, so the script behind it comes first.
func Find() string {
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

// startNode starts a node that listens on ports.
func startNode(ctx context.Context, server string, ports Ports, progress io.Writer) (*Node, error) {
	n := &Node{server: server, progress: progress}
	for range 3 {
		port, err := freeport.Take()
		if err != nil {
			n.Stop()
			return nil, err
		}
		n.ports = append(n.ports, port)
	}
	amqp, dist, mapper := n.ports[0].Number, n.ports[1].Number, n.ports[2].Number
	if ports.AMQP != 0 {
		amqp = ports.AMQP
	}
	var err error
	if n.dir, err = os.MkdirTemp("", "microcomm-broker-"); err != nil {
		n.Stop()
		return nil, err
	}
	n.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(amqp))
	n.env = environment(n.dir, amqp, dist, mapper)
	settings := map[string]string{
		// max_message_size is that of final's manifests (30-limits.conf).
		"rabbitmq.conf":   "listeners.tcp.lab = " + n.address + "\nlog.console = true\nmax_message_size = 131072\n",
		"enabled_plugins": "[].\n",
		"env.conf":        "",
	}
	if ports.Management != 0 {
		settings["rabbitmq.conf"] += fmt.Sprintf("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\n", ports.Management)
		settings["enabled_plugins"] = "[rabbitmq_management].\n"
	}
	for name, content := range settings {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(content), 0o600); err != nil {
			n.Stop()
			return nil, err
		}
	}
	n.epmd, err = process.Start(process.Command{
		Args: []string{"epmd", "-port", strconv.Itoa(mapper), "-address", "127.0.0.1"}, Dir: n.dir, Env: n.env,
	})
	if err == nil {
		err = waitForMapper(ctx, n.ports[2].Address(), n.epmd)
	}
	if err != nil {
		n.Stop()
		return nil, err
	}
	fmt.Fprintf(progress, "broker: starting a private node of %s\n", server)
	if err := n.Restart(ctx); err != nil {
		n.Stop()
		return nil, err
	}
	return n, nil
}

// waitForMapper waits until epmd listens: a node that cannot register ends.
func waitForMapper(ctx context.Context, address string, epmd *process.Process) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-poll.C:
		case <-epmd.Done():
			return fmt.Errorf("epmd ended early: %s", epmd.Ending())
		case <-ctx.Done():
			return fmt.Errorf("epmd does not listen: %w", err)
		}
	}
}

// environment returns that of a node and its epmd. Of our own it leaves out the settings
// for RabbitMQ and Erlang. dist is the port for other nodes, and mapper that of epmd.
func environment(dir string, amqp, dist, mapper int) []string {
	env := []string{
		"HOME=" + dir, // Erlang keeps its cookie there
		"ERL_EPMD_PORT=" + strconv.Itoa(mapper),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_AFLAGS=-start_epmd false", // else each start of Erlang makes sure of one, which would outlive us
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
	return env
}

// URL is the address for AMQP clients. It stays the same over a Restart.
func (n *Node) URL() string { return "amqp://" + n.address + "/" }

// Control runs rabbitmqctl on the node. The error has what it printed.
func (n *Node) Control(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var said strings.Builder
	err := process.Run(ctx, process.Command{Args: append([]string{filepath.Join(filepath.Dir(n.server), "rabbitmqctl")}, args...), Dir: n.dir, Env: n.env, Stdout: &said, Stderr: &said})
	if err != nil {
		return fmt.Errorf("rabbitmqctl %s: %w:\n%s", args[0], err, process.LastLines(said.String(), 5))
	}
	return nil
}

// Process is the node's own, until the next Restart.
func (n *Node) Process() *process.Process { return n.node }

// Kill ends the node like a crash, and returns when it has ended. What it had written to
// its disk stays; for a quorum queue see HasQuorumQueue.
func (n *Node) Kill() { n.node.Kill() }

// HasQuorumQueue reports whether the node's disk has that queue. RabbitMQ writes there half
// a second after the declaration.
func (n *Node) HasQuorumQueue(queue string) bool {
	files, err := filepath.Glob(filepath.Join(n.dir, "data", "*", "quorum", "*", "names.dets"))
	if err != nil || len(files) != 1 {
		return false
	}
	names, err := os.ReadFile(files[0])
	name := "%2F_" + queue // of the virtual host /
	return err == nil && bytes.Contains(names, append([]byte{byte(len(name))}, name...))
}

// Restart starts the node after Kill, on the same port with the same files, and
// waits until it responds.
func (n *Node) Restart(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(n.dir, "log.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.node, err = process.Start(process.Command{Args: []string{n.server}, Dir: n.dir, Env: n.env, Stdout: log, Stderr: log})
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err = waitForAMQP(waiting, n.address, n.node, n.progress)
	if err == nil || ctx.Err() != nil {
		return err
	}
	text, _ := os.ReadFile(log.Name())
	return fmt.Errorf("start %s: %w; the end of its log:\n%s", n.server, err, process.LastLines(string(text), 15))
}

// Stop ends the node and removes its files.
func (n *Node) Stop() {
	// Nothing in the folder is worth an orderly stop: a kill takes no time.
	if n.node != nil {
		n.node.Kill()
	}
	if n.epmd != nil {
		n.epmd.Stop(time.Second)
	}
	if n.dir != "" {
		process.RemoveAll(n.dir)
	}
	for _, port := range n.ports {
		port.Free()
	}
}
