package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

func doctorVerb() verb {
	var offline string
	v := verb{
		name:    "doctor",
		summary: "reports what this machine has, what is missing and how to get it",
		about: `Go, a C compiler and git are needed; a RabbitMQ is needed for stages 06 to final
(lab starts or installs one itself where it can); the rest is optional. The exit
status is 1 only when something needed is missing.`,
		run: func(ctx context.Context, l *lab, _ []string) error {
			if offline != "" {
				return doctorOffline(ctx, l, offline)
			}
			return doctor(ctx, l, usualPorts())
		},
	}
	v.flags.StringVar(&offline, "offline", "", "say whether this machine can work without a network, with what lab offline collected in `DIR`")
	return v
}

// usualPort is a port that a program of this repository listens on.
type usualPort struct {
	number  string
	use     string
	setting string // moves it; empty: lab chooses another one if it is in use
}

func usualPorts() []usualPort {
	return []usualPort{
		{"5000", "PlatformService", "PLATFORMS_HTTP_ADDR"},
		{"5001", "PlatformService's gRPC", "PLATFORMS_GRPC_ADDR"},
		{"6000", "CommandsService", "COMMANDS_HTTP_ADDR"},
		{"8080", "final's gateway", "GATEWAY_ADDR"},
		{"7000", "the console beside a stage", "CONSOLE_HTTP_ADDR"},
		{"5672", "a RabbitMQ; lab's own takes any free port", ""},
	}
}

// doctor examines this machine, part by part, and says what is missing.
func doctor(ctx context.Context, l *lab, ports []usualPort) error {
	d := examination{lab: l}
	d.needed(ctx)
	d.brokers(ctx)
	d.cluster(ctx)
	taken := d.ports(ctx, ports)
	switch {
	case d.missing > 0:
		fmt.Fprintf(l.out, "\nMissing: %d\n", d.missing)
		return errReported
	case len(taken) > 0:
		fmt.Fprintf(l.out, "\nEverything needed is installed, but these ports are taken: %s\n", strings.Join(taken, ", "))
	default:
		fmt.Fprintln(l.out, "\nEverything needed is installed.")
	}
	return nil
}

// examination prints what it finds on this machine.
type examination struct {
	*lab
	missing int // of what is needed
}

func (d *examination) say(state, what, detail string) {
	code := map[string]string{"ok": "32", "no": "31"}[state]
	fmt.Fprintf(d.out, "  %s  %-15s %s\n", colour(d.out, code, fmt.Sprintf("%-2s", state)), what, detail)
}

// need prints what was found or, with err, the advice.
func (d *examination) need(what string, err error, found, advice string) {
	if err == nil {
		d.say("ok", what, found)
		return
	}
	d.missing++
	d.say("no", what, advice)
}

func (d *examination) optional(what string, err error, found string) {
	if err == nil {
		d.say("ok", what, found)
	} else {
		d.say("-", what, err.Error()+"; "+howToGet(what))
	}
}

// needed examines what every stage needs.
func (d *examination) needed(ctx context.Context) {
	fmt.Fprintf(d.out, "Needed on this machine (%s/%s):\n", runtime.GOOS, runtime.GOARCH)
	version, err := firstLine(ctx, "go", "version")
	d.need("Go", err, version, howToGet("Go"))
	if err := needCompiler(ctx); err != nil {
		d.need("a C compiler", err, "", strings.TrimPrefix(err.Error(), "no C compiler: "))
	} else {
		cc, _ := firstLine(ctx, "go", "env", "CC")
		d.need("a C compiler", nil, cc+", for SQLite", "")
	}
	version, err = firstLine(ctx, "git", "--version")
	d.need("git", err, version, howToGet("git"))
	if err == nil {
		err := needClone(ctx, d.root)
		d.need("the checkout", err, d.root, fmt.Sprint(err))
	}
	version, err = firstLine(ctx, "curl", "--version")
	version, _, _ = strings.Cut(version, " (")
	d.optional("curl", err, version+", for the lessons' requests")
	first := d.stages[0].Dir
	if toCompile(ctx, first, "./...") != "" || toCompile(ctx, first, "-race", "-test", "./...") != "" {
		d.say("-", "SQLite", "not compiled yet: the first lab run, and the first lab check or test, take one to four minutes each")
	} else {
		d.say("ok", "SQLite", "is compiled, to run and to test")
	}
}

func (d *examination) brokers(ctx context.Context) {
	fmt.Fprintln(d.out, "\nFor stages 06 to final, one of these:")
	if server := rabbitmq.Find(); server != "" {
		d.say("ok", "RabbitMQ", server)
	} else {
		d.say("-", "RabbitMQ", howToGet("RabbitMQ"))
	}
	d.optional("Docker", rabbitmq.CheckDocker(ctx), "its daemon responds")
}

func (d *examination) cluster(ctx context.Context) {
	fmt.Fprintln(d.out, "\nOptional, for the cluster of stages 03 to final:")
	version, err := firstLine(ctx, "kubectl", "version", "--client")
	d.optional("kubectl", err, version)
}

// ports examines the usual ports, and returns those that are taken and have to be moved.
func (d *examination) ports(ctx context.Context, ports []usualPort) (taken []string) {
	fmt.Fprintln(d.out, "\nPorts:")
	for _, port := range ports {
		if err := portFree(ctx, net.JoinHostPort("localhost", port.number)); err == nil {
			d.say("ok", port.number, "free: "+port.use)
			continue
		}
		if port.setting != "" {
			taken = append(taken, fmt.Sprintf("%s (%s moves it)", port.number, port.setting))
		}
		by := takenBy(ctx, port.number)
		if port.number == "5672" {
			by += installedBroker()
		}
		if port.number == "5000" && runtime.GOOS == "darwin" {
			by += "; macOS's AirPlay Receiver takes it (System Settings, General, AirDrop & Handoff)"
		}
		d.say("-", port.number, "taken"+by+": "+port.use)
	}
	return taken
}

// needClone returns an error that says what to do if the checkout is not a git clone:
// lab asks git which files are the learner's.
func needClone(ctx context.Context, root string) error {
	_, err := repo.Git(ctx, root, "rev-parse", "--verify", "HEAD")
	switch {
	case err == nil || ctx.Err() != nil:
		return ctx.Err()
	case strings.Contains(err.Error(), "dubious ownership"):
		return fmt.Errorf("%[1]s belongs to another user, so git refuses it, and go build, too: git config --global --add safe.directory %[1]s", root)
	case strings.Contains(err.Error(), "not a git repository"):
		return fmt.Errorf("%s is not a git clone, and lab asks git which files are yours: git clone the repository", root)
	}
	return err
}

// installedBroker says how to stop a RabbitMQ that a package has installed as a service:
// it may be the one on the usual port. It returns "" where there is no such package.
func installedBroker() string {
	server := rabbitmq.Find()
	switch {
	case strings.HasPrefix(server, "/usr/lib/rabbitmq/"), strings.HasPrefix(server, "/usr/sbin/"):
		return "; if that is the RabbitMQ of this machine: sudo systemctl disable --now rabbitmq-server"
	case runtime.GOOS == "darwin" && server != "":
		return "; if that is Homebrew's RabbitMQ: brew services stop rabbitmq"
	}
	return ""
}

// firstLine returns the first line that a program prints.
func firstLine(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := process.Output(ctx, process.Command{Args: append([]string{program}, args...)})
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("not installed")
	}
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(out, "\n")
	return strings.TrimSpace(line), nil
}

// takenBy names the process that listens on port, where the system reports it.
func takenBy(ctx context.Context, port string) string {
	var line string
	var err error
	switch runtime.GOOS {
	case "linux":
		line, err = firstLine(ctx, "ss", "-Hltnp", "sport = :"+port)
		if _, users, found := strings.Cut(line, "users:(("); found {
			line = strings.TrimRight(strings.TrimSpace(users), ")")
		} else {
			line = ""
		}
	case "darwin":
		line, err = firstLine(ctx, "lsof", "-nP", "-iTCP:"+port, "-sTCP:LISTEN", "-Fc")
	}
	if err != nil || line == "" {
		return ""
	}
	return " by " + line
}

// howToGet says how to install a tool on this system.
func howToGet(what string) string {
	ways := map[string]map[string]string{
		"Go": {
			"": "see https://go.dev/doc/install",
		},
		"Docker": {
			"": "see https://docs.docker.com/get-started/get-docker/",
		},
		"kubectl": {
			"": "see https://kubernetes.io/docs/tasks/tools/",
		},
		"a C compiler": {
			"linux":   "sudo apt-get install gcc libc6-dev, or sudo dnf install gcc",
			"darwin":  "xcode-select --install",
			"windows": "winget install BrechtSanders.WinLibs.POSIX.UCRT, then open a new terminal",
		},
		"git": {
			"linux":   "sudo apt-get install git, or sudo dnf install git",
			"darwin":  "xcode-select --install",
			"windows": "winget install Git.Git",
		},
		"curl": {
			"":      "see https://curl.se/download.html",
			"linux": "sudo apt-get install curl, or sudo dnf install curl",
		},
		"RabbitMQ": {
			"linux":   "sudo apt-get install rabbitmq-server (lab does it itself as root or with password-less sudo), or Docker",
			"darwin":  "brew install rabbitmq, or Docker",
			"windows": "not usable by lab; install Docker, or set RABBITMQ_URL",
		},
	}
	if way := ways[what][runtime.GOOS]; way != "" {
		return way
	}
	if way := ways[what][""]; way != "" {
		return way
	}
	return "see its website"
}
