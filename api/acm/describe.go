package acm

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"havn/state"
)

// DescribeCertificate tells all about a certificate but its key.
func (s *Server) DescribeCertificate(_ context.Context, in *sdk.DescribeCertificateInput) (*sdk.DescribeCertificateOutput, error) {
	var d types.CertificateDetail
	err := s.view(func(r *state.Reader) error {
		c, err := s.certificate(r, *in.CertificateArn)
		if err != nil {
			return err
		}
		d = describe(c)
		d.InUseBy = usersOf(r, c.ARN)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeCertificateOutput{Certificate: &d}, nil
}

func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func describe(c state.Certificate) types.CertificateDetail {
	d := types.CertificateDetail{
		CertificateArn: ptr(c.ARN), DomainName: ptr(c.DomainName), SubjectAlternativeNames: c.Names, Type: types.CertificateType(c.Type),
		Status: types.CertificateStatus(c.Status), KeyAlgorithm: types.KeyAlgorithm(c.KeyType), CreatedAt: at(c.CreatedAt),
		ImportedAt: at(c.ImportedAt), IssuedAt: at(c.IssuedAt), NotBefore: at(c.NotBefore), NotAfter: at(c.NotAfter),
		FailureReason: types.FailureReason(c.FailReason), RenewalEligibility: types.RenewalEligibilityIneligible,
		Options: &types.CertificateOptions{CertificateTransparencyLoggingPreference: types.CertificateTransparencyLoggingPreferenceDisabled},
	}
	if leaf, _, err := readCertificate([]byte(c.Body)); err == nil {
		d.Issuer, d.Subject = ptr(leaf.Issuer.String()), ptr(leaf.Subject.String())
		d.Serial, d.SignatureAlgorithm = ptr(serial(leaf.SerialNumber.Bytes())), ptr(strings.ReplaceAll(leaf.SignatureAlgorithm.String(), "-", ""))
	}
	if c.Type == string(types.CertificateTypeImported) {
		return d
	}
	d.RenewalEligibility = types.RenewalEligibilityEligible
	status := types.DomainStatusSuccess
	if c.Status == string(types.CertificateStatusPendingValidation) {
		status = types.DomainStatusPendingValidation
	}
	for _, name := range c.Names {
		d.DomainValidationOptions = append(d.DomainValidationOptions, validation(name, status))
	}
	return d
}

// validation is as of a name that is validated by DNS. Templates make the record that it names; nothing looks it up.
func validation(name string, status types.DomainStatus) types.DomainValidation {
	base := strings.TrimPrefix(name, "*.")
	sum := sha256.Sum256([]byte(base))
	return types.DomainValidation{
		DomainName: ptr(name), ValidationDomain: ptr(name), ValidationMethod: types.ValidationMethodDns, ValidationStatus: status,
		ResourceRecord: &types.ResourceRecord{
			Name: ptr("_" + hex.EncodeToString(sum[:16]) + "." + base + "."), Type: types.RecordTypeCname,
			Value: ptr("_" + hex.EncodeToString(sum[16:]) + ".acm-validations.aws."),
		},
	}
}

func serial(b []byte) string {
	parts := make([]string, len(b))
	for i, each := range b {
		parts[i] = fmt.Sprintf("%02x", each)
	}
	return strings.Join(parts, ":")
}

// GetCertificate gives out a certificate and its chain.
func (s *Server) GetCertificate(_ context.Context, in *sdk.GetCertificateInput) (*sdk.GetCertificateOutput, error) {
	out := &sdk.GetCertificateOutput{}
	return out, s.view(func(r *state.Reader) error {
		c, err := s.certificate(r, *in.CertificateArn)
		if err != nil {
			return err
		}
		if c.Body == "" {
			return &types.RequestInProgressException{Message: ptr("The certificate " + c.ARN + " has not been issued yet.")}
		}
		out.Certificate = ptr(c.Body)
		if c.Chain != "" {
			out.CertificateChain = ptr(c.Chain)
		}
		return nil
	})
}

const pageSize = 1000

// ListCertificates lists certificates in the order of their ARNs, or of their ages. Without a filter of key types it is of
// those with RSA keys of up to 2,048 bits, as in ACM.
func (s *Server) ListCertificates(_ context.Context, in *sdk.ListCertificatesInput) (*sdk.ListCertificatesOutput, error) {
	keys := []types.KeyAlgorithm{types.KeyAlgorithmRsa1024, types.KeyAlgorithmRsa2048}
	if f := in.Includes; f != nil {
		switch {
		case len(f.ExtendedKeyUsage) > 0 || len(f.KeyUsage) > 0:
			return nil, unsupported("Includes.keyUsage and Includes.extendedKeyUsage", "certificates are listed by their key types and statuses")
		case f.ManagedBy != "" || f.ExportOption != "":
			return nil, unsupported("Includes.managedBy and Includes.exportOption", "no certificate is managed by others or can be exported")
		}
		if len(f.KeyTypes) > 0 {
			keys = f.KeyTypes
		}
	}
	if len(in.CertificateKeyPairOrigins) > 0 {
		return nil, unsupported("CertificateKeyPairOrigins", "there is no ACME server for others")
	}
	if (in.SortBy != "") != (in.SortOrder != "") {
		return nil, invalid("SortBy and SortOrder must be specified together.")
	}
	limit := pageSize
	if in.MaxItems != nil {
		limit = int(*in.MaxItems)
	}
	after := ""
	if in.NextToken != nil {
		b, err := base64.URLEncoding.DecodeString(*in.NextToken)
		if err != nil {
			return nil, &types.InvalidArgsException{Message: ptr("The NextToken is not valid.")}
		}
		after = string(b)
	}
	type entry struct {
		key     string
		summary types.CertificateSummary
	}
	var all []entry
	s.Store.View(func(r *state.Reader) {
		for c := range state.Certificates.All(r) {
			if slices.Contains(keys, types.KeyAlgorithm(c.KeyType)) &&
				(len(in.CertificateStatuses) == 0 || slices.Contains(in.CertificateStatuses, types.CertificateStatus(c.Status))) {
				key := c.ARN
				if in.SortBy != "" {
					key = fmt.Sprintf("%020d %s", c.CreatedAt.UnixNano(), c.ARN)
				}
				all = append(all, entry{key, summary(c, len(usersOf(r, c.ARN)) > 0)})
			}
		}
	})
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	down := in.SortOrder == types.SortOrderDescending
	if down {
		slices.Reverse(all)
	}
	out := &sdk.ListCertificatesOutput{CertificateSummaryList: []types.CertificateSummary{}}
	last := ""
	for _, e := range all {
		if after != "" && (e.key == after || (e.key < after) != down) {
			continue
		}
		if len(out.CertificateSummaryList) == limit {
			out.NextToken = ptr(base64.URLEncoding.EncodeToString([]byte(last)))
			break
		}
		out.CertificateSummaryList = append(out.CertificateSummaryList, e.summary)
		last = e.key
	}
	return out, nil
}

func summary(c state.Certificate, used bool) types.CertificateSummary {
	d := describe(c)
	return types.CertificateSummary{
		CertificateArn: d.CertificateArn, DomainName: d.DomainName, SubjectAlternativeNameSummaries: c.Names,
		HasAdditionalSubjectAlternativeNames: ptr(false), Status: d.Status, Type: d.Type, KeyAlgorithm: d.KeyAlgorithm, InUse: &used,
		RenewalEligibility: d.RenewalEligibility, CreatedAt: d.CreatedAt, ImportedAt: d.ImportedAt, IssuedAt: d.IssuedAt,
		NotBefore: d.NotBefore, NotAfter: d.NotAfter, Exported: ptr(false),
	}
}
