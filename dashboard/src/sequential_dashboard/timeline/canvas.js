// The timeline of one run on a canvas: thousands of rows, none of them a DOM node.
// All text goes through fillText and textContent: names come from whoever wrote the flow.
// What was selected, scrolled, zoomed and closed stays through every refresh of the data. A run that
// goes on is followed at its end, until somebody looks elsewhere.

const HELP = "Keys: up and down move, left and right close and open, e next error, w next wait, "
  + "f fold, l latest, 0 fit, plus and minus zoom, / search, Enter shows the step.";
const instances = new WeakMap();

class Timeline extends Drawing {
  constructor(host, component) {
    super();
    this.host = host;
    this.closed = new Set();
    this.folding = true;
    this.window = null;  // [from, to] in milliseconds; null for all of it, following the end
    this.selected = null;
    this.following = !(component.data && component.data.focus);
    this.build();
    this.update(component);
    if (!this.following) this.select(component.data.focus, false);
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
    made.onclick = () => { act(); this.rows.focus({ preventScroll: true }); };
    return made;
  }

  build() {
    this.root = this.element("div", "timeline", this.host);
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Timeline of the run");
    this.bar = this.element("div", "bar", this.root);
    this.button("Fit", "Show all of it (0)", () => this.fit());
    this.foldButton = this.button("Fold waits", "Fold what took long and did nothing (f)", () => this.toggleFold());
    this.button("Next error", "e", () => this.next((row) => this.isBad(row)));
    this.button("Next wait", "w", () => this.next((row) => WAITS.has(this.kind(row))));
    this.latestButton = this.button("Latest", "Follow what goes on (l)", () => this.follow());
    this.button("−", "Zoom out (-)", () => this.zoom(1.6));
    this.button("+", "Zoom in (+)", () => this.zoom(1 / 1.6));
    this.element("span", "room", this.bar);
    this.search = this.element("input", "", this.bar);
    this.search.type = "search";
    this.search.placeholder = "Search (/)";
    this.search.setAttribute("aria-label", "Search steps by name or position");
    this.mini = this.element("canvas", "mini", this.root);
    this.rows = this.element("div", "rows", this.root);
    this.rows.tabIndex = 0;
    this.rows.setAttribute("role", "tree");
    this.rows.setAttribute("aria-label", `Steps of the run. ${HELP}`);
    this.canvas = this.element("canvas", "", this.rows);
    this.spacer = this.element("div", "", this.rows);
    this.tip = this.element("div", "tip", this.root);
    this.tip.hidden = true;
    this.said = this.element("div", "said", this.root);
    this.said.setAttribute("aria-live", "polite");
    // The one row that is not only painted: what a screen reader is at.
    this.item = this.element("div", "said", this.rows);
    this.item.id = "row";
    this.item.setAttribute("role", "treeitem");
    this.listen();
  }

  listen() {
    this.rows.onscroll = () => this.scrolled();
    this.rows.onkeydown = (event) => this.key(event);
    this.search.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter") this.find(this.search.value);
      if (event.key === "Escape") this.rows.focus();
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
    const text = component.data && component.data.rows;
    if (!text || text === this.text) return this.draw();
    this.text = text;
    const data = this.data = JSON.parse(text);
    this.depth = depths(data.parent);
    this.above = new Set(data.parent);
    this.index = new Map(data.key.map((key, row) => [key, row]));
    this.goesOn = data.length[0] < 0;
    this.opened = this.opened || new Set();
    this.latestButton.hidden = !this.goesOn;
    this.relist();
    this.rescale();
    this.resize();
    this.root.dataset.rows = String(data.key.length);
    if (this.selected !== null) this.say(this.selected);
  }

  relist() { this.seen = seenRows(this.data.parent, this.closed); }

  rescale() {
    const own = this.data.length[0], wide = this.window && this.scale ? this.span[1] - this.span[0] : 0;
    this.total = Math.max(1, own < 0 ? Date.now() - this.data.epoch : own);
    const folds = this.folding ? this.data.folds.filter((_, number) => !this.opened.has(number)) : [];
    this.scale = makeScale(this.total, folds.map(([from, to]) => [from, to < 0 ? this.total : to]));
    const end = this.scale.room;
    if (this.window && this.goesOn && this.following) this.window = [timeAt(this.scale, end - wide), this.total];
    this.foldButton.setAttribute("aria-pressed", String(this.folding));
  }

  resize() {
    if (!this.data) return;
    const width = Math.max(320, this.root.clientWidth);
    const tall = Math.min(HEIGHT, this.seen.length * ROW + AXIS + MARGIN);
    this.width = width;
    this.names = Math.min(260, Math.round(width * 0.35));
    this.wide = width - this.names - 2 * MARGIN;
    this.rows.style.height = `${tall}px`;
    this.spacer.style.height = `${Math.max(0, this.seen.length * ROW + AXIS - tall + MARGIN)}px`;
    this.tall = tall;
    this.fine(this.canvas, width, tall);
    this.fine(this.mini, width, MINI);
    if (this.goesOn && this.following) this.rows.scrollTop = this.rows.scrollHeight;
    this.draw();
  }

  // -- at the end of a run that goes on, or not

  get atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.rows;
    return scrollTop + clientHeight >= scrollHeight - 2;
  }

  leave() { this.following = false; this.latestButton.setAttribute("aria-pressed", "false"); }

  follow() {
    this.following = true;
    this.latestButton.setAttribute("aria-pressed", "true");
    if (this.window) { const [from, to] = this.span; this.show(this.scale.room - (to - from), this.scale.room); }
    this.rows.scrollTop = this.rows.scrollHeight;
    this.draw();
  }

  scrolled() {
    this.tip.hidden = true;
    if (this.goesOn && !this.atEnd) this.leave();
    this.draw();
  }

  // -- doing

  rowAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = Math.floor((event.clientY - box.top - AXIS + this.rows.scrollTop) / ROW);
    return event.clientY - box.top < AXIS ? undefined : this.seen[place];
  }

  press(event) {
    this.rows.focus({ preventScroll: true });
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, row = this.rowAt(event);
    if (row === undefined) return;
    if (x < this.names && this.above.has(row) && x < 24 + Math.min(12, this.depth[row]) * 12) this.toggle(row);
    this.reveal(row);
    this.select(this.data.key[row], true);
    this.drag(event, x);
  }

  drag(event, x) {
    if (x < this.names || !this.window) return;
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
    this.leave();
    this.root.dataset.selected = key;
    this.said.textContent = this.describe(row);
    this.say(row);
    this.into(row);
    this.draw();
    if (!tell) return;
    clearTimeout(this.late);
    if (late) this.late = setTimeout(() => this.tell("selected", key), late);
    else this.tell("selected", key);
  }

  // Keeps the one row that a screen reader sees as it is.
  say(row) {
    this.item.textContent = this.describe(row);
    this.item.setAttribute("aria-level", this.depth[row] + 1);
    this.item.setAttribute("aria-posinset", this.seen.indexOf(row) + 1);
    this.item.setAttribute("aria-setsize", this.seen.length);
    this.item.setAttribute("aria-selected", "true");
    if (this.above.has(row)) this.item.setAttribute("aria-expanded", !this.closed.has(row));
    else this.item.removeAttribute("aria-expanded");
    this.rows.setAttribute("aria-activedescendant", this.item.id);
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
    if (row === this.selected) this.say(row);
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
    if (begin + wide < room * 0.999) this.leave();
    this.window = wide >= room ? null : [timeAt(this.scale, begin), timeAt(this.scale, begin + wide)];
    this.draw();
  }

  // Around *x*; by keys around what is selected, if that is in sight.
  zoom(by, x = this.middle()) {
    const [from, to] = this.span;
    const share = (x - this.names) / this.wide, at = from + share * (to - from);
    const wide = Math.max((to - from) * by, this.scale.room / 1e6);
    this.show(at - share * wide, at + (1 - share) * wide);
  }

  middle() {
    const all = this.names + this.wide / 2;
    if (!this.selected) return all;  // nothing, or the run itself
    const at = (this.x(this.start(this.selected)) + this.x(this.end(this.selected))) / 2;
    return at >= this.names && at <= this.names + this.wide ? at : all;
  }

  reveal(row) {
    if (this.x(this.end(row)) > this.names && this.x(this.start(row)) < this.names + this.wide) return;
    const middle = roomAt(this.scale, (this.start(row) + this.end(row)) / 2), [from, to] = this.span;
    this.show(middle - (to - from) / 2, middle + (to - from) / 2);
  }

  wheel(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, Math.max(this.names, x));
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
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor((this.tall - AXIS) / ROW) - 1);
    const acts = {
      ArrowDown: () => this.move(1), ArrowUp: () => this.move(-1),
      PageDown: () => this.move(page), PageUp: () => this.move(-page),
      Home: () => this.move(-this.seen.length), End: () => this.move(this.seen.length),
      ArrowLeft: () => this.sideways(false), ArrowRight: () => this.sideways(true),
      Enter: () => { if (this.selected !== null) this.tell("selected", this.data.key[this.selected]); },
      e: () => this.next((row) => this.isBad(row)),
      w: () => this.next((row) => WAITS.has(this.kind(row))),
      f: () => this.toggleFold(), l: () => this.follow(), 0: () => this.fit(), "/": () => this.search.focus(),
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
