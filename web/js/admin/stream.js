// The tracker's events, for as long as somebody is signed in. A connection that fails or falls silent is made again,
// each time after a longer pause; one that is refused because the session ended is not.

import { answerOf } from "../transfer/api.js";
import { isRefusal } from "./parts.js";
import { sessionSecret } from "./secret.js";
import { masked } from "./state.js";
import { eventsOf } from "./event-stream.js";

/** @typedef {import("./state.js").Event} Event */

const NAMES = ["swarm", "peers", "history", "work", "log"];
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
  /** @type {AbortController|null} the connection, while there is one */
  let current = null;
  let heard = 0;
  let pause = PAUSE_MS;
  let stopped = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;

  const open = async () => {
    clearTimeout(timer);
    const mine = new AbortController();
    current = mine;
    heard = performance.now();
    try {
      const answer = await answerOf("GET", "/v1/events", { session: sessionSecret(), signal: mine.signal });
      if (current === mine) tell({ type: "opened" });
      if (answer.body) for await (const { name, data } of eventsOf(answer.body)) {
        // Another connection was made meanwhile: this one has nothing to say any more.
        if (current !== mine) return;
        heard = performance.now();
        pause = PAUSE_MS;
        if (!NAMES.includes(name)) continue;
        tell(/** @type {Event} */ ({ type: name, data: JSON.parse(data, masked), received_ms: Date.now() }));
      }
    } catch (error) {
      if (current === mine && isRefusal(error)) {
        current = null;
        return ended();
      }
    }
    // A body that ends is a connection that failed, too.
    if (current === mine) fail();
  };

  const fail = () => {
    current?.abort();
    current = null;
    if (stopped) return;
    tell({ type: "lost" });
    timer = setTimeout(open, pause);
    pause = Math.min(2 * pause, PAUSE_MAX_MS);
  };

  const watch = setInterval(() => {
    if (current && performance.now() - heard > SILENCE_MS) fail();
  }, 2_000);
  const online = () => {
    if (!current && !stopped) void open();
  };
  window.addEventListener("online", online);
  void open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearInterval(watch);
    window.removeEventListener("online", online);
    current?.abort();
    current = null;
  };
}
