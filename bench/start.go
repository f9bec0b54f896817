package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// measureStart measures how long it takes from exec to the first answered, signed API call, with an empty
// data folder. The call is tried without a pause until it is answered.
func measureStart(ctx context.Context, c config) ([]result, error) {
	var cold []time.Duration
	for range max(5, c.rounds/10) {
		took, err := coldStart(ctx, c)
		if err != nil {
			return nil, err
		}
		cold = append(cold, took)
	}
	return []result{{
		"cold start to first answer, p50 / max",
		millis(percentile(cold, 50)) + " / " + millis(percentile(cold, 100)), "under 500 ms",
	}}, nil
}

func coldStart(ctx context.Context, c config) (time.Duration, error) {
	dir, err := os.MkdirTemp("/tmp", "havn-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "havn"), "up", "--dev", "--listen", address)
	cmd.Env = append(os.Environ(), "HAVN_DATA_DIR="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	request, err := signed("http://"+address, "test", "test", "ListClusters", "{}")
	if err != nil {
		return 0, err
	}
	for time.Since(begin) < 10*time.Second {
		conn, err := dial(address)
		if err != nil {
			continue
		}
		status, err := conn.call(request)
		conn.Close()
		if err == nil && status == 200 {
			took := time.Since(begin)
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				return 0, err
			}
			return took, cmd.Wait()
		}
	}
	return 0, fmt.Errorf("no answer in ten seconds")
}
