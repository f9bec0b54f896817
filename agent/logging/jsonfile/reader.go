package jsonfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Position is a place between two lines of a log. The zero Position is the beginning of what there is.
type Position struct {
	File   string `json:"file"`   // the time of the file's first line, as RFC 3339
	Offset int64  `json:"offset"` // bytes, of the file as it was before it was compressed
}

// Reader reads a log from a position on, over all its files. It holds a file open from its first line to its last, so
// that what it reads stays there however the names change.
type Reader struct {
	path   string
	at     Position
	source *source // nil as long as there is none
	part   []byte  // of a line whose end is not there yet
	lost   bool
}

// NewReader returns a Reader of the log whose newest file is path. It need not exist yet.
func NewReader(path string, from Position) *Reader { return &Reader{path: path, at: from} }

// Position is where the line begins that Next will return.
func (r *Reader) Position() Position { return r.at }

// Lost reports, once, whether lines are missing before the one that Next returned last: they were deleted before they
// were read.
func (r *Reader) Lost() bool {
	lost := r.lost
	r.lost = false
	return lost
}

// Next returns the next line. At the end of what there is the error is io.EOF; when more is written, Next gives it.
// What is no line is passed over.
func (r *Reader) Next() (Line, error) {
	for {
		if r.source == nil {
			if err := r.begin(); err != nil {
				return Line{}, err
			}
		}
		line, err := r.readLine()
		switch {
		case err == nil:
			if parsed, err := Parse(line); err == nil {
				return parsed, nil
			}
			continue
		case !errors.Is(err, io.EOF):
			return Line{}, fmt.Errorf("cannot read the log: %w", err)
		}
		if r.source.newest(r.path) {
			return Line{}, io.EOF
		}
		// Since the end was seen something may have been written before the file got its new name; now it is the end.
		if line, err = r.readLine(); err == nil {
			if parsed, err := Parse(line); err == nil {
				return parsed, nil
			}
			continue
		}
		if err := r.turn(); err != nil {
			return Line{}, err
		}
	}
}

// readLine returns io.EOF if the next line is not there as a whole.
func (r *Reader) readLine() ([]byte, error) {
	for {
		piece, err := r.source.reader.ReadSlice('\n')
		r.part = append(r.part, piece...)
		if errors.Is(err, bufio.ErrBufferFull) && len(r.part) <= maxEncoded {
			continue
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		line := r.part // or as much of it as no line of ours has
		r.part = nil
		r.at.Offset += int64(len(line))
		return line, nil
	}
}

// begin opens the file that the position is in, or the oldest.
func (r *Reader) begin() error {
	files, err := sources(r.path)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return io.EOF
	}
	i := slices.IndexFunc(files, func(s *source) bool { return s.first == r.at.File })
	if i < 0 {
		r.lost = r.at.File != ""
		r.at = Position{}
		i = 0
	}
	return r.open(files, i, r.at.Offset)
}

// turn goes on to the file after the one that has been read. It stays if there is none with a line in it.
func (r *Reader) turn() error {
	files, err := sources(r.path)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(files, func(s *source) bool { return s.first == r.at.File })
	if i == len(files)-1 {
		closeAll(files)
		return io.EOF
	}
	r.lost = r.lost || i < 0 // perhaps: nobody can tell what was between the file that is gone and the oldest
	r.source.Close()
	r.part = nil
	return r.open(files, i+1, 0)
}

// open takes one of the files, and closes the others.
func (r *Reader) open(files []*source, i int, offset int64) error {
	chosen := files[i]
	closeAll(slices.Delete(files, i, i+1))
	r.source, r.at = chosen, Position{chosen.first, offset}
	if err := chosen.skip(offset); err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	return nil
}

// Close lets go of the file. Next begins where the Reader was.
func (r *Reader) Close() {
	if r.source != nil {
		r.source.Close()
		r.source, r.part = nil, nil
	}
}

// source is one file of a log, open at its beginning.
type source struct {
	file   *os.File
	reader *bufio.Reader
	first  string // time of the first line
	packed bool
}

func (s *source) Close() { s.file.Close() }

func closeAll(files []*source) {
	for _, f := range files {
		f.Close()
	}
}

// newest reports whether the file is the one that is written.
func (s *source) newest(path string) bool {
	here, errHere := s.file.Stat()
	there, errThere := os.Stat(path)
	return errHere == nil && errThere == nil && os.SameFile(here, there)
}

// sources opens the files of a log that have at least one line, the oldest first. They are looked at from the newest to
// the oldest: a file that gets another name meanwhile is then seen twice, and not missed.
func sources(path string) ([]*source, error) {
	var found []*source
	for i := range 1 + highest(path) {
		for _, name := range []string{numbered(path, i), numbered(path, i) + ".gz"} {
			s, err := openSource(name)
			if err != nil {
				closeAll(found)
				return nil, fmt.Errorf("cannot read the log: %w", err)
			}
			switch {
			case s == nil:
			case slices.ContainsFunc(found, func(other *source) bool { return other.first == s.first }):
				s.Close()
			default:
				found = append(found, s)
			}
		}
	}
	slices.Reverse(found)
	return found, nil
}

// highest is the highest number of a file of the log. It may get one more at any time.
func highest(path string) int {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0
	}
	highest := 0
	for _, e := range entries {
		ending, is := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if n, err := strconv.Atoi(strings.TrimSuffix(ending, ".gz")); is && err == nil {
			highest = max(highest, n+1)
		}
	}
	return highest
}

// openSource returns nil for a file that is not there, or has no whole line.
func openSource(name string) (*source, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &source{file: f, packed: strings.HasSuffix(name, ".gz")}
	err = s.rewind()
	if err == nil {
		s.first, err = firstTime(s.reader)
	}
	if err == nil && s.first != "" {
		err = s.rewind()
	}
	if err != nil || s.first == "" {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *source) rewind() error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if !s.packed {
		s.reader = bufio.NewReader(s.file)
		return nil
	}
	z, err := gzip.NewReader(s.file)
	if err != nil {
		return err
	}
	s.reader = bufio.NewReader(z)
	return nil
}

// skip passes over the first bytes of a file that has just been opened.
func (s *source) skip(offset int64) error {
	if s.packed {
		_, err := io.CopyN(io.Discard, s.reader, offset)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	_, err := s.file.Seek(offset, io.SeekStart)
	s.reader.Reset(s.file)
	return err
}

// firstTime is the time of the first line that is one, empty if there is none yet.
func firstTime(b *bufio.Reader) (string, error) {
	for range 100 {
		line, err := readUpTo(b, maxEncoded)
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if parsed, err := Parse(line); err == nil {
			return parsed.Time.UTC().Format(time.RFC3339Nano), nil
		}
	}
	return "", nil
}

func readUpTo(b *bufio.Reader, limit int) ([]byte, error) {
	var line bytes.Buffer
	for {
		piece, err := b.ReadSlice('\n')
		line.Write(piece)
		if !errors.Is(err, bufio.ErrBufferFull) || line.Len() > limit {
			if errors.Is(err, bufio.ErrBufferFull) {
				err = nil
			}
			return line.Bytes(), err
		}
	}
}

// Drop deletes the oldest file of a log, whose name that is, if the position is beyond its end: a Writer that holds its
// files waits for that. It is no error if there is none.
func (r *Reader) Drop(oldest string, at Position) error {
	s, err := openSource(oldest)
	if err != nil || s == nil {
		return err
	}
	defer s.Close()
	if s.first == at.File {
		// What is not the newest any more is complete, so its end is where nothing of it is left to be read.
		if info, err := s.file.Stat(); err != nil || at.Offset < info.Size() {
			return err
		}
	} else if at.File == "" {
		return nil
	}
	if err := os.Remove(oldest); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot delete what has been read of a log: %w", err)
	}
	return nil
}
