package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/docs/tools/internal/badnet"
	"microcomm/docs/tools/internal/freeport"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

// The lists of both services.
const (
	platformsPath = "/api/platforms"
	commandsPath  = "/api/c/platforms"
)

// How long a service may take to become ready, and to end.
const (
	startTimeout = time.Minute
	stopGrace    = 30 * time.Second // what a pod has
)

// built is a stage with its services compiled.
type built struct {
	repo.Stage
	bin string // the folder of its programs
}

// build compiles the services of s into a folder under dir.
func build(ctx context.Context, s repo.Stage, dir string, progress io.Writer) (built, error) {
	bin := filepath.Join(dir, s.Name)
	fmt.Fprintf(progress, "building %s\n", s.Name)
	err := process.Run(ctx, process.Command{
		Args:   []string{"go", "build", "-buildvcs=false", "-o", bin + string(filepath.Separator), "./cmd/platformservice", "./cmd/commandsservice"},
		Dir:    s.Dir,
		Env:    append(os.Environ(), "GOWORK=off"),
		Stdout: progress,
		Stderr: progress,
		Still:  func(d time.Duration) { fmt.Fprintf(progress, "building %s: %s\n", s.Name, d) },
	})
	if err != nil {
		return built{}, fmt.Errorf("build %s: %w", s.Name, err)
	}
	return built{s, bin}, nil
}

// system is the processes of a stage: services, and the broker if it needs one.
type system struct {
	stage  built
	dir    string // databases and logs
	client *client

	broker    *rabbitmq.Node // nil: the stage has none, or shares one
	brokerURL string         // empty: the stage has none
	suffix    string         // of the names on a shared broker
	delays    string         // of COMMANDS_RETRY_DELAYS
	access    []string       // settings for access control; nil: it is off

	platforms, commands []*service // the replicas of each service
	proxies             []*badnet.Proxy
	databases           []*sqlServerDatabase
	recorder            *recorder // nil: the drill is not recorded
	ports               []*freeport.Port
}

// startBroker starts a broker if the stage needs one, unless shared is the URL of a
// broker to use.
func (sys *system) startBroker(ctx context.Context, shared string, progress io.Writer) error {
	if !sys.stage.NeedsBroker() {
		return nil
	}
	if shared != "" {
		sys.brokerURL, sys.suffix = shared, fmt.Sprintf(".drill-%x", rand.Uint64())
		return nil
	}
	node, err := rabbitmq.StartNode(ctx, progress)
	if err != nil {
		return err
	}
	sys.broker, sys.brokerURL = node, node.URL()
	return nil
}

// exchange is the name of the exchange for events.
func (sys *system) exchange() string {
	if sys.stage.Name == "final" {
		return "microcomm.platforms" + sys.suffix
	}
	return "trigger"
}

// The queues of final's CommandsService.
func (sys *system) queue() string     { return "commands.platforms" + sys.suffix }
func (sys *system) deadQueue() string { return sys.queue() + ".dead" }

// service is one process of a service.
type service struct {
	name    string
	program string
	url     string   // http://host:port
	grpc    string   // host:port; empty for CommandsService
	env     []string // settings that differ from the defaults
	wrap    []string // a command that runs the program
	process *process.Process
	down    atomic.Bool // the drill has ended or suspended it

	recorder *recorder
}

// address is the host:port of the service's HTTP.
func (s *service) address() string { return strings.TrimPrefix(s.url, "http://") }

// addPlatforms adds a replica of PlatformService, which is started later. This and
// the next four are steps of a script.
func (sys *system) addPlatforms(env ...string) *service {
	s := &service{name: fmt.Sprintf("platformservice-%d", len(sys.platforms)+1), program: "platformservice", env: env,
		url: "http://" + sys.freeAddress(), grpc: sys.freeAddress(), recorder: sys.recorder}
	sys.platforms = append(sys.platforms, s)
	return s
}

// addCommands adds a replica of CommandsService, which is started later.
func (sys *system) addCommands(env ...string) *service {
	s := &service{name: fmt.Sprintf("commandsservice-%d", len(sys.commands)+1), program: "commandsservice", env: env,
		url: "http://" + sys.freeAddress(), recorder: sys.recorder}
	sys.commands = append(sys.commands, s)
	return s
}

// addProxy puts a proxy in front of target, host:port.
func (sys *system) addProxy(target string) *badnet.Proxy {
	p := get(badnet.New(target))
	sys.proxies = append(sys.proxies, p)
	return p
}

// addBrokerProxy puts a proxy in front of the broker and returns the URL that goes
// through it.
func (sys *system) addBrokerProxy() (*badnet.Proxy, string) {
	u := get(url.Parse(sys.brokerURL))
	p := sys.addProxy(u.Host)
	u.Host = p.Address()
	return p, u.String()
}

// freeAddress finds a loopback address without a listener. It stays the system's while
// its service is down.
func (sys *system) freeAddress() string {
	port := get(freeport.Take())
	sys.ports = append(sys.ports, port)
	return port.Address()
}

// all lists every service.
func (sys *system) all() []*service { return slices.Concat(sys.commands, sys.platforms) }

// start starts every service and waits until all are ready.
func (sys *system) start(ctx context.Context) error {
	for _, s := range sys.all() {
		if err := sys.launch(s); err != nil {
			return err
		}
	}
	for _, s := range sys.all() {
		if err := sys.ready(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// launch starts a service's process.
func (sys *system) launch(s *service) error {
	log, err := os.OpenFile(sys.log(s), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process, err = process.Start(process.Command{
		Args:   append(slices.Clone(s.wrap), filepath.Join(sys.stage.bin, s.program)),
		Dir:    sys.dir,
		Env:    sys.environment(s),
		Stdout: log,
		Stderr: log,
	})
	s.down.Store(err != nil)
	if err == nil {
		s.recorder.part(s.program, "starting")
	}
	return err
}

// environment is the whole environment of a service. It inherits no setting.
func (sys *system) environment(s *service) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TMP", "TEMP", "SYSTEMROOT", "GODEBUG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	env = append(env, "RABBITMQ_EXCHANGE="+sys.exchange())
	env = append(env, sys.access...)
	if sys.brokerURL != "" {
		env = append(env, "RABBITMQ_URL="+sys.brokerURL)
	}
	listen := s.address()
	if s.program == "platformservice" {
		// In stages 02 to 05 CommandsService receives a platform by the call. Later
		// stages have the event, and the call would hide its loss.
		commandsURL := ""
		if sys.brokerURL == "" {
			commandsURL = sys.commands[0].url + commandsPath
		}
		env = append(env,
			"PLATFORMS_HTTP_ADDR="+listen,
			"PLATFORMS_GRPC_ADDR="+s.grpc,
			"DATABASE_URL=sqlite:"+sys.platformsFile(),
			"COMMANDS_SERVICE_URL="+commandsURL)
	} else {
		env = append(env,
			"COMMANDS_HTTP_ADDR="+listen,
			"COMMANDS_DATABASE_URL=sqlite:"+sys.commandsFile(),
			"COMMANDS_QUEUE="+sys.queue(),
			"COMMANDS_RETRY_DELAYS="+sys.delays,
			"PLATFORMS_GRPC_TARGET="+sys.platforms[0].grpc)
	}
	return append(env, s.env...)
}

// The databases' files. Those of one service share one.
func (sys *system) platformsFile() string { return filepath.Join(sys.dir, "platforms.db") }
func (sys *system) commandsFile() string  { return filepath.Join(sys.dir, "commands.db") }

// log is the file with a service's output.
func (sys *system) log(s *service) string { return filepath.Join(sys.dir, s.name+".log") }

// ready waits until the service reports that it is ready.
func (sys *system) ready(ctx context.Context, s *service) error {
	path := "/readyz"
	switch {
	case sys.stage.Has("k8s"): // since then there are probes
	case s.program == "platformservice":
		path = platformsPath
	default:
		path = commandsPath
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		last := sys.client.responds(ctx, s.url+path)
		if last == nil {
			s.recorder.part(s.program, "up")
			return nil
		}
		select {
		case <-poll.C:
		case <-s.process.Done():
			return fmt.Errorf("%s did not start: %s", s.name, s.process.Ending())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %w", s.name, startTimeout, last)
		}
	}
}

// kill ends a service like kill -9.
func (s *service) kill() {
	s.down.Store(true)
	s.process.Kill()
	s.recorder.fault("kill", s.program, "down")
}

// suspend stops a service like Ctrl-Z: it answers nothing, and keeps its connections
// and its transactions.
func (s *service) suspend() error {
	s.down.Store(true)
	err := s.process.Suspend()
	s.recorder.fault("pause", s.program, "paused")
	return err
}

// resume lets a service that is suspended continue.
func (s *service) resume() error {
	defer s.down.Store(false)
	defer s.recorder.part(s.program, "up")
	return s.process.Resume()
}

// terminate asks a service to end with SIGTERM. It returns an error unless the service
// ends with exit status 0 within a pod's grace time.
func (s *service) terminate() error {
	s.down.Store(true)
	start := time.Now()
	s.process.Stop(stopGrace)
	s.recorder.part(s.program, "down")
	if took := time.Since(start); took >= stopGrace {
		return fmt.Errorf("%s did not end within %s of SIGTERM", s.name, stopGrace)
	}
	if err := s.process.Err(); err != nil {
		return fmt.Errorf("%s after SIGTERM: %w", s.name, err)
	}
	return nil
}

// alive returns an error if a service has ended that the drill did not end.
func (sys *system) alive() error {
	for _, s := range sys.all() {
		if s.process == nil || s.down.Load() {
			continue
		}
		select {
		case <-s.process.Done():
			return fmt.Errorf("%s ended unexpectedly: %s", s.name, s.process.Ending())
		default:
		}
	}
	return nil
}

// close ends every process of the system. The logs stay.
func (sys *system) close(progress io.Writer) {
	sys.recorder.stop()
	for _, s := range sys.all() {
		if s.process != nil {
			s.kill()
		}
	}
	for _, p := range sys.proxies {
		p.Close()
	}
	for _, p := range sys.ports {
		p.Free()
	}
	for _, s := range sys.databases {
		if err := s.close(); err != nil {
			fmt.Fprintln(progress, err)
		}
	}
	if sys.broker != nil {
		sys.broker.Stop()
	} else if sys.brokerURL != "" {
		if err := sys.leaveBroker(); err != nil {
			fmt.Fprintln(progress, "the queues and the exchange of the drill stay on the broker:", err)
		}
	}
}

// leaveBroker deletes what final declared on a shared broker.
func (sys *system) leaveBroker() error {
	return onChannel(context.Background(), sys.brokerURL, func(channel *amqp.Channel) error {
		var errs []error
		remove := func(queue string) {
			_, err := channel.QueueDelete(queue, false, false, false)
			errs = append(errs, err)
		}
		for _, s := range sys.commands {
			for _, setting := range sys.environment(s) {
				queue, ok := strings.CutPrefix(setting, "COMMANDS_QUEUE=")
				if !ok {
					continue
				}
				remove(queue)
				remove(queue + ".dead")
				for delay := range strings.SplitSeq(sys.delays, ",") {
					remove(queue + ".retry." + delay)
				}
			}
		}
		errs = append(errs, channel.ExchangeDelete(sys.exchange(), false, false))
		return errors.Join(errs...)
	})
}
