// What is played, and where it stands: one or two tapes of lines under one clock.

import { initial, reduceAll } from './reduce.js';
import { timeOf } from './words.js';

const every = 250; //    lines between two states that are kept, to jump to
const remembered = 6000; // lines of a live tape

/** parseLines reads NDJSON. Lines that aren't JSON are counted, not shown. */
export function parseLines(text) {
  const lines = [];
  let bad = 0;
  for (const row of text.split('\n')) {
    if (row.trim() === '') continue;
    try {
      const line = JSON.parse(row);
      if (line?.v === 1 && Number.isFinite(timeOf(line.time))) lines.push(line);
      else bad++;
    } catch {
      bad++;
    }
  }
  return { lines, bad };
}

/** Tape is lines in the order of reading, and the states between them. */
export class Tape {
  constructor(lines = [], title = '') {
    this.title = title;
    this.base = initial(); // the state before the first line
    this.lines = [];
    this.times = []; //  when each line is shown: never earlier than the one before it
    this.kept = []; //   the states after 250, 500, … lines
    this.head = this.base;
    this.dropped = 0; // lines that were removed from the front
    this.append(lines);
  }

  /** append adds lines at the end. It returns how many were removed at the front, to bound the memory. */
  append(lines) {
    for (let i = 0; i < lines.length; ) {
      const room = every - (this.lines.length % every);
      const some = lines.slice(i, i + room);
      this.head = reduceAll(this.head, some);
      for (const line of some) {
        this.lines.push(line);
        this.times.push(Math.max(timeOf(line.time), this.times.at(-1) ?? 0));
      }
      if (this.lines.length % every === 0) this.kept.push(this.head);
      i += some.length;
    }
    return this.trim();
  }

  trim() {
    const chunks = Math.ceil((this.lines.length - remembered) / every);
    if (!this.live || chunks <= 0) return 0;
    this.base = this.kept[chunks - 1];
    this.kept.splice(0, chunks);
    this.lines.splice(0, chunks * every);
    this.times.splice(0, chunks * every);
    this.dropped += chunks * every;
    return chunks * every;
  }

  /** at returns the state after n lines. */
  at(n) {
    if (n >= this.lines.length) return this.head;
    const chunk = Math.floor(n / every);
    const from = chunk > 0 ? this.kept[chunk - 1] : this.base;
    return reduceAll(from, this.lines.slice(chunk * every, n));
  }

  /** before returns how many lines happened up to a time. */
  before(time) {
    let low = 0;
    let high = this.times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  get start() { return this.times[0] ?? 0; }
  get end() { return this.times.at(-1) ?? this.start; }
}

/**
 * Player moves through one or two tapes. Its clock counts milliseconds since each tape's beginning, so that
 * two recordings run side by side. Call tick with the browser's clock; it emits 'change' to its listeners with
 * what happened: {played: lines per tape, jumped}.
 */
export class Player {
  constructor(tapes) {
    this.tapes = tapes;
    this.speed = 1;
    this.playing = false;
    this.following = false; // live, and at the end of it
    this.listeners = new Set();
    this.index = tapes.map(() => 0);
    this.states = tapes.map((tape) => tape.at(0));
    this.clock = 0;
  }

  get length() { return Math.max(0, ...this.tapes.map((tape) => tape.end - tape.start)); }
  get live() { return this.tapes.some((tape) => tape.live); }

  /** now is the moment that is shown of a tape. */
  now(i = 0) {
    const tape = this.tapes[i];
    if (this.following) return Math.max(this.states[i].time, Date.now() - (tape.skew ?? 0));
    return tape.start + this.clock;
  }

  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  emit(played, jumped = false) {
    for (const listener of this.listeners) listener({ played, jumped });
  }

  play() {
    if (!this.live && this.clock >= this.length) this.seek(0);
    this.playing = true;
    this.last = undefined;
    this.emit([]);
  }

  pause() {
    this.playing = false;
    if (this.following) {
      this.following = false;
      this.clock = this.tapes[0].end - this.tapes[0].start;
    }
    this.emit([]);
  }

  /** follow shows a live tape as it grows. */
  follow() {
    this.following = true;
    this.playing = true;
    this.index = this.tapes.map((tape) => tape.lines.length);
    this.states = this.tapes.map((tape) => tape.head);
    this.emit([], true);
  }

  /** receive lets a live tape grow. */
  receive(lines) {
    const tape = this.tapes[0];
    const { start } = tape;
    const removed = tape.append(lines);
    if (this.following) {
      this.index[0] = tape.lines.length;
      this.states[0] = tape.head;
      this.emit([lines]);
      return;
    }
    if (removed > 0) {
      this.clock = Math.max(0, this.clock - (tape.start - start));
      this.index[0] = Math.max(0, this.index[0] - removed);
    }
    this.emit([]);
  }

  /** seek jumps to a time since the beginning. */
  seek(clock) {
    this.following = false;
    this.clock = Math.min(Math.max(0, clock), this.length);
    this.tapes.forEach((tape, i) => {
      this.index[i] = tape.before(tape.start + this.clock);
      this.states[i] = tape.at(this.index[i]);
    });
    this.emit([], true);
  }

  /** step goes to the next line that is worth a look, or with -1 to the one before. */
  step(direction = 1) {
    this.playing = false;
    const times = this.tapes.flatMap((tape) => tape.lines.map((line, i) => (worth(line) ? tape.times[i] - tape.start : -1)).filter((t) => t >= 0));
    times.sort((a, b) => a - b);
    const from = this.following ? this.length : this.clock;
    const next = direction > 0 ? times.find((t) => t > from) : times.findLast((t) => t < from);
    if (next === undefined) return this.seek(direction > 0 ? this.length : 0);
    if (direction < 0 || this.following) return this.seek(next);
    this.advance(next);
  }

  /** tick plays on: wall is the browser's clock in milliseconds. */
  tick(wall) {
    if (!this.playing || this.following) return;
    const passed = Math.min(wall - (this.last ?? wall), 250);
    this.last = wall;
    this.advance(Math.min(this.clock + passed * this.speed, this.length));
    if (this.clock < this.length) return;
    if (this.live) this.follow();
    else {
      this.playing = false;
      this.emit([]);
    }
  }

  advance(clock) {
    this.clock = clock;
    const played = this.tapes.map((tape, i) => {
      const until = tape.before(tape.start + clock);
      const lines = tape.lines.slice(this.index[i], until);
      this.states[i] = reduceAll(this.states[i], lines);
      this.index[i] = until;
      return lines;
    });
    this.emit(played);
  }
}

const worth = (line) => ['hop', 'part', 'fault', 'note'].includes(line.kind);
