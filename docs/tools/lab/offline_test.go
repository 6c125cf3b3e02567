package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

func TestImagesOfOthers(t *testing.T) {
	l := workspace(t, map[string]string{
		"01-one/Dockerfile":     "FROM --platform=$BUILDPLATFORM golang:1.26 AS build\nRUN echo image: none\nFROM \"scratch:1\" AS one\n",
		"02-two/k8s/a.yml":      "spec:\n  containers:\n    - image: microcomm/02-two/one:1\n    - name: b\n      image: broker:4 # ours\n",
		"03-three/compose.yaml": "services:\n  db:\n    image: 'db:2'\n  again:\n    image: broker:4\n",
		"03-three/README.md":    "image: readme:1\n",
	})
	got, err := l.othersImages(t.Context())
	if want := []string{"broker:4", "db:2", "golang:1.26", "scratch:1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v (error: %v), want %v", got, err, want)
	}
}

// TestImagesOfTheStages: the broker that lab starts is the one of the manifests,
// so that a room without a network has it.
func TestImagesOfTheStages(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{root: root}
	if l.stages, err = repo.Stages(root); err != nil {
		t.Fatal(err)
	}
	images, err := l.othersImages(t.Context())
	if err != nil || !slices.Contains(images, rabbitmq.Image) {
		t.Errorf("%v (error: %v) has not %s", images, err, rabbitmq.Image)
	}
	for _, image := range images {
		if strings.Contains(image, "microcomm") || !strings.Contains(image, ":") {
			t.Errorf("%s is not an image of others", image)
		}
	}
}

// offlineWorkspace is a checkout with a book, and with one module that it needs, which
// only the proxy in the file system has that GOPROXY names.
func offlineWorkspace(t *testing.T) *lab {
	t.Helper()
	l := workspace(t, map[string]string{
		"01-one/go.mod": "module microcomm/01-one\n\ngo 1.26\n\nrequire example.com/there v1.0.0\n",
		// a book of one page
		"docs/tools/book/main.go": `package main

import "os"

func main() {
	dir := os.Args[1][len("--out="):]
	if os.MkdirAll(dir, 0o755) != nil || os.WriteFile(dir+"/index.html", []byte("a book"), 0o644) != nil {
		os.Exit(1)
	}
}
`,
		"go.work": "go 1.26\n\nuse (\n\t./01-one\n\t./02-two\n\t./03-three\n\t./docs\n)\n",
	})
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	file, err := z.Create("example.com/there@v1.0.0/go.mod")
	if err == nil {
		_, err = file.Write([]byte("module example.com/there\n"))
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	proxy := &lab{root: t.TempDir()}
	put(t, proxy, map[string]string{
		"example.com/there/@v/v1.0.0.info": `{"Version":"v1.0.0"}`,
		"example.com/there/@v/v1.0.0.mod":  "module example.com/there\n",
		"example.com/there/@v/v1.0.0.zip":  archive.String(),
	})
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(proxy.root))
	t.Setenv("GOSUMDB", "off")
	t.Setenv("GOFLAGS", "-modcacherw") // or the folder could not be removed
	t.Setenv("GOMODCACHE", t.TempDir())
	return l
}

func TestOfflineCollectsTheModules(t *testing.T) {
	l := offlineWorkspace(t)
	dir := filepath.Join(t.TempDir(), "a stick")
	for range 2 { // the second time replaces the first
		if err := l.do(t.Context(), "offline", dir); err != nil {
			t.Fatalf("%v\n%s", err, l.err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "modules", "example.com", "there", "@v", "v1.0.0.zip")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "book", "index.html")); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("it has %v (error: %v), want modules, the book and env.sh", left, err)
	}
	script, err := os.ReadFile(filepath.Join(dir, "env.sh"))
	if err != nil || !strings.Contains(string(script), "\nexport GOPROXY='file://") || !strings.Contains(string(script), "/a%20stick/modules' GOSUMDB=off") {
		t.Errorf("env.sh (error: %v):\n%s", err, script)
	}

	t.Setenv("GOPROXY", "off")
	err = l.do(t.Context(), "doctor", "--offline", dir) // the broker decides how it ends
	for _, want := range []string{"\n  ok  01-one ", "\n  ok  the workspace "} {
		if !strings.Contains(l.out.(*bytes.Buffer).String(), want) {
			t.Errorf("it does not say %q (error: %v):\n%s%s", want, err, l.out, l.err)
		}
	}
	if sums, err := os.ReadFile(filepath.Join(l.root, "go.work.sum")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the checkout is not as it was (error: %v): go.work.sum has\n%s", err, sums)
	}
}

func TestDoctorOfAnEmptyFolder(t *testing.T) {
	l := offlineWorkspace(t)
	err := l.do(t.Context(), "doctor", "--offline", t.TempDir())
	if !errors.Is(err, errReported) {
		t.Errorf("error: %v", err)
	}
	for _, want := range []string{"\n  ok  Go ", "\n  no  01-one ", "\n  ok  02-two ", "\n  no  the workspace ", "\nMissing: "} {
		if !strings.Contains(l.out.(*bytes.Buffer).String(), want) {
			t.Errorf("it does not say %q:\n%s", want, l.out)
		}
	}
	if strings.Contains(l.out.(*bytes.Buffer).String(), "Ready") {
		t.Errorf("it says that it is ready:\n%s", l.out)
	}
}
