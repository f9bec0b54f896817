package containerd

import (
	"errors"
	"strings"
	"testing"

	"havn/lifecycle"
)

// A reason begins with the name of an error, which programs look at: of whatever verb.
func TestEveryVerbHasAnError(t *testing.T) {
	for _, verb := range lifecycle.Verbs() {
		reason := reasonOf(verb, errors.New("it did not work"))
		if name, rest, _ := strings.Cut(reason, ": "); !strings.HasSuffix(name, "Error") || rest == "" {
			t.Errorf("%s: the reason is %q", verb, reason)
		}
	}
}
