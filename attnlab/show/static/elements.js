// What the views of all widgets are made of. desk.py puts this before each view's own script.

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

function drawn(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// ["d", ["k"]] reads d with a small k below, and is spoken d_k
const written = (parts) => parts.map((part) => (Array.isArray(part) ? make("sub", { textContent: part[0] }) : part));
const spoken = (parts) => parts.map((part) => (Array.isArray(part) ? `_${part[0]}` : part)).join("");

function button(action, label, onclick) {
  const made = make("button", { type: "button", textContent: label, onclick });
  made.dataset.action = action;
  return made;
}

// A range input with its label and, at the right, what its position means.
function slider({ name, label, min, max, step }, moved) {
  const input = make("input", { type: "range", name, min, max, step, "aria-label": spoken(label) });
  const output = make("output");
  input.oninput = () => moved(Number(input.value));
  const show = (position, text) => {
    // the hand that is moving it must not be disturbed by the echo of where it was
    if (Math.abs(Number(input.value) - position) > step / 2) input.value = position;
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  return { box: make("label", { className: "slider" }, make("span", {}, ...written(label)), output, input), show };
}

// The settings of a desk: how to change them, and buttons that take a change back and give them as code.
function controlled(model) {
  const past = [];
  let last = 0;
  const send = (settings) => {
    model.set("settings", settings);
    model.save_changes();
    undo.disabled = !past.length;
  };
  const undo = button("undo", "Undo", () => { last = 0; send(past.pop()); });
  undo.disabled = true;
  const change = (settings) => {
    // a drag or a run of key presses is one step
    if (Date.now() - last > 700) past.push(model.get("settings"));
    last = Date.now();
    send(settings);
  };
  const code = button("code", "Copy as code", async () => {
    try {
      await navigator.clipboard.writeText(model.get("code"));
      code.textContent = "Copied";
      setTimeout(() => { code.textContent = "Copy as code"; }, 1500);
    } catch { // not allowed here
      window.prompt("These settings as Python code:", model.get("code"));
    }
  });
  return { change, keep: make("div", { className: "keep" }, undo, code) };
}

function isDark(element) {
  const [r, g, b] = (getComputedStyle(element).backgroundColor.match(/\d+/g) ?? [255, 255, 255]).map(Number);
  return 0.3 * r + 0.6 * g + 0.1 * b < 110;
}

// The root of a view, what follows the model and the page, and what ends it all.
function begin({ model, el }, name, label) {
  const root = make("div", { className: `attnlab-widget ${name}`, role: "group", "aria-label": label });
  // JupyterLab's own shortcuts must not fire while somebody works a control
  root.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(root);
  const cleanups = [];
  const on = (trait, callback) => {
    model.on(`change:${trait}`, callback);
    cleanups.push(() => model.off(`change:${trait}`, callback));
    callback();
  };
  const onResize = (element, callback) => {
    const observer = new ResizeObserver(callback);
    observer.observe(element);
    cleanups.push(() => observer.disconnect());
  };
  const recolour = () => { root.dataset.dark = String(isDark(root)); };
  recolour();
  onResize(root, recolour); // colours are known only once the root is on the page
  const theme = new MutationObserver(recolour);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  cleanups.push(() => theme.disconnect());
  return { root, on, onResize, end: () => cleanups.forEach((clean) => clean()) };
}
