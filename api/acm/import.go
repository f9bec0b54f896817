package acm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"havn/state"
	"havn/wire"
)

// ImportCertificate keeps a certificate with its key. With the ARN of one that was imported before, it comes in its place:
// listeners have the new one then.
func (s *Server) ImportCertificate(ctx context.Context, in *sdk.ImportCertificateInput) (*sdk.ImportCertificateOutput, error) {
	if in.CertificateArn != nil && len(in.Tags) > 0 {
		return nil, invalid("Tagging is not permitted on re-import.")
	}
	now := wire.Now(ctx)
	wanted, err := readImport(in, now)
	if err != nil {
		return nil, err
	}
	if wanted.Tags, err = mergeTags(nil, in.Tags); err != nil {
		return nil, err
	}
	var made state.Certificate
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		made = wanted
		if in.CertificateArn == nil {
			made.ARN = s.newARN(tx.NewID())
			made.CreatedAt = now
			state.Certificates.Put(tx, made)
			return nil
		}
		old, err := s.certificate(tx, *in.CertificateArn)
		if err != nil {
			return err
		}
		if old.Type != string(types.CertificateTypeImported) {
			return invalid("Certificate %s was issued by ACM, so nothing can be imported in its place.", old.ARN)
		}
		made.ARN, made.CreatedAt, made.Tags = old.ARN, old.CreatedAt, old.Tags
		state.Certificates.Put(tx, made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ImportCertificateOutput{CertificateArn: ptr(made.ARN)}, nil
}

// readImport checks what is given: "Prerequisites for importing certificates".
func readImport(in *sdk.ImportCertificateInput, now time.Time) (c state.Certificate, err error) {
	leaf, rest, err := readCertificate(in.Certificate)
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return c, invalid("The certificate field contains more than one certificate or none. You can specify only one certificate in this field.")
	}
	if _, err := tls.X509KeyPair(in.Certificate, in.PrivateKey); err != nil {
		return c, invalid("The private key is not in PEM format, is encrypted, or does not match the certificate: %v", err)
	}
	keyType := keyAlgorithm(leaf)
	if keyType == "" {
		return c, invalid("The key algorithm of the certificate is not supported.")
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return c, invalid("The certificate is not in its validity period, from %s to %s.", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	above, rest := leaf, in.CertificateChain
	for len(bytes.TrimSpace(rest)) > 0 {
		var next *x509.Certificate
		if next, rest, err = readCertificate(rest); err != nil {
			return c, invalid("The certificate chain is not in PEM format: %v", err)
		}
		if err := above.CheckSignatureFrom(next); err != nil {
			return c, invalid("Could not validate the certificate with the certificate chain: %v", err)
		}
		above = next
	}
	names := slices.Clone(leaf.DNSNames)
	domain := leaf.Subject.CommonName
	if domain == "" && len(names) > 0 {
		domain = names[0]
	}
	if len(names) == 0 && domain != "" {
		names = []string{domain}
	}
	return state.Certificate{
		DomainName: domain, Names: names, Type: string(types.CertificateTypeImported), Status: string(types.CertificateStatusIssued),
		Body: string(in.Certificate), Chain: string(in.CertificateChain), Key: state.Secret(in.PrivateKey), KeyType: keyType,
		ImportedAt: now, NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(),
	}, nil
}

// readCertificate reads the first certificate of a PEM text.
func readCertificate(text []byte) (*x509.Certificate, []byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, nil, invalid("The certificate is not in PEM format.")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	return c, rest, err
}

// keyAlgorithm is ACM's name of a certificate's kind of key; empty when ACM has none.
func keyAlgorithm(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		switch key.N.BitLen() {
		case 1024:
			return "RSA_1024"
		case 2048:
			return "RSA_2048"
		case 3072:
			return "RSA_3072"
		case 4096:
			return "RSA_4096"
		}
	case *ecdsa.PublicKey:
		switch key.Curve.Params().Name {
		case "P-256":
			return "EC_prime256v1"
		case "P-384":
			return "EC_secp384r1"
		case "P-521":
			return "EC_secp521r1"
		}
	}
	return ""
}
