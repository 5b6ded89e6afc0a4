// What the tracker does by itself and cannot do just now. Nothing is shown while all is well.

import { byId, element } from "../page/dom.js";
import { when } from "../page/words.js";
import { texts } from "./texts.js";
import { keyed, setText } from "./parts.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").FailingWorker} FailingWorker */

/** @returns {View} */
export function failingView() {
  const fill = keyed(byId("failing-workers"), (/** @type {FailingWorker} */ { worker, what }) => `${worker} ${what}`, () => {
    const node = element("li", { class: "name" });
    return { node, update: (/** @type {FailingWorker} */ failing) => setText(node, failureText(failing)) };
  });
  return {
    update(state, before) {
      if (state.swarm === before.swarm) return;
      const failing = state.swarm?.failing ?? [];
      byId("failing").hidden = failing.length === 0;
      fill(failing);
    },
  };
}

/**
 * What fails, why, how often since when, and when last.
 * @param {FailingWorker} failing
 */
function failureText({ worker, what, error, since_ms, failed_ms, failures }) {
  return texts.failing(worker, what, error, failures, when(since_ms), when(failed_ms));
}
