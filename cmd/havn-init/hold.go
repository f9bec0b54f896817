//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody has no rights to anything. That a holder runs as this user is how Havn knows that it is done with the steps
// below.
const nobody = 65534

// hold waits for ever, in namespaces that were made for it. Containers of the task see it as process 1, and one that
// may trace other processes can look through it: there must be nothing to see. So its root becomes an empty folder in
// memory, in place of the host's, and it gives up all rights.
func hold() error {
	signal.Ignore() // all that can be: processes that nobody waits for are then reaped by the kernel
	if os.Getpid() != 1 {
		return errors.New("not process 1 of a namespace")
	}
	const root = "/tmp" // any folder: what is mounted here is seen by nobody else
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"take a name", func() error { return os.WriteFile("/proc/self/comm", []byte("havn-init"), 0) }},
		{"keep mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mount an empty root", func() error {
			return unix.Mount("havn", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k,nr_inodes=2,mode=555")
		}},
		{"enter it", func() error { return unix.Chdir(root) }},
		{"change the root", func() error { return unix.PivotRoot(".", ".") }},
		{"leave the host's", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"stay there", func() error { return unix.Chdir("/") }},
		{"make it read only", func() error {
			return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"gain no privileges", func() error {
			if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); errno != 0 {
				return errno
			}
			return nil
		}},
		{"leave groups", func() error { return syscall.Setgroups(nil) }},
		{"change the group", func() error { return syscall.Setgid(nobody) }},
		{"change the user", func() error { return syscall.Setuid(nobody) }}, // and with it go the capabilities
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("cannot %s: %w", step.what, err)
		}
	}
	for fd := range 3 { // the last is what Havn waits for
		unix.Close(fd)
	}
	for {
		unix.Pause() //nolint:errcheck // it has no other
	}
}
