package jsonfile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Writer writes one container's log. Its methods may be called at the same time.
type Writer struct {
	options  Options
	released chan struct{} // closed when a full log is no reason to wait any more

	mu       sync.Mutex
	file     *os.File
	size     int64
	buffer   []byte
	last     time.Time
	packing  sync.WaitGroup
	packLock sync.Mutex // held while a full file is compressed, and while names change
}

// holdLook is how often a Writer that must wait for the oldest file's deletion looks for it.
const holdLook = 50 * time.Millisecond

// NewWriter opens the log, to go on where an earlier Writer ended. Its folder must exist.
func NewWriter(o Options) (*Writer, error) {
	o.MaxFile = max(o.MaxFile, 1)
	w := &Writer{options: o, released: make(chan struct{})}
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.options.Path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("cannot open the log: %w", err), f.Close())
	}
	w.file, w.size = f, info.Size()
	if last := []byte{'\n'}; w.size > 0 {
		// Who was killed in the middle of a line must not spoil the next one.
		if _, err := f.ReadAt(last, w.size-1); err == nil && last[0] != '\n' {
			n, _ := f.WriteString("\n") //nolint:errcheck // as good as a line that is lost
			w.size += int64(n)
		}
	}
	return nil
}

// Copy writes all that r gives, line by line, until its end. A line that ends with the stream gets its newline.
// What cannot be written, because the disk is full, is lost: a container does not stop for its log.
func (w *Writer) Copy(stream string, r io.Reader) error {
	buffer := make([]byte, MaxPart)
	held := 0     // bytes in buffer that wait for the end of their line
	open := false // the last that was written is a part, and not the last of its line
	for {
		n, err := r.Read(buffer[held:])
		now := time.Now()
		lines, rest := buffer[:held+n], []byte(nil)
		end := bytes.LastIndexByte(lines, '\n') + 1
		switch {
		case err != nil && (end < len(lines) || len(lines) == 0 && open):
			lines = append(lines, '\n')
		case err == nil && end == 0 && len(lines) == MaxPart: // a part
			end = wholeRunes(lines)
			fallthrough
		case err == nil:
			lines, rest = lines[:end], lines[end:]
		}
		if len(lines) > 0 {
			w.write(stream, lines, now)
			open = lines[len(lines)-1] != '\n'
		}
		held = copy(buffer, rest)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read a container's %s: %w", stream, err)
		}
	}
}

// wholeRunes is how much of a text can be cut off without dividing a character.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				break
			}
			return i
		}
	}
	return len(b)
}

// write writes whole lines, and at the end perhaps a part.
func (w *Writer) write(stream string, lines []byte, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now = w.after(now)
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n') + 1
		if end == 0 {
			end = len(lines)
		}
		before, text := len(w.buffer), lines[:end]
		w.buffer = Line{text, stream, w.options.Attrs, now}.Append(w.buffer)
		lines = lines[end:]
		if limit := w.options.MaxSize; limit > 0 && w.size+int64(len(w.buffer)) > limit && w.size+int64(before) > 0 {
			w.buffer = w.buffer[:before]
			w.flush()
			w.rotate() // or, if that fails, goes on with the same file
			now = w.after(now)
			w.buffer = Line{text, stream, w.options.Attrs, now}.Append(w.buffer)
		}
		if len(w.buffer) >= flushAt {
			w.flush()
		}
	}
	w.flush()
}

// after is now, or a nanosecond after the last time that was given out: a file is known by the time of its first line.
func (w *Writer) after(now time.Time) time.Time {
	if !now.After(w.last) {
		now = w.last.Add(time.Nanosecond)
	}
	w.last = now
	return now
}

// flushAt bounds the memory of a Writer; many short lines are several times as long with all that is said of each.
const flushAt = 32 << 10

// flush leaves the buffer empty.
func (w *Writer) flush() {
	n, err := w.file.Write(w.buffer)
	w.size += int64(n)
	if err != nil && n > 0 && w.file.Truncate(w.size-int64(n)) == nil {
		w.size -= int64(n)
	}
	w.buffer = w.buffer[:0]
}

// rotate gives every file the next number, and opens a new one. The number of an oldest file that is one too many is
// that of the one before it.
func (w *Writer) rotate() {
	w.packLock.Lock()
	defer w.packLock.Unlock()
	oldest := w.options.MaxFile - 1
	if oldest == 0 {
		if os.Remove(w.options.Path) == nil {
			w.reopen()
		}
		return
	}
	if w.options.Hold && !w.awaitRoom(oldest) {
		return
	}
	last := 1 // the first number that is free, or the oldest
	for last < oldest && (exists(w.numbered(last)) || exists(w.numbered(last)+".gz")) {
		last++
	}
	// Whatever is not there need not go or move. A file that cannot be moved is written to for longer.
	os.Remove(w.numbered(last))
	os.Remove(w.numbered(last) + ".gz")
	for i := last - 1; i >= 0; i-- {
		for _, ending := range []string{"", ".gz"} {
			os.Rename(w.numbered(i)+ending, w.numbered(i+1)+ending) //nolint:errcheck // see above
		}
	}
	w.reopen()
	if w.options.Compress {
		w.packing.Go(w.pack)
	}
}

// awaitRoom returns when the oldest file is gone, or false if it need not wait for that any more.
func (w *Writer) awaitRoom(oldest int) bool {
	for {
		if !exists(w.numbered(oldest)) {
			return true
		}
		select {
		case <-w.released:
			return false
		case <-time.After(holdLook):
		}
	}
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

func (w *Writer) reopen() {
	old := w.file
	if err := w.open(); err != nil {
		w.file = old // it has another name now, and is better than none
		return
	}
	old.Close()
}

func (w *Writer) numbered(i int) string { return numbered(w.options.Path, i) }

func numbered(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}

// pack compresses the newest full file.
func (w *Writer) pack() {
	w.packLock.Lock()
	defer w.packLock.Unlock()
	name := w.numbered(1)
	if err := pack(name, name+".gz"); err != nil {
		os.Remove(name + ".gz.new")
		return // it stays as it is
	}
	os.Remove(name)
}

func pack(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// Release lets a container whose log is full go on without waiting: it is about to end. It is called once.
func (w *Writer) Release() { close(w.released) }

// Close ends the writing. Nobody may be in Copy any more.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.packing.Wait()
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("cannot close the log: %w", err)
	}
	return nil
}
