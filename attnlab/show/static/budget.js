// The view of the budget explorer: limits, accuracy against a cost, what stays of the model, and where its cost is.

import { begin, button, controlled, drawn, make, menu, slider, turnOff } from "./elements.js";
import { EDGE, MARKS, empty, panel, plane } from "./charts.js";

const SHAPES = { search: MARKS[0], chance: MARKS[5], whole: MARKS[4] };
const SIZES = { search: 4, chance: 4.5, whole: 6 };
const LEGEND = [["search", "chosen by the search"], ["chance", "drawn at random"], ["whole", "whole classifier"]];
const ROOM = { left: 34, top: 16, right: 46 }; // around the map, in pixels

function drawFrontier(svg, { points, path, limit, across, up, unit }) {
  const axes = plane(svg, across, up, { name: unit || " " });
  const { x, y, right, bottom } = axes;
  if (!points.length) empty(svg, axes, "nothing is measured yet");
  const parts = [];
  if (limit !== null && limit < across.to) {
    const at = Math.max(x(limit), x(across.from));
    parts.push(drawn("rect", { class: "beyond", x: at, y: 9, width: Math.max(0, right - at), height: bottom - 9 }),
      drawn("line", { class: "limit", x1: at, x2: at, y1: 2, y2: bottom }));
    const left = at > right - 40;
    parts.push(drawn("text", { class: "limit-name", x: at + (left ? -4 : 4), y: 6, "text-anchor": left ? "end" : "start" }, "limit"));
  }
  if (path.length) parts.push(drawn("path", { class: "frontier", d: path.map(([a, b], index) => (index ? `H${x(a)}V${y(b)}` : `M${x(a)},${y(b)}`)).join("") + `H${right}` }));
  const order = [...points].sort((a, b) => Number(a.frontier) - Number(b.frontier) || Number(a.chosen) - Number(b.chosen));
  for (const point of order) {
    const [cx, cy] = [x(point.x), y(point.y)];
    const bars = point.frontier || point.chosen || point.kind === "whole";
    const group = drawn("g", { class: `point ${point.kind} ${point.inside ? "" : "out"} ${point.frontier ? "best" : ""} ${point.chosen ? "chosen" : ""}` }, drawn("title", {}, point.words));
    if (bars) group.append(drawn("path", { class: "bar", d: `M${cx},${y(point.low)}V${y(point.high)}` }));
    if (point.chosen) group.append(drawn("circle", { class: "here", cx, cy, r: 10 }));
    group.append(drawn("path", { class: "mark", d: SHAPES[point.kind](SIZES[point.kind]), transform: `translate(${cx},${cy})` }));
    parts.push(group);
  }
  svg.append(...parts);
}

// A row for each layer: a square for each head, and a bar of neurons; what is gone is pale.
function drawMap(svg, { layers, heads }) {
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  if (!layers.length) {
    svg.replaceChildren(drawn("text", { class: "empty", x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing is chosen yet"));
    return;
  }
  const row = Math.min(40, (height - ROOM.top) / layers.length);
  const inside = width - ROOM.left - ROOM.right;
  const pitch = Math.min(row, (0.6 * inside) / Math.max(1, heads));
  const side = Math.max(2, pitch - 2);
  const start = ROOM.left + pitch * heads + 10;
  const most = Math.max(...layers.map((layer) => layer.most));
  const long = width - ROOM.right - start;
  const parts = [
    drawn("text", { x: ROOM.left - 6, y: 10, "text-anchor": "end" }, "layer"),
    drawn("text", { x: ROOM.left, y: 10 }, "heads"), drawn("text", { x: start, y: 10 }, long > 80 ? "neurons (pale: gone)" : "neurons")];
  layers.forEach((layer, index) => {
    const y = ROOM.top + index * row;
    const tall = Math.min(side, row - 3);
    const top = y + (row - tall) / 2;
    const words = drawn("g", { class: `layer ${layer.stays ? "" : "absent"}` }, drawn("title", {}, layer.words));
    if (row >= 10 || index % 2 === 0) words.append(drawn("text", { x: ROOM.left - 6, y: y + row / 2 + 4, "text-anchor": "end" }, layer.name));
    layer.heads.forEach((stays, head) => {
      if (stays === null) return;
      words.append(drawn("rect", { class: `head ${stays ? "stays" : "goes"}`, x: ROOM.left + head * pitch, y: top, width: side, height: tall }));
    });
    const bar = (className, count) => drawn("rect", { class: className, x: start, y: top, width: Math.max(0, (long * count) / most), height: tall });
    words.append(bar("neurons goes", layer.most), bar("neurons stays", layer.neurons));
    if (row >= 10) words.append(drawn("text", { class: "kept", x: width, y: y + row / 2 + 4, "text-anchor": "end" }, layer.told));
    parts.push(words);
  });
  svg.replaceChildren(...parts);
}

function drawSplit(svg, { bars, parts }) {
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  const tall = height / 2;
  const shapes = [];
  bars.forEach(([who, told], index) => {
    const y = index * tall;
    shapes.push(drawn("text", { x: 0, y: y + 12, class: "who" }, `${who}: ${told}`));
    let x = 0;
    for (const { name, shares } of parts) {
      const wide = shares[index] * width;
      if (wide > 0) {
        shapes.push(drawn("g", { class: `part ${name.replace(" ", "-")} ${index ? "chosen" : ""}` }, drawn("title", {}, `${who}, ${name}: ${Math.round(100 * shares[index])} % of the whole`),
          drawn("rect", { x, y: y + 17, width: wide, height: tall - 23 })));
      }
      x += wide;
    }
  });
  svg.replaceChildren(...shapes);
}

function drawCheck(svg, { points, axis }) {
  const { x, y, right, bottom } = plane(svg, axis, axis, { name: "ms" });
  svg.append(drawn("text", { x: EDGE.left + 4, y: EDGE.top + 2 }, "measured"), drawn("text", { x: right, y: bottom - 5, "text-anchor": "end" }, "predicted"),
    drawn("line", { class: "equal", x1: x(0), y1: y(0), x2: x(axis.to), y2: y(axis.to) }),
    ...points.map(([told, took, words]) => drawn("circle", { class: "checked", cx: x(told), cy: y(took), r: 3.5 }, drawn("title", {}, words))));
}

// A limit: whether there is one, and where it stands.
function limit({ name, label }, model, set) {
  const stops = () => model.get("report").sliders.find((one) => one.name === name).stops;
  const where = slider({ name, label: [label], min: 0, max: 1, step: 1 }, (place) => set({ [name]: stops()[place] }));
  const range = where.box.querySelector("input");
  const box = make("input", { type: "checkbox", name: `limit-${name}`, "aria-label": `Limit ${label}`,
    onchange: () => set({ [name]: box.checked ? stops()[Number(range.value)] : null }) });
  function draw({ on, stops: all, position, told, why }) {
    box.checked = on;
    turnOff(box, why);
    range.max = all.length - 1;
    if (on || range.disabled === false || !range.dataset.placed) where.show(position, told);
    else where.show(Number(range.value), told); // it stays where it was when it was turned off
    range.dataset.placed = "yes";
    turnOff(range, why || (!on && "There is no limit. Tick the box to set one."));
    where.box.classList.toggle("off", !on);
  }
  return { box: make("div", { className: "budget-limit" }, box, where.box), draw };
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-budget", "Budget explorer");
  const { set, undo, reset, code } = controlled(model);

  const limits = model.get("report").sliders.map((one) => limit(one, model, set));
  const stop = button("stop", "Stop the search", () => model.send({ action: "stop" }));
  const progress = make("span", { className: "note budget-progress", "data-progress": "" });
  const bar = make("div", { className: "budget-bar" }, ...limits.map(({ box }) => box));
  const asks = make("div", { className: "budget-asks" }, stop, progress, make("div", { className: "keep" }, reset, undo, code));

  const chart = panel("frontier", "Accuracy on dev");
  const cost = menu("Cost that accuracy is drawn against", (value) => set({ cost: value }));
  chart.note.replaceWith(make("span", { className: "budget-against" }, make("span", { className: "note", textContent: "against" }), cost.box));
  chart.box.append(make("div", { className: "note budget-legend" }, ...LEGEND.map(([kind, words]) => make("span", { className: kind },
    drawn("svg", { width: 12, height: 12, viewBox: "-6 -6 12 12", "aria-hidden": "true" }, drawn("path", { d: SHAPES[kind](kind === "whole" ? 4.6 : 4) })), words)),
  make("span", { className: "ring" }, make("i"), "best inside the limits"), make("span", { className: "edge" }, drawn("svg", { width: 20, height: 12, viewBox: "-10 -6 20 12", "aria-hidden": "true" },
    drawn("line", { x1: -10, x2: 10, y1: 0, y2: 0 }), drawn("path", { d: MARKS[0](4) })), "frontier, 95 % bars")));
  const map = panel("map", "");
  map.box.className = "budget-map";
  const split = panel("split", "");
  const parts = make("div", { className: "note budget-parts" });
  split.box.append(parts);
  const check = panel("check", "Predicted and measured");
  check.note.remove();
  check.box.append(check.note);
  check.box.className = "budget-check";
  const remark = make("p", { className: "remark", role: "status" });
  root.append(bar, asks, make("div", { className: "budget-panels" }, chart.box, map.box,
    make("div", { className: "budget-low" }, split.box, check.box), remark), complaint);

  function draw() {
    const report = model.get("report");
    const { settings } = report;
    if (!chart.svg.clientWidth) return; // not on the page yet
    report.sliders.forEach((one, index) => limits[index].draw(one));
    cost.draw(report.costs, settings.cost);
    stop.hidden = report.state === "finished" || report.state === "stopped";
    turnOff(stop, !report.can_stop && "It ends with the sub-network under way.");
    progress.textContent = report.progress;
    drawFrontier(chart.svg, report.chart);
    chart.svg.setAttribute("aria-label", report.chart.alt);
    map.title.textContent = report.map.name;
    map.note.textContent = report.map.title;
    root.style.setProperty("--layers", report.layers);
    drawMap(map.svg, report.map);
    map.svg.setAttribute("aria-label", report.map.alt);
    split.title.textContent = report.split.title;
    split.note.textContent = report.split.note;
    drawSplit(split.svg, report.split);
    split.svg.setAttribute("aria-label", report.split.alt);
    parts.replaceChildren(...report.split.parts.map(({ name, told }) => make("span", { className: name.replace(" ", "-") }, make("i"), `${name} ${told}`)));
    check.box.hidden = !report.check;
    root.dataset.checked = String(Boolean(report.check));
    if (report.check) {
      drawCheck(check.svg, report.check);
      check.svg.setAttribute("aria-label", report.check.alt);
      check.note.textContent = report.check.note;
    }
    for (const part of [map.box, split.box]) part.classList.toggle("stale", !report.fits);
    if (remark.textContent !== report.said.join("")) remark.replaceChildren(...report.said.map((textContent) => make("span", { textContent })));
    remark.classList.toggle("none-fits", !report.fits);
    root.dataset.state = report.state;
    root.dataset.fits = report.fits;
    root.dataset.shown = ["parameters", "flops", "megabytes", "latency_ms", "cost"].map((name) => settings[name] ?? "off").join(" ");
    root.dataset.count = report.count;
  }

  on("report", draw);
  onResize(root, draw);
  return end;
}

export default { render };
