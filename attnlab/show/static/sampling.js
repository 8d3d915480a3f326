// The view of the sampling desk. Reports come from Python, one for each text; temperature, top-k, top-p and min-p
// reshape the candidates here, from the logits of the report.

import { begin, button, controlled, drawn, make, menu, say, slider, textBox, turnOff } from "./elements.js";
import { colourOf, inkOn } from "./colours.js";
import { faderTable } from "./fader-table.js";
import { onKey } from "./keys.js";
import { clamp } from "./pictures.js";
import { adjusted, partsOf, softmax } from "./sampling-adjust.js";

const PAUSE = 140; // milliseconds between two tokens of a run, so that they can be seen
const READ_BY = ["prompt", "taken", "seed", "layer", "head", "faders", "cache"]; // what only Python can answer
const SCALES = [0.1, 0.25, 0.5, 1]; // where the axis of the bars may end

const percent = (share) => {
  if (share === 0) return "0\u00a0%";
  return share < 0.001 ? "< 0.1\u00a0%" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}\u00a0%`;
};
const bits = (shares) => shares.reduce((sum, share) => (share > 0 ? sum - share * Math.log2(share) : sum), 0);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// What a slider's place means: the far end of a limit is off, which is null.
function controlsOf(vocabulary) {
  const doublings = [...Array(Math.floor(Math.log2(vocabulary)) + 1).keys()].map((power) => 2 ** power);
  const counts = [...new Set([1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, ...doublings])]
    .filter((count) => count < vocabulary).sort((a, b) => a - b);
  const nearest = (k) => counts.reduce((best, count, index) => (Math.abs(count - k) < Math.abs(counts[best] - k) ? index : best), 0);
  return [
    { name: "temperature", label: ["temperature"], min: 0, max: 2, step: 0.05, value: (x) => Number(x.toFixed(2)), position: (v) => v,
      text: (v) => (v === 0 ? "0: the likeliest" : v.toFixed(2)) },
    { name: "top_k", label: ["top-k"], min: 0, max: counts.length, step: 1, value: (x) => counts[x] ?? null,
      position: (v) => (v === null ? counts.length : nearest(v)), text: (v) => (v === null ? "off" : String(v)) },
    { name: "top_p", label: ["top-p"], min: 0.05, max: 1, step: 0.01, value: (x) => (x >= 0.995 ? null : Number(x.toFixed(2))),
      position: (v) => v ?? 1, text: (v) => (v === null ? "off" : String(v)) },
    { name: "min_p", label: ["min-p"], min: 0, max: 0.5, step: 0.01, value: (x) => (x < 0.005 ? null : Number(x.toFixed(2))),
      position: (v) => v ?? 0, text: (v) => (v === null ? "off" : String(v)) },
  ];
}

const isOn = (button) => button.getAttribute("aria-disabled") !== "true";

// The likeliest candidates as bars, each a button that takes it.
function candidateList(count, take) {
  const lines = Array.from({ length: count }, (_, index) => {
    const [name, before, after, ghost, number] = [make("span", { className: "name" }), make("i", { className: "before" }),
      make("i", { className: "after" }), make("b"), make("span", { className: "number" })];
    const track = make("span", { className: "track" }, before, after, ghost);
    const box = make("button", { type: "button", className: "candidate", tabIndex: index ? -1 : 0, onclick: () => isOn(box) && take(Number(box.dataset.token)) }, name, track, number);
    onKey(box, (event) => {
      const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: lines.length - 1 }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      lines[clamp(0, to, lines.length - 1)].box.focus();
    });
    box.addEventListener("focus", () => lines.forEach((line) => { line.box.tabIndex = line.box === box ? 0 : -1; }));
    return { box, name, before, after, ghost, number };
  });
  const list = make("div", { className: "candidates", role: "group", "aria-label": "Candidates for the next token: click one to take it" },
    ...lines.map(({ box }) => box));
  function draw(names, { shown, untouched }, before, after, next, off) {
    const most = Math.max(...shown.flatMap((id) => [before[id], after[id]]));
    const end = SCALES.find((limit) => most <= limit) ?? 1;
    lines.forEach((line, index) => {
      const id = shown[index];
      const cut = after[id] === 0;
      const now = cut ? "cut" : percent(after[id]);
      line.box.dataset.token = id;
      line.box.classList.toggle("cut", cut);
      line.box.classList.toggle("next", id === next);
      line.name.textContent = names[id];
      line.before.style.width = `${(100 * before[id]) / end}%`;
      line.after.style.width = `${(100 * after[id]) / end}%`;
      line.ghost.hidden = !untouched;
      line.ghost.style.left = untouched ? `${(100 * Math.min(untouched[index], end)) / end}%` : "";
      line.number.textContent = now;
      const was = untouched ? `, with all faders at 1 ${percent(untouched[index])}` : "";
      line.box.title = `${names[id]}: ${percent(before[id])} by the model${was}; ${cut ? "cut" : `${now} after the settings`}`;
      line.box.setAttribute("aria-label", `Take ${line.box.title}${id === next ? "; the draw falls on it" : ""}`);
      line.box.setAttribute("aria-disabled", Boolean(off)); // a button that is disabled would lose the keyboard
    });
    return end;
  }
  return { list, draw };
}

// All tokens side by side from 0 to 1, each as wide as its probability, and the number that is drawn.
function drawLine() {
  const svg = drawn("svg", { class: "draw-line", viewBox: "0 0 1000 16", preserveAspectRatio: "none", role: "img" });
  function draw(shares, ends, { id, number, shown, name }) {
    const marked = new Set(shown);
    const rects = [];
    let from = 0;
    shares.forEach((share, token) => {
      if (!marked.has(token) || !share) return;
      const [start, end] = [ends[token] - share, ends[token]];
      if (start > from) rects.push(drawn("rect", { class: "others", x: 1000 * from, width: 1000 * (start - from), y: 0, height: 16 }));
      rects.push(drawn("rect", { class: token === id ? "part here" : "part", x: 1000 * start, width: 1000 * share, y: 0, height: 16 }));
      from = end;
    });
    if (from < 0.9999) rects.push(drawn("rect", { class: "others", x: 1000 * from, width: 1000 * (1 - from), y: 0, height: 16 }));
    svg.replaceChildren(...rects, drawn("line", { class: "mark", x1: 1000 * number, x2: 1000 * number, y1: 0, y2: 16 }));
    svg.setAttribute("aria-label", `All tokens side by side, each as wide as its probability; ${number.toFixed(3)} is drawn and falls on ${name}`);
  }
  return { svg, draw };
}

function render(context) {
  const { model } = context;
  const { root, on, complaint, end } = begin(context, "attnlab-sampling attnlab-desk", "Sampling desk");
  const { set, reset, keep } = controlled(model);
  const size = model.get("size");
  const names = model.get("names");
  const now = () => model.get("settings");
  const look = (changes) => { // looking elsewhere is no step to take back
    model.set("settings", { ...now(), ...changes });
    model.save_changes();
  };
  const waiting = () => {
    const { settings } = model.get("report");
    return READ_BY.some((name) => !same(settings[name], now()[name]));
  };

  // ── the text ─────────────────────────────────────────────────────────────────────────────
  const prompt = textBox("Prompt", (text) => { stop(); set({ prompt: text, taken: [] }); });
  const text = make("div", { className: "written", tabIndex: 0, role: "group", "aria-label": "Text so far, shaded by the attention of its last token, from which the next is predicted" });
  const numbers = (count) => [["all", "mean", true], ...Array.from({ length: count }, (_, one) => [String(one), `${one}`, true])];
  const chosen = (value) => (value === "all" ? null : Number(value));
  const layer = menu("Layer", (value) => look({ layer: chosen(value) }));
  const head = menu("Head", (value) => look({ head: chosen(value) }));
  const ramp = make("span", { className: "scale" }, make("span", { textContent: "0" }), make("i", { "aria-hidden": "true" }), make("span"));
  ramp.querySelector("i").style.background = `linear-gradient(to right, ${model.get("palette").filter((_, index) => index % 8 === 0).join(", ")})`;
  const looks = make("span", { className: "looks-most note" });

  // ── the hand ─────────────────────────────────────────────────────────────────────────────
  const take = (id) => set({ taken: [...now().taken, id] });
  let stepsLeft = 0; // asked for while the model was still reading
  const step = button("step", "Step", () => {
    const left = stepsLeft;
    stop();
    if (waiting()) stepsLeft = left + 1;
    else take(next());
  });
  const run = button("run", "Run", () => (running ? stop() : start()));
  const back = button("back", "Back", () => { stop(); set({ taken: now().taken.slice(0, -1) }); });
  const over = button("over", "Start over", () => { stop(); set({ taken: [] }); });
  const seed = make("input", { type: "number", name: "seed", min: 0, max: 2147483647, step: 1, "aria-label": "Seed of the draws" });
  seed.onchange = () => {
    const value = Number(seed.value);
    if (Number.isInteger(value) && value >= 0) set({ seed: value });
  };
  const reseed = button("reseed", "Next seed", () => set({ seed: (now().seed + 1) % 2147483647 }));
  let running = false;
  let timer;
  for (const box of [reset, keep]) box.addEventListener("click", () => stop());
  let goOn = set; // what a run writes is taken back at once
  function start() {
    [running, goOn] = [true, set];
    go();
    drawButtons();
  }
  function stop() { running = false; stepsLeft = 0; clearTimeout(timer); drawButtons(); }
  function go() {
    clearTimeout(timer);
    if (!(running || stepsLeft) || waiting()) return;
    if (model.get("report").full || model.get("error") || root.dataset.kernel === "gone" || !root.isConnected) return stop();
    if (stepsLeft) {
      stepsLeft -= 1;
      return take(next());
    }
    timer = setTimeout(() => {
      if (!running || waiting()) return;
      if (next() === size.start) stop(); // a tale ends where the next one begins
      else {
        goOn({ taken: [...now().taken, next()] });
        goOn = look;
      }
    }, PAUSE);
  }

  // ── the candidates ───────────────────────────────────────────────────────────────────────
  const list = candidateList(model.get("report").shown.length, (id) => {
    if (waiting()) return; // the list is about to change
    stop();
    take(id);
  });
  const axis = make("div", { className: "axis note", "aria-hidden": "true" }, make("span", { textContent: "0" }), make("span", { textContent: "▁ space, ↵ new line" }), make("span"));
  const others = make("div", { className: "note others" });
  const unsure = make("div", { className: "note unsure" });
  const line = drawLine();
  const fell = make("div", { className: "fell" });
  const controls = controlsOf(size.tokens);
  const sliders = controls.map((control) => slider(control, (position) => set({ [control.name]: control.value(position) })));

  // ── faders and cache ─────────────────────────────────────────────────────────────────────
  const faders = faderTable({
    kind: "attention", title: "Heads. Silence: double click, or key 0. Back: again, or key 1.",
    size: [size.layers, size.heads], read: () => now().faders, write: (scale) => set({ faders: scale }),
  });
  const cache = make("input", { type: "checkbox", name: "cache" });
  cache.setAttribute("role", "switch");
  cache.onchange = () => set({ cache: cache.checked });
  const kept = make("div", { className: "kept" });
  const time = make("div", { className: "note time" });
  const remark = make("p", { className: "remark", role: "status" });

  root.append(
    make("div", { className: "top" }, make("label", {}, make("span", { className: "note", textContent: "prompt" }), prompt.box)),
    make("div", { className: "bar" }, step, run, back, over, make("span", { className: "gap" }),
      make("span", { className: "seed" }, make("label", { className: "note" }, "seed ", seed), reseed)),
    text,
    make("div", { className: "looks" }, make("span", { className: "note", textContent: "shaded: attention of" }),
      make("label", {}, "layer ", layer.box), make("label", {}, "head ", head.box), ramp, looks),
    make("div", { className: "columns" },
      make("div", { className: "left" },
        make("div", { className: "note title" }, make("b", { textContent: "Next token" }),
          make("span", { className: "key before", textContent: "by the model" }), make("span", { className: "key after", textContent: "after the settings" }),
          make("span", { className: "key ghost", textContent: "faders at 1" })),
        list.list, axis, others, unsure,
        make("div", { className: "fallen" }, fell, make("span", { className: "note", textContent: "all tokens in a row, as wide as likely" })), line.svg),
      make("div", { className: "right" },
        make("div", { className: "sliders" }, ...sliders.map(({ box }) => box)),
        faders.box,
        make("div", { className: "cache", role: "group", "aria-label": "Cache" },
          make("label", {}, cache, make("b", { textContent: "Cache" })), kept, time))),
    make("div", { className: "last" }, remark, make("div", { className: "ends" }, reset, keep)), complaint);

  // ── drawing ──────────────────────────────────────────────────────────────────────────────
  // what the settings make of the logits, and where the draw falls
  function outcome() {
    const { logits, draw } = model.get("report");
    const after = adjusted(logits, now());
    return { after, ...partsOf(after, draw) };
  }
  const next = () => outcome().id;

  function drawCandidates() {
    const report = model.get("report");
    const before = softmax(report.logits);
    const { after, ends, id } = outcome();
    const limit = list.draw(names, report, before, after, id, report.full);
    axis.lastChild.textContent = percent(limit);
    const count = after.filter((share) => share > 0).length;
    const mass = before.reduce((sum, share, token) => sum + (after[token] > 0 ? share : 0), 0);
    const hidden = after.reduce((sum, share, token) => (report.shown.includes(token) ? sum : sum + share), 0);
    const can = count === after.length ? `All ${count} tokens can come` : `${count} of ${after.length} tokens can come; the model gives them ${percent(mass)}`;
    others.textContent = `${can}. Not shown: ${percent(hidden)}.`;
    const [was, is] = [before, after].map((shares) => (2 ** bits(shares)).toFixed(1));
    unsure.textContent = `As unsure as among ${is} equally likely tokens${is === was ? "" : ` (by the model: ${was})`}.`;
    line.draw(after, ends, { id, number: report.draw, shown: report.shown, name: names[id] });
    fell.replaceChildren("The draw ", make("b", { textContent: report.draw.toFixed(3) }), " falls on ", make("b", { className: "token", textContent: names[id] }));
    root.dataset.next = id;
    root.dataset.kept = count;
    root.classList.toggle("moved", Boolean(report.untouched));
  }

  function drawText() {
    const { tokens, given, weights, limit, looks: told } = model.get("report");
    const colours = model.get("palette");
    text.replaceChildren(...tokens.map((token, index) => {
      const ground = colourOf(weights[index], { low: 0, high: limit }, colours);
      const piece = make("span", { className: index < given ? "" : "new", textContent: token.replaceAll("▁", " "), title: `${token}: ${weights[index].toFixed(3)}` });
      piece.style.background = ground;
      piece.style.color = inkOn(ground);
      return piece;
    }).flatMap((piece) => (piece.textContent.includes("↵") ? [piece, make("br")] : [piece])), make("span", { className: "here", textContent: " " }));
    text.scrollTop = text.scrollHeight;
    ramp.lastChild.textContent = limit.toFixed(2);
    looks.textContent = told;
  }

  function drawButtons() {
    const report = model.get("report");
    const taken = now().taken.length;
    turnOff(step, report.full);
    turnOff(run, running ? "" : report.full);
    run.textContent = running ? "Stop" : "Run";
    run.setAttribute("aria-pressed", String(running));
    turnOff(back, !taken && "Nothing follows the prompt.");
    turnOff(over, !taken && "Nothing follows the prompt.");
    fell.setAttribute("aria-live", running ? "off" : "polite");
    root.dataset.run = running ? "running" : "stopped";
  }

  const sampling = (settings) => controls.map(({ name }) => settings[name]).join(" ");
  function drawReport() {
    const report = model.get("report");
    const { settings } = report;
    drawText();
    layer.draw(numbers(size.layers), settings.layer === null ? "all" : String(settings.layer));
    head.draw(numbers(size.heads), settings.head === null ? "all" : String(settings.head));
    kept.textContent = report.cache.kept;
    time.textContent = [report.cache.time, report.cache.other, "Just now, on this machine: not a measurement."].filter(Boolean).join(" ");
    say(remark, report.remark || report.full || "All faders at 1. Move one: the candidates follow.");
    root.dataset.shown = [settings.taken.length, settings.layer ?? "all", settings.head ?? "all", settings.cache, settings.seed].join(" ");
    root.dataset.answered = sampling(settings); // by Python
    drawSettings();
    go();
  }
  function drawSettings() {
    const settings = now();
    prompt.show(settings.prompt);
    if (seed.getRootNode().activeElement !== seed) seed.value = settings.seed;
    controls.forEach(({ name, position, text: told }, index) => sliders[index].show(position(settings[name]), told(settings[name])));
    cache.checked = settings.cache;
    faders.draw();
    drawCandidates();
    drawButtons();
    root.dataset.sampling = sampling(settings);
    root.dataset.state = waiting() ? "reading" : "shown";
  }

  on("report", drawReport);
  on("settings", drawSettings);
  on("error", () => { if (model.get("error")) stop(); });
  return () => { stop(); end(); };
}

export default { render };
