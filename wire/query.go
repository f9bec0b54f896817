package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query is the dialect AWS Query: the operation and its input are form
// parameters, a member of a member is written with dots (Tags.member.1.Key), and
// the answer is XML.
var Query Dialect = query{}

type query struct{}

var queryFaults = [numberOfFaults]faultAnswer{
	MissingToken:     {"MissingAuthenticationToken", 403},
	IncompleteToken:  {"IncompleteSignature", 400},
	UnknownKey:       {"InvalidClientTokenId", 403},
	BadSignature:     {"SignatureDoesNotMatch", 403},
	SignatureExpired: {"SignatureDoesNotMatch", 403},
	TokenExpired:     {"ExpiredToken", 403},
	UnknownOperation: {"InvalidAction", 400},
	UnknownProtocol:  {"InvalidAction", 404},
	BadBody:          {"MalformedInput", 400},
	BodyTooLarge:     {"RequestEntityTooLarge", 413},
	BadInput:         {"ValidationError", 400},
	Internal:         {"InternalFailure", 500},
}

func (query) fault(f Fault) faultAnswer { return queryFaults[f] }
func (query) contentType() string       { return "text/xml" }

// Limits on parameters, which are read before it is known who sent them. No model
// comes near.
const (
	maxQueryParams = 10_000
	maxQueryDepth  = 32 // of a parameter's name
)

// param is what is written for one member: a text, or members of its own.
type param struct {
	text    string
	set     bool
	members map[string]*param
}

// parseQuery reads form parameters into a tree.
func parseQuery(body []byte) (*param, error) {
	root := &param{}
	if bytes.Count(body, []byte("&")) >= maxQueryParams {
		return nil, badBody("too many parameters")
	}
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, badBody("Invalid parameter name: " + err.Error())
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, badBody("Invalid value of " + name + ": " + err.Error())
		}
		if strings.Count(name, ".") > maxQueryDepth {
			return nil, badBody("Invalid parameter name: too many dots")
		}
		at := root
		for part := range strings.SplitSeq(name, ".") {
			if at.members == nil {
				at.members = make(map[string]*param)
			}
			next := at.members[part]
			if next == nil {
				next = &param{}
				at.members[part] = next
			}
			at = next
		}
		at.text, at.set = value, true
	}
	return root, nil
}

func (query) decode(op *operation, body []byte, in reflect.Value) error {
	root, err := parseQuery(body)
	if err != nil {
		return err
	}
	return root.structure(op.input, in)
}

func (q *param) structure(p *structPlan, v reflect.Value) error {
	for i := range p.fields {
		f := &p.fields[i]
		m := q.members[f.key]
		if m == nil {
			continue
		}
		if err := m.value(f.value, v.Field(f.index)); err != nil {
			return within(f.key, err)
		}
	}
	return nil
}

// within adds where in the input it was to what was wrong.
func within(key string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{e.Fault, key + ": " + e.Message}
	}
	return err
}

func (q *param) value(p *valuePlan, v reflect.Value) error {
	switch p.kind {
	case kindStruct:
		return q.structure(p.fields, p.held(v))
	case kindList:
		return q.list(p, v)
	case kindMap:
		return q.mapping(p, v)
	case kindUnion:
		return q.union(p, v)
	case kindDocument:
		return nil // no query API has any
	}
	if !q.set {
		return nil
	}
	return q.scalar(p, p.held(v))
}

func (q *param) scalar(p *valuePlan, v reflect.Value) error {
	malformed := func(what string) error {
		return badBody(fmt.Sprintf("'%s' is not a valid %s", q.text, what))
	}
	switch p.kind {
	case kindString:
		v.SetString(q.text)
	case kindBool:
		b, err := strconv.ParseBool(q.text)
		if err != nil {
			return malformed("boolean")
		}
		v.SetBool(b)
	case kindInt:
		n, err := strconv.ParseInt(q.text, 10, v.Type().Bits())
		if err != nil {
			return malformed("integer")
		}
		v.SetInt(n)
	case kindFloat:
		f, err := strconv.ParseFloat(q.text, 64)
		if err != nil {
			return malformed("number")
		}
		v.SetFloat(f)
	case kindTime:
		t, err := time.Parse(time.RFC3339, q.text)
		if err != nil {
			return malformed("timestamp")
		}
		v.Set(reflect.ValueOf(t.UTC()))
	case kindBlob:
		data, err := base64.StdEncoding.DecodeString(q.text)
		if err != nil {
			return malformed("base64 value")
		}
		v.SetBytes(data)
	}
	return nil
}

// numbered returns the members called 1, 2, 3 ... in that order. Gaps close up.
func (q *param) numbered() ([]*param, error) {
	numbers := make([]int, 0, len(q.members))
	byNumber := make(map[int]*param, len(q.members))
	for name, m := range q.members {
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 {
			return nil, badBody(fmt.Sprintf("'%s' is not a position in a list", name))
		}
		if byNumber[n] == nil {
			numbers = append(numbers, n)
		}
		byNumber[n] = m
	}
	slices.Sort(numbers)
	list := make([]*param, len(numbers))
	for i, n := range numbers {
		list[i] = byNumber[n]
	}
	return list, nil
}

func (q *param) list(p *valuePlan, v reflect.Value) error {
	var elems []*param
	if member := q.members["member"]; member != nil {
		var err error
		if elems, err = member.numbered(); err != nil {
			return err
		}
	}
	v.Set(reflect.MakeSlice(p.typ, len(elems), len(elems)))
	for i, elem := range elems {
		if err := elem.value(p.elem, v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (q *param) mapping(p *valuePlan, v reflect.Value) error {
	v.Set(reflect.MakeMap(p.typ))
	entries := q.members["entry"]
	if entries == nil {
		return nil
	}
	list, err := entries.numbered()
	if err != nil {
		return err
	}
	for _, entry := range list {
		key, value := entry.members["key"], entry.members["value"]
		if key == nil || value == nil {
			return badBody("An entry of a map has a key and a value.")
		}
		elem := reflect.New(p.typ.Elem()).Elem()
		if err := value.value(p.elem, elem); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key.text).Convert(p.typ.Key()), elem)
	}
	return nil
}

func (q *param) union(p *valuePlan, v reflect.Value) error {
	for key, given := range q.members {
		m := p.unionKey(key)
		if m == nil {
			continue
		}
		if !v.IsNil() {
			return badBody("Exactly one member of a union is to be set, found more.")
		}
		member := reflect.New(m.typ)
		if err := given.value(m.value, member.Elem().Field(0)); err != nil {
			return err
		}
		v.Set(member)
	}
	return nil
}

func (query) encode(b []byte, op *operation, out reflect.Value, requestID string) ([]byte, error) {
	b = append(b, '<')
	b = append(b, op.name...)
	b = append(b, `Response xmlns="`...)
	b = appendXMLText(b, op.api.Namespace)
	b = append(b, `">`...)
	// The result is there when it is empty, too: the SDK looks for it (ELBv2's DeleteRule).
	b = appendTag(b, "<", op.name+"Result")
	b, err := appendXMLStruct(b, op.output, out)
	if err != nil {
		return b, err
	}
	b = appendTag(b, "</", op.name+"Result")
	b = append(b, "<ResponseMetadata>"...)
	b = appendXMLElement(b, "RequestId", requestID)
	b = append(b, "</ResponseMetadata></"...)
	b = append(b, op.name...)
	return append(b, "Response>"...), nil
}

func (query) encodeError(b []byte, a *API, ans answer, requestID string) ([]byte, error) {
	b = append(b, "<ErrorResponse"...)
	if a != nil && a.Namespace != "" {
		b = append(b, ` xmlns="`...)
		b = appendXMLText(b, a.Namespace)
		b = append(b, '"')
	}
	b = append(b, "><Error>"...)
	if ans.server {
		b = appendXMLElement(b, "Type", "Receiver")
	} else {
		b = appendXMLElement(b, "Type", "Sender")
	}
	b = appendXMLElement(b, "Code", ans.code)
	b = appendXMLElement(b, "Message", ans.message)
	if ans.plan != nil {
		for i := range ans.plan.fields {
			f := &ans.plan.fields[i]
			held, ok := f.value.present(ans.members.Field(f.index))
			if !ok || f.key == "message" || f.key == "Message" {
				continue
			}
			b = appendTag(b, "<", f.key)
			var err error
			if b, err = appendXML(b, f.value, held); err != nil {
				return b, err
			}
			b = appendTag(b, "</", f.key)
		}
	}
	b = append(b, "</Error>"...)
	b = appendXMLElement(b, "RequestId", requestID)
	return append(b, "</ErrorResponse>"...), nil
}

func appendTag(b []byte, open, name string) []byte {
	b = append(b, open...)
	b = append(b, name...)
	return append(b, '>')
}

func appendXMLElement(b []byte, name, text string) []byte {
	b = appendTag(b, "<", name)
	b = appendXMLText(b, text)
	return appendTag(b, "</", name)
}

func appendXMLText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '&' || c == '<' || c == '>' || c == '"' || c == '\'' {
			var escaped bytes.Buffer
			xml.EscapeText(&escaped, []byte(s)) //nolint:errcheck // a bytes.Buffer takes all
			return append(b, escaped.Bytes()...)
		}
	}
	return append(b, s...)
}

func appendXMLStruct(b []byte, p *structPlan, v reflect.Value) ([]byte, error) {
	for i := range p.fields {
		f := &p.fields[i]
		held, ok := f.value.present(v.Field(f.index))
		if !ok {
			continue
		}
		b = appendTag(b, "<", f.key)
		var err error
		if b, err = appendXML(b, f.value, held); err != nil {
			return b, err
		}
		b = appendTag(b, "</", f.key)
	}
	return b, nil
}

// appendXML writes the content of an element for a value that is present.
func appendXML(b []byte, p *valuePlan, v reflect.Value) ([]byte, error) {
	var err error
	switch p.kind {
	case kindString:
		b = appendXMLText(b, v.String())
	case kindBool:
		b = strconv.AppendBool(b, v.Bool())
	case kindInt:
		b = strconv.AppendInt(b, v.Int(), 10)
	case kindFloat:
		if f := v.Float(); math.IsInf(f, 0) {
			b = append(b, strings.TrimPrefix(fmt.Sprintf("%finity", f), "+")...)
		} else {
			b = strconv.AppendFloat(b, f, 'g', -1, v.Type().Bits())
		}
	case kindTime:
		b = v.Interface().(time.Time).UTC().AppendFormat(b, "2006-01-02T15:04:05.999Z")
	case kindBlob:
		b = base64.StdEncoding.AppendEncode(b, v.Bytes())
	case kindList:
		for i := range v.Len() {
			b = append(b, "<member>"...)
			if b, err = appendXMLElem(b, p.elem, v.Index(i)); err != nil {
				return b, err
			}
			b = append(b, "</member>"...)
		}
	case kindMap:
		for _, key := range sortedKeys(v) {
			b = append(b, "<entry>"...)
			b = appendXMLElement(b, "key", key.String())
			b = append(b, "<value>"...)
			if b, err = appendXMLElem(b, p.elem, v.MapIndex(key)); err != nil {
				return b, err
			}
			b = append(b, "</value></entry>"...)
		}
	case kindStruct:
		return appendXMLStruct(b, p.fields, v)
	case kindUnion:
		m, mv := p.unionMember(v)
		if m == nil {
			return b, fmt.Errorf("cannot write %s: not a member of %s", v.Elem().Type(), p.typ)
		}
		b = appendTag(b, "<", m.key)
		if b, err = appendXMLElem(b, m.value, mv); err != nil {
			return b, err
		}
		b = appendTag(b, "</", m.key)
	case kindDocument:
		return b, fmt.Errorf("cannot write a document as XML")
	}
	return b, nil
}

// appendXMLElem writes an element that has a place even when it is empty.
func appendXMLElem(b []byte, p *valuePlan, v reflect.Value) ([]byte, error) {
	held, ok := p.present(v)
	if !ok {
		return b, nil
	}
	return appendXML(b, p, held)
}
