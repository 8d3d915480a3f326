// A map of heads to choose from, and a map of attention: what the balance meter and the tuner's desk share.

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
const luminance = (hex) => {
  const [r, g, b] = channels(hex).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const inkOn = (hex) => (luminance(hex) < 0.179 ? "#fff" : "#000"); // whichever has more contrast

function colourOf(value, { low, high }, colours) {
  const part = (value - low) / (high - low || 1);
  return colours[Math.max(0, Math.min(colours.length - 1, Math.round(part * (colours.length - 1))))];
}
const withSign = (value, digits, signed) => `${signed && value > 0 ? "+" : ""}${value.toFixed(digits)}`.replace("-", "−");

// Layers down, heads across; one head is chosen, by a click or the arrow keys.
function headGrid({ layers, heads, label, choose, dense = heads > 16 || layers > 14 }) {
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
    rows.push(make("div", { role: "row", className: "line" }, make("div", { role: "rowheader", className: "name side", textContent: `layer ${layer}` }), ...line));
  }
  const grid = make("div", { role: "grid", className: `head-grid${dense ? " dense" : ""}`, "aria-label": label }, ...rows);
  grid.style.setProperty("--heads", heads);
  const limit = (value, most) => Math.max(0, Math.min(most - 1, value));
  function pick(layer, head) {
    cells[layer][head].focus({ preventScroll: true });
    if (layer !== chosen[0] || head !== chosen[1]) choose(layer, head);
  }
  grid.addEventListener("keydown", (event) => {
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
    cells.forEach((line, l) => line.forEach((cell, h) => {
      const value = map.values ? map.values[l][h] : null;
      const gone = map.values !== null && value === null;
      const ground = value === null ? "" : colourOf(value, map, colours);
      const words = map.words ? map.words[l][h] : value === null ? "" : withSign(value, map.digits, map.signed);
      const here = l === layer && h === head;
      cell.style.background = ground;
      cell.style.color = ground ? inkOn(ground) : "";
      cell.classList.toggle("gone", gone);
      cell.classList.toggle("chosen", here);
      cell.textContent = dense ? "" : words;
      cell.title = `layer ${l} head ${h}${words || gone ? `: ${words || "not there"}` : ""}`;
      cell.setAttribute("aria-label", cell.title);
      cell.setAttribute("aria-selected", String(here));
      cell.tabIndex = here ? 0 : -1;
    }));
  }
  return { box: grid, draw };
}

// What the colours of a map stand for.
function ramp() {
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

// A map of attention, rows look at columns; as large as its place allows.
function drawAttention(place, map, palette) {
  if (!map.tokens) return place.replaceChildren();
  const n = map.tokens.length;
  const longest = Math.min(11, Math.max(...map.tokens.map((token) => token.length)));
  const label = 10 + 6.6 * longest;
  const room = Math.min(place.clientWidth, place.clientHeight) - label - 8;
  const cell = Math.max(11, Math.min(26, Math.floor(room / n)));
  const size = label + n * cell + 4;
  const svg = drawn("svg", { width: size, height: size, viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": map.alt });
  const colours = palette[map.signed ? "signed" : "plain"];
  const limits = { low: map.signed ? -map.limit : 0, high: map.limit };
  map.values.forEach((row, i) => row.forEach((value, j) => {
    const rect = drawn("rect", { x: label + j * cell, y: label + i * cell, width: cell, height: cell, fill: colourOf(value, limits, colours) });
    rect.append(drawn("title", {}, `${map.tokens[i]} → ${map.tokens[j]}: ${withSign(value, 3, map.signed)}`));
    svg.append(rect);
  }));
  const cut = (token) => (token.length > 11 ? `${token.slice(0, 10)}…` : token);
  map.tokens.forEach((token, i) => {
    const middle = label + (i + 0.5) * cell;
    svg.append(drawn("text", { x: label - 4, y: middle + 4, "text-anchor": "end" }, cut(token)),
      drawn("text", { transform: `translate(${middle + 4},${label - 4}) rotate(-90)` }, cut(token)));
  });
  place.replaceChildren(svg);
}

// A menu; draw takes its choices as [value, text, whether it can be chosen].
function menu(label, changed) {
  const box = make("select", { "aria-label": label, onchange: () => changed(box.value) });
  let known = "";
  const draw = (choices, value) => {
    if (known !== JSON.stringify(choices)) {
      known = JSON.stringify(choices);
      box.replaceChildren(...choices.map(([one, words, can]) => make("option", { value: one, textContent: words, disabled: !can })));
    }
    box.value = value;
  };
  return { box, draw };
}
