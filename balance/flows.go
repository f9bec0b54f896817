package balance

import (
	"sync"

	"havn/balance/route"
)

// flows are the connections that are joined with each target, for those that must be cut.
type flows struct {
	mu   sync.Mutex
	cuts map[string]map[*func()]bool // by target
}

// add keeps how to cut a flow. The function that it returns forgets it.
func (f *flows) add(t route.Target, cut func()) (forget func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cuts == nil {
		f.cuts = map[string]map[*func()]bool{}
	}
	if f.cuts[t.Key] == nil {
		f.cuts[t.Key] = map[*func()]bool{}
	}
	f.cuts[t.Key][&cut] = true
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.cuts[t.Key], &cut)
		if len(f.cuts[t.Key]) == 0 {
			delete(f.cuts, t.Key)
		}
	}
}

// cut ends all flows of a target.
func (f *flows) cut(key string) {
	f.mu.Lock()
	var all []func()
	for cut := range f.cuts[key] {
		all = append(all, *cut)
	}
	f.mu.Unlock()
	for _, cut := range all {
		cut()
	}
}
