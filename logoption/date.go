package logoption

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// dateCodes are what the codes of awslogs-datetime-format match. Docker documentation, "Amazon CloudWatch Logs logging
// driver", "awslogs-datetime-format".
var dateCodes = map[byte]string{
	'A': `(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day`,
	'a': `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)`,
	'B': `(?:January|February|March|April|May|June|July|August|September|October|November|December)`,
	'b': `(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)`,
	'd': `(?:0[1-9]|[12]\d|3[01])`,
	'f': `\d{1,6}`,
	'H': `(?:[01]\d|2[0-3])`,
	'I': `(?:0[1-9]|1[0-2])`,
	'j': `(?:00[1-9]|0[1-9]\d|[12]\d\d|3[0-5]\d|36[0-6])`,
	'L': `\.\d{3}`,
	'M': `[0-5]\d`,
	'm': `(?:0[1-9]|1[0-2])`,
	'p': `[AP]M`,
	'S': `[0-5]\d`,
	'w': `[0-6]`,
	'Y': `\d{4}`,
	'y': `\d{2}`,
	'Z': `[A-Z]{1,4}T`,
	'z': `[+-]\d{4}`,
	'%': `%`,
}

// CheckDateFormat says what is wrong with awslogs-datetime-format.
func CheckDateFormat(format string) error {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		i++
		if i == len(format) {
			return fmt.Errorf("it ends with a %% that has no code")
		}
		if _, ok := dateCodes[format[i]]; !ok {
			r, _ := utf8.DecodeRuneInString(format[i:])
			return fmt.Errorf("the code %%%c is not known", r)
		}
	}
	return nil
}

// DatePattern is the regular expression that matches what awslogs-datetime-format describes. A code that is not known
// stands for itself: CheckDateFormat is asked before.
func DatePattern(format string) string {
	var b strings.Builder
	format = strings.ToValidUTF8(format, "\ufffd") // as a pattern must be
	for i := 0; i < len(format); i++ {
		if i+1 < len(format) && format[i] == '%' {
			if code, ok := dateCodes[format[i+1]]; ok {
				b.WriteString(code)
				i++
				continue
			}
		}
		_, n := utf8.DecodeRuneInString(format[i:])
		b.WriteString(regexp.QuoteMeta(format[i : i+n]))
		i += n - 1
	}
	return b.String()
}
