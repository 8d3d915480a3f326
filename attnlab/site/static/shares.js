// Intervals and tests of attnlab.statistics, for shares of right answers.

const Z = 1.959963984540054; // all intervals are 95 %

// Wilson 1927: a share, `right` of `n`.
export function shareInterval(right, n) {
  const [share, extra] = [right / n, Z * Z / n];
  const half = Z * Math.sqrt(share * (1 - share) / n + extra / n / 4);
  const [low, high] = [-half, half].map((end) => (share + extra / 2 + end) / (1 + extra));
  return [right === 0 ? 0 : low, right === n ? 1 : high];
}

// Agresti and Min 2005: a difference of paired shares.
export function pairedInterval(gained, lost, n) {
  const [b, c, size] = [gained + 0.5, lost + 0.5, n + 2];
  const centre = (b - c) / size;
  const half = Z * Math.sqrt(Math.max(b + c - (b - c) ** 2 / size, 0)) / size;
  return [Math.max(centre - half, -1), Math.min(centre + half, 1)];
}

// McNemar's exact test, two-sided.
export function mcnemar(gained, lost) {
  const n = gained + lost;
  let term = 0.5 ** n; // binomial probability of i of n
  let sum = 0;
  for (let i = 0; i <= Math.min(gained, lost); i++) {
    sum += term;
    term *= (n - i) / (i + 1);
  }
  return Math.min(1, 2 * sum);
}

// A known accuracy plus a change that has an interval of its own (Zou and Donner 2008).
export function movedInterval(known, [low, high], moved, change) {
  const half = (change[1] - change[0]) / 2;
  const point = known + moved;
  return [Math.max(0, point - Math.hypot(known - low, half)), Math.min(1, point + Math.hypot(high - known, half))];
}
