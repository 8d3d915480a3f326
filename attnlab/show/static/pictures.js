// Attention to a sentence, a heat map or bertviz in a frame; or to an image, patch by patch.

import { drawn, make } from "./elements.js";
import { colourOf, withSign } from "./colours.js";
import { ramp } from "./grids.js";
import { tr } from "./words.js";

const WIDE = 360; // pixels that a drawing of bertviz takes

export const cut = (token, most) => (token.length > most ? `${token.slice(0, most - 1)}…` : token);
export const clamp = (low, value, high) => Math.max(low, Math.min(high, value));

// A map of weights, rows look at columns. `cell` says how wide and high a cell is, from the room that the tokens take
// at the left and at the top; of a longer token `most` letters are shown.
export function heatMap({ rows, columns, values, limits, colours, signed = false, alt, most = 11, letter = 6.6, cell }) {
  const room = (tokens) => 10 + letter * Math.min(most, Math.max(...tokens.map((token) => token.length)));
  const [left, top] = [room(rows), room(columns)];
  const [width, height] = cell(left, top);
  const [w, h] = [left + width * columns.length + 4, top + height * rows.length + 4];
  const svg = drawn("svg", { width: w, height: h, viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": alt });
  values.forEach((line, row) => line.forEach((value, column) => {
    const rect = drawn("rect", { x: left + column * width, y: top + row * height, width, height, fill: colourOf(value, limits, colours) });
    rect.dataset.row = row;
    rect.append(drawn("title", {}, `${rows[row]} → ${columns[column]}: ${withSign(value, 3, signed)}`));
    svg.append(rect);
  }));
  columns.forEach((token, column) => svg.append(
    drawn("text", { transform: `translate(${left + (column + 0.5) * width + 4},${top - 4}) rotate(-90)` }, cut(token, most))));
  rows.forEach((token, row) => {
    const label = drawn("text", { x: left - 4, y: top + (row + 0.5) * height + 4, "text-anchor": "end" }, cut(token, most));
    label.dataset.row = row;
    svg.append(label);
  });
  return { svg, left, top, width, height };
}

// Where the attention of one head, or of a layer in bertviz, is drawn: as large as fits. `more` has by its kind what
// draws another one.
export function attentionPicture(place, model, more = {}) {
  let latest = 0; // a frame that loads late must not replace a newer picture

  function drawMap({ tokens, values, signed, limit, alt, label }) {
    const limits = { low: signed ? -limit : 0, high: limit };
    const colours = model.get("palette")[signed ? "signed" : "plain"];
    const legend = ramp();
    legend.draw({ ...limits, values, signed, digits: limit < 0.095 ? 3 : 2, label }, colours);
    place.replaceChildren(legend.box);
    const [width, height] = [place.clientWidth - 12, place.clientHeight - 16 - legend.box.offsetHeight];
    const { svg, left, top, width: cell } = heatMap({
      rows: tokens, columns: tokens, values, signed, alt, limits, colours,
      cell: (left, top) => Array(2).fill(clamp(11, Math.floor(Math.min((width - left) / tokens.length, (height - top) / tokens.length)), 36)),
    });
    if (!signed && values.flat().every((value) => value === 0)) { // a dark map without a word looks broken
      const middle = { x: left + (cell * tokens.length) / 2, y: top + (cell * tokens.length) / 2, "text-anchor": "middle" };
      svg.append(drawn("text", { ...middle, class: "silent" }, tr("silent: all 0")));
    }
    place.prepend(svg);
  }

  function drawFrame({ alt, height, drawing }, serial, done) { // put on top when it has drawn itself: no flicker
    const frame = make("iframe", { title: alt });
    frame.setAttribute("sandbox", "allow-scripts");
    // the last token must be seen, and be read
    const share = clamp(0.72, Math.min((place.clientHeight - 4) / height, place.clientWidth / WIDE), 1);
    frame.style.height = `${height}px`;
    frame.style.width = `${100 / share}%`;
    frame.style.transform = `scale(${share})`;
    frame.style.visibility = "hidden";
    frame.onload = () => {
      if (serial !== latest) return frame.remove();
      frame.style.visibility = "visible";
      for (const child of [...place.children]) if (child !== frame) child.remove();
      done();
    };
    frame.srcdoc = `${model.get("library")}<style>#view > span { display: none } #view { width: 340px; margin: 0 auto }</style>${drawing}`; // the desk has that choice
    place.append(frame);
  }

  function drawImage({ image, size: [wide, high], grid: [rows, columns], values, signed, limit, alt, label }) {
    const limits = { low: signed ? -limit : 0, high: limit };
    const colours = model.get("palette")[signed ? "signed" : "plain"];
    const legend = ramp();
    legend.draw({ ...limits, values, signed, digits: limit < 0.095 ? 3 : 2, label }, colours);
    const svg = drawn("svg", { class: "over-image", viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": alt });
    svg.append(drawn("image", { width: wide, height: high, href: image, preserveAspectRatio: "none" }));
    values.forEach((value, index) => {
      const [row, column] = [Math.floor(index / columns), index % columns];
      const rect = drawn("rect", { x: column * wide / columns, y: row * high / rows, width: wide / columns, height: high / rows,
        fill: colourOf(value, limits, colours), "fill-opacity": (0.2 + 0.5 * Math.min(1, Math.abs(value) / limit)).toFixed(3) });
      rect.append(drawn("title", {}, `row ${row + 1}, column ${column + 1}: ${withSign(value, 3, signed)}`));
      svg.append(rect);
    });
    place.replaceChildren(svg, legend.box);
  }

  // `done` is called when the picture can be seen
  return function draw(picture, done = () => {}) {
    const serial = ++latest;
    if (picture.kind === "bertviz") return drawFrame(picture, serial, done);
    if (picture.kind === "map") drawMap(picture);
    else if (picture.kind === "image") drawImage(picture);
    else if (more[picture.kind]) more[picture.kind](place, picture);
    else place.replaceChildren();
    done();
  };
}
