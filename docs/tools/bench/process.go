package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"microcomm/docs/tools/internal/process"
)

// bench is a session of measurements.
type bench struct {
	rounds int
	quick  bool
	dir    string // built programs and databases
	broker string // URL
}

// newBench builds the programs of the checkout at root.
func newBench(ctx context.Context, root, broker string, rounds int, quick bool) (*bench, error) {
	dir, err := os.MkdirTemp("", "microcomm-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{rounds: rounds, quick: quick, dir: dir, broker: broker}
	for module, packages := range map[string]string{"final": "./cmd/...", "02-http-sync": "./cmd/platformservice"} {
		err := process.Run(ctx, process.Command{
			Args: []string{"go", "build", "-buildvcs=false", "-o", filepath.Join(dir, module) + string(filepath.Separator), packages},
			Dir:  filepath.Join(root, module), Env: append(os.Environ(), "GOWORK=off"),
		})
		if err != nil {
			b.close()
			return nil, fmt.Errorf("build %s: %w", module, err)
		}
	}
	return b, nil
}

func (b *bench) close() { process.RemoveAll(b.dir) }

// scale returns full, or a hundredth of it with --quick.
func (b *bench) scale(full int) int {
	if b.quick {
		return full / 100
	}
	return full
}

// duration of one round.
func (b *bench) duration() time.Duration {
	if b.quick {
		return 300 * time.Millisecond
	}
	return 3 * time.Second
}

// program is a running process.
type program struct {
	*process.Process
	log  transcript
	addr string // its HTTP server
}

// launch starts a program: args are its file and its arguments.
func (b *bench) launch(env []string, args ...string) (*program, error) {
	p := &program{log: transcript{more: make(chan struct{}, 1)}}
	var err error
	p.Process, err = process.Start(process.Command{
		Args: args, Dir: b.dir, Env: slices.Concat(os.Environ(), env), Stdout: &p.log, Stderr: &p.log,
	})
	return p, err
}

// launchFloor starts this program as a floor.
func (b *bench) launchFloor(env []string, args ...string) (*program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return b.launch(env, append([]string{self, "floor"}, args...)...)
}

// start runs a program of final, or, for a name such as 02-http-sync/platformservice, of
// another stage, and waits until GET path returns 200. The name "floor" stands for this
// program.
func (b *bench) start(ctx context.Context, name, path string, env []string, args ...string) (*program, error) {
	addr := freeAddr()
	env = append([]string{
		"PLATFORMS_HTTP_ADDR=" + addr, "COMMANDS_HTTP_ADDR=" + addr, "GATEWAY_ADDR=" + addr, "FLOOR_ADDR=" + addr,
		"PLATFORMS_GRPC_ADDR=" + freeAddr(), "COMMANDS_SERVICE_URL=", "SEED_DATA=false",
	}, env...)
	launch := b.launchFloor
	if name != "floor" {
		launch = b.launch
		if !strings.Contains(name, "/") {
			name = "final/" + name
		}
		args = append([]string{filepath.Join(b.dir, filepath.FromSlash(name))}, args...)
	}
	p, err := launch(env, args...)
	if err != nil {
		return nil, err
	}
	p.addr = addr
	err = eventually(ctx, name+" is ready", func() bool {
		select {
		case <-p.Done():
			return true
		default:
		}
		response, err := http.Get("http://" + addr + path)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	select {
	case <-p.Done():
		return nil, fmt.Errorf("%s ended: %s", name, p.log.String())
	default:
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%w\n%s", err, p.log.String())
	}
	return p, nil
}

// transcript keeps what a program prints.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // has a value when there is more
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.more <- struct{}{}:
	default:
	}
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// wait returns when the program has printed part. It does not poll, since that would use
// the processor that is measured. It forgets what was printed before.
func (t *transcript) wait(ctx context.Context, part string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		t.mu.Lock()
		found := bytes.Contains(t.text.Bytes(), []byte(part))
		if found {
			t.text.Reset()
		}
		t.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-t.more:
		case <-ctx.Done():
			return fmt.Errorf("%q was not printed: %w", part, ctx.Err())
		}
	}
}

// stop ends the process.
func (p *program) stop() { p.Stop(20 * time.Second) }

// memory returns a figure of /proc/PID/status in MiB: VmRSS or VmHWM, the peak.
func (p *program) memory(name string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name+":" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			return kib / 1024
		}
	}
	return 0
}

// processorTime returns how much of the processors' time the program has used, of
// /proc/PID/stat.
func (p *program) processorTime() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest) // from the third on
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / 100 // Linux counts in hundredths of a second
}

// eventually polls until condition is true, for two minutes at most.
func eventually(ctx context.Context, what string, condition func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// freeAddr returns a loopback address whose port is free.
func freeAddr() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer listener.Close()
	return listener.Addr().String()
}
