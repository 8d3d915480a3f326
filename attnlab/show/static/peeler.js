// The view of the peeler: a model drawn to scale, what is gone of it, and what that bought and cost.

import { begin, controlled, drawn, headings, make, menu, say, slider, turnOff } from "./elements.js";
import { panel, plane } from "./charts.js";

const LEGEND = [["words", "word embeddings"], ["embeddings", "other embeddings"], ["attention", "attention"], ["feed-forward", "feed-forward"], ["head", "classification head"]];
const BELOW = 18; // room for the names of the columns, in pixels

// A column for the embeddings, each layer and the head, as wide as it is large; in it a rectangle for each part. What is
// left of a part stands at its bottom, zeros above it are hatched, and what is gone is pale.
function drawModel(svg, columns) {
  const [width, height] = [svg.clientWidth, svg.clientHeight - BELOW];
  const sums = columns.map(({ parts }) => parts.reduce((sum, { total }) => sum + total, 0));
  const whole = sums.reduce((sum, one) => sum + one, 0) || 1;
  const shapes = [drawn("defs", {}, drawn("pattern", { id: "peeler-zeros", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    drawn("rect", { width: 2, height: 5, class: "hatch" })))];
  const names = [];
  let x = 0;
  columns.forEach(({ name, parts }, index) => {
    const wide = (sums[index] / whole) * width;
    let y = 0;
    for (const { kind, total, left, zeros, words } of parts) {
      if (!total) continue;
      const high = (total / sums[index]) * height;
      const solid = high * Math.min(1, left / total);
      const hatched = high * (zeros / total);
      const rect = (className, top, tall) => drawn("rect", { class: className, x, y: top, width: wide, height: tall });
      shapes.push(drawn("g", { class: `part ${kind}` }, drawn("title", {}, words),
        rect("gone", y, high), rect("left", y + high - solid, solid), ...(hatched ? [rect("zeros", y + high - solid - hatched, hatched)] : []),
        rect("frame", y, high)));
      if (kind === "words" && wide > 110 && high > 30) names.push(drawn("text", { class: `inside ${solid > 0.9 * high ? "dark" : ""}`, x: x + 8, y: y + 18 }, "word embeddings"));
      y += high;
    }
    const room = 7 * name.length;
    if (wide > room) names.push(drawn("text", { x: x + wide / 2, y: height + 14, "text-anchor": "middle" }, name));
    x += wide;
  });
  svg.replaceChildren(...shapes, ...names);
}

function drawTimes(svg, { bars, across, up }) {
  const { x, y, right } = plane(svg, across, up, { name: "ms" });
  if (!bars.length) {
    svg.append(drawn("text", { class: "empty", x: right / 2 + 20, y: svg.clientHeight / 2, "text-anchor": "middle" }, "not measured yet"));
    return;
  }
  const wide = Math.max(2, 0.8 * (x(1) - x(0)));
  svg.append(...bars.map(({ kind, before, after, words }, index) => {
    const bar = (className, value) => drawn("rect", { class: className, x: x(index) - wide / 2, y: y(value), width: wide, height: Math.max(0, y(0) - y(value)) });
    return drawn("g", { class: `part ${kind}` }, drawn("title", {}, words), bar("gone", before), bar("left", after));
  }));
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-peeler", "Peeler");
  const { set, undo, reset, code } = controlled(model);

  const kind = menu("What is removed", (value) => set(model.get("report").starts[value]));
  const score = menu("Chosen by", (value) => set({ by: value }));
  const amount = slider({ name: "amount", label: ["How much"], min: 0, max: 9, step: 1 },
    (place) => set({ amount: model.get("report").amounts[place][0] }));
  const range = amount.box.querySelector("input");
  const box = make("input", { type: "checkbox", name: "repaired", onchange: () => set({ repaired: box.checked }) });
  const repaired = make("label", { className: "peeler-check" }, box, "repaired");
  const labelled = (words, control) => make("div", { className: "peeler-labelled" }, make("span", { className: "note", textContent: words }), control);
  const bar = make("div", { className: "peeler-bar" }, labelled("Remove", kind.box), labelled("chosen by", score.box), amount.box, repaired,
    make("div", { className: "keep" }, reset, undo, code));

  const shown = panel("model", "The model to scale");
  const area = menu("What areas stand for", (value) => set({ area: value }));
  const total = make("span", { className: "note peeler-total" });
  shown.note.replaceWith(make("span", { className: "peeler-area" }, total, area.box));
  const legend = make("div", { className: "note peeler-legend" }, ...LEGEND.map(([name, words]) =>
    make("span", { className: name }, make("i"), words)), make("span", { className: "pale" }, make("i"), "gone"), make("span", { className: "hatched" }, make("i"), "zero"));
  shown.box.append(legend);
  const times = panel("times", "");
  const machine = make("div", { className: "note" });
  times.box.append(machine);

  const head = make("tr");
  const rows = make("tbody");
  const table = make("table", { "aria-label": "What it bought and cost" }, make("thead", {}, head), rows);
  const progress = make("div", { className: "note peeler-progress", "data-progress": "" });
  const remark = make("p", { className: "remark", role: "status" });
  root.append(bar, make("div", { className: "peeler-top" }, shown.box, times.box),
    make("div", { className: "peeler-bottom" }, make("div", {}, table, progress), remark), complaint);

  const cell = ([text, note], className) => make("td", { className }, make("span", { textContent: text }), ...(note ? [make("small", { textContent: note })] : []));

  function draw() {
    const report = model.get("report");
    const { settings } = report;
    if (!shown.svg.clientWidth) return; // not on the page yet
    kind.draw(report.kinds, settings.kind);
    score.draw(report.scores, settings.by);
    turnOff(score.box, report.scores.length < 2 && "Nothing is chosen: all weights are treated alike.");
    range.max = report.amounts.length - 1;
    const place = report.amounts.findIndex(([value]) => value === settings.amount);
    amount.show(place, report.amounts[place][1]);
    box.checked = settings.repaired;
    turnOff(box, !report.repairs && "Only heads and neurons can be repaired.");
    repaired.classList.toggle("off", !report.repairs);
    area.draw(report.areas, settings.area);
    total.textContent = report.total;
    drawModel(shown.svg, report.columns);
    shown.svg.classList.toggle("waits", report.state === "building");
    shown.svg.setAttribute("aria-label", report.alt);
    times.title.textContent = report.times.title;
    machine.textContent = report.times.machine;
    drawTimes(times.svg, report.times);
    times.svg.setAttribute("aria-label", report.times.alt);
    if (!head.childElementCount) head.append(...headings(report.heads));
    rows.replaceChildren(...report.rows.map(({ name, cells, verdict }) => make("tr", {}, make("th", { scope: "row", textContent: name }),
      ...cells.map((one, index) => cell(one, index === 2 ? verdict : "")))));
    progress.textContent = report.progress;
    say(remark, report.remark);
    root.dataset.state = report.state;
    root.dataset.shown = [settings.kind, settings.amount, settings.by, settings.repaired, settings.area].join(" ");
  }

  on("report", draw);
  onResize(root, draw);
  return end;
}

export default { render };
