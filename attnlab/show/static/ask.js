// The view of the ask desk. Reports come from Python; this draws them and sends what is asked, covered and moved.
// Pointing at a word needs nothing from Python: the report holds where each of them looks.

import { begin, button, controlled, drawn, make, menu, say, textBox, turnOff } from "./elements.js";
import { colourOf } from "./colours.js";
import { faderTable } from "./fader-table.js";
import { onKey } from "./keys.js";
import { clamp } from "./pictures.js";

const whole = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0095 ? 1 : 0)} %`;
const QUARTERS = [["top left", 0, 0], ["top right", 1, 0], ["bottom left", 0, 1], ["bottom right", 1, 1]];

const MODALITIES = [["image", "Without the picture", "picture"], ["question", "Without the question", "question"]];

// The picture with the map over it; a drag covers a rectangle of pixels, and so do keys, patch by patch.
function pictureBox({ cover, uncover, tell }) {
  const svg = drawn("svg", { class: "scene", role: "application", tabindex: 0, "aria-roledescription": "picture to cover", preserveAspectRatio: "xMidYMid meet" });
  const image = drawn("image", { x: 0, y: 0, preserveAspectRatio: "none" });
  const map = drawn("g", { class: "map" });
  const frame = drawn("rect", { class: "drag", visibility: "hidden" });
  const hidden = drawn("g", { class: "hidden-parts" });
  const cursor = drawn("rect", { class: "cursor", visibility: "hidden" });
  svg.append(image, map, hidden, cursor, frame);
  let grid = [1, 1];
  let at = [0, 0]; // row and column of the patch that the keyboard is at
  const patch = () => { // its x, y, width and height in whole pixels
    const edge = (axis, index) => Math.round(index * size[axis] / grid[1 - axis]);
    const [x, y] = [edge(0, at[1]), edge(1, at[0])];
    return [x, y, edge(0, at[1] + 1) - x, edge(1, at[0] + 1) - y];
  };
  const place = (rect, [x, y, width, height]) => {
    for (const [name, value] of Object.entries({ x, y, width, height })) rect.setAttribute(name, value);
  };
  const point = () => {
    place(cursor, patch());
    cursor.setAttribute("visibility", svg.matches(":focus-visible") ? "visible" : "hidden");
    if (svg.matches(":focus-visible")) tell(at[0] * grid[1] + at[1]);
  };
  svg.addEventListener("focus", point);
  svg.addEventListener("blur", () => { cursor.setAttribute("visibility", "hidden"); tell(null); });
  onKey(svg, (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (step) at = at.map((now, axis) => clamp(0, now + step[axis], grid[axis] - 1));
    else if (event.key === "Enter" || event.key === " ") cover(patch());
    else if (event.key === "Backspace" || event.key === "Delete") uncover();
    else return;
    event.preventDefault();
    point();
  });
  let size = [1, 1];
  let from = null;
  const pixel = (event) => { // where the pointer is, in pixels of the picture
    const { left, top, width, height } = svg.getBoundingClientRect();
    return [(event.clientX - left) / width * size[0], (event.clientY - top) / height * size[1]].map((at, axis) => clamp(0, at, size[axis]));
  };
  const between = (a, b) => {
    const [low, high] = [[0, 1].map((axis) => Math.floor(Math.min(a[axis], b[axis]))), [0, 1].map((axis) => Math.ceil(Math.max(a[axis], b[axis])))];
    return [...low, ...[0, 1].map((axis) => Math.min(high[axis], size[axis]) - low[axis])];
  };
  svg.addEventListener("pointerdown", (event) => { from = pixel(event); svg.setPointerCapture(event.pointerId); event.preventDefault(); });
  svg.addEventListener("pointermove", (event) => {
    if (!from) return;
    const [x, y, width, height] = between(from, pixel(event));
    place(frame, [x, y, width, height]);
    frame.setAttribute("visibility", "visible");
  });
  const end = (event) => {
    if (!from) return;
    const box = between(from, pixel(event));
    from = null;
    frame.setAttribute("visibility", "hidden");
    if (event.type === "pointerup" && box[2] >= 2 && box[3] >= 2) cover(box); // less is a click
  };
  svg.addEventListener("pointerup", end);
  svg.addEventListener("pointercancel", end);
  function draw(report) {
    ({ size, grid } = report);
    at = at.map((now, axis) => Math.min(now, grid[axis] - 1));
    hidden.replaceChildren(...report.settings.covers.map((part) => {
      const rect = drawn("rect", {});
      place(rect, part);
      return rect;
    }));
    svg.classList.toggle("replaced", ["image", "both"].includes(report.settings.replaced));
    svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    image.setAttribute("width", size[0]);
    image.setAttribute("height", size[1]);
    image.setAttribute("href", report.image);
  }
  function drawMap({ grid: [rows, columns], limit }, weights, colours, alt) {
    const [wide, high] = [size[0] / columns, size[1] / rows];
    map.replaceChildren(...weights.map((weight, index) => {
      const rect = drawn("rect", { x: (index % columns) * wide, y: Math.floor(index / columns) * high, width: wide, height: high,
        fill: colourOf(weight, { low: 0, high: limit }, colours), "fill-opacity": (0.15 + 0.6 * Math.min(1, weight / limit)).toFixed(3) });
      rect.append(drawn("title", {}, weight.toFixed(3)));
      return rect;
    }));
    svg.setAttribute("aria-label", alt);
  }
  return { svg, draw, drawMap, show(on) { map.style.visibility = on ? "" : "hidden"; } };
}

function render(context) {
  const { model } = context;
  const { root, on, complaint, end } = begin(context, "attnlab-ask attnlab-desk", "Ask desk");
  const { set, reset, keep } = controlled(model);
  const look = (changes) => { // looking elsewhere is no step to take back
    model.set("settings", { ...model.get("settings"), ...changes });
    model.save_changes();
  };
  const size = model.get("size");
  const now = () => model.get("settings");

  // ── the question ─────────────────────────────────────────────────────────────────────────
  const question = textBox("Question", (text) => set({ question: text }));
  const examples = menu("Questions that can be asked", (text) => { if (text) set({ question: text }); });

  // ── the picture, its words and its covers ────────────────────────────────────────────────
  let spot = null; // the patch that the keyboard is at
  const picture = pictureBox({
    cover: (box) => set({ covers: [...now().covers, box] }),
    uncover: () => { if (now().covers.length) set({ covers: now().covers.slice(0, -1) }); },
    tell: (patch) => { spot = patch; drawMap(); },
  });
  const go = (by) => set({ index: clamp(0, now().index + by, size.pictures - 1), covers: [] });
  const previous = button("previous", "‹", () => go(-1));
  const next = button("next", "›", () => go(1));
  previous.setAttribute("aria-label", "Previous picture");
  next.setAttribute("aria-label", "Next picture");
  const place = make("span", { className: "note" });
  const quarter = menu("Cover a quarter", (name) => {
    const found = QUARTERS.find(([known]) => known === name);
    if (!found) return;
    const [width, height] = model.get("report").size.map((side) => Math.floor(side / 2));
    set({ covers: [...now().covers, [found[1] * width, found[2] * height, width, height]] });
  });
  const uncover = button("uncover", "Uncover", () => set({ covers: [] }));
  const mapped = make("input", { type: "checkbox", checked: true, "aria-label": "Show where the word looks" });
  mapped.onchange = () => picture.show(mapped.checked);
  const words = make("div", { className: "chips", role: "radiogroup", "aria-label": "Words of the question: one is looked at" });
  const layer = menu("Layer", (value) => look({ layer: value === "all" ? null : Number(value) }));
  const head = menu("Head", (value) => look({ head: value === "all" ? null : Number(value) }));
  const alt = make("div", { className: "note looks-at", "aria-live": "polite" });

  // ── the answer and the faders ────────────────────────────────────────────────────────────
  const bars = make("div", { className: "bars", role: "table", "aria-label": "Answers and their probabilities" });
  const remark = make("p", { className: "remark", role: "status" });
  const without = MODALITIES.map(([name, label, what]) => {
    const made = button(`without-${name}`, label, () => {
      const taken = new Set(MODALITIES.map(([one]) => one).filter((one) => [one, "both"].includes(now().replaced)));
      if (!taken.delete(name)) taken.add(name);
      set({ replaced: taken.size === 2 ? "both" : [...taken][0] ?? null });
    });
    made.title = `Give it the ${what} of 20 other scenes instead. If the answer stays, it did not need its own.`;
    return [name, made];
  });
  const faders = faderTable({
    kind: "cross-attention", title: "Heads of the cross-attention. Silence: double click, or key 0. Back: again, or key 1.",
    size: [size.layers, size.heads], read: () => now().faders, write: (scale) => set({ faders: scale }),
    warm: { read: () => now().temperatures, write: (temperatures) => set({ temperatures }) },
  });
  const modes = [["scale", "Scale"], ["temperature", "Temperature"]].map(([name, label]) => {
    const made = button(`mode-${name}`, label, () => { faders.setMode(name); drawModes(name); });
    made.dataset.mode = name;
    return made;
  });
  const drawModes = (name) => { for (const made of modes) made.setAttribute("aria-pressed", String(made.dataset.mode === name)); };
  drawModes("scale");

  root.append(
    make("div", { className: "top" }, question.box, examples.box),
    make("div", { className: "columns" },
      make("div", { className: "left" },
        make("div", { className: "line" }, previous, place, next, quarter.box, uncover),
        picture.svg,
        make("div", { className: "note", textContent: "Drag over the picture to cover a part of it, or use the arrow keys: Enter covers a patch, Backspace uncovers." })),
      make("div", { className: "right" },
        remark, bars, make("div", { className: "line" }, make("span", { className: "segments", role: "group", "aria-label": "Ask with those of other scenes" }, ...without.map(([, made]) => made))),
        make("div", { className: "note", textContent: "Point at a word, or choose it, to see where it looks:" }),
        words,
        make("div", { className: "line" }, make("label", {}, "layer ", layer.box), make("label", {}, "head ", head.box), make("label", {}, mapped, " map")),
        alt, faders.box,
        make("div", { className: "line ends" }, make("span", { className: "segments", role: "group", "aria-label": "What the faders set" }, ...modes), reset, keep))),
    complaint);

  let pointed = null; // the word under the pointer
  function drawMap() {
    const report = model.get("report");
    const word = pointed ?? report.settings.word;
    const weights = report.weights[word] ?? report.weights[0];
    const most = weights.indexOf(Math.max(...weights));
    const [rows, columns] = report.grid;
    const told = weights[most] === 0 ? `“${report.words[word]}” looks nowhere: these heads are silent.`
      : `“${report.words[word]}” looks most at row ${Math.floor(most / columns) + 1} of ${rows}, column ${(most % columns) + 1} (${weights[most].toFixed(2)}).`;
    picture.drawMap(report, weights, model.get("palette"), `${told} Arrow keys choose a patch, Enter covers it.`);
    alt.textContent = spot === null ? told : `Patch in row ${Math.floor(spot / columns) + 1}, column ${(spot % columns) + 1}: ${weights[spot].toFixed(2)}. Enter covers it.`;
    for (const chip of words.children) {
      chip.setAttribute("aria-checked", String(Number(chip.dataset.word) === report.settings.word));
      chip.classList.toggle("pointed", Number(chip.dataset.word) === pointed);
    }
    root.dataset.word = word;
  }

  function drawWords(report) {
    const focused = words.getRootNode().activeElement?.dataset?.word;
    words.replaceChildren(...report.words.map((text, index) => {
      const chip = make("button", { type: "button", role: "radio", textContent: text, onclick: () => look({ word: index }) });
      chip.dataset.word = index;
      chip.addEventListener("pointerenter", () => { pointed = index; drawMap(); });
      chip.addEventListener("pointerleave", () => { pointed = null; drawMap(); });
      chip.addEventListener("focus", () => { pointed = index; drawMap(); });
      chip.addEventListener("blur", () => { pointed = null; drawMap(); });
      return chip;
    }));
    if (focused !== undefined) words.querySelector(`[data-word="${focused}"]`)?.focus({ preventScroll: true });
  }

  let drawnWords = "";
  function drawReport() {
    const report = model.get("report");
    const { settings } = report;
    picture.draw(report);
    if (drawnWords !== report.words.join(" ")) {
      pointed = null;
      drawnWords = report.words.join(" ");
      drawWords(report);
    }
    const numbers = (n) => [["all", "mean", true], ...Array.from({ length: n }, (_, one) => [String(one), `${one}`, true])];
    layer.draw(numbers(size.layers), settings.layer === null ? "all" : String(settings.layer));
    head.draw(numbers(size.heads), settings.head === null ? "all" : String(settings.head));
    drawMap();
    bars.replaceChildren(...report.answers.map(({ name, share, before, right }, index) => {
      const fill = make("i");
      fill.style.width = `${100 * share}%`;
      const ghost = make("b", { title: `before: ${whole(before)}` });
      ghost.style.left = `${100 * before}%`;
      return make("div", { role: "row", className: index === 0 ? "chosen" : "" },
        make("span", { role: "rowheader", textContent: name }),
        make("span", { role: "cell", className: "track", "aria-hidden": "true" }, fill, ghost),
        make("span", { role: "cell", textContent: `${whole(share)}${right ? " ✓" : ""}`, "aria-label": `${whole(share)}${right ? ", the right answer" : ""}` }));
    }));
    say(remark, report.remark);
    root.dataset.shown = [settings.index, settings.question, settings.layer ?? "all", settings.head ?? "all", settings.replaced ?? "own", settings.covers.length].join(" ");
    root.dataset.faders = JSON.stringify([settings.faders, settings.temperatures]);
    root.dataset.state = "shown";
  }
  function drawSettings() {
    const { index, covers, replaced } = now();
    for (const [name, made] of without) made.setAttribute("aria-pressed", String([name, "both"].includes(replaced)));
    question.show(now().question);
    examples.draw([["", "ask …", true], ...model.get("examples").map((text) => [text, text, true])], "");
    quarter.draw([["", "cover …", true], ...QUARTERS.map(([name]) => [name, name, true])], "");
    place.textContent = `picture ${index + 1} of ${size.pictures}`;
    turnOff(previous, index === 0 && "This is the first picture.");
    turnOff(next, index === size.pictures - 1 && "This is the last picture.");
    turnOff(uncover, !covers.length && "Nothing is covered.");
    faders.draw();
  }

  on("report", drawReport);
  on("settings", drawSettings);
  return end;
}

export default { render };
