package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"havn/state"
)

// note is a record of these tests.
type note struct {
	ID   string
	Kind string
	N    int
	Text string
}

var notes = state.NewTable("etcd-note", 1, func(n note) string { return n.ID },
	state.Index[note]{Name: "kind", Values: func(n note) []string { return []string{n.Kind} }})

// BenchmarkColdStart is from nothing, and from a folder that was used before, to a store that answers.
func BenchmarkColdStart(b *testing.B) {
	start := func(b *testing.B, dir string) *Log {
		l, err := StartEmbedded(b.Context(), Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := state.Open(b.Context(), l); err != nil {
			b.Fatal(err)
		}
		return l
	}
	b.Run("new", func(b *testing.B) {
		base := b.TempDir()
		n := 0
		for b.Loop() {
			n++
			l := start(b, filepath.Join(base, fmt.Sprint(n)))
			b.StopTimer()
			l.Close()
			b.StartTimer()
		}
	})
	b.Run("again", func(b *testing.B) {
		dir := filepath.Join(b.TempDir(), "etcd")
		start(b, dir).Close()
		for b.Loop() {
			l := start(b, dir)
			b.StopTimer()
			l.Close()
			b.StartTimer()
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	s, err := state.Open(b.Context(), startTest(b, ""))
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		put(b, s, note{ID: "a", N: n})
	}
}

func BenchmarkUpdateBy8(b *testing.B) {
	s, err := state.Open(b.Context(), startTest(b, ""))
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		id := fmt.Sprintf("%p", pb)
		for n := 0; pb.Next(); n++ {
			put(b, s, note{ID: id, N: n})
		}
	})
}

func put(tb testing.TB, s *state.Store, n note) {
	if err := s.Update(context.Background(), func(tx *state.Tx) error {
		notes.Put(tx, n)
		return nil
	}); err != nil {
		tb.Error(err)
	}
}

// BenchmarkReplay100k opens a store on 100,000 records of about a kilobyte, over an etcd that runs, and from
// the start of the process's etcd.
func BenchmarkReplay100k(b *testing.B) {
	const records, batch = 100_000, 500
	dir := filepath.Join(b.TempDir(), "etcd")
	l, err := StartEmbedded(b.Context(), Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	s, err := state.Open(b.Context(), l)
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("What is known is written down. ", 28)
	for first := 0; first < records; first += batch {
		if err := s.Update(b.Context(), func(tx *state.Tx) error {
			for n := first; n < first+batch; n++ {
				notes.Put(tx, note{ID: fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/demo/%032x", n), Kind: fmt.Sprint(n % 100), N: n, Text: text})
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	open := func(b *testing.B, l *Log) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		s, err := state.Open(ctx, l)
		if err != nil {
			b.Fatal(err)
		}
		s.View(func(r *state.Reader) {
			if notes.Count(r) != records || notes.CountBy(r, "kind", "7") != records/100 {
				b.Fatal("records are missing")
			}
		})
	}
	b.Run("store", func(b *testing.B) {
		before := cpu(b)
		for b.Loop() {
			open(b, l)
		}
		b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-s/op")
	})
	l.Close()
	b.Run("etcd+store", func(b *testing.B) {
		for b.Loop() {
			l, err := StartEmbedded(b.Context(), Config{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			open(b, l)
			b.StopTimer()
			l.Close()
			b.StartTimer()
		}
	})
}

// BenchmarkIdle is the memory that an idle embedded etcd with an empty store adds to this process.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		before := resident(b)
		l, err := StartEmbedded(b.Context(), Config{Dir: filepath.Join(b.TempDir(), "etcd"), Socket: shortSocket(b)})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := state.Open(b.Context(), l); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(resident(b)-before, "MiB-added")
		b.ReportMetric(before, "MiB-before")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
		b.StopTimer()
		l.Close()
		b.StartTimer()
	}
}

// cpu is how many seconds of it this process has used: wall time says little on a machine that does
// something else.
func cpu(tb testing.TB) float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// resident is VmRSS in MiB.
func resident(tb testing.TB) float64 {
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				tb.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	tb.Fatal("no VmRSS")
	return 0
}
