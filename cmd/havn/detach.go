package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// readyEnv names the file descriptor on which a detached server says that it is ready.
const readyEnv = "HAVN_READY_FD"

// detach starts this very command again, in the background, and returns when it is ready or has failed.
func (h home) detach(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	if info, err := h.server(); err == nil {
		fmt.Fprintf(out, "Havn is already up at %s (pid %d)\n", info.Endpoint, info.PID)
		return nil
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return fmt.Errorf("cannot make data folder: %w", err)
	}
	logFile, err := os.OpenFile(h.path("havn.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open log: %w", err)
	}
	defer logFile.Close()
	from, err := logFile.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("cannot open log: %w", err)
	}
	ready, told, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	child := exec.Command(self, foreground(os.Args[1:])...)
	child.Env = append(os.Environ(), readyEnv+"=3", "HAVN_DATA_DIR="+h.dir)
	child.Stdout, child.Stderr = logFile, logFile
	child.ExtraFiles = []*os.File{told}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		told.Close()
		return fmt.Errorf("cannot start: %w", err)
	}
	told.Close()
	var info serverInfo
	if err := json.NewDecoder(ready).Decode(&info); err != nil {
		return fmt.Errorf("Havn did not start (%v):\n%s", child.Wait(), h.logSince(from))
	}
	fmt.Fprintf(out, "Havn is up at %s (pid %d)\n", info.Endpoint, info.PID)
	fmt.Fprintf(out, "  point AWS clients at it:  eval \"$(havn env)\"\n")
	fmt.Fprintf(out, "  its log:                  %s\n", h.path("havn.log"))
	return child.Process.Release()
}

// foreground is args without --detach.
func foreground(args []string) []string {
	var kept []string
	for _, a := range args {
		if a != "--detach" && a != "-d" && !strings.HasPrefix(a, "--detach=") {
			kept = append(kept, a)
		}
	}
	return kept
}

// logSince is what the log says from an offset on, its last 4 KiB at most.
func (h home) logSince(from int64) string {
	content, err := os.ReadFile(h.path("havn.log"))
	if err != nil || int64(len(content)) <= from {
		return "(it said nothing)"
	}
	content = content[max(from, int64(len(content))-4096):]
	return strings.TrimSpace(string(content))
}

// announce tells a waiting `up --detach` that the server is ready.
func announce(info serverInfo) error {
	if os.Getenv(readyEnv) == "" {
		return nil
	}
	f := os.NewFile(3, "ready")
	defer f.Close()
	if err := json.NewEncoder(f).Encode(info); err != nil {
		return fmt.Errorf("cannot say that Havn is ready: %w", err)
	}
	return nil
}
