package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// route is a method and a path that a service registers.
type route struct {
	service string // platforms or commands, the variable of its address
	method  string
	path    string // /api/platforms/{id}
}

// routesOf reads the routes of a stage from the source of its services: rest.go,
// routes.handle("/path", byMethod{http.MethodGet: …}), and health.go,
// map[string]byMethod{"/path": {http.MethodGet: …}}, which final's services share.
func routesOf(stage string) ([]route, error) {
	var routes []route
	for service, folder := range map[string]string{"platforms": "platformservice", "commands": "commandsservice"} {
		for _, name := range []string{folder + "/rest.go", folder + "/health.go", "internal/web/health.go"} {
			file := filepath.Join(stage, filepath.FromSlash(name))
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if called, ok := n.Fun.(*ast.SelectorExpr); ok && strings.EqualFold(called.Sel.Name, "handle") && len(n.Args) == 2 {
						routes = append(routes, methodsOf(service, n.Args[0], n.Args[1])...)
					}
				case *ast.KeyValueExpr:
					routes = append(routes, methodsOf(service, n.Key, n.Value)...)
				}
				return true
			})
		}
	}
	if len(routes) == 0 {
		return nil, fmt.Errorf("no routes found in %s", stage)
	}
	return routes, nil
}

// methodsOf returns the routes of a path, a literal, and the composite literal
// whose keys are its methods.
func methodsOf(service string, path, methods ast.Expr) []route {
	literal, ok := path.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return nil
	}
	text, err := strconv.Unquote(literal.Value)
	composite, ok := methods.(*ast.CompositeLit)
	if err != nil || !ok || !strings.HasPrefix(text, "/") {
		return nil
	}
	var routes []route
	for _, element := range composite.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if method, ok := pair.Key.(*ast.SelectorExpr); ok {
				routes = append(routes, route{service, strings.ToUpper(strings.TrimPrefix(method.Sel.Name, "Method")), text})
			}
		}
	}
	return routes
}

// usedBy returns an error if none of the requests is for the route.
func (r route) usedBy(requests []*request) error {
	for _, sent := range requests {
		if sent.method == r.method && (sent.host == r.service || sent.host == "gateway") && r.matches(sent.url) {
			return nil
		}
	}
	return fmt.Errorf("no request in docs/requests for %s %s of %s", r.method, r.path, r.service)
}

func (r route) matches(target string) bool {
	to, err := url.Parse(target)
	if err != nil {
		return false
	}
	got := strings.Split(strings.Trim(to.Path, "/"), "/")
	want := strings.Split(strings.Trim(r.path, "/"), "/")
	if len(got) != len(want) {
		return false
	}
	for i := range want {
		if got[i] != want[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}
