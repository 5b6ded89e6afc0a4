// Safe names: which paths may reach the disk of a receiver. The same rules as in formats.md, "Names"; a name is
// refused, never repaired. A sender applies them before it starts. Names that are safe, but no names on some system,
// are taken: see portability.js. The cases of tests/formats/names.json are those of core/src/name.rs as well.

const PATH_BYTES_MAX = 4096;
const COMPONENT_BYTES_MAX = 255;
const COMPONENTS_MAX = 128;
const COMPONENTS_SUM_MAX = 4_000_000;
export const DIRS_MAX = 100_000;

/**
 * @typedef {"empty" | "too-long" | "component-too-long" | "too-deep" | "dot-component" | "absolute" | "backslash" | "control" |
 *   "bidi" | "not-unicode" | "hidden" | "file-and-folder" | "twice"} NameRule
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
    /** Show it with `printable` of page/words.js only. */
    this.path = path;
    this.rule = rule;
  }
}

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
/** @type {Map<string, Place>} */
const NOTHING = new Map();

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
 * @typedef {{role: Role, below: Map<string, Place>}} Place
 */
/** @typedef {"file" | "folder" | "empty"} Role */

/**
 * Throws a NameError unless the paths can stand side by side: no file is a folder too, none stands there twice; a RangeError if they are too many or too deep.
 * @param {Iterable<string>} files
 * @param {Iterable<string>} dirs the empty folders
 */
export function checkTogether(files, dirs) {
  const root = newPlace("folder");
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
    const known = parent.below.get(name);
    if (!known) {
      if (role !== "file" && ++folders > DIRS_MAX) throw new RangeError("more folders than the limit");
      const made = newPlace(role);
      parent.below.set(name, made);
      return made;
    }
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
 * @returns {Place}
 */
function newPlace(role) {
  return { role, below: role === "file" ? NOTHING : new Map() };
}

/**
 * @param {string} component
 * @returns {NameRule | null}
 */
function brokenComponentRule(component) {
  if (component === "") return "empty";
  if (isLonger(component, COMPONENT_BYTES_MAX)) return "component-too-long";
  if (component === "." || component === "..") return "dot-component";
  return null;
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
