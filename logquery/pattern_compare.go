package logquery

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// comparison is an operator and what is on its right.
type comparison struct {
	op     string // = != < > <= >=
	text   string
	number float64
	// isNumber says that the right side is a number, of which text is the spelling.
	isNumber bool
	bare     bool           // a word, not in quotes
	glob     []string       // text cut at its stars, when it has any
	regex    *regexp.Regexp // instead of a text
}

// holds compares a scalar. A number in JSON is no text, but for its spelling: the
// string "10" is not greater than 1, and equals 10 because it is spelled so.
func (c *comparison) holds(text string, isNumber bool) bool {
	switch c.op {
	case "=":
		return c.equals(text, isNumber)
	case "!=":
		return !c.equals(text, isNumber)
	}
	if !isNumber {
		return false
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return false
	}
	switch c.op {
	case "<":
		return n < c.number
	case ">":
		return n > c.number
	case "<=":
		return n <= c.number
	default:
		return n >= c.number
	}
}

func (c *comparison) equals(text string, isNumber bool) bool {
	switch {
	case c.regex != nil:
		return c.regex.MatchString(text)
	case c.glob != nil:
		return matchGlob(c.glob, text)
	case c.isNumber && isNumber:
		n, err := strconv.ParseFloat(text, 64)
		return err == nil && n == c.number
	}
	return c.text == text
}

// matchGlob says whether text is the parts in their order, with anything between.
func matchGlob(parts []string, text string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}

var patternOperators = []string{"!=", "<=", ">=", "=", "<", ">"}

// comparison reads an operator and its right side, of whose bare words in says
// which characters they have.
func (p *patternParser) comparison(in func(rune) bool) (c comparison) {
	for _, op := range patternOperators {
		if p.take(op) {
			c.op = op
			break
		}
	}
	if c.op == "" {
		p.bad(p.at, min(p.at, len(p.text)), "expected an operator: =, !=, <, >, <= or >=")
		return c
	}
	start := p.at
	switch p.peek() {
	case '"':
		c.text = p.quoted()
	case '%':
		c.regex = p.regex()
	default:
		c.bare, c.text = true, p.word(in)
		c.number, c.isNumber = parseNumber(c.text)
	}
	switch equality := c.op == "=" || c.op == "!="; {
	case p.err != nil:
	case p.at == start:
		p.bad(start, start, "expected a value; one with signs in it needs double quotes")
	case !equality && !c.isNumber:
		p.fail(start, invalidTerm(p.text[start:p.at]), c.op+" compares with a number")
	}
	if strings.Contains(c.text, "*") {
		c.glob, c.isNumber = strings.Split(c.text, "*"), false
	}
	p.space()
	return c
}

// parseNumber reads a number with a sign, a fraction and an exponent, all of
// them optional. What Go would read besides (inf, 0x1p-2, 1_000) is a word.
func parseNumber(s string) (float64, bool) {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && strings.IndexByte("+-.eE", c) < 0 {
			return 0, false
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// isValueRune says which characters a value in a JSON pattern may have outside quotes.
func isValueRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_*.+-", r)
}

// isFieldValueRune is isValueRune for the fields of a message.
func isFieldValueRune(r rune) bool {
	return isValueRune(r) || strings.ContainsRune("/:@#$?;~'\\{}^", r)
}
