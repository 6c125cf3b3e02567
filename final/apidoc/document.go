package apidoc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is an OpenAPI document. It keeps the order in which it was written.
type document struct{ root *yaml.Node }

// read reads a document, without the paths that do not begin with only.
func read(text []byte, only string) (document, error) {
	var file yaml.Node
	if err := yaml.Unmarshal(text, &file); err != nil {
		return document{}, err
	}
	if len(file.Content) == 0 {
		return document{}, errors.New("empty")
	}
	d := document{file.Content[0]}
	paths := get(d.root, "paths")
	if paths == nil || get(d.root, "info") == nil {
		return document{}, errors.New("no paths, or no info")
	}
	for i := len(paths.Content) - 2; i >= 0; i -= 2 {
		if !strings.HasPrefix(paths.Content[i].Value, only) {
			paths.Content = slices.Delete(paths.Content, i, i+2)
		}
	}
	return d, nil
}

// merge returns one document for all: the first with what it lacks of the others. What
// has one name in two of them must be the same.
func merge(title string, documents []document) (document, error) {
	if len(documents) == 1 {
		return documents[0], nil
	}
	whole := mapping("openapi", scalar("3.1.1"), "info", mapping("title", scalar(title), "version", scalar("1")),
		"servers", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{mapping("url", scalar("/"))}})
	for _, d := range documents {
		for _, name := range []string{"paths", "components"} {
			if err := add(whole, name, get(d.root, name)); err != nil {
				return document{}, err
			}
		}
	}
	return document{whole}, nil
}

// add puts value into the mapping at name, or into what is there.
func add(into *yaml.Node, name string, value *yaml.Node) error {
	there := get(into, name)
	switch {
	case value == nil:
	case there == nil:
		into.Content = append(into.Content, scalar(name), clone(value))
	case bytes.Equal(document{there}.json(), document{value}.json()):
	case there.Kind == yaml.MappingNode && get(there, "type") == nil && get(there, "description") == nil:
		for key, child := range pairs(value) {
			if err := add(there, key, child); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("two API documents differ in %s", name)
	}
	return nil
}

// clone copies a mapping as far as add may change it.
func clone(node *yaml.Node) *yaml.Node {
	copied := *node
	copied.Content = slices.Clone(node.Content)
	for i := 1; i < len(copied.Content) && node.Kind == yaml.MappingNode; i += 2 {
		copied.Content[i] = clone(copied.Content[i])
	}
	return &copied
}

func scalar(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

// mapping returns a mapping of names and nodes, in turns.
func mapping(pairs ...any) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i < len(pairs); i += 2 {
		node.Content = append(node.Content, scalar(pairs[i].(string)), pairs[i+1].(*yaml.Node))
	}
	return node
}

// pairs ranges over a mapping. That of nil, or of another kind of node, is empty.
func pairs(node *yaml.Node) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		if node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i < len(node.Content); i += 2 {
			if !yield(node.Content[i].Value, node.Content[i+1]) {
				return
			}
		}
	}
}

// items are those of a sequence; nil has none.
func items(node *yaml.Node) []*yaml.Node {
	if node == nil || node.Kind != yaml.SequenceNode {
		return nil
	}
	return node.Content
}

// get returns what a path of names leads to, or nil.
func get(node *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		var next *yaml.Node
		for key, value := range pairs(node) {
			if key == name {
				next = value
			}
		}
		node = next
	}
	return node
}

// text returns the text that a path of names leads to, or "".
func text(node *yaml.Node, names ...string) string {
	if node = get(node, names...); node == nil {
		return ""
	}
	return node.Value
}

// resolve follows a reference, and returns the name of the component that it is to.
func (d document) resolve(node *yaml.Node) (to *yaml.Node, component string) {
	reference, local := strings.CutPrefix(text(node, "$ref"), "#/")
	if !local {
		return node, ""
	}
	names := strings.Split(reference, "/")
	return get(d.root, names...), names[len(names)-1]
}

// json is the document as JSON, in its order.
func (d document) json() []byte {
	var out bytes.Buffer
	writeJSON(&out, d.root)
	return out.Bytes()
}

func writeJSON(out *bytes.Buffer, node *yaml.Node) {
	separator := ""
	switch node.Kind {
	case yaml.MappingNode:
		out.WriteByte('{')
		for key, value := range pairs(node) {
			name, _ := json.Marshal(key)
			fmt.Fprintf(out, "%s%s:", separator, name)
			writeJSON(out, value)
			separator = ","
		}
		out.WriteByte('}')
	case yaml.SequenceNode:
		out.WriteByte('[')
		for _, value := range node.Content {
			out.WriteString(separator)
			writeJSON(out, value)
			separator = ","
		}
		out.WriteByte(']')
	default:
		var value any
		_ = node.Decode(&value) // a scalar
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(value)
	}
}
