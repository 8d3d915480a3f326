// Whether the kernel that made a view still answers it. Front ends tell what they know in several ways, some not at
// all; so whoever works the view without an answer is told, too.

import { tr } from "./words.js";

const PATIENCE = 10_000; // milliseconds for an answer
const HICCUP = 3_000; // and for a connection to come back
const FRESH = 2_000; // so long after an answer none is asked for
const words = () => ({
  restarted: tr("The kernel was restarted. Run this cell again."),
  stopped: tr("The kernel has stopped. Run this cell again."),
  lost: tr("The connection to the kernel was lost. Run this cell again."),
  silent: tr("The kernel does not answer. If it was restarted: Run this cell again."),
});
const STATUS = { restarting: "restarted", autorestarting: "restarted", terminating: "stopped", dead: "stopped" };

// Call `gone` with words when the kernel is gone, and `back` if it answers after all. Returns `ask`, to be called when
// an answer is expected, and `end`.
export function watchKernel(model, gone, back) {
  const layout = model.get("layout"); // a model whose manager is in reach, where the front end has one
  const kernel = layout?.widget_manager?.kernel;
  if (layout?.comm_live === false && !kernel) return { ask() {}, end() {} }; // a saved page, which never had one
  let state = ""; // a name of `words`, or nothing
  let heard = 0; // when it answered
  let waiting; // for an answer
  let connecting; // for the connection

  const turn = (name) => {
    clearTimeout(waiting);
    waiting = undefined;
    const before = state;
    state = name;
    if (name && before !== name) gone(words()[name]);
    if (!name && before) back();
  };
  const ask = () => {
    if (waiting !== undefined || (!state && Date.now() - heard < FRESH)) return;
    waiting = setTimeout(unanswered, PATIENCE);
    try {
      model.send({ action: "ping" });
    } catch { // there is nothing to send to
      turn(state || "silent");
    }
  };
  const unanswered = () => {
    waiting = undefined;
    if (kernel?.status === "busy") waiting = setTimeout(unanswered, PATIENCE); // it will, later
    else turn(state && state !== "lost" ? state : kernel ? "restarted" : "silent");
  };

  const cleanups = [() => clearTimeout(waiting), () => clearTimeout(connecting)];
  const hear = (name, callback) => {
    model.on(name, callback);
    cleanups.push(() => model.off(name, callback));
  };
  const follow = (signal, callback) => {
    if (!signal?.connect) return;
    signal.connect(callback);
    cleanups.push(() => signal.disconnect(callback));
  };
  hear("msg:custom", (content) => { if (content?.pong) { heard = Date.now(); turn(""); } });
  hear("comm_live_update", () => { if (layout?.comm_live === false) turn(state || "restarted"); });
  follow(kernel?.statusChanged, (_, status) => { if (STATUS[status]) turn(STATUS[status]); });
  follow(kernel?.disposed, () => turn(state || "stopped"));
  follow(kernel?.connectionStatusChanged, (_, status) => {
    clearTimeout(connecting);
    if (status === "connected") { if (state) ask(); }
    else connecting = setTimeout(() => turn(state || "lost"), status === "connecting" ? HICCUP : 0);
  });
  if (layout?.comm_live === false) setTimeout(() => turn(state || "restarted")); // once the view is drawn
  return { ask, end: () => cleanups.forEach((clean) => clean()) };
}
