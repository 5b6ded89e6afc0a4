// The list of what is going to be shared.

import { byId, element } from "../page/dom.js";
import { printable } from "../page/words.js";
import { texts } from "./texts.js";

/** @typedef {import("./selection.js").Selection} Selection */
/** @typedef {import("./selection.js").Item} Item */

/** Rows that are shown: more would make the page slow, and nobody reads them. */
const ROWS_MAX = 200;

/**
 * @param {Selection} selection
 * @param {(id: number) => void} onRemove
 */
export function showList(selection, onRemove) {
  const rows = selection.items.slice(0, ROWS_MAX).map((item) => row(item, onRemove));
  const hidden = selection.items.length - rows.length;
  if (hidden > 0) rows.push(element("li", { class: "muted", text: texts.list.more(hidden) }));
  byId("file-list").replaceChildren(...rows);
  byId("file-total").textContent = texts.list.total(selection.files, selection.bytes);
}

/** @param {Item} item @param {(id: number) => void} onRemove */
function row({ id, name, isFolder, files, bytes }, onRemove) {
  const shown = printable(name);
  const size = isFolder ? texts.list.folder(files, bytes) : texts.list.file(bytes);
  return element(
    "li",
    {},
    element("span", { class: "name", text: isFolder ? `${shown}/` : shown }),
    element("span", { class: "number muted", text: size }),
    element("button", {
      class: "quiet",
      text: texts.list.remove,
      attributes: { type: "button", "aria-label": texts.list.removeNamed(shown) },
      on: { click: () => onRemove(id) },
    }),
  );
}
