package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/rabbitmq"
)

func offlineVerb() verb {
	return verb{
		name:    "offline",
		args:    "DIR",
		summary: "collects what a room without a network needs in a folder",
		about: `DIR receives the Go modules of every stage, as a module proxy in the file system; the book, to
read in a browser (DIR/book/index.html); and, where Docker responds, the container images that
the stages use. It does not include Go, a C compiler
and git: each laptop must have them. DIR/env.sh says where the modules are; see also: go tool lab help doctor`,
		run: func(ctx context.Context, l *lab, args []string) error { return offline(ctx, l, args[0]) },
	}
}

const (
	offlineModules = "modules"    // a module proxy: https://go.dev/ref/mod#module-proxy
	offlineImages  = "images.tar" // as docker save writes it
	offlineEnv     = "env.sh"
)

// offlineScript sets what Go needs to read modules from the folder of the script. Go
// needs no checksum database: go.sum has all checksums.
const offlineScript = `# Use it in a POSIX shell: . DIR/env.sh
export GOPROXY='%s' GOSUMDB=off GOTOOLCHAIN=local
`

// modulesURL is the value of GOPROXY for the modules in dir.
func modulesURL(dir string) string {
	path := filepath.ToSlash(filepath.Join(dir, offlineModules))
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

func offline(ctx context.Context, l *lab, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	cache := filepath.Join(dir, "cache") // a module cache, whose downloads are a proxy's files
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	defer process.RemoveAll(cache)
	env := append(os.Environ(), "GOMODCACHE="+cache, "GOFLAGS=-modcacherw")
	for i, module := range l.moduleDirs() {
		fmt.Fprintf(l.err, "modules of %s (%d of %d)\n", l.moduleName(module), i+1, len(l.moduleDirs()))
		if err := downloadModules(ctx, l, module, env); err != nil {
			return err
		}
	}
	modules := filepath.Join(dir, offlineModules)
	process.RemoveAll(modules) // from an earlier run
	if err := os.Rename(filepath.Join(cache, "cache", "download"), modules); err != nil {
		return err
	}
	script := fmt.Sprintf(offlineScript, modulesURL(dir))
	if err := os.WriteFile(filepath.Join(dir, offlineEnv), []byte(script), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "modules: %s\n", modules)
	if err := runTool(ctx, l, "book", []string{"--out=" + filepath.Join(dir, "book")}); err != nil {
		return fmt.Errorf("make the book: %w", err)
	}
	if err := rabbitmq.CheckDocker(ctx); err != nil {
		fmt.Fprintf(l.out, "images: none: %v\n", err)
	} else if err := saveImages(ctx, l, filepath.Join(dir, offlineImages)); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "\nOn each laptop, with the folder at the same place or its path in env.sh changed:\n  . %[1]s/env.sh\n  go tool lab doctor --offline %[1]s\n", filepath.ToSlash(dir))
	return nil
}

// moduleDirs are the folders of the checkout's modules, and last the workspace.
func (l *lab) moduleDirs() []string {
	var dirs []string
	for _, s := range l.stages {
		dirs = append(dirs, s.Dir)
	}
	return append(dirs, filepath.Join(l.root, "docs"), l.root)
}

// moduleName is what the reader calls a folder of moduleDirs.
func (l *lab) moduleName(dir string) string {
	if dir == l.root {
		return "the workspace"
	}
	return filepath.Base(dir)
}

// downloadModules fetches everything that a module needs, alone or, for the checkout's
// top, in the workspace. There Go would add to go.work.sum what no build needs; that is
// undone.
func downloadModules(ctx context.Context, l *lab, dir string, env []string) (err error) {
	work := "off"
	if dir == l.root {
		work = filepath.Join(dir, "go.work")
		sums := work + ".sum"
		before, readErr := os.ReadFile(sums)
		if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
			return readErr
		}
		defer func() {
			if readErr != nil {
				err = errors.Join(err, os.RemoveAll(sums))
				return
			}
			err = errors.Join(err, os.WriteFile(sums, before, 0o644))
		}()
	}
	env = append(slices.Clone(env), "GOWORK="+work)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	err = process.Run(ctx, process.Command{
		Args: []string{"go", "mod", "download"}, Dir: dir, Env: env, Stdout: l.err, Stderr: l.err,
		Still: func(elapsed time.Duration) { fmt.Fprintf(l.err, "  … %s\n", elapsed) },
	})
	if err != nil {
		return fmt.Errorf("modules of %s: %w", l.moduleName(dir), err)
	}
	return nil
}

// imageLine is where a Dockerfile or a manifest names an image.
var imageLine = regexp.MustCompile(`(?m)^(?:FROM(?:\s+--platform=\S+)?|\s*(?:- )?image:)\s+["']?([^\s"'$]+)`)

// othersImages are the images that the stages use and do not build.
func (l *lab) othersImages(ctx context.Context) ([]string, error) {
	var images []string
	for _, s := range l.stages {
		paths, err := changes.List(ctx, l.root, s)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if ext := filepath.Ext(path); filepath.Base(path) != "Dockerfile" && ext != ".yml" && ext != ".yaml" {
				continue
			}
			text, err := os.ReadFile(filepath.Join(s.Dir, filepath.FromSlash(path)))
			if err != nil {
				return nil, err
			}
			for _, found := range imageLine.FindAllStringSubmatch(string(text), -1) {
				if !strings.HasPrefix(found[1], "microcomm/") {
					images = append(images, found[1])
				}
			}
		}
	}
	slices.Sort(images)
	return slices.Compact(images), nil
}

// saveImages writes those images to file. It names those that it cannot pull.
func saveImages(ctx context.Context, l *lab, file string) error {
	images, err := l.othersImages(ctx)
	if err != nil {
		return err
	}
	var have []string
	for _, image := range images {
		fmt.Fprintln(l.err, "image", image)
		if err := dockerCommand(ctx, 15*time.Minute, "pull", "--quiet", image); err != nil {
			fmt.Fprintf(l.out, "images: not %s: %v\n", image, err)
			continue
		}
		have = append(have, image)
	}
	if len(have) == 0 {
		return nil
	}
	if err := dockerCommand(ctx, 15*time.Minute, append([]string{"save", "--output", file}, have...)...); err != nil {
		return fmt.Errorf("save images: %w", err)
	}
	fmt.Fprintf(l.out, "images: %s, with %s\n", file, strings.Join(have, ", "))
	return nil
}

func dockerCommand(ctx context.Context, limit time.Duration, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := process.Output(ctx, process.Command{Args: append([]string{"docker"}, args...)})
	return err
}

// doctorOffline says whether this machine can work without a network, with what lab
// offline collected in dir. It copies the modules into the module cache.
func doctorOffline(ctx context.Context, l *lab, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	missing := 0
	say := func(what string, err error, found string) {
		state := "ok"
		if err != nil {
			missing++
			state, found = "no", err.Error()
		}
		fmt.Fprintf(l.out, "  %s  %-15s %s\n", state, what, found)
	}
	fmt.Fprintf(l.out, "Without a network, with %s:\n", dir)
	version, err := firstLine(ctx, "go", "version")
	say("Go", err, version)
	say("a C compiler", needCompiler(ctx), "for SQLite")
	env := append(os.Environ(), "GOPROXY="+modulesURL(dir), "GOSUMDB=off", "GOTOOLCHAIN=local")
	for _, module := range l.moduleDirs() {
		say(l.moduleName(module), downloadModules(ctx, l, module, env), "its modules are here")
	}
	if server := rabbitmq.Find(); server != "" {
		say("RabbitMQ", nil, server)
	} else if err := rabbitmq.CheckDocker(ctx); err != nil {
		say("RabbitMQ", errors.New("none on this machine, and "+err.Error()+": stages 06 to final need one"), "")
	} else {
		err := dockerCommand(ctx, time.Minute, "image", "inspect", rabbitmq.Image)
		if err != nil {
			err = fmt.Errorf("its image is not here: docker load --input %s", filepath.Join(dir, offlineImages))
		}
		say("RabbitMQ", err, "its image is here")
	}
	if missing > 0 {
		fmt.Fprintf(l.out, "\nMissing: %d\n", missing)
		return errReported
	}
	use := "  . " + filepath.ToSlash(filepath.Join(dir, offlineEnv))
	if runtime.GOOS == "windows" {
		use = fmt.Sprintf("  $env:GOPROXY=%q; $env:GOSUMDB=\"off\"; $env:GOTOOLCHAIN=\"local\"", modulesURL(dir))
	}
	fmt.Fprintf(l.out, "\nReady. In each terminal:\n%s\n", use)
	return nil
}
