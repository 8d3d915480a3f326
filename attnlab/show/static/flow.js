// The view of the flow desk: a sentence, step by step through one head to the answer. A step, or another token that
// looks, needs nothing from Python: the report holds all of them.

import { begin, button, controlled, drawn, make, menu, say, textBox, turnOff } from "./elements.js";
import { colourOf } from "./colours.js";
import { onKey } from "./keys.js";
import { clamp, cut } from "./pictures.js";
import { spoken, tr } from "./words.js";

const TOP = 42; // room for headings, in pixels
const MAP = 40; // the whole model, where the step is
const SUM = 38; // a part of the new vector: its name, and its strip
const CELL = 40; // a number of a vector is no wider
const NAME = 12; // letters of a token that are shown

const fixed = (value, digits) => value.toFixed(digits).replace(/^-(?=0(?:\.0*)?$)/, "").replace("-", "−");

function widest(texts, element) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `13px ${getComputedStyle(element).fontFamily}`;
  return Math.ceil(Math.max(...texts.map((text) => pen.measureText(text).width)));
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-flow", tr("Flow desk: a sentence step by step"));
  const { set, reset, keep } = controlled(model);
  const steps = model.get("steps");
  const size = model.get("size");
  const colours = model.get("palette");
  const look = (changes) => { // looking elsewhere is no step to take back
    model.set("settings", { ...model.get("settings"), ...changes });
    model.save_changes();
  };
  const now = () => {
    const { step, token } = model.get("settings");
    return { step: Math.max(0, steps.findIndex(([name]) => name === step)), token: clamp(0, token, model.get("report").tokens.length - 1) };
  };

  // ── the sentence, and the way through it ─────────────────────────────────────────────────
  const text = textBox(tr("Your sentence"), (typed) => set({ text: typed, token: 0 }));
  const layer = menu(tr("Layer"), (value) => look({ layer: Number(value), head: fitting(Number(value)) }));
  const head = menu(tr("Head"), (value) => look({ head: Number(value) }));
  const gone = (l, h) => model.get("report").removed.some(([a, b]) => a === l && b === h);
  const all = (count) => [...Array(count).keys()];
  function fitting(l) { // the head that is shown, or the first that this layer has
    const { head: shown } = model.get("settings");
    return gone(l, shown) ? all(size.heads).find((h) => !gone(l, h)) ?? shown : shown;
  }

  const go = (step) => look({ step: steps[clamp(0, step, steps.length - 1)][0] });
  const back = button("back", tr("‹ Back"), () => go(now().step - 1));
  const next = button("next", tr("Next ›"), () => go(now().step + 1));
  const stops = steps.map(([name, label], index) => {
    const stop = button(`step-${name}`, "", () => go(index));
    stop.className = "stop";
    stop.append(make("b", { textContent: index + 1 }), make("span", { textContent: label }));
    stop.setAttribute("aria-label", tr("Step {number}: {name}", { number: index + 1, name: label }));
    return stop;
  });
  const stepper = make("div", { className: "stepper", role: "group", "aria-label": tr("Steps") }, back, make("div", { className: "stops" }, ...stops), next);
  const stepBy = (event) => { // the arrow keys, wherever the keyboard is in the desk but in its menus and its text
    const to = { ArrowRight: now().step + 1, ArrowLeft: now().step - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return false;
    event.preventDefault();
    go(to);
    return true;
  };
  for (const control of [back, next, ...stops]) {
    onKey(control, (event) => {
      if (stepBy(event) && control.classList.contains("stop")) stops[now().step].focus();
    });
  }
  // where in the model the step is: its menu and its words say the same
  const map = drawn("svg", { class: "depth", "aria-hidden": "true", height: MAP });
  const words = make("p", { className: "remark", "aria-live": "polite" });

  // ── the picture: a row for each token; what stands beside them changes with the step ─────
  const svg = drawn("svg", { role: "figure" });
  const picture = make("div", { className: "flow-picture" }, svg);
  let layout = {};
  let rows = [];
  let stage = drawn("g");
  let drawnState = "";
  const names = drawn("g", { role: "listbox", "aria-label": tr("Tokens: choose the one that looks") });

  const write = (string, x, y, properties = {}) => drawn("text", { x, y, ...properties }, string);
  const middle = (index) => layout.top + (index + 0.5) * layout.row;

  function layOut(width) {
    const { tokens } = model.get("report");
    const left = Math.min(widest(tokens.map((token) => cut(token, NAME)), root) + 18, 130);
    const row = clamp(15, Math.floor(330 / tokens.length), 22);
    layout = { available: width, left, row, top: TOP, width: width - left - 8, tokens: tokens.join(" "), height: Math.max(TOP + row * (tokens.length + 2) + 12, TOP + SUM * model.get("report").update.length) };
    svg.setAttribute("width", width);
    svg.setAttribute("height", layout.height);
    const active = root.getRootNode().activeElement;
    const focused = rows.findIndex(({ group }) => group === active);
    rows = tokens.map((token, index) => {
      const name = write(cut(token, NAME), left - 10, middle(index) + 4, { class: "name", "text-anchor": "end" });
      const group = drawn("g", { class: "row", role: "option", "aria-selected": "false", tabindex: -1, "aria-label": token },
        drawn("rect", { class: "catch", x: 1, y: layout.top + index * row, width: width - 2, height: row, rx: 3 }), name);
      group.append(drawn("title", {}, token));
      group.addEventListener("click", () => { look({ token: index }); group.focus({ preventScroll: true }); });
      onKey(group, (event) => {
        if (stepBy(event)) return;
        const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: tokens.length - 1 }[event.key];
        if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        look({ token: clamp(0, to, tokens.length - 1) });
        rows[now().token].group.focus({ preventScroll: true });
      });
      return { group, name };
    });
    names.replaceChildren(...rows.map(({ group }) => group));
    svg.replaceChildren(names, stage);
    if (focused >= 0) rows[now().token].group.focus({ preventScroll: true });
  }

  // a vector as a row of cells, one for each of its numbers
  function strip(values, limit, x, y, width, height, className = "") {
    const cell = width / values.length;
    return drawn("g", { class: `strip ${className}` }, ...values.map((value, index) => drawn("rect",
      { x: (x + index * cell).toFixed(2), y, width: (cell + 0.3).toFixed(2), height, fill: colourOf(value, { low: -limit, high: limit }, colours) })),
    drawn("rect", { class: "edge", x, y, width, height }));  // numbers near 0 are white, as the page is
  }
  const strips = (values, limit, x, width, className) => values.map((line, index) =>
    strip(line, limit, x, layout.top + index * layout.row + 2, width, layout.row - 4, className(index)));
  // from the token that looks to a key, as wide as the weight that the key gets
  function ribbon(token, key, from, to, weight) {
    if (weight < 0.005) return [];
    const bend = (from + to) / 2;
    return [drawn("path", { class: "ribbon", pathLength: 1, "stroke-width": (0.5 + 12 * weight).toFixed(2),
      d: `M${from} ${middle(token)} C${bend} ${middle(token)} ${bend} ${middle(key)} ${to} ${middle(key)}` })];
  }
  const heading = (words, note, x, role = "") => [
    write(words, x, 16, { class: `heading ${role}` }), write(note, x, 32, { class: "small" })];

  // the whole model, small: tokens, layers with their attention and feed-forward network, the answer off the first token
  function drawMap(step, { settings, answers }, width) {
    const [first, last, gap] = [54, 60, 5];
    const wide = (width - first - last - gap * size.layers) / size.layers;
    const ys = [9, 17, 25, 33];
    const inside = (x, index) => {
      const here = index === settings.layer && !["tokens", "answer"].includes(step);
      const lit = (...steps) => (here && steps.includes(step) ? " lit" : "");
      const [from, to, ffn] = [x + wide * 0.14, x + wide * 0.55, x + wide * 0.66];
      const middle = (from + to) / 2;
      return drawn("g", { class: here ? "place here" : "place" },
        drawn("rect", { class: "frame", x, y: 1.5, width: wide, height: MAP - 3, rx: 3 }),
        ...ys.map((y) => drawn("line", { class: `way${lit("vectors", "update")}`, x1: x - gap, x2: x + wide, y1: y, y2: y })),
        ...ys.flatMap((a) => ys.filter((b) => b !== a).map((b) => drawn("path", { class: `look${lit("projections", "weights", "mixture")}`, d: `M${from} ${a} C${middle} ${a} ${middle} ${b} ${to} ${b}` }))),
        ...ys.map((y) => drawn("rect", { class: `ffn${lit("update")}`, x: ffn, y: y - 2.5, width: wide * 0.2, height: 5 })),
        write(index, x + 3, 10, { class: "tag" }));
    };
    const end = first + (wide + gap) * size.layers;
    const share = answers.at(-1).share * (last - 14);
    map.setAttribute("width", width);
    map.replaceChildren(
      drawn("g", { class: step === "tokens" ? "place here" : "place" }, ...ys.map((y) => drawn("rect", { class: "token", x: 2, y: y - 3, width: first - gap - 8, height: 6, rx: 1.5 }))),
      ...all(size.layers).map((index) => inside(first + (wide + gap) * index, index)),
      drawn("g", { class: step === "answer" ? "place here" : "place" },
        drawn("line", { class: "way", x1: end - gap, x2: end + 6, y1: ys[0], y2: ys[0] }),
        drawn("rect", { class: "token", x: end + 8, y: ys[0] - 5, width: last - 14, height: 10 }),
        drawn("rect", { class: "share", x: end + 8, y: ys[0] - 5, width: share.toFixed(1), height: 10 })));
  }

  const draw = {
    tokens({ tokens, ids, notes, rows: table, positions, starts, limits }) {
      const { left, width } = layout;
      const number = tr("in the vocabulary");
      const roomy = width > 480; // a phone has none for the table
      const beside = left + 24 + (roomy ? 52 : Math.min(110, width * 0.34));
      const start = Math.max(left + 24 + widest([number], root), beside + widest(notes, root)) + 26; // of the rows of the table
      const gap = 24;
      const wide = Math.min((left + width - start - 2 * gap) / 3, 16 * table[0].length);
      const told = tr("{shown} of its numbers", { shown: table[0].length });
      const place = (index) => start + index * (wide + gap);
      const between = (sign, index) => tokens.map((_, row) => write(sign, place(index) - gap / 2, middle(row) + 4, { class: "arrow", "text-anchor": "middle" }));
      return [...heading(tr("number"), number, left + 24),
        ...tokens.flatMap((_, index) => [
          write("→", left + 4, middle(index) + 4, { class: "arrow" }),
          write(ids[index].toLocaleString("en"), left + 24, middle(index) + 4, { class: "plain" }),
          write(notes[index], beside, middle(index) + 4, { class: "small" })]),
        ...(roomy ? [...heading(tr("its row in the table"), told, start), ...heading(tr("its position"), limits.rows > limits.positions ? tr("colours × {times}", { times: fixed(limits.rows / limits.positions, 1) }) : "", place(1)), ...heading(tr("its vector"), tr("enters layer 0"), place(2)),
          ...tokens.map((_, index) => write("→", start - 20, middle(index) + 4, { class: "arrow" })), ...between("+", 1), ...between("→", 2),
          ...strips(table, limits.rows, start, wide, () => ""),
          ...strips(positions, limits.positions, place(1), wide, () => ""),
          ...strips(starts, limits.starts, place(2), wide, () => "")] : [])];
    },
    vectors({ vectors, limits, width: all, settings }) {
      const { left, width } = layout;
      const shown = vectors[0].length;
      return [...heading(settings.layer ? tr("vectors that enter layer {layer}", settings) : tr("vectors of the tokens"), tr("{shown} of {all} numbers", { shown, all }), left),
        ...strips(vectors, limits.vectors, left, Math.min(width, CELL * shown), () => "")];
    },
    projections({ queries, keys, values, limits }, token) {
      const { left, width } = layout;
      const gap = 12;
      const wide = Math.min((width - 2 * gap) / 3, 420);
      const place = (index) => left + index * (wide + gap);
      const short = wide < 120;
      return [
        ...heading(tr("query"), short ? tr("looks for") : tr("what it looks for"), place(0), "query"),
        ...heading(tr("key"), short ? tr("found by") : tr("what it can be found by"), place(1), "key"),
        ...heading(tr("value"), short ? tr("passes on") : tr("what it passes on"), place(2), "value"),
        ...strips(queries, limits.queries, place(0), wide, (index) => (index === token ? "" : "faint")),
        ...strips(keys, limits.keys, place(1), wide, () => ""),
        ...strips(values, limits.values, place(2), wide, () => ""),
        drawn("rect", { class: "box query", x: place(0), y: layout.top + token * layout.row + 1, width: wide, height: layout.row - 2 })];
    },
    weights({ tokens, queries, keys, limits, scores, weights }, token) {
      const { left, width } = layout;
      const fan = width < 420 ? 0 : 70; // room for a line from the token that looks to each key
      const start = left + fan;
      const wide = Math.min((width - fan) * 0.3, 320);
      const score = start + wide + 54;
      const bar = score + 20;
      const room = Math.max(40, Math.min(left + width - bar - 38, 640));
      const sum = layout.top + tokens.length * layout.row;
      const best = weights[token].indexOf(Math.max(...weights[token]));
      const products = queries[token].map((value, index) => value * keys[best][index]);
      const total = products.reduce((one, other) => one + other, 0);
      return [...heading(tr("key"), tr("of each token"), start, "key"), ...heading(tr("score"), "q · k / √d", score - 36), ...heading(tr("weight"), tr("after softmax"), bar, "weight"),
        ...(fan ? tokens.flatMap((_, index) => ribbon(token, index, left - 4, start - 3, weights[token][index])) : []),
        ...strips(keys, limits.keys, start, wide, () => ""),
        // number below number, as they are multiplied
        write(tr("query"), start - 8, sum + layout.row / 2 + 8, { class: "heading query", "text-anchor": "end" }),
        strip(queries[token], limits.queries, start, sum + 4, wide, layout.row),
        drawn("rect", { class: "box query", x: start, y: sum + 4, width: wide, height: layout.row }),
        ...(fan ? [
          write(tr("× key of “{token}”", { token: cut(tokens[best], NAME) }), start - 8, sum + 1.5 * layout.row + 12, { class: "small", "text-anchor": "end" }),
          strip(products, Math.max(...products.map(Math.abs)), start, sum + layout.row + 8, wide, layout.row - 4),
          write(tr("these products sum to {total}; / √{size} = {score}", { total: fixed(total, 1), size: products.length, score: fixed(scores[token][best], 1) }), start + wide + 8, sum + 1.5 * layout.row + 12, { class: "small" })] : []),
        ...tokens.flatMap((_, index) => {
          const weight = weights[token][index];
          return [write(fixed(scores[token][index], 1), score, middle(index) + 4, { class: "plain", "text-anchor": "end" }),
            drawn("rect", { class: "track", x: bar, y: middle(index) - 5, width: room, height: 10, rx: 2 }),
            drawn("rect", { class: "bar", x: bar, y: middle(index) - 5, width: (room * weight).toFixed(1), height: 10, rx: 2 }),
            write(fixed(weight, 2), bar + room + 5, middle(index) + 4, { class: "plain" })];
        }),
        drawn("line", { class: "rule", x1: bar, x2: bar + room + 34, y1: sum + 1, y2: sum + 1 }),
        write(tr("sum"), bar + room - 2, sum + 15, { class: "small", "text-anchor": "end" }),
        write("1.00", bar + room + 5, sum + 15, { class: "plain" })];
    },
    mixture({ tokens, values, weights, mixtures, limits, settings }, token) {
      const { left, width } = layout;
      const start = left + 58;
      const gap = 14;
      const wide = Math.min((width - 58 - gap) / 2, 560);
      const second = start + wide + gap;
      const sum = layout.top + tokens.length * layout.row;
      const share = weights[token];
      const times = fixed(limits.values / limits.parts[token], 1); // each column has its own scale
      const whose = wide < 90 ? tr("of it") : wide < 200 ? tr("of the mixture") : tr("of the mixture, colours × {times}", { times });
      return [...heading(tr("weight"), "", left, "weight"), ...heading(tr("× value"), tr("of each token"), start, "value"), ...heading(wide < 90 ? tr("= part") : tr("= its part"), whose, second),
        ...tokens.map((_, index) => write(fixed(share[index], 2), left + 2, middle(index) + 4, { class: "plain" })),
        ...strips(values, limits.values, start, wide, () => ""),
        ...strips(values.map((line, index) => line.map((value) => value * share[index])), limits.parts[token], second, wide, () => ""),
        drawn("line", { class: "rule", x1: second, x2: second + wide, y1: sum + 1, y2: sum + 1 }),
        write(tr("sum: what L{layer}H{head} passes on", settings), second - 8, sum + layout.row / 2 + 8, { class: "sum-name", "text-anchor": "end" }),
        drawn("g", { class: "sum" }, strip(mixtures[token], limits.parts[token], second, sum + 4, wide, layout.row),
          drawn("rect", { class: "box", x: second, y: sum + 4, width: wide, height: layout.row }))];
    },
    update({ tokens, update, limits }, token) {
      const { left, width } = layout;
      const gap = width < 300 ? 22 : 56; // a phone has no room for the line from the token to its vector
      const start = left + gap;
      const wide = Math.min(width - gap, CELL * update[0].values[token].length);
      const first = layout.top + 4 + (SUM - 20) / 2;
      const line = `M${left - 4} ${middle(token)} C${left + 18} ${middle(token)} ${left + 8} ${first} ${start - 3} ${first}`;
      return [...heading(tr("new vector of “{token}”", { token: cut(tokens[token], NAME) }), "", start),
        ...(gap > 30 ? [drawn("path", { class: "from", d: line })] : []),
        ...update.map(({ sign, name, values, times, lengths }, index) => {
          const long = gap > 30 ? tr("length {length}", { length: fixed(lengths[token], 1) }) : "";
          const factor = times[token] > 1 ? `× ${fixed(times[token], times[token] < 10 ? 1 : 0)}` : "";
          const told = [long, factor].filter(Boolean).join(", ");
          const y = layout.top - 12 + index * SUM;
          const result = index === update.length - 1;
          const height = SUM - 20;
          return drawn("g", { class: "part", style: `--turn: ${index}` },
            write(sign, start - 17, y + 16 + height / 2 + 6, { class: "sign" }),
            write(name, start, y + 12, { class: result || !index ? "name" : "plain" }),
            ...(sign === "=" ? [drawn("line", { class: "rule", x1: start, x2: start + wide, y1: y + 1, y2: y + 1 })] : []),
            ...(told ? [write(told, start + wide, y + 12, { class: "small", "text-anchor": "end" })] : []),
            strip(values[token], limits.vectors / times[token], start, y + 16, wide, height),
            ...(result ? [drawn("rect", { class: "box", x: start, y: y + 16, width: wide, height })] : []));
        })];
    },
    answer({ tokens, names: layers, answers, label, read, limits }) {
      const names = 102;
      const tight = layout.available < 340;
      const stronger = limits.vectors / limits.read;
      const wide = layout.available < 640 ? 0 : Math.min(layout.available * 0.3, 420); // nor for the vectors that are read
      const left = names + (wide ? wide + 84 : 0);
      const room = Math.max(40, Math.min(layout.available - left - 50, 560));
      const row = clamp(18, Math.floor((layout.height - layout.top - 8) / layers.length), 40);
      const bottom = layout.top + row * layers.length;
      return [write(tr("probability of “{label}”", { label: cut(label, 14) }), tight ? 2 : left, 16, { class: "heading" }),
        ...(wide ? [...heading(tr("vector of {token}", { token: tokens[0] }), stronger > 1 ? tr("colours × {times}", { times: fixed(stronger, 1) }) : "", names), write(tr("read-out"), names + wide + 42, 16, { class: "heading", "text-anchor": "middle" })] : []),
        ...[0, 50, 100].map((tick) => write(`${tick} %`, left + (room * tick) / 100, 34, { class: "small", "text-anchor": tick === 0 ? "start" : tick === 100 ? "end" : "middle" })),
        ...answers.flatMap(({ share, text: told }, index) => {
          const y = layout.top + (index + 0.5) * row;
          const last = index === answers.length - 1;
          return [write(layers[index], names - 8, y + 4, { class: last ? "name" : "plain", "text-anchor": "end" }),
            ...(wide ? [strip(read[index], limits.read, names, y - 8, wide, 16), write("→", names + wide + 42, y + 5, { class: "arrow", "text-anchor": "middle" })] : []),
            drawn("rect", { class: "track", x: left, y: y - 7, width: room, height: 14, rx: 2 }),
            drawn("rect", { class: last ? "answer final" : "answer", x: left, y: y - 7, width: (room * share).toFixed(1), height: 14, rx: 2 }),
            write(told, left + room + 8, y + 4, { class: last ? "name" : "plain" })];
        }),
        drawn("line", { class: "half", x1: left + room / 2, x2: left + room / 2, y1: layout.top, y2: bottom })];
    },
  };

  function drawPicture() {
    const report = model.get("report");
    const width = picture.clientWidth;
    if (!width) return; // not on the page yet
    if (width !== layout.available || report.tokens.join(" ") !== layout.tokens) layOut(width);
    const { step, token } = now();
    const [name] = steps[step];
    // what Python answers to a step is drawn already: drawing it anew would cut short how the step is played
    const { text: typed, layer: inLayer, head: inHead } = report.settings;
    const state = JSON.stringify([name, token, width, typed, inLayer, inHead, { ...report, alt: "", settings: {} }]);
    if (state !== drawnState) {
      drawnState = state;
      const moved = stage.dataset.drawn !== name; // played when it is gone to, and not again for another token
      const fresh = drawn("g", { class: moved ? "stage play" : "stage", "data-drawn": name }, ...draw[name](report, token));
      stage.replaceWith(fresh);
      stage = fresh;
    }
    rows.forEach(({ group }, index) => {
      group.setAttribute("aria-selected", String(index === token));
      group.setAttribute("tabindex", index === token ? 0 : -1);
    });
    names.classList.toggle("away", name === "answer");
    names.classList.toggle("apart", name === "update"); // what stands beside the names is of one token, not a row for each
    names.classList.toggle("looks", ["projections", "weights", "mixture", "update"].includes(name));
    svg.setAttribute("aria-label", `${steps[step][1]}. ${report.alt}`);
    say(words, report.words[name][token]);
    drawMap(name, report, width);
    stops.forEach((stop, index) => {
      if (index === step) stop.setAttribute("aria-current", "step");
      else stop.removeAttribute("aria-current");
      stop.classList.toggle("done", index < step);
    });
    turnOff(back, step === 0 && tr("This is the first step."));
    turnOff(next, step === steps.length - 1 && tr("This is the last step."));
    const { layer: l, head: h } = report.settings;
    root.dataset.shown = [name, l, h, token, report.tokens.length].join(" "); // what is drawn now
  }

  function drawControls() {
    const settings = model.get("settings");
    text.show(settings.text);
    layer.draw(all(size.layers).map((l) => [String(l), `${l}`, all(size.heads).some((h) => !gone(l, h))]), String(settings.layer));
    head.draw(all(size.heads).map((h) => [String(h), `${h}`, !gone(settings.layer, h)]), String(settings.head));
    drawPicture();
  }

  root.append(
    make("div", { className: "top" }, make("label", { className: "typed" }, make("span", { textContent: tr("Your sentence") }), text.box),
      make("label", {}, `${tr("layer")} `, layer.box), make("label", {}, `${tr("head")} `, head.box)),
    stepper, map, words, picture,
    make("div", { className: "last" }, make("span", { className: "note", textContent: tr("Click a token, or use ↑ and ↓, to choose the one that looks; ← and → change the step.") }),
      make("div", { className: "ends" }, reset, keep)),
    complaint);
  onResize(picture, drawPicture);
  on("settings", drawControls);
  on("report", drawControls);
  return end;
}

export default { render: spoken(render) };
