package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
)

const (
	smallBuffer = 4 << 10  // of every connection; it grows with what a head needs
	bigBuffer   = 64 << 10 // of a connection, as long as a body goes through it that is longer than its small one
)

var bigBuffers = sync.Pool{New: func() any { return new([bigBuffer]byte) }}

// side is a connection to a client or to a target, with what has been read and not been used, and what waits to be
// written. Its reading half and its writing half may be used by two goroutines.
type side struct {
	c    net.Conn
	buf  []byte
	r, w int // buf[r:w] has been read and not been used
	base int // buf[:base] is a head that is still needed
	// small is the buffer that a big one has taken the place of.
	small []byte
	big   *[bigBuffer]byte

	out []byte
	// moved is told of every read and write that did something: the idle timeout starts anew.
	moved func()
}

var errTooLong = errors.New("it is too long")

func (s *side) buffered() int { return s.w - s.r }

// fill reads more, at least a byte. Room is made by moving what is unread, then by growing, up to limit bytes.
func (s *side) fill(limit int) error {
	if s.r == s.w {
		s.r, s.w = s.base, s.base
	}
	if s.w == len(s.buf) {
		if s.r > s.base {
			s.w = s.base + copy(s.buf[s.base:], s.buf[s.r:s.w])
			s.r = s.base
		} else if len(s.buf) >= limit {
			return errTooLong
		} else {
			grown := make([]byte, max(smallBuffer, min(2*len(s.buf), limit)))
			copy(grown, s.buf[:s.w])
			s.buf = grown // what was read of the head stays where it was, for those who look at it
		}
	}
	n, err := s.c.Read(s.buf[s.w:])
	s.w += n
	if n > 0 {
		if s.moved != nil {
			s.moved()
		}
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// enlarge takes a big buffer, for a long body. The head stays in the small one.
func (s *side) enlarge() {
	if s.big != nil || len(s.buf)-s.base >= bigBuffer || s.buffered() > bigBuffer/2 {
		return
	}
	s.big = bigBuffers.Get().(*[bigBuffer]byte)
	n := copy(s.big[:], s.buf[s.r:s.w])
	s.small, s.buf = s.buf, s.big[:]
	s.r, s.w, s.base = 0, n, 0
}

// settle is the end of a message: its head is needed no more, and the big buffer goes back.
func (s *side) settle() {
	s.base = 0
	if s.big == nil {
		if s.r == s.w {
			s.r, s.w = 0, 0
		}
		return
	}
	n := s.buffered()
	if n > len(s.small) {
		s.small = make([]byte, n)
	}
	copy(s.small, s.buf[s.r:s.w])
	s.buf, s.r, s.w = s.small, 0, n
	bigBuffers.Put(s.big)
	s.big, s.small = nil, nil
}

// line reads a line of limit bytes at most, and returns it without its end. It is valid until the next read.
func (s *side) line(limit int) ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(s.buf[s.r+seen:s.w], '\n'); i >= 0 {
			line := s.buf[s.r : s.r+seen+i]
			if n := len(line); n == 0 || line[n-1] != '\r' {
				return nil, errMalformed
			}
			s.r += seen + i + 1
			return line[:len(line)-1], nil
		}
		seen = s.buffered()
		if seen > limit {
			return nil, errTooLong
		}
		if err := s.fill(s.base + 2*limit + smallBuffer); err != nil {
			return nil, err
		}
	}
}

// flush writes what waits.
func (s *side) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	err := s.write(s.out)
	s.out = s.out[:0]
	if cap(s.out) > bigBuffer {
		s.out = nil
	}
	return err
}

func (s *side) write(p []byte) error {
	n, err := s.c.Write(p)
	if n > 0 && s.moved != nil {
		s.moved()
	}
	return err
}
