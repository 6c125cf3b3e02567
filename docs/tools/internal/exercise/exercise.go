// Package exercise reads the exercises of the stages, and judges solutions. The files of
// an exercise, in STAGE/exercises/NAME:
//
//   - README.md: "# NAME: TITLE", "**Level:** easy, about 20 minutes", and sections, among
//     them "## Acceptance": a list whose items name the tests that hold them.
//   - exercise_test.go begins with "//go:build exercise", so that nothing but this package
//     runs it. Its package clause says which folder of the stage it is laid over:
//     platformservice, commandsservice, e2e…; package manifests is docs/tests/manifests,
//     for what is judged on manifests (EXERCISE_STAGE is the path of the stage).
//     It compiles with the original stage, and each of its tests fails there. go mod tidy
//     sees its imports: they must be among those of the stage.
//   - cluster_test.go, if there is one, is another file of the same package and kind. Its tests
//     run instead with lab check --cluster, on the kubectl context KUBE_CONTEXT and the
//     namespace KUBE_NAMESPACE, to which the learner has deployed the stage.
//   - hints.md: "## Hint 1", "## Hint 2"…
//   - solution.patch: git diff, from the checkout's top, on the original stage.
//   - mutants/TestXxx.what-went-wrong.patch: a mistake, on top of the solution, which
//     TestXxx must reject.
package exercise

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Exercise is one exercise of a stage: the folder STAGE/exercises/NAME.
type Exercise struct {
	Stage string // the stage's folder: 06-rabbitmq
	Name  string
	Title string
	Level string // easy, medium or hard, and how long it takes
	Items []Item // of the acceptance
	Hints []string
	Tests []string // the names, in the order of the file
	// ClusterTests are those of cluster_test.go, for what only a cluster shows.
	ClusterTests []string

	root string // the checkout
	pkg  string // the folder of the package of its tests, in the module that judges it
}

// Item is something that a solution must do.
type Item struct {
	Text  string
	Tests []string // which hold it
}

// Dir is the exercise's folder.
func (e *Exercise) Dir() string { return filepath.Join(e.root, e.Stage, "exercises", e.Name) }

// Solution is the path of the patch that solves it.
func (e *Exercise) Solution() string { return filepath.Join(e.Dir(), "solution.patch") }

func (e *Exercise) String() string { return e.Stage + " " + e.Name }

// List returns the exercises of a stage, in the order of their names.
func List(root, stage string) ([]*Exercise, error) {
	found, err := filepath.Glob(filepath.Join(root, stage, "exercises", "*", "README.md"))
	if err != nil {
		return nil, err
	}
	var all []*Exercise
	for _, file := range found {
		e, err := load(root, stage, filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, fmt.Errorf("read the exercise %s: %w", filepath.Dir(file), err)
		}
		all = append(all, e)
	}
	return all, nil
}

func load(root, stage, name string) (*Exercise, error) {
	e := &Exercise{Stage: stage, Name: name, root: root}
	text, err := os.ReadFile(filepath.Join(e.Dir(), "README.md"))
	if err != nil {
		return nil, err
	}
	if err := e.readTask(string(text)); err != nil {
		return nil, fmt.Errorf("README.md: %w", err)
	}
	if text, err = os.ReadFile(filepath.Join(e.Dir(), "hints.md")); err != nil {
		return nil, err
	}
	if e.Hints = hints(string(text)); len(e.Hints) == 0 {
		return nil, errors.New(`hints.md has no "## Hint 1"`)
	}
	pkg, tests, err := readTests(filepath.Join(e.Dir(), "exercise_test.go"))
	if err != nil {
		return nil, err
	}
	e.pkg, e.Tests = pkg, tests
	if pkg == "manifests" {
		e.pkg = manifests
	}
	clusterPkg, tests, err := readTests(filepath.Join(e.Dir(), "cluster_test.go"))
	if errors.Is(err, os.ErrNotExist) {
		return e, nil
	}
	if err == nil && clusterPkg != pkg {
		err = fmt.Errorf("cluster_test.go is of package %s, but exercise_test.go of %s", clusterPkg, pkg)
	}
	e.ClusterTests = tests
	return e, err
}

// readTask reads README.md.
func (e *Exercise) readTask(text string) error {
	first, text, _ := strings.Cut(text, "\n")
	title, found := strings.CutPrefix(first, "# "+e.Name+": ")
	if !found {
		return fmt.Errorf(`its first line must be "# %s: TITLE"`, e.Name)
	}
	e.Title = title
	level := regexp.MustCompile(`(?m)^\*\*Level:\*\* (.+)$`).FindStringSubmatch(text)
	if level == nil {
		return errors.New(`there is no "**Level:** easy|medium|hard"`)
	}
	e.Level = level[1]
	_, acceptance, _ := strings.Cut(text, "\n## Acceptance\n")
	acceptance, _, _ = strings.Cut(acceptance, "\n## ")
	inItem := false
	for line := range strings.Lines(acceptance) {
		begins := strings.HasPrefix(line, "- ")
		switch {
		case begins:
			e.Items = append(e.Items, Item{Text: strings.TrimSpace(line[2:])})
		case inItem && strings.HasPrefix(line, "  "):
			e.Items[len(e.Items)-1].Text += " " + strings.TrimSpace(line)
			continue
		}
		inItem = begins
	}
	for i, item := range e.Items {
		e.Items[i].Tests = regexp.MustCompile(`\bTest\w+`).FindAllString(item.Text, -1)
	}
	return nil
}

// hints returns the texts under the headings "## Hint 1", "## Hint 2"….
func hints(text string) []string {
	heading := regexp.MustCompile(`(?m)^## Hint \d+.*\n`)
	places := heading.FindAllStringIndex(text, -1)
	var found []string
	for i, place := range places {
		end := len(text)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		found = append(found, strings.TrimSpace(text[place[1]:end]))
	}
	return found
}

// readTests returns the package of a file of tests, without its suffix _test,
// and the names of the tests.
func readTests(file string) (pkg string, tests []string, err error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	name := filepath.Base(file)
	if !strings.HasPrefix(string(source), "//go:build exercise\n") {
		return "", nil, fmt.Errorf("%s: its first line must be //go:build exercise", name)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
	if err != nil {
		return "", nil, err
	}
	for _, declared := range parsed.Decls {
		f, ok := declared.(*ast.FuncDecl)
		if ok && f.Recv == nil && regexp.MustCompile(`^Test[A-Z0-9]`).MatchString(f.Name.Name) && f.Name.Name != "TestMain" {
			tests = append(tests, f.Name.Name)
		}
	}
	if len(tests) == 0 {
		return "", nil, fmt.Errorf("%s has no test", name)
	}
	return strings.TrimSuffix(parsed.Name.Name, "_test"), tests, nil
}

// NeedsBroker reports whether its tests need RabbitMQ.
func (e *Exercise) NeedsBroker() bool {
	_, err := os.Stat(filepath.Join(e.root, e.Stage, "platformservice", "publisher.go"))
	return err == nil && !e.ofManifests()
}

// manifests is the folder, in docs, of the tests of all manifests.
const manifests = "tests/manifests"

// ofManifests reports whether it is judged by docs/tests/manifests, not by the stage.
func (e *Exercise) ofManifests() bool { return e.pkg == manifests }

// Judge returns the folder of the module that judges it, and the package there.
func (e *Exercise) Judge() (dir string, packages []string) {
	return filepath.Join(e.root, e.module()), []string{"./" + e.pkg}
}

// module is the folder of the module that judges it, as it is named in the checkout.
func (e *Exercise) module() string {
	if e.ofManifests() {
		return "docs"
	}
	return e.Stage
}

// mutant is a mistake on top of the solution, which a test must reject.
type mutant struct{ file, test string }

// mutants returns the files mutants/TestXxx.what-went-wrong.patch.
func (e *Exercise) mutants() ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(e.Dir(), "mutants", "*"))
	if err != nil {
		return nil, err
	}
	var found []mutant
	for _, file := range files {
		test, rest, _ := strings.Cut(filepath.Base(file), ".")
		if !slices.Contains(e.Tests, test) || !strings.HasSuffix(rest, ".patch") {
			return nil, fmt.Errorf("mutants/%s is not named TESTNAME.what-went-wrong.patch, after a test of exercise_test.go", filepath.Base(file))
		}
		found = append(found, mutant{file, test})
	}
	return found, nil
}
