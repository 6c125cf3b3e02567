package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"microcomm/docs/tools/internal/chromium/chromiumtest"
)

// TestFaultsOnThePageOfFinal breaks and repairs each part with the buttons of the
// console's page. Nothing goes missing, as was predicted.
func TestFaultsOnThePageOfFinal(t *testing.T) {
	p := openConsole(t, runWatched(t, "final", "--broker"))
	p.creates("Docker")
	p.shows(".mc-column.mc-k-stored", "Docker")

	for _, fault := range []struct{ title, part, state, waits, repair, name string }{
		{"Kill CommandsService", "commandsservice", "down", "queue", "Start CommandsService", "Redis"},
		{"Kill the broker", "broker", "down", "outbox", "Start the broker", "Grafana"},
		{"Pause CommandsService", "commandsservice", "paused", "queue", "Let CommandsService continue", "Kafka"},
	} {
		p.breaks(fault.title, fault.part, fault.state, 0)
		p.creates(fault.name)
		p.shows(".mc-story", fault.name+" waits in the "+fault.waits)
		p.repairs(fault.repair, fault.part)
		p.shows(".mc-column.mc-k-stored", fault.name)
		p.shows(".mc-bets", fault.title+": you predicted 0 missing; of 1 platform created since, 0 are missing, as you predicted")
	}

	p.predicts("Slow CommandsService by 2 s", 0)
	p.shows(".mc-n-commandsservice", "slow by 2 s")
	p.creates("Consul")
	p.shows(".mc-column.mc-k-stored", "Consul")
	p.holds("it was on its way for 2 s", `[...microcommConsole.player.states[0].journeys.values()].some((j) => j.name === 'Consul' &&
		j.hops.find((h) => h.hop === 'delivered')?.at - j.hops.find((h) => h.hop === 'accepted' && h.from === 'span')?.start >= 2000)`)
	p.press("Let CommandsService continue")
	p.holds("nothing is slow", `!document.querySelector('.mc-n-commandsservice').textContent.includes('slow')`)

	p.breaks("Kill PlatformService", "platformservice", "down", 0)
	p.submits("Nomad")
	p.holds("the failure is said", `document.querySelector('.mc-doing .mc-answer.mc-bad')?.textContent`)
	p.repairs("Start PlatformService", "platformservice")
	p.breaks("Pause PlatformService", "platformservice", "paused", 0)
	p.repairs("Let PlatformService continue", "platformservice")
	p.creates("Vault")
	p.shows(".mc-column.mc-k-stored", "Vault")

	p.predicts("Send a message that isn't JSON", 0)
	p.shows(".mc-n-dead-letters.mc-letters", "1")
	p.press("Replay the dead letters")
	p.holds("it still isn't JSON, and is a dead letter again", `[...microcommConsole.player.states[0].journeys.values()].some((j) => j.hops.filter((h) => h.hop === 'dead_lettered').length === 2)`)
	p.press("Drop the dead letters")
	p.holds("no dead letter is left", `!document.querySelector('.mc-n-dead-letters.mc-letters')`)

	p.shows(".mc-k-missing b", "0")
}

// TestFaultsOnThePageOf06 is the same learner in chapter 06, where an event that no queue
// receives is lost.
func TestFaultsOnThePageOf06(t *testing.T) {
	w := runWatched(t, "06", "--console")
	w.flows() // once the broker has both
	p := openConsole(t, w)
	p.holds("nothing is acknowledged", `document.querySelector('.mc-e-deliver') && !document.querySelector('.mc-e-ack')`)
	p.breaks("Kill CommandsService", "commandsservice", "down", 1)
	p.creates("Redis")
	p.shows(".mc-column.mc-k-missing", "Redis")
	p.repairs("Start CommandsService", "commandsservice")
	p.shows(".mc-bets", "as you predicted")
	w.flows()

	p.breaks("Pause CommandsService", "commandsservice", "paused", 0)
	p.creates("Kafka")
	p.repairs("Let CommandsService continue", "commandsservice")
	p.shows(".mc-column.mc-k-stored", "Kafka")
	p.holds("nothing else is missing, but probes that were sent before the subscriber was back", `(() => { const names = [...microcommConsole.player.states[0].journeys.values()].filter((j) => j.accepted && !j.stored).map((j) => j.name);
		return names.includes('Redis') && names.every((name) => name === 'Redis' || name.startsWith('probe-')) })()`)
}

// consolePage is the console's page in a browser. Its methods fail the test.
type consolePage struct {
	*watchedStage
	tab context.Context
}

func openConsole(t *testing.T, w *watchedStage) *consolePage {
	t.Helper()
	tab, cancel := context.WithTimeout(chromiumtest.Start(t), 20*time.Minute)
	t.Cleanup(cancel)
	p := &consolePage{w, tab}
	p.do("open the page", chromedp.EmulateViewport(1280, 1400), chromedp.Navigate("http://"+w.console+"/"), chromedp.WaitVisible(chromedp.CSS("main .mc-map")))
	p.shows(".mc-status", "Live")
	p.holds("the faults are offered", `document.querySelector('.mc-faults .mc-break')`)
	p.holds("both lists are known: of what is created since, none was there before", `['platforms', 'commands'].every((list) => microcommConsole.player.states[0].lists[list] !== undefined)`)
	return p
}

func (p *consolePage) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.tab, actions...); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// holds waits until an expression of the page is true.
func (p *consolePage) holds(what, expression string) {
	p.t.Helper()
	p.eventually(what, func() bool {
		is, err := chromedp.Run(p.tab, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err != nil {
			p.t.Fatalf("%s: %v", what, err)
		}
		return is
	})
}

// shows waits until an element shows a text.
func (p *consolePage) shows(selector, text string) {
	p.t.Helper()
	p.holds(fmt.Sprintf("%s shows %q", selector, text), fmt.Sprintf(`[...document.querySelectorAll(%q)].some((e) => e.textContent.includes(%q))`, selector, text))
}

// click repeats a click until it has hit the element. The page may have moved between the
// look for its place and the click, which reaches nothing else, then.
func (p *consolePage) click(selector string) {
	p.t.Helper()
	p.eventually("a click on "+selector, func() bool {
		p.do("watch clicks", chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(() => {
			const element = document.querySelector(%q), guard = new AbortController();
			window.clicked = () => { guard.abort(); return false };
			for (const type of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click']) addEventListener(type, (event) => {
				if (!element?.contains(event.target)) { event.preventDefault(); event.stopImmediatePropagation() }
				else if (type === 'click') window.clicked = () => { guard.abort(); return true };
			}, { capture: true, signal: guard.signal });
		})()`, selector)))
		p.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
		hit, err := chromedp.Run(p.tab, chromedp.Evaluate[bool](`window.clicked()`))
		if err != nil {
			p.t.Fatalf("click %s: %v", selector, err)
		}
		return hit
	})
}

// press presses a fault's button, once it can be pressed.
func (p *consolePage) press(title string) {
	p.t.Helper()
	button := fmt.Sprintf(`.mc-faults button[title="%s"]`, title)
	p.holds(title+" can be pressed", fmt.Sprintf(`document.querySelector(%q)?.disabled === false`, button))
	p.click(button)
}

// predicts presses a fault's button, and answers the page's question: how many platforms
// will go missing?
func (p *consolePage) predicts(title string, missing int) {
	p.t.Helper()
	p.press(title)
	p.shows(".mc-question", "how many of them will go missing?")
	p.do("predict", chromedp.SetValue(chromedp.CSS("#mc-prediction"), fmt.Sprint(missing)))
	p.click(".mc-question .mc-danger")
	p.shows(".mc-bets", fmt.Sprintf("%s: you predicted %d missing", title, missing))
}

// breaks predicts, breaks a part, and waits until the map shows it in that state.
func (p *consolePage) breaks(title, part, state string, missing int) {
	p.t.Helper()
	p.predicts(title, missing)
	p.shows(".mc-n-"+part+".mc-is-"+state+" .mc-badge", state)
}

// repairs repairs a part, and waits until the map shows nothing broken.
func (p *consolePage) repairs(title, part string) {
	p.t.Helper()
	p.press(title)
	p.holds(part+" is up again", `!document.querySelector('.mc-is-down, .mc-is-paused')`)
}

// submits sends the form for a platform.
func (p *consolePage) submits(name string) {
	p.t.Helper()
	p.do("name "+name, chromedp.SetValue(chromedp.CSS("[name=name]"), name))
	p.click(".mc-doing button[type=submit]")
}

// creates creates a platform, and waits for the response.
func (p *consolePage) creates(name string) {
	p.t.Helper()
	p.submits(name)
	p.shows(".mc-doing .mc-answer", name+" has id")
}
