// Which files can be looked at without saving them: pictures and text, never what can hold scripts (SVG, HTML, PDF).

const IMAGE_BYTES_MAX = 20 * 2 ** 20;
/** @type {Record<string, string>} */
const IMAGE_TYPES = {
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".jpeg": "image/jpeg",
  ".gif": "image/gif",
  ".webp": "image/webp",
  ".avif": "image/avif",
};
const TEXT_EXTENSIONS = new Set(
  (".txt .md .rst .log .csv .tsv .json .jsonl .yaml .yml .toml .ini .cfg .conf .env .diff .patch .srt .vtt .tex .bib " +
    ".rs .py .js .mjs .ts .jsx .tsx .c .h .cc .cpp .hpp .go .java .kt .swift .rb .php .pl .lua .sh .bash .zsh .ps1 .bat .sql .css").split(" "),
);

/** @param {string} path */
export function baseName(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}

/**
 * The type of a picture by its name, or null.
 * @param {string} path
 * @returns {string | null}
 */
export function imageType(path) {
  const extension = extensionIn(path);
  return Object.hasOwn(IMAGE_TYPES, extension) ? IMAGE_TYPES[extension] : null;
}

/**
 * How a file can be shown, by its name and size. What has holes is neither a picture nor text.
 * @param {{path: string, size: number, holes?: unknown[]}} file
 * @returns {"image" | "text" | null}
 */
export function previewKind({ path, size, holes = [] }) {
  if (size === 0 || holes.length > 0) return null;
  if (imageType(path)) return size <= IMAGE_BYTES_MAX ? "image" : null;
  return TEXT_EXTENSIONS.has(extensionIn(path)) ? "text" : null;
}

/** @param {string} path */
function extensionIn(path) {
  return (/.(\.[^./]*)$/.exec(baseName(path))?.[1] ?? "").toLowerCase();
}
