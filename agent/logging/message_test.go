package logging

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"havn/agent/logging/jsonfile"
	"havn/logoption"
	"havn/protocol"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// joined is what the joiner makes of lines, each written as its stream's first letter and its text.
func joined(j *joiner, lines ...string) (got []string) {
	for i, l := range lines {
		stream := map[byte]string{'o': jsonfile.Stdout, 'e': jsonfile.Stderr}[l[0]]
		for _, m := range j.add(jsonfile.Line{Log: []byte(l[1:]), Stream: stream, Time: epoch}, jsonfile.Position{File: "f", Offset: int64(i)}) {
			got = append(got, string(m.Text))
		}
	}
	return got
}

func TestLinesBecomeMessages(t *testing.T) {
	stack := regexp.MustCompile("^at ")
	for name, c := range map[string]struct {
		begins *regexp.Regexp
		lines  []string
		want   []string
		end    []string
		oldest int64
	}{
		"lines":           {nil, []string{"oone\n", "etwo\n"}, []string{"one", "two"}, nil, 2},
		"parts":           {nil, []string{"oone ", "etwo\n", "oline\n"}, []string{"two", "one line"}, nil, 3},
		"a part is left":  {nil, []string{"eone\n", "oha", "etwo\n"}, []string{"one", "two"}, []string{"ha"}, 1},
		"several lines":   {stack, []string{"oat a\n", "o b\n", "oat c\n", "o d\n"}, []string{"at a\n b"}, []string{"at c\n d"}, 2},
		"before any":      {stack, []string{"ox\n", "oat a\n"}, []string{"x"}, []string{"at a"}, 1},
		"of both streams": {stack, []string{"oat a\n", "e b\n", "oat c\n"}, []string{"at a\n b"}, []string{"at c"}, 2},
	} {
		j := newJoiner(c.begins)
		if got := joined(j, c.lines...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if at := j.oldest(jsonfile.Position{File: "f", Offset: int64(len(c.lines))}); at.Offset != c.oldest {
			t.Errorf("%s: goes on at line %d, want %d", name, at.Offset, c.oldest)
		}
		var end []string
		for _, m := range j.end() {
			end = append(end, string(m.Text))
		}
		if !slices.Equal(end, c.end) {
			t.Errorf("%s: ends with %q, want %q", name, end, c.end)
		}
	}
	j := newJoiner(stack)
	joined(j, "oat a\n")
	if early, late := j.flush(epoch), j.flush(epoch.Add(time.Nanosecond)); len(early) != 0 || len(late) != 1 {
		t.Errorf("flushed %d early and %d late", len(early), len(late))
	}
}

// What is too long for a message becomes as few as possible, each of them whole lines where it can be.
func TestLongMessagesAreCutOnce(t *testing.T) {
	part, rest := "o"+strings.Repeat("x", 16<<10), "o"+strings.Repeat("x", 10_000)+"\n"
	line := func(n int) string { return "o" + strings.Repeat("y", n-2) + "\n" } // n bytes with its newline
	for name, c := range map[string]struct {
		begins *regexp.Regexp
		lines  []string
		want   []int
	}{
		"a line in parts": {nil, append(slices.Repeat([]string{part}, 19), rest, line(10)), []int{15 << 14, 4<<14 + 10_000, 8}},
		"several lines":   {regexp.MustCompile("^z"), append(slices.Repeat([]string{line(1 << 15)}, 7), line(1<<15-20), line(20)), []int{262_115, 18}},
	} {
		j := newJoiner(c.begins)
		var got []int
		var all []Message
		for i, l := range c.lines {
			all = append(all, j.add(jsonfile.Line{Log: []byte(l[1:]), Stream: jsonfile.Stdout, Time: epoch}, jsonfile.Position{Offset: int64(i)})...)
		}
		for _, m := range append(all, j.end()...) {
			got = append(got, len(m.Text))
			if events := parts(m.Text, maxMessage); len(events) != 1 {
				t.Errorf("%s: a message of %d bytes becomes %d events", name, len(m.Text), len(events))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: messages of %d bytes, want %d", name, got, c.want)
		}
	}
}

func TestDateFormats(t *testing.T) {
	for format, line := range map[string]string{
		"%b %d, %Y %H:%M:%S": "Mar 31, 2026 02:20:51 started",
		"[%Y-%m-%dT%H:%M:%S": "x [2026-01-02T03:04:05 y",
		"%A %I%p 100%%.":     "Monday 07AM 100%.",
	} {
		c := Container{Config: &protocol.LogConfig{Type: "awslogs", Config: map[string]string{"awslogs-datetime-format": format}}}
		begins, err := multiline(c)
		if err != nil || !begins.MatchString(line) || begins.MatchString("  at a.b.C") {
			t.Errorf("%q is %v, %v", format, begins, err)
		}
	}
}

func FuzzMultiline(f *testing.F) {
	f.Add("%Y-%m-%d", "2026-01-02 a\n b\n2026-01-03")
	f.Add("%", "%\n%")
	f.Fuzz(func(t *testing.T, format, text string) {
		begins, err := regexp.Compile(logoption.DatePattern(format))
		if err != nil {
			t.Fatalf("%q becomes no pattern: %v", format, err)
		}
		j := newJoiner(begins)
		var got []string
		for l := range strings.Lines(text) {
			got = append(got, joined(j, "o"+l)...)
		}
		for _, m := range j.end() {
			got = append(got, string(m.Text))
		}
		if all := strings.Join(got, "\n"); all != strings.TrimSuffix(text, "\n") && len(text) < maxMessage {
			t.Fatalf("%q became %q", text, all)
		}
	})
}

func TestWhatPutLogEventsTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var batch []Message
		var want, got strings.Builder
		for i := range rapid.IntRange(0, 30).Draw(t, "messages") {
			text := strings.Repeat("é", rapid.SampledFrom([]int{0, 1, 50_000, 140_000, 300_000}).Draw(t, "length"))
			at := epoch.Add(time.Duration(i) * rapid.SampledFrom([]time.Duration{0, time.Second, 25 * time.Hour}).Draw(t, "gap"))
			batch = append(batch, Message{Text: []byte(text), Time: at})
		}
		slices.SortStableFunc(batch, func(a, b Message) int { return a.Time.Compare(b.Time) })
		for _, m := range batch {
			want.Write(m.Text)
		}
		for _, put := range puts(batch) {
			size := 0
			for i, e := range put {
				size += len(*e.Message) + 26
				got.WriteString(*e.Message)
				if len(*e.Message) == 0 || len(*e.Message)+26 > 256<<10 || !utf8.ValidString(*e.Message) || i > 0 && *e.Timestamp < *put[i-1].Timestamp {
					t.Fatalf("event %d of %d bytes", i, len(*e.Message))
				}
			}
			if size > 1<<20 || len(put) > 10_000 || *put[len(put)-1].Timestamp-*put[0].Timestamp > 24*60*60*1000 {
				t.Fatalf("%d events with %d bytes", len(put), size)
			}
		}
		if got.String() != want.String() {
			t.Fatal("text is missing")
		}
	})
	many := make([]Message, 10_001)
	for i := range many {
		many[i] = Message{Text: []byte("x"), Time: epoch}
	}
	if all := puts(many); len(all) != 2 || len(all[0]) != 10_000 {
		t.Errorf("%d puts", len(all))
	}
}

func TestSpools(t *testing.T) {
	for name, c := range map[string]struct {
		config *protocol.LogConfig
		want   string
	}{
		"none":         {nil, "20971520 5 false false"},
		"json-file":    {&protocol.LogConfig{Type: "json-file"}, "0 1 false false"},
		"rotated":      {&protocol.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10k", "max-file": "3", "compress": "true"}}, "10240 3 true false"},
		"non-blocking": {&protocol.LogConfig{Type: "awslogs"}, "2621440 5 false false"},
		"blocking":     {&protocol.LogConfig{Type: "fluentd", Config: map[string]string{"mode": "blocking", "max-buffer-size": "1m"}}, "262144 5 false true"},
	} {
		o, err := Container{Config: c.config, Log: "/l"}.Spool()
		if got := fmt.Sprint(o.MaxSize, o.MaxFile, o.Compress, o.Hold); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
	for _, bad := range []map[string]string{{"max-size": "x"}, {"max-file": "0"}, {"max-file": "1001"}, {"compress": "true"}, {"labels-regex": "("}, {"tag": "{{.Nothing}}"}} {
		if _, err := (Container{Config: &protocol.LogConfig{Type: "json-file", Config: bad}}).Spool(); err == nil {
			t.Errorf("%v is good", bad)
		}
	}
}

// logOf writes a container's log, as the shim does.
func logOf(t testing.TB, c Container, text string) {
	t.Helper()
	o, err := c.Spool()
	if err != nil {
		t.Fatal(err)
	}
	o.Path = c.Log
	w, err := jsonfile.NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Copy(jsonfile.Stdout, io.NopCloser(strings.NewReader(text))), w.Close()); err != nil {
		t.Fatal(err)
	}
}

func container(t testing.TB, driver string, options map[string]string) Container {
	path := filepath.Join(t.TempDir(), "c.log")
	return Container{ID: strings.Repeat("0a", 32), Name: "c", Image: "img", TaskARN: "arn:aws:ecs:us-east-1:000000000000:task/default/t1",
		Log: path, Cursor: path + "-cursor", Config: &protocol.LogConfig{Type: driver, Config: options}}
}
