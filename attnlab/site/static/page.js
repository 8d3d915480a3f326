// The desk in a browser, with no Python: loads model and sentences, and draws the desk with the parts of the notebook's.

import { begin, button, make, nothingToUndo, say, slider, turnOff } from "./elements.js";
import { deskModel } from "./desk-model.js";
import { drawLines } from "./lines.js";
import { keepForOffline, lacking, loader } from "./loading.js";
import { accuracyPanel, percent } from "./mixer-accuracy.js";
import { MODES, faderGrid } from "./mixer-faders.js";
import { sentencePanel } from "./mixer-sentence.js";

const SENTENCE = "A warm, funny and beautifully acted film.";
const KINDS = [["layer", "lines: layer"], ["head", "lines: head"], ["map", "map: head"]];
const find = (id) => document.getElementById(id);
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
const short = (value) => value.toFixed(2).replace(/\.?0+$/, "");

// ── a thread for the model ─────────────────────────────────────────────────────────────────
function engine() {
  const worker = new Worker("engine.js", { type: "module" });
  const waiting = new Map();
  let serial = 0;
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { done, failed } = waiting.get(id);
    waiting.delete(id);
    if (error) failed(new Error(error));
    else done(result);
  };
  worker.onerror = (event) => {
    for (const { failed } of waiting.values()) failed(new Error(event.message || "its thread ended"));
    waiting.clear();
  };
  return (action, content, transfer = []) => new Promise((done, failed) => {
    waiting.set(++serial, { done, failed });
    worker.postMessage({ id: serial, action, ...content }, transfer);
  });
}

// ── the desk ───────────────────────────────────────────────────────────────────────────────
function render(model, el) {
  const { root, on, onResize, complaint } = begin({ model, el }, "attnlab-desk", "Mixing desk of attention heads");
  root.classList.add("attnlab-page");
  const { layers, heads, removed } = model.get("size");
  const desk = {
    model, root, layers, heads, mode: "scale", kinds: KINDS, drawings: { lines: drawLines },
    removed: new Set(removed.map((place) => place.join())),
    setLook: (change) => model.set("look", { ...model.get("look"), ...change }),
    select(layer, head) {
      const now = model.get("look");
      if (now.layer !== layer || now.head !== head) desk.setLook({ layer, head });
    },
  };
  const faders = faderGrid(desk);
  const accuracy = accuracyPanel(desk);
  const sentence = sentencePanel(desk, accuracy.brief);
  const chosen = chosenFader(desk);
  faders.below.querySelector("label").after(faders.budget);
  const press = (name, count) => model.send({ action: "preset", name, place: [model.get("look").layer, model.get("look").head], count });

  // a finger is wider than a fader: on a touch screen a tap chooses a head, and the wide fader below moves it
  faders.grid.addEventListener("click", ({ target }) => {
    const input = target.closest?.(".fader")?.querySelector("input");
    if (input) desk.select(Number(input.dataset.layer), Number(input.dataset.head));
  });

  const modes = Object.keys(MODES).map((name) => button(`mode-${name}`, name === "scale" ? "Scale" : "Temperature", () => {
    desk.mode = name;
    drawModes();
    faders.draw();
    chosen.draw();
  }));
  const drawModes = () => modes.forEach((made, index) => made.setAttribute("aria-pressed", String(Object.keys(MODES)[index] === desk.mode)));
  const undo = button("undo", "Undo", () => model.send({ action: "undo" }));
  const reset = button("reset", "Reset", () => press("neutral"));
  reset.title = "Every fader back to 1";

  const keepOne = button("keep-one", "", () => press("keep-one"));
  const half = button("random-half", "Random half", () => press("random-half"));
  const least = button("least", "Silence 20 least", () => press("least-important", 20));
  half.title = "Half of all heads to 0; another half each time";
  least.title = "The 20 least important heads to 0, by the mean size of their gradients at neutral; the others to neutral.";
  keepOne.title = "In each layer all other heads to 0";

  complaint.classList.add("desk-error");
  root.append(
    complaint,
    make("div", { className: "page-columns" },
      sentence.said,
      make("section", { className: "page-faders", "aria-label": "Faders" },
        make("div", { className: "desk-bar", role: "toolbar", "aria-label": "Desk" },
          make("span", { className: "segments", role: "group", "aria-label": "What the faders set" }, ...modes), undo, reset),
        faders.grid, chosen.box,
        make("div", { className: "desk-bar presets", role: "toolbar", "aria-label": "Presets" }, keepOne, half, least),
        faders.below),
      sentence.shown, accuracy.panel));

  // what somebody hears who does not see the bars: once all of it is there, and not at every step of a drag
  const heard = make("div", { className: "page-heard", role: "status" });
  root.append(heard);
  const tell = () => {
    const { labels, after, stamp } = model.get("sentence");
    const now = model.get("accuracy");
    if (!after || now.state !== "measured" || now.stamp !== stamp) return;
    const best = after.indexOf(Math.max(...after));
    say(heard, `${labels[best]}, ${percent(after[best])}. Accuracy ${percent(now.accuracy)}.`);
  };

  drawModes();
  on("first_order", () => { faders.drawHeat(); accuracy.readSlopes(); });
  on("faders", () => { root.dataset.stamp = model.get("faders").stamp; faders.draw(); chosen.draw(); accuracy.draw(); sentence.drawStale(); });
  on("look", () => {
    faders.drawLook();
    sentence.drawLook();
    sentence.drawStale();
    chosen.draw();
    keepOne.textContent = `Only head ${model.get("look").head}`;
  });
  on("accuracy", () => { accuracy.draw(); tell(); });
  on("sentence", () => { sentence.drawAnswer(); tell(); });
  on("attention", sentence.drawPicture);
  on("text", () => { sentence.drawText(); sentence.drawStale(); });
  on("can_undo", () => turnOff(undo, !model.get("can_undo") && nothingToUndo()));
  onResize(sentence.shown, sentence.fit);
}

// The fader of the head that is shown, as wide as the page.
function chosenFader(desk) {
  const { model } = desk;
  let gesture = 0;
  const name = make("b");
  const set = (value) => {
    const { layer, head } = model.get("look");
    const state = structuredClone(model.get("faders"));
    state[desk.mode][layer][head] = Math.round(value * 1000) / 1000;
    state.gesture = `wide ${gesture}`;
    model.set("faders", state);
  };
  const wide = {};
  const box = make("div", { className: "page-chosen", role: "group" });
  const pressed = (value) => { gesture++; set(value); };
  const off = button("silence", "Silence", () => pressed(0));
  const back = button("to-one", "To 1", () => pressed(1));
  for (const [mode, { min, max, step, value }] of Object.entries(MODES)) {
    wide[mode] = slider({ name: `chosen-${mode}`, label: [`${mode} of this head`], min, max, step }, (position) => set(value(position)));
    wide[mode].box.addEventListener("pointerdown", () => { gesture++; });
    wide[mode].box.addEventListener("focusin", () => { gesture++; });
  }
  box.append(make("div", { className: "page-name" }, name, off, back), wide.scale.box, wide.temperature.box);
  function draw() {
    const { layer, head } = model.get("look");
    name.textContent = `Layer ${layer}, head ${head}`;
    box.setAttribute("aria-label", name.textContent);
    const faders = model.get("faders");
    for (const [mode, { position }] of Object.entries(MODES)) {
      const value = faders[mode][layer][head];
      wide[mode].box.hidden = mode !== desk.mode;
      wide[mode].show(position(value), short(value));
    }
    off.hidden = desk.mode !== "scale";
    turnOff(off, faders.scale[layer][head] === 0 && "It is silent.");
    turnOff(back, faders[desk.mode][layer][head] === 1 && "It stands at 1.");
  }
  return { box, draw };
}

// ── from the first byte to the desk ────────────────────────────────────────────────────────
async function start() {
  const said = find("said");
  const trouble = lacking();
  if (trouble) {
    said.textContent = `${trouble} The desk works in browsers of 2023 or later: Chrome 114, Safari 16.4, Firefox 114.`;
    return;
  }
  const build = JSON.parse(find("build").textContent);
  const progress = find("progress");
  progress.hidden = false;
  const unpacked = loader(build, (loaded, total) => {
    if (document.body.dataset.failed) return; // what failed is said already
    progress.value = loaded / total;
    said.textContent = loaded < total ? `Loading the model: ${megabytes(loaded)} of ${megabytes(total)} MB` : "Starting the model …";
  });
  said.textContent = "Loading the model …";
  const ask = engine();
  const read = async (name) => JSON.parse(new TextDecoder().decode(await unpacked(name)));
  const [desk, slopes, model, wasm] = await Promise.all([read("desk.json.gz"), unpacked("slopes.f32.gz"), unpacked("model.onnx.gz"), unpacked("ort.wasm.gz")]);
  document.body.dataset.loaded = performance.now().toFixed(0);
  const { tokenizer, size, most_tokens: most } = desk;
  await ask("load", { runtime: new URL("ort.mjs", location.href).href, wasm, model, desk: { tokenizer, size, most_tokens: most } }, [wasm, model]);
  const state = deskModel(desk, new Uint8Array(slopes), ask, SENTENCE);
  find("loading").remove();
  render(state, find("desk"));
  window.attnlab = { model: state, ask }; // for tests, and for the curious
  const answered = () => {
    document.body.dataset.answered = performance.now().toFixed(0);
    state.off("change:sentence", answered);
  };
  state.on("change:sentence", answered);
  state.work();
  about(desk, state);
  const kept = await keepForOffline();
  find("state").textContent = kept ? "works offline" : "keep this page open: it works offline";
  document.body.dataset.offline = kept ? "kept" : "open";
}

function about({ sentences }, state) {
  const place = find("about");
  const agreement = make("span");
  place.append(
    `Nothing that you type leaves this browser. ${sentences.texts.length} held-out sentences of ${sentences.name} and other people's work: `,
    make("a", { href: "NOTICE.txt", textContent: "sources and licences" }), ". ", agreement);
  place.hidden = false;
  const tell = () => {
    const found = state.agreement();
    if (!found) return;
    agreement.textContent = `The untouched model answers ${found.same} of ${found.of} sentences here as it does in Python; `
      + `probabilities differ by ${found.apart < 0.0005 ? "less than 0.001" : `${found.apart.toFixed(3)} at most`}.`;
    state.off("change:accuracy", tell);
  };
  state.on("change:accuracy", tell);
}

// Colours follow the system; the parts of the notebook's desk look at the body's class for a change.
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = () => document.body.classList.toggle("dark", dark.matches);
dark.addEventListener("change", colour);
colour();

try {
  await start();
} catch (error) {
  document.body.dataset.failed = error.message;
  const said = find("said");
  if (said) said.textContent = `The desk could not be loaded: ${error.message} Reload the page to try again.`;
  find("progress")?.remove();
}
