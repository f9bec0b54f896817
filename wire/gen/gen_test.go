package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tables are the files that go generate writes.
var tables = []struct{ service, pkg, prefix, file string }{
	{"ecs", "", "", "../../api/ecs/shapes_gen.go"},
	{"sts", "", "", "../../api/sts/shapes_gen.go"},
	{"cloudwatchlogs", "logs", "", "../../api/logs/shapes_gen.go"},
	{"elasticloadbalancingv2", "elbv2", "", "../../api/elbv2/shapes_gen.go"},
	{"acm", "", "", "../../api/acm/shapes_gen.go"},
	{"ecs", "wire_test", "ecs", "../ecs_gen_test.go"},
	{"sts", "wire_test", "sts", "../sts_gen_test.go"},
	{"cloudwatchlogs", "wire_test", "logs", "../logs_gen_test.go"},
	{"elasticloadbalancingv2", "wire_test", "elb", "../elb_gen_test.go"},
	{"acm", "wire_test", "acm", "../acm_gen_test.go"},
}

func TestTablesAreThoseOfTheSDKInGoMod(t *testing.T) {
	for _, table := range tables {
		want, err := generate(table.service, table.pkg, table.prefix)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(table.file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: run go generate ./wire/gen", table.file)
		}
	}
}

// models is where the published models may lie, beside the checkout.
const models = "../../../shared/reference/models"

// smithyModel is the part of a Smithy model that the tables are checked against.
type smithyModel struct {
	Shapes map[string]struct {
		Type    string
		Traits  map[string]json.RawMessage
		Members map[string]struct {
			Target string
			Traits map[string]json.RawMessage
		}
		Input, Member, Value struct{ Target string }
	}
}

// reach adds the shapes that a value of the shape can hold.
func (p *smithyModel) reach(id string, into map[string]bool) {
	shape, ok := p.Shapes[id]
	if !ok || into[id] {
		return
	}
	into[id] = true
	for _, member := range shape.Members {
		p.reach(member.Target, into)
	}
	p.reach(shape.Member.Target, into)
	p.reach(shape.Value.Target, into)
}

func readModel(t *testing.T, service string) *smithyModel {
	file := service
	switch service { // the SDK's name is that of the model's namespace
	case "cloudwatchlogs":
		file = "cloudwatch-logs"
	case "elasticloadbalancingv2":
		file = "elastic-load-balancing-v2"
	}
	text, err := os.ReadFile(filepath.Join(models, file+".json"))
	if err != nil {
		t.Skipf("skipped: the published model of %s is not here: %v", service, err)
	}
	var m smithyModel
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestTablesAgreeWithThePublishedModel(t *testing.T) {
	for _, service := range []string{"ecs", "sts", "cloudwatchlogs", "elasticloadbalancingv2", "acm"} {
		t.Run(service, func(t *testing.T) {
			published := readModel(t, service)
			dir, err := moduleDir(modules + service)
			if err != nil {
				t.Fatal(err)
			}
			m, err := readModule(dir)
			if err != nil {
				t.Fatal(err)
			}
			facts, err := model.ReadFile("model/" + service + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			if err := m.addFacts(string(facts)); err != nil {
				t.Fatal(err)
			}
			published.check(t, service, m)
		})
	}
}

func (p *smithyModel) check(t *testing.T, service string, m *module) {
	prefix := "com.amazonaws." + service + "#"
	goName := make(map[string]string) // of input shapes, which the SDK renames
	var operations []string
	input := make(map[string]bool)
	for id, shape := range p.Shapes {
		if shape.Type == "operation" {
			operations = append(operations, strings.TrimPrefix(id, prefix))
			p.reach(shape.Input.Target, input)
			goName[shape.Input.Target] = strings.TrimPrefix(id, prefix) + "Input"
		}
	}
	slices.Sort(operations)
	if !slices.Equal(operations, m.operations) {
		t.Errorf("operations are %v, want %v", m.operations, operations)
	}
	checked := 0
	for id, shape := range p.Shapes {
		if shape.Type != "structure" {
			continue
		}
		name := goName[id]
		if name == "" {
			name = strings.TrimPrefix(id, prefix)
		}
		for key, member := range shape.Members {
			path := name + "." + strings.ToUpper(key[:1]) + key[1:]
			if got, ok := m.keys[path]; ok && got != key {
				t.Errorf("%s is written %q, want %q", path, got, key)
			}
			rule := m.rules[path]
			if rule == nil {
				limited := p.Shapes[member.Target].Traits
				if input[id] && (limited["smithy.api#length"] != nil || limited["smithy.api#range"] != nil || limited["smithy.api#pattern"] != nil) {
					t.Errorf("%s has no limits, and some in the model", path)
				}
				continue
			}
			checked++
			if _, want := member.Traits["smithy.api#required"]; rule.required && !want {
				t.Errorf("%s is required, and not so in the model", path)
			}
			target := p.Shapes[member.Target].Traits
			if pattern, ok := target["smithy.api#pattern"]; ok != (rule.pattern != "") {
				t.Errorf("%s has pattern %q, the model %s", path, rule.pattern, pattern)
			}
			limits := target["smithy.api#length"]
			if limits == nil {
				limits = target["smithy.api#range"]
			}
			if (limits == nil) != (rule.min == "" && rule.max == "") {
				t.Errorf("%s has limits %s..%s, the model %s", path, rule.min, rule.max, limits)
				continue
			}
			if limits == nil {
				continue
			}
			var want struct{ Min, Max *json.Number }
			if err := json.Unmarshal(limits, &want); err != nil {
				t.Fatal(err)
			}
			same := func(got string, want *json.Number) bool {
				if want == nil || got == "" {
					return got == "" && (want == nil || want.String() == "0")
				}
				f, _ := want.Float64()
				var g float64
				return json.Unmarshal([]byte(got), &g) == nil && f == g
			}
			if !same(rule.min, want.Min) || !same(rule.max, want.Max) {
				t.Errorf("%s has limits %s..%s, the model %s", path, rule.min, rule.max, limits)
			}
		}
	}
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// The legal values of an enum are not in the tables: the SDK's types list them.
func TestEnumsAgreeWithThePublishedModel(t *testing.T) {
	for _, service := range []string{"ecs", "cloudwatchlogs", "elasticloadbalancingv2", "acm"} { // STS has none
		t.Run(service, func(t *testing.T) {
			published := readModel(t, service)
			dir, err := moduleDir(modules + service)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, "types", "enums.go"), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			values := make(map[string][]string)
			ast.Inspect(file, func(n ast.Node) bool {
				if v, ok := n.(*ast.ValueSpec); ok && v.Type != nil {
					name := structName(v.Type)
					values[name] = append(values[name], literal(v.Values[0]))
				}
				return true
			})
			checked := 0
			for id, shape := range published.Shapes {
				name := strings.TrimPrefix(id, "com.amazonaws."+service+"#")
				got, ok := values[name]
				if shape.Type != "enum" || !ok {
					continue
				}
				checked++
				var want []string
				for _, member := range shape.Members {
					var value string
					if err := json.Unmarshal(member.Traits["smithy.api#enumValue"], &value); err != nil {
						t.Fatal(err)
					}
					want = append(want, value)
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%s is one of %v, the model says %v", name, got, want)
				}
			}
			if checked != len(values) {
				t.Errorf("checked %d of %d enums", checked, len(values))
			}
		})
	}
}
