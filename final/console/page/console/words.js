// Numbers as people say them.

/** duration writes milliseconds as people say them: 0.4 ms, 18 ms, 2.3 s, 1 min 05 s. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms < 0) return '0 ms';
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
