package logquery

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// value is what an expression has on a row.
type value struct {
	kind valueKind
	text string  // of a text, of a structure as JSON, and of a number that was spelled in an event
	n    float64 // of a number; 1 for true; milliseconds since 1970 for a time
}

type valueKind uint8

const (
	kindNull valueKind = iota // a field that the event does not have
	kindText
	kindNumber
	kindBoolean
	kindTime
	kindStructure // a map or list, by jsonParse
)

func textValue(s string) value    { return value{kind: kindText, text: s} }
func timeValue(ms float64) value  { return value{kind: kindTime, n: ms} }
func numberValue(n float64) value { return value{kind: kindNumber, n: n} }

func boolValue(b bool) value {
	if b {
		return value{kind: kindBoolean, n: 1}
	}
	return value{kind: kindBoolean}
}

// number is the value as a number. A text that spells one is one.
func (v value) number() (float64, bool) {
	switch v.kind {
	case kindNumber, kindBoolean, kindTime:
		return v.n, true
	case kindText:
		return parseNumber(v.text)
	}
	return 0, false
}

func (v value) isTrue() bool {
	n, ok := v.number()
	return ok && n != 0
}

// String is the value as GetQueryResults shows it.
func (v value) String() string {
	switch v.kind {
	case kindNumber:
		if v.text != "" {
			return v.text
		}
		return formatNumber(v.n)
	case kindBoolean:
		return formatNumber(v.n)
	case kindTime:
		return formatTime(v.n)
	}
	return v.text
}

// decimals is how many digits after the point a computed number is shown with.
const decimals = 4

// formatNumber writes a number as Insights does: no exponent, at most four
// digits after the point and none that say nothing.
func formatNumber(n float64) string {
	s := strconv.FormatFloat(n, 'f', decimals, 64)
	s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

func formatTime(ms float64) string {
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02 15:04:05.000")
}

// equal compares as = does: as numbers where both sides are, else as texts. What
// is missing equals nothing, and a structure neither.
func equal(a, b value) bool {
	if a.kind == kindNull || b.kind == kindNull || a.kind == kindStructure || b.kind == kindStructure {
		return false
	}
	if a.kind == kindText && b.kind == kindText && a.text == b.text {
		return true
	}
	x, aNumber := a.number()
	y, bNumber := b.number()
	switch {
	case aNumber && bNumber:
		return x == y
	case a.kind == kindBoolean || b.kind == kindBoolean:
		return boolText(a) == boolText(b)
	}
	return a.String() == b.String()
}

// boolText is how a boolean is spelled in JSON.
func boolText(v value) string {
	if v.kind != kindBoolean {
		return v.String()
	}
	return strconv.FormatBool(v.n != 0)
}

// order is the order of sort, and of <, min and max where both sides are there:
// what is missing, then texts, then numbers ("sort" in the User Guide).
func order(a, b value) int {
	x, aNumber := a.number()
	y, bNumber := b.number()
	switch {
	case aNumber && bNumber:
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	case rank(a, aNumber) != rank(b, bNumber):
		return rank(a, aNumber) - rank(b, bNumber)
	}
	return strings.Compare(a.String(), b.String())
}

func rank(v value, isNumber bool) int {
	switch {
	case v.kind == kindNull:
		return 0
	case !isNumber:
		return 1
	}
	return 2
}

// jsonScalar is the value of a node: a map or list is none.
func jsonScalar(n *jsonNode) value {
	switch n.kind {
	case jsonString:
		return textValue(n.text)
	case jsonNumber:
		number, err := strconv.ParseFloat(n.text, 64)
		if err != nil || math.IsInf(number, 0) {
			return textValue(n.text)
		}
		return value{kind: kindNumber, text: n.text, n: number}
	case jsonTrue, jsonFalse:
		return boolValue(n.kind == jsonTrue)
	}
	return value{}
}
