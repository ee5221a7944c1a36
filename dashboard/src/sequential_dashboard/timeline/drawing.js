// Draws the rows of a timeline, its axis and all of it at a glance. Knows no events: `canvas.js` does.
// All text goes through fillText: names come from whoever wrote the flow.

const ROW = 22, AXIS = 22, HEIGHT = 460, MARGIN = 8, MINI = 30;
const COLORS = { value: "green", completed: "green", error: "red", failed: "red", quarantined: "red",
  timeout: "orange", retrying: "orange", stalled: "orange", blocked: "orange", cancelled: "gray",
  running: "violet", waiting: "blue", due: "blue" };
const BAD = new Set(["error", "failed", "timeout", "stalled", "blocked", "quarantined", "retrying"]);
const WAITS = new Set(["sleep", "signal", "child", "backoff"]);
const INSIDE = new Set(["run", "branch"]);  // they last as long as what is below them
const PLAIN = { text: "#222", background: "#fff", border: "#ccc", "secondary-background": "#eee",
  primary: "#06c", gray: "#888" };

// Signs of states in a square of 10, as strokes: a letter of a font may be missing, or be an emoji.
const SIGNS = { tick: [[1, 5, 4, 8, 9, 2]], cross: [[2, 2, 8, 8], [8, 2, 2, 8]],
  bars: [[3, 2, 3, 8], [7, 2, 7, 8]], play: [[3, 1, 9, 5, 3, 9, 3, 1]],
  warn: [[5, 1, 9, 9, 1, 9, 5, 1], [5, 4, 5, 6.5]], again: [[9, 2, 9, 5, 6, 5], [9, 5, 5, 1, 1, 5, 5, 9, 8, 8]],
  late: [[2, 1, 8, 1, 2, 9, 8, 9, 2, 1]], off: [[2, 8, 8, 2], [5, 1, 9, 5, 5, 9, 1, 5, 5, 1]] };
const SIGN_OF = { value: "tick", completed: "tick", error: "cross", failed: "cross", timeout: "late",
  cancelled: "off", running: "play", waiting: "bars", due: "bars", retrying: "again",
  stalled: "warn", blocked: "warn", quarantined: "warn" };

function stroke(pen, lines, x, y, scale = 1) {
  pen.beginPath();
  for (const line of lines) {
    pen.moveTo(x + line[0] * scale, y + line[1] * scale);
    for (let at = 2; at < line.length; at += 2) pen.lineTo(x + line[at] * scale, y + line[at + 1] * scale);
  }
  pen.stroke();
}

// The beginning of *text* that has room, with a sign that something is missing.
function fitted(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle; else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}

class Drawing {
  // -- what a row is

  kind(row) { return this.data.kinds[this.data.kind[row]]; }
  state(row) { return this.data.states[this.data.state[row]]; }
  name(row) { return this.data.names[this.data.name[row]]; }
  start(row) { return this.data.start[row]; }
  end(row) { return this.data.length[row] < 0 ? this.total : this.data.start[row] + this.data.length[row]; }
  isBad(row) { return row > 0 && BAD.has(this.state(row)); }

  color(row) {
    const state = this.state(row);
    return this.themed(WAITS.has(this.kind(row)) && state === "value" ? "blue" : COLORS[state] || "gray");
  }

  // -- from time to pixels

  get span() {
    if (!this.window) return [0, this.scale.room];
    return this.window.map((time) => roomAt(this.scale, time));
  }

  x(time) {
    const [from, to] = this.span;
    return this.names + (roomAt(this.scale, time) - from) / Math.max(1e-9, to - from) * this.wide;
  }

  timeOf(x) {
    const [from, to] = this.span;
    return timeAt(this.scale, from + (x - this.names) / this.wide * (to - from));
  }

  fine(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  // -- colours, of this drawing: the theme may change before the next

  themed(name) {
    let found = this.colors.get(name);
    if (found === undefined) {
      found = this.style.getPropertyValue(`--st-${name}-color`).trim() || PLAIN[name] || name;
      this.colors.set(name, found);
    }
    return found;
  }

  tinted(pen, alpha, draw) {
    pen.globalAlpha = alpha;
    draw();
    pen.globalAlpha = 1;
  }

  // -- all of it

  draw() {
    if (!this.data || !this.width || !this.seen) return;
    const begun = performance.now();
    this.style = getComputedStyle(this.root);
    this.colors = new Map();
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.width, this.tall);
    this.font = this.style.fontFamily || "sans-serif";
    pen.font = `12px ${this.font}`;
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    const top = this.rows.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW));
    const last = Math.min(this.seen.length, Math.ceil((top + this.tall) / ROW));
    const places = [];
    for (let place = first; place < last; place++) places.push([this.seen[place], AXIS + place * ROW - top]);
    this.drawFolds(pen);
    for (const [row, y] of places) this.drawRow(pen, row, y);
    this.drawNames(pen, places);
    this.drawAxis(pen);
    this.drawMini();
    Object.assign(this.root.dataset, {
      window: (this.window || [0, this.total]).map(Math.round).join(" "),
      folded: this.bands.length, following: this.following, drawMs: (performance.now() - begun).toFixed(1),
    });
  }

  // -- folds: bands as wide as each other, torn at both sides, that say what was waited for

  drawFolds(pen) {
    this.bands = [];
    if (!this.folding) return;
    this.data.folds.forEach(([from, to, reason], number) => {
      if (this.opened.has(number)) return;
      const end = to < 0 ? this.total : to;
      const left = Math.max(this.names, this.x(from)), right = Math.min(this.names + this.wide, this.x(end));
      if (right <= left) return;
      const length = lasting(end - from), why = this.data.reasons[reason];
      this.bands.push({ left, right, number, length, text: `${length}: ${why}` });
      pen.fillStyle = this.themed("secondary-background");
      pen.fillRect(left, AXIS, right - left, this.tall);
      pen.strokeStyle = this.themed("border");
      for (const side of right - left > 8 ? [left, right] : [(left + right) / 2]) this.tear(pen, side);
      if (right - left >= 14 && this.tall > 200) this.reason(pen, (left + right) / 2, right - left > 44 ? why : `${length}: ${why}`);
    });
  }

  tear(pen, x) {
    pen.beginPath();
    for (let bend = 0; AXIS + bend * 6 < this.tall + 6; bend++) pen.lineTo(x + (bend % 2 ? 2 : -2), AXIS + bend * 6);
    pen.stroke();
  }

  reason(pen, x, text) {
    pen.save();
    pen.translate(x, (AXIS + this.tall) / 2);
    pen.rotate(-Math.PI / 2);
    pen.font = `11px ${this.font}`;
    pen.textAlign = "center";
    pen.fillStyle = this.themed("text");
    this.tinted(pen, 0.75, () => pen.fillText(fitted(pen, text, this.tall - AXIS - 12), 0, 0));
    pen.restore();
  }

  // -- rows

  drawRow(pen, row, y) {
    if (row === this.selected) {
      pen.fillStyle = this.themed("primary");
      this.tinted(pen, 0.14, () => pen.fillRect(this.names, y, this.width, ROW));
    }
    const a = this.x(this.start(row)), b = this.x(this.end(row)), edge = this.names + this.wide;
    pen.fillStyle = pen.strokeStyle = this.color(row);
    if (b < this.names - 0.5 || a > edge + 0.5) return this.drawAway(pen, row, y, b < this.names);
    const left = Math.max(this.names, Math.min(a, edge - 2)), right = Math.min(edge, Math.max(b, left + 2));
    if (this.data.length[row] === 0) this.drawMoment(pen, left, y);
    else this.drawBar(pen, row, left, right, y);
    if (INSIDE.has(this.kind(row))) return;
    const tries = this.data.tries[row] > 1 ? `×${this.data.tries[row]} ` : "";
    this.drawBeside(pen, tries + (this.data.length[row] === 0 ? "" : lasting(this.end(row) - this.start(row))), left, right, y);
  }

  // It is outside of the window: say on which side, and how far. A click goes there.
  drawAway(pen, row, y, before) {
    const [from, to] = this.window || [0, this.total];
    const x = before ? this.names + 4 : this.names + this.wide - 4, by = before ? 7 : -7, middle = y + ROW / 2;
    pen.beginPath();
    pen.moveTo(x, middle); pen.lineTo(x + by, middle - 5); pen.lineTo(x + by, middle + 5);
    pen.fill();
    pen.fillStyle = this.themed("text");
    pen.textAlign = before ? "left" : "right";
    const far = before ? `${lasting(from - this.end(row))} before` : `${lasting(this.start(row) - to)} later`;
    this.tinted(pen, 0.6, () => pen.fillText(far, x + by + Math.sign(by) * 4, middle));
    pen.textAlign = "left";
  }

  drawMoment(pen, x, y) {
    const middle = y + ROW / 2;
    pen.beginPath();
    pen.moveTo(x - 4, middle); pen.lineTo(x, middle - 5); pen.lineTo(x + 4, middle); pen.lineTo(x, middle + 5);
    pen.fill();
  }

  drawBeside(pen, text, left, right, y) {
    const room = pen.measureText(text).width + 10;
    if (right + room < this.names + this.wide) this.write(pen, text, right + 6, y);
    else if (left - room > this.names) this.write(pen, text, left - room + 4, y);
    else if (right - left > room) this.write(pen, text, left + 5, y);
  }

  // With paper around each letter: bars and folds have any colour.
  write(pen, text, x, y) {
    pen.strokeStyle = this.themed("background");
    pen.lineWidth = 3;
    pen.strokeText(text, x, y + ROW / 2);
    pen.lineWidth = 1;
    pen.fillStyle = this.themed("text");
    pen.fillText(text, x, y + ROW / 2);
  }

  drawBar(pen, row, left, right, y) {
    const kind = this.kind(row), tries = this.data.tries[row], thin = INSIDE.has(kind);
    const high = thin ? 5 : ROW - 9, at = y + (ROW - high) / 2;
    const hatched = WAITS.has(kind) || tries > 1 || this.state(row) === "stalled";
    this.tinted(pen, hatched ? 0.35 : thin ? 0.6 : 0.9, () => {
      pen.beginPath();
      pen.roundRect(left, at, right - left, high, Math.min(3, (right - left) / 2));
      pen.fill();
    });
    if (hatched) this.hatch(pen, left, right, at, high);
    if (this.data.length[row] < 0) {
      pen.setLineDash([3, 3]);
      pen.strokeRect(left + 0.5, at + 0.5, Math.max(1, right - left - 1), high - 1);
      pen.setLineDash([]);
    }
    if (tries > 1 && !BAD.has(this.state(row))) {
      pen.fillStyle = this.themed("red");
      pen.fillRect(left, at + high - 2, (right - left) * (1 - 1 / tries), 2);
    }
  }

  hatch(pen, left, right, y, high) {
    pen.save();
    pen.beginPath();
    pen.rect(left, y, right - left, high);
    pen.clip();
    pen.beginPath();
    for (let x = left - high; x < right; x += 6) { pen.moveTo(x, y + high); pen.lineTo(x + high, y); }
    pen.stroke();
    pen.restore();
  }

  // -- names

  drawNames(pen, places) {
    pen.fillStyle = this.themed("background");
    pen.fillRect(0, AXIS, this.names - 2, this.tall);
    for (const [row, y] of places) {
      if (row === this.selected) {
        pen.fillStyle = this.themed("primary");
        this.tinted(pen, 0.14, () => pen.fillRect(0, y, this.names - 2, ROW));
        pen.fillRect(0, y, 3, ROW);
      }
      this.drawName(pen, row, y);
    }
    pen.strokeStyle = this.themed("border");
    stroke(pen, [[this.names - 1.5, AXIS, this.names - 1.5, this.tall]], 0, 0);
  }

  drawName(pen, row, y) {
    const middle = y + ROW / 2;
    let x = 6 + Math.min(12, this.depth[row]) * 12;
    pen.strokeStyle = this.themed("text");
    if (this.above.has(row)) stroke(pen, [this.closed.has(row) ? [3, 1, 7, 5, 3, 9] : [1, 3, 5, 7, 9, 3]], x, middle - 4, 0.8);
    pen.strokeStyle = this.color(row);
    pen.lineWidth = 1.5;
    stroke(pen, SIGNS[SIGN_OF[this.state(row)]] || SIGNS.play, x + 13, middle - 5);
    pen.lineWidth = 1;
    x += 29;
    pen.fillStyle = this.themed("text");
    const position = /^[\d.]+$/.test(this.data.key[row]) ? `${this.data.key[row]} ` : "";
    this.tinted(pen, 0.55, () => pen.fillText(position, x, middle));
    x += pen.measureText(position).width + (position ? 2 : 0);
    pen.fillText(fitted(pen, this.name(row), this.names - 8 - x), x, middle);
  }

  // -- the axis

  drawAxis(pen) {
    pen.fillStyle = this.themed("background");
    pen.fillRect(0, 0, this.width, AXIS);
    pen.fillStyle = this.themed("text");
    pen.strokeStyle = this.themed("border");
    const long = this.bands.filter((band) => band.right - band.left > 44);
    let free = this.names;
    for (const { x, text } of this.ticks()) {
      const room = pen.measureText(text).width + 14;
      const taken = long.some((band) => x + room - 8 > band.left && x < band.right);
      if (x < free || x + room > this.width || taken) continue;
      pen.fillText(text, x + 4, AXIS / 2);
      this.tinted(pen, 0.5, () => stroke(pen, [[x + 0.5, 4, x + 0.5, this.tall]], 0, 0));
      free = x + room;
    }
    pen.textAlign = "center";
    for (const band of long) pen.fillText(band.length, (band.left + band.right) / 2, AXIS / 2);
    pen.textAlign = "left";
    stroke(pen, [[0, AXIS + 0.5, this.width, AXIS + 0.5]], 0, 0);
  }

  // Where times are written: round ones, none of them in a fold.
  ticks() {
    const [from, to] = this.span, knots = this.scale.knots;
    const step = roundStep((to - from) / Math.max(1, this.wide / 90));
    const begin = this.timeOf(this.names), end = this.timeOf(this.names + this.wide);
    const found = [];
    knots.forEach(([time, , isFold], number) => {
      if (isFold || time > end) return;
      const until = Math.min(end, number + 1 < knots.length ? knots[number + 1][0] : end);
      for (let tick = Math.ceil(Math.max(time, begin) / step) * step; tick <= until; tick += step) {
        found.push({ x: this.x(tick), text: offsetText(tick, step) });
      }
    });
    return found;
  }

  // -- all rows at a glance: painted anew only when something changed, then copied

  drawMini() {
    const pen = this.mini.getContext("2d");
    const paper = [this.width, window.devicePixelRatio, this.themed("background")];
    const sign = [...paper, this.total, this.folding, this.opened.size].join("|");
    if (!this.painted || this.painted.sign !== sign || this.painted.data !== this.data) {
      const made = document.createElement("canvas");
      this.fine(made, this.width, MINI);
      this.paintMini(made.getContext("2d"));
      this.painted = { sign, data: this.data, made };
      this.root.dataset.painted = Number(this.root.dataset.painted || 0) + 1;
    }
    pen.clearRect(0, 0, this.width, MINI);
    pen.drawImage(this.painted.made, 0, 0, this.width, MINI);
    if (!this.window) return;
    const [from, to] = this.span, all = this.scale.room, wide = this.width - 2 * MARGIN;
    pen.strokeStyle = pen.fillStyle = this.themed("primary");
    const box = [MARGIN + from / all * wide, 1, Math.max(3, (to - from) / all * wide), MINI - 2];
    this.tinted(pen, 0.1, () => pen.fillRect(...box));
    pen.strokeRect(...box);
  }

  paintMini(pen) {
    const count = this.data.key.length, wide = this.width - 2 * MARGIN, all = this.scale.room;
    const high = Math.min(6, Math.max(2, 24 / count - 1));
    for (const bad of [false, true]) {
      for (let row = 1; row < count; row++) {
        if (BAD.has(this.state(row)) !== bad) continue;
        const a = roomAt(this.scale, this.start(row)) / all, b = roomAt(this.scale, this.end(row)) / all;
        pen.fillStyle = this.color(row);
        pen.globalAlpha = WAITS.has(this.kind(row)) ? 0.3 : 0.9;
        pen.fillRect(MARGIN + a * wide, 2 + (row - 1) / count * 26, Math.max(1, (b - a) * wide), bad ? high + 1 : high);
      }
    }
    pen.globalAlpha = 1;
  }
}
