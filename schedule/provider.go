package schedule

// Provider is one capacity provider of a strategy. Of a strategy, at most one has a base, and at least one a weight.
type Provider struct {
	Name   string
	Base   int // how many tasks are to be there before the others get any
	Weight int // its share of the tasks beyond the base; zero = none
}

// Divide says of each of count more tasks which capacity provider it is for, when so many run with each already. The base
// comes first; of the rest, each task is for the provider that has the fewest for its weight, and of those that are
// alike for the heavier, then for the first. So what is started one by one ends up as what is started at once. API
// Reference, "CapacityProviderStrategyItem".
func Divide(strategy []Provider, running map[string]int, count int) []string {
	have := make([]int, len(strategy))
	for i, p := range strategy {
		have[i] = running[p.Name]
	}
	var names []string
	for range count {
		at := next(strategy, have)
		if at < 0 {
			break
		}
		have[at]++
		names = append(names, strategy[at].Name)
	}
	return names
}

func next(strategy []Provider, have []int) int {
	best := -1
	for i, p := range strategy {
		if have[i] < p.Base {
			return i
		}
		if p.Weight <= 0 {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		// (beyond+1)/weight, without rounding
		b := strategy[best]
		mine, its := (have[i]-p.Base+1)*b.Weight, (have[best]-b.Base+1)*p.Weight
		if mine < its || mine == its && p.Weight > b.Weight {
			best = i
		}
	}
	return best
}
