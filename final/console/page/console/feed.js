// The live feed: server-sent events read with fetch, because EventSource can't send an Authorization header.

const first = 500; //   milliseconds before the first attempt to connect again
const longest = 5000;
const many = 30; //     lines in a batch: then the next ones are collected for longer
const silence = 25_000; // the server sends a heartbeat every 10 s

/** Events cuts a stream of text into server-sent events. Push text; it returns what is complete: [{id, data}]. */
export class Events {
  constructor() {
    this.rest = '';
  }

  push(text) {
    const blocks = (this.rest + text).replaceAll('\r\n', '\n').split('\n\n');
    this.rest = blocks.pop();
    return blocks.map(event).filter((e) => e.data !== '');
  }
}

function event(block) {
  const e = { id: '', data: '' };
  for (const row of block.split('\n')) {
    if (row.startsWith('data:')) e.data += row.slice(5).trimStart();
    else if (row.startsWith('id:')) e.id = row.slice(3).trim();
  }
  return e;
}

/**
 * Feed keeps one stream open, and connects again when it ends. onLines gets lines in batches, onState one of
 * connecting, open (with the server's time), unauthorized, misdirected, closed. token returns the access token, or ''.
 */
export class Feed {
  constructor({ url, onLines, onState, token }) {
    Object.assign(this, { url, onLines, onState, token });
    this.lastID = '';
    this.pause = first;
    this.batch = [];
    this.last = 0; // lines in the last batch
  }

  start() {
    this.stopped = false;
    this.connect();
  }

  stop() {
    this.stopped = true;
    this.abort?.abort();
    clearTimeout(this.timer);
  }

  async connect() {
    const abort = new AbortController();
    this.abort = abort;
    this.onState('connecting');
    let reason = 'closed';
    try {
      reason = await this.read(abort);
    } catch {
      // the connection failed, or was silent for too long
    }
    if (this.stopped || this.abort !== abort) return;
    this.flush();
    this.onState(reason);
    if (reason !== 'closed') return; // the answer stays the same
    this.timer = setTimeout(() => this.connect(), this.pause);
    this.pause = Math.min(this.pause * 2, longest);
  }

  async read(abort) {
    const headers = { Accept: 'text/event-stream' };
    const token = this.token();
    if (token) headers.Authorization = `Bearer ${token}`;
    if (this.lastID) headers['Last-Event-ID'] = this.lastID;
    const response = await fetch(this.url, { headers, signal: abort.signal, cache: 'no-store' });
    if (response.status === 401 || response.status === 403) return 'unauthorized';
    if (response.status === 421) return 'misdirected';
    if (!response.ok || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) return 'closed';
    this.onState('open', Date.parse(response.headers.get('Date')));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new Events();
    let watchdog;
    try {
      for (;;) {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => abort.abort(), silence);
        const { value, done } = await reader.read();
        if (done) return 'closed';
        this.pause = first;
        for (const e of events.push(value)) this.take(e);
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  take({ id, data }) {
    if (id) this.lastID = id;
    try {
      this.batch.push(JSON.parse(data));
    } catch {
      return; // not a line
    }
    this.flushing ??= setTimeout(() => this.flush(), this.last > many ? 250 : 50);
  }

  flush() {
    clearTimeout(this.flushing);
    this.flushing = undefined;
    this.last = this.batch.length;
    if (this.batch.length === 0) return;
    const lines = this.batch;
    this.batch = [];
    this.onLines(lines);
  }
}
