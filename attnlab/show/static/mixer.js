// The view of the mixing desk. It holds no state of its own but what is being dragged:
// faders go to Python, numbers and pictures come back. Python decides; this draws.

import { begin, button, copied, make, nothingToUndo, turnOff } from "./elements.js";
import { onKey } from "./keys.js";
import { accuracyPanel } from "./mixer-accuracy.js";
import { MODES, faderGrid, itemsName } from "./mixer-faders.js";
import { sentencePanel } from "./mixer-sentence.js";
import { spoken, tr } from "./words.js";

const presetsOf = () => [ // what a button says depends on the head that is shown
  ["neutral", () => tr("All neutral"), tr("Every fader back to 1")],
  ["silence", (look) => tr("Silence L{layer}H{head}", look), tr("Layer and head that are shown, to 0")],
  ["keep-one", (look) => tr("Keep only head {head} in each layer", look), tr("All other heads to 0")],
  ["random-half", () => tr("Random half"), tr("Half of all heads to 0; another half each time")],
];

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-desk", tr("Mixing desk of attention heads"));
  const { layers, heads, removed, simple } = model.get("size");
  const desk = {
    model, root, layers, heads,
    removed: new Set(removed.map((place) => place.join())),
    mode: "scale",
    setLook(change) {
      model.set("look", { ...model.get("look"), ...change });
      model.save_changes();
    },
    select(layer, head) {
      const now = model.get("look");
      if (now.layer !== layer || now.head !== head) desk.setLook({ layer, head });
    },
  };
  // Front ends hold a change back while an earlier one is on its way, but no message: what an action is about must
  // arrive before it, or it is lost.
  const waiting = [];
  const flush = () => {
    const arrived = (model.get("heard") ?? null) === (model.get("faders").stamp ?? null);
    if (arrived) waiting.splice(0).forEach((message) => model.send(message));
  };
  const send = (action, extra = {}) => { waiting.push({ action, ...extra }); flush(); };
  const faders = faderGrid(desk);
  const accuracy = accuracyPanel(desk);
  const sentence = sentencePanel(desk, accuracy.brief);

  // ── kind of fader, undo, export, comparing ───────────────────────────────────────────────
  const modes = Object.keys(MODES).map((name) => {
    const made = make("button", { type: "button", textContent: name === "scale" ? tr("Scale") : tr("Temperature") });
    made.dataset.mode = name;
    made.onclick = () => { desk.mode = name; drawModes(); faders.draw(); };
    return made;
  });
  function drawModes() {
    for (const mode of modes) mode.setAttribute("aria-pressed", String(mode.dataset.mode === desk.mode));
  }
  const undo = button("undo", tr("Undo"), () => send("undo"));
  const texts = settingsText(desk, send);

  const keep = button("keep", "", () => send("keep"));
  keep.title = tr("Keep these faders as A and go on as B. Results are then B against A.");
  const sides = ["A", "B"].map((side) => {
    const made = button("switch", side, () => send("switch", { side }));
    made.dataset.side = side;
    made.setAttribute("aria-label", tr("Show {side} on the faders", { side }));
    return made;
  });
  const leave = button("end", tr("End comparison"), () => send("end"));
  leave.title = tr("Forget the one that is not shown. Results are against neutral again.");
  const switches = make("span", { className: "segments", role: "group", "aria-label": tr("A or B") }, ...sides);

  function drawSide() {
    const side = model.get("side");
    keep.hidden = side === "A"; // what is shown is A already
    keep.textContent = side ? tr("Keep this as the new A") : tr("Compare: keep this as A");
    switches.hidden = leave.hidden = !side;
    for (const choice of sides) choice.setAttribute("aria-pressed", String(choice.dataset.side === side));
  }

  // ── few controls first, where the desk is asked for that ───────────────────────────────────
  const more = button("more", "", () => { root.dataset.simple = String(root.dataset.simple !== "true"); drawMore(); });
  function drawMore() { // the style sheet hides what is marked "rare"
    const few = root.dataset.simple === "true";
    more.textContent = few ? tr("More controls") : tr("Fewer controls");
    more.setAttribute("aria-expanded", String(!few));
  }
  for (const control of [keep, switches, leave]) control.classList.add("rare");
  if (simple) root.dataset.simple = "true";
  more.hidden = !simple;
  drawMore();

  // ── presets ──────────────────────────────────────────────────────────────────────────────
  const place = () => [model.get("look").layer, model.get("look").head];
  const kinds = presetsOf();
  const presets = kinds.map(([name, , title]) => {
    const made = make("button", { type: "button", title });
    made.dataset.preset = name;
    made.classList.toggle("rare", name === "keep-one");
    made.onclick = () => send("preset", { name, place: place() });
    return made;
  });
  function drawPresets() {
    kinds.forEach(([, label], index) => { presets[index].textContent = label(model.get("look")); });
  }
  const most = layers * heads - removed.length;
  const count = make("input", { type: "number", min: 0, max: most, step: 1, value: Math.min(20, most), "aria-label": tr("How many heads to silence") });
  const least = make("button", { type: "button", textContent: tr("Silence the least important") });
  least.dataset.preset = "least-important";
  least.onclick = () => {
    count.value = Math.min(most, Math.max(0, Math.round(Number(count.value)) || 0));
    send("preset", { name: "least-important", place: place(), count: Number(count.value) });
  };
  onKey(count, (event) => { if (event.key === "Enter" && !least.disabled) least.click(); });

  function drawLeast() {
    const { importance, error, done, total } = model.get("first_order");
    turnOff(least, error ?? (!importance && tr("The importances are being computed: {done} of {total} {items}.", { done: done ?? 0, total: total ?? "…", items: itemsName(model.get("size").items) })));
    if (importance) least.title = tr("By the mean size of the gradients at neutral: heads that matter little to any sentence. The others go to neutral.");
    // about as wide: nothing may jump when it is there
    least.textContent = error || importance ? tr("Silence the least important") : tr("(Importances: {done} of {total})", { done: done ?? 0, total: total ?? "…" });
  }

  // ── together ─────────────────────────────────────────────────────────────────────────────
  complaint.classList.add("desk-error");
  root.append(
    make("div", { className: "desk-bar", role: "toolbar", "aria-label": tr("Desk") },
      make("span", { className: "segments rare", role: "group", "aria-label": tr("What the faders set") }, ...modes),
      undo, texts.opener, faders.budget, make("span", { className: "gap" }), more, keep, switches, leave),
    make("div", { className: "desk-bar", role: "toolbar", "aria-label": tr("Presets") },
      ...presets, make("span", { className: "joined rare" }, least, count)),
    complaint,
    make("div", { className: "desk-columns" },
      sentence.said, make("div", { className: "desk-faders" }, faders.grid, faders.below), accuracy.panel, sentence.shown));

  drawModes();
  on("first_order", () => { faders.drawHeat(); drawLeast(); accuracy.readSlopes(); });
  on("slopes", () => { accuracy.readSlopes(); accuracy.draw(); });
  on("faders", () => { root.dataset.stamp = model.get("faders").stamp; faders.draw(); accuracy.draw(); texts.draw(); sentence.drawStale(); });
  on("heard", flush);
  on("other", () => { faders.draw(); accuracy.draw(); });
  on("side", () => { drawSide(); accuracy.draw(); sentence.drawAnswer(); });
  on("look", () => { faders.drawLook(); sentence.drawLook(); sentence.drawStale(); drawPresets(); });
  on("accuracy", accuracy.draw);
  on("sentence", sentence.drawAnswer);
  on("attention", sentence.drawPicture);
  on("text", () => { sentence.drawText(); sentence.drawStale(); });
  onResize(sentence.shown, sentence.fit);
  on("can_undo", () => { turnOff(undo, !model.get("can_undo") && nothingToUndo()); });
  on("code", texts.draw);
  return end;
}

// The settings as Python code and as JSON, to copy; JSON can be pasted and loaded.
function settingsText(desk, send) {
  const { model } = desk;
  let shown = ""; // "code", "json" or nothing
  let edited = false;
  const area = make("textarea", { spellcheck: false });
  const copy = button("copy", tr("Copy"), copyArea);
  const load = button("load", tr("Load this JSON"), () => { edited = false; send("load", { text: area.value }); });
  const said = make("span", { className: "note", role: "status" });
  const box = make("div", { className: "desk-code", hidden: true }, area, make("div", { className: "desk-bar" }, copy, load, said));
  const opener = make("span", { className: "desk-texts rare" });
  area.addEventListener("input", () => { edited = true; said.textContent = ""; });
  const buttons = [["code", tr("Copy as code")], ["json", "JSON"]].map(([name, label]) => {
    const made = button(name, label, () => toggle(name));
    made.setAttribute("aria-expanded", "false");
    return made;
  });

  opener.append(...buttons, box); // it hangs over the desk, which stays where it is
  onKey(opener, (event) => {
    if (event.key !== "Escape" || !shown) return;
    const from = buttons.find((one) => one.dataset.action === shown);
    toggle(shown);
    from.focus();
  });

  async function copyArea() {
    area.select();
    said.textContent = await copied(area.value) ? tr("Copied.") : tr("Selected: Ctrl-C copies it.");
  }

  function toggle(name) {
    shown = shown === name ? "" : name;
    edited = false;
    box.hidden = !shown;
    load.hidden = shown !== "json";
    area.readOnly = shown !== "json";
    area.setAttribute("aria-label", shown === "json" ? tr("These settings as JSON; paste others to load them") : tr("These settings as Python code"));
    for (const opener of buttons) opener.setAttribute("aria-expanded", String(opener.dataset.action === shown));
    said.textContent = shown === "json" ? tr("Or paste settings here and load them.") : "";
    draw();
    if (shown === "code") copyArea();
  }

  const rows = (table) => `[\n  ${table.map((row) => `[${row.join(", ")}]`).join(",\n  ")}\n]`;

  function draw() {
    if (!shown || edited) return;
    const { scale, temperature } = model.get("faders");
    area.value = shown === "code" ? model.get("code") : `{"scale": ${rows(scale)},\n"temperature": ${rows(temperature)}}`;
    area.rows = Math.min(8, area.value.split("\n").length);
  }

  return { opener, draw };
}

export default { render: spoken(render) };
