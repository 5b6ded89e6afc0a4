// Names that are safe, and no names on some systems: they are shared with a note, and each receiver's own file system
// decides. The same as in core/src/portability.rs, with the same cases: tests/formats/names.json.

/** @typedef {"device" | "end" | "character" | "not-normalised" | "clash"} NotEverywhere */

const DEVICE = /^(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])$/;
const ASCII = /^[\x00-\x7f]*$/;

/**
 * The paths, and folders on the way to them, whose last component is no name on some systems; each once.
 * @param {Iterable<string>} paths
 * @returns {[path: string, why: NotEverywhere][]}
 */
export function notes(paths) {
  const known = new Set();
  const folded = new Set();
  /** @type {[string, NotEverywhere][]} */
  const found = [];
  for (const path of paths) {
    const fresh = [];
    // What leads to a folder that is known is known.
    for (let at = path; !known.has(at); at = at.slice(0, Math.max(0, at.lastIndexOf("/")))) {
      known.add(at);
      if (at) fresh.push(at);
    }
    for (const part of fresh.reverse()) {
      const key = caseFolded(part);
      const why = folded.has(key) ? "clash" : notEverywhere(part.slice(part.lastIndexOf("/") + 1));
      folded.add(key);
      if (why) found.push([part, why]);
    }
  }
  return found;
}

/**
 * Why a component, by itself, is no name on some systems, or null.
 * @param {string} component
 * @returns {NotEverywhere | null}
 */
function notEverywhere(component) {
  if (/[. ]$/.test(component)) return "end";
  // Device names are reserved with any extension and in any case.
  const stem = component.split(".", 1)[0].trimEnd().replace(/[a-z]/g, (letter) => letter.toUpperCase());
  if (DEVICE.test(stem)) return "device";
  if (/[:*?"<>|]/.test(component)) return "character";
  return component.normalize("NFC") === component ? null : "not-normalised";
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
