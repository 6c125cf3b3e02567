// Predict, then break. Only where lab started the system: it is lab that breaks and repairs, never the services.

import { call } from './api.js';
import { h, setText } from './dom.js';
import { impaired, ledger, nameOf, titleOf } from './select.js';
import { count } from './words.js';

const breaks = ['kill', 'pause', 'stop', 'slow', 'poison'];
const verbs = { kill: 'Kill', pause: 'Pause', stop: 'Stop', slow: 'Slow', poison: 'Poison', resume: 'Resume', start: 'Start', replay: 'Replay', drop: 'Drop' };

/** Faults builds itself into element, and shows nothing while the run line offers no faults. */
export class Faults {
  constructor(element) {
    this.element = element;
    this.offered = null;
    this.bets = []; // what was predicted: {action, part, predicted, before, at}
  }

  update(state, now) {
    this.state = state;
    this.now = now;
    const faults = state.run?.faults ?? [];
    if (this.offered !== JSON.stringify(faults)) this.build(faults);
    if (faults.length === 0) return;
    for (const { fault, button } of this.buttons) button.disabled = !this.possible(fault);
    this.compare();
  }

  /** possible reports whether an action makes sense now: what is down can be started, what is up can be broken. */
  possible({ action, part }) {
    const is = this.state.parts.get(part);
    const slow = is?.detail?.startsWith('slow');
    if (action === 'start') return is?.state === 'down';
    if (action === 'resume') return is?.state === 'paused' || Boolean(slow);
    if (['kill', 'pause', 'stop', 'slow'].includes(action)) return !impaired(this.state, part) && !slow;
    if (action === 'replay' || action === 'drop') return [...this.state.queues.values()].some((q) => q.role === 'dead' && q.depth > 0) || this.state.totals.dead > 0;
    return true;
  }

  build(faults) {
    this.offered = JSON.stringify(faults);
    this.buttons = [];
    this.answer = h('p', { class: 'mc-answer', role: 'status' });
    this.question = h('div');
    this.results = h('ul', { class: 'mc-bets' });
    if (faults.length === 0) {
      this.element.replaceChildren(h('details', {}, h('summary', {}, 'Nothing can be broken here'), h('p', {}, 'Parts can be broken from here when ', h('code', {}, 'go tool lab run final --broker'), ' has started them. The services themselves offer no such thing.')));
      return;
    }
    const groups = new Map();
    for (const fault of faults) {
      const title = titleOf(this.state, fault.part);
      if (!groups.has(title)) groups.set(title, []);
      const button = h('button', { type: 'button', class: breaks.includes(fault.action) || fault.action === 'drop' ? 'mc-break' : 'mc-repair', title: fault.title, 'aria-label': `${verbs[fault.action] ?? fault.action} ${title}: ${fault.title}`, click: () => this.ask(fault) }, verbs[fault.action] ?? fault.action);
      groups.get(title).push(button);
      this.buttons.push({ fault, button });
    }
    this.element.replaceChildren(
      ...[...groups].map(([title, buttons]) => h('div', { class: 'mc-fault' }, h('span', {}, title), h('span', { class: 'mc-buttons' }, ...buttons))),
      this.question, this.answer, this.results);
  }

  /** ask wants a prediction before something breaks; a repair is done at once. */
  ask(fault) {
    setText(this.answer, '');
    if (!breaks.includes(fault.action)) return this.act(fault);
    const input = h('input', { type: 'number', id: 'mc-prediction', min: 0, step: 1, inputmode: 'numeric', required: true, value: '' });
    const form = h('form', {
      class: 'mc-question',
      submit: (event) => {
        event.preventDefault();
        if (input.value === '') return input.focus();
        this.question.replaceChildren();
        this.act(fault, Number(input.value));
      },
    },
    h('label', { for: 'mc-prediction' }, `${fault.title}. Suppose you create a few platforms meanwhile: how many of them will go missing?`),
    h('div', { class: 'mc-actions' }, input, h('button', { type: 'submit', class: 'mc-primary mc-danger' }, verbs[fault.action] ?? fault.action), h('button', { type: 'button', click: () => this.question.replaceChildren() }, 'Cancel')));
    this.buttons.find((b) => b.fault === fault).button.closest('.mc-fault').after(this.question);
    this.question.replaceChildren(form);
    input.focus();
  }

  async act({ action, part, title }, predicted) {
    const before = ledger(this.state, this.now).missing;
    const { problem } = await call('POST', '/control/faults', { body: { action, part, ...(predicted === undefined ? {} : { predicted }) }, headers: { 'X-Microcomm-Control': '1' } });
    if (problem) {
      this.answer.classList.add('mc-bad');
      return setText(this.answer, [problem.title, problem.detail].filter(Boolean).join(': '));
    }
    this.answer.classList.remove('mc-bad');
    setText(this.answer, `${title}: done`);
    if (predicted !== undefined) this.bets = [...this.bets, { title, predicted, before, action, part, accepted: ledger(this.state, this.now).accepted }].slice(-4);
  }

  /** compare holds the predictions against the ledger, and the fault lines of lab where they say more. */
  compare() {
    const l = ledger(this.state, this.now);
    const rows = this.bets.toReversed().map((bet) => {
      const reported = this.state.faults.findLast((f) => f.action === bet.action && f.part === bet.part);
      const over = reported?.state === 'ended' || (!impaired(this.state, bet.part) && reported?.state !== 'begun');
      const missing = over && reported?.missing !== undefined ? reported.missing : Math.max(0, l.missing - bet.before);
      const made = count(l.accepted - bet.accepted, 'platform');
      const names = l.names.missing.slice(-3).map((p) => nameOf(p.journey)).join(', ');
      const verdict = !over ? 'so far' : missing === bet.predicted ? 'as you predicted' : 'not as you predicted';
      return `${bet.title}: you predicted ${bet.predicted} missing; of ${made} created since, ${missing} ${missing === 1 ? 'is' : 'are'} missing, ${verdict}${missing > 0 && names ? ` (${names})` : ''}.`;
    });
    while (this.results.children.length > rows.length) this.results.lastChild.remove();
    while (this.results.children.length < rows.length) this.results.append(h('li'));
    rows.forEach((text, i) => setText(this.results.children[i], text));
  }
}
