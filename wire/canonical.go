package wire

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// appendCanonical writes the canonical form of a request, the text that Signature
// Version 4 signs. The query is already canonical; payload is the body's hash.
func appendCanonical(b []byte, r *http.Request, s *signature, query, payload string) []byte {
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = appendCanonicalPath(b, r.URL.EscapedPath())
	b = append(b, '\n')
	b = append(b, query...)
	b = append(b, '\n')
	for name := range strings.SplitSeq(s.signedHeaders, ";") {
		b = append(b, name...)
		b = append(b, ':')
		b = appendCanonicalHeader(b, r, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, s.signedHeaders...)
	b = append(b, '\n')
	return append(b, payload...)
}

// appendCanonicalPath escapes a path that is already escaped: AWS wants it twice,
// for every service but S3.
func appendCanonicalPath(b []byte, escaped string) []byte {
	if escaped == "" {
		return append(b, '/')
	}
	const upperHex = "0123456789ABCDEF"
	for i := range len(escaped) {
		c := escaped[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/':
			b = append(b, c)
		default:
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// headerKeys saves the headers that are always signed from being spelled anew
// with every request.
var headerKeys = map[string]string{
	"accept-encoding":       "Accept-Encoding",
	"amz-sdk-invocation-id": "Amz-Sdk-Invocation-Id",
	"amz-sdk-request":       "Amz-Sdk-Request",
	"content-length":        "Content-Length",
	"content-type":          "Content-Type",
	"x-amz-content-sha256":  "X-Amz-Content-Sha256",
	"x-amz-date":            "X-Amz-Date",
	"x-amz-security-token":  "X-Amz-Security-Token",
	"x-amz-target":          "X-Amz-Target",
}

// appendCanonicalHeader writes a header's values: trimmed, runs of spaces folded
// into one, joined with commas.
func appendCanonicalHeader(b []byte, r *http.Request, name string) []byte {
	if name == "host" {
		return append(b, r.Host...)
	}
	key, ok := headerKeys[name]
	if !ok {
		key = http.CanonicalHeaderKey(name)
	}
	values := r.Header[key]
	if len(values) == 0 && name == "content-length" && r.ContentLength >= 0 {
		return strconv.AppendInt(b, r.ContentLength, 10)
	}
	for i, value := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFolded(b, value)
	}
	return b
}

func appendFolded(b []byte, value string) []byte {
	value = strings.TrimSpace(value)
	if !strings.Contains(value, "  ") {
		return append(b, value...)
	}
	for i := range len(value) {
		if value[i] == ' ' && value[i-1] == ' ' {
			continue
		}
		b = append(b, value[i])
	}
	return b
}

// queryOrders returns the canonical forms that a query can have, without the
// signature: AWS sorts by the escaped name, the Go SDK by the name itself, and
// these differ for names with unusual letters.
func queryOrders(raw string) []string {
	if raw == "" {
		return []string{""}
	}
	type pair struct{ name, value, escapedName, escapedValue string }
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, value = unescape(name), unescape(value)
		if name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{name, value, escape(name), escape(value)})
	}
	write := func(compare func(a, b pair) int) string {
		slices.SortStableFunc(pairs, compare)
		var b strings.Builder
		for i, p := range pairs {
			if i > 0 {
				b.WriteByte('&')
			}
			b.WriteString(p.escapedName)
			b.WriteByte('=')
			b.WriteString(p.escapedValue)
		}
		return b.String()
	}
	byEscaped := write(func(a, b pair) int {
		if c := strings.Compare(a.escapedName, b.escapedName); c != 0 {
			return c
		}
		return strings.Compare(a.escapedValue, b.escapedValue)
	})
	byName := write(func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	if byName == byEscaped {
		return []string{byEscaped}
	}
	return []string{byEscaped, byName}
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
