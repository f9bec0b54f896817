package logoption_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"havn/logoption"
)

func named(field string) string { return "<" + field + ">" }

func TestTags(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"plain }} {":                "plain }} {",
		"{{.ID}}":                   "<ID>",
		"a/{{.Name}}/{{ .FullID }}": "a/<Name>/<FullID>",
		"{{.ImageID}}{{.ImageName}}{{.ImageFullID}}{{.DaemonName}}": "<ImageID><ImageName><ImageFullID><DaemonName>",
	} {
		if got, err := logoption.FillTag(text, named); err != nil || got != want {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	}
	for _, bad := range []string{
		"{{range 3000000000}}x{{end}}", "{{.Nothing}}", "{{ID}}", "{{.ID", "{{}}", "{{.}}", "{{.ID | len}}", "{{{.ID}}}", "{{- .ID -}}",
		`{{define "x"}}{{template "x"}}{{end}}`, `{{printf "%1000000000d" 1}}`, "{{.Name.Name}}", strings.Repeat("x", logoption.MaxTag+1),
	} {
		if got, err := logoption.FillTag(bad, named); err == nil {
			t.Errorf("%.80q became %q", bad, got)
		}
		if logoption.CheckTag(bad) == nil {
			t.Errorf("%.80q is good", bad)
		}
	}
	got, err := logoption.FillTag(strings.Repeat("{{.ID}}", 100)+"x", func(string) string { return strings.Repeat("é", 300) + "!" })
	if err != nil || len(got) > logoption.MaxTag || len(got) < logoption.MaxTag-utf8.UTFMax || !utf8.ValidString(got) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func FuzzTag(f *testing.F) {
	for _, text := range []string{"{{.ID}}", "a{{ .Name }}b", "{{range 3000000000}}x{{end}}", "{{", "}}", "{{{.ID}}}", "\xff{{.ID}}"} {
		f.Add(text, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		got, err := logoption.FillTag(text, func(string) string { return value })
		if (err == nil) != (logoption.CheckTag(text) == nil) {
			t.Fatalf("%q is let in and does not work, or the other way round: %v", text, err)
		}
		if len(got) > logoption.MaxTag || utf8.ValidString(text) && utf8.ValidString(value) && !utf8.ValidString(got) {
			t.Fatalf("%q became %q", text, got)
		}
		if err == nil && !strings.Contains(text, "{{") && got != text {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
