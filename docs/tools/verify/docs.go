package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"microcomm/docs/tools/internal/markdown"
	"microcomm/docs/tools/internal/process"
)

// docs verifies Markdown files, a few at a time.
func (v *verifier) docs(ctx context.Context, files []string) error {
	c, err := newCheckout(ctx, v.root)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		for _, file := range c.files {
			if strings.HasSuffix(file, ".md") && !strings.Contains(file, "/testdata/") {
				files = append(files, file)
			}
		}
	}
	return inParallel(ctx, v.workers(), files, func(ctx context.Context, file string) error {
		return v.document(ctx, c, file)
	})
}

// workers is how many stages may run at a time: only one if they would share a broker,
// which lab run otherwise starts, or a cluster.
func (v *verifier) workers() int {
	if os.Getenv("RABBITMQ_URL") != "" || v.cluster {
		return 1
	}
	return 2
}

// inParallel calls f for all items, a few at a time, and returns the first error.
func inParallel[T any](ctx context.Context, workers int, items []T, f func(ctx context.Context, item T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan T)
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for item := range queue {
				if err := f(ctx, item); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, item := range items {
		select {
		case queue <- item:
		case <-ctx.Done():
		}
	}
	close(queue)
	working.Wait()
	return context.Cause(ctx)
}

// document verifies one file. An error means that it could not do so.
func (v *verifier) document(ctx context.Context, c *checkout, file string) error {
	d, err := c.document(file)
	if err != nil {
		return err
	}
	found := results{name: file}
	found.check("", c.checkLinks(d)) // it says itself where
	var runs []*block
	for _, b := range d.blocks {
		switch {
		case b.err != nil:
			found.check(b.at(d), b.err)
		case b.Kind == markdown.Snippet:
			found.check(b.at(d), checkSnippet(v.root, b))
		case b.Kind == markdown.Manual:
			found.skip("manual, " + b.Reason)
		case b.IsShell() && b.Cluster && !v.cluster:
			found.skip("needs a cluster: --cluster")
		case b.IsShell() || b.Kind == markdown.Output && b.FromBackground:
			runs = append(runs, b)
		}
	}
	if slices.ContainsFunc(runs, (*block).IsShell) {
		if err := v.play(ctx, c, d, runs, &found); err != nil {
			return err
		}
	}
	v.report.add(found)
	return nil
}

// at is where a block is, for people and editors.
func (b *block) at(d *document) string { return fmt.Sprintf("%s:%d", d.path, b.line) }

// play runs a document's blocks in a clean copy. With --update it then writes output that
// differs into the document.
func (v *verifier) play(ctx context.Context, c *checkout, d *document, blocks []*block, found *results) error {
	dir, err := os.MkdirTemp(v.temp, "")
	if err != nil {
		return err
	}
	defer process.RemoveAll(dir)
	p := &player{verifier: v, document: d,
		ports: ports{pool: &v.ports, temp: filepath.Join(dir, "tmp"), dir: filepath.Join(dir, "microcomm")}}
	scripts := filepath.Join(dir, "scripts")
	for _, folder := range []string{p.ports.temp, p.ports.dir, scripts} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
	}
	if err := c.copyTo(ctx, p.ports.dir); err != nil {
		return err
	}
	settings, err := p.ports.settings(isLesson(d.path))
	if err != nil {
		return err
	}
	p.env = shellEnvironment(append(settings, "TMPDIR="+p.ports.temp)...)
	if p.shell, err = startShell(p.ports.dir, scripts, p.env); err != nil {
		return err
	}
	defer p.shell.close()
	defer p.stopBackgrounds(0)
	for i, b := range blocks {
		start := time.Now()
		err := p.block(ctx, b)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if took := time.Since(start); took > 30*time.Second {
			v.report.note(fmt.Sprintf("%s took %s", b.at(d), took.Round(time.Second)))
		}
		found.check(b.at(d), err)
		if errors.Is(err, errStopped) {
			for range blocks[i+1:] {
				found.skip("not run, after a failure in " + d.path)
			}
			break
		}
	}
	if !v.update || len(p.updates) == 0 {
		return nil
	}
	return p.writeUpdates()
}

// isLesson reports whether a document belongs to a stage whose services call each other
// by default: in final the call is off.
func isLesson(path string) bool { return path[0] >= '0' && path[0] <= '9' }

// player runs the blocks of one document.
type player struct {
	*verifier
	document    *document
	ports       ports
	env         []string
	shell       *shell
	exports     string // the export lines so far: a reader repeats them in each terminal
	backgrounds []*background
	updates     map[*block]string // new text of output blocks
}

func (p *player) block(ctx context.Context, b *block) error {
	switch b.Kind {
	case markdown.Background:
		return p.background(ctx, b)
	case markdown.Output:
		return p.backgroundOutput(ctx, b)
	}
	text, err := p.commands(b)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "export ") {
			p.exports += line
		}
	}
	input := ""
	if b.Cluster { // lab deploy asks; each time it reads 4 KiB ahead
		input = strings.Repeat("yes\n", 10<<10)
	}
	deadline := time.Now().Add(p.limits.wait)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		printed, status, line, err := p.shell.run(ctx, p.limits.block, text, input)
		printed = p.ports.output(printed)
		if err != nil {
			return fmt.Errorf("%w; it printed\n%s", err, printed)
		}
		err = exitError(b, status, line, printed)
		asShown := b.output == nil || b.output.FromBackground || matches(b.output.text, printed, b.output.Partial)
		switch {
		case err == nil && asShown:
			return nil
		case b.Eventually && time.Now().Before(deadline):
			// again
		case err != nil:
			return err
		default:
			return p.mismatch(b.output, printed)
		}
		<-tick.C
	}
}

// commands returns a block's commands, moved to other ports except for a cluster's.
func (p *player) commands(b *block) (string, error) {
	if b.Cluster {
		return b.text, nil
	}
	return p.ports.commands(b.text)
}

// mismatch returns the error for output that differs from the document. With --update it
// rewrites the document instead.
func (p *player) mismatch(b *block, printed string) error {
	if p.update {
		if p.updates == nil {
			p.updates = map[*block]string{}
		}
		p.updates[b] = updated(b.text, printed, b.Partial)
		return nil
	}
	return fmt.Errorf("the output differs from line %d (- shown, + printed):\n%s", b.line+1, difference(b.text, printed))
}

func (p *player) background(ctx context.Context, b *block) error {
	if b.Replaces > 0 {
		p.stopBackgrounds(len(p.backgrounds) - b.Replaces)
	}
	text, err := p.commands(b)
	if err != nil {
		return err
	}
	started, err := startBackground(p.ports.dir, p.env, p.exports+text)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errStopped)
	}
	p.backgrounds = append(p.backgrounds, started)
	err = started.wait(ctx, p.limits.ready, func(output string) bool {
		return strings.Contains(p.ports.output(output), b.Ready)
	})
	if err != nil {
		return fmt.Errorf("never ready (%q): %w: %w; it printed\n%s", b.Ready, err, errStopped, p.ports.output(started.output.String()))
	}
	if b.output == nil || b.output.FromBackground {
		return nil
	}
	return p.waitForOutput(ctx, started, b.output)
}

// backgroundOutput waits until the output of the last background has the block's lines.
func (p *player) backgroundOutput(ctx context.Context, b *block) error {
	if len(p.backgrounds) == 0 {
		return errors.New("there is no background whose output this could be")
	}
	return p.waitForOutput(ctx, p.backgrounds[len(p.backgrounds)-1], b)
}

func (p *player) waitForOutput(ctx context.Context, from *background, b *block) error {
	partial := b.Partial || b.FromBackground
	err := from.wait(ctx, p.limits.wait, func(output string) bool {
		return matches(b.text, p.ports.output(output), partial)
	})
	if err == nil {
		return nil
	}
	return p.mismatch(b, p.ports.output(from.output.String()))
}

// stopBackgrounds ends all but the first few, the last one first.
func (p *player) stopBackgrounds(keep int) {
	for _, b := range slices.Backward(p.backgrounds[max(0, keep):]) {
		b.process.Interrupt(p.limits.stop)
	}
	p.backgrounds = p.backgrounds[:max(0, keep)]
}

// writeUpdates writes the new output into the document, from its end to its start.
func (p *player) writeUpdates() error {
	source := string(p.document.source)
	for _, b := range slices.Backward(p.document.blocks) {
		text, changed := p.updates[b]
		if !changed {
			continue
		}
		var indented strings.Builder
		for line := range strings.Lines(text) {
			indented.WriteString(strings.TrimRight(b.indent+line, " \t\n") + "\n")
		}
		source = source[:b.start] + indented.String() + source[b.end:]
	}
	p.report.note(p.document.path + " rewritten")
	return os.WriteFile(filepath.Join(p.root, filepath.FromSlash(p.document.path)), []byte(source), 0o644)
}
