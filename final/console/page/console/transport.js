// The controls of a player: play, step, scrub, speed, and back to live.

import { h, s, setAttribute, setText } from './dom.js';
import { causes, titleOf } from './select.js';
import { duration } from './words.js';

const icons = {
  play: 'M4 2 L14 8 L4 14 Z', pause: 'M3 2 H7 V14 H3 Z M10 2 H14 V14 H10 Z',
  back: 'M2 2 H5 V14 H2 Z M14 2 L6 8 L14 14 Z', on: 'M11 2 H14 V14 H11 Z M2 2 L10 8 L2 14 Z',
};
const speeds = [0.01, 0.1, 0.5, 1, 2, 5, 20];

/** Transport builds itself into element, for a player. */
export class Transport {
  constructor(element, player) {
    this.player = player;
    const button = (label, click, icon) => h('button', { type: 'button', class: 'mc-control', 'aria-label': label, title: label, click }, s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d: icons[icon] })));
    this.toggle = button('Play', () => (player.playing ? player.pause() : player.play()), 'play');
    this.slider = h('input', { type: 'range', min: 0, max: 1, step: 1, value: 0, 'aria-label': 'Position', input: () => player.seek(Number(this.slider.value)) });
    this.time = h('output', { class: 'mc-clock' });
    this.speed = h('select', { 'aria-label': 'Speed', change: () => { player.speed = Number(this.speed.value); } },
      ...speeds.map((x) => h('option', { value: x, selected: x === player.speed }, x < 1 ? `1/${1 / x} ×` : `${x} ×`)));
    this.follow = h('button', { type: 'button', class: 'mc-follow', click: () => player.follow() }, 'Live');
    this.marks = s('svg', { class: 'mc-marks', viewBox: '0 0 1000 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    this.legend = h('span', { class: 'mc-legend', hidden: true });
    element.append(h('div', { class: 'mc-transport', role: 'group', 'aria-label': 'Player' },
      this.toggle, button('One step back', () => player.step(-1), 'back'), button('One step on', () => player.step(1), 'on'),
      h('div', { class: 'mc-track' }, this.marks, this.slider, this.legend), this.time, this.speed, this.follow));
  }

  update() {
    const { player } = this;
    const clock = player.following ? player.length : player.clock;
    setAttribute(this.toggle.querySelector('path'), 'd', player.playing ? icons.pause : icons.play);
    setAttribute(this.toggle, 'aria-label', player.playing ? 'Pause' : 'Play');
    setAttribute(this.toggle, 'title', player.playing ? 'Pause' : 'Play');
    setAttribute(this.slider, 'max', Math.max(1, Math.ceil(player.length)));
    if (document.activeElement !== this.slider || player.playing) this.slider.value = clock;
    setAttribute(this.slider, 'aria-valuetext', `${duration(clock)} of ${duration(player.length)}`);
    const behind = player.live && !player.following ? player.tapes[0].lines.length - player.index[0] : 0;
    setText(this.time, player.following ? `${duration(player.length)} remembered` : `${(clock / 1000).toFixed(clock < 100_000 ? 2 : 0)} s of ${duration(player.length)}`);
    this.follow.hidden = !player.live;
    this.follow.classList.toggle('mc-on', player.following);
    setAttribute(this.follow, 'aria-pressed', player.following);
    setText(this.follow, behind > 0 ? `Live, ${behind} lines on` : 'Live');
    this.speed.hidden = player.following;
    this.updateMarks();
  }

  /** updateMarks draws when parts were down, and notes; once a second at most. */
  updateMarks() {
    const { player } = this;
    const wall = performance.now();
    if (wall - (this.marked ?? -2000) < 1000) return;
    this.marked = wall;
    const length = Math.max(1, player.length);
    const found = player.tapes.flatMap((tape) => {
      const x = (at) => Math.min(1000, Math.max(0, ((at - tape.start) / length) * 1000));
      const { marks } = tape.head;
      return marks.map((m) => {
        if (m.kind === 'note' || m.kind === 'fault') return s('rect', { x: x(m.at), y: 0, width: 2, height: 10, class: `mc-mark-${m.kind}` });
        if (m.state === 'up' || m.state === 'starting') return null;
        const until = marks.find((other) => other.kind === 'part' && other.part === m.part && other.at > m.at)?.at ?? tape.end;
        return s('rect', { x: x(m.at), y: 3, width: Math.max(3, x(until) - x(m.at)), height: 4, class: 'mc-mark-down' });
      }).filter(Boolean);
    });
    this.marks.replaceChildren(...found);
    const broken = player.tapes.flatMap(({ head }) => causes.filter((id) => head.marks.some((m) => m.kind === 'part' && m.part === id && m.state === 'down')).map((id) => titleOf(head, id)));
    this.legend.hidden = broken.length === 0;
    setText(this.legend, broken.length > 0 ? `${broken[0]} down` : '');
  }
}
