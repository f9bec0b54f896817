package state

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Reader sees every record at one revision.
type Reader struct{ img *image }

// Revision is what the reader sees: Watch from here on misses nothing.
func (r *Reader) Revision() Revision { return r.img.revision }

func (r *Reader) get(s *schema, key string) *row { return r.img.get(s, key) }
func (r *Reader) now() *image                    { return r.img }

// Tx sees every record at one revision, and its own writes on top. Only for use inside its function.
type Tx struct {
	store  *Store
	newID  func() string
	base   *image // as it was found: guards are versions in here
	own    *image // base with the transaction's writes; base itself until the first
	expect map[string]Revision
	writes map[string][]byte // nil: removed
	err    error             // of the first Put that could not be
	ended  []func()          // see AfterRun
}

func newTx(store *Store, base *image) *Tx {
	return &Tx{store: store, newID: store.config.NewID, base: base, own: base, expect: map[string]Revision{}, writes: map[string][]byte{}}
}

// NewID is an identifier that nothing else has: 32 hexadecimal digits, as ECS's own. A function that runs
// again is given others.
func (tx *Tx) NewID() string { return tx.newID() }

// Revision is what the transaction sees besides its own writes.
func (tx *Tx) Revision() Revision { return tx.base.revision }

func (tx *Tx) now() *image { return tx.own }

func (tx *Tx) get(s *schema, key string) *row {
	tx.guard(s, key)
	return tx.own.get(s, key)
}

// guard notes that the transaction depends on a record.
func (tx *Tx) guard(s *schema, key string) { tx.expect[s.path(key)] = tx.base.version(s, key) }

func (tx *Tx) put(s *schema, key string, record any) {
	tx.guard(s, key)
	value, err := encode(s.format, record)
	switch {
	case err != nil:
		tx.fail(s, key, err)
		return
	case key == "" || strings.Contains(key, "\x00") || len(s.path(key)) > MaxKeyBytes:
		tx.fail(s, key, fmt.Errorf("a key has 1 to %d bytes with its table's name, and no zero byte: %w", MaxKeyBytes, ErrRefused))
		return
	case len(value) > MaxRecordBytes:
		tx.fail(s, key, fmt.Errorf("it has %d bytes, and the limit is %d: %w", len(value), MaxRecordBytes, ErrRefused))
		return
	}
	if old := tx.base.get(s, key); old != nil {
		if was, err := encode(s.format, old.record); err == nil && bytes.Equal(was, value) {
			delete(tx.writes, s.path(key))
			tx.change().set(s, old)
			return
		}
	}
	tx.writes[s.path(key)] = value
	tx.change().set(s, &row{key: key, record: record})
}

func (tx *Tx) remove(s *schema, key string) {
	tx.guard(s, key)
	if tx.own.get(s, key) != nil {
		tx.change().remove(s, key)
	}
	delete(tx.writes, s.path(key))
	if tx.base.get(s, key) != nil {
		tx.writes[s.path(key)] = nil
	}
}

// change is the transaction's own image, for writing.
func (tx *Tx) change() *image {
	if tx.own == tx.base {
		tx.own = tx.base.clone()
	}
	return tx.own
}

func (tx *Tx) fail(s *schema, key string, err error) {
	if tx.err == nil {
		tx.err = fmt.Errorf("cannot store %s: %w", s.path(key), err)
	}
}

// proposal is what the transaction asks of the log.
func (tx *Tx) proposal(id string) (Proposal, error) {
	tx.guard(fences.schema, fenceKey)
	p := Proposal{ID: id, Expect: tx.expect}
	size := 0
	for path, value := range tx.writes {
		p.Writes = append(p.Writes, Write{Key: path, Value: value})
		size += len(path) + len(value)
	}
	for path := range tx.expect {
		size += len(path)
	}
	slices.SortFunc(p.Writes, func(a, b Write) int { return strings.Compare(a.Key, b.Key) })
	if len(p.Writes) > MaxWrites || len(p.Expect) > MaxGuards || size > MaxCommitBytes {
		return p, fmt.Errorf("a transaction of %d writes, %d guards and %d bytes is over the limit of %d, %d, %d: %w",
			len(p.Writes), len(p.Expect), size, MaxWrites, MaxGuards, MaxCommitBytes, ErrRefused)
	}
	return p, nil
}

// path is a record's key in the log.
func (s *schema) path(key string) string { return s.name + "/" + key }
