// The view of the reading desk. Reports come from Python; this draws them and sends the line, its font and its noise.
// Pointing at a character needs nothing from Python: the report holds where the reader looked for each of them.

import { begin, button, controlled, drawn, make, menu, say, slider, textBox, turnOff } from "./elements.js";
import { onKey } from "./keys.js";

const whole = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
const visible = (name) => ({ " ": "␣", "": "end" }[name] ?? name);
const spoken = (name) => ({ " ": "space", "": "end of the line" }[name] ?? name);
const LISTED = 5; // rows that always have room
const BELOW = 5; // pixels of the picture for the mark of the centre

// The picture of the line; over it a band for each column, and below it a mark at the centre.
function linePicture() {
  const svg = drawn("svg", { class: "print", role: "img", preserveAspectRatio: "xMinYMid meet" });
  const image = drawn("image", { x: 0, y: 0, preserveAspectRatio: "none" });
  const bands = drawn("g", { class: "bands" });
  const centre = drawn("g", { class: "centre", visibility: "hidden" });
  const ground = drawn("line", { class: "ground" });
  const line = drawn("line", {});
  const mark = drawn("path", {});
  centre.append(ground, line, mark);
  svg.append(image, bands, centre);
  function draw({ image: address, size: [width, height] }) {
    const unit = height / 32;
    svg.setAttribute("viewBox", `0 0 ${width} ${height + BELOW * unit}`);
    image.setAttribute("width", width);
    image.setAttribute("height", height);
    if (image.getAttribute("href") !== address) image.setAttribute("href", address);
  }
  function point({ columns, column, limit, attention, characters, size: [, height] }, choice) {
    const unit = height / 32;
    const own = choice === null ? null : characters[choice];
    centre.setAttribute("visibility", own ? "visible" : "hidden");
    bands.replaceChildren(...(own ? columns : []).map((x, index) => {
      const weight = attention[choice][index];
      const band = drawn("rect", { x, y: 0, width: column, height, "fill-opacity": (0.6 * Math.min(1, weight / limit)).toFixed(3) });
      band.append(drawn("title", {}, weight.toFixed(3)));
      return band;
    }));
    if (!own) return;
    for (const one of [ground, line]) {
      for (const [name, value] of Object.entries({ x1: own.where, x2: own.where, y1: 0, y2: height })) one.setAttribute(name, value);
    }
    const [top, bottom, half] = [height + 0.6 * unit, height + BELOW * unit, 2.6 * unit];
    mark.setAttribute("d", `M${own.where} ${top}L${own.where - half} ${bottom}h${2 * half}z`);
  }
  return { svg, draw, point };
}

function render(context) {
  const { model } = context;
  const { root, on, complaint, end } = begin(context, "attnlab-reading attnlab-desk", "Reading desk");
  const { set, reset, keep } = controlled(model);
  const size = model.get("size");
  const now = () => model.get("settings");
  let wanted = null; // the choice that no report has answered yet
  const choose = (choice) => { // looking at another character is no step to take back
    wanted = choice;
    drawChoice();
    model.set("settings", { ...now(), choice });
    model.save_changes();
  };

  // ── the line, its font and its noise ─────────────────────────────────────────────────────
  const text = textBox("A line of your own", (typed) => set({ text: !typed.trim() && size.picture ? null : typed, choice: null }));
  text.box.placeholder = "type a line of your own …";
  const font = menu("Font", (file) => set({ font: file }));
  const own = button("picture", "The picture", () => set({ text: null, choice: null }));
  own.hidden = !size.picture;
  const noise = slider({ name: "noise", label: ["noise of a scan"], min: 0, max: size.noisiest, step: size.step }, (value) => set({ noise: value }));
  const anew = button("anew", "Draw the noise anew", () => set({ seed: now().seed + 1 }));

  // ── the picture, and what was read ───────────────────────────────────────────────────────
  const picture = linePicture();
  const told = make("div", { className: "note told", "aria-live": "polite" });
  const read = make("div", { className: "read", role: "radiogroup", "aria-label": "What was read: choose a character to see where the reader looked" });
  const key = make("div", { className: "note key" },
    make("b", { className: "doubt", textContent: "?" }), " less than 90 % sure   ", make("b", { className: "fault", textContent: "✗" }), " wrong");
  const bars = make("div", { className: "bars", role: "table", "aria-label": "What the character might be, with probabilities" });
  const remark = make("p", { className: "remark", role: "status" });

  root.append(
    make("div", { className: "top" }, text.box, make("label", {}, make("span", { textContent: "font " }), font.box), own),
    make("div", { className: "noise" }, noise.box, anew),
    picture.svg, told, read, key,
    make("div", { className: "columns" },
      make("div", { className: "left" }, make("b", { className: "title" }), bars),
      make("div", { className: "right" }, remark, make("div", { className: "line" }, reset, keep))),
    complaint);
  const title = root.querySelector(".title");

  let pointed = null; // the character under the pointer or the keyboard
  function drawChoice() {
    const report = model.get("report");
    const last = report.characters.length - 1;
    const choice = last < 0 ? null : Math.min(pointed ?? wanted ?? report.choice, last);
    const chosen = choice === null ? null : report.characters[choice];
    picture.point(report, choice);
    picture.svg.setAttribute("aria-label", `The line, read as “${report.read}”. ${chosen?.told ?? ""}`);
    say(told, chosen?.told ?? "");
    title.textContent = chosen ? `What “${visible(chosen.name)}” might be` : "Nothing to choose from";
    const rows = chosen?.alternatives ?? [];
    bars.replaceChildren(...Array.from({ length: Math.max(LISTED, rows.length) }, (_, index) => {
      if (index >= rows.length) return make("div", { "aria-hidden": "true" });
      const { name, share } = rows[index];
      const fill = make("i");
      fill.style.width = `${100 * share}%`;
      return make("div", { role: "row", className: index === 0 ? "first" : "" },
        make("span", { role: "rowheader", textContent: visible(name), "aria-label": spoken(name) }),
        make("span", { role: "cell", className: "track", "aria-hidden": "true" }, fill),
        make("span", { role: "cell", className: "number", textContent: whole(share) }));
    }));
    const checked = wanted ?? report.choice;
    for (const [index, made] of [...read.children].entries()) {
      made.setAttribute("aria-checked", String(index === checked));
      made.tabIndex = index === checked ? 0 : -1; // Tab stops at one of them
      made.classList.toggle("pointed", index === choice);
    }
    root.dataset.character = choice ?? "none";
  }

  function characterButton({ name, probability, unsure, right }, index) {
    const words = [spoken(name), `${whole(probability)} sure`, ...(unsure ? ["unsure"] : []), ...(right === false ? ["wrong"] : [])];
    const made = make("button", { type: "button", role: "radio", onclick: () => choose(index),
      className: `${unsure ? "unsure" : ""}${right === false ? " wrong" : ""}`, "aria-label": words.join(", "), title: words.slice(1).join(", ") },
    make("span", { className: "letter", textContent: visible(name) }),
    make("span", { className: "mark", textContent: `${unsure ? "?" : ""}${right === false ? "✗" : ""}` }));
    made.dataset.index = index;
    const point = (place) => { pointed = place; drawChoice(); };
    made.addEventListener("pointerenter", () => point(index));
    made.addEventListener("pointerleave", () => point(null));
    onKey(made, (event) => { // as in any group of radio buttons
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const last = read.children.length - 1;
      const next = { ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      pointed = null;
      const place = (next + last + 1) % (last + 1);
      read.children[place].focus({ preventScroll: true });
      choose(place);
    });
    return made;
  }

  let drawnCharacters = "";
  function drawCharacters(characters) { // whoever is among them stays there
    const known = JSON.stringify(characters);
    if (known === drawnCharacters) return;
    drawnCharacters = known;
    pointed = null;
    const focused = [...read.children].indexOf(read.getRootNode().activeElement);
    read.replaceChildren(...characters.map(characterButton));
    if (focused >= 0) read.children[Math.min(focused, characters.length - 1)]?.focus({ preventScroll: true });
  }

  function drawReport() {
    const report = model.get("report");
    if (report.settings.choice === now().choice) wanted = null;
    picture.draw(report);
    drawCharacters(report.characters);
    drawChoice();
    say(remark, report.remark);
    const { text: line, font: file, noise: strength, seed, choice } = report.settings;
    root.dataset.shown = [file, strength, seed, choice ?? "least", line ?? "picture"].join(" ");
    root.dataset.state = "shown";
  }

  function drawSettings() {
    const { text: line, font: file, noise: strength } = now();
    text.show(line ?? "");
    font.draw(model.get("fonts").map(([value, name]) => [value, name, true]), file);
    turnOff(font.box, line === null && "The picture has its own font. Type a line to choose one.");
    turnOff(own, line === null && "The picture is shown.");
    noise.show(strength, `${strength.toFixed(2).replace(/\.?0+$/, "")}: ${model.get("noises")[Math.round(strength / size.step)] ?? ""}`);
    turnOff(anew, !strength && "Without noise there is nothing to draw.");
  }

  on("report", drawReport);
  on("settings", drawSettings);
  return end;
}

export default { render };
