package schedule

import (
	"errors"
	"testing"
	"time"
)

func FuzzParseQuery(f *testing.F) {
	for _, text := range []string{
		"", "attribute:stack == prod", "attribute:a =~ (x|y).* and not(task:group == 'service:web')",
		"agentVersion >= 1.105.0 || registeredAt < 2018-06-18T22:28:28Z && runningTasksCount != 0",
		`attribute:a !in [a, "b c", 'd']`, "agentConnected == true", "attribute:a !exists", "((((", "!!!attribute:a exists",
	} {
		f.Add(text)
	}
	nodes := append(manyNodes(3), Node{})
	nodes[0].RegisteredAt = time.Unix(1529360908, 0)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseQuery(text)
		if err != nil {
			var wrong *QueryError
			if !errors.As(err, &wrong) || wrong.Offset < 0 || wrong.Offset > len(text) || wrong.Reason == "" {
				t.Fatalf("%q: the error does not say where or why: %#v", text, err)
			}
			return
		}
		if q.String() != text {
			t.Fatalf("%q became %q", text, q)
		}
		// In parentheses it is the same, and negated it is the opposite.
		if len(text)+len("not()") > MaxQuery {
			return
		}
		inverse, err := ParseQuery("not(" + text + ")")
		if err != nil {
			t.Fatalf("%q does not parse inside not(): %v", text, err)
		}
		for i := range nodes {
			if q.Match(&nodes[i]) == inverse.Match(&nodes[i]) {
				t.Fatalf("%q and its negation agree on node %d", text, i)
			}
		}
	})
}

func TestLongQueryIsRefused(t *testing.T) {
	text := "attribute:a == "
	for len(text) <= MaxQuery {
		text += "a"
	}
	if _, err := ParseQuery(text[:MaxQuery]); err != nil {
		t.Error(err)
	}
	if _, err := ParseQuery(text); err == nil {
		t.Error("an expression of more than MaxQuery bytes was taken")
	}
}

func TestZeroQueryHoldsEverywhere(t *testing.T) {
	if !(Query{}).Match(&Node{}) {
		t.Error("the zero Query does not hold")
	}
}

// Each pair is in order.
func TestVersionOrder(t *testing.T) {
	for _, pair := range [][2]string{
		{"1.9.0", "1.10.0"}, {"1.14.2", "1.105.0"}, {"1.14", "1.14.1"}, {"1.14.2-rc1", "1.14.2"}, {"v1.0.0", "1.0.1"},
		{"1.0.0-rc2", "1.0.0-rc10"}, {"09", "10"}, {"5.10.0-aws", "5.10.1"}, {"t2", "t3"}, {"", "1"},
	} {
		if compareVersions(pair[0], pair[1]) != -1 || compareVersions(pair[1], pair[0]) != 1 {
			t.Errorf("%q is not before %q", pair[0], pair[1])
		}
	}
	for _, v := range []string{"", "1.2.3", "1.2.3-rc1", "v1"} {
		if compareVersions(v, v) != 0 {
			t.Errorf("%q is not itself", v)
		}
	}
}
