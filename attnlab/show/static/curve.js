// The view of the training curve. A report comes from Python, also while a cell is running; this draws it.

const EDGE = { left: 44, right: 10, top: 9 }; // around a chart, in pixels
const XROOM = 19; // below it: numbers of the horizontal axis
const DODGE = 7; // between points of different runs at one epoch
const MARKS = [ // as the pictures have them: circle, square, triangles, diamond, plus
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (r) => `M0,${-r}l${r},${1.9 * r}h${-2 * r}z`,
  (r) => `M0,${r}l${r},${-1.9 * r}h${-2 * r}z`,
  (r) => `M0,${-1.2 * r}l${r},${1.2 * r}l${-r},${1.2 * r}l${-r},${-1.2 * r}z`,
  (r) => `M${-r},${-r / 2.5}h${0.6 * r}v${-0.6 * r}h${0.8 * r}v${0.6 * r}h${0.6 * r}v${0.8 * r}h${-0.6 * r}v${0.6 * r}h${-0.8 * r}v${-0.6 * r}h${-0.6 * r}z`,
];

const mark = (index, x, y, r = 4.5) => drawn("path", { class: `mark run-${index}`, d: MARKS[index](r), transform: `translate(${x},${y})` });

function panel(name, title) {
  const note = make("span", { className: "note" });
  const svg = drawn("svg", { class: name, role: "img" });
  const head = make("div", { className: "head" }, make("b", { textContent: title }), note);
  return { box: make("div", { className: `curve-panel ${name}-panel` }, head, svg), note, svg };
}

// Lines and numbers of both axes; returns what turns values into pixels, and a group cut at the edges.
function plane(svg, across, up, name, room = XROOM) {
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  const [right, bottom] = [width - EDGE.right, height - room];
  const x = (value) => EDGE.left + ((value - across.from) / (across.to - across.from)) * (right - EDGE.left);
  const y = (value) => bottom - ((value - up.from) / (up.to - up.from)) * (bottom - EDGE.top);
  const parts = up.ticks.flatMap(([tick, words]) => [
    drawn("line", { class: tick === up.from ? "axis" : "grid", x1: EDGE.left, x2: right, y1: y(tick), y2: y(tick) }),
    drawn("text", { x: EDGE.left - 6, y: y(tick) + 4, "text-anchor": "end" }, words)]);
  if (name) {
    parts.push(...across.ticks.map(([tick, words]) => { // a long number at the end must not stick out
      const tight = x(tick) + 4 * words.length > width;
      return drawn("text", { x: tight ? width : x(tick), y: height - 4, "text-anchor": tight ? "end" : "middle" }, words);
    }), drawn("text", { x: EDGE.left - 10, y: height - 4, "text-anchor": "end" }, name));
  }
  const inside = drawn("svg", { class: "inside", x: EDGE.left, y: 0, width: right - EDGE.left, height: bottom });
  const shifted = drawn("g", { transform: `translate(${-EDGE.left},0)` });
  inside.append(shifted);
  svg.replaceChildren(...parts, inside);
  return { x, y, inside: shifted, middle: [(EDGE.left + right) / 2, (EDGE.top + bottom) / 2] };
}

// A line, with a gap where there is no number.
function line(className, xs, ys, x, y) {
  let pen = "M";
  const d = ys.map((value, at) => {
    if (value === null) { pen = "M"; return ""; }
    const piece = `${pen}${x(xs[at]).toFixed(1)},${y(value).toFixed(1)}`;
    pen = "L";
    return piece;
  });
  return drawn("path", { class: className, d: d.join("") });
}

function empty(svg, [x, y], words) {
  svg.append(drawn("text", { class: "empty", x, y, "text-anchor": "middle" }, words));
}

function drawLoss(svg, { runs, axes }) {
  const { x, y, inside, middle } = plane(svg, axes.step, axes.loss, "", 4);
  runs.forEach((run, index) => inside.append(line(`raw run-${index}`, run.step, run.loss, x, y)));
  runs.forEach((run, index) => {
    inside.append(line(`smooth run-${index}`, run.step, run.smooth, x, y));
    for (const { step, loss } of run.epochs) {
      if (loss !== null) svg.append(drawn("path", { class: `dev run-${index}`, d: MARKS[4](4.5), transform: `translate(${x(step)},${y(loss)})` }));
    }
    const last = run.smooth.at(-1);
    if (run.state === "training" && last != null) svg.append(mark(index, x(run.step.at(-1)), y(last), 4));
  });
  if (runs.every((run) => run.state === "waiting")) empty(svg, middle, "waiting for the first step");
}

function drawRate(svg, { runs, axes }) {
  const { x, y, inside } = plane(svg, axes.step, axes.rate, "step");
  runs.forEach((run, index) => inside.append(line(`rate run-${index}`, run.step, run.rate, x, y)));
}

function drawAccuracy(svg, { runs, axes }) {
  const { x, y, middle } = plane(svg, axes.epoch, axes.accuracy, "epoch");
  runs.forEach((run, index) => {
    const shift = (index - (runs.length - 1) / 2) * DODGE;
    const at = (epoch) => x(epoch) + shift;
    const known = run.epochs.filter(({ accuracy }) => accuracy !== null);
    const size = known.length > 30 ? 2.5 : 4.5;
    svg.append(line(`between run-${index}`, known.map(({ epoch }) => epoch), known.map(({ accuracy }) => accuracy), at, y));
    for (const { epoch, accuracy, error, label, text } of known) {
      if (error) svg.append(drawn("path", { class: `error run-${index}`, d: `M${at(epoch)},${y(accuracy - error)}V${y(accuracy + error)}` }));
      const point = mark(index, at(epoch), y(accuracy), size);
      point.append(drawn("title", {}, `${run.name}, epoch ${epoch}: ${text}`));
      const tight = at(epoch) + 40 > svg.clientWidth; // no room beside the point
      const place = tight ? { x: svg.clientWidth, y: y(accuracy + (error ?? 0)) - 8, "text-anchor": "end" } : { x: at(epoch) + 8, y: y(accuracy) - 6 };
      svg.append(point, drawn("text", { class: "value", ...place }, label));
    }
  });
  if (!runs.some((run) => run.epochs.length)) empty(svg, middle, "measured at the end of each epoch");
}

function row(run, index) {
  const swatch = drawn("svg", { class: "swatch", "aria-hidden": "true" },
    drawn("path", { class: `smooth run-${index}`, d: "M1,7H33" }), mark(index, 17, 7, 4));
  const [name, ...cells] = run.cells;
  return make("tr", {},
    make("th", { scope: "row", title: name }, swatch, make("span", { textContent: name })),
    ...cells.map((textContent) => make("td", { textContent })));
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, end } = begin(context, "attnlab-curve", "Training curve");
  const loss = panel("loss", "Training loss, nats");
  const rate = panel("rate", "Learning rate");
  const accuracy = panel("accuracy", "Dev accuracy");
  loss.note.textContent = "thin: each step · thick: smoothed · ◇ dev";
  const body = make("tbody");
  const head = make("tr", {}, ...model.get("report").columns.map((textContent) => make("th", { scope: "col", textContent })));
  const table = make("table", { "aria-label": "Runs" }, make("thead", {}, head), body);
  const scroll = make("div", { className: "curve-table" }, table);
  const remark = make("p", { className: "remark curve-remark", role: "status" });
  const error = make("div", { className: "complaint", role: "alert" });

  function draw() {
    const report = model.get("report");
    if (!loss.svg.clientWidth) return; // not on the page yet
    for (const [{ svg }, name, how] of [[loss, "loss", drawLoss], [rate, "rate", drawRate], [accuracy, "accuracy", drawAccuracy]]) {
      how(svg, report);
      svg.setAttribute("aria-label", report.alt[name]);
    }
    rate.note.textContent = report.runs.length > 1 ? "share of each run's highest" : "";
    accuracy.note.textContent = report.note;
    root.classList.toggle("many", report.runs.length > 2);
    body.replaceChildren(...report.runs.map(row));
    if (remark.textContent !== report.remark) remark.textContent = report.remark; // read out once
    if (scroll.scrollWidth > scroll.clientWidth) scroll.tabIndex = 0;
    else scroll.removeAttribute("tabindex");
    root.dataset.stamp = report.runs.map(({ done }) => done).join(" "); // what is drawn now
    root.dataset.state = report.runs.map(({ state }) => state).join(" ");
  }

  root.append(make("div", { className: "curve-columns" }, make("div", {}, loss.box, rate.box), accuracy.box), scroll, remark, error);
  onResize(root, draw);
  on("report", draw);
  on("error", () => { error.textContent = model.get("error"); });
  return end;
}

export default { render };
