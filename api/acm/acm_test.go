package acm_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/smithy-go"

	"havn/api/acm"
	"havn/certify"
	"havn/state"
	"havn/wire"
)

// world is the API over HTTP, with a state in memory.
type world struct {
	*sdk.Client
	store *state.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	const account = "000000000000"
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	store, err := state.Open(ctx, &state.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(wire.NewServer(wire.Config{
		APIs:   []*wire.API{acm.NewServer(acm.Config{Store: store, Region: "us-east-1", Account: account}).API()},
		Region: "us-east-1", Account: account, Log: slog.New(slog.DiscardHandler),
		Credentials: func(context.Context, string, string) (wire.Credential, error) {
			return wire.Credential{Secret: "secret", Principal: wire.Principal{ARN: "arn:aws:iam::" + account + ":root", UserID: account, Account: account}}, nil
		},
	}))
	t.Cleanup(h.Close)
	return &world{store: store, Client: sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(h.URL), HTTPClient: h.Client(), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
	})}
}

// code is an error's, with its message.
func code(err error) string {
	if coded, ok := errors.AsType[smithy.APIError](err); ok {
		return coded.ErrorCode() + ": " + coded.ErrorMessage()
	}
	return "no API error"
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}

// selfSigned makes a certificate and its key.
func selfSigned(t *testing.T, name string, until time.Duration) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(until), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}

func TestACertificateIsImportedUsedAndDeleted(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	cert, key := selfSigned(t, "example.com", time.Hour)
	made, err := w.ImportCertificate(ctx, &sdk.ImportCertificateInput{Certificate: cert, PrivateKey: key, CertificateChain: cert,
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}})
	if err != nil {
		t.Fatal(err)
	}
	arn := made.CertificateArn
	d, err := w.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	if c := d.Certificate; c.Type != types.CertificateTypeImported || c.Status != types.CertificateStatusIssued || *c.DomainName != "example.com" ||
		c.KeyAlgorithm != types.KeyAlgorithmEcPrime256v1 || *c.Serial != "07" || len(c.InUseBy) != 0 {
		t.Errorf("described as %+v", c)
	}
	got, err := w.GetCertificate(ctx, &sdk.GetCertificateInput{CertificateArn: arn})
	if err != nil || *got.Certificate != string(cert) || *got.CertificateChain != string(cert) {
		t.Errorf("got %v, %v", got, err)
	}
	// Its kind of key is not listed unless it is asked for.
	for want, in := range map[int]*sdk.ListCertificatesInput{0: {}, 1: {Includes: &types.Filters{KeyTypes: []types.KeyAlgorithm{types.KeyAlgorithmEcPrime256v1}}}} {
		if out, err := w.ListCertificates(ctx, in); err != nil || len(out.CertificateSummaryList) != want {
			t.Errorf("listed %v, %v; want %d", out, err, want)
		}
	}
	tags, err := w.ListTagsForCertificate(ctx, &sdk.ListTagsForCertificateInput{CertificateArn: arn})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Value != "a" {
		t.Errorf("tags %v, %v", tags, err)
	}
	// Another comes in its place, and keeps its tags.
	cert, key = selfSigned(t, "other.com", time.Hour)
	if _, err := w.ImportCertificate(ctx, &sdk.ImportCertificateInput{CertificateArn: arn, Certificate: cert, PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	if tags, err = w.ListTagsForCertificate(ctx, &sdk.ListTagsForCertificateInput{CertificateArn: arn}); err != nil || len(tags.Tags) != 1 {
		t.Errorf("tags %v, %v", tags, err)
	}
	listener := state.Listener{ARN: "listener", LoadBalancerARN: "balancer", Certificates: []string{*arn}}
	if err := w.store.Update(ctx, func(tx *state.Tx) error { state.Listeners.Put(tx, listener); return nil }); err != nil {
		t.Fatal(err)
	}
	_, err = w.DeleteCertificate(ctx, &sdk.DeleteCertificateInput{CertificateArn: arn})
	refused(t, err, "ResourceInUseException: Certificate "+*arn+" in account 000000000000 is in use.")
	if d, err = w.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateArn: arn}); err != nil || !slices.Equal(d.Certificate.InUseBy, []string{"balancer"}) {
		t.Errorf("in use by %v, %v", d, err)
	}
	if err := w.store.Update(ctx, func(tx *state.Tx) error { state.Listeners.Delete(tx, "listener"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err = w.DeleteCertificate(ctx, &sdk.DeleteCertificateInput{CertificateArn: arn}); err != nil {
		t.Error(err)
	}
	_, err = w.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateArn: arn})
	refused(t, err, "ResourceNotFoundException: Could not find certificate")
}

func TestWhatIsNoCertificateIsNotImported(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	cert, key := selfSigned(t, "example.com", time.Hour)
	other, otherKey := selfSigned(t, "example.com", time.Hour)
	old, oldKey := selfSigned(t, "example.com", -time.Minute)
	for want, in := range map[string]sdk.ImportCertificateInput{
		"ValidationException: The certificate field":    {Certificate: []byte("x"), PrivateKey: key},
		"ValidationException: The certificate field c":  {Certificate: slices.Concat(cert, other), PrivateKey: key},
		"ValidationException: The private key":          {Certificate: cert, PrivateKey: otherKey},
		"ValidationException: Could not validate":       {Certificate: cert, PrivateKey: key, CertificateChain: other},
		"ValidationException: The certificate is not i": {Certificate: old, PrivateKey: oldKey},
		"ResourceNotFoundException: Could not find":     {Certificate: cert, PrivateKey: key, CertificateArn: aws.String("arn:aws:acm:us-east-1:000000000000:certificate/x")},
		"ValidationException: 2 validation errors":      {Certificate: cert, PrivateKey: key, CertificateArn: aws.String("x")},
	} {
		_, err := w.ImportCertificate(ctx, &in)
		refused(t, err, want)
	}
}

func TestACertificateIsRequestedAndIssued(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	in := &sdk.RequestCertificateInput{DomainName: aws.String("*.Example.com"), SubjectAlternativeNames: []string{"example.com", "*.example.com"},
		ValidationMethod: types.ValidationMethodDns, IdempotencyToken: aws.String("once")}
	made, err := w.RequestCertificate(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.RequestCertificate(ctx, in); err != nil || *again.CertificateArn != *made.CertificateArn {
		t.Errorf("again %v, %v", again, err)
	}
	arn := made.CertificateArn
	_, err = w.GetCertificate(ctx, &sdk.GetCertificateInput{CertificateArn: arn})
	refused(t, err, "RequestInProgressException")
	authority, err := certify.Open(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.IssueAll(ctx, w.store, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := sdk.NewCertificateValidatedWaiter(w).Wait(ctx, &sdk.DescribeCertificateInput{CertificateArn: arn}, time.Minute); err != nil {
		t.Error(err)
	}
	d, err := w.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	if c := d.Certificate; c.Status != types.CertificateStatusIssued || !slices.Equal(c.SubjectAlternativeNames, []string{"*.example.com", "example.com"}) ||
		len(c.DomainValidationOptions) != 2 || !strings.Contains(*c.Issuer, "Havn local CA") {
		t.Errorf("described as %+v", c)
	}
	for want, in := range map[string]sdk.RequestCertificateInput{
		"InvalidParameterException: Havn does not support CertificateAuthorityArn": {DomainName: aws.String("example.com"), CertificateAuthorityArn: aws.String("arn:aws:acm-pca:us-east-1:000000000000:certificate-authority/x")},
		"InvalidParameterException: Havn does not support Options.Export":          {DomainName: aws.String("example.com"), Options: &types.CertificateOptions{Export: types.CertificateExportEnabled}},
		"ValidationException: The key algorithm":                                   {DomainName: aws.String("example.com"), KeyAlgorithm: types.KeyAlgorithmRsa1024},
		"ValidationException: 1 validation error":                                  {DomainName: aws.String("-.com")},
		"InvalidDomainValidationOptionsException": {DomainName: aws.String("example.com"),
			DomainValidationOptions: []types.DomainValidationOption{{DomainName: aws.String("example.com"), ValidationDomain: aws.String("ample.com")}}},
	} {
		_, err := w.RequestCertificate(ctx, &in)
		refused(t, err, want)
	}
}
