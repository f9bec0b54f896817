package logquery

import (
	"regexp"
	"strings"
	"unicode"
)

// termPattern wants what is in the message, and what is not.
type termPattern struct {
	all, any, none []term
}

// term is a text or, if that is not nil, a regular expression.
type term struct {
	text  string
	regex *regexp.Regexp
}

func (t term) in(message string) bool {
	if t.regex != nil {
		return t.regex.MatchString(message)
	}
	return strings.Contains(message, t.text)
}

func (p *termPattern) match(message string) bool {
	for _, t := range p.none {
		if t.in(message) {
			return false
		}
	}
	for _, t := range p.all {
		if !t.in(message) {
			return false
		}
	}
	for _, t := range p.any {
		if t.in(message) {
			return true
		}
	}
	return len(p.any) == 0
}

func (p *termPattern) extract(message string) (map[string]string, bool) { return nil, p.match(message) }

func (p *patternParser) terms() matcher {
	found := &termPattern{}
	for p.err == nil && p.at < len(p.text) {
		start := p.at
		list := &found.all
		switch p.peek() {
		case '?':
			list = &found.any
			p.at++
		case '-':
			list = &found.none
			p.at++
		}
		*list = append(*list, p.term(start))
		p.space()
	}
	// "If you combine ? with other filter patterns, all question mark terms will be ignored."
	if len(found.all)+len(found.none) > 0 {
		found.any = nil
	}
	return found
}

// term reads a term, whose sign is at start.
func (p *patternParser) term(start int) term {
	switch p.peek() {
	case '"':
		return term{text: p.quoted()}
	case '%':
		return term{regex: p.regex()}
	}
	text := p.word(isTermRune)
	switch {
	case text == "" && (p.at == len(p.text) || isSpace(p.text[p.at])):
		p.fail(start, invalidTerm(p.text[start:p.at]), "a term is missing after this sign")
	case p.at < len(p.text) && !isSpace(p.text[p.at]):
		p.bad(p.at, p.at, "a term with this character in it needs double quotes")
	}
	return term{text: text}
}

// isTermRune says which characters a term may have outside quotes. The guide
// names letters and digits only; these signs can have no other meaning there.
func isTermRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-./@#=", r)
}
