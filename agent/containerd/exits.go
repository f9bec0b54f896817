package containerd

import (
	"context"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
)

// exit is how a process ended.
type exit struct {
	code     int
	at       time.Time
	shimDied bool // which is why it ended
}

// exits hears what becomes of containers whose shim died. Their exit is told by an event of containerd, once it has
// cleaned up, and by nothing else.
type exits struct {
	mu      sync.Mutex
	waiting map[string]map[chan exit]bool // by container
}

func newExits() *exits { return &exits{waiting: make(map[string]map[chan exit]bool)} }

// expect must be called before the shim can die. forget ends it.
func (x *exits) expect(id string) (ended <-chan exit, forget func()) {
	c := make(chan exit, 1)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.waiting[id] == nil {
		x.waiting[id] = make(map[chan exit]bool)
	}
	x.waiting[id][c] = true
	return c, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if delete(x.waiting[id], c); len(x.waiting[id]) == 0 {
			delete(x.waiting, id)
		}
	}
}

func (x *exits) watch(ctx context.Context, from events.Subscriber) {
	for ctx.Err() == nil {
		messages, errs := from.Subscribe(ctx, `topic=="/tasks/exit"`)
		for open := true; open; {
			select {
			case m := <-messages:
				x.observe(m)
			case <-errs: // ends the subscription
				open = false
			}
		}
		select { // the engine is in this process, so this is the end; should it not be, do not hurry
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (x *exits) observe(m *events.Envelope) {
	if m == nil {
		return
	}
	v, err := typeurl.UnmarshalAny(m.Event)
	if err != nil {
		return
	}
	e, ok := v.(*eventsapi.TaskExit)
	if !ok || e.ID != e.ContainerID { // another process in the container
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for c := range x.waiting[e.ContainerID] {
		select {
		case c <- exit{code: int(e.ExitStatus), at: e.ExitedAt.AsTime(), shimDied: true}:
		default:
		}
	}
}
