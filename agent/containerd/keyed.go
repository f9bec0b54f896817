package containerd

import (
	"context"
	"sync"
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
