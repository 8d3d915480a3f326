// The view of the training curve. A report comes from Python, also while a cell is running; this draws it.

import { begin, cells, drawn, headings, make, say } from "./elements.js";
import { MARKS, empty, line, panel, plane } from "./charts.js";

const DODGE = 7; // between points of different runs at one epoch
const mark = (index, x, y, r = 4.5) => drawn("path", { class: `mark run-${index}`, d: MARKS[index](r), transform: `translate(${x},${y})` });

function drawLoss(svg, { runs, axes, guessing }) {
  const at = plane(svg, axes.step, axes.loss, { room: 4 });
  const { x, y, inside } = at;
  if (guessing) inside.append(drawn("path", { class: "guessing", d: `M${x(axes.step.from)},${y(guessing)}H${at.right}` }));
  runs.forEach((run, index) => inside.append(line(`raw run-${index}`, run.step, run.loss, at)));
  runs.forEach((run, index) => {
    inside.append(line(`smooth run-${index}`, run.step, run.smooth, at));
    for (const { step, loss } of run.epochs) {
      if (loss !== null) svg.append(drawn("path", { class: `dev run-${index}`, d: MARKS[4](4.5), transform: `translate(${x(step)},${y(loss)})` }));
    }
    const last = run.smooth.at(-1);
    if (run.state === "training" && last != null) svg.append(mark(index, x(run.step.at(-1)), y(last), 4));
  });
  if (runs.every((run) => run.state === "waiting")) empty(svg, at, "waiting for the first step");
}

function drawRate(svg, { runs, axes }) {
  const at = plane(svg, axes.step, axes.rate, { name: "step" });
  runs.forEach((run, index) => at.inside.append(line(`rate run-${index}`, run.step, run.rate, at)));
}

function drawAccuracy(svg, { runs, axes }) {
  const chart = plane(svg, axes.epoch, axes.accuracy, { name: "epoch" });
  const { x, y } = chart;
  runs.forEach((run, index) => {
    const shift = (index - (runs.length - 1) / 2) * DODGE;
    const at = (epoch) => x(epoch) + shift;
    const known = run.epochs.filter(({ accuracy }) => accuracy !== null);
    const size = known.length > 30 ? 2.5 : 4.5;
    svg.append(line(`between run-${index}`, known.map(({ epoch }) => epoch), known.map(({ accuracy }) => accuracy), { x: at, y }));
    for (const { epoch, accuracy, low, high, label, text } of known) {
      if (low !== null) svg.append(drawn("path", { class: `error run-${index}`, d: `M${at(epoch)},${y(low)}V${y(high)}` }));
      const point = mark(index, at(epoch), y(accuracy), size);
      point.append(drawn("title", {}, `${run.name}, epoch ${epoch}: ${text}`));
      const tight = at(epoch) + 40 > svg.clientWidth; // no room beside the point
      const place = tight ? { x: svg.clientWidth, y: y(high ?? accuracy) - 8, "text-anchor": "end" } : { x: at(epoch) + 8, y: y(accuracy) - 6 };
      svg.append(point, drawn("text", { class: "value", ...place }, label));
    }
  });
  if (!runs.some((run) => run.epochs.length)) empty(svg, chart, "measured at the end of each epoch");
}

function row(run, index) {
  const swatch = drawn("svg", { class: "swatch", "aria-hidden": "true" },
    drawn("path", { class: `smooth run-${index}`, d: "M1,7H33" }), mark(index, 17, 7, 4));
  const [name, ...others] = run.cells;
  return make("tr", {},
    make("th", { scope: "row", title: name }, swatch, make("span", { textContent: name })),
    ...cells(others));
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-curve", "Training curve");
  const loss = panel("loss", "Training loss, nats");
  const rate = panel("rate", "Learning rate");
  const accuracy = panel("accuracy", model.get("report").measured);
  const guessing = model.get("report").guessing ? " · dashed: guessing" : "";
  loss.note.textContent = `thin: each step · thick: smoothed · ◇ dev${guessing}`;
  const body = make("tbody");
  const head = make("tr", {}, ...headings(model.get("report").columns));
  const table = make("table", { "aria-label": "Runs" }, make("thead", {}, head), body);
  const scroll = make("div", { className: "curve-table" }, table);
  const remark = make("p", { className: "remark curve-remark", role: "status" });

  function draw() {
    const report = model.get("report");
    if (!loss.svg.clientWidth) return; // not on the page yet
    for (const [{ svg }, name, how] of [[loss, "loss", drawLoss], [rate, "rate", drawRate], [accuracy, "accuracy", drawAccuracy]]) {
      how(svg, report);
      svg.setAttribute("aria-label", report.alt[name]);
    }
    rate.note.textContent = report.runs.length > 1 ? "share of each run's highest" : "";
    accuracy.title.textContent = report.measured; // a translator's is exact match
    accuracy.note.textContent = report.note;
    head.replaceChildren(...headings(report.columns));
    root.classList.toggle("many", report.runs.length > 2);
    body.replaceChildren(...report.runs.map(row));
    say(remark, report.remark);
    if (scroll.scrollWidth > scroll.clientWidth) scroll.tabIndex = 0;
    else scroll.removeAttribute("tabindex");
    root.dataset.stamp = report.runs.map(({ done }) => done).join(" "); // what is drawn now
    root.dataset.state = report.runs.map(({ state }) => state).join(" ");
  }

  root.append(make("div", { className: "curve-columns" }, make("div", {}, loss.box, rate.box), accuracy.box), scroll, remark, complaint);
  onResize(root, draw);
  on("report", draw);
  return end;
}

export default { render };
