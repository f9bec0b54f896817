package state

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"
)

// Table is the records of one type. A table is declared once, as a variable, with its indexes.
type Table[R any] struct{ schema *schema }

// Index finds the records that have a value. A record may have none, one or several.
type Index[R any] struct {
	Name   string
	Values func(R) []string
}

// schema is a table for code that does not know its record type.
type schema struct {
	name     string
	format   int
	ordinal  int // in schemas, and in every image
	key      func(any) string
	decode   func([]byte) (any, error)
	indexes  []schemaIndex
	upgrades map[int]func(json.RawMessage) (json.RawMessage, error)
}

type schemaIndex struct {
	name   string
	values func(any) []string
}

// schemas are all tables of the program, in the order of their declaration.
var schemas struct {
	sync.Mutex
	list []*schema
}

// NewTable declares a table. Its name and its records' keys become the keys in the log; format is the
// version in which records are written now. Changing what a record looks like means adding one to format
// and, unless members were only added, an Upgrade.
//
// A record and all that it points to must not be modified once it was given to Put or returned by the
// store: readers share it. Change a copy.
func NewTable[R any](name string, format int, key func(R) string, indexes ...Index[R]) Table[R] {
	s := &schema{
		name:     name,
		format:   format,
		key:      func(r any) string { return key(r.(R)) },
		upgrades: map[int]func(json.RawMessage) (json.RawMessage, error){},
	}
	s.decode = func(value []byte) (any, error) {
		r, err := decode[R](s, value)
		return r, err
	}
	for _, index := range indexes {
		s.indexes = append(s.indexes, schemaIndex{index.Name, func(r any) []string { return index.Values(r.(R)) }})
	}
	if name == "" || strings.ContainsAny(name, "/\x00") || format < 1 {
		panic(fmt.Sprintf("state: a table cannot be called %q in format %d", name, format))
	}

	schemas.Lock()
	defer schemas.Unlock()
	for _, other := range schemas.list {
		if other.name == name {
			panic(fmt.Sprintf("state: two tables are called %q", name))
		}
	}
	s.ordinal = len(schemas.list)
	schemas.list = append(schemas.list, s)
	return Table[R]{s}
}

// Upgrade says how a record of version from, a JSON object, becomes one of version from+1; its member v does
// not matter. Without it the record stays as it is. For use in the table's declaration.
func (t Table[R]) Upgrade(from int, up func(json.RawMessage) (json.RawMessage, error)) Table[R] {
	if from < 1 || from >= t.schema.format || t.schema.upgrades[from] != nil {
		panic(fmt.Sprintf("state: table %q has no use for an upgrade from version %d", t.schema.name, from))
	}
	t.schema.upgrades[from] = up
	return t
}

// Name is the table's name, as in Change.Table.
func (t Table[R]) Name() string { return t.schema.name }

// Source is where records are read from: a *Reader, or a *Tx, which sees its own writes.
type Source interface {
	get(s *schema, key string) *row
	now() *image
}

// Get reads one record. In a transaction it is guarded, found or not.
func (t Table[R]) Get(src Source, key string) (R, bool) {
	r := src.get(t.schema, key)
	if r == nil {
		var none R
		return none, false
	}
	return r.record.(R), true
}

// Peek reads one record in the manner of By: not guarded. It is for looking over many records of which few
// will matter; Get those.
func (t Table[R]) Peek(src Source, key string) (R, bool) {
	r := src.now().get(t.schema, key)
	if r == nil {
		var none R
		return none, false
	}
	return r.record.(R), true
}

// By yields the records that have a value in an index, in the order of their keys. It shows the records
// as they are when the loop starts; the loop may write. Not guarded.
func (t Table[R]) By(src Source, index, value string) iter.Seq[R] {
	return records[R](src.now().by(t.schema, t.schema.index(index), value))
}

// All yields every record, in the order of their keys, in the manner of By.
func (t Table[R]) All(src Source) iter.Seq[R] {
	return records[R](src.now().all(t.schema))
}

// Count is how many records there are. It costs nothing. Not guarded.
func (t Table[R]) Count(src Source) int {
	return src.now().tables[t.schema.ordinal].rows.Len()
}

// CountBy is how many records By would yield. It looks at each. Not guarded.
func (t Table[R]) CountBy(src Source, index, value string) int {
	n := 0
	for range src.now().by(t.schema, t.schema.index(index), value) {
		n++
	}
	return n
}

// Put writes a record in the place of the one with its key. One that is the same as before is not
// written. A record that cannot be stored makes Update fail.
func (t Table[R]) Put(tx *Tx, record R) { tx.put(t.schema, t.schema.key(record), record) }

// Delete removes a record; nothing happens if there is none. Guarded either way.
func (t Table[R]) Delete(tx *Tx, key string) { tx.remove(t.schema, key) }

func (s *schema) index(name string) int {
	for i, index := range s.indexes {
		if index.name == name {
			return i
		}
	}
	panic(fmt.Sprintf("state: table %q has no index %q", s.name, name))
}

func records[R any](rows iter.Seq[*row]) iter.Seq[R] {
	return func(yield func(R) bool) {
		for r := range rows {
			if !yield(r.record.(R)) {
				return
			}
		}
	}
}
