package apidoc

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// page is what the template shows.
type page struct {
	Title  string
	Tokens bool // an operation may need one
	APIs   []apiView
}

type apiView struct {
	ID, Title, Summary string
	Description        template.HTML
	Address, Base      string
	JSON               string // where the document is as JSON
	Groups             []group
	Schemas            []schemaView
}

type group struct {
	Name       string
	Operations []*operation
}

type operation struct {
	ID, Method, Path, Summary string
	Description               template.HTML
	Scopes                    []string
	Parameters                []parameter
	Body                      *content
	Responses                 []response
	Curl                      string
}

type parameter struct {
	Name, In, Type, Example string
	Required                bool
	Description             template.HTML
}

type response struct {
	Status, Class string
	Description   template.HTML
	Headers       []parameter
	Content       *content
}

// content is a body.
type content struct {
	Type   string
	Schema typeView
	Text   string        // the example
	Marked template.HTML // the same in colours
	Fields []parameter   // of the schema
}

// Lines is how many lines the example has.
func (c content) Lines() int { return strings.Count(c.Text, "\n") + 1 }

// typeView is a type in words, with a link to its schema when it has a name.
type typeView struct{ Before, Name, Link, After string }

type schemaView struct {
	ID, Name string
	Fields   []parameter
}

func newPage(title string, apis []API, documents []document) page {
	p := page{Title: title}
	for i, d := range documents {
		info := get(d.root, "info")
		name := text(info, "title")
		v := apiView{
			ID: name, Title: name, Summary: text(info, "summary"), Description: prose(text(info, "description")),
			Address: apis[i].Address, Base: apis[i].Base,
			JSON: apis[i].Base + "/openapi.json",
		}
		r := renderer{d, name, apis[i].Address}
		for _, tag := range items(get(d.root, "tags")) {
			v.Groups = append(v.Groups, group{Name: text(tag, "name")})
		}
		for path, item := range pairs(get(d.root, "paths")) {
			for method, node := range pairs(item) {
				if method == "parameters" {
					continue
				}
				op := r.operation(method, path, item, node)
				p.Tokens = p.Tokens || len(op.Scopes) > 0
				at := slices.IndexFunc(v.Groups, func(g group) bool { return g.Name == text(firstOf(get(node, "tags"))) })
				v.Groups[max(0, at)].Operations = append(v.Groups[max(0, at)].Operations, op)
			}
		}
		v.Groups = slices.DeleteFunc(v.Groups, func(g group) bool { return len(g.Operations) == 0 })
		v.Schemas = r.schemas()
		p.APIs = append(p.APIs, v)
	}
	return p
}

func firstOf(list *yaml.Node) *yaml.Node {
	if all := items(list); len(all) > 0 {
		return all[0]
	}
	return nil
}

// renderer makes what the page shows of one document.
type renderer struct {
	document
	api     string
	address string
}

func (r renderer) operation(method, path string, item, node *yaml.Node) *operation {
	op := &operation{
		ID: text(node, "operationId"), Method: strings.ToUpper(method), Path: path,
		Summary: text(node, "summary"), Description: prose(text(node, "description")),
	}
	for _, list := range []*yaml.Node{get(node, "parameters"), get(item, "parameters")} {
		for _, each := range items(list) {
			p, _ := r.resolve(each)
			op.Parameters = append(op.Parameters, r.parameter(text(p, "name"), p))
		}
	}
	// What the path needs comes first, and the header that every request may have last.
	slices.SortStableFunc(op.Parameters, func(a, b parameter) int {
		return cmp.Compare(slices.Index(inOrder, a.In), slices.Index(inOrder, b.In))
	})
	for _, alternative := range items(get(node, "security")) {
		for _, scopes := range pairs(alternative) {
			for _, scope := range items(scopes) {
				op.Scopes = append(op.Scopes, scope.Value)
			}
		}
	}
	if body := get(node, "requestBody"); body != nil {
		op.Body = r.content(body)
	}
	for status, each := range pairs(get(node, "responses")) {
		found, _ := r.resolve(each)
		shown := response{Status: status, Class: status[:1], Description: prose(text(found, "description")), Content: r.content(found)}
		for name, header := range pairs(get(found, "headers")) {
			h, _ := r.resolve(header)
			shown.Headers = append(shown.Headers, r.parameter(name, h))
		}
		op.Responses = append(op.Responses, shown)
	}
	op.Curl = r.curl(op)
	return op
}

var inOrder = []string{"path", "query", "header"}

func (r renderer) parameter(name string, node *yaml.Node) parameter {
	return parameter{
		Name: name, In: text(node, "in"), Type: r.typeOf(get(node, "schema")).String(), Required: text(node, "required") == "true",
		Description: prose(text(node, "description")), Example: text(node, "example"),
	}
}

// content is the first of a node's bodies, nil when it has none.
func (r renderer) content(node *yaml.Node) *content {
	for mediaType, body := range pairs(get(node, "content")) {
		schema, _ := r.resolve(get(body, "schema"))
		c := &content{Type: mediaType, Schema: r.typeOf(get(body, "schema")), Fields: r.fields(schema)}
		if example := get(body, "example"); example != nil {
			var indented bytes.Buffer
			_ = json.Indent(&indented, document{example}.json(), "", "  ") // it is JSON
			c.Text, c.Marked = indented.String(), mark(indented.String())
		}
		return c
	}
	return nil
}

// curl is the command for an operation with its examples, for a Unix shell.
func (r renderer) curl(op *operation) string {
	path := op.Path
	for _, p := range op.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", p.Example)
		}
	}
	command := "curl -i " + r.address + path
	if op.Body != nil {
		var one bytes.Buffer
		_ = json.Compact(&one, []byte(op.Body.Text))
		command += " \\\n  -H 'Content-Type: " + op.Body.Type + "' \\\n  -d '" + strings.ReplaceAll(one.String(), "'", `'\''`) + "'"
	}
	return command
}

// typeOf says in words what a schema allows.
func (r renderer) typeOf(node *yaml.Node) typeView {
	if node == nil {
		return typeView{}
	}
	schema, component := r.resolve(node)
	if component != "" && text(schema, "type") == "object" {
		return typeView{Name: component, Link: r.schemaID(component)}
	}
	if element := get(schema, "items"); element != nil {
		of := r.typeOf(element)
		of.Before = "array of " + of.Before
		return of
	}
	if either := items(get(schema, "oneOf")); len(either) > 0 {
		first := r.typeOf(either[0])
		for _, other := range either[1:] {
			first.After += " or " + r.typeOf(other).String()
		}
		return first
	}
	return typeView{Before: words(schema)}
}

// words says what a schema without fields allows.
func words(schema *yaml.Node) string {
	if fixed := text(schema, "const"); fixed != "" {
		return "always " + fixed
	}
	if values := items(get(schema, "enum")); len(values) > 0 {
		var all []string
		for _, value := range values {
			all = append(all, value.Value)
		}
		return strings.Join(all, ", ")
	}
	parts := []string{text(schema, "type")}
	if least, most := text(schema, "minimum"), text(schema, "maximum"); least != "" && most != "" {
		parts = append(parts, least+" to "+most)
	} else if least != "" {
		parts = append(parts, "at least "+least)
	}
	if length := text(schema, "maxLength"); length != "" {
		parts = append(parts, "at most "+length+" characters")
	}
	return strings.Join(parts, ", ")
}

// String is the type without a link.
func (t typeView) String() string { return t.Before + t.Name + t.After }

func (r renderer) schemaID(name string) string { return r.api + "-" + name }

// schemas are those with fields.
func (r renderer) schemas() []schemaView {
	var all []schemaView
	for name, schema := range pairs(get(r.root, "components", "schemas")) {
		if text(schema, "type") != "object" {
			continue
		}
		all = append(all, schemaView{r.schemaID(name), name, r.fields(schema)})
	}
	return all
}

func (r renderer) fields(schema *yaml.Node) []parameter {
	var all []parameter
	for name, node := range pairs(get(schema, "properties")) {
		described, _ := r.resolve(node)
		all = append(all, parameter{
			Name: name, Type: r.typeOf(node).String(), Description: prose(text(described, "description")),
			Required: slices.ContainsFunc(items(get(schema, "required")), func(n *yaml.Node) bool { return n.Value == name }),
		})
	}
	return all
}

// prose is text with paragraphs and code in backquotes, as HTML.
func prose(text string) template.HTML {
	var out strings.Builder
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for _, paragraph := range paragraphs {
		escaped := template.HTMLEscapeString(strings.ReplaceAll(paragraph, "\n", " "))
		escaped = inBackquotes.ReplaceAllString(escaped, "<code>$1</code>")
		if len(paragraphs) > 1 {
			escaped = "<p>" + escaped + "</p>"
		}
		out.WriteString(escaped)
	}
	return template.HTML(out.String())
}

var inBackquotes = regexp.MustCompile("`([^`]*)`")

// token is a part of JSON that has a colour: a name with its colon, a text, or anything
// else that is a value.
var token = regexp.MustCompile(`("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null|-?\d[\d.eE+-]*)\b`)

// mark is JSON with its parts in colours.
func mark(text string) template.HTML {
	var out strings.Builder
	end := 0
	for _, at := range token.FindAllStringSubmatchIndex(text, -1) {
		class := "v"
		switch {
		case at[4] >= 0:
			class = "k"
		case at[2] >= 0:
			class = "s"
		}
		part := text[at[0]:at[1]]
		fmt.Fprintf(&out, `%s<span class="%s">%s</span>`, template.HTMLEscapeString(text[end:at[0]]), class, template.HTMLEscapeString(part))
		end = at[1]
	}
	out.WriteString(template.HTMLEscapeString(text[end:]))
	return template.HTML(out.String())
}
