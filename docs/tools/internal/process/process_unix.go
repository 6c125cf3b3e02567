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

func interrupt(cmd *exec.Cmd, c Command) { _ = signal(cmd, c, syscall.SIGINT) }

func kill(cmd *exec.Cmd, c Command) { _ = signal(cmd, c, syscall.SIGKILL) }

func suspend(cmd *exec.Cmd, c Command) error { return signal(cmd, c, syscall.SIGSTOP) }

func resume(cmd *exec.Cmd, c Command) error { return signal(cmd, c, syscall.SIGCONT) }

func suspendGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGSTOP) }

func resumeGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGCONT) }

// signal reaches the whole group, if the child leads one.
func signal(cmd *exec.Cmd, c Command, s syscall.Signal) error {
	if c.Foreground {
		return cmd.Process.Signal(s)
	}
	return syscall.Kill(-cmd.Process.Pid, s)
}
