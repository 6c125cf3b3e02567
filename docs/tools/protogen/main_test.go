package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"microcomm/docs/tools/internal/repo"
)

// It fails when a contract was edited without make proto.
func TestGeneratedCodeIsFresh(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"07-grpc", "final"} {
		t.Run(stage, func(t *testing.T) {
			names, err := stale(t.Context(), filepath.Join(root, "docs"), filepath.Join(root, stage, "proto"))
			if err != nil {
				t.Fatal(err)
			}
			if len(names) > 0 {
				t.Errorf("stale: %v; run: make proto", names)
			}
		})
	}
}

func TestAChangedContractMakesTheCodeStale(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "07-grpc", "proto"))); err != nil {
		t.Fatal(err)
	}
	contract, err := os.ReadFile(filepath.Join(dir, source))
	if err != nil {
		t.Fatal(err)
	}
	contract = append(contract, "message Added { int32 id = 1; }\n"...)
	if err := os.WriteFile(filepath.Join(dir, source), contract, 0o644); err != nil {
		t.Fatal(err)
	}
	names, err := stale(t.Context(), filepath.Join(root, "docs"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(names, "platforms.pb.go") {
		t.Errorf("stale files are %v, want platforms.pb.go among them", names)
	}
}
