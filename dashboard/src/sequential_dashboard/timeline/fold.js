// The time axis: from milliseconds since the run's start to where they are drawn, and back.
// Pure functions; the tests play them without a browser, over the same cases as Python's.

// Folds are stretches in which nothing was done: each takes the same small room, whatever its
// length. Returns a scale over "room": one unit is a millisecond outside folds.
function makeScale(total, folds) {
  const kept = [];
  let at = 0;
  let idle = 0;
  for (const [start, end] of folds) {
    const from = Math.max(at, start), to = Math.min(total, end);
    if (to > from) { kept.push([from, to]); idle += to - from; at = to; }
  }
  const active = Math.max(0, total - idle);
  // All folds together take a third of the room at most.
  const each = kept.length ? (active ? active * Math.min(0.06, 0.5 / kept.length) : 1) : 0;
  const knots = [[0, 0, 0]];  // time, room, whether the stretch after it is folded
  let time = 0, room = 0;
  for (const [from, to] of kept) {
    room += from - time;
    knots[knots.length - 1][0] === from ? knots[knots.length - 1][2] = 1 : knots.push([from, room, 1]);
    room += each;
    time = to;
    knots.push([to, room, 0]);
  }
  room += Math.max(0, total - time);
  if (room === 0) room = 1;
  if (total > time || knots.length === 1) knots.push([Math.max(total, time), room, 0]);
  return { knots, room, total, fold: each };
}

function knotBefore(knots, value, part) {
  let low = 0, high = knots.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (knots[middle][part] <= value) low = middle; else high = middle - 1;
  }
  return Math.max(0, low);
}

function interpolate(scale, value, from, to) {
  const knots = scale.knots;
  if (knots.length < 2) return 0;
  const number = knotBefore(knots, value, from);
  const a = knots[number], b = knots[number + 1];
  const width = b[from] - a[from];
  if (!(width > 0)) return a[to];
  const share = (value - a[from]) / width;
  return a[to] + Math.min(1, Math.max(0, share)) * (b[to] - a[to]);
}

function roomAt(scale, time) { return interpolate(scale, time, 0, 1); }

function timeAt(scale, room) { return interpolate(scale, room, 1, 0); }

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5,
  6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5, 1728e5, 6048e5, 2592e6, 7776e6, 31536e6];

// The smallest round step of at least that many milliseconds.
function roundStep(least) {
  for (const step of STEPS) if (step >= least) return step;
  return STEPS[STEPS.length - 1] * Math.ceil(least / STEPS[STEPS.length - 1]);
}

// An offset from the run's start, as exact as *step*: neighbours on an axis never look the same.
function offsetText(ms, step) {
  const sign = ms < 0 ? "-" : "+";
  let rest = Math.abs(Math.round(ms));
  const days = Math.floor(rest / 864e5); rest -= days * 864e5;
  const hours = Math.floor(rest / 36e5); rest -= hours * 36e5;
  const minutes = Math.floor(rest / 6e4); rest -= minutes * 6e4;
  const places = step >= 1000 ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3;
  const two = (number) => String(number).padStart(2, "0");
  const seconds = (rest / 1000).toFixed(places), exact = step < 6e4;
  const day = days ? `${days}d ` : "";
  if (step >= 864e5 && !hours && !minutes) return `${sign}${days}d`;
  if (days || hours) {
    const whole = seconds.padStart(places ? places + 3 : 2, "0");
    return `${sign}${day}${hours}h${two(minutes)}${exact ? `:${whole}` : ""}`;
  }
  if (minutes) return `${sign}${minutes}m${exact ? seconds.padStart(places ? places + 3 : 2, "0") : ""}`;
  return exact ? `${sign}${seconds}s` : `${sign}0`;
}

function lasting(ms) {
  if (ms < 1) return "0 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 6e4) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 36e5) return `${(ms / 6e4).toFixed(1)} min`;
  if (ms < 864e5) return `${(ms / 36e5).toFixed(1)} h`;
  return `${(ms / 864e5).toFixed(1)} d`;
}

// Indexes of the rows that are seen when the ones in *closed* hide what is below them.
function seenRows(parent, closed) {
  const hidden = new Uint8Array(parent.length);
  const seen = [];
  for (let row = 0; row < parent.length; row++) {
    const above = parent[row];
    if (above >= 0 && (hidden[above] || closed.has(above))) hidden[row] = 1;
    else seen.push(row);
  }
  return seen;
}

// How deep each row stands.
function depths(parent) {
  const found = new Uint16Array(parent.length);
  for (let row = 0; row < parent.length; row++) found[row] = parent[row] < 0 ? 0 : found[parent[row]] + 1;
  return found;
}
