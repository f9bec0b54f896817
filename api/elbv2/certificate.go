package elbv2

import (
	"context"
	"slices"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/sslpolicy"
	"havn/state"
)

// maxCertificates is how many a listener has besides its default one (Quotas for your Application Load Balancers).
const maxCertificates = 25

var alpnPolicies = []string{"HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None"}

func secure(p types.ProtocolEnum) bool {
	return p == types.ProtocolEnumHttps || p == types.ProtocolEnumTls
}

// setSecurity changes how a listener encrypts.
func (s *Server) setSecurity(tx *state.Tx, l *state.Listener, in listenerInput) error {
	if !secure(l.Protocol) {
		switch {
		case len(in.certificates) > 0:
			return badConfiguration("A certificate cannot be specified for %s listeners", l.Protocol)
		case in.policy != nil:
			return badConfiguration("An SSL policy cannot be specified for %s listeners", l.Protocol)
		case len(in.alpn) > 0:
			return badConfiguration("An ALPN policy cannot be specified for %s listeners", l.Protocol)
		}
		l.Certificates, l.SSLPolicy, l.ALPNPolicy = nil, "", nil
		return nil
	}
	if len(in.certificates) > 1 {
		return badConfiguration("You can specify exactly one default certificate; add others with AddListenerCertificates")
	}
	for _, c := range in.certificates {
		if err := s.findCertificate(tx, c); err != nil {
			return err
		}
		if c.IsDefault != nil {
			return invalid("IsDefault cannot be specified: the certificate of a listener is its default")
		}
		// The others stay, but for the one that is the default now.
		others := slices.DeleteFunc(slices.Clone(l.Certificates[min(1, len(l.Certificates)):]), func(arn string) bool { return arn == *c.CertificateArn })
		l.Certificates = append([]string{*c.CertificateArn}, others...)
	}
	if len(l.Certificates) == 0 {
		return &types.CertificateNotFoundException{Message: ptr("A certificate must be specified for " + string(l.Protocol) + " listeners")}
	}
	l.SSLPolicy = or(in.policy, l.SSLPolicy)
	if l.SSLPolicy == "" {
		l.SSLPolicy = sslpolicy.Default
	}
	if _, ok := sslpolicy.Get(l.SSLPolicy); !ok {
		return policyNotFound(l.SSLPolicy)
	}
	if in.alpn != nil {
		switch {
		case l.Protocol != types.ProtocolEnumTls:
			return badConfiguration("An ALPN policy cannot be specified for %s listeners", l.Protocol)
		case len(in.alpn) != 1 || !slices.Contains(alpnPolicies, in.alpn[0]):
			return &types.ALPNPolicyNotSupportedException{Message: ptr("The ALPN policy must be one of '" + strings.Join(alpnPolicies, ", ") + "'")}
		}
		l.ALPNPolicy = in.alpn
	} else if l.Protocol != types.ProtocolEnumTls {
		l.ALPNPolicy = nil
	}
	return nil
}

func (s *Server) findCertificate(tx *state.Tx, c types.Certificate) error {
	arn := deref(c.CertificateArn)
	if arn == "" {
		return invalid("A certificate ARN must be specified")
	}
	if strings.HasPrefix(arn, "arn:aws:iam:") {
		return unsupported("certificates of IAM", "import it to ACM")
	}
	known, ok := state.Certificates.Get(tx, arn)
	if !ok {
		return &types.CertificateNotFoundException{Message: ptr("Certificate '" + arn + "' not found")}
	}
	if known.Status != "ISSUED" && known.Status != "" {
		return badConfiguration("The certificate '%s' must have a fully-qualified domain name, a supported signature, and a supported key size, and be issued: it is %s", arn, known.Status)
	}
	return nil
}

// AddListenerCertificates gives a listener certificates for other names than those of its default one.
func (s *Server) AddListenerCertificates(ctx context.Context, in *elb.AddListenerCertificatesInput) (*elb.AddListenerCertificatesOutput, error) {
	if len(in.Certificates) != 1 { // "You can specify one certificate per call" (AddListenerCertificates, Certificates)
		return nil, invalid("You can specify one certificate per call")
	}
	c := in.Certificates[0]
	if c.IsDefault != nil {
		return nil, invalid("IsDefault cannot be specified")
	}
	err := s.changeListener(ctx, *in.ListenerArn, func(tx *state.Tx, l *state.Listener) error {
		if !secure(l.Protocol) {
			return badConfiguration("A certificate cannot be specified for %s listeners", l.Protocol)
		}
		if err := s.findCertificate(tx, c); err != nil {
			return err
		}
		if slices.Contains(l.Certificates, *c.CertificateArn) {
			return nil // "If the certificate is already in the certificate list, the call is successful"
		}
		if len(l.Certificates)-1 >= maxCertificates {
			return &types.TooManyCertificatesException{Message: ptr("The maximum number of certificates of listener '" + l.ARN + "' has been reached")}
		}
		l.Certificates = append(slices.Clone(l.Certificates), *c.CertificateArn)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.AddListenerCertificatesOutput{Certificates: []types.Certificate{{CertificateArn: c.CertificateArn, IsDefault: ptr(false)}}}, nil
}

// RemoveListenerCertificates takes certificates away from a listener. What it does not have is no error.
func (s *Server) RemoveListenerCertificates(ctx context.Context, in *elb.RemoveListenerCertificatesInput) (*elb.RemoveListenerCertificatesOutput, error) {
	return nil, s.changeListener(ctx, *in.ListenerArn, func(_ *state.Tx, l *state.Listener) error {
		for _, c := range in.Certificates {
			if c.IsDefault != nil {
				return invalid("IsDefault cannot be specified")
			}
			if len(l.Certificates) > 0 && l.Certificates[0] == deref(c.CertificateArn) {
				return notPermitted("Default certificate cannot be removed")
			}
			l.Certificates = slices.DeleteFunc(slices.Clone(l.Certificates), func(arn string) bool { return arn == deref(c.CertificateArn) })
		}
		return nil
	})
}

// DescribeListenerCertificates lists a listener's certificates, the default one first.
func (s *Server) DescribeListenerCertificates(_ context.Context, in *elb.DescribeListenerCertificatesInput) (*elb.DescribeListenerCertificatesOutput, error) {
	p, err := newPager[types.Certificate](in.PageSize, in.Marker, fingerprint(in.ListenerArn))
	if err != nil {
		return nil, err
	}
	err = s.view(func(r *state.Reader) error {
		l, err := s.listener(r, *in.ListenerArn)
		if err != nil {
			return err
		}
		certificates := slices.Clone(l.Certificates)
		if len(certificates) > 1 {
			slices.Sort(certificates[1:])
		}
		for i, arn := range certificates {
			key := "1" + arn
			if i == 0 {
				key = "0"
			}
			p.offer(key, func() types.Certificate { return types.Certificate{CertificateArn: ptr(arn), IsDefault: ptr(i == 0)} })
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elb.DescribeListenerCertificatesOutput{Certificates: orEmpty(p.items), NextMarker: p.marker()}, nil
}
