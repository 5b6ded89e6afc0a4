// Safe names: which paths may reach the disk of a receiver. The same rules as in formats.md, "Names"; a name is
// refused, never repaired. A sender applies them before it starts.

export { printable } from "./words.js";

const PATH_BYTES_MAX = 4096;
const COMPONENT_BYTES_MAX = 255;

/**
 * @typedef {"empty" | "too-long" | "component-too-long" | "dot-component" | "absolute" | "backslash" | "control" |
 *   "bidi" | "not-normalised" | "not-unicode" | "windows-device" | "windows-end" | "drive-prefix" | "hidden" |
 *   "case-clash" | "file-and-folder" | "twice"} NameRule
 */

/** A name that breaks a rule. */
export class NameError extends Error {
  /**
   * @param {string} path
   * @param {NameRule} rule
   */
  constructor(path, rule) {
    super(`a name breaks the rule ${rule}`);
    this.name = "NameError";
    /** Show it with `printable` of words.js only. */
    this.path = path;
    this.rule = rule;
  }
}

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const DEVICE = /^(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])$/;
const ASCII = /^[\x00-\x7f]*$/;

/**
 * The rule that a path breaks, or null.
 * @param {string} path
 * @returns {NameRule | null}
 */
export function brokenRule(path) {
  if (!isUnicode(path)) return "not-unicode";
  if (isLonger(path, PATH_BYTES_MAX)) return "too-long";
  if (path.startsWith("/")) return "absolute";
  if (CONTROL.test(path)) return "control";
  if (BIDI.test(path)) return "bidi";
  if (path.includes("\\")) return "backslash";
  if (path.normalize("NFC") !== path) return "not-normalised";
  for (const component of path.split("/")) {
    const rule = brokenComponentRule(component);
    if (rule) return rule;
  }
  return null;
}

/**
 * The rule that a share's `original_filename` breaks, or null: one component, not hidden where it is saved.
 * @param {string} name
 * @returns {NameRule | null}
 */
export function brokenTopRule(name) {
  if (name.includes("/")) return "absolute";
  if (name.startsWith(".") && name !== "." && name !== "..") return "hidden";
  return brokenRule(name);
}

/**
 * Throws unless the paths can stand side by side on any file system: no file is a folder too, no two names differ
 * only in case, none stands there twice.
 * @param {Iterable<string>} files
 * @param {Iterable<string>} dirs the empty folders
 */
export function checkTogether(files, dirs) {
  /** @type {Map<string, {path: string, role: "file" | "folder" | "empty"}>} */
  const seen = new Map();
  let above = "";
  /**
   * @param {string} path
   * @param {"file" | "folder" | "empty"} role
   */
  const take = (path, role) => {
    const key = caseFolded(path);
    const other = seen.get(key);
    if (other && other.path !== path) throw new NameError(path, "case-clash");
    if (other && other.role === role && role !== "folder") throw new NameError(path, "twice");
    if (other && (other.role === "file") !== (role === "file")) throw new NameError(path, "file-and-folder");
    seen.set(key, { path, role });
  };
  /**
   * @param {string} path
   * @param {"file" | "empty"} role
   */
  const takeWithFolders = (path, role) => {
    // Most paths stand in the same folder as the one before: it was looked at then.
    const folder = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    let end = folder === above ? folder.length : path.indexOf("/");
    if (folder !== above) {
      for (; end > 0; end = path.indexOf("/", end + 1)) take(path.slice(0, end), "folder");
    }
    above = folder;
    take(path, role);
  };
  for (const path of files) takeWithFolders(path, "file");
  for (const path of dirs) takeWithFolders(path, "empty");
}

/**
 * The extension of a name with its dot, as in `.gz`; empty if it has none but at its start.
 * @param {string} name
 * @returns {string}
 */
export function extensionOf(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(dot) : "";
}

/**
 * The name that a sender gives the top of a share: in form C, without leading dots.
 * @param {string} name
 * @returns {string}
 */
export function senderTopName(name) {
  return name.normalize("NFC").replace(/^\.+/, "");
}

/**
 * @param {string} component
 * @returns {NameRule | null}
 */
function brokenComponentRule(component) {
  if (component === "") return "empty";
  if (isLonger(component, COMPONENT_BYTES_MAX)) return "component-too-long";
  if (component === "." || component === "..") return "dot-component";
  if (/[. ]$/.test(component)) return "windows-end";
  if (/^[A-Za-z]:/.test(component)) return "drive-prefix";
  // Device names are reserved with any extension and in any case.
  const stem = component.split(".", 1)[0].trimEnd().replace(/[a-z]/g, (letter) => letter.toUpperCase());
  return DEVICE.test(stem) ? "windows-device" : null;
}

/**
 * Unicode's full case folding, then form C. Browsers have no case folding; upper case and back is the same for
 * every character, but for the dotless i, which has only itself, and the final sigma, which depends on its place.
 * @param {string} path
 */
function caseFolded(path) {
  if (ASCII.test(path)) return path.toLowerCase();
  const parts = path.split("\u0131").map((part) => part.toLowerCase().toUpperCase().toLowerCase().replaceAll("ς", "σ"));
  return parts.join("\u0131").normalize("NFC");
}

/**
 * @param {string} text
 * @param {number} bytesMax in UTF-8
 */
function isLonger(text, bytesMax) {
  // No code unit takes more than three bytes: most names need not be encoded.
  if (text.length * 3 <= bytesMax || text.length > bytesMax) return text.length > bytesMax;
  return new TextEncoder().encode(text).length > bytesMax;
}

/** @param {string} text */
function isUnicode(text) {
  return !/[\ud800-\udfff]/u.test(text);
}
