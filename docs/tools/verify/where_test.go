package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/docs/tools/internal/repo"
)

// TestWhereTheConsolePoints holds what the console shows of a hop against the code: the
// function exists, has the lines in this order, and the lesson is there.
func TestWhereTheConsolePoints(t *testing.T) {
	root, err := repo.Root()
	require.NoError(t, err)
	script, err := os.ReadFile(filepath.Join(root, "final/console/page/console/where.js"))
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(script), "/* where: */\nexport const where = ")
	table, _, found := strings.Cut(table, ";\n/* :where */")
	require.True(t, found, "where.js has no table between its two marks")
	var stages map[string]map[string]struct {
		Says, File, Symbol, Lesson string
		Lines                      []string
	}
	require.NoError(t, json.Unmarshal([]byte(table), &stages))
	require.NotEmpty(t, stages["final"])
	for stage, hops := range stages {
		for hop, where := range hops {
			t.Run(stage+" "+hop, func(t *testing.T) {
				assert.FileExists(t, filepath.Join(root, where.Lesson))
				body := function(t, filepath.Join(root, where.File), where.Symbol)
				for _, line := range where.Lines {
					_, rest, found := strings.Cut(body, "\t"+line+"\n")
					if assert.True(t, found, "%s of %s has no line %q, or has it earlier", where.Symbol, where.File, line) {
						body = rest
					}
				}
			})
		}
	}
}

// function returns the source of a function, (*receiver).name or name.
func function(t *testing.T, file, symbol string) string {
	source, err := os.ReadFile(file)
	require.NoError(t, err)
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, source, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, declaration := range parsed.Decls {
		f, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := f.Name.Name
		if f.Recv != nil {
			of := f.Recv.List[0].Type
			name = "(" + string(source[files.Position(of.Pos()).Offset:files.Position(of.End()).Offset]) + ")." + name
		}
		if name == symbol {
			return string(source[files.Position(f.Pos()).Offset:files.Position(f.End()).Offset])
		}
	}
	require.FailNow(t, file+" has no function "+symbol)
	return ""
}
