//go:build linux

// Command havn-init is the first process of containers that ask for one, and of namespaces that the containers of a
// task share.
//
//	havn-init -- COMMAND ARGUMENT...   run the command, hand on signals to it, reap what others leave behind, and end
//	                                   with its exit code (linuxParameters.initProcessEnabled)
//	havn-init hold FOLDER              be the first process of a task's PID namespace, and nothing else (pidMode task);
//	                                   the folder is only there for Havn to tell whose it is
//
// There can be one for each container, so it links little.
package main

import (
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// As a shell has them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignal    = 128 // and the signal's number
)

func main() {
	switch args := os.Args[1:]; {
	case len(args) >= 2 && args[0] == "--":
		os.Exit(run(args[1:]))
	case len(args) == 2 && args[0] == "hold":
		if err := hold(); err != nil {
			complain("cannot hold a namespace: " + err.Error())
			os.Exit(1)
		}
	default:
		complain("usage: havn-init -- COMMAND ARGUMENT...")
		os.Exit(2)
	}
}

func complain(text string) {
	os.Stderr.WriteString("havn-init: " + text + "\n") //nolint:errcheck // there is nobody else to tell
}

// run returns the exit code of the command.
func run(args []string) int {
	// Before there is a child: its end must not be missed. That signal has a channel of its own, because one that is
	// full loses signals, and of this one it is enough to know that it came.
	ended, signals := make(chan os.Signal, 1), make(chan os.Signal, 64)
	signal.Notify(ended, syscall.SIGCHLD)
	signal.Notify(signals)
	if os.Getpid() != 1 { // the namespace is the host's or the task's: orphans come to us all the same
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			complain("cannot become a subreaper: " + err.Error())
		}
	}
	child, err := start(args)
	if err != nil {
		complain("exec " + args[0] + " failed: " + err.Error())
		if errors.Is(err, syscall.ENOENT) {
			return exitNotFound
		}
		return exitCannotRun
	}
	for {
		select {
		case <-ended:
			if code, over := reap(child); over {
				return code
			}
		case s := <-signals:
			// SIGURG is what Go's own scheduler sends.
			if n, ok := s.(syscall.Signal); ok && n != syscall.SIGCHLD && n != syscall.SIGURG {
				syscall.Kill(child, n) //nolint:errcheck // it has just ended
			}
		}
	}
}

func start(args []string) (pid int, err error) {
	path, err := find(args[0])
	if err != nil {
		return 0, err
	}
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}}
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil { // a terminal of ours: its keys are for the command
		attr.Sys = &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
	}
	return syscall.ForkExec(path, args, attr)
}

// find looks a command up in PATH, as execvp(3).
func find(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	found := error(syscall.ENOENT)
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		path := dir + "/" + name
		if dir == "" {
			path = "./" + name
		}
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			continue
		}
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
		found = syscall.EACCES
	}
	return "", found
}

// reap takes leave of every process that has ended, and tells how the child did if it is among them.
func reap(child int) (code int, over bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || pid <= 0:
			return code, over
		case pid == child && status.Signaled():
			code, over = exitSignal+int(status.Signal()), true
		case pid == child && status.Exited():
			code, over = status.ExitStatus(), true
		}
	}
}
