package certify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"havn/state"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// What is asked for is issued, and good for its names in the eyes of who trusts the authority.
func TestWhatIsAskedForIsIssued(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(dir, start)
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), &state.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(c state.Certificate) {
		if err := store.Update(context.Background(), func(tx *state.Tx) error { state.Certificates.Put(tx, c); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	get := func(arn string) (c state.Certificate) {
		store.View(func(r *state.Reader) { c, _ = state.Certificates.Get(r, arn) })
		return c
	}
	for _, kind := range []string{"RSA_2048", "EC_prime256v1", "EC_secp384r1"} {
		put(state.Certificate{ARN: kind, DomainName: "example.com", Names: []string{"example.com", "*.example.com"}, Type: "AMAZON_ISSUED", Status: "PENDING_VALIDATION", KeyType: kind})
	}
	put(state.Certificate{ARN: "imported", Type: "IMPORTED", Status: "ISSUED", NotAfter: start})
	if err := a.IssueAll(t.Context(), store, start); err != nil {
		t.Fatal(err)
	}
	if a, err = Open(dir, start); err != nil { // the same one again
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, kind := range []string{"RSA_2048", "EC_prime256v1", "EC_secp384r1"} {
		c := get(kind)
		pair, err := tls.X509KeyPair([]byte(c.Body), []byte(c.Key))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		for _, name := range []string{"example.com", "www.example.com"} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: start}); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if c.Status != "ISSUED" || !c.IssuedAt.Equal(start) {
			t.Errorf("%s is %s since %s", kind, c.Status, c.IssuedAt)
		}
	}
	// It is renewed in time, and keeps its ARN. What was imported is its user's to renew.
	before := get("RSA_2048")
	later := before.NotAfter.Add(-renewal)
	for _, now := range []time.Time{later.Add(-time.Second), later} {
		if err := a.IssueAll(t.Context(), store, now); err != nil {
			t.Fatal(err)
		}
		if renewed := get("RSA_2048").Body != before.Body; renewed != now.Equal(later) {
			t.Errorf("at %s renewed: %v", now, renewed)
		}
	}
	if got := get("imported"); got.Body != "" {
		t.Error("what was imported has been issued")
	}
}
