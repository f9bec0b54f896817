package logoption_test

import (
	"regexp"
	"testing"

	"havn/logoption"
)

func TestDateFormats(t *testing.T) {
	for _, format := range []string{"", "plain", "%b %d, %Y %H:%M:%S%L%z", "100%% %f", "\xff%d"} {
		if err := logoption.CheckDateFormat(format); err != nil {
			t.Errorf("%q: %v", format, err)
		}
	}
	for format, want := range map[string]string{
		"%Q":     "the code %Q is not known",
		"%-d":    "the code %- is not known",
		"%Y %é":  "the code %é is not known",
		"%Y-%m%": "it ends with a % that has no code",
		"%%%":    "it ends with a % that has no code",
	} {
		if err := logoption.CheckDateFormat(format); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", format, err, want)
		}
	}
}

func FuzzDateFormat(f *testing.F) {
	for _, format := range []string{"%Y-%m-%d", "%", "%Q", "\xff%", "(%%"} {
		f.Add(format)
	}
	f.Fuzz(func(t *testing.T, format string) {
		_ = logoption.CheckDateFormat(format)
		if _, err := regexp.Compile(logoption.DatePattern(format)); err != nil {
			t.Fatalf("%q becomes no pattern: %v", format, err)
		}
	})
}
