// The view of the softmax desk. Controls go to Python as settings, a report comes back; this draws it.

import { begin, button, controlled, drawn, make, say, slider, written } from "./elements.js";
import { panel, plane } from "./charts.js";
import { spoken, tr } from "./words.js";

const same = (x) => x;
const controls = () => [
  // where a native range input stands, and what that means: it is linear, these are not
  { name: "temperature", label: [tr("temperature")], min: -1, max: 1, step: 0.02, value: (x) => Number((10 ** x).toPrecision(3)), position: Math.log10 },
  { name: "width", label: ["d", ["k"], tr(", width of a key")], min: 0, max: 9, step: 1, value: (x) => 2 ** x, position: Math.log2 },
  { name: "keys", label: [tr("T, number of keys")], min: 2, max: 64, step: 1, value: same, position: same },
];
const EDGE = { left: 38, right: 6, top: 16 }; // around a chart, in pixels
const BOTTOM = 8;
const KEYS_ROOM = 18; // below the weights: numbers of the keys
const HALVES = [0, 0.5, 1];

const short = (v) => String(Number(v.toPrecision(3)));
const signed = (v) => short(v).replace("-", "−");

// The upward axis, and what turns a value into a height.
function upward({ svg }, from, to, ticks, room) {
  const up = { from, to, ticks, zero: 0 };
  return plane(svg, { from: 0, to: 1, ticks: [] }, up, { room, edge: EDGE }).y;
}

function slots(width, count) {
  const slot = (width - EDGE.left - EDGE.right) / count;
  return { slot, bar: Math.min(40, 0.78 * slot), middle: (key) => EDGE.left + (key + 0.5) * slot };
}

function drawBars({ svg, width }, values, report, y) {
  const { bar, middle } = slots(width, values.length);
  values.forEach((value, key) => {
    const [from, to] = [y(Math.max(0, value)), y(Math.min(0, value))];
    const rect = drawn("rect", { class: key === report.largest ? "bar largest" : "bar", x: middle(key) - bar / 2, y: from, width: bar, height: Math.max(0.5, to - from) });
    const words = tr("key {key}: score {score}, weight {weight}", { key, score: signed(report.scores[key]), weight: short(report.weights[key]) });
    rect.append(drawn("title", {}, words));
    svg.append(rect);
  });
}

function drawScores(chart, report) {
  const { limit, predicted, scores } = report;
  const wide = chart.width - EDGE.left - EDGE.right;
  const ticks = [-limit, -limit / 2, 0, limit / 2, limit].map((tick) => [tick, String(tick).replace("-", "−")]);
  const y = upward(chart, -limit, limit, ticks, BOTTOM);
  chart.svg.prepend(drawn("rect", { class: "band", x: EDGE.left, width: wide, y: y(predicted), height: y(-predicted) - y(predicted) }));
  drawBars(chart, scores, report, y);
}

function drawWeights(chart, report) {
  const { svg, width, height } = chart;
  const { weights, largest } = report;
  const count = weights.length;
  const y = upward(chart, 0, 1, HALVES.map((tick) => [tick, String(tick)]), KEYS_ROOM);
  drawBars(chart, weights, report, y);
  svg.append(drawn("line", { class: "uniform", x1: EDGE.left, x2: width - EDGE.right, y1: y(1 / count), y2: y(1 / count) }));
  const { slot, middle } = slots(width, count);
  const every = [1, 2, 4, 8].find((step) => step * slot > 20);
  for (let key = 0; key < count; key += every) {
    svg.append(drawn("text", { x: middle(key), y: height - 4, "text-anchor": "middle" }, String(key)));
  }
  svg.append(drawn("text", { x: EDGE.left - 5, y: height - 4, "text-anchor": "end" }, tr("key")));
  const centre = Math.min(Math.max(middle(largest), EDGE.left + 42), width - EDGE.right - 42);
  svg.append(drawn("text", { class: "strong", x: centre, y: y(weights[largest]) - 4, "text-anchor": "middle" }, tr("key {key}: {weight}", { key: largest, weight: weights[largest].toFixed(3) })));
}

function drawCurve(chart, { curve, settings, meters }) {
  const { svg, width, height } = chart;
  const last = curve.widths.length - 1;
  const x = (place) => EDGE.left + 8 + (place / last) * (width - EDGE.left - EDGE.right - 20);
  const y = upward(chart, 0, 1, HALVES.map((share) => [share, `${100 * share} %`]), KEYS_ROOM);
  const every = x(1) - x(0) < 26 ? 2 : 1; // the numbers must not touch
  curve.widths.forEach((value, place) => {
    if ((last - place) % every === 0) svg.append(drawn("text", { x: x(place), y: height - 4, "text-anchor": "middle" }, String(value)));
  });
  const here = curve.widths.indexOf(settings.width);
  svg.append(drawn("line", { class: "grid", x1: x(here), x2: x(here), y1: y(0), y2: y(1) }));
  const now = settings.scaled ? "divided" : "plain";
  for (const name of ["plain", "divided"]) {
    const edge = (sign) => curve[name].map((share, place) => [x(place), y(Math.max(0, share + 2 * sign * curve[`${name}_error`][place]))]);
    svg.append(drawn("polygon", { class: `error ${name}`, points: [...edge(1), ...edge(-1).reverse()].join(" ") }),
      drawn("polyline", { class: name === now ? `${name} now` : name, points: curve[name].map((share, place) => [x(place), y(share)]).join(" ") }));
  }
  svg.append(drawn("circle", { class: `dot ${now}`, cx: x(here), cy: y(curve[now][here]), r: 5 }),
    drawn("circle", { class: "this-draw", cx: x(here), cy: y(meters.at(-1).share), r: 7 }));
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-softmax", tr("Softmax desk: temperature, width and number of keys"));

  const desk = controlled(model);
  const { set } = desk;

  // ── the controls ─────────────────────────────────────────────────────────────────────────
  const kinds = controls();
  const sliders = kinds.map((control) => slider(control, (position) => set({ [control.name]: control.value(position) })));
  const scaled = make("input", { type: "checkbox", name: "scaled", "aria-label": tr("divide scores by √d_k") });
  scaled.setAttribute("role", "switch");
  scaled.onchange = () => set({ scaled: scaled.checked });
  const bar = make("div", { className: "softmax-bar" }, ...sliders.map(({ box }) => box),
    make("label", { className: "switch" }, scaled, make("span", {}, ...written([tr("divide scores by √d"), ["k"]]))),
    make("div", { className: "buttons" },
      button("draw", tr("New draw"), () => set({ seed: model.get("settings").seed + 1 })),
      desk.reset));

  function drawControls() {
    const settings = model.get("settings");
    kinds.forEach(({ name, position }, index) => sliders[index].show(position(settings[name]), short(settings[name])));
    scaled.checked = settings.scaled;
  }

  // ── the pictures ─────────────────────────────────────────────────────────────────────────
  const scores = panel("scores", tr("Scores"));
  const weights = panel("weights", tr("Weights, softmax of the scores"));
  const curve = panel("curve", tr("Gradient that passes the softmax alone"));
  const meters = model.get("report").meters.map(({ label }) => {
    const [fill, value, note] = [make("i"), make("b"), make("span", { className: "note" })];
    const track = make("div", { className: "track", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 1 }, fill);
    return { fill, value, note, track, box: make("div", { className: "meter" }, make("span", { textContent: label }), value, note, track) };
  });
  const legend = make("div", { className: "legend" },
    make("span", { className: "divided", textContent: tr("divided") }), make("span", { className: "plain", textContent: tr("not divided") }),
    make("span", { className: "mean", textContent: tr("mean") }), make("span", { className: "this-draw", textContent: tr("this draw") }));
  curve.box.append(legend);
  const remark = make("p", { className: "remark", "aria-live": "polite" });
  const task = make("p", { className: "task", textContent: tr("Move one slider at a time, or switch the division off. Watch the orange bar: how much of the weight does it take?") });
  const seen = make("p", { className: "seen", "aria-live": "polite" }); // of scores and weights alone
  const whole = model.get("gradient") !== false; // or scores and weights alone
  root.classList.toggle("weights-only", !whole);
  const pictures = [[scores, drawScores], [weights, drawWeights], ...(whole ? [[curve, drawCurve]] : [])];

  function drawPictures() {
    const report = model.get("report");
    if (!scores.svg.clientWidth) return; // not on the page yet
    pictures.forEach(([{ svg }, draw]) => {
      svg.setAttribute("aria-label", report.alt[svg.getAttribute("class")]);
      draw({ svg, width: svg.clientWidth, height: svg.clientHeight }, report);
    });
    scores.note.replaceChildren(tr("{formula} · standard deviation {spread}, predicted ", { formula: report.formula, spread: short(report.std) }), make("i", { className: "band" }), ` ${report.prediction}`);
    weights.note.textContent = tr("line: all alike, 1/T = {weight}", { weight: (1 / report.weights.length).toFixed(3) });
    curve.note.replaceChildren(...written([tr("over d"), ["k"], tr(", mean of {draws} draws", report.curve)]));
    report.meters.forEach(({ value, note, share }, index) => {
      const meter = meters[index];
      meter.value.textContent = value;
      meter.note.textContent = note;
      meter.fill.style.width = `${100 * share}%`;
      meter.track.setAttribute("aria-valuenow", share.toFixed(3));
      meter.track.setAttribute("aria-valuetext", `${value}, ${note}`);
    });
    say(remark, report.remark);
    say(seen, report.seen);
    const { temperature, width, keys, scaled: divided, seed } = report.settings;
    root.dataset.stamp = [temperature, width, keys, divided, seed].join(" "); // what is drawn now
  }

  // ── together ─────────────────────────────────────────────────────────────────────────────
  root.append(...(whole ? [] : [task]), bar, make("div", { className: "softmax-columns" },
    make("div", {}, scores.box, weights.box),
    make("div", {}, make("div", { className: "softmax-meters" }, ...meters.map(({ box }) => box)), curve.box)), make("div", { className: "last" }, whole ? remark : seen, desk.keep), complaint);
  onResize(scores.svg, drawPictures);
  on("settings", drawControls);
  on("report", drawPictures);
  return end;
}

export default { render: spoken(render) };
