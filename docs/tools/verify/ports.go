package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// portPool gives each caller ports that no other caller in this process gets. They lie
// below those that systems use for outgoing connections, and above those that lab and the
// tests choose from, so that nothing occupies one while its service does not listen.
type portPool struct {
	mutex sync.Mutex
	given map[string]bool
}

func (p *portPool) take() (string, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.given == nil {
		p.given = map[string]bool{}
	}
	for range 1000 {
		port := fmt.Sprint(30_000 + rand.N(2_700))
		listener, err := net.Listen("tcp", "localhost:"+port)
		if err != nil {
			continue
		}
		listener.Close()
		if !p.given[port] {
			p.given[port] = true
			return port, nil
		}
	}
	return "", fmt.Errorf("no port is free on localhost")
}

// ports moves a document out of the way of other programs: the ports of localhost to free
// ones, /tmp and the checkout to private folders.
type ports struct {
	pool  *portPool
	moved map[string]string // by the port that the document shows
	temp  string            // for /tmp
	dir   string            // for the checkout
}

// stagePorts are the ports that the stages, and lab broker, listen on unless a
// setting moves them.
var stagePorts = map[string]string{
	"PLATFORMS_HTTP_ADDR": "5000",
	"PLATFORMS_GRPC_ADDR": "5001",
	"COMMANDS_HTTP_ADDR":  "6000",
	"GATEWAY_ADDR":        "8080",
	"CONSOLE_HTTP_ADDR":   "7000",
	"ISSUER_ADDR":         "7010",
	"API_PAGE_ADDR":       "8081",

	"RABBITMQ_MANAGEMENT_ADDR": "15672",
}

// settings are environment variables that move the services of every stage.
// peers also lets services that are started by hand find each other, as lab run does.
func (p *ports) settings(peers bool) ([]string, error) {
	var env []string
	for name, port := range stagePorts {
		free, err := p.move(port)
		if err != nil {
			return nil, err
		}
		env = append(env, name+"=localhost:"+free)
	}
	if peers {
		env = append(env, "COMMANDS_SERVICE_URL=http://localhost:"+p.moved["6000"]+"/api/c/platforms",
			"PLATFORMS_GRPC_TARGET=localhost:"+p.moved["5001"])
	}
	slices.Sort(env)
	return env, nil
}

func (p *ports) move(port string) (string, error) {
	if free, known := p.moved[port]; known {
		return free, nil
	}
	free, err := p.pool.take()
	if err != nil {
		return "", err
	}
	if p.moved == nil {
		p.moved = map[string]string{}
	}
	p.moved[port] = free
	return free, nil
}

var (
	// localPort is a port of this machine, or one in a setting for a service to listen on.
	localPort = regexp.MustCompile(`(\blocalhost|\b127\.0\.0\.1|\[::1\]|_ADDR=):(\d{4,5})\b`)
	tempDir   = regexp.MustCompile(`(^|[\s"'=:(<>])/tmp\b`)
)

// elsewhere are the ports of programs that the documents do not start.
var elsewhere = []string{"1433"}

// commands returns the commands of a document as we run them.
func (p *ports) commands(text string) (string, error) {
	var failed error
	text = localPort.ReplaceAllStringFunc(text, func(found string) string {
		parts := localPort.FindStringSubmatch(found)
		if slices.Contains(elsewhere, parts[2]) {
			return found
		}
		free, err := p.move(parts[2])
		if err != nil {
			failed = err
		}
		return parts[1] + ":" + free
	})
	return tempDir.ReplaceAllString(text, "${1}"+p.temp), failed
}

// output returns the output of the commands as the document would show it.
func (p *ports) output(text string) string {
	for port, free := range p.moved {
		text = regexp.MustCompile(`:`+free+`\b`).ReplaceAllString(text, ":"+port)
	}
	text = strings.ReplaceAll(text, p.dir, "/home/you/microcomm")
	return strings.ReplaceAll(text, p.temp, "/tmp")
}
