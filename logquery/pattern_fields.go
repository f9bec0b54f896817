package logquery

import (
	"fmt"
	"strconv"
	"strings"
)

// fieldPattern wants messages that have the fields, apart by white space.
type fieldPattern struct {
	fields   []field
	ellipsis int // its place among the fields, which it is none of; -1 when there is none
}

// field is one of a pattern's fields. Its name may be empty, its test nil.
type field struct {
	name string
	test fieldTest
}

// fieldTest is something to hold of a field's text.
type fieldTest interface{ holds(text string) bool }

type (
	fieldCompares comparison
	fieldBoth     struct{ a, b fieldTest }
	fieldEither   struct{ a, b fieldTest }
)

func (t *fieldCompares) holds(text string) bool {
	_, isNumber := parseNumber(text)
	return (*comparison)(t).holds(text, isNumber)
}
func (t fieldBoth) holds(text string) bool   { return t.a.holds(text) && t.b.holds(text) }
func (t fieldEither) holds(text string) bool { return t.a.holds(text) || t.b.holds(text) }

func (p *fieldPattern) match(message string) bool {
	found, ok := p.place(message)
	return ok && p.holds(found)
}

func (p *fieldPattern) extract(message string) (map[string]string, bool) {
	found, ok := p.place(message)
	if !ok || !p.holds(found) {
		return nil, false
	}
	values := make(map[string]string, len(found))
	for i, text := range found {
		name := strconv.Itoa(i + 1)
		if f := p.fieldAt(i, len(found)); f != nil && f.name != "" {
			name = f.name
		}
		values["$"+name] = text
	}
	return values, true
}

// place cuts the message into fields and sees that there are enough. Without an
// ellipsis, those past the last are part of it, as they were written.
func (p *fieldPattern) place(message string) ([]string, bool) {
	atMost := -1
	if p.ellipsis < 0 {
		atMost = len(p.fields)
	}
	found := splitFields(message, atMost)
	return found, len(found) >= len(p.fields)
}

// fieldAt is the pattern's field for the i-th of n texts, or nil in the ellipsis.
func (p *fieldPattern) fieldAt(i, n int) *field {
	skipped := n - len(p.fields)
	switch {
	case p.ellipsis < 0 || i < p.ellipsis:
		return &p.fields[i]
	case i >= p.ellipsis+skipped:
		return &p.fields[i-skipped]
	}
	return nil
}

func (p *fieldPattern) holds(found []string) bool {
	for i, text := range found {
		if f := p.fieldAt(i, len(found)); f != nil && f.test != nil && !f.test.holds(text) {
			return false
		}
	}
	return true
}

// splitFields cuts a message at white space; what is in double quotes or in
// brackets is one field, without them. When there would be more than atMost
// fields, the last is all the rest as it is written; less than zero is no limit.
func splitFields(message string, atMost int) []string {
	var found []string
	rest := strings.Trim(message, " \t\r\n")
	for rest != "" {
		text, n := firstField(rest)
		after := strings.TrimLeft(rest[n:], " \t\r\n")
		if len(found)+1 == atMost && after != "" {
			return append(found, rest)
		}
		found, rest = append(found, text), after
	}
	return found
}

// firstField is the field that s begins with, and its length as it is written.
func firstField(s string) (text string, n int) {
	switch s[0] {
	case '[':
		if end := strings.IndexByte(s, ']'); end > 0 {
			return s[1:end], end + 1
		}
	case '"':
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '"':
				return s[1:i], i + 1
			}
		}
	}
	if i := strings.IndexAny(s, " \t\r\n"); i >= 0 {
		return s[:i], i
	}
	return s, len(s)
}

func (p *patternParser) fields() matcher {
	open := p.at
	p.take("[")
	found := &fieldPattern{ellipsis: -1}
	seen := map[string]bool{}
	once := func(start int, name string) {
		if name != "" && seen[name] {
			p.fail(start, fmt.Sprintf("Duplicate field '%s'", name), "every field has a name of its own")
		}
		seen[name] = true
	}
	if p.take("]") { // any message
		found.ellipsis = 0
		p.end()
		return found
	}
	for p.err == nil {
		if start := p.at; p.take("...") {
			once(start, "...")
			found.ellipsis = len(found.fields)
		} else {
			name := p.word(isNameRune)
			once(start, name)
			p.space()
			f := field{name: name}
			if c := p.peek(); name != "" && c != ',' && c != ']' && c != 0 {
				p.at = start
				f.test = p.fieldEither(name)
			}
			found.fields = append(found.fields, f)
		}
		if p.err != nil || p.take("]") {
			break
		}
		if !p.take(",") {
			if p.at == len(p.text) {
				p.fail(open, invalidPattern, "this [ is never closed")
			} else {
				p.bad(p.at, p.at, "expected a comma, an operator or ]")
			}
		}
	}
	p.end()
	return found
}

func (p *patternParser) fieldEither(name string) fieldTest {
	t := p.fieldBoth(name)
	for p.take("||") {
		t = fieldEither{t, p.fieldBoth(name)}
	}
	return t
}

func (p *patternParser) fieldBoth(name string) fieldTest {
	t := p.fieldTest(name)
	for p.take("&&") {
		t = fieldBoth{t, p.fieldTest(name)}
	}
	return t
}

func (p *patternParser) fieldTest(name string) fieldTest {
	start := p.at
	if p.take("(") {
		t := p.fieldEither(name)
		if !p.take(")") && p.err == nil {
			p.unclosed(start, ")")
		}
		return t
	}
	// The guide writes W1 for w1 once.
	switch again := p.word(isNameRune); {
	case p.err != nil:
	case again == "":
		p.bad(start, start, "expected the name of the field again: "+name)
	case !strings.EqualFold(again, name):
		p.fail(start, invalidTerm(again), "the conditions of a field speak of that field: "+name)
	}
	p.space()
	c := fieldCompares(p.comparison(isFieldValueRune))
	return &c
}
