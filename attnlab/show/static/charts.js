// Charts with axes: training curve, training monitor, tuner's desk, softmax desk.

import { drawn, make, written } from "./elements.js";

export const EDGE = { left: 52, right: 8, top: 9 }; // around a chart, in pixels
const XROOM = 19; // below it: numbers of the horizontal axis

// A title, a note beside it, and below both the chart.
export function panel(name, ...words) {
  const title = make("b", {}, ...written(words));
  const note = make("span", { className: "note" });
  const svg = drawn("svg", { class: name, role: "img" });
  return { box: make("div", {}, make("div", { className: "panel-head" }, title, note), svg), title, note, svg };
}

// Limits { from, to } of both axes as what turns values into pixels.
export function scales(svg, across, up, { room = XROOM, edge = EDGE } = {}) {
  const [right, bottom] = [svg.clientWidth - edge.right, svg.clientHeight - room];
  const x = (value) => edge.left + ((value - across.from) / (across.to - across.from)) * (right - edge.left);
  const y = (value) => bottom - ((value - up.from) / (up.to - up.from)) * (bottom - edge.top);
  return { x, y, right, bottom };
}

// Lines and numbers of the axes, without a name only of the upward one; returns the scales, and a group cut at the
// edges. The axis is drawn at `up.zero`, or at the lower end.
export function plane(svg, across, up, { name = "", room = XROOM, edge = EDGE } = {}) {
  const axes = scales(svg, across, up, { room, edge });
  const { x, y, right, bottom } = axes;
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  const parts = up.ticks.flatMap(([tick, words]) => [
    drawn("line", { class: tick === (up.zero ?? up.from) ? "axis" : "grid", x1: edge.left, x2: right, y1: y(tick), y2: y(tick) }),
    drawn("text", { x: edge.left - 6, y: y(tick) + 4, "text-anchor": "end" }, words)]);
  if (name) {
    parts.push(...across.ticks.map(([tick, words]) => { // a long number at the end must not stick out
      const tight = x(tick) + 4 * words.length > width;
      return drawn("text", { x: tight ? width : x(tick), y: height - 4, "text-anchor": tight ? "end" : "middle" }, words);
    }), drawn("text", { x: edge.left - 12, y: height - 4, "text-anchor": "end" }, name));
  }
  const corner = edge.left - 2; // a thick line along an edge is whole
  const inside = drawn("svg", { class: "inside", x: corner, y: 0, width: right - corner + 2, height: bottom + 2 });
  const shifted = drawn("g", { transform: `translate(${-corner},0)` });
  inside.append(shifted);
  svg.replaceChildren(...parts, inside);
  return { ...axes, inside: shifted };
}

// A line, with a gap where there is no number; a lone number is a dot.
export function line(className, xs, ys, { x, y }) {
  let pen = "M";
  const d = ys.map((value, index) => {
    if (value === null) { pen = "M"; return ""; }
    const piece = `${pen}${x(xs[index]).toFixed(1)},${y(value).toFixed(1)}`;
    pen = "L";
    return piece;
  });
  return drawn("path", { class: className, d: `${d.join("")}${xs.length === 1 && d[0] ? "h0" : ""}` });
}

export function empty(svg, { right, bottom }, words) {
  svg.append(drawn("text", { class: "empty", x: (EDGE.left + right) / 2, y: (EDGE.top + bottom) / 2, "text-anchor": "middle" }, words));
}

// What a run is drawn with, as the figures have it: circle, square, triangles, diamond, plus.
export const MARKS = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (r) => `M0,${-r}l${r},${1.9 * r}h${-2 * r}z`,
  (r) => `M0,${r}l${r},${-1.9 * r}h${-2 * r}z`,
  (r) => `M0,${-1.2 * r}l${r},${1.2 * r}l${-r},${1.2 * r}l${-r},${-1.2 * r}z`,
  (r) => `M${-r},${-r / 2.5}h${0.6 * r}v${-0.6 * r}h${0.8 * r}v${0.6 * r}h${0.6 * r}v${0.8 * r}h${-0.6 * r}v${0.6 * r}h${-0.8 * r}v${-0.6 * r}h${-0.6 * r}z`,
];
