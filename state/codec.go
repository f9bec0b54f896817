package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// encode is a record as it is stored: {"v":format, members of the record that are not null}.
func encode(format int, record any) ([]byte, error) {
	plain, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	if len(plain) < 2 || plain[0] != '{' {
		return nil, errors.New("a record must be a JSON object")
	}
	out := make([]byte, 0, len(plain)+8)
	out = append(out, `{"v":`...)
	out = strconv.AppendInt(out, int64(format), 10)
	out = append(out, ',')
	return dropNulls(out, plain[1:]), nil
}

// dropNulls appends src to dst without the members that are null. The SDK's structs have no omitempty:
// most of a task definition would be nulls. Decoding gives back the same value, as long as no map in a
// record has nil for a value. src is compact, valid JSON, or the rest of it.
func dropNulls(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		switch c := src[i]; c {
		case '"':
			end := stringEnd(src, i)
			if !bytes.HasPrefix(src[end:], []byte(":null")) {
				dst = append(dst, src[i:end]...)
				i = end
				continue
			}
			i = end + len(":null")
			if src[i] == ',' {
				i++
			}
		case '}':
			if dst[len(dst)-1] == ',' { // what followed it was null
				dst = dst[:len(dst)-1]
			}
			fallthrough
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// stringEnd is the index after the JSON string that starts at i.
func stringEnd(src []byte, i int) int {
	for i++; src[i] != '"'; i++ {
		if src[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// version is the version of a record's format. encode writes it first; a person may have put it elsewhere.
func version(value []byte) (int, error) {
	if rest, ok := bytes.CutPrefix(value, []byte(`{"v":`)); ok {
		n := 0
		for i, c := range rest[:min(len(rest), 9)] {
			if (c == ',' || c == '}') && i > 0 {
				return n, nil
			}
			if c < '0' || c > '9' {
				break
			}
			n = n*10 + int(c-'0')
		}
	}
	var envelope map[string]json.RawMessage // and not a struct, which would also take "V"
	if err := json.Unmarshal(value, &envelope); err != nil {
		return 0, err
	}
	v, ok := envelope["v"]
	if !ok {
		return 0, errors.New(`it has no version ("v")`)
	}
	n := 0
	if err := json.Unmarshal(v, &n); err != nil {
		return 0, fmt.Errorf(`its version ("v") is not a number: %w`, err)
	}
	return n, nil
}

// decode reads a record back, bringing an older format up to date first.
func decode[R any](s *schema, value []byte) (R, error) {
	var record R
	format, err := version(value)
	if err != nil {
		return record, err
	}
	if format < 1 || format > s.format {
		return record, fmt.Errorf("its format is version %d, and this Havn knows versions 1 to %d of a %s; start a newer Havn", format, s.format, s.name)
	}
	for ; format < s.format; format++ {
		if up := s.upgrades[format]; up != nil {
			if value, err = up(value); err != nil {
				return record, fmt.Errorf("cannot bring it from version %d to %d: %w", format, format+1, err)
			}
		}
	}
	err = json.Unmarshal(value, &record)
	return record, err
}
