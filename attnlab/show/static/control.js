// The view of the control room. A report comes from Python twice a second; this draws it and sends what is moved.

import { begin, button, controlled, drawn, make, say, slider, turnOff } from "./elements.js";
import { empty, line, panel, plane } from "./charts.js";

const EDGE = { left: 78, right: 8, top: 9 }; // names of points stand before their lanes
const LANE = 18;
const MOST_LOAD = 300; // requests per second
const MOST_TARGET = 60000; // milliseconds

function drawLatency(svg, { seconds, lines, axes }) {
  const at = plane(svg, axes.second, axes.p95, { room: 4, edge: EDGE });
  at.inside.append(line("value", seconds, lines.p95_ms, at), line("promise", seconds, lines.target_ms, at));
  return at;
}

function drawPoints(svg, { axes, spans, lanes }) {
  svg.style.height = `${lanes.length * LANE + 26}px`;
  const up = { from: 0, to: lanes.length * LANE, ticks: [] };
  const at = plane(svg, axes.second, up, { name: " ", edge: { ...EDGE, top: 4 } });
  lanes.forEach((name, lane) => {
    const middle = 4 + (lane + 0.5) * LANE;
    svg.append(drawn("text", { x: EDGE.left - 6, y: middle + 4, "text-anchor": "end" }, name));
    at.inside.append(drawn("line", { class: "grid", x1: EDGE.left, x2: at.right, y1: middle, y2: middle }));
  });
  for (const { start, end, point, lane } of spans) {
    const rect = drawn("rect", { class: "span", x: at.x(start), y: 4 + lane * LANE + 3, height: LANE - 6, rx: 2,
      width: Math.max(3, at.x(end) - at.x(start)) });
    rect.append(drawn("title", {}, point));
    at.inside.append(rect);
  }
}

function drawKept(svg, { seconds, lines, axes }) {
  const at = plane(svg, axes.second, axes.kept, { room: 4, edge: EDGE });
  at.inside.append(line("value", seconds, lines.kept, at));
}

function drawAccuracy(svg, { seconds, lines, axes }) {
  const at = plane(svg, axes.second, axes.accuracy, { room: 4, edge: EDGE });
  const pieces = [];
  let piece = [];
  seconds.forEach((second, index) => {
    if (lines.low[index] !== null) piece.push(index);
    else if (piece.length) { pieces.push(piece); piece = []; }
  });
  if (piece.length) pieces.push(piece);
  const edge = (limits, indices) => indices.map((index) => `${at.x(seconds[index]).toFixed(1)},${at.y(limits[index]).toFixed(1)}`).join("L");
  at.inside.append(...pieces.map((indices) => drawn("path", { class: "interval",
    d: `M${edge(lines.high, indices)}L${edge(lines.low, [...indices].reverse())}Z` })),
  line("value", seconds, lines.accuracy, at));
  if (!pieces.length) empty(svg, at, seconds.length ? "no labels yet" : "");
}

function drawRequests(svg, { seconds, lines, axes }) {
  const at = plane(svg, axes.second, axes.requests, { name: " ", edge: EDGE });
  at.inside.append(line("sent", seconds, lines.sent, at), line("value", seconds, lines.answered, at), line("refused", seconds, lines.refused, at));
}

const key = (className, words) => make("span", { className: "control-key" },
  drawn("svg", { class: "swatch", "aria-hidden": "true" }, drawn("path", { class: className, d: "M1,6H21" })), words);

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-control", "Control room");
  const { set, reset, code } = controlled(model);

  const load = slider({ name: "load", label: ["Load"], min: 0, max: MOST_LOAD, step: 1 }, (value) => set({ load: value }));
  const loadInput = load.box.querySelector("input");
  const rush = button("rush", "Rush hour", () => model.send({ action: "rush" }));
  const stop = button("stop", "Stop the load", () => set({ load: 0 }));
  const target = make("input", { type: "number", name: "target", min: 1, max: MOST_TARGET, step: 10 });
  const wrong = make("span", { className: "control-wrong", role: "alert" });
  let typing;
  target.addEventListener("input", () => { // heard when whoever types makes a pause
    clearTimeout(typing);
    typing = setTimeout(() => {
      const value = Number(target.value);
      const possible = value >= 1 && value <= MOST_TARGET;
      target.setAttribute("aria-invalid", String(!possible));
      wrong.textContent = possible ? "" : "1 to 60,000";
      if (possible) set({ target: value });
    }, 500);
  });
  const promise = make("label", { className: "control-target" }, "Promise: 95 % within ", target, " ms", wrong);
  const pause = button("pause", "Pause the curves", () => set({ paused: !model.get("settings").paused }));
  const bar = make("div", { className: "control-bar" }, load.box, rush, stop, promise, pause);

  const latency = panel("p95", "Latency, 95th percentile, ms");
  latency.note.append(key("promise", "promised"));
  const points = panel("points", "Operating point");
  points.note.textContent = "dearest on top";
  const kept = panel("kept", "Attention kept");
  const accuracy = panel("accuracy", "Accuracy");
  accuracy.note.textContent = "area: 95 % interval";
  const requests = panel("requests", "Requests per second");
  requests.note.append(key("sent", "sent"), key("value", "answered"), key("refused", "refused"));
  const charts = [[latency, "p95", drawLatency], [points, "points", drawPoints], [kept, "kept", drawKept],
    [accuracy, "accuracy", drawAccuracy], [requests, "requests", drawRequests]];

  const numbers = make("dl", { className: "control-numbers" });
  const log = make("ol", { className: "control-log", "aria-label": "Last steps of the controller, the newest first" });
  const remark = make("p", { className: "remark", role: "status" });
  root.append(bar, numbers, make("div", { className: "control-columns" },
    make("div", {}, latency.box, points.box), make("div", {}, kept.box, accuracy.box, requests.box)),
  make("div", { className: "control-foot" }, make("div", {}, remark, make("div", { className: "keep" }, reset, code)),
    make("div", {}, make("b", { textContent: "What the controller did" }), log)), complaint);

  let logged = "";
  function draw() {
    const report = model.get("report");
    const { settings, can } = report;
    if (!latency.svg.clientWidth) return; // not on the page yet
    for (const [{ svg }, name, how] of charts) {
      how(svg, report);
      svg.setAttribute("aria-label", report.alt[name]);
    }
    load.show(settings.load, report.load);
    turnOff(loadInput, can.load);
    for (const [control, name] of [[rush, "rush"], [stop, "stop"], [target, "target"], [pause, "pause"]]) turnOff(control, can[name]);
    pause.setAttribute("aria-pressed", String(settings.paused));
    numbers.replaceChildren(...report.numbers.map(([what, much]) =>
      make("div", {}, make("dt", { textContent: what }), make("dd", { textContent: much }))));
    const said = JSON.stringify(report.log);
    if (said !== logged) {
      logged = said;
      log.replaceChildren(...(report.log.length ? report.log : ["nothing yet"]).map((textContent) => make("li", { textContent, title: textContent })));
    }
    say(remark, report.remark);
    root.dataset.state = report.state;
    root.dataset.point = report.point;
    root.dataset.stamp = report.stamp;
    root.dataset.shown = [settings.load, settings.target, settings.paused].join(" ");
  }

  on("report", draw);
  on("settings", () => {
    const value = model.get("settings").target;
    if (target.getRootNode().activeElement !== target) target.value = value ?? "";
  });
  onResize(root, draw);
  return end;
}

export default { render };
