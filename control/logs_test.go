package control

import (
	"fmt"
	"testing"

	"havn/state"
)

func TestTheStreamsOfADeletedLogGroupAreForgotten(t *testing.T) {
	w := newWorld(t, All()...)
	const streams = 2*reapedStreams + 7
	for _, group := range []string{"goes", "stays"} {
		w.update(func(tx *state.Tx) { state.LogGroups.Put(tx, state.LogGroup{Name: group, ID: group + "-id"}) })
		for from := 0; from < streams; from += reapedStreams {
			w.update(func(tx *state.Tx) {
				for i := from; i < min(from+reapedStreams, streams); i++ {
					state.LogStreams.Put(tx, state.LogStream{Name: fmt.Sprint(i), ID: fmt.Sprint(group, i), GroupID: group + "-id"})
				}
			})
		}
	}
	count := func(group string) (n int) {
		w.store.View(func(r *state.Reader) { n = state.LogStreams.CountBy(r, "group", group+"-id") })
		return n
	}
	w.settle()
	if count("goes") != streams || count("stays") != streams {
		t.Fatalf("%d and %d streams", count("goes"), count("stays"))
	}
	w.update(func(tx *state.Tx) { state.LogGroups.Delete(tx, "goes") })
	w.pass(10 * reapedStreams * 1000) // a millisecond a transaction
	if count("goes") != 0 || count("stays") != streams {
		t.Errorf("%d streams are left of the group that was deleted, and %d of %d of the other", count("goes"), count("stays"), streams)
	}
}
