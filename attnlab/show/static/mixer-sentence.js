// The mixing desk's sentence: what is answered, and a picture of its attention.

const WHATS = [
  ["scaled", "weights × scale"],
  ["weights", "weights"],
  ["contributions", "contributions"],
  ["difference", "difference from neutral"],
];

function sentencePanel(desk) {
  const { model, layers, heads } = desk;
  const text = make("input", { type: "text", "aria-label": "Sentence to classify", spellcheck: false, dir: "auto" });
  let typing;
  text.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { model.set("text", text.value); model.save_changes(); }, 250);
  });
  const answer = make("div", { className: "desk-answer", role: "group", "aria-label": "Prediction" });
  const sentenceError = make("div", { className: "complaint desk-error", role: "status" });

  function drawAnswer() {
    const now = model.get("sentence");
    sentenceError.textContent = now.error ?? "";
    answer.dataset.stamp = now.stamp ?? "";
    if (!now.labels) return;
    const side = model.get("side");
    const other = side === "A" ? "B" : side === "B" ? "A" : "";
    const whose = other || "untouched model";
    const was = other || "was";
    const rows = [];
    now.labels.forEach((label, index) => {
      const fill = make("i");
      const before = make("b", { title: `${whose}: ${percent(now.before[index])}` });
      fill.style.width = `${100 * now.after[index]}%`;
      before.style.left = `${100 * now.before[index]}%`;
      rows.push(make("span", { textContent: label }), make("div", { className: "track" }, fill, before),
        make("span", {}, `${percent(now.after[index])} `, make("small", { textContent: `${was} ${percent(now.before[index])}` })));
    });
    answer.replaceChildren(...rows);
  }

  // ── the picture ──────────────────────────────────────────────────────────────────────────
  function choose(name, label, options) {
    const box = make("select", { "aria-label": label });
    for (const [value, title] of options) box.append(make("option", { value, textContent: title }));
    box.onchange = () => desk.setLook({ [name]: /^\d+$/.test(box.value) ? Number(box.value) : box.value });
    return box;
  }
  const numbers = (n) => Array.from({ length: n }, (_, index) => [index, index]);
  const boxes = {
    kind: choose("kind", "Kind of picture", [["layer", "bertviz: layer"], ["head", "bertviz: head"], ["map", "map: head"]]),
    what: choose("what", "What is drawn", WHATS),
    layer: choose("layer", "Layer shown", numbers(layers)),
    head: choose("head", "Head shown", numbers(heads)),
  };
  const looks = make("div", { className: "desk-look" }, boxes.kind, boxes.what,
    make("label", {}, "layer ", boxes.layer), make("label", {}, "head ", boxes.head));
  const picture = make("div", { className: "desk-picture", tabIndex: 0, role: "region", "aria-label": "Attention picture" });
  const note = make("div", { className: "desk-note" });

  function drawLook() {
    for (const [name, box] of Object.entries(boxes)) box.value = String(model.get("look")[name]);
  }

  let latest = 0; // pictures drawn; a frame that loads late must not replace a newer one
  function drawPicture() {
    const now = model.get("picture");
    picture.dataset.stamp = now.stamp ?? "";
    note.textContent = now.note ?? "";
    const serial = ++latest;
    if (now.kind === "bertviz") return drawFrame(now, serial);
    if (now.kind !== "map") return picture.replaceChildren();
    picture.dataset.kind = "map";
    const n = now.tokens.length;
    const label = 84;
    const cell = Math.max(12, Math.min(26, Math.floor((picture.clientWidth - label - 14) / n)));
    const size = label + n * cell + 6;
    const svg = drawn("svg", { width: size, height: size, viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": now.alt });
    const colours = model.get("palette")[now.signed ? "signed" : "plain"];
    now.values.forEach((row, i) => row.forEach((value, j) => {
      const part = now.signed ? 0.5 + value / (2 * now.limit) : value / now.limit;
      const index = Math.max(0, Math.min(colours.length - 1, Math.round(part * (colours.length - 1))));
      const rect = drawn("rect", { x: label + j * cell, y: label + i * cell, width: cell, height: cell, fill: colours[index] });
      rect.append(Object.assign(drawn("title"), { textContent: `${now.tokens[i]} → ${now.tokens[j]}: ${value.toFixed(3)}` }));
      svg.append(rect);
    }));
    const cut = (token) => (token.length > 11 ? `${token.slice(0, 10)}…` : token);
    now.tokens.forEach((token, i) => {
      const middle = label + (i + 0.5) * cell;
      const down = drawn("text", { x: label - 4, y: middle + 4, "text-anchor": "end" });
      const across = drawn("text", { transform: `translate(${middle + 4},${label - 4}) rotate(-90)` });
      down.textContent = across.textContent = cut(token);
      svg.append(down, across);
    });
    picture.replaceChildren(svg);
  }

  function drawFrame(now, serial) { // the new frame is put on top when it has drawn itself: no flicker
    const frame = make("iframe", { title: now.alt });
    frame.setAttribute("sandbox", "allow-scripts");
    frame.style.height = `${now.height}px`;
    frame.style.visibility = "hidden";
    frame.dataset.stamp = now.stamp;
    frame.onload = () => {
      if (serial !== latest) return frame.remove();
      frame.style.visibility = "visible";
      for (const other of [...picture.children]) if (other !== frame) other.remove();
      picture.dataset.kind = "bertviz";
    };
    frame.srcdoc = `${model.get("library")}<style>#view > span { display: none }</style>${now.drawing}`; // the desk has that choice
    picture.append(frame);
  }

  function drawText() {
    if (document.activeElement !== text) text.value = model.get("text");
  }

  const box = make("div", { className: "desk-sentence" }, text, answer, sentenceError, looks, picture, note);
  return { box, drawAnswer, drawLook, drawPicture, drawText };
}
