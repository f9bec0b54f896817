package etcd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestAKillWhileFoundingIsNoHarm: a first start that is killed at any moment leaves a folder in which the
// next one starts.
func TestAKillWhileFoundingIsNoHarm(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for life := range 30 {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(life))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HAVN_CRASH_DIR="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// How far it comes is a matter of chance, and meant to be.
		<-time.After(time.Duration(chance.Int64N(int64(120 * time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		l, err := StartEmbedded(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// TestWhatWasNeverFoundedIsFoundedAnew: the same, with the very files that a killed first start has left.
func TestWhatWasNeverFoundedIsFoundedAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	l, err := StartEmbedded(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, foundedFile)); err != nil {
		t.Fatal(err)
	}
	wals, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(wals) == 0 {
		t.Fatal(wals, err)
	}
	// Only its head was written: 8 bytes a frame, the first of them metadata.
	if err := os.Truncate(wals[0], 0); err != nil {
		t.Fatal(err)
	}
	l, err = StartEmbedded(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
