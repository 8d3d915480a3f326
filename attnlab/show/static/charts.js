// Charts of lines over steps or rounds: what the training curve, the training monitor and the tuner's desk share.

const EDGE = { left: 52, right: 8, top: 9 }; // around a chart, in pixels
const XROOM = 19; // below it: numbers of the horizontal axis

// A title, a note beside it, and below both the chart.
function panel(name, title) {
  const note = make("span", { className: "note" });
  const svg = drawn("svg", { class: name, role: "img" });
  return { box: make("div", {}, make("div", { className: "panel-head" }, make("b", { textContent: title }), note), svg), note, svg };
}

// Limits { from, to } of both axes as what turns values into pixels.
function scales(svg, across, up, room = XROOM) {
  const [right, bottom] = [svg.clientWidth - EDGE.right, svg.clientHeight - room];
  const x = (value) => EDGE.left + ((value - across.from) / (across.to - across.from)) * (right - EDGE.left);
  const y = (value) => bottom - ((value - up.from) / (up.to - up.from)) * (bottom - EDGE.top);
  return { x, y, right, bottom };
}

// Lines and numbers of the axes, without a name only of the upward one; returns the scales, and a group cut at the edges.
function plane(svg, across, up, name = "", room = XROOM) {
  const at = scales(svg, across, up, room);
  const { x, y, right, bottom } = at;
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  const parts = up.ticks.flatMap(([tick, words]) => [
    drawn("line", { class: tick === up.from ? "axis" : "grid", x1: EDGE.left, x2: right, y1: y(tick), y2: y(tick) }),
    drawn("text", { x: EDGE.left - 6, y: y(tick) + 4, "text-anchor": "end" }, words)]);
  if (name) {
    parts.push(...across.ticks.map(([tick, words]) => { // a long number at the end must not stick out
      const tight = x(tick) + 4 * words.length > width;
      return drawn("text", { x: tight ? width : x(tick), y: height - 4, "text-anchor": tight ? "end" : "middle" }, words);
    }), drawn("text", { x: EDGE.left - 12, y: height - 4, "text-anchor": "end" }, name));
  }
  const corner = EDGE.left - 2; // a thick line along an edge is whole
  const inside = drawn("svg", { class: "inside", x: corner, y: 0, width: right - corner + 2, height: bottom + 2 });
  const shifted = drawn("g", { transform: `translate(${-corner},0)` });
  inside.append(shifted);
  svg.replaceChildren(...parts, inside);
  return { ...at, inside: shifted };
}

// A line, with a gap where there is no number; a lone number is a dot.
function line(className, xs, ys, { x, y }) {
  let pen = "M";
  const d = ys.map((value, at) => {
    if (value === null) { pen = "M"; return ""; }
    const piece = `${pen}${x(xs[at]).toFixed(1)},${y(value).toFixed(1)}`;
    pen = "L";
    return piece;
  });
  return drawn("path", { class: className, d: `${d.join("")}${xs.length === 1 && d[0] ? "h0" : ""}` });
}

function empty(svg, { right, bottom }, words) {
  svg.append(drawn("text", { class: "empty", x: (EDGE.left + right) / 2, y: (EDGE.top + bottom) / 2, "text-anchor": "middle" }, words));
}
