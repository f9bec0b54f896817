// Package havn holds the rules that the tree of this repository keeps, as tests.
package havn

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the dependency table: which of our packages a package's own code may import. A package
// that is not here may import none of ours. What is not in a row is banned, and reason says why; what is
// in a row is used, or the row would be a door that nobody sees open. A star is everything.
var mayImport = map[string]struct {
	ours   []string
	reason string
}{
	"wire":              {nil, "wire knows no product: it could serve any AWS API"},
	"schedule":          {nil, "pure: placement is decided on values alone"},
	"lifecycle":         {nil, "pure: a task's life is decided on values alone"},
	"logquery":          {nil, "pure: what a pattern or a query says of events hangs on nothing else"},
	"cause":             {[]string{"lifecycle"}, "pure: texts in, causes out; lifecycle says how long a reason may be"},
	"logoption":         {nil, "pure: what an option's value means is the same to who registers it and who acts on it"},
	"protocol":          {nil, "messages only; both ends of the node protocol import it"},
	"state":             {[]string{"lifecycle"}, "state remembers; it decides nothing"},
	"reserve":           {nil, "knows files, not what is in them"},
	"state/etcd":        {[]string{"state", "reserve"}, "a Log knows bytes, not records"},
	"state/statetest":   {[]string{"state"}, "the suite of every Log"},
	"story":             {[]string{"state", "lifecycle", "cause"}, "pure: records in, a story out; it asks nobody"},
	"rollout":           {nil, "pure: how many and of which version is decided on values alone"},
	"balance/route":     {[]string{"state"}, "pure: records in, a table out"},
	"balance/load":      {nil, "counts; it knows no target but by its key"},
	"balance/proxy":     {[]string{"balance/route", "balance/load"}, "speaks HTTP; which target, route decides"},
	"balance/sslpolicy": {nil, "pure: tables of AWS's"},
	"balance":           {[]string{"state", "balance/route", "balance/load", "balance/sslpolicy", "ports"}, "follows the state, and writes there what it sees; HTTP is given to it"},
	"placement":         {[]string{"state", "schedule", "lifecycle"}, "asks schedule where and writes the answer down; which node serves which cluster is a part of that"},
	"api/ecs":           {[]string{"state", "placement", "schedule", "wire", "lifecycle", "logoption"}, "handlers write facts; they never call forward"},
	"api/acm":           {[]string{"state", "wire"}, "as api/ecs"},
	"certify":           {[]string{"state"}, "issues what the state asks for"},
	"api/elbv2":         {[]string{"state", "wire", "balance/sslpolicy"}, "as api/ecs"},
	"api/sts":           {[]string{"wire"}, "as api/ecs"},
	"api/logs":          {[]string{"state", "wire", "logstore", "logquery"}, "as api/ecs; events are not state, and go to their own store"},
	"hook":              {[]string{"state"}, "asks who is to be asked and writes down what was said; it decides nothing"},
	"expire":            {[]string{"state", "logstore"}, "takes out of the log store what the state does not want there"},
	"dispatch":          {[]string{"state", "protocol", "lifecycle"}, "assignments out, connections noted; no handler, no agent"},
	"control":           {[]string{"state", "placement", "rollout", "lifecycle", "story"}, "a controller is a transaction on state"},
	"agent":             {[]string{"lifecycle", "protocol", "reserve"}, "the node knows nothing of the server but its protocol"},
	"agent/runtimetest": {[]string{"agent", "lifecycle", "protocol"}, "the suite of every Runtime"},
	"agent/gpu":         {nil, "one thing: what the node's GPUs are, and what they need"},
	"agent/network":     {[]string{"ports"}, "one thing: a container's network"},
	"agent/observe":     {nil, "one thing: what the kernel and the engine tell of a container"},
	"agent/metadata":    {[]string{"agent", "agent/network", "agent/observe", "lifecycle", "protocol"}, "one thing: what a container asks about itself; it decides nothing"},
	"agent/logging":     {[]string{"protocol", "agent/logging/jsonfile", "logoption"}, "from a container's files to a destination; when, others say"},
	"agent/volume":      {[]string{"protocol"}, "one thing: a container's volumes"},
	"agent/firelens":    {nil, "pure: what a log router is to do in, its configuration out"},
	"agent/bucket":      {nil, "one thing: what stands for S3"},
	"agent/containerd":  {[]string{"lifecycle", "protocol", "agent/gpu", "agent/logging", "agent/logging/jsonfile", "agent/network", "agent/observe", "agent/volume", "agent/bucket", "agent/firelens", "reserve", "cause"}, "a Runtime performs effects; it does not decide"},
	"testimage":         {nil, "makes images from files"},
	"sim":               {[]string{"*"}, "the whole cluster in one thread"},
	"bench":             {[]string{"*"}, "measures the whole"},
}

// mayNotImport bans what is not ours, by the beginning of its path.
var mayNotImport = []struct{ dir, path, reason string }{
	{"wire", "github.com/aws/aws-sdk-go-v2/service/", "wire knows no product: it could serve any AWS API"},
	{"wire/gen", "github.com/aws/aws-sdk-go-v2/service/", "it reads the SDK's models, of any product"},
}

// standardOnly are the pure packages: the standard library, and none of these parts of it.
var standardOnly = []string{"agent/firelens", "schedule", "lifecycle", "logquery", "logoption", "cause", "story", "rollout", "balance/sslpolicy"}

var impure = map[string]string{
	"os":          "a decision reads no files and no environment",
	"net":         "a decision asks nobody",
	"sync":        "a decision is made in one goroutine",
	"context":     "a decision takes no time that could be cut short",
	"crypto/rand": "chance has a seed",
}

// harmless are parts of what is impure that know values only.
var harmless = []string{"net/netip", "net/url"}

// impureTime would make a pure function's answer depend on more than its arguments.
var impureTime = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}

// seeded is what a pure package may use of math/rand: all else there is the global source.
var seeded = []string{"New", "NewPCG", "NewChaCha8", "NewSource", "NewZipf", "Rand", "Source", "PCG", "ChaCha8", "Zipf"}

func TestDependencies(t *testing.T) {
	used := map[string]bool{} // "importer imported"
	for dir, files := range sources(t) {
		for _, file := range files {
			for _, imported := range imports(file.ast) {
				for _, ban := range mayNotImport {
					if dir == ban.dir && strings.HasPrefix(imported, ban.path) {
						t.Errorf("%s imports %s: %s", file.path, imported, ban.reason)
					}
				}
				ours, is := strings.CutPrefix(imported, "havn/")
				if !is || strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "examples/") {
					continue
				}
				used[dir+" "+ours], used[dir+" *"] = true, true
				if row, known := mayImport[dir]; !known {
					t.Errorf("%s imports %s, but %s has no row in the dependency table of arch_test.go", file.path, imported, dir)
				} else if !slices.Contains(row.ours, ours) && !slices.Contains(row.ours, "*") {
					t.Errorf("%s imports %s: %s", file.path, imported, row.reason)
				}
			}
		}
	}
	for dir, row := range mayImport {
		for _, ours := range row.ours {
			if !used[dir+" "+ours] {
				t.Errorf("the dependency table lets %s import %s, which it does not", dir, ours)
			}
		}
	}
}

func TestTablesNameWhatThereIs(t *testing.T) {
	there := sources(t)
	dirs := slices.Concat(slices.Collect(maps.Keys(mayImport)), standardOnly)
	for _, ban := range mayNotImport {
		dirs = append(dirs, ban.dir)
	}
	for _, dir := range dirs {
		if there[dir] == nil {
			t.Errorf("arch_test.go has rules for %s, which does not exist", dir)
		}
	}
}

func TestPurePackages(t *testing.T) {
	for dir, files := range sources(t) {
		if !slices.Contains(standardOnly, dir) {
			continue
		}
		for _, file := range files {
			for _, what := range impurities(file.ast) {
				t.Errorf("%s %s", file.path, what)
			}
		}
	}
}

func TestImpurityIsSeenUnderAnyName(t *testing.T) {
	for code, want := range map[string]int{
		`import "time"; var x = time.Now()`:                                        1,
		`import clock "time"; var x = clock.NewTimer`:                              1,
		`import . "time"; var x = Now()`:                                           1,
		`import "math/rand/v2"; var x = rand.Int64N(3)`:                            1,
		`import dice "math/rand"; var x = dice.ExpFloat64`:                         1,
		`import "math/rand/v2"; var x = rand.New(rand.NewPCG(1, 2)).IntN(3)`:       0,
		`import "time"; func f(t time.Time) time.Time { return t.Add(time.Hour) }`: 0,
		`import "os/exec"`:                1,
		`import "net/netip"`:              0,
		`import "net/http"`:               1,
		`import "github.com/google/uuid"`: 1,
	} {
		parsed, err := parser.ParseFile(token.NewFileSet(), "code.go", "package code; "+code, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := impurities(parsed); len(got) != want {
			t.Errorf("%s: %q, want %d", code, got, want)
		}
	}
}

// impurities says what a file imports and uses that a pure package may not.
func impurities(f *ast.File) (found []string) {
	names := map[string]string{} // the file's name for a package -> path
	for _, spec := range f.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(imported)
		if name == "v2" {
			name = path.Base(path.Dir(imported))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
		if name == "." {
			found = append(found, "imports "+imported+" without a name: nobody sees what is used of it")
		}
		if strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
			found = append(found, "imports "+imported+": pure packages use the standard library only")
		}
		for banned, reason := range impure {
			if (imported == banned || strings.HasPrefix(imported, banned+"/")) && !slices.Contains(harmless, imported) {
				found = append(found, "imports "+imported+": "+reason)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		switch what := sel.Sel.Name; names[pkg.Name] {
		case "time":
			if slices.Contains(impureTime, what) {
				found = append(found, "uses time."+what+": time is an argument")
			}
		case "math/rand", "math/rand/v2":
			if !slices.Contains(seeded, what) {
				found = append(found, "uses rand."+what+": chance has a seed")
			}
		}
		return true
	})
	return found
}

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
const maxLines = 600

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
