package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"time"

	smithydocument "github.com/aws/smithy-go/document"
)

// AWSJSON is the dialect AWS JSON 1.1: the operation is named by the header
// X-Amz-Target, input and output are JSON objects, times are seconds since 1970,
// blobs are base64, null is the same as absent, unknown members are ignored.
//
// It is spoken by POST with its own content type. A request that names an operation
// in another way is answered as AWS does, with UnknownOperationException and 404;
// AWS says it in XML, and without a sentence that says why.
var AWSJSON Dialect = awsJSON{}

type awsJSON struct{}

var jsonFaults = [numberOfFaults]faultAnswer{
	MissingToken:     {"MissingAuthenticationTokenException", 400},
	IncompleteToken:  {"IncompleteSignatureException", 400},
	UnknownKey:       {"UnrecognizedClientException", 400},
	BadSignature:     {"InvalidSignatureException", 400},
	SignatureExpired: {"InvalidSignatureException", 400},
	TokenExpired:     {"ExpiredTokenException", 400},
	UnknownOperation: {"UnknownOperationException", 400},
	UnknownProtocol:  {"UnknownOperationException", http.StatusNotFound},
	BadBody:          {"SerializationException", 400},
	BodyTooLarge:     {"RequestEntityTooLargeException", http.StatusRequestEntityTooLarge},
	BadInput:         {"ValidationException", 400},
	Internal:         {"ServerException", 500},
}

func (awsJSON) fault(f Fault) faultAnswer { return jsonFaults[f] }
func (awsJSON) contentType() string       { return "application/x-amz-json-1.1" }

func (awsJSON) decode(op *operation, body []byte, in reflect.Value) error {
	// The standard library judges the grammar, so that the reader below can
	// trust it and stay small.
	if len(bytes.TrimSpace(body)) == 0 {
		return nil // AWS takes no body for an empty input
	}
	if !json.Valid(body) {
		return badBody("Could not parse request body into json: " + grammarError(body))
	}
	d := jsonReader{b: body, room: maxElements}
	return d.structure(op.input, in)
}

func grammarError(body []byte) string {
	var v json.RawMessage
	if err := json.Unmarshal(body, &v); err != nil {
		return err.Error()
	}
	return "malformed"
}

func badBody(text string) error { return &Error{BadBody, text} }

func (d *jsonReader) structure(p *structPlan, v reflect.Value) error {
	if err := d.open('{', "a structure"); err != nil {
		return err
	}
	for d.more('}') {
		i, known := p.byKey[string(d.text())]
		if !known {
			d.skip()
			continue
		}
		f := &p.fields[i]
		if err := d.value(f.value, v.Field(f.index)); err != nil {
			return err
		}
	}
	return nil
}

// value reads one value into a field. Null leaves the field as it is.
func (d *jsonReader) value(p *valuePlan, v reflect.Value) error {
	if p.kind == kindDocument {
		return d.document(p, v)
	}
	if d.null() {
		return nil
	}
	v = p.held(v)
	switch p.kind {
	case kindStruct:
		return d.structure(p.fields, v)
	case kindList:
		return d.list(p, v)
	case kindMap:
		return d.mapping(p, v)
	case kindUnion:
		return d.union(p, v)
	default:
		return d.scalar(p, v)
	}
}

func (d *jsonReader) scalar(p *valuePlan, v reflect.Value) error {
	c := d.next()
	switch p.kind {
	case kindString:
		if c != '"' {
			return d.mistaken(c, "a String")
		}
		v.SetString(string(d.text()))
	case kindBool:
		switch c {
		case 't':
			d.i += len("true")
			v.SetBool(true)
		case 'f':
			d.i += len("false")
			v.SetBool(false)
		default:
			return d.mistaken(c, "a Boolean")
		}
	case kindInt:
		return d.integer(c, v)
	case kindFloat:
		f, err := d.float(c)
		if err != nil {
			return err
		}
		v.SetFloat(f)
	case kindTime:
		if c == '"' || !isNumber(c) {
			return d.mistaken(c, "a Timestamp")
		}
		t, err := parseEpoch(string(d.number()))
		if err != nil {
			return badBody(err.Error())
		}
		v.Set(reflect.ValueOf(t))
	case kindBlob:
		if c != '"' {
			return d.mistaken(c, "a Blob")
		}
		data, err := base64.StdEncoding.AppendDecode([]byte{}, d.text())
		if err != nil {
			return badBody("Invalid base64 encoded data")
		}
		v.SetBytes(data)
	}
	return nil
}

func isNumber(c byte) bool { return c == '-' || '0' <= c && c <= '9' }

var integerNames = map[reflect.Kind]string{
	reflect.Int8: "a Byte", reflect.Int16: "a Short", reflect.Int32: "an Integer", reflect.Int64: "a Long",
}

func (d *jsonReader) integer(c byte, v reflect.Value) error {
	name := integerNames[v.Kind()]
	if !isNumber(c) {
		return d.mistaken(c, name)
	}
	text := string(d.number())
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // 1e3 and 5.0 are integers too
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
			return badBody("NUMBER_VALUE " + text + " can not be converted to " + name)
		}
		n = int64(f)
	}
	if v.OverflowInt(n) {
		return badBody("NUMBER_VALUE " + text + " can not be converted to " + name)
	}
	v.SetInt(n)
	return nil
}

func (d *jsonReader) float(c byte) (float64, error) {
	if c == '"' {
		switch text := string(d.text()); text {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		return 0, d.mistaken(c, "a Double")
	}
	if !isNumber(c) {
		return 0, d.mistaken(c, "a Double")
	}
	text := string(d.number())
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, badBody("NUMBER_VALUE " + text + " can not be converted to a Double")
	}
	return f, nil
}

func (d *jsonReader) list(p *valuePlan, v reflect.Value) error {
	if err := d.open('[', "a list"); err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(p.typ, 0, 0))
	for n := 0; d.more(']'); n++ {
		if d.null() {
			// The SDK's types have no place for it, and dropping an element
			// would do something that was not asked for.
			return badBody(fmt.Sprintf("Null value found at position %d of a list where not expected.", n+1))
		}
		if d.room -= int(p.elem.typ.Size()) + elementCost; d.room < 0 {
			return badBody("The lists have too many elements.")
		}
		if n == v.Cap() {
			v.Grow(1)
		}
		v.SetLen(n + 1)
		if err := d.value(p.elem, v.Index(n)); err != nil {
			return err
		}
	}
	return nil
}

func (d *jsonReader) mapping(p *valuePlan, v reflect.Value) error {
	if err := d.open('{', "a map"); err != nil {
		return err
	}
	v.Set(reflect.MakeMap(p.typ))
	elem := reflect.New(p.typ.Elem()).Elem()
	for d.more('}') {
		key := reflect.ValueOf(string(d.text())).Convert(p.typ.Key())
		if d.null() {
			continue // null is absent
		}
		if d.room -= int(p.elem.typ.Size()) + elementCost; d.room < 0 {
			return badBody("The maps have too many entries.")
		}
		elem.SetZero()
		if err := d.value(p.elem, elem); err != nil {
			return err
		}
		v.SetMapIndex(key, elem)
	}
	return nil
}

func (d *jsonReader) union(p *valuePlan, v reflect.Value) error {
	if err := d.open('{', "a structure"); err != nil {
		return err
	}
	for d.more('}') {
		key := string(d.text())
		if d.null() {
			continue
		}
		m := p.unionKey(key)
		if m == nil {
			d.skip()
			continue
		}
		if !v.IsNil() {
			return badBody("Exactly one member of a union is to be set, found more.")
		}
		member := reflect.New(m.typ)
		if err := d.value(m.value, member.Elem().Field(0)); err != nil {
			return err
		}
		v.Set(member)
	}
	return nil
}

func (d *jsonReader) document(p *valuePlan, v reflect.Value) error {
	raw := d.skip()
	if p.document == nil || string(raw) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var decoded any
	if err := dec.Decode(&decoded); err != nil {
		return badBody(err.Error())
	}
	v.Set(reflect.ValueOf(p.document(documentNumbers(decoded))))
	return nil
}

// documentNumbers turns the numbers of encoding/json into those that the SDK's
// documents know, which keep every digit as well.
func documentNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return smithydocument.Number(v)
	case []any:
		for i := range v {
			v[i] = documentNumbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = documentNumbers(v[key])
		}
	}
	return v
}

func (awsJSON) encode(b []byte, op *operation, out reflect.Value, _ string) ([]byte, error) {
	return appendJSONStruct(b, op.output, out)
}

func (awsJSON) encodeError(b []byte, _ *API, a answer, _ string) ([]byte, error) {
	b = append(b, `{"__type":`...)
	b = appendJSONString(b, a.code)
	said := false
	message := func() { // in its place between the members
		b = append(b, `,"message":`...)
		b = appendJSONString(b, a.message)
		said = true
	}
	if a.plan != nil {
		for i := range a.plan.fields {
			f := &a.plan.fields[i]
			held, ok := f.value.present(a.members.Field(f.index))
			if !ok || f.key == "message" || f.key == "Message" {
				continue
			}
			if !said && f.key > "message" {
				message()
			}
			b = append(b, ',')
			b = append(b, f.prefix...)
			var err error
			if b, err = appendJSON(b, f.value, held); err != nil {
				return b, err
			}
		}
	}
	if !said {
		message()
	}
	return append(b, '}'), nil
}

func appendJSONStruct(b []byte, p *structPlan, v reflect.Value) ([]byte, error) {
	b = append(b, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		held, ok := f.value.present(v.Field(f.index))
		if !ok {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.prefix...)
		var err error
		if b, err = appendJSON(b, f.value, held); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

// appendJSON writes a value that is present.
func appendJSON(b []byte, p *valuePlan, v reflect.Value) ([]byte, error) {
	var err error
	switch p.kind {
	case kindString:
		b = appendJSONString(b, v.String())
	case kindBool:
		b = strconv.AppendBool(b, v.Bool())
	case kindInt:
		b = strconv.AppendInt(b, v.Int(), 10)
	case kindFloat:
		b = appendJSONFloat(b, v.Float(), v.Type().Bits())
	case kindTime:
		b = appendEpoch(b, v.Interface().(time.Time))
	case kindBlob:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes())
		b = append(b, '"')
	case kindList:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSONElem(b, p.elem, v.Index(i)); err != nil {
				return b, err
			}
		}
		b = append(b, ']')
	case kindMap:
		b = append(b, '{')
		for i, key := range sortedKeys(v) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONString(b, key.String())
			b = append(b, ':')
			if b, err = appendJSONElem(b, p.elem, v.MapIndex(key)); err != nil {
				return b, err
			}
		}
		b = append(b, '}')
	case kindStruct:
		return appendJSONStruct(b, p.fields, v)
	case kindUnion:
		m, mv := p.unionMember(v)
		if m == nil {
			return b, fmt.Errorf("cannot write %s: not a member of %s", v.Elem().Type(), p.typ)
		}
		b = append(b, '{')
		b = appendJSONString(b, m.key)
		b = append(b, ':')
		if b, err = appendJSONElem(b, m.value, mv); err != nil {
			return b, err
		}
		b = append(b, '}')
	case kindDocument:
		text, err := v.Interface().(smithydocument.Marshaler).MarshalSmithyDocument()
		if err != nil {
			return b, fmt.Errorf("cannot write document: %w", err)
		}
		b = append(b, text...)
	}
	return b, nil
}

// appendJSONElem writes an element, which has a place even when it is empty.
func appendJSONElem(b []byte, p *valuePlan, v reflect.Value) ([]byte, error) {
	if held, ok := p.present(v); ok || p.kind == kindString && !p.pointer {
		return appendJSON(b, p, held)
	}
	switch {
	case p.kind == kindList:
		return append(b, "[]"...), nil
	case p.kind == kindMap:
		return append(b, "{}"...), nil
	}
	return append(b, "null"...), nil
}
