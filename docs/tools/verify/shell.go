package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"microcomm/docs/tools/internal/process"
)

// limits bound the time that a document may take. They end only waits that are hopeless:
// a machine that is busy takes many times longer than one that is not.
type limits struct {
	block time.Duration // a run block
	ready time.Duration // a background, until it is ready
	wait  time.Duration // until output of a background has arrived
	stop  time.Duration // a background, from the interrupt to its end
}

var defaultLimits = limits{block: 15 * time.Minute, ready: 10 * time.Minute, wait: 2 * time.Minute, stop: time.Minute}

// shell is one bash that runs blocks one after the other, as a terminal does:
// folders and variables stay.
type shell struct {
	process  *process.Process
	commands *os.File
	statuses chan string
	scripts  string // a folder for the blocks
	count    int
}

// driver runs the files whose names it reads. For each it prints the status of the first
// command that failed, which a reader would see in a terminal, and its line.
const driver = `
while IFS= read -r __block; do
  __failed=0 __line=0
  trap '__status=$?; [ $__failed = 0 ] && __failed=$__status __line=$LINENO' ERR
  . "$__block" <"$__block.in" >"$__block.out" 2>&1
  trap - ERR
  echo "$__failed $__line"
done
`

// startShell starts a bash in dir. scripts is a folder for its blocks.
func startShell(dir, scripts string, env []string) (*shell, error) {
	commandsReader, commands, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer commandsReader.Close()
	statuses, statusesWriter, err := os.Pipe()
	if err != nil {
		commands.Close()
		return nil, err
	}
	defer statusesWriter.Close()
	p, err := process.Start(process.Command{
		Args: []string{"bash", "--norc", "--noprofile", "-c", driver}, Dir: dir, Env: env,
		Stdin: commandsReader, Stdout: statusesWriter, Stderr: statusesWriter,
	})
	if err != nil {
		commands.Close()
		statuses.Close()
		return nil, err
	}
	s := &shell{process: p, commands: commands, statuses: make(chan string), scripts: scripts}
	go func() {
		defer close(s.statuses)
		defer statuses.Close()
		for lines := bufio.NewScanner(statuses); lines.Scan(); {
			s.statuses <- lines.Text()
		}
	}()
	return s, nil
}

// errStopped is wrapped when the shell cannot run another block.
var errStopped = errors.New("the rest of the document was not run")

// run runs a block, which reads input, and returns what it printed, with the exit
// status and the line of the first command that failed.
func (s *shell) run(ctx context.Context, limit time.Duration, text, input string) (output string, status, line int, err error) {
	s.count++
	script := filepath.Join(s.scripts, fmt.Sprintf("block-%d", s.count))
	for file, content := range map[string]string{script: text, script + ".in": input} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return "", 0, 0, err
		}
	}
	read := func() string {
		printed, _ := os.ReadFile(script + ".out") // absent: nothing was printed
		return string(printed)
	}
	if _, err := fmt.Fprintln(s.commands, script); err != nil {
		return "", 0, 0, fmt.Errorf("the shell has ended: %w", errStopped)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case report, ok := <-s.statuses:
		if !ok {
			return read(), 0, 0, fmt.Errorf("the block ended the shell: %w", errStopped)
		}
		if _, err := fmt.Sscan(report, &status, &line); err != nil {
			return read(), 0, 0, fmt.Errorf("the shell says %q: %w", report, errStopped)
		}
		return read(), status, line, nil
	case <-limited.Done():
		if ctx.Err() != nil {
			return "", 0, 0, ctx.Err()
		}
		s.process.Interrupt(5 * time.Second)
		return read(), 0, 0, fmt.Errorf("not ended after %s: %w", limit, errStopped)
	}
}

// close ends the shell and everything that it has started.
func (s *shell) close() {
	s.commands.Close()
	s.process.Interrupt(5 * time.Second)
	for range s.statuses { // its reader ends
	}
}

// background is a second terminal.
type background struct {
	process *process.Process
	output  transcript
}

func startBackground(dir string, env []string, text string) (*background, error) {
	b := &background{output: transcript{more: make(chan struct{}, 1)}}
	p, err := process.Start(process.Command{
		Args: []string{"bash", "--norc", "--noprofile", "-c", text}, Dir: dir, Env: env, Stdout: &b.output, Stderr: &b.output,
	})
	b.process = p
	return b, err
}

// wait waits until good accepts what the background has printed.
func (b *background) wait(ctx context.Context, limit time.Duration, good func(output string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if good(b.output.String()) {
			return nil
		}
		select {
		case <-b.output.more:
		case <-b.process.Done():
			if good(b.output.String()) {
				return nil
			}
			return fmt.Errorf("it ended early: %s", b.process.Ending())
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, ctx.Err())
		}
	}
}

// transcript keeps what is written to it, and signals each write.
type transcript struct {
	mutex sync.Mutex
	text  bytes.Buffer
	more  chan struct{}
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.text.Write(p)
	select {
	case t.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (t *transcript) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.text.String()
}

// shellEnvironment is this process's environment, without variables that would change
// the output of documents.
func shellEnvironment(settings ...string) []string {
	dropped := []string{
		"BASH_ENV", "ENV", "DATABASE_URL", "COMMANDS_DATABASE_URL", "SEED_DATA", "SQLSERVER_URL",
		"GOWORK", "MAKEFLAGS", "MAKELEVEL", "MFLAGS",
	}
	var env []string
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		if !slices.Contains(dropped, name) {
			env = append(env, setting)
		}
	}
	env = append(env, "LC_ALL=C.UTF-8", "NO_COLOR=1", "TERM=dumb", "PAGER=cat", "GIT_PAGER=cat")
	return append(env, settings...)
}

// exitError returns an error if a block did not end as annotated.
func exitError(b *block, status, line int, output string) error {
	if status == b.Exit {
		return nil
	}
	text := "exit status " + strconv.Itoa(status)
	if status != 0 && line > 0 {
		text += fmt.Sprintf(" at line %d", b.line+line)
	}
	if b.Exit != 0 {
		text += fmt.Sprintf(", not %d", b.Exit)
	}
	return fmt.Errorf("%s; it printed\n%s", text, process.LastLines(output, 20))
}
