// How one picture of the flow desk becomes the next: what both have moves there, and the whole model is zoomed into.

const TIME = 550; // milliseconds

export const mayMove = () => !matchMedia("(prefers-reduced-motion: reduce)").matches;

// Where everything stands that has a name (`data-is`).
export const marks = (stage) => new Map([...stage.querySelectorAll("[data-is]")].map((mark) => [mark.dataset.is, mark.getBBox()]));

const onto = (from, to) => `translate(${to.x - (from.x * to.width) / from.width}px, ${to.y - (from.y * to.height) / from.height}px) scale(${to.width / from.width}, ${to.height / from.height})`;

// Let what is in a new picture start from where it, or what it comes from, stood before.
export function moveFrom(before, stage) {
  for (const mark of stage.querySelectorAll("[data-is]")) {
    const old = before.get(mark.dataset.is) ?? before.get(mark.dataset.from);
    const now = mark.getBBox();
    if (!old || !now.width) continue;
    mark.classList.add("moved");
    mark.animate({ transform: [onto(now, old), "none"] }, { duration: TIME, easing: "ease-in-out" });
  }
}

// Zoom into a part of one picture until the next one is there, or back. Each fills the view; `part` is a box in the
// wider of the two. What stands `beside` both comes back when that is done.
export function zoom(old, stage, beside, part, view, inward) {
  const [large, small] = [onto(part, view), onto(view, part)];
  const how = { duration: TIME, easing: "ease-in-out" };
  old.setAttribute("class", "leaving");
  stage.before(old);
  const leaves = old.animate({ transform: ["none", inward ? large : small], opacity: [1, 0] }, { ...how, fill: "forwards" });
  leaves.finished.then(() => old.remove(), () => old.remove());
  stage.animate({ transform: [inward ? small : large, "none"], opacity: [0, 1] }, how);
  beside.animate({ opacity: [0, 0, 1] }, how);
}
