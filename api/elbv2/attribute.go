package elbv2

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// fate is what becomes of an attribute.
type fate string

const (
	acted   fate = "acted on"
	stored  fate = "stored"
	refused fate = "refused" // every value but the default, which is what happens anyway
)

// attribute is one of AWS's attributes of load balancers, listeners or target groups.
type attribute struct {
	key       string
	of        []string // what has it: application, network; HTTP, HTTPS, TCP, ...
	byDefault string
	check     func(string) bool
	says      string // what a value has to be
	fate      fate
	who       string // who acts on it; else why nobody does
}

var (
	application = []string{"application"}
	network     = []string{"network"}
	both        = []string{"application", "network"}
)

// The kinds of value.

func boolean(v string) bool { return v == "true" || v == "false" }
func anything(string) bool  { return true }

func number(low, high int) func(string) bool {
	return func(v string) bool {
		n, err := strconv.Atoi(v)
		return err == nil && n >= low && n <= high && strconv.Itoa(n) == v
	}
}

func zeroOr(check func(string) bool) func(string) bool {
	return func(v string) bool { return v == "0" || check(v) }
}
func offOr(check func(string) bool) func(string) bool {
	return func(v string) bool { return v == "off" || check(v) }
}

func oneOf(values ...string) func(string) bool {
	return func(v string) bool { return slices.Contains(values, v) }
}

// balancerAttributes: ModifyLoadBalancerAttributes, LoadBalancerAttribute.
var balancerAttributes = []attribute{
	{"deletion_protection.enabled", both, "false", boolean, "true or false", acted, "DeleteLoadBalancer"},
	{"idle_timeout.timeout_seconds", application, "60", number(1, 4000), "between 1 and 4000", acted, "balance"},
	{"client_keep_alive.seconds", application, "3600", number(60, 604800), "between 60 and 604800", acted, "balance"},
	{"routing.http2.enabled", application, "true", boolean, "true or false", acted, "balance"},
	{"routing.http.drop_invalid_header_fields.enabled", application, "false", boolean, "true or false", acted, "balance"},
	{"routing.http.preserve_host_header.enabled", application, "false", boolean, "true or false", acted, "balance"},
	{"routing.http.xff_client_port.enabled", application, "false", boolean, "true or false", acted, "balance"},
	{"routing.http.xff_header_processing.mode", application, "append", oneOf("append", "preserve", "remove"), "append, preserve or remove", acted, "balance"},
	{"routing.http.x_amzn_tls_version_and_cipher_suite.enabled", application, "false", boolean, "true or false", acted, "balance"},
	{"routing.http.desync_mitigation_mode", application, "defensive", oneOf("monitor", "defensive", "strictest"), "monitor, defensive or strictest", acted, "balance"},
	{"access_logs.s3.enabled", both, "false", oneOf("false"), "", refused, "there are no access logs yet"},
	{"access_logs.s3.bucket", both, "", oneOf(""), "", refused, "there are no access logs yet"},
	{"access_logs.s3.prefix", both, "", oneOf(""), "", refused, "there are no access logs yet"},
	{"load_balancing.cross_zone.enabled", application, "true", oneOf("true"), "true for application load balancers", refused, "it is always on, as in ELB"},
	{"load_balancing.cross_zone.enabled", network, "false", boolean, "true or false", stored, "a load balancer is on one machine, which sends to the targets of all zones"},
	{"connection_logs.s3.enabled", application, "false", oneOf("false"), "", refused, "there are no connection logs"},
	{"connection_logs.s3.bucket", application, "", oneOf(""), "", refused, "there are no connection logs"},
	{"connection_logs.s3.prefix", application, "", oneOf(""), "", refused, "there are no connection logs"},
	{"health_check_logs.s3.enabled", application, "false", oneOf("false"), "", refused, "there are no health check logs"},
	{"health_check_logs.s3.bucket", application, "", oneOf(""), "", refused, "there are no health check logs"},
	{"health_check_logs.s3.prefix", application, "", oneOf(""), "", refused, "there are no health check logs"},
	{"ipv6.deny_all_igw_traffic", both, "false", boolean, "true or false", stored, "there is no internet gateway, and no IPv6"},
	{"waf.fail_open.enabled", application, "false", boolean, "true or false", stored, "there is no WAF that could fail"},
	{"zonal_shift.config.enabled", both, "false", oneOf("false"), "", refused, "there is no zonal shift"},
	{"dns_record.client_routing_policy", network, "any_availability_zone", oneOf("any_availability_zone", "availability_zone_affinity", "partial_availability_zone_affinity"), "any_availability_zone, availability_zone_affinity or partial_availability_zone_affinity", stored, "a load balancer has one address for all zones"},
	{"secondary_ips.auto_assigned.per_subnet", network, "0", oneOf("0"), "", refused, "a load balancer has one address"},
}

var (
	listenHTTP  = []string{"HTTP", "HTTPS"}
	listenHTTPS = []string{"HTTPS"}
	listenTCP   = []string{"TCP"}
)

const headerWhy = "Havn checks no certificates of clients"

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$")

// headerValue: visible ASCII, as the fields that these are (RFC 9110, 5.5).
func headerValue(v string) bool {
	return len(v) <= 1024 && !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' })
}

// listenerAttributes: ModifyListenerAttributes, ListenerAttribute.
var listenerAttributes = []attribute{
	{"tcp.idle_timeout.seconds", listenTCP, "350", number(60, 6000), "between 60 and 6000", acted, "balance"},
	{"routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name", listenHTTPS, "", oneOf(""), "", refused, headerWhy},
	{"routing.http.request.x_amzn_mtls_clientcert_issuer.header_name", listenHTTPS, "", oneOf(""), "", refused, headerWhy},
	{"routing.http.request.x_amzn_mtls_clientcert_subject.header_name", listenHTTPS, "", oneOf(""), "", refused, headerWhy},
	{"routing.http.request.x_amzn_mtls_clientcert_validity.header_name", listenHTTPS, "", oneOf(""), "", refused, headerWhy},
	{"routing.http.request.x_amzn_mtls_clientcert_leaf.header_name", listenHTTPS, "", oneOf(""), "", refused, headerWhy},
	{"routing.http.request.x_amzn_mtls_clientcert.header_name", listenHTTPS, "", oneOf(""), "", refused, headerWhy},
	{"routing.http.request.x_amzn_tls_version.header_name", listenHTTPS, "", emptyOr(headerName.MatchString), "a header name", acted, "balance"},
	{"routing.http.request.x_amzn_tls_cipher_suite.header_name", listenHTTPS, "", emptyOr(headerName.MatchString), "a header name", acted, "balance"},
	{"routing.http.response.server.enabled", listenHTTP, "true", boolean, "true or false", acted, "balance"},
	{"routing.http.response.strict_transport_security.header_value", listenHTTPS, "", headerValue, "a header value", acted, "balance"},
	{"routing.http.response.access_control_allow_origin.header_value", listenHTTP, "", headerValue, "a header value", acted, "balance"},
	{"routing.http.response.access_control_allow_methods.header_value", listenHTTP, "", headerValue, "a header value", acted, "balance"},
	{"routing.http.response.access_control_allow_headers.header_value", listenHTTP, "", headerValue, "a header value", acted, "balance"},
	{"routing.http.response.access_control_allow_credentials.header_value", listenHTTP, "", oneOf("", "true"), "true", acted, "balance"},
	{"routing.http.response.access_control_expose_headers.header_value", listenHTTP, "", headerValue, "a header value", acted, "balance"},
	{"routing.http.response.access_control_max_age.header_value", listenHTTP, "", emptyOr(number(0, 86400)), "between 0 and 86400", acted, "balance"},
	{"routing.http.response.content_security_policy.header_value", listenHTTP, "", headerValue, "a header value", acted, "balance"},
	{"routing.http.response.x_content_type_options.header_value", listenHTTP, "", oneOf("", "nosniff"), "nosniff", acted, "balance"},
	{"routing.http.response.x_frame_options.header_value", listenHTTP, "", headerValue, "a header value", acted, "balance"},
}

func emptyOr(check func(string) bool) func(string) bool {
	return func(v string) bool { return v == "" || check(v) }
}

var (
	groupHTTP  = []string{"HTTP", "HTTPS"}
	groupAny   = []string{"HTTP", "HTTPS", "TCP", "TLS", "UDP", "TCP_UDP"}
	groupNLB   = []string{"TCP", "TLS", "UDP", "TCP_UDP"}
	groupTCP   = []string{"TCP", "TLS"}
	groupUDP   = []string{"UDP", "TCP_UDP"}
	oneToLimit = number(1, maxTargets)
)

// groupAttributes: ModifyTargetGroupAttributes, TargetGroupAttribute.
var groupAttributes = []attribute{
	{"deregistration_delay.timeout_seconds", groupAny, "300", number(0, 3600), "between 0 and 3600", acted, "balance, control"},
	{"stickiness.enabled", groupAny, "false", boolean, "true or false", acted, "balance"},
	{"stickiness.type", groupHTTP, "lb_cookie", oneOf("lb_cookie", "app_cookie"), "lb_cookie or app_cookie", acted, "balance"},
	{"stickiness.type", groupNLB, "source_ip", oneOf("source_ip"), "source_ip", acted, "balance"},
	{"stickiness.lb_cookie.duration_seconds", groupHTTP, "86400", number(1, 604800), "between 1 and 604800", acted, "balance"},
	{"stickiness.app_cookie.duration_seconds", groupHTTP, "86400", number(1, 604800), "between 1 and 604800", acted, "balance"},
	{"stickiness.app_cookie.cookie_name", groupHTTP, "", emptyOr(isAppCookie), "a cookie name, and must not begin with AWSALB", acted, "balance"},
	{"slow_start.duration_seconds", groupHTTP, "0", zeroOr(number(30, 900)), "0 or between 30 and 900", acted, "balance"},
	{"load_balancing.algorithm.type", groupHTTP, "round_robin", oneOf("round_robin", "least_outstanding_requests", "weighted_random"), "round_robin, least_outstanding_requests or weighted_random", acted, "balance"},
	{"load_balancing.algorithm.anomaly_mitigation", groupHTTP, "off", oneOf("off"), "", refused, "targets are not compared with one another"},
	{"load_balancing.cross_zone.enabled", groupAny, "use_load_balancer_configuration", oneOf("true", "false", "use_load_balancer_configuration"), "true, false or use_load_balancer_configuration", stored, "a load balancer is on one machine, which sends to the targets of all zones"},
	{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", groupAny, "1", oneToLimit, "between 1 and 1000", acted, "balance"},
	{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", groupAny, "off", offOr(number(1, 100)), "off or between 1 and 100", acted, "balance"},
	{"target_group_health.dns_failover.minimum_healthy_targets.count", groupAny, "1", offOr(oneToLimit), "off or between 1 and 1000", stored, "the name has one address, so there is nothing to fail over to"},
	{"target_group_health.dns_failover.minimum_healthy_targets.percentage", groupAny, "off", offOr(number(1, 100)), "off or between 1 and 100", stored, "the name has one address, so there is nothing to fail over to"},
	{"deregistration_delay.connection_termination.enabled", groupTCP, "false", boolean, "true or false", acted, "balance"},
	{"deregistration_delay.connection_termination.enabled", groupUDP, "true", boolean, "true or false", acted, "balance"},
	{"preserve_client_ip.enabled", groupNLB, "false", oneOf("false"), "", refused, "a connection to a target comes from Havn"},
	{"proxy_protocol_v2.enabled", groupNLB, "false", boolean, "true or false", acted, "balance"},
	{"target_health_state.unhealthy.connection_termination.enabled", groupTCP, "true", boolean, "true or false", acted, "balance"},
	{"target_health_state.unhealthy.draining_interval_seconds", groupTCP, "0", oneOf("0"), "", refused, "a target that is unhealthy is not drained"},
}

func isAppCookie(v string) bool {
	return headerName.MatchString(v) && !strings.HasPrefix(v, "AWSALB")
}

// attributesOf are those of a table that a kind of resource has.
func attributesOf(table []attribute, kind string) (has []attribute) {
	for _, a := range table {
		if slices.Contains(a.of, kind) {
			has = append(has, a)
		}
	}
	return has
}

// pair is an attribute in a request.
type pair struct{ key, value *string }

// setAttributes returns values with what is given, as far as the kind of resource has these attributes.
func setAttributes(what string, has []attribute, values map[string]string, given []pair) (map[string]string, error) {
	if len(given) == 0 {
		return nil, invalid("At least one attribute must be specified")
	}
	set := map[string]string{}
	for key, value := range values {
		set[key] = value
	}
	seen := map[string]bool{}
	for _, g := range given {
		key, value := deref(g.key), deref(g.value)
		at := slices.IndexFunc(has, func(a attribute) bool { return a.key == key })
		switch {
		case at < 0:
			return nil, invalid("%s attribute key '%s' is not recognized", what, key)
		case seen[key]:
			return nil, invalid("%s attribute key '%s' was specified more than once", what, key)
		}
		seen[key] = true
		a := has[at]
		switch {
		case a.check(value):
		case a.fate == refused && a.says == "":
			return nil, unsupported("the attribute "+key+" with the value '"+value+"'", a.who)
		default:
			return nil, invalid("%s attribute value '%s' for '%s' must be %s", what, value, key, a.says)
		}
		set[key] = value
		if value == a.byDefault {
			delete(set, key)
		}
	}
	return set, nil
}

// valuesOf are the values of all attributes that a resource has, set or not, in the order of the table.
func valuesOf[T any](has []attribute, set map[string]string, describe func(key, value *string) T) []T {
	return collect(has, func(a attribute) T {
		value, ok := set[a.key]
		if !ok {
			value = a.byDefault
		}
		return describe(ptr(a.key), ptr(value))
	})
}

func balancerPair(a types.LoadBalancerAttribute) pair { return pair{a.Key, a.Value} }
func listenerPair(a types.ListenerAttribute) pair     { return pair{a.Key, a.Value} }
func groupPair(a types.TargetGroupAttribute) pair     { return pair{a.Key, a.Value} }

func balancerAttribute(key, value *string) types.LoadBalancerAttribute {
	return types.LoadBalancerAttribute{Key: key, Value: value}
}

func listenerAttribute(key, value *string) types.ListenerAttribute {
	return types.ListenerAttribute{Key: key, Value: value}
}

func groupAttribute(key, value *string) types.TargetGroupAttribute {
	return types.TargetGroupAttribute{Key: key, Value: value}
}
