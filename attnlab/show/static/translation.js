// The view of the translation desk. Reports come from Python; this draws them and sends what is chosen. A step
// needs nothing from Python: the report holds all of them.

import { begin, button, controlled, drawn, make, menu, say, slider, textBox, turnOff } from "./elements.js";
import { faderTable } from "./fader-table.js";
import { clamp, heatMap } from "./pictures.js";

const KINDS = [
  ["encoder", "Encoder: source → source"],
  ["decoder", "Decoder: output → output before it"],
  ["cross", "Cross: output → source"],
];
const whole = (share) => `${(100 * share).toFixed(0)} %`;

// The map of where each output token looks, as large as its place allows; a click on a row chooses it.
function alignmentMap(choose) {
  const place = make("div", { className: "align-map", tabIndex: 0, role: "region", "aria-label": "Alignment map" });
  let frame = null;
  let top = 0;
  let high = 0;
  function draw({ tokens, target, weights, limit, alt }, colours) {
    const map = heatMap({
      rows: target, columns: tokens, values: weights, limits: { low: 0, high: limit }, colours, alt, most: 8, letter: 7.4,
      cell: (left, above) => [
        clamp(11, Math.floor((place.clientWidth - left - 4) / tokens.length), 40),
        clamp(13, Math.floor((place.clientHeight - above - 4) / target.length), 28),
      ],
    });
    [top, high] = [map.top, map.height];
    frame = drawn("rect", { class: "frame", x: map.left, width: map.width * tokens.length, height: high });
    map.svg.append(frame);
    map.svg.addEventListener("click", ({ target: { dataset } }) => { if (dataset.row !== undefined) choose(Number(dataset.row)); });
    place.replaceChildren(map.svg);
  }
  function mark(step) {
    frame.setAttribute("y", top + step * high);
    frame.dataset.step = step;
    for (const label of place.querySelectorAll("text[data-row]")) label.classList.toggle("here", Number(label.dataset.row) === step);
    const over = top + step * high - place.scrollTop; // a row that is out of sight comes into it
    if (over < 0 || over + high > place.clientHeight) place.scrollTop = top + step * high - place.clientHeight / 2;
  }
  return { place, draw, mark };
}

// Exact match now and at the start: two points with their intervals on one scale.
function scorePanel() {
  const big = make("b");
  const interval = make("span", { className: "note" });
  const state = make("span", { className: "note", "data-progress": "" });
  const svg = drawn("svg", { class: "score-lines", role: "img" });
  const words = make("div", { className: "score-words", role: "status" });
  const box = make("div", { className: "score", role: "group", "aria-label": "Exact match" },
    make("div", { className: "score-head" }, make("span", { textContent: "Exact match" }), big, interval, state), svg, words);
  const x = (share) => 42 + (svg.clientWidth - 50) * share;
  function line(y, name, { share, low, high }) {
    return drawn("g", { class: name },
      drawn("text", { x: 32, y: y + 4, "text-anchor": "end" }, name),
      drawn("line", { class: "bar", x1: x(low), x2: x(high), y1: y, y2: y }),
      drawn("circle", { cx: x(share), cy: y, r: 4.5 }));
  }
  function draw(score, stale) {
    box.dataset.state = stale ? "stale" : score.state ?? "waiting";
    state.textContent = stale || !score.state ? "measuring …" : score.state === "partial" ? `so far: ${score.n} of ${score.total} texts` : `on ${score.n} texts`;
    if (!score.state) return;
    const { now, start } = score;
    big.textContent = whole(now.share);
    interval.textContent = `(${(100 * now.low).toFixed(0)} to ${whole(now.high)})`;
    svg.replaceChildren(
      ...[0, 0.5, 1].flatMap((share) => [
        drawn("line", { class: "grid", x1: x(share), x2: x(share), y1: 3, y2: 35 }),
        drawn("text", { x: x(share), y: 47, "text-anchor": share === 1 ? "end" : "middle" }, whole(share))]),
      line(10, "start", start), line(27, "now", now));
    svg.setAttribute("aria-label", `Exact match at the start ${whole(start.share)}, now ${whole(now.share)}, with 95 % intervals`);
    say(words, score.words);
  }
  return { box, draw };
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-translation attnlab-desk", "Translation desk");
  const { set, reset, keep } = controlled(model);
  const look = (changes) => { // looking elsewhere is no step to take back
    model.set("settings", { ...model.get("settings"), ...changes });
    model.save_changes();
  };
  const size = model.get("size");

  // ── the sentence, and the way through it ─────────────────────────────────────────────────
  const source = textBox("Text to translate", (text) => set({ source: text, step: 0 }));
  const translation = make("output", { className: "said", "aria-label": "Translation", dir: "auto" });
  const step = slider({ name: "step", label: ["Output position"], min: 0, max: 1, step: 1 }, (position) => look({ step: position }));
  const input = step.box.querySelector("input");
  const go = (by) => look({ step: clamp(0, currentStep() + by, Number(input.max)) });
  const [previous, next] = [["previous", "‹", -1], ["next", "›", 1]].map(([action, label, by]) => {
    const made = button(action, label, () => go(by));
    made.setAttribute("aria-label", `${action === "next" ? "Next" : "Previous"} position`);
    return made;
  });
  const fed = make("div", { className: "chips fed", tabIndex: 0, role: "group", "aria-label": "Output so far" });
  const numbers = (n) => Array.from({ length: n }, (_, one) => [String(one), `${one}`, true]);
  const layer = menu("Layer of the cross-attention", (value) => look(value === "all" ? { layer: null, head: null } : { layer: Number(value) }));
  const head = menu("Head of the cross-attention", (value) => look({ head: value === "all" ? null : Number(value) }));
  const read = make("div", { className: "chips read", tabIndex: 0, role: "group", "aria-label": "Source, shaded by attention" });
  const note = make("span", { className: "note" });
  const map = alignmentMap((row) => look({ step: row }));
  const bars = make("div", { className: "bars", role: "table", "aria-label": "What the model considers next" });
  const words = make("div", { className: "words", role: "status" });

  // ── the faders and exact match ───────────────────────────────────────────────────────────
  const tables = KINDS.map(([kind, title]) => faderTable({
    kind, title, size: size[kind],
    read: () => model.get("settings").faders[kind],
    write: (scale) => set({ faders: { ...model.get("settings").faders, [kind]: scale } }),
  }));
  const layers = KINDS.reduce((sum, [kind]) => sum + size[kind][0], 0);
  const faders = make("div", { className: `faders${layers > 6 ? " many" : ""}` }, ...tables.map(({ box }) => box));
  const score = scorePanel();

  root.append(
    make("div", { className: "top" }, source.box, make("span", { className: "arrow", textContent: "→", "aria-hidden": "true" }), translation),
    make("div", { className: "columns" },
      make("div", { className: "left" },
        make("div", { className: "stepper" }, previous, step.box, next),
        make("div", { className: "strip" }, make("span", { className: "note", textContent: "writes" }), fed),
        make("div", { className: "strip" }, make("span", { className: "note", textContent: "looks at" }), read),
        make("div", { className: "looks" }, make("span", { className: "note", textContent: "cross-attention:" }),
          make("label", {}, "layer ", layer.box), make("label", {}, "head ", head.box), note),
        make("div", { className: "both" }, map.place, make("div", {}, make("div", { className: "note", textContent: "considers next" }), bars)),
        words),
      make("div", { className: "right" },
        make("div", { className: "fader-bar" }, make("span", { className: "note", textContent: "Silence: double click, or key 0. Back: again, or key 1." })),
        faders, make("div", { className: "fader-bar" }, reset, keep), score.box)),
    complaint);

  const currentStep = () => Math.min(model.get("settings").step, model.get("report").steps.length - 1);
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  function drawStep() {
    const report = model.get("report");
    const now = currentStep();
    const { candidates, words: told } = report.steps[now];
    input.max = report.steps.length - 1;
    step.show(now, `${now} of 0–${report.steps.length - 1}`);
    turnOff(previous, now === 0 && "This is the first position.");
    turnOff(next, now === report.steps.length - 1 && "This is the last position.");
    fed.replaceChildren(...[report.start, ...report.target].map((token, place) => make("span", {
      className: place <= now ? "past" : place === now + 1 ? "now" : "later", textContent: token,
    })));
    fed.querySelector(".now")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    const weights = report.weights[now];
    read.replaceChildren(...report.tokens.map((token, place) => {
      const share = Math.min(1, Math.max(0, weights[place] / report.limit));
      const chip = make("span", { textContent: token, title: `${weights[place].toFixed(3)}` });
      chip.style.setProperty("--share", (0.6 * share).toFixed(3));
      return chip;
    }));
    bars.replaceChildren(...candidates.map(({ token, share, chosen }) => {
      const fill = make("i");
      fill.style.width = `${100 * share}%`;
      const line = make("div", { role: "row", className: chosen ? "chosen" : "" },
        make("span", { role: "rowheader", textContent: token, title: token }),
        make("span", { role: "cell", className: "track", "aria-hidden": "true" }, fill),
        make("span", { role: "cell", textContent: `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %${chosen ? " ✓" : ""}` }));
      return line;
    }));
    map.mark(now);
    say(words, told);
    root.dataset.step = now;
  }

  function drawFaders() {
    for (const table of tables) table.draw();
    drawScore();
  }
  function drawScore() {
    const now = model.get("score");
    score.draw(now, !same(now.faders, model.get("settings").faders));
  }
  function drawReport() {
    const report = model.get("report");
    const { settings } = report;
    if (!map.place.clientWidth) return; // not on the page yet
    translation.textContent = report.translation || "(nothing)";
    translation.title = report.translation;
    const all = settings.layer === null;
    layer.draw([["all", "mean", true], ...numbers(size.cross[0])], all ? "all" : String(settings.layer));
    head.draw([["all", "mean", true], ...numbers(size.cross[1]).map(([one, name]) => [one, name, !all])], settings.head === null ? "all" : String(settings.head));
    map.draw(report, model.get("palette").plain);
    note.textContent = note.title = report.note;
    drawStep();
    root.dataset.shown = [settings.layer ?? "all", settings.head ?? "all"].join(" ");
    root.dataset.state = "shown";
  }
  function drawSettings() {
    source.show(model.get("settings").source);
    if (root.dataset.state) drawStep();
    drawFaders();
  }

  on("report", drawReport);
  on("settings", drawSettings);
  on("score", drawScore);
  onResize(map.place, drawReport);
  onResize(score.box, drawScore);
  return end;
}

export default { render };
