// The metadata of a share: what only its two ends may read. JSON, sealed inside the manifest. Everything that a
// receiver relies on is checked here.

import { HOLES_MAX, areHoles, brokenHoleRule, dataBytes } from "./holes.js";
import { DIRS_MAX, NameError, brokenRule, brokenTopRule, checkTogether, extensionOf } from "./names.js";

export * from "./names.js";

/** @typedef {import("./geometry.js").Geometry} Geometry */

export const METADATA_BYTES_MAX = 32 * 2 ** 20;
export const FILES_MAX = 100_000;

/**
 * @typedef {object} FileEntry
 * @property {string} path starts with the share's `original_filename`
 * @property {number} offset where the file's data starts in the stream
 * @property {number} size with its holes
 * @property {import("./holes.js").Holes} [holes] runs of zeros that are not in the stream
 * @property {string} [blake3]
 * @property {boolean} executable
 * @property {number} [mode] permissions, where they are not those that follow from `executable`
 * @property {string} modified RFC 3339
 */
/** @typedef {{path: string, mode: number}} FolderMode */
/** @typedef {{path: string, target: string}} Link a symlink; the page makes none, so it does not look where it leads */
/**
 * @typedef {object} Metadata
 * @property {string} original_filename
 * @property {string} extension
 * @property {number} size bytes of all files, with their holes
 * @property {number} chunk_count
 * @property {string} created RFC 3339
 * @property {FileEntry[]} files in the order of the stream
 * @property {string[]} dirs folders that hold nothing
 * @property {FolderMode[]} [dir_modes] folders whose permissions are not the usual ones
 * @property {Link[]} [links] symlinks
 */

/** Metadata that is refused: not well-formed, too much, or contradicting itself. Names are refused by NameError. */
export class MetadataError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "MetadataError";
  }
}

const FIELDS = ["original_filename", "extension", "size", "chunk_count", "created", "files", "dirs"];
const FILE_FIELDS = ["path", "offset", "size", "executable", "modified"];
const PERMISSIONS = 0o777;
const RFC3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/;

/**
 * Reads and checks metadata that belongs to a stream of this geometry.
 * @param {Uint8Array} json
 * @param {Geometry} geometry
 * @returns {Metadata} Throws a MetadataError or a NameError.
 */
export function parseMetadata(json, geometry) {
  if (json.length > METADATA_BYTES_MAX) throw new MetadataError("it is too long");
  let metadata;
  try {
    metadata = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json));
  } catch {
    throw new MetadataError("it is not well-formed");
  }
  checkFields(metadata);
  checkMetadata(metadata, geometry);
  return metadata;
}

/**
 * Checks every rule that a receiver relies on. A sender checks the same before it starts.
 * @param {Metadata} metadata
 * @param {Geometry} geometry
 */
export function checkMetadata(metadata, geometry) {
  if (metadata.files.length + (metadata.links?.length ?? 0) > FILES_MAX) throw new MetadataError("it has too many files");
  if (metadata.dirs.length > DIRS_MAX) throw new MetadataError("it has too many folders");
  const holes = metadata.files.reduce((count, file) => count + (file.holes?.length ?? 0), 0);
  if (holes > HOLES_MAX) throw new MetadataError("it has too many holes");
  const data = metadata.files.reduce((left, file) => left - (file.size - dataBytes(file)), metadata.size);
  if (data !== geometry.total || metadata.chunk_count !== geometry.chunkCount) {
    throw new MetadataError("its size is not the manifest's");
  }
  checkOffsets(metadata, geometry);
  checkNames(metadata);
  checkModes(metadata);
}

/**
 * The permissions of a file.
 * @param {Pick<FileEntry, "executable" | "mode">} file
 */
export function permissionsOf({ executable, mode }) {
  return mode ?? (executable ? 0o755 : 0o644);
}

/**
 * Whether the share is one file, saved under its own name, and no folder.
 * @param {Metadata} metadata
 */
export function isSingleFile({ files, dirs, links = [], original_filename: name }) {
  return dirs.length === 0 && links.length === 0 && files.length === 1 && files[0].path === name;
}

/**
 * Metadata as a sender writes it, checked. Files are put one after another in the order given.
 * @param {object} share
 * @param {string} share.name
 * @param {{path: string, size: number, executable?: boolean, modifiedMs: number}[]} share.files
 * @param {string[]} share.dirs
 * @param {number} share.createdMs
 * @param {Geometry} geometry
 * @returns {Metadata}
 */
export function buildMetadata({ name, files, dirs, createdMs }, geometry) {
  let offset = 0;
  /** @type {FileEntry[]} */
  const entries = [];
  for (const { path, size, executable = false, modifiedMs } of files) {
    entries.push({ path, offset, size, executable, modified: timeText(modifiedMs) });
    offset += size;
  }
  /** @type {Metadata} */
  const metadata = {
    original_filename: name,
    extension: "",
    size: offset,
    chunk_count: geometry.chunkCount,
    created: timeText(createdMs),
    files: entries,
    dirs,
  };
  if (isSingleFile(metadata)) metadata.extension = extensionOf(name);
  checkMetadata(metadata, geometry);
  return metadata;
}

/**
 * The bytes that are sealed. Fields stand in the order of formats.md.
 * @param {Metadata} metadata
 * @returns {Uint8Array<ArrayBuffer>} Throws a MetadataError if they are too many.
 */
export function encodeMetadata(metadata) {
  const json = new TextEncoder().encode(JSON.stringify(metadata));
  if (json.length > METADATA_BYTES_MAX) throw new MetadataError("it is too long");
  return json;
}

/**
 * @param {string} text RFC 3339
 * @returns {number} milliseconds since the Unix epoch, to the second
 */
export function timeOf(text) {
  // Not every browser reads fractions beyond milliseconds.
  return Date.parse(text.toUpperCase().replace(" ", "T").replace(/\.\d+/, ""));
}

/** @param {number} ms */
function timeText(ms) {
  return new Date(ms).toISOString();
}

/** @param {any} metadata */
function checkFields(metadata) {
  const isSound =
    hasExactly(metadata, FIELDS, ["dir_modes", "links"]) &&
    typeof metadata.original_filename === "string" &&
    typeof metadata.extension === "string" &&
    isSize(metadata.size) &&
    isSize(metadata.chunk_count) &&
    isTime(metadata.created) &&
    Array.isArray(metadata.files) &&
    metadata.files.every(isFileEntry) &&
    Array.isArray(metadata.dirs) &&
    metadata.dirs.every((/** @type {unknown} */ dir) => typeof dir === "string") &&
    (metadata.dir_modes === undefined || (Array.isArray(metadata.dir_modes) && metadata.dir_modes.every(isFolderMode))) &&
    (metadata.links === undefined || (Array.isArray(metadata.links) && metadata.links.every(isLink)));
  if (!isSound) throw new MetadataError("it has other fields than metadata");
}

/** @param {any} file */
function isFileEntry(file) {
  if (!hasExactly(file, FILE_FIELDS, ["holes", "blake3", "mode"]) || typeof file.path !== "string") return false;
  const hash = file.blake3 ?? null;
  if (hash !== null && !(typeof hash === "string" && /^[0-9a-fA-F]{64}$/.test(hash))) return false;
  if (file.holes !== undefined && !areHoles(file.holes)) return false;
  const mode = file.mode ?? null;
  if (mode !== null && !isSize(mode)) return false;
  return isSize(file.offset) && isSize(file.size) && typeof file.executable === "boolean" && isTime(file.modified);
}

/** @param {any} folder */
function isFolderMode(folder) {
  return hasExactly(folder, ["path", "mode"]) && typeof folder.path === "string" && isSize(folder.mode);
}

/** @param {any} link */
function isLink(link) {
  return hasExactly(link, ["path", "target"]) && typeof link.path === "string" && typeof link.target === "string";
}

/**
 * @param {any} value
 * @param {string[]} fields
 * @param {string[]} [optional]
 */
function hasExactly(value, fields, optional = []) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const known = fields.length + optional.filter((field) => Object.hasOwn(value, field)).length;
  return Object.keys(value).length === known && fields.every((field) => Object.hasOwn(value, field));
}

/** @param {unknown} value */
function isSize(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}

/** @param {unknown} value */
function isTime(value) {
  return typeof value === "string" && RFC3339.test(value) && !Number.isNaN(timeOf(value));
}

/**
 * @param {Metadata} metadata
 * @param {Geometry} geometry
 */
function checkOffsets({ files, size }, geometry) {
  let end = 0;
  let length = 0;
  for (const file of files) {
    if (file.offset !== end) throw new MetadataError("the files do not follow one another");
    const broken = brokenHoleRule(file);
    if (broken) throw new MetadataError(broken);
    end += dataBytes(file);
    length += file.size;
    if (!Number.isSafeInteger(length)) throw new MetadataError("the files are larger than any disk");
  }
  if (length !== size || end !== geometry.total) throw new MetadataError("the files do not add up to the size");
}

/** @param {Metadata} metadata */
function checkModes({ files, dirs, links = [], dir_modes: folders = [] }) {
  const fits = (/** @type {FileEntry} */ { mode, executable }) =>
    (mode ?? null) === null || (Number(mode) <= PERMISSIONS && Boolean(Number(mode) & 0o100) === executable);
  if (!files.every(fits) || folders.some(({ mode }) => mode > PERMISSIONS)) {
    throw new MetadataError("a mode is not one of permissions, or of another kind");
  }
  if (folders.length === 0) return;
  if (folders.length > DIRS_MAX) throw new MetadataError("it has too many folders");
  const unseen = new Set(folders.map(({ path }) => path));
  if (unseen.size < folders.length) throw new MetadataError("a folder has two modes");
  const known = new Set();
  const pass = (/** @type {string} */ folder) => {
    for (let at = folder; at && !known.has(at); at = at.slice(0, Math.max(0, at.lastIndexOf("/")))) {
      known.add(at);
      unseen.delete(at);
    }
  };
  for (const { path } of [...files, ...links]) pass(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
  for (const dir of dirs) pass(dir);
  if (unseen.size > 0) throw new MetadataError("it has a mode of a folder that is not in it");
}

/** @param {Metadata} metadata */
function checkNames(metadata) {
  const { original_filename: top, files, dirs, links = [] } = metadata;
  const refuse = (/** @type {string} */ path, /** @type {import("./names.js").NameRule | null} */ rule) => {
    if (rule) throw new NameError(path, rule);
  };
  refuse(top, brokenTopRule(top));
  for (const { path } of [...files, ...links]) refuse(path, brokenRule(path));
  for (const dir of dirs) refuse(dir, brokenRule(dir));
  const isSingle = isSingleFile(metadata);
  if (metadata.extension !== (isSingle ? extensionOf(top) : "")) {
    throw new MetadataError("the extension is not that of the name");
  }
  if (!isSingle) {
    const isInside = [...files, ...links].every(({ path }) => path.startsWith(`${top}/`)) &&
      dirs.every((dir) => dir === top || dir.startsWith(`${top}/`));
    if (!isInside) throw new MetadataError("a path lies outside the share's own folder");
    if (files.length + dirs.length === 0) throw new MetadataError("it names neither a file nor a folder");
  }
  try {
    checkTogether([...files, ...links].map(({ path }) => path), dirs);
  } catch (error) {
    throw error instanceof RangeError ? new MetadataError(`it has ${error.message}`) : error;
  }
}
