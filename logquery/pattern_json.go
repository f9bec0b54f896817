package logquery

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// jsonPattern wants JSON objects of which a condition holds.
type jsonPattern struct{ root condition }

func (p *jsonPattern) match(message string) bool {
	nodes, ok := parseJSONObject(nil, message)
	return ok && p.root.holds(nodes)
}

func (p *jsonPattern) extract(message string) (map[string]string, bool) { return nil, p.match(message) }

// condition is something to hold of an object, whose nodes it is given.
type condition interface{ holds(nodes []jsonNode) bool }

type (
	bothHold   struct{ a, b condition }
	eitherHold struct{ a, b condition }
)

func (c bothHold) holds(nodes []jsonNode) bool   { return c.a.holds(nodes) && c.b.holds(nodes) }
func (c eitherHold) holds(nodes []jsonNode) bool { return c.a.holds(nodes) || c.b.holds(nodes) }

// jsonTest asks something of the values that a selector finds.
type jsonTest struct {
	selector []step
	test     jsonTestKind
	comparison
}

type jsonTestKind uint8

const (
	jsonCompares jsonTestKind = iota
	jsonNotExists
	jsonIsNull
	jsonIsTrue
	jsonIsFalse
)

// holds is true when one of the values that were found is as asked. Only strings
// and numbers compare: != does not hold of what is missing, null, true, false, an
// array or an object.
func (t *jsonTest) holds(nodes []jsonNode) bool {
	if t.test == jsonNotExists {
		return !find(nodes, 0, t.selector, func(*jsonNode) bool { return true })
	}
	return find(nodes, 0, t.selector, func(n *jsonNode) bool {
		switch t.test {
		case jsonIsNull:
			return n.kind == jsonNull
		case jsonIsTrue:
			return n.kind == jsonTrue
		case jsonIsFalse:
			return n.kind == jsonFalse
		}
		switch n.kind {
		case jsonString:
			return t.comparison.holds(n.text, false)
		case jsonNumber:
			return t.comparison.holds(n.text, true)
		}
		return false
	})
}

// step is one step of a selector, from a value to one in it.
type step struct {
	kind  stepKind
	name  string // for stepMember
	index int    // for stepElement
}

type stepKind uint8

const (
	stepMember  stepKind = iota // of an object
	stepElement                 // of an array
	stepAny                     // every member or element
)

// find says whether want is true of one of the values that the steps lead to.
func find(nodes []jsonNode, from int, steps []step, want func(*jsonNode) bool) bool {
	if len(steps) == 0 {
		return want(&nodes[from])
	}
	kind := nodes[from].kind
	switch s := steps[0]; {
	case s.kind == stepMember && kind == jsonObject:
		i, ok := jsonMember(nodes, from, s.name)
		return ok && find(nodes, i, steps[1:], want)
	case s.kind == stepElement && kind == jsonArray:
		i, ok := jsonElement(nodes, from, s.index)
		return ok && find(nodes, i, steps[1:], want)
	case s.kind == stepAny && (kind == jsonObject || kind == jsonArray):
		for i := from + 1; i < nodes[from].end; i = nodes[i].end {
			if find(nodes, i, steps[1:], want) {
				return true
			}
		}
	}
	return false
}

func (p *patternParser) json() matcher {
	open := p.at
	p.take("{")
	root := p.condition()
	if !p.take("}") && p.err == nil {
		p.unclosed(open, "}")
	}
	p.end()
	return &jsonPattern{root}
}

// unclosed refuses what stands where closing should.
func (p *patternParser) unclosed(open int, closing string) {
	if p.at == len(p.text) {
		p.fail(open, invalidPattern, fmt.Sprintf("this %c is never closed", p.text[open]))
	} else {
		p.bad(p.at, p.at, "expected &&, || or "+closing)
	}
}

func (p *patternParser) condition() condition {
	c := p.both()
	for p.take("||") {
		c = eitherHold{c, p.both()}
	}
	return c
}

func (p *patternParser) both() condition {
	c := p.test()
	for p.take("&&") {
		c = bothHold{c, p.test()}
	}
	return c
}

func (p *patternParser) test() condition {
	open := p.at
	if p.take("(") {
		c := p.condition()
		if !p.take(")") && p.err == nil {
			p.unclosed(open, ")")
		}
		return c
	}
	t := &jsonTest{selector: p.selector()}
	p.space()
	switch start := p.at; {
	case p.err != nil:
	case p.keyword("NOT"):
		if t.test = jsonNotExists; !p.keyword("EXISTS") {
			p.badWord("after NOT comes EXISTS")
		}
	case p.keyword("IS"):
		switch {
		case p.keyword("NULL"):
			t.test = jsonIsNull
		case p.keyword("TRUE"):
			t.test = jsonIsTrue
		case p.keyword("FALSE"):
			t.test = jsonIsFalse
		default:
			p.badWord("after IS comes NULL, TRUE or FALSE")
		}
	case p.keyword("EXISTS"):
		p.fail(start, invalidPattern, `there is no EXISTS; a comparison such as = "*" holds of every text and number`)
	default:
		if t.comparison = p.comparison(isValueRune); t.bare && t.text == "null" {
			p.fail(start, invalidPattern, "to ask for null write IS NULL; the text null needs double quotes")
		}
	}
	return t
}

// keyword steps over a word that stands alone.
func (p *patternParser) keyword(word string) bool {
	rest := p.text[p.at:]
	if !strings.HasPrefix(rest, word) || len(rest) > len(word) && isNameRune(rune(rest[len(word)])) {
		return false
	}
	return p.take(word)
}

// badWord refuses the word that comes next.
func (p *patternParser) badWord(reason string) {
	start := p.at
	if word := p.word(isNameRune); word != "" || p.at == len(p.text) {
		p.fail(start, invalidTerm(word), reason)
	} else {
		p.bad(start, start, reason)
	}
}

func (p *patternParser) selector() []step {
	start := p.at
	if p.peek() != '$' {
		p.bad(start, min(start, len(p.text)), "expected a selector, such as $.name or $.list[0].id")
		return nil
	}
	p.at++
	var steps []step
	wildcards := 0
	for p.err == nil && (p.peek() == '.' || p.peek() == '[') {
		s := p.step(start)
		if s.kind == stepAny {
			wildcards++
		}
		steps = append(steps, s)
	}
	if p.wildcards += min(wildcards, 1); p.err == nil {
		switch {
		case len(steps) == 0:
			p.fail(start, invalidTerm("$"), "expected a selector, such as $.name or $.list[0].id")
		case wildcards > 1:
			p.fail(start, "Your filter pattern has a JSON path selector that exceeds the maximum of 1 wildcard allowed per json selector.", "the second in this selector is too much")
		case p.wildcards > MaxPatternWildcards:
			p.fail(start, fmt.Sprintf("Your input has exceeded the maximum of %d JSON wildcard selectors allowed per filter pattern.", MaxPatternWildcards), "this is one more")
		}
	}
	return steps
}

func (p *patternParser) step(start int) step {
	dot := p.peek() == '.'
	if dot {
		p.at++
	}
	switch {
	case dot && p.peek() == '*':
		p.at++
		return step{kind: stepAny}
	case p.peek() != '[':
		name := p.word(isNameRune)
		if name == "" {
			p.bad(start, min(p.at, len(p.text)), "expected a name; one with other signs than - and _ is written ['name']")
		}
		return step{kind: stepMember, name: name}
	}
	open := p.at
	p.at++
	var s step
	switch c := p.peek(); {
	case c == '*' && !dot:
		p.at++
		s.kind = stepAny
	case isDigit(c) && !dot:
		digits := p.word(func(r rune) bool { return '0' <= r && r <= '9' })
		index, err := strconv.Atoi(digits)
		if err != nil {
			p.fail(open, invalidTerm("["+digits), "no list is that long")
		}
		s.kind, s.index = stepElement, index
	case c == '\'':
		end := strings.IndexByte(p.text[p.at+1:], '\'')
		if end < 0 {
			p.fail(open, invalidTerm(p.text[open:]), "this quote is never closed")
			return s
		}
		s.name = p.text[p.at+1 : p.at+1+end]
		p.at += end + 2
	default:
		p.bad(open, min(p.at, len(p.text)), "in brackets is a number, * or a name in single quotes")
	}
	if p.err == nil {
		if p.peek() != ']' {
			p.bad(open, min(p.at, len(p.text)), "expected ]")
			return s
		}
		p.at++
	}
	return s
}

func isNameRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-'
}
