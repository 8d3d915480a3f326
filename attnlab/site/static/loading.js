// What a desk needs, from the network or from the cache of an earlier visit; and what a browser lacks for it.

// Why this browser cannot; nothing if it can.
export function lacking() {
  if (typeof WebAssembly !== "object") return "This browser cannot run WebAssembly, which the model needs.";
  const simd = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
  if (!WebAssembly.validate(new Uint8Array(simd))) return "This browser's WebAssembly has no SIMD instructions, which the model needs.";
  if (typeof DecompressionStream !== "function") return "This browser cannot unpack what is sent to it.";
  if (typeof Worker !== "function" || !Array.prototype.toSorted) return "This browser lacks parts of today's JavaScript.";
  return "";
}

// Loads files of a build; `told` hears how many bytes of how many are there.
export function loader({ version, bytes }, told) {
  const total = Object.values(bytes).reduce((a, b) => a + b, 0);
  let loaded = 0;
  const kept = "caches" in self ? caches.open(`attnlab-desk-${version}`).catch(() => null) : Promise.resolve(null);
  const hear = (more) => { loaded += more; told(Math.min(loaded, total), total); };

  async function fetched(name) {
    const cache = await kept;
    const known = await cache?.match(name);
    const answer = known ?? await fetch(name);
    if (!answer.ok) throw new Error(`${name} is not there (${answer.status}). The folder that is handed out is not whole.`);
    const keeping = known ? null : cache?.put(name, answer.clone()).catch(() => {}); // no room: it works without
    const parts = [];
    for (const reader = answer.body.getReader();;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      hear(value.length);
    }
    await keeping;
    return new Blob(parts);
  }

  // Some servers unpack .gz themselves while they send it.
  return async function unpacked(name) {
    const blob = await fetched(name);
    const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
    if (first !== 0x1f || second !== 0x8b) return blob.arrayBuffer();
    return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };
}

// Keep the page for visits without a network; whether it is kept.
export async function keepForOffline() {
  if (!("serviceWorker" in navigator)) return false; // an address without https
  try {
    const { installing, waiting, active } = await navigator.serviceWorker.register("service-worker.js");
    const worker = installing ?? waiting ?? active;
    if (worker.state === "activated") return true;
    return await new Promise((done) => {
      worker.addEventListener("statechange", () => {
        if (worker.state === "activated") done(true);
        if (worker.state === "redundant") done(false); // no room for it, perhaps
      });
    });
  } catch {
    return false;
  }
}
