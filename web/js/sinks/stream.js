// Saves through the browser's own downloads: the service worker answers a request of the browser with what this end
// of a message channel sends. It pulls, so no more is on its way than the browser takes.
//
// From the service worker: "pull", "ended", "cancelled" by the user, "failed". To it: a Uint8Array, "end", "abort".

import { SinkError } from "./sink.js";

/**
 * @param {MessagePort} port
 * @returns {import("./sink.js").ByteSink & {lose: () => void}} `lose`: the service worker is gone
 */
export function streamSink(port) {
  let pulls = 0;
  /** @type {import("./sink.js").SinkProblem | null} */
  let problem = null;
  let isEnded = false;
  /** @type {(() => void) | null} */
  let wake = null;
  const note = (/** @type {string} */ what) => {
    if (what === "pull") pulls++;
    else if (what === "ended") isEnded = true;
    else if (what === "cancelled") problem = "stopped-by-browser";
    else if (what === "failed") problem = "stream-broken";
    wake?.();
  };
  port.onmessage = ({ data }) => note(data);
  /** @param {() => boolean} condition */
  const until = async (condition) => {
    while (!condition()) {
      if (problem) throw new SinkError(problem);
      await new Promise((resolve) => (wake = () => resolve(null)));
    }
  };
  return {
    async write(bytes) {
      if (bytes.length === 0) return;
      await until(() => pulls > 0);
      pulls--;
      // A buffer that others see, too, is copied; all others change hands.
      const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
      port.postMessage(own, [own.buffer]);
    },
    async close() {
      await until(() => pulls > 0);
      port.postMessage("end");
      await until(() => isEnded);
      port.close();
    },
    async abort() {
      port.postMessage("abort");
      port.close();
    },
    lose: () => note("failed"),
  };
}
