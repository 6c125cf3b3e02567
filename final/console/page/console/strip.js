// For the first five minutes: three things to do, ticked off as the system reports them.

import { h } from './dom.js';
import { has, impaired, place } from './select.js';

const kept = 'microcomm-console-strip'; // in localStorage: the strip was closed

/** Strip builds itself into element. watch is called when the reader wants to see the recording instead; done is what was ticked off. */
export class Strip {
  constructor(element, watch, done) {
    this.element = element;
    this.watch = watch;
    this.done = done;
    this.closed = remembered();
  }

  update(state, now) {
    if (this.closed || !state.run) return;
    this.element.hidden = false;
    const offers = (part) => state.run.faults?.some((f) => f.part === part && f.action === 'kill');
    const outbox = has(state, 'outbox');
    const story = outbox && offers('broker') ? 'outbox' : !outbox && offers('commandsservice') ? 'chapter' : 'recording';
    const journeys = [...state.journeys.values()].slice(-200).filter((j) => j.accepted);
    const at = (where) => journeys.some((j) => place(j, state, now).where === where);
    const broken = story === 'outbox' ? 'broker' : 'commandsservice';
    this.done[0] ||= journeys.some((j) => j.stored && j.hops.length > 1);
    this.done[1] ||= impaired(state, broken) && at(story === 'outbox' ? 'outbox' : 'missing');
    this.done[2] ||= this.done[1] && !impaired(state, broken) && (story === 'chapter' || journeys.every((j) => j.stored || j.dead));
    if (this.drawn !== story + this.done) this.draw(story, state.run.stage);
  }

  draw(story, stage) {
    this.drawn = story + this.done;
    const step = (i, title, ...text) => h('li', { class: this.done[i] ? 'mc-done' : '' }, h('b', {}, title), h('span', {}, ...text), this.done[i] ? h('span', { class: 'mc-hidden' }, ' (done)') : null);
    const watch = h('button', { type: 'button', class: 'mc-primary', click: this.watch }, '▶ Watch a broker go down');
    const steps = {
      outbox: () => [
        step(0, 'Create a platform', 'and follow the dot: PlatformService, the broker, CommandsService.'),
        step(1, 'Kill the broker, and create another', 'It is accepted anyway, and waits in the outbox: a table in PlatformService’s own database.'),
        step(2, 'Start the broker', 'The relay sends what waits. Nothing is lost, no client had to wait: that’s what the outbox is for.'),
      ],
      chapter: () => [
        step(0, 'Create a platform', 'and see both services get it.'),
        step(1, 'Kill CommandsService, and create another', 'The client gets its 201. But nothing keeps the platform for CommandsService.'),
        step(2, 'Start CommandsService', stage === '07' ? 'It asks for what it has missed: the backfill.' : 'What was created meanwhile stays missing. A later chapter ends that.'),
      ],
      recording: () => [
        step(0, 'Create a platform', 'and follow the dot: from the client to PlatformService, through the bus, to CommandsService.'),
        step(1, 'What if the broker is down?', 'Nothing can be stopped from here. Watch a recording instead: what is created meanwhile waits in the outbox, a table in PlatformService’s own database, and nothing is lost. ', watch),
      ],
    }[story]();
    const close = h('button', { type: 'button', class: 'mc-close', 'aria-label': 'Close the introduction', click: () => this.close() }, '✕');
    this.element.replaceChildren(h('h2', {}, 'New here?'), h('ol', {}, ...steps), close);
  }

  close() {
    this.closed = true;
    this.element.hidden = true;
    try {
      localStorage.setItem(kept, 'closed');
    } catch {
      // it will be shown again
    }
  }
}

function remembered() {
  try {
    return localStorage.getItem(kept) === 'closed';
  } catch {
    return false;
  }
}
