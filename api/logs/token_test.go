package logs

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"havn/logstore"
)

func TestTokensComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := logstore.Position{Time: rapid.Int64Range(0, math.MaxInt64).Draw(t, "time"), Number: rapid.Uint64().Draw(t, "number")}
		if got, ok := parseEventID(eventID(p)); !ok || got != p {
			t.Errorf("id %s of %v is %v, %v", eventID(p), p, got, ok)
		}
		if got, forward, ok := parseToken(*forwardToken(p)); !ok || !forward || got != p {
			t.Errorf("forward %v is %v, %v", p, got, ok)
		}
		if got, forward, ok := parseToken(*backwardToken(p)); !ok || forward || got != p {
			t.Errorf("backward %v is %v, %v", p, got, ok)
		}
		query := rapid.Uint64().Draw(t, "query")
		if got, ok := parseSearchToken(*searchToken(p, query), query); !ok || got != p {
			t.Errorf("search %v is %v, %v", p, got, ok)
		}
		if _, ok := parseSearchToken(*searchToken(p, query), query+1); ok {
			t.Error("a token of another search is taken")
		}
	})
}

func FuzzToken(f *testing.F) {
	p := logstore.Position{Time: 1795348800000, Number: 7}
	for _, seed := range []string{*forwardToken(p), *backwardToken(p), *searchToken(p, 5), "f/", "f/-1", "b/" + eventID(p) + "0000000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, _, ok := parseToken(text); ok && (p.Time < 0 || *forwardToken(p) != "f"+text[1:] && len(text) == 58) {
			t.Errorf("%q is %v", text, p)
		}
		if p, ok := parseSearchToken(text, 5); ok && p.Time < 0 {
			t.Errorf("%q is %v", text, p)
		}
	})
}
