// Package havn holds the rules that the tree of this repository keeps, as tests.
package havn

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the dependency table: which of our packages a package's own code may import. A package
// that is not here may import none of ours. What is not in a row is banned, and reason says why.
var mayImport = map[string]struct {
	ours   []string
	reason string
}{
	"wire":              {nil, "wire knows no product: it could serve any AWS API"},
	"schedule":          {nil, "pure: placement is decided on values alone"},
	"lifecycle":         {nil, "pure: a task's life is decided on values alone"},
	"protocol":          {nil, "messages only; both ends of the node protocol import it"},
	"state":             {[]string{"lifecycle"}, "state remembers; it decides nothing"},
	"state/etcd":        {[]string{"state"}, "a Log knows bytes, not records"},
	"state/statetest":   {[]string{"state"}, "the suite of every Log"},
	"placement":         {[]string{"state", "schedule", "lifecycle"}, "asks schedule where and writes the answer down; which node serves which cluster is a part of that"},
	"api/ecs":           {[]string{"state", "placement", "schedule", "wire", "lifecycle"}, "handlers write facts; they never call forward"},
	"api/ecs/coverage":  {[]string{"api/ecs", "wire"}, "documents what the handlers do"},
	"api/sts":           {[]string{"wire", "identity", "state"}, "as api/ecs"},
	"dispatch":          {[]string{"state", "protocol", "lifecycle"}, "assignments out, connections noted; no handler, no agent"},
	"control":           {[]string{"state", "placement", "lifecycle"}, "a controller is a transaction on state"},
	"agent":             {[]string{"lifecycle", "protocol"}, "the node knows nothing of the server but its protocol"},
	"agent/runtimetest": {[]string{"agent", "lifecycle", "protocol"}, "the suite of every Runtime"},
	"agent/network":     {nil, "one thing: a container's network"},
	"agent/containerd":  {[]string{"lifecycle", "protocol", "agent/network"}, "a Runtime performs effects; it does not decide"},
	"testimage":         {nil, "makes images from files"},
	"sim":               {[]string{"*"}, "the whole cluster in one thread"},
	"e2e":               {[]string{"*"}, "the whole, from outside"},
	"bench":             {[]string{"*"}, "measures the whole"},
}

// standardOnly are the pure packages: the standard library, and none of these parts of it.
var standardOnly = []string{"schedule", "lifecycle", "rollout", "identity"}

var impure = map[string]string{
	"os":      "a decision reads no files and no environment",
	"net":     "a decision asks nobody",
	"sync":    "a decision is made in one goroutine",
	"context": "a decision takes no time that could be cut short",
}

// impureCalls would make a pure function's answer depend on more than its arguments.
var impureCalls = []string{"time.Now", "time.After", "time.Sleep", "time.Since", "time.Until", "time.Tick"}

func TestDependencies(t *testing.T) {
	for dir, files := range sources(t) {
		if strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "examples/") || dir == "." {
			continue
		}
		row, known := mayImport[dir]
		for _, file := range files {
			for _, imported := range imports(file.ast) {
				ours, is := strings.CutPrefix(imported, "havn/")
				if !is {
					continue
				}
				if !known {
					t.Errorf("%s imports %s, but %s has no row in the dependency table of arch_test.go", file.path, imported, dir)
				} else if !slices.Contains(row.ours, ours) && !slices.Contains(row.ours, "*") {
					t.Errorf("%s imports %s: %s", file.path, imported, row.reason)
				}
			}
		}
	}
}

func TestPurePackages(t *testing.T) {
	for dir, files := range sources(t) {
		if !slices.Contains(standardOnly, dir) {
			continue
		}
		for _, file := range files {
			for _, imported := range imports(file.ast) {
				if strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
					t.Errorf("%s imports %s: pure packages use the standard library only", file.path, imported)
				}
				for banned, reason := range impure {
					if imported == banned || strings.HasPrefix(imported, banned+"/") {
						t.Errorf("%s imports %s: %s", file.path, imported, reason)
					}
				}
			}
			ast.Inspect(file.ast, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := sel.X.(*ast.Ident); ok && slices.Contains(impureCalls, pkg.Name+"."+sel.Sel.Name) {
						t.Errorf("%s calls %s.%s: time is an argument", file.path, pkg.Name, sel.Sel.Name)
					}
					if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "rand" && globalRand[sel.Sel.Name] {
						t.Errorf("%s calls rand.%s: chance has a seed", file.path, sel.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

var globalRand = map[string]bool{"Int": true, "IntN": true, "Intn": true, "Float64": true, "Perm": true, "Shuffle": true, "Uint32": true, "Uint64": true, "N": true}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for dir, files := range sources(t) {
		documented := slices.ContainsFunc(files, func(f source) bool { return f.ast.Doc != nil })
		if !documented {
			t.Errorf("no file of %s has a package comment", dir)
		}
	}
}

func TestNoPackageIsADrawer(t *testing.T) {
	for dir := range sources(t) {
		switch path.Base(dir) {
		case "util", "utils", "common", "helpers", "helper", "base", "manager", "types", "pkg", "internal", "misc", "shared":
			t.Errorf("%s: a name that holds anything explains nothing", dir)
		}
	}
}

// maxLines is how long a file may be: longer ones do not fit in the head.
const maxLines = 700

func TestFilesFitInTheHead(t *testing.T) {
	for _, files := range sources(t) {
		for _, file := range files {
			if file.lines > maxLines && !ast.IsGenerated(file.ast) {
				t.Errorf("%s has %d lines; at most %d", file.path, file.lines, maxLines)
			}
		}
	}
}

type source struct {
	path  string
	ast   *ast.File
	lines int
}

// sources parses every Go file of the repository that is not a test, by folder.
func sources(t *testing.T) map[string][]source {
	t.Helper()
	found := map[string][]source{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(fset, p, content, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(p))
		found[dir] = append(found[dir], source{p, parsed, strings.Count(string(content), "\n")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no Go files found")
	}
	return found
}

func imports(f *ast.File) []string {
	var paths []string
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}
