package logging

import (
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watch tells when something in a log's folder changes. There is one for all logs: the kernel gives a user few of what it
// is made of.
type watch struct {
	watcher *fsnotify.Watcher
	ended   sync.WaitGroup

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool // by folder
}

func newWatch() (*watch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	all := &watch{watcher: w, waiting: map[string]map[chan struct{}]bool{}}
	all.ended.Go(all.run)
	return all, nil
}

func (w *watch) run() {
	for {
		select {
		case e, open := <-w.watcher.Events:
			if !open {
				return
			}
			w.tell(filepath.Dir(e.Name))
		case _, open := <-w.watcher.Errors: // too much at once; who waits looks by himself now and then
			if !open {
				return
			}
		}
	}
}

func (w *watch) tell(folder string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.waiting[folder] {
		select {
		case c <- struct{}{}:
		default: // he knows already
		}
	}
}

// folder tells of changes beside the path, until forget is called. Where that cannot be watched it tells nothing.
func (w *watch) folder(path string) (changed <-chan struct{}, forget func()) {
	folder, c := filepath.Dir(path), make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[folder] == nil {
		w.waiting[folder] = map[chan struct{}]bool{}
		w.watcher.Add(folder) //nolint:errcheck // see above
	}
	w.waiting[folder][c] = true
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.waiting[folder], c); len(w.waiting[folder]) == 0 {
			delete(w.waiting, folder)
			w.watcher.Remove(folder) //nolint:errcheck // it may be gone
		}
	}
}

func (w *watch) close() error {
	err := w.watcher.Close()
	w.ended.Wait()
	return err
}
