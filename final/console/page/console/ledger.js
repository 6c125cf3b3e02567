// The ledger: what was accepted is stored, on the way, dead-lettered or missing, by name.

import { h, setAttribute, setText } from './dom.js';
import { nameOf, places } from './select.js';
import { duration } from './words.js';

const shown = 8; // names in each column

const columns = [
  ['stored', 'stored', '='],
  ['way', 'on the way', '+'],
  ['dead', 'dead letters', '+'],
  ['missing', 'missing', '+'],
];

/** Ledger keeps itself in element. */
export class Ledger {
  constructor(element) {
    this.accepted = h('b', {}, '0');
    this.cells = new Map();
    const equation = h('div', { class: 'mc-equation' }, h('span', { class: 'mc-term' }, this.accepted, h('span', {}, 'accepted')));
    this.bar = h('div', { class: 'mc-bar', 'aria-hidden': 'true' });
    const names = h('div', { class: 'mc-names' });
    for (const [key, title, sign] of columns) {
      const number = h('b', {}, '0');
      equation.append(h('span', { class: 'mc-sign' }, sign), h('span', { class: `mc-term mc-k-${key}` }, number, h('span', {}, title)));
      const segment = h('span', { class: `mc-k-${key}` });
      this.bar.append(segment);
      const list = h('ul');
      const column = h('div', { class: `mc-column mc-k-${key}` }, h('h4', {}, title), list);
      names.append(column);
      this.cells.set(key, { number, segment, list, column });
    }
    element.append(equation, this.bar, names);
  }

  /** update shows what select.js's ledger found. */
  update(l, now) {
    setText(this.accepted, String(l.accepted));
    for (const [key] of columns) {
      const cell = this.cells.get(key);
      setText(cell.number, String(l[key]));
      cell.number.parentElement.classList.toggle('mc-zero', l[key] === 0);
      cell.segment.style.flexGrow = l.accepted > 0 ? l[key] / l.accepted : 0;
      this.names(cell, key, l, now);
    }
  }

  names(cell, key, l, now) {
    const found = key === 'dead' ? [...l.names.dead, ...l.strangers] : l.names[key];
    const latest = found.slice(-shown).reverse();
    cell.column.hidden = found.length === 0;
    const rest = Math.max(l[key], found.length) - latest.length;
    const rows = latest.map((p) => ({ name: nameOf(p.journey), where: whereOf(key, p, now) }));
    if (rest > 0) rows.push({ name: `and ${rest} more`, where: '' });
    while (cell.list.children.length > rows.length) cell.list.lastChild.remove();
    while (cell.list.children.length < rows.length) cell.list.append(h('li', {}, h('span', { class: 'mc-name' }), h('span', { class: 'mc-where' })));
    rows.forEach((row, i) => {
      const [name, where] = cell.list.children[i].children;
      setText(name, row.name);
      setAttribute(name, 'title', row.name);
      setText(where, row.where);
    });
  }
}

function whereOf(key, p, now) {
  if (key === 'stored') return '';
  if (key === 'missing' || key === 'dead') return p.why;
  const waits = now - p.since > 1000 ? `, ${duration(now - p.since)}` : '';
  return `${places[p.where]}${waits}`;
}
