// Three small charts over the last minute: POST latency, propagation, and what waits.

import { h, s, setAttribute, setText } from './dom.js';
import { quantile } from './select.js';
import { count, duration } from './words.js';

const span = 60; // seconds
const width = 300;
const height = 72;

/** Charts keeps three charts in element. */
export class Charts {
  constructor(element) {
    this.paused = false;
    this.button = h('button', { type: 'button', class: 'mc-small', 'aria-pressed': 'false', click: () => this.toggle() }, 'Pause the charts');
    this.post = new Chart('POST, until the answer', ['p50', 'p99']);
    this.propagation = new Chart('from accepted to stored', ['p50', 'p99']);
    this.depth = new Chart('waiting', ['outbox', 'queue']);
    element.append(h('div', { class: 'mc-charts' }, this.post.element, this.propagation.element, this.depth.element), this.button);
  }

  toggle() {
    this.paused = !this.paused;
    setText(this.button, this.paused ? 'Resume the charts' : 'Pause the charts');
    setAttribute(this.button, 'aria-pressed', this.paused);
  }

  /** update draws at most twice a second. */
  update(state, now, wall = performance.now()) {
    if (this.paused || wall - (this.drawn ?? -1000) < 500) return;
    this.drawn = wall;
    const end = Math.floor(now / 1000);
    this.post.draw(end, quantiles(state.charts.post), duration);
    this.propagation.draw(end, quantiles(state.charts.propagation), duration);
    this.depth.draw(end, [held(state.charts.depth, end, 'outbox'), held(state.charts.depth, end, 'queue')], String);
  }
}

const quantiles = (seconds) => [0.5, 0.99].map((q) => seconds.map((b) => [b.second, quantile(b.values, q)]));

/** held is a gauge: it keeps its value until it is reported again. */
function held(seconds, end, which) {
  const points = [];
  let value;
  let i = 0;
  for (let second = end - span; second <= end; second++) {
    while (i < seconds.length && seconds[i].second <= second) value = seconds[i++].values[0][which];
    if (value !== undefined) points.push([second, value]);
  }
  return points;
}

class Chart {
  constructor(title, series) {
    this.title = title;
    this.series = series;
    this.values = series.map((name, i) => h('span', { class: `mc-series mc-s${i}` }, name, ' ', h('b')));
    this.lines = series.map((_, i) => s('path', { class: `mc-plot mc-s${i}` }));
    this.points = series.map((_, i) => s('path', { class: `mc-plot mc-point mc-s${i}` })); // where a line would have a single point
    this.top = h('span', { class: 'mc-scale' });
    this.svg = s('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', class: 'mc-chart', preserveAspectRatio: 'none' },
      s('path', { d: `M0,${height - 0.5} H${width} M0,4.5 H${width}`, class: 'mc-grid' }), ...this.lines, ...this.points);
    this.element = h('figure', {}, h('figcaption', {}, h('span', {}, title), ...this.values, this.top), this.svg, h('div', { class: 'mc-span', 'aria-hidden': 'true' }, h('span', {}, `${span} s ago`), h('span', {}, 'now')));
  }

  draw(end, series, write) {
    const visible = series.map((points) => points.filter(([second, value]) => second > end - span && second <= end && value !== undefined));
    const top = nice(Math.max(...visible.flat().map(([, value]) => value), 0));
    setText(this.top, top > 0 ? `to ${write(top)}` : '');
    const words = [];
    visible.forEach((points, i) => {
      let alone = '';
      const joins = (j) => j > 0 && j < points.length && points[j][0] - points[j - 1][0] <= 5;
      const d = points.map(([second, value], j) => {
        const x = width - (end - second) * (width / span);
        const y = height - 1 - (value / (top || 1)) * (height - 6);
        const point = `${x.toFixed(1)},${y.toFixed(1)}`;
        if (!joins(j) && !joins(j + 1)) alone += `M${point} h0.01 `;
        return `${joins(j) ? 'L' : 'M'}${point}`;
      }).join(' ');
      setAttribute(this.lines[i], 'd', d || 'M0,0');
      setAttribute(this.points[i], 'd', alone || 'M0,0');
      const last = points.length > 0 ? write(points.at(-1)[1]) : '–';
      setText(this.values[i].lastChild, last);
      words.push(`${this.series[i]} ${last}`);
    });
    setAttribute(this.svg, 'aria-label', `${this.title}, in the last ${count(span, 'second')}: ${words.join(', ')}`);
  }
}

/** nice rounds up to 1, 2 or 5 times a power of ten. */
function nice(value) {
  if (value <= 0) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((n) => value <= n * power) ?? 10);
}
