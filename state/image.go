package state

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/benbjohnson/immutable"
)

// image is every record at one revision. It is shared between readers and never modified once it was
// published: a commit works on a clone, whose maps share what did not change.
type image struct {
	revision Revision
	tables   []tableImage // by schema.ordinal
}

type tableImage struct {
	rows    *immutable.SortedMap[string, *row]
	indexes []*immutable.SortedMap[indexKey, *row] // as schema.indexes
}

// row is a record in an image.
type row struct {
	key      string
	record   any      // the table's record type, by value
	revision Revision // at which it was last written; zero in a transaction that has not committed
}

// indexKey orders an index by value, then key. A record stands there once for each of its values.
type indexKey struct{ value, key string }

type byKey struct{}

func (byKey) Compare(a, b string) int { return strings.Compare(a, b) }

type byValue struct{}

func (byValue) Compare(a, b indexKey) int {
	return cmp.Or(strings.Compare(a.value, b.value), strings.Compare(a.key, b.key))
}

func newImage(schemas []*schema) *image {
	img := &image{tables: make([]tableImage, len(schemas))}
	for i, s := range schemas {
		img.tables[i] = tableImage{rows: immutable.NewSortedMap[string, *row](byKey{})}
		for range s.indexes {
			img.tables[i].indexes = append(img.tables[i].indexes, immutable.NewSortedMap[indexKey, *row](byValue{}))
		}
	}
	return img
}

// clone may be modified without img changing.
func (img *image) clone() *image {
	c := &image{revision: img.revision, tables: append([]tableImage(nil), img.tables...)}
	for i := range c.tables {
		c.tables[i].indexes = append([]*immutable.SortedMap[indexKey, *row](nil), c.tables[i].indexes...)
	}
	return c
}

func (img *image) get(s *schema, key string) *row {
	r, _ := img.tables[s.ordinal].rows.Get(key)
	return r
}

// version is the revision at which a key was last written; zero if it is absent.
func (img *image) version(s *schema, key string) Revision {
	if r := img.get(s, key); r != nil {
		return r.revision
	}
	return 0
}

// set replaces the record with r's key. Only for a clone that is not yet published.
func (img *image) set(s *schema, r *row) {
	t := &img.tables[s.ordinal]
	old, replaces := t.rows.Get(r.key)
	t.rows = t.rows.Set(r.key, r)
	for i, index := range s.indexes {
		values := index.values(r.record)
		if replaces {
			for _, value := range index.values(old.record) {
				if !slices.Contains(values, value) {
					t.indexes[i] = t.indexes[i].Delete(indexKey{value, r.key})
				}
			}
		}
		for _, value := range values {
			t.indexes[i] = t.indexes[i].Set(indexKey{value, r.key}, r)
		}
	}
}

// remove is set's opposite.
func (img *image) remove(s *schema, key string) {
	img.unindex(s, key)
	t := &img.tables[s.ordinal]
	t.rows = t.rows.Delete(key)
}

func (img *image) unindex(s *schema, key string) {
	t := &img.tables[s.ordinal]
	old, ok := t.rows.Get(key)
	if !ok {
		return
	}
	for i, index := range s.indexes {
		for _, value := range index.values(old.record) {
			t.indexes[i] = t.indexes[i].Delete(indexKey{value, key})
		}
	}
}

// all yields a table's rows in the order of their keys.
func (img *image) all(s *schema) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		for it := img.tables[s.ordinal].rows.Iterator(); !it.Done(); {
			if _, r, _ := it.Next(); !yield(r) {
				return
			}
		}
	}
}

// by yields the rows that have a value in an index, in the order of their keys.
func (img *image) by(s *schema, index int, value string) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		it := img.tables[s.ordinal].indexes[index].Iterator()
		for it.Seek(indexKey{value: value}); !it.Done(); {
			if k, r, _ := it.Next(); k.value != value || !yield(r) {
				return
			}
		}
	}
}

// loader builds an image in place: a hundred thousand records in a tenth of the time that clones take.
type loader struct {
	schemas []*schema
	rows    []*immutable.SortedMapBuilder[string, *row]
	indexes [][]*immutable.SortedMapBuilder[indexKey, *row]
}

func newLoader(schemas []*schema) *loader {
	l := &loader{schemas: schemas, indexes: make([][]*immutable.SortedMapBuilder[indexKey, *row], len(schemas))}
	for i, s := range schemas {
		l.rows = append(l.rows, immutable.NewSortedMapBuilder[string, *row](byKey{}))
		for range s.indexes {
			l.indexes[i] = append(l.indexes[i], immutable.NewSortedMapBuilder[indexKey, *row](byValue{}))
		}
	}
	return l
}

// add takes a row whose key it has not seen before.
func (l *loader) add(s *schema, r *row) {
	l.rows[s.ordinal].Set(r.key, r)
	for i, index := range s.indexes {
		for _, value := range index.values(r.record) {
			l.indexes[s.ordinal][i].Set(indexKey{value, r.key}, r)
		}
	}
}

func (l *loader) image(at Revision) *image {
	img := &image{revision: at, tables: make([]tableImage, len(l.schemas))}
	for i := range l.schemas {
		img.tables[i].rows = l.rows[i].Map()
		for _, b := range l.indexes[i] {
			img.tables[i].indexes = append(img.tables[i].indexes, b.Map())
		}
	}
	return img
}
