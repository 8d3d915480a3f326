// One layers x heads table of the mixing desk's faders, for desks whose settings are plain tables of scales.
// With `warm`, which reads and writes temperatures, setMode("temperature") shows those instead.

import { make } from "./elements.js";
import { faderGrid } from "./mixer-faders.js";

export function faderTable({ kind, title, size: [layers, heads], read, write, warm = null }) {
  const ones = Array.from({ length: layers }, () => Array(heads).fill(1));
  const model = { // what the mixing desk's faders ask for
    get: (name) => (name === "faders" ? { scale: read(), temperature: warm ? warm.read() : ones } : name === "side" ? "" : {}),
    set: (_, { scale, temperature }) => (desk.mode === "scale" ? write(scale) : warm.write(temperature)),
    save_changes() {},
  };
  const desk = { model, layers, heads, removed: new Set(), mode: "scale", select() {} };
  const { grid, draw } = faderGrid(desk);
  let pressed = 1; // where the fader stood before a double click, whose first click moves it
  const placeOf = ({ target: { dataset } }) => (dataset.layer === undefined ? null : [Number(dataset.layer), Number(dataset.head)]);
  grid.addEventListener("mousedown", (event) => {
    const place = placeOf(event);
    if (place && event.detail === 1) pressed = read()[place[0]][place[1]];
  }, true);
  grid.addEventListener("dblclick", (event) => {
    const place = placeOf(event);
    if (!place || desk.mode !== "scale") return;
    event.stopPropagation();
    const scale = structuredClone(read());
    scale[place[0]][place[1]] = pressed === 0 ? 1 : 0;
    write(scale);
  }, true);
  const name = `${kind} faders`;
  const table = {
    box: make("div", {}, make("div", { className: "note", textContent: title }), grid),
    setMode(mode) {
      desk.mode = mode;
      table.draw();
    },
    draw() {
      draw();
      const what = desk.mode === "scale" ? "" : ` ${desk.mode}`;
      grid.setAttribute("aria-label", name);
      for (const input of grid.querySelectorAll("input")) {
        input.setAttribute("aria-label", `${kind} layer ${input.dataset.layer} head ${input.dataset.head}${what}`);
      }
    },
  };
  return table;
}
