package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"havn/testimage"
)

const region = "us-east-1"

// havn is a Havn under measurement.
type havn struct {
	bin, dir string
	endpoint string
	pid      int
	key      struct{ AccessKeyID, SecretAccessKey string }
	client   *ecs.Client
}

// startHavn starts a Havn with an empty data folder and returns when it is ready.
func startHavn(ctx context.Context, c config, flags ...string) (*havn, error) {
	dir, err := os.MkdirTemp("/tmp", "havn-bench-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	bin, err := filepath.Abs(c.bin)
	if err != nil {
		return nil, err
	}
	h := &havn{bin: bin, dir: dir, endpoint: fmt.Sprintf("http://127.0.0.1:%d", port)}
	if err := h.run(ctx, append([]string{"up", "--detach", "--listen", fmt.Sprintf("127.0.0.1:%d", port)}, flags...)...); err != nil {
		return nil, err
	}
	var server struct{ PID int }
	if err := h.read("server.json", &server); err != nil {
		return nil, err
	}
	h.pid = server.PID
	if err := h.read("credentials", &h.key); err != nil {
		return nil, err
	}
	h.client = ecs.New(ecs.Options{
		BaseEndpoint: aws.String(h.endpoint), Region: region,
		Credentials: credentials.NewStaticCredentialsProvider(h.key.AccessKeyID, h.key.SecretAccessKey, ""),
	})
	return h, nil
}

// stop stops its tasks and it, and removes its data folder.
func (h *havn) stop() {
	// A bench that was interrupted still cleans up, so this has a context of its own.
	if err := h.run(context.Background(), "down", "--tasks"); err != nil {
		fmt.Fprintln(os.Stderr, "bench: left behind:", h.dir, err)
		return
	}
	os.RemoveAll(h.dir)
}

func (h *havn) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(h.bin, "havn"), args...)
	cmd.Env = append(os.Environ(), "HAVN_DATA_DIR="+h.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("havn %v: %w\n%s", args, err, bytes.TrimSpace(out))
	}
	return nil
}

func (h *havn) read(name string, v any) error {
	content, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		return err
	}
	return json.Unmarshal(content, v)
}

const image = "havn/bench:latest"

// loadImage loads an image that sleeps, and registers a task definition of it.
func (h *havn) loadImage(ctx context.Context) error {
	archive := filepath.Join(h.dir, "bench.tar")
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	if err := testimage.WriteArchive(f, image, testimage.Busybox("sleep", "100000")); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := h.run(ctx, "image", "load", archive); err != nil {
		return err
	}
	_, err = h.client.RegisterTaskDefinition(ctx, definition("bench"))
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// pause lets a process settle before its memory is read.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
