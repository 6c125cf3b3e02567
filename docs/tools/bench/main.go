// Command bench compares final with its floor: for each path through the system, a program
// that does only that step with the bare libraries. Both run in the same session, in
// turns, and what counts is the ratio. go tool lab bench runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

func main() {
	cli.Main("bench", func(ctx context.Context, args []string) error {
		if len(args) > 0 && args[0] == "floor" { // bench has started itself as a floor
			return serveFloor(ctx, args[1:])
		}
		return command(ctx, args)
	})
}

func command(ctx context.Context, args []string) error {
	var flags cli.Bench
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Declare(set)
	if _, err := cli.Parse(set, args); err != nil {
		return err
	}
	chosen := slices.DeleteFunc(paths(), func(p path) bool { return !strings.Contains(p.name, flags.Only) })
	switch {
	case len(chosen) == 0:
		return cli.UsageError("no path has " + flags.Only + " in its name")
	case flags.Rounds < 1:
		return cli.UsageError("--rounds must be at least 1")
	}
	root, err := repo.Root()
	if err != nil {
		return err
	}
	broker, err := rabbitmq.Start(ctx, os.Stderr)
	if err != nil {
		return err
	}
	defer broker.Stop()
	b, err := newBench(ctx, root, broker.URL, flags.Rounds, flags.Quick)
	if err != nil {
		return err
	}
	defer b.close()
	var results []result
	for _, p := range chosen {
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
	if flags.Out == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(flags.Out, "performance-table.md"), []byte(table), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(flags.Out, "performance.svg"), []byte(svg(results)), 0o644)
}
