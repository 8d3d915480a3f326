// The view of the query desk: a query among keys, what each key gets, and the mixture among the values.

import { begin, button, controlled, drawn, make, say } from "./elements.js";
import { onKey } from "./keys.js";
import { clamp } from "./pictures.js";
import { spoken, tr } from "./words.js";

const EDGE = 20; // pixels around a plane, for the numbers of its axes
const NEAR = 30; // pixels from a tip at which it is taken hold of
const FINE = 10; // a drag moves by tenths

const number = (value, digits = 2) => String(Number(value.toFixed(digits)) || 0).replace("-", "−");
const point = (pair) => `(${pair.map((value) => number(value)).join(", ")})`;

// A square plane: what turns numbers into pixels, and back, and its grid.
function ground(size, [low, high]) {
  const scale = (size - 2 * EDGE) / (high - low);
  const x = (value) => EDGE + (value - low) * scale;
  const y = (value) => size - EDGE - (value - low) * scale;
  const lines = [];
  for (let tick = low; tick <= high; tick += 1) {
    const look = { class: tick === 0 ? "axis" : "grid" };
    lines.push(drawn("line", { ...look, x1: x(tick), x2: x(tick), y1: y(low), y2: y(high) }),
      drawn("line", { ...look, x1: x(low), x2: x(high), y1: y(tick), y2: y(tick) }),
      drawn("text", { x: x(tick), y: y(low) + 14, "text-anchor": "middle" }, number(tick)));
    if (tick > low) lines.push(drawn("text", { x: x(low) - 5, y: y(tick) + 4, "text-anchor": "end" }, number(tick)));
  }
  // the part of a line through the origin that is inside
  const through = ([a, b]) => {
    const [least, most] = [a, b].filter((part) => part).map((part) => [low / part, high / part].sort((one, other) => one - other))
      .reduce(([from, to], [other, end]) => [Math.max(from, other), Math.min(to, end)]);
    return { x1: x(a * least), y1: y(b * least), x2: x(a * most), y2: y(b * most) };
  };
  const back = (px, py) => [(px - EDGE) / scale + low, (size - EDGE - py) / scale + low];
  return { x, y, through, back, lines };
}

// An arrow from the origin, with a head as long as it has room for.
function arrow({ x, y }, [a, b], className) {
  const [from, to] = [[x(0), y(0)], [x(a), y(b)]];
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  if (length < 1) return [];
  const [dx, dy] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
  const head = Math.min(12, length / 2);
  const neck = [to[0] - head * dx, to[1] - head * dy];
  const wing = (side) => `${neck[0] - side * 0.42 * head * dy},${neck[1] + side * 0.42 * head * dx}`;
  return [drawn("line", { class: `shaft ${className}`, x1: from[0], y1: from[1], x2: neck[0], y2: neck[1] }),
    drawn("polygon", { class: `head ${className}`, points: `${to.join(",")} ${wing(1)} ${wing(-1)}` })];
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-query", tr("Query desk: a query among keys, and the mixture of their values"));
  const desk = controlled(model);
  const settings = () => model.get("settings");

  // Where a tip stands, and how it is moved; `index` is -1 for the query.
  const pairOf = ({ role, index }) => (index < 0 ? settings().query : settings()[`${role}s`][index]);
  function move(tip, pair, ends) {
    const next = pair.map((value) => clamp(ends[0], Math.round(value * FINE) / FINE, ends[1]));
    if (String(next) === String(pairOf(tip))) return;
    const { role, index } = tip;
    if (index < 0) desk.set({ query: next });
    else desk.set({ [`${role}s`]: settings()[`${role}s`].map((old, place) => (place === index ? next : old)) });
  }

  // A plane whose tips can be dragged, or moved by the arrow keys. `draw` gives what is in it, below its tips.
  function board(name, heading, note, tips, draw) {
    const svg = drawn("svg", { class: name, role: "group" });
    const scenery = drawn("g", { "aria-hidden": "true" });
    const handles = tips.map(({ role, index, label }) => drawn("g", { class: `tip ${role}`, tabindex: 0, role: "slider", "data-tip": `${role} ${index}`, "aria-label": label }, drawn("circle", { class: "halo", r: 11 }), drawn("circle", { class: "dot", r: role === "query" ? 7 : 5 })));
    svg.append(scenery, ...handles);
    let plane, held;
    const ends = () => model.get("report").limits[name];
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    svg.addEventListener("pointerdown", (event) => {
      const [px, py] = at(event);
      const far = tips.map((tip) => Math.hypot(plane.x(pairOf(tip)[0]) - px, plane.y(pairOf(tip)[1]) - py));
      const nearest = far.indexOf(Math.min(...far));
      if (far[nearest] > NEAR) return;
      held = tips[nearest];
      handles[nearest].focus({ preventScroll: true });
      svg.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    svg.addEventListener("pointermove", (event) => { if (held) move(held, plane.back(...at(event)), ends()); });
    for (const type of ["pointerup", "pointercancel"]) svg.addEventListener(type, () => { held = undefined; });
    tips.forEach((tip, place) => onKey(handles[place], (event) => {
      const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
      if (!dx && !dy) return;
      event.preventDefault();
      const step = event.shiftKey ? 1 / FINE : 0.5;
      const [a, b] = pairOf(tip);
      move(tip, [a + step * dx, b + step * dy], ends());
    }));
    const redraw = () => {
      const size = svg.clientWidth;
      if (!size) return; // not on the page yet
      const report = model.get("report");
      svg.setAttribute("height", size);
      svg.setAttribute("aria-label", report.alt[name]);
      plane = ground(size, report.limits[name]);
      scenery.replaceChildren(...plane.lines, ...draw(plane, report, size));
      tips.forEach((tip, place) => {
        const pair = pairOf(tip);
        handles[place].setAttribute("transform", `translate(${plane.x(pair[0])} ${plane.y(pair[1])})`);
        handles[place].setAttribute("aria-valuenow", pair[0]);
        handles[place].setAttribute("aria-valuetext", point(pair));
      });
    };
    const box = make("div", { className: `board ${name}-board` }, make("div", { className: "board-head" }, make("b", { textContent: heading }), make("span", { className: "note", textContent: note })), svg);
    return { box, svg, redraw };
  }

  // A name beside a point, on the side that leads away from another one, inside the plane.
  function named(plane, size, pair, from, text, className) {
    const [px, py] = [plane.x(pair[0]), plane.y(pair[1])];
    const [dx, dy] = [px - plane.x(from[0]), py - plane.y(from[1])];
    const length = Math.hypot(dx, dy) || 1;
    const wide = 9 * text.length + 6;
    const turn = dx / length;
    const left = px + 12 + wide > size || (turn < -0.75 && px - 12 - wide > 0);
    const middle = Math.abs(turn) <= 0.75 && dy && px + wide / 2 < size && px - wide / 2 > 0;
    const x = middle ? px : px + (left ? -12 : 12);
    const y = clamp(14, py + 4 + (middle ? 18 : 12) * (dy / length), size - EDGE - 4);
    return drawn("text", { class: `name ${className}`, x, y, "text-anchor": middle ? "middle" : left ? "end" : "start" }, text);
  }

  // The name of the mixture: of four sides the one that is furthest from the values.
  function namedMixture(plane, size, { mixture, settings: { values } }) {
    const [px, py] = [plane.x(mixture[0]), plane.y(mixture[1])];
    const texts = [tr("mixture"), point(mixture)];
    const wide = 9 * Math.max(...texts.map((text) => text.length)) + 6;
    const sides = [[12 + wide / 2, 0], [-12 - wide / 2, 0], [0, -34], [0, 34]];
    const room = ([dx, dy]) => {
      const [x, y] = [px + dx, py + dy];
      if (x - wide / 2 < 0 || x + wide / 2 > size || y < 16 || y > size - EDGE - 16) return -1;
      return Math.min(...values.map(([a, b]) => Math.hypot(Math.max(0, Math.abs(plane.x(a) - x) - wide / 2), Math.max(0, Math.abs(plane.y(b) - y) - 18))));
    };
    const best = sides.reduce((one, other) => (room(other) > room(one) ? other : one));
    const x = clamp(wide / 2, px + best[0], size - wide / 2);
    const y = clamp(14, py + best[1] - 3, size - EDGE - 18);
    return texts.map((text, line) => drawn("text", { class: "name sum", x, y: y + 15 * line, "text-anchor": "middle" }, text));
  }

  const { words } = model.get("report");
  const asks = board("asks", tr("query and keys"), tr("drag an arrow by its tip"),
    [...words.map((word, index) => ({ role: "key", index, label: tr("key of {word}", { word }) })), { role: "query", index: -1, label: tr("query") }],
    (plane, report, size) => {
      const { query, keys } = report.settings;
      const { x, y } = plane;
      return [
        ...(report.feet.length ? [drawn("line", { class: "direction", ...plane.through(query) })] : []),
        ...report.feet.flatMap((foot, index) => [
          drawn("line", { class: "drop", x1: x(keys[index][0]), y1: y(keys[index][1]), x2: x(foot[0]), y2: y(foot[1]) }),
          drawn("circle", { class: "foot", cx: x(foot[0]), cy: y(foot[1]), r: 3 })]),
        ...keys.flatMap((key) => arrow(plane, key, "key")),
        ...arrow(plane, query, "query"),
        ...keys.map((key, index) => named(plane, size, key, [0, 0], words[index], "key")),
        named(plane, size, query, [0, 0], tr("query"), "query")];
    });
  const mixes = board("mixes", tr("values and mixture"), tr("drag a value"),
    words.map((word, index) => ({ role: "value", index, label: tr("value of {word}", { word }) })),
    (plane, report, size) => {
      const { values } = report.settings;
      const { x, y } = plane;
      const [mx, my] = [x(report.mixture[0]), y(report.mixture[1])];
      return [
        drawn("polygon", { class: "between", points: values.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") }),
        ...values.map(([a, b], index) => drawn("line", { class: "pull", x1: x(a), y1: y(b), x2: mx, y2: my, "stroke-width": (1 + 13 * report.weights[index]).toFixed(2), "data-pull": index })),
        drawn("circle", { class: "mixture", cx: mx, cy: my, r: 8 }),
        ...values.map((pair, index) => named(plane, size, pair, report.mixture, words[index], "value")),
        ...namedMixture(plane, size, report)];
    });

  // ── a row for each word ──────────────────────────────────────────────────────────────────────
  const heads = [tr("query · key"), tr("/ √2"), tr("weight")];
  const rows = words.map((word) => {
    const [dot, score, value, fill] = [make("span", { className: "dots" }), make("span", { className: "score" }), make("b"), make("i")];
    const track = make("div", { className: "track", role: "meter", "aria-label": tr("weight of {word}", { word }), "aria-valuemin": 0, "aria-valuemax": 1 }, fill);
    return { dot, score, value, fill, track, cells: [make("b", { className: "word", textContent: word }), dot, score, make("div", { className: "share" }, track, value)] };
  });
  const table = make("div", { className: "query-rows" }, make("span"), ...heads.map((textContent) => make("span", { className: "note", textContent })), ...rows.flatMap(({ cells }) => cells));
  const total = make("p", { className: "total" });
  const remark = make("p", { className: "remark", "aria-live": "polite" });
  const reach = (factor) => settings().query.map((value) => Math.round(value * factor * FINE) / FINE);
  const within = (pair) => pair.every((value) => value >= model.get("report").limits.asks[0] && value <= model.get("report").limits.asks[1]);
  const half = button("half", tr("Query × ½"), () => desk.set({ query: reach(0.5) }));
  const twice = button("twice", tr("Query × 2"), () => desk.set({ query: reach(2) }));

  function drawAll() {
    const report = model.get("report");
    const { query, keys } = report.settings;
    rows.forEach(({ dot, score, value, fill, track }, index) => {
      const products = keys[index].map((part, place) => `${number(query[place])} · ${number(part)}`).join(" + ");
      dot.textContent = `${products} = ${number(report.dots[index])}`;
      score.textContent = number(report.scores[index]);
      value.textContent = report.weights[index].toFixed(2);
      fill.style.width = `${100 * report.weights[index]}%`;
      track.setAttribute("aria-valuenow", report.weights[index].toFixed(3));
    });
    total.replaceChildren(make("span", { className: "note", textContent: tr("mixture: weights × values, added up") }), make("br"),
      `${words.map((_, index) => `${report.weights[index].toFixed(2)} · ${point(report.settings.values[index])}`).join(" + ")} = `, make("b", { textContent: point(report.mixture) }));
    twice.disabled = !within(reach(2));
    say(remark, report.remark);
    asks.redraw();
    mixes.redraw();
    root.dataset.shown = [query, ...keys, ...report.settings.values].join(" "); // what is drawn now
  }

  root.append(remark, make("div", { className: "query-columns" }, asks.box, make("div", { className: "query-middle" }, table, total, make("div", { className: "query-buttons" }, half, twice, desk.reset)), mixes.box),
    make("div", { className: "last" }, make("span", { className: "note", textContent: tr("Or go to a tip with Tab, and move it with the arrow keys.") }), desk.keep), complaint);
  onResize(asks.svg, drawAll);
  on("report", drawAll);
  return end;
}

export default { render: spoken(render) };
