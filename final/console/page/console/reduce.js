// The state of the system as a function of the lines that were read: state + line → state.
// The live feed and every recording go through here, and nothing else knows the envelope
// (docs/events-and-apis.md). A state is never changed once it was returned, and its size is bounded.

import { timeOf } from './words.js';

/** HOPS are the stations of a journey, in order. Other hops branch off. */
export const HOPS = ['accepted', 'notified', 'outbox', 'relay', 'published', 'confirmed', 'delivered', 'stored', 'acknowledged'];

const bounds = {
  journeys: 2000, // platforms that are remembered by name
  spare: 400, //     that are forgotten together, once there are too many
  hops: 24, //       per platform
  marks: 200, //     parts that went down or up, faults, notes
  faults: 20,
  unnamed: 20_000,
  seconds: 120, //   of the charts
  samples: 48, //    per second of a chart
};

/** initial returns the state before the first line. */
export function initial() {
  return {
    run: null,
    seq: 0,
    first: 0, // when the first line happened, in milliseconds
    time: 0, //  when the last one did
    parts: new Map(), //    part id → {state, detail, since, replicas}
    journeys: new Map(), // subject → journey, in the order of arrival
    alias: new Map(), //    message id → subject, for messages whose platform was learned later
    totals: { accepted: 0, stored: 0, dead: 0, dropped: 0, refused: 0 },
    lists: {}, //           platforms, commands → total
    queues: new Map(),
    gauges: new Map(),
    faults: [],
    marks: [],
    charts: { post: [], propagation: [], depth: [] },
    left: 0, //  lines that the feed left out
    evicted: 0, // the highest id of a platform that was forgotten
    unnamed: new Set(), // ids of forgotten platforms that aren't stored yet
  };
}

/** reduce returns the state after one line. */
export function reduce(state, line) {
  return reduceAll(state, [line]);
}

/** reduceAll returns the state after several lines, and copies the state only once. */
export function reduceAll(state, lines) {
  let draft = null;
  for (const line of lines) {
    if (line?.v !== 1 || !line.content) continue;
    const known = (draft ?? state).run?.run;
    if (line.kind === 'resync' || (line.kind === 'run' && known && known !== line.content.run)) draft = initial();
    draft ??= copy(state);
    if (line.kind !== 'run' && line.seq && line.seq <= draft.seq) continue; // read before a reconnection
    const at = timeOf(line.time);
    if (!Number.isFinite(at)) continue;
    draft.seq = Math.max(draft.seq, line.seq ?? 0);
    draft.first ||= at;
    draft.time = Math.max(draft.time, at);
    apply[line.kind]?.(draft, line, at);
  }
  if (!draft) return state;
  forget(draft);
  return draft;
}

function copy(state) {
  return {
    ...state,
    parts: new Map(state.parts),
    journeys: new Map(state.journeys),
    alias: new Map(state.alias),
    totals: { ...state.totals },
    lists: { ...state.lists },
    queues: new Map(state.queues),
    gauges: new Map(state.gauges),
    faults: [...state.faults],
    marks: [...state.marks],
    charts: { post: [...state.charts.post], propagation: [...state.charts.propagation], depth: [...state.charts.depth] },
  };
}

const after = (subject) => subject.slice(subject.indexOf('/') + 1);

/** apply has a function per kind; a kind that is not here is ignored. Each may change the draft, not what is in it. */
const apply = {
  run(draft, line) {
    draft.run = line.content;
  },

  part(draft, line, at) {
    const id = after(line.subject);
    const { detail, replica } = line.content;
    const state = awaited(draft, id, line.content) ? 'starting' : line.content.state;
    const before = draft.parts.get(id);
    const replicas = replica ? { ...before?.replicas, [replica]: state } : {}; // without one, it is about all of them
    const states = Object.values(replicas);
    const whole = states.includes('up') ? 'up' : state; // one replica that is up is enough to serve
    const since = before?.state === whole ? before.since : at;
    draft.parts.set(id, { state: whole, detail: detail ?? '', since, replicas });
    if (before && before.state !== whole) mark(draft, { at, kind: 'part', part: id, state: whole });
  },

  hop(draft, line, at) {
    const hop = named(line.content);
    let key = line.subject;
    if (key.startsWith('message/')) key = draft.alias.get(after(key)) ?? key;
    else if (hop.message) key = join(draft, key, hop.message);
    if (!draft.journeys.has(key) && wasForgotten(draft, key)) return storedUnnamed(draft, key, hop.hop === 'stored');
    const journey = { ...(draft.journeys.get(key) ?? fresh(key, at)) };
    journey.id ??= hop.id ?? null;
    journey.name ||= hop.name ?? '';
    journey.message ||= hop.message ?? (key.startsWith('message/') ? after(key) : '');
    journey.trace ||= hop.trace ?? '';
    const known = journey.hops;
    journey.hops = withHop(known, { ...hop, at, start: hop.start ? timeOf(hop.start) : null });
    settle(draft, key, journey);
    measure(draft, known, hop, at);
  },

  list(draft, line, at) {
    const which = after(line.subject);
    const { added = [], removed = [], total } = line.content;
    const snapshot = draft.lists[which] === undefined; // what was there before the console began to look
    draft.lists[which] = total;
    for (const { id, name } of added) listed(draft, which, `platform/${id}`, id, name, snapshot ? null : at);
    for (const id of removed) unlisted(draft, which, `platform/${id}`, line.seq);
    if (snapshot && which === 'commands') for (const [key, journey] of draft.journeys) if (journey.before) settle(draft, key, { ...journey });
  },

  queue(draft, line, at) {
    const name = after(line.subject);
    draft.queues.set(name, { ...line.content, name });
    if (line.content.role === 'dead' && line.content.depth === 0) dropLetters(draft, at);
    draft.charts.depth = sample(draft.charts.depth, at, depth(draft), 'last');
  },

  gauge(draft, line, at) {
    draft.gauges.set(line.subject, line.content);
    if (line.subject.endsWith('outbox')) draft.charts.depth = sample(draft.charts.depth, at, depth(draft), 'last');
  },

  fault(draft, line, at) {
    const { content } = line;
    const part = after(line.subject);
    const index = draft.faults.findLastIndex((f) => f.action === content.action && f.part === part && f.state !== 'ended' && f.state !== 'refused');
    const fault = { ...(index >= 0 ? draft.faults[index] : { at }), ...content, part, last: at };
    if (index >= 0) draft.faults[index] = fault;
    else draft.faults.push(fault);
    draft.faults = draft.faults.slice(-bounds.faults);
    mark(draft, { at, kind: 'fault', part, state: content.state, text: content.action });
  },

  note(draft, line, at) {
    mark(draft, { at, kind: 'note', text: line.content.text });
  },

  sampled(draft, line) {
    draft.left += line.content.left ?? 0;
  },
};

/** named tells a request that was repeated from the one that was accepted: nothing was created by it. */
export function named(hop) {
  return hop.hop === 'accepted' && hop.reason ? { ...hop, hop: 'repeated' } : hop;
}

/** awaited is final's exchange before the services have declared it: recordings made earlier say that it is down. */
function awaited(draft, id, { state, detail }) {
  return id === 'exchange' && state === 'down' && detail === 'it does not exist yet' && Boolean(draft.run?.parts?.some((part) => part.id === 'outbox'));
}

function mark(draft, m) {
  draft.marks.push(m);
  if (draft.marks.length > bounds.marks) draft.marks.shift();
}

/** fresh is a platform, or a message, of which nothing is known. */
function fresh(key, at) {
  return {
    key, at, id: null, name: '', message: '', trace: '', hops: [],
    before: false, //   it was there before the console began to look
    accepted: false, // PlatformService answered 201, or lists it
    stored: false, //   CommandsService says that it has it
    unheard: '', //      in a chapter: why nothing heard of it when it was created
    dead: false, dropped: false, refused: false, failed: '', retried: 0,
    inPlatforms: false, inCommands: false, gone: false,
  };
}

/** join makes one journey of a message and the platform that it turned out to report. It returns the platform's subject. */
function join(draft, key, message) {
  draft.alias.set(message, key);
  const other = draft.journeys.get(`message/${message}`);
  if (!other) return key;
  draft.journeys.delete(other.key);
  count(draft, other, -1);
  const journey = { ...(draft.journeys.get(key) ?? fresh(key, other.at)) };
  journey.message = message;
  journey.hops = other.hops.reduce(withHop, journey.hops);
  settle(draft, key, journey);
  return key;
}

const rank = (hop) => HOPS.indexOf(hop);

/** withHop adds a hop in the order of time. Of a station that is reported twice, the span is believed, or the first report, unless the message came back in between. */
function withHop(hops, hop) {
  const known = hops.findLastIndex((h) => h.hop === hop.hop);
  const cameBack = hops.findLastIndex((h) => h.hop === 'retried' || h.hop === 'replayed' || h.hop === 'dead_lettered');
  if (known >= 0 && rank(hop.hop) >= 0 && known > cameBack) {
    const first = hops[known];
    const [better, other] = hop.from === 'span' && first.from !== 'span' ? [hop, first] : [first, hop];
    return withHop(hops.toSpliced(known, 1), { ...other, ...dropNulls(better) });
  }
  const at = hops.findLastIndex((h) => h.at < hop.at || (h.at === hop.at && rank(h.hop) <= rank(hop.hop)));
  const all = hops.toSpliced(at + 1, 0, hop);
  return all.length <= bounds.hops ? all : all.toSpliced(bounds.hops / 2, 1);
}

const dropNulls = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null && value !== undefined));

/** settle stores a journey with what its hops and the lists say, and keeps the totals. */
function settle(draft, key, journey) {
  const before = draft.journeys.get(key);
  const has = (name) => journey.hops.some((h) => h.hop === name);
  const last = (name) => journey.hops.findLastIndex((h) => h.hop === name);
  const refusal = has('refused') && !journey.inPlatforms && !has('accepted');
  journey.refused = refusal;
  journey.accepted = (journey.inPlatforms && !unreported(draft, journey)) || journey.gone || has('accepted') || has('outbox') || has('backfilled') || (journey.id !== null && journey.hops.length > 0 && !refusal);
  journey.stored = journey.inCommands || (!journey.lost && (has('stored') || has('backfilled') || has('acknowledged')));
  const back = Math.max(last('replayed'), last('delivered'), last('retried')); // it was a dead letter no longer
  journey.dead = !journey.stored && last('dead_lettered') > Math.max(back, last('dropped'));
  journey.dropped = !journey.stored && last('dropped') > Math.max(back, last('dead_lettered'));
  journey.failed = journey.hops.findLast((h) => h.hop === 'notified')?.reason ?? '';
  journey.retried = journey.hops.filter((h) => h.hop === 'retried').length;
  if (journey.accepted && !before?.accepted) journey.unheard = unheard(draft);
  if (before) count(draft, before, -1);
  count(draft, journey, 1);
  draft.journeys.set(key, journey);
}

/** dropLetters is an empty queue of dead letters: no span tells that one was dropped. */
function dropLetters(draft, at) {
  for (const [key, journey] of draft.journeys) {
    if (!journey.dead || journey.hops.at(-1).at > at) continue;
    settle(draft, key, { ...journey, hops: withHop(journey.hops, { hop: 'dropped', at, start: null, from: 'queue' }) });
  }
}

/** unreported is a platform of a chapter's beginning, which that chapter reports to nothing: the seeds of 02 and 06. Until CommandsService's list is known, nothing says that a platform of the beginning waits. */
function unreported(draft, journey) {
  if (journey.before && draft.lists.commands === undefined && Boolean(draft.run?.parts)) return true;
  return journey.before && !journey.inCommands && Boolean(draft.run?.parts) && !draft.run.parts.some((part) => part.id === 'outbox');
}

/** unheard says which part of a chapter is down: without an outbox nothing keeps what is created meanwhile. */
function unheard(draft) {
  const has = (id) => draft.run?.parts?.some((part) => part.id === id);
  const down = (id) => has(id) && draft.parts.get(id)?.state === 'down';
  if (!draft.run?.parts || has('outbox')) return '';
  if (down('commandsservice')) return 'CommandsService was down';
  return down('broker') || down('exchange') ? 'there was no exchange to take it' : '';
}

/** count adds a journey to the totals, or takes it out. A message that is no platform was not accepted. */
function count(draft, journey, n) {
  const t = draft.totals;
  if (journey.refused) t.refused += n;
  if (!journey.accepted) return;
  t.accepted += n;
  if (journey.stored) t.stored += n;
  else if (journey.dead) t.dead += n;
  else if (journey.dropped) t.dropped += n;
}

/** listed is a service that lists a platform. Where spans don't tell, the first sight of it in a list is a hop; at is null when it was there before. */
function listed(draft, which, key, id, name, at) {
  if (!draft.journeys.has(key) && wasForgotten(draft, key)) return storedUnnamed(draft, key, which === 'commands');
  const journey = { ...(draft.journeys.get(key) ?? fresh(key, at ?? draft.time)), id, [which === 'platforms' ? 'inPlatforms' : 'inCommands']: true };
  if (at === null && which === 'platforms') journey.before = true;
  if (which === 'commands') journey.lost = false;
  if (name && (which === 'platforms' || !journey.name)) journey.name = name;
  const station = which === 'platforms' ? 'accepted' : 'stored';
  if (at !== null && !journey.hops.some((h) => h.hop === station || h.hop === 'backfilled')) {
    journey.hops = withHop(journey.hops, { hop: station, at, start: null, from: 'list' });
  }
  settle(draft, key, journey);
}

/** unlisted is a service that has forgotten a platform: it was restarted without its data. Its id may be given again, to another. */
function unlisted(draft, which, key, seq) {
  const found = draft.journeys.get(key);
  if (!found) return;
  if (which === 'commands') return settle(draft, key, { ...found, inCommands: false, lost: true });
  draft.journeys.delete(key);
  count(draft, found, -1);
  const old = { ...found, key: `${key}#${seq}`, inPlatforms: false, gone: true };
  settle(draft, old.key, old);
}

/** measure adds a hop to the charts. Each service sends its own spans, so that it was stored may be known before that it was accepted. */
function measure(draft, known, hop, at) {
  if (hop.hop === 'accepted' && hop.ms !== undefined) draft.charts.post = sample(draft.charts.post, at, hop.ms);
  const accepted = known.find((h) => h.hop === 'accepted');
  const stored = known.find((h) => h.hop === 'stored' && h.from !== 'list');
  if (hop.hop === 'stored' && accepted) draft.charts.propagation = sample(draft.charts.propagation, at, Math.max(0, at - accepted.at));
  if (hop.hop === 'accepted' && !accepted && stored) draft.charts.propagation = sample(draft.charts.propagation, stored.at, Math.max(0, stored.at - at));
}

/** depth is what waits in the outbox and the queue, as far as that is known: in the chapters it isn't. */
function depth(draft) {
  let work;
  for (const queue of draft.queues.values()) if (queue.role === 'work') work = (work ?? 0) + queue.depth;
  return { queue: work, outbox: draft.gauges.get('outbox')?.pending };
}

/** sample adds a value to its second. Of many it keeps some, spread evenly; of gauges the last. */
function sample(seconds, at, value, keep) {
  const second = Math.floor(at / 1000);
  const index = seconds.findLastIndex((b) => b.second === second);
  const before = index >= 0 ? seconds[index] : { second, n: 0, values: [] };
  const bucket = { second, n: before.n + 1, values: before.values };
  if (keep === 'last') bucket.values = [value];
  else if (before.n < bounds.samples) bucket.values = [...before.values, value];
  else bucket.values = before.values.with((before.n * 31) % bounds.samples, value);
  const all = index >= 0 ? seconds.with(index, bucket) : [...seconds, bucket].sort((a, b) => a.second - b.second);
  return all.length <= bounds.seconds ? all : all.slice(-bounds.seconds);
}

/** forget keeps the number of remembered platforms bounded: the oldest that are settled go, then the oldest. The totals keep them. */
function forget(draft) {
  if (draft.journeys.size <= bounds.journeys) return;
  const unnamed = [];
  let excess = draft.journeys.size - bounds.journeys + bounds.spare;
  for (const onlySettled of [true, false]) {
    for (const [key, journey] of draft.journeys) {
      if (excess <= 0 || (!onlySettled && draft.journeys.size <= bounds.journeys)) break;
      if (onlySettled && !journey.stored && !journey.refused && !journey.dropped) continue;
      draft.journeys.delete(key);
      draft.alias.delete(journey.message);
      draft.evicted = Math.max(draft.evicted, journey.id ?? 0);
      if (journey.accepted && !journey.stored && !journey.dead && !journey.dropped && draft.unnamed.size < bounds.unnamed) unnamed.push(journey.id);
      excess--;
    }
  }
  if (unnamed.length > 0) draft.unnamed = new Set([...draft.unnamed, ...unnamed]);
}

/** wasForgotten reports whether key is a platform that was remembered once. */
function wasForgotten(draft, key) {
  const id = Number(after(key));
  return Number.isInteger(id) && id > 0 && id <= draft.evicted;
}

/** storedUnnamed counts a forgotten platform that turns out to be stored; whatever else is said of it changes nothing. */
function storedUnnamed(draft, key, stored) {
  const id = Number(after(key));
  if (!stored || !draft.unnamed.has(id)) return;
  draft.unnamed = new Set(draft.unnamed);
  draft.unnamed.delete(id);
  draft.totals.stored++;
}
