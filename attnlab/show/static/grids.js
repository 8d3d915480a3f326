// A map of heads to choose from, and what its colours stand for: balance meter, training monitor, tuner's desk.

import { make } from "./elements.js";
import { onKey } from "./keys.js";
import { colourOf, inkOn, withSign } from "./colours.js";

// Layers down, heads across; one head is chosen, by a click or the arrow keys.
export function headGrid({ layers, heads, label, choose, dense = heads > 16 || layers > 14 }) {
  const cells = [];
  const rows = [make("div", { role: "row", className: "line" }, make("div", { role: "columnheader", className: "name side", textContent: "head" }),
    ...Array.from({ length: heads }, (_, head) => make("div", { role: "columnheader", className: "name", textContent: head })))];
  let chosen = [0, 0];
  for (let layer = 0; layer < layers; layer += 1) {
    const line = Array.from({ length: heads }, (_, head) => {
      const cell = make("div", { role: "gridcell", className: "cell", tabIndex: -1, onclick: () => pick(layer, head) });
      cell.dataset.layer = layer;
      cell.dataset.head = head;
      return cell;
    });
    cells.push(line);
    rows.push(make("div", { role: "row", className: "line" }, make("div", { role: "rowheader", className: "name side" }, make("span", { textContent: "layer " }), String(layer)), ...line));
  }
  const grid = make("div", { role: "grid", className: `head-grid${dense ? " dense" : ""}`, "aria-label": label }, ...rows);
  grid.style.setProperty("--heads", heads);
  const limit = (value, most) => Math.max(0, Math.min(most - 1, value));
  function pick(layer, head) {
    cells[layer][head].focus({ preventScroll: true });
    if (layer !== chosen[0] || head !== chosen[1]) choose(layer, head);
  }
  onKey(grid, (event) => {
    const { layer, head } = event.target.dataset;
    if (layer === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -heads], End: [0, heads], PageUp: [-layers, 0], PageDown: [layers, 0] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    pick(limit(Number(layer) + move[0], layers), limit(Number(head) + move[1], heads));
  });

  function draw(map, colours, [layer, head]) {
    grid.setAttribute("aria-description", map.alt);
    chosen = [layer, head];
    grid.classList.toggle("signed", Boolean(map.signed));
    cells.forEach((line, l) => line.forEach((cell, h) => {
      const value = map.values ? map.values[l][h] : null;
      const gone = map.values !== null && value === null;
      const ground = value === null || value === map.blank ? "" : colourOf(value, map, colours);
      const words = map.words ? map.words[l][h] : value === null ? "" : withSign(value, map.digits, map.signed);
      const here = l === layer && h === head;
      cell.style.background = ground;
      cell.style.color = ground ? inkOn(ground) : "";
      cell.classList.toggle("gone", gone);
      cell.classList.toggle("chosen", here);
      cell.replaceChildren(make("span", { textContent: dense ? "" : words })); // hidden where it has no room
      cell.title = `layer ${l} head ${h}${words || gone ? `: ${words || "not there"}` : ""}`;
      cell.setAttribute("aria-label", cell.title);
      cell.setAttribute("aria-selected", String(here));
      cell.tabIndex = here ? 0 : -1;
    }));
  }
  return { box: grid, draw };
}

// What the colours of a map stand for.
export function ramp() {
  const low = make("span");
  const bar = make("i", { "aria-hidden": "true" });
  const high = make("span");
  const words = make("span", { className: "what" });
  const box = make("div", { className: "ramp" }, words, low, bar, high);
  function draw(map, colours) {
    bar.style.background = `linear-gradient(to right, ${colours.filter((_, at) => at % 8 === 0 || at === colours.length - 1).join(", ")})`;
    words.textContent = map.label;
    low.textContent = withSign(map.low, map.digits, map.signed);
    high.textContent = withSign(map.high, map.digits, map.signed);
    box.classList.toggle("empty", !map.values);
  }
  return { box, draw };
}
