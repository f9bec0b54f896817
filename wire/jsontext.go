package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxElements bounds the bytes of memory that the elements of all lists in a body
// may take: "{}," is three bytes, and a container definition is a thousand.
const maxElements = 64 << 20

// elementCost is what an element costs besides its own memory.
const elementCost = 16

// jsonReader walks JSON that is known to be well formed.
type jsonReader struct {
	b    []byte
	i    int
	room int // left for elements
}

// next skips white space, commas and colons, and returns the byte there.
func (d *jsonReader) next() byte {
	for {
		switch c := d.b[d.i]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			d.i++
		default:
			return c
		}
	}
}

// null consumes a null if there is one.
func (d *jsonReader) null() bool {
	if d.next() != 'n' {
		return false
	}
	d.i += len("null")
	return true
}

// open consumes the bracket that starts a list or an object.
func (d *jsonReader) open(bracket byte, expected string) error {
	if c := d.next(); c != bracket {
		return d.mistaken(c, expected)
	}
	d.i++
	return nil
}

// more reports whether another element comes before the closing bracket, which
// it consumes.
func (d *jsonReader) more(bracket byte) bool {
	if d.next() == bracket {
		d.i++
		return false
	}
	return true
}

// mistaken is AWS's sentence about a value of the wrong type.
func (d *jsonReader) mistaken(c byte, expected string) error {
	switch c {
	case '{':
		return badBody("Start of structure or map found where not expected.")
	case '[':
		return badBody("Start of list found where not expected.")
	case '"':
		return badBody("STRING_VALUE can not be converted to " + expected)
	case 'n':
		return badBody("Null value found where not expected.")
	case 't':
		return badBody("TRUE_VALUE can not be converted to " + expected)
	case 'f':
		return badBody("FALSE_VALUE can not be converted to " + expected)
	default:
		if bytes.ContainsAny(d.number(), ".eE") {
			return badBody("DECIMAL_VALUE can not be converted to " + expected)
		}
		return badBody("NUMBER_VALUE can not be converted to " + expected)
	}
}

// raw consumes a string and returns it with its quotes.
func (d *jsonReader) raw() []byte {
	start := d.i
	for d.i++; d.b[d.i] != '"'; d.i++ {
		if d.b[d.i] == '\\' {
			d.i++
		}
	}
	d.i++
	return d.b[start:d.i]
}

// text consumes a string and returns what it spells, which may be a piece of the
// input: it is to be copied before it is kept.
func (d *jsonReader) text() []byte {
	raw := d.raw()
	plain := raw[1 : len(raw)-1]
	if bytes.IndexByte(plain, '\\') < 0 && utf8.Valid(plain) {
		return plain
	}
	var s string
	json.Unmarshal(raw, &s) //nolint:errcheck // the grammar was judged before
	return []byte(s)
}

// number consumes a number.
func (d *jsonReader) number() []byte {
	start := d.i
	for d.i < len(d.b) {
		switch c := d.b[d.i]; {
		case '0' <= c && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			d.i++
		default:
			return d.b[start:d.i]
		}
	}
	return d.b[start:d.i]
}

// skip consumes a value of whatever type and returns its bytes.
func (d *jsonReader) skip() []byte {
	c := d.next()
	start, depth := d.i, 0
	for {
		switch c {
		case '"':
			d.raw()
		case '{', '[':
			depth++
			d.i++
		case '}', ']':
			depth--
			d.i++
		case 't', 'n':
			d.i += len("true")
		case 'f':
			d.i += len("false")
		default:
			d.number()
		}
		if depth == 0 {
			return d.b[start:d.i]
		}
		c = d.next()
	}
}

// parseEpoch reads seconds since 1970 with a fraction, exactly where it is
// written out and to the microsecond where it has an exponent.
func parseEpoch(text string) (time.Time, error) {
	whole, fraction := text, ""
	for i := range len(text) {
		switch text[i] {
		case '.':
			whole, fraction = text[:i], text[i+1:]
		case 'e', 'E':
			f, err := strconv.ParseFloat(text, 64)
			if err != nil || math.Abs(f) > 1e12 {
				return time.Time{}, fmt.Errorf("NUMBER_VALUE %s can not be converted to a Timestamp", text)
			}
			return time.UnixMicro(int64(math.Round(f * 1e6))).UTC(), nil
		}
	}
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec > 1e12 || sec < -1e12 {
		return time.Time{}, fmt.Errorf("NUMBER_VALUE %s can not be converted to a Timestamp", text)
	}
	nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if text[0] == '-' {
		nanos = -nanos
	}
	return time.Unix(sec, nanos).UTC(), nil
}

const hexDigits = "0123456789abcdef"

func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ':
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		default: // not UTF-8
			b = append(b, `\ufffd`...)
		}
		i += size
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendJSONFloat(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, bits)
}

// appendEpoch writes seconds since 1970, with milliseconds as AWS does.
func appendEpoch(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	if ms < 0 {
		b, ms = append(b, '-'), -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if ms %= 1000; ms != 0 {
		b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		b = bytes.TrimRight(b, "0")
	}
	return b
}
