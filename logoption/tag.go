// Package logoption says what values of a log configuration's options mean. The server asks it when a task definition is
// registered, and the node when it acts on one: a value that is let in and one that works are the same by one rule.
package logoption

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxTag is how many bytes the option tag has at most, as it is written and as it is filled in. A tag is part of every
// line or message.
const MaxTag = 1 << 10

// MaxFiles is the most that json-file's option max-file may ask for. A file that is full moves all others by one.
const MaxFiles = 1000

// tagFields are what a tag can name. Docker documentation, "Customize log driver output".
var tagFields = []string{"ID", "FullID", "Name", "ImageID", "ImageName", "ImageFullID", "DaemonName"}

// CheckTag says what is wrong with a tag.
func CheckTag(text string) error {
	_, err := FillTag(text, func(string) string { return "" })
	return err
}

// FillTag puts values in the place of a tag's {{.Field}}, and cuts what is longer than MaxTag.
//
// Docker runs the tag as a template of Go's text/template. That is a language with loops, whose programs take as much time
// and memory as they like and cannot be stopped; so a tag here names fields and does nothing else with them.
func FillTag(text string, value func(field string) string) (string, error) {
	if len(text) > MaxTag {
		return "", fmt.Errorf("it is longer than %d bytes", MaxTag)
	}
	var b strings.Builder
	for {
		plain, action, begun := strings.Cut(text, "{{")
		b.WriteString(plain)
		if !begun {
			break
		}
		inside, rest, ended := strings.Cut(action, "}}")
		if !ended {
			return "", fmt.Errorf("a {{ has no }}")
		}
		field, dotted := strings.CutPrefix(strings.TrimSpace(inside), ".")
		if !dotted || !slices.Contains(tagFields, field) {
			return "", fmt.Errorf("{{%s}} is not supported: it can only have {{.%s}}", inside, strings.Join(tagFields, "}}, {{."))
		}
		if b.Len() < MaxTag {
			b.WriteString(value(field))
		}
		text = rest
	}
	filled := b.String()
	if len(filled) <= MaxTag {
		return filled, nil
	}
	end := MaxTag
	for end > MaxTag-utf8.UTFMax && !utf8.RuneStart(filled[end]) {
		end--
	}
	return filled[:end], nil
}
