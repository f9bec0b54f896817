package schedule

import (
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd  tokenKind = iota
	tokenWord           // bare: a subject, a keyword, an operator's name, a value
	tokenText           // quoted: only ever a value
	tokenSign           // an operator's sign, a parenthesis, a bracket, a comma
)

type token struct {
	kind   tokenKind
	text   string
	offset int
}

func (t token) is(spelling string) bool {
	return t.text == spelling && (t.kind == tokenWord || t.kind == tokenSign)
}

// lexer cuts an expression into tokens.
type lexer struct {
	text   string
	offset int
}

// signs, with each before those that it begins with.
var signs = []string{"==", "!=", ">=", "<=", "=~", "!~", "&&", "||", "!exists", "!in", ">", "<", "!", "(", ")", "[", "]", ","}

const (
	space    = " \t\r\n"
	endsWord = space + `()[],=!<>~&|'"`
)

// next is the next token. A reason says why there is none; the token then
// only says where.
func (l *lexer) next() (token, string) {
	l.skipSpace()
	start, rest := l.offset, l.text[l.offset:]
	if rest == "" {
		return token{tokenEnd, "", start}, ""
	}
	if rest[0] == '\'' || rest[0] == '"' {
		return l.quoted()
	}
	for _, sign := range signs {
		if !strings.HasPrefix(rest, sign) {
			continue
		}
		// "!in" is no sign at the start of "!index".
		if last := sign[len(sign)-1]; 'a' <= last && last <= 'z' && wordLength(rest[1:]) > len(sign)-1 {
			continue
		}
		l.offset += len(sign)
		return token{tokenSign, sign, start}, ""
	}
	n := wordLength(rest)
	if n == 0 {
		return token{offset: start}, "unexpected character; a value with signs in it needs quotes"
	}
	l.offset += n
	return token{tokenWord, rest[:n], start}, ""
}

func wordLength(s string) int {
	if i := strings.IndexAny(s, endsWord); i >= 0 {
		return i
	}
	return len(s)
}

func (l *lexer) skipSpace() {
	l.offset = len(l.text) - len(strings.TrimLeft(l.text[l.offset:], space))
}

// quoted reads a quoted text. A backslash escapes the quote and nothing else,
// so that patterns need no second backslash.
func (l *lexer) quoted() (token, string) {
	start, quote := l.offset, l.text[l.offset]
	var b strings.Builder
	for i := start + 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '\\' && i+1 < len(l.text) && l.text[i+1] == quote:
			b.WriteByte(quote)
			i++
		case c == quote:
			l.offset = i + 1
			return token{tokenText, b.String(), start}, ""
		default:
			b.WriteByte(c)
		}
	}
	return token{offset: start}, "this quote is never closed"
}

// pattern reads a pattern, quoted or bare. A bare one ends at a space, at && or
// ||, or at a parenthesis that it did not open. Where it ends must not hang on
// what follows it, so one that leaves a parenthesis open needs quotes.
func (l *lexer) pattern() (token, string) {
	l.skipSpace()
	start, rest := l.offset, l.text[l.offset:]
	if rest != "" && (rest[0] == '\'' || rest[0] == '"') {
		return l.quoted()
	}
	n, depth := 0, 0
scan:
	for n < len(rest) {
		switch c, width := utf8.DecodeRuneInString(rest[n:]); {
		case strings.ContainsRune(space, c), strings.HasPrefix(rest[n:], "&&"), strings.HasPrefix(rest[n:], "||"):
			break scan
		case c == '\\' && n+1 < len(rest):
			_, escaped := utf8.DecodeRuneInString(rest[n+1:])
			n += width + escaped
		case c == ')' && depth == 0:
			break scan
		default:
			n += width
			switch c {
			case '(':
				depth++
			case ')':
				depth--
			case '\\':
				depth = 1 // open like a parenthesis: it would escape what follows
			}
		}
	}
	switch {
	case n == 0:
		return token{offset: start}, "expected a pattern"
	case depth > 0:
		return token{offset: start}, "a pattern with an open parenthesis or a last backslash needs quotes"
	}
	l.offset += n
	return token{tokenText, rest[:n], start}, ""
}
