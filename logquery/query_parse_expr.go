package logquery

import (
	"fmt"
	"slices"
	"strings"
)

func (p *queryParser) expression() expression {
	if p.depth++; p.depth > maxNesting {
		p.fail(p.tok, fmt.Sprintf("an expression nests at most %d deep", maxNesting))
	}
	defer func() { p.depth-- }()
	e := p.and()
	for p.takeWord("or") {
		e = orOp{e, p.and()}
	}
	return e
}

func (p *queryParser) and() expression {
	e := p.not()
	for p.takeWord("and") {
		e = andOp{e, p.not()}
	}
	return e
}

func (p *queryParser) not() expression {
	negated := false
	for p.takeWord("not") {
		negated = !negated
	}
	e := p.comparison()
	if negated {
		e = notOp{e}
	}
	return e
}

func (p *queryParser) comparison() expression {
	e := p.sum()
	for p.err == nil {
		at := p.tok
		switch {
		case at.kind == tokenSign && slices.Contains([]string{"=", "!=", "<", "<=", ">", ">="}, at.text):
			p.next()
			e = compareOp{at.text, e, p.sum()}
		case p.take("=~"), p.takeWord("like"):
			e = p.like(e)
		case p.takeWord("in"):
			e = p.in(e)
		case p.takeWord("not"):
			switch {
			case p.takeWord("like"):
				e = notOp{p.like(e)}
			case p.takeWord("in"):
				e = notOp{p.in(e)}
			default:
				p.fail(p.tok, "after not comes like or in")
			}
		default:
			return e
		}
	}
	return e
}

func (p *queryParser) like(a expression) expression {
	at := p.tok
	switch {
	case at.sign("/"):
		return likeOp{a: a, regex: p.regex()}
	case at.kind == tokenText:
		p.next()
		return likeOp{a: a, text: at.text}
	}
	p.fail(at, "expected a text in quotes, or a regular expression between slashes")
	return a
}

func (p *queryParser) in(a expression) expression {
	if p.tok.sign("(") {
		p.fail(p.tok, "subqueries are not supported; a list is in brackets")
		return a
	}
	p.expect("[")
	e := inOp{a: a}
	for more := true; more && p.err == nil; more = p.take(",") {
		e.list = append(e.list, p.sum())
	}
	p.expect("]")
	return e
}

func (p *queryParser) sum() expression {
	e := p.product()
	for p.tok.sign("+") || p.tok.sign("-") {
		op := p.tok.text[0]
		p.next()
		e = arithmeticOp{op, e, p.product()}
	}
	return e
}

func (p *queryParser) product() expression {
	e := p.power()
	for p.tok.sign("*") || p.tok.sign("/") || p.tok.sign("%") {
		op := p.tok.text[0]
		p.next()
		e = arithmeticOp{op, e, p.power()}
	}
	return e
}

func (p *queryParser) power() expression {
	e := p.signed()
	if p.tok.sign("^") {
		p.depth++
		if p.depth > maxNesting {
			p.fail(p.tok, fmt.Sprintf("an expression nests at most %d deep", maxNesting))
		}
		p.next()
		e = arithmeticOp{'^', e, p.power()}
		p.depth--
	}
	return e
}

func (p *queryParser) signed() expression {
	negative := false
	for p.tok.sign("-") || p.tok.sign("+") {
		negative = negative != p.tok.sign("-")
		p.next()
	}
	e := p.primary()
	if !negative {
		return e
	}
	if l, ok := e.(literal); ok && l.kind == kindNumber {
		return literal{numberValue(-l.n)}
	}
	return arithmeticOp{'-', literal{numberValue(0)}, e}
}

func (p *queryParser) primary() expression {
	at := p.tok
	switch {
	case p.take("("):
		e := p.expression()
		p.expect(")")
		return e
	case at.kind == tokenNumber:
		p.next()
		n, ok := parseNumber(at.text)
		if !ok {
			p.fail(at, "this number is too large")
		}
		return literal{numberValue(n)}
	case at.kind == tokenText:
		p.next()
		return literal{textValue(at.text)}
	case at.kind == tokenPeriod:
		p.fail(at, "a period stands in bin, datefloor and dateceil; a name that begins with a digit goes in backticks")
	case at.word("true"), at.word("false"):
		p.next()
		return literal{boolValue(at.word("true"))}
	case at.kind == tokenName:
		p.next()
		if p.take("(") {
			return p.call(at)
		}
		if p.stats != nil {
			p.outside = append(p.outside, at)
		} else {
			p.see(at)
		}
		return fieldRef{at.text}
	default:
		p.fail(at, "expected a field, a value, a function or a parenthesis")
	}
	return literal{}
}

// call reads the arguments of a function, after its parenthesis.
func (p *queryParser) call(at token) expression {
	name := strings.ToLower(at.text)
	if _, ok := aggregations[name]; ok {
		return p.aggregation(at, name)
	}
	switch name {
	case "bin":
		e := floorOp{a: fieldRef{"@timestamp"}, period: p.period()}
		p.expect(")")
		return e
	case "datefloor", "dateceil":
		e := floorOp{a: p.expression(), up: name == "dateceil"}
		p.expect(",")
		e.period = p.period()
		p.expect(")")
		return e
	}
	f := functions[name]
	if f == nil && name != "regexreplace" {
		p.fail(at, "there is no function "+at.text)
		return literal{}
	}
	var args []expression
	pattern := token{}
	if !p.tok.sign(")") {
		for more := true; more && p.err == nil; more = p.take(",") {
			if len(args) == 1 {
				pattern = p.tok
			}
			args = append(args, p.expression())
		}
	}
	closing := p.tok
	p.expect(")")
	if name == "regexreplace" && p.err == nil {
		if pattern.kind != tokenText {
			p.fail(at, "the second argument of regexReplace is a regular expression in quotes")
			return literal{}
		}
		f = regexReplace(p.compile(pattern))
	}
	if p.err == nil && (len(args) < f.least || f.most >= 0 && len(args) > f.most) {
		p.fail(closing, fmt.Sprintf("%s does not take %d arguments", at.text, len(args)))
	}
	return callOp{f, args}
}

func (p *queryParser) period() period {
	at := p.tok
	if at.kind != tokenPeriod {
		p.fail(at, "expected a period, such as 5m or 1h")
		return period{}
	}
	p.next()
	found, err := parsePeriod(at.text)
	if err != nil {
		p.fail(at, err.Error())
	}
	return found
}

// aggregation reads the arguments of an aggregation, after its parenthesis.
func (p *queryParser) aggregation(at token, name string) expression {
	s := p.stats
	if s == nil {
		p.fail(at, at.text+" is an aggregation, which stands in a stats command and in no other aggregation")
		return literal{}
	}
	a := aggregation{name: name}
	switch {
	case name == "count" && (p.tok.sign(")") || p.take("*")):
	default:
		p.stats = nil // what is in it speaks of the rows before
		a.arg = p.expression()
		p.stats = s
	}
	if name == "pct" {
		p.expect(",")
		percent, ok := parseNumber(p.tok.text)
		if p.tok.kind != tokenNumber || !ok || percent > 100 {
			p.fail(p.tok, "expected which percentile, from 0 to 100")
		}
		a.percent = percent
		p.next()
	}
	p.expect(")")
	s.aggregations = append(s.aggregations, a)
	return aggregateRef{len(s.aggregations) - 1}
}
