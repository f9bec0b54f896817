package containerd

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// spare is what a pull leaves free of the disk: Havn's state is on the same one as a rule, and who cannot write that
// cannot run. lookEvery is how often it is looked at while layers are unpacked, whose size nobody tells beforehand.
const (
	spare     = 48 << 20
	lookEvery = 20 * time.Millisecond
)

// errFull is what the pull would have met a little later.
var errFull = fmt.Errorf("cannot write: %w", unix.ENOSPC)

// room is how much a pull may write below the folder; it can be negative.
func room(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("cannot see how much room is left: %w", err)
	}
	return int64(fs.Bavail)*fs.Bsize - spare, nil
}

// watchRoom ends the pull when there is no room left, until ctx ends.
func watchRoom(ctx context.Context, dir string, end context.CancelCauseFunc) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if left, err := room(dir); err == nil && left < 0 {
			end(errFull)
			return
		}
	}
}
