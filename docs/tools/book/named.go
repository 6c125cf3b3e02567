package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/token"
	"go/types"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark/ast"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/markdown"
	"microcomm/docs/tools/internal/repo"
)

// This file finds what a name between backticks means. Both services have a rest.go, and
// both may have a dialBroker. The text around the name decides: the file that the same
// paragraph names, then the snippet that the text is about. Elsewhere a name must be
// unique in the stage.

// url is the address of a place, and empty for none.
func (p place) url() string {
	switch {
	case p.file == "":
		return ""
	case p.line == 0:
		return codeURL(p.file)
	}
	return fmt.Sprintf("%s#L%d", codeURL(p.file), p.line)
}

var (
	fileName        = regexp.MustCompile(`^[\w./-]+\.(go|sql|proto|ya?ml|conf|js)$`)
	declarationName = regexp.MustCompile(`^[*&]?(?:(\w+)\.)?([A-Za-z_]\w*)(\(.*\))?$`)
	mixedCase       = regexp.MustCompile(`[a-z][A-Z]`)
)

// named is the place of the file or the declaration that a code span names, or none.
func (b *book) named(d *parsed, span ast.Node) place {
	stage := b.stageOf(d.source)
	if stage == "" {
		return place{}
	}
	text := strings.ReplaceAll(markdown.PlainText(span, d.text), "\n", " ")
	before, after := b.filesNamed(d, span)
	near := append(slices.Clone(before), b.snippetFiles(d, span)...)
	if fileName.MatchString(text) {
		return place{file: b.fileNamed(d, stage, text, near)}
	}
	if !declarationName.MatchString(text) {
		return place{}
	}
	return b.declared.named(b, stage, text, append(near, after...))
}

// filesNamed are the files that are named before and after a span, in the same
// paragraph or row of a table. The nearest comes first.
func (b *book) filesNamed(d *parsed, span ast.Node) (before, after []string) {
	block := span.Parent()
	for block.Type() != ast.TypeBlock || block.Kind().String() == "TableCell" {
		block = block.Parent()
	}
	found := &before
	snippets := b.snippetFiles(d, span)
	_ = ast.Walk(block, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if n == span {
			found = &after
			return ast.WalkSkipChildren, nil
		}
		if _, code := n.(*ast.CodeSpan); !code || !entering {
			return ast.WalkContinue, nil
		}
		text := markdown.PlainText(n, d.text)
		if !fileName.MatchString(text) {
			return ast.WalkContinue, nil
		}
		if file := b.fileNamed(d, b.stageOf(d.source), text, append(slices.Clone(*found), snippets...)); file != "" {
			*found = slices.Insert(*found, 0, file)
		}
		return ast.WalkContinue, nil
	})
	slices.Reverse(after)
	if d.about != "" {
		before = append(before, d.about)
	}
	return before, after
}

// snippetFiles are the files of the snippets around a node, the one that the text is
// about first. A topic begins with bold words: its own snippets come before those of
// the rest of the section.
func (b *book) snippetFiles(d *parsed, n ast.Node) []string {
	top := n
	for top.Parent() != nil && top.Parent() != d.tree {
		top = top.Parent()
	}
	var topic, section []string
	collect := func(from ast.Node, next func(ast.Node) ast.Node, forward bool) {
		inTopic := true
		for at := from; at != nil; at = next(at) {
			if _, ends := at.(*ast.Heading); ends {
				return
			}
			p, isText := at.(*ast.Paragraph)
			starts := isText && startsTopic(p)
			if forward && starts && at != from {
				inTopic = false
			}
			if file := b.snippetFile(d, at); file != "" && inTopic {
				topic = append(topic, file)
			} else if file != "" {
				section = append(section, file)
			}
			if !forward && starts {
				inTopic = false
			}
		}
	}
	collect(top, ast.Node.PreviousSibling, false)
	collect(top, ast.Node.NextSibling, true)
	return append(topic, section...)
}

// snippetFile is the file that a block shows lines of, or empty.
func (b *book) snippetFile(d *parsed, n ast.Node) string {
	fence, ok := n.(*ast.FencedCodeBlock)
	if !ok || fence.Info == nil {
		return ""
	}
	a, err := markdown.ParseAnnotation(string(fence.Info.Segment.Value(d.text)))
	if err != nil || a.Kind != markdown.Snippet {
		return ""
	}
	return a.File
}

// fileNamed is the file of a stage that a text names, or empty.
func (b *book) fileNamed(d *parsed, stage, name string, near []string) string {
	has := func(file string) bool { return b.byURL[codeURL(file)] != nil }
	for _, file := range []string{path.Join(stage, name), path.Join(path.Dir(d.source), name)} {
		if has(file) {
			return file
		}
	}
	for _, other := range near {
		if file := path.Join(path.Dir(other), name); has(file) {
			return file
		}
	}
	var found []string
	for _, file := range b.files {
		if strings.HasPrefix(file, stage+"/") && strings.HasSuffix(file, "/"+name) && !strings.Contains(file, "/exercises/") && has(file) {
			found = append(found, file)
		}
	}
	if len(found) > 1 && !b.areTwins(found) {
		// the lesson's table lists the one that is meant
		found = slices.DeleteFunc(found, func(file string) bool { return !b.lessonNames(file) })
		if len(found) > 1 {
			return ""
		}
	}
	if len(found) == 0 {
		return ""
	}
	return b.first(found)
}

// lessonNames reports whether the lesson of a file's stage names it by its whole path.
func (b *book) lessonNames(file string) bool {
	stage, name, _ := strings.Cut(file, "/")
	lesson := b.lessons[stage+"/README.md"]
	return lesson != nil && bytes.Contains(lesson.text, []byte("`"+name+"`"))
}

// areTwins reports whether files are the same but for their package.
func (b *book) areTwins(files []string) bool {
	first := ""
	for i, file := range files {
		text, err := b.read(file)
		if text = changes.TwinContent(file, text); i == 0 {
			first = text
		}
		if err != nil || path.Ext(file) != ".go" || text != first {
			return false
		}
	}
	return true
}

// first is the one of some files of a stage that a reader meets first: that of the first
// stage, and then the one that the lesson names first.
func (b *book) first(files []string) string {
	place := func(file string) (stage, at int) {
		top, name, _ := strings.Cut(file, "/")
		stage = slices.IndexFunc(b.stages, func(s repo.Stage) bool { return b.has[s.Name+"/"+name] })
		if lesson := b.lessons[top+"/README.md"]; lesson != nil {
			at = bytes.Index(lesson.text, []byte("`"+name+"`"))
		}
		return stage, at
	}
	return slices.MinFunc(files, func(one, other string) int {
		oneStage, oneAt := place(one)
		otherStage, otherAt := place(other)
		return cmp.Or(cmp.Compare(oneStage, otherStage), cmp.Compare(uint(oneAt), uint(otherAt))) // not named: last
	})
}

// named is the place of the declaration that a text names: that of a package which one of
// the files near it belongs to, or else the only one of the stage. Twins count as one.
func (d declared) named(b *book, stage, text string, near []string) place {
	parts := declarationName.FindStringSubmatch(text)
	of, name, called := parts[1], parts[2], parts[3] != ""
	if token.IsKeyword(name) || types.Universe.Lookup(name) != nil && of == "" {
		return place{}
	}
	word := of == "" && !called && !mixedCase.MatchString(name) // it may well mean something else
	for _, file := range near {
		found := d.in(file, of, name, called)
		if word && found.receiver != "" && !slices.Contains(near, found.file) && slices.ContainsFunc(near, d.hasVariable(name)) {
			return place{} // the variable of the snippet, not a method of another file
		}
		if found.file != "" {
			return found.place
		}
	}
	if word && b.bySource[stage+"/PIECES.md"] != nil {
		return place{}
	}
	found := map[string]declaration{}
	var files []string
	for dir, in := range d {
		if !strings.HasPrefix(dir, stage+"/") || strings.Contains(dir, "/exercises/") || strings.HasSuffix(dir, " test") {
			continue
		}
		one := d.in(dir+"/*.go", of, name, called)
		if _, member := in.members[name]; word && member && one.file == "" {
			return place{} // a field, or methods of several types
		}
		if one.file == "" {
			continue
		}
		if word && (one.kind == "const" || one.kind == "var" || one.kind == "type" && token.IsExported(name)) {
			return place{}
		}
		found[one.file] = one
		files = append(files, one.file)
	}
	slices.Sort(files)
	for _, file := range files {
		if path.Base(file) != path.Base(files[0]) {
			return place{}
		}
	}
	if len(files) == 0 {
		return place{}
	}
	return found[b.first(files)].place
}

// hasVariable reports whether a function in a file has a variable or a parameter of a name.
func (d declared) hasVariable(name string) func(file string) bool {
	return func(file string) bool {
		in := d[path.Dir(file)]
		return in != nil && in.variables[file][name]
	}
}

// in is what a name means in the package of a file: what the file declares, or else the
// only declaration. Before a dot stands the type of a method, the package of an exported
// name, or a variable that has an unexported method. What only the tests declare is
// found from a test.
func (d declared) in(file, of, name string, called bool) declaration {
	dir := path.Dir(file)
	var found []declaration
	for _, in := range []*declaredIn{d[dir], d[dir+" test"]} {
		if in == nil {
			continue
		}
		for _, one := range in.all[name] {
			if one.isTest() && !strings.HasSuffix(file, "_test.go") && !strings.HasPrefix(name, "Test") {
				continue
			}
			variable := !token.IsExported(name) && (called || mixedCase.MatchString(name) || strings.HasSuffix(strings.ToLower(one.receiver), strings.ToLower(of)))
			if of == "" || one.receiver == of || one.receiver == "" && of == path.Base(dir) || one.receiver != "" && variable {
				found = append(found, one)
			}
		}
	}
	for _, better := range []func(declaration) bool{
		func(one declaration) bool { return one.receiver == of },
		func(one declaration) bool { return one.file == file },
		func(one declaration) bool { return !one.isTest() },
		func(one declaration) bool { return !one.abstract },
	} {
		if slices.ContainsFunc(found, better) {
			found = slices.DeleteFunc(found, func(one declaration) bool { return !better(one) })
		}
	}
	if len(found) != 1 {
		return declaration{}
	}
	return found[0]
}

func (d declaration) isTest() bool { return strings.HasSuffix(d.file, "_test.go") }
