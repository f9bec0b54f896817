package network

import (
	"context"
	"path/filepath"
	"testing"
)

// A lock that another has is not had, and who gives up waiting for it does so at once.
func TestALockIsWaitedForNoLongerThanIsWanted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := lockFile(given, path); err == nil {
		f.Close()
		t.Error("two have the lock")
	}
	released := make(chan error, 1)
	go func() { released <- first.Close() }()
	second, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-released; err != nil {
		t.Error(err)
	}
	second.Close()
}
