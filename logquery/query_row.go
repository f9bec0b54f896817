package logquery

import (
	"strconv"
	"strings"
)

// Event is a log event as a query sees it.
type Event struct {
	Timestamp     int64 // @timestamp, in milliseconds since 1970
	IngestionTime int64 // @ingestionTime, likewise
	Message       string
	LogStream     string // @logStream
	Log           string // @log: account-id:log-group-name

	// Source and Number are whatever Options.Pointer makes @ptr of, for the few events that show it.
	Source int
	Number uint64
}

// row is what goes from command to command: an event with the fields that the
// commands gave it, or a line of a stats command, which has those alone.
type row struct {
	run   *run
	event *Event // nil after stats
	bound []binding

	nodes  []jsonNode // of the event's message, when parsed
	parsed bool

	aggregates []value // while a stats command evaluates its columns
	keys       []value // what it is sorted by
	place      int     // the order in which it came
}

// binding is a field that a command made.
type binding struct {
	name  string
	value value
}

// bind gives the row a field, instead of one with the same name.
func (r *row) bind(name string, v value) {
	for i := range r.bound {
		if r.bound[i].name == name {
			r.bound[i].value = v
			return
		}
	}
	r.bound = append(r.bound, binding{name, v})
}

// field is the value of a field: one that a command made, or one of the event's,
// or one found in its message ("Supported logs and discovered fields").
func (r *row) field(name string) value {
	for _, b := range r.bound {
		if b.name == name {
			return b.value
		}
		if rest, ok := strings.CutPrefix(name, b.name); ok && rest[0] == '.' && b.value.kind == kindStructure {
			if nodes, ok := parseJSON(nil, b.value.text); ok {
				return dot(nodes, rest[1:])
			}
		}
	}
	if r.event == nil {
		return value{}
	}
	switch name {
	case "@timestamp":
		return timeValue(float64(r.event.Timestamp))
	case "@ingestionTime":
		return timeValue(float64(r.event.IngestionTime))
	case "@message":
		return textValue(r.event.Message)
	case "@logStream":
		return textValue(r.event.LogStream)
	case "@log":
		return textValue(r.event.Log)
	case "@ptr":
		return textValue(r.run.options.Pointer(*r.event))
	}
	// A discovered field that begins with @ is shown with one more.
	if rest, ok := strings.CutPrefix(name, "@"); ok && !strings.HasPrefix(rest, "@") {
		return value{}
	}
	if !r.parsed {
		r.parsed = true
		nodes, ok := parseJSONObject(r.nodes, r.event.Message)
		if !ok {
			nodes = nodes[:0]
		}
		r.nodes = nodes
	}
	return dot(r.nodes, strings.TrimPrefix(name, "@"))
}

// dot is the scalar at a path such as a.b.0.c, in which a name may hold dots of
// its own. Every node is looked at once, since the names on the way to it are
// the beginning of the path.
func dot(nodes []jsonNode, path string) value {
	if len(nodes) == 0 {
		return value{}
	}
	return dotFrom(nodes, 0, path)
}

func dotFrom(nodes []jsonNode, at int, path string) (found value) {
	parent := nodes[at]
	if parent.kind == jsonArray {
		place, rest, deeper := strings.Cut(path, ".")
		n := 0
		for _, c := range []byte(place) {
			if !isDigit(c) || n > len(nodes) {
				return value{}
			}
			n = n*10 + int(c-'0')
		}
		i, ok := jsonElement(nodes, at, n)
		switch {
		case !ok || place == "":
			return value{}
		case deeper:
			return dotFrom(nodes, i, rest)
		}
		return jsonScalar(&nodes[i])
	}
	if parent.kind != jsonObject {
		return value{}
	}
	for i := at + 1; i < parent.end; i = nodes[i].end {
		rest, ok := strings.CutPrefix(path, nodes[i].key)
		var v value
		switch {
		case !ok:
			continue
		case rest == "":
			v = jsonScalar(&nodes[i])
		case rest[0] == '.':
			v = dotFrom(nodes, i, rest[1:])
		}
		if v.kind != kindNull {
			found = v
		}
	}
	return found
}

// keep is a copy that stays when the row goes on to the next event.
func (r *row) keep() *row {
	kept := &row{run: r.run, bound: append([]binding(nil), r.bound...), keys: append([]value(nil), r.keys...), place: r.place}
	if r.event != nil {
		event := *r.event
		kept.event = &event
	}
	return kept
}

// size is about how many bytes a kept row holds.
func (r *row) size() int {
	n := 200
	if r.event != nil {
		n += len(r.event.Message) + 200
	}
	for _, b := range r.bound {
		n += 64 + len(b.value.text)
	}
	return n + 40*len(r.keys)
}

// maxDiscovered is how many fields are found in an event ("Fields in JSON logs").
const maxDiscovered = 1000

// Discover returns the fields that are found in a message, by their names in the
// query language, in the order of the message.
func Discover(message string) Row {
	nodes, ok := parseJSONObject(nil, message)
	if !ok {
		return nil
	}
	var found Row
	var walk func(at int, prefix string)
	walk = func(at int, prefix string) {
		place := 0
		for i := at + 1; i < nodes[at].end && len(found) < maxDiscovered; i = nodes[i].end {
			name := prefix + nodes[i].key
			if nodes[at].kind == jsonArray {
				name = prefix + strconv.Itoa(place)
				place++
			}
			if at == 0 && strings.HasPrefix(name, "@") {
				name = "@" + name
			}
			if v := jsonScalar(&nodes[i]); v.kind != kindNull {
				found = append(found, Field{name, v.String()})
			}
			walk(i, name+".")
		}
	}
	walk(0, "")
	return found
}
