// Answers from the cache, so that the desk opens without a network. A line above says what was built: version and files.

const { version, files } = self.built;
const PREFIX = "attnlab-desk-";
const CACHE = PREFIX + version;

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    // the page has kept the large ones already
    const missing = [];
    for (const file of files) if (!await cache.match(file)) missing.push(file);
    await cache.addAll(missing);
    await self.skipWaiting(); // a page that is open has all it needs
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(self.registration.scope)) return;
  event.respondWith((async () => {
    const cache = await caches.open(CACHE);
    return await cache.match(request, { ignoreSearch: true }) ?? fetch(request);
  })());
});
