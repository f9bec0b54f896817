package jsonfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// all reads what there is, and returns it in pieces as it came.
func all(t rapid.TB, r *Reader) (lines []Line) {
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
}

func text(lines []Line, stream string) string {
	var b strings.Builder
	for _, l := range lines {
		if l.Stream == stream {
			b.Write(l.Log)
		}
	}
	return b.String()
}

func logPath(t rapid.TB) (string, func()) {
	dir, err := os.MkdirTemp("", "jsonfile-")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "c.log"), func() { os.RemoveAll(dir) }
}

func write(t rapid.TB, o Options, stream, what string) {
	w, err := NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Copy(stream, strings.NewReader(what)), w.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestALineIsAsDockerWritesIt(t *testing.T) {
	l := Line{Log: []byte("a \"b\" \\ \x01\xff <é>\r\n"), Stream: Stderr, Attrs: []byte(`{"k":"v"}`), Time: time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC)}
	want := `{"log":"a \"b\" \\ \u0001` + "\ufffd" + ` <é>\r\n","stream":"stderr","attrs":{"k":"v"},"time":"2026-01-02T03:04:05.00000006Z"}` + "\n"
	if got := string(l.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEveryByteComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path, remove := logPath(t)
		defer remove()
		what := rapid.SliceOf(rapid.OneOf(
			rapid.StringOf(rapid.RuneFrom([]rune("ab\n\t\"é"))),
			rapid.Map(rapid.SampledFrom([]int{0, 1, 100, MaxPart - 1, MaxPart, 3 * MaxPart}), func(n int) string { return strings.Repeat("x", n) }),
		)).Draw(t, "writes")
		reads := make([]io.Reader, len(what))
		for i, s := range what {
			reads[i] = strings.NewReader(s) // each ends a Read
		}
		w, err := NewWriter(Options{Path: path, MaxSize: rapid.SampledFrom([]int64{0, 10_000, 1 << 16}).Draw(t, "size"), MaxFile: 5000})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Copy(Stdout, io.MultiReader(reads...)), w.Close()); err != nil {
			t.Fatal(err)
		}
		want := strings.Join(what, "")
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		lines := all(t, NewReader(path, Position{}))
		if got := text(lines, Stdout); got != want {
			t.Fatalf("got %d bytes, want %d", len(got), len(want))
		}
		for _, l := range lines {
			if len(l.Log) > MaxPart+1 {
				t.Fatalf("a line of %d bytes", len(l.Log))
			}
		}
	})
}

// A reader that stops and goes on at its position, or stays, sees each line once, whatever is rotated between.
func TestReadingGoesOnWhereItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path, remove := logPath(t)
		defer remove()
		o := Options{Path: path, MaxSize: 300, MaxFile: 50, Compress: rapid.Bool().Draw(t, "compress")}
		r := NewReader(path, Position{})
		defer func() { r.Close() }()
		var want, got strings.Builder
		for i := range rapid.IntRange(1, 30).Draw(t, "rounds") {
			line := strings.Repeat(string(rune('a'+i%26)), rapid.IntRange(1, 200).Draw(t, "length")) + "\n"
			want.WriteString(line)
			write(t, o, Stdout, line)
			switch rapid.SampledFrom([]string{"read", "anew", "wait"}).Draw(t, "reader") {
			case "anew":
				at := r.Position()
				r.Close()
				r = NewReader(path, at)
				fallthrough
			case "read":
				got.WriteString(text(all(t, r), Stdout))
			}
		}
		got.WriteString(text(all(t, r), Stdout))
		if got.String() != want.String() || r.Lost() {
			t.Fatalf("got\n%swant\n%s", got.String(), want.String())
		}
	})
}

func TestTheOldestIsDroppedAndMissed(t *testing.T) {
	path, remove := logPath(t)
	defer remove()
	o := Options{Path: path, MaxSize: 100, MaxFile: 3}
	r := NewReader(path, Position{})
	defer r.Close()
	write(t, o, Stdout, "first\n")
	all(t, r)
	at := r.Position()
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		write(t, o, Stdout, strings.Repeat(s, 50)+"\n")
	}
	if files, _ := filepath.Glob(path + "*"); len(files) != 3 {
		t.Errorf("files: %q", files)
	}
	for name, r := range map[string]*Reader{"stays": r, "comes back": NewReader(path, at)} {
		got := text(all(t, r), Stdout)
		if want := strings.Repeat("c", 50) + "\n" + strings.Repeat("d", 50) + "\n" + strings.Repeat("e", 50) + "\n"; got != want || !r.Lost() {
			t.Errorf("%s: got %q, lost %v", name, got, r.Lost())
		}
		r.Close()
	}
}

func TestAHeldLogWaitsForRoom(t *testing.T) {
	path, remove := logPath(t)
	defer remove()
	w, err := NewWriter(Options{Path: path, MaxSize: 100, MaxFile: 2, Hold: true})
	if err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- w.Copy(Stdout, in) }()
	line := func(s string) string { return strings.Repeat(s, 80) + "\n" }
	io.WriteString(out, line("a"))
	io.WriteString(out, line("b")) // a is in .1 now
	io.WriteString(out, line("c")) // the Writer has it, and waits
	blocked := make(chan struct{})
	go func() {
		defer close(blocked)
		io.WriteString(out, line("d"))
	}()
	for _, want := range []string{"a", "b"} {
		oldest := NewReader(path+".1", Position{})
		if got := text(all(t, oldest), Stdout); got != line(want) {
			t.Fatalf("the oldest is %q", got)
		}
		oldest.Close()
		if err := os.Remove(path + ".1"); err != nil {
			t.Fatal(err)
		}
		for { // the Writer looks every 50 ms
			if _, err := os.Stat(path + ".1"); err == nil {
				break
			}
		}
	}
	<-blocked
	w.Release()
	io.WriteString(out, line("e")) // does not wait for anybody
	out.Close()
	if err := errors.Join(<-done, w.Close()); err != nil {
		t.Fatal(err)
	}
	if got := text(all(t, NewReader(path, Position{})), Stdout); got != line("c")+line("d")+line("e") {
		t.Errorf("got %q", got)
	}
}

func TestAHalfLineOfAKilledWriterSpoilsNothing(t *testing.T) {
	path, remove := logPath(t)
	defer remove()
	if err := os.WriteFile(path, []byte(`{"log":"lost`), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, Options{Path: path}, Stderr, "kept\n")
	if got := text(all(t, NewReader(path, Position{})), Stderr); got != "kept\n" {
		t.Errorf("got %q", got)
	}
}

func TestOptionsTravelInAURI(t *testing.T) {
	for _, o := range []Options{
		{Path: "/a/b c.log"},
		{Path: "/l", MaxSize: 5, MaxFile: 2, Compress: true, Hold: true, Attrs: []byte(`{"a":"?&#"}`)},
	} {
		got, ours, err := ParseURI(o.URI())
		if err != nil || !ours || got.URI() != o.URI() || got.Path != o.Path || !bytes.Equal(got.Attrs, o.Attrs) {
			t.Errorf("%+v became %+v, %v, %v", o, got, ours, err)
		}
	}
	for _, uri := range []string{"file:///x", "", "/run/fifo", "binary:///x?havn-log"} {
		if _, ours, _ := ParseURI(uri); ours {
			t.Errorf("%q is ours", uri)
		}
	}
	for _, uri := range []string{"havn-log:x", "havn-log:///x?max-size=a", "havn-log:///x?attrs={"} {
		if _, ours, err := ParseURI(uri); !ours || err == nil {
			t.Errorf("%q is good", uri)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"log":"x\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"log":"\ud800","stream":"stderr","attrs":{"a":"b"},"time":"2026-01-02T03:04:05.1Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(l.Append(nil))
		if err != nil || !bytes.Equal(again.Log, l.Log) || again.Stream != l.Stream || !again.Time.Equal(l.Time) {
			t.Fatalf("%+v became %+v, %v", l, again, err)
		}
	})
}
