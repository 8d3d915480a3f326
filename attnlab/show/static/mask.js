// The view of the mask desk. Controls go to Python as settings, a report comes back; this draws it.

import { begin, controlled, drawn, make, say, slider } from "./elements.js";
import { onKey } from "./keys.js";
import { colourOf, inkOn } from "./colours.js";
import { clamp, cut } from "./pictures.js";
import { spoken, tr } from "./words.js";

const ROOM = { sum: 50, track: 56, number: 34, gap: 8, end: 8 }; // right of the grid, in pixels
const LEAST = 12; // pixels of a cell: below it the names of the keys run into each other
const TICKS = [0, 0.05, 0.25, 0.5, 1]; // of the colour scale
const places = () => [["before", tr("before the softmax (right)")], ["after", tr("after it (a common mistake)")]];
const hint = () => tr("Point at a row, or step through the rows with the arrow keys, to read it.");

const named = (token) => cut(token, 12);
const part = (weight) => Math.sqrt(weight); // colours follow the root: small weights must be told apart

function widest(texts, element) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `12px ${getComputedStyle(element).fontFamily}`;
  return Math.ceil(Math.max(...texts.map((text) => pen.measureText(text).width)));
}

// Where everything stands, for a grid of so many tokens in so many pixels.
function plan(width, tokens, element) {
  const names = widest(tokens.map(named), element);
  const left = Math.max(56, names + 12);
  const top = Math.max(40, names + 10);
  const beside = ROOM.gap + ROOM.track + ROOM.number + ROOM.end;
  const tight = width - left - ROOM.sum - beside < LEAST * tokens.length; // the numbers of keys stand below, for the row at hand
  const right = tight ? ROOM.sum - 12 : ROOM.sum + beside;
  const cell = Math.max(LEAST, Math.min(100, (width - left - right) / tokens.length));
  const row = Math.max(15, Math.min(44, Math.floor((width > 1000 ? 420 : 322) / tokens.length)));
  const end = left + cell * tokens.length;
  const sum = end + (tight ? right : ROOM.sum) - 2;
  const track = end + ROOM.sum + ROOM.gap;
  return { available: width, left, top, cell, row, end, sum, track, tight, width: end + right, height: top + row * tokens.length + 2 };
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-mask", tr("Mask desk: heads and masks"));
  const { layers, heads } = model.get("size");
  const { tokens } = model.get("report");
  const count = tokens.length;
  const colours = model.get("palette");
  const colour = (weight) => colourOf(part(weight), { low: 0, high: 1 }, colours);

  const { set, reset, keep } = controlled(model);

  // ── the controls ─────────────────────────────────────────────────────────────────────────
  const CONTROLS = [
    { name: "layer", label: [tr("layer")], max: layers - 1, text: String },
    { name: "head", label: [tr("head")], max: heads - 1, text: String },
    { name: "window", label: [tr("window, to either side")], max: count - 1, text: (n) => (n === count - 1 ? tr("no limit") : n === 1 ? tr("1 place") : tr("{count} places", { count: n })) },
    { name: "padding", label: [tr("padding, at the end")], max: count, text: (n) => (n === 0 ? tr("none") : n === count ? tr("all {count}", { count: n }) : n === 1 ? tr("1 token") : tr("{count} tokens", { count: n })) },
  ];
  const sliders = CONTROLS.map((control) => slider({ min: 0, step: 1, ...control }, (position) => set({ [control.name]: position })));
  const [layer, head, windowed, padding] = sliders.map(({ box }) => box);
  const causal = make("input", { type: "checkbox", name: "causal" });
  causal.onchange = () => set({ causal: causal.checked });
  const group = `place-${Math.random().toString(36).slice(2)}`; // several desks may be on the page
  const choices = places().map(([value, label]) => {
    const input = make("input", { type: "radio", name: group, value, onchange: () => set({ place: value }) });
    return { input, box: make("label", { className: "choice" }, input, label) };
  });
  const section = (title, ...children) => make("fieldset", {}, make("legend", { textContent: title }), ...children);

  function drawControls() {
    const settings = model.get("settings");
    CONTROLS.forEach(({ name, text }, index) => sliders[index].show(settings[name], text(settings[name])));
    causal.checked = settings.causal;
    for (const { input } of choices) input.checked = input.value === settings.place;
  }

  const scale = make("div", { className: "scale" });
  scale.style.background = `linear-gradient(to right, ${colours.join(",")})`;
  const ticks = make("div", { className: "ticks" }, ...TICKS.map((tick) => {
    const mark = make("span", { textContent: tick });
    mark.style.setProperty("--at", part(tick));
    return mark;
  }));
  const legend = make("div", { className: "mask-legend" }, make("span", { textContent: tr("weight") }), scale, ticks,
    make("span", { className: "hidden-key" }, make("i"), tr("hidden by the mask")));

  // ── the grid ─────────────────────────────────────────────────────────────────────────────
  const svg = drawn("svg", { role: "figure" });
  const readout = make("p", { className: "mask-row note", textContent: hint() });
  const hatch = `hatch-${Math.random().toString(36).slice(2)}`;
  let rows = []; // the parts of each row that a report changes
  let columns = [];
  let layout = {};
  const frame = drawn("rect", { class: "frame", x: 1 });
  let focused = null; // the row that the keyboard is at
  let stop = 0; // the row that the Tab key comes back to
  let pointed = null; // the row under the pointer

  function point() {
    const shown = pointed ?? focused;
    rows.forEach(({ group: row }, index) => {
      row.setAttribute("aria-selected", String(index === focused));
      row.setAttribute("tabindex", index === stop ? 0 : -1);
      row.classList.toggle("at", index === shown);
    });
    frame.style.display = shown === null ? "none" : "";
    frame.setAttribute("y", layout.top + layout.row * shown);
    readout.textContent = shown === null ? hint() : model.get("report").rows[shown];
  }

  function step(event, index) {
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: count - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    rows[clamp(0, to, count - 1)].group.focus();
  }

  function layOut(width) {
    layout = plan(width, tokens, root);
    const { left, top, cell, row, sum: edge, track, tight, width: all, height } = layout;
    frame.setAttribute("width", all - 2);
    frame.setAttribute("height", row);
    const write = (words, x, y, properties = {}) => drawn("text", { x, y, ...properties }, words);
    const whole = (token) => drawn("title", {}, token);
    svg.classList.toggle("tight", tight);
    svg.setAttribute("width", all);
    svg.setAttribute("height", height);
    const lines = drawn("pattern", { id: hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      drawn("rect", { class: "hatch-paper", width: 6, height: 6 }), drawn("line", { class: "hatch-line", x1: 0, x2: 0, y1: 0, y2: 6 }));
    columns = tokens.map((token, key) => {
      const name = drawn("text", { class: "name", transform: `translate(${left + (key + 0.5) * cell + 4},${top - 6}) rotate(-90)` }, named(token));
      name.append(whole(token));
      return name;
    });
    rows = tokens.map((token, index) => {
      const y = top + index * row;
      const base = y + row / 2 + 4;
      const cells = tokens.map((_, key) => {
        const box = drawn("rect", { class: "cell", x: left + key * cell + 0.5, y: y + 0.5, width: cell - 1, height: row - 1 });
        const tip = drawn("title");
        const number = cell >= 25 && row >= 17 ? write("", left + (key + 0.5) * cell, base, { class: "number", "text-anchor": "middle" }) : null;
        box.append(tip);
        return { box, tip, number };
      });
      const name = write(named(token), left - 7, base, { class: "name", "text-anchor": "end" });
      name.append(whole(token));
      const sum = write("", edge, base, { class: "sum", "text-anchor": "end" });
      const bar = drawn("rect", { class: "bar", x: track, y: y + row / 2 - 4, height: 8, width: 0 });
      const effective = write("", track + ROOM.track + ROOM.number - 2, base, { class: "effective", "text-anchor": "end" });
      const made = drawn("g", { class: "row", role: "option", "aria-selected": "false" },
        drawn("rect", { class: "catch", x: 0, y, width: all, height: row }), name, ...cells.map(({ box }) => box),
        ...cells.flatMap(({ number }) => number ?? []), sum,
        ...tight ? [] : [drawn("rect", { class: "track", x: track, y: y + row / 2 - 4, height: 8, width: ROOM.track }), bar, effective]);
      made.addEventListener("pointerenter", () => { pointed = index; point(); });
      made.addEventListener("focus", () => { focused = stop = index; point(); });
      made.addEventListener("blur", () => { focused = null; point(); });
      onKey(made, (event) => step(event, index));
      return { group: made, cells, sum, bar, effective };
    });
    const list = drawn("g", { role: "listbox", "aria-label": tr("Rows of the grid: one query each") }, ...rows.map(({ group: made }) => made));
    list.addEventListener("pointerleave", () => { pointed = null; point(); });
    const before = focused;
    svg.replaceChildren(drawn("defs", {}, lines), write(tr("key →"), left - 7, top - 22, { "text-anchor": "end" }),
      write(tr("query ↓"), left - 7, top - 7, { "text-anchor": "end" }), ...columns,
      write(tr("row"), edge, top - 21, { "text-anchor": "end" }), write(tr("sum"), edge, top - 7, { "text-anchor": "end" }),
      ...tight ? [] : [write(tr("effective keys"), track, top - 21), write(tr("of {count}", { count }), track, top - 7)], list, frame);
    if (before === null) point();
    else rows[before].group.focus();
  }

  function drawCell({ box, tip, number }, weight, visible, query, key) {
    box.style.fill = visible ? colour(weight) : `url(#${hatch})`;
    box.classList.toggle("hidden", !visible);
    tip.textContent = `${query} → ${key}: ${visible ? weight.toFixed(3) : tr("hidden")}`;
    if (!number) return;
    number.textContent = visible && weight >= 0.005 ? weight.toFixed(2).replace(/^0|\.00$/, "") : "";
    number.style.fill = inkOn(colour(weight));
  }

  const remark = make("p", { className: "remark", "aria-live": "polite" });
  const picture = make("div", { className: "mask-picture" }, svg, readout);

  function drawPicture() {
    const report = model.get("report");
    const width = picture.clientWidth;
    if (!width) return; // not on the page yet
    if (width !== layout.available) layOut(width);
    rows.forEach(({ group: row, cells, sum, bar, effective }, query) => {
      cells.forEach((cell, key) => drawCell(cell, report.weights[query][key], report.visible[query][key], tokens[query], tokens[key]));
      sum.textContent = report.sum_texts[query];
      sum.classList.toggle("short", report.short[query]);
      sum.classList.toggle("none", report.sums[query] === 0);
      bar.setAttribute("width", (ROOM.track * report.effective[query]) / count);
      effective.textContent = report.effective_texts[query];
      row.setAttribute("aria-label", report.rows[query]);
    });
    columns.forEach((name, key) => name.classList.toggle("padding", key >= count - report.settings.padding));
    svg.setAttribute("aria-label", report.alt);
    say(remark, report.remark);
    point();
    root.dataset.stamp = Object.values(report.settings).join(" "); // what is drawn now
  }

  // ── together ─────────────────────────────────────────────────────────────────────────────
  root.append(make("div", { className: "mask-columns" },
    make("div", { className: "mask-controls" },
      section(tr("Head"), make("div", { className: "pair" }, layer, head)),
      section(tr("Masks"), make("label", { className: "choice" }, causal, tr("causal: no token sees the future")), windowed, padding),
      section(tr("The mask is applied"), ...choices.map(({ box }) => box)),
      reset, legend),
    picture), make("div", { className: "last" }, remark, keep), complaint);
  onResize(picture, drawPicture);
  on("settings", drawControls);
  on("report", drawPicture);
  return end;
}

export default { render: spoken(render) };
