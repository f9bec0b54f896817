// Package certify is the certificate authority of this Havn: it issues what RequestCertificate asked for, and renews it
// before it ends.
//
//	api/acm --PENDING_VALIDATION--> state --watch--> certify --ISSUED, with a key--> state --> balance
//
// ACM proves that a name is the caller's before a public authority signs for it. This authority is local: nobody outside
// trusts it, so there is nothing to prove. Whoever is to trust it takes its certificate, which is the chain of each that
// it issued (GetCertificate) and the file ca.pem in Havn's home.
package certify

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"havn/state"
)

// How long certificates are good for. ACM's are for 198 days, and it renews them when 60 are left or fewer (Managed
// certificate renewal); no client takes one for more than 398 days.
const (
	lifetime  = 198 * 24 * time.Hour
	renewal   = 60 * 24 * time.Hour
	authority = 10 * 365 * 24 * time.Hour
	// early is how far back validity begins, for clocks that are slow.
	early = time.Hour
	// rounds is how often it looks for what is to be renewed.
	rounds = time.Hour
)

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

// Open reads the authority in a folder, or makes one there.
func Open(dir string, now time.Time) (*Authority, error) {
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	certPEM, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return create(dir, certFile, keyFile, now)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate authority: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate authority: %w", err)
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("cannot read the certificate authority in %s: it is not PEM", dir)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", certFile, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", keyFile, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("cannot use %s: it is no key that signs", keyFile)
	}
	return &Authority{cert: cert, key: signer, pem: string(certPEM)}, nil
}

// create makes an authority. The key is there before the certificate, so that one that is there is whole.
func create(dir, certFile, keyFile string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // only to tell several authorities apart
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Havn"}, CommonName: "Havn local CA " + host},
		NotBefore: now.Add(-early), NotAfter: now.Add(authority), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate authority: %w", err)
	}
	keyPEM, err := keyText(key)
	if err != nil {
		return nil, err
	}
	certPEM := certText(der)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot keep a certificate authority: %w", err)
	}
	if err := os.WriteFile(keyFile, []byte(keyPEM), 0o600); err != nil {
		return nil, fmt.Errorf("cannot keep a certificate authority: %w", err)
	}
	if err := os.WriteFile(certFile, []byte(certPEM), 0o644); err != nil {
		return nil, fmt.Errorf("cannot keep a certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{cert: cert, key: key, pem: certPEM}, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280, 4.1.2.2: positive, at most 20 octets
	if err != nil {
		return nil, fmt.Errorf("cannot draw a serial number: %w", err)
	}
	return serial, nil
}

func certText(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func keyText(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("cannot write a key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// newKey makes a key of one of the kinds that RequestCertificate takes.
func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "EC_prime256v1":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EC_secp384r1":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "RSA_2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("cannot make a key of the kind %q", kind)
}

// Issue returns the certificate with all that it is issued with.
func (a *Authority) Issue(c state.Certificate, now time.Time) (state.Certificate, error) {
	key, err := newKey(c.KeyType)
	if err != nil {
		return c, err
	}
	serial, err := newSerial()
	if err != nil {
		return c, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: c.Names, NotBefore: now.Add(-early), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if len(c.DomainName) <= 64 { // RFC 5280: ub-common-name
		template.Subject.CommonName = c.DomainName
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return c, fmt.Errorf("cannot sign: %w", err)
	}
	text, err := keyText(key)
	if err != nil {
		return c, err
	}
	c.Status, c.FailReason = "ISSUED", ""
	c.Body, c.Chain, c.Key = certText(der), a.pem, state.Secret(text)
	c.NotBefore, c.NotAfter = template.NotBefore.UTC(), template.NotAfter.UTC()
	if c.IssuedAt.IsZero() {
		c.IssuedAt = now
	}
	return c, nil
}

// Due reports whether a certificate is to be issued now, for the first time or again.
func Due(c state.Certificate, now time.Time) bool {
	return c.Type == "AMAZON_ISSUED" && (c.Status == "PENDING_VALIDATION" || c.Status == "ISSUED" && !now.Before(c.NotAfter.Add(-renewal)))
}

// Run issues what is asked for as soon as it is, until ctx ends.
func (a *Authority) Run(ctx context.Context, store *state.Store, log *slog.Logger) error {
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	var seen state.Revision
	store.View(func(r *state.Reader) { seen = r.Revision() })
	go func() {
		for commit := range store.Watch(ctx, seen) {
			for _, change := range commit.Changes {
				if change.Table != state.Certificates.Name() {
					continue
				}
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	}()
	renewals := time.NewTicker(rounds)
	defer renewals.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-renewals.C:
		}
		if err := a.IssueAll(ctx, store, time.Now()); err != nil && ctx.Err() == nil {
			log.Error("cannot issue certificates", "err", err)
		}
	}
}

// IssueAll issues all that is due.
func (a *Authority) IssueAll(ctx context.Context, store *state.Store, now time.Time) error {
	var due []state.Certificate
	store.View(func(r *state.Reader) {
		for c := range state.Certificates.All(r) {
			if Due(c, now) {
				due = append(due, c)
			}
		}
	})
	for _, c := range due {
		made, err := a.Issue(c, now)
		if err != nil {
			return fmt.Errorf("cannot issue %s: %w", c.ARN, err)
		}
		err = store.Update(ctx, func(tx *state.Tx) error {
			current, ok := state.Certificates.Get(tx, c.ARN)
			if !ok || !Due(current, now) {
				return nil
			}
			made.Tags = current.Tags // which may have changed meanwhile
			state.Certificates.Put(tx, made)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
