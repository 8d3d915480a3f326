// Lines from the words that look, at the left, to those they look at, at the right: of one head, or of a layer with a
// colour for each head.

import { drawn } from "./elements.js";
import { onKey } from "./keys.js";
import { clamp, cut } from "./pictures.js";

const SHADES = 8; // of opacity, so that a head is a few paths and not a line for each pair
const FAINTEST = 0.06; // part of the strongest that is drawn at all
const LETTERS = 13;

let looking = { tokens: "", row: null }; // the word whose lines alone are shown

export function drawLines(place, picture) {
  const { tokens, heads, limit, one, alt } = picture;
  const known = tokens.join(" ");
  if (looking.tokens !== known) looking = { tokens: known, row: null };
  const [width, height] = [Math.max(220, place.clientWidth - 2), Math.max(120, place.clientHeight - 4)];
  const step = clamp(17, Math.floor((height - 8) / tokens.length), 40);
  const room = Math.min(12 + 7 * Math.min(LETTERS, Math.max(...tokens.map((token) => token.length))), width * 0.36);
  const [left, right] = [room, width - room];
  const middle = (index) => 4 + (index + 0.5) * step;
  const svg = drawn("svg", { class: "lines", width, height: 8 + step * tokens.length, role: "img", "aria-label": alt });
  const wires = drawn("g", { class: "wires", "aria-hidden": "true" });
  const rows = tokens.map((token, index) => {
    const group = drawn("g", { class: "looks" },
      drawn("rect", { class: "catch", x: 0, y: middle(index) - step / 2, width: left, height: step }),
      drawn("text", { x: left - 6, y: middle(index) + 4, "text-anchor": "end" }, cut(token, LETTERS)));
    group.addEventListener("click", () => choose(looking.row === index ? null : index));
    return group;
  });
  const seen = tokens.map((token, index) => drawn("text", { x: right + 6, y: middle(index) + 4 }, cut(token, LETTERS)));

  function wire() {
    const only = looking.row;
    const bend = (right - left) * 0.4;
    const paths = heads.flatMap(({ head, values }) => {
      const shades = Array.from({ length: SHADES }, () => "");
      values.forEach((line, from) => {
        if (only !== null && from !== only) return;
        line.forEach((value, to) => {
          const part = Math.abs(value) / limit;
          if (part < FAINTEST) return;
          shades[Math.min(SHADES - 1, Math.floor(part * SHADES))] += `M${left},${middle(from)}C${left + bend},${middle(from)} ${right - bend},${middle(to)} ${right},${middle(to)}`;
        });
      });
      return shades.flatMap((d, shade) => {
        if (!d) return [];
        const part = (shade + 0.5) / SHADES;
        const path = drawn("path", { d, class: one ? "alone" : "", "stroke-opacity": (0.08 + 0.87 * part ** 1.5).toFixed(2), "stroke-width": (0.7 + 2.8 * part).toFixed(1) });
        path.style.setProperty("--head", head);
        return [path];
      });
    });
    wires.replaceChildren(...paths);
    rows.forEach((row, index) => row.classList.toggle("chosen", index === only));
    const to = new Set(only === null ? [] : tokens.map((_, index) => index)
      .filter((index) => heads.some(({ values }) => Math.abs(values[only][index]) / limit > 0.25)));
    seen.forEach((text, index) => text.classList.toggle("chosen", to.has(index)));
  }
  function choose(row) {
    looking.row = row;
    wire();
  }
  onKey(place, (event) => { // the arrow keys go from word to word, Escape back to all
    if (!place.contains(svg)) return; // something else is drawn by now
    const last = tokens.length - 1;
    const to = { ArrowDown: looking.row === null ? 0 : Math.min(last, looking.row + 1), ArrowUp: looking.row === null ? last : Math.max(0, looking.row - 1), Escape: null }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(to);
  });
  svg.append(wires, ...rows, ...seen);
  place.replaceChildren(svg);
  wire();
}
