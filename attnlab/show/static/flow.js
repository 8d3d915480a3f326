// The view of the flow desk: a sentence, step by step through one head to the answer. A step, or another token that
// looks, needs nothing from Python: the report holds all of them.

import { begin, button, controlled, drawn, make, menu, say, textBox, turnOff } from "./elements.js";
import { NAME, board, widest, write } from "./flow-board.js";
import { MAP, partOf, smallModel, wholeModel } from "./flow-model.js";
import { marks, mayMove, moveFrom, zoom } from "./flow-motion.js";
import { above, stepPictures } from "./flow-steps.js";
import { onKey } from "./keys.js";
import { clamp, cut } from "./pictures.js";
import { spoken, tr } from "./words.js";

const TOP = 42; // room for headings, in pixels
const PART = 38; // a part of the new vector, at least

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-flow", tr("Flow desk: a sentence step by step"));
  const { set, reset, keep } = controlled(model);
  const steps = model.get("steps");
  const size = model.get("size");
  const colours = model.get("palette");
  const look = (changes) => { // looking elsewhere is no step to take back
    model.set("settings", { ...model.get("settings"), ...changes });
    model.save_changes();
  };
  const now = () => {
    const { step, token } = model.get("settings");
    return { step: Math.max(0, steps.findIndex(([name]) => name === step)), token: clamp(0, token, model.get("report").tokens.length - 1) };
  };

  // ── the sentence, and the way through it ─────────────────────────────────────────────────
  const text = textBox(tr("Your sentence"), (typed) => set({ text: typed, token: 0 }));
  let opened = null; // the layer that was clicked, while its numbers are not there yet
  const layer = menu(tr("Layer"), (value) => {
    opened = null; // it may have no head left, and then its numbers never come
    look({ layer: Number(value), head: fitting(Number(value)) });
  });
  const head = menu(tr("Head"), (value) => look({ head: Number(value) }));
  const lines = menu(tr("Width of the lines"), (value) => look({ lines: value }));
  const ofLines = make("label", { className: "of-lines" }, `${tr("lines:")} `, lines.box);
  const gone = (l, h) => model.get("report").removed.some(([a, b]) => a === l && b === h);
  const all = (count) => [...Array(count).keys()];
  function fitting(l) { // the head that is shown, or the first that this layer has
    const { head: shown } = model.get("settings");
    return gone(l, shown) ? all(size.heads).find((h) => !gone(l, h)) ?? shown : shown;
  }

  const go = (step) => look({ step: steps[clamp(0, step, steps.length - 1)][0] });
  const back = button("back", tr("‹ Back"), () => go(now().step - 1));
  const next = button("next", tr("Next ›"), () => go(now().step + 1));
  const stops = steps.map(([name, label], index) => {
    const stop = button(`step-${name}`, "", () => go(index));
    stop.className = "stop";
    stop.append(make("b", { textContent: index }), make("span", { textContent: label }));
    stop.setAttribute("aria-label", tr("Step {number}: {name}", { number: index, name: label }));
    return stop;
  });
  const stepper = make("div", { className: "stepper", role: "group", "aria-label": tr("Steps") }, back, make("div", { className: "stops" }, ...stops), next);
  const stepBy = (event) => { // the arrow keys, wherever the keyboard is in the desk but in its menus and its text
    const to = { ArrowRight: now().step + 1, ArrowLeft: now().step - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return false;
    event.preventDefault();
    go(to);
    return true;
  };
  for (const control of [back, next, ...stops]) {
    onKey(control, (event) => {
      if (stepBy(event) && control.classList.contains("stop")) stops[now().step].focus();
    });
  }
  // where in the model the step is: its menu and its words say the same
  const map = drawn("svg", { class: "depth", "aria-hidden": "true", height: MAP });
  const words = make("p", { className: "remark", "aria-live": "polite" });
  const question = make("b");
  const found = make("span", { "aria-live": "polite" });
  const reveal = button("reveal", tr("Show"), () => {
    reveal.hidden = true;
    say(found, model.get("report").asked[steps[now().step][0]][now().token][2]);
  });
  const asks = model.get("questions") === true; // what is found is said only when asked
  const remark = asks ? make("div", { className: "remark-asks" }, words, make("div", { className: "asked" }, question, reveal, found)) : words;

  function speak(report, name, token) {
    const [shown, wanted, answer] = report.asked[name][token];
    say(words, asks ? shown : report.words[name][token]);
    if (!asks || (question.textContent === wanted && question.dataset.answer === answer)) return;
    Object.assign(question.dataset, { answer });
    say(question, wanted);
    say(found, "");
    reveal.hidden = false;
  }

  // ── the picture: a row for each token; what stands beside them changes with the step ─────
  const svg = drawn("svg", { role: "figure" });
  const picture = make("div", { className: "flow-picture" }, svg);
  const layout = {};
  const drawing = board(layout, colours);
  const pictures = {
    model: (report, token) => wholeModel(report, token, report.between[model.get("settings").lines], drawing, lookInto),
    ...stepPictures(drawing, root),
  };
  let rows = [];
  let stage = drawn("g");
  let drawnState = "";
  const names = drawn("g", { role: "listbox", "aria-label": tr("Tokens: choose the one that looks") });

  function lookInto(l) {
    if (l === model.get("report").settings.layer) return look({ step: "vectors" });
    opened = l;
    look({ layer: l, head: fitting(l) });
  }

  function layOut(width) {
    const { tokens } = model.get("report");
    const left = Math.min(widest(tokens.map((token) => cut(token, NAME)), root) + 18, 130);
    const row = clamp(15, Math.floor(330 / tokens.length), 22);
    const height = TOP + Math.max(row * (tokens.length + 2) + 12, PART * model.get("report").update.length);
    Object.assign(layout, { available: width, left, row, first: TOP, top: TOP, width: width - left - 8, tokens: tokens.join(" "), height });
    svg.setAttribute("width", width);
    svg.setAttribute("height", layout.height);
    const active = root.getRootNode().activeElement;
    const focused = rows.findIndex(({ group }) => group === active);
    rows = tokens.map((token, index) => {
      const name = write(cut(token, NAME), left - 10, drawing.middle(index) + 4, { class: "name", "text-anchor": "end" });
      const group = drawn("g", { class: "row", role: "option", "aria-selected": "false", tabindex: -1, "aria-label": token },
        drawn("rect", { class: "catch", x: 1, y: layout.top + index * row, width: width - 2, height: row, rx: 3 }), name,
        drawn("rect", { class: "ring", x: 2, y: layout.top + index * row + 1, width: left - 6, height: row - 2, rx: 3 }));
      group.append(drawn("title", {}, token));
      group.addEventListener("click", () => { look({ token: index }); group.focus({ preventScroll: true }); });
      onKey(group, (event) => {
        if (stepBy(event)) return;
        const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: tokens.length - 1 }[event.key];
        if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        look({ token: clamp(0, to, tokens.length - 1) });
        rows[now().token].group.focus({ preventScroll: true });
      });
      return { group, name };
    });
    names.replaceChildren(...rows.map(({ group }) => group));
    svg.replaceChildren(names, stage);
    if (focused >= 0) rows[now().token].group.focus({ preventScroll: true });
  }

  function show(fresh, name, report) { // played when it is gone to, and not again for another token
    const [old, before] = [stage, stage.dataset.drawn];
    const play = before !== name;
    fresh.setAttribute("class", play ? "stage play" : "stage");
    stage = fresh;
    if (!play || !before || !mayMove()) return old.replaceWith(fresh);
    const places = marks(old);
    old.replaceWith(fresh);
    if (name !== "model" && before !== "model") return moveFrom(places, fresh);
    const part = partOf(name === "model" ? before : name, report, { ...layout, top: TOP });
    zoom(old, fresh, names, part, { x: 0, y: 0, width: layout.available, height: layout.height }, before === "model");
  }

  function drawPicture() {
    const report = model.get("report");
    const width = picture.clientWidth;
    if (!width) return; // not on the page yet
    if (width !== layout.available || report.tokens.join(" ") !== layout.tokens) layOut(width);
    const { step, token } = now();
    const [name] = steps[step];
    // what Python answers to a step is drawn already: drawing it anew would cut short how the step is played
    const { text: typed, layer: inLayer, head: inHead } = report.settings;
    const state = JSON.stringify([name, model.get("settings").lines, token, width, typed, inLayer, inHead, { ...report, alt: "", settings: {} }]);
    if (state !== drawnState) {
      drawnState = state;
      layout.top = TOP + above(name);
      names.style.transform = `translateY(${above(name)}px)`;
      show(drawn("g", { "data-drawn": name }, ...pictures[name](report, token)), name, report);
    }
    rows.forEach(({ group }, index) => {
      group.setAttribute("aria-selected", String(index === token));
      group.setAttribute("tabindex", index === token ? 0 : -1);
    });
    names.classList.toggle("away", name === "answer");
    names.classList.toggle("apart", name === "update"); // what stands beside the names is of one token, not a row for each
    names.classList.toggle("looks", name !== "answer");
    svg.setAttribute("aria-label", `${steps[step][1]}. ${report.alt}`);
    speak(report, name, token);
    map.classList.toggle("away", name === "model"); // which is that, large
    ofLines.classList.toggle("away", name !== "model");
    smallModel(map, name, report, size.layers, width);
    stops.forEach((stop, index) => {
      if (index === step) stop.setAttribute("aria-current", "step");
      else stop.removeAttribute("aria-current");
      stop.classList.toggle("done", index < step);
    });
    turnOff(back, step === 0 && tr("This is the first step."));
    turnOff(next, step === steps.length - 1 && tr("This is the last step."));
    const { layer: l, head: h } = report.settings;
    root.dataset.shown = [name, l, h, token, report.tokens.length].join(" "); // what is drawn now
  }

  function drawControls() {
    const settings = model.get("settings");
    text.show(settings.text);
    layer.draw(all(size.layers).map((l) => [String(l), `${l}`, all(size.heads).some((h) => !gone(l, h))]), String(settings.layer));
    head.draw(all(size.heads).map((h) => [String(h), `${h}`, !gone(settings.layer, h)]), String(settings.head));
    lines.draw(model.get("lines").map(([choice, words]) => [choice, words, true]), settings.lines);
    drawPicture();
  }

  root.append(
    make("div", { className: "top" }, make("label", { className: "typed" }, make("span", { textContent: tr("Your sentence") }), text.box),
      make("label", {}, `${tr("layer")} `, layer.box), make("label", {}, `${tr("head")} `, head.box)),
    stepper, map, remark, picture,
    make("div", { className: "last" }, make("span", { className: "note", textContent: tr("Click a token, or use ↑ and ↓, to choose the one that looks; ← and → change the step.") }),
      make("div", { className: "ends" }, ofLines, reset, keep)),
    complaint);
  onResize(picture, drawPicture);
  on("settings", drawControls);
  on("report", () => {
    if (opened === null || opened !== model.get("report").settings.layer) return drawControls();
    opened = null;
    look({ step: "vectors" });
  });
  return end;
}

export default { render: spoken(render) };
