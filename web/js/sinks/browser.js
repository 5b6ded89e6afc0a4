// Hands downloads to the browser: through the service worker while they arrive, or as a whole from memory.

import { element, scriptUrl } from "../page/dom.js";

const ANSWER_MS = 10_000;

/**
 * Hands a finished file to the browser's downloads.
 * @param {Blob} blob
 * @param {string} name
 */
export function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  const anchor = element("a", { attributes: { href: url, download: name, hidden: true } });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  // The browser needs the address until it has taken the bytes; it does not say when.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * @param {string} name
 * @param {number} length
 * @returns {Promise<import("./choice.js").Choice>} Rejects where there can be no service worker.
 */
export async function openStream(name, length) {
  const serviceWorker = await activeWorker();
  const id = crypto.randomUUID();
  const bytes = new MessageChannel();
  const control = new MessageChannel();
  const tell = (/** @type {string} */ type) => serviceWorker.postMessage({ type, id });
  const heard = answers(control.port1);
  serviceWorker.postMessage({ type: "offer", id, name, length }, [bytes.port2, control.port2]);
  try {
    await heard("ready");
    // Answered as an attachment, or not at all: the page stays.
    location.assign(`/download/${id}`);
    await heard("started");
  } catch (error) {
    tell("abort");
    throw error;
  }
  return {
    target: { to: "stream", port: bytes.port1 },
    transfer: [bytes.port1],
    alive: () => tell("alive"),
    abort: () => tell("abort"),
    onLost: (listener) => {
      navigator.serviceWorker.addEventListener("message", ({ data }) => {
        if (data?.type === "lost" && data.id === id) listener();
      });
      navigator.serviceWorker.startMessages();
    },
  };
}

/** The service worker, once it runs. Rejects where there can be none, as with a certificate that nobody vouches for. */
async function activeWorker() {
  const options = /** @type {const} */ ({ scope: "/download/", updateViaCache: "none" });
  const registration = await navigator.serviceWorker.register(scriptUrl("/sw.js"), options);
  const coming = registration.installing ?? registration.waiting ?? registration.active;
  if (!coming) throw new Error("no service worker");
  if (coming.state === "activated") return coming;
  await inTime((resolve, reject) => {
    coming.addEventListener("statechange", () => {
      if (coming.state === "activated") resolve(null);
      if (coming.state === "redundant") reject(new Error("no service worker"));
    });
  });
  return coming;
}

/** @param {MessagePort} port */
function answers(port) {
  /** @type {Set<string>} */
  const arrived = new Set();
  const target = new EventTarget();
  port.onmessage = ({ data }) => {
    arrived.add(data);
    target.dispatchEvent(new Event(data));
  };
  return (/** @type {string} */ word) =>
    inTime((resolve) => {
      if (arrived.has(word)) resolve(null);
      else target.addEventListener(word, resolve, { once: true });
    });
}

/** @param {(resolve: (value: unknown) => void, reject: (error: Error) => void) => void} begin */
function inTime(begin) {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("no answer in time")), ANSWER_MS);
    begin(resolve, reject);
  });
}
