package wire

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	smithydocument "github.com/aws/smithy-go/document"
)

// kind is what a value is on the wire, whatever Go type carries it.
type kind uint8

const (
	kindString kind = iota // strings and enums
	kindBool
	kindInt
	kindFloat
	kindTime
	kindBlob
	kindList
	kindMap // keys are strings
	kindStruct
	kindUnion
	kindDocument
)

// valuePlan says how to read and write the values of one Go type.
type valuePlan struct {
	kind     kind
	typ      reflect.Type // what is held, without the pointer
	pointer  bool         // the SDK holds it by pointer, nil meaning absent
	elem     *valuePlan   // of a list or map
	fields   *structPlan  // of a struct
	members  []unionPlan  // of a union
	document func(any) any
	enum     []string // the legal values, when the type is an enum
}

// unionPlan is one member of a union: the wire key and the type that carries it.
type unionPlan struct {
	key   string
	typ   reflect.Type // the struct type XxxMemberYyy, whose only field is Value
	value *valuePlan
}

// structPlan says how to read and write the members of one struct type.
type structPlan struct {
	typ    reflect.Type
	fields []fieldPlan // by wire key, so that answers have one order
	byKey  map[string]int
	// checked is set when some member, however deep, has something to check.
	checked bool
}

type fieldPlan struct {
	key    string // on the wire
	prefix string // `"key":`
	index  int    // in the Go struct
	value  *valuePlan
	rule   *rule // nil when there is nothing to check
}

// codec makes plans and keeps them, one set per API because wire names are a
// matter of the API's model.
type codec struct {
	shapes *Shapes

	mu    sync.Mutex
	plans map[reflect.Type]*structPlan
}

// skipped are the fields that the SDK adds to its structs for itself.
var skipped = []string{"ResultMetadata", "ErrorCodeOverride"}

// structPlan returns the plan of struct type t.
func (c *codec) structPlan(t reflect.Type) *structPlan {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.plans[t]; p != nil {
		return p
	}
	p := c.plan(t)
	for again := true; again; { // recursive types: until nothing new is found
		again = false
		for _, q := range c.plans {
			if !q.checked && q.needsCheck() {
				q.checked, again = true, true
			}
		}
	}
	return p
}

func (c *codec) plan(t reflect.Type) *structPlan {
	if p := c.plans[t]; p != nil {
		return p
	}
	if c.plans == nil {
		c.plans = make(map[reflect.Type]*structPlan)
	}
	p := &structPlan{typ: t, byKey: make(map[string]int)}
	c.plans[t] = p // before its members: types can be recursive
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || slices.Contains(skipped, f.Name) {
			continue
		}
		key := c.key(t, f.Name)
		p.fields = append(p.fields, fieldPlan{
			key:    key,
			prefix: `"` + key + `":`,
			index:  i,
			value:  c.value(f.Type),
			rule:   c.rule(t, f.Name),
		})
	}
	slices.SortFunc(p.fields, func(a, b fieldPlan) int { return strings.Compare(a.key, b.key) })
	for i := range p.fields {
		p.byKey[p.fields[i].key] = i
	}
	return p
}

// key is the wire name of a member.
func (c *codec) key(t reflect.Type, name string) string {
	if c.shapes != nil {
		if key, ok := c.shapes.Keys[t.Name()+"."+name]; ok {
			return key
		}
		if c.shapes.UpperKeys {
			return name
		}
	}
	return lowerFirst(name)
}

func lowerFirst(s string) string {
	return strings.ToLower(s[:1]) + s[1:]
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	documentType = reflect.TypeFor[smithydocument.Marshaler]()
)

func (c *codec) value(t reflect.Type) *valuePlan {
	p := &valuePlan{typ: t}
	if t.Kind() == reflect.Pointer {
		p.pointer, p.typ = true, t.Elem()
	}
	switch t := p.typ; t.Kind() {
	case reflect.String:
		p.kind = kindString
		p.enum = enumValues(t)
	case reflect.Bool:
		p.kind = kindBool
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.kind = kindInt
	case reflect.Float32, reflect.Float64:
		p.kind = kindFloat
	case reflect.Slice:
		p.kind = kindList
		if t.Elem().Kind() == reflect.Uint8 {
			p.kind = kindBlob
			break
		}
		p.elem = c.value(t.Elem())
	case reflect.Map:
		p.kind = kindMap
		p.elem = c.value(t.Elem())
	case reflect.Struct:
		if t == timeType {
			p.kind = kindTime
			break
		}
		p.kind = kindStruct
		p.fields = c.plan(t)
	case reflect.Interface:
		if t.Implements(documentType) {
			p.kind = kindDocument
			if c.shapes != nil {
				p.document = c.shapes.Document
			}
			break
		}
		p.kind = kindUnion
		for name, mt := range c.shapes.unionOf(t) {
			p.members = append(p.members, unionPlan{
				key:   c.key(t, name),
				typ:   mt.Elem(),
				value: c.value(mt.Elem().Field(0).Type),
			})
		}
	default:
		panic("wire: no way to carry a " + t.String())
	}
	return p
}

// enumValues asks an SDK enum type for its legal values.
func enumValues(t reflect.Type) []string {
	m, ok := t.MethodByName("Values")
	if !ok {
		return nil
	}
	list := m.Func.Call([]reflect.Value{reflect.Zero(t)})[0]
	values := make([]string, list.Len())
	for i := range values {
		values[i] = list.Index(i).String()
	}
	return values
}

// held returns the value that a field or element holds, making it when the SDK
// holds it by pointer.
func (p *valuePlan) held(v reflect.Value) reflect.Value {
	if !p.pointer {
		return v
	}
	if v.IsNil() {
		v.Set(reflect.New(p.typ))
	}
	return v.Elem()
}

// present returns the value that a field holds and whether it is there at all.
// Numbers and bools that the SDK holds by value are always there, since the
// model gives them a default; enums and lists are there when not nil or empty.
func (p *valuePlan) present(v reflect.Value) (reflect.Value, bool) {
	if p.pointer {
		if v.IsNil() {
			return v, false
		}
		return v.Elem(), true
	}
	switch p.kind {
	case kindString:
		return v, v.Len() > 0
	case kindList, kindMap, kindBlob, kindUnion, kindDocument:
		return v, !v.IsNil()
	}
	return v, true
}

// unionMember finds the plan of the union member that v, an interface, holds,
// and the member's value.
func (p *valuePlan) unionMember(v reflect.Value) (*unionPlan, reflect.Value) {
	held := v.Elem()
	if held.Kind() != reflect.Pointer || held.IsNil() {
		return nil, reflect.Value{}
	}
	held = held.Elem()
	for i := range p.members {
		if m := &p.members[i]; m.typ == held.Type() {
			return m, held.Field(0)
		}
	}
	return nil, reflect.Value{}
}

// unionKey finds the plan of the union member that is called key on the wire.
func (p *valuePlan) unionKey(key string) *unionPlan {
	for i := range p.members {
		if p.members[i].key == key {
			return &p.members[i]
		}
	}
	return nil
}

// sortedKeys returns the keys of a map in the order in which they are written.
func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
