// The service worker: lets the browser's own downloads save what a page opens, without holding it in memory. It
// answers below /download/ only, once for each address that a page announced, keeps no cache and fetches nothing.
//
// From the page: {type: "offer", id, name, length} with two ports (bytes, control), {type: "alive", id} every five
// seconds, {type: "abort", id}. To the page: "ready", "started" on control; {type: "lost", id} if an id is not known.
// The port of bytes is described in web/js/sinks/stream.js.

const SILENCE_MAX_MS = 30_000;
const WATCH_EVERY_MS = 5000;
/** As in web/js/transfer/download.js: what was handed on lies outside the script's heap, so the collector is reminded of it. */
const REMIND_EVERY_BYTES = 2 ** 20;
const REMINDER_BYTES = 16 * 2 ** 20;
/** Longer than the page's pause between signs of life, so that the browser does not end this worker between them. */
const STAY_MS = 15_000;
const HEADERS = {
  "Content-Type": "application/octet-stream",
  "Content-Security-Policy": "sandbox; default-src 'none'",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-store",
};

/**
 * @typedef {object} Download
 * @property {string} id
 * @property {string} name
 * @property {number} length exact
 * @property {MessagePort} port of bytes
 * @property {MessagePort} control
 * @property {number} heardAt the page's last sign of life
 * @property {number} sent
 * @property {ReadableStreamDefaultController<Uint8Array> | null} controller
 * @property {(() => void) | null} pulled ends the browser's waiting
 */

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
/** @type {Map<string, Download>} */
const downloads = new Map(); // that were offered and have not ended
/** @type {Set<string>} */
const ended = new Set(); // for signs of life that were still on their way
/** @type {ReturnType<typeof setInterval> | undefined} */
let watching;
let watchedAt = 0;
let sinceReminder = 0;

worker.addEventListener("install", () => void worker.skipWaiting());

worker.addEventListener("message", (event) => {
  const { type, id } = event.data ?? {};
  const download = downloads.get(id);
  if (type === "offer") offer(event.data, event.ports);
  else if (type === "abort" && download) fail(download);
  else if (type === "alive" && download) {
    download.heardAt = Date.now();
    event.waitUntil(new Promise((resolve) => setTimeout(resolve, STAY_MS)));
  } else if (type === "alive" && !ended.has(id)) event.source?.postMessage({ type: "lost", id });
});

worker.addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  if (pathname.startsWith("/download/")) event.respondWith(answer(event.request, pathname.slice("/download/".length)));
});

/**
 * @param {{id: string, name: string, length: number}} what
 * @param {readonly MessagePort[]} ports
 */
function offer({ id, name, length }, [port, control]) {
  /** @type {Download} */
  const download = { id, name, length, port, control, heardAt: Date.now(), sent: 0, controller: null, pulled: null };
  downloads.set(id, download);
  if (!watching) {
    watchedAt = Date.now();
    watching = setInterval(watch, WATCH_EVERY_MS);
  }
  control.postMessage("ready");
}

/**
 * @param {Request} request
 * @param {string} id
 */
function answer(request, id) {
  const download = downloads.get(id);
  // No content leaves whatever page there is as it is.
  if (!download || download.controller || request.method !== "GET") return new Response(null, { status: 204 });
  const body = new ReadableStream(sourceOf(download), { highWaterMark: 1 });
  download.control.postMessage("started");
  const headers = { ...HEADERS, "Content-Length": String(download.length), "Content-Disposition": disposition(download.name) };
  return new Response(body, { headers });
}

/**
 * @param {Download} download
 * @returns {UnderlyingDefaultSource<Uint8Array>}
 */
function sourceOf(download) {
  const { port } = download;
  return {
    start(controller) {
      download.controller = controller;
      port.onmessage = ({ data }) => take(download, data);
    },
    pull() {
      port.postMessage("pull");
      return new Promise((resolve) => (download.pulled = () => resolve(undefined)));
    },
    cancel() {
      port.postMessage("cancelled");
      forget(download);
    },
  };
}

/**
 * @param {Download} download
 * @param {unknown} data
 */
function take(download, data) {
  const { controller, port } = download;
  if (!controller || !downloads.has(download.id)) return;
  // The page's own signs of life stop while it asks its user something.
  download.heardAt = Date.now();
  if (data instanceof Uint8Array) {
    download.sent += data.byteLength;
    if (download.sent > download.length) return fail(download);
    sinceReminder += data.byteLength;
    controller.enqueue(data);
    if (sinceReminder >= REMIND_EVERY_BYTES) {
      sinceReminder = 0;
      new ArrayBuffer(REMINDER_BYTES);
    }
  } else if (data === "end" && download.sent === download.length) {
    controller.close();
    port.postMessage("ended");
    forget(download);
  } else return fail(download);
  download.pulled?.();
}

/**
 * Ends a download so that the browser shows it as failed, never as complete.
 * @param {Download} download
 */
function fail(download) {
  download.controller?.error(new TypeError("the page that made this download has stopped"));
  download.pulled?.();
  download.port.postMessage("failed");
  forget(download);
}

/** @param {Download} download */
function forget(download) {
  downloads.delete(download.id);
  ended.add(download.id);
}

function watch() {
  const now = Date.now();
  // A round that is late itself, as after the machine has slept, says nothing about the pages.
  const isLate = now - watchedAt > 2 * WATCH_EVERY_MS;
  watchedAt = now;
  for (const download of downloads.values()) {
    if (isLate) download.heardAt = now;
    else if (now - download.heardAt > SILENCE_MAX_MS) fail(download);
  }
  if (downloads.size === 0) {
    clearInterval(watching);
    watching = undefined;
  }
}

/**
 * The name in the extended notation of RFC 8187, which has no quotes that could be broken out of.
 * @param {string} name
 */
function disposition(name) {
  const encoded = encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return `attachment; filename*=UTF-8''${encoded}`;
}
