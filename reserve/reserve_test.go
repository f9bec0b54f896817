package reserve

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk is one of 8 MiB: a file on it has 128 KiB in reserve.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("to mount a small disk needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill leaves no room on the disk.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 4 << 10} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func TestAFileWithRoomInReserveGrowsOnAFullDisk(t *testing.T) {
	dir := smallDisk(t)
	kept, other := filepath.Join(dir, "kept"), filepath.Join(dir, "other")
	for _, path := range []string{kept, other} {
		if err := os.WriteFile(path, make([]byte, 10<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 40<<10); err != nil { // a hole, as a database has it that grows ahead
			t.Fatal(err)
		}
	}
	if err := Ahead(kept); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(kept); err != nil || info.Size() != 40<<10 {
		t.Errorf("it looks different: %v, %v", info, err)
	}
	fill(t, dir)
	write := func(path string, at int64) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, err = f.WriteAt(make([]byte, 8<<10), at)
		return err
	}
	for _, at := range []int64{20 << 10, 40 << 10, 150 << 10} {
		if err := write(kept, at); err != nil {
			t.Errorf("at %d: %v", at, err)
		}
	}
	if err := write(other, 20<<10); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the disk is not full: %v", err)
	}
	if err := Ahead(other); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("nothing is left to reserve, and %v", err)
	}
}

func TestWhatDoesNotExistNeedsNoRoom(t *testing.T) {
	if err := Ahead(filepath.Join(t.TempDir(), "nothing")); err != nil {
		t.Error(err)
	}
}

func TestBallastMakesRoomForNewFiles(t *testing.T) {
	dir := smallDisk(t)
	ballast := filepath.Join(dir, "ballast")
	if err := TakeBallast(ballast); err != nil {
		t.Fatal(err)
	}
	fill(t, dir)
	small := func() error { return os.WriteFile(filepath.Join(dir, "small"), make([]byte, 5000), 0o600) }
	if err := small(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the disk is not full: %v", err)
	}
	for range 2 { // also where there is none any more
		if err := ThrowBallast(ballast); err != nil {
			t.Error(err)
		}
	}
	if err := small(); err != nil {
		t.Error(err)
	}
}
