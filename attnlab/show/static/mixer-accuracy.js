// The mixing desk's accuracy panel: a first-order estimate at once, then what is measured.

import { drawn, make } from "./elements.js";
import { itemsName, signed } from "./mixer-faders.js";
import { tr } from "./words.js";

export const percent = (x, digits = 1) => `${(100 * x).toFixed(digits)} %`;
const points = (x) => signed(100 * x);
const wilson = () => tr("95 % interval of the accuracy (Wilson): others of the same kind would give about this.");
const paired = () => tr("The 95 % interval of the change, on the same ones, and the p-value of McNemar's exact test that nothing changed.");

// Share of right answers when every margin moves along its gradients. `slopes` holds rows of n numbers: the
// margins, then their gradients by each head's scale, then by the logarithm of each one's temperature.
function firstOrder(slopes, n, { scale, temperature }) {
  const margins = slopes.slice(0, n);
  const steps = [...scale.flat().map((v) => v - 1), ...temperature.flat().map(Math.log)];
  steps.forEach((step, knob) => {
    if (step === 0) return;
    const row = slopes.subarray((knob + 1) * n, (knob + 2) * n);
    for (let i = 0; i < n; i++) margins[i] += step * row[i];
  });
  let right = 0;
  for (const margin of margins) right += margin > 0;
  return right / n;
}

export function accuracyPanel(desk) {
  const { model } = desk;
  const { items: kind } = model.get("size"); // "sentences" or "images"
  const items = itemsName(kind);
  const title = make("div", { className: "desk-title" });
  const big = make("div", { className: "desk-big" });
  const status = make("div", { className: "desk-status", "data-progress": "" });
  const bar = make("progress", { max: 1, value: 0, "aria-label": tr("{items} evaluated", { items }) });
  const interval = drawn("svg", { class: "desk-interval", viewBox: "0 0 190 34", role: "img" });
  const change = make("div", { className: "desk-change" });
  const brief = make("div", { className: "desk-brief", "data-progress": "" }); // the same in a line, where the desk is one column
  const flips = make("ul", { className: "desk-flips", tabIndex: 0, "aria-label": kind === "images" ? tr("Images whose answer changed") : tr("Sentences whose answer changed") });
  const panel = make("div", { className: "desk-panel desk-accuracy" },
    make("div", {}, title, big, bar, status, interval), make("div", {}, change, flips));

  let slopes = new Float32Array(0);
  let neutral = 0; // the share that is right at neutral, of those the gradients are of
  function readSlopes() {
    const bytes = model.get("slopes");
    const { n, accuracy } = model.get("first_order");
    slopes = n && bytes?.byteLength ? new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)) : new Float32Array(0);
    desk.root.dataset.estimates = slopes.length ? "ready" : "none";
    if (slopes.length) neutral = accuracy - firstOrder(slopes, n, { scale: [], temperature: [] });
  }

  // what the gradients expect of the faders, and of the change; null while they are not there
  function estimated() {
    if (!slopes.length) return null;
    const { n } = model.get("first_order");
    const of = (faders) => (faders.scale ? firstOrder(slopes, n, faders) + neutral : model.get("first_order").accuracy);
    const mine = of(model.get("faders"));
    const moved = mine - of(model.get("other"));
    return { accuracy: Math.min(1, Math.max(0, mine)), delta: model.get("side") === "A" ? -moved : moved };
  }

  function draw() {
    const now = model.get("accuracy");
    const { stamp } = model.get("faders");
    const side = model.get("side");
    const stale = now.stamp !== stamp;
    const guess = stale ? estimated() : null;
    panel.dataset.stamp = (guess ? stamp : now.stamp) ?? "";
    panel.dataset.state = guess ? "estimate" : stale ? "stale" : now.state ?? "waiting";
    status.title = guess
      ? tr("Every margin is moved along its gradients at neutral. Near neutral that is close; far from it, with many heads moved, it is a guess. The measured value replaces it.")
      : now.state === "partial" ? tr("A random sample that grows. Where accuracy on all is known without this change, it is that plus the change so far.") : "";
    title.textContent = side ? tr("Held-out accuracy of {side}", { side }) : tr("Held-out accuracy");
    if (guess) return drawGuess(guess, side);
    if (now.accuracy === undefined) {
      big.textContent = "…";
      brief.textContent = "";
      status.textContent = tr("The first evaluation is under way.");
      flips.dataset.empty = "";
      change.textContent = "";
      return;
    }
    const [low, high] = now.interval;
    big.replaceChildren(percent(now.accuracy), make("small", { className: "interval", textContent: tr("95 %: {low} to {high}", { low: (100 * low).toFixed(1), high: (100 * high).toFixed(1) }), title: wilson() }));
    bar.value = stale ? 0 : now.n / now.total;
    const told = { accuracy: `${percent(now.accuracy)}${now.delta === null ? "" : ` (${points(now.delta)})`}`, low: (100 * low).toFixed(1), high: (100 * high).toFixed(1) };
    brief.textContent = stale ? tr("Accuracy {accuracy}, measuring …", told)
      : now.state === "measured" ? tr("Accuracy {accuracy}, 95 %: {low} to {high}", told) : tr("Accuracy {accuracy} so far, 95 %: {low} to {high}", told);
    const count = now.n.toLocaleString("en");
    const label = now.state === "measured"
      ? [make("b", { textContent: tr("measured") }), tr(" on all {count} {items}", { count, items }), make("span", { className: "rare", textContent: `, ${now.seconds.toFixed(1)}\u00a0s${now.format}` })]
      : [make("b", { textContent: tr("measured so far") }), tr(" on {count} of {total} {items}", { count, total: now.total.toLocaleString("en"), items })];
    status.replaceChildren(...(stale ? [tr("measuring …")] : label));
    if (now.delta === null) {
      change.textContent = side ? tr("A and B are the same. Move a fader: the change shows here.") : tr("Neutral. Move a fader: the change shows here.");
      flips.replaceChildren();
      flips.dataset.empty = tr("The {items} whose answers change are listed here:\n✓ gained: now right\n✗ lost: now wrong", { items });
      drawAxis(0);
      interval.setAttribute("aria-label", tr("no change"));
      return;
    }
    const range = tr("{low} to {high}", { low: points(now.low), high: points(now.high) });
    const p = now.p < 0.001 ? "< 0.001" : `= ${now.p.toFixed(now.p < 0.1 ? 3 : 2)}`;
    const final = now.state === "measured" && !stale;
    change.replaceChildren(
      make("div", {}, make("b", { textContent: tr("{change} points", { change: points(now.delta) }) }), ` ${against(now.side)}`),
      make("div", { title: final ? paired() : `${paired()} ${tr("It changes until all are measured.")}` },
        `95 %: ${range}`, make("span", { className: "rare", textContent: `, p ${p}` })),
      make("div", {}, make("span", { className: "gained", textContent: tr("{gained} gained", now) }), ", ",
        make("span", { className: "lost", textContent: tr("{lost} lost", now) }),
        make("span", { className: "note rare", textContent: final ? "" : tr(" so far; p is not final") })),
    );
    const colour = now.low > 0 ? "var(--good)" : now.high < 0 ? "var(--bad)" : "var(--soft)";
    const x = drawAxis(Math.max(Math.abs(now.low), Math.abs(now.high)));
    interval.append(
      drawn("line", { x1: x(now.low), x2: x(now.high), y1: 10, y2: 10, stroke: colour, "stroke-width": 4 }),
      drawn("circle", { cx: x(now.delta), cy: 10, r: 5, fill: colour }),
    );
    interval.setAttribute("aria-label", tr("change {change} points, interval {range}", { change: points(now.delta), range }));
    flips.dataset.empty = tr("No answer has changed.");
    flips.replaceChildren(...now.flips.map((flip) => make("li", {},
      make("span", { className: flip.right ? "gained" : "lost", textContent: flip.right ? "✓ " : "✗ ", title: flip.right ? tr("now right") : tr("now wrong") }),
      `${flip.right ? tr("now {after}", flip) : tr("now {after} (should be {label})", flip)}: `, make("bdi", { textContent: flip.text }))));
  }

  const against = (side) => (side ? tr("B against A") : tr("against neutral"));

  function drawGuess(guess, side) {
    big.replaceChildren(percent(guess.accuracy), make("small", { className: "interval", textContent: tr("estimate") }));
    brief.textContent = tr("Accuracy ≈ {accuracy}, estimate", { accuracy: percent(guess.accuracy) });
    bar.value = 0;
    status.replaceChildren(make("b", { textContent: tr("first-order estimate") }), tr(", measuring …"));
    change.replaceChildren(
      make("div", {}, make("b", { textContent: `≈ ${tr("{change} points", { change: points(guess.delta) })}` }), ` ${against(side)}`),
      make("div", { textContent: tr("by the gradients at neutral;") }),
      make("div", { textContent: tr("far from neutral a guess") }),
    );
    const x = drawAxis(Math.abs(guess.delta));
    interval.append(drawn("circle", { cx: x(guess.delta), cy: 10, r: 4.5, fill: "none", stroke: "var(--soft)", "stroke-width": 1.5 }));
    interval.setAttribute("aria-label", tr("estimated change {change} points", { change: points(guess.delta) }));
  }

  function drawAxis(most) { // from a change to its place on the axis
    const reach = Math.max(0.02, most) * 1.1;
    const x = (v) => 95 + (85 * v) / reach;
    interval.replaceChildren(
      drawn("line", { x1: 5, x2: 185, y1: 10, y2: 10, stroke: "var(--line)" }),
      drawn("line", { x1: 95, x2: 95, y1: 2, y2: 18, stroke: "var(--soft)" }),
    );
    for (const [at, anchor] of [[-reach, "start"], [0, "middle"], [reach, "end"]]) {
      const text = drawn("text", { x: x(at) + (at < 0 ? -5 : at > 0 ? 5 : 0), y: 31, "text-anchor": anchor });
      text.textContent = at === 0 ? "0" : points(at);
      interval.append(text);
    }
    return x;
  }

  return { panel, brief, draw, readSlopes };
}
