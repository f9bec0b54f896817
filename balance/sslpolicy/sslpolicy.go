// Package sslpolicy is what ELB's predefined security policies allow (AWS, "Security policies for your Application Load
// Balancer" and "... Network Load Balancer": protocols by policy, ciphers by policy). It is pure.
package sslpolicy

import "slices"

// Default is the policy of a listener that names none.
const Default = "ELBSecurityPolicy-2016-08"

// Policy is a predefined one.
type Policy struct {
	Name      string
	Protocols []string // TLSv1, TLSv1.1, TLSv1.2, TLSv1.3
	Ciphers   []string // OpenSSL's names, in the order of preference
}

// The ciphers by what AWS calls their groups in its tables.
var (
	tls13     = []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
	gcm       = []string{"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"}
	forward12 = []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256",
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384",
	}
	forward = []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256",
		"ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384",
		"ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA",
	}
	static12 = []string{"AES128-GCM-SHA256", "AES128-SHA256", "AES256-GCM-SHA384", "AES256-SHA256"}
	static   = []string{"AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA", "AES256-GCM-SHA384", "AES256-SHA256", "AES256-SHA"}
)

var (
	from10    = []string{"TLSv1", "TLSv1.1", "TLSv1.2"}
	from11    = []string{"TLSv1.1", "TLSv1.2"}
	from12    = []string{"TLSv1.2"}
	only13    = []string{"TLSv1.3"}
	from12to3 = []string{"TLSv1.2", "TLSv1.3"}
	from11to3 = []string{"TLSv1.1", "TLSv1.2", "TLSv1.3"}
	from10to3 = []string{"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}
)

// All are the policies there are. Those with FIPS in their names are not: they promise a validated module, which this
// process does not have.
var All = []Policy{
	{Default, from10, slices.Concat(forward, static)},
	{"ELBSecurityPolicy-TLS13-1-3-2021-06", only13, tls13},
	{"ELBSecurityPolicy-TLS13-1-2-2021-06", from12to3, slices.Concat(tls13, forward12)},
	{"ELBSecurityPolicy-TLS13-1-2-Res-2021-06", from12to3, slices.Concat(tls13, gcm)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", from12to3, slices.Concat(tls13, forward12, static12)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", from12to3, slices.Concat(tls13, forward, static)},
	{"ELBSecurityPolicy-TLS13-1-1-2021-06", from11to3, slices.Concat(tls13, forward, static)},
	{"ELBSecurityPolicy-TLS13-1-0-2021-06", from10to3, slices.Concat(tls13, forward, static)},
	{"ELBSecurityPolicy-TLS13-1-3-PQ-2025-09", only13, tls13},
	{"ELBSecurityPolicy-TLS13-1-2-PQ-2025-09", from12to3, slices.Concat(tls13, forward12)},
	{"ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", from12to3, slices.Concat(tls13, gcm)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext1-PQ-2025-09", from12to3, slices.Concat(tls13, forward12, static12)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext2-PQ-2025-09", from12to3, slices.Concat(tls13, forward, static)},
	{"ELBSecurityPolicy-TLS13-1-0-PQ-2025-09", from10to3, slices.Concat(tls13, forward, static)},
	{"ELBSecurityPolicy-TLS-1-2-Ext-2018-06", from12, slices.Concat(forward, static)},
	{"ELBSecurityPolicy-TLS-1-2-2017-01", from12, slices.Concat(forward12, static12)},
	{"ELBSecurityPolicy-TLS-1-1-2017-01", from11, slices.Concat(forward, static)},
	{"ELBSecurityPolicy-TLS-1-0-2015-04", from10, slices.Concat(forward, static, []string{"DES-CBC3-SHA"})},
	{"ELBSecurityPolicy-2015-05", from10, slices.Concat(forward, static)},
	{"ELBSecurityPolicy-FS-1-2-Res-2020-10", from12, gcm},
	{"ELBSecurityPolicy-FS-1-2-Res-2019-08", from12, forward12},
	{"ELBSecurityPolicy-FS-1-2-2019-08", from12, forward},
	{"ELBSecurityPolicy-FS-1-1-2019-08", from11, forward},
	{"ELBSecurityPolicy-FS-2018-06", from10, forward},
}

// Get is the policy of a name; the empty one is the default.
func Get(name string) (Policy, bool) {
	if name == "" {
		name = Default
	}
	i := slices.IndexFunc(All, func(p Policy) bool { return p.Name == name })
	if i < 0 {
		return Policy{}, false
	}
	return All[i], true
}
