package logstore

import "sync"

// watchBytes bounds what waits for a watch that is not read: with Overhead for each event.
const watchBytes = 8 << 20

// Appended is a group's events that were appended together, in the order in which they were given.
type Appended struct {
	Group  ID
	Events []Event
}

// Watch is told what is appended to some groups, from when it was made, and after it is durable.
type Watch struct {
	// Ready has a value when Take would return something.
	Ready <-chan struct{}

	all    *watches
	groups map[ID]bool
	ready  chan struct{}

	mu     sync.Mutex
	taken  []Appended
	bytes  int64
	missed int
}

// Watch begins to watch groups. Stop it when done.
func (s *Store) Watch(groups ...ID) *Watch {
	w := &Watch{all: &s.watches, groups: map[ID]bool{}, ready: make(chan struct{}, 1)}
	w.Ready = w.ready
	for _, group := range groups {
		w.groups[group] = true
	}
	s.watches.Lock()
	defer s.watches.Unlock()
	if s.watches.set == nil {
		s.watches.set = map[*Watch]bool{}
	}
	s.watches.set[w] = true
	return w
}

// Take returns what was appended since the last time, and how many events more there were that nobody took in time:
// the writer waits for no watch.
func (w *Watch) Take() (appended []Appended, missed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	appended, missed = w.taken, w.missed
	w.taken, w.bytes, w.missed = nil, 0, 0
	return appended, missed
}

// Stop ends the watch.
func (w *Watch) Stop() {
	w.all.Lock()
	defer w.all.Unlock()
	delete(w.all.set, w)
}

// watches are all that watch a store.
type watches struct {
	sync.Mutex
	set map[*Watch]bool
}

func (all *watches) tell(group ID, events []Event) {
	all.Lock()
	defer all.Unlock()
	for w := range all.set {
		if w.groups[group] {
			w.add(group, events)
		}
	}
}

func (w *Watch) add(group ID, events []Event) {
	var bytes int64
	for _, e := range events {
		bytes += size(e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes+bytes > watchBytes {
		w.missed += len(events)
	} else {
		w.taken = append(w.taken, Appended{group, events})
		w.bytes += bytes
	}
	select {
	case w.ready <- struct{}{}:
	default:
	}
}
