// The mixing desk's faders, the importances behind them, and how many heads are on.

import { make } from "./elements.js";
import { onKey } from "./keys.js";

export const MODES = {
  // what a fader's position means: native range inputs are linear, temperature is not
  scale: { min: 0, max: 2, step: 0.05, value: (x) => x, position: (v) => v },
  temperature: { min: -3, max: 3, step: 0.1, value: (x) => 2 ** x, position: (v) => Math.log2(v) },
};
const HINTS = {
  scale: "Scale: a layer's own weights stay, later layers and the answer move.",
  temperature: "Temperature: the layer's own weights move. Left sharpens, right flattens.",
};
const short = (v) => (v >= 10 ? v.toFixed(0) : v.toFixed(2).replace(/\.?0+$/, ""));
export const signed = (v, digits = 1) => `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(digits)}`;

export function faderGrid(desk) {
  const { model, layers, heads } = desk;
  let gesture = 0; // one undo step per drag or run of key presses
  let lastKey = 0;

  const grid = make("div", { className: "desk-grid", role: "group" });
  grid.classList.toggle("dense", layers > 8);
  grid.style.gridTemplateColumns = `max-content repeat(${heads}, minmax(0, 1fr))`;
  grid.append(make("span", { className: "name row", textContent: "head" }));
  for (let head = 0; head < heads; head++) grid.append(make("span", { className: "name", textContent: head }));
  const faders = [];
  for (let layer = 0; layer < layers; layer++) {
    grid.append(make("span", { className: "name row", textContent: `layer ${layer}` }));
    faders.push([]);
    for (let head = 0; head < heads; head++) {
      const fader = desk.removed.has(`${layer},${head}`) ? null : made(layer, head);
      faders[layer].push(fader);
      grid.append(fader?.cell ?? make("div", { className: "fader gone", textContent: "–", title: `layer ${layer} head ${head} was removed for good` }));
    }
  }
  const each = (callback) => faders.forEach((row, layer) => row.forEach((fader, head) => fader && callback(fader, layer, head)));

  function made(layer, head) {
    const input = make("input", { type: "range" });
    const value = make("output");
    const ghost = make("i", { className: "ghost", hidden: true });
    const cell = make("div", { className: "fader" }, ghost, input, value);
    input.dataset.layer = layer;
    input.dataset.head = head;
    input.tabIndex = layer === 0 && head === 0 ? 0 : -1;
    input.addEventListener("pointerdown", () => { gesture++; desk.select(layer, head); });
    input.addEventListener("input", () => move(layer, head, MODES[desk.mode].value(Number(input.value))));
    input.addEventListener("dblclick", () => move(layer, head, 1));
    input.addEventListener("focus", () => {
      each((fader) => { fader.input.tabIndex = -1; });
      input.tabIndex = 0;
      desk.select(layer, head);
    });
    onKey(input, (event) => key(event, layer, head));
    return { cell, input, value, ghost };
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
      move(layer, head, event.key === "0" && desk.mode === "scale" ? 0 : 1);
    }
  }

  function move(layer, head, value) {
    const state = structuredClone(model.get("faders"));
    state[desk.mode][layer][head] = Math.round(value * 1000) / 1000;
    state.gesture = gesture;
    state.stamp = performance.timeOrigin + performance.now();
    model.set("faders", state); // draws faders and estimate at once
    model.save_changes();
  }

  // ── below them: importances, heads on, and what this kind of fader does ──────────────────
  const heat = make("input", { type: "checkbox", checked: true });
  const scale = make("i", { className: "ramp" });
  const legend = make("span", { className: "legend" }, "silencing lowers", scale, "raises the loss");
  const wait = make("span", { className: "wait", "data-progress": "" });
  const on = make("b");
  const budget = make("span", { className: "desk-budget" }, "heads on: ", on, ` of ${faders.flat().filter(Boolean).length}`);
  const hint = make("span");
  const keys = make("details", { className: "desk-keys" }, make("summary", { textContent: "Keys" }), make("div", {
    textContent: "Arrows move a fader, 0 and 1 set it, Shift + arrows go to another. Double click: back to 1.",
  }));
  const below = make("div", { className: "desk-below" },
    make("div", { className: "desk-legend" }, make("label", {}, heat, " importance"), legend, wait, budget),
    make("div", { className: "desk-hint" }, hint, keys));
  heat.onchange = drawHeat;

  function drawHeat() {
    const { importance, use, error, n, done, total } = model.get("first_order");
    const shown = importance !== undefined && heat.checked;
    heat.disabled = importance === undefined;
    legend.hidden = !shown;
    wait.textContent = error ? "not available" : !importance ? `being computed: ${done ?? 0} of ${total ?? "…"} sentences`
      : n < total ? `from ${n} of ${total} sentences so far` : "";
    wait.title = error ?? "";
    const limit = importance ? Math.max(...importance.flat().map(Math.abs), 1e-9) : 1;
    const colours = model.get("palette").signed;
    grid.style.setProperty("--least", colours[0]);
    scale.style.setProperty("--least", colours[0]);
    scale.style.setProperty("--most", colours[colours.length - 1]);
    legend.title = "First-order change of the loss when a head is silenced, from the gradients at neutral: "
      + `full colour is ${(1000 * limit).toPrecision(2)} thousandths of a nat.`;
    each(({ cell }, layer, head) => {
      const part = shown ? importance[layer][head] / limit : 0;
      cell.style.setProperty("--hue", part < 0 ? colours[0] : colours[colours.length - 1]);
      cell.style.setProperty("--part", Math.abs(part).toFixed(3));
      cell.dataset.importance = importance ? importance[layer][head] : "";
      cell.dataset.use = use ? use[layer][head] : "";
    });
    draw();
  }

  function draw() {
    const state = model.get("faders");
    const other = model.get("other");
    const { importance } = model.get("first_order");
    const { min, max, step, position } = MODES[desk.mode];
    const share = (value) => Math.min(1, Math.max(0, (position(value) - min) / (max - min)));
    const second = desk.mode === "scale" ? "temperature" : "scale";
    let sounding = 0;
    grid.setAttribute("aria-label", `${desk.mode} of every head`);
    hint.textContent = HINTS[desk.mode];
    each((fader, layer, head) => {
      const value = state[desk.mode][layer][head];
      const { input, cell, ghost } = fader;
      Object.assign(input, { min, max, step });
      if (Math.abs(Number(input.value) - position(value)) > step / 20) input.value = position(value);
      const name = `layer ${layer} head ${head} ${desk.mode}`;
      if (input.getAttribute("aria-label") !== name) input.setAttribute("aria-label", name);
      input.setAttribute("aria-valuetext", short(value));
      fader.value.textContent = value === 1 ? "" : short(value);
      cell.classList.toggle("moved", value !== 1);
      cell.classList.toggle("silent", state.scale[layer][head] === 0);
      cell.style.setProperty("--from", Math.min(0.5, share(value)));
      cell.style.setProperty("--to", Math.max(0.5, share(value)));
      const kept = other[desk.mode]?.[layer][head] ?? value;
      ghost.hidden = kept === value;
      ghost.style.setProperty("--at", share(kept));
      sounding += state.scale[layer][head] > 0;
      const remarks = [`layer ${layer}, head ${head}`];
      if (importance) remarks.push(`silencing it: loss ${signed(1000 * importance[layer][head])}/1000 nat (estimated)`);
      // the other table's changes must not hide behind this one
      if (state[second][layer][head] !== 1) remarks.push(`${second} ${short(state[second][layer][head])}`);
      if (!ghost.hidden) remarks.push(`${model.get("side") === "A" ? "B" : "A"}: ${short(kept)}`);
      cell.title = remarks.join("\n");
    });
    on.textContent = sounding;
  }

  function drawLook() {
    const { layer, head } = model.get("look");
    each(({ cell }, l, h) => cell.classList.toggle("shown", l === layer && h === head));
  }

  return { grid, below, draw, drawHeat, drawLook };
}
