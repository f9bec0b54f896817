package logstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func disk(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// lines are log lines that do not compress to nothing.
func lines(n int, from int64, chance *rand.Rand) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{from + int64(i), fmt.Sprintf(`{"level":"info","request":"%016x%016x","took":%d,"path":"/api/items/%d"}`,
			chance.Uint64(), chance.Uint64(), chance.IntN(1000), chance.IntN(1000))}
	}
	return entries
}

func TestWhatIsForgottenIsFreeOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	chance := rand.New(rand.NewPCG(1, 2))
	const batches, each = 60, 3000
	for i := range batches {
		for stream := range 2 { // one that goes, and one that is trimmed
			if err := s.Append(t.Context(), id(stream), id(stream), 0, lines(each, int64(i*each), chance)); err != nil {
				t.Fatal(err)
			}
		}
	}
	reopen := func() int64 {
		t.Helper()
		if err := s.Close(); err != nil { // files that nobody needs are deleted by then
			t.Fatal(err)
		}
		size := disk(t, dir)
		if s, err = Open(Config{Dir: dir, Log: quiet}); err != nil {
			t.Fatal(err)
		}
		return size
	}
	for group := range 2 {
		if err := s.Reclaim(t.Context(), id(group)); err != nil {
			t.Fatal(err)
		}
	}
	full := reopen()
	if err := s.Drop(t.Context(), id(0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Reclaim(t.Context(), id(0)); err != nil {
		t.Fatal(err)
	}
	half := reopen()
	if _, err := s.Trim(t.Context(), id(1), batches*each*9/10); err != nil {
		t.Fatal(err)
	}
	if err := s.Reclaim(t.Context(), id(1)); err != nil {
		t.Fatal(err)
	}
	little := reopen()
	defer s.Close()
	t.Logf("%d KiB, %d KiB after the first, %d KiB after nine tenths of the second", full>>10, half>>10, little>>10)
	if half > full*6/10 || little > full*2/10 {
		t.Errorf("%d bytes on the disk, %d when half is forgotten, %d when a twentieth is left", full, half, little)
	}
	n := 0
	for e, err := range s.Events(t.Context(), Query{Group: id(1), To: End}) {
		if err != nil || e.Time < batches*each*9/10 {
			t.Fatal(e, err)
		}
		n++
	}
	if n != batches*each/10 {
		t.Errorf("%d events are left, want %d", n, batches*each/10)
	}
}

func TestNothingIsMadeWhereNothingIsStored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	s, err := Open(Config{Dir: dir, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range s.Events(t.Context(), Query{To: End}) {
		t.Error("an event")
	}
	if err := s.Drop(t.Context(), id(1)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
}

func TestAFullDiskTakesNoEventAndKeepsWhatItHas(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Append(t.Context(), id(1), id(1), 1, []Entry{{1, "first"}}); err != nil {
		t.Fatal(err)
	}
	s.config.MinFree = 1 << 62
	if err := s.Append(t.Context(), id(1), id(1), 1, []Entry{{2, "second"}}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("on a full disk: %v", err)
	}
	if sum, err := s.Summary(id(1), id(1)); err != nil || sum.Events != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	if err := s.Drop(t.Context(), id(1)); err != nil {
		t.Errorf("a full disk must let go: %v", err)
	}
}

func TestAppendSaysWhatItDoesNotTake(t *testing.T) {
	s, err := Open(Config{Dir: "logs", FS: vfs.NewMem(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), id(1), id(1), 1, []Entry{{1, strings.Repeat("x", MaxAppendBytes-Overhead)}}); err != nil {
		t.Errorf("the largest: %v", err)
	}
	if err := s.Append(t.Context(), id(1), id(1), 1, []Entry{{1, strings.Repeat("x", MaxAppendBytes-Overhead+1)}}); err == nil {
		t.Error("too large, and taken")
	}
	if err := s.Append(t.Context(), id(1), id(1), 1, []Entry{{-1, "x"}}); err == nil {
		t.Error("before 1970, and taken")
	}
	s.Close()
	if err := s.Append(t.Context(), id(1), id(1), 1, []Entry{{1, "x"}}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAWatchIsToldWhatIsAppendedAndNoMoreThanItCanHold(t *testing.T) {
	s, err := Open(Config{Dir: "logs", FS: vfs.NewMem(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	add := func(group int, message string) {
		t.Helper()
		if err := s.Append(t.Context(), id(group), id(9), 5, []Entry{{1, message}}); err != nil {
			t.Fatal(err)
		}
	}
	add(1, "before")
	w := s.Watch(id(1), id(2))
	add(1, "a")
	add(3, "of another group")
	add(2, "b")
	<-w.Ready
	got, missed := w.Take()
	if len(got) != 2 || got[0].Events[0].Message != "a" || got[1].Group != id(2) || missed != 0 {
		t.Errorf("%v, %d missed", got, missed)
	}
	for range watchBytes/MaxAppendBytes + 2 {
		add(1, strings.Repeat("x", MaxAppendBytes-Overhead))
	}
	if got, missed := w.Take(); len(got) != watchBytes/MaxAppendBytes || missed != 2 {
		t.Errorf("%d taken, %d missed", len(got), missed)
	}
	w.Stop()
	add(1, "after")
	if got, _ := w.Take(); len(got) != 0 {
		t.Errorf("%v after the end", got)
	}
}

// A caller may be reading when Havn is told to stop; the store waits for it, and it may still ask in between.
func TestCloseWaitsForReaders(t *testing.T) {
	s, err := Open(Config{Dir: "logs", FS: vfs.NewMem(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), id(1), id(1), 1, []Entry{{1, "a"}, {2, "b"}}); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	read := ""
	for e, err := range s.Events(t.Context(), Query{Group: id(1), To: End}) {
		if err != nil {
			t.Fatal(err)
		}
		if read == "" {
			go func() { closed <- s.Close() }()
			for err = nil; err == nil; { // until Close has begun
				_, err = s.Bytes(id(1))
			}
			if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
		read += e.Message
	}
	if err := <-closed; err != nil || read != "ab" {
		t.Errorf("read %q, and closed with %v", read, err)
	}
}

func FuzzReadSummary(f *testing.F) {
	f.Add(Summary{1, 2, 3, 4, 5}.encode())
	f.Add([]byte{summaryFormat})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readSummary(b)
		if err != nil {
			return
		}
		if again, err := readSummary(s.encode()); err != nil || again != s {
			t.Errorf("%v came back as %v, %v", s, again, err)
		}
	})
}

func FuzzReadEvent(f *testing.F) {
	f.Add(eventKey(id(1), id(2), Position{3, 4}), []byte{2, 'h', 'i'})
	f.Add([]byte("e"), []byte{})
	f.Fuzz(func(_ *testing.T, key, value []byte) {
		readEvent(key, value) //nolint:errcheck // it is to return
	})
}

// BenchmarkAppend is what two cores take in, in the batches of the awslogs driver, from eight streams at a time.
func BenchmarkAppend(b *testing.B) {
	s, err := Open(Config{Dir: b.TempDir(), Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const batch, streams = 1000, 8
	entries := lines(batch, 1e12, rand.New(rand.NewPCG(1, 2)))
	var work sync.WaitGroup
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	b.ResetTimer()
	for stream := range streams {
		work.Go(func() {
			for range left {
				if err := s.Append(b.Context(), id(1), id(stream), 1e12, entries); err != nil {
					b.Error(err)
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkIdle says what an open engine holds when nothing happens.
func BenchmarkIdle(b *testing.B) {
	before := heapInUse()
	s, err := Open(Config{Dir: b.TempDir(), Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Append(b.Context(), id(1), id(1), 1, []Entry{{1, "x"}}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(heapInUse()-before)/(1<<20), "MiB")
	s.Close()
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
