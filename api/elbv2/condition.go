package elbv2

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// Limits of a rule (Quotas for your Application Load Balancers; RuleCondition).
const (
	maxConditionValues = 5
	maxWildcards       = 6
	maxConditionText   = 128
	maxHeaderName      = 40
)

var conditionFields = []string{"path-pattern", "http-request-method", "host-header", "query-string", "source-ip", "http-header"}

var (
	hostPattern   = regexp.MustCompile(`^[A-Za-z0-9.*?_-]+$`)
	pathPattern   = regexp.MustCompile(`^[A-Za-z0-9_.$/~"'@:+&*?;=%,!()\[\]-]+$`)
	methodPattern = regexp.MustCompile(`^[A-Z_-]+$`)
	tokenPattern  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 7230, 3.2.6
)

// conditions checks a rule's conditions, and returns them as ELB describes them: what is in the configuration of a
// host-header or path-pattern condition is in its Values, too, however it was written.
func conditions(b state.LoadBalancer, given []types.RuleCondition) ([]types.RuleCondition, error) {
	if b.Type == types.LoadBalancerTypeEnumNetwork {
		// Their only condition is on the version of the source's address, and it is IPv4 here.
		return nil, unsupported("rules of network load balancers", "all their clients have IPv4 addresses, so a rule could tell nothing apart")
	}
	if len(given) == 0 {
		return nil, invalid("A condition must be specified")
	}
	var made []types.RuleCondition
	seen := map[string]bool{}
	values, wildcards := 0, 0
	for _, c := range given {
		field := deref(c.Field)
		if seen[field] && field != "http-header" && field != "query-string" {
			return nil, invalid("A rule can only have one '%s' condition", field)
		}
		seen[field] = true
		c, texts, err := condition(c)
		if err != nil {
			return nil, err
		}
		values += len(texts)
		for _, t := range texts {
			wildcards += countWildcards(t)
		}
		values += len(c.RegexValues)
		made = append(made, c)
	}
	if values > maxConditionValues {
		return nil, invalid("A rule can only have '%d' condition values", maxConditionValues)
	}
	if wildcards > maxWildcards {
		return nil, invalid("A rule can only have '%d' condition wildcards", maxWildcards)
	}
	return made, nil
}

// countWildcards counts * and ? that are not written with a backslash.
func countWildcards(text string) (n int) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '*', '?':
			n++
		}
	}
	return n
}

// condition returns the condition as it is kept, and its texts in which wildcards mean something.
func condition(c types.RuleCondition) (made types.RuleCondition, texts []string, err error) {
	field := deref(c.Field)
	configs := map[string]bool{
		"host-header": c.HostHeaderConfig != nil, "path-pattern": c.PathPatternConfig != nil, "http-header": c.HttpHeaderConfig != nil,
		"http-request-method": c.HttpRequestMethodConfig != nil, "query-string": c.QueryStringConfig != nil, "source-ip": c.SourceIpConfig != nil,
	}
	if _, known := configs[field]; !known {
		return c, nil, invalid("Condition field '%s' must be one of '[%s]'", field, strings.Join(conditionFields, ", "))
	}
	for other, is := range configs {
		if is && other != field {
			return c, nil, invalid("The configuration of a '%s' condition cannot be specified for field '%s'", other, field)
		}
	}
	legacy := field == "host-header" || field == "path-pattern"
	if len(c.Values) > 0 && (!legacy || configs[field]) && !sameAsConfig(c) {
		return c, nil, invalid("You cannot specify both Values and the configuration of a '%s' condition", field)
	}
	if len(c.Values) > 1 && !configs[field] {
		return c, nil, invalid("The '%s' field contains too many values; the limit is '1'", field)
	}
	if !legacy && !configs[field] {
		return c, nil, invalid("A configuration must be specified for a '%s' condition", field)
	}
	switch field {
	case "host-header":
		config := or(c.HostHeaderConfig, types.HostHeaderConditionConfig{Values: c.Values, RegexValues: c.RegexValues})
		c.HostHeaderConfig, c.Values, c.RegexValues = &config, config.Values, config.RegexValues
		return c, c.Values, checkPatterns(field, config.Values, config.RegexValues, func(v string) error {
			if !hostPattern.MatchString(v) {
				return invalid("The host name '%s' is not valid", v)
			}
			return nil
		})
	case "path-pattern":
		config := or(c.PathPatternConfig, types.PathPatternConditionConfig{Values: c.Values, RegexValues: c.RegexValues})
		c.PathPatternConfig, c.Values, c.RegexValues = &config, config.Values, config.RegexValues
		return c, c.Values, checkPatterns(field, config.Values, config.RegexValues, func(v string) error {
			if !pathPattern.MatchString(v) {
				return invalid("The path pattern '%s' is not valid", v)
			}
			return nil
		})
	case "http-header":
		config := *c.HttpHeaderConfig
		name := deref(config.HttpHeaderName)
		switch {
		case name == "":
			return c, nil, invalid("HttpHeaderName must be specified")
		case len(name) > maxHeaderName:
			return c, nil, invalid("The HttpHeaderName '%s' is too long; the limit is '%d'", name, maxHeaderName)
		case !tokenPattern.MatchString(name) || strings.ContainsAny(name, "*?"):
			return c, nil, invalid("The HttpHeaderName '%s' is not valid", name)
		case strings.EqualFold(name, "host"):
			return c, nil, invalid("You cannot specify the host header in an 'http-header' condition; use a 'host-header' condition")
		}
		c.RegexValues = config.RegexValues
		return c, config.Values, checkPatterns(field, config.Values, config.RegexValues, nil)
	case "http-request-method":
		return c, nil, checkPatterns(field, c.HttpRequestMethodConfig.Values, nil, func(v string) error {
			if len(v) > maxHeaderName || !methodPattern.MatchString(v) {
				return invalid("The request method '%s' is not valid", v)
			}
			return nil
		})
	case "query-string":
		var keysToo []string
		for _, pair := range c.QueryStringConfig.Values {
			if deref(pair.Value) == "" {
				return c, nil, invalid("A value must be specified for a 'query-string' condition")
			}
			texts = append(texts, *pair.Value)
			if pair.Key != nil {
				keysToo = append(keysToo, *pair.Key)
			}
		}
		if err := checkPatterns(field, texts, nil, nil); err != nil {
			return c, nil, err
		}
		return c, texts, checkLengths(keysToo)
	default:
		if c.SourceIpConfig.IpAddressType != "" {
			return c, nil, invalid("IpAddressType can only be specified for network load balancers")
		}
		return c, nil, checkPatterns(field, c.SourceIpConfig.Values, nil, func(v string) error {
			if p, err := netip.ParsePrefix(v); err != nil || p.Addr().Is4In6() {
				return invalid("The source IP address '%s' must be in CIDR format", v)
			}
			if v == "255.255.255.255/32" {
				return invalid("You cannot specify the source IP address 255.255.255.255/32")
			}
			return nil
		})
	}
}

// sameAsConfig: what DescribeRules answers can be given back.
func sameAsConfig(c types.RuleCondition) bool {
	switch {
	case c.HostHeaderConfig != nil:
		return sameSet(c.Values, c.HostHeaderConfig.Values)
	case c.PathPatternConfig != nil:
		return sameSet(c.Values, c.PathPatternConfig.Values)
	}
	return false
}

func checkPatterns(field string, values, regexes []string, check func(string) error) error {
	if len(values)+len(regexes) == 0 {
		return invalid("A condition value must be specified")
	}
	if len(values) > 0 && len(regexes) > 0 {
		return invalid("You cannot specify both values and regex values for a '%s' condition", field)
	}
	if err := checkLengths(values); err != nil {
		return err
	}
	for _, v := range values {
		if check == nil {
			continue
		}
		if err := check(v); err != nil {
			return err
		}
	}
	if err := checkLengths(regexes); err != nil {
		return err
	}
	for _, r := range regexes {
		// The syntax of ELB's regular expressions is one without look-around and backreferences, as Go's (Regex matching).
		if _, err := regexp.Compile(r); err != nil {
			return invalid("The regex value '%s' is not valid: %v", r, err)
		}
	}
	return nil
}

func checkLengths(values []string) error {
	for _, v := range values {
		if v == "" {
			return invalid("A condition value cannot be empty")
		}
		if utf8.RuneCountInString(v) > maxConditionText {
			return invalid("The condition value '%s' is too long; the limit is '%d'", v, maxConditionText)
		}
	}
	return nil
}

const maxRewriteText = 1024 // RewriteConfig

// transforms checks a rule's transforms: one of each type, with one rewrite (Transforms for listener rules).
func transforms(given []types.RuleTransform) ([]types.RuleTransform, error) {
	seen := map[types.TransformTypeEnum]bool{}
	for _, t := range given {
		if seen[t.Type] {
			return nil, invalid("A rule can only have one transform of type '%s'", t.Type)
		}
		seen[t.Type] = true
		host, url := t.HostHeaderRewriteConfig, t.UrlRewriteConfig
		if (host != nil) != (t.Type == types.TransformTypeEnumHostHeaderRewrite) || (url != nil) != (t.Type == types.TransformTypeEnumUrlRewrite) {
			return nil, invalid("A transform of type '%s' must have the configuration of that type, and no other", t.Type)
		}
		var rewrites []types.RewriteConfig
		if host != nil {
			rewrites = host.Rewrites
		} else {
			rewrites = url.Rewrites
		}
		if len(rewrites) != 1 {
			return nil, invalid("A transform must have exactly one rewrite")
		}
		regex, replace := *rewrites[0].Regex, *rewrites[0].Replace
		if n := max(utf8.RuneCountInString(regex), utf8.RuneCountInString(replace)); n > maxRewriteText || regex == "" {
			return nil, invalid("The regex and the replacement of a rewrite must have at most '%d' characters, and the regex at least one", maxRewriteText)
		}
		if _, err := regexp.Compile(regex); err != nil {
			return nil, invalid("The regex '%s' is not valid: %v", regex, err)
		}
	}
	return given, nil
}
