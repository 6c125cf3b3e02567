package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/repo"
)

// TestEditorFiles: the development container and VS Code's tasks are valid JSON
// and call commands and stages that there are.
func TestEditorFiles(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	stages, err := repo.Stages(root)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string, into any) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		commands := regexp.MustCompile(`go tool lab (\w+)`).FindAllStringSubmatch(string(text), -1)
		if len(commands) == 0 {
			t.Errorf("%s calls no command of lab", name)
		}
		for _, command := range commands {
			if _, err := findVerb(command[1]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return string(text)
	}
	read(".devcontainer/devcontainer.json", new(map[string]any))
	type input struct {
		ID      string
		Options []string
	}
	var tasks struct{ Inputs []input }
	text := read(".vscode/tasks.json", &tasks)
	for _, used := range regexp.MustCompile(`\$\{input:(\w+)\}`).FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(tasks.Inputs, func(i input) bool { return i.ID == used[1] }) {
			t.Errorf("tasks.json asks for no %s", used[1])
		}
	}
	var names []string
	for _, s := range stages {
		number, _, _ := strings.Cut(s.Name, "-")
		names = append(names, number)
	}
	if len(tasks.Inputs) == 0 || !slices.Equal(tasks.Inputs[0].Options, names) {
		t.Errorf("tasks.json offers the stages %v, want %v", tasks.Inputs, names)
	}
}
