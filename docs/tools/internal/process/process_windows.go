package process

import (
	"errors"
	"os/exec"
	"syscall"
)

func prepare(cmd *exec.Cmd, c Command) {
	if !c.Foreground {
		cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
	}
}

// askToStop sends Ctrl-Break, which a Go program receives as os.Interrupt.
func askToStop(cmd *exec.Cmd, _ Command) {
	generate := syscall.NewLazyDLL("kernel32.dll").NewProc("GenerateConsoleCtrlEvent")
	_, _, _ = generate.Call(syscall.CTRL_BREAK_EVENT, uintptr(cmd.Process.Pid))
}

func interrupt(cmd *exec.Cmd, c Command) { askToStop(cmd, c) }

func kill(cmd *exec.Cmd, _ Command) { _ = cmd.Process.Kill() }

func suspend(*exec.Cmd, Command) error { return errors.ErrUnsupported }

func resume(*exec.Cmd, Command) error { return errors.ErrUnsupported }

func suspendGroup(int) error { return errors.ErrUnsupported }

func resumeGroup(int) error { return errors.ErrUnsupported }
