// What the pictures of the flow desk are drawn with: text, vectors as strips of cells, ribbons between rows.

import { drawn } from "./elements.js";
import { colourOf } from "./colours.js";

export const NAME = 12; // letters of a token that are shown

export const fixed = (value, digits) => value.toFixed(digits).replace(/^-(?=0(?:\.0*)?$)/, "").replace("-", "−");
export const write = (string, x, y, properties = {}) => drawn("text", { x, y, ...properties }, ...[string].flat());
export const lowered = (letter, below) => [letter, drawn("tspan", { dy: 3, "font-size": "75%" }, below)]; // W_Q
export const heading = (words, note, x, role = "") => [
  write(words, x, 16, { class: `heading ${role}` }), write(note, x, 32, { class: "small" })];

export function widest(texts, element) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `13px ${getComputedStyle(element).fontFamily}`;
  return Math.ceil(Math.max(...texts.map((text) => pen.measureText(text).width)));
}

// `layout` says where the rows stand: their `top`, and the height of a `row`
export function board(layout, colours) {
  const middle = (index) => layout.top + (index + 0.5) * layout.row;
  const colour = (value, limit) => colourOf(value, { low: -limit, high: limit }, colours);

  // A vector as a row of cells, one for each of its numbers. `is` names it: the next picture that has a mark of this
  // name, or one that says it comes `from` it, lets it move there.
  function strip(values, limit, x, y, width, height, { className = "", is = "", from = "" } = {}) {
    const cell = width / values.length;
    return drawn("g", { class: `strip ${className}`, ...(is && { "data-is": is }), ...(from && { "data-from": from }) },
      ...values.map((value, index) => drawn("rect", { x: (x + index * cell).toFixed(2), y, width: (cell + 0.3).toFixed(2), height, fill: colour(value, limit) })),
      drawn("rect", { class: "edge", x, y, width, height })); // numbers near 0 are white, as the page is
  }

  const strips = (values, limit, x, width, { className = () => "", is = "", from = "" } = {}) => values.map((line, index) =>
    strip(line, limit, x, layout.top + index * layout.row + 2, width, layout.row - 4,
      { className: className(index), is: is && `${is} ${index}`, from: from && `${from} ${index}` }));

  // A matrix, a cell for each number. It has a thousand of them, so that it is an image.
  function matrix(rows, limit, x, y, width, height, role) {
    const canvas = Object.assign(document.createElement("canvas"), { width: rows[0].length, height: rows.length });
    const pen = canvas.getContext("2d");
    rows.forEach((line, row) => line.forEach((value, column) => {
      pen.fillStyle = colour(value, limit);
      pen.fillRect(column, row, 1, 1);
    }));
    return drawn("g", { class: "matrix" },
      drawn("image", { x, y, width, height, href: canvas.toDataURL(), preserveAspectRatio: "none" }),
      drawn("rect", { class: `box ${role}`, x, y, width, height }));
  }

  // which colour is which number
  function scale(limit, right, y) {
    const [wide, steps] = [72, 24];
    const end = fixed(limit, 1);
    const start = right - 38 - wide;
    return drawn("g", { class: "scale" },
      write(`≤ −${end}`, start - 5, y + 8, { class: "small", "text-anchor": "end" }),
      ...Array.from({ length: steps }, (_, index) => drawn("rect", { x: start + (wide * index) / steps, y, width: wide / steps + 0.3, height: 9, fill: colour((2 * index / (steps - 1) - 1) * limit, limit) })),
      drawn("rect", { class: "edge", x: start, y, width: wide, height: 9 }),
      write(`≥ ${end}`, start + wide + 5, y + 8, { class: "small" }));
  }

  // from one row to another, as wide as the weight
  function ribbon(one, other, from, to, weight, { className = "", thinnest = 0.5, widest = 12 } = {}) {
    const bend = (from + to) / 2;
    return drawn("path", { class: `ribbon ${className}`, pathLength: 1, "stroke-width": (thinnest + widest * weight).toFixed(2),
      d: `M${from} ${middle(one)} C${bend} ${middle(one)} ${bend} ${middle(other)} ${to} ${middle(other)}` });
  }

  return { layout, middle, strip, strips, matrix, scale, ribbon };
}
