package logstore

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// twin is the store as slices: slow, forgetful of the disk, and right.
type twin struct {
	number   uint64
	events   map[ID]map[ID][]Event // by group and stream, in order
	ingested map[ID]map[ID]int64
}

func (w *twin) append(group, stream ID, ingested int64, entries []Entry) {
	if w.events[group] == nil {
		w.events[group], w.ingested[group] = map[ID][]Event{}, map[ID]int64{}
	}
	for _, e := range entries {
		w.number++
		w.events[group][stream] = append(w.events[group][stream], Event{stream, Position{e.Time, w.number}, ingested, e.Message})
	}
	slices.SortFunc(w.events[group][stream], inOrder)
	w.ingested[group][stream] = max(w.ingested[group][stream], ingested)
}

func inOrder(a, b Event) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Number, b.Number))
}

func (w *twin) trim(group ID, before int64) (bytes int64) {
	for stream, events := range w.events[group] {
		w.events[group][stream] = slices.DeleteFunc(events, func(e Event) bool {
			if e.Time < before {
				bytes += int64(len(e.Message)) + 26
			}
			return e.Time < before
		})
	}
	return bytes
}

func (w *twin) query(q Query) []Event {
	var found []Event
	for stream, events := range w.events[q.Group] {
		if q.Streams != nil && !slices.Contains(q.Streams, stream) {
			continue
		}
		for _, e := range events {
			if !e.Before(q.From) && e.Before(q.To) {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, inOrder)
	if q.Backward {
		slices.Reverse(found)
	}
	return found
}

func (w *twin) summaries(group ID) map[ID]Summary {
	all := map[ID]Summary{}
	for stream, events := range w.events[group] {
		s := Summary{Ingested: w.ingested[group][stream], Events: int64(len(events))}
		if len(events) > 0 {
			s.First, s.Last = events[0].Time, events[len(events)-1].Time
		}
		for _, e := range events {
			s.Bytes += int64(len(e.Message)) + 26
		}
		all[stream] = s
	}
	return all
}

func id(n int) ID { return ID{0: byte(n), 15: 0xff} }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// TestTheStoreIsItsTwin does the same to both, and cuts the power now and then: the disk has then what was synced, and
// some of the rest by chance.
func TestTheStoreIsItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := vfs.NewCrashableMem()
		open := func() *Store {
			s, err := Open(Config{Dir: "logs", FS: disk, Log: quiet})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		defer func() { s.Close() }()
		w := &twin{events: map[ID]map[ID][]Event{}, ingested: map[ID]map[ID]int64{}}
		group := rapid.Map(rapid.IntRange(0, 1), id)
		stream := rapid.Map(rapid.IntRange(0, 4), id)
		ms := rapid.Int64Range(0, 40)
		position := rapid.Custom(func(t *rapid.T) Position {
			return Position{ms.Draw(t, "time"), rapid.Uint64Range(0, 60).Draw(t, "number")}
		})
		entry := rapid.Custom(func(t *rapid.T) Entry {
			return Entry{ms.Draw(t, "time"), rapid.StringN(0, 9, -1).Draw(t, "message")}
		})
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		ctx := t.Context()
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				g, st, now := group.Draw(t, "group"), stream.Draw(t, "stream"), ms.Draw(t, "now")
				entries := rapid.SliceOfN(entry, 1, 12).Draw(t, "entries")
				check(s.Append(ctx, g, st, now, entries))
				w.append(g, st, now, entries)
			},
			"trim": func(t *rapid.T) {
				g, before := group.Draw(t, "group"), ms.Draw(t, "before")
				bytes, err := s.Trim(ctx, g, before)
				check(err)
				if want := w.trim(g, before); bytes != want {
					t.Fatalf("trimmed %d bytes, want %d", bytes, want)
				}
			},
			"drop": func(t *rapid.T) {
				g := group.Draw(t, "group")
				check(s.Drop(ctx, g))
				delete(w.events, g)
				delete(w.ingested, g)
			},
			"drop stream": func(t *rapid.T) {
				g, st := group.Draw(t, "group"), stream.Draw(t, "stream")
				check(s.DropStream(ctx, g, st))
				delete(w.events[g], st)
				delete(w.ingested[g], st)
			},
			"reclaim": func(t *rapid.T) { check(s.Reclaim(ctx, group.Draw(t, "group"))) },
			"restart": func(t *rapid.T) {
				check(s.Close())
				s = open()
			},
			"lose power": func(t *rapid.T) {
				after := disk.CrashClone(vfs.CrashCloneCfg{})
				check(s.Close())
				disk = after
				s = open()
			},
			"read": func(t *rapid.T) {
				q := Query{Group: group.Draw(t, "group"), From: position.Draw(t, "from"), To: position.Draw(t, "to"), Backward: rapid.Bool().Draw(t, "backward")}
				if rapid.Bool().Draw(t, "some") {
					q.Streams = rapid.SliceOfN(stream, 1, 4).Draw(t, "streams")
				}
				var got []Event
				for e, err := range s.Events(ctx, q) {
					check(err)
					got = append(got, e)
				}
				if want := w.query(q); !slices.Equal(got, want) {
					t.Fatalf("read %v, want %v", got, want)
				}
			},
			"": func(t *rapid.T) {
				for _, g := range []ID{id(0), id(1)} {
					got, err := s.Summaries(ctx, g)
					check(err)
					want := w.summaries(g)
					if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
						t.Fatalf("group %s is %v, want %v", g, got, want)
					}
					var held int64
					for sum := range maps.Values(want) {
						held += sum.Bytes
					}
					if bytes, err := s.Bytes(g); err != nil || bytes != held {
						t.Fatalf("group %s has %d bytes, want %d: %v", g, bytes, held, err)
					}
				}
			},
		})
	})
}

// A stream that is read in small chunks, because there are many, is in the same order.
func TestManyStreamsAreReadInOneOrder(t *testing.T) {
	s, err := Open(Config{Dir: "logs", FS: vfs.NewMem(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const streams, each = 300, 40
	for i := range streams {
		var entries []Entry
		for n := range each {
			entries = append(entries, Entry{int64((n*7919 + i*104729) % 1000), fmt.Sprint(i, " ", n)})
		}
		stream := ID{byte(i >> 8), byte(i)}
		if err := s.Append(t.Context(), ID{}, stream, 1, entries); err != nil {
			t.Fatal(err)
		}
	}
	for _, backward := range []bool{false, true} {
		var got []Event
		for e, err := range s.Events(t.Context(), Query{To: End, Backward: backward}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if backward {
			slices.Reverse(got)
		}
		if len(got) != streams*each || !slices.IsSortedFunc(got, inOrder) {
			t.Errorf("backward %v: %d events, in order: %v", backward, len(got), slices.IsSortedFunc(got, inOrder))
		}
	}
}
