// Numbers, times and names as people say them.

/** duration writes milliseconds as people say them: 0.4 ms, 18 ms, 2.3 s, 1 min 05 s. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms < 0.001) return '< 1 µs';
  if (ms < 0.1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}

/** count writes a number with its noun: 1 platform, 3 platforms. */
export function count(n, noun) {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/** timeOf reads the envelope's time: milliseconds since 1970, with the microseconds that Date.parse drops. */
export function timeOf(text) {
  const ms = Date.parse(text);
  const more = /\.\d{3}(\d{1,6})Z$/.exec(text);
  return more ? ms + Number(`0.${more[1]}`) : ms;
}

/** labels of the hops, for people. */
export const labels = {
  accepted: 'accepted', repeated: 'repeated', refused: 'refused', notified: 'notified', outbox: 'outbox', relay: 'relay', published: 'published', confirmed: 'confirmed', delivered: 'delivered',
  stored: 'stored', acknowledged: 'acknowledged', retried: 'retried', dead_lettered: 'dead letter', replayed: 'replayed', dropped: 'dropped', backfilled: 'backfilled',
};
