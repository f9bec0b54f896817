package schedule

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The examples of the Developer Guide, "Capacity provider strategy considerations", and what follows from them.
func TestTasksAreDividedByBaseAndWeight(t *testing.T) {
	for _, c := range []struct {
		strategy []Provider
		running  map[string]int
		count    int
		want     string
	}{
		{[]Provider{{"a", 0, 1}, {"b", 0, 1}}, nil, 4, "[a b a b]"},
		{[]Provider{{"a", 0, 1}, {"b", 0, 4}}, nil, 5, "[b b b b a]"},
		{[]Provider{{"a", 2, 1}, {"b", 0, 1}}, nil, 6, "[a a a b a b]"},
		{[]Provider{{"spot", 0, 1}, {"on-demand", 1, 0}}, nil, 3, "[on-demand spot spot]"},
		{[]Provider{{"a", 2, 1}, {"b", 0, 1}}, map[string]int{"a": 1, "b": 3}, 3, "[a a a]"},
		{[]Provider{{"a", 0, 1}, {"b", 0, 0}}, nil, 2, "[a a]"},
		{[]Provider{{"a", 1, 0}}, nil, 3, "[a]"},
		{nil, nil, 3, "[]"},
	} {
		if got := fmt.Sprint(Divide(c.strategy, c.running, c.count)); got != c.want {
			t.Errorf("%v with %v running: %s, not %s", c.strategy, c.running, got, c.want)
		}
	}
}

// However many calls a number of tasks is started in, the same run; the base holds first, and beyond it nobody is off its
// share by as much as one task for each that shares.
func TestSharesHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var strategy []Provider
		sum := 0
		for i := range rapid.IntRange(1, 5).Draw(t, "providers") {
			p := Provider{Name: fmt.Sprint(i), Weight: rapid.IntRange(0, 1000).Draw(t, "weight")}
			sum += p.Weight
			strategy = append(strategy, p)
		}
		if sum == 0 {
			strategy[0].Weight, sum = 1, 1
		}
		based := rapid.IntRange(0, len(strategy)-1).Draw(t, "based")
		strategy[based].Base = rapid.IntRange(0, 10).Draw(t, "base")
		count := rapid.IntRange(0, 200).Draw(t, "count")

		running := map[string]int{}
		var one []string
		for range count {
			name := Divide(strategy, running, 1)[0]
			running[name]++
			one = append(one, name)
		}
		if all := Divide(strategy, nil, count); !slices.Equal(all, one) {
			t.Fatalf("at once %v, one by one %v", all, one)
		}
		base := strategy[based].Base
		if running[strategy[based].Name] < min(base, count) {
			t.Fatalf("%d run, %d in all, and the base is %d", running[strategy[based].Name], count, base)
		}
		for _, p := range strategy {
			beyond := running[p.Name] - p.Base
			if off := beyond*sum - max(count-base, 0)*p.Weight; count >= base && (off >= sum*len(strategy) || off <= -sum*len(strategy)) {
				t.Fatalf("%s has %d of %d beyond the base with weight %d of %d", p.Name, beyond, count-base, p.Weight, sum)
			}
		}
	})
}
