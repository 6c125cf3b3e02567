// What a state means: where each platform is, the ledger, one sentence. Pure, like the reducer;
// now is the moment for which the question is asked.

import { count, duration } from './words.js';

const keptFor = 12_000; //  how long what an outage came to stays the headline, whatever else happens
const grace = 3000; //       a chapter without an outbox: after this, nothing holds the event any more
const refusedFor = 8000; // how long a refusal is the headline
const longest = 60; //       characters of a name that are shown
const graceFinal = 15_000; // with an outbox: the same, if in addition every queue is empty and the lists differ

/** titles are what the places are called. */
export const places = {
  client: 'not accepted',
  outbox: 'in the outbox',
  relay: 'with the relay',
  exchange: 'on its way',
  queue: 'in the queue',
  commandsservice: 'with CommandsService',
  retry: 'in a retry queue',
  dead: 'dead letter',
  stored: 'stored',
  missing: 'missing',
};

export const has = (state, part) => !state.run?.parts || state.run.parts.some((p) => p.id === part);
export const isDown = (state, part) => ['down', 'stopping', 'starting'].includes(state.parts.get(part)?.state);
export const isPaused = (state, part) => state.parts.get(part)?.state === 'paused';
export const impaired = (state, part) => isDown(state, part) || isPaused(state, part);

/** titleOf is a part's name. */
export function titleOf(state, part) {
  return state.run?.parts?.find((p) => p.id === part)?.title ?? part;
}

/** totalDepth is the number of messages in the queues of a role. */
export function totalDepth(state, role) {
  let n = 0;
  for (const queue of state.queues.values()) if (queue.role === role) n += queue.depth;
  return n;
}

/** place says where a platform is: the key of places, since when, and why it waits there. */
export function place(journey, state, now) {
  const last = journey.hops.findLast((h) => h.hop !== 'repeated') ?? journey.hops.at(-1);
  const since = last?.at ?? journey.at;
  const at = (where, why = '') => ({ where, since, why });
  if (journey.refused) return at('client', last?.reason ?? '');
  if (journey.stored) return at('stored');
  if (journey.dropped) return at('missing', 'dropped by hand');
  if (journey.dead) return at('dead', journey.hops.findLast((h) => h.hop === 'dead_lettered')?.reason ?? '');
  if (journey.lost) return at('missing', 'CommandsService forgot it when it restarted');
  return has(state, 'outbox') ? placeWithOutbox(journey, state, now, at, last) : placeInChapter(journey, state, now, at);
}

function placeWithOutbox(journey, state, now, at, last) {
  const held = { accepted: 'outbox', outbox: 'relay', relay: 'exchange', published: 'queue', confirmed: 'queue', delivered: 'commandsservice', retried: 'retry', replayed: 'queue' };
  const where = held[last?.hop] ?? 'outbox';
  const brokerDown = impaired(state, 'broker');
  if (['outbox', 'relay', 'exchange'].includes(where) && brokerDown) return at('outbox', `the broker is ${state.parts.get('broker').state}`);
  if (where === 'outbox' && impaired(state, 'platformservice')) return at('outbox', 'PlatformService is not running');
  if (where === 'commandsservice' && isDown(state, 'commandsservice')) return at('queue', 'CommandsService is down; the broker delivers it again');
  if (where === 'commandsservice' && isPaused(state, 'commandsservice')) return at('commandsservice', 'CommandsService is paused');
  if (where === 'queue' && impaired(state, 'commandsservice')) return at('queue', `CommandsService is ${state.parts.get('commandsservice').state}`);
  if (where === 'queue' && brokerDown) return at('queue', 'the broker is down, and has it on disk');
  const { platforms, commands } = state.lists;
  const nothingHolds = !['outbox', 'retry'].includes(where) && totalDepth(state, 'work') + totalDepth(state, 'retry') === 0
    && platforms !== undefined && commands !== undefined && commands < platforms;
  if (nothingHolds && last && now - last.at > graceFinal) return at('missing', 'no queue holds it');
  return at(where, where === 'retry' ? last.reason ?? '' : '');
}

function placeInChapter(journey, state, now, at) {
  if (journey.failed) return at('missing', `the call failed: ${journey.failed}`);
  if (journey.unheard) return at('missing', journey.unheard);
  const called = !has(state, 'exchange'); // PlatformService calls, and waits
  if (!called && totalDepth(state, 'work') > 0) return at('queue', impaired(state, 'commandsservice') ? `CommandsService is ${state.parts.get('commandsservice').state}` : '');
  if (now - journey.at <= grace) return at(called ? 'commandsservice' : 'exchange');
  if (isPaused(state, 'commandsservice')) return at('commandsservice', 'CommandsService is paused');
  return at('missing', 'nothing holds it any more');
}

/** ledger divides what was accepted: every platform is in exactly one part, by name as far as names are remembered. */
export function ledger(state, now) {
  const names = { stored: [], way: [], dead: [], missing: [] };
  const strangers = []; // dead letters that no platform belongs to
  for (const journey of state.journeys.values()) {
    if (journey.accepted && journey.stored) { // nearly all, under load
      names.stored.push({ journey, where: 'stored' });
      continue;
    }
    const p = place(journey, state, now);
    if (!journey.accepted) {
      if (p.where === 'dead') strangers.push({ journey, ...p });
      continue;
    }
    const column = p.where in names ? p.where : 'way';
    names[column].push({ journey, ...p });
  }
  const accepted = state.totals.accepted;
  const { stored, dead } = state.totals;
  const missing = names.missing.length;
  return { accepted, names, strangers, stored, dead, missing, way: accepted - stored - dead - missing };
}

/** atPlaces counts, and names, the platforms at each place. */
export function atPlaces(state, now) {
  const found = new Map();
  for (const journey of state.journeys.values()) {
    if (journey.stored || journey.refused) continue;
    const p = place(journey, state, now);
    if (!found.has(p.where)) found.set(p.where, []);
    found.get(p.where).push({ journey, ...p });
  }
  return found;
}

/** nameOf is what a journey is called. */
export function nameOf(journey) {
  if (journey.name) return journey.name.length > longest ? `${journey.name.slice(0, longest - 1)}…` : journey.name;
  if (journey.id !== null) return `platform ${journey.id}`;
  return journey.refused ? 'a refused request' : 'unknown message';
}

/** causes are the parts that are broken on purpose, the one that explains the others first: a relay without a broker is down, too. */
export const causes = ['broker', 'platformservice', 'commandsservice', 'exchange', 'relay', 'platforms-db', 'commands-db', 'gateway'];

/** narrate says in one sentence what is happening: {text, tone}, with tone calm, wait or bad. Invites says that the reader can do something. */
export function narrate(state, now, l = ledger(state, now), invites = true) {
  const refused = refusal(state, now);
  if (refused) return { tone: 'bad', text: refused };
  const down = causes.map((id) => [id, state.parts.get(id)]).filter(([, p]) => p && p.state !== 'up');
  const waiting = (where) => l.names.way.filter((p) => p.where === where);
  if (down.length > 0) return narrateFault(state, l, down[0], waiting, invites);
  if (l.missing > 0) {
    return { tone: 'bad', text: `${count(l.missing, 'platform')} missing: ${list(l.names.missing)}. PlatformService accepted ${l.missing === 1 ? 'it' : 'them'}, and nothing holds the ${l.missing === 1 ? 'event' : 'events'} any more.` };
  }
  const slow = l.names.way.filter((p) => now - p.since > 1500);
  if (slow.length > 0) {
    const p = slow[0];
    return { tone: 'wait', text: `${list(slow)} ${slow.length === 1 ? 'waits' : 'wait'} ${places[p.where]}${p.why ? ` (${p.why})` : ''}, for ${duration(now - p.since)} so far.` };
  }
  const latest = lastStored(state);
  if (l.dead + l.strangers.length > 0 && !(latest && now - latest.hops.at(-1).at < 5000)) {
    return { tone: 'wait', text: `${count(l.dead + l.strangers.length, 'dead letter')}: an event that can’t be used, or failed again and again, is put aside, so that it doesn’t block the others. Replay or drop it.` };
  }
  return { tone: 'calm', text: recovered(state, now, l, latest) ?? told(latest, invites) };
}

function narrateFault(state, l, [id, part], waiting, invites) {
  const title = titleOf(state, id);
  const is = `${title} is ${part.state}.`;
  const outbox = waiting('outbox');
  const queue = [...waiting('queue'), ...waiting('commandsservice')];
  if (outbox.length > 0) {
    return { tone: 'wait', text: `${is} ${list(outbox)} ${outbox.length === 1 ? 'waits' : 'wait'} in the outbox: the client has its 201, and the event is safe in PlatformService’s database.` };
  }
  if (queue.length > 0) {
    const where = has(state, 'exchange') ? 'in the queue until it runs again' : 'for its answer, and so does the client';
    return { tone: 'wait', text: `${is} ${list(queue)} ${queue.length === 1 ? 'waits' : 'wait'} ${where}.` };
  }
  const comes = state.run?.stage === '07' && id === 'commandsservice' ? ' The backfill brings what is missing when CommandsService starts.' : '';
  if (l.missing > 0) return { tone: 'bad', text: `${is} ${count(l.missing, 'platform')} missing: ${list(l.names.missing)}.${comes}` };
  return part.state === 'starting' ? { tone: 'wait', text: is } : { tone: 'bad', text: invites ? `${is} Create a platform now, and see where it waits.` : is };
}

/** list names a few, and counts the rest. */
function list(found) {
  const names = found.slice(0, 3).map((p) => nameOf(p.journey));
  const rest = found.length - names.length;
  if (rest > 0) return `${names.join(', ')} and ${rest} more`;
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names[0] ?? '';
}

/** lastStored is the platform that was stored last, of those whose journey was seen. */
function lastStored(state) {
  let last = null;
  for (const journey of state.journeys.values()) if (journey.stored && journey.hops.length > 1) last = journey;
  return last;
}

/** refusal tells of a request that was refused a moment ago, unless something was stored since. */
function refusal(state, now) {
  const last = [...state.journeys.values()].at(-1);
  if (!last?.refused || now - last.at > refusedFor) return null;
  const status = last.hops.findLast((h) => h.hop === 'refused').reason ?? '';
  return `Refused: ${status}${status.startsWith('4') ? ', nothing was stored' : ''}.`;
}

/** recovered sums up the last outage, from when all that waited is stored: for a while, and then until something newer is. */
function recovered(state, now, l, latest) {
  const up = state.marks.findLast((m) => ['broker', 'commandsservice'].includes(m.part) && m.state === 'up');
  const down = up && state.marks.findLast((m) => m.part === up.part && m.at < up.at && ['down', 'paused'].includes(m.state));
  if (!down || !has(state, 'outbox') || l.dead > 0) return null;
  const time = (journey, name) => journey.hops.find((h) => h.hop === name)?.at;
  if (l.names.way.some(({ journey }) => !(time(journey, 'accepted') > up.at))) return null;
  const waited = [...state.journeys.values()].filter((j) => {
    const accepted = time(j, 'accepted');
    const stored = time(j, 'stored');
    return accepted <= up.at && stored >= down.at && stored - accepted > 500;
  });
  if (waited.length === 0) return null;
  const whole = Math.max(...waited.map((j) => time(j, 'stored')));
  if (latest && time(latest, 'accepted') > up.at && now - whole > keptFor) return null;
  return `${titleOf(state, up.part)} was ${down.state} for ${duration(up.at - down.at)}: ${count(waited.length, 'platform')} waited in the ${up.part === 'broker' ? 'outbox' : 'queue'}, and ${l.missing === 0 ? 'none was' : `${l.missing} were`} lost.`;
}

function told(last, invites) {
  if (!last) return invites ? 'Everything is up. Create a platform, and watch it travel.' : 'Everything is up.';
  const accepted = last.hops.find((h) => h.hop === 'accepted');
  const stored = last.hops.find((h) => h.hop === 'stored');
  if (!accepted || !stored || stored.from === 'list' || accepted.from === 'list') return `${nameOf(last)} is stored by both services.`;
  const when = stored.at < accepted.at ? 'before the response was out' : `${duration(stored.at - accepted.at)} later`;
  return `${nameOf(last)} was accepted${accepted.ms !== undefined ? ` in ${duration(accepted.ms)}` : ''}, and CommandsService had stored it ${when}.`;
}

/** quantile of numbers; undefined when there are none. */
export function quantile(values, q) {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}
