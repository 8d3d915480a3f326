// What the views of all widgets are made of: elements, controls, and the root with its beginning and end.

import { keepKeys } from "./keys.js";
import { watchKernel } from "./kernel.js";
import { tr } from "./words.js";

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

export function drawn(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// ["d", ["k"]] reads d with a small k below, and is spoken d_k
export const written = (parts) => parts.map((part) => (Array.isArray(part) ? make("sub", { textContent: part[0] }) : part));
const spoken = (parts) => parts.map((part) => (Array.isArray(part) ? `_${part[0]}` : part)).join("");

export function button(action, label, onclick) {
  const made = make("button", { type: "button", textContent: label, onclick });
  made.dataset.action = action;
  return made;
}

// Turn a control off and say why, or on where there is no reason.
export function turnOff(control, why) {
  control.disabled = Boolean(why);
  control.title = why || "";
}

export const nothingToUndo = () => tr("There is nothing to take back.");

// A range input with its label and, at the right, what its position means.
export function slider({ name, label, min, max, step }, moved) {
  const input = make("input", { type: "range", name, min, max, step, "aria-label": spoken(label) });
  const output = make("output");
  input.oninput = () => moved(Number(input.value));
  const show = (position, text) => {
    // the hand that is moving it must not be disturbed by the echo of where it was
    if (Math.abs(Number(input.value) - position) > step / 2) input.value = position;
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  return { box: make("label", { className: "slider" }, make("span", {}, ...written(label)), output, input), show };
}

// A menu; draw takes its choices as [value, text, whether it can be chosen].
export function menu(label, changed) {
  const box = make("select", { "aria-label": label, onchange: () => changed(box.value) });
  let known = "";
  const draw = (choices, value) => {
    if (known !== JSON.stringify(choices)) {
      known = JSON.stringify(choices);
      box.replaceChildren(...choices.map(([choice, words, can]) => make("option", { value: choice, textContent: words, disabled: !can })));
    }
    box.value = value;
  };
  return { box, draw };
}

// A line of text that is heard when whoever types makes a pause.
export function textBox(label, changed, pause = 300) {
  const box = make("input", { type: "text", "aria-label": label, spellcheck: false, dir: "auto" });
  let typing;
  box.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => changed(box.value), pause);
  });
  // what is being typed must not be disturbed by the echo of what was
  const show = (text) => { if (box.getRootNode().activeElement !== box) box.value = text; };
  return { box, show };
}

// Copy a text; whether that is allowed here.
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

// A button that copies what `read` returns, or shows it to be copied by hand.
export function copyButton(action, label, read, asked = `${label}:`) {
  const made = button(action, label, async () => {
    if (!await copied(read())) return window.prompt(asked, read());
    made.textContent = tr("Copied");
    setTimeout(() => { made.textContent = label; }, 1500);
  });
  return made;
}

// The settings of a desk: how to change all or some of them, and buttons that take a change back, put everything back
// to the start, and give the settings as code.
export function controlled(model) {
  const past = [];
  let last = 0;
  const send = (settings) => {
    model.set("settings", settings);
    model.save_changes();
    turnOff(undo, !past.length && nothingToUndo());
  };
  const undo = button("undo", tr("Undo"), () => { last = 0; send(past.pop()); });
  turnOff(undo, nothingToUndo());
  const change = (settings) => {
    // a drag or a run of key presses is one step
    if (Date.now() - last > 700) past.push(model.get("settings"));
    last = Date.now();
    send(settings);
  };
  const set = (changes) => change({ ...model.get("settings"), ...changes });
  const reset = button("reset", tr("Reset"), () => change({ ...model.get("start") }));
  const code = copyButton("code", tr("Copy as code"), () => model.get("code"), tr("These settings as Python code:"));
  return { change, set, undo, reset, code, keep: make("div", { className: "keep" }, undo, code) };
}

// Write words that screen readers read out: only when they are new.
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

// Put new rows into a table; the button that somebody is on keeps the keyboard. Returns whether there is one.
export function refill(rows, lines) {
  const index = [...rows.querySelectorAll("button")].indexOf(rows.getRootNode().activeElement);
  rows.replaceChildren(...lines);
  if (index >= 0) rows.querySelectorAll("button")[index]?.focus({ preventScroll: true });
  return index >= 0;
}

export const headings = (columns) => columns.map((textContent) => make("th", { scope: "col", textContent }));
export const cells = (texts) => texts.map((textContent) => make("td", { textContent }));

function isDark(element) {
  const [r, g, b] = (getComputedStyle(element).backgroundColor.match(/\d+/g) ?? [255, 255, 255]).map(Number);
  return 0.3 * r + 0.6 * g + 0.1 * b < 110;
}

// A view whose kernel is gone says so: it cannot be worked, only its settings can be copied, and nothing in it claims to
// be under way. If the kernel answers after all, everything is drawn anew.
function withKernel(model, root, redraw) {
  const words = make("span");
  const code = copyButton("rescue", tr("Copy its settings"), () => model.get("code"), tr("These settings as Python code:"));
  const notice = make("div", { className: "kernel-gone", role: "alert", hidden: true }, words, code);
  root.append(notice);
  const close = (closed) => {
    notice.hidden = !closed;
    root.dataset.kernel = closed ? "gone" : "there";
    for (const child of root.children) child.inert = closed && child !== notice;
  };
  const hush = () => {
    if (notice.hidden) return;
    for (const claim of root.querySelectorAll("[data-progress]")) claim.textContent = "";
  };
  const gone = (said) => {
    words.textContent = said;
    code.hidden = !model.get("code");
    close(true);
    hush();
  };
  const { ask, end } = watchKernel(model, gone, () => { close(false); redraw(); });
  for (const type of ["input", "change", "click"]) root.addEventListener(type, ask, true);
  return { hush, end };
}

// The root of a view, what follows the model and the page, and what ends it all.
export function begin({ model, el }, name, label) {
  const root = make("div", { className: `attnlab-widget ${name}`, role: "group", "aria-label": label });
  root.tabIndex = -1; // who clicks beside a control is still in the widget, and so are the keys that follow
  el.append(root);
  const drawings = [];
  const kernel = withKernel(model, root, () => drawings.forEach((draw) => draw()));
  const cleanups = [keepKeys(root), kernel.end];
  const on = (trait, callback) => {
    const draw = () => { callback(); kernel.hush(); };
    model.on(`change:${trait}`, draw);
    cleanups.push(() => model.off(`change:${trait}`, draw));
    drawings.push(draw);
    draw();
  };
  const onResize = (element, callback) => {
    const observer = new ResizeObserver(() => { callback(); kernel.hush(); });
    observer.observe(element);
    cleanups.push(() => observer.disconnect());
  };
  const recolour = () => { root.dataset.dark = String(isDark(root)); };
  recolour();
  onResize(root, recolour); // colours are known only once the root is on the page
  const theme = new MutationObserver(recolour);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  cleanups.push(() => theme.disconnect());
  const complaint = make("div", { className: "complaint", role: "alert" });
  on("error", () => { complaint.textContent = model.get("error"); });
  return { root, on, onResize, complaint, end: () => cleanups.forEach((clean) => clean()) };
}
