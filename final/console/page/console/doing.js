// What a client does: create a platform, repeat the request, a burst, list, command lines. Errors are the services'
// own problem+json, shown at the field that they name.

import { call } from './api.js';
import { h, setText } from './dom.js';
import { count, duration } from './words.js';

const examples = [
  ['Docker', 'Docker', 'Free'], ['Redis', 'Redis', 'Free'], ['PostgreSQL', 'PGDG', 'Free'], ['Grafana', 'Grafana Labs', 'Free'],
  ['NATS', 'Synadia', 'Free'], ['Terraform', 'HashiCorp', 'Free'], ['Envoy', 'CNCF', 'Free'], ['Kafka', 'Apache', 'Free'],
];
const burstSize = 50;

let fields = 0;

/** Form is labelled fields, a button and a place for the answer. send gets the values and returns call's result. */
class Form {
  constructor({ labels, button, send, done, shown = true }) {
    this.send = send;
    this.done = done;
    this.inputs = {};
    this.errors = {};
    const rows = Object.entries(labels).map(([name, label]) => {
      const id = `mc-field-${++fields}`;
      this.inputs[name] = h('input', { id, name, autocomplete: 'off', 'aria-describedby': `${id}-error`, input: () => this.fail(name, '') });
      this.errors[name] = h('p', { id: `${id}-error`, class: 'mc-error' });
      return h('div', { class: 'mc-field' }, h('label', { for: id }, label), this.inputs[name], this.errors[name]);
    });
    this.button = h('button', { type: 'submit', class: 'mc-primary' }, button);
    this.answer = h('p', { class: 'mc-answer', role: 'status' });
    this.actions = h('div', { class: 'mc-actions' }, this.button);
    this.element = h('form', { novalidate: true, class: 'mc-form', submit: (event) => { event.preventDefault(); this.submit(); } }, ...rows, this.actions, this.answer);
    this.element.hidden = !shown;
  }

  values() {
    return Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, input.value]));
  }

  async submit() {
    this.button.disabled = true;
    const result = await this.send(this.values());
    this.button.disabled = false;
    this.show(result);
    if (!result.problem) this.done?.(result);
  }

  /** show puts the errors where they belong, and the focus at the first. */
  show({ status, ms, problem, text }) {
    const errors = problem?.errors ?? {};
    const rest = [];
    for (const name of Object.keys(this.inputs)) this.fail(name, '');
    for (const [name, messages] of Object.entries(errors)) {
      const field = Object.keys(this.inputs).find((x) => x.toLowerCase() === name.toLowerCase());
      if (field) this.fail(field, [messages].flat().join(' '));
      else rest.push(`${name}: ${[messages].flat().join(' ')}`);
    }
    const first = Object.values(this.inputs).find((input) => input.getAttribute('aria-invalid'));
    this.answer.classList.toggle('mc-bad', Boolean(problem));
    const said = first && rest.length === 0; // at the fields
    setText(this.answer, problem ? [`${status || ''} ${problem.title ?? 'failed'}`.trim(), said ? 'see the fields above' : problem.detail, ...rest].filter(Boolean).join(' · ') : `${status} in ${duration(ms)}${text ? ` · ${text}` : ''}`);
    first?.focus();
  }

  fail(name, text) {
    setText(this.errors[name], text);
    if (text) this.inputs[name].setAttribute('aria-invalid', 'true');
    else this.inputs[name].removeAttribute('aria-invalid');
  }
}

/** Doing builds itself into element. sent is called when something was sent that travels. */
export class Doing {
  constructor(element, sent) {
    this.sent = sent;
    this.example = 0;
    this.last = null; // the request that can be repeated
    this.form = new Form({
      labels: { name: 'Name', publisher: 'Publisher', cost: 'Cost' },
      button: 'Create a platform',
      send: (body) => this.create(body),
      done: () => {
        this.suggest();
        this.sent();
      },
    });
    this.repeat = h('button', { type: 'button', disabled: true, click: () => this.again() }, 'Repeat it, same key');
    this.burst = h('button', { type: 'button', click: () => this.many() }, `Create ${burstSize}`);
    this.form.actions.append(this.repeat, this.burst);
    this.suggest();
    element.append(this.form.element, this.lists(), this.commands());
  }

  /** update learns which names exist, and replaces a suggestion that turns out to be one of them. */
  update(state) {
    this.state = state;
    const input = this.form.inputs.name;
    if (!this.form.button.disabled && document.activeElement !== input && input.value === this.suggested && this.exists(this.suggested)) this.suggest();
  }

  exists(name) {
    return [...this.state?.journeys.values() ?? []].some((journey) => journey.name === name);
  }

  /** suggest fills in the next example that doesn't exist yet. */
  suggest() {
    let publisher, cost;
    do {
      [this.suggested, publisher, cost] = examples[this.example % examples.length];
      const round = Math.floor(this.example++ / examples.length);
      if (round > 0) this.suggested += ` ${round + 1}`;
    } while (this.exists(this.suggested));
    this.form.inputs.name.value = this.suggested;
    this.form.inputs.publisher.value = publisher;
    this.form.inputs.cost.value = cost;
  }

  async create(body) {
    const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    const result = await post(body, key);
    if (!result.problem) this.last = { body, key };
    this.repeat.disabled = this.last === null;
    return result;
  }

  /** again sends the last request once more, as a client does whose answer was lost. */
  async again() {
    const result = await post(this.last.body, this.last.key);
    this.form.show(result);
    if (!result.problem) this.sent();
  }

  async many() {
    this.burst.disabled = true;
    this.sent();
    const names = [...this.state?.journeys.values() ?? []].map((journey) => Number(/^Burst (\d+)$/.exec(journey.name)?.[1] ?? 0));
    const before = Math.max(0, ...names);
    let sent = 0;
    let created = 0;
    const failures = new Map();
    const client = async () => {
      while (sent < burstSize) {
        const n = ++sent;
        const { problem } = await post({ name: `Burst ${before + n}`, publisher: 'the burst', cost: 'Free' });
        if (problem) failures.set(problem.title, (failures.get(problem.title) ?? 0) + 1);
        else created++;
        setText(this.form.answer, `${created} of ${burstSize} created`);
      }
    };
    const started = performance.now();
    await Promise.all(Array.from({ length: 6 }, client));
    const failed = [...failures].map(([title, n]) => `${n} × ${title}`);
    setText(this.form.answer, [`${created} of ${burstSize} created in ${duration(performance.now() - started)}`, ...failed].join(' · '));
    this.form.answer.classList.toggle('mc-bad', failures.size > 0);
    this.burst.disabled = false;
  }

  lists() {
    const out = h('div', { class: 'mc-lists' });
    const show = async (button) => {
      button.disabled = true;
      const [platforms, copies] = await Promise.all([call('GET', '/api/platforms?limit=1000'), call('GET', '/api/c/platforms?limit=1000')]);
      button.disabled = false;
      out.replaceChildren(listOf('PlatformService has', platforms), listOf('CommandsService has', copies));
    };
    const button = h('button', { type: 'button', click: () => show(button) }, 'List');
    return h('details', {}, h('summary', {}, 'List what both services have'), button, out);
  }

  commands() {
    const out = h('div');
    const path = () => `/api/c/platforms/${encodeURIComponent(form.inputs.id.value.trim() || '0')}/commands`;
    const refresh = async () => out.replaceChildren(listOf('Its commands', await call('GET', path())));
    const form = new Form({
      labels: { id: 'Platform id', howTo: 'How to', commandLine: 'Command line' },
      button: 'Add a command',
      send: ({ howTo, commandLine }) => call('POST', path(), { body: { howTo, commandLine } }),
      done: refresh,
    });
    form.inputs.id.setAttribute('inputmode', 'numeric');
    form.inputs.id.value = '1';
    form.actions.append(h('button', { type: 'button', click: refresh }, 'List its commands'));
    return h('details', {}, h('summary', {}, 'Commands of a platform'), form.element, out);
  }
}

async function post(body, key) {
  const result = await call('POST', '/api/platforms', { body, headers: key ? { 'Idempotency-Key': key } : {} });
  if (result.body && !result.problem) {
    const replayed = result.headers.get('Idempotency-Replayed') === 'true';
    result.text = replayed ? `the first answer again: id ${result.body.id}, and no second platform` : `${result.body.name} has id ${result.body.id}`;
  }
  return result;
}

function listOf(title, { body, problem }) {
  if (problem) return h('p', { class: 'mc-answer mc-bad' }, `${problem.title}: ${problem.detail ?? ''}`);
  const rows = body ?? [];
  return h('div', {}, h('h4', {}, `${title} ${count(rows.length, 'entry').replace('entrys', 'entries')}`),
    h('ul', { class: 'mc-list', tabindex: 0, 'aria-label': title }, ...rows.slice(-100).reverse().map((row) => h('li', {}, h('b', {}, `#${row.id} `), row.name ?? row.howTo, row.commandLine ? h('code', {}, ` ${row.commandLine}`) : null))));
}
