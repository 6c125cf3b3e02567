// Package apt installs a Debian package that a test or a tool needs, where that
// needs no password.
package apt

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

// lockPath is the file that is locked while one installs.
func lockPath() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("microcomm-lab-%d.lock", os.Getuid()))
}

// Settled calls find after waiting for another tool that is installing, and returns
// what it finds: half of a package is not one yet.
func Settled(ctx context.Context, find func() string) (string, error) {
	unlock, err := lockFile(ctx, lockPath())
	if err != nil {
		return "", err
	}
	defer unlock()
	return find(), nil
}

// script installs the package $1 without starting the system's service, which
// would take the ports of the whole machine.
const script = `set -e
trap 'exit 1' INT TERM HUP
if ! [ -e /usr/sbin/policy-rc.d ]; then
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
fi
export DEBIAN_FRONTEND=noninteractive
for attempt in 1 2 3; do # another apt may hold its lists, or a mirror may not respond
	apt-get update -q && break
	sleep 10
done
apt-get install -q -y -o Acquire::Retries=3 --no-install-recommends -o DPkg::Lock::Timeout=300 "$1"
`

// Install installs a package, and returns the program that find finds then. It
// fails where there is no apt-get, and where that would ask for a password.
func Install(ctx context.Context, name string, find func() string, progress io.Writer) (string, error) {
	if _, err := exec.LookPath("apt-get"); err != nil || runtime.GOOS != "linux" {
		return "", errors.New("no apt-get to install it with")
	}
	command := []string{"sh", "-c", script, "install", name}
	if os.Geteuid() != 0 {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := process.Run(ctx, process.Command{Args: []string{"sudo", "-n", "true"}}); err != nil {
			return "", errors.New("installing it with apt-get needs root, or sudo without a password")
		}
		command = append([]string{"sudo", "-n"}, command...)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	unlock, err := lockFile(ctx, lockPath())
	if err != nil {
		return "", err
	}
	defer unlock()
	if found := find(); found != "" {
		return found, nil // another tool has installed it meanwhile
	}
	fmt.Fprintf(progress, "%s: none here; installing one: apt-get install %[1]s (no service is started)\n", name)
	apt, err := process.Start(process.Command{
		Args:     command,
		Outlives: true, // dpkg cut short would leave the machine with a broken package
		Still: func(elapsed time.Duration) {
			fmt.Fprintf(progress, "%s: still installing (%s)\n", name, elapsed)
		},
	})
	if err != nil {
		return "", err
	}
	err = apt.Wait(ctx)
	if ctx.Err() != nil {
		fmt.Fprintf(progress, "%s: waiting for apt-get to finish\n", name)
		apt.Stop(2 * time.Minute)
		return "", ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("apt-get install %s: %w", name, err)
	}
	found := find()
	if found == "" {
		return "", fmt.Errorf("apt-get install %s: installed, but there is no %[1]s", name)
	}
	return found, nil
}
