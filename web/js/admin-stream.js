/**
 * The tracker's events, for as long as somebody is signed in. A connection that fails or falls silent is made again,
 * each time after a longer pause; one that is refused because the session ended is not.
 */
import { call } from "./api.js";
import { isRefusal } from "./admin-parts.js";
import { printable } from "./admin-state.js";

/** @typedef {import("./admin-state.js").Event} Event */

const NAMES = /** @type {const} */ (["swarm", "peers", "history", "work", "log"]);
/** The tracker speaks every two seconds. */
const SILENCE_MS = 15_000;
const PAUSE_MS = 1_000;
const PAUSE_MAX_MS = 30_000;

/**
 * @param {(event: Event) => void} tell
 * @param {() => void} ended the session is over
 * @returns {() => void} stops
 */
export function listen(tell, ended) {
  /** @type {EventSource|null} */
  let source = null;
  let heard = 0;
  let pause = PAUSE_MS;
  let stopped = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;

  const open = () => {
    source = new EventSource("/v1/events");
    heard = performance.now();
    source.addEventListener("open", () => {
      heard = performance.now();
      tell({ type: "opened" });
    });
    source.addEventListener("error", fail);
    for (const name of NAMES) {
      source.addEventListener(name, (message) => {
        heard = performance.now();
        pause = PAUSE_MS;
        const data = JSON.parse(/** @type {MessageEvent<string>} */ (message).data, printable);
        tell(/** @type {Event} */ ({ type: name, data, received_ms: Date.now() }));
      });
    }
  };

  const fail = () => {
    if (!source || stopped) return;
    source.close();
    source = null;
    tell({ type: "lost" });
    timer = setTimeout(again, pause);
    pause = Math.min(2 * pause, PAUSE_MAX_MS);
  };

  // An EventSource does not tell why it was refused; this call does.
  const again = async () => {
    clearTimeout(timer);
    try {
      await call("GET", "/v1/session");
    } catch (error) {
      if (stopped) return;
      if (isRefusal(error)) return ended();
      timer = setTimeout(again, pause);
      pause = Math.min(2 * pause, PAUSE_MAX_MS);
      return;
    }
    if (!stopped && !source) open();
  };

  const watch = setInterval(() => {
    if (source && performance.now() - heard > SILENCE_MS) fail();
  }, 2_000);
  const online = () => {
    if (!source && !stopped) void again();
  };
  window.addEventListener("online", online);
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearInterval(watch);
    window.removeEventListener("online", online);
    source?.close();
  };
}
