// The view of the tuner's desk. A report comes from Python; this draws it and sends what is chosen.

import { begin, button, cells as tableCells, controlled, copyButton, drawn, headings, make, menu, refill, say, textBox, turnOff } from "./elements.js";
import { MARKS, panel, plane } from "./charts.js";
import { headGrid } from "./grids.js";
import { attentionPicture } from "./pictures.js";

const SHAPES = { accepted: MARKS[0], refused: (r) => `M${-r},${-r}L${r},${r}M${-r},${r}L${r},${-r}`, random: MARKS[4] };

const WHY_NOT = {
  running: "The tuner runs. Wait for it, or stop it.",
  stopping: "The tuner ends with the round that is under way.",
  finished: "All its rounds are done.",
};

function drawRounds(svg, { points, start, axes, looked }, choose) {
  const { x, y } = plane(svg, axes.round, axes.accuracy, { name: "round" });
  const parts = [];
  let kept = `M${x(0)},${y(start)}`;
  for (const round of points) kept += `H${x(round.number)}${round.accepted ? `V${y(round.accuracy)}` : ""}`;
  parts.push(drawn("path", { class: "kept", d: kept }), drawn("circle", { class: "point start", cx: x(0), cy: y(start), r: 4 }));
  for (const round of points) {
    const here = round.number === looked;
    const group = drawn("g", { class: round.kind });
    group.append(drawn("title", {}, round.words),
      drawn("path", { class: "bar", d: `M${x(round.number)},${y(round.low)}V${y(round.high)}` }));
    if (here) group.append(drawn("circle", { class: "here", cx: x(round.number), cy: y(round.accuracy), r: 9 }));
    group.append(drawn("path", { class: "point", d: SHAPES[round.kind](5), transform: `translate(${x(round.number)},${y(round.accuracy)})` }));
    group.addEventListener("click", () => choose(round.number));
    parts.push(group);
  }
  parts.find((part) => part.classList.contains("start")).addEventListener("click", () => choose(0));
  svg.append(...parts); // not cut at the edges: a point may stand on one
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, complaint, end } = begin(context, "attnlab-tuner", "Tuner's desk");
  const { set, undo, reset, code } = controlled(model);
  const [layers, heads] = model.get("report").size;

  const asks = Object.fromEntries([["run", "Run"], ["step", "One more round"], ["stop", "Stop"]]
    .map(([action, label]) => [action, button(action, label, () => model.send({ action }))]));
  const pasted = make("textarea", { rows: 3, spellcheck: false, placeholder: "JSON of a mixing desk, or of a round", "aria-label": "Settings as JSON" });
  const hand = button("propose", "Let the guard judge it", () => model.send({ action: "propose", text: pasted.value }));
  const byHand = make("details", { className: "tuner-hand" }, make("summary", { textContent: "By hand" }), make("div", {}, pasted, hand));
  const doing = make("span", { className: "note", "data-progress": "" });
  const bar = make("div", { className: "tuner-bar" }, ...Object.values(asks), byHand, doing,
    reset, undo, code, copyButton("json", "Copy as JSON", () => model.get("json")));

  const { box: chart, note, svg } = panel("rounds", "Guard accuracy");
  chart.append(make("div", { className: "note", textContent: "● accepted   ✖ refused   ◆ random knobs" }));
  const head = make("tr");
  const rows = make("tbody");
  const scroll = make("div", { className: "tuner-table scrolls", tabIndex: 0, role: "region", "aria-label": "Rounds" },
    make("table", { "aria-label": "Rounds" }, make("thead", {}, head), rows));
  const remark = make("p", { className: "remark", role: "status" });

  const name = make("b");
  const why = make("span", { className: "tuner-why" });
  const grids = ["scale", "temperature"].map((knob) => {
    const title = make("div", { className: "note" });
    const grid = headGrid({ layers, heads, label: `${knob} of each head`, choose: (layer, one) => set({ layer, head: one }) });
    return { knob, title, grid, box: make("div", {}, title, grid.box) };
  });
  const kind = menu("Kind of picture", (value) => set({ kind: value }));
  const text = textBox("Sentence whose attention is shown", (words) => set({ text: words }));
  const place = make("b");
  const picture = make("div", { className: "tuner-picture", tabIndex: 0, role: "region", "aria-label": "Attention of this head on the sentence" });
  const drawAttention = attentionPicture(picture, model);
  const told = make("div", { className: "note tuner-note" });

  root.append(bar, make("div", { className: "tuner-parts" },
    make("div", { className: "tuner-top" }, chart, make("div", {}, scroll, remark)),
    make("div", { className: "tuner-chosen" }, name, why),
    make("div", { className: "tuner-bottom" },
      make("div", { className: "tuner-knobs" }, ...grids.map(({ box }) => box)),
      make("div", { className: "tuner-sentence" }, make("div", { className: "tuner-look" }, place, kind.box), text.box, picture, told))), complaint);

  function row({ number, accepted, cells }, looked) {
    const show = make("button", { type: "button", textContent: number, title: number ? `Show round ${number}` : "Show the start", onclick: () => set({ round: number }) });
    const line = make("tr", {}, make("th", { scope: "row" }, show), ...tableCells(cells));
    line.classList.toggle("now", number === looked);
    line.children[2].className = accepted === null ? "" : accepted ? "good" : "bad";
    return line;
  }

  let listed = "";
  function draw() {
    const report = model.get("report");
    const { settings } = report;
    if (!svg.clientWidth) return; // not on the page yet
    const whyNot = (action) => !report.can.includes(action) && (action === "stop" ? "It does not run." : WHY_NOT[report.state]);
    for (const [action, one] of Object.entries(asks)) turnOff(one, whyNot(action));
    doing.textContent = report.doing;
    turnOff(hand, whyNot("propose"));
    drawRounds(svg, report, (round) => set({ round }));
    svg.setAttribute("aria-label", report.alt);
    note.textContent = report.note;
    const said = JSON.stringify([report.rows, report.looked]);
    if (said !== listed) {
      head.replaceChildren(...headings(report.columns));
      const worked = refill(rows, report.rows.map((round) => row(round, report.looked)));
      const now = rows.querySelector(".now");
      if (now && !worked) scroll.scrollTop = now.offsetTop - scroll.clientHeight / 2;
      listed = said;
    }
    name.textContent = report.name;
    why.textContent = report.why;
    for (const { knob, title, grid } of grids) {
      title.textContent = report.knobs[knob].label;
      grid.draw(report.knobs[knob], model.get("palette").signed, [settings.layer, settings.head]);
    }
    kind.draw(report.kinds, settings.kind);
    place.textContent = `Layer ${settings.layer}, head ${settings.head}`;
    say(remark, report.remark);
    root.dataset.state = report.state;
    root.dataset.shown = [report.looked, settings.layer, settings.head, settings.kind].join(" ");
    root.dataset.rounds = report.points.length;
  }

  function drawPicture() {
    const now = model.get("sentence");
    if (!picture.clientWidth) return; // not on the page yet
    told.textContent = now.note ?? "";
    drawAttention(now, () => { picture.dataset.stamp = (now.stamp ?? []).join(" "); });
  }

  on("report", draw);
  on("settings", () => text.show(model.get("settings").text));
  on("sentence", drawPicture);
  onResize(root, draw);
  onResize(picture, drawPicture);
  return end;
}

export default { render };
