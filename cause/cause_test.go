package cause

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"havn/lifecycle"
)

// TestRecognize runs the transcripts: reasons, a line each, and what each comes down to.
func TestRecognize(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			for reason := range strings.Lines(d.Input) {
				if c := Of(strings.TrimSpace(reason)); c.Code != "" {
					fmt.Fprintln(&b, c)
				} else {
					fmt.Fprintln(&b, "not recognised")
				}
			}
			return b.String()
		})
	})
}

// Every code that is declared has advice of its own: one that has none would be told as Unknown is, and Split would not
// know it.
func TestEveryCodeHasAdvice(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "cause.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[Code]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Code" {
			return true
		}
		for _, value := range spec.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared[Code(text)] = true
		}
		return true
	})
	for code := range declared {
		if advice[code] == "" {
			t.Errorf("no advice for %s", code)
		}
	}
	for code := range advice {
		if !declared[code] {
			t.Errorf("advice for %s, which is no code", code)
		}
	}
	for _, p := range patterns {
		if !declared[p.code] {
			t.Errorf("the pattern %s recognises %s, which is no code", p.text, p.code)
		}
	}
}

// What Join puts together Split takes apart, however long the words are; and the code is always kept.
func TestJoinAndSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.OneOf(rapid.String(), rapid.StringN(1000, 3000, -1)).Draw(t, "words")
		c := Cause{PullDenied, rapid.OneOf(rapid.String(), rapid.StringN(300, 2000, -1)).Draw(t, "cause")}
		reason := Join(words, c)
		if n := utf8.RuneCountInString(reason); n > lifecycle.MaxReason {
			t.Fatalf("%d characters", n)
		}
		if lifecycle.Clip(reason) != reason {
			t.Fatal("the reason would be clipped")
		}
		kept, got := Split(reason)
		if got.Code != c.Code {
			t.Fatalf("code %q of %q", got.Code, reason)
		}
		if utf8.RuneCountInString(words) < lifecycle.MaxReason/2 && utf8.ValidString(words) && kept != words {
			t.Fatalf("words %q, want %q", kept, words)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add("CannotPullContainerError: x Cause: y (pull-denied)")
	f.Add(" Cause: ( Cause: (")
	f.Fuzz(func(t *testing.T, reason string) {
		words, c := Split(reason)
		if c.Code != "" && advice[c.Code] == "" {
			t.Errorf("no advice for %s", c.Code)
		}
		if !strings.HasPrefix(reason, words) {
			t.Errorf("%q does not begin with %q", reason, words)
		}
	})
}
