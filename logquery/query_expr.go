package logquery

import (
	"math"
	"regexp"
	"strings"
)

// expression has a value on every row.
type expression interface{ eval(r *row) value }

type (
	literal  struct{ value }
	fieldRef struct{ name string }
	// aggregateRef is the outcome of the i-th aggregation of a stats command.
	aggregateRef struct{ i int }
	andOp        struct{ a, b expression }
	orOp         struct{ a, b expression }
	notOp        struct{ a expression }
	compareOp    struct {
		op   string
		a, b expression
	}
	likeOp struct {
		a     expression
		text  string
		regex *regexp.Regexp // instead of a text
	}
	inOp struct {
		a    expression
		list []expression
	}
	arithmeticOp struct {
		op   byte
		a, b expression
	}
	callOp struct {
		function *function
		args     []expression
	}
)

func (e literal) eval(*row) value        { return e.value }
func (e fieldRef) eval(r *row) value     { return r.field(e.name) }
func (e aggregateRef) eval(r *row) value { return r.aggregates[e.i] }
func (e andOp) eval(r *row) value        { return boolValue(e.a.eval(r).isTrue() && e.b.eval(r).isTrue()) }
func (e orOp) eval(r *row) value         { return boolValue(e.a.eval(r).isTrue() || e.b.eval(r).isTrue()) }
func (e notOp) eval(r *row) value        { return boolValue(!e.a.eval(r).isTrue()) }

// eval is false where a side is missing, but for != : a negation is true exactly
// where what it negates is false.
func (e compareOp) eval(r *row) value {
	a, b := e.a.eval(r), e.b.eval(r)
	switch e.op {
	case "=":
		return boolValue(equal(a, b))
	case "!=":
		return boolValue(!equal(a, b))
	}
	if a.kind == kindNull || b.kind == kindNull || a.kind == kindStructure || b.kind == kindStructure {
		return boolValue(false)
	}
	c := order(a, b)
	switch e.op {
	case "<":
		return boolValue(c < 0)
	case "<=":
		return boolValue(c <= 0)
	case ">":
		return boolValue(c > 0)
	default:
		return boolValue(c >= 0)
	}
}

func (e likeOp) eval(r *row) value {
	v := e.a.eval(r)
	switch {
	case v.kind == kindNull:
		return boolValue(false)
	case e.regex != nil:
		return boolValue(e.regex.MatchString(v.String()))
	}
	return boolValue(strings.Contains(v.String(), e.text))
}

func (e inOp) eval(r *row) value {
	v := e.a.eval(r)
	for _, one := range e.list {
		if equal(v, one.eval(r)) {
			return boolValue(true)
		}
	}
	return boolValue(false)
}

// eval is null where a side is no number, and where the outcome is none.
func (e arithmeticOp) eval(r *row) value {
	a, aOK := e.a.eval(r).number()
	b, bOK := e.b.eval(r).number()
	if !aOK || !bOK {
		return value{}
	}
	var n float64
	switch e.op {
	case '+':
		n = a + b
	case '-':
		n = a - b
	case '*':
		n = a * b
	case '/':
		n = a / b
	case '%':
		n = math.Mod(a, b)
	case '^':
		n = math.Pow(a, b)
	}
	return finite(n)
}

func finite(n float64) value {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return value{}
	}
	return numberValue(n)
}

func (e callOp) eval(r *row) value {
	args := make([]value, len(e.args))
	for i, arg := range e.args {
		args[i] = arg.eval(r)
		if args[i].kind == kindNull && !e.function.takesNull {
			return value{}
		}
	}
	v := e.function.call(r, args)
	if len(v.text) > maxText {
		return value{}
	}
	return v
}
