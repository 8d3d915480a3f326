// The whole model: large, as the first picture of the flow desk, and small above all others, to say where they are.

import { drawn } from "./elements.js";
import { write } from "./flow-board.js";
import { clamp, cut } from "./pictures.js";
import { tr } from "./words.js";

export const MAP = 40; // pixels that the small one is high

const FAINT = 0.05; // weights below this are not drawn, but for the token that looks

// Where the parts stand: a strip of each vector before the first layer and after each, and a frame for each layer.
function places({ left, width }, layers) {
  const gap = width < 500 ? 2 : 5;
  const answer = clamp(66, width * 0.12, 130);
  const strip = clamp(4, (width * 0.17) / (layers + 1), 34);
  const frame = Math.max(4, (width - answer - (layers + 1) * (strip + 2 * gap)) / layers);
  const stripAt = (index) => left + index * (strip + frame + 2 * gap);
  return { gap, strip, frame, stripAt, frameAt: (index) => stripAt(index) + strip + gap, end: stripAt(layers) + strip + gap, answer };
}

// The part of the whole model that a step is about, as a box.
export function partOf(step, { tokens, settings, answers }, layout) {
  const { frameAt, frame, stripAt, strip, end, answer } = places(layout, answers.length - 1);
  const [y, height] = [layout.top - 6, layout.row * tokens.length + 12];
  if (step === "tokens") return { x: 0, y, width: stripAt(0) + strip, height };
  if (step === "answer") return { x: end, y, width: answer, height: height / 2 };
  return { x: frameAt(settings.layer), y, width: frame, height };
}

// `widths` (L, T, T) says how wide the lines are
export function wholeModel({ tokens, states, limits, answers, label, settings }, token, widths, { layout, middle, strip, ribbon }, openLayer) {
  const { gap, strip: wide, frame, stripAt, frameAt, end, answer } = places(layout, widths.length);
  const bottom = layout.top + tokens.length * layout.row;
  const rows = [...tokens.keys()];
  const roomy = frame > 52;
  const layerFrame = (weights, layer) => {
    const x = frameAt(layer);
    const [from, to, network, after] = [x + frame * 0.06, x + frame * 0.68, x + frame * 0.76, x + frame * 0.94];
    const pair = (looks, seen, className) => ribbon(seen, looks, from, to, weights[looks][seen], { className, thinnest: 0.2, widest: Math.min(13, frame / 8) });
    const strong = rows.filter((seen) => weights[token][seen] >= 0.005);
    const chosen = layer === settings.layer ? "chosen" : "";
    const group = drawn("g", { class: `layer ${chosen}`, "data-layer": layer, style: `--turn: ${layer}` },
      drawn("rect", { class: "frame", x, y: layout.top - 5, width: frame, height: bottom - layout.top + 10, rx: 5 }),
      write(roomy ? tr("layer {layer}", { layer }) : `${layer}`, x + frame / 2, layout.top - 12, { class: "plain", "text-anchor": "middle" }),
      ...rows.map((row) => drawn("line", { class: "way", x1: x - gap, x2: x + frame + gap, y1: middle(row), y2: middle(row) })),
      ...rows.flatMap((looks) => (looks === token ? [] : rows.filter((seen) => seen !== looks && weights[looks][seen] >= FAINT).map((seen) => pair(looks, seen, "faint-one")))),
      ...rows.map((row) => drawn("rect", { class: "network", x: network, y: middle(row) - layout.row * 0.24, width: after - network, height: layout.row * 0.48, rx: 2 })),
      ...strong.map((seen) => pair(token, seen, seen === token ? "strong itself" : "strong")),
      ...strong.filter((seen) => seen !== token).map((seen) => pair(token, seen, "pulse")),
      drawn("title", {}, tr("Look into layer {layer}", { layer })));
    group.addEventListener("click", () => openLayer(layer));
    return group;
  };
  const last = answers.length - 1;
  const share = answers[last].share;
  const room = answer - 14;
  const pitch = stripAt(1) - stripAt(0); // where it is narrow only the first and the last number have room
  const below = { label: cut(label, 14), first: tokens[0] };
  const legend = layout.width > 620
    ? tr("Purple: attention. Grey: feed-forward networks. Below: probability of “{label}”, read off {first} after each layer.", below)
    : tr("Below: “{label}” after each layer", below);
  return [
    ...(roomy ? [write(tr("vectors"), stripAt(0) + wide / 2, layout.top - 12, { class: "plain", "text-anchor": "middle" })] : []),
    ...states.flatMap((state, index) => state.map((line, row) => strip(line, limits.states, stripAt(index), layout.top + row * layout.row + 3, wide, layout.row - 6, { className: row === token ? "" : "pale" }))),
    ...widths.map(layerFrame),
    // the answer, off the first token
    write(tr("answer"), end + 8, layout.top - 12, { class: "plain" }),
    drawn("line", { class: "way out", x1: end - gap, x2: end + 6, y1: middle(0), y2: middle(0) }),
    drawn("rect", { class: "track on-row", x: end + 8, y: middle(0) - 7, width: room, height: 14, rx: 2 }),
    drawn("rect", { class: "answer final", x: end + 8, y: middle(0) - 7, width: (room * share).toFixed(1), height: 14, rx: 2 }),
    write(cut(label, 14), end + 8, middle(1) + 6, { class: "name" }),
    write(answers[last].text, end + 8, middle(1) + 22, { class: "plain" }),
    // and what the same read-out says before
    write(legend, 4, bottom + 48, { class: "small" }),
    ...answers.flatMap(({ share: sure, text }, index) => {
      const [x, width] = [stripAt(index) - gap, wide + 2 * gap];
      return [drawn("rect", { class: "track", x, y: bottom + 10, width, height: 6, rx: 1 }),
        drawn("rect", { class: index === last ? "answer final" : "answer", x, y: bottom + 10, width: (width * sure).toFixed(1), height: 6, rx: 1 }),
        ...(pitch < 36 && index % last ? [] : [write(text, x + width / 2, bottom + 30, { class: index === last ? "name" : "plain", "text-anchor": "middle" })])];
    })];
}

// tokens, layers with their attention and feed-forward network, the answer off the first token
export function smallModel(map, step, { settings, answers }, layers, width) {
  const [first, last, gap] = [54, 60, 5];
  const wide = (width - first - last - gap * layers) / layers;
  const ys = [9, 17, 25, 33];
  const inside = (x, index) => {
    const here = index === settings.layer && !["model", "tokens", "answer"].includes(step);
    const lit = (...steps) => (here && steps.includes(step) ? " lit" : "");
    const [from, to, network] = [x + wide * 0.14, x + wide * 0.55, x + wide * 0.66];
    const bend = (from + to) / 2;
    return drawn("g", { class: here ? "place here" : "place" },
      drawn("rect", { class: "frame", x, y: 1.5, width: wide, height: MAP - 3, rx: 3 }),
      ...ys.map((y) => drawn("line", { class: `way${lit("vectors", "update")}`, x1: x - gap, x2: x + wide, y1: y, y2: y })),
      ...ys.flatMap((a) => ys.filter((b) => b !== a).map((b) => drawn("path", { class: `look${lit("projections", "weights", "mixture")}`, d: `M${from} ${a} C${bend} ${a} ${bend} ${b} ${to} ${b}` }))),
      ...ys.map((y) => drawn("rect", { class: `ffn${lit("update")}`, x: network, y: y - 2.5, width: wide * 0.2, height: 5 })),
      write(index, x + 3, 10, { class: "tag" }));
  };
  const end = first + (wide + gap) * layers;
  const share = answers.at(-1).share * (last - 14);
  map.setAttribute("width", width);
  map.replaceChildren(
    drawn("g", { class: step === "tokens" ? "place here" : "place" }, ...ys.map((y) => drawn("rect", { class: "token", x: 2, y: y - 3, width: first - gap - 8, height: 6, rx: 1.5 }))),
    ...[...Array(layers).keys()].map((index) => inside(first + (wide + gap) * index, index)),
    drawn("g", { class: step === "answer" ? "place here" : "place" },
      drawn("line", { class: "way", x1: end - gap, x2: end + 6, y1: ys[0], y2: ys[0] }),
      drawn("rect", { class: "token", x: end + 8, y: ys[0] - 5, width: last - 14, height: 10 }),
      drawn("rect", { class: "share", x: end + 8, y: ys[0] - 5, width: share.toFixed(1), height: 10 })));
}
