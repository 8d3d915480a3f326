// The mixing desk's sentence: what is answered, and a picture of its attention.

import { make, menu, textBox } from "./elements.js";
import { percent } from "./mixer-accuracy.js";
import { attentionPicture } from "./pictures.js";

const WHATS = [
  ["scaled", "weights × scale"],
  ["weights", "weights"],
  ["contributions", "contributions"],
  ["difference", "difference from neutral"],
];

export function sentencePanel(desk) {
  const { model, layers, heads } = desk;
  const text = textBox("Sentence to classify", (words) => { model.set("text", words); model.save_changes(); }, 250);
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
  const choose = (name, label, options) => ({ options, ...menu(label, (value) => desk.setLook({ [name]: value })) });
  const number = (name, label, count) => ({
    options: Array.from({ length: count }, (_, index) => [index, index]),
    ...menu(label, (value) => desk.setLook({ [name]: Number(value) })),
  });
  const boxes = {
    kind: choose("kind", "Kind of picture", [["layer", "bertviz: layer"], ["head", "bertviz: head"], ["map", "map: head"]]),
    what: choose("what", "What is drawn", WHATS),
    layer: number("layer", "Layer shown", layers),
    head: number("head", "Head shown", heads),
  };
  const looks = make("div", { className: "desk-look" }, boxes.kind.box, boxes.what.box,
    make("label", {}, "layer ", boxes.layer.box), make("label", {}, "head ", boxes.head.box));
  const picture = make("div", { className: "desk-picture", tabIndex: 0, role: "region", "aria-label": "Attention picture" });
  const note = make("div", { className: "desk-note" });

  const drawAttention = attentionPicture(picture, model, () => picture.clientWidth - 14);

  function drawLook() {
    const look = model.get("look");
    for (const [name, { draw, options }] of Object.entries(boxes)) draw(options.map(([value, words]) => [value, words, true]), look[name]);
  }

  function drawPicture() {
    const now = model.get("attention");
    picture.dataset.stamp = now.stamp ?? "";
    note.textContent = now.note ?? "";
    drawAttention(now, () => { picture.dataset.kind = now.kind ?? ""; });
  }

  const drawText = () => text.show(model.get("text"));
  const box = make("div", { className: "desk-sentence" }, text.box, answer, sentenceError, looks, picture, note);
  return { box, drawAnswer, drawLook, drawPicture, drawText };
}
