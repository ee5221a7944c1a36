// Draws the timeline of one run on a canvas: thousands of rows, none of them a DOM node.
// All text goes through fillText and textContent: names come from whoever wrote the flow.
// What was selected, scrolled, zoomed and closed stays through every refresh of the data.

const ROW = 22, AXIS = 22, NAMES = 240, HEIGHT = 460, MARGIN = 8;
const ICONS = { value: "✓", completed: "✓", error: "✗", failed: "✗", timeout: "⏱", cancelled: "⊘",
  running: "▶", waiting: "⏸", due: "⏸", retrying: "↻", stalled: "⚠", blocked: "⚠", quarantined: "⚠" };
const COLORS = { value: "green", completed: "green", error: "red", failed: "red", quarantined: "red",
  timeout: "orange", retrying: "orange", stalled: "orange", blocked: "orange", cancelled: "gray",
  running: "violet", waiting: "blue", due: "blue" };
const BAD = new Set(["error", "failed", "timeout", "stalled", "blocked", "quarantined", "retrying"]);
const WAITS = new Set(["sleep", "signal", "child"]);
const HELP = "Keys: up and down move, left and right close and open, e next error, w next wait, "
  + "f fold, 0 fit, plus and minus zoom, / search, Enter shows the step.";
const instances = new WeakMap();

class Timeline {
  constructor(host, component) {
    this.host = host;
    this.closed = new Set();
    this.folding = true;
    this.window = null;  // [from, to] in milliseconds; null for all of it, following the end
    this.selected = null;
    this.build();
    this.update(component);
    if (component.data && component.data.focus) this.select(component.data.focus, false);
  }

  // -- what it is made of

  element(kind, name, parent) {
    const made = document.createElement(kind);
    if (name) made.className = name;
    parent.appendChild(made);
    return made;
  }

  button(text, title, act) {
    const made = this.element("button", "", this.bar);
    made.type = "button";
    made.textContent = text;
    made.title = title;
    made.onclick = () => { act(); this.root.focus({ preventScroll: true }); };
    return made;
  }

  build() {
    this.root = this.element("div", "timeline", this.host);
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", `Timeline of the run. ${HELP}`);
    this.bar = this.element("div", "bar", this.root);
    this.button("Fit", "Show all of it (0)", () => this.fit());
    this.foldButton = this.button("Fold waits", "Fold what took long and did nothing (f)", () => this.toggleFold());
    this.button("Next error", "e", () => this.next((row) => BAD.has(this.state(row)) && row > 0));
    this.button("Next wait", "w", () => this.next((row) => WAITS.has(this.kind(row))));
    this.button("−", "Zoom out (-)", () => this.zoom(1.6));
    this.button("+", "Zoom in (+)", () => this.zoom(1 / 1.6));
    this.element("span", "room", this.bar);
    this.search = this.element("input", "", this.bar);
    this.search.type = "search";
    this.search.placeholder = "Search (/)";
    this.search.setAttribute("aria-label", "Search steps by name or position");
    this.mini = this.element("canvas", "mini", this.root);
    this.rows = this.element("div", "rows", this.root);
    this.canvas = this.element("canvas", "", this.rows);
    this.spacer = this.element("div", "", this.rows);
    this.tip = this.element("div", "tip", this.root);
    this.tip.hidden = true;
    this.said = this.element("div", "said", this.root);
    this.said.setAttribute("aria-live", "polite");
    this.listen();
  }

  listen() {
    this.rows.onscroll = () => { this.tip.hidden = true; this.draw(); };
    this.root.onkeydown = (event) => this.key(event);
    this.search.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter") this.find(this.search.value);
      if (event.key === "Escape") this.root.focus();
    };
    this.canvas.onpointerdown = (event) => this.press(event);
    this.canvas.onpointermove = (event) => this.hover(event);
    this.canvas.onpointerleave = () => { this.tip.hidden = true; };
    this.canvas.ondblclick = (event) => this.openFold(event);
    this.rows.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.mini.onpointerdown = (event) => this.pressMini(event);
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(this.root);
    this.timer = setInterval(() => { if (this.data && this.goesOn) { this.rescale(); this.draw(); } }, 1000);
  }

  destroy() {
    clearInterval(this.timer);
    clearTimeout(this.late);
    this.watch.disconnect();
    this.root.remove();
  }

  // -- data

  update(component) {
    this.tell = component.setStateValue;
    const data = component.data;
    if (!data || data === this.data) return this.draw();
    this.data = data;
    this.depth = depths(data.parent);
    this.above = new Set(data.parent);
    this.index = new Map(data.key.map((key, row) => [key, row]));
    this.goesOn = data.length[0] < 0;
    this.opened = this.opened || new Set();
    this.relist();
    this.rescale();
    this.resize();
    this.root.dataset.rows = String(data.key.length);
  }

  kind(row) { return this.data.kinds[this.data.kind[row]]; }
  state(row) { return this.data.states[this.data.state[row]]; }
  color(row) {
    const state = this.state(row);
    return this.themed(WAITS.has(this.kind(row)) && state === "value" ? "blue" : COLORS[state] || "gray");
  }
  name(row) { return this.data.names[this.data.name[row]]; }
  start(row) { return this.data.start[row]; }
  end(row) { return this.data.length[row] < 0 ? this.total : this.data.start[row] + this.data.length[row]; }

  relist() { this.seen = seenRows(this.data.parent, this.closed); }

  rescale() {
    const own = this.data.length[0];
    this.total = Math.max(1, own < 0 ? Date.now() - this.data.epoch : own);
    const folds = this.folding ? this.data.folds.filter((_, number) => !this.opened.has(number)) : [];
    this.scale = makeScale(this.total, folds.map(([from, to]) => [from, to < 0 ? this.total : to]));
    this.foldButton.setAttribute("aria-pressed", String(this.folding));
  }

  // -- from time to pixels

  get span() {
    if (!this.window) return [0, this.scale.room];
    return this.window.map((time) => roomAt(this.scale, time));
  }

  x(time) {
    const [from, to] = this.span;
    return NAMES + (roomAt(this.scale, time) - from) / Math.max(1e-9, to - from) * this.wide;
  }

  timeOf(x) {
    const [from, to] = this.span;
    return timeAt(this.scale, from + (x - NAMES) / this.wide * (to - from));
  }

  resize() {
    if (!this.data) return;
    const width = Math.max(320, this.root.clientWidth);
    const tall = Math.min(HEIGHT, this.seen.length * ROW + AXIS + MARGIN);
    this.width = width;
    this.wide = width - NAMES - 2 * MARGIN;
    this.rows.style.height = `${tall}px`;
    this.spacer.style.height = `${Math.max(0, this.seen.length * ROW + AXIS - tall + MARGIN)}px`;
    this.tall = tall;
    this.fine(this.canvas, width, tall);
    this.fine(this.mini, width, 30);
    this.painted = null;
    this.draw();
  }

  fine(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  // -- drawing

  themed(name) {
    let found = this.colors.get(name);
    if (found === undefined) this.colors.set(name, found = this.variable(name));
    return found;
  }

  variable(name) {
    return this.style.getPropertyValue(`--st-${name}-color`).trim() || { text: "#222", background: "#fff", border: "#ccc", "secondary-background": "#eee",
      primary: "#06c", gray: "#888" }[name] || name;
  }

  draw() {
    if (!this.data || !this.width || !this.seen) return;
    const begun = performance.now();
    this.style = getComputedStyle(this.root);
    this.colors = new Map();  // of this drawing: the theme may change before the next
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.width, this.tall);
    pen.font = `12px ${this.style.fontFamily || "sans-serif"}`;
    pen.textBaseline = "middle";
    const top = this.rows.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW));
    const last = Math.min(this.seen.length, Math.ceil((top + this.tall) / ROW));
    this.drawFolds(pen);
    for (let place = first; place < last; place++) {
      this.drawRow(pen, this.seen[place], AXIS + place * ROW - top);
    }
    this.drawNames(pen, first, last, top);
    this.drawAxis(pen);
    this.drawMini();
    this.root.dataset.drawMs = (performance.now() - begun).toFixed(1);
  }

  drawFolds(pen) {
    this.bands = [];
    if (!this.folding) return;
    this.data.folds.forEach(([from, to, reason], number) => {
      if (this.opened.has(number)) return;
      const end = to < 0 ? this.total : to;
      const left = Math.max(NAMES, this.x(from)), right = Math.min(NAMES + this.wide, this.x(end));
      if (right <= left) return;
      const length = lasting(end - from), text = `${length}: ${this.data.reasons[reason]}`;
      this.bands.push({ left, right, number, length, text });
      pen.fillStyle = this.themed("secondary-background");
      pen.fillRect(left, AXIS, right - left, this.tall);
      pen.strokeStyle = this.themed("border");
      pen.beginPath();
      for (let bend = 0; AXIS + bend * 8 < this.tall; bend++) {
        pen.lineTo((left + right) / 2 + (bend % 2 ? 3 : -3), AXIS + bend * 8);
      }
      pen.stroke();
    });
  }

  drawRow(pen, row, y) {
    if (row === this.selected) {
      pen.globalAlpha = 0.15;
      pen.fillStyle = this.themed("primary");
      pen.fillRect(0, y, this.width, ROW);
      pen.globalAlpha = 1;
    }
    const a = this.x(this.start(row)), b = this.x(this.end(row));
    const left = Math.max(NAMES, a), right = Math.min(NAMES + this.wide, Math.max(b, a + 2));
    pen.fillStyle = this.color(row);
    if (right < NAMES + 1 || left > NAMES + this.wide - 1) {
      // Out of the window: say on which side it is.
      pen.fillText(b < NAMES + 1 ? "‹" : "›", b < NAMES + 1 ? NAMES + 2 : NAMES + this.wide - 6, y + ROW / 2);
      return;
    }
    this.drawBar(pen, row, left, right, y);
    const inside = this.kind(row) === "run" || this.kind(row) === "branch";
    if (inside) return;
    const said = this.data.tries[row] > 1 ? `×${this.data.tries[row]} ` : "";
    const text = said + lasting(this.end(row) - this.start(row));
    pen.fillStyle = this.themed("text");
    if (right + 70 < NAMES + this.wide) pen.fillText(text, right + 5, y + ROW / 2);
    else if (left - 70 > NAMES) { pen.textAlign = "right"; pen.fillText(text, left - 5, y + ROW / 2); pen.textAlign = "left"; }
  }

  drawBar(pen, row, left, right, y) {
    const kind = this.kind(row), open = this.data.length[row] < 0;
    const thin = kind === "run" || kind === "branch";
    const high = thin ? 5 : ROW - 9, at = y + (ROW - high) / 2;
    const hatched = WAITS.has(kind) || this.data.tries[row] > 1 || this.state(row) === "stalled";
    pen.globalAlpha = hatched ? 0.35 : thin ? 0.6 : 0.9;
    pen.fillRect(left, at, right - left, high);
    pen.globalAlpha = 1;
    if (hatched) this.hatch(pen, left, right, at, high);
    if (open) {
      pen.strokeStyle = pen.fillStyle;
      pen.setLineDash([3, 3]);
      pen.strokeRect(left + 0.5, at + 0.5, Math.max(1, right - left - 1), high - 1);
      pen.setLineDash([]);
    }
    if (this.data.tries[row] > 1 && BAD.has(this.state(row)) === false) {
      pen.fillStyle = this.themed("red");
      pen.fillRect(left, at + high - 2, (right - left) * (1 - 1 / this.data.tries[row]), 2);
    }
  }

  hatch(pen, left, right, y, high) {
    pen.save();
    pen.beginPath();
    pen.rect(left, y, right - left, high);
    pen.clip();
    pen.strokeStyle = pen.fillStyle;
    pen.beginPath();
    for (let x = left - high; x < right; x += 6) { pen.moveTo(x, y + high); pen.lineTo(x + high, y); }
    pen.stroke();
    pen.restore();
  }

  drawNames(pen, first, last, top) {
    pen.fillStyle = this.themed("background");
    pen.fillRect(0, AXIS, NAMES - 4, this.tall);
    pen.save();
    pen.beginPath();
    pen.rect(0, AXIS, NAMES - 8, this.tall);
    pen.clip();
    for (let place = first; place < last; place++) {
      const row = this.seen[place], y = AXIS + place * ROW - top + ROW / 2;
      const left = 6 + Math.min(12, this.depth[row]) * 12;
      if (row === this.selected) {
        pen.globalAlpha = 0.15; pen.fillStyle = this.themed("primary");
        pen.fillRect(0, y - ROW / 2, NAMES, ROW); pen.globalAlpha = 1;
      }
      pen.fillStyle = this.themed("text");
      if (this.above.has(row)) pen.fillText(this.closed.has(row) ? "▸" : "▾", left, y);
      pen.fillStyle = this.color(row);
      pen.fillText(ICONS[this.state(row)] || "·", left + 12, y);
      pen.fillStyle = this.themed("text");
      pen.fillText(this.name(row), left + 28, y);
    }
    pen.restore();
  }

  drawAxis(pen) {
    pen.fillStyle = this.themed("background");
    pen.fillRect(0, 0, this.width, AXIS);
    pen.fillStyle = this.themed("text");
    pen.strokeStyle = this.themed("border");
    const [from, to] = this.span;
    const step = roundStep((to - from) / Math.max(1, this.wide / 90));
    let free = NAMES;
    const long = this.bands.filter((band) => band.right - band.left > 44);
    const begin = this.timeOf(NAMES), end = this.timeOf(NAMES + this.wide);
    for (const [time, , isFold] of this.scale.knots) {
      if (isFold || time > end) continue;
      const stretch = this.scale.knots.find((knot) => knot[0] > time) || [end];
      const first = Math.ceil(Math.max(time, begin) / step) * step;
      for (let tick = first; tick <= Math.min(stretch[0], end); tick += step) {
        const x = this.x(tick);
        const taken = long.some((band) => x + 60 > band.left && x < band.right);
        if (x < free || x > this.width - 60 || taken) continue;
        pen.fillText(offsetText(tick, step), x + 3, AXIS / 2);
        pen.beginPath(); pen.moveTo(x + 0.5, 4); pen.lineTo(x + 0.5, this.tall); pen.globalAlpha = 0.5; pen.stroke(); pen.globalAlpha = 1;
        free = x + 84;
      }
    }
    pen.textAlign = "center";
    for (const band of long) pen.fillText(`⌇ ${band.length}`, (band.left + band.right) / 2, AXIS / 2);
    pen.textAlign = "left";
    pen.beginPath(); pen.moveTo(0, AXIS + 0.5); pen.lineTo(this.width, AXIS + 0.5); pen.stroke();
  }

  // All rows at a glance. Painted anew only when something changed, then copied.
  drawMini() {
    const pen = this.mini.getContext("2d");
    const light = this.themed("background");
    const sign = `${this.width}|${this.total}|${this.folding}|${this.opened.size}|${light}|${this.data.key.length}`;
    if (!this.painted || this.painted.sign !== sign || this.painted.data !== this.data) {
      const made = document.createElement("canvas");
      this.fine(made, this.width, 30);
      this.paintMini(made.getContext("2d"));
      this.painted = { sign, data: this.data, made };
    }
    pen.clearRect(0, 0, this.width, 30);
    pen.drawImage(this.painted.made, 0, 0, this.width, 30);
    const [from, to] = this.span, all = this.scale.room, wide = this.width - 2 * MARGIN;
    pen.strokeStyle = this.themed("primary");
    pen.strokeRect(MARGIN + from / all * wide, 1, Math.max(3, (to - from) / all * wide), 28);
  }

  paintMini(pen) {
    const count = this.data.key.length, wide = this.width - 2 * MARGIN, all = this.scale.room;
    for (const bad of [false, true]) {
      for (let row = 1; row < count; row++) {
        if (BAD.has(this.state(row)) !== bad) continue;
        const a = roomAt(this.scale, this.start(row)) / all, b = roomAt(this.scale, this.end(row)) / all;
        pen.fillStyle = this.color(row);
        pen.globalAlpha = WAITS.has(this.kind(row)) ? 0.25 : 0.9;
        pen.fillRect(MARGIN + a * wide, 2 + row / count * 24, Math.max(1, (b - a) * wide), bad ? 3 : 2);
      }
    }
    pen.globalAlpha = 1;
  }

  // -- doing

  rowAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = Math.floor((event.clientY - box.top - AXIS + this.rows.scrollTop) / ROW);
    return event.clientY - box.top < AXIS ? undefined : this.seen[place];
  }

  press(event) {
    this.root.focus({ preventScroll: true });
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, row = this.rowAt(event);
    if (row === undefined) return;
    if (x < NAMES && this.above.has(row) && x < 24 + Math.min(12, this.depth[row]) * 12) this.toggle(row);
    this.reveal(row);
    this.select(this.data.key[row], true);
    this.drag(event, x);
  }

  drag(event, x) {
    if (x < NAMES || !this.window) return;
    const [from, to] = this.span;
    this.canvas.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const by = (event.clientX - moved.clientX) / this.wide * (to - from);
      if (Math.abs(event.clientX - moved.clientX) > 3) this.show(from + by, to + by);
    };
    const up = () => { this.canvas.removeEventListener("pointermove", move); };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", up, { once: true });
  }

  hover(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, row = this.rowAt(event);
    const band = this.bands && this.bands.find((each) => x >= each.left && x <= each.right);
    let text = "";
    if (band) text = `${band.text}\nDouble-click to unfold`;
    else if (row !== undefined) text = this.describe(row);
    this.tip.hidden = !text;
    this.tip.textContent = text;
    const home = this.root.getBoundingClientRect();
    this.tip.style.left = `${Math.min(event.clientX - home.left + 14, Math.max(0, this.width - 370))}px`;
    this.tip.style.top = `${event.clientY - home.top + 14}px`;
  }

  describe(row) {
    const tries = this.data.tries[row] > 1 ? `, ${this.data.tries[row]} attempts` : "";
    const at = new Date(this.data.epoch + this.start(row)).toISOString().replace("T", " ");
    const open = this.data.length[row] < 0 ? " so far" : "";
    return `${this.data.key[row]} ${this.name(row)}: ${this.state(row)}${tries}\n`
      + `${lasting(this.end(row) - this.start(row))}${open}, from ${at}`;
  }

  // Who holds an arrow key down (*late*) asks for the last row only.
  select(key, tell, late = 0) {
    const row = this.index.get(key);
    if (row === undefined) return;
    for (let above = this.data.parent[row]; above >= 0; above = this.data.parent[above]) {
      if (this.closed.delete(above)) this.relist();
    }
    this.selected = row;
    this.root.dataset.selected = key;
    this.said.textContent = this.describe(row);
    this.into(row);
    this.draw();
    if (!tell) return;
    clearTimeout(this.late);
    if (late) this.late = setTimeout(() => this.tell("selected", key), late);
    else this.tell("selected", key);
  }

  into(row) {
    const y = this.seen.indexOf(row) * ROW, shown = this.tall - AXIS - MARGIN;
    if (y < this.rows.scrollTop) this.rows.scrollTop = y;
    if (y + ROW > this.rows.scrollTop + shown) this.rows.scrollTop = y + ROW - shown;
  }

  toggle(row) {
    if (!this.closed.delete(row)) this.closed.add(row);
    this.relist();
    this.resize();
  }

  toggleFold() { this.folding = !this.folding; this.opened.clear(); this.rescale(); this.draw(); }

  openFold(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const band = this.bands.find((each) => x >= each.left && x <= each.right);
    if (band) { this.opened.add(band.number); this.rescale(); this.draw(); }
  }

  fit() { this.window = null; this.draw(); }

  show(from, to) {
    const room = this.scale.room, wide = Math.min(room, Math.max(to - from, 1e-3));
    const begin = Math.min(Math.max(0, from), room - wide);
    this.window = wide >= room ? null : [timeAt(this.scale, begin), timeAt(this.scale, begin + wide)];
    this.draw();
  }

  zoom(by, x = NAMES + this.wide / 2) {
    const [from, to] = this.span;
    const share = (x - NAMES) / this.wide, at = from + share * (to - from);
    const wide = Math.max((to - from) * by, this.scale.room / 1e6);
    this.show(at - share * wide, at + (1 - share) * wide);
  }

  reveal(row) {
    if (this.x(this.end(row)) > NAMES && this.x(this.start(row)) < NAMES + this.wide) return;
    const middle = roomAt(this.scale, (this.start(row) + this.end(row)) / 2), [from, to] = this.span;
    this.show(middle - (to - from) / 2, middle + (to - from) / 2);
  }

  wheel(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, Math.max(NAMES, x));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const [from, to] = this.span, by = (event.deltaX || event.deltaY) / this.wide * (to - from);
      this.show(from + by, to + by);
    }
  }

  pressMini(event) {
    const move = (moved) => {
      const box = this.mini.getBoundingClientRect(), [from, to] = this.span;
      const share = (moved.clientX - box.left - MARGIN) / (this.width - 2 * MARGIN);
      const wide = this.window ? to - from : this.scale.room / 4, middle = share * this.scale.room;
      this.show(middle - wide / 2, middle + wide / 2);
    };
    move(event);
    this.mini.setPointerCapture(event.pointerId);
    this.mini.onpointermove = move;
    this.mini.onpointerup = () => { this.mini.onpointermove = null; };
  }

  next(wanted) {
    const count = this.data.key.length, from = this.selected === null ? -1 : this.selected;
    for (let step = 1; step <= count; step++) {
      const row = (from + step) % count;
      if (wanted(row)) { this.select(this.data.key[row], true); this.reveal(row); return; }
    }
  }

  find(text) {
    const wanted = text.trim().toLowerCase();
    if (wanted) this.next((row) => this.data.key[row] === wanted || this.name(row).toLowerCase().includes(wanted));
  }

  move(by) {
    const place = this.selected === null ? -1 : this.seen.indexOf(this.selected);
    const row = this.seen[Math.min(this.seen.length - 1, Math.max(0, place + by))];
    if (row !== undefined) this.select(this.data.key[row], true, 80);
  }

  sideways(opens) {
    const row = this.selected;
    if (row === null) return;
    if (this.above.has(row) && this.closed.has(row) === opens) this.toggle(row);
    else if (!opens && this.data.parent[row] >= 0) this.select(this.data.key[this.data.parent[row]], true);
    else if (opens && this.above.has(row)) this.move(1);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === this.search) return;
    const page = Math.max(1, Math.floor((this.tall - AXIS) / ROW) - 1);
    const acts = {
      ArrowDown: () => this.move(1), ArrowUp: () => this.move(-1),
      PageDown: () => this.move(page), PageUp: () => this.move(-page),
      Home: () => this.move(-this.seen.length), End: () => this.move(this.seen.length),
      ArrowLeft: () => this.sideways(false), ArrowRight: () => this.sideways(true),
      Enter: () => { if (this.selected !== null) this.tell("selected", this.data.key[this.selected]); },
      e: () => this.next((row) => row > 0 && BAD.has(this.state(row))),
      w: () => this.next((row) => WAITS.has(this.kind(row))),
      f: () => this.toggleFold(), 0: () => this.fit(), "/": () => this.search.focus(),
      "+": () => this.zoom(1 / 1.6), "-": () => this.zoom(1.6),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    this.tip.hidden = true;
    act();
  }
}

export default function (component) {
  const host = component.parentElement;
  let timeline = instances.get(host);
  if (timeline) timeline.update(component);
  else instances.set(host, timeline = new Timeline(host, component));
  return () => { timeline.destroy(); instances.delete(host); };
}
