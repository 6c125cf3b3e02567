package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// comparison is the effect of the same faults on one stage.
type comparison struct {
	Stage string `json:"stage"`
	Adds  string `json:"adds"`

	Healthy times `json:"postHealthy"`      // POSTs while all is well
	Slow    times `json:"postCommandsSlow"` // and while CommandsService is slow

	CommandsDown  *loss `json:"commandsDown"`
	BrokerCrash   *loss `json:"brokerCrash"`   // nil: the stage has no broker
	PlatformsDown *loss `json:"platformsDown"` // nil: the stage publishes no event
}

// loss counts the platforms that PlatformService saved during a fault, and those of
// them that never reached CommandsService.
type loss struct {
	Lost int `json:"lost"`
	Of   int `json:"of"`
}

func (l *loss) percent() float64 {
	if l == nil || l.Of == 0 {
		return 0
	}
	return 100 * float64(l.Lost) / float64(l.Of)
}

func (l *loss) String() string {
	if l == nil {
		return "–"
	}
	return fmt.Sprintf("%d of %d", l.Lost, l.Of)
}

// compared lists the stages to compare, and what each adds to the one before.
func compared() []comparison {
	return []comparison{
		{Stage: "02", Adds: "a call"},
		{Stage: "06", Adds: "events"},
		{Stage: "07", Adds: "backfill"},
		{Stage: "final", Adds: "hardened"},
	}
}

// compare causes the same faults in several stages. It writes the comparison to w and,
// if out names a folder, to compare.md and compare.svg there.
func (d *driller) compare(ctx context.Context, w io.Writer, out string, asJSON bool) error {
	rows := compared()
	for i := range rows {
		s, err := findStage(d.root, rows[i].Stage)
		if err != nil {
			return err
		}
		rows[i].Stage = s.Name
		compiled, err := build(ctx, s, d.dir, d.progress)
		if err != nil {
			return err
		}
		if err := d.compareStage(ctx, compiled, &rows[i]); err != nil {
			return err
		}
	}
	table := comparisonTable(rows)
	if out != "" {
		if err := writeComparison(out, rows, table); err != nil {
			return err
		}
	}
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(rows)
	}
	_, err := fmt.Fprintf(w, "\n%s", table)
	return err
}

// writeComparison writes compare.md and compare.svg into the folder out.
func writeComparison(out string, rows []comparison, table string) error {
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"compare.svg": comparisonChart(rows),
		"compare.md": "# What each piece buys\n\n![the same faults in each stage](compare.svg)\n\n" + table +
			fmt.Sprintf("\nMade by `go tool lab drill --compare` on %d cores (%s/%s): the same load of %.0f POSTs a second on each.\n",
				runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, usual().rate),
	} {
		if err := os.WriteFile(filepath.Join(out, name), []byte(text), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// compareStage fills row with the effects of the faults on s.
func (d *driller) compareStage(ctx context.Context, s built, row *comparison) error {
	do := func(name string, fault func(*run)) (*run, error) {
		fmt.Fprintf(d.progress, "\n%s %s\n", s.Name, name)
		r, err := d.run(ctx, s, name, d.options, fault)
		if err != nil {
			d.kept = ctx.Err() == nil
			return nil, fmt.Errorf("%s %s: %w", s.Name, name, err)
		}
		return r, nil
	}
	r, err := do("commands-slow", commandsSlow)
	if err != nil {
		return err
	}
	row.Healthy, row.Slow = toTimes(r.latencyIn(before)), toTimes(r.latencyIn(fault))
	if r, err = do("commands-down", commandsDown); err != nil {
		return err
	}
	row.CommandsDown = r.loss()
	if r.brokerURL == "" {
		return nil
	}
	if r, err = do("broker-crash", brokerCrash); err != nil {
		return err
	}
	row.BrokerCrash = r.loss()
	if r, err = do("platforms-crash", killPlatforms); err != nil {
		return err
	}
	row.PlatformsDown = r.loss()
	return nil
}

// loss counts, among the platforms posted until the fault was over, those that
// PlatformService saved and those that CommandsService lacks.
func (r *run) loss() *loss {
	var l loss
	saved, received := index(r.history.platforms), index(r.history.commands)
	for _, p := range r.in(fault, recovering) {
		if len(saved[p.name]) > 0 {
			l.Of++
			if len(received[p.name]) == 0 {
				l.Lost++
			}
		}
	}
	return &l
}

// comparisonTable is the comparison in Markdown.
func comparisonTable(rows []comparison) string {
	var b strings.Builder
	b.WriteString("| | | POST, p50: all is well | CommandsService slow | lost: CommandsService down | broker crashed | PlatformService crashed |\n")
	b.WriteString("|---|---|---:|---:|---:|---:|---:|\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s | %s | %.1f ms | %.1f ms | %s | %s | %s |\n",
			row.Stage, row.Adds, row.Healthy.P50, row.Slow.P50, row.CommandsDown, row.BrokerCrash, row.PlatformsDown)
	}
	fmt.Fprintf(&b, `
p50: half of the POSTs took no longer. Slow: everything to and from CommandsService arrives %d ms late. Lost: platforms
that PlatformService saved during the fault and CommandsService never received. PlatformService crashed: it was killed
three times between saving and publishing. To make that moment likely, the drill lets the call of stage 02, which lies
between the two, hang for 200 ms.
`, delay.Milliseconds())
	return b.String()
}
