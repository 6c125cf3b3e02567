// The page: live from /feed, or a recording (?play=FILE, and &at=SECONDS for a moment of it; a dropped or chosen file), or two side by side.

import { getToken, setToken } from './api.js';
import { Doing } from './doing.js';
import { h, setText } from './dom.js';
import { Faults } from './faults.js';
import { Feed } from './feed.js';
import { drive, mountTapes } from './mount.js';
import { Player, Tape, parseLines } from './player.js';
import { Strip } from './strip.js';
import { Transport } from './transport.js';
import { View, panel } from './view.js';
import { count } from './words.js';

const example = new URL('broker-down.ndjson', import.meta.url);
const largest = 50e6; // bytes of a recording

const $ = (id) => document.getElementById(id);

/** Page is either live or plays; going from one to the other closes what was there. */
class Page {
  constructor() {
    this.main = $('main');
    this.status = $('status');
    this.files = $('files');
    this.ticks = [false, false, false]; // of the introduction: they outlast a recording
    this.files.addEventListener('change', () => this.open([...this.files.files]));
    $('open').addEventListener('click', () => this.files.click());
    $('live').addEventListener('click', () => this.goLive());
    $('download').addEventListener('click', (event) => {
      if (!getToken() || event.target.href.startsWith('blob:')) return; // a link sends no token
      event.preventDefault();
      this.download(event.target);
    });
    addEventListener('dragover', (event) => event.preventDefault());
    addEventListener('drop', (event) => {
      event.preventDefault();
      this.open([...event.dataTransfer.files]);
    });
  }

  /** download fetches the recording with the token, and then follows the link to what came. */
  async download(link) {
    const response = await fetch('/feed?format=ndjson', { headers: { Authorization: `Bearer ${getToken()}` } });
    if (!response.ok) return this.setStatus('closed', `The recording was refused: ${response.status}`);
    const { href } = link;
    link.href = URL.createObjectURL(await response.blob());
    link.click();
    URL.revokeObjectURL(link.href);
    link.href = href;
  }

  async begin() {
    const query = new URLSearchParams(location.search);
    const named = query.getAll('play');
    if (named.length === 0) return this.goLive();
    await this.playURLs(named.map((name) => new URL(name, location.href)));
    if (!query.has('at') || !this.player) return;
    this.player.pause();
    this.player.seek(Number(query.get('at')) * 1000 || 0); // a link to a moment
  }

  reset(live) {
    this.close?.();
    this.main.replaceChildren();
    $('strip').hidden = true;
    $('live').hidden = live;
    $('download').hidden = !live;
    document.body.classList.toggle('mc-live', live);
  }

  setStatus(kind, text) {
    this.status.className = `mc-status mc-${kind}`;
    setText(this.status, text);
  }

  // --- recordings

  async playURLs(urls) {
    try {
      // only from this origin: the author of a link must not choose what this page fetches
      if (urls.some((url) => url.origin !== location.origin)) throw new Error('a recording is played from this page’s own address');
      const texts = await Promise.all(urls.slice(0, 2).map(async (url) => {
        const response = await fetch(url);
        if (!response.ok) throw new Error(`${url.pathname}: ${response.status}`);
        return [url.pathname.split('/').at(-1), await response.text()];
      }));
      this.play(texts);
    } catch (error) {
      this.failed(`This recording can’t be read: ${error.message}`);
    }
  }

  async open(files) {
    const chosen = files.filter((file) => file.size <= largest).slice(0, 2);
    if (chosen.length === 0) return;
    this.play(await Promise.all(chosen.map(async (file) => [file.name, await file.text()])));
    this.files.value = '';
  }

  play(texts) {
    const parsed = texts.map(([name, text]) => ({ name, ...parseLines(text) }));
    const empty = parsed.find(({ lines }) => lines.length === 0);
    if (empty) return this.failed(`${empty.name} has no line that can be played.`);
    this.reset(false);
    const two = parsed.length > 1;
    const tapes = parsed.map(({ name, lines }) => new Tape(lines, two ? `${lines[0].content.title ?? ''} · ${name}` : ''));
    const player = mountTapes(this.main, tapes);
    this.close = () => player.destroy();
    const bad = parsed.reduce((n, { bad }) => n + bad, 0);
    this.setStatus('playing', `Recording: ${parsed.map(({ name }) => name).join(' and ')}${bad > 0 ? `, ${count(bad, 'line')} left out` : ''}`);
    player.play();
    this.player = player;
  }

  failed(text) {
    this.reset(false);
    this.setStatus('closed', text);
    this.main.append(h('p', { class: 'mc-panel mc-failed', role: 'alert' }, text));
  }

  // --- live

  goLive() {
    this.reset(true);
    const tape = new Tape();
    tape.live = true;
    const player = new Player([tape]);
    const root = h('div', { class: 'mc mc-player mc-is-live' });
    const column = h('div', { class: 'mc-view' });
    const more = h('div', { class: 'mc-view mc-more' });
    const side = h('div', { class: 'mc-side' });
    const bar = h('div', { class: 'mc-bar-holder' });
    const doing = h('div');
    const breaking = h('div');
    const access = this.access();
    side.append(panel('Do something', doing, 'mc-doing'), panel('Predict, then break', breaking, 'mc-faults'), access);
    root.append(column, side, more, bar); // on a phone, what one can do comes right after the map
    this.main.append(root);
    const view = new View(column, { more, live: true });
    const form = new Doing(doing, () => view.showMap());
    const faults = new Faults(breaking);
    const strip = new Strip($('strip'), () => this.playURLs([example]), this.ticks);
    const unsubscribe = player.subscribe(() => {
      form.update(player.states[0]);
      faults.update(player.states[0], player.now());
      strip.update(player.states[0], player.now());
    });
    const stop = drive(player, [view], new Transport(bar, player));
    player.follow();
    const feed = this.feed(tape, player, view, access);
    this.player = player;
    this.close = () => {
      feed.stop();
      unsubscribe();
      stop();
    };
    feed.start();
  }

  feed(tape, player, view, access) {
    return new Feed({
      url: '/feed',
      token: getToken,
      onLines: (lines) => {
        // the smallest difference of the clocks seen so far: what is left of it is the way
        const last = Date.parse(lines.at(-1).time);
        if (Number.isFinite(last)) tape.skew = Math.min(tape.skew ?? Infinity, Date.now() - last);
        player.receive(lines);
      },
      onState: (state, time) => {
        if (state === 'open' && Number.isFinite(time)) { // the server's clock, to the second
          tape.skew = Math.min(tape.skew ?? Infinity, Date.now() - time);
          view.from ||= time;
        }
        const texts = { connecting: 'Connecting…', open: 'Live', unauthorized: 'An access token is needed', misdirected: 'The feed is only read at localhost: open this page there', closed: 'The console doesn’t answer. Trying again…' };
        this.setStatus(state, texts[state]);
        if (state === 'unauthorized') access.hidden = false;
      },
    });
  }

  /** access asks for a token, which stays in this tab's memory. */
  access() {
    const input = h('input', { id: 'mc-token', type: 'password', autocomplete: 'off', spellcheck: 'false' });
    const form = h('form', {
      class: 'mc-form',
      submit: (event) => {
        event.preventDefault();
        setToken(input.value);
        input.value = '';
        this.goLive();
      },
    }, h('div', { class: 'mc-field' }, h('label', { for: 'mc-token' }, 'Access token (kept in this tab alone)'), input), h('div', { class: 'mc-actions' }, h('button', { type: 'submit', class: 'mc-primary' }, 'Use it')));
    const section = panel('Access', form, 'mc-access');
    section.hidden = true;
    return section;
  }
}

const page = new Page();
window.microcommConsole = page; // for the browser's tests, and the curious
page.begin();
