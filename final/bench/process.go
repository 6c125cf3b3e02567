package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// bench is a session of measurements.
type bench struct {
	rounds int
	quick  bool
	dir    string // built programs and databases
	broker string // URL
}

// newBench builds the programs.
func newBench(ctx context.Context, rounds int, quick bool) (*bench, error) {
	dir, err := os.MkdirTemp("", "microcomm-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{rounds: rounds, quick: quick, dir: dir, broker: os.Getenv("RABBITMQ_URL")}
	if b.broker == "" {
		b.close()
		return nil, fmt.Errorf("RABBITMQ_URL is not set: use go tool lab bench, which starts a broker")
	}
	for module, packages := range map[string]string{".": "./cmd/...", "../02-http-sync": "./cmd/platformservice"} {
		into := filepath.Join(dir, filepath.Base(module)) + string(filepath.Separator)
		if err := os.MkdirAll(into, 0o755); err != nil {
			return nil, err
		}
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", into, packages)
		build.Dir, build.Env = module, append(os.Environ(), "GOWORK=off")
		if text, err := build.CombinedOutput(); err != nil {
			b.close()
			return nil, fmt.Errorf("build %s: %w\n%s", module, err, text)
		}
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.dir) }

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
	cmd  *exec.Cmd
	done chan struct{}
	log  transcript
	addr string // its HTTP server
}

func newProgram(file string, args ...string) *program {
	p := &program{cmd: exec.Command(file, args...), done: make(chan struct{}), log: transcript{more: make(chan struct{}, 1)}}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	return p
}

// start runs a program of final, or with name "floor" this one, and waits until
// GET path returns 200.
func (b *bench) start(ctx context.Context, name, path string, env []string, args ...string) (*program, error) {
	addr := freeAddr()
	file := filepath.Join(b.dir, ".", name)
	if module, program, ok := strings.Cut(name, "/"); ok {
		file = filepath.Join(b.dir, module, program)
	}
	if name == "floor" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		file, args = self, append([]string{"floor"}, args...)
	}
	p := newProgram(file, args...)
	p.addr = addr
	p.cmd.Env = append(os.Environ(),
		"PLATFORMS_HTTP_ADDR="+addr, "COMMANDS_HTTP_ADDR="+addr, "GATEWAY_ADDR="+addr, "FLOOR_ADDR="+addr,
		"PLATFORMS_GRPC_ADDR="+freeAddr(), "COMMANDS_SERVICE_URL=", "SEED_DATA=false")
	p.cmd.Env = append(p.cmd.Env, env...)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which stop waits for
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	err := eventually(ctx, name+" is ready", func() bool {
		select {
		case <-p.done:
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
	case <-p.done:
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

// wait returns when the program has printed part. It does not poll, which would
// take the processor from what is measured. It forgets what was printed before.
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
func (p *program) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// memory returns a figure of /proc/PID/status in MiB: VmRSS or VmHWM, the peak.
func (p *program) memory(name string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
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
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
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
