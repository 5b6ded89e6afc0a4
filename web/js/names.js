// Safe names: which paths may reach the disk of a receiver. The same rules as in formats.md, "Names"; a name is
// refused, never repaired. A sender applies them before it starts.

export { printable } from "./words.js";

const PATH_BYTES_MAX = 4096;
const COMPONENT_BYTES_MAX = 255;
const COMPONENTS_MAX = 128;
const COMPONENTS_SUM_MAX = 4_000_000;
export const DIRS_MAX = 100_000;

/**
 * @typedef {"empty" | "too-long" | "component-too-long" | "too-deep" | "dot-component" | "absolute" | "backslash" | "control" |
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
/** @type {Map<string, Place>} */
const NOTHING = new Map();
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
  const components = path.split("/");
  if (components.length > COMPONENTS_MAX) return "too-deep";
  for (const component of components) {
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
 * A file or folder, by what is below it. Each component is kept once, however many paths lead through it.
 * @typedef {{role: Role, name: string, below: Map<string, Place>}} Place
 */
/** @typedef {"file" | "folder" | "empty"} Role */

/**
 * Throws a NameError unless the paths can stand side by side on any file system: no file is a folder too, no two names
 * differ only in case, none stands there twice; a RangeError if they are too many or too deep.
 * @param {Iterable<string>} files
 * @param {Iterable<string>} dirs the empty folders
 */
export function checkTogether(files, dirs) {
  const root = newPlace("folder", "");
  let [folders, components, above, place] = [0, 0, "", root];
  /**
   * @param {Place} parent
   * @param {string} path
   * @param {number} start where its last component begins
   * @param {Role} role
   */
  const put = (parent, path, start, role) => {
    if (++components > COMPONENTS_SUM_MAX) throw new RangeError("more components of paths than the limit");
    const name = path.slice(start);
    const key = caseFolded(name);
    const known = parent.below.get(key);
    if (!known) {
      if (role !== "file" && ++folders > DIRS_MAX) throw new RangeError("more folders than the limit");
      const made = newPlace(role, name);
      parent.below.set(key, made);
      return made;
    }
    if (known.name !== name) throw new NameError(path, "case-clash");
    if (known.role === role && role !== "folder") throw new NameError(path, "twice");
    if ((known.role === "file") !== (role === "file")) throw new NameError(path, "file-and-folder");
    // A folder that was named may stand on the way to others, but is named once.
    if (role === "empty") known.role = role;
    return known;
  };
  /**
   * @param {string} path
   * @param {Role} role
   */
  const take = (path, role) => {
    const start = path.lastIndexOf("/") + 1;
    const folder = path.slice(0, start);
    // Most paths stand in the same folder as the one before: it was looked at then.
    if (folder !== above) {
      place = root;
      for (let [from, slash] = [0, path.indexOf("/")]; slash >= 0; [from, slash] = [slash + 1, path.indexOf("/", slash + 1)]) {
        place = put(place, path.slice(0, slash), from, "folder");
      }
      above = folder;
    }
    put(place, path, start, role);
  };
  for (const path of files) take(path, "file");
  for (const path of dirs) take(path, "empty");
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
 * @param {Role} role
 * @param {string} name
 * @returns {Place}
 */
function newPlace(role, name) {
  return { role, name, below: role === "file" ? NOTHING : new Map() };
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
