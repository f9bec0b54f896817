package route

import (
	"regexp"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// URI is the parts of a URI.
type URI struct{ Protocol, Host, Port, Path, Query string }

// Location is where a redirect leads from a URI. What it does not say is kept: #{protocol}://#{host}:#{port}/#{path}?#{query}.
// User Guide, "Redirect actions".
func Location(c *elb.RedirectActionConfig, from URI) string {
	keywords := strings.NewReplacer("#{protocol}", strings.ToLower(from.Protocol), "#{host}", from.Host, "#{port}", from.Port,
		"#{path}", strings.TrimPrefix(from.Path, "/"), "#{query}", from.Query)
	part := func(s *string, otherwise string) string {
		if s == nil || *s == "" {
			return keywords.Replace(otherwise)
		}
		return keywords.Replace(*s)
	}
	protocol := strings.ToLower(part(c.Protocol, "#{protocol}"))
	to := protocol + "://" + part(c.Host, "#{host}") + ":" + part(c.Port, "#{port}") + part(c.Path, "/#{path}")
	query := keywords.Replace("#{query}")
	if c.Query != nil { // said to be empty is not unsaid
		query = keywords.Replace(*c.Query)
	}
	if query != "" {
		to += "?" + query
	}
	return to
}

// transform is a RuleTransform, made ready.
type transform struct {
	host    bool
	regex   *regexp.Regexp
	replace string
}

func compileTransforms(transforms []elb.RuleTransform) []transform {
	var all []transform
	add := func(host bool, rewrites []elb.RewriteConfig) {
		for _, r := range rewrites {
			if re, err := regexp.Compile(text(r.Regex)); err == nil { // elbv2 has refused the others
				all = append(all, transform{host, re, braced(text(r.Replace))})
			}
		}
	}
	for _, t := range transforms {
		if t.HostHeaderRewriteConfig != nil {
			add(true, t.HostHeaderRewriteConfig.Rewrites)
		}
		if t.UrlRewriteConfig != nil {
			add(false, t.UrlRewriteConfig.Rewrites)
		}
	}
	return all
}

var group = regexp.MustCompile(`\$(\d)`)

// braced makes $1x mean the first group and an x, as AWS means it; Go reads it as a group of the name 1x.
func braced(replace string) string { return group.ReplaceAllString(replace, "$${$1}") }

// Rewrites reports whether the rule has transforms.
func (r *Rule) Rewrites() bool { return len(r.transforms) > 0 }

// Rewrite is what a request's host and target (its path and query) become. ok is false if the outcome is no target, or
// no host. User Guide, "Transforms for listener rules": it does not change which rule is met; what does not match stays.
func (r *Rule) Rewrite(host, target string) (newHost, newTarget string, ok bool) {
	for _, t := range r.transforms {
		if t.host {
			host = rewritten(t, host)
		} else {
			target = rewritten(t, target)
		}
	}
	ok = host != "" && strings.HasPrefix(target, "/") && printable(host) && printable(target)
	return host, target, ok
}

// rewritten puts the replacement in the place of the first match.
func rewritten(t transform, s string) string {
	at := t.regex.FindStringSubmatchIndex(s)
	if at == nil {
		return s
	}
	return s[:at[0]] + string(t.regex.ExpandString(nil, t.replace, s, at)) + s[at[1]:]
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
