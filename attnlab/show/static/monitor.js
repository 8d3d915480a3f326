// The view of the training monitor. A report comes from Python, also while a cell is running; this draws it.

import { begin, button, cells, controlled, drawn, headings, make, menu, refill, say, turnOff } from "./elements.js";
import { EDGE, empty, line, panel, plane, scales } from "./charts.js";
import { headGrid } from "./grids.js";

const LANE = 14;

function area({ low, high }, steps, { x, y }) { // where the head was expected; a piece for each stretch that was judged
  const pieces = [];
  let piece = [];
  steps.forEach((step, index) => {
    if (low[index] !== null && high[index] !== null) piece.push(index);
    else if (piece.length) { pieces.push(piece); piece = []; }
  });
  if (piece.length) pieces.push(piece);
  const edge = (limits, indices) => indices.map((index) => `${x(steps[index]).toFixed(1)},${y(limits[index]).toFixed(1)}`).join("L");
  return pieces.map((indices) => drawn("path", { class: "band",
    d: `M${edge(high, indices)}L${edge(low, [...indices].reverse())}Z` }));
}

const kindClass = (kind) => `kind-${kind.replace(" ", "-")}`;

function drawLines(svg, report) {
  const { step, axes } = report;
  const at = plane(svg, axes.step, axes.value, { room: 4 });
  const parts = [];
  for (const span of report.spans.filter(({ looked }) => looked)) {
    parts.push(drawn("rect", { class: `span ${kindClass(span.kind)}`, x: at.x(span.start), y: EDGE.top, width: Math.max(2, at.x(Math.min(span.end, axes.step.to)) - at.x(span.start)), height: at.bottom - EDGE.top }));
  }
  if (report.band) parts.push(...area(report.band, step, at));
  parts.push(...report.faint.map((values) => line("faint", step, values, at)));
  [...report.strong].reverse().forEach((head, index) => parts.push(line(`strong run-${report.strong.length - 1 - index}`, step, head.line, at)));
  at.inside.append(...parts);
  if (!step.length) empty(svg, at, "waiting for the first measurement");
}

function drawSpans(svg, report) {
  const { axes, spans, lanes } = report;
  const at = scales(svg, axes.step, { from: 0, to: 1 }, { room: 0 });
  const parts = lanes.map(([lane, name]) => drawn("text", { x: EDGE.left - 6, y: lane * LANE + 13, "text-anchor": "end" }, name));
  for (const span of spans) {
    const rect = drawn("rect", { class: `span solid ${kindClass(span.kind)}`, x: at.x(span.start), y: span.lane * LANE + 4, height: LANE - 4,
      width: Math.max(3, at.x(Math.min(span.end, axes.step.to)) - at.x(span.start)), rx: 2 });
    rect.append(drawn("title", {}, span.words));
    parts.push(rect);
  }
  parts.push(drawn("line", { class: "axis", x1: EDGE.left, x2: at.right, y1: svg.clientHeight - 1, y2: svg.clientHeight - 1 }));
  svg.replaceChildren(...parts);
  if (!spans.length) empty(svg, at, "nothing out of line");
}

function drawOverall(svg, { step, axes, overall }) {
  const at = plane(svg, axes.step, axes.overall, { name: "step" });
  at.inside.append(line("part tokens", step, overall.tokens, at), line("part heads", step, overall.heads, at), line("whole", step, overall.balance, at));
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-monitor", "Training monitor");
  const { set, reset, keep } = controlled(model);
  keep.prepend(reset);

  const measure = menu("Measure", (value) => set({ measure: value }));
  const layers = menu("Which layers", (value) => set({ layers: value === "all" ? value : Number(value) }));
  const menus = make("div", { className: "monitor-menus" }, measure.box, layers.box);
  const lines = panel("lines", "Heads");
  const spans = panel("spans", "Out of line");
  const overall = panel("overall", "Overall balance");
  overall.note.textContent = "dashed: over tokens · dotted: over heads";
  const kinds = ["collapse", "spread", "jump", "dead gradient", "no effect"].map((kind) => make("span", { className: "kind" }, make("i", { className: kindClass(kind) }), kind));
  spans.note.append(...kinds);

  const looked = make("b");
  const gridPlace = make("div", { className: "monitor-grid" });
  let heads = null;
  const pin = button("pin", "Pin", () => {
    const { pinned, layer, head } = model.get("settings");
    set({ pinned: [...pinned, [layer, head]] });
  });
  const unpin = button("unpin", "Unpin all", () => set({ pinned: [] }));
  const pins = make("div", { className: "monitor-pins" }, looked, pin, unpin);
  const key = make("div", { className: "monitor-strong" });

  const rows = make("tbody");
  const head = make("tr", {}, ...headings(["what", "head", "measure", "steps"]));
  const scroll = make("div", { className: "monitor-table scrolls", tabIndex: 0, role: "region", "aria-label": "What was out of line" },
    make("table", { "aria-label": "Anomalies" }, make("thead", {}, head), rows));
  const remark = make("p", { className: "remark", role: "status" });

  const left = make("div", {}, lines.box, spans.box, overall.box);
  const right = make("div", { className: "monitor-right" }, pins, gridPlace, key, scroll, remark, keep);
  root.append(menus, make("div", { className: "monitor-columns" }, left, right), complaint);

  function row({ cells: texts, place, measure: name, words }, now) {
    const [kind, ...others] = texts;
    const show = make("button", { type: "button", textContent: kind, title: `Show ${words}`,
      onclick: () => set({ measure: name, layer: place[0], head: place[1], layers: "all" }) });
    const line = make("tr", {}, make("th", { scope: "row" }, make("i", { className: kindClass(kind) }), show),
      ...cells(others));
    line.classList.toggle("now", place[0] === now.layer && place[1] === now.head && name === now.measure);
    return line;
  }

  let listed = "";
  function draw() {
    const report = model.get("report");
    const { settings, alt } = report;
    if (!lines.svg.clientWidth) return; // not on the page yet
    for (const [{ svg }, name, how] of [[lines, "lines", drawLines], [spans, "spans", drawSpans], [overall, "overall", drawOverall]]) {
      how(svg, report);
      svg.setAttribute("aria-label", alt[name]);
    }
    measure.draw(report.menus.measure, settings.measure);
    layers.draw(report.menus.layers, String(settings.layers));
    lines.note.textContent = report.band ? `${report.label} · blue area: expected of ${report.strong[0].name}` : report.label;
    looked.textContent = `Layer ${settings.layer}, head ${settings.head}`;
    if (report.map && !heads) {
      const [l, h] = [report.map.values.length, report.map.values[0].length];
      heads = headGrid({ layers: l, heads: h, dense: true, label: "Heads: the last value of each", choose: (layer, one) => set({ layer, head: one }) });
      gridPlace.replaceChildren(heads.box);
    }
    if (heads && report.map) heads.draw(report.map, model.get("palette").plain, [settings.layer, settings.head]);
    turnOff(pin, settings.pinned.length >= 5 ? "Five heads are pinned. Unpin them first."
      : settings.pinned.some(([l, h]) => l === settings.layer && h === settings.head) && "This head is pinned.");
    turnOff(unpin, !settings.pinned.length && "No head is pinned.");
    key.replaceChildren(...report.strong.map(({ name }, index) => make("span", {},
      drawn("svg", { class: "swatch", "aria-hidden": "true" }, drawn("path", { class: `strong run-${index}`, d: "M1,6H25" })), name)));
    const said = JSON.stringify([report.rows, settings.layer, settings.head, settings.measure]);
    if (said !== listed) refill(rows, report.rows.map((found) => row(found, settings)));
    listed = said;
    say(remark, report.remark);
    root.dataset.stamp = report.stamp;
    root.dataset.state = report.state;
    root.dataset.shown = [settings.measure, settings.layers, settings.layer, settings.head].join(" ");
  }

  onResize(root, draw);
  on("report", draw);
  return end;
}

export default { render };
