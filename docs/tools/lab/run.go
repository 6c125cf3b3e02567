package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

func runVerb() verb {
	var options runOptions
	v := verb{
		name:    "run",
		args:    "STAGE",
		summary: "builds and starts a stage; Ctrl-C stops it",
		about: `Builds the stage's programs, finds or starts a broker when the stage needs one, starts
the services and prints their addresses and two example requests. The services take
their settings from the environment, as when they are started by hand. Ctrl-C stops
them; a second one ends lab without waiting.

The API page describes what the services accept and return, and sends requests from forms. For
a chapter lab serves it at API_PAGE_ADDR (localhost:8081); final's services serve their own.

With --auth, every request to final needs a token. lab brings the issuer, which keeps its keys
in memory and listens at ISSUER_ADDR (localhost:7010), and go tool lab token asks it for one.

final is one process with a bus in memory. With --broker its services run as separate processes over
RabbitMQ, as in production.

The console shows each platform's way through the stage, and can break it: see --console.
With it, each service keeps its data in a file until lab run ends, so that it finds them again
after a kill. In 02 PlatformService waits for CommandsService for 5 s instead of 2 s; in 06 and
07 it does not call CommandsService, which then learns of platforms only by events.`,
		run: func(ctx context.Context, l *lab, args []string) error { return run(ctx, l, args[0], options) },
	}
	v.flags.BoolVar(&options.apart, "broker", false, "run the services of final apart, over RabbitMQ, and the console")
	v.flags.BoolVar(&options.auth, "auth", false, "start an issuer of tokens beside final, which then needs one for each request")
	v.flags.BoolVar(&options.console, "console", false, "start the console beside 02, 06 or 07; final always has it")
	return v
}

// runOptions are the flags of run.
type runOptions struct{ apart, console, auth bool }

// endpoint is an address a program listens on, and the setting that changes it.
type endpoint struct {
	setting  string
	fallback string
}

// address is where to reach the endpoint from this machine.
func (e endpoint) address() string {
	address := os.Getenv(e.setting)
	if address == "" {
		address = e.fallback
	}
	if strings.HasPrefix(address, ":") {
		return "localhost" + address
	}
	return address
}

// service is one program of a stage.
type service struct {
	title  string
	binary string
	colour string
	http   endpoint
	grpc   *endpoint
	paths  []string // each returns 200 when the service is up
	env    []string // its own settings

	process *process.Process
	node    *rabbitmq.Node // the broker's; nil for a service
	ending  *atomic.Bool   // whether lab ends the process
}

// servicesOf lists the services that lab run starts, in order. With apart they are
// separate processes even if the stage has one program for all of them.
func servicesOf(s repo.Stage, apart bool) []*service {
	platforms := &service{
		title: "PlatformService", binary: "platformservice", colour: "36",
		http: endpoint{"PLATFORMS_HTTP_ADDR", "localhost:5000"}, paths: []string{"/api/platforms"},
	}
	if s.Has("platformservice/grpc_server.go") {
		platforms.grpc = &endpoint{"PLATFORMS_GRPC_ADDR", "localhost:5001"}
	}
	commands := &service{
		title: "CommandsService", binary: "commandsservice", colour: "33",
		http: endpoint{"COMMANDS_HTTP_ADDR", "localhost:6000"}, paths: []string{"/api/c/platforms"},
	}
	switch {
	case s.InOneProcess() && !apart:
		return []*service{{
			title: "The gateway", binary: "microcomm", colour: "36",
			http: endpoint{"GATEWAY_ADDR", "localhost:8080"}, paths: []string{"/api/platforms", "/api/c/platforms"},
		}}
	case s.Has("cmd/commandsservice"):
		return []*service{commands, platforms}
	}
	return []*service{platforms}
}

func run(ctx context.Context, l *lab, name string, options runOptions) error {
	at, err := l.findStage(name)
	if err != nil {
		return err
	}
	s := l.stages[at]
	if options.apart && !s.InOneProcess() {
		return usageError(fmt.Sprintf("%s has no --broker: its services are separate processes anyway", s.Name))
	}
	f := &fleet{lab: l, stage: s, services: servicesOf(s, options.apart), env: os.Environ()}
	c, err := consoleFor(f, options)
	if err != nil {
		return err
	}
	for _, service := range append(c.services(), f.services...) {
		if err := free(ctx, service); err != nil {
			return err
		}
	}
	if f.dir, err = os.MkdirTemp("", runDir(l.root)); err != nil {
		return err
	}
	defer process.RemoveAll(f.dir)
	if options.auth {
		stop, err := f.guard()
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := build(ctx, l, s, f.services, f.dir); err != nil {
		return unlessStopped(ctx, l, err)
	}
	if err := c.build(ctx); err != nil {
		return unlessStopped(ctx, l, err)
	}
	defer f.describe(ctx)()
	if s.NeedsBroker() && (options.apart || !s.InOneProcess()) {
		b, err := rabbitmq.Start(ctx, l.err)
		if err != nil {
			return unlessStopped(ctx, l, err)
		}
		defer b.Stop()
		f.use(b)
	}
	f.introduce()
	if err := c.join(); err != nil {
		return err
	}
	defer c.close()
	return unlessStopped(ctx, l, f.serve(ctx, c))
}

// unlessStopped turns an error that Ctrl-C caused into an orderly end.
func unlessStopped(ctx context.Context, l *lab, err error) error {
	if ctx.Err() != nil {
		fmt.Fprintln(l.out, "stopped")
		return nil
	}
	return err
}

func withDefault(env []string, key, value string) []string {
	if _, given := os.LookupEnv(key); given {
		return env
	}
	return append(env, key+"="+value)
}

// free fails with the setting that moves a service whose port is taken.
func free(ctx context.Context, s *service) error {
	endpoints := []endpoint{s.http}
	if s.grpc != nil {
		endpoints = append(endpoints, *s.grpc)
	}
	for _, e := range endpoints {
		err := portFree(ctx, e.address())
		if errors.Is(err, errTaken) {
			return fmt.Errorf("%w; set %s to another address, for example %s; is an earlier lab run or go run still running?", err, e.setting, someFreeAddress())
		}
		if err != nil {
			return fmt.Errorf("%s: %w; an example is %s", e.setting, err, someFreeAddress())
		}
	}
	return nil
}

// errTaken is wrapped by the error for an address that another program has.
var errTaken = errors.New("is taken")

// portFree returns an error if address is in use, or cannot be used.
func portFree(ctx context.Context, address string) error {
	// A wildcard listener of another family lets us listen beside it, and receives some of
	// the requests: try to connect first.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if conn, err := new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
		conn.Close()
		return fmt.Errorf("%s %w", address, errTaken)
	}
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s %w", address, errTaken)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be used: %w", address, err)
	}
	return listener.Close()
}

// someFreeAddress finds a loopback address without a listener. Its port lies below those
// that the system gives to listeners and to connections, which could take it soon.
func someFreeAddress() string {
	for range 1000 {
		address := fmt.Sprintf("localhost:%d", 10_000+rand.N(20_000))
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	return "localhost:18080"
}

// build compiles the services' programs into dir.
func build(ctx context.Context, l *lab, s repo.Stage, services []*service, dir string) error {
	if err := needCompiler(ctx); err != nil {
		return err
	}
	args := []string{"go", "build", "-buildvcs=false", "-o", dir + string(filepath.Separator)}
	for _, service := range services {
		args = append(args, "./cmd/"+service.binary)
	}
	fmt.Fprintf(l.err, "building %s\n", s.Name)
	l.announce(ctx, s.Dir, false, args[5:]...)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	start := time.Now()
	err := process.Run(ctx, process.Command{
		Args: args, Dir: s.Dir, Env: append(os.Environ(), "GOWORK=off"), Stdout: l.err, Stderr: l.err,
		Still: func(elapsed time.Duration) {
			fmt.Fprintf(l.err, "building %s: %s\n", s.Name, elapsed)
		},
	})
	if err != nil {
		return fmt.Errorf("build %s: %w", s.Name, err)
	}
	fmt.Fprintf(l.err, "built %s in %.1fs\n", s.Name, time.Since(start).Seconds())
	return nil
}

// waitForServices waits until every path of every service returns 200.
func (f *fleet) waitForServices(ctx context.Context, services []*service) error {
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	said := time.Now()
	for _, service := range services {
		for _, path := range service.paths {
			for {
				err := f.get(ctx, service.http.address(), path)
				if err == nil {
					break
				}
				if time.Since(said) > 10*time.Second {
					said = time.Now()
					f.printing.Lock()
					fmt.Fprintf(f.lab.err, "waiting for %s: %v\n", service.title, err)
					f.printing.Unlock()
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-poll.C:
				}
			}
		}
	}
	return nil
}

// get requests path, and returns an error unless the status is 200.
func (f *fleet) get(ctx context.Context, address, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	status, _, err := request(ctx, address, "GET", path, "", f.headers...)
	if err == nil && !strings.HasPrefix(status, "200") {
		err = errors.New(status)
	}
	return err
}

// greet prints the services' addresses, pages about their APIs, and example requests.
// guarded ones need a token.
func greet(l *lab, s repo.Stage, services []*service, pages []string, guarded bool) {
	fmt.Fprintf(l.out, "\n%s is up:\n", s.Name)
	platforms, last := "", ""
	for _, service := range slices.Backward(services) {
		if service.binary == "" {
			continue
		}
		for _, path := range service.paths {
			target := "http://" + service.http.address() + path
			fmt.Fprintf(l.out, "  %-15s  %s  (process %d)\n", service.title, target, service.process.PID())
			if path == "/api/platforms" {
				platforms = target
			}
			if path == "/api/c/platforms" || last == "" {
				last = target
			}
		}
		if service.grpc != nil {
			fmt.Fprintf(l.out, "  %-15s  %s  (gRPC)\n", "", service.grpc.address())
		}
	}
	for _, page := range pages {
		note := ""
		if strings.Contains(page, ":6000/") { // that of final --broker
			note = "  (browsers refuse port 6000; COMMANDS_HTTP_ADDR moves it)"
		}
		fmt.Fprintf(l.out, "  %-15s  %s%s\n", "The API page", page, note)
	}
	body := `'{"name":"NATS","publisher":"Synadia","cost":"Free"}'`
	if runtime.GOOS == "windows" {
		body = `"{\"name\":\"NATS\",\"publisher\":\"Synadia\",\"cost\":\"Free\"}"`
	}
	if services[0].binary == "microcomm" {
		fmt.Fprintf(l.out, "\nOpen http://%s in a browser to watch it work.\n", services[0].http.address())
	}
	fmt.Fprint(l.out, "\nTry, in another terminal:\n")
	token := ""
	if guarded {
		fmt.Fprint(l.out, "  TOKEN=$(go tool lab token --scope platforms:read,platforms:write)\n")
		token = `-H "Authorization: Bearer $TOKEN" `
	}
	fmt.Fprintf(l.out, "  curl -i %s %s-H \"Content-Type: application/json\" -d %s\n  curl %s%s\n", platforms, token, body, token, last)
	fmt.Fprintf(l.out, "\nCtrl-C stops it.\n\n")
}
