package proxy

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"havn/balance/route"
)

// The load balancer's cookies. User Guide, "Sticky sessions": AWSALB of the load balancer's own, AWSALBAPP-0 beside an
// application's, AWSALBTG for the choice of a group; those with CORS in their names are the same for other sites' pages.
// They are sealed: a client learns nothing from them and makes none up.
const (
	targetCookie = "AWSALB"
	appCookie    = "AWSALBAPP-0"
	groupCookie  = "AWSALBTG"
	cookieLife   = 7 * 24 * time.Hour // what browsers are told; how long they are honoured is inside
)

// seals makes and reads what is in cookies.
type seals struct{ aead cipher.AEAD }

func newSeals(key []byte) seals {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // of 32 bytes, says New
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return seals{aead}
}

// seal is for the cookie of that name only.
func (s seals) seal(name string, mark uint64, now time.Time) string {
	nonce := make([]byte, s.aead.NonceSize(), 64)
	rand.Read(nonce)
	var plain [16]byte
	binary.BigEndian.PutUint64(plain[:], mark)
	binary.BigEndian.PutUint64(plain[8:], uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain[:], []byte(name)))
}

func (s seals) open(name, value string) (mark uint64, made time.Time, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(raw) < s.aead.NonceSize() {
		return 0, made, false
	}
	n := s.aead.NonceSize()
	plain, err := s.aead.Open(nil, raw[:n], raw[n:], []byte(name))
	if err != nil || len(plain) != 16 {
		return 0, made, false
	}
	return binary.BigEndian.Uint64(plain), time.Unix(int64(binary.BigEndian.Uint64(plain[8:])), 0), true
}

// sticky is what cookies say of an exchange, and what they will say.
type sticky struct {
	group  *route.Group // whose target is to be remembered
	chosen uint64       // the mark of the group that is to be remembered; zero = none
	mark   uint64       // of the target
	known  bool         // the client has a good cookie for the target
	fields []field      // Set-Cookie
}

// cookie returns the value of a request's cookie.
func (q *request) cookie(name string) (string, bool) {
	for i := range q.fields {
		if q.fields[i].id != cookie {
			continue
		}
		rest := q.fields[i].value
		for rest != "" {
			var one string
			one, rest, _ = strings.Cut(rest, ";")
			if key, value, ok := strings.Cut(strings.TrimSpace(one), "="); ok && key == name {
				return strings.Trim(value, `"`), true
			}
		}
	}
	return "", false
}

// opened returns the mark of a cookie that is not older than life.
func (x *exchange) opened(name string, life time.Duration) (uint64, bool) {
	for _, name := range []string{name, name + "CORS"} {
		value, there := x.q.cookie(name)
		if !there {
			continue
		}
		if mark, made, ok := x.p.seals.open(strings.TrimSuffix(name, "CORS"), value); ok && now().Before(made.Add(life)) {
			return mark, true
		}
	}
	return 0, false
}

// stuck returns the index of the target that the client is to stay with; -1 if there is none.
func (x *exchange) stuck(g *route.Group) int {
	x.sticky.group, x.sticky.known = g, false
	name := targetCookie
	if g.Stickiness.Cookie != "" {
		name = appCookie
		if _, there := x.q.cookie(g.Stickiness.Cookie); !there {
			return -1 // without the application's session there is nothing to stay for
		}
	}
	mark, ok := x.opened(name, g.Stickiness.For)
	if !ok {
		return -1
	}
	i := g.Sticky(mark)
	x.sticky.known = i >= 0
	return i
}

// stuckGroup returns the group that the client is to stay with, or chooses one.
func (x *exchange) stuckGroup(f *route.Forward) *route.Group {
	var g *route.Group
	if mark, ok := x.opened(groupCookie, f.Stickiness); ok {
		g = f.Sticky(mark)
	}
	if g == nil {
		g = f.Choose(x.random())
	}
	if g != nil {
		x.sticky.chosen = g.Mark
	}
	return g
}

// stick makes the cookies of an answer.
func (x *exchange) stick(a *response) {
	if x.sticky.chosen != 0 {
		x.setCookie(groupCookie, x.sticky.chosen, cookieLife)
	}
	g := x.sticky.group
	switch {
	case g == nil:
	case g.Stickiness.Cookie == "":
		x.setCookie(targetCookie, x.sticky.mark, cookieLife)
	case x.sticky.known || sets(a, g.Stickiness.Cookie):
		x.setCookie(appCookie, x.sticky.mark, cookieLife)
	}
}

// sets reports whether an answer sets a cookie.
func sets(a *response, name string) bool {
	for i := range a.fields {
		if f := &a.fields[i]; f.id == setCookie && len(f.value) > len(name) && f.value[len(name)] == '=' && f.value[:len(name)] == name {
			return true
		}
	}
	return false
}

func (x *exchange) setCookie(name string, mark uint64, life time.Duration) {
	at := now()
	value := x.p.seals.seal(name, mark, at)
	text := "=" + value + "; Expires=" + at.Add(life).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "; Path=/"
	x.sticky.fields = append(x.sticky.fields, field{"Set-Cookie", name + text, setCookie})
	if name != appCookie {
		x.sticky.fields = append(x.sticky.fields, field{"Set-Cookie", name + "CORS" + text + "; SameSite=None; Secure", setCookie})
	}
}
