package route

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"pgregory.net/rapid"

	"havn/state"
)

// twin matches a pattern as its definition reads: a star is any rest, tried one after the other.
func twin(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		for i := 0; i <= len(s); i++ {
			if twin(pattern[1:], s[i:]) {
				return true
			}
		}
		return false
	case s == "":
		return false
	case pattern[0] == '\\' && len(pattern) > 1 && strings.ContainsRune(`*?\`, rune(pattern[1])):
		return pattern[1] == s[0] && twin(pattern[2:], s[1:])
	case pattern[0] == '?' || pattern[0] == s[0]:
		return twin(pattern[1:], s[1:])
	}
	return false
}

func TestPatternsMatchAsTheTwinDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`[abA*?\\]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[abA*?\\]{0,10}`).Draw(t, "text")
		exact, folded := compilePattern(p, false), compilePattern(p, true)
		if got, want := exact.matches(s), twin(p, s); got != want {
			t.Fatalf("%q matches %q: %v, want %v", p, s, got, want)
		}
		if got, want := folded.matches(s), twin(strings.ToLower(p), strings.ToLower(s)); got != want {
			t.Fatalf("%q matches %q without case: %v, want %v", p, s, got, want)
		}
	})
}

type fields map[string][]string

func (f fields) Values(name string, each func(string) bool) {
	for _, v := range f[name] {
		if !each(v) {
			return
		}
	}
}

func text1(s string) *string { return &s }

// User Guide, "Condition types for listener rules".
func TestConditions(t *testing.T) {
	request := Request{Method: "GET", Host: "Www.Example.com", Path: "/img/a.PNG", Query: "version=v1&plain&x=%2A*", Source: netip.MustParseAddr("10.1.2.3"),
		Header: fields{"user-agent": {"curl/8", "Chrome/1"}}}
	header := func(name string, values ...string) elb.RuleCondition {
		return elb.RuleCondition{Field: text1("http-header"), HttpHeaderConfig: &elb.HttpHeaderConditionConfig{HttpHeaderName: &name, Values: values}}
	}
	query := func(key *string, value string) elb.RuleCondition {
		return elb.RuleCondition{Field: text1("query-string"), QueryStringConfig: &elb.QueryStringConditionConfig{Values: []elb.QueryStringKeyValuePair{{Key: key, Value: &value}}}}
	}
	source := func(values ...string) elb.RuleCondition {
		return elb.RuleCondition{Field: text1("source-ip"), SourceIpConfig: &elb.SourceIpConditionConfig{Values: values}}
	}
	values := func(field string, values ...string) elb.RuleCondition {
		return elb.RuleCondition{Field: &field, Values: values}
	}
	for i, c := range []struct {
		condition elb.RuleCondition
		met       bool
	}{
		{values("host-header", "*.example.com"), true},
		{values("host-header", "example.com", "WWW.EXAMPLE.COM"), true},
		{values("host-header", "www.example.org"), false},
		{elb.RuleCondition{Field: text1("host-header"), HostHeaderConfig: &elb.HostHeaderConditionConfig{Values: []string{"www.example.???"}}}, true},
		{elb.RuleCondition{Field: text1("host-header"), HostHeaderConfig: &elb.HostHeaderConditionConfig{RegexValues: []string{`^Www\.`}}}, true},
		{elb.RuleCondition{Field: text1("path-pattern"), RegexValues: []string{`\.(png|PNG)$`}}, true},
		{values("path-pattern", "/img/*"), true},
		{values("path-pattern", "/img/?.PNG"), true},
		{values("path-pattern", "/IMG/*"), false}, // case matters in paths
		{values("path-pattern", "/img"), false},
		{header("User-Agent", "*chrome*"), true},
		{header("User-Agent", "safari"), false},
		{header("X-None", "*"), false},
		{elb.RuleCondition{Field: text1("http-request-method"), HttpRequestMethodConfig: &elb.HttpRequestMethodConditionConfig{Values: []string{"POST", "GET"}}}, true},
		{elb.RuleCondition{Field: text1("http-request-method"), HttpRequestMethodConfig: &elb.HttpRequestMethodConditionConfig{Values: []string{"get"}}}, false},
		{query(text1("VERSION"), "V1"), true},
		{query(text1("version"), "v2"), false},
		{query(nil, "v?"), true},
		{query(text1("x"), `%2a\*`), true},
		{query(text1("x"), `%2a\?`), false},
		{query(text1("plain"), ""), true},
		{source("10.0.0.0/8"), true},
		{source("192.168.0.0/16", "10.1.2.3/32"), true},
		{source("2001:db8::/32"), false},
		{values("weather", "*"), false},
	} {
		rule := Rule{conditions: compileConditions([]elb.RuleCondition{c.condition})}
		if got := rule.met(&request); got != c.met {
			t.Errorf("%d: met %v, want %v", i, got, c.met)
		}
	}
}

func TestTheFirstRuleThatIsMetCounts(t *testing.T) {
	l := &Listener{Rules: []Rule{
		{Priority: 1, Conditions: []elb.RuleCondition{{Field: text1("path-pattern"), Values: []string{"/a*"}}, {Field: text1("host-header"), Values: []string{"b"}}}},
		{Priority: 2, Conditions: []elb.RuleCondition{{Field: text1("path-pattern"), Values: []string{"/a*"}}}},
		{Priority: 0},
	}}
	(&Table{Listeners: map[string]*Listener{"l": l}}).Ready()
	for _, c := range []struct {
		host, path string
		want       int32
	}{{"b", "/ab", 1}, {"c", "/ab", 2}, {"b", "/b", 0}} {
		if got := l.Match(&Request{Host: c.host, Path: c.path}); got.Priority != c.want {
			t.Errorf("%v: %d", c, got.Priority)
		}
	}
}

// A table's groups, and choices among their targets, for all states that they can be in.
func groups(t *rapid.T) (*Group, time.Time) {
	now := time.Unix(1e9, 0)
	g := &Group{Record: state.TargetGroup{ARN: "g", Attributes: map[string]string{
		"load_balancing.algorithm.type": rapid.SampledFrom([]string{"", "round_robin", "least_outstanding_requests", "weighted_random"}).Draw(t, "algorithm"),
		"slow_start.duration_seconds":   rapid.SampledFrom([]string{"0", "60"}).Draw(t, "slow start"),
		"stickiness.enabled":            "true",
		"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count":      rapid.SampledFrom([]string{"", "1", "3"}).Draw(t, "count"),
		"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": rapid.SampledFrom([]string{"", "off", "50"}).Draw(t, "percentage"),
	}}}
	for i := range rapid.IntRange(0, 6).Draw(t, "targets") {
		target := Target{Key: string(rune('a' + i)), Draining: rapid.Bool().Draw(t, "draining")}
		if rapid.IntRange(0, 9).Draw(t, "known") > 0 {
			target.Address = netip.MustParseAddrPort("10.0.0.1:80")
		}
		if rapid.Bool().Draw(t, "healthy") {
			target.Record.Health = state.TargetHealth{State: elb.TargetHealthStateEnumHealthy, Since: now.Add(-time.Duration(rapid.IntRange(-5, 100).Draw(t, "age")) * time.Second)}
		}
		g.Targets = append(g.Targets, target)
	}
	g.ready()
	return g, now
}

func TestAChosenTargetMayBeChosen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, now := groups(t)
		var healthy, reachable []int
		for i, target := range g.Targets {
			if target.Draining || !target.Address.IsValid() {
				continue
			}
			reachable = append(reachable, i)
			if target.Record.Health.State == elb.TargetHealthStateEnumHealthy {
				healthy = append(healthy, i)
			}
		}
		enough := len(healthy) >= 1
		if g.Record.Attributes["target_group_health.unhealthy_state_routing.minimum_healthy_targets.count"] == "3" && len(healthy) < 3 {
			enough = false
		}
		if g.Record.Attributes["target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage"] == "50" && 2*len(healthy) < len(reachable) {
			enough = false
		}
		may := reachable
		if enough {
			may = healthy
		}
		load := rapid.SliceOfN(rapid.Int64Range(0, 3), len(g.Targets), len(g.Targets)).Draw(t, "load")
		chance := Chance{Turn: rapid.Uint64().Draw(t, "turn"), Random: rapid.Uint64().Draw(t, "random"), Now: now, UnderWay: func(i int) int64 { return load[i] }, Not: rapid.IntRange(-1, 6).Draw(t, "not")}
		got := g.Choose(chance)
		if len(may) == 0 {
			if got != -1 {
				t.Fatalf("%d is chosen; there is none", got)
			}
			return
		}
		if !slices.Contains(may, got) {
			t.Fatalf("%d is chosen, of %v", got, may)
		}
		if len(may) > 1 && got == chance.Not {
			t.Fatalf("%d is chosen again", got)
		}
		if g.Algorithm == LeastOutstanding && !slices.Contains(may, chance.Not) {
			for _, i := range may {
				if load[i] < load[got] {
					t.Fatalf("%d is chosen with %d under way; %d has %d", got, load[got], i, load[i])
				}
			}
		}
		for i, target := range g.Targets {
			if sticky := g.Sticky(Mark(target.Key)); sticky != -1 && (sticky != i || !slices.Contains(may, i)) || sticky == -1 && slices.Contains(may, i) {
				t.Fatalf("the mark of %d leads to %d, of %v", i, sticky, may)
			}
		}
	})
}

func TestRoundRobinIsFair(t *testing.T) {
	g := &Group{}
	for range 3 {
		g.Targets = append(g.Targets, Target{Address: netip.MustParseAddrPort("10.0.0.1:80"), Record: state.Target{Health: state.TargetHealth{State: elb.TargetHealthStateEnumHealthy}}})
	}
	g.ready()
	count := map[int]int{}
	for turn := range 300 {
		count[g.Choose(Chance{Turn: uint64(turn), Not: -1})]++
	}
	if count[0] != 100 || count[1] != 100 || count[2] != 100 {
		t.Error(count)
	}
}

func TestSlowStartGrowsToAFullShare(t *testing.T) {
	born := time.Unix(1e9, 0)
	healthy := func(since time.Time) Target {
		return Target{Address: netip.MustParseAddrPort("10.0.0.1:80"), Record: state.Target{Health: state.TargetHealth{State: elb.TargetHealthStateEnumHealthy, Since: since}}}
	}
	g := &Group{Record: state.TargetGroup{Attributes: map[string]string{"slow_start.duration_seconds": "100"}},
		Targets: []Target{healthy(born.Add(-time.Hour)), healthy(born)}}
	g.ready()
	random := func(i int) uint64 { return uint64(i) * 0x9e3779b97f4a7c15 }
	share := func(age time.Duration) (n int) {
		for i := range 30000 {
			n += g.Choose(Chance{Turn: uint64(i), Random: random(i), Now: born.Add(age), Not: -1})
		}
		return n
	}
	// A share of s beside one of 1 is s/(1+s) of the requests.
	for age, want := range map[time.Duration]int{time.Second: 297, 50 * time.Second: 10000, 99 * time.Second: 14925, 100 * time.Second: 15000} {
		if got := share(age); got < want-300 || got > want+300 {
			t.Errorf("after %v: %d of 30000, want about %d", age, got, want)
		}
	}
	g.Targets[0].Record.Health.Since = born // both are new: neither is spared
	if got := share(time.Second); got != 15000 {
		t.Errorf("both new: %d", got)
	}
}

func TestGroupsAreChosenByWeight(t *testing.T) {
	a, b, none := &Group{Mark: 1}, &Group{Mark: 2}, &Group{Mark: 3}
	rule := Rule{Action: Action{Forward: &Forward{Groups: []Weighted{{a, 9}, {none, 0}, {b, 1}}}}}
	rule.ready()
	f := rule.Action.Forward
	count := map[*Group]int{}
	for i := range 1000 {
		count[f.Choose(uint64(i))]++
	}
	if count[a] != 900 || count[b] != 100 {
		t.Errorf("%d and %d", count[a], count[b])
	}
	if f.Sticky(1) != a || f.Sticky(3) != nil || f.Sticky(9) != nil {
		t.Error("a cookie leads where no new request goes")
	}
	only := &Forward{Groups: []Weighted{{a, 0}}}
	if only.Choose(0) != nil {
		t.Error("a group without weight is chosen")
	}
}

func TestLocation(t *testing.T) {
	from := URI{"http", "example.com", "80", "/a/b", "x=1"}
	for want, c := range map[string]elb.RedirectActionConfig{
		"http://example.com:80/a/b?x=1":          {},
		"https://example.com:443/a/b?x=1":        {Protocol: text1("HTTPS"), Port: text1("443")},
		"http://www.example.com:80/n/a/b?x=1&y":  {Host: text1("www.#{host}"), Path: text1("/n/#{path}"), Query: text1("#{query}&y")},
		"http://example.com:80/example.com/80":   {Path: text1("/#{host}/#{port}"), Query: text1("")},
		"http://example.com:80/a/b?p=http&q=a/b": {Query: text1("p=#{protocol}&q=#{path}")},
	} {
		if got := Location(&c, from); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestRewrites(t *testing.T) {
	rule := Rule{Transforms: []elb.RuleTransform{
		{HostHeaderRewriteConfig: &elb.HostHeaderRewriteConfig{Rewrites: []elb.RewriteConfig{{Regex: text1(`^mywebsite-(.+).com$`), Replace: text1(`internal.dev.$1.com`)}}}},
		{UrlRewriteConfig: &elb.UrlRewriteConfig{Rewrites: []elb.RewriteConfig{{Regex: text1(`^/dp/([A-Za-z0-9]+)/?$`), Replace: text1(`/product.php?id=$1x`)}}}},
	}}
	rule.ready()
	for _, c := range [][4]string{
		{"mywebsite-a.com", "/dp/B09", "internal.dev.a.com", "/product.php?id=B09x"},
		{"other.com", "/x", "other.com", "/x"},
	} {
		host, target, ok := rule.Rewrite(c[0], c[1])
		if host != c[2] || target != c[3] || !ok {
			t.Errorf("%v: %s %s %v", c, host, target, ok)
		}
	}
	bad := Rule{Transforms: []elb.RuleTransform{{UrlRewriteConfig: &elb.UrlRewriteConfig{Rewrites: []elb.RewriteConfig{{Regex: text1(`^/(.*)$`), Replace: text1(`$1 x`)}}}}}}
	bad.ready()
	if _, _, ok := bad.Rewrite("a", "/b"); ok {
		t.Error("a target that is none is taken")
	}
}
