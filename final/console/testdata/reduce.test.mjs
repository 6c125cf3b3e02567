// Table tests of the reducer, with node's own runner; reduce_test.go runs them, on recordings of real runs.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

const page = new URL('../page/console/', import.meta.url);
const { initial, reduce, reduceAll } = await import(new URL('reduce.js', page));
const { ledger, nameOf, narrate, place } = await import(new URL('select.js', page));
const { Player, Tape, parseLines } = await import(new URL('player.js', page));
const { Events } = await import(new URL('feed.js', page));

const start = Date.parse('2026-11-28T10:00:00Z');
const final = ['client', 'gateway', 'platformservice', 'platforms-db', 'outbox', 'relay', 'broker', 'exchange', 'commandsservice', 'commands-db', 'dead-letters'].map((id) => ({ id, title: id }));
const chapter02 = final.filter(({ id }) => ['client', 'platformservice', 'platforms-db', 'commandsservice', 'commands-db'].includes(id));

/** play makes lines of [milliseconds, kind, subject, content] and returns the state after them. */
function play(rows, parts = final, state = initial()) {
  const all = state.run ? rows : [[0, 'run', 'run', { run: 'a', stage: 'final', title: 'test', parts, sees: [], cannotSee: [] }], ...rows];
  const lines = all.map(([ms, kind, subject, content], i) => ({ v: 1, seq: state.seq + i + 1, time: new Date(start + ms).toISOString(), kind, subject, content }));
  return reduceAll(state, lines);
}

const hop = (ms, id, name, more = {}) => [ms, 'hop', `platform/${id}`, { hop: name, id, name: `p${id}`, message: `m${id}`, from: 'span', ...more }];
const where = (state, id, ms) => place(state.journeys.get(`platform/${id}`), state, start + ms).where;
const sums = (state, ms = 0) => {
  const { accepted, stored, way, dead, missing } = ledger(state, start + ms);
  assert.equal(accepted, stored + way + dead + missing, 'the ledger adds up');
  return { accepted, stored, way, dead, missing };
};

test('a platform goes through every station, and is where its last hop says', () => {
  let state = play([hop(1, 4, 'accepted', { ms: 1 })]);
  for (const [next, expected] of [['outbox', 'relay'], ['relay', 'exchange'], ['confirmed', 'queue'], ['delivered', 'commandsservice'], ['stored', 'stored'], ['acknowledged', 'stored']]) {
    state = play([hop(10, 4, next)], final, state);
    assert.equal(where(state, 4, 10), expected, next);
  }
  assert.deepEqual(sums(state), { accepted: 1, stored: 1, way: 0, dead: 0, missing: 0 });
});

test('the chart has how long it took until stored, whichever report comes first', () => {
  for (const rows of [[hop(1, 4, 'accepted'), hop(9, 4, 'stored')], [hop(9, 4, 'stored'), hop(1, 4, 'accepted')]]) {
    assert.deepEqual(play(rows).charts.propagation.map(({ values }) => values), [[8]]);
  }
});

test('a state is never changed once it was returned', () => {
  const before = play([hop(1, 4, 'accepted')]);
  const copy = structuredClone(before);
  play([hop(2, 4, 'stored'), [3, 'part', 'part/broker', { state: 'down' }], [4, 'list', 'list/platforms', { added: [{ id: 5, name: 'x' }], total: 5 }]], final, before);
  assert.deepEqual(before, copy);
});

const table = [
  ['while the broker is down, it waits in the outbox', final, [[0, 'part', 'part/broker', { state: 'down' }], hop(1, 4, 'accepted')], 60_000, 'outbox'],
  ['while CommandsService is down, it waits in the queue', final, [[0, 'part', 'part/commandsservice', { state: 'down' }], hop(1, 4, 'accepted'), hop(2, 4, 'confirmed')], 60_000, 'queue'],
  ['what was delivered to a service that died is in the queue again', final, [hop(1, 4, 'accepted'), hop(2, 4, 'delivered'), [3, 'part', 'part/commandsservice', { state: 'down' }]], 60_000, 'queue'],
  ['hops that arrive late are sorted by their time', final, [hop(9, 4, 'confirmed'), hop(1, 4, 'accepted')], 10, 'queue'],
  ['an event that failed waits in a retry queue', final, [hop(1, 4, 'accepted'), hop(2, 4, 'delivered'), hop(3, 4, 'retried', { reason: 'locked' })], 60_000, 'retry'],
  ['a dead letter is one', final, [hop(1, 4, 'accepted'), hop(2, 4, 'delivered'), hop(3, 4, 'dead_lettered', { reason: 'unusable' })], 60_000, 'dead'],
  ['a dead letter that was replayed is in the queue', final, [hop(1, 4, 'accepted'), hop(3, 4, 'dead_lettered'), hop(4, 4, 'replayed')], 10, 'queue'],
  ['a dead letter that was dropped is missing', final, [hop(1, 4, 'accepted'), hop(3, 4, 'dead_lettered'), hop(4, 4, 'dropped')], 10, 'missing'],
  ['a backfill stores it', final, [hop(1, 4, 'accepted'), hop(3, 4, 'backfilled')], 10, 'stored'],
  ['the list of CommandsService is evidence', final, [hop(1, 4, 'accepted'), [2, 'list', 'list/commands', { added: [], total: 0 }], [3, 'list', 'list/commands', { added: [{ id: 4, name: 'p4' }], total: 1 }]], 60_000, 'stored'],
  ['with empty queues and lists that differ, nothing holds it', final, [hop(1, 4, 'accepted'), hop(2, 4, 'confirmed'), [3, 'list', 'list/platforms', { added: [], total: 4 }], [3, 'list', 'list/commands', { added: [], total: 3 }]], 60_000, 'missing'],
  ['a refused request was not accepted', final, [hop(1, 4, 'refused', { reason: '400' })], 10, 'client'],
  ['in 02, what was created while CommandsService was down is missing', chapter02, [[0, 'list', 'list/platforms', { added: [], total: 0 }], [0, 'part', 'part/commandsservice', { state: 'down' }], [1, 'list', 'list/platforms', { added: [{ id: 4, name: 'p4' }], total: 1 }]], 10, 'missing'],
  ['in 02, a call that failed has lost it', chapter02, [hop(1, 4, 'accepted'), hop(2, 4, 'notified', { reason: 'refused' })], 10, 'missing'],
  ['in 02, it is missing when it was not stored in time', chapter02, [hop(1, 4, 'accepted')], 5000, 'missing'],
  ['in 02, CommandsService may have forgotten it', chapter02, [hop(1, 4, 'accepted'), hop(2, 4, 'stored'), [3, 'list', 'list/commands', { added: [{ id: 4, name: 'p4' }], total: 1 }], [4, 'list', 'list/commands', { added: [], removed: [4], total: 0 }]], 10, 'missing'],
];
for (const [title, parts, rows, ms, expected] of table) {
  test(title, () => {
    const state = play(rows, parts);
    assert.equal(where(state, 4, ms), expected);
    sums(state, ms);
  });
}

test('a message whose platform is learned later becomes one journey with it', () => {
  const state = play([[1, 'hop', 'message/m4', { hop: 'confirmed', message: 'm4' }], hop(2, 4, 'accepted'), [3, 'hop', 'message/m4', { hop: 'stored', message: 'm4' }]]);
  assert.equal(state.journeys.size, 1);
  assert.deepEqual(state.journeys.get('platform/4').hops.map((h) => h.hop), ['confirmed', 'accepted', 'stored']);
});

test('an empty queue of dead letters has none: they were dropped, unless they came back', () => {
  const empty = (ms) => [ms, 'queue', 'queue/dead', { depth: 0, consumers: 0, role: 'dead' }];
  const dead = [hop(1, 4, 'accepted'), hop(2, 4, 'delivered'), hop(3, 4, 'dead_lettered')];
  assert.equal(where(play([...dead, empty(2)]), 4, 10), 'dead', 'the queue was empty before');
  assert.equal(where(play([...dead, empty(9)]), 4, 10), 'missing');
  assert.equal(where(play([...dead, hop(8, 4, 'delivered'), empty(9), hop(10, 4, 'stored')]), 4, 10), 'stored');
  assert.equal(where(play([...dead, hop(7, 4, 'delivered'), hop(8, 4, 'retried'), empty(9)]), 4, 10), 'retry');
  assert.equal(where(play([...dead, empty(8), hop(9, 4, 'dead_lettered')]), 4, 10), 'dead', 'replayed, and failed again');
  assert.equal(ledger(play([[1, 'hop', 'message/bad', { hop: 'dead_lettered', message: 'bad' }], empty(2)]), start).strangers.length, 0);
});

test('a message that is no platform is a dead letter, and was not accepted', () => {
  const state = play([[1, 'hop', 'message/bad', { hop: 'dead_lettered', message: 'bad', reason: 'not JSON' }]]);
  assert.equal(ledger(state, start).strangers.length, 1);
  assert.equal(sums(state).accepted, 0);
});

test('a span is believed more than a list, whichever comes first', () => {
  const list = [[0, 'list', 'list/platforms', { added: [], total: 3 }], [900, 'list', 'list/platforms', { added: [{ id: 4, name: 'p4' }], total: 4 }]];
  for (const rows of [[...list, hop(1, 4, 'accepted', { ms: 1.5 })], [hop(1, 4, 'accepted', { ms: 1.5 }), ...list]]) {
    const [accepted, ...rest] = play(rows).journeys.get('platform/4').hops;
    assert.equal(accepted.ms, 1.5);
    assert.equal(accepted.at, start + 1);
    assert.equal(rest.length, 0);
  }
});

test('an id that is given again is another platform', () => {
  const state = play([[0, 'list', 'list/platforms', { added: [], total: 0 }], [1, 'list', 'list/platforms', { added: [{ id: 4, name: 'first' }], total: 1 }],
    [2, 'list', 'list/platforms', { added: [], removed: [4], total: 0 }], [3, 'list', 'list/platforms', { added: [{ id: 4, name: 'second' }], total: 1 }]]);
  assert.equal(state.journeys.get('platform/4').name, 'second');
  assert.equal(sums(state).accepted, 2);
});

test('one replica that is up keeps a part up', () => {
  const part = (ms, replica, state) => [ms, 'part', 'part/platformservice', { replica, state }];
  const state = play([part(1, 'a', 'up'), part(2, 'b', 'up'), part(3, 'a', 'down')]);
  assert.equal(state.parts.get('platformservice').state, 'up');
  assert.equal(play([part(4, 'b', 'down')], final, state).parts.get('platformservice').state, 'down');
});

test('lines that were read before are ignored, and those of another run or version begin anew or not at all', () => {
  const state = play([hop(1, 4, 'accepted')]);
  const line = (seq, kind, content, v = 1) => ({ v, seq, time: new Date(start).toISOString(), kind, subject: 'platform/5', content });
  assert.equal(reduce(state, line(1, 'hop', { hop: 'accepted', id: 5 })).journeys.size, 1);
  assert.equal(reduce(state, line(99, 'hop', { hop: 'accepted', id: 5 }, 2)), state);
  assert.equal(reduce(state, line(99, 'unheard of', {})).journeys.size, 1);
  assert.equal(reduce(state, line(1, 'run', { run: 'another', parts: final })).journeys.size, 0);
  const again = reduceAll(state, [line(7, 'resync', {}), line(1, 'run', { run: 'a', parts: final }), line(8, 'hop', { hop: 'accepted', id: 5 })]);
  assert.deepEqual([...again.journeys.keys()], ['platform/5']);
});

test('broken lines do no harm', () => {
  const state = play([]);
  for (const line of [null, 1, 'x', {}, { v: 1 }, { v: 1, kind: 'hop', subject: 'platform/4', time: 'never', content: { hop: 'x' } }]) assert.deepEqual(reduce(state, line), state);
  const { lines, bad } = parseLines('{"v":1,"time":"2026-11-28T10:00:00Z","kind":"note","content":{}}\nnot JSON\n\n{"v":1}\n');
  assert.deepEqual([lines.length, bad], [1, 2]);
});

test('memory is bounded, and the ledger still adds up', () => {
  let state = play([]);
  for (let id = 1; id <= 30_000; id += 100) {
    const rows = Array.from({ length: 100 }, (_, i) => hop(id, id + i, 'accepted', { ms: 1 })).concat(Array.from({ length: 100 }, (_, i) => (id + i) % 3 ? hop(id, id + i, 'stored') : hop(id, id + i, 'outbox')));
    state = play(rows, final, state);
  }
  assert.ok(state.journeys.size <= 2000, `${state.journeys.size} journeys`);
  assert.ok(state.alias.size <= 2000 && state.marks.length <= 200 && state.charts.post.length <= 120);
  assert.deepEqual(sums(state), { accepted: 30_000, stored: 20_000, way: 10_000, dead: 0, missing: 0 });
  state = play(Array.from({ length: 10_000 }, (_, i) => hop(40_000, 3 * (i + 1), 'stored')), final, state);
  assert.deepEqual(sums(state), { accepted: 30_000, stored: 30_000, way: 0, dead: 0, missing: 0 });
});

test('what happens is said in a sentence', () => {
  const down = play([[0, 'part', 'part/broker', { state: 'up' }], [1, 'part', 'part/broker', { state: 'down' }], hop(2, 4, 'accepted')]);
  assert.equal(narrate(down, start + 10).text, 'broker is down. p4 waits in the outbox: the client has its 201, and the event is safe in PlatformService’s database.');
  const done = play([hop(2.5, 4, 'accepted', { ms: 1.25 }), hop(9, 4, 'stored')]);
  assert.match(narrate(done, start + 10).text, /^p4 was accepted in 1\.3 ms, and CommandsService had stored it 7\.0 ms later\.$/);
  const fast = play([hop(1, 4, 'stored'), hop(2.5, 4, 'accepted', { ms: 2 })]);
  assert.equal(narrate(fast, start + 10).text, 'p4 was accepted in 2.0 ms, and CommandsService had stored it before the response was out.');
});

test('the platforms of the beginning wait for nothing, until the other list says that it lacks them', () => {
  const platforms = [1, 'list', 'list/platforms', { added: [{ id: 1, name: 'a' }, { id: 2, name: 'b' }], total: 2 }];
  const half = play([platforms]);
  assert.deepEqual(sums(half), { accepted: 0, stored: 0, way: 0, dead: 0, missing: 0 });
  assert.deepEqual(sums(play([[2, 'list', 'list/commands', { added: [{ id: 1, name: 'a' }], total: 1 }]], final, half), 10), { accepted: 2, stored: 1, way: 1, dead: 0, missing: 0 });
});

test('a repeated request changes nothing of the journey that it repeats', () => {
  const rows = [hop(1, 4, 'accepted', { ms: 1.25 }), hop(2, 4, 'outbox'), hop(9, 4, 'confirmed')];
  const again = hop(5000, 4, 'accepted', { ms: 0.5, reason: 'the key was used before' });
  const state = play([...rows, again]);
  const { hops } = state.journeys.get('platform/4');
  assert.deepEqual(hops.map((h) => [h.hop, h.reason]), [['accepted', undefined], ['outbox', undefined], ['confirmed', undefined], ['repeated', 'the key was used before']]);
  assert.equal(hops[0].ms, 1.25);
  assert.deepEqual(place(state.journeys.get('platform/4'), state, start + 5001), place(play(rows).journeys.get('platform/4'), play(rows), start + 5001));
});

test('an exchange that does not exist yet is starting in final, and down in a chapter', () => {
  const rows = [[0, 'part', 'part/exchange', { state: 'down', detail: 'it does not exist yet' }]];
  assert.equal(play(rows).parts.get('exchange').state, 'starting');
  assert.deepEqual(narrate(play(rows), start + 10), { tone: 'wait', text: 'exchange is starting.' });
  assert.equal(play(rows, final.filter(({ id }) => id !== 'outbox')).parts.get('exchange').state, 'down');
});

test('what happens is said in a sentence, and only where something can be done it invites to it', () => {
  const broken = play([[0, 'part', 'part/broker', { state: 'down' }]]);
  for (const [state, invites, text] of [
    [play([]), true, 'Everything is up. Create a platform, and watch it travel.'],
    [play([]), false, 'Everything is up.'],
    [broken, true, 'broker is down. Create a platform now, and see where it waits.'],
    [broken, false, 'broker is down.'],
  ]) assert.equal(narrate(state, start + 10, ledger(state, start + 10), invites).text, text);
});

test('a refusal is the headline for a moment', () => {
  const refused = (status) => play([hop(1, 4, 'accepted', { ms: 1 }), hop(9, 4, 'stored'), [2000, 'hop', 'trace/t', { hop: 'refused', reason: status, trace: 't' }]]);
  assert.deepEqual(narrate(refused('400'), start + 2010), { tone: 'bad', text: 'Refused: 400, nothing was stored.' });
  assert.equal(narrate(refused('503'), start + 2010).text, 'Refused: 503.');
  assert.match(narrate(refused('400'), start + 60_000).text, /^p4 was accepted/);
  assert.equal(nameOf(refused('400').journeys.get('trace/t')), 'a refused request');
  assert.match(narrate(play([hop(3000, 5, 'accepted'), hop(3009, 5, 'stored')], final, refused('400')), start + 3010).text, /^p5 was accepted/);
});

test('an outage is summed up once all that waited is stored: for twelve seconds, and then until something newer is', () => {
  const part = (ms, id, state) => [ms, 'part', `part/${id}`, { state }];
  const rows = (id) => [part(0, id, 'up'), hop(1, 3, 'accepted'), hop(5, 3, 'stored'), part(1000, id, 'down'), hop(2000, 4, 'accepted'), hop(3000, 5, 'accepted'), part(22_000, id, 'up'), hop(22_100, 4, 'stored')];
  const half = play(rows('broker'));
  assert.doesNotMatch(narrate(half, start + 22_110).text, /was down/);
  const whole = play([hop(22_120, 5, 'stored')], final, half);
  assert.equal(narrate(whole, start + 22_130).text, 'broker was down for 21.0 s: 2 platforms waited in the outbox, and none was lost.');
  const newer = play([hop(23_000, 6, 'accepted'), hop(23_009, 6, 'stored')], final, whole);
  assert.match(narrate(newer, start + 23_010).text, /was down/);
  assert.match(narrate(newer, start + 34_130).text, /^p6 was accepted/);
  assert.match(narrate(whole, start + 60_000).text, /was down/);
  assert.match(narrate(play([hop(23_000, 6, 'accepted')], final, whole), start + 23_010).text, /was down/, 'while something newer is on its way');
  assert.equal(narrate(play([...rows('commandsservice'), hop(22_120, 5, 'stored')]), start + 22_130).text, 'commandsservice was down for 21.0 s: 2 platforms waited in the queue, and none was lost.');
});

test('the feed is cut into events, wherever its packets end', () => {
  const events = new Events();
  const text = 'id: a-1\ndata: {"x":1}\n\n: heartbeat\n\nid: a-2\r\ndata: {"x":2}\r\n\r\n';
  const found = [...text].flatMap((letter) => events.push(letter));
  assert.deepEqual(found, [{ id: 'a-1', data: '{"x":1}' }, { id: 'a-2', data: '{"x":2}' }]);
});

// Recordings of real runs: at every moment the ledger adds up, and jumping there is the same as playing to there.
const recordings = readdirSync(page).filter((name) => name.endsWith('.ndjson')).map((name) => new URL(name, page));
for (const url of recordings) {
  test(`recording ${url.pathname.split('/').at(-1)}`, () => {
    const { lines, bad } = parseLines(readFileSync(url, 'utf8'));
    assert.equal(bad, 0);
    assert.equal(lines[0].kind, 'run');
    const tape = new Tape(lines);
    let state = tape.base;
    lines.forEach((line, i) => {
      state = reduce(state, line);
      const l = ledger(state, tape.times[i]);
      assert.equal(l.accepted, l.stored + l.way + l.dead + l.missing, `line ${i + 1}`);
      assert.notEqual(narrate(state, tape.times[i]).text, '');
      if (i % 97 === 0) assert.deepEqual(tape.at(i + 1), state);
    });
    const end = ledger(state, tape.end);
    assert.equal(end.way, 0, 'nothing is left on the way');
    if (lines[0].content.stage === 'final') assert.equal(end.missing, 0, 'final loses nothing');
    const player = new Player([tape]);
    for (let wall = 0; player.playing || wall === 0; wall += 100) {
      if (wall === 0) player.play();
      player.tick(wall);
    }
    assert.deepEqual(player.states[0], state);
  });
}
