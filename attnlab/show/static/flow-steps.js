// The pictures of the flow desk's steps: a row for each token, and what stands beside the rows.

import { drawn } from "./elements.js";
import { NAME, fixed, heading, lowered, widest, write } from "./flow-board.js";
import { clamp, cut } from "./pictures.js";
import { tr } from "./words.js";

const CELL = 40; // a number of a vector is no wider
const NAMED = 102; // pixels for the name of a layer

export const above = (step) => (step === "projections" ? 54 : 0); // room that a step needs above its rows, for matrices

// what one token adds up: how high a part of its new vector is
export const partHeight = ({ height, first }, parts) => clamp(36, Math.floor((height - first + 12) / parts), 58);

const SCALED = 420; // pixels that a picture is wide at least if it says which colour is which number

export function stepPictures({ layout, middle, strip, strips, matrix, scale, ribbon }, root) {
  const under = (tokens) => layout.top + tokens.length * layout.row;

  function tokens({ tokens, ids, notes, rows: table, positions, starts, limits }) {
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
      ...(roomy ? [...heading(tr("its row in the table"), told, start), ...heading(tr("its position"), limits.rows > limits.positions ? tr("colours × {times}", { times: fixed(limits.rows / limits.positions, 1) }) : "", place(1)), ...heading(tr("its vector"), tr("the sum after LayerNorm"), place(2)),
        ...tokens.map((_, index) => write("→", start - 20, middle(index) + 4, { class: "arrow" })), ...between("+", 1), ...between("→", 2),
        ...strips(table, limits.rows, start, wide, { is: "row" }),
        ...strips(positions, limits.positions, place(1), wide),
        ...strips(starts, limits.starts, place(2), wide, { is: "vector of layer 0", from: "row" })] : [])];
  }

  function vectors({ vectors, limits, width: all, settings }) {
    const { left, width } = layout;
    const shown = vectors[0].length;
    const cell = Math.min(width / shown, CELL);
    const numbers = vectors.flatMap((line, row) => line.map((value, column) => ({ value, row, column })));
    const largest = numbers.reduce((one, other) => (Math.abs(other.value) > Math.abs(one.value) ? other : one));
    return [...heading(settings.layer ? tr("vectors that enter layer {layer}", settings) : tr("vectors of the tokens"), tr("{shown} of {all} numbers", { shown, all }), left),
      ...(width > SCALED ? [scale(limits.vectors, left + cell * shown, 22)] : []),
      ...strips(vectors, limits.vectors, left, cell * shown, { is: `vector of layer ${settings.layer}` }),
      ...(cell > 22 ? [write(fixed(largest.value, 1), left + (largest.column + 0.5) * cell, middle(largest.row) + 4, { class: "largest", "text-anchor": "middle" })] : [])];
  }

  function projections({ vectors, queries, keys, values, matrices, limits, settings }, token) {
    const { left, width } = layout;
    const gap = 12;
    const vector = width > 560 ? Math.min(width * 0.17, 200) : 0; // a phone has no room for the vectors
    const start = left + (vector && vector + 46);
    const wide = Math.min((width - (start - left) - 2 * gap) / 3, 420);
    const place = (index) => start + index * (wide + gap);
    const [high, low] = [24, layout.top - 24]; // of the matrices
    const is = `vector of layer ${settings.layer}`;
    const parts = [["query", tr("query"), "Q", queries, tr("looks for")], ["key", tr("key"), "K", keys, tr("found by")], ["value", tr("value"), "V", values, tr("passes on")]];
    const turn = left + vector + 8; // where the way of the vector turns up to the matrices
    const way = (index) => `M${left + vector + 3} ${middle(token) + 3 * (index - 1)} H${turn + 8 * index} V${low + 4 + 5 * index} H${place(index) + 14} V${low + 2}`;
    return [
      ...(vector ? [write(tr("vector"), left, layout.top - 8, { class: "heading" }), ...(vector > 140 ? [scale(limits.vectors, left + vector, 24)] : []),
        ...strips(vectors, limits.vectors, left, vector, { is, className: (index) => (index === token ? "" : "pale") })] : []),
      ...parts.flatMap(([role, name, letter, lines, note], index) => [
        write([name, ...(wide > 120 ? [tr(" = vector × "), ...lowered("W", letter)] : [])], place(index), 16, { class: `heading ${role}` }),
        ...(wide > 250 ? [write(note, place(index) + wide, 16, { class: "small", "text-anchor": "end" })] : []),
        matrix(matrices[role], limits[`${role} matrix`], place(index), high, wide, low - high, role),
        ...(vector ? [drawn("path", { class: `way-to ${role}`, pathLength: 1, d: way(index) })] : []),
        ...strips(lines, limits[{ query: "queries", key: "keys", value: "values" }[role]], place(index), wide, { is: role, from: is, className: (row) => (role === "query" && row !== token ? "thin" : "") }),
        drawn("rect", { class: `box ${role}`, x: place(index), y: layout.top + token * layout.row + 1, width: wide, height: layout.row - 2 })])];
  }

  // all tokens that look, a row each, beside the one whose weights are drawn; small weights can be seen, too
  function table({ tokens, weights }, token, x, cell) {
    const largest = Math.max(...weights.flat());
    const [wide, high] = [cell * tokens.length, layout.row * tokens.length];
    const shade = (weight) => Math.sqrt(weight / largest).toFixed(3);
    return [...heading(tr("weights of all"), tr("a row each; largest: {weight}", { weight: fixed(largest, 2) }), x, "weight"),
      drawn("g", { class: "table" }, ...weights.flatMap((line, row) => line.map((weight, column) => drawn("rect",
        { x: x + column * cell, y: layout.top + row * layout.row, width: cell, height: layout.row, "fill-opacity": shade(weight) })))),
      drawn("rect", { class: "edge", x, y: layout.top, width: wide, height: high }),
      drawn("rect", { class: "box query", x, y: layout.top + token * layout.row, width: wide, height: layout.row }),
      ...tokens.map((name, column) => write(cut(name, 6), 0, 0, { class: "tiny", "font-size": clamp(8, cell * 0.6, 11), "text-anchor": "end", transform: `translate(${x + (column + 0.5) * cell + 3} ${layout.top + high + 9}) rotate(-60)` }))];
  }

  function weights(report, token) {
    const { tokens, queries, keys, limits, scores, weights } = report;
    const { left, width } = layout;
    const fan = width < 420 ? 0 : 70; // room for a line from the token that looks to each key
    const cell = clamp(0, Math.floor((width * 0.3) / tokens.length), layout.row);
    const aside = width > 620 ? cell * tokens.length + 34 : 0;
    const start = left + fan;
    const wide = Math.min((width - fan - aside) * (aside ? 0.4 : 0.3), 320);
    const score = start + wide + 54;
    const bar = score + 20;
    const room = Math.max(40, Math.min(left + width - aside - bar - 38, 420));
    const sum = under(tokens);
    const best = weights[token].indexOf(Math.max(...weights[token]));
    const products = queries[token].map((value, index) => value * keys[best][index]);
    const total = products.reduce((one, other) => one + other, 0);
    return [...(fan ? heading(tr("query"), tr("to every key"), left - 4, "query") : []), ...heading(tr("key"), tr("of each token"), start, "key"), ...heading(tr("score"), "q · k / √d", score - 36), ...heading(tr("weight"), tr("after softmax"), bar, "weight"),
      // the query goes to every key; purple lines are kept for what comes back
      ...(fan ? tokens.map((_, index) => ribbon(token, index, left - 4, start - 3, 0, { className: "asks", thinnest: 1.2 })) : []),
      ...strips(keys, limits.keys, start, wide, { is: "key" }),
      // number below number, as they are multiplied
      write(tr("query"), start - 8, sum + layout.row / 2 + 8, { class: "heading query", "text-anchor": "end" }),
      strip(queries[token], limits.queries, start, sum + 4, wide, layout.row, { is: "the query", from: `query ${token}` }),
      drawn("rect", { class: "box query", x: start, y: sum + 4, width: wide, height: layout.row }),
      ...(fan ? [
        write(tr("× key of “{token}”", { token: cut(tokens[best], NAME) }), start - 8, sum + 1.5 * layout.row + 12, { class: "small", "text-anchor": "end" }),
        strip(products, Math.max(...products.map(Math.abs)), start, sum + layout.row + 8, wide, layout.row - 4),
        write(tr("these products sum to {total}; / √{size} = {score}", { total: fixed(total, 1), size: products.length, score: fixed(scores[token][best], 1) }), start + wide + 10, sum + 1.5 * layout.row + 12, { class: "plain" })] : []),
      ...tokens.flatMap((_, index) => {
        const weight = weights[token][index];
        return [write(fixed(scores[token][index], 1), score, middle(index) + 4, { class: "plain", "text-anchor": "end" }),
          drawn("rect", { class: "track", x: bar, y: middle(index) - 5, width: room, height: 10, rx: 2 }),
          drawn("rect", { class: "bar", x: bar, y: middle(index) - 5, width: (room * weight).toFixed(1), height: 10, rx: 2 }),
          write(fixed(weight, 2), bar + room + 5, middle(index) + 4, { class: "plain", "data-is": `weight ${index}` })];
      }),
      drawn("line", { class: "rule", x1: bar, x2: bar + room + 34, y1: sum + 1, y2: sum + 1 }),
      write(tr("sum"), bar + room - 2, sum + 15, { class: "small", "text-anchor": "end" }),
      write("1.00", bar + room + 5, sum + 15, { class: "plain" }),
      ...(aside ? table(report, token, left + width - cell * tokens.length - 2, cell) : [])];
  }

  function mixture({ tokens, values, weights, mixtures, limits, settings }, token) {
    const { left, width } = layout;
    const before = width > 300 ? 78 : 58; // for the weight, and a line from it to its value
    const start = left + before;
    const gap = 14;
    const wide = Math.min((width - before - gap) / 2, 560);
    const second = start + wide + gap;
    const sum = under(tokens);
    const share = weights[token];
    const times = fixed(limits.values / limits.parts[token], 1); // each column has its own scale
    const whose = wide < 90 ? tr("of it") : wide < 200 ? tr("of the mixture") : tr("of the mixture, colours × {times}", { times });
    const parts = values.map((line, index) => line.map((value) => value * share[index]));
    return [...heading(tr("weight"), "", left, "weight"), ...heading(tr("× value"), tr("of each token"), start, "value"), ...heading(wide < 90 ? tr("= part") : tr("= its part"), whose, second),
      ...tokens.map((_, index) => write(fixed(share[index], 2), left + 2, middle(index) + 4, { class: "plain", "data-is": `weight ${index}` })),
      ...share.flatMap((weight, index) => (weight < 0.005 ? [] : [ribbon(index, index, left + 34, start - 4, weight)])),
      ...(wide > 320 ? [scale(limits.values, start + wide, 22), scale(limits.parts[token], second + wide, 22)] : []),
      ...strips(values, limits.values, start, wide, { is: "value" }),
      ...strips(parts, limits.parts[token], second, wide, { is: "part", from: "value" }),
      drawn("line", { class: "rule", x1: second, x2: second + wide, y1: sum + 1, y2: sum + 1 }),
      write(tr("sum: what L{layer}H{head} passes on", settings), second - 8, sum + layout.row / 2 + 8, { class: "sum-name", "text-anchor": "end" }),
      write(tr("in the colours of the values"), second - 8, sum + 1.5 * layout.row + 8, { class: "small", "text-anchor": "end" }),
      drawn("g", { class: "sum" }, strip(mixtures[token], limits.values, second, sum + 4, wide, layout.row, { is: "mixture" }),
        drawn("rect", { class: "box", x: second, y: sum + 4, width: wide, height: layout.row }))];
  }

  // how much each head of the layer adds to the token, as bars
  function byHead(lengths, { layer, head }, x, room) {
    const largest = Math.max(...lengths) || 1;
    const row = Math.min(24, (layout.height - layout.top - 8) / lengths.length);
    const y = (index) => layout.top + (index + 0.5) * row;
    return [...heading(tr("each head adds"), tr("length, before LayerNorm"), x),
      ...lengths.flatMap((length, index) => [
        write(`L${layer}H${index}`, x + 42, y(index) + 4, { class: index === head ? "name" : "plain", "text-anchor": "end" }),
        drawn("rect", { class: index === head ? "adds own" : "adds", x: x + 48, y: y(index) - row * 0.3, width: Math.max(0, ((room - 82) * length) / largest).toFixed(1), height: row * 0.6, rx: 2 }),
        write(fixed(length, 1), x + room - 28, y(index) + 4, { class: index === head ? "name" : "plain" })])];
  }

  function update({ tokens, update, limits, by_head: lengths, settings }, token) {
    const { left, width } = layout;
    const gap = width < 300 ? 22 : 56; // a phone has no room for the line from the token to its vector
    const aside = width > 620 ? 190 : 0;
    const start = left + gap;
    const wide = Math.min(width - gap - (aside && aside + 24), CELL * update[0].values[token].length);
    const pitch = partHeight(layout, update.length);
    const first = layout.top + 4 + (pitch - 20) / 2;
    const line = `M${left - 4} ${middle(token)} C${left + 18} ${middle(token)} ${left + 8} ${first} ${start - 3} ${first}`;
    const moves = [`vector of layer ${settings.layer} ${token}`, "mixture"]; // where the first two parts come from
    return [...heading(tr("new vector of “{token}”", { token: cut(tokens[token], NAME) }), "", start),
      ...(width > SCALED ? [scale(limits.vectors, start + wide, 8)] : []),
      ...(gap > 30 ? [drawn("path", { class: "from", d: line })] : []),
      ...update.map(({ sign, name, values, times, lengths: long }, index) => {
        const told = [
          gap > 30 && tr("length {length}", { length: fixed(long[token], 1) }),
          times[token] > 1 && `× ${fixed(times[token], times[token] < 10 ? 1 : 0)}`].filter(Boolean).join(", ");
        const y = layout.top - 12 + index * pitch;
        const result = index === update.length - 1;
        const height = pitch - 20;
        return drawn("g", { class: "part", style: `--turn: ${index}` },
          write(sign, start - 17, y + 16 + height / 2 + 6, { class: "sign" }),
          write(index === 1 ? [`${name}: `, tr("mixture × "), ...lowered("W", "O")] : name, start, y + 12, { class: result || !index ? "name" : "plain" }),
          ...(sign === "=" ? [drawn("line", { class: "rule", x1: start, x2: start + wide, y1: y + 1, y2: y + 1 })] : []),
          ...(told ? [write(told, start + wide, y + 12, { class: "small", "text-anchor": "end" })] : []),
          strip(values[token], limits.vectors / times[token], start, y + 16, wide, height, { from: moves[index] ?? "", is: `part ${index} of the new vector` }),
          ...(result ? [drawn("rect", { class: "box", x: start, y: y + 16, width: wide, height })] : []));
      }),
      ...(aside ? byHead(lengths[token], settings, left + width - aside, aside) : [])];
  }

  function answer({ tokens, names: layers, answers, label, read, limits }) {
    const tight = layout.available < 340;
    const stronger = limits.vectors / limits.read;
    const wide = layout.available < 640 ? 0 : Math.min(layout.available * 0.3, 420); // nor for the vectors that are read
    const left = NAMED + (wide ? wide + 84 : 0);
    const room = Math.max(40, Math.min(layout.available - left - 50, 560));
    const row = clamp(18, Math.floor((layout.height - layout.top - 8) / layers.length), 54);
    const bottom = layout.top + row * layers.length;
    const [thick, high] = [clamp(14, row * 0.5, 24), clamp(14, row * 0.42, 20)];
    return [write(tr("probability of “{label}”", { label: cut(label, 14) }), tight ? 2 : left, 16, { class: "heading" }),
      ...(wide ? [...heading(tr("vector of {token}", { token: tokens[0] }), stronger > 1 ? tr("colours × {times}", { times: fixed(stronger, 1) }) : "", NAMED), write(tr("read-out"), NAMED + wide + 42, 16, { class: "heading", "text-anchor": "middle" })] : []),
      ...[0, 50, 100].map((tick) => write(`${tick} %`, left + (room * tick) / 100, 34, { class: "small", "text-anchor": tick === 0 ? "start" : tick === 100 ? "end" : "middle" })),
      ...answers.flatMap(({ share, text: told }, index) => {
        const y = layout.top + (index + 0.5) * row;
        const last = index === answers.length - 1;
        return [write(layers[index], NAMED - 8, y + 4, { class: last ? "name" : "plain", "text-anchor": "end" }),
          ...(wide ? [strip(read[index], limits.read, NAMED, y - thick / 2, wide, thick), write("→", NAMED + wide + 42, y + 5, { class: "arrow", "text-anchor": "middle" })] : []),
          drawn("rect", { class: "track", x: left, y: y - high / 2, width: room, height: high, rx: 2 }),
          drawn("rect", { class: last ? "answer final" : "answer", x: left, y: y - high / 2, width: (room * share).toFixed(1), height: high, rx: 2 }),
          write(told, left + room + 8, y + 4, { class: last ? "name" : "plain" })];
      }),
      drawn("line", { class: "half", x1: left + room / 2, x2: left + room / 2, y1: layout.top, y2: bottom })];
  }

  return { tokens, vectors, projections, weights, mixture, update, answer };
}
