// mountPlayer plays a recording anywhere: the console's own page and the book use it.

import { h } from './dom.js';
import { Player, Tape, parseLines } from './player.js';
import { Transport } from './transport.js';
import { View } from './view.js';

/**
 * mountPlayer plays NDJSON text inside element, which needs style.css and no network. It returns the player
 * (play, pause, seek, step) with destroy. charts: false leaves the charts out.
 */
export function mountPlayer(element, ndjsonText, { title = '', charts = true } = {}) {
  const { lines } = parseLines(ndjsonText);
  return mountTapes(element, [new Tape(lines, title)], { charts });
}

/** mountTapes is mountPlayer for one or two tapes, side by side. */
export function mountTapes(element, tapes, { charts = true } = {}) {
  const player = new Player(tapes);
  const root = h('div', { class: `mc mc-player ${tapes.length > 1 ? 'mc-two' : ''}` });
  const views = tapes.map((tape, i) => {
    const column = h('div', { class: 'mc-view' });
    root.append(column);
    return new View(column, { title: tape.title, charts: charts && tapes.length === 1, quiet: i > 0 });
  });
  const bar = h('div', { class: 'mc-bar-holder' });
  root.append(bar);
  element.append(root);
  const stop = drive(player, views, new Transport(bar, player));
  player.seek(0);
  return Object.assign(player, { destroy() { stop(); root.remove(); } });
}

/** drive draws what a player plays, frame by frame, until the function that it returns is called. */
export function drive(player, views, transport) {
  const unsubscribe = player.subscribe(({ played, jumped }) => {
    views.forEach((view, i) => view.update(player.states[i], player.now(i), played[i], jumped));
    transport.update();
  });
  let frame = requestAnimationFrame(function tick(wall) {
    player.tick(wall);
    views.forEach((view, i) => (player.playing ? view.idle(player.states[i], player.now(i), performance.now()) : undefined));
    frame = requestAnimationFrame(tick);
  });
  return () => {
    unsubscribe();
    cancelAnimationFrame(frame);
    for (const view of views) view.destroy();
  };
}
