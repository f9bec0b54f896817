package logquery

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep the JSON of an event may nest: what is deeper is read as
// text that is not JSON. It bounds the stack.
const maxDepth = 200

type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonFalse
	jsonTrue
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// jsonNode is a value in a JSON text. The nodes of a text are one slice, each
// before its children: these are from the next index up to end, and the one
// after a child is at the child's end. Texts share the message's memory, so that
// most events are read with one allocation or none.
type jsonNode struct {
	kind jsonKind
	key  string // in an object
	text string // of a string without quotes and escapes, of a number as it was written
	end  int    // the index after the last descendant
}

// parseJSON reads a JSON text (RFC 8259) into nodes, whose memory it may use. It
// takes what encoding/json takes, but for the depth.
func parseJSON(nodes []jsonNode, text string) ([]jsonNode, bool) {
	if nodes == nil { // a comma parts two values; the rest are the first in theirs
		nodes = make([]jsonNode, 0, min(strings.Count(text, ",")+4, 256))
	}
	p := jsonParser{text: text, nodes: nodes[:0]}
	p.space()
	if !p.value("", maxDepth) {
		return p.nodes, false
	}
	p.space()
	return p.nodes, p.at == len(text)
}

// parseJSONObject reads a text that is one JSON object; patterns and discovered
// fields know no other.
func parseJSONObject(nodes []jsonNode, text string) ([]jsonNode, bool) {
	if trimmed := strings.TrimLeft(text, " \t\r\n"); trimmed == "" || trimmed[0] != '{' {
		return nodes, false
	}
	return parseJSON(nodes, text)
}

// jsonMember is the index of an object's member, or of an array's element when
// its place is the name. Of members with one name the last counts.
func jsonMember(nodes []jsonNode, parent int, name string) (found int, ok bool) {
	for i := parent + 1; i < nodes[parent].end; i = nodes[i].end {
		if nodes[i].key == name {
			found, ok = i, true
		}
	}
	return found, ok
}

// jsonElement is the index of an array's element.
func jsonElement(nodes []jsonNode, parent, place int) (int, bool) {
	for i := parent + 1; i < nodes[parent].end; i = nodes[i].end {
		if place == 0 {
			return i, true
		}
		place--
	}
	return 0, false
}

type jsonParser struct {
	text  string
	at    int
	nodes []jsonNode
}

func (p *jsonParser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

func (p *jsonParser) take(s string) bool {
	if !strings.HasPrefix(p.text[p.at:], s) {
		return false
	}
	p.at += len(s)
	return true
}

func (p *jsonParser) value(key string, depth int) bool {
	if p.at == len(p.text) || depth == 0 {
		return false
	}
	me := len(p.nodes)
	p.nodes = append(p.nodes, jsonNode{key: key})
	var kind jsonKind
	var text string
	ok := false
	switch c := p.text[p.at]; {
	case c == '{':
		kind, ok = jsonObject, p.members('}', depth)
	case c == '[':
		kind, ok = jsonArray, p.members(']', depth)
	case c == '"':
		kind = jsonString
		text, ok = p.string()
	case c == '-' || isDigit(c):
		kind = jsonNumber
		n := numberLength(p.text[p.at:])
		text, ok = p.text[p.at:p.at+n], n > 0
		p.at += n
	case c == 't':
		kind, ok = jsonTrue, p.take("true")
	case c == 'f':
		kind, ok = jsonFalse, p.take("false")
	case c == 'n':
		kind, ok = jsonNull, p.take("null")
	}
	p.nodes[me].kind, p.nodes[me].text, p.nodes[me].end = kind, text, len(p.nodes)
	return ok
}

// members reads what is between braces or brackets.
func (p *jsonParser) members(closing byte, depth int) bool {
	p.at++
	p.space()
	if p.at < len(p.text) && p.text[p.at] == closing {
		p.at++
		return true
	}
	for {
		p.space()
		key := ""
		if closing == '}' {
			if p.at == len(p.text) || p.text[p.at] != '"' {
				return false
			}
			var ok bool
			if key, ok = p.string(); !ok {
				return false
			}
			p.space()
			if !p.take(":") {
				return false
			}
			p.space()
		}
		if !p.value(key, depth-1) {
			return false
		}
		p.space()
		if p.at == len(p.text) {
			return false
		}
		p.at++
		switch p.text[p.at-1] {
		case closing:
			return true
		case ',':
		default:
			return false
		}
	}
}

// string reads a string in quotes.
func (p *jsonParser) string() (string, bool) {
	start := p.at + 1
	for i := start; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.at = i + 1
			return p.text[start:i], true
		case c == '\\':
			return p.escaped(start, i)
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped goes on with a string that has its first escape at i.
func (p *jsonParser) escaped(start, i int) (string, bool) {
	var b strings.Builder
	b.WriteString(p.text[start:i])
	for i < len(p.text) {
		switch c := p.text[i]; {
		case c == '"':
			p.at = i + 1
			return b.String(), true
		case c < ' ':
			return "", false
		case c != '\\':
			b.WriteByte(c)
			i++
		default:
			r, n := unescape(p.text[i:])
			if n == 0 {
				return "", false
			}
			b.WriteRune(r)
			i += n
		}
	}
	return "", false
}

// unescape is the character that an escape stands for, and the escape's length,
// 0 when it is none. Half a surrogate pair stands for U+FFFD.
func unescape(s string) (rune, int) {
	if len(s) < 2 {
		return 0, 0
	}
	if i := strings.IndexByte(`"\/bfnrt`, s[1]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), 2
	}
	high, ok := hex4(s)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(high) {
		if low, ok := hex4(s[6:]); ok {
			if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
				return r, 12
			}
		}
		return utf8.RuneError, 6
	}
	return high, 6
}

func hex4(s string) (r rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for i := 2; i < 6; i++ {
		switch c := s[i]; {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// numberLength is the length of the JSON number that s begins with, or 0.
func numberLength(s string) int {
	digits := func(i int) int {
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		return i
	}
	start := 0
	if strings.HasPrefix(s, "-") {
		start = 1
	}
	i := digits(start)
	if i == start || s[start] == '0' && i > start+1 {
		return 0
	}
	if i < len(s) && s[i] == '.' {
		j := digits(i + 1)
		if j == i+1 {
			return 0
		}
		i = j
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		k := digits(j)
		if k == j {
			return 0
		}
		i = k
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
