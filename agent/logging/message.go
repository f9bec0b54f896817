package logging

import (
	"bytes"
	"encoding/json"
	"regexp"
	"time"

	"havn/agent/logging/jsonfile"
)

// Message is what a driver sends: a line, or several that belong together, without the last newline.
type Message struct {
	Text   []byte
	Stream string
	Attrs  json.RawMessage
	Time   time.Time // of its beginning
}

// What a Message holds at most, which is what an event of CloudWatch Logs does, so that awslogs need not cut one again; and
// how old one may get that waits for a further line. Docker's awslogs driver waits as long.
const (
	maxMessage = 256<<10 - eventOverhead
	maxWait    = 5 * time.Second
)

// joiner makes messages of a log's lines: of the parts of a long line, and of lines up to the next one that begins
// something, where a pattern says what does. It is a value without clock or files.
type joiner struct {
	begins *regexp.Regexp // nil: every line does
	number int64          // of lines taken in
	lines  map[string]*pending
	whole  *pending // of the lines of both streams, as Docker does it
}

// pending is a message that is not complete.
type pending struct {
	Message
	from   jsonfile.Position // where its first line begins
	number int64             // of that line
}

func newJoiner(begins *regexp.Regexp) *joiner {
	return &joiner{begins: begins, lines: map[string]*pending{}}
}

// add takes in the line that begins at the position, and returns what is complete.
func (j *joiner) add(l jsonfile.Line, at jsonfile.Position) (done []Message) {
	j.number++
	text, ends := bytes.CutSuffix(l.Log, []byte("\n"))
	p := j.lines[l.Stream]
	if p != nil && len(p.Text)+len(text) > maxMessage {
		done, p = j.line(p), nil
	}
	if p == nil {
		p = &pending{Message{nil, l.Stream, l.Attrs, l.Time}, at, j.number}
		j.lines[l.Stream] = p
	}
	p.Text = append(p.Text, text...)
	if ends {
		delete(j.lines, l.Stream)
		done = append(done, j.line(p)...)
	}
	return done
}

// line takes in a line, or as much of one as a Message holds.
func (j *joiner) line(p *pending) (done []Message) {
	if j.begins == nil {
		return []Message{p.Message}
	}
	if w := j.whole; w != nil {
		if !j.begins.Match(p.Text) && len(w.Text)+1+len(p.Text) <= maxMessage {
			w.Text = append(append(w.Text, '\n'), p.Text...)
			return nil
		}
		done = append(done, w.Message)
	}
	j.whole = p
	return done
}

// flush returns what is not complete and began before a time, as it is.
func (j *joiner) flush(before time.Time) (done []Message) {
	if w := j.whole; w != nil && w.Time.Before(before) {
		done = append(done, w.Message)
		j.whole = nil
	}
	return done
}

// end returns all that is not complete.
func (j *joiner) end() (done []Message) {
	if j.whole != nil {
		done = append(done, j.whole.Message)
	}
	for _, stream := range []string{jsonfile.Stdout, jsonfile.Stderr} {
		if p := j.lines[stream]; p != nil {
			done = append(done, p.Message)
		}
	}
	j.whole, j.lines = nil, map[string]*pending{}
	return done
}

// oldest is where reading must go on so that nothing that is pending is left out. Without anything pending it is where
// it would go on anyway.
func (j *joiner) oldest(next jsonfile.Position) jsonfile.Position {
	number := int64(0)
	for _, p := range []*pending{j.whole, j.lines[jsonfile.Stdout], j.lines[jsonfile.Stderr]} {
		if p != nil && (number == 0 || p.number < number) {
			number, next = p.number, p.from
		}
	}
	return next
}
