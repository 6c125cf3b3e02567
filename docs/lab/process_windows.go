package main

import (
	"context"
	"os/exec"
	"syscall"
)

func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// askToStop sends Ctrl-Break, which a Go program receives as os.Interrupt.
func askToStop(cmd *exec.Cmd) {
	generate := syscall.NewLazyDLL("kernel32.dll").NewProc("GenerateConsoleCtrlEvent")
	_, _, _ = generate.Call(syscall.CTRL_BREAK_EVENT, uintptr(cmd.Process.Pid))
}

func interruptGroup(cmd *exec.Cmd) { askToStop(cmd) }

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

// lockFile does nothing: nothing is installed on Windows.
func lockFile(context.Context, string) (unlock func(), err error) { return func() {}, nil }
