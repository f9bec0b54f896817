package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// module is what the sources of an SDK module say.
type module struct {
	operations []string
	unsigned   []string
	keys       map[string]string // "Tag.Key" -> "key"
	rules      map[string]*rule  // by the same names
	unions     []string          // names of union member types
	document   bool              // whether there are document members
	status     map[string]int    // by error code
}

// rule is a wire.Rule in the making. Limits are kept as they are written.
type rule struct {
	required bool
	min, max string
	pattern  string
	each     *rule
}

func readModule(dir string) (*module, error) {
	m := &module{
		keys:   make(map[string]string),
		rules:  make(map[string]*rule),
		status: make(map[string]int),
	}
	for _, pattern := range []string{"*.go", "types/*.go", "schemas/*.go"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			if err := m.readFile(file); err != nil {
				return nil, err
			}
		}
	}
	if len(m.operations) == 0 {
		return nil, fmt.Errorf("no operations in %s", dir)
	}
	slices.Sort(m.unions)
	return m, nil
}

func (m *module) readFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	base := filepath.Base(path)
	if op, ok := strings.CutPrefix(strings.TrimSuffix(base, ".go"), "api_op_"); ok {
		m.operations = append(m.operations, op)
	}
	for _, imported := range file.Imports {
		path, _ := strconv.Unquote(imported.Path.Value)
		if base == "types.go" && strings.HasPrefix(path, modules) && strings.HasSuffix(path, "/document") &&
			!strings.Contains(path, "/internal/") {
			m.document = true
		}
	}
	if base == "types.go" {
		m.readUnions(file)
	}
	if base == "auth.go" {
		m.readUnsigned(file)
	}
	if base == "schemas.go" {
		m.readStatus(file)
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		switch {
		case base == "validators.go" && strings.HasPrefix(f.Name.Name, "validate"):
			m.readRequired(f)
		case f.Name.Name == "SerializeMembers":
			m.readSchemaKeys(f)
		case base == "serializers.go":
			m.readSerializerKeys(f)
		case base == "deserializers.go":
			m.readDeserializerKeys(f)
		}
	}
	return nil
}

// structName is X for the expressions X, *X, types.X and *types.X.
func structName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return structName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// paramType is the struct type of f's first parameter, the value v.
func paramType(f *ast.FuncDecl) string {
	if len(f.Type.Params.List) == 0 {
		return ""
	}
	return structName(f.Type.Params.List[0].Type)
}

// called is the name of the function that a call calls.
func called(c *ast.CallExpr) string { return structName(c.Fun) }

func literal(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(l.Value)
	return s
}

// readRequired reads a validator: each NewErrParamRequired("X") is a required
// member of its parameter's type.
func (m *module) readRequired(f *ast.FuncDecl) {
	name := paramType(f)
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok && called(c) == "NewErrParamRequired" {
			if member := literal(c.Args[0]); member != "" && !strings.ContainsAny(member, "[]") {
				m.rule(name + "." + member).required = true
			}
		}
		return true
	})
}

func (m *module) rule(member string) *rule {
	r := m.rules[member]
	if r == nil {
		r = &rule{}
		m.rules[member] = r
	}
	return r
}

// memberOf is F for the first selector on the variable: v.F.
func memberOf(n ast.Node, variable string) string {
	found := ""
	ast.Inspect(n, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && found == "" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == variable {
				found = s.Sel.Name
			}
		}
		return found == ""
	})
	return found
}

// readSchemaKeys reads a SerializeMembers method, where the schema of each member
// is named schemas.Shape_key.
func (m *module) readSchemaKeys(f *ast.FuncDecl) {
	owner := structName(f.Recv.List[0].Type)
	for _, stmt := range f.Body.List {
		field, schema := memberOf(stmt, "v"), memberOf(stmt, "schemas")
		if _, key, ok := strings.Cut(schema, "_"); ok && field != "" {
			m.keys[owner+"."+field] = key
		}
	}
}

// readSerializerKeys reads a serializer of the older kind: in the block about v.F
// stands object.Key("key").
func (m *module) readSerializerKeys(f *ast.FuncDecl) {
	owner := paramType(f)
	for _, stmt := range f.Body.List {
		block, ok := stmt.(*ast.IfStmt)
		if !ok {
			continue
		}
		field := memberOf(block.Cond, "v")
		ast.Inspect(block.Body, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && field != "" && len(c.Args) == 1 && (called(c) == "Key" || called(c) == "FlatKey") {
				if key := literal(c.Args[0]); key != "" {
					m.keys[owner+"."+field] = key
				}
				return false
			}
			return true
		})
	}
}

// readDeserializerKeys reads a deserializer of the older kind: the case about
// "key" sets sv.F.
func (m *module) readDeserializerKeys(f *ast.FuncDecl) {
	owner := paramType(f)
	if owner == "" {
		return
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		clause, ok := n.(*ast.CaseClause)
		if !ok || len(clause.List) != 1 {
			return true
		}
		key := literal(clause.List[0])
		if c, ok := clause.List[0].(*ast.CallExpr); ok && called(c) == "EqualFold" {
			key = literal(c.Args[0])
		}
		for _, stmt := range clause.Body {
			if field := memberOf(stmt, "sv"); field != "" && key != "" {
				m.keys[owner+"."+field] = key
				break
			}
		}
		return true
	})
}

// readUnions finds the types XMemberY of each interface X.
func (m *module) readUnions(file *ast.File) {
	var interfaces, structs []string
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			t := spec.(*ast.TypeSpec)
			switch t.Type.(type) {
			case *ast.InterfaceType:
				interfaces = append(interfaces, t.Name.Name)
			case *ast.StructType:
				structs = append(structs, t.Name.Name)
			}
		}
	}
	for _, union := range interfaces {
		for _, name := range structs {
			if strings.HasPrefix(name, union+"Member") {
				m.unions = append(m.unions, name)
			}
		}
	}
}

// readUnsigned finds the operations whose only way to authenticate is none.
func (m *module) readUnsigned(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		op := literal(kv.Key)
		if op == "" {
			return true
		}
		schemes := 0
		anonymous := false
		ast.Inspect(kv.Value, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "SchemeID") && len(s.Sel.Name) > len("SchemeID") {
				schemes++
				anonymous = anonymous || s.Sel.Name == "SchemeIDAnonymous"
			}
			return true
		})
		if anonymous && schemes == 1 {
			m.unsigned = append(m.unsigned, op)
		}
		return false
	})
	slices.Sort(m.unsigned)
}

// readStatus finds the errors that have an HTTP status of their own.
func (m *module) readStatus(file *ast.File) {
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		spec := g.Specs[0].(*ast.ValueSpec)
		if len(spec.Values) != 1 {
			continue
		}
		ast.Inspect(spec.Values[0], func(n ast.Node) bool {
			c, ok := n.(*ast.CompositeLit)
			if !ok || structName(c.Type) != "HTTPError" {
				return true
			}
			if kv, ok := c.Elts[0].(*ast.KeyValueExpr); ok {
				m.status[spec.Names[0].Name], _ = strconv.Atoi(kv.Value.(*ast.BasicLit).Value)
			}
			return true
		})
	}
}

// naming says whether most members are written as Go writes them, and which are
// not written as the rule says.
func (m *module) naming() (upper bool, unusual map[string]string) {
	counted := 0
	field := func(member string) string { return member[strings.LastIndexByte(member, '.')+1:] }
	for member, key := range m.keys {
		if field(member) == key {
			counted++
		}
	}
	upper = counted*2 > len(m.keys)
	unusual = make(map[string]string)
	for member, key := range m.keys {
		f := field(member)
		if !upper {
			f = strings.ToLower(f[:1]) + f[1:]
		}
		if f != key {
			unusual[member] = key
		}
	}
	return upper, unusual
}

// addFacts adds what the model says and the SDK does not:
//
//	Tag.Key length 1 128
//	ManagedInstancesStorageConfiguration.StorageSizeGiB range 1 -
//	UntagResourceInput.TagKeys each length 1 128
//	Tag.Key pattern ^[a-z]+$
//	IDPRejectedClaim status 403
func (m *module) addFacts(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		member, rest, _ := strings.Cut(line, " ")
		each := strings.HasPrefix(rest, "each ")
		what, value, ok := strings.Cut(strings.TrimPrefix(rest, "each "), " ")
		if !ok {
			return fmt.Errorf("cannot read fact %q", line)
		}
		if what == "status" {
			status, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("cannot read fact %q: %w", line, err)
			}
			m.status[member] = status
			continue
		}
		r := m.rule(member)
		if each {
			if r.each == nil {
				r.each = &rule{}
			}
			r = r.each
		}
		switch what {
		case "length", "range":
			low, high, ok := strings.Cut(value, " ")
			if !ok {
				return fmt.Errorf("cannot read fact %q", line)
			}
			if low != "-" && !(what == "length" && low == "0") {
				r.min = low
			}
			if high != "-" {
				r.max = high
			}
		case "pattern":
			r.pattern = value
		default:
			return fmt.Errorf("cannot read fact %q", line)
		}
	}
	return nil
}
