package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
	"sync"
)

// identifier is where a name in code leads.
type identifier struct {
	url    string
	length int
}

// place is where something is declared. An empty one is where names are ambiguous.
type place struct {
	file string
	line int
}

// declaration is a name that a package declares, or a method of one of its types.
type declaration struct {
	place
	kind     string // func, method, type, const or var
	receiver string // the type of a method
	name     string
	abstract bool // a method of an interface
}

// declaredIn are the names that a package declares.
type declaredIn struct {
	names   map[string]place // of the package
	members map[string]place // fields and methods, by name: of any type
	all     map[string][]declaration

	variables map[string]map[string]bool // those of functions, and their parameters, by file
}

// declared are the packages of the checkout, by their folder.
type declared map[string]*declaredIn

// findDeclarations parses all Go files that have a page.
func (b *book) findDeclarations(ctx context.Context) error {
	found := declared{}
	var lock sync.Mutex
	var files []string
	for _, p := range b.pages {
		if p.kind == code && strings.HasSuffix(p.source, ".go") {
			files = append(files, p.source)
		}
	}
	err := inParallel(ctx, files, func(file string) error {
		content, err := b.read(file)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, content, parser.SkipObjectResolution)
		if err != nil {
			return nil // a file of testdata may be wrong on purpose
		}
		lock.Lock()
		defer lock.Unlock()
		dir := path.Dir(file)
		if strings.HasSuffix(parsed.Name.Name, "_test") {
			dir += " test"
		}
		if found[dir] == nil {
			found[dir] = &declaredIn{map[string]place{}, map[string]place{}, map[string][]declaration{}, map[string]map[string]bool{}}
		}
		found[dir].add(set, parsed)
		return nil
	})
	b.declared = found
	return err
}

// outlineOf are the declarations of a Go file, as headings.
func outlineOf(content string) []heading {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", content, parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	var found []heading
	add := func(name *ast.Ident) {
		found = append(found, heading{2, fmt.Sprintf("L%d", set.Position(name.Pos()).Line), name.Name})
	}
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			add(decl.Name)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok {
					add(t.Name)
				}
			}
		}
	}
	return found
}

// add adds what a file declares.
func (d *declaredIn) add(set *token.FileSet, file *ast.File) {
	at := func(names map[string]place, name *ast.Ident) place {
		p := set.Position(name.Pos())
		if _, twice := names[name.Name]; twice {
			names[name.Name] = place{}
		} else {
			names[name.Name] = place{p.Filename, p.Line}
		}
		return place{p.Filename, p.Line}
	}
	list := func(one declaration) { d.all[one.name] = append(d.all[one.name], one) }
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil {
				list(declaration{place: at(d.names, decl.Name), kind: "func", name: decl.Name.Name})
			} else {
				list(declaration{place: at(d.members, decl.Name), kind: "method", receiver: receiverOf(decl), name: decl.Name.Name})
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					list(declaration{place: at(d.names, spec.Name), kind: "type", name: spec.Name.Name})
					if i, ok := spec.Type.(*ast.InterfaceType); ok {
						for _, method := range i.Methods.List {
							for _, name := range method.Names {
								p := set.Position(name.Pos())
								list(declaration{place{p.Filename, p.Line}, "method", spec.Name.Name, name.Name, true})
							}
						}
					}
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						list(declaration{place: at(d.names, name), kind: decl.Tok.String(), name: name.Name})
					}
				}
			}
		}
	}
	variables := map[string]bool{}
	d.variables[set.Position(file.Pos()).Filename] = variables
	ast.Inspect(file, func(n ast.Node) bool {
		var fields *ast.FieldList
		switch n := n.(type) {
		case *ast.FuncType:
			for _, field := range n.Params.List {
				for _, name := range field.Names {
					variables[name.Name] = true
				}
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if name, ok := left.(*ast.Ident); ok && n.Tok == token.DEFINE {
					variables[name.Name] = true
				}
			}
		case *ast.StructType:
			fields = n.Fields
		case *ast.InterfaceType:
			fields = n.Methods
		}
		if fields != nil {
			for _, field := range fields.List {
				for _, name := range field.Names {
					at(d.members, name)
				}
			}
		}
		return true
	})
}

// receiverOf is the name of the type that a method belongs to.
func receiverOf(method *ast.FuncDecl) string {
	of := method.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if index, ok := of.(*ast.IndexExpr); ok {
		of = index.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// linksIn are the identifiers of a Go file that lead to their declaration, by offset.
// Without types not all do: a name of the package, one of another package of this
// checkout, and an unexported field or method that only one type has.
func (d declared) linksIn(file, content string) map[int]identifier {
	links := map[int]identifier{}
	if !strings.HasSuffix(file, ".go") {
		return links
	}
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, content, 0)
	if err != nil {
		return links
	}
	dir := path.Dir(file)
	if strings.HasSuffix(parsed.Name.Name, "_test") {
		dir += " test"
	}
	own := d[dir]
	if own == nil {
		return links
	}
	link := func(name *ast.Ident, to place) {
		p := set.Position(name.Pos())
		if to.file != "" && (to.file != file || to.line != p.Line) {
			links[p.Offset] = identifier{fmt.Sprintf("%s#L%d", codeURL(to.file), to.line), len(name.Name)}
		}
	}
	imports := d.imports(parsed)
	for _, name := range parsed.Unresolved {
		link(name, own.names[name.Name])
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if n.Obj != nil && parsed.Scope.Lookup(n.Name) == n.Obj {
				link(n, own.names[n.Name])
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Obj == nil && imports[x.Name] != nil {
				link(n.Sel, imports[x.Name].names[n.Sel.Name])
			} else if !n.Sel.IsExported() {
				link(n.Sel, own.members[n.Sel.Name])
			}
		}
		return true
	})
	return links
}

// imports are the packages of this checkout that a file imports, by their name there.
func (d declared) imports(file *ast.File) map[string]*declaredIn {
	found := map[string]*declaredIn{}
	for _, spec := range file.Imports {
		full, err := strconv.Unquote(spec.Path.Value)
		dir, ours := strings.CutPrefix(full, "microcomm/")
		if err != nil || !ours || d[dir] == nil {
			continue
		}
		name := path.Base(dir)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		found[name] = d[dir]
	}
	return found
}
