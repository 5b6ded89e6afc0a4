// The only way into the document: elements by tag and text, never by markup, so no name can become code.

/** @typedef {Node | string | null | undefined | false} Child */
/**
 * @typedef {object} Properties
 * @property {string} [class]
 * @property {string} [text]
 * @property {Record<string, string | number | boolean | null>} [attributes] true: present, false or null: absent
 * @property {Record<string, (event: any) => void>} [on]
 */

/**
 * Makes an element. Strings among the children become text nodes.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  if (properties.class) made.className = properties.class;
  if (properties.text !== undefined) made.textContent = properties.text;
  for (const [name, value] of Object.entries(properties.attributes ?? {})) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, String(value));
  }
  for (const [name, listener] of Object.entries(properties.on ?? {})) made.addEventListener(name, listener);
  for (const child of children) if (child) made.append(child);
  return made;
}

/**
 * The element with this id, which must be in the page.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return /** @type {T} */ (found);
}

/**
 * @typedef {object} TrustedTypes
 * @property {(name: string, rules: {createScriptURL(path: string): string}) => {createScriptURL(path: string): unknown}} createPolicy
 */

/** @param {string} path */
function ownScript(path) {
  if (path === "/sw.js" || /^\/web\/js\/(get|share)\/worker\.js$/.test(path)) return path;
  throw new TypeError("not one of the page's own scripts");
}

const trustedTypes = /** @type {{trustedTypes?: TrustedTypes}} */ (globalThis).trustedTypes;
const policy = trustedTypes?.createPolicy("parcelry", { createScriptURL: ownScript });

/**
 * The address of one of the page's own workers, in the type that `Worker` and `register` want under Trusted Types.
 * @param {string} path
 * @returns {string}
 */
export function scriptUrl(path) {
  return /** @type {string} */ (policy ? policy.createScriptURL(path) : ownScript(path));
}

const ANNOUNCE_EVERY_MS = 2000;
let announcedAt = -ANNOUNCE_EVERY_MS;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let announcing;
let latest = "";

/**
 * Tells a screen reader, politely and at most every two seconds; the latest text wins.
 * @param {string} text
 */
export function announce(text) {
  latest = text;
  const pause = announcedAt + ANNOUNCE_EVERY_MS - performance.now();
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    announcedAt = performance.now();
    liveRegion().textContent = latest;
  }, Math.max(0, pause));
}

/** @returns {HTMLElement} */
function liveRegion() {
  const found = document.getElementById("announcer");
  if (found) return found;
  const made = element("div", { class: "visually-hidden", attributes: { id: "announcer", role: "status" } });
  document.body.append(made);
  return made;
}
