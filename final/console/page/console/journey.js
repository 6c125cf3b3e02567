// The journeys: one line for each of the latest platforms, its stations in columns, with real times.

import { h, setAttribute, setText } from './dom.js';
import { latency } from './map.js';
import { has, nameOf, place, places } from './select.js';
import { HOPS } from './reduce.js';
import { duration, labels } from './words.js';

const shown = 10;

const branches = ['repeated', 'refused', 'retried', 'dead_lettered', 'replayed', 'dropped', 'backfilled'];

/** Journeys keeps a list in element. onHop is called with the name of a hop that was clicked. */
export class Journeys {
  constructor(element, onHop) {
    this.onHop = onHop;
    this.rows = new Map();
    this.head = h('div', { class: 'mc-stations', 'aria-hidden': 'true' });
    this.list = h('ol', { class: 'mc-journeys' });
    this.none = h('p', { class: 'mc-none-yet' }, 'No platform has been created yet. The ones that were there before aren’t shown.');
    element.append(this.head, this.list, this.none);
  }

  update(state, now) {
    const all = [];
    for (const journey of state.journeys.values()) if (journey.hops.length > 0) all.push(journey);
    const latest = all.slice(-shown).reverse();
    const stations = stationsOf(state, latest);
    this.updateHead(stations);
    const keys = new Set(latest.map((j) => j.key));
    for (const [key, row] of this.rows) {
      if (keys.has(key) && row.stations === stations.join()) continue;
      row.element.remove();
      this.rows.delete(key);
    }
    let previous = null;
    let above = ''; // why the one above waits: it isn't said again
    for (const journey of latest) {
      let row = this.rows.get(journey.key);
      if (!row) this.rows.set(journey.key, (row = this.make(stations)));
      const wanted = previous ? previous.nextSibling : this.list.firstChild;
      if (row.element !== wanted) this.list.insertBefore(row.element, wanted);
      previous = row.element;
      above = this.fill(row, journey, state, now, stations, above);
    }
    this.none.hidden = latest.length > 0;
    this.head.hidden = latest.length === 0;
  }

  updateHead(stations) {
    if (this.stations === stations.join()) return;
    this.stations = stations.join();
    this.head.className = `mc-stations mc-of-${stations.length}`;
    this.head.replaceChildren(h('span', {}, 'platform'), ...stations.map((x) => h('span', {}, labels[x])), h('span', {}, 'in all'));
  }

  make(stations) {
    const name = h('span', { class: 'mc-name' });
    const cells = stations.map((station) => {
      const time = h('span', { class: 'mc-time' });
      const button = h('button', { type: 'button', class: 'mc-station', click: () => this.onHop(station) }, h('span', { class: 'mc-stop' }), h('span', { class: 'mc-label', 'aria-hidden': 'true' }, labels[station]), time);
      return { station, time, button };
    });
    const total = h('span', { class: 'mc-total' });
    const branch = h('div', { class: 'mc-branch' });
    const element = h('li', { class: `mc-journey mc-of-${stations.length}` }, name, ...cells.map((c) => c.button), total, branch);
    return { element, name, cells, total, branch, stations: stations.join() };
  }

  fill(row, journey, state, now, stations, above) {
    const p = place(journey, state, now);
    const id = journey.id === null ? '' : ` #${journey.id}`;
    setText(row.name, nameOf(journey) + id);
    setAttribute(row.name, 'title', nameOf(journey) + id);
    const passed = stations.map((station) => journey.hops.findLast((hop) => hop.hop === (journey.refused && station === 'accepted' ? 'refused' : station)));
    const furthest = passed.findLastIndex(Boolean);
    const done = p.where === 'stored' || p.where === 'dead' || p.where === 'client';
    row.element.classList.toggle('mc-ended', journey.refused);
    row.cells.forEach((cell, i) => {
      const hop = passed[i];
      const state = hop ? (hop.reason || hop.hop === 'refused' ? 'failed' : 'passed') : i < furthest || p.where === 'stored' ? 'skipped' : !done && i === furthest + 1 ? (p.where === 'missing' ? 'lost' : 'waiting') : 'ahead';
      const waits = now - p.since;
      const text = hop ? latency(journey, hop) ?? '✓' : state === 'waiting' && waits > 400 ? duration(waits) : state === 'lost' ? 'lost' : '';
      setAttribute(cell.button, 'class', `mc-station mc-${state}`);
      setText(cell.time, text);
      const words = { failed: hop?.hop === 'refused' ? `refused: ${hop.reason}` : `failed: ${hop?.reason}`, passed: text, skipped: 'not seen', waiting: `waiting ${text}`, lost: 'lost', ahead: 'not yet' }[state];
      setAttribute(cell.button, 'aria-label', `${nameOf(journey)}, ${labels[cell.station]}: ${words}. Show the code`);
    });
    setText(row.total, total(journey, p, now));
    const unseen = p.where === 'stored' && passed.every((hop) => !hop || hop.from === 'list') && has(state, 'outbox');
    return this.fillBranch(row, journey, unseen ? { ...p, why: 'only the lists tell of it: no span has come' } : p, above);
  }

  /** fillBranch returns why the platform waits. */
  fillBranch(row, journey, p, above) {
    const hops = journey.hops.filter((hop) => branches.includes(hop.hop) || (hop.hop === 'published' && hop.reason));
    const why = p.why && !hops.some((hop) => hop.reason === p.why) ? `${places[p.where]}: ${p.why}` : '';
    const key = [...hops.map((hop) => `${hop.hop}${hop.at}`), why, why === above].join();
    if (row.drawn === key) return why;
    row.drawn = key;
    const retries = hops.filter((hop) => hop.hop === 'retried').length;
    const once = hops.filter((hop, i) => hop.hop !== 'retried' || hops.findLastIndex((x) => x.hop === 'retried') === i);
    row.branch.replaceChildren(
      ...once.map((hop) => h('button', { type: 'button', class: `mc-chip mc-${hop.hop}`, click: () => this.onHop(hop.hop === 'repeated' ? 'accepted' : hop.hop) },
        `${labels[hop.hop]}${hop.hop === 'retried' && retries > 1 ? ` ${retries} times` : ''}${hop.reason ? `: ${hop.reason}` : ''}`)),
      ...(why && why !== above ? [h('span', { class: `mc-why mc-${p.where}` }, why)] : []),
    );
    return why;
  }
}

/** stationsOf is the columns: all of final's, and of a chapter those that its signals have shown. */
function stationsOf(state, journeys) {
  if (has(state, 'outbox')) return HOPS.filter((hop) => hop !== 'notified' && hop !== 'published'); // what a second listener hears is beside the way
  const seen = new Set(['accepted', 'stored']);
  for (const journey of journeys) for (const hop of journey.hops) seen.add(hop.hop);
  return HOPS.filter((hop) => seen.has(hop));
}

/** total is the time from the first station to the last, as far as it has come. */
function total(journey, p, now) {
  const accepted = journey.hops.find((hop) => hop.hop === 'accepted');
  if (p.where === 'missing') return 'missing';
  if (p.where === 'dead') return 'dead letter';
  if (p.where === 'client') return 'refused';
  if (p.where === 'stored' && (!accepted || accepted.from === 'list' || journey.hops.findLast((hop) => hop.hop !== 'repeated').from === 'list')) return 'stored';
  if (!accepted) return '';
  const last = journey.hops.findLast((hop) => hop.hop !== 'repeated');
  const start = accepted.start ?? accepted.at - (accepted.ms ?? 0);
  return duration((p.where === 'stored' ? last.at : now) - start);
}
