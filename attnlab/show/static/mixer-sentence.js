// The mixing desk's sentence or image: what is answered, and a picture of its attention.

import { button, make, menu, textBox, turnOff } from "./elements.js";
import { percent } from "./mixer-accuracy.js";
import { attentionPicture } from "./pictures.js";
import { tr } from "./words.js";

const whats = () => [
  ["scaled", tr("weights × scale"), tr("Each head's weights times its fader")],
  ["weights", tr("weights"), tr("How each word shares out its attention, 1 in all; a layer's own faders of scale do not change it")],
  ["contributions", tr("contributions"), tr("How long the vector is that a word adds to the head's output: weight × value × scale (Kobayashi et al. 2020)")],
  ["difference", tr("difference from neutral"), tr("Weights × scale now minus those of the untouched model: red is more, blue less")],
];

// Goes through the images of a data set; `text` is the number of the one that is shown.
function imageChooser(count, changed) {
  const number = make("input", { type: "number", min: 1, max: count, step: 1, "aria-label": tr("Number of the image") });
  const title = make("span", { className: "note" });
  const go = (index) => changed(String(Math.max(0, Math.min(count - 1, index))));
  const [previous, next] = [["previous", "‹", -1], ["next", "›", 1]].map(([action, label, by]) => {
    const made = button(action, label, () => go(Number(number.value) - 1 + by));
    made.setAttribute("aria-label", action === "next" ? tr("Next image") : tr("Previous image"));
    return made;
  });
  number.onchange = () => go(Math.round(Number(number.value)) - 1);
  return {
    box: make("div", { className: "desk-image-chooser" }, previous, number, next, title),
    show(text) {
      number.value = Number(text) + 1;
      turnOff(previous, text === "0" && tr("This is the first image."));
      turnOff(next, Number(text) === count - 1 && tr("This is the last image."));
    },
    name(words) { title.textContent = words; },
  };
}

// A desk may bring kinds of pictures of its own, and what draws them.
export function sentencePanel(desk, brief) {
  const { model, layers, heads } = desk;
  const { images } = model.get("size");
  const write = (words) => { model.set("text", words); model.save_changes(); };
  const text = images ? imageChooser(images, write) : textBox(tr("Sentence to classify"), write, 250);
  const answer = make("div", { className: "desk-answer", role: "group", "aria-label": tr("Prediction") });
  const sentenceError = make("div", { className: "complaint desk-error", role: "status" });

  function drawAnswer() {
    const now = model.get("sentence");
    sentenceError.textContent = now.error ?? "";
    if (images) text.name(now.title ?? "");
    drawStale();
    answer.dataset.stamp = now.stamp ?? "";
    if (!now.labels) return;
    const side = model.get("side");
    const other = side === "A" ? "B" : side === "B" ? "A" : "";
    const whose = other || tr("untouched model");
    const was = other || tr("was");
    const rows = [];
    answer.dataset.text = now.text ?? "";
    now.labels.forEach((label, index) => {
      const fill = make("i");
      const before = make("b", { title: `${whose}: ${percent(now.before[index])}` });
      fill.style.width = `${100 * now.after[index]}%`;
      before.style.left = `${100 * now.before[index]}%`;
      rows.push(make("span", { textContent: label }), make("div", { className: "track" }, fill, before),
        make("span", {}, `${percent(now.after[index])} `, make("small", { textContent: `${was} ${percent(now.before[index])}` })));
    });
    answer.replaceChildren(...rows);
    answer.tabIndex = now.labels.length > 5 ? 0 : -1; // they scroll
  }

  // ── the picture ──────────────────────────────────────────────────────────────────────────
  const choose = (name, label, options) => ({ options, ...menu(label, (value) => desk.setLook({ [name]: value })) });
  const number = (name, label, count) => ({
    options: Array.from({ length: count }, (_, index) => [index, index]),
    ...menu(label, (value) => desk.setLook({ [name]: Number(value) })),
  });
  const boxes = {
    kind: choose("kind", tr("Kind of picture"), desk.kinds ?? (images ? [["image", tr("on the image")], ["map", tr("map: head")]]
      : [["layer", tr("bertviz: layer")], ["head", tr("bertviz: head")], ["map", tr("map: head")]])),
    what: choose("what", tr("What is drawn"), whats()),
    layer: number("layer", tr("Layer shown"), layers),
    head: number("head", tr("Head shown"), heads),
  };
  const looks = make("div", { className: "desk-look" }, boxes.kind.box, boxes.what.box,
    make("label", {}, `${tr("layer")} `, boxes.layer.box), make("label", {}, `${tr("head")} `, boxes.head.box));
  boxes.what.box.classList.add("rare");
  const picture = make("div", { className: "desk-picture", tabIndex: 0, role: "region", "aria-label": tr("Attention picture") });
  const note = make("div", { className: "desk-note" });

  const drawAttention = attentionPicture(picture, model, desk.drawings);

  function drawLook() {
    const look = model.get("look");
    for (const [name, { draw, options }] of Object.entries(boxes)) draw(options.map(([value, words]) => [value, words, true]), look[name]);
    boxes.what.box.title = whats().find(([value]) => value === look.what)[2];
  }

  // What belongs to other faders, another sentence or another choice is grey until the new is there.
  function drawStale() {
    const { stamp } = model.get("faders");
    const text = model.get("text");
    const same = (one) => one.text === undefined || (one.stamp === stamp && one.text === text);
    const [shown, look] = [model.get("attention"), model.get("look")];
    const stale = !same(shown) || (shown.look !== undefined && Object.keys(look).some((name) => look[name] !== shown.look[name]));
    picture.classList.toggle("stale", stale);
    picture.setAttribute("aria-busy", String(stale));
    answer.classList.toggle("stale", !same(model.get("sentence")));
  }

  function drawPicture() {
    const now = model.get("attention");
    picture.dataset.stamp = now.stamp ?? "";
    note.textContent = now.note ?? "";
    drawStale();
    drawAttention(now, () => { picture.dataset.kind = now.kind ?? ""; });
  }

  let room = "";
  function fit() { // a map is as large as its place
    const now = `${picture.clientWidth} ${picture.clientHeight}`;
    if (now !== room && model.get("attention").kind) drawPicture();
    room = now;
  }

  const drawText = () => text.show(model.get("text"));
  const said = make("div", { className: "desk-sentence" }, text.box, answer, sentenceError, brief);
  const shown = make("div", { className: "desk-shown" }, looks, picture, note);
  return { said, shown, drawAnswer, drawLook, drawPicture, drawStale, drawText, fit };
}
