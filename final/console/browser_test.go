package console

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// TestPage shows the page in a headless Chromium: the one at CHROMIUM, else one of the
// PATH. go tool lab test final finds or installs one.
func TestPage(t *testing.T) {
	b := startBrowser(t)
	t.Run("a created platform travels, and is in the ledger by name", b.testStory)
	t.Run("an error is shown at its field", b.testProblem)
	t.Run("the same key again creates nothing", b.testIdempotencyKey)
	t.Run("a part that is down is shown down, and up again", b.testDown)
	t.Run("a fault is predicted first, and compared afterwards", b.testPrediction)
	t.Run("each part is broken and repaired, with a real broker", b.testFaults)
	t.Run("markup in a name is text", b.testMarkup)
	t.Run("the feed goes on after a restart", b.testRestart)
	t.Run("a token is asked for, and sent in a header alone", b.testToken)
	t.Run("a recording plays without a system", b.testRecording)
	t.Run("a platform is created with the keyboard alone", b.testKeyboard)
	t.Run("360 pixels need no sideways scrolling", b.testNarrow)
	t.Run("after Create the map is in sight, and back to live an unused name is suggested", b.testBack)
	t.Run("axe finds nothing serious", b.testAxe)
	t.Run("a thousand hops a second freeze nothing", b.testLoad)
}

// browser is one Chromium for all tests; each has a tab of its own.
type browser struct {
	ctx       context.Context
	microcomm string // the program, built
}

func startBrowser(t *testing.T) *browser {
	path := os.Getenv("CHROMIUM")
	for _, name := range []string{"chromium", "google-chrome-stable", "google-chrome", "headless-shell", "chromium-browser"} {
		if found, err := exec.LookPath(name); path == "" && err == nil {
			path = found
		}
	}
	if path == "" {
		t.Skip("no Chromium: CHROMIUM is not set, and none is in the PATH")
	}
	// No folder of the test's own for its data: Chromium's children may write there after its
	// end, and chromedp knows how to remove one of its own then.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("headless", "new"), chromedp.WSURLReadTimeout(3*time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to run as root with it
	}
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx), "start Chromium")
	microcomm := filepath.Join(t.TempDir(), "microcomm")
	output, err := exec.Command("go", "build", "-buildvcs=false", "-o", microcomm, "../cmd/microcomm").CombinedOutput()
	require.NoError(t, err, "%s", output)
	return &browser{ctx, microcomm}
}

// tab is a page of the browser. Its methods fail the test.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// open opens url, and waits until the page is live.
func (b *browser) open(t *testing.T, url string, width, height int64) *tab {
	p := b.openPage(t, url, width, height)
	p.shows(".mc-status", "Live")
	p.shows("#strip", "New here?") // it has moved everything down: before, a click would miss
	return p
}

// openPage opens url in a tab of this width and height. The test fails when anything in
// the page throws, is reported as an error, or violates the content security policy.
func (b *browser) openPage(t *testing.T, url string, width, height int64) *tab {
	ctx, cancel := chromedp.NewContext(b.ctx)
	messages := chromedp.Console(ctx)
	var reading sync.WaitGroup
	var faults []string
	reading.Go(func() {
		for m, err := range messages {
			if err == nil && (m.IsException() || m.Type == "error" && m.Source != "network" || strings.Contains(m.Text, "Error: <") || m.Source == "security" || strings.Contains(m.Text, "Content Security Policy")) {
				faults = append(faults, m.String())
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		reading.Wait()
		assert.Empty(t, faults, "the page threw, reported an error, or violated its policy")
	})
	limited, cancelLimited := context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(cancelLimited)
	p := &tab{t, limited}
	p.run("open "+url, chromedp.EmulateViewport(width, height), chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS("main .mc-map")))
	return p
}

func (p *tab) run(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Do(p.ctx, actions...), what)
}

// eval is the value of an expression of the page.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(p.t, err, expression)
	return value
}

// text is what an element and those in it show.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf(`[...document.querySelectorAll(%q)].map((e) => e.textContent).join(' ')`, selector))
}

// shows waits until an element shows a text.
func (p *tab) shows(selector, text string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s shows %q", selector, text), func() bool { return strings.Contains(p.text(selector), text) })
}

// holds waits until an expression of the page is true.
func (p *tab) holds(what, expression string) {
	p.t.Helper()
	eventually(p.t, what, func() bool { return eval[bool](p, "Boolean("+expression+")") })
}

// click clicks an element with the mouse.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.hit(selector, fmt.Sprintf("document.querySelector(%q)", selector), chromedp.Click(chromedp.CSS(selector)))
}

// press clicks the button with this text.
func (p *tab) press(text string) {
	p.t.Helper()
	p.hit(text, fmt.Sprintf("[...document.querySelectorAll('button')].find((e) => e.textContent === %q)", text), chromedp.Click(chromedp.Search(fmt.Sprintf("//button[text()=%q]", text))))
}

// hit repeats a click until it has hit the element. The page may have moved between the look
// for its place and the click, which reaches nothing else, then.
func (p *tab) hit(what, element string, click chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	eventually(p.t, "a click on "+what, func() bool {
		eval[chromedp.Void](p, fmt.Sprintf(`(() => {
			const element = %s, guard = new AbortController();
			window.clicked = () => { guard.abort(); return false };
			for (const type of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click']) addEventListener(type, (event) => {
				if (!event.isTrusted) return;
				if (!element?.contains(event.target)) { event.preventDefault(); event.stopImmediatePropagation() }
				else if (type === 'click') window.clicked = () => { guard.abort(); return true };
			}, { capture: true, signal: guard.signal });
		})()`, element))
		p.run("click "+what, click)
		return eval[bool](p, `window.clicked()`)
	})
}

// fill replaces what is in a field.
func (p *tab) fill(selector, text string) {
	p.t.Helper()
	p.run("fill "+selector, chromedp.SetValue(chromedp.CSS(selector), text))
}

const (
	createButton = ".mc-doing button[type=submit]"
	journeyRows  = ".mc-journey"
)

// freeAddr returns an address without a listener. Its port lies below those that the system
// gives to listeners and to connections, which could take it soon.
func freeAddr(t *testing.T) string {
	for range 1000 {
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000))); err == nil {
			defer listener.Close()
			return listener.Addr().String()
		}
	}
	require.FailNow(t, "no free port")
	return ""
}

// startMicrocomm starts the whole system in one process, and returns its URL once the
// console has seen the three platforms of the beginning in both services.
func (b *browser) startMicrocomm(t *testing.T) string {
	addr := freeAddr(t)
	process := exec.Command(b.microcomm)
	process.Env = append(os.Environ(), "GATEWAY_ADDR="+addr, "DATABASE_URL=sqlite::memory:")
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		process.Process.Kill()
		process.Wait()
	})
	seeded := regexp.MustCompile(`"list/(platforms|commands)",.*"total":3}`)
	eventually(t, "both services have the seeds", func() bool {
		response, err := http.Get("http://" + addr + "/feed?format=ndjson")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		feed, err := io.ReadAll(response.Body)
		return err == nil && len(seeded.FindAll(feed, -1)) == 2
	})
	return "http://" + addr
}

func (b *browser) testStory(t *testing.T) {
	p := b.open(t, b.startMicrocomm(t), 1280, 900)
	p.fill("[name=name]", "Docker")
	p.click(createButton)
	p.shows(".mc-doing .mc-answer", "Docker has id 4")
	p.shows(journeyRows, "Docker #4")
	p.holds("all seven stations are passed", `[...document.querySelectorAll('.mc-journey')].find((e) => e.textContent.includes('Docker #4'))?.querySelectorAll('.mc-station.mc-passed').length === 7`)
	p.shows(".mc-story", "Docker was accepted in")
	p.shows(".mc-column.mc-k-stored", "Docker")
	p.click(journeyRows + " .mc-station")
	p.shows(".mc-dialog", "final/platformservice/sqlite.go")
	p.click(".mc-dialog button")
	p.holds("the dialog is closed", `!document.querySelector('.mc-dialog')`)

	p.press("Create 50")
	p.shows(".mc-doing .mc-answer", "50 of 50 created")
	p.shows(".mc-term.mc-k-way b", "0")
	eventually(t, "all are stored", func() bool { return p.text(".mc-equation .mc-term:first-child b") == p.text(".mc-k-stored b") })
}

func (b *browser) testProblem(t *testing.T) {
	p := b.open(t, b.startMicrocomm(t), 1280, 900)
	p.fill("[name=name]", " ")
	eval[chromedp.Void](p, `(() => { window.told = []; const story = document.querySelector('.mc-story');
		new MutationObserver(() => window.told.push(story.className + ': ' + story.textContent)).observe(story, { attributes: true, childList: true, subtree: true, characterData: true }) })()`)
	p.click(createButton)
	p.holds("the field has the error, and the focus", `document.querySelector('[name=name]').getAttribute('aria-invalid') === 'true'
		&& document.activeElement.name === 'name' && document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent !== ''`)
	p.shows(".mc-doing .mc-answer", "400")
	p.holds("it was the headline, which it is for a moment", `window.told.includes('mc-story mc-bad: Refused: 400, nothing was stored.')`)
	p.shows(journeyRows, "a refused request")
	p.holds("its journey ended with PlatformService", `document.querySelector('.mc-journey .mc-station.mc-failed').getAttribute('aria-label').startsWith('a refused request, accepted: refused: 400')`)
}

func (b *browser) testIdempotencyKey(t *testing.T) {
	p := b.open(t, b.startMicrocomm(t), 1280, 900)
	p.click(createButton)
	p.shows(".mc-doing .mc-answer", "has id 4")
	p.press("Repeat it, same key")
	p.shows(".mc-doing .mc-answer", "the first answer again: id 4")
	p.shows(".mc-journey .mc-chip.mc-repeated", "repeated")
	p.holds("nothing failed", `!document.querySelector('.mc-journey .mc-failed')`)
	p.click(".mc-doing summary")
	p.press("List")
	p.shows(".mc-lists", "PlatformService has 4 entries")
}

// scene is a console of this process, whose lines the test writes.
type scene struct {
	*service
	url  string
	stop func()
}

// startScene starts one at addr, with a stand-in for lab's control.
func startScene(t *testing.T, addr string, faults ...fault) *scene {
	s, err := build(Config{Stage: "final"}, Parts{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	run := s.describe()
	run.Faults = faults
	s.feed.begin(run)
	s.health.Set(web.Ready)
	mux := http.NewServeMux()
	mux.Handle("/", s.handler())
	mux.HandleFunc("POST /control/faults", func(w http.ResponseWriter, r *http.Request) {
		var order faultContent
		if r.Header.Get("X-Microcomm-Control") != "1" || json.NewDecoder(r.Body).Decode(&order) != nil {
			http.Error(w, "not an order", http.StatusBadRequest)
			return
		}
		order.State = "begun"
		s.feed.add(time.Now(), "fault", "part/"+order.Part, order)
		s.feed.add(time.Now(), "part", "part/"+order.Part, partContent{State: "down"})
		w.WriteHeader(http.StatusAccepted)
	})
	listener, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: testkit.Patience}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	stop := sync.OnceFunc(func() {
		close(s.stopping)
		server.Close()
		serving.Wait()
	})
	t.Cleanup(stop)
	return &scene{s, "http://" + listener.Addr().String(), stop}
}

type fault struct {
	Action string `json:"action"`
	Part   string `json:"part"`
	Title  string `json:"title"`
}

type faultContent struct {
	Action    string `json:"action"`
	Part      string `json:"part"`
	State     string `json:"state"`
	Predicted int    `json:"predicted"`
}

// accepted adds the first hop of a platform, and stored all others.
func (w *scene) accepted(id int32, name string) {
	now := time.Now()
	w.feed.add(now, "hop", fmt.Sprintf("platform/%d", id), hopContent{Hop: "accepted", ID: id, Name: name, MS: 1.2, From: "span", Message: fmt.Sprint("m", id)})
}

func (w *scene) stored(id int32, name string) {
	for _, hop := range []string{"outbox", "relay", "confirmed", "delivered", "stored", "acknowledged"} {
		w.feed.add(time.Now(), "hop", fmt.Sprintf("platform/%d", id), hopContent{Hop: hop, ID: id, Name: name, MS: 0.4, From: "span", Message: fmt.Sprint("m", id)})
	}
}

func (w *scene) part(id, state string) {
	w.feed.add(time.Now(), "part", "part/"+id, partContent{State: state})
}

func (b *browser) testDown(t *testing.T) {
	w := startScene(t, "127.0.0.1:0")
	p := b.open(t, w.url, 1280, 900)
	w.part("broker", "up")
	w.part("broker", "down")
	p.shows(".mc-n-broker.mc-is-down .mc-badge", "down")
	p.shows(".mc-story", "is down. Create a platform now")
	w.accepted(4, "Docker")
	p.shows(".mc-story", "Docker waits in the outbox")
	p.shows(".mc-n-outbox.mc-waiting", "1")
	p.shows(".mc-column.mc-k-way", "Docker")
	p.shows(".mc-journey .mc-why", "the broker is down")
	w.part("broker", "up")
	w.stored(4, "Docker")
	p.holds("nothing is down", `!document.querySelector('.mc-is-down')`)
	p.shows(".mc-column.mc-k-stored", "Docker")
	p.holds("nothing waits", `!document.querySelector('.mc-n-outbox.mc-waiting')`)
	w.part("commandsservice", "paused")
	p.shows(".mc-n-commandsservice.mc-is-paused .mc-badge", "paused")
}

func (b *browser) testPrediction(t *testing.T) {
	w := startScene(t, "127.0.0.1:0", fault{"kill", "broker", "Kill the broker"}, fault{"start", "broker", "Start the broker"})
	p := b.open(t, w.url, 1280, 900)
	p.shows(".mc-faults", "RabbitMQ")
	p.click(".mc-faults .mc-break")
	p.shows(".mc-question", "how many of them will go missing?")
	p.run("predict", chromedp.SendKeys(chromedp.CSS("#mc-prediction"), "2"+kb.Enter))
	p.shows(".mc-n-broker.mc-is-down .mc-badge", "down")
	p.shows(".mc-bets", "you predicted 2 missing")
	w.accepted(4, "Docker")
	w.part("broker", "up")
	w.stored(4, "Docker")
	w.feed.add(time.Now(), "fault", "part/broker", map[string]any{"action": "kill", "state": "ended", "missing": 0})
	p.shows(".mc-bets", "you predicted 2 missing; of 1 platform created since, 0 are missing, not as you predicted")
}

func (b *browser) testMarkup(t *testing.T) {
	const markup = `<img src=x onerror="document.title='pwned'"><script>document.title='pwned'</script>`
	w := startScene(t, "127.0.0.1:0", fault{markup, markup, markup}, fault{"kill", "relay", markup})
	p := b.open(t, w.url, 1280, 900)
	w.accepted(4, markup)
	w.feed.add(time.Now(), "hop", "platform/4", hopContent{Hop: "dead_lettered", ID: 4, Reason: markup})
	w.feed.add(time.Now(), "note", "note", map[string]string{"text": markup})
	w.feed.add(time.Now(), "part", "part/relay", partContent{State: "down", Detail: markup, Replica: markup})
	w.feed.add(time.Now(), "queue", "queue/"+markup, queueContent{Depth: 3, Role: "work"})
	w.accepted(5, markup)
	for _, place := range []string{".mc-story", ".mc-note", ".mc-journey", ".mc-ledger", ".mc-branch"} {
		p.shows(place, "<img src=x")
	}
	p.holds("no element was made of it", `document.querySelectorAll('main img, main script').length === 0 && !document.title.includes('pwned')`)
	for _, field := range []string{"name", "publisher", "cost", "howTo", "commandLine", "id"} {
		p.fill(fmt.Sprintf("[name=%s]", field), markup)
	}
	p.click(createButton)
	p.holds("no service answers here, and that is said", `document.querySelector('.mc-doing .mc-answer.mc-bad')?.textContent`)
}

func (b *browser) testRestart(t *testing.T) {
	first := startScene(t, freeAddr(t))
	p := b.open(t, first.url, 1280, 900)
	first.accepted(4, "before")
	p.shows(journeyRows, "before")
	first.stop()
	p.shows(".mc-status", "doesn’t answer")
	second := startScene(t, strings.TrimPrefix(first.url, "http://"))
	second.accepted(5, "after")
	p.shows(".mc-status", "Live")
	p.shows(journeyRows, "after")
	p.holds("what the console has forgotten is not shown", `!document.querySelector('.mc-journeys').textContent.includes('before')`)
}

func (b *browser) testToken(t *testing.T) {
	scene := startScene(t, "127.0.0.1:0")
	target, err := url.Parse(scene.url)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NotContains(t, r.URL.String(), "good")
		if r.URL.Path == "/feed" && r.Header.Get("Authorization") != "Bearer good" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(guarded.Close)
	t.Cleanup(scene.stop)
	p := b.openPage(t, guarded.URL, 1280, 900)
	p.shows(".mc-status", "An access token is needed")
	scene.accepted(4, "Docker")
	p.run("token", chromedp.SendKeys(chromedp.CSS("#mc-token"), "good"+kb.Enter))
	p.shows(".mc-status", "Live")
	p.shows(journeyRows, "Docker")
	p.click("#download")
	p.holds("the recording was fetched", `performance.getEntriesByName(location.origin + '/feed?format=ndjson').some((e) => e.responseStatus === 200)`)
	p.holds("the token is kept in no storage", `!JSON.stringify(localStorage).includes('good') && !JSON.stringify(sessionStorage).includes('good')`)
}

func (b *browser) testRecording(t *testing.T) {
	// Any server of the directory will do: here is no console, no feed and no service.
	server := httptest.NewServer(http.FileServer(http.Dir("page")))
	t.Cleanup(server.Close)
	p := b.openPage(t, server.URL+"/?play=console/broker-down.ndjson&at=0", 1280, 900)
	server.Close()
	p.shows(".mc-status", "Recording: broker-down.ndjson")
	for range 200 { // to the first platform that waits
		if strings.Contains(p.text(".mc-story"), "in the outbox") {
			break
		}
		p.click("[aria-label='One step on']")
	}
	p.shows(".mc-story", "in the outbox")
	p.shows(".mc-n-broker.mc-is-down .mc-badge", "down")
	p.run("to the end", chromedp.Focus(chromedp.CSS("[aria-label=Position]")), chromedp.KeyEvent(kb.End))
	p.shows(".mc-k-way b", "0")
	p.shows(".mc-k-missing b", "0")
	speed := func(speed string) {
		eval[chromedp.Void](p, fmt.Sprintf(`(() => { const speeds = document.querySelector('[aria-label=Speed]'); speeds.value = %q; speeds.dispatchEvent(new Event('change')) })()`, speed))
	}
	speed("0.01") // so that it still plays when the test looks
	p.click("[aria-label=Play]")
	p.holds("it plays", `microcommConsole.player.playing`)
	speed("20")
	p.holds("it has come to its end", `!microcommConsole.player.playing && microcommConsole.player.clock === microcommConsole.player.length`)
}

func (b *browser) testKeyboard(t *testing.T) {
	p := b.open(t, b.startMicrocomm(t), 1280, 900)
	found := false
	for range 80 {
		p.run("tab", chromedp.KeyEvent(kb.Tab))
		if found = eval[bool](p, `document.activeElement.name === 'name'`); found {
			break
		}
	}
	require.True(t, found, "the field is reached with the tab key")
	p.run("type", chromedp.KeyEvent("Keyboard"), chromedp.KeyEvent(kb.Enter))
	p.shows(journeyRows, "Keyboard")
	p.holds("a screen reader hears of it", `document.querySelector('.mc-stage-panel [role=status]').textContent.includes('Keyboard')`)
}

func (b *browser) testNarrow(t *testing.T) {
	w := startScene(t, "127.0.0.1:0", fault{"kill", "broker", "Kill the broker"}, fault{"kill", "commandsservice", "Kill CommandsService"})
	p := b.open(t, w.url, 360, 800)
	w.accepted(4, strings.Repeat("a-name-without-any-blank", 8))
	w.part("broker", "down")
	p.shows(".mc-story", "is down")
	p.click(".mc-faults .mc-break:enabled") // not the broker's, which is down
	p.shows(".mc-question", "how many of them will go missing?")
	assert.LessOrEqual(t, eval[int](p, `document.documentElement.scrollWidth`), 360)
	p.holds("no text is cut off by the map", `(() => { const map = document.querySelector('.mc-map').getBoundingClientRect();
		return [...document.querySelectorAll('.mc-map text')].filter((e) => e.textContent).every((e) => { const r = e.getBoundingClientRect(); return r.left >= map.left - 1 && r.right <= map.right + 1 }) })()`)
}

func (b *browser) testBack(t *testing.T) {
	p := b.open(t, b.startMicrocomm(t), 360, 800)
	assert.Equal(t, "Docker", eval[string](p, `document.querySelector('[name=name]').value`))
	p.click(createButton)
	p.shows(journeyRows, "Docker #4")
	p.holds("the map begins at the top", `(() => { const { top } = document.querySelector('.mc-map').getBoundingClientRect(); return top >= 0 && top < 100 })()`)
	p.shows("#strip .mc-done", "Create a platform")
	eval[chromedp.Void](p, `microcommConsole.goLive()`)
	p.shows(journeyRows, "Docker #4")
	p.shows("#strip .mc-done", "Create a platform")
	p.holds("the next name is suggested", `document.querySelector('[name=name]').value === 'Redis'`)
}

func (b *browser) testAxe(t *testing.T) {
	file, err := os.Open("testdata/axe/axe.min.js.gz")
	require.NoError(t, err)
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	require.NoError(t, err)
	axe, err := io.ReadAll(unpacked)
	require.NoError(t, err)

	w := startScene(t, "127.0.0.1:0", fault{"kill", "broker", "Kill the broker"}, fault{"kill", "commandsservice", "Kill CommandsService"})
	w.part("broker", "down")
	w.accepted(4, "Docker")
	w.accepted(5, "Redis")
	w.stored(5, "Redis")
	for _, scheme := range []string{"light", "dark"} {
		p := b.open(t, w.url, 1280, 900)
		_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		require.NoError(t, err)
		p.shows(journeyRows, "Docker")
		p.click(".mc-faults .mc-break:enabled")
		p.shows(".mc-question", "how many of them will go missing?")
		eval[chromedp.Void](p, string(axe))
		found := eval[[]string](p, `axe.run().then((r) => r.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120) + ' ' + n.failureSummary).join('; ')))`)
		assert.Empty(t, found, scheme)
	}
}

func (b *browser) testLoad(t *testing.T) {
	length := 20 * time.Second
	if testing.Short() {
		length = 5 * time.Second
	}
	w := startScene(t, "127.0.0.1:0")
	p := b.open(t, w.url, 1280, 900)
	// The longest time in which the page could not have answered a click, and how often it drew lines.
	eval[chromedp.Void](p, `(() => { window.longest = 0; let last = performance.now(); setInterval(() => { const now = performance.now(); window.longest = Math.max(window.longest, now - last - 50); last = now }, 50);
		window.lines = window.drawn = 0; microcommConsole.player.subscribe(({ played }) => { if (played[0]?.length > 0) { window.lines += played[0].length; window.drawn++ } }) })()`)
	heap := func() float64 {
		_, err := chromedp.Call(p.ctx, heapprofiler.CollectGarbage, cdp.Empty{})
		require.NoError(t, err)
		usage, err := chromedp.Call(p.ctx, runtime.GetHeapUsage, cdp.Empty{})
		require.NoError(t, err)
		return usage.UsedSize / (1 << 20)
	}
	var id int32 = 3
	var starved time.Duration // the longest time in which this test could not run, either
	flood := func(length time.Duration) {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		sent := 0
		last := time.Now()
		for began := last; time.Since(began) < length; <-ticker.C {
			starved = max(starved, time.Since(last))
			for ; float64(sent) < time.Since(began).Seconds()*1000; sent += 7 { // hops a platform
				id++
				w.accepted(id, fmt.Sprint("platform ", id))
				w.stored(id, fmt.Sprint("platform ", id))
			}
			last = time.Now()
		}
	}
	seen := func() {
		_, last := w.feed.whole()
		p.holds("the page has seen all lines", fmt.Sprintf("microcommConsole.player.states[0].seq >= %d", last))
	}
	flood(length / 2)
	seen()
	middle := heap()
	eval[chromedp.Void](p, `(() => { window.longest = 0 })()`) // to collect the garbage took a while, too
	flood(length / 2)
	seen()
	p.shows(".mc-sampled", "left out")
	longest, lines, drawn, elements := eval[float64](p, `window.longest`), eval[int](p, `window.lines`), eval[int](p, `window.drawn`), eval[int](p, `document.querySelectorAll('*').length`)
	end := heap()
	t.Logf("heap %.1f MiB, then %.1f MiB; the page was busy for %.0f ms at most, the test kept from running for %s, with %d platforms; %d lines drawn in %d times, %d elements", middle, end, longest, starved, id-3, lines, drawn, elements)
	assert.Less(t, end, middle+20, "the memory grows")
	assert.Less(t, drawn, lines/20, "lines are drawn together")
	assert.Less(t, elements, 2000, "what is drawn grows")
	patience := 10*time.Second + 4*starved // a busy machine keeps the page from running, too, and not at the same moments
	assert.Less(t, longest, float64(patience.Milliseconds()), "the page froze, in milliseconds")
}
