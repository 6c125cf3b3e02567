package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attack is one way for a client to make a service use memory.
type attack struct {
	name string
	run  func(*attacker, context.Context) error
}

// attacks have the size that killed a service with 128 MiB before it had bounds.
var attacks = []attack{
	{"100 streams that are never read", (*attacker).silentStreams},
	{"50 full reads of the stream", (*attacker).fullReads},
	{"50 lists in one message that are never read", (*attacker).silentAnswers},
	{"40 connections with 8 MB of metadata", (*attacker).largeMetadata},
	{"40 pages of large commands, read and not read", (*attacker).largePages},
	{"400 lists that are never read", (*attacker).silentLists},
	{"256 half-sent bodies", (*attacker).halfBodies},
	{"256 bodies of one byte", (*attacker).firstBytes},
	{"500 connections with headers of 1 MB", (*attacker).largeHeaders},
	{"4 messages of 16 MiB", (*attacker).largeMessages},
}

// memory gives each service as much memory as its pod has, and runs the attacks
// under load, one after the other.
func memory(r *run) {
	if runtime.GOOS != "linux" {
		must(fmt.Errorf("%w: a limit for the memory of a process needs Linux", errSkipped))
	}
	platforms, commands := r.pair()
	var limits []*memoryLimit
	for _, s := range r.all() {
		limit := get(newMemoryLimit(r, s))
		defer limit.close()
		limits = append(limits, limit)
	}
	r.tell("Limit", "%s", limits[0])
	r.begin(loadConfig{clients: 4, rate: 20})
	a := &attacker{run: r, platforms: platforms, commands: commands}
	a.fill()
	r.lasts(5 * time.Second)
	r.phase(fault)
	watch := watchAnswers(r.ctx, r)
	defer watch.stop()
	for _, attack := range attacks {
		r.progress.say("%s", attack.name)
		err := attack.run(a, r.ctx)
		if err == nil {
			_ = r.wait(r.ctx, r.times(10*time.Second)) // survived reports a service that ends
		}
		a.release()
		a.survived(attack.name, err)
	}
	watch.stop()
	r.phase(after)
	r.expectRecovery("platforms to be accepted and to arrive within %s", r.flowing)
	r.finish()
	watch.expect(r)
	for _, limit := range limits {
		limit.expect(r)
	}
	r.expectComplete()
}

// attacker holds the connections that an attack opened.
type attacker struct {
	*run
	platforms, commands *service

	mu   sync.Mutex
	open []io.Closer
}

// keep leaves c open until the attack is over.
func (a *attacker) keep(c io.Closer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = append(a.open, c)
}

// release closes what the attack has opened.
func (a *attacker) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.open {
		c.Close()
	}
	a.open = nil
}

// survived records whether every service has survived an attack, and restarts those
// that have not, so that the next attack can be judged too.
func (a *attacker) survived(attack string, failed error) {
	must(a.ctx.Err())
	dead := a.alive()
	switch {
	case dead != nil:
		a.expect(attack+": no service to end", false, "%s", dead)
	case failed != nil:
		a.expect(attack+": all to go through", false, "%s", failed)
	default:
		a.expect(attack+": no service to end", true, "none did")
	}
	for _, s := range a.all() {
		select {
		case <-s.process.Done():
			a.restart(s)
		default:
		}
	}
}

const (
	largePlatforms = 4_000 // of 6,000 bytes
	largeCommands  = 1_000 // of 40,000 bytes
	largeOwner     = 2_000_000_000
)

// fill stores platforms and commands with the most text that is accepted.
func (a *attacker) fill() {
	wide := strings.Repeat("😀", 480)
	platforms := get(openSQLite(a.platformsFile()))
	defer platforms.Close()
	a.exec(platforms, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO platforms (name, publisher, cost) SELECT 'large ' || i || ?, ?, ? FROM n`, a.count(largePlatforms), wide, wide, wide)
	for i := range a.count(largePlatforms) {
		a.ignore[fmt.Sprintf("large %d%s", i+1, wide)] = true
	}
	commands := get(openSQLite(a.commandsFile()))
	defer commands.Close()
	a.ignore["large"] = true
	a.exec(commands, `INSERT INTO platforms (external_id, name) VALUES (?, 'large')`, largeOwner)
	a.exec(commands, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO commands (how_to, command_line, platform_id) SELECT ?, ?, p.id FROM n, platforms p WHERE p.external_id = ?`,
		largeCommands, strings.Repeat("😀", 2000), strings.Repeat("😀", 8000), largeOwner)
}

// dial connects to host:port, for as long as the attack lasts.
func (a *attacker) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	a.keep(conn)
	return conn, conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
}

// h2 is an HTTP/2 client that reads nothing.
type h2 struct {
	frames  *http2.Framer
	streams uint32
}

func (a *attacker) h2(ctx context.Context, address string) (*h2, error) {
	conn, err := a.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	c := &h2{frames: http2.NewFramer(conn, conn)}
	return c, c.frames.WriteSettings()
}

// call begins a call without arguments, or with the most platforms a page.
func (c *h2) call(method string, metadata ...hpack.HeaderField) error {
	id := 2*c.streams + 1
	c.streams++
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/GrpcPlatform/" + method},
		{Name: ":authority", Value: "drill"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, metadata...) {
		if err := encoder.WriteField(field); err != nil {
			return err
		}
	}
	const frame = 16 << 10
	err := c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Next(frame), EndHeaders: block.Len() == 0})
	for err == nil && block.Len() > 0 {
		part := block.Next(frame)
		err = c.frames.WriteContinuation(id, block.Len() == 0, part)
	}
	if err != nil {
		return err
	}
	return c.frames.WriteData(id, true, request(method))
}

// request is a gRPC message.
func request(method string) []byte {
	var fields []byte
	if method == "StreamPlatforms" {
		fields = binary.AppendUvarint([]byte{2 << 3}, 1<<31-1) // pageSize
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(fields))), fields...)
}

// silentStreams begins streams on a few connections.
func (a *attacker) silentStreams(ctx context.Context) error {
	for range 10 {
		client, err := a.h2(ctx, a.platforms.grpc)
		for range 10 {
			if err == nil {
				err = client.call("StreamPlatforms")
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// silentAnswers calls for all platforms in one message.
func (a *attacker) silentAnswers(ctx context.Context) error {
	for range 10 {
		client, err := a.h2(ctx, a.platforms.grpc)
		for range 5 {
			if err == nil {
				err = client.call("GetAllPlatforms")
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// largeMetadata sends more metadata than a server needs to read. A server that closes
// the connection is right.
func (a *attacker) largeMetadata(ctx context.Context) error {
	large := hpack.HeaderField{Name: "large", Value: strings.Repeat("x", 8<<20)}
	var clients sync.WaitGroup
	for range 40 {
		clients.Go(func() {
			if client, err := a.h2(ctx, a.platforms.grpc); err == nil {
				_ = client.call("StreamPlatforms", large)
			}
		})
	}
	clients.Wait()
	return nil
}

// fullReads reads the whole stream on fifty connections. Each must receive every
// platform and OK, or be refused; at least one must be served.
func (a *attacker) fullReads(ctx context.Context) error {
	// The streams of the attack before end some time after their connections.
	if _, err := a.within(startTimeout, func(ctx context.Context) error {
		_, status, err := fullRead(ctx, a.platforms.grpc)
		if err == nil && status != "0" {
			err = fmt.Errorf("grpc-status %s", status)
		}
		return err
	}); err != nil {
		return err
	}
	var clients sync.WaitGroup
	var mu sync.Mutex
	served := 0
	var failures []error
	for range 50 {
		clients.Go(func() {
			size, status, err := fullRead(ctx, a.platforms.grpc)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				failures = append(failures, err)
			case status == "0" && size > a.count(largePlatforms)*2*480*4:
				served++
			case status != "8": // ResourceExhausted
				failures = append(failures, fmt.Errorf("grpc-status %s after %d bytes", status, size))
			}
		})
	}
	clients.Wait()
	a.tell("Full reads", "%d of 50 served, %d refused", served, 50-served-len(failures))
	if served == 0 {
		failures = append(failures, errors.New("none was served"))
	}
	return errors.Join(failures...)
}

func fullRead(ctx context.Context, address string) (size int, status string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}}
	defer transport.CloseIdleConnections()
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/GrpcPlatform/StreamPlatforms", bytes.NewReader(request("StreamPlatforms")))
	if err != nil {
		return 0, "", err
	}
	call.Header.Set("Content-Type", "application/grpc")
	call.Header.Set("TE", "trailers")
	response, err := transport.RoundTrip(call)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	status = response.Trailer.Get("Grpc-Status")
	if status == "" {
		status = response.Header.Get("Grpc-Status") // the response had no body
	}
	return int(n), status, err
}

// largePages asks for pages of large commands. Four clients read them; the others do
// not.
func (a *attacker) largePages(ctx context.Context) error {
	path := fmt.Sprintf("/api/c/platforms/%d/commands?limit=1000", largeOwner)
	for range 36 {
		if err := a.send(ctx, a.commands, a.head("GET", path)+"\r\n"); err != nil {
			return err
		}
	}
	var readers sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		readers.Go(func() {
			errs[i] = a.client.get(ctx, a.commands.url+path, func(body io.Reader) error {
				n, err := io.Copy(io.Discard, body)
				if err == nil && n < largeCommands*40_000 {
					err = fmt.Errorf("a page of %d bytes", n)
				}
				return err
			})
		})
	}
	readers.Wait()
	return errors.Join(errs...)
}

// silentLists asks for large lists.
func (a *attacker) silentLists(ctx context.Context) error {
	for s, path := range a.posts() {
		if err := a.sendAll(ctx, 400, s, a.head("GET", path)+"\r\n"); err != nil {
			return err
		}
	}
	return nil
}

// head is the beginning of a request.
func (a *attacker) head(method, path string) string {
	text := method + " " + path + " HTTP/1.1\r\nHost: drill\r\n"
	if value := a.options.bearer.header(); value != "" {
		text += "Authorization: " + value + "\r\n"
	}
	return text
}

// send opens a connection and sends text, and nothing more.
func (a *attacker) send(ctx context.Context, s *service, text string) error {
	conn, err := a.dial(ctx, s.address())
	if err != nil {
		return err
	}
	_, _ = io.WriteString(conn, text) // a service may close the connection meanwhile
	return nil
}

// sendAll sends text on count connections at once.
func (a *attacker) sendAll(ctx context.Context, count int, s *service, text string) error {
	var clients sync.WaitGroup
	for range count {
		clients.Go(func() { _ = a.send(ctx, s, text) })
	}
	clients.Wait()
	return nil
}

// posts are the routes that accept a body.
func (a *attacker) posts() map[*service]string {
	return map[*service]string{a.platforms: platformsPath, a.commands: fmt.Sprintf("/api/c/platforms/%d/commands", largeOwner)}
}

// halfBodies sends almost all of a body of 1 MiB.
func (a *attacker) halfBodies(ctx context.Context) error {
	for s, path := range a.posts() {
		text := fmt.Sprintf("%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", a.head("POST", path), 1<<20, strings.Repeat(" ", 1<<20-1))
		if err := a.sendAll(ctx, 256, s, text); err != nil {
			return err
		}
	}
	return nil
}

// firstBytes sends the first byte of a body.
func (a *attacker) firstBytes(ctx context.Context) error {
	for s, path := range a.posts() {
		if err := a.sendAll(ctx, 256, s, a.head("POST", path)+"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
			return err
		}
	}
	return nil
}

// largeHeaders sends a header of almost 1 MB, without its end.
func (a *attacker) largeHeaders(ctx context.Context) error {
	for _, s := range a.all() {
		if err := a.sendAll(ctx, 500, s, a.head("GET", "/livez")+"Large: "+strings.Repeat("x", 1_000_000)); err != nil {
			return err
		}
	}
	return nil
}

// largeMessages sends, at once, messages of the largest size that RabbitMQ accepts by
// default. A broker with a lower limit may refuse them.
func (a *attacker) largeMessages(ctx context.Context) error {
	body := bytes.Repeat([]byte(" "), 16<<20)
	var senders sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		senders.Go(func() {
			err := publish(ctx, a.brokerURL, a.exchange(), [][]byte{body})
			var closed *amqp.Error // the broker refuses the size
			if !errors.As(err, &closed) && !errors.Is(err, errNotConfirmed) {
				errs[i] = err
			}
		})
	}
	senders.Wait()
	return errors.Join(errs...)
}

// answers counts the answers of the services under attack.
type answers struct {
	end   context.CancelFunc
	loop  sync.WaitGroup
	limit time.Duration // how long a probe or a small request may take during an attack

	mu                  sync.Mutex
	served, unavailable int
	others              []string
	slowest             time.Duration
}

// watchAnswers keeps asking both services for their readiness and for a short list.
func watchAnswers(ctx context.Context, r *run) *answers {
	ctx, end := context.WithCancel(ctx)
	w := &answers{end: end, limit: r.recovery()}
	for _, s := range r.all() {
		list := commandsPath
		if s.program == "platformservice" {
			list = platformsPath
		}
		for _, url := range []string{s.url + "/readyz", s.url + list + "?limit=1"} {
			w.loop.Go(func() {
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						w.ask(ctx, r.client, url)
					case <-ctx.Done():
						return
					}
				}
			})
		}
	}
	return w
}

func (w *answers) ask(ctx context.Context, c *client, url string) {
	asking, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	request, err := http.NewRequestWithContext(asking, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	begun := time.Now()
	response, err := c.http.Do(request)
	if err != nil && asking.Err() == nil {
		response, err = c.http.Do(request) // its connection was closed to make room for another: a GET is repeated
	}
	if err == nil {
		response.Body.Close()
	}
	if ctx.Err() != nil {
		return // the watch has ended
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slowest = max(w.slowest, time.Since(begun))
	switch {
	case err != nil:
		w.others = append(w.others, fmt.Sprint(url, ": ", err))
	case response.StatusCode == http.StatusOK:
		w.served++
	case response.StatusCode == http.StatusServiceUnavailable && (response.Header.Get("Retry-After") != "" || strings.HasSuffix(url, "/readyz")):
		w.unavailable++
	default:
		w.others = append(w.others, fmt.Sprint(url, ": ", response.Status))
	}
}

func (w *answers) stop() {
	w.end()
	w.loop.Wait()
}

func (w *answers) expect(r *run) {
	example := ""
	if len(w.others) > 0 {
		example = ", such as " + w.others[0]
	}
	r.expect(fmt.Sprintf("readiness and small requests to be answered within %s meanwhile, most of them with 200", w.limit),
		len(w.others) == 0 && w.served > w.unavailable, "%d with 200, %d with 503 and Retry-After, %d others%s", w.served, w.unavailable, len(w.others), example)
	r.tell("The slowest of these", "%s", rounded(w.slowest))
}

// memoryLimit gives a service the memory of its pod.
type memoryLimit struct {
	service *service
	bytes   int64
	goLimit string // the value of GOMEMLIMIT; empty: the manifests set none
	group   string // a control group; empty: none can be created here
}

var (
	podLimit = regexp.MustCompile(`(?s)limits:.*?memory: (\d+)Mi`)
	goLimit  = regexp.MustCompile(`GOMEMLIMIT\s+value: "?(\w+)`)
)

// newMemoryLimit limits the memory of s, which is started later, as its manifest does.
// Where no control group can be created, the drill judges its largest resident memory
// instead: Go reserves more addresses than it uses, so ulimit cannot bound it.
func newMemoryLimit(r *run, s *service) (*memoryLimit, error) {
	file := map[string]string{"platformservice": "platforms-depl.yml", "commandsservice": "commands-depl.yml"}[s.program]
	manifest, err := os.ReadFile(filepath.Join(r.stage.Dir, "k8s", "base", file))
	if err != nil {
		return nil, err
	}
	l := &memoryLimit{service: s}
	found := podLimit.FindSubmatch(manifest)
	if found == nil {
		return nil, fmt.Errorf("%s has no limit for the memory", file)
	}
	if _, err := fmt.Sscan(string(found[1]), &l.bytes); err != nil {
		return nil, err
	}
	l.bytes <<= 20
	if found := goLimit.FindSubmatch(manifest); found != nil {
		l.goLimit = string(found[1])
		s.env = append(s.env, "GOMEMLIMIT="+l.goLimit)
	}
	name := fmt.Sprintf("microcomm-drill-%d-%s", os.Getpid(), filepath.Base(r.dir)+"-"+s.name)
	for _, setting := range []string{"/sys/fs/cgroup/memory/%s/memory.limit_in_bytes", "/sys/fs/cgroup/%s/memory.max"} { // v1, v2
		setting = fmt.Sprintf(setting, name)
		group := filepath.Dir(setting)
		if os.Mkdir(group, 0o700) != nil {
			continue
		}
		if set(setting, fmt.Sprint(l.bytes)) != nil {
			_ = os.Remove(group)
			continue
		}
		_ = set(filepath.Join(group, "memory.swap.max"), "0") // v2, where there is swap
		l.group = group
		s.wrap = []string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group}
		break
	}
	return l, nil
}

// set writes into an existing file of a control group.
func set(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

// String says how the memory is limited.
func (l *memoryLimit) String() string {
	how := "no control group can be created here, so the largest resident memory is judged"
	if l.group != "" {
		how = "by a control group"
	}
	limit := "no GOMEMLIMIT"
	if l.goLimit != "" {
		limit = "GOMEMLIMIT=" + l.goLimit
	}
	return fmt.Sprintf("%d MiB, %s; %s", l.bytes>>20, how, limit)
}

// expect judges the largest resident memory, unless a control group enforces the limit.
func (l *memoryLimit) expect(r *run) {
	if l.group != "" {
		return
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.service.process.PID()))
	if err != nil {
		return // the process has ended, which was judged before
	}
	var peak int64
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, _ = fmt.Sscan(text, &peak)
		}
	}
	r.expect(fmt.Sprintf("%s to have less than %d MiB at any time", l.service.name, l.bytes>>20),
		peak > 0 && peak<<10 < l.bytes, "%d MiB", peak>>10)
}

// close removes the control group, once its process has ended.
func (l *memoryLimit) close() {
	if l.group == "" {
		return
	}
	if l.service.process != nil {
		l.service.kill()
	}
	_ = os.Remove(l.group)
}
