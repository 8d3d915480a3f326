// What Python is to the notebook's desk: it takes faders, sentence and looks, asks the engine, and tells the view. The
// newest setting always wins; the sentence comes before the accuracy.

import { attentionReport } from "./attention.js";
import { measurements } from "./measuring.js";

const STEPS = 100; // that can be taken back
const PAUSE = 150; // milliseconds without a move, before accuracy is measured

export function deskModel(desk, slopes, ask, text) {
  const { layers, heads, removed } = desk.size;
  const table = (value) => Array.from({ length: layers }, () => Array(heads).fill(value));
  const neutral = { scale: table(1), temperature: table(1) };
  const state = {
    size: { ...desk.size, items: "sentences", images: 0 }, faders: { ...structuredClone(neutral), stamp: 0 }, other: {}, side: "", text,
    look: { layer: layers - 1, head: 0, what: "scaled", kind: "head" }, palette: desk.palette, can_undo: false, error: "",
    first_order: desk.first_order, slopes, accuracy: {}, sentence: {}, attention: {}, library: "", code: "", layout: { comm_live: false },
  };
  const hooks = new Map();
  const on = (name, hook) => hooks.set(name, [...(hooks.get(name) ?? []), hook]);
  const off = (name, hook) => hooks.set(name, (hooks.get(name) ?? []).filter((one) => one !== hook));
  const publish = (changes) => {
    Object.assign(state, changes);
    for (const name of Object.keys(changes)) for (const hook of hooks.get(`change:${name}`) ?? []) hook();
  };

  // ── what the faders were before ──────────────────────────────────────────────────────────
  let past = [];
  let stamps = 0;
  let gesture; // the last one; all its moves are taken back together
  let moved = 0; // when
  const same = (a, b) => JSON.stringify([a.scale, a.temperature]) === JSON.stringify([b.scale, b.temperature]);
  function move(faders) {
    const before = state.faders;
    const { scale, temperature } = faders;
    if (!same(before, faders) && (faders.gesture === undefined || faders.gesture !== gesture)) {
      past = [...past.slice(1 - STEPS), { scale: before.scale, temperature: before.temperature }];
    }
    gesture = faders.gesture;
    show({ scale, temperature });
  }
  function show(tables) {
    moved = performance.now();
    publish({ faders: { ...tables, stamp: ++stamps }, can_undo: past.length > 0 });
    work();
  }

  // ── presets ──────────────────────────────────────────────────────────────────────────────
  const gone = new Set(removed.map((place) => place.join()));
  function preset(name, [layer, head], count) {
    const made = structuredClone(name === "silence" ? { scale: state.faders.scale, temperature: state.faders.temperature } : neutral);
    if (name === "silence") made.scale[layer][head] = 0;
    if (name === "keep-one") made.scale = made.scale.map((row) => row.map((_, index) => Number(index === head)));
    const places = made.scale.flatMap((row, l) => row.map((_, h) => [l, h])).filter((place) => !gone.has(place.join()));
    const silent = name === "random-half" ? places.map((place) => [Math.random(), place]).toSorted(([a], [b]) => a - b).slice(0, places.length / 2).map(([, place]) => place)
      : name === "least-important" ? places.toSorted(([l, h], [m, i]) => state.first_order.use[l][h] - state.first_order.use[m][i]).slice(0, count) : [];
    for (const [l, h] of silent) made.scale[l][h] = 0;
    move(made);
  }
  const actions = {
    undo() { if (past.length) show(past.pop()); },
    preset({ name, place, count }) { preset(name, place, count); },
  };

  // ── the sentence ─────────────────────────────────────────────────────────────────────────
  const measured = measurements(desk, (texts, faders) => ask("group", { texts, faders: flat(faders) }));
  const flat = ({ scale, temperature }) => ({ scale: scale.flat(), temperature: temperature.flat() });
  const base = measured.of(neutral, true);
  let before = { text: null }; // the untouched model's answer to the sentence
  let now = {}; // the faders'
  const answered = async (words, faders) => ({ ...await ask("answer", { text: words, faders: flat(faders) }), text: words, scale: faders.scale });

  async function updateSentence() {
    const { text: words, faders } = state;
    const belongs = { stamp: faders.stamp, text: words };
    if (!words.trim()) {
      now = {};
      publish({ sentence: { error: "Type a sentence.", ...belongs }, attention: { kind: "", ...belongs } });
      return;
    }
    if (before.text !== words) before = await answered(words, neutral);
    now = same(faders, neutral) ? before : await answered(words, faders);
    const cut = `Only the first ${desk.most_tokens} tokens of this sentence count.`;
    publish({
      sentence: { labels: desk.labels, after: now.probabilities, before: before.probabilities, error: now.cut ? cut : "", seconds: now.seconds, ...belongs },
    });
    drawAttention(belongs);
  }
  function drawAttention(belongs = { stamp: state.attention.stamp, text: state.attention.text }) {
    if (now.tokens) publish({ attention: { ...attentionReport(now, before, state.look, heads), look: { ...state.look }, ...belongs } });
  }

  // ── one thing at a time ──────────────────────────────────────────────────────────────────
  let working = false;
  let later;
  const isStale = ({ stamp, text: words }) => stamp !== state.faders.stamp || words !== state.text;
  async function next() { // whether something was done
    if (isStale(state.sentence)) {
      await updateSentence();
      return true;
    }
    const { faders } = state;
    const mine = same(faders, neutral) ? base : measured.of(faders);
    if (state.accuracy.stamp === faders.stamp && state.accuracy.state === "measured") return false;
    const wait = moved + PAUSE - performance.now();
    if (wait > 0 && !measured.done(mine)) {
      clearTimeout(later);
      later = setTimeout(work, wait);
      return false;
    }
    const groups = Math.min(mine.groups, base.groups);
    for (const one of [base, mine]) {
      if (one.groups > groups || measured.done(one)) continue;
      await measured.advance(one);
      if (isStale(state.sentence)) return true; // somebody moved something: that first
    }
    publish({ accuracy: { ...measured.report(mine, base), stamp: faders.stamp } });
    return true;
  }
  async function work() {
    if (working) return;
    working = true;
    try {
      while (await next());
      if (state.error) publish({ error: "" });
    } catch (error) {
      publish({ error: `The model stopped: ${error.message}. Reload the page.` });
    } finally {
      working = false;
    }
  }

  // ── what the view asks for ───────────────────────────────────────────────────────────────
  return {
    on, off,
    get: (name) => state[name],
    set(name, value) {
      if (name === "faders") return move(value);
      publish({ [name]: value });
      if (name === "look") drawAttention();
      if (name === "text") work();
    },
    save_changes() {},
    send({ action, ...content }) { actions[action]?.(content); },
    work,
    // how far this browser's answers are from Python's, once the untouched model is measured
    agreement() {
      if (!measured.done(base)) return null;
      const best = (row) => row.indexOf(Math.max(...row));
      const { python } = desk;
      return {
        of: python.length, same: python.filter((row, index) => best(row) === best(base.answers[index])).length,
        apart: Math.max(...python.flatMap((row, index) => row.map((value, label) => Math.abs(value - base.answers[index][label])))),
      };
    },
  };
}
