// Small parts that the dashboard's views are made of. What stands already is changed only where it differs.

import { ApiError } from "../transfer/api.js";
import { element } from "../page/dom.js";

/**
 * Children of an element that stand for items; each keeps its node for as long as its item is there.
 * @template Item
 * @typedef {{ node: Element, update: (item: Item) => void }} Row
 */

/** @typedef {import("./state.js").State} State */
/** @typedef {{ update: (state: State, before: State) => void, tick?: (now_ms: number) => void }} View a part of the page */

/**
 * Keeps the children of `parent` in step with a list.
 * @template Item
 * @param {Element} parent
 * @param {(item: Item) => unknown} keyOf
 * @param {(item: Item) => Row<Item>} make
 * @returns {(items: readonly Item[]) => void}
 */
export function keyed(parent, keyOf, make) {
  /** @type {Map<unknown, Row<Item>>} */
  let rows = new Map();
  return (items) => {
    /** @type {typeof rows} */
    const next = new Map();
    for (const item of items) {
      const key = keyOf(item);
      const row = rows.get(key) ?? make(item);
      row.update(item);
      next.set(key, row);
    }
    for (const [key, row] of rows) if (!next.has(key)) row.node.remove();
    rows = next;
    let cursor = parent.firstElementChild;
    for (const { node } of next.values()) {
      if (node === cursor) cursor = cursor.nextElementSibling;
      else parent.insertBefore(node, cursor);
    }
  };
}

/**
 * @param {Element} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {string|number|null} value null takes the attribute away
 */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/**
 * An SVG element.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string|number>} [attributes]
 * @param {...(Node|string)} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/**
 * A bar that shows how much of something is used. For the eye only: the text beside it says the same.
 * @returns {{ node: HTMLElement, set: (part: number) => void }}
 */
export function bar() {
  const fill = element("span", { class: "fill" });
  const node = element("span", { class: "space-bar", attributes: { "aria-hidden": "true" } }, fill);
  return {
    node,
    set: (part) => {
      fill.style.width = `${Math.round(Math.min(1, Math.max(0, part)) * 100)}%`;
    },
  };
}

/**
 * The first characters of an id, enough to tell a few thousand apart.
 * @param {string} id
 */
export function short(id) {
  return id.length > 10 ? `${id.slice(0, 9)}…` : id;
}

/**
 * A part of a whole, 0 to 1.
 * @param {number} part
 * @param {number} whole
 */
export function ratio(part, whole) {
  return whole > 0 ? Math.min(1, Math.max(0, part / whole)) : 0;
}

/**
 * Whether a call failed because nobody is signed in.
 * @param {unknown} error
 */
export function isRefusal(error) {
  return error instanceof ApiError && (error.status === 401 || error.status === 403);
}

/**
 * Why a call failed, for people.
 * @param {unknown} error
 */
export function reasonOf(error) {
  if (error instanceof ApiError) return error.detail || error.message;
  return error instanceof Error ? error.message : String(error);
}

/**
 * Copies a text; false where the browser does not let us.
 * @param {string} text
 * @returns {Promise<boolean>}
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
