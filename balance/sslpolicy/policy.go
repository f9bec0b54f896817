// Package sslpolicy is what the names of Elastic Load Balancing's SSL policies mean: which protocols and ciphers a listener
// offers. It is pure. The API describes them, and whoever answers handshakes offers just that.
//
// The policies are those of "Security policies for your Application Load Balancer", without the FIPS ones: the
// cryptography here is not a validated module. Each has only the ciphers that Go's TLS has: not those that end in
// AES256-SHA384, and not AES256-SHA256.
package sslpolicy

import "crypto/tls"

// Default is the policy of a listener that was made without one.
const Default = "ELBSecurityPolicy-2016-08"

// Policy is an SSL policy.
type Policy struct {
	Name string
	// Min and Max are versions of crypto/tls.
	Min, Max uint16
	// Ciphers are in the order of the policy. Those of TLS 1.3 are among them; Go offers these as it sees fit.
	Ciphers []Cipher
	// PostQuantum: hybrid key exchange is offered, too.
	PostQuantum bool
}

// Cipher is a cipher suite: OpenSSL's name, as AWS writes it, and the number.
type Cipher struct {
	Name string
	ID   uint16
	of   family
}

// family are ciphers that policies have or have not together.
type family uint8

const (
	tls13  family = 1 << iota
	gcm           // ECDHE with AES-GCM
	cbc           // ECDHE with CBC and SHA-256
	sha           // ECDHE with CBC and SHA-1
	static        // RSA key exchange, SHA-256 and better
	staticSHA     // RSA key exchange and SHA-1
)

// ciphers are in the order in which AWS lists them.
var ciphers = []Cipher{
	{"TLS_AES_128_GCM_SHA256", tls.TLS_AES_128_GCM_SHA256, tls13},
	{"TLS_AES_256_GCM_SHA384", tls.TLS_AES_256_GCM_SHA384, tls13},
	{"TLS_CHACHA20_POLY1305_SHA256", tls.TLS_CHACHA20_POLY1305_SHA256, tls13},
	{"ECDHE-ECDSA-AES128-GCM-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, gcm},
	{"ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, gcm},
	{"ECDHE-ECDSA-AES128-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, cbc},
	{"ECDHE-RSA-AES128-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, cbc},
	{"ECDHE-ECDSA-AES128-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, sha},
	{"ECDHE-RSA-AES128-SHA", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, sha},
	{"ECDHE-ECDSA-AES256-GCM-SHA384", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, gcm},
	{"ECDHE-RSA-AES256-GCM-SHA384", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, gcm},
	{"ECDHE-RSA-AES256-SHA", tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, sha},
	{"ECDHE-ECDSA-AES256-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, sha},
	{"AES128-GCM-SHA256", tls.TLS_RSA_WITH_AES_128_GCM_SHA256, static},
	{"AES128-SHA256", tls.TLS_RSA_WITH_AES_128_CBC_SHA256, static},
	{"AES128-SHA", tls.TLS_RSA_WITH_AES_128_CBC_SHA, staticSHA},
	{"AES256-GCM-SHA384", tls.TLS_RSA_WITH_AES_256_GCM_SHA384, static},
	{"AES256-SHA", tls.TLS_RSA_WITH_AES_256_CBC_SHA, staticSHA},
}

// Policies are all that there are.
var Policies = []Policy{
	policy("ELBSecurityPolicy-2016-08", tls.VersionTLS10, tls.VersionTLS12, gcm|cbc|sha|static|staticSHA),
	policy("ELBSecurityPolicy-TLS-1-1-2017-01", tls.VersionTLS11, tls.VersionTLS12, gcm|cbc|sha|static|staticSHA),
	policy("ELBSecurityPolicy-TLS-1-2-2017-01", tls.VersionTLS12, tls.VersionTLS12, gcm|cbc|static),
	policy("ELBSecurityPolicy-TLS-1-2-Ext-2018-06", tls.VersionTLS12, tls.VersionTLS12, gcm|cbc|sha|static|staticSHA),
	policy("ELBSecurityPolicy-FS-2018-06", tls.VersionTLS10, tls.VersionTLS12, gcm|cbc|sha),
	policy("ELBSecurityPolicy-FS-1-1-2019-08", tls.VersionTLS11, tls.VersionTLS12, gcm|cbc|sha),
	policy("ELBSecurityPolicy-FS-1-2-2019-08", tls.VersionTLS12, tls.VersionTLS12, gcm|cbc|sha),
	policy("ELBSecurityPolicy-FS-1-2-Res-2019-08", tls.VersionTLS12, tls.VersionTLS12, gcm|cbc),
	policy("ELBSecurityPolicy-FS-1-2-Res-2020-10", tls.VersionTLS12, tls.VersionTLS12, gcm),
	policy("ELBSecurityPolicy-TLS13-1-3-2021-06", tls.VersionTLS13, tls.VersionTLS13, tls13),
	policy("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", tls.VersionTLS12, tls.VersionTLS13, tls13|gcm),
	policy("ELBSecurityPolicy-TLS13-1-2-2021-06", tls.VersionTLS12, tls.VersionTLS13, tls13|gcm|cbc),
	policy("ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", tls.VersionTLS12, tls.VersionTLS13, tls13|gcm|cbc|static),
	policy("ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", tls.VersionTLS12, tls.VersionTLS13, tls13|gcm|cbc|sha|static|staticSHA),
	policy("ELBSecurityPolicy-TLS13-1-1-2021-06", tls.VersionTLS11, tls.VersionTLS13, tls13|gcm|cbc|sha|static|staticSHA),
	policy("ELBSecurityPolicy-TLS13-1-0-2021-06", tls.VersionTLS10, tls.VersionTLS13, tls13|gcm|cbc|sha|static|staticSHA),
	postQuantum("ELBSecurityPolicy-TLS13-1-3-PQ-2025-09", tls.VersionTLS13, tls13),
	postQuantum("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", tls.VersionTLS12, tls13|gcm),
	postQuantum("ELBSecurityPolicy-TLS13-1-2-PQ-2025-09", tls.VersionTLS12, tls13|gcm|cbc),
	postQuantum("ELBSecurityPolicy-TLS13-1-2-Ext1-PQ-2025-09", tls.VersionTLS12, tls13|gcm|cbc|static),
	postQuantum("ELBSecurityPolicy-TLS13-1-2-Ext2-PQ-2025-09", tls.VersionTLS12, tls13|gcm|cbc|sha|static|staticSHA),
	postQuantum("ELBSecurityPolicy-TLS13-1-0-PQ-2025-09", tls.VersionTLS10, tls13|gcm|cbc|sha|static|staticSHA),
}

func policy(name string, min, max uint16, of family) Policy {
	p := Policy{Name: name, Min: min, Max: max}
	for _, c := range ciphers {
		if of&c.of != 0 {
			p.Ciphers = append(p.Ciphers, c)
		}
	}
	return p
}

func postQuantum(name string, min uint16, of family) Policy {
	p := policy(name, min, tls.VersionTLS13, of)
	p.PostQuantum = true
	return p
}

// Find finds a policy by its name.
func Find(name string) (Policy, bool) {
	for _, p := range Policies {
		if p.Name == name {
			return p, true
		}
	}
	return Policy{}, false
}

var versions = []struct {
	id   uint16
	name string
}{{tls.VersionTLS13, "TLSv1.3"}, {tls.VersionTLS12, "TLSv1.2"}, {tls.VersionTLS11, "TLSv1.1"}, {tls.VersionTLS10, "TLSv1"}}

// Protocols are the names of the policy's protocols, the newest first.
func (p Policy) Protocols() (names []string) {
	for _, v := range versions {
		if p.Min <= v.id && v.id <= p.Max {
			names = append(names, v.name)
		}
	}
	return names
}

// Apply makes a configuration offer what the policy does, and nothing else.
func (p Policy) Apply(c *tls.Config) {
	c.MinVersion, c.MaxVersion = p.Min, p.Max
	c.CipherSuites = make([]uint16, 0, len(p.Ciphers))
	for _, cipher := range p.Ciphers {
		if cipher.of != tls13 { // which a configuration cannot choose
			c.CipherSuites = append(c.CipherSuites, cipher.ID)
		}
	}
	c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	if p.PostQuantum {
		c.CurvePreferences = append([]tls.CurveID{tls.X25519MLKEM768}, c.CurvePreferences...)
	}
}
