// The view of the patch desk. Controls go to Python as settings, a report comes back; this draws it.

import { begin, button, controlled, make, menu, say, turnOff } from "./elements.js";
import { onKey } from "./keys.js";
import { colourOf } from "./colours.js";
import { ramp } from "./grids.js";
import { clamp } from "./pictures.js";

const VEIL = "b8"; // how much of a map's colour hides the picture: 0.72, as in the figures
const COVERS = [["mean", "its mean", true], ["black", "black", true], ["white", "white", true]];
const HINTS = {
  look: "Point at a patch; a click keeps it. Keys: arrows, Enter, c to cover, Escape for [CLS].",
  cover: "Click a patch to cover or uncover it, and watch the answer. Keys: arrows, Enter.",
};

const same = (a, b) => a[0] === b[0] && a[1] === b[1];

// A picture under a veil of coloured patches. `part` makes one patch of it.
function patchPicture(className, part) {
  const image = make("img", { alt: "", draggable: false });
  const veil = make("div", { className: "veil" });
  const box = make("div", { className: `patch-picture ${className}` }, image, veil);
  let parts = [];
  let shape = "";
  function draw({ address, grid: [rows, columns], values, limits, colours, covered, digits, signed }) {
    if (shape !== `${rows} ${columns}`) {
      shape = `${rows} ${columns}`;
      parts = Array.from({ length: rows * columns }, (_, at) => part(at, columns));
      const lines = Array.from({ length: rows }, (_, row) => make("div", { role: "row" }, ...parts.slice(row * columns, (row + 1) * columns)));
      veil.style.setProperty("--columns", columns);
      veil.replaceChildren(...(className === "large" ? lines : parts));
      box.style.setProperty("--shape", columns / rows);
    }
    if (image.src !== address) image.src = address;
    parts.forEach((cell, at) => {
      const place = [Math.floor(at / columns), at % columns];
      const value = values[place[0]][place[1]];
      cell.style.background = colourOf(value, limits, colours) + VEIL;
      cell.classList.toggle("covered", covered.some((one) => same(one, place)));
      cell.title = `${place}: ${signed && value > 0 ? "+" : ""}${value.toFixed(digits)}`.replace("-", "−");
    });
  }
  return { box, draw, parts: () => parts };
}

function render(context) {
  const { model } = context;
  const { root, on, complaint, end } = begin(context, "attnlab-patch", "Patch desk");
  const { set, undo, reset, code } = controlled(model);
  const fresh = { covered: [], answer: null }; // what another picture or model begins with
  let mode = "look";
  let pointed = null; // the patch under the pointer
  let focused = null; // the patch that the keyboard is at
  let stop = 0; // the patch that the Tab key comes back to

  // ── what is shown ────────────────────────────────────────────────────────────────────────
  const settings = () => model.get("settings");
  const goTo = (index) => set({ ...fresh, index: clamp(0, index, model.get("pictures") - 1) });
  const number = make("input", { type: "number", min: 0, max: model.get("pictures") - 1, "aria-label": "Number of the picture" });
  number.onchange = () => { if (number.value !== "") goTo(Math.round(Number(number.value))); };
  const steps = [["previous", "‹", -1], ["next", "›", 1]].map(([action, label, by]) => {
    const made = button(action, label, () => goTo(settings().index + by));
    made.setAttribute("aria-label", `${action === "next" ? "Next" : "Previous"} picture`);
    return made;
  });
  const mistake = button("mistake", "Next mistake", () => model.send({ action: "mistake" }));
  const truth = make("output", { className: "truth" });
  const whose = menu("Model, by its patches", (value) => {
    const { layers, heads } = model.get("models")[value];
    const { layer, head } = settings();
    set({ ...fresh, model: Number(value), patch: null, layer: Math.min(layer, layers - 1), head: head !== null && head >= heads ? null : head });
  });
  const layer = menu("Layer", (value) => set({ layer: Number(value) }));
  const head = menu("Head", (value) => set({ head: value === "mean" ? null : Number(value) }));
  const cover = menu("Patches are covered with", (value) => set({ cover: value }));
  const named = (words, control) => make("label", {}, words, control.box);
  const numbers = (n) => Array.from({ length: n }, (_, at) => [String(at), String(at), true]);

  // ── the picture, and where a patch of it looks ───────────────────────────────────────────
  const title = make("b");
  const cls = button("cls", "[CLS]", () => set({ patch: null }));
  cls.title = "Show where [CLS] looks, from which the answer is read.";
  const modes = ["look", "cover"].map((name) => button(name, name === "look" ? "Look" : "Cover", () => { mode = name; drawMode(); }));
  const uncover = button("uncover", "Uncover all", () => set({ covered: [] }));
  const words = make("p", { className: "note told" });
  const legend = ramp();
  const large = patchPicture("large", (at, columns) => {
    const cell = make("div", { role: "gridcell", tabIndex: -1 });
    cell.onclick = () => { cell.focus({ preventScroll: true }); act(at); };
    cell.onpointerenter = () => { pointed = at; drawPointed(); };
    cell.onfocus = () => { focused = stop = at; drawPointed(); };
    cell.onblur = () => { focused = null; drawPointed(); };
    onKey(cell, (event) => press(event, at, columns));
    return cell;
  });
  large.box.onpointerleave = () => { pointed = null; drawPointed(); };
  large.box.setAttribute("role", "grid");

  // ── the three maps ───────────────────────────────────────────────────────────────────────
  const maps = ["attention", "rollout", "occlusion"].map((kind) => {
    const heading = make("b");
    const agreement = make("span", { className: "agreement" });
    const bar = ramp();
    const picture = patchPicture("small", (at) => {
      const cell = make("div");
      cell.onclick = () => act(at);
      cell.onpointerenter = () => { pointed = at; drawPointed(); };
      return cell;
    });
    picture.box.setAttribute("role", "img");
    picture.box.onpointerleave = () => { pointed = null; drawPointed(); };
    return { box: make("div", { className: `map ${kind}` }, heading, picture.box, bar.box, agreement), heading, agreement, bar, picture };
  });

  // ── the answers ──────────────────────────────────────────────────────────────────────────
  const answers = make("div", { className: "answers", role: "group", "aria-label": "Answers with their probabilities" });
  const lines = [];
  function answerLine(place) {
    while (lines.length <= place) {
      const name = button("answer", "", () => {
        const { label, asked } = model.get("report").answers[lines.findIndex((line) => line.name === name)];
        set({ answer: asked && settings().answer !== null ? null : label });
      });
      const now = make("i", { className: "now" });
      const was = make("i", { className: "was" });
      const share = make("span", { className: "share" });
      const box = make("div", {}, name, make("span", { className: "track", "aria-hidden": "true" }, now, was), share);
      lines.push({ box, name, now, was, share });
    }
    return lines[place];
  }

  // ── what is done ─────────────────────────────────────────────────────────────────────────
  const placeOf = (at) => { const [, columns] = model.get("report").grid; return [Math.floor(at / columns), at % columns]; };
  function toggle(at) {
    const place = placeOf(at);
    const covered = settings().covered.filter((one) => !same(one, place));
    set({ covered: covered.length < settings().covered.length ? covered : [...covered, place] });
  }
  function pin(at) {
    const place = placeOf(at);
    const { patch } = settings();
    set({ patch: patch && same(patch, place) ? null : place });
  }
  const act = (at) => (mode === "cover" ? toggle(at) : pin(at));
  function press(event, at, columns) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const cells = large.parts();
    const column = at % columns;
    const to = {
      ArrowLeft: at - (column > 0), ArrowRight: at + (column < columns - 1), ArrowUp: at - columns, ArrowDown: at + columns,
      Home: at - column, End: at - column + columns - 1,
    }[event.key];
    if (to !== undefined) cells[to]?.focus({ preventScroll: true });
    else if (event.key === "Enter" || event.key === " ") act(at);
    else if (event.key === "c") toggle(at);
    else if (event.key === "Escape") set({ patch: null });
    else return;
    event.preventDefault();
  }

  // ── drawing ──────────────────────────────────────────────────────────────────────────────
  function drawMode() {
    for (const made of modes) made.setAttribute("aria-pressed", String(made.dataset.action === mode));
    root.dataset.mode = mode;
    drawPointed();
  }
  function drawPointed() {
    const report = model.get("report");
    const { patch, layer: l, head: h, covered } = report.settings;
    const [, columns] = report.grid;
    const pinned = patch ? patch[0] * columns + patch[1] : null;
    const here = pointed ?? focused;
    const at = here ?? pinned; // whose attention is drawn; null is [CLS]
    const row = at === null ? 0 : at + report.before;
    const weights = report.weights[row].slice(report.before);
    const values = Array.from({ length: report.grid[0] }, (_, one) => weights.slice(one * columns, (one + 1) * columns));
    const limits = { low: 0, high: report.limit };
    large.draw({ address: report.image, grid: report.grid, values, limits, colours: model.get("palette").plain, covered, digits: 3 });
    large.parts().forEach((cell, index) => {
      cell.classList.toggle("from", index === at);
      cell.setAttribute("aria-selected", String(index === pinned));
      cell.setAttribute("aria-label", `${cell.classList.contains("covered") ? "Covered. " : ""}${report.counts[index]}`);
      cell.tabIndex = index === stop ? 0 : -1;
    });
    for (const { picture } of maps) picture.parts().forEach((cell, index) => cell.classList.toggle("from", index === here));
    cls.setAttribute("aria-pressed", String(pinned === null));
    title.textContent = `${at === null ? "[CLS]" : `Patch ${placeOf(at)}`} looks · layer ${l}, ${h === null ? "mean" : `head ${h}`}`;
    words.textContent = here === null ? `${report.looks[row]} ${HINTS[mode]}` : `${report.looks[row]} ${report.counts[here]}`;
    root.dataset.from = at === null ? "cls" : placeOf(at).join(",");
  }
  function drawMap({ heading, agreement, bar, picture }, drawn) {
    const report = model.get("report");
    const colours = model.get("palette")[drawn.signed ? "signed" : "plain"];
    heading.textContent = heading.title = drawn.title;
    agreement.textContent = drawn.agreement;
    picture.box.setAttribute("aria-label", drawn.alt);
    picture.draw({ address: report.image, grid: report.grid, limits: drawn, colours, covered: report.settings.covered, ...drawn });
    bar.draw(drawn, colours);
  }
  function drawAnswers(report) {
    answers.style.setProperty("--rows", Math.ceil(report.answers.length / 2));
    const shown = report.answers.map(({ name, now, whole, text, true: right, asked }, place) => {
      const line = answerLine(place);
      line.name.textContent = line.name.title = `${right ? "✓ " : ""}${name}`;
      line.name.setAttribute("aria-pressed", String(asked));
      line.name.setAttribute("aria-label", `Ask what “${name}” needs${right ? " (the true label)" : ""}`);
      line.now.style.width = `${100 * now}%`;
      line.was.style.left = `${100 * whole}%`;
      line.was.hidden = !report.settings.covered.length;
      line.share.textContent = text;
      return line.box;
    });
    if (answers.childElementCount !== shown.length) answers.replaceChildren(...shown); // who is on a button stays on it
  }
  function drawReport() {
    const report = model.get("report");
    stop = Math.min(stop, report.grid[0] * report.grid[1] - 1);
    say(truth, `true label ${report.truth}`);
    large.box.setAttribute("aria-label", `The picture's patches: ${report.alt}`);
    report.maps.forEach((drawn, at) => drawMap(maps[at], drawn));
    drawAnswers(report);
    say(remark, report.remark);
    drawPointed();
    legend.draw({ low: 0, high: report.limit, values: true, digits: report.limit < 0.095 ? 3 : 2, label: "weight" }, model.get("palette").plain);
    const { model: at, index, layer: l, head: h, patch, covered, cover: how, answer } = report.settings;
    root.dataset.shown = [at, index, l, h ?? "mean", patch ?? "cls", covered.length, how, answer ?? "own"].join(" ");
  }
  function drawSettings() {
    const now = settings();
    const models = model.get("models");
    const { layers, heads } = models[now.model] ?? models[0];
    number.value = now.index;
    turnOff(steps[0], now.index === 0 && "This is the first picture.");
    turnOff(steps[1], now.index === model.get("pictures") - 1 && "This is the last picture.");
    whose.draw(models.map(({ name }, at) => [String(at), name, true]), String(now.model));
    layer.draw(numbers(layers), String(now.layer));
    head.draw([["mean", "mean", true], ...numbers(heads)], now.head === null ? "mean" : String(now.head));
    cover.draw(COVERS, now.cover);
    turnOff(uncover, !now.covered.length && "No patch is covered.");
  }

  const remark = make("p", { className: "remark", "aria-live": "polite" });
  root.append(
    make("div", { className: "patch-bar" },
      make("div", { className: "which" }, steps[0], make("label", {}, "picture ", number, ` of 0–${model.get("pictures") - 1}`), steps[1], mistake, truth),
      make("div", { className: "how" }, named("patches of ", whose), named("layer ", layer), named("head ", head), named("cover with ", cover))),
    make("div", { className: "patch-columns" },
      make("div", { className: "left" }, title,
        make("div", { className: "modes" }, cls, make("span", { className: "both", role: "group", "aria-label": "What a click on a patch does" }, ...modes), uncover),
        large.box, legend.box, words),
      make("div", { className: "right" },
        make("div", { className: "maps" }, ...maps.map(({ box }) => box)),
        make("div", { className: "note" }, "ρ: rank agreement (Spearman) with occlusion, over the patches of this picture"),
        make("div", { className: "answers-head" }, make("b", { textContent: "Answers" }), make("span", { className: "note", textContent: "Click one to ask what it needs. ✓ the true label; mark: before patches were covered" })),
        answers)),
    make("div", { className: "last" }, remark, make("div", { className: "keep" }, undo, reset, code)), complaint);
  on("settings", drawSettings);
  on("report", drawReport);
  drawMode();
  return end;
}

export default { render };
