// Attention over one sentence, as the desk draws it: what attention_report.py is to the notebook's desk.

const MOST = 64; // tokens in a map
const MOST_LINES = 40; // tokens with lines
const BARS = { weights: "weight", scaled: "weight × scale", contributions: "length of contribution", difference: "change of weight × scale" };
const LOOKS = {
  weights: "Weights: how each word shares out its attention, 1 in all.",
  scaled: "Weights × scale: each head's weights times its fader.",
  contributions: "Contributions: how long the vector is that a word adds.",
  difference: "Difference: what the faders change; red is more, blue less.",
};

// `now` and `before` hold tokens, weights and norms as the model gives them, and the table of scales.
export function attentionReport(now, before, look, heads) {
  const kind = look.what === "difference" ? "map" : look.kind;
  const count = now.tokens.length;
  const shown = Math.min(count, kind === "map" ? MOST : MOST_LINES);
  const tokens = now.tokens.slice(0, shown);
  const cut = shown < count ? `The first ${shown} of ${count} tokens. ` : "";
  const { layer, head, what } = look;
  if (kind === "map") {
    const values = picture(now, before, layer, head, what, heads, shown);
    const most = largest(values);
    const least = what === "difference" ? 0.05 : what === "contributions" ? 1e-6 : 0.5;
    return {
      kind, tokens, values, signed: what === "difference", limit: Math.max(most.size, least), label: BARS[what],
      alt: `Heat map, ${BARS[what]}, layer ${layer}, head ${head}. ${strongest(most, tokens)}`,
      note: `${cut}Rows look at columns. ${LOOKS[what]}`,
    };
  }
  const drawn = (kind === "head" ? [head] : Array.from({ length: heads }, (_, index) => index))
    .map((index) => ({ head: index, values: picture(now, before, layer, index, what, heads, shown) }));
  const most = drawn.map(({ values }) => largest(values)).reduce((a, b) => (b.size > a.size ? b : a));
  const whose = kind === "head" ? `head ${head}` : "all heads";
  const silent = kind === "head" ? `L${layer}H${head} is silent, so it has no lines.` : "All are silent, so there are no lines.";
  return {
    kind: "lines", one: kind === "head", tokens, heads: drawn, limit: Math.max(most.size, 1e-6),
    alt: `Lines, ${BARS[what]}, layer ${layer}, ${whose}. ${strongest(most, tokens)}`,
    note: `${cut}Left looks at right. ${LOOKS[what]}${kind === "head" ? "" : " A colour per head."} ${most.size ? "Tap a word for its lines." : silent}`,
  };
}

const strongest = ({ size, from, to }, tokens) => (size > 0 ? `The strongest: from ${tokens[from]} to ${tokens[to]}, ${size.toFixed(2)}.` : "Nothing: this is silent.");

function largest(values) {
  const most = { size: 0, from: 0, to: 0 };
  values.forEach((line, from) => line.forEach((value, to) => {
    if (Math.abs(value) > most.size) Object.assign(most, { size: Math.abs(value), from, to });
  }));
  return most;
}

// The T x T numbers of one head.
function picture(now, before, layer, head, what, heads, shown) {
  const count = now.tokens.length;
  const first = (layer * heads + head) * count * count;
  const scale = what === "weights" ? 1 : now.scale[layer][head];
  return Array.from({ length: shown }, (_, row) => Array.from({ length: shown }, (__, column) => {
    const at = first + row * count + column;
    const value = now.weights[at] * scale;
    if (what === "contributions") return value * now.norms[(layer * heads + head) * count + column];
    return what === "difference" ? value - before.weights[at] : value;
  }));
}
