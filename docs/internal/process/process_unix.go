//go:build unix

package process

import (
	"os/exec"
	"syscall"
)

func prepare(cmd *exec.Cmd, c Command) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !c.Foreground}
	if !c.Outlives {
		dieWithParent(cmd.SysProcAttr)
	}
}

func askToStop(cmd *exec.Cmd, _ Command) { _ = cmd.Process.Signal(syscall.SIGTERM) }

func interrupt(cmd *exec.Cmd, c Command) { signal(cmd, c, syscall.SIGINT) }

func kill(cmd *exec.Cmd, c Command) { signal(cmd, c, syscall.SIGKILL) }

// signal reaches the whole group, when the child has one of its own.
func signal(cmd *exec.Cmd, c Command, s syscall.Signal) {
	if c.Foreground {
		_ = cmd.Process.Signal(s)
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, s)
}
