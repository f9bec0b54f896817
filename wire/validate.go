package wire

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// rule is a Rule made ready for use.
type rule struct {
	Rule
	pattern *regexp.Regexp
	each    *rule
}

func (c *codec) rule(t reflect.Type, name string) *rule {
	if c.shapes == nil {
		return nil
	}
	r, ok := c.shapes.Rules[t.Name()+"."+name]
	if !ok {
		return nil
	}
	return newRule(&r)
}

func newRule(r *Rule) *rule {
	if r == nil {
		return nil
	}
	made := &rule{Rule: *r, each: newRule(r.Each)}
	if r.Pattern != "" {
		made.pattern = regexp.MustCompile("^(?:" + r.Pattern + ")$")
	}
	return made
}

func (p *structPlan) needsCheck() bool {
	for i := range p.fields {
		if p.fields[i].rule != nil || p.fields[i].value.needsCheck() {
			return true
		}
	}
	return false
}

func (p *valuePlan) needsCheck() bool {
	switch p.kind {
	case kindString:
		return p.enum != nil
	case kindList, kindMap:
		return p.elem.needsCheck()
	case kindStruct:
		return p.fields.checked
	case kindUnion:
		return slices.ContainsFunc(p.members, func(m unionPlan) bool { return m.value.needsCheck() })
	}
	return false
}

// maxViolations bounds how many violations one answer lists.
const maxViolations = 10

// checker collects what the model forbids in a value. The path is kept as a
// stack, so that legal input costs no strings.
type checker struct {
	path       []string
	violations []string
}

// check returns AWS's sentence about everything in v that the model forbids, or
// "" when v is legal.
func (p *structPlan) check(v reflect.Value) string {
	if !p.checked {
		return ""
	}
	var c checker
	c.structure(p, v)
	switch n := len(c.violations); n {
	case 0:
		return ""
	case 1:
		return "1 validation error detected: " + c.violations[0]
	default:
		return fmt.Sprintf("%d validation errors detected: %s", n, strings.Join(c.violations, "; "))
	}
}

func (c *checker) structure(p *structPlan, v reflect.Value) {
	for i := range p.fields {
		f := &p.fields[i]
		if f.rule == nil && !f.value.needsCheck() {
			continue
		}
		c.path = append(c.path, f.key)
		c.value(f.value, f.rule, v.Field(f.index))
		c.path = c.path[:len(c.path)-1]
	}
}

func (c *checker) value(p *valuePlan, r *rule, v reflect.Value) {
	held, ok := p.present(v)
	if !ok {
		if r != nil && r.Required {
			c.violate("null", "Member must not be null")
		}
		return
	}
	if r != nil && (p.pointer || !held.IsZero()) { // a number that is held by value has zero for absent
		c.limits(p, r, held)
	}
	switch p.kind {
	case kindString:
		if p.enum != nil && !slices.Contains(p.enum, held.String()) {
			c.violate(quote(held.String()), "Member must satisfy enum value set: ["+strings.Join(p.enum, ", ")+"]")
		}
	case kindList:
		var each *rule
		if r != nil {
			each = r.each
		}
		if each == nil && !p.elem.needsCheck() {
			return
		}
		for i := range held.Len() {
			c.path = append(c.path, strconv.Itoa(i+1), "member")
			c.value(p.elem, each, held.Index(i))
			c.path = c.path[:len(c.path)-2]
		}
	case kindMap:
		if !p.elem.needsCheck() {
			return
		}
		for key, elem := range held.Seq2() {
			c.path = append(c.path, key.String(), "member")
			c.value(p.elem, nil, elem)
			c.path = c.path[:len(c.path)-2]
		}
	case kindStruct:
		c.structure(p.fields, held)
	case kindUnion:
		if m, mv := p.unionMember(held); m != nil {
			c.path = append(c.path, m.key)
			c.value(m.value, nil, mv)
			c.path = c.path[:len(c.path)-1]
		}
	}
}

func (c *checker) limits(p *valuePlan, r *rule, v reflect.Value) {
	var n float64
	what, text := "length", ""
	switch p.kind {
	case kindString:
		text = quote(v.String())
		n = float64(utf8.RuneCountInString(v.String()))
	case kindList, kindMap, kindBlob:
		text = "of a list"
		n = float64(v.Len())
	case kindInt:
		what, n = "value", float64(v.Int())
		text = quote(strconv.FormatInt(v.Int(), 10))
	case kindFloat:
		what, n = "value", v.Float()
		text = quote(strconv.FormatFloat(v.Float(), 'f', -1, 64))
	default:
		return
	}
	if r.Min != nil && n < *r.Min {
		c.violate(text, fmt.Sprintf("Member must have %s greater than or equal to %v", what, *r.Min))
	}
	if r.Max != nil && n > *r.Max {
		c.violate(text, fmt.Sprintf("Member must have %s less than or equal to %s", what, strconv.FormatFloat(*r.Max, 'f', -1, 64)))
	}
	if r.pattern != nil && p.kind == kindString && !r.pattern.MatchString(v.String()) {
		c.violate(text, "Member must satisfy regular expression pattern: "+r.Pattern)
	}
}

func (c *checker) violate(value, constraint string) {
	if len(c.violations) == maxViolations {
		return
	}
	c.violations = append(c.violations,
		"Value "+value+" at '"+strings.Join(c.path, ".")+"' failed to satisfy constraint: "+constraint)
}

func quote(s string) string { return "'" + s + "'" }
