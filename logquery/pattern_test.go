package logquery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// The transcripts under testdata/pattern read as sessions. Run the tests with
// -rewrite to write down what happens now, and review the difference.
//
//	messages    the messages to choose from, one a line; \n and \t stand for themselves
//	match       patterns, one a line: the numbers of the messages that each wants, or
//	            what is wrong with it, with a caret under the place
//	extract     a pattern: the messages it wants, with their values
func TestPatternTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/pattern", func(t *testing.T, path string) {
		var messages []string
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			switch d.Cmd {
			case "messages":
				messages = nil
				for line := range strings.Lines(d.Input) {
					line = strings.TrimSuffix(line, "\n")
					messages = append(messages, strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(line))
				}
				for i, m := range messages {
					fmt.Fprintf(&b, "%d %q\n", i+1, m)
				}
			case "match":
				for text := range strings.Lines(d.Input) {
					text = strings.TrimSuffix(text, "\n")
					p, err := ParsePattern(text)
					fmt.Fprintln(&b, text)
					if err != nil {
						wrong := new(PatternError)
						errors.As(err, &wrong)
						fmt.Fprintf(&b, "%s^ %v\n", strings.Repeat(" ", utf8.RuneCountInString(text[:wrong.Offset])), err)
						continue
					}
					wanted := ""
					for i, m := range messages {
						if p.Match(m) {
							wanted += fmt.Sprint(" ", i+1)
						}
					}
					fmt.Fprintf(&b, "   %s\n", cmp.Or(wanted, " none"))
				}
			case "extract":
				p, err := ParsePattern(strings.TrimSpace(d.Input))
				if err != nil {
					return err.Error()
				}
				for i, m := range messages {
					values, ok := p.Extract(m)
					if !ok {
						continue
					}
					fmt.Fprint(&b, i+1)
					for _, name := range slices.Sorted(maps.Keys(values)) {
						fmt.Fprintf(&b, " %s=%q", name, values[name])
					}
					fmt.Fprintln(&b)
				}
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return b.String()
		})
	})
}

func TestZeroPatternMatchesEverything(t *testing.T) {
	if !(Pattern{}).Match("") || !(Pattern{}).Match("x") {
		t.Error("the zero Pattern does not match")
	}
}

func TestLongPatternIsRefused(t *testing.T) {
	long := strings.Repeat("ü", MaxPattern)
	if _, err := ParsePattern(long); err != nil {
		t.Error(err)
	}
	if _, err := ParsePattern(long + "ü"); err == nil {
		t.Error("a pattern of more than MaxPattern characters was taken")
	}
	deep := "{" + strings.Repeat("(", MaxPattern-2) + "}"
	if _, err := ParsePattern(deep); err == nil {
		t.Error("a pattern of parentheses alone was taken")
	}
}

// TestTwin draws a pattern's tree, writes it down, parses that and compares what it
// says of drawn events with what the tree says, by encoding/json and plain rules.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawCondition(t, 3)
		p, err := ParsePattern("{ " + tree.text + " }")
		if err != nil {
			t.Fatalf("%s: %v", tree.text, err)
		}
		for range 5 {
			event := drawObject(t, 3)
			text, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := p.Match(string(text)), tree.holds(event); got != want {
				t.Fatalf("%s of %s is %v, want %v", tree.text, text, got, want)
			}
		}
	})
}

// twin is a condition as it is written, and as one would explain it.
type twin struct {
	text  string
	holds func(event map[string]any) bool
}

func drawCondition(t *rapid.T, depth int) twin {
	if depth > 0 && rapid.Bool().Draw(t, "compound") {
		a, b := drawCondition(t, depth-1), drawCondition(t, depth-1)
		if rapid.Bool().Draw(t, "and") {
			return twin{"(" + a.text + ") && (" + b.text + ")", func(e map[string]any) bool { return a.holds(e) && b.holds(e) }}
		}
		return twin{"(" + a.text + ") || (" + b.text + ")", func(e map[string]any) bool { return a.holds(e) || b.holds(e) }}
	}
	path := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "0", "1"}), 1, 3).Draw(t, "path")
	selector := "$"
	for _, s := range path {
		if _, err := strconv.Atoi(s); err == nil {
			selector += "[" + s + "]"
		} else {
			selector += "." + s
		}
	}
	test := func(text string, holds func(any) bool) twin {
		return twin{selector + " " + text, func(e map[string]any) bool { v, ok := dig(e, path); return ok && holds(v) }}
	}
	number := rapid.IntRange(-2, 12).Draw(t, "number")
	word := rapid.StringMatching(`[ab1]{0,2}\*?[ab1]{0,2}`).Draw(t, "word")
	switch rapid.IntRange(0, 6).Draw(t, "test") {
	case 0:
		return twin{selector + " NOT EXISTS", func(e map[string]any) bool { _, ok := dig(e, path); return !ok }}
	case 1:
		return test("IS NULL", func(v any) bool { return v == nil })
	case 2:
		return test("IS TRUE", func(v any) bool { return v == true })
	case 3:
		return test(fmt.Sprintf("= %q", word), func(v any) bool { s, ok := scalar(v); return ok && globMatches(word, s) })
	case 4:
		return test(fmt.Sprintf("!= %q", word), func(v any) bool { s, ok := scalar(v); return ok && !globMatches(word, s) })
	case 5:
		return test(fmt.Sprintf(">= %d", number), func(v any) bool { n, ok := v.(int); return ok && n >= number })
	default:
		return test(fmt.Sprintf("= %d", number), func(v any) bool { s, ok := scalar(v); return ok && s == strconv.Itoa(number) })
	}
}

func dig(v any, path []string) (any, bool) {
	for _, s := range path {
		switch in := v.(type) {
		case map[string]any:
			found, ok := in[s]
			if _, err := strconv.Atoi(s); err == nil || !ok {
				return nil, false
			}
			v = found
		case []any:
			i, err := strconv.Atoi(s)
			if err != nil || i >= len(in) {
				return nil, false
			}
			v = in[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int:
		return strconv.Itoa(v), true
	}
	return "", false
}

func globMatches(glob, s string) bool {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(glob), `\*`, `.*`) + `$`).MatchString(s)
}

func drawObject(t *rapid.T, depth int) map[string]any {
	event := map[string]any{}
	for _, key := range []string{"a", "b", "0"} {
		if rapid.Bool().Draw(t, "has "+key) {
			event[key] = drawValue(t, depth)
		}
	}
	return event
}

func drawValue(t *rapid.T, depth int) any {
	switch kind := rapid.IntRange(0, 6).Draw(t, "kind"); {
	case kind == 0:
		return nil
	case kind == 1:
		return true
	case kind == 2:
		return rapid.IntRange(-2, 12).Draw(t, "n")
	case kind < 5 && depth > 0:
		list := []any{}
		for range rapid.IntRange(0, 2).Draw(t, "length") {
			list = append(list, drawValue(t, depth-1))
		}
		return list
	case depth > 0:
		return drawObject(t, depth-1)
	default:
		return rapid.StringMatching(`[ab1]{0,4}`).Draw(t, "s")
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, text := range []string{
		"", "ERROR", `?a -"b c" %d+%`, `{ $.a.b[0] = "x*" && ($.n >= -5e3 || $.k IS NULL || $.k NOT EXISTS || $.['b.c'] IS TRUE) }`,
		`{ $.a[*] != %^\x41.{2,}\d$% }`, `[ip, ..., status_code = 4* || status_code = 500, bytes > 10]`, "[w1=%a|b%, -]", "{ (((", "[]", "%[^a", "{$.*=*}",
	} {
		f.Add(text, `{"a":{"b":["xy"]},"n":7}`)
		f.Add(text, `127.0.0.1 - [now "GET /" 404 12`)
	}
	f.Fuzz(func(t *testing.T, text, message string) {
		p, err := ParsePattern(text)
		if err != nil {
			var wrong *PatternError
			if !errors.As(err, &wrong) || wrong.Offset < 0 || wrong.Offset > len(text) || wrong.Reason == "" || wrong.Summary == "" {
				t.Fatalf("%q: the error does not say where or why: %#v", text, err)
			}
			return
		}
		values, ok := p.Extract(message)
		if ok != p.Match(message) || !ok && values != nil {
			t.Fatalf("%q of %q: Match says %v, Extract says %v with %v", text, message, !ok, ok, values)
		}
	})
}

// FuzzJSON holds the reader of JSON against encoding/json.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,-2.5e+3,{"b":"\u00e9\ud83d\ude00\n"},null,true,false],"a":""}`, `[]`, ` "x" `, `{"a":1,}`, `01`, `1.`, `"\ud800"`, `"\ud800\u0041"`, "\"\x01\"", `{"a"`, `[[[[`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Count(text, "[")+strings.Count(text, "{") >= maxDepth {
			return
		}
		nodes, ok := parseJSON(nil, text)
		if ok != json.Valid([]byte(text)) {
			t.Fatalf("%q: ours says %v", text, ok)
		}
		if !ok {
			return
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got := plain(nodes, 0); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, want %#v", text, got, want)
		}
	})
}

func plain(nodes []jsonNode, at int) any {
	switch n := nodes[at]; n.kind {
	case jsonNull:
		return nil
	case jsonNumber:
		return json.Number(n.text)
	case jsonString:
		return n.text
	case jsonArray:
		list := []any{}
		for i := at + 1; i < n.end; i = nodes[i].end {
			list = append(list, plain(nodes, i))
		}
		return list
	case jsonObject:
		object := map[string]any{}
		for i := at + 1; i < n.end; i = nodes[i].end {
			object[nodes[i].key] = plain(nodes, i)
		}
		return object
	default:
		return n.kind == jsonTrue
	}
}

func TestDeepJSONIsNoJSON(t *testing.T) {
	for depth, want := range map[int]bool{maxDepth - 1: true, maxDepth + 1: false, 1 << 20: false} {
		if _, got := parseJSON(nil, strings.Repeat("[", depth)+strings.Repeat("]", depth)); got != want {
			t.Errorf("%d levels: %v", depth, got)
		}
	}
}

func BenchmarkPattern(b *testing.B) {
	at := time.Unix(1700000000, 0).UTC().Format(time.RFC3339)
	structured := `{"time":"` + at + `","level":"ERROR","service":"checkout","request":{"id":"7d5d747b","path":"/orders/17"},"latency_ms":187,"message":"card declined"}`
	line := `10.0.4.17 - frank [` + at + `] "GET /orders/17 HTTP/1.1" 404 1534`
	for _, c := range []struct{ name, pattern, message string }{
		{"terms", "ERROR -declined", structured},
		{"regex", `%latency_ms\x22:[0-9]{3}%`, structured},
		{"json", `{ $.level = "ERROR" && $.latency_ms > 100 }`, structured},
		{"fields", `[ip, id, user, time, request, status = 4*, bytes > 1000]`, line},
	} {
		b.Run(c.name, func(b *testing.B) {
			p, err := ParsePattern(c.pattern)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.message)))
			for b.Loop() {
				p.Match(c.message)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
