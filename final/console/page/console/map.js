// The map: every part, what waits in it, and messages on their way.

import { calm, s, setAttribute, setText } from './dom.js';
import { edges, tall, tallWithoutBroker, wide } from './layout.js';
import { atPlaces, isDown, isPaused, nameOf, titleOf, totalDepth } from './select.js';
import { count, duration, labels } from './words.js';

const narrow = 680; //    pixels: below, the tall layout
const crowd = 10; //      more messages than this on their way: only the edges light up
const linger = 1600; //   milliseconds that an edge stays lit
const dots = 12; //       messages drawn in a tray; the rest is a number

const explained = ['The outbox is a table in the same', 'database. An event stays in it', 'until the broker has it.'];

let maps = 0;

/** Map draws itself into element. onHop is called with the name of a hop that was clicked. */
export class SystemMap {
  constructor(element, onHop) {
    this.element = element;
    this.onHop = onHop;
    this.id = `map${++maps}`;
    this.tokens = new Map(); // journey key → what moves
    this.lit = new Map(); //   edge → until when
    this.values = new Map(); // edge → its last latency
    this.observer = new ResizeObserver(() => this.relayout());
    this.observer.observe(element);
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  relayout() {
    if (!this.state || this.fitting() === this.layout) return;
    this.draw(this.fitting());
    this.update(this.state, this.now);
  }

  fitting() {
    if (this.element.clientWidth >= narrow) return wide;
    return this.shows('exchange') ? tall : tallWithoutBroker;
  }

  /** parts that this system has; those of the map that aren't listed follow from others. */
  shows(id) {
    const listed = this.state.run?.parts;
    const has = (part) => !listed || listed.some((p) => p.id === part);
    switch (id) {
      case 'platforms': return has('platforms-db');
      case 'copies': return has('commands-db');
      case 'queue': return has('exchange');
      case 'retry': return has('dead-letters');
      case 'broker': return has('broker') || has('exchange');
      case 'client': return true;
      case 'console': return has('exchange');
      default: return has(id);
    }
  }

  showsEdge(id) {
    const both = edges[id].ends.every((end) => this.shows(end));
    switch (id) {
      case 'direct': return both && !this.shows('gateway');
      case 'publishDirect': return both && !this.shows('relay');
      case 'backfill': return both && this.state.run?.stage !== '02' && this.state.run?.stage !== '06';
      case 'ack': return both && this.shows('dead-letters'); // before final, the broker forgets what it has delivered
      case 'notify': return both && !this.shows('exchange');
      default: return both;
    }
  }

  draw(layout) {
    this.layout = layout;
    this.stage = this.state.run?.run;
    this.tokens.clear();
    this.nodes = new Map();
    this.edges = new Map();
    const shown = Object.entries(layout.nodes).filter(([id, n]) => !n.hidden && this.shows(id));
    const bottom = Math.max(...shown.map(([id, n]) => n.y + (id === 'platforms-db' && !this.shows('outbox') ? 98 : n.h))) + (this.shows('console') && layout === wide ? 44 : 12);
    const hatch = s('pattern', { id: `${this.id}-hatch`, width: 8, height: 8, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' }, s('rect', { width: 3, height: 8, class: 'mc-hatch' }));
    const arrow = (name) => s('marker', { id: `${this.id}-${name}`, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: 'userSpaceOnUse', orient: 'auto' }, s('path', { d: 'M0,0 L8,4 L0,8 Z', class: `mc-arrow mc-${name}` }));
    const left = this.shows('gateway') ? 0 : layout.alone ?? 0;
    this.svg = s('svg', { viewBox: `${left} ${layout.top} ${layout.width - left} ${bottom - layout.top}`, class: `mc-map ${layout === wide ? '' : 'mc-tall'}`, role: 'group', 'aria-label': 'Map of the system' },
      s('defs', {}, hatch, arrow('idle'), arrow('hot'), arrow('bad')));
    for (const [id, n] of shown.filter(([, n]) => n.box)) this.drawNode(id, id === 'platforms-db' && !this.shows('outbox') ? { ...n, h: 98 } : n);
    for (const id of Object.keys(layout.edges)) if (this.showsEdge(id)) this.drawEdge(id, layout.edges[id]);
    for (const [id, n] of shown.filter(([, n]) => !n.box)) this.drawNode(id, n.alone && !this.shows('gateway') ? { ...n, x: n.alone } : n);
    this.aside = layout.asides.outbox && this.shows('outbox') && s('g', {});
    if (this.aside) this.svg.append(this.aside);
    this.moving = s('g', { class: 'mc-tokens', 'aria-hidden': 'true' });
    this.svg.append(this.moving);
    this.element.replaceChildren(this.svg);
  }

  drawNode(id, n) {
    const middle = n.x + n.w / 2;
    const shape = n.round
      ? s('circle', { cx: middle, cy: n.y + n.h / 2, r: n.w / 2, class: 'mc-shape' })
      : s('rect', { x: n.x, y: n.y, width: n.w, height: n.h, rx: n.tray ? 6 : 10, class: 'mc-shape' });
    const veil = shape.cloneNode();
    veil.setAttribute('class', 'mc-veil');
    veil.setAttribute('fill', `url(#${this.id}-hatch)`);
    const left = n.box || n.tray;
    const titleY = n.box ? n.y + 24 : n.tray ? n.y + 19 : n.round ? n.y + n.h + 18 : n.y + (n.h / 2) - (n.h > 50 ? 4 : 1);
    const title = s('text', { x: left ? n.x + 12 : middle, y: titleY, 'text-anchor': left ? 'start' : 'middle', class: 'mc-title' }, n.title);
    const sub = s('text', { x: n.tray ? n.x + n.w - 10 : middle, y: n.tray ? n.y + 19 : n.y + n.h / 2 + 15, 'text-anchor': n.tray ? 'end' : 'middle', class: 'mc-sub' }, n.sub ?? '');
    const more = id === 'queue' ? s('text', { x: n.x + 12, y: n.y + (n.h > 70 ? 39 : 32), class: 'mc-more' }) : null;
    const badge = s('g', { class: 'mc-badge' });
    const badgeText = s('text', { 'text-anchor': 'middle' });
    const badgeShape = s('rect', { rx: 9, height: 19 });
    badge.append(badgeShape, badgeText);
    const content = s('g', { class: 'mc-dots' });
    const group = s('g', { class: `mc-node ${n.in === 'broker' ? 'mc-inner' : ''} ${n.box ? 'mc-box' : ''} ${n.tray ? 'mc-tray' : ''} mc-n-${id}` }, shape, veil, title, sub, more ?? '', content, badge);
    this.svg.append(group);
    this.nodes.set(id, { n, group, title, sub, more, content, badge, badgeText, badgeShape });
  }

  drawEdge(id, e) {
    const { hop, plain } = edges[id];
    const caption = plain && !this.shows('outbox') ? plain : edges[id].caption;
    const line = s('path', { d: e.path, class: 'mc-line', 'marker-end': `url(#${this.id}-idle)` });
    const hit = s('path', { d: e.path, class: 'mc-hit' });
    const value = e.value && s('text', { x: e.value[0], y: e.value[1], 'text-anchor': e.value[2], class: 'mc-value' });
    const words = e.caption && caption && s('text', { x: e.caption[0], y: e.caption[1], 'text-anchor': e.caption[2], class: 'mc-caption' }, caption);
    const group = s('g', {
      class: `mc-edge ${e.back ? 'mc-back' : ''} ${e.quiet ? 'mc-quiet' : ''} mc-e-${id}`, role: 'button', tabindex: 0,
      click: () => this.onHop(hop),
      keydown: (event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return;
        event.preventDefault();
        this.onHop(hop);
      },
    }, line, hit, value, ' ', words); // the blank is between the two texts, for a screen reader
    this.svg.append(group);
    this.edges.set(id, { group, line, value, words: `${caption}: show the code of ${labels[hop]}` });
  }

  /** update draws a state as it was at a moment. */
  update(state, now) {
    const another = this.state && state.run?.run !== this.stage;
    this.state = state;
    this.now = now;
    if (!this.layout || another) this.draw(this.fitting());
    const found = atPlaces(state, now);
    for (const [id, node] of this.nodes) this.updateNode(id, node, found);
    for (const [id, edge] of this.edges) this.updateEdge(id, edge);
    this.updateAside(found);
    this.run();
  }

  stateOf(id) {
    const own = this.state.parts.get(id);
    const outer = this.layout.nodes[id]?.in;
    const around = outer && this.state.parts.get(outer);
    return around && around.state !== 'up' ? around : own ?? around ?? { state: 'up', since: this.now, replicas: {} };
  }

  updateNode(id, node, found) {
    const part = this.stateOf(id);
    const down = part.state === 'down' || part.state === 'stopping';
    const own = this.state.parts.get(id);
    node.group.classList.toggle('mc-is-down', down);
    node.group.classList.toggle('mc-is-paused', part.state === 'paused');
    node.group.classList.toggle('mc-is-starting', part.state === 'starting');
    const explained = part !== own && part.state !== 'up'; // the badge of the part around it says so
    this.updateBadge(node, own && own.state !== 'up' && !explained ? own : null);
    if (!node.n.tray && !node.n.round) {
      setText(node.title, this.layout === tall && id === 'broker' ? 'broker' : titleOf(this.state, id) === id ? node.n.title : titleOf(this.state, id));
      const states = Object.values(own?.replicas ?? {});
      const deaf = id === 'console' && (isDown(this.state, 'broker') || this.state.queues.get('console')?.consumers === 0);
      if (!node.n.box) setText(node.sub, states.length > 1 ? `${states.filter((x) => x === 'up').length} of ${states.length} replicas up` : own?.state === 'up' && own.detail ? own.detail : deaf ? (this.layout === tall ? 'no events' : isDown(this.state, 'broker') ? 'not listening' : 'not listening yet') : node.n.sub ?? '');
      if (!node.n.box) setAttribute(node.title, 'y', node.n.y + node.n.h / 2 + (node.sub.textContent ? -3 : 5));
    }
    if (node.n.tray) this.updateTray(id, node, found);
  }

  updateBadge(node, part) {
    setAttribute(node.badge, 'class', part ? `mc-badge mc-${part.state}` : 'mc-badge mc-none');
    if (!part) return setText(node.badgeText, '');
    const sign = { down: '✕', paused: '❚❚', starting: '…', stopping: '…' }[part.state] ?? '';
    const text = `${sign} ${part.state} ${duration(this.now - part.since)}`;
    const width = 18 + text.length * 6.6;
    const { n } = node;
    const x = Math.min(n.x + n.w / 2, this.layout.width - width / 2 - 2);
    setAttribute(node.badgeShape, 'x', x - width / 2);
    setAttribute(node.badgeShape, 'y', n.y - 11);
    setAttribute(node.badgeShape, 'width', width);
    setAttribute(node.badgeText, 'x', x);
    setAttribute(node.badgeText, 'y', n.y + 3);
    setText(node.badgeText, text);
  }

  updateTray(id, node, found) {
    const at = (place) => found.get(place) ?? [];
    const { state } = this;
    let waiting = [];
    let n = 0;
    let sub = '';
    switch (id) {
      case 'platforms': sub = number(state.lists.platforms); break;
      case 'copies': sub = number(state.lists.commands); break;
      case 'outbox':
        waiting = [...at('outbox'), ...at('relay')];
        n = Math.max(waiting.length, state.gauges.get('outbox')?.pending ?? 0);
        break;
      case 'queue':
        waiting = [...at('queue'), ...at('commandsservice')];
        n = Math.max(at('queue').length, totalDepth(state, 'work'));
        break;
      case 'retry':
        waiting = at('retry');
        n = Math.max(waiting.length, totalDepth(state, 'retry'));
        break;
      case 'dead-letters':
        waiting = at('dead');
        n = Math.max(waiting.length, totalDepth(state, 'dead'));
        break;
    }
    if (!['platforms', 'copies'].includes(id)) {
      const oldest = waiting.length > 0 ? this.now - Math.min(...waiting.map((w) => w.since)) : 0;
      const waits = oldest < 60_000 ? duration(oldest) : `${Math.floor(oldest / 60_000)} min`; // there is little room
      sub = n === 0 ? (id === 'dead-letters' || this.stateOf(id).state !== 'up' ? '' : 'empty') : `${n}${oldest > 1000 && id !== 'dead-letters' ? ` · ${waits}` : ''}`;
    }
    setText(node.sub, sub);
    if (node.more) this.updateConsumers(node.more, id);
    node.group.classList.toggle('mc-waiting', n > 0 && id !== 'dead-letters');
    node.group.classList.toggle('mc-letters', n > 0 && id === 'dead-letters');
    this.drawDots(node, n, waiting);
  }

  /** updateAside names what waits in the outbox, or says what it is. */
  updateAside(found) {
    if (!this.aside) return;
    const waiting = found.get('outbox') ?? [];
    const names = waiting.slice(0, 4).map((p) => nameOf(p.journey).slice(0, 24));
    const lines = waiting.length === 0 ? explained : waiting.length > 4 ? [...names.slice(0, 3), `and ${waiting.length - 3} more`] : names;
    if (this.said === lines.join('\n') && this.aside.childElementCount > 0) return;
    this.said = lines.join('\n');
    const [x, y, anchor] = this.layout.asides.outbox;
    this.aside.replaceChildren(...lines.map((text, i) => s('text', { x, y: y + i * 19, 'text-anchor': anchor, class: `mc-aside ${waiting.length > 0 ? 'mc-wait' : ''}` }, text)));
  }

  /** updateConsumers says how many read from the queue, if the console can see that. */
  updateConsumers(text, id) {
    const queues = [...this.state.queues.values()].filter((queue) => queue.role === 'work');
    const n = queues.reduce((sum, queue) => sum + (queue.consumers ?? 0), 0);
    setText(text, queues.length === 0 || this.stateOf(id).state !== 'up' ? '' : n === 0 ? 'no consumer' : count(n, 'consumer'));
    text.classList.toggle('mc-nobody', n === 0);
  }

  drawDots(node, n, waiting) {
    const { x, y, w, h } = node.n;
    const shown = Math.min(n, dots);
    const key = `${shown}/${n > dots ? n : ''}/${waiting.slice(0, dots).map((p) => p.journey.key).join()}`;
    if (node.drawn === key) return;
    node.drawn = key;
    const gap = Math.min(22, (w - 28) / Math.max(1, Math.min(dots, shown) - 1));
    node.content.replaceChildren(...Array.from({ length: shown }, (_, i) => {
      const dot = s('circle', { cx: x + 16 + i * gap, cy: y + h - (h > 60 ? 24 : 16), r: h > 60 ? 7 : 6, class: 'mc-dot' });
      if (waiting[i]) dot.append(s('title', {}, nameOf(waiting[i].journey)));
      return dot;
    }));
  }

  updateEdge(id, edge) {
    const ends = edges[id].ends.map((end) => this.stateOf(end).state);
    const broken = ends.some((x) => x === 'down' || x === 'stopping');
    edge.group.classList.toggle('mc-broken', broken);
    edge.group.classList.toggle('mc-stuck', !broken && edges[id].ends.some((end) => isPaused(this.state, end)));
    const lit = (this.lit.get(id)?.until ?? 0) > performance.now();
    edge.group.classList.toggle('mc-lit', lit);
    edge.group.classList.toggle('mc-failed', lit && Boolean(this.lit.get(id).failed));
    setAttribute(edge.line, 'marker-end', `url(#${this.id}-${lit ? (this.lit.get(id).failed ? 'bad' : 'hot') : 'idle'})`);
    if (edge.value) setText(edge.value, this.values.get(id) ?? '');
    setAttribute(edge.group, 'aria-label', `${this.values.get(id) ?? ''} ${edge.words}`.trim());
  }

  /** travel lets a journey go on to a hop, through the stations that it skipped. */
  travel(journey, hop) {
    if (!this.layout || document.hidden) return;
    if (hop.hop === 'published') this.light({ id: 'copy' }); // the console's own queue has it
    if (hop.hop === 'published' && !this.edges.has('publishDirect')) return this.run();
    let token = this.tokens.get(journey.key);
    const way = wayTo(hop, token?.last ?? before(journey, hop)).flatMap((station) => this.way(station, journey, hop));
    if (way.length === 0) { // it is beyond this station already: of two services' reports, either may come first
      for (const { id, value } of this.way(hop.hop, journey, hop)) if (value) this.values.set(id, value);
      return;
    }
    for (const [id, lit] of this.lit) if (lit.until === Infinity) this.lit.set(id, { until: performance.now() });
    if (!token && (calm() || this.tokens.size >= crowd)) {
      for (const step of way) this.light(step);
      return this.run();
    }
    if (!token) {
      const group = s('g', { class: 'mc-token' }, s('circle', { r: 8 }), s('text', { y: -13, 'text-anchor': 'middle' }, journey.refused ? 'refused' : nameOf(journey).slice(0, 24)));
      token = { group, steps: [], step: null };
      this.tokens.set(journey.key, token);
    }
    token.last = hop.hop === 'published' ? 'relay' : hop.hop;
    token.steps.push(...way);
    this.run();
  }

  /** way is the edges of a station, with the latency that the last of them shows. */
  way(station, journey, hop) {
    const ids = {
      accepted: ['request', 'route', 'direct', 'commit'], repeated: ['request', 'route', 'direct'], refused: ['request', 'route', 'direct'], outbox: ['take'], relay: ['publish', 'publishDirect'], published: ['publishDirect'], confirmed: ['enqueue'],
      delivered: ['deliver'], stored: ['store'], acknowledged: ['ack'], retried: ['retry'], dead_lettered: ['dead'], replayed: ['replay'],
      backfilled: ['backfill', 'store'], notified: ['notify'],
    }[station] ?? [];
    const drawn = ids.filter((id) => this.edges.has(id));
    const found = journey.hops.findLast((h) => h.hop === station);
    const failed = station === 'refused' || (station === 'notified' && Boolean(found?.reason));
    const last = ['accepted', 'repeated', 'refused'].includes(station) ? drawn.findLast((id) => id !== 'commit') : drawn[0];
    return drawn.map((id) => ({ id, failed, value: id === last && found ? latency(journey, found) : null }));
  }

  light({ id, failed, value }) {
    this.lit.set(id, { until: performance.now() + linger, failed });
    if (value !== null && value !== undefined) this.values.set(id, value);
  }

  /** jump takes everything off the road: the tape has jumped. It shows the latencies of the latest journey, and lights what just happened. */
  jump(journey, now) {
    for (const token of this.tokens.values()) token.group.remove();
    this.tokens.clear();
    this.lit.clear();
    this.values.clear();
    for (const hop of journey?.hops ?? []) {
      for (const { id, failed, value } of this.way(hop.hop, journey, hop)) {
        if (value) this.values.set(id, value);
        if (now - hop.at < linger) this.lit.set(id, { until: Infinity, failed }); // until something else happens
      }
    }
  }

  run() {
    const fading = [...this.lit.values()].some((lit) => lit.until !== Infinity);
    if (this.frame || (this.tokens.size === 0 && !fading)) return;
    this.frame = requestAnimationFrame((wall) => {
      this.frame = 0;
      for (const [key, token] of this.tokens) if (!this.move(token, wall)) this.tokens.delete(key);
      for (const [id, lit] of this.lit) {
        const edge = this.edges.get(id);
        if (edge) this.updateEdge(id, edge);
        if (lit.until < performance.now()) this.lit.delete(id);
      }
      this.run();
    });
  }

  /** move lets a token go on; false when it has arrived. */
  move(token, wall) {
    if (!token.step) {
      token.step = token.steps.shift();
      if (!token.step) {
        if (wall - token.arrived < 500) return true;
        token.group.remove();
        return false;
      }
      const { line } = this.edges.get(token.step.id);
      token.line = line;
      token.length = line.getTotalLength();
      token.began = wall;
      token.takes = (200 + token.length * 0.7) / (token.steps.length > 6 ? 3 : 1);
      token.group.classList.toggle('mc-bad', Boolean(token.step.failed));
      this.light(token.step);
      if (!token.group.isConnected) this.moving.append(token.group);
    }
    const t = Math.min(1, (wall - token.began) / token.takes);
    const point = token.line.getPointAtLength(token.length * (t * t * (3 - 2 * t)));
    token.group.setAttribute('transform', `translate(${point.x},${point.y})`);
    if (t >= 1) {
      token.step = null;
      token.arrived = wall;
    }
    return true;
  }
}

const number = (n) => (n === undefined ? '' : String(n));

const road = ['accepted', 'outbox', 'relay', 'confirmed', 'delivered', 'stored', 'acknowledged'];

/** wayTo is the stations from one that was passed to another. */
function wayTo(hop, last) {
  const to = road.indexOf(hop.hop);
  const from = last ? road.indexOf(last) : -1;
  if (to < 0 || (last && from < 0)) return [hop.hop];
  return to <= from ? [] : road.slice(from + 1, to + 1);
}

/** before is the station that a journey had passed before a hop. */
function before(journey, hop) {
  const index = journey.hops.findIndex((h) => h.hop === hop.hop);
  return journey.hops.slice(0, Math.max(0, index)).findLast((h) => road.includes(h.hop))?.hop;
}

/** latency is what a station took: its own time, else the time since the one before. */
export function latency(journey, hop) {
  if (hop.from === 'list') return null; // when it was first seen in a list says little about when it happened
  const took = hop.ms ?? (hop.start ? hop.at - hop.start : undefined);
  if (took !== undefined) return took < 0.001 ? null : duration(took); // its spans can't tell
  const index = journey.hops.indexOf(hop);
  if (index <= 0 || journey.hops[index - 1].from === 'list') return null;
  return duration(hop.at - journey.hops[index - 1].at);
}
