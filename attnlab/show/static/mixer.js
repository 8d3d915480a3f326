// The view of the mixing desk. It holds no state of its own but what is being dragged:
// faders go to Python, numbers and pictures come back. Python decides; this draws.

const WHATS = [
  ["scaled", "weights × scale"],
  ["weights", "weights"],
  ["contributions", "contributions"],
  ["difference", "difference from neutral"],
];
const PRESETS = [
  ["neutral", "All neutral"],
  ["silence", "Silence head"],
  ["keep-one", "Keep one per layer"],
  ["random-half", "Random half"],
];
const MODES = {
  // what a fader's position means: native range inputs are linear, temperature is not
  scale: { min: 0, max: 2, step: 0.05, value: (x) => x, position: (v) => v },
  temperature: { min: -3, max: 3, step: 0.1, value: (x) => 2 ** x, position: (v) => Math.log2(v) },
};

const percent = (x, digits = 1) => `${(100 * x).toFixed(digits)} %`;
const points = (x) => `${x < 0 ? "−" : "+"}${Math.abs(100 * x).toFixed(1)}`;
const short = (v) => (v >= 10 ? v.toFixed(0) : v.toFixed(2).replace(/\.?0+$/, ""));

function render(context) {
  const { model } = context;
  const { root, on, end } = begin(context, "attnlab-desk", "Mixing desk of attention heads");
  const { layers, heads, removed } = model.get("size");
  const gone = new Set(removed.map(([layer, head]) => `${layer},${head}`));
  let mode = "scale";
  let gesture = 0; // one undo step per drag or run of key presses
  let lastKey = 0;

  // ── the bar ──────────────────────────────────────────────────────────────────────────────
  const bar = make("div", { className: "desk-bar", role: "toolbar", "aria-label": "Desk" });
  const modes = Object.keys(MODES).map((name) => {
    const button = make("button", { type: "button", textContent: name === "scale" ? "Scale" : "Temperature" });
    button.onclick = () => { mode = name; drawFaders(); };
    button.dataset.mode = name;
    return button;
  });
  const send = (action, extra = {}) => model.send({ action, ...extra });
  const presets = PRESETS.map(([name, label]) => {
    const button = make("button", { type: "button", textContent: label });
    button.dataset.preset = name;
    button.onclick = () => send("preset", { name, place: [look().layer, look().head] });
    return button;
  });
  const undo = button("undo", "Undo", () => send("undo"));
  const code = make("button", { type: "button", textContent: "Copy as code", "aria-expanded": "false" });
  bar.append(...modes, make("span", { className: "gap" }), ...presets, make("span", { className: "gap" }), undo, code);
  const codeBox = make("div", { className: "desk-code", hidden: true });
  const codeText = make("textarea", { readOnly: true, "aria-label": "These settings as Python code" });
  codeBox.append(codeText);
  code.onclick = async () => {
    codeBox.hidden = !codeBox.hidden;
    code.setAttribute("aria-expanded", String(!codeBox.hidden));
    if (codeBox.hidden) return;
    codeText.select();
    try { await navigator.clipboard.writeText(codeText.value); } catch { /* selected: Ctrl-C copies it */ }
  };

  // ── the faders ───────────────────────────────────────────────────────────────────────────
  const grid = make("div", { className: "desk-grid", role: "group" });
  grid.style.gridTemplateColumns = `max-content repeat(${heads}, minmax(0, 1fr))`;
  grid.append(make("span", { className: "name row", textContent: "head" }));
  for (let head = 0; head < heads; head++) grid.append(make("span", { className: "name", textContent: head }));
  const faders = [];
  for (let layer = 0; layer < layers; layer++) {
    grid.append(make("span", { className: "name row", textContent: `layer ${layer}` }));
    faders.push([]);
    for (let head = 0; head < heads; head++) {
      if (gone.has(`${layer},${head}`)) {
        grid.append(make("div", { className: "fader gone", textContent: "–", title: `layer ${layer} head ${head} was removed for good` }));
        faders[layer].push(null);
        continue;
      }
      const input = make("input", { type: "range" });
      const value = make("output");
      const cell = make("div", { className: "fader" }, input, value);
      input.dataset.layer = layer;
      input.dataset.head = head;
      input.tabIndex = layer === 0 && head === 0 ? 0 : -1;
      input.addEventListener("pointerdown", () => { gesture++; select(layer, head); });
      input.addEventListener("input", () => moved(layer, head, MODES[mode].value(Number(input.value))));
      input.addEventListener("dblclick", () => moved(layer, head, 1));
      input.addEventListener("focus", () => {
        faders.flat().forEach((one) => { if (one) one.input.tabIndex = -1; });
        input.tabIndex = 0;
        select(layer, head);
      });
      input.addEventListener("keydown", (event) => key(event, layer, head));
      grid.append(cell);
      faders[layer].push({ cell, input, value });
    }
  }

  function key(event, layer, head) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.shiftKey && step) { // to the next fader that is there, round the edges
      event.preventDefault();
      for (let hop = 1; hop <= layers * heads; hop++) {
        const next = faders[(layer + hop * step[0] + layers * hop) % layers][(head + hop * step[1] + heads * hop) % heads];
        if (next) return next.input.focus();
      }
      return;
    }
    if (performance.now() - lastKey > 1500) gesture++;
    if (event.key.startsWith("Arrow")) lastKey = performance.now();
    if (event.key === "0" || event.key === "1") {
      event.preventDefault();
      gesture++;
      moved(layer, head, event.key === "0" && mode === "scale" ? 0 : 1);
    }
  }

  function moved(layer, head, value) {
    const state = structuredClone(model.get("faders"));
    state[mode][layer][head] = Math.round(value * 1000) / 1000;
    state.gesture = gesture;
    state.stamp = performance.timeOrigin + performance.now();
    model.set("faders", state);
    model.save_changes();
    drawFaders();
    drawAccuracy();
  }

  function drawFaders() {
    const state = model.get("faders");
    root.dataset.stamp = state.stamp;
    const { min, max, step, position } = MODES[mode];
    for (const button of modes) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    grid.setAttribute("aria-label", `${mode} of every head`);
    faders.forEach((row, layer) => row.forEach((fader, head) => {
      if (!fader) return;
      const value = state[mode][layer][head];
      const { input, cell } = fader;
      Object.assign(input, { min, max, step });
      if (Math.abs(Number(input.value) - position(value)) > step / 20) input.value = position(value);
      const name = `layer ${layer} head ${head} ${mode}`;
      if (input.getAttribute("aria-label") !== name) input.setAttribute("aria-label", name);
      input.setAttribute("aria-valuetext", short(value));
      fader.value.textContent = short(value);
      const away = (position(value) - position(1)) / (max - position(1));
      cell.classList.toggle("moved", value !== 1);
      cell.style.setProperty("--tint", away === 0 ? "120, 120, 120" : away < 0 ? "var(--blue-parts)" : "var(--orange-parts)");
      cell.style.setProperty("--depth", away === 0 ? 0.07 : 0.12 + 0.38 * Math.min(1, Math.abs(away)));
      // the other table's changes must not hide behind this one
      const other = mode === "scale" ? "temperature" : "scale";
      cell.title = state[other][layer][head] === 1 ? "" : `${other} ${short(state[other][layer][head])}`;
    }));
  }

  // ── held-out accuracy ────────────────────────────────────────────────────────────────────
  const big = make("div", { className: "desk-big" });
  const status = make("div", { className: "desk-status" });
  const bar2 = make("progress", { max: 1, value: 0, "aria-label": "sentences evaluated" });
  const interval = drawn("svg", { class: "desk-interval", viewBox: "0 0 190 34", role: "img" });
  const change = make("div", { className: "desk-change" });
  const flips = make("ul", { className: "desk-flips", tabIndex: 0, "aria-label": "Sentences whose answer changed" });
  const accuracy = make("div", { className: "desk-panel desk-accuracy" },
    make("div", {}, make("div", { className: "desk-title", textContent: "Held-out accuracy" }), big, bar2, status, interval),
    make("div", {}, change, flips));

  function drawAccuracy() {
    const now = model.get("accuracy");
    const stale = now.stamp !== model.get("faders").stamp;
    accuracy.dataset.stamp = now.stamp ?? "";
    accuracy.dataset.state = stale ? "stale" : now.state ?? "waiting";
    big.style.opacity = stale ? 0.45 : 1;
    if (now.accuracy === undefined) {
      big.textContent = "…";
      status.textContent = "The first evaluation is under way.";
      change.textContent = "";
      return;
    }
    big.replaceChildren(percent(now.accuracy), make("small", { textContent: ` ± ${(100 * now.stderr).toFixed(1)}` }));
    bar2.value = stale ? 0 : now.n / now.total;
    const count = now.n.toLocaleString("en");
    const label = now.state === "measured"
      ? [make("b", { textContent: "measured" }), ` on ${count} sentences, ${now.seconds.toFixed(1)}\u00a0s${now.format}`]
      : [make("b", { textContent: "estimate" }), ` from ${count} of ${now.total.toLocaleString("en")} sentences`];
    status.replaceChildren(...(stale ? ["measuring …"] : label));
    if (now.delta === null) {
      change.textContent = "Neutral. Move a fader: the change shows here.";
      flips.replaceChildren();
      interval.replaceChildren();
      interval.setAttribute("aria-label", "no change: neutral");
      return;
    }
    const range = `[${points(now.low)}, ${points(now.high)}]`;
    change.replaceChildren(
      make("b", { textContent: `${points(now.delta)} points` }),
      ` against neutral, 95 % ${range}, p ${now.p < 0.001 ? "< 0.001" : `= ${now.p.toFixed(now.p < 0.1 ? 3 : 2)}`}; `,
      make("span", { className: "gained", textContent: `${now.gained} gained` }), ", ",
      make("span", { className: "lost", textContent: `${now.lost} lost` }),
    );
    const reach = Math.max(0.02, Math.abs(now.low), Math.abs(now.high)) * 1.1;
    const x = (v) => 95 + (85 * v) / reach;
    const colour = now.low > 0 ? "var(--good)" : now.high < 0 ? "var(--bad)" : "var(--soft)";
    interval.replaceChildren(
      drawn("line", { x1: 5, x2: 185, y1: 10, y2: 10, stroke: "var(--line)" }),
      drawn("line", { x1: 95, x2: 95, y1: 2, y2: 18, stroke: "var(--soft)" }),
      drawn("line", { x1: x(now.low), x2: x(now.high), y1: 10, y2: 10, stroke: colour, "stroke-width": 4 }),
      drawn("circle", { cx: x(now.delta), cy: 10, r: 5, fill: colour }),
    );
    for (const [at, anchor] of [[-reach, "start"], [0, "middle"], [reach, "end"]]) {
      const text = drawn("text", { x: x(at) + (at < 0 ? -5 : at > 0 ? 5 : 0), y: 31, "text-anchor": anchor });
      text.textContent = at === 0 ? "0" : points(at);
      interval.append(text);
    }
    interval.setAttribute("aria-label", `change ${points(now.delta)} points, interval ${range}`);
    flips.replaceChildren(...now.flips.map((flip) => make("li", {},
      make("span", { className: flip.right ? "gained" : "lost", textContent: flip.right ? "✓ " : "✗ ", title: flip.right ? "now right" : "now wrong" }),
      `${flip.after}: ${flip.text}`)));
  }

  // ── the sentence ─────────────────────────────────────────────────────────────────────────
  const text = make("input", { type: "text", "aria-label": "Sentence to classify", spellcheck: false });
  text.value = model.get("text");
  let typing;
  text.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { model.set("text", text.value); model.save_changes(); }, 250);
  });
  const answer = make("div", { className: "desk-answer", role: "group", "aria-label": "Prediction" });
  const sentenceError = make("div", { className: "complaint desk-error", role: "status" });

  function drawAnswer() {
    const now = model.get("sentence");
    sentenceError.textContent = now.error ?? "";
    answer.dataset.stamp = now.stamp ?? "";
    if (!now.labels) return;
    const rows = [];
    now.labels.forEach((label, index) => {
      const fill = make("i");
      const before = make("b", { title: `untouched model: ${percent(now.before[index])}` });
      fill.style.width = `${100 * now.after[index]}%`;
      before.style.left = `${100 * now.before[index]}%`;
      rows.push(make("span", { textContent: label }), make("div", { className: "track" }, fill, before),
        make("span", {}, `${percent(now.after[index])} `, make("small", { textContent: `was ${percent(now.before[index])}` })));
    });
    answer.replaceChildren(...rows);
  }

  // ── the picture ──────────────────────────────────────────────────────────────────────────
  const look = () => model.get("look");
  function choose(name, label, options) {
    const box = make("select", { "aria-label": label });
    for (const [value, title] of options) box.append(make("option", { value, textContent: title }));
    box.onchange = () => setLook({ [name]: /^\d+$/.test(box.value) ? Number(box.value) : box.value });
    return box;
  }
  const numbers = (n) => Array.from({ length: n }, (_, index) => [index, index]);
  const boxes = {
    kind: choose("kind", "Kind of picture", [["layer", "bertviz: layer"], ["head", "bertviz: head"], ["map", "map: head"]]),
    what: choose("what", "What is drawn", WHATS),
    layer: choose("layer", "Layer shown", numbers(layers)),
    head: choose("head", "Head shown", numbers(heads)),
  };
  const looks = make("div", { className: "desk-look" }, boxes.kind, boxes.what,
    make("label", {}, "layer ", boxes.layer), make("label", {}, "head ", boxes.head));
  const picture = make("div", { className: "desk-picture", tabIndex: 0, role: "region", "aria-label": "Attention picture" });
  const note = make("div", { className: "desk-note" });

  function setLook(change) {
    model.set("look", { ...look(), ...change });
    model.save_changes();
  }
  function select(layer, head) {
    if (look().layer !== layer || look().head !== head) setLook({ layer, head });
  }
  function drawLook() {
    for (const [name, box] of Object.entries(boxes)) box.value = String(look()[name]);
    faders.forEach((row, layer) => row.forEach((fader, head) => {
      if (fader) fader.cell.classList.toggle("shown", layer === look().layer && head === look().head);
    }));
  }

  let latest = 0; // pictures drawn; a frame that loads late must not replace a newer one
  function drawPicture() {
    const now = model.get("picture");
    picture.dataset.stamp = now.stamp ?? "";
    note.textContent = now.note ?? "";
    const serial = ++latest;
    if (now.kind === "bertviz") return drawFrame(now, serial);
    if (now.kind !== "map") return picture.replaceChildren();
    picture.dataset.kind = "map";
    const n = now.tokens.length;
    const label = 84;
    const cell = Math.max(12, Math.min(26, Math.floor((picture.clientWidth - label - 14) / n)));
    const size = label + n * cell + 6;
    const svg = drawn("svg", { width: size, height: size, viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": now.alt });
    const colours = model.get("palette")[now.signed ? "signed" : "plain"];
    now.values.forEach((row, i) => row.forEach((value, j) => {
      const part = now.signed ? 0.5 + value / (2 * now.limit) : value / now.limit;
      const index = Math.max(0, Math.min(colours.length - 1, Math.round(part * (colours.length - 1))));
      const rect = drawn("rect", { x: label + j * cell, y: label + i * cell, width: cell, height: cell, fill: colours[index] });
      rect.append(Object.assign(drawn("title"), { textContent: `${now.tokens[i]} → ${now.tokens[j]}: ${value.toFixed(3)}` }));
      svg.append(rect);
    }));
    const cut = (token) => (token.length > 11 ? `${token.slice(0, 10)}…` : token);
    now.tokens.forEach((token, i) => {
      const middle = label + (i + 0.5) * cell;
      const down = drawn("text", { x: label - 4, y: middle + 4, "text-anchor": "end" });
      const across = drawn("text", { transform: `translate(${middle + 4},${label - 4}) rotate(-90)` });
      down.textContent = across.textContent = cut(token);
      svg.append(down, across);
    });
    picture.replaceChildren(svg);
  }

  function drawFrame(now, serial) { // the new frame is put on top when it has drawn itself: no flicker
    const frame = make("iframe", { title: now.alt });
    frame.setAttribute("sandbox", "allow-scripts");
    frame.style.height = `${now.height}px`;
    frame.style.visibility = "hidden";
    frame.dataset.stamp = now.stamp;
    frame.onload = () => {
      if (serial !== latest) return frame.remove();
      frame.style.visibility = "visible";
      for (const other of [...picture.children]) if (other !== frame) other.remove();
      picture.dataset.kind = "bertviz";
    };
    frame.srcdoc = `${model.get("library")}<style>#view > span { display: none }</style>${now.drawing}`; // the desk has that choice
    picture.append(frame);
  }

  // ── together ─────────────────────────────────────────────────────────────────────────────
  const error = make("div", { className: "complaint desk-error", role: "alert" });
  root.append(bar, codeBox, error, make("div", { className: "desk-columns" },
    make("div", { className: "desk-left" }, grid, make("div", {
      className: "desk-hint",
      textContent: "Scale leaves a layer's own weights as they are; later layers and the answer move. Temperature moves "
        + "the layer's own weights. Keys: arrows move a fader, 0 and 1 set it, Shift + arrows go to another.",
    }), accuracy),
    make("div", { className: "desk-sentence" }, text, answer, sentenceError, looks, picture, note)));

  on("faders", () => { drawFaders(); drawAccuracy(); });
  on("look", drawLook);
  on("accuracy", drawAccuracy);
  on("sentence", drawAnswer);
  on("picture", drawPicture);
  on("text", () => { if (document.activeElement !== text) text.value = model.get("text"); });
  on("can_undo", () => { undo.disabled = !model.get("can_undo"); });
  on("error", () => { error.textContent = model.get("error"); });
  on("code", () => {
    codeText.value = model.get("code");
    codeText.rows = Math.min(8, model.get("code").split("\n").length);
  });
  return end;
}

export default { render };
