// A view of one tape: the map, what happens in a sentence, the ledger and the journeys.

import { calm, h, setAttribute, setText } from './dom.js';
import { Charts } from './charts.js';
import { Journeys } from './journey.js';
import { Ledger } from './ledger.js';
import { SystemMap } from './map.js';
import { named } from './reduce.js';
import { ledger, narrate, titleOf } from './select.js';
import { showHop } from './where.js';
import { count, timeOf } from './words.js';

const saidEvery = 4000; // milliseconds between two announcements to a screen reader
const recent = 5000; //   what is older doesn't travel any more
const idle = 250; //       and between two drawings while nothing happens, for the clocks

/** View builds itself into element, all but the stage into more. A quiet view is not announced. */
export class View {
  constructor(element, { more = element, title = '', charts = true, quiet = false, live = false } = {}) {
    this.quiet = quiet;
    this.invites = live;
    this.from = 0; // what happened earlier was only learned now: it doesn't travel
    const onHop = (hop) => showHop(hop, this.state);
    this.title = h('h2', { class: 'mc-stage' }, title);
    this.fixed = title;
    this.story = h('p', { class: 'mc-story' });
    this.live = h('p', { class: 'mc-hidden', role: 'status' });
    this.note = h('p', { class: 'mc-note', hidden: true });
    this.sampled = h('p', { class: 'mc-sampled', hidden: true });
    this.blind = h('details', { class: 'mc-blind', hidden: true }, h('summary', {}, 'What this stage can’t show'), h('ul'));
    this.parts = h('ul', { class: 'mc-hidden', 'aria-label': 'Parts that aren’t up' });
    const map = h('div', { class: 'mc-map-holder' });
    const ledger = h('div');
    const journeys = h('div');
    const over = h('div');
    this.stage = h('section', { class: 'mc-panel mc-stage-panel', 'aria-label': 'The system' }, this.title, this.story, this.note, map, this.parts, this.sampled, this.blind, this.live);
    this.ledgerPanel = panel('Where every platform is', ledger, 'mc-ledger');
    this.journeyPanel = panel('The latest journeys', journeys, 'mc-journey-panel');
    this.chartPanel = panel('The last minute', over, 'mc-chart-panel');
    element.append(this.stage);
    more.append(this.ledgerPanel, this.journeyPanel);
    if (charts) more.append(this.chartPanel);
    this.map = new SystemMap(map, onHop);
    this.ledger = new Ledger(ledger);
    this.journeys = new Journeys(journeys, onHop);
    this.charts = charts ? new Charts(over) : null;
    this.said = 0;
  }

  destroy() {
    this.map.destroy();
  }

  /** showMap scrolls to the map, when most of it is out of sight. */
  showMap() {
    const { top, bottom, height } = this.map.element.getBoundingClientRect();
    const seen = Math.min(bottom, innerHeight) - Math.max(top, 0);
    if (seen < 0.8 * Math.min(height, innerHeight)) this.map.element.scrollIntoView({ block: 'start', behavior: calm() ? 'auto' : 'smooth' });
  }

  /** update draws a state; played are the lines since the last one, jumped says that there is no such connection. */
  update(state, now, played = [], jumped = false) {
    this.state = state;
    this.now = now;
    this.drawn = performance.now();
    setText(this.title, this.fixed || state.run?.title || 'Waiting for the system');
    const l = ledger(state, now);
    const story = state.run ? narrate(state, now, l, this.invites) : { text: 'Nothing has been reported yet.', tone: 'calm' };
    setText(this.story, story.text);
    setAttribute(this.story, 'class', `mc-story mc-${story.tone}`);
    this.say(story.text.replace(/, for .* so far/, ''));
    const note = state.marks.findLast((m) => m.kind === 'note');
    this.note.hidden = !note;
    setText(this.note, note?.text ?? '');
    this.sampled.hidden = state.left === 0;
    setText(this.sampled, `${count(state.left, 'hop')} left out: there were more than a thousand a second. The totals may lag until the lists are read.`);
    this.updateParts(state);
    this.map.update(state, now);
    if (jumped) {
      this.map.jump([...state.journeys.values()].findLast((j) => j.hops.length > 0), now);
      this.map.update(state, now);
    }
    this.ledger.update(l, now);
    this.journeys.update(state, now);
    this.charts?.update(state, now);
    for (const line of played.slice(-200)) {
      const at = timeOf(line.time);
      if (at >= this.from && now - at < recent) this.travel(line, state);
    }
  }

  /** idle draws the clocks of what waits. */
  idle(state, now, wall) {
    if (wall - (this.drawn ?? 0) > idle) this.update(state, now);
  }

  travel(line, state) {
    if (line.kind === 'hop') {
      const key = line.subject.startsWith('message/') ? state.alias.get(line.subject.slice(8)) ?? line.subject : line.subject;
      const journey = state.journeys.get(key);
      if (journey) this.map.travel(journey, named(line.content));
    }
    if (line.kind !== 'list') return;
    const hop = line.subject === 'list/platforms' ? 'accepted' : 'stored';
    for (const { id } of (line.content.added ?? []).slice(-10)) {
      const journey = state.journeys.get(`platform/${id}`);
      const reported = journey?.hops.find((x) => x.hop === hop);
      if (reported?.from === 'list') this.map.travel(journey, reported);
    }
  }

  /** say announces a sentence, not more often than one can listen. */
  say(text) {
    if (this.quiet || text === this.live.textContent) return;
    const wait = this.said + saidEvery - Date.now();
    this.pending = text;
    if (this.waiting) return;
    this.waiting = setTimeout(() => {
      this.waiting = 0;
      this.said = Date.now();
      setText(this.live, this.pending);
    }, Math.max(300, wait));
  }

  updateParts(state) {
    const down = [...state.parts].filter(([, p]) => p.state !== 'up').map(([id, p]) => `${titleOf(state, id)}: ${p.state}`);
    if (this.down !== down.join()) {
      this.down = down.join();
      this.parts.replaceChildren(...down.map((text) => h('li', {}, text)));
    }
    const blind = state.run?.cannotSee ?? [];
    if (this.cannotSee === blind) return;
    this.cannotSee = blind;
    this.blind.hidden = blind.length === 0;
    this.blind.lastChild.replaceChildren(...blind.map((b) => h('li', {}, `${b.what}: ${b.why}`)));
  }
}

/** panel is a titled section. */
export function panel(title, content, name = '') {
  return h('section', { class: `mc-panel ${name}`, 'aria-label': title }, h('h3', {}, title), content);
}
