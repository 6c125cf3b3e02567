package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"microcomm/docs/tools/internal/process"
)

// installLock is the file that is locked while one installs.
func installLock() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("microcomm-lab-%d.lock", os.Getuid()))
}

// findInstalled is Find, after waiting for another lab that is installing one.
func findInstalled(ctx context.Context) (string, error) {
	unlock, err := lockFile(ctx, installLock())
	if err != nil {
		return "", err
	}
	defer unlock()
	return Find(), nil
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

// install installs Debian's package where that needs no password.
func install(ctx context.Context, progress io.Writer) error {
	if _, err := exec.LookPath("apt-get"); err != nil || runtime.GOOS != "linux" {
		return errors.New("no apt-get to install it with")
	}
	command := []string{"sh", "-c", installScript}
	if os.Geteuid() != 0 {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := process.Run(ctx, process.Command{Args: []string{"sudo", "-n", "true"}}); err != nil {
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
	if Find() != "" {
		return nil // another lab has installed it meanwhile
	}
	fmt.Fprintln(progress, "broker: none here; installing one: apt-get install rabbitmq-server (its service is not started)")
	apt, err := process.Start(process.Command{
		Args:     command,
		Outlives: true, // dpkg cut short would leave the machine with a broken package
		Still: func(elapsed time.Duration) {
			fmt.Fprintf(progress, "broker: still installing (%s)\n", elapsed)
		},
	})
	if err != nil {
		return err
	}
	err = apt.Wait(ctx)
	if ctx.Err() != nil {
		fmt.Fprintln(progress, "broker: waiting for apt-get to finish")
		apt.Stop(2 * time.Minute)
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("apt-get install rabbitmq-server: %w", err)
	}
	if Find() == "" {
		return errors.New("apt-get install rabbitmq-server: installed, but there is no rabbitmq-server")
	}
	return nil
}
