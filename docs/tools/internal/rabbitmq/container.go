package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"microcomm/docs/tools/internal/process"
)

// Image is what a container is made of, and what the stages' manifests use.
const Image = "rabbitmq:4-management"

// CheckDocker returns an error that says why no container can be started, or nil.
func CheckDocker(ctx context.Context) error {
	if _, err := exec.LookPath("docker"); err != nil {
		return errors.New("no Docker")
	}
	if _, err := docker(ctx, 10*time.Second, "version", "--format", "{{.Server.Version}}"); err != nil {
		return errors.New("Docker is installed, but its daemon does not respond")
	}
	return nil
}

func docker(ctx context.Context, limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := process.Output(ctx, process.Command{Args: append([]string{"docker"}, args...)})
	return strings.TrimSpace(out), err
}

func containerBroker(ctx context.Context, ports Ports, progress io.Writer) (*Broker, error) {
	name := fmt.Sprintf("microcomm-lab-%d", os.Getpid())
	stop := func() {
		// not ctx: it has ended when Ctrl-C brings us here
		if _, err := docker(context.Background(), 20*time.Second, "rm", "--force", "--volumes", name); err != nil {
			fmt.Fprintln(progress, "broker:", err)
		}
	}
	amqp := "127.0.0.1::5672" // on a free port
	if ports.AMQP != 0 {
		amqp = fmt.Sprintf("127.0.0.1:%d:5672", ports.AMQP)
	}
	run := []string{"run", "--detach", "--rm", "--name", name, "--publish", amqp}
	if ports.Management != 0 {
		run = append(run, "--publish", fmt.Sprintf("127.0.0.1:%d:15672", ports.Management))
	}
	fmt.Fprintf(progress, "broker: starting a container of %s (the first time downloads it)\n", Image)
	if _, err := docker(ctx, 10*time.Minute, append(run, Image)...); err != nil {
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
		return nil, fmt.Errorf("start a container of %s: %w", Image, err)
	}
	return &Broker{URL: "amqp://" + address + "/", What: "a container at " + address, stop: stop}, nil
}
