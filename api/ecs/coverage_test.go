package ecs

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"havn/api/logs"
	"havn/api/sts"
	"havn/wire"
)

var write = flag.Bool("write", false, "write docs/coverage.md instead of comparing")

var (
	registerInput = reflect.TypeFor[ecs.RegisterTaskDefinitionInput]()
	runInput      = reflect.TypeFor[ecs.RunTaskInput]()
	startInput    = reflect.TypeFor[ecs.StartTaskInput]()
)

// coverage is docs/coverage.md: what Havn does of ECS and of the other APIs, worked out from the same
// tables and registrations that answer the requests.
func coverage(apis ...*wire.API) string {
	var b strings.Builder
	b.WriteString(`# Coverage

What Havn does of the AWS APIs. This page is generated from the code that answers the requests
(` + "`go generate ./api/ecs`" + `), and a test fails when it is out of date.

Nothing is silently ignored. An operation that is not done answers UnknownOperationException. A member of a
request is one of three:

- **acted on**: it does what AWS says that it does;
- **stored**: it is checked, kept and described; RunTask and StartTask refuse a task that sets it, with
  UnsupportedFeatureException, and name it;
- **refused**: a request that sets it is refused, and the member is named.
`)
	for _, api := range apis {
		writeOperations(&b, api)
	}
	b.WriteString("\n## The task definition, member by member\n\n| member | |\n|---|---|\n")
	writeMembers(&b, registerInput, "", actedOnInDefinition, restrictedInDefinition, notes, "stored")
	b.WriteString("\n## RunTask and StartTask, member by member\n\n| member | |\n|---|---|\n")
	writeMembers(&b, runInput, "", actedOnInRun, restrictedInRun, notesInRun, "refused")
	b.WriteString("| containerInstances (StartTask) | acted on |\n")
	return b.String()
}

func writeOperations(b *strings.Builder, api *wire.API) {
	handled := api.Handled()
	fmt.Fprintf(b, "\n## %s: %d of %d operations\n\n", strings.ToUpper(api.Name), len(handled), len(api.Operations))
	fmt.Fprintf(b, "Acted on: %s.\n", strings.Join(handled, ", "))
	var rest []string
	for _, name := range api.Operations {
		if !slices.Contains(handled, name) {
			rest = append(rest, name)
		}
	}
	fmt.Fprintf(b, "\nNot yet: %s.\n", strings.Join(rest, ", "))
	for _, name := range handled {
		if text := notesOnOperations[name]; text != "" {
			fmt.Fprintf(b, "\n- %s: %s.\n", name, text)
		}
	}
}

// writeMembers writes a line for each member that is not looked into further: as in walk, that is one that
// is acted on as a whole, or not at all.
func writeMembers(b *strings.Builder, t reflect.Type, path string, acted map[string]bool, restricted map[string][]string, notes map[string]string, otherwise string) {
	w := walk{acted: acted, restricted: restricted}
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	var names []string
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && f.Name != "ResultMetadata" {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		f, _ := t.FieldByName(name)
		member := join(path, wireName(name))
		switch {
		case acted[member]:
			fmt.Fprintf(b, "| %s | acted on%s |\n", member, note(member, restricted, notes))
		case w.divided(member):
			writeMembers(b, f.Type, member, acted, restricted, notes, otherwise)
		default:
			fmt.Fprintf(b, "| %s | %s |\n", member, otherwise)
		}
	}
}

func note(member string, restricted map[string][]string, notes map[string]string) string {
	if text := notes[member]; text != "" {
		return ": " + text
	}
	var values []string
	for _, v := range restricted[member] {
		if v != "" {
			values = append(values, v)
		}
	}
	if len(values) > 0 {
		return ": " + strings.Join(values, ", ")
	}
	return ""
}

func TestCoverageIsWrittenDown(t *testing.T) {
	const path = "../../docs/coverage.md"
	want := coverage(testServer().API(), logs.NewServer(logs.Config{}).API(), sts.API())
	if *write {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is out of date; run: go generate ./api/ecs", path)
	}
}
