package containerd

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// keyed lets one at a time do something about a key.
type keyed struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when done
}

func (k *keyed) lock(ctx context.Context, key string) (done func(), err error) {
	for {
		k.mu.Lock()
		if k.busy == nil {
			k.busy = make(map[string]chan struct{})
		}
		other, busy := k.busy[key]
		if !busy {
			mine := make(chan struct{})
			k.busy[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.busy, key)
				k.mu.Unlock()
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// doors lets any number in through a key's door together, or one alone.
type doors struct {
	mu   sync.Mutex
	open map[string]*door
}

type door struct {
	room *semaphore.Weighted
	used int // by those who are in and those who wait
}

func (d *doors) together(ctx context.Context, key string) (done func(), err error) {
	return d.enter(ctx, key, 1)
}

func (d *doors) alone(ctx context.Context, key string) (done func(), err error) {
	return d.enter(ctx, key, math.MaxInt64)
}

func (d *doors) enter(ctx context.Context, key string, space int64) (func(), error) {
	d.mu.Lock()
	if d.open == nil {
		d.open = make(map[string]*door)
	}
	this := d.open[key]
	if this == nil {
		this = &door{room: semaphore.NewWeighted(math.MaxInt64)}
		d.open[key] = this
	}
	this.used++
	d.mu.Unlock()
	leave := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if this.used--; this.used == 0 {
			delete(d.open, key)
		}
	}
	if err := this.room.Acquire(ctx, space); err != nil {
		leave()
		return nil, err
	}
	return func() {
		this.room.Release(space)
		leave()
	}, nil
}
