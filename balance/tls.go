package balance

import (
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
	"havn/balance/sslpolicy"
	"havn/state"
)

// tlsConfigs are the listeners' configurations, made when first needed and again when what they are made of changes.
// Keeping one keeps its session tickets, too.
type tlsConfigs struct {
	mu  sync.Mutex
	all map[string]tlsConfig // by the ARN of the listener
}

type tlsConfig struct {
	policy string
	alpn   []string
	certs  []state.Certificate
	made   *tls.Config
	err    error
}

// config is a listener's.
func (c *tlsConfigs) config(l *route.Listener) (*tls.Config, error) {
	alpn := protocols(l)
	c.mu.Lock()
	defer c.mu.Unlock()
	if has, ok := c.all[l.ARN]; ok && has.policy == l.Record.SSLPolicy && slices.Equal(has.alpn, alpn) && slices.EqualFunc(has.certs, l.Certificates, sameCertificate) {
		return has.made, has.err
	}
	if c.all == nil {
		c.all = map[string]tlsConfig{}
	}
	made, err := makeTLS(l.Record.SSLPolicy, alpn, l.Certificates)
	c.all[l.ARN] = tlsConfig{l.Record.SSLPolicy, alpn, l.Certificates, made, err}
	return made, err
}

// keep forgets the configurations of listeners that are gone.
func (c *tlsConfigs) keep(t *route.Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for arn := range c.all {
		if t.Listeners[arn] == nil {
			delete(c.all, arn)
		}
	}
}

func sameCertificate(a, b state.Certificate) bool {
	return a.ARN == b.ARN && a.Body == b.Body && a.Chain == b.Chain && a.Key == b.Key
}

// protocols are what a listener offers in ALPN. An HTTPS listener offers HTTP/2 unless routing.http2.enabled is false;
// a TLS listener what its ALPN policy says (AWS, "ALPN policies").
func protocols(l *route.Listener) []string {
	if l.Protocol == elb.ProtocolEnumHttps {
		if on(l.Balancer.Attributes, "routing.http2.enabled", true) {
			return []string{"h2", "http/1.1"}
		}
		return []string{"http/1.1"}
	}
	if len(l.Record.ALPNPolicy) == 0 {
		return nil
	}
	switch l.Record.ALPNPolicy[0] {
	case "HTTP1Only":
		return []string{"http/1.1", "http/1.0"}
	case "HTTP2Only":
		return []string{"h2"}
	case "HTTP2Optional":
		return []string{"http/1.1", "http/1.0", "h2"}
	case "HTTP2Preferred":
		return []string{"h2", "http/1.1", "http/1.0"}
	}
	return nil // None
}

func makeTLS(policy string, alpn []string, certificates []state.Certificate) (*tls.Config, error) {
	p, ok := sslpolicy.Get(policy)
	if !ok {
		return nil, fmt.Errorf("there is no security policy %s", policy)
	}
	var all []*tls.Certificate
	for _, c := range certificates {
		pair, err := tls.X509KeyPair([]byte(c.Body+"\n"+c.Chain), []byte(c.Key))
		if err != nil {
			return nil, fmt.Errorf("cannot use certificate %s: %w", c.ARN, err)
		}
		all = append(all, &pair)
	}
	if len(all) == 0 {
		return nil, errors.New("the listener has no certificate that has been issued")
	}
	return &tls.Config{
		MinVersion:     versions[p.Protocols[0]],
		MaxVersion:     versions[p.Protocols[len(p.Protocols)-1]],
		CipherSuites:   suites(p.Ciphers),
		NextProtos:     alpn,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return choiceOf(all, hello), nil },
	}, nil
}

// choiceOf is the certificate for a client: among those that are for the name it asks for and that it can verify, one
// for just that name before one with a wildcard, and ECDSA before RSA; the default one, the first, where none is (AWS,
// "SSL certificates for your Application Load Balancer").
func choiceOf(all []*tls.Certificate, hello *tls.ClientHelloInfo) *tls.Certificate {
	best, bestRank := all[0], 0
	for _, c := range all {
		if hello.ServerName == "" || c.Leaf.VerifyHostname(hello.ServerName) != nil || hello.SupportsCertificate(c) != nil {
			continue
		}
		rank := 1
		if slices.Contains(c.Leaf.DNSNames, hello.ServerName) {
			rank += 2
		}
		if _, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); ok {
			rank++
		}
		if rank > bestRank {
			best, bestRank = c, rank
		}
	}
	return best
}

var versions = map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

// suiteOf has the cipher suites of up to TLS 1.2 that Go has. It has none of CBC with SHA384, nor AES256-SHA256; every
// client that knows those knows others of their policies. The suites of TLS 1.3 are not a matter of configuration.
var suiteOf = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

func suites(names []string) []uint16 {
	var all []uint16
	for _, name := range names {
		if id, ok := suiteOf[name]; ok {
			all = append(all, id)
		}
	}
	return all
}
