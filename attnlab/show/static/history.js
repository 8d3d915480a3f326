// The view of the history desk. Reports come from Python; this draws them and sends what is taken out, put in and chosen.

import { begin, button, controlled, make, menu, say, textBox, turnOff } from "./elements.js";
import { onKey } from "./keys.js";
import { clamp } from "./pictures.js";

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const nats = (value) => (Math.abs(value) < 0.005 ? "0" : `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}`);

let lists = 0; // each desk has a list of items of its own

function render(context) {
  const { model } = context;
  const { root, on, complaint, end } = begin(context, "attnlab-history attnlab-desk", "History desk");
  const { set, reset, keep } = controlled(model);
  const now = () => model.get("settings");
  const choose = (choice) => { // looking at other reasons is no step to take back
    model.set("settings", { ...now(), choice });
    model.save_changes();
  };

  // ── whose history, and what is in it ─────────────────────────────────────────────────────
  const go = (by) => set({ person: clamp(0, now().person + by, model.get("report").people - 1), out: [], added: [], choice: null });
  const previous = button("previous", "‹", () => go(-1));
  const next = button("next", "›", () => go(1));
  previous.setAttribute("aria-label", "Previous person");
  next.setAttribute("aria-label", "Next person");
  const who = make("span", { className: "note" });
  const past = make("div", { className: "past", role: "group", "aria-label": "History, oldest first: untick an item to take it out" });
  const known = make("datalist", { id: `attnlab-history-${lists += 1}` });
  const add = textBox("Put an item in", (name) => { // once it is the whole name of an item
    if (!model.get("items").includes(name) || now().added.includes(name)) return;
    add.box.value = "";
    set({ added: [...now().added, name] });
  });
  add.box.setAttribute("list", known.id);
  add.box.placeholder = "put one in: type a part of its name …";
  add.box.addEventListener("input", () => { // a short list: there are thousands
    const typed = add.box.value.trim().toLowerCase();
    const found = typed.length < 2 ? [] : model.get("items").filter((name) => name.toLowerCase().includes(typed)).slice(0, 20);
    known.replaceChildren(...found.map((value) => make("option", { value })));
  });
  const empty = button("remove", "Take these out again", () => set({ added: [], out: now().out.filter((place) => !model.get("report").past[place]?.added) }));

  // ── what is recommended ──────────────────────────────────────────────────────────────────
  const list = make("div", { className: "listed", role: "radiogroup", "aria-label": "Recommended: choose one to see what it rests on" });
  const reasons = menu("What the bars show", (value) => { shown = value; drawReport(); });
  let shown = "missed";
  const remark = make("p", { className: "remark", role: "status" });

  root.append(
    make("div", { className: "columns" },
      make("div", { className: "left" },
        make("div", { className: "line" }, make("b", { textContent: "History, oldest first" }), previous, who, next),
        past,
        make("div", { className: "line" }, add.box, known, empty)),
      make("div", { className: "right" },
        make("div", { className: "line" }, make("b", { textContent: "Recommended next" })),
        list,
        make("div", { className: "line" }, make("label", {}, "bars: ", reasons.box)))),
    make("div", { className: "last" }, remark, make("div", { className: "line" }, reset, keep)), complaint);

  function pastRow({ item, out, added, attention, missed }, place, limit) {
    const box = make("input", { type: "checkbox", checked: !out });
    box.onchange = () => set({ out: box.checked ? now().out.filter((one) => one !== place) : [...now().out, place].sort((a, b) => a - b) });
    const value = shown === "missed" ? missed : attention;
    const bar = make("i", { className: value !== null && value < 0 ? "less" : "" });
    bar.style.width = value === null ? "0" : `${Math.min(100, (100 * Math.abs(value)) / limit)}%`;
    const told = value === null ? "out" : shown === "missed" ? nats(value) : percent(value);
    const name = make("span", { className: "item", textContent: item, title: item });
    const row = make("label", { className: `event${out ? " out" : ""}${added ? " added" : ""}` }, box, name,
      make("span", { className: "track", "aria-hidden": "true" }, bar), make("span", { className: "number", textContent: told }));
    row.dataset.place = place;
    return row;
  }

  function listRow({ item, share, rank, before }, chosen, stop) { // Tab stops at one of them
    const step = before === null ? 0 : before - rank;
    const words = step === 0 ? "" : `${step > 0 ? "▲" : "▼"} ${Math.abs(step)}`;
    const made = make("button", { type: "button", role: "radio", "aria-checked": String(item === chosen), tabIndex: item === stop ? 0 : -1, onclick: () => choose(item) },
      make("span", { className: "rank", textContent: rank }), make("span", { className: "item", textContent: item, title: item }),
      make("span", { className: `step ${step > 0 ? "up" : "down"}`, textContent: words, title: words && `It was ${before} with the whole history.` }),
      make("span", { className: "number", textContent: percent(share) }));
    made.dataset.item = item;
    onKey(made, (event) => { // as in any group of radio buttons
      const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const all = [...list.children];
      const other = all[(all.indexOf(made) + step + all.length) % all.length];
      other.focus({ preventScroll: true });
      choose(other.dataset.item);
    });
    return made;
  }

  function keepFocus(box, selector, rows) { // rows are drawn anew, and the keyboard stays where it was
    const index = [...box.querySelectorAll(selector)].indexOf(box.getRootNode().activeElement);
    box.replaceChildren(...rows);
    if (index >= 0) box.querySelectorAll(selector)[index]?.focus({ preventScroll: true });
  }

  function drawReport() {
    const report = model.get("report");
    const key = shown === "missed" ? "missed" : "attention";
    const limit = Math.max(...report.past.map((one) => Math.abs(one[key] ?? 0)), 1e-9);
    keepFocus(past, "input", report.past.map((one, place) => pastRow(one, place, limit)));
    const stop = (report.list.find((one) => one.item === report.choice) ?? report.list[0])?.item; // the choice may have left the list
    keepFocus(list, "button", report.list.map((one) => listRow(one, report.choice, stop)));
    reasons.draw([["missed", "nats the chosen item loses without this", true], ["attention", "share of attention", true]], shown);
    say(remark, report.remark);
    const { person, out, added, choice } = report.settings;
    who.textContent = `person ${person + 1} of ${report.people}`;
    turnOff(previous, person === 0 && "This is the first person.");
    turnOff(next, person === report.people - 1 && "This is the last person.");
    turnOff(add.box, added.length >= model.get("most_added") && `${added.length} items were put in: that is all there is room for.`);
    turnOff(empty, !added.length && "Nothing was put in.");
    root.dataset.shown = [person, out.join(",") || "all", added.length, choice ?? "first"].join(" ");
    root.dataset.state = "shown";
  }

  on("report", drawReport);
  return end;
}

export default { render };
