package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"microcomm/docs/tools/internal/repo"
)

// checkout is the repository's files: tracked ones, and new ones that git does not
// ignore.
type checkout struct {
	root  string
	files []string        // from the root, with slashes
	paths map[string]bool // the files and their folders
}

func newCheckout(ctx context.Context, root string) (*checkout, error) {
	listed, err := repo.Git(ctx, root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	c := &checkout{root: root, paths: map[string]bool{".": true}}
	for _, file := range strings.Split(strings.TrimRight(listed, "\x00"), "\x00") {
		// git still lists a file that was deleted and not yet committed
		if _, err := os.Lstat(filepath.Join(root, filepath.FromSlash(file))); file == "" || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		c.files = append(c.files, file)
		for path := file; path != "." && !c.paths[path]; path = parent(path) {
			c.paths[path] = true
		}
	}
	return c, nil
}

func parent(path string) string { return filepath.ToSlash(filepath.Dir(filepath.FromSlash(path))) }

func (c *checkout) has(path string) bool { return c.paths[path] }

func (c *checkout) read(file string) (string, error) {
	content, err := os.ReadFile(filepath.Join(c.root, filepath.FromSlash(file)))
	return string(content), err
}

func (c *checkout) document(file string) (*document, error) { return readDocument(c.root, file) }

// copyTo makes a clean copy in dir: a repository with one commit.
func (c *checkout) copyTo(ctx context.Context, dir string) error {
	for _, file := range c.files {
		if err := copyFile(filepath.Join(c.root, filepath.FromSlash(file)), filepath.Join(dir, filepath.FromSlash(file))); err != nil {
			return fmt.Errorf("copy the checkout: %w", err)
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"config", "user.name", "Learner"},
		{"config", "user.email", "learner@localhost"},
		{"add", "--all"},
		{"commit", "--quiet", "--message=The workbook"},
	} {
		if _, err := repo.Git(ctx, dir, args...); err != nil {
			return fmt.Errorf("copy the checkout: %w", err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, info.Mode().Perm())
}

// fromRoot turns paths from here into paths from the root, with slashes.
func fromRoot(root string, paths []string) ([]string, error) {
	var result []string
	for _, path := range paths {
		full, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		relative, err := filepath.Rel(root, full)
		if err != nil {
			return nil, err
		}
		result = append(result, filepath.ToSlash(relative))
	}
	return result, nil
}
