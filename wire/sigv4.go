package wire

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What a Credentials function answers when it knows the key but not like this.
// Any other error of it is a fault of ours.
var (
	ErrUnknownKey   = errors.New("unknown access key or session token")
	ErrTokenExpired = errors.New("session token has expired")
)

// Limits on signatures.
const (
	maxSkew          = 5 * time.Minute    // between the caller's clock and ours
	maxExpires       = 7 * 24 * time.Hour // of a presigned URL
	maxSignedHeaders = 100
	maxSigningKeys   = 4096 // remembered
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"
)

// Verifier checks AWS Signature Version 4, in the Authorization header or in the
// query of a presigned URL. It is safe for use by many goroutines.
type Verifier struct {
	// Credentials finds the secret of an access key. The session token is ""
	// when the request has none; whether the key must come with one, and with
	// which, is for Credentials to say (ErrUnknownKey, ErrTokenExpired).
	Credentials func(ctx context.Context, accessKeyID, sessionToken string) (Credential, error)
	// Region is the only region that a credential scope may name; any when empty.
	Region string
	// Now is the clock of Verify; the system's when nil.
	Now func() time.Time

	// Deriving a signing key takes four HMACs, and it changes once a day.
	mu   sync.RWMutex
	keys map[keyScope][sha256.Size]byte
}

type keyScope struct{ secret, date, region, service string }

// Verify returns who signed r, whose body was body. The signature must be for
// the service named, "ecs" say; any when empty. Its error is an *Error unless
// Credentials failed.
//
// It also verifies what is not quite a request: a caller that has a URL, a
// header and bytes can put them in an http.Request.
func (v *Verifier) Verify(r *http.Request, body []byte, service string) (Principal, error) {
	now := v.Now
	if now == nil {
		now = time.Now
	}
	return v.verify(r, body, service, now())
}

func (v *Verifier) verify(r *http.Request, body []byte, service string, now time.Time) (Principal, error) {
	s, err := parseSignature(r)
	if err != nil {
		return Principal{}, err
	}
	cred, err := v.Credentials(r.Context(), s.keyID, s.token)
	switch {
	case errors.Is(err, ErrUnknownKey):
		return Principal{}, &Error{UnknownKey, "The security token included in the request is invalid."}
	case errors.Is(err, ErrTokenExpired):
		return Principal{}, &Error{TokenExpired, "The security token included in the request is expired"}
	case err != nil:
		return Principal{}, fmt.Errorf("cannot look up access key: %w", err)
	}
	if err := s.checkTime(now); err != nil {
		return Principal{}, err
	}
	if err := s.checkScope(v.Region, service); err != nil {
		return Principal{}, err
	}
	if err := s.checkHeaders(r); err != nil {
		return Principal{}, err
	}
	key := v.signingKey(keyScope{cred.Secret, s.date, s.region, s.service})
	if !s.matches(r, body, key[:]) {
		return Principal{}, &Error{BadSignature, mismatch}
	}
	return cred.Principal, nil
}

const mismatch = "The request signature we calculated does not match the signature you provided. " +
	"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

// signature is what a request says about how it was signed.
type signature struct {
	keyID, date, region, service string // the credential's parts
	scope                        string // date/region/service/aws4_request
	signedHeaders                string // a;b;c
	hex                          string
	time                         string // as written: it is part of what was signed
	token                        string
	presigned                    bool
	expires                      time.Duration // of a presigned URL
}

func incomplete(format string, args ...any) error {
	return &Error{IncompleteToken, fmt.Sprintf(format, args...)}
}

// parseSignature reads a signature without judging it.
func parseSignature(r *http.Request) (signature, error) {
	if auth := r.Header.Get("Authorization"); auth != "" {
		s, err := parseAuthorization(auth)
		if err != nil {
			return s, err
		}
		s.token = r.Header.Get("X-Amz-Security-Token")
		if s.time = r.Header.Get("X-Amz-Date"); s.time == "" {
			if s.time = r.Header.Get("Date"); s.time == "" {
				return s, incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=%s", algorithm)
			}
		}
		return s, nil
	}
	if strings.Contains(r.URL.RawQuery, "X-Amz-Algorithm=") {
		return parsePresigned(r)
	}
	return signature{}, &Error{MissingToken, "Missing Authentication Token"}
}

// parseAuthorization reads an Authorization header.
func parseAuthorization(auth string) (signature, error) {
	var s signature
	name, rest, _ := strings.Cut(auth, " ")
	if name != algorithm {
		return s, incomplete("Unsupported AWS 'algorithm': '%s', must be '%s'.", name, algorithm)
	}
	var credential string
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return s, incomplete("'%s' not a valid key=value pair (missing equal-sign) in Authorization header: '%s'.", part, algorithm)
		}
		switch key {
		case "Credential":
			credential = value
		case "SignedHeaders":
			s.signedHeaders = value
		case "Signature":
			s.hex = value
		}
	}
	var missing []string
	for _, p := range [...][2]string{{"Credential", credential}, {"Signature", s.hex}, {"SignedHeaders", s.signedHeaders}} {
		if p[1] == "" {
			missing = append(missing, "Authorization header requires '"+p[0]+"' parameter.")
		}
	}
	if missing != nil {
		return s, incomplete("%s Authorization=%s", strings.Join(missing, " "), algorithm)
	}
	return s, s.parseCredential(credential)
}

// parseCredential takes apart keyid/date/region/service/aws4_request.
func (s *signature) parseCredential(credential string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || slices.Contains(parts, "") {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", credential)
	}
	if parts[4] != terminator {
		return incomplete("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, parts[4])
	}
	s.keyID, s.date, s.region, s.service = parts[0], parts[1], parts[2], parts[3]
	s.scope = credential[len(s.keyID)+1:]
	return nil
}

func parsePresigned(r *http.Request) (signature, error) {
	q := r.URL.Query()
	s := signature{
		presigned:     true,
		signedHeaders: q.Get("X-Amz-SignedHeaders"),
		hex:           q.Get("X-Amz-Signature"),
		time:          q.Get("X-Amz-Date"),
		token:         q.Get("X-Amz-Security-Token"),
	}
	if name := q.Get("X-Amz-Algorithm"); name != algorithm {
		return s, incomplete("Unsupported AWS 'algorithm': '%s', must be '%s'.", name, algorithm)
	}
	var missing []string
	for _, name := range []string{"X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"} {
		if q.Get(name) == "" {
			missing = append(missing, "AWS query-string parameters must include '"+name+"'.")
		}
	}
	if missing != nil {
		return s, incomplete("%s", strings.Join(missing, " "))
	}
	s.expires = maxSkew
	if text := q.Get("X-Amz-Expires"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > int(maxExpires/time.Second) {
			return s, incomplete("X-Amz-Expires must be a number of seconds from 1 to %d, got '%s'", int(maxExpires/time.Second), text)
		}
		s.expires = time.Duration(n) * time.Second
	}
	return s, s.parseCredential(q.Get("X-Amz-Credential"))
}

// checkTime refuses a signature of another time, in AWS's words.
func (s *signature) checkTime(now time.Time) error {
	t, err := time.Parse(timeFormat, s.time)
	if err != nil {
		if t, err = http.ParseTime(s.time); err != nil {
			return incomplete("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", s.time)
		}
		s.time = t.UTC().Format(timeFormat)
	}
	if day := s.time[:8]; day != s.date {
		return &Error{BadSignature, fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", s.date, day, s.time)}
	}
	now = now.UTC()
	lasts := maxSkew
	if s.presigned {
		lasts = s.expires
	}
	if earliest := now.Add(-lasts); t.Before(earliest) {
		return &Error{SignatureExpired, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s.)",
			s.time, earliest.Format(timeFormat), now.Format(timeFormat), inWords(lasts))}
	}
	if latest := now.Add(maxSkew); t.After(latest) {
		return &Error{SignatureExpired, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s.)",
			s.time, latest.Format(timeFormat), now.Format(timeFormat), inWords(maxSkew))}
	}
	return nil
}

func inWords(d time.Duration) string {
	if d%time.Minute == 0 {
		return strconv.Itoa(int(d/time.Minute)) + " min"
	}
	return strconv.Itoa(int(d/time.Second)) + " s"
}

func (s *signature) checkScope(region, service string) error {
	if region != "" && s.region != region {
		return &Error{BadSignature, fmt.Sprintf("Credential should be scoped to a valid region, not '%s'. ", s.region)}
	}
	if service != "" && s.service != service {
		return &Error{BadSignature, fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", service)}
	}
	return nil
}

// mustSign are the headers that decide what a request means or who asks; one
// that is there unsigned could have been added by anybody.
var mustSign = []string{"X-Amz-Target", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256"}

func (s *signature) checkHeaders(r *http.Request) error {
	if strings.Count(s.signedHeaders, ";") >= maxSignedHeaders {
		return incomplete("SignedHeaders names more than %d headers", maxSignedHeaders)
	}
	if !s.signs("host") {
		return &Error{BadSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."}
	}
	for _, name := range mustSign {
		if len(r.Header[name]) > 0 && !s.signs(strings.ToLower(name)) {
			return &Error{BadSignature, fmt.Sprintf("'%s' must be a 'SignedHeader' in the AWS Authorization.", name)}
		}
	}
	return nil
}

func (s *signature) signs(header string) bool {
	for name := range strings.SplitSeq(s.signedHeaders, ";") {
		if name == header {
			return true
		}
	}
	return false
}

// matches reports whether the signature is that of the request under the key.
func (s *signature) matches(r *http.Request, body []byte, key []byte) bool {
	given, err := hex.DecodeString(s.hex)
	if err != nil || len(given) != sha256.Size {
		return false
	}
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	// A claim about the body that is not so means that the body was changed.
	if claim := r.Header.Get("X-Amz-Content-Sha256"); claim != "" && claim != payload {
		return false
	}
	canonical := appendCanonical(make([]byte, 0, 1024), r, s, payload)
	digest := sha256.Sum256(canonical)
	text := append(canonical[:0], algorithm+"\n"...)
	text = append(text, s.time...)
	text = append(text, '\n')
	text = append(text, s.scope...)
	text = append(text, '\n')
	text = hex.AppendEncode(text, digest[:])
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return subtle.ConstantTimeCompare(mac.Sum(nil), given) == 1
}

// signingKey derives the key of a scope, or remembers it.
func (v *Verifier) signingKey(scope keyScope) [sha256.Size]byte {
	v.mu.RLock()
	key, ok := v.keys[scope]
	v.mu.RUnlock()
	if ok {
		return key
	}
	k := []byte("AWS4" + scope.secret)
	for _, part := range [...]string{scope.date, scope.region, scope.service, terminator} {
		mac := hmac.New(sha256.New, k)
		mac.Write([]byte(part))
		k = mac.Sum(nil)
	}
	key = [sha256.Size]byte(k)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys == nil || len(v.keys) >= maxSigningKeys {
		v.keys = make(map[keyScope][sha256.Size]byte)
	}
	v.keys[scope] = key
	return key
}
