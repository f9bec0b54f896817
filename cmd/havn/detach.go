package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// readyEnv names the file descriptor on which a detached server says that it is ready.
const readyEnv = "HAVN_READY_FD"

// detached reports whether this process is the background of an `up --detach`, which must not detach again.
func detached() bool { return os.Getenv(readyEnv) != "" }

// givenFlags are the flags that were given, each as --name=value, without those that say where to run.
func givenFlags(cmd *cobra.Command) []string {
	var given []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name == "detach" || f.Name == "data-dir" {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			given = append(given, "--"+f.Name+"="+value)
		}
	})
	return given
}

// detach starts `havn up` with the same flags in the background, and returns when it is ready or has
// failed. Where one runs already it must have been started with these flags, or with none said now.
func (h home) detach(cmd *cobra.Command, given []string) error {
	out := cmd.OutOrStdout()
	if info, err := h.server(); err == nil {
		if len(given) > 0 && !slices.Equal(given, info.Flags) {
			return fmt.Errorf("Havn is already up at %s (pid %d) with other flags (%s); for new ones: havn down, then havn up",
				info.Endpoint, info.PID, strings.Join(info.Flags, " "))
		}
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
	child := exec.Command(self, append([]string{"up"}, given...)...)
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
	slow := time.AfterFunc(2*time.Second, func() { fmt.Fprintf(out, "still starting; what it does is in %s\n", h.path("havn.log")) })
	err = json.NewDecoder(ready).Decode(&info)
	slow.Stop()
	if err != nil {
		_ = child.Wait() // ProcessState tells how it ended
		return fmt.Errorf("Havn did not start (%s):\n%s", child.ProcessState, h.logSince(from))
	}
	fmt.Fprintf(out, "Havn is up at %s (pid %d)\n", info.Endpoint, info.PID)
	fmt.Fprintf(out, "  point AWS clients at it:  eval \"$(havn env)\"\n")
	fmt.Fprintf(out, "  its log:                  %s\n", h.path("havn.log"))
	return child.Process.Release()
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
	if !detached() {
		return nil
	}
	f := os.NewFile(3, "ready")
	defer f.Close()
	if err := json.NewEncoder(f).Encode(info); err != nil {
		return fmt.Errorf("cannot say that Havn is ready: %w", err)
	}
	return nil
}
