package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/feed"
	"microcomm/docs/tools/internal/process"
)

// recordedRate is the load of a recorded drill, in POSTs a second: slow enough for a viewer
// to follow each of them.
const recordedRate = 2

// recorder lets the console of final watch a drill. A nil one does nothing.
type recorder struct {
	program string // the console
	process *process.Process
	feed    *feed.Feed
	secret  string
	does    string      // the drill
	faults  []feed.Line // that have begun
	err     error       // the first
}

// newRecorder builds the console.
func newRecorder(ctx context.Context, d *driller, does string) (*recorder, error) {
	rec := &recorder{program: filepath.Join(d.dir, "console"), secret: rand.Text(), does: does}
	fmt.Fprintln(d.progress, "building the console")
	err := process.Run(ctx, process.Command{
		Args: []string{"go", "build", "-buildvcs=false", "-o", rec.program, "./cmd/console"},
		Dir:  filepath.Join(d.root, "final"), Env: append(os.Environ(), "GOWORK=off"), Stdout: d.progress, Stderr: d.progress,
	})
	if err != nil {
		return nil, fmt.Errorf("build the console: %w", err)
	}
	return rec, nil
}

// start starts the console beside the system, whose services are not started yet,
// and says what the drill does.
func (rec *recorder) start(r *run) error {
	if rec == nil {
		return nil
	}
	address := r.freeAddress()
	rec.feed = feed.New(address, rec.secret)
	stage, _, _ := strings.Cut(r.stage.Name, "-")
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"CONSOLE_HTTP_ADDR=" + address, "CONSOLE_STAGE=" + stage, "CONSOLE_CONTROL_SECRET=" + rec.secret,
		"PLATFORMS_URL=" + urls(r.platforms), "COMMANDS_URL=" + urls(r.commands),
		"RABBITMQ_EXCHANGE=" + r.exchange(), "COMMANDS_QUEUE=" + r.queue(),
	}
	if r.brokerURL != "" {
		env = append(env, "RABBITMQ_URL="+r.brokerURL)
	}
	if token := r.options.bearer; token != nil {
		file := filepath.Join(r.dir, "token")
		if err := os.WriteFile(file, []byte(*token.token.Load()), 0o600); err != nil {
			return err
		}
		env = append(env, "CONSOLE_TOKEN_FILE="+file)
	}
	log, err := os.Create(filepath.Join(r.dir, "console.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	if rec.process, err = process.Start(process.Command{Args: []string{rec.program}, Dir: r.dir, Env: env, Stdout: log, Stderr: log}); err != nil {
		return err
	}
	for _, s := range r.all() {
		s.env = append(s.env, "SEED_DATA=false") // only what the drill creates
		if stage == "final" {
			s.env = append(s.env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+address, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=200")
		}
	}
	rec.post(feed.Note(strings.ToUpper(rec.does[:1]) + rec.does[1:]))
	if r.brokerURL != "" {
		rec.post(feed.Part("broker", "up", ""))
	}
	return rec.err
}

func urls(services []*service) string {
	var all []string
	for _, s := range services {
		all = append(all, s.url)
	}
	return strings.Join(all, ",")
}

// post adds a line, and keeps the first error.
func (rec *recorder) post(l feed.Line) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := rec.feed.Post(ctx, l); err != nil && rec.err == nil {
		rec.err = err
	}
}

// phase records that a stretch of the drill begins.
func (rec *recorder) phase(name string) {
	if !rec.started() {
		return
	}
	text := map[string]string{
		before:        "Everything is up. Two platforms are created each second.",
		fault:         "The fault: platforms are still created.",
		recovering:    "What was down is started again.",
		after:         "Everything is up again.",
		"broker down": "The broker is killed. Platforms are still created.",
		"broker up":   "The broker is up again.",
	}[name]
	rec.post(feed.Note(cmp.Or(text, name)))
}

// part records the state of a part: starting, up, paused or down.
func (rec *recorder) part(id, state string) {
	if rec.started() {
		rec.post(feed.Part(id, state, ""))
	}
}

// fault records a fault, which ends with the drill, and the state of its part.
func (rec *recorder) fault(action, id, state string) {
	if !rec.started() {
		return
	}
	begun := feed.Fault{Action: action, State: "begun"}.Of(id)
	rec.post(begun)
	rec.post(feed.Part(id, state, ""))
	rec.faults = append(rec.faults, begun)
}

func (rec *recorder) started() bool { return rec != nil && rec.process != nil }

// save ends the faults with what went missing, and writes what the console has seen
// into file.
func (rec *recorder) save(r *run, file string) error {
	if rec == nil {
		return nil
	}
	platforms, commands := get(r.client.list(r.ctx, r.platforms, platformsPath)), get(r.client.list(r.ctx, r.commands, commandsPath))
	missing := []string{}
	for _, p := range platforms {
		if !slices.ContainsFunc(commands, func(c platform) bool { return c.Name == p.Name }) {
			missing = append(missing, p.Name)
		}
	}
	_, err := r.within(startTimeout, func(ctx context.Context) error {
		text, err := rec.feed.Download(ctx)
		if err == nil && !listsHave(text, len(platforms), len(commands)) {
			err = errors.New("the console's lists are not those of the services")
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(rec.faults) > 0 {
		n := len(missing)
		first := rec.faults[0]
		fault := first.Content.(feed.Fault)
		fault.State, fault.Missing, fault.Names = "ended", &n, missing
		rec.post(feed.Note(fmt.Sprintf("%d of %d accepted platforms are missing.", n, len(platforms))))
		rec.post(fault.Of(strings.TrimPrefix(first.Subject, "part/")))
	}
	if rec.err != nil {
		return rec.err
	}
	text, err := rec.feed.Download(r.ctx)
	if err != nil {
		return err
	}
	if verdict := bytes.LastIndex(text, []byte(`"kind":"fault"`)); verdict >= 0 { // what came after it is no part of the drill
		text = text[:verdict+bytes.IndexByte(text[verdict:], '\n')+1]
	}
	return os.WriteFile(file, text, 0o644)
}

// listsHave reports whether the last totals of the lists are these.
func listsHave(recording []byte, platforms, commands int) bool {
	totals := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(recording)); lines.Scan(); {
		var l struct {
			Kind, Subject string
			Content       struct{ Total int }
		}
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Kind == "list" {
			totals[l.Subject] = l.Content.Total
		}
	}
	return totals["list/platforms"] == platforms && totals["list/commands"] == commands
}

// stop ends the console.
func (rec *recorder) stop() {
	if rec.started() {
		rec.process.Stop(stopGrace)
		rec.feed.Close()
		rec.process = nil // what ends from now on is no part of the drill
	}
}
