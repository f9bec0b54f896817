package logquery

import (
	"regexp"
	"strings"
)

// rowCommand is a command that looks at one row at a time: it changes the row, and
// says whether it goes on.
type rowCommand interface{ apply(r *row) bool }

type (
	filterCommand     struct{ condition expression }
	bindCommand       column
	parseRegexCommand struct {
		from  expression
		regex *regexp.Regexp
		names []string
	}
	parseGlobCommand struct {
		from  expression
		parts []string
		names []string
	}
	// sortCommand notes what the rows will be sorted by where the segment ends, so
	// that no more of them need to be held than are wanted.
	sortCommand []orderBy
)

func (c filterCommand) apply(r *row) bool { return c.condition.eval(r).isTrue() }

func (c bindCommand) apply(r *row) bool {
	r.bind(c.name, c.value.eval(r))
	return true
}

// apply gives the row the regular expression's named groups; where there is no
// match the fields are missing.
func (c parseRegexCommand) apply(r *row) bool {
	text := c.from.eval(r).String()
	found := c.regex.FindStringSubmatchIndex(text)
	for i, name := range c.names {
		switch {
		case name == "":
		case found == nil || found[2*i] < 0:
			r.bind(name, value{})
		default:
			r.bind(name, textValue(text[found[2*i]:found[2*i+1]]))
		}
	}
	return true
}

func (c parseGlobCommand) apply(r *row) bool {
	v := c.from.eval(r)
	found, ok := cutGlob(c.parts, v.String())
	for i, name := range c.names {
		if !ok || v.kind == kindNull {
			r.bind(name, value{})
		} else {
			r.bind(name, textValue(found[i]))
		}
	}
	return true
}

// cutGlob is what stands for the stars between the parts of a glob: as little as
// can be for each, all the rest for one at the end.
func cutGlob(parts []string, text string) ([]string, bool) {
	at := strings.Index(text, parts[0])
	if at < 0 {
		return nil, false
	}
	text = text[at+len(parts[0]):]
	found := make([]string, 0, len(parts)-1)
	for i, part := range parts[1:] {
		if part == "" && i == len(parts)-2 {
			return append(found, text), true
		}
		at := strings.Index(text, part)
		if at < 0 {
			return nil, false
		}
		found = append(found, text[:at])
		text = text[at+len(part):]
	}
	return found, true
}

func (c sortCommand) apply(r *row) bool {
	r.keys = r.keys[:0]
	for _, o := range c {
		r.keys = append(r.keys, o.by.eval(r))
	}
	return true
}

// statsCommand makes a row for each group of rows.
type statsCommand struct {
	aggregations []aggregation
	columns      []column
	by           []column
}
