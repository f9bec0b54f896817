package ecs

import (
	"flag"
	"fmt"
	"iter"
	"maps"
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
	createInput   = reflect.TypeFor[ecs.CreateServiceInput]()
	taskSetInput  = reflect.TypeFor[ecs.CreateTaskSetInput]()
	updateInput   = reflect.TypeFor[ecs.UpdateServiceInput]()
)

// coverage is docs/coverage.md: what Havn does of ECS and of the other APIs, worked out from the same
// tables and registrations that answer the requests.
func coverage(apis ...*wire.API) string {
	var b strings.Builder
	b.WriteString(`# Coverage

What Havn does of the AWS APIs. This page is generated from the code that answers the requests
(` + "`go generate ./api/ecs`" + `), and a test fails when it is out of date.

An operation that is not done answers UnknownOperationException. Of ECS nothing is silently ignored: a member of a
task definition, of RunTask and StartTask, or of CreateService and UpdateService is one of three, and is listed below. Of CloudWatch Logs operations are
listed, and not their members: one that is refused is refused by name.

- **acted on**: it does what AWS says that it does;
- **stored**: it is checked, kept and described, and there is no more to do, for the reason given;
- **refused**: RunTask, StartTask, CreateService and UpdateService refuse a request or a task definition that sets it,
  with UnsupportedFeatureException, and name it. RegisterTaskDefinition checks, keeps and describes it.
`)
	for _, api := range apis {
		writeOperations(&b, api)
	}
	b.WriteString("\n## The task definition, member by member\n\n| member | |\n|---|---|\n")
	definition.write(&b, registerInput, "")
	b.WriteString("\n## RunTask and StartTask, member by member\n\n| member | |\n|---|---|\n")
	run.write(&b, runInput, "")
	b.WriteString("| containerInstances (StartTask) | acted on |\n")
	b.WriteString("\n## CreateService and UpdateService, member by member\n\n| member | |\n|---|---|\n")
	service.write(&b, createInput, "")
	for _, only := range []string{"forceNewDeployment", "service"} {
		fmt.Fprintf(&b, "| %s (UpdateService) | acted on |\n", only)
	}
	b.WriteString("\n## CreateTaskSet, member by member\n\n| member | |\n|---|---|\n")
	taskSet.write(&b, taskSetInput, "")
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

// tables say of each member of a request which of the three it is.
type tables struct {
	acted                map[string]bool
	descriptive, refused map[string]string // and why
	restricted           map[string][]string
	notes                map[string]string
}

var (
	definition = tables{actedOnInDefinition, descriptiveInDefinition, refusedInDefinition, restrictedInDefinition, notes}
	run        = tables{actedOnInRun, nil, refusedInRun, restrictedInRun, notesInRun}
	taskSet    = tables{actedOnInTaskSet, nil, refusedInTaskSet, restrictedInRun, notesInTaskSet}
	service    = tables{actedOnInService, descriptiveInService, refusedInService, restrictedInService, notesInService}
)

// members calls yield for each member that is not divided any further, and for each that is refused as a whole.
func (t tables) members(typ reflect.Type, path string, yield func(path string)) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if _, refused := t.refused[path]; refused || typ.Kind() != reflect.Struct {
		yield(path)
		return
	}
	var names []string
	for i := range typ.NumField() {
		if f := typ.Field(i); f.IsExported() && f.Name != "ResultMetadata" {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		f, _ := typ.FieldByName(name)
		t.members(f.Type, join(path, wireName(name)), yield)
	}
}

func (t tables) write(b *strings.Builder, typ reflect.Type, path string) {
	t.members(typ, path, func(path string) {
		switch {
		case t.acted[path]:
			fmt.Fprintf(b, "| %s | acted on%s |\n", path, note(path, t.restricted, t.notes))
		case t.descriptive[path] != "":
			fmt.Fprintf(b, "| %s | stored: %s |\n", path, t.descriptive[path])
		case t.refused[path] != "":
			fmt.Fprintf(b, "| %s | refused: %s |\n", path, t.refused[path])
		default:
			fmt.Fprintf(b, "| %s | **not accounted for** |\n", path)
		}
	})
}

func note(member string, restricted map[string][]string, notes map[string]string) string {
	if text := notes[member]; text != "" {
		return ": " + text
	}
	if values := restricted[member]; len(values) > 0 {
		return ": " + strings.Join(values, ", ")
	}
	return ""
}

// A new version of the SDK may bring members that nobody has thought of. Each must be put into one of the tables of
// runnable.go, to its last member: acted on, descriptive, or refused and why.
func TestEveryMemberIsAccountedFor(t *testing.T) {
	for _, request := range []struct {
		tables
		types []reflect.Type
	}{
		{definition, []reflect.Type{registerInput}},
		{run, []reflect.Type{runInput, startInput}},
		{service, []reflect.Type{createInput, updateInput}},
		{taskSet, []reflect.Type{taskSetInput}},
	} {
		there := map[string]bool{}
		for _, typ := range request.types {
			request.members(typ, "", func(path string) {
				there[path] = true
				in := 0
				for _, is := range []bool{request.acted[path], request.descriptive[path] != "", request.refused[path] != ""} {
					if is {
						in++
					}
				}
				if in != 1 {
					t.Errorf("%s is in %d of the tables of runnable.go, not in one", path, in)
				}
			})
		}
		for _, table := range []iter.Seq[string]{maps.Keys(request.acted), maps.Keys(request.descriptive), maps.Keys(request.refused)} {
			for path := range table {
				if !there[path] {
					t.Errorf("%s is in a table of runnable.go, and is no member, or one with members below it", path)
				}
			}
		}
	}
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
