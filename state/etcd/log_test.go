package etcd

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"havn/state"
	"havn/state/statetest"
)

func TestEmbeddedIsALog(t *testing.T) {
	statetest.Test(t, func(t *testing.T) state.Log { return compactable{startTest(t, ""), t} })
}

func TestDialedIsALog(t *testing.T) {
	statetest.Test(t, func(t *testing.T) state.Log {
		socket := shortSocket(t)
		startTest(t, socket)
		l, err := Dial(t.Context(), DialConfig{Endpoints: []string{"unix://" + socket}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return compactable{l, t}
	})
}

func startTest(t testing.TB, socket string) *Log {
	t.Helper()
	l, err := StartEmbedded(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "etcd"), Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// shortSocket is a path that fits into a socket's address.
func shortSocket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "havn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "etcd.sock")
}

// compactable lets the suite make etcd forget.
type compactable struct {
	*Log
	t *testing.T
}

func (c compactable) Compact(upTo state.Revision) {
	// etcd keeps what a compaction is given: history after it.
	if _, err := c.client.Compact(context.Background(), int64(upTo)); err != nil {
		c.t.Error(err)
	}
}
