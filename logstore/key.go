package logstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
)

// ID is a group's or a stream's: the 32 hexadecimal digits of state's identifiers.
type ID [16]byte

// ParseID reads an identifier as state writes it.
func ParseID(text string) (ID, error) {
	var id ID
	if len(text) != 2*len(id) {
		return id, fmt.Errorf("cannot read id %q: it has not 32 digits", text)
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return id, fmt.Errorf("cannot read id %q: %w", text, err)
	}
	return id, nil
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Position is a place in the order of events. The first event ever has number 1.
type Position struct {
	Time   int64 // milliseconds since 1970; not negative
	Number uint64
}

// Next is the first position after p.
func (p Position) Next() Position {
	if p.Number == math.MaxUint64 {
		return Position{p.Time + 1, 0}
	}
	return Position{p.Time, p.Number + 1}
}

// Before says whether p comes before o.
func (p Position) Before(o Position) bool {
	return p.Time < o.Time || p.Time == o.Time && p.Number < o.Number
}

// Since is where events of a time, in milliseconds since 1970, begin.
func Since(ms int64) Position { return Position{Time: max(ms, 0)} }

// End is after every event.
var End = Position{Time: math.MaxInt64}

// The kinds of key.
const (
	eventKind   = 'e'
	summaryKind = 'm'
	groupKind   = 'g'
	numberKind  = 'n'
)

const (
	idSize    = len(ID{})
	eventSize = 1 + idSize + idSize + 8 + 8
)

func eventKey(group, stream ID, p Position) []byte {
	k := make([]byte, 0, eventSize)
	k = prefix(k, eventKind, group, stream)
	k = binary.BigEndian.AppendUint64(k, uint64(p.Time))
	return binary.BigEndian.AppendUint64(k, p.Number)
}

func prefix(k []byte, kind byte, ids ...ID) []byte {
	k = append(k, kind)
	for _, id := range ids {
		k = append(k, id[:]...)
	}
	return k
}

func keyOf(kind byte, ids ...ID) []byte { return prefix(nil, kind, ids...) }

// span is all keys that begin with a prefix, as a half-open range.
func span(prefix []byte) (from, to []byte) {
	to = bytes.Clone(prefix)
	for i := len(to) - 1; i >= 0; i-- {
		if to[i]++; to[i] != 0 {
			return prefix, to[:i+1]
		}
	}
	panic("unreachable: a key begins with its kind, which is a letter") //nolint:forbidigo // a mistake in the program
}

// readEvent reads an event's key and value. The engine checks what it stores, so one that cannot be read was written
// by another program.
func readEvent(key, value []byte) (Event, error) {
	if len(key) != eventSize || key[0] != eventKind {
		return Event{}, fmt.Errorf("cannot read event: key %x", key)
	}
	later, n := binary.Varint(value)
	if n <= 0 {
		return Event{}, fmt.Errorf("cannot read event: value of key %x", key)
	}
	e := Event{Stream: ID(key[1+idSize:])}
	e.Time = int64(binary.BigEndian.Uint64(key[1+2*idSize:]))
	e.Number = binary.BigEndian.Uint64(key[1+2*idSize+8:])
	e.Ingested = e.Time + later
	e.Message = string(value[n:])
	return e, nil
}
