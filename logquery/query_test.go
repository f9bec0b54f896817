package logquery

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// The transcripts under testdata/query read as sessions. Run the tests with
// -rewrite to write down what happens now, and review the difference.
//
//	events    an event a line: its time on 2026-03-01, its stream, its message
//	query     a query: its rows, a field a column, and how many events it matched; or
//	          what is wrong with it, with a caret under the place
func TestQueryTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/query", func(t *testing.T, path string) {
		var events []Event
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "events":
				events = nil
				for line := range strings.Lines(d.Input) {
					clock, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
					stream, message, _ := strings.Cut(rest, " ")
					at, err := time.Parse("2006-01-02 15:04:05.999", "2026-03-01 "+clock)
					if err != nil {
						t.Fatal(err)
					}
					events = append(events, testEvent(at, stream, message, len(events)+1))
				}
				return ""
			case "query":
				return showQuery(t, d.Input, events)
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func testEvent(at time.Time, stream, message string, n int) Event {
	return Event{Timestamp: at.UnixMilli(), IngestionTime: at.UnixMilli() + 250, Message: message, LogStream: stream, Log: "123456789012:/app/web", Number: uint64(n)}
}

func testOptions() Options {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	return Options{Now: start.Add(12 * time.Hour), Start: start, End: start.Add(24 * time.Hour), Pointer: testPointer}
}

func testPointer(e Event) string { return fmt.Sprintf("ptr-%d", e.Number) }

func each(events []Event) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func showQuery(t *testing.T, text string, events []Event) string {
	q, err := ParseQuery(text)
	if err != nil {
		wrong := new(QueryError)
		if !errors.As(err, &wrong) {
			t.Fatal(err)
		}
		line := text[strings.LastIndexByte(text[:wrong.Start], '\n')+1:]
		line, _, _ = strings.Cut(line, "\n")
		before := wrong.Start - strings.LastIndexByte(text[:wrong.Start], '\n') - 1
		return fmt.Sprintf("%s\n%s%s\n%v\n", line, strings.Repeat(" ", before), strings.Repeat("^", max(min(wrong.End-wrong.Start, len(line)-before), 1)), err)
	}
	result, err := q.Run(testOptions(), each(events))
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, row := range result.Rows {
		for i, f := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			fmt.Fprintf(&b, "%s=%s", f.Name, f.Value)
		}
		b.WriteString("\n")
	}
	s := result.Statistics
	fmt.Fprintf(&b, "%d rows, %v events matched\n", len(result.Rows), s.RecordsMatched)
	return b.String()
}

// evaluate is the value of an expression on one event.
func evaluate(t *testing.T, text, message string) string {
	t.Helper()
	q, err := ParseQuery("display " + text + " as x")
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	result, err := q.Run(testOptions(), each([]Event{testEvent(testOptions().Now, "s", message, 1)}))
	if err != nil || len(result.Rows) != 1 {
		t.Fatalf("%s: %v, %v", text, result.Rows, err)
	}
	if len(result.Rows[0]) == 1 { // @ptr alone
		return "null"
	}
	return result.Rows[0][0].Value
}

func TestFunctions(t *testing.T) {
	const message = `{"n":-2.50,"s":" Ab ","e":"","t":true,"z":null,"ip":"10.1.2.3","list":["a",2,true],"deep":{"x.y":{"z":[{"k":"v"}]}},"@at":"v"}`
	for text, want := range map[string]string{
		"1 + 2 * 3 - 4 / 8": "6.5", "2 ^ 3 ^ 2": "512", "10 % 3": "1", "-(3 - 5)": "2", "7 / 0": "null", "n + 1": "-1.5", "s + 1": "null", "missing + 1": "null",
		"n": "-2.50", "abs(n)": "2.5", "ceil(n)": "-2", "floor(n)": "-3", "sqrt(16)": "4", "log(1)": "0", "sqrt(-1)": "null", "1/3": "0.3333", "1e6 * 1e6": "1000000000000",
		"greatest(3, n, 10)": "10", "least(3, n, 10)": "-2.50", "round(2.567, 2)": "2.57", "round(n)": "-3", `toNumber("12.5")`: "12.5", "toInt(n)": "-2",
		"t": "1", "t = true": "1", `t = "true"`: "1", "t = 1": "1", "z": "null", "ispresent(z)": "0", "isPresent(n)": "1", "coalesce(z, missing, s)": " Ab ",
		`if(n < 0, "neg", "pos")`: "neg", `case(n > 0, "pos", n = 0, "zero", "neg")`: "neg", `case(n > 0, "pos", n = 0, "zero")`: "null", "isNumeric(s)": "0",
		"isempty(e)": "1", "isempty(missing)": "1", "isblank(s)": "0", `concat(s, "-", n)`: " Ab --2.50", "trim(s)": "Ab", `ltrim("xyZxyfooxyZ", "xyZ")`: "fooxyZ",
		`rtrim("xyZfooxyxyZ", "xyZ")`: "xyZfoo", "strlen(s)": "4", `strlen("é")`: "1", "toupper(s)": " AB ", "tolower(s)": " ab ", `substr("xyZfooxyZ", 3, 3)`: "foo",
		`substr("abc", 9)`: "", `replace("a-b-c", "-", "+")`: "a+b+c", `regexReplace("a12b3", "[0-9]+", "<$0>")`: "a<12>b<3>", `strcontains(s, "Ab")`: "1",
		`strcontains(s, "aB", true)`: "1", `startsWith("abc", "ab")`: "1", `endsWith("abc", "ab")`: "0", `urlencode("a b&c")`: "a+b%26c", `urldecode("a%20b")`: "a b",
		`base64encode("hi")`: "aGk=", `base64decode("aGk=")`: "hi", `base64decode("!")`: "null", `hexToAscii("48656c6c6f")`: "Hello", `hexToDec("0xff")`: "255", "decToHex(-255)": "-0xff",
		"bin(6h)": "2026-03-01 12:00:00.000", "datefloor(@timestamp, 1d)": "2026-03-01 00:00:00.000", "dateceil(@timestamp, 1w)": "2026-03-02 00:00:00.000",
		"datefloor(fromMillis(0), 1q)": "1970-01-01 00:00:00.000", "dateceil(@timestamp, 2mo)": "2026-05-01 00:00:00.000", "datefloor(@timestamp, 10yrs)": "2020-01-01 00:00:00.000",
		"bin(300s)": "2026-03-01 12:00:00.000", "toMillis(@timestamp)": "1772366400000", "now()": "1772366400", "queryTimeRange()": "86400000", "fromMillis(1e18)": "null",
		"isValidIp(ip)": "1", "isValidIpV6(ip)": "0", `isIpv4InSubnet(ip, "10.0.0.0/8")`: "1", `isIpInSubnet("2001:db8::1", "2001:db8::/32")`: "1", `isIpInSubnet(s, "10.0.0.0/8")`: "0",
		"ipv4ToNumber(ip)": "167838211", "isPrivateIP(ip)": "1", "isPublicIP(ip)": "0", `isPublicIP("8.8.8.8")`: "1", `isReservedIP("127.0.0.1")`: "1",
		"deep.x.y.z.0.k": "v", "deep.`x.y`.z[0].k": "v", "list.1": "2", "list.9": "null", "list": "null", "deep": "null", "@@at": "v", "@at": "null", "`s`": " Ab ",
		"jsonParse(s)": "null", `jsonStringify(jsonParse("[1, 2]"))`: "[1, 2]", "toupper(jsonParse(@message))": "null", `jsonArraySize("[1,2]")`: "2",
		`jsonArrayContains("[\"a\",2]", "2")`: "1", `jsonArrayContains(s, "2")`: "0", `split("a,b", ",")`: `["a","b"]`, "messageSize(s)": "4",
		`n = "-2.5"`: "1", `s like "Ab"`: "1", "s like /^ab/": "0", "s =~ /(?i)ab/": "1", `s not like "x"`: "1", `missing not like "x"`: "1", `missing like "x"`: "0",
		`missing != 1`: "1", `missing = missing`: "0", `s in ["x", " Ab "]`: "1", `n not in [1, 2]`: "1", `"b" > "a" and not "a" > "b"`: "1", `@logStream = "s" or 1 = 0`: "1",
		`@log`: "123456789012:/app/web", "@ingestionTime - @timestamp": "250", "@ptr": "ptr-1", "not not t": "1", "true and false": "0",
	} {
		if got := evaluate(t, text, message); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

func TestGroupsAndBytesAreLimited(t *testing.T) {
	at := testOptions().Start
	many := func(yield func(Event, error) bool) {
		for i := range MaxGroups + 1 {
			if !yield(testEvent(at, "s", strconv.Itoa(i), i), nil) {
				return
			}
		}
	}
	large := func(yield func(Event, error) bool) {
		message := strings.Repeat("x", 1<<20)
		for i := range 100 {
			if !yield(testEvent(at, "s", message, i), nil) {
				return
			}
		}
	}
	for text, events := range map[string]iter.Seq2[Event, error]{"stats count(*) by @message": many, "fields @message": large, "fields 1 as x | dedup @timestamp, @ptr": large} {
		q, err := ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Run(testOptions(), events); err == nil {
			t.Errorf("%s: a query without bounds came to an end", text)
		}
	}
	// What is not returned is not held.
	q, err := ParseQuery("fields @message | limit 3")
	if err != nil {
		t.Fatal(err)
	}
	if result, err := q.Run(testOptions(), large); err != nil || len(result.Rows) != 3 {
		t.Errorf("%d rows, %v", len(result.Rows), err)
	}
}

func TestEventsThatFailEndTheQuery(t *testing.T) {
	broken := errors.New("disk on fire")
	q, err := ParseQuery("stats count(*)")
	if err != nil {
		t.Fatal(err)
	}
	_, err = q.Run(testOptions(), func(yield func(Event, error) bool) { yield(Event{}, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestLimitAnyStopsEarly(t *testing.T) {
	q, err := ParseQuery("filter @message like /7$/ | limit any 2")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	result, err := q.Run(testOptions(), func(yield func(Event, error) bool) {
		for i := range 1000 {
			if seen++; !yield(testEvent(testOptions().Start, "s", strconv.Itoa(i), i), nil) {
				return
			}
		}
	})
	if err != nil || len(result.Rows) != 2 || seen != 18 {
		t.Errorf("%d rows of %d events, %v", len(result.Rows), seen, err)
	}
}

// TestSortIsThatOfAllRows holds the rows that a sorted, limited or deduplicated
// query keeps against those of a sort of everything.
func TestSortIsThatOfAllRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []Event
		for i := range rapid.IntRange(0, 40).Draw(t, "events") {
			at := testOptions().Start.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "at")) * time.Second)
			events = append(events, testEvent(at, "s", fmt.Sprintf(`{"k":%d,"u":%d}`, rapid.IntRange(0, 9).Draw(t, "k"), rapid.IntRange(0, 3).Draw(t, "u")), i))
		}
		limit := rapid.IntRange(1, 10).Draw(t, "limit")
		run := func(text string) (pointers []string) {
			q, err := ParseQuery(text)
			if err != nil {
				t.Fatal(err)
			}
			result, err := q.Run(testOptions(), each(events))
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range result.Rows {
				pointers = append(pointers, row[len(row)-1].Value)
			}
			return pointers
		}
		key := func(e Event, name string) byte { return e.Message[strings.Index(e.Message, name)+3] }
		all := slices.Clone(events)
		slices.SortStableFunc(all, func(a, b Event) int { return int(key(b, "k")) - int(key(a, "k")) })
		var want, unique []string
		seen := map[byte]bool{}
		for i, e := range all {
			if i < limit {
				want = append(want, testPointer(e))
			}
			if !seen[key(e, "u")] && len(unique) < limit {
				unique = append(unique, testPointer(e))
			}
			seen[key(e, "u")] = true
		}
		if got := run(fmt.Sprintf("sort k desc | limit %d", limit)); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		if got := run(fmt.Sprintf("sort k desc | dedup u | limit %d", limit)); !slices.Equal(got, unique) {
			t.Fatalf("%v, want %v", got, unique)
		}
	})
}

func TestPercentilesOfManyNumbersAreClose(t *testing.T) {
	const n = 20_000
	q, err := ParseQuery("stats pct(x, 50) as p50, pct(x, 99.9) as p999, pct(-x, 50) as low")
	if err != nil {
		t.Fatal(err)
	}
	result, err := q.Run(testOptions(), func(yield func(Event, error) bool) {
		for i := range n {
			if !yield(testEvent(testOptions().Start, "s", fmt.Sprintf(`{"x":%d}`, i*7919%n), i), nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{n * 0.5, n * 0.999, n * -0.5} {
		got, _ := strconv.ParseFloat(result.Rows[0][i].Value, 64)
		if off := (got - want) / want; off > 0.006 || off < -0.006 {
			t.Errorf("%s is %v, want about %v", result.Rows[0][i].Name, got, want)
		}
	}
}

func TestDiscoveredFieldsAreThoseOfQueries(t *testing.T) {
	const message = `{"a":{"b.c":[1.50,{"d":"x"},null,true]},"@e":"f","":"g","a2":[[2]]}`
	found := Discover(message)
	var shown []string
	for _, f := range found {
		shown = append(shown, f.Name+"="+f.Value)
		if f.Name == "" {
			continue // cannot be written
		}
		if got := evaluate(t, "`"+f.Name+"`", message); got != f.Value {
			t.Errorf("%s is %s in a query, and was discovered as %s", f.Name, got, f.Value)
		}
	}
	if got, want := strings.Join(shown, " "), "a.b.c.0=1.50 a.b.c.1.d=x a.b.c.3=1 @@e=f =g a2.0.0=2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := len(Discover("{" + strings.Repeat(`"a":1,`, 2000) + `"b":2}`)); n != maxDiscovered {
		t.Errorf("%d fields", n)
	}
}

func TestLongAndDeepQueriesAreRefused(t *testing.T) {
	for _, text := range []string{
		"fields " + strings.Repeat("a", MaxQuery), "fields " + strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000), "fields 1" + strings.Repeat("^1", 1000),
		"filter " + strings.Repeat("abs(", 200) + "1" + strings.Repeat(")", 200),
	} {
		if _, err := ParseQuery(text); err == nil {
			t.Errorf("%.20s... was taken", text)
		}
	}
	for _, text := range []string{"fields " + strings.Repeat("-", 5000) + "1", "filter " + strings.Repeat("not ", 2000) + "1", "fields 1" + strings.Repeat("+1", 4000)} {
		if _, err := ParseQuery(text); err != nil {
			t.Errorf("%.20s...: %v", text, err)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, text := range []string{
		"", "fields @timestamp, @message | sort @timestamp desc | limit 20", "filter a.b.0 like /x/ and not (b in [1,'2'] or c =~ /y/) # comment\n| stats count(*) as n, avg(d)/2 by bin(5m), `x y`",
		`parse @message "a=* b=*" as a, b | dedup a, b`, `parse /(?<x>\d+)/ | display concat(x, "é") as y`, "stats pct(x, 99.9), latest(y) by z | sort z | limit any 3", "fields jsonParse(@message) as j | filter j.a[0].`b.c` = 1",
		"fields 5m", "fields ((((", "parse 'x*' as", "stats sum(count(*))", "fields `", "limit 10001", "pattern @message", "fields -+-a ^ -2 % .5e-3", "filter x not",
	} {
		f.Add(text, `{"a":{"b":["x"]},"d":1}`)
	}
	f.Fuzz(func(t *testing.T, text, message string) {
		q, err := ParseQuery(text)
		if err != nil {
			var wrong *QueryError
			if !errors.As(err, &wrong) || wrong.Start < 0 || wrong.Start > wrong.End || wrong.End > len(text) || wrong.Reason == "" {
				t.Fatalf("%q: the error does not say where or why: %#v", text, err)
			}
			_ = err.Error()
			return
		}
		at := testOptions().Start
		if _, err := q.Run(testOptions(), each([]Event{testEvent(at, "s", message, 1), testEvent(at.Add(time.Hour), "r", "plain", 2), testEvent(at, "s", message+"x", 3)})); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func BenchmarkQuery(b *testing.B) {
	at := testOptions().Start
	var events []Event
	for i := range 1000 {
		events = append(events, testEvent(at.Add(time.Duration(i)*time.Second), "web/1", fmt.Sprintf(`{"time":"2026-03-01T08:00:00Z","level":"%s","request":{"id":"%08x","path":"/orders/%d"},"latency_ms":%d,"message":"done"}`,
			[]string{"INFO", "WARN", "ERROR"}[i%3], i*2654435761, i%17, i*7919%500), i))
	}
	for _, c := range []struct{ name, query string }{
		{"like", "filter @message like /ERROR/ | limit 20"},
		{"json", `filter level = "ERROR" and latency_ms > 100 | sort latency_ms desc | limit 20`},
		{"stats", "stats count(*), avg(latency_ms), pct(latency_ms, 95) by level, bin(5m)"},
		{"parse", `parse @message '"path":"*"' as path | stats count(*) by path`},
	} {
		b.Run(c.name, func(b *testing.B) {
			q, err := ParseQuery(c.query)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := q.Run(testOptions(), each(events)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(events))/b.Elapsed().Seconds(), "events/s")
		})
	}
}
