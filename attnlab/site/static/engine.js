// The worker that answers: tokenizer and model, in a thread of their own so that the page stays quick.

import { wordPieces } from "./wordpiece.js";

let ort;
let session;
let cut; // of wordPieces
let settings; // [layers, heads]
let mostTokens;
let pad;

const softmax = (logits) => {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
};

// Scale and temperature hold for all texts of a group; each is a list of numbers, layer by layer.
async function run(texts, { scale, temperature }, outputs) {
  const width = Math.max(...texts.map(({ ids }) => ids.length));
  const numbers = (value) => {
    const all = new BigInt64Array(texts.length * width);
    texts.forEach(({ ids }, row) => {
      for (let place = 0; place < width; place++) all[row * width + place] = BigInt(value(ids, place));
    });
    return new ort.Tensor("int64", all, [texts.length, width]);
  };
  const columns = {
    input_ids: numbers((ids, place) => ids[place] ?? pad),
    attention_mask: numbers((ids, place) => (place < ids.length ? 1 : 0)),
    token_type_ids: numbers(() => 0),
  };
  const knobs = {
    scale: new ort.Tensor("float32", Float32Array.from(scale), [1, ...settings]),
    temperature: new ort.Tensor("float32", Float32Array.from(temperature), [1, ...settings]),
  };
  const known = Object.entries(columns).filter(([name]) => session.inputNames.includes(name)); // not all models tell sentences of a pair apart
  const feeds = { ...Object.fromEntries(known), ...knobs };
  const found = await session.run(feeds, outputs);
  const { data, dims } = found.logits;
  const probabilities = Array.from({ length: dims[0] }, (_, row) => softmax([...data.subarray(row * dims[1], (row + 1) * dims[1])]));
  const copies = outputs.slice(1).map((name) => Float32Array.from(found[name].data));
  for (const tensor of [...Object.values(columns), ...Object.values(knobs), ...Object.values(found)]) tensor.dispose();
  return [probabilities, ...copies];
}

const actions = {
  async load({ runtime, wasm, model, desk }) {
    ort = await import(runtime);
    Object.assign(ort.env.wasm, { numThreads: 1, proxy: false, wasmBinary: wasm });
    ort.env.logLevel = "error";
    session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"], logSeverityLevel: 3 });
    cut = wordPieces(desk.tokenizer);
    ({ most_tokens: mostTokens } = desk);
    ({ pad } = desk.tokenizer);
    settings = [desk.size.layers, desk.size.heads];
    return {};
  },

  async answer({ text, faders }) {
    const started = performance.now();
    const found = cut(text, mostTokens);
    const [[probabilities], weights, norms] = await run([found], faders, ["logits", "attentions", "value_norms"]);
    return { tokens: found.tokens, cut: found.cut, probabilities, weights, norms, seconds: (performance.now() - started) / 1000 };
  },

  async group({ texts, faders }) {
    const started = performance.now();
    const [probabilities] = await run(texts.map((text) => cut(text, mostTokens)), faders, ["logits"]);
    return { probabilities, seconds: (performance.now() - started) / 1000 };
  },
};

self.onmessage = async ({ data: { id, action, ...rest } }) => {
  try {
    self.postMessage({ id, result: await actions[action](rest) });
  } catch (error) {
    self.postMessage({ id, error: error?.message ?? String(error) });
  }
};
