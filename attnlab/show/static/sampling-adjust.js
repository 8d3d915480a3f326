// From logits to the next token in the browser, so that a slider is answered at once: the twin of adjust and draw in
// Python (language/sampling.py), which a test holds it to.

// Ids from the likeliest down; equally likely ones in their order.
export const ranked = (values) => values.map((_, id) => id).sort((a, b) => values[b] - values[a] || a - b);

const sum = (values) => values.reduce((total, value) => total + value, 0);

export function softmax(logits) {
  const most = Math.max(...logits);
  const parts = logits.map((logit) => Math.exp(logit - most));
  const all = sum(parts);
  return parts.map((part) => part / all);
}

function only(probabilities, kept) {
  const left = probabilities.map((share, id) => (kept[id] ? share : 0));
  const all = sum(left);
  return left.map((share) => share / all);
}

// Probabilities that the next token is drawn with; null for a limit that is off.
export function adjusted(logits, { temperature = 1, top_k = null, top_p = null, min_p = null } = {}) {
  const most = Math.max(...logits);
  if (temperature === 0) {
    const first = logits.indexOf(most);
    return logits.map((_, id) => Number(id === first));
  }
  let shares = softmax(logits.map((logit) => (logit - most) / temperature));
  if (top_k !== null) {
    const least = shares[ranked(shares)[Math.min(top_k, shares.length) - 1]];
    shares = only(shares, shares.map((share) => share >= least));
  }
  if (top_p !== null) {
    const kept = Array(shares.length).fill(false);
    let together = 0;
    for (const id of ranked(shares)) {
      together += shares[id];
      kept[id] = together - shares[id] < top_p; // what the likelier ones have together
    }
    shares = only(shares, kept);
  }
  if (min_p !== null) {
    const least = min_p * Math.max(...shares);
    shares = only(shares, shares.map((share) => share >= least));
  }
  return shares;
}

// Where each token's part of the line from 0 to 1 ends, in the order of the vocabulary, and which part a number falls on.
export function partsOf(shares, number) {
  let together = 0;
  const ends = shares.map((share) => { together += share; return together; });
  const reached = number * together;
  return { ends, id: ends.findIndex((end) => end > reached) };
}
