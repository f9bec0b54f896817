package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Overhead is how many bytes an event counts beside its message, as CloudWatch Logs counts (PutLogEvents, quotas).
const Overhead = 26

// Summary is what is known of a stream without reading it. Times are milliseconds since 1970; First and Last are of the
// events that are still there, and have no meaning when Events is zero.
type Summary struct {
	First, Last int64
	Ingested    int64 // when the last append was
	Bytes       int64 // of messages, and Overhead for each event
	Events      int64
}

// with is the summary after an event more.
func (s Summary) with(e Event) Summary {
	if s.Events == 0 || e.Time < s.First {
		s.First = e.Time
	}
	if s.Events == 0 || e.Time > s.Last {
		s.Last = e.Time
	}
	s.Ingested = max(s.Ingested, e.Ingested)
	s.Bytes += size(e)
	s.Events++
	return s
}

func size(e Event) int64 { return int64(len(e.Message)) + Overhead }

// summaryFormat is the version of how a summary is written.
const summaryFormat = 1

func (s Summary) encode() []byte {
	b := []byte{summaryFormat}
	for _, n := range []int64{s.First, s.Last, s.Ingested, s.Bytes, s.Events} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func readSummary(b []byte) (s Summary, err error) {
	if len(b) == 0 || b[0] != summaryFormat {
		return s, fmt.Errorf("cannot read the summary of a log stream: %x", b)
	}
	b = b[1:]
	for _, to := range []*int64{&s.First, &s.Last, &s.Ingested, &s.Bytes, &s.Events} {
		n, size := binary.Varint(b)
		if size <= 0 {
			return Summary{}, fmt.Errorf("cannot read the summary of a log stream: %d bytes are missing", 1-size)
		}
		*to, b = n, b[size:]
	}
	return s, nil
}

// getSummary reads a stream's summary; the zero one when nothing was appended yet.
func getSummary(r pebble.Reader, group, stream ID) (Summary, error) {
	b, err := get(r, keyOf(summaryKind, group, stream))
	if err != nil || b == nil {
		return Summary{}, err
	}
	return readSummary(b)
}

// getBytes reads how many bytes a group has.
func getBytes(r pebble.Reader, group ID) (int64, error) {
	b, err := get(r, keyOf(groupKind, group))
	if err != nil || b == nil {
		return 0, err
	}
	n, size := binary.Varint(b)
	if size <= 0 {
		return 0, fmt.Errorf("cannot read the size of log group %s", group)
	}
	return n, nil
}

// get reads one value; nil when there is none.
func get(r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	copied := append([]byte{}, value...)
	return copied, closer.Close()
}
