// The three steps of sharing: what to share, the way there, the link. One is shown at a time.

import { byId } from "../page/dom.js";

/** @typedef {"compose" | "sending" | "done"} Step the id of its section */

/** @param {Step} step */
export function showStep(step) {
  for (const id of ["compose", "sending", "done"]) byId(id).hidden = id !== step;
}
