package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/badnet"
)

// console is the console of final, beside a stage whose services are processes. It may
// be nil.
type console struct {
	fleet   *fleet
	number  string // of the stage
	service *service
	secret  string // which the console and lab share

	dlq, poison string        // programs; empty: the stage does not need it
	network     *badnet.Proxy // in front of CommandsService; nil: not possible there
	control     *control
	listener    net.Listener // of control
}

// consoleFor returns the console that the options ask for.
func consoleFor(f *fleet, options runOptions) (*console, error) {
	if !options.apart && (!options.console || f.stage.InOneProcess()) {
		return nil, nil
	}
	number, _, _ := strings.Cut(f.stage.Name, "-")
	if stages := []string{"02", "06", "07", "final"}; !slices.Contains(stages, number) {
		return nil, usageError(fmt.Sprintf("the console shows %s, and not %s", strings.Join(stages, ", "), f.stage.Name))
	}
	return &console{fleet: f, number: number, secret: rand.Text(), service: &service{
		title: "The console", binary: "console", colour: "35",
		http: endpoint{"CONSOLE_HTTP_ADDR", "localhost:7000"}, paths: []string{"/"},
	}}, nil
}

// services returns the console's.
func (c *console) services() []*service {
	if c == nil {
		return nil
	}
	return []*service{c.service}
}

// build compiles the console, and the programs that control runs.
func (c *console) build(ctx context.Context) error {
	if c == nil {
		return nil
	}
	f := c.fleet
	final := f.lab.stages[len(f.lab.stages)-1]
	programs := []*service{c.service}
	if f.stage.InOneProcess() {
		programs = append(programs, &service{binary: "dlq"})
		c.dlq = filepath.Join(f.dir, "dlq")
	}
	if err := build(ctx, f.lab, final, programs, f.dir); err != nil || !f.stage.NeedsBroker() {
		return err
	}
	var err error
	c.poison, err = buildProgram(ctx, f.lab, "docs", "tools/poison", f.dir)
	return err
}

// join puts the console among the services, and lets it see and break them. The
// caller must call close.
func (c *console) join() error {
	if c == nil {
		return nil
	}
	f := c.fleet
	platforms, commands := f.find("platformservice"), f.find("commandsservice")
	// In memory, the data would end with a process that is killed.
	platforms.env = withDefault(platforms.env, "DATABASE_URL", "sqlite:"+filepath.Join(f.dir, "platforms.db"))
	commands.env = withDefault(commands.env, "COMMANDS_DATABASE_URL", "sqlite:"+filepath.Join(f.dir, "commands.db"))
	if err := c.slowable(platforms, commands); err != nil {
		return err
	}
	var err error
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("listen for the control of faults: %w", err)
	}
	address := c.service.http.address()
	c.service.env = []string{
		"CONSOLE_STAGE=" + c.number,
		"PLATFORMS_URL=http://" + platforms.http.address(),
		"COMMANDS_URL=http://" + commands.http.address(),
		"CONSOLE_CONTROL_URL=http://" + c.listener.Addr().String(),
		"CONSOLE_CONTROL_SECRET=" + c.secret,
	}
	if f.stage.InOneProcess() {
		for _, s := range []*service{platforms, commands} {
			s.env = withDefault(s.env, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
			s.env = withDefault(s.env, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
			s.env = withDefault(s.env, "OTEL_BSP_SCHEDULE_DELAY", "200")
		}
	} else {
		c.service.env = append(c.service.env, "RABBITMQ_EXCHANGE="+c.exchange())
	}
	c.control = newControl(c, address)
	f.services = append([]*service{c.service}, f.services...) // stopped last: it receives the others' last spans
	return nil
}

// exchange is the name of the exchange that events go to.
func (c *console) exchange() string {
	fallback := "trigger"
	if c.fleet.stage.InOneProcess() {
		fallback = "microcomm.platforms"
	}
	return cmp.Or(os.Getenv("RABBITMQ_EXCHANGE"), fallback)
}

// slowable puts a proxy between CommandsService and its source of platforms: the broker
// or, in 02, PlatformService. From 06 on, the call of 02 would hide the loss of an event.
// A slow CommandsService gets events late but acknowledges them at once, or responds late.
func (c *console) slowable(platforms, commands *service) (err error) {
	if c.fleet.broker == nil {
		if os.Getenv("COMMANDS_SERVICE_URL") != "" {
			return nil // it may run elsewhere
		}
		if c.network, err = badnet.New(commands.http.address()); err == nil {
			platforms.env = append(platforms.env, "COMMANDS_SERVICE_URL=http://"+c.network.Address()+"/api/c/platforms")
			platforms.env = withDefault(platforms.env, "COMMANDS_SERVICE_TIMEOUT", "5s")
		}
		return err
	}
	platforms.env = withDefault(platforms.env, "COMMANDS_SERVICE_URL", "")
	u, err := url.Parse(c.fleet.broker.URL)
	if err != nil || u.Scheme != "amqp" {
		return nil // its certificate has another name
	}
	target := u.Host
	if u.Port() == "" {
		target = net.JoinHostPort(u.Hostname(), "5672")
	}
	if c.network, err = badnet.New(target); err == nil {
		u.Host = c.network.Address()
		commands.env = append(commands.env, "RABBITMQ_URL="+u.String())
	}
	return err
}

// attend reports to the console what the services do, and carries out its requests, until
// the caller calls leave.
func (c *console) attend(ctx context.Context) (leave func()) {
	if c == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	c.control.ctx = ctx
	c.control.running.Go(func() { c.control.post(ctx) })
	server := &http.Server{Handler: c.control, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	c.control.running.Go(func() { _ = server.Serve(c.listener) }) // it ends by Close
	c.control.report()
	return func() {
		c.control.leave(cancel)
		server.Close()
		c.control.running.Wait()
	}
}

// ready says that all services are up.
func (c *console) ready() {
	if c != nil {
		c.control.ready()
	}
}

// close ends everything that join has started.
func (c *console) close() {
	if c == nil {
		return
	}
	if c.listener != nil {
		c.listener.Close()
	}
	if c.network != nil {
		c.network.Close()
	}
}
