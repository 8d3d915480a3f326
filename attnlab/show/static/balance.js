// The view of the balance meter. A report comes from Python; this draws it and sends what is chosen.

import { begin, cells, controlled, drawn, headings, make, menu, say, textBox } from "./elements.js";
import { headGrid, ramp } from "./grids.js";
import { attentionPicture } from "./pictures.js";

function arc(radius, share) { // from the left over the top
  const turn = Math.PI * (1 - share);
  return `M${-radius},0A${radius},${radius} 0 0,1 ${(radius * Math.cos(turn)).toFixed(2)},${(-radius * Math.sin(turn)).toFixed(2)}`;
}

function dialPanel() {
  const svg = drawn("svg", { class: "dial", viewBox: "-110 -106 220 132", role: "img" });
  const parts = make("div", { className: "balance-parts" });
  const box = make("div", { className: "balance-dial" }, make("b", { textContent: "Overall balance" }), svg, parts);
  function draw({ dial }) {
    svg.setAttribute("aria-label", dial.alt);
    const pieces = [drawn("path", { class: "ring", d: arc(84, 1) })];
    if (dial.overall !== null) pieces.push(drawn("path", { class: "ring filled", d: arc(84, Math.max(dial.overall, 0.004)) }));
    if (dial.before !== null) {
      const turn = Math.PI * (1 - dial.before);
      const at = (r) => `${r * Math.cos(turn)},${-r * Math.sin(turn)}`;
      pieces.push(drawn("path", { class: "mark", d: `M${at(68)}L${at(102)}` }));
    }
    pieces.push(drawn("text", { class: "figure", x: 0, y: -8, "text-anchor": "middle" }, dial.value),
      drawn("text", { x: 0, y: 14, "text-anchor": "middle" }, dial.was),
      drawn("text", { x: -84, y: 18, "text-anchor": "middle" }, "0"), drawn("text", { x: 84, y: 18, "text-anchor": "middle" }, "1"));
    svg.replaceChildren(...pieces);
    parts.replaceChildren(...dial.parts.flatMap((part) => {
      const fill = make("i");
      fill.style.width = `${100 * (part.share ?? 0)}%`;
      const track = make("div", { className: "balance-track" }, fill);
      if (part.before !== null) {
        const mark = make("b", { title: `before: ${part.before.toFixed(2)}` });
        mark.style.left = `${100 * part.before}%`;
        track.append(mark);
      }
      return [make("div", { className: "balance-part" }, make("span", { textContent: part.label }), make("output", { textContent: part.value })),
        track, make("div", { className: "note", textContent: part.note })];
    }));
  }
  return { box, draw };
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-balance", "Balance meter");
  const { set, reset, keep } = controlled(model);
  keep.prepend(reset);
  const [layers, heads] = model.get("report").size;

  const menus = Object.fromEntries([["measure", "Measure"], ["tokens", "Which tokens"], ["by", "Weights or contributions"], ["value", "What is shown"]]
    .map(([name, label]) => [name, menu(label, (value) => set({ [name]: value }))]));
  const bar = make("div", { className: "balance-menus" }, ...Object.values(menus).map(({ box }) => box));
  const dial = dialPanel();
  const progress = make("div", { className: "balance-done note", "data-progress": "" });
  const grid = headGrid({ layers, heads, label: "Heads: layers down, heads across", choose: (layer, head) => set({ layer, head }) });
  const legend = ramp();

  const name = make("b");
  const note = make("span", { className: "note" });
  const columns = make("tr");
  const rows = make("tbody");
  const table = make("table", { "aria-label": "What was measured of this head" }, make("thead", {}, columns), rows);
  const text = textBox("Sentence whose attention is shown", (words) => set({ text: words }));
  const picture = make("div", { className: "balance-picture", tabIndex: 0, role: "region", "aria-label": "Attention of this head on the sentence" });
  const drawAttention = attentionPicture(picture, model);
  const told = make("div", { className: "note balance-note" });
  const remark = make("p", { className: "remark", role: "status" });

  const left = make("div", { className: "balance-left" }, dial.box, remark, progress, keep);
  const numbers = make("div", { className: "balance-numbers" }, make("div", { className: "balance-name" }, name, note), table);
  const sentence = make("div", { className: "balance-sentence" }, text.box, picture, told);
  const right = make("div", { className: "balance-right" }, grid.box, legend.box, make("div", { className: "balance-closely" }, numbers, sentence));
  root.append(bar, make("div", { className: "balance-columns" }, left, right), complaint);

  function draw() {
    const report = model.get("report");
    const { settings, shown, map, head } = report;
    const colours = model.get("palette")[map.signed ? "signed" : "plain"];
    for (const [one, { draw: fill }] of Object.entries(menus)) fill(report.menus[one], shown[one]);
    dial.draw(report);
    grid.draw(map, colours, [settings.layer, settings.head]);
    legend.draw(map, colours);
    progress.textContent = report.progress;
    name.textContent = head.name;
    note.textContent = head.note;
    columns.replaceChildren(...headings(head.columns));
    rows.replaceChildren(...head.rows.map(([first, ...others]) => make("tr", {},
      make("th", { scope: "row", textContent: first }), ...cells(others))));
    say(remark, report.remark);
    root.dataset.state = report.state;
    root.dataset.shown = [shown.measure, shown.tokens, shown.by, shown.value, settings.layer, settings.head].join(" ");
  }
  function drawPicture() {
    const map = model.get("sentence");
    if (!picture.clientWidth) return; // not on the page yet
    drawAttention(map);
    told.textContent = map.note ?? "";
    picture.dataset.stamp = (map.stamp ?? []).slice(0, 2).join(" ");
  }

  on("report", draw);
  on("settings", () => text.show(model.get("settings").text));
  on("sentence", drawPicture);
  onResize(picture, drawPicture);
  return end;
}

export default { render };
