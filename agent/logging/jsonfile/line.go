package jsonfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// MaxPart is how many bytes of a container's line are one Line at most; what is longer is divided, as Docker does it.
const MaxPart = 16 << 10

// maxEncoded is how long an encoded line can be that is read: a part with every byte escaped, and as many attributes as
// fit in a task definition (64 KiB), generously.
const maxEncoded = 1 << 20

// The streams of a container.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Line is a line that a container wrote, or a part of one. All but the last part of a line end without a newline.
type Line struct {
	Log    []byte
	Stream string // stdout or stderr
	Attrs  json.RawMessage
	Time   time.Time // when it was read from the container
}

// Append adds the encoded line, with a newline, to b. What is not UTF-8 becomes U+FFFD, as in every JSON.
func (l Line) Append(b []byte) []byte {
	b = append(b, `{"log":`...)
	b = appendString(b, l.Log)
	b = append(b, `,"stream":"`...)
	b = append(b, l.Stream...)
	b = append(b, '"')
	if len(l.Attrs) > 0 {
		b = append(b, `,"attrs":`...)
		b = append(b, l.Attrs...)
	}
	b = append(b, `,"time":"`...)
	b = l.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, "\"}\n"...)
}

const hexDigits = "0123456789abcdef"

func appendString(b, s []byte) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
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
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(b, "\ufffd"...)
			} else {
				b = append(b, s[i:i+n]...)
			}
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}

// Parse decodes one line, without or with its newline.
func Parse(b []byte) (Line, error) {
	var wire struct {
		Log    *string         `json:"log"`
		Stream string          `json:"stream"`
		Attrs  json.RawMessage `json:"attrs"`
		Time   time.Time       `json:"time"`
	}
	if err := json.Unmarshal(b, &wire); err != nil {
		return Line{}, fmt.Errorf("cannot decode a line of a log: %w", err)
	}
	if wire.Log == nil || wire.Time.IsZero() || wire.Stream != Stdout && wire.Stream != Stderr {
		return Line{}, errors.New("cannot decode a line of a log: it is no line of a json-file")
	}
	return Line{Log: []byte(*wire.Log), Stream: wire.Stream, Attrs: wire.Attrs, Time: wire.Time}, nil
}
