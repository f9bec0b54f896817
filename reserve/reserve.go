// Package reserve keeps room on the disk for what must be written when others have filled it: the state, a node's
// journal, containerd's metadata. A container that fills the disk can then still be stopped, and the end of every task
// be told.
//
// The room of a file that grows is blocks that are allocated to it already, beyond its end and in its holes. The file
// does not look larger, and whoever writes it need not know. Ballast is a file that only takes room: it is thrown off
// where files must be made anew.
package reserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// most is how much room a file has ahead of it, in bytes, on a disk that is not small: where it is, a 64th of it.
	most  = 32 << 20
	share = 64
	// ballast is the size of ballast, in bytes.
	ballast = 1 << 20
	// every is how often it is looked at how far a file has grown.
	every = 10 * time.Second
)

// Ahead makes room for the file to grow. It is no error that it does not exist. On a disk that is full, there is an error,
// and the file keeps what it had.
func Ahead(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return fmt.Errorf("cannot see how large the disk of %s is: %w", path, err)
	}
	ahead := min(int64(fs.Blocks)*fs.Bsize/share, most)
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, info.Size()+ahead)
	if errors.Is(err, unix.EOPNOTSUPP) { // not every file system can
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot reserve %d bytes for %s: %w", ahead, path, err)
	}
	return nil
}

// Keep keeps room ahead of the files until ctx ends. The first time is before it returns.
func Keep(ctx context.Context, log *slog.Logger, paths ...string) {
	missing := make([]bool, len(paths)) // which is told once
	ahead := func() {
		for i, path := range paths {
			err := Ahead(path)
			if err != nil && !missing[i] {
				log.Warn("there is no room in reserve any more", "error", err)
			}
			missing[i] = err != nil
		}
	}
	ahead()
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				ahead()
			case <-ctx.Done():
				return
			}
		}
	}()
}

// TakeBallast makes the file that only takes room. Where there is none to take, there is none to throw off later.
func TakeBallast(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, ballast); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("cannot take %d bytes of ballast: %w", ballast, err)
	}
	return nil
}

// ThrowBallast gives the room of the file to others.
func ThrowBallast(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
