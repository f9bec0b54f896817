package proxy

import (
	"io"
	"strconv"
)

const (
	maxChunkLine = 4 << 10 // with its extensions, which end here
	maxTrailers  = 16 << 10
)

// body is the rest of a message, as it comes.
type body struct {
	s       *side
	length  int64 // -1 = chunked, -2 = until the connection ends
	left    int64 // of the body, or of the chunk
	inChunk bool
	over    bool
	count   int64 // of what has been returned
	// trailers are the fields after a chunked body, when it is over.
	trailers []field
}

func (b *body) start(s *side, length int64) {
	*b = body{s: s, length: length, left: max(0, length), trailers: b.trailers[:0]}
	b.over = length == 0
}

// ready reports whether next will return something without waiting, as far as one can tell.
func (b *body) ready() bool { return !b.over && b.s.buffered() > 0 }

// next returns the next part of the body, without its framing, or io.EOF. It is valid until the call after.
func (b *body) next() ([]byte, error) {
	if b.over {
		return nil, io.EOF
	}
	if b.length == -1 {
		if b.inChunk && b.left == 0 {
			if err := b.endChunk(); err != nil {
				return nil, err
			}
		}
		if !b.inChunk {
			if err := b.chunk(); err != nil {
				return nil, err
			}
		}
		if b.over {
			return nil, io.EOF
		}
	}
	if b.s.buffered() == 0 {
		if b.length == -2 || b.left > smallBuffer {
			b.s.enlarge()
		}
		if err := b.s.fill(max(len(b.s.buf), b.s.base+smallBuffer)); err != nil {
			if b.length == -2 && err == io.EOF {
				b.over = true
				return nil, io.EOF
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	n := b.s.buffered()
	if b.length != -2 {
		n = int(min(int64(n), b.left))
		b.left -= int64(n)
	}
	part := b.s.buf[b.s.r : b.s.r+n]
	b.s.r += n
	b.count += int64(n)
	if b.left == 0 && b.length != -2 {
		switch {
		case b.length >= 0:
			b.over = true
		case b.s.buffered() >= 2: // what ends the chunk is there: it is taken at once, so that ready tells the truth
			if err := b.endChunk(); err != nil {
				return nil, err
			}
		}
	}
	return part, nil
}

func (b *body) endChunk() error {
	for b.s.buffered() < 2 {
		if err := b.s.fill(len(b.s.buf) + smallBuffer); err != nil {
			return unexpected(err)
		}
	}
	if b.s.buf[b.s.r] != '\r' || b.s.buf[b.s.r+1] != '\n' {
		return errMalformed
	}
	b.s.r += 2
	b.inChunk = false
	return nil
}

// chunk reads the line that starts a chunk; after the last one, the trailers.
func (b *body) chunk() error {
	line, err := b.s.line(maxChunkLine)
	if err != nil {
		return unexpected(err)
	}
	var size int64
	i := 0
	for ; i < len(line) && i < 16; i++ {
		digit := hexDigit(line[i])
		if digit < 0 {
			break
		}
		size = size<<4 | int64(digit)
	}
	if i == 0 || i == 16 || i < len(line) && line[i] != ';' {
		return errMalformed
	}
	for _, c := range line[i:] {
		if classes[c]&valueChar == 0 {
			return errMalformed
		}
	}
	if size > 0 {
		b.left, b.inChunk = size, true
		return nil
	}
	b.over = true
	return b.readTrailers()
}

func (b *body) readTrailers() error {
	var all []byte
	for {
		line, err := b.s.line(maxTrailers)
		if err != nil {
			return unexpected(err)
		}
		if len(line) == 0 {
			break
		}
		if all = append(append(all, line...), '\r', '\n'); len(all) > maxTrailers {
			return errTooLong
		}
	}
	fields, err := parseFields(b.trailers, all, true)
	if err != nil {
		return err
	}
	b.trailers = fields[:0]
	for _, f := range fields { // what frames, routes or authenticates does not come afterwards (RFC 9110, 6.5.1)
		switch f.id {
		case other, date, server:
			b.trailers = append(b.trailers, f)
		}
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendChunk frames a part of a body.
func appendChunk(out, part []byte) []byte {
	out = strconv.AppendInt(out, int64(len(part)), 16)
	out = append(out, "\r\n"...)
	out = append(out, part...)
	return append(out, "\r\n"...)
}

func appendFields(out []byte, fields []field) []byte {
	for _, f := range fields {
		out = appendField(out, f.name, f.value)
	}
	return out
}

func appendField(out []byte, name, value string) []byte {
	out = append(out, name...)
	out = append(out, ": "...)
	out = append(out, value...)
	return append(out, "\r\n"...)
}
