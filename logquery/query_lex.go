package logquery

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenName             // a command, keyword, function or field; also in backticks
	tokenText             // in quotes
	tokenNumber           // 12, 0.5, 1e3
	tokenPeriod           // 5m
	tokenSign             // an operator, a bracket, a comma, a pipe
	tokenBad
)

// token is a word of a query; text is what it stands for, without quotes.
type token struct {
	kind       tokenKind
	text       string
	start, end int // in bytes
}

func (t token) sign(s string) bool { return t.kind == tokenSign && t.text == s }

// word says whether the token is a keyword; case does not count. A name in
// backticks is none.
func (t token) word(s string) bool {
	return t.kind == tokenName && t.end-t.start == len(t.text) && strings.EqualFold(t.text, s)
}

// querySigns, with each before those that it begins with.
var querySigns = []string{"!=", "<=", ">=", "=~", "=", "<", ">", "+", "-", "*", "/", "%", "^", "(", ")", "[", "]", ",", "|"}

// queryLexer cuts a query into tokens, one at a time: what a slash begins hangs on
// what the parser expects there.
type queryLexer struct {
	text string
	at   int
}

func (l *queryLexer) next() token {
	l.space()
	start := l.at
	if start == len(l.text) {
		return token{kind: tokenEnd, start: start, end: start}
	}
	switch c := l.text[start]; {
	case c == '"' || c == '\'':
		return l.quoted(c)
	case isDigit(c) || c == '.' && start+1 < len(l.text) && isDigit(l.text[start+1]):
		return l.number()
	}
	for _, s := range querySigns {
		if strings.HasPrefix(l.text[start:], s) {
			l.at += len(s)
			return token{tokenSign, s, start, l.at}
		}
	}
	return l.name()
}

// space steps over white space and over comments, from a # to the line's end.
func (l *queryLexer) space() {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case isSpace(c):
			l.at++
		case c == '#':
			if n := strings.IndexByte(l.text[l.at:], '\n'); n >= 0 {
				l.at += n
			} else {
				l.at = len(l.text)
			}
		default:
			return
		}
	}
}

// quoted reads a text. A backslash escapes the quote and itself and stays before
// all else, so that patterns need no second one.
func (l *queryLexer) quoted(quote byte) token {
	start := l.at
	var b strings.Builder
	for i := start + 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '\\' && i+1 < len(l.text) && (l.text[i+1] == quote || l.text[i+1] == '\\'):
			b.WriteByte(l.text[i+1])
			i++
		case c == quote:
			l.at = i + 1
			return token{tokenText, b.String(), start, l.at}
		default:
			b.WriteByte(c)
		}
	}
	l.at = len(l.text)
	return token{tokenBad, "this quote is never closed", start, start + 1}
}

// number reads a number, or a period when a unit follows at once.
func (l *queryLexer) number() token {
	start := l.at
	digits := func() {
		for l.at < len(l.text) && isDigit(l.text[l.at]) {
			l.at++
		}
	}
	digits()
	if l.at < len(l.text) && l.text[l.at] == '.' {
		l.at++
		digits()
	}
	exponent := strings.TrimLeft(l.text[min(l.at+1, len(l.text)):], "+-")
	if l.at < len(l.text) && l.text[l.at]|0x20 == 'e' && exponent != "" && isDigit(exponent[0]) {
		l.at = len(l.text) - len(exponent)
		digits()
	}
	kind := tokenNumber
	for l.at < len(l.text) && isNameByte(l.text[l.at]) {
		kind = tokenPeriod
		l.at++
	}
	return token{kind, l.text[start:l.at], start, l.at}
}

// name reads a name with its dots; what is in backticks is taken as it is, and so
// is a number in brackets right after a name, the place in a list.
func (l *queryLexer) name() token {
	start := l.at
	var b strings.Builder
	for l.at < len(l.text) {
		rest := l.text[l.at:]
		r, width := utf8.DecodeRuneInString(rest)
		switch {
		case r == '`':
			end := strings.IndexByte(rest[1:], '`')
			if end <= 0 {
				l.at = len(l.text)
				return token{tokenBad, "this backtick is never closed, or there is nothing in it", start, start + 1}
			}
			b.WriteString(rest[1 : 1+end])
			l.at += end + 2
		case r == '[' && l.at > start && placeLength(rest) > 0:
			n := placeLength(rest)
			b.WriteString("." + rest[1:n-1])
			l.at += n
		case r == '@' || r == '_' || r == '.' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
			l.at += width
		case l.at == start:
			l.at = len(l.text)
			return token{tokenBad, "this has no meaning here; a name with signs in it goes in backticks", start, start + width}
		default:
			return token{tokenName, b.String(), start, l.at}
		}
	}
	return token{tokenName, b.String(), start, l.at}
}

// placeLength is the length of the [number] that s begins with, or 0.
func placeLength(s string) int {
	end := strings.IndexByte(s, ']')
	if end < 2 || !digitsOnly(s[1:end]) {
		return 0
	}
	return end + 1
}

// regex reads a regular expression, of which the parser saw the first slash at
// start. A slash in it has a backslash before it.
func (l *queryLexer) regex(start int) token {
	var b strings.Builder
	for i := start + 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '\\' && i+1 < len(l.text):
			if i++; l.text[i] != '/' {
				b.WriteByte('\\')
			}
			b.WriteByte(l.text[i])
		case c == '/':
			l.at = i + 1
			return token{tokenText, b.String(), start, l.at}
		default:
			b.WriteByte(c)
		}
	}
	l.at = len(l.text)
	return token{tokenBad, "this regular expression is never closed by a slash", start, start + 1}
}

func isNameByte(c byte) bool { return c == '_' || isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }
