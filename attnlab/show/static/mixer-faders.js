// The mixing desk's faders, the importances behind them, and how many heads are on.

import { make } from "./elements.js";
import { onKey } from "./keys.js";
import { tr } from "./words.js";

export const MODES = {
  // what a fader's position means: native range inputs are linear, temperature is not
  scale: { min: 0, max: 2, step: 0.05, value: (x) => x, position: (v) => v },
  temperature: { min: -3, max: 3, step: 0.1, value: (x) => 2 ** x, position: (v) => Math.log2(v) },
};
const hints = () => ({
  scale: tr("Scale: a layer's own weights stay, later layers and the answer move."),
  temperature: tr("Temperature: the layer's own weights move. Left sharpens, right flattens."),
});
export const modeNames = () => ({ scale: tr("scale"), temperature: tr("temperature") });
const short = (v) => (v >= 10 ? v.toFixed(0) : v.toFixed(2).replace(/\.?0+$/, ""));
export const itemsName = (items) => (items === "images" ? tr("images") : tr("sentences"));
export const signed = (v, digits = 1) => `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(digits)}`;

export function faderGrid(desk) {
  const { model, layers, heads } = desk;
  const { items = "sentences" } = model.get("size");
  let gesture = 0; // one undo step per drag or run of key presses
  let lastKey = 0;

  const grid = make("div", { className: "desk-grid", role: "group" });
  grid.classList.toggle("dense", layers > 8);
  grid.style.gridTemplateColumns = `max-content repeat(${heads}, minmax(0, 1fr))`;
  const faders = [];
  const everyLayer = [...Array(layers).keys()];
  const everyHead = [...Array(heads).keys()];
  const columns = everyHead.map((head) => group("head", head, everyLayer.map((layer) => [layer, head])));
  const rows = everyLayer.map((layer) => group("layer", layer, everyHead.map((head) => [layer, head])));
  grid.append(make("span", { className: "name row", textContent: tr("head") }), ...columns.map((column) => column.label));
  for (let layer = 0; layer < layers; layer++) {
    grid.append(rows[layer].label);
    faders.push([]);
    for (let head = 0; head < heads; head++) {
      const fader = desk.removed.has(`${layer},${head}`) ? null : made(layer, head);
      faders[layer].push(fader);
      grid.append(fader?.cell ?? make("div", { className: "fader gone", textContent: "–", title: tr("layer {layer} head {head} was removed for good", { layer, head }) }));
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
    input.tabIndex = -1;
    input.addEventListener("pointerdown", () => { gesture++; desk.select(layer, head); });
    input.addEventListener("input", () => move([[layer, head]], MODES[desk.mode].value(Number(input.value))));
    input.addEventListener("dblclick", () => move([[layer, head]], 1));
    input.addEventListener("focus", () => {
      each((fader) => { fader.input.tabIndex = -1; });
      input.tabIndex = 0;
      desk.select(layer, head);
    });
    onKey(input, (event) => key(event, layer, head));
    return { cell, input, value, ghost };
  }

  // The name of a layer, or of a head in every layer, is a button that sets all their faders.
  function group(kind, index, places) {
    const words = kind === "layer" ? [make("span", { textContent: `${tr("layer")} ` }), index] : [index];
    const label = make("button", { type: "button", className: `name${kind === "layer" ? " row" : ""}`, tabIndex: -1 }, ...words);
    label.dataset[kind === "layer" ? "wholeLayer" : "wholeHead"] = index;
    const at = kind === "layer" ? [index, -1] : [-1, index];
    label.addEventListener("click", () => { gesture++; move(there(places), next(places)); });
    label.addEventListener("focus", () => {
      for (const one of [...rows, ...columns]) one.label.tabIndex = -1;
      label.tabIndex = 0;
    });
    onKey(label, (event) => key(event, ...at));
    const draw = () => {
      const whose = kind === "layer" ? tr("layer {index}", { index }) : tr("head {index} in every layer", { index });
      const value = next(places);
      const does = value === 1 ? tr("Back to 1: {whose}", { whose }) : value === 0 ? tr("Silence {whose}", { whose }) : tr("Flatten {whose}: temperature {value}", { whose, value });
      if (label.title !== does) label.title = does;
      label.setAttribute("aria-label", does);
      label.disabled = !there(places).length;
    };
    return { label, places, draw };
  }

  const there = (places) => places.filter(([layer, head]) => faders[layer][head]);
  const away = () => (desk.mode === "scale" ? 0 : 2); // what a name sets its faders to, and back to 1
  function next(places) {
    const table = model.get("faders")[desk.mode];
    return there(places).every(([layer, head]) => table[layer][head] === away()) ? 1 : away();
  }

  // what stands at a place of the grid, -1 for the names; nothing in the corner and where a head was removed
  const standing = (layer, head) => (head < 0 ? rows[layer]?.label : layer < 0 ? columns[head]?.label : faders[layer][head]?.input);

  function key(event, layer, head) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const named = layer < 0 || head < 0;
    if (step && (event.shiftKey || named)) { // to the next that is there, round the edges
      event.preventDefault();
      const around = (place, hops, count) => ((place + 1 + hops) % (count + 1) + count + 1) % (count + 1) - 1;
      for (let hop = 1; hop <= (layers + 1) * (heads + 1); hop++) {
        const found = standing(around(layer, hop * step[0], layers), around(head, hop * step[1], heads));
        if (found && !found.disabled) return found.focus();
      }
      return;
    }
    const places = head < 0 ? there(rows[layer].places) : layer < 0 ? there(columns[head].places) : [[layer, head]];
    if (performance.now() - lastKey > 1500) gesture++;
    if (event.key.startsWith("Arrow")) lastKey = performance.now();
    if (event.key === "0" || event.key === "1") {
      event.preventDefault();
      gesture++;
      move(places, event.key === "0" && desk.mode === "scale" ? 0 : 1);
    }
  }

  function move(places, value) {
    const state = structuredClone(model.get("faders"));
    for (const [layer, head] of places) state[desk.mode][layer][head] = Math.round(value * 1000) / 1000;
    state.gesture = gesture;
    state.stamp = performance.timeOrigin + performance.now();
    model.set("faders", state); // draws faders and estimate at once
    model.save_changes();
  }

  // ── below them: importances, heads on, and what this kind of fader does ──────────────────
  const heat = make("input", { type: "checkbox", checked: true });
  const swatch = (className, words) => make("span", { className: "legend" }, make("i", { className }), words);
  const legends = {
    loss: [tr("blue = loss falls without it"), tr("red = loss rises (estimate)")],
    margin: [tr("blue = margin rises without it"), tr("red = margin falls (estimate)")],
  };
  const ofMargin = () => model.get("first_order").colour === "margin";
  const legend = make("span", { className: "legends" }, swatch("least", ""), swatch("most", ""));
  const wait = make("span", { className: "wait", "data-progress": "" });
  const on = make("b");
  const budget = make("span", { className: "desk-budget" }, on, tr(" of {count} heads on", { count: faders.flat().filter(Boolean).length }));
  const hint = make("span", { className: "rare" });
  const keys = make("details", { className: "desk-keys" }, make("summary", { textContent: tr("Keys") }), make("div", {
    textContent: tr("Arrows move a fader, 0 and 1 set it, Shift + arrows go to another. Double click: back to 1. The name of a layer or head sets all its faders: click it, or press 0 or 1 on it."),
  }));
  const below = make("div", { className: "desk-below" },
    make("div", { className: "desk-legend rare" }, make("label", {}, heat, ` ${tr("importance")}`), legend, wait),
    make("div", { className: "desk-hint" }, hint, keys));
  heat.onchange = drawHeat;

  function drawHeat() {
    const { importance, use, error, n, done, total } = model.get("first_order");
    const shown = importance !== undefined && heat.checked;
    heat.disabled = importance === undefined;
    legend.hidden = !shown;
    wait.textContent = error ? tr("not available") : !importance ? tr("being computed: {done} of {total} {items}", { done: done ?? 0, total: total ?? "…", items: itemsName(items) })
      : n < total ? tr("so far from {n} of {total} {items}", { n, total, items: itemsName(items) }) : "";
    wait.title = error ?? wait.textContent;
    const limit = importance ? Math.max(...importance.flat().map(Math.abs), 1e-9) : 1;
    const colours = model.get("palette").signed;
    legend.style.setProperty("--least", colours[0]);
    legend.style.setProperty("--most", colours[colours.length - 1]);
    legends[ofMargin() ? "margin" : "loss"].forEach((words, index) => { legend.children[index].lastChild.textContent = words; });
    legend.title = ofMargin()
      ? tr("First-order change of the margin when a head is silenced, from the gradients at neutral: full colour is {limit} logits.", { limit: limit.toPrecision(2) })
      : tr("First-order change of the loss when a head is silenced, from the gradients at neutral: full colour is {limit} thousandths of a nat.", { limit: (1000 * limit).toPrecision(2) });
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
    grid.setAttribute("aria-label", tr("{mode} of every head", { mode: modeNames()[desk.mode] }));
    hint.textContent = hints()[desk.mode];
    each((fader, layer, head) => {
      const value = state[desk.mode][layer][head];
      const { input, cell, ghost } = fader;
      Object.assign(input, { min, max, step });
      if (Math.abs(Number(input.value) - position(value)) > step / 20) input.value = position(value);
      const name = tr("layer {layer} head {head} {mode}", { layer, head, mode: modeNames()[desk.mode] });
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
      const remarks = [tr("layer {layer}, head {head}", { layer, head })];
      if (importance) remarks.push(ofMargin()
        ? tr("silencing it: margin {change} logits (estimated)", { change: signed(-importance[layer][head], 2) })
        : tr("silencing it: loss {change}/1000 nat (estimated)", { change: signed(1000 * importance[layer][head]) }));
      // the other table's changes must not hide behind this one
      if (state[second][layer][head] !== 1) remarks.push(`${modeNames()[second]} ${short(state[second][layer][head])}`);
      if (!ghost.hidden) remarks.push(`${model.get("side") === "A" ? "B" : "A"}: ${short(kept)}`);
      cell.title = remarks.join("\n");
    });
    for (const one of [...rows, ...columns]) one.draw();
    on.textContent = sounding;
  }

  function drawLook() {
    const { layer, head } = model.get("look");
    each(({ cell }, l, h) => cell.classList.toggle("shown", l === layer && h === head));
  }

  rows[0].label.tabIndex = 0; // the keyboard finds the names, and then the faders
  const first = faders.flat().find(Boolean);
  if (first) first.input.tabIndex = 0;
  return { grid, below, budget, draw, drawHeat, drawLook };
}
