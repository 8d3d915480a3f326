// The view of the tuner's desk. A report comes from Python; this draws it and sends what is chosen.

function drawRounds(svg, { points, start, axes, looked }, choose) {
  const { x, y } = plane(svg, axes.round, axes.accuracy, "round");
  const parts = [];
  let kept = `M${x(0)},${y(start)}`;
  for (const one of points) kept += `H${x(one.number)}${one.accepted ? `V${y(one.accuracy)}` : ""}`;
  parts.push(drawn("path", { class: "kept", d: kept }), drawn("circle", { class: "point start", cx: x(0), cy: y(start), r: 4 }));
  const shapes = {
    accepted: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
    refused: (r) => `M${-r},${-r}L${r},${r}M${-r},${r}L${r},${-r}`,
    random: (r) => `M0,${-1.2 * r}l${r},${1.2 * r}l${-r},${1.2 * r}l${-r},${-1.2 * r}z`,
  };
  for (const one of points) {
    const here = one.number === looked;
    const group = drawn("g", { class: one.kind });
    group.append(drawn("title", {}, one.words),
      drawn("path", { class: "bar", d: `M${x(one.number)},${y(one.low)}V${y(one.high)}` }));
    if (here) group.append(drawn("circle", { class: "here", cx: x(one.number), cy: y(one.accuracy), r: 9 }));
    group.append(drawn("path", { class: "point", d: shapes[one.kind](5), transform: `translate(${x(one.number)},${y(one.accuracy)})` }));
    group.addEventListener("click", () => choose(one.number));
    parts.push(group);
  }
  parts.find((one) => one.classList.contains("start")).addEventListener("click", () => choose(0));
  svg.append(...parts); // not cut at the edges: a point may stand on one
}

function render(context) {
  const { model } = context;
  const { root, on, onResize, end } = begin(context, "attnlab-tuner", "Tuner's desk");
  const { change, keep } = controlled(model);
  const set = (changes) => change({ ...model.get("settings"), ...changes });
  const [layers, heads] = model.get("report").size;

  const asks = Object.fromEntries([["run", "Run"], ["step", "One more round"], ["stop", "Stop"]]
    .map(([action, label]) => [action, button(action, label, () => model.send({ action }))]));
  const pasted = make("textarea", { rows: 3, spellcheck: false, placeholder: "JSON of a mixing desk, or of a round", "aria-label": "Settings as JSON" });
  const hand = button("propose", "Let the guard judge it", () => model.send({ action: "propose", text: pasted.value }));
  const byHand = make("details", { className: "tuner-hand" }, make("summary", { textContent: "By hand" }), make("div", {}, pasted, hand));
  const doing = make("span", { className: "note" });
  const copied = (label, trait) => {
    const made = button(trait, label, async () => {
      try {
        await navigator.clipboard.writeText(model.get(trait));
        made.textContent = "Copied";
        setTimeout(() => { made.textContent = label; }, 1500);
      } catch { window.prompt(`${label}:`, model.get(trait)); } // not allowed here
    });
    return made;
  };
  const undo = keep.querySelector("[data-action=undo]");
  const code = keep.querySelector("[data-action=code]");
  const bar = make("div", { className: "tuner-bar" }, ...Object.values(asks), byHand, doing,
    button("reset", "Reset", () => change({ ...model.get("start") })), undo, code, copied("Copy as JSON", "json"));

  const { box: chart, note, svg } = panel("rounds", "Guard accuracy");
  chart.append(make("div", { className: "note", textContent: "● accepted   ✖ refused   ◆ random knobs" }));
  const head = make("tr");
  const rows = make("tbody");
  const scroll = make("div", { className: "tuner-table", tabIndex: 0, role: "region", "aria-label": "Rounds" },
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
  const text = make("input", { type: "text", "aria-label": "Sentence whose attention is shown", spellcheck: false, dir: "auto" });
  let typing;
  text.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => set({ text: text.value }), 300);
  });
  const place = make("b");
  const picture = make("div", { className: "tuner-picture", tabIndex: 0, role: "region", "aria-label": "Attention of this head on the sentence" });
  const told = make("div", { className: "note tuner-note" });
  const error = make("div", { className: "complaint", role: "alert" });

  root.append(bar, make("div", { className: "tuner-top" }, chart, make("div", {}, scroll, remark)),
    make("div", { className: "tuner-chosen" }, name, why),
    make("div", { className: "tuner-bottom" },
      make("div", { className: "tuner-knobs" }, ...grids.map(({ box }) => box)),
      make("div", { className: "tuner-sentence" }, make("div", { className: "tuner-look" }, place, kind.box), text, picture, told)), error);

  function row({ number, accepted, cells }, looked) {
    const show = make("button", { type: "button", textContent: number, title: number ? `Show round ${number}` : "Show the start", onclick: () => set({ round: number }) });
    const line = make("tr", {}, make("th", { scope: "row" }, show), ...cells.map((textContent) => make("td", { textContent })));
    line.classList.toggle("now", number === looked);
    line.children[2].className = accepted === null ? "" : accepted ? "good" : "bad";
    return line;
  }

  let listed = "";
  function draw() {
    const report = model.get("report");
    const { settings } = report;
    if (!svg.clientWidth) return; // not on the page yet
    for (const [action, one] of Object.entries(asks)) one.disabled = !report.can.includes(action);
    doing.textContent = report.doing;
    hand.disabled = !report.can.includes("propose");
    drawRounds(svg, report, (round) => set({ round }));
    svg.setAttribute("aria-label", report.alt);
    note.textContent = report.note;
    const said = JSON.stringify([report.rows, report.looked]);
    if (said !== listed) { // the button somebody is on must stay
      const at = [...rows.querySelectorAll("button")].indexOf(root.getRootNode().activeElement);
      head.replaceChildren(...report.columns.map((textContent) => make("th", { scope: "col", textContent })));
      rows.replaceChildren(...report.rows.map((one) => row(one, report.looked)));
      if (at >= 0) rows.querySelectorAll("button")[at]?.focus({ preventScroll: true });
      const now = rows.querySelector(".now");
      if (now && at < 0) scroll.scrollTop = now.offsetTop - scroll.clientHeight / 2;
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
    if (remark.textContent !== report.remark) remark.textContent = report.remark; // read out once
    root.dataset.state = report.state;
    root.dataset.shown = [report.looked, settings.layer, settings.head, settings.kind].join(" ");
    root.dataset.rounds = report.points.length;
  }
  function drawText() {
    if (root.getRootNode().activeElement !== text) text.value = model.get("settings").text;
  }

  let latest = 0; // a frame that loads late must not replace a newer picture
  function drawPicture() {
    const now = model.get("sentence");
    if (!picture.clientWidth) return;
    const serial = ++latest;
    told.textContent = now.note ?? "";
    if (now.kind !== "bertviz") {
      drawAttention(picture, now, model.get("palette"));
      picture.dataset.stamp = (now.stamp ?? []).join(" ");
      return;
    }
    const frame = make("iframe", { title: now.alt });
    frame.setAttribute("sandbox", "allow-scripts");
    frame.style.height = `${now.height}px`;
    frame.style.visibility = "hidden";
    frame.onload = () => {
      if (serial !== latest) return frame.remove();
      frame.style.visibility = "visible";
      for (const other of [...picture.children]) if (other !== frame) other.remove();
      picture.dataset.stamp = now.stamp.join(" ");
    };
    frame.srcdoc = `${model.get("library")}<style>#view > span { display: none }</style>${now.drawing}`; // the desk has that choice
    picture.append(frame);
  }

  on("report", draw);
  on("settings", drawText);
  on("sentence", drawPicture);
  onResize(root, draw);
  onResize(picture, drawPicture);
  on("error", () => { error.textContent = model.get("error"); });
  return end;
}

export default { render };
