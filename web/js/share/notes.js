// What there is to say about the names of a share that is safe: what was left out and why, and which names do not work
// on every system.

import { byId, element } from "../page/dom.js";
import { notes } from "../format/portability.js";
import { texts as allTexts } from "../page/texts.js";
import { texts } from "./texts.js";
import { printable } from "../page/words.js";

/** More would freeze the page. */
const LINES_MAX = 1000;

/**
 * @param {import("./selection.js").LeftOut[]} leftOut
 * @param {string[]} paths of the share
 */
export function showNotes(leftOut, paths) {
  show("done-left-out", texts.done.leftOut(leftOut.length), leftOut.map(({ path, rule }) =>
    (rule === "unreadable" ? texts.done.unreadable(printable(path)) : allTexts.common.nameLeftOut(path, rule))));
  const found = notes(paths);
  show("done-not-everywhere", texts.done.notEverywhere(found.length), found.map(([path]) => printable(path)));
}

/** @param {string} id @param {string} title @param {string[]} lines */
function show(id, title, lines) {
  const items = lines.slice(0, LINES_MAX).map((text) => element("li", {}, element("bdi", { text })));
  if (lines.length > LINES_MAX) items.push(element("li", { text: texts.list.more(lines.length - LINES_MAX) }));
  byId(`${id}-title`).textContent = title;
  byId(`${id}-list`).replaceChildren(...items);
  byId(id).hidden = lines.length === 0;
}
