// Command bench compares final with its floor: for each path through the
// system, a program that does only that step with the bare libraries. Both run
// in the same session, in turns, and what counts is the ratio. It is behind
// go tool lab bench.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "floor" { // started by itself
		if err := serveFloor(ctx, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			os.Exit(1)
		}
		return
	}
	only := flag.String("only", "", "measure only the paths whose name contains this")
	quick := flag.Bool("quick", false, "short rounds and few rows: to try the program, not to quote")
	rounds := flag.Int("rounds", 5, "how often each side is measured")
	out := flag.String("out", "", "folder for performance.svg and performance.md; empty: only print")
	flag.Parse()
	if err := run(ctx, *only, *out, *rounds, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, out string, rounds int, quick bool) error {
	root, err := repo.Root()
	if err != nil {
		return err
	}
	broker, err := rabbitmq.Start(ctx, os.Stderr)
	if err != nil {
		return err
	}
	defer broker.Stop()
	b, err := newBench(ctx, root, broker.URL, rounds, quick)
	if err != nil {
		return err
	}
	defer b.close()
	var results []result
	for _, p := range paths() {
		if !strings.Contains(p.name, only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s\n", p.name)
		rows, err := p.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		for _, r := range rows {
			fmt.Fprintf(os.Stderr, "  %s\n", r)
		}
		results = append(results, rows...)
	}
	table := markdown(results)
	fmt.Print(table)
	if out == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(out, "performance-table.md"), []byte(table), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "performance.svg"), []byte(svg(results)), 0o644)
}
