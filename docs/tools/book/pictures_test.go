package main

import (
	"os"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/repo"
)

func TestEachDiagramHasItsPictures(t *testing.T) {
	b := checkout(t)
	missing, left, err := b.stalePictures()
	if err != nil {
		t.Fatal(err)
	}
	if len(b.pictureSources()) == 0 {
		t.Fatal("no diagram found in any document")
	}
	for name, source := range missing {
		t.Errorf("no picture %s of the diagram:\n%s", name, source)
	}
	for _, name := range left {
		t.Errorf("%s/%s belongs to no diagram", pictureDir, name)
	}
	if t.Failed() {
		t.Log("go tool lab book --pictures draws what has changed; commit docs/pictures with it")
	}
}

func TestAChangedDiagramNeedsANewPicture(t *testing.T) {
	b := checkout(t)
	d := b.parseText("README.md", "```mermaid\nflowchart LR\n  a --> b\n```\n")
	b.lessons = map[string]*parsed{"README.md": d}
	b.root = t.TempDir()
	write := func(name string) {
		t.Helper()
		if err := writeFile(b.root, pictureDir+"/"+name, []byte("<svg/>")); err != nil {
			t.Fatal(err)
		}
	}
	const source = "flowchart LR\n  a --> b"
	write(pictureName(source, "light"))
	write("0123456789ab-dark.svg")
	missing, left, err := b.stalePictures()
	if err != nil || len(missing) != 1 || len(left) != 1 {
		t.Fatalf("missing %v, left over %v, error %v: want one of each", missing, left, err)
	}
	write(pictureName(source, "dark"))
	if err := os.Remove(b.path(pictureDir + "/0123456789ab-dark.svg")); err != nil {
		t.Fatal(err)
	}
	missing, left, err = b.stalePictures()
	if err != nil || len(missing)+len(left) != 0 {
		t.Fatalf("missing %v, left over %v, error %v: want none", missing, left, err)
	}
}

func TestADiagramWithoutAPictureIsNamed(t *testing.T) {
	b := checkout(t)
	d := b.parseText("docs/compare.md", "```mermaid\nflowchart LR\n  a --> b\n```\n")
	for range 2 { // a remark shows it again
		if _, err := b.render(d); err != nil {
			t.Fatal(err)
		}
	}
	var said strings.Builder
	b.report(&said)
	if n := strings.Count(said.String(), "docs/compare.md: flowchart LR ("); n != 1 {
		t.Errorf("named %d times, not once:\n%s", n, said.String())
	}
}

// checkout is the book of this checkout, with its documents listed.
func checkout(t *testing.T) *book {
	t.Helper()
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.listDocuments(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}
