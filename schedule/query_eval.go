package schedule

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// expression is one of term, not, both, either.
type expression interface{ holds(n *Node) bool }

type (
	not    struct{ e expression }
	both   struct{ a, b expression }
	either struct{ a, b expression }
)

func (e not) holds(n *Node) bool    { return !e.e.holds(n) }
func (e both) holds(n *Node) bool   { return e.a.holds(n) && e.b.holds(n) }
func (e either) holds(n *Node) bool { return e.a.holds(n) || e.b.holds(n) }

type field uint8

const (
	fieldAttribute field = iota
	fieldAgentConnected
	fieldAgentVersion
	fieldEC2InstanceID
	fieldRegisteredAt
	fieldRunningTasksCount
	fieldTaskGroup
)

var fieldNames = map[field]string{
	fieldAgentConnected:    "agentConnected",
	fieldAgentVersion:      "agentVersion",
	fieldEC2InstanceID:     "ec2InstanceId",
	fieldRegisteredAt:      "registeredAt",
	fieldRunningTasksCount: "runningTasksCount",
	fieldTaskGroup:         "task:group",
}

func subjectNames() []string {
	names := []string{"attribute:NAME"}
	for f := fieldAgentConnected; f <= fieldTaskGroup; f++ {
		names = append(names, fieldNames[f])
	}
	return names
}

type subject struct {
	field field
	name  string // of the attribute
}

func (s subject) String() string {
	if s.field == fieldAttribute {
		return "attribute:" + s.name
	}
	return fieldNames[s.field]
}

type test uint8

const (
	testEqual test = iota
	testGreater
	testGreaterEqual
	testLess
	testLessEqual
	testExists
	testIn
	testMatches
)

// takes follows the tables of valid operators in the ECS developer guide.
func (s subject) takes(t test) bool {
	ordered := t == testGreater || t == testGreaterEqual || t == testLess || t == testLessEqual
	switch s.field {
	case fieldAgentVersion, fieldRegisteredAt, fieldRunningTasksCount:
		return ordered || t == testEqual
	case fieldAgentConnected, fieldEC2InstanceID, fieldTaskGroup:
		return t == testEqual || t == testIn || t == testMatches
	}
	return true
}

// value is an argument, read once as what its subject is compared with.
type value struct {
	text   string
	number float64
	isNum  bool
	date   time.Time
}

func (s subject) parse(text string) (v value, ok bool) {
	v.text = text
	v.number, v.isNum = parseNumber(text)
	switch s.field {
	case fieldAgentConnected:
		return v, text == "true" || text == "false"
	case fieldAgentVersion:
		return v, text != "" && '0' <= text[0] && text[0] <= '9'
	case fieldRunningTasksCount:
		return v, v.isNum
	case fieldRegisteredAt:
		v.date, ok = parseDate(text)
		return v, ok
	}
	return v, true
}

func (s subject) wants() string {
	switch s.field {
	case fieldAgentConnected:
		return "true or false"
	case fieldAgentVersion:
		return "a version, such as 1.105.0"
	case fieldRunningTasksCount:
		return "a number"
	case fieldRegisteredAt:
		return "a date, such as 2018-06-18 or 2018-06-18T22:28:28Z"
	}
	return "a text"
}

// term is subject, operator and argument.
type term struct {
	subject subject
	test    test
	values  []value        // one, but for testIn
	pattern *regexp.Regexp // for testMatches
}

func (t term) holds(n *Node) bool {
	switch t.subject.field {
	case fieldTaskGroup: // a node has many groups: one of them will do
		for group, count := range n.Groups {
			if count > 0 && t.holdsText(group) {
				return true
			}
		}
		return false
	case fieldAttribute:
		text, ok := n.Attributes[t.subject.name]
		return ok && (t.test == testExists || t.holdsText(text))
	case fieldAgentConnected:
		return t.holdsText(strconv.FormatBool(n.Connected))
	case fieldEC2InstanceID:
		return n.EC2InstanceID != "" && t.holdsText(n.EC2InstanceID)
	case fieldAgentVersion:
		return n.AgentVersion != "" && t.test.holds(compareVersions(n.AgentVersion, t.values[0].text))
	case fieldRegisteredAt:
		return !n.RegisteredAt.IsZero() && t.test.holds(n.RegisteredAt.Compare(t.values[0].date))
	default: // fieldRunningTasksCount
		return t.test.holds(cmp.Compare(float64(n.Running), t.values[0].number))
	}
}

func (t term) holdsText(text string) bool {
	switch t.test {
	case testMatches:
		return t.pattern.MatchString(text)
	case testEqual:
		return text == t.values[0].text
	case testIn:
		for i := range t.values {
			if text == t.values[i].text {
				return true
			}
		}
		return false
	}
	return t.test.holds(compareTexts(text, t.values[0]))
}

func (t test) holds(order int) bool {
	switch t {
	case testGreater:
		return order > 0
	case testGreaterEqual:
		return order >= 0
	case testLess:
		return order < 0
	case testLessEqual:
		return order <= 0
	}
	return order == 0
}

// compareTexts orders two numbers as numbers and anything else as versions,
// which puts kernel-5.9 before kernel-5.10.
func compareTexts(a string, b value) int {
	if number, ok := parseNumber(a); ok && b.isNum {
		return cmp.Compare(number, b.number)
	}
	return compareVersions(a, b.text)
}

// compareVersions orders part by part: runs of digits as numbers, and the rest
// as text. What goes on after a dash comes before what ends there, as 1.2-rc1
// comes before 1.2; any other longer version comes after the shorter.
func compareVersions(a, b string) int {
	a, b = strings.TrimPrefix(a, "v"), strings.TrimPrefix(b, "v")
	for a != "" && b != "" {
		partA, restA := cutPart(a)
		partB, restB := cutPart(b)
		if order := compareParts(partA, partB); order != 0 {
			return order
		}
		a, b = restA, restB
	}
	switch {
	case a == b:
		return 0
	case strings.HasPrefix(a, "-"), b != "" && b[0] != '-':
		return -1
	}
	return 1
}

// cutPart cuts off a run of digits, or one byte that is none.
func cutPart(s string) (part, rest string) {
	n := len(s) - len(strings.TrimLeft(s, "0123456789"))
	return s[:max(n, 1)], s[max(n, 1):]
}

func compareParts(a, b string) int {
	digits := func(s string) bool { return '0' <= s[0] && s[0] <= '9' }
	if !digits(a) || !digits(b) {
		return cmp.Compare(a, b)
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
