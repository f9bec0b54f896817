package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// split takes the version of the format off an encoded record.
func split(value []byte) (format int, members []byte, err error) {
	if rest, ok := bytes.CutPrefix(value, []byte(`{"v":`)); ok { // as encode writes it
		digits := 0
		for digits < len(rest) && digits < 9 && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		if digits > 0 && digits < len(rest) && (rest[digits] == ',' || rest[digits] == '}') {
			format, _ = strconv.Atoi(string(rest[:digits]))
			if rest[digits] == '}' {
				return format, append([]byte{'{'}, rest[digits:]...), nil
			}
			members = make([]byte, 0, len(rest))
			members = append(members, '{')
			return format, append(members, rest[digits+1:]...), nil
		}
	}
	var all map[string]json.RawMessage // as a person may have written it
	if err := json.Unmarshal(value, &all); err != nil {
		return 0, nil, err
	}
	v, ok := all["v"]
	if !ok {
		return 0, nil, errors.New(`it has no version ("v")`)
	}
	if err := json.Unmarshal(v, &format); err != nil {
		return 0, nil, fmt.Errorf(`its version ("v") is not a number: %w`, err)
	}
	delete(all, "v")
	members, err = json.Marshal(all)
	return format, members, err
}

// decode reads a record back, bringing an older format up to date first.
func decode[R any](s *schema, value []byte) (R, error) {
	var record R
	format, members, err := split(value)
	if err != nil {
		return record, err
	}
	if format < 1 || format > s.format {
		return record, fmt.Errorf("its format is version %d, and this Havn knows versions 1 to %d of a %s; start a newer Havn", format, s.format, s.name)
	}
	for ; format < s.format; format++ {
		if up := s.upgrades[format]; up != nil {
			if members, err = up(members); err != nil {
				return record, fmt.Errorf("cannot bring it from version %d to %d: %w", format, format+1, err)
			}
		}
	}
	d := json.NewDecoder(bytes.NewReader(members))
	d.DisallowUnknownFields()
	if err := d.Decode(&record); err != nil {
		return record, err
	}
	if _, err := d.Token(); err != io.EOF {
		return record, errors.New("something follows the record")
	}
	return record, nil
}
