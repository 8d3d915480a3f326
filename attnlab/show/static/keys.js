// Keys that are pressed in a widget reach nobody else. JupyterLab listens for its shortcuts as an event rises, Notebook 7
// as it comes down, others elsewhere; so a key is caught before it gets to any of them, and handed to the control itself.

const handlers = new WeakMap(); // of an element: what it does with a key

// What a control does with a key beyond what browsers do. A listener for keys would never be called.
export function onKey(element, handler) {
  handlers.set(element, handler);
}

const EDITING = /^(?:Enter|Escape|Tab|Backspace|Delete|Insert|Home|End|Page\w+|Arrow\w+| )$/;
const LETTERS = /^[acvxyz]$/i; // select all, copy, paste, cut, redo, undo

// Ctrl or ⌘ and a key is a command of the page, such as saving, unless it edits text or runs a cell.
function isOfThePage({ key, ctrlKey, metaKey, shiftKey }) {
  if (/^(?:Control|Shift|Alt|AltGraph|Meta)$/.test(key)) return true;
  const edits = EDITING.test(key) || (shiftKey ? /^z$/i : LETTERS).test(key);
  return (ctrlKey || metaKey) && !edits;
}

// Keep keys that are pressed inside this element; returns how to end it.
export function keepKeys(root) {
  const keep = (event) => {
    const path = event.composedPath();
    const depth = path.indexOf(root);
    if (depth < 0 || isOfThePage(event)) return;
    event.stopImmediatePropagation(); // what the browser does with the key it still does
    if (event.type !== "keydown") return;
    for (const element of path.slice(0, depth)) handlers.get(element)?.(event);
  };
  const types = ["keydown", "keypress", "keyup"];
  for (const type of types) window.addEventListener(type, keep, true);
  return () => types.forEach((type) => window.removeEventListener(type, keep, true));
}
