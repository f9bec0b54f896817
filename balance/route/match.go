package route

import (
	"net/netip"
	"regexp"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// Request is what rules look at. Its strings are as they came; Match keeps none of them.
type Request struct {
	Method string
	Host   string // without a port
	Path   string // as it was sent, not decoded; without the query
	Query  string // as it was sent, without the question mark
	Source netip.Addr
	Header Header
}

// Header are the header fields of a request.
type Header interface {
	// Values calls f for each value of the header field, until it returns false. The name is in lower case.
	Values(name string, f func(value string) bool)
}

// Match returns the first rule that a request meets: they are in the order of their priorities, and the last meets all.
// Elastic Load Balancing User Guide, "Listener rules for your Application Load Balancer".
func (l *Listener) Match(r *Request) *Rule {
	for i := range l.Rules {
		if rule := &l.Rules[i]; rule.met(r) {
			return rule
		}
	}
	return nil
}

// met reports whether a request meets all conditions.
func (r *Rule) met(q *Request) bool {
	for i := range r.conditions {
		if !r.conditions[i].met(q) {
			return false
		}
	}
	return true
}

// field is what a condition looks at.
type field int

const (
	never field = iota // of a kind that is not known here, which elbv2 refuses
	byHost
	byPath
	byHeader
	byMethod
	byQuery
	bySource
)

// condition is a RuleCondition, made ready: it is met when one of its values matches.
type condition struct {
	field    field
	header   string // in lower case
	exact    []string
	patterns []pattern
	regex    []*regexp.Regexp
	pairs    []pair
	nets     []netip.Prefix
}

// pair is a parameter of a query string.
type pair struct {
	anyKey     bool
	key, value pattern
}

func compileConditions(conditions []elb.RuleCondition) []condition {
	all := make([]condition, 0, len(conditions))
	for i := range conditions {
		all = append(all, compileCondition(&conditions[i]))
	}
	return all
}

func compileCondition(from *elb.RuleCondition) condition {
	var c condition
	var values, regexes []string
	fold := true
	switch text(from.Field) {
	case "host-header":
		c.field, values, regexes = byHost, from.Values, from.RegexValues
		if h := from.HostHeaderConfig; h != nil {
			values, regexes = append(values[:len(values):len(values)], h.Values...), append(regexes[:len(regexes):len(regexes)], h.RegexValues...)
		}
	case "path-pattern":
		c.field, values, regexes, fold = byPath, from.Values, from.RegexValues, false
		if p := from.PathPatternConfig; p != nil {
			values, regexes = append(values[:len(values):len(values)], p.Values...), append(regexes[:len(regexes):len(regexes)], p.RegexValues...)
		}
	case "http-header":
		if h := from.HttpHeaderConfig; h != nil {
			c.field, c.header = byHeader, strings.ToLower(text(h.HttpHeaderName))
			values, regexes = h.Values, append(h.RegexValues[:len(h.RegexValues):len(h.RegexValues)], from.RegexValues...)
		}
	case "http-request-method":
		if m := from.HttpRequestMethodConfig; m != nil {
			c.field, c.exact = byMethod, m.Values // the comparison is case sensitive, without wildcards
		}
	case "query-string":
		c.field = byQuery
		if q := from.QueryStringConfig; q != nil {
			for _, kv := range q.Values {
				c.pairs = append(c.pairs, pair{kv.Key == nil, compilePattern(text(kv.Key), true), compilePattern(text(kv.Value), true)})
			}
		}
	case "source-ip":
		c.field = bySource
		if s := from.SourceIpConfig; s != nil {
			for _, cidr := range s.Values {
				if prefix, err := netip.ParsePrefix(cidr); err == nil {
					c.nets = append(c.nets, prefix.Masked())
				}
			}
		}
	}
	for _, v := range values {
		c.patterns = append(c.patterns, compilePattern(v, fold))
	}
	for _, v := range regexes {
		if re, err := regexp.Compile(v); err == nil { // elbv2 has refused the others
			c.regex = append(c.regex, re)
		}
	}
	return c
}

func (c *condition) met(q *Request) bool {
	switch c.field {
	case byHost:
		return c.matches(q.Host)
	case byPath:
		return c.matches(q.Path)
	case byHeader:
		found := false
		if q.Header != nil {
			q.Header.Values(c.header, func(value string) bool {
				found = c.matches(value)
				return !found
			})
		}
		return found
	case byMethod:
		for _, m := range c.exact {
			if m == q.Method {
				return true
			}
		}
	case byQuery:
		return c.matchesQuery(q.Query)
	case bySource:
		for _, n := range c.nets {
			if n.Contains(q.Source.Unmap()) {
				return true
			}
		}
	}
	return false
}

func (c *condition) matches(value string) bool {
	for i := range c.patterns {
		if c.patterns[i].matches(value) {
			return true
		}
	}
	for _, re := range c.regex {
		if re.MatchString(value) {
			return true
		}
	}
	return false
}

// matchesQuery looks at the parameters of a query as they were sent: they are not decoded, as AWS does not.
func (c *condition) matchesQuery(query string) bool {
	for query != "" {
		var param string
		param, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(param, "=")
		for i := range c.pairs {
			p := &c.pairs[i]
			if (p.anyKey || p.key.matches(key)) && p.value.matches(value) {
				return true
			}
		}
	}
	return false
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// pattern is text in which * stands for any characters, none included, and ? for one. A backslash takes its meaning
// from the wildcard after it.
type pattern struct {
	text  []token
	fold  bool
	plain string // what it is, if it has no wildcards
	wild  bool
}

type token struct {
	char byte
	any  bool // ?
	many bool // *
}

func compilePattern(s string, fold bool) pattern {
	p := pattern{fold: fold}
	var plain strings.Builder
	for i := 0; i < len(s); i++ {
		t := token{char: s[i]}
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '*' || s[i+1] == '?' || s[i+1] == '\\'):
			i++
			t.char = s[i]
		case s[i] == '*':
			t.many, p.wild = true, true
		case s[i] == '?':
			t.any, p.wild = true, true
		}
		if fold {
			t.char = lower(t.char)
		}
		plain.WriteByte(t.char)
		p.text = append(p.text, t)
	}
	p.plain = plain.String()
	return p
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// matches takes time proportional to the product of the lengths at most: it goes back to the last star only.
func (p *pattern) matches(s string) bool {
	if !p.wild {
		if p.fold {
			return len(s) == len(p.plain) && strings.EqualFold(s, p.plain)
		}
		return s == p.plain
	}
	t, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case t < len(p.text) && p.text[t].many:
			star, from = t, i
			t++
		case t < len(p.text) && (p.text[t].any || p.text[t].char == s[i] || p.fold && p.text[t].char == lower(s[i])):
			t++
			i++
		case star >= 0:
			from++
			t, i = star+1, from
		default:
			return false
		}
	}
	for t < len(p.text) && p.text[t].many {
		t++
	}
	return t == len(p.text)
}
