package sslpolicy

import (
	"crypto/tls"
	"slices"
	"testing"
)

// Go offers each cipher that a policy lists, under that number.
func TestEveryCipherIsOneOfGo(t *testing.T) {
	known := map[uint16]bool{}
	for _, c := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		known[c.ID] = true
	}
	for _, p := range Policies {
		if len(p.Ciphers) == 0 || len(p.Protocols()) == 0 || p.Min > p.Max {
			t.Errorf("%s offers nothing", p.Name)
		}
		for _, c := range p.Ciphers {
			if !known[c.ID] {
				t.Errorf("%s: Go has no %s", p.Name, c.Name)
			}
			if (c.of == tls13) && p.Max < tls.VersionTLS13 {
				t.Errorf("%s has %s, and not TLS 1.3", p.Name, c.Name)
			}
		}
	}
}

func TestTheDefaultIsThere(t *testing.T) {
	p, ok := Find(Default)
	if got := p.Protocols(); !ok || !slices.Equal(got, []string{"TLSv1.2", "TLSv1.1", "TLSv1"}) {
		t.Errorf("%v, protocols %v", ok, got)
	}
}

// A handshake is as the policy says.
func TestAConfigurationOffersWhatThePolicyDoes(t *testing.T) {
	p, _ := Find("ELBSecurityPolicy-TLS13-1-2-Res-2021-06")
	var c tls.Config
	p.Apply(&c)
	want := []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	}
	if c.MinVersion != tls.VersionTLS12 || c.MaxVersion != tls.VersionTLS13 || !slices.Equal(c.CipherSuites, want) {
		t.Errorf("%x..%x, %x", c.MinVersion, c.MaxVersion, c.CipherSuites)
	}
	if slices.Contains(c.CurvePreferences, tls.X25519MLKEM768) {
		t.Error("it is no post-quantum policy")
	}
}
