package logquery

import (
	"fmt"
	"regexp"
	"strings"
)

// regex reads a regular expression between percent signs, in the subset that
// "Supported regular expressions (regex) syntax" in the CloudWatch Logs User Guide
// gives: no groups, no characters but those of the guide. Go's expressions take
// time linear in the message, whatever is asked.
func (p *patternParser) regex() *regexp.Regexp {
	start := p.at
	if p.regexes++; p.regexes > MaxPatternRegexes {
		p.fail(start, fmt.Sprintf("Your input has exceeded the maximum of %d regular expressions per filter pattern.", MaxPatternRegexes), "this is one more")
		return nil
	}
	var b strings.Builder
	b.WriteString("(?s)") // a dot is any character
	for i := start + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '%':
			p.at = i + 1
			compiled, err := regexp.Compile(b.String())
			if err != nil {
				p.fail(start, invalidPattern, "cannot read the regular expression: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "))
			}
			return compiled
		case c == '\\':
			n := escapeLength(p.text[i:])
			if n == 0 {
				p.bad(start, i, `after a backslash comes an operator, d, D, s, S, w, W, or x and two hexadecimal digits`)
				return nil
			}
			b.WriteString(p.text[i : i+n])
			i += n - 1
		case c == '{':
			n, times := repetition(p.text[i:])
			if n == 0 {
				p.bad(start, i, "in braces are the least and the most times, such as {1,3}; for a brace itself write \\x7B")
				return nil
			}
			b.WriteString(times)
			i += n - 1
		case isRegexByte(c):
			b.WriteByte(c)
		default:
			p.bad(start, i, "a regular expression has no such character; \\x and two hexadecimal digits stand for any in ASCII")
			return nil
		}
	}
	p.fail(start, invalidTerm(p.text[start:]), "this regular expression is never closed by a percent sign")
	return nil
}

func isRegexByte(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte(" :_#=@/;,-^$?[]}|*+.", c) >= 0
}

// escapeLength is the length of the escape that s begins with, 0 when there is no such.
func escapeLength(s string) int {
	if len(s) < 2 {
		return 0
	}
	switch c := s[1]; {
	case strings.IndexByte("dDsSwW", c) >= 0, strings.IndexByte(`:_#=@/;,-^$?[]{}|\*+.`, c) >= 0:
		return 2
	case c == 'x' && len(s) >= 4 && isHex(s[2]) && isHex(s[3]):
		return 4
	}
	return 0
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// repetition is the length of the {m, n} that s begins with, and how Go writes
// it. One of the two numbers may be missing.
func repetition(s string) (length int, times string) {
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return 0, ""
	}
	least, most, two := strings.Cut(s[1:end], ",")
	least, most = strings.TrimSpace(least), strings.TrimSpace(most)
	if !digitsOnly(least) || !digitsOnly(most) || least+most == "" {
		return 0, ""
	}
	switch {
	case !two:
		return end + 1, "{" + least + "}"
	case least == "":
		least = "0"
	}
	return end + 1, "{" + least + "," + most + "}"
}

func digitsOnly(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}
