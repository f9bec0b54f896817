package acm

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"havn/state"
	"havn/wire"
)

// maxNames is how many names a certificate has by default (ACM quotas).
const maxNames = 10

// tokenLife is how long a request is the same as one before it with the same token (RequestCertificate,
// IdempotencyToken).
const tokenLife = time.Hour

// keyTypes are the kinds of key that a certificate can be requested with.
var keyTypes = []types.KeyAlgorithm{types.KeyAlgorithmRsa2048, types.KeyAlgorithmEcPrime256v1, types.KeyAlgorithmEcSecp384r1}

// RequestCertificate asks for a certificate. It is issued a moment later, by certify.
func (s *Server) RequestCertificate(ctx context.Context, in *sdk.RequestCertificateInput) (*sdk.RequestCertificateOutput, error) {
	switch {
	case in.CertificateAuthorityArn != nil:
		return nil, unsupported("CertificateAuthorityArn", "there is no private authority but Havn's own")
	case in.ManagedBy != "":
		return nil, unsupported("ManagedBy", "nothing but its user manages a certificate here")
	case in.ValidationMethod == types.ValidationMethodHttp:
		return nil, unsupported("ValidationMethod HTTP", "it is of CloudFront")
	case in.Options != nil && in.Options.Export == types.CertificateExportEnabled:
		return nil, unsupported("Options.Export", "keys of requested certificates stay here")
	case in.Options != nil && in.Options.CertificateTransparencyLoggingPreference == types.CertificateTransparencyLoggingPreferenceEnabled:
		return nil, unsupported("Options.CertificateTransparencyLoggingPreference ENABLED", "a local authority's certificates are in no public log")
	}
	keyType := in.KeyAlgorithm
	if keyType == "" {
		keyType = types.KeyAlgorithmRsa2048
	}
	if !slices.Contains(keyTypes, keyType) {
		return nil, invalid("The key algorithm %s is not supported for certificates that are requested.", keyType)
	}
	names := []string{strings.ToLower(*in.DomainName)}
	for _, name := range in.SubjectAlternativeNames {
		if name = strings.ToLower(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > maxNames {
		return nil, &types.LimitExceededException{Message: ptr(fmt.Sprintf("The maximum number of domain names is %d.", maxNames))}
	}
	for _, o := range in.DomainValidationOptions {
		if name, within := strings.ToLower(*o.DomainName), strings.ToLower(*o.ValidationDomain); !slices.Contains(names, name) ||
			name != within && !strings.HasSuffix(name, "."+within) {
			return nil, &types.InvalidDomainValidationOptionsException{Message: ptr("The validation domain " + within + " is not a superdomain of " + name + ", or this is no name of the certificate.")}
		}
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	now := wire.Now(ctx)
	made := state.Certificate{
		DomainName: names[0], Names: names, Type: string(types.CertificateTypeAmazonIssued), Status: string(types.CertificateStatusPendingValidation),
		KeyType: string(keyType), Tags: tags, CreatedAt: now, Idempotency: deref(in.IdempotencyToken),
	}
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		if made.Idempotency != "" {
			for c := range state.Certificates.All(tx) {
				if c.Idempotency == made.Idempotency && c.DomainName == made.DomainName && reflect.DeepEqual(c.Names, made.Names) && now.Sub(c.CreatedAt) < tokenLife {
					made = c
					return nil
				}
			}
		}
		made.ARN = s.newARN(tx.NewID())
		state.Certificates.Put(tx, made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.RequestCertificateOutput{CertificateArn: ptr(made.ARN)}, nil
}
