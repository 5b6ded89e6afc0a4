// The metadata of a share: what only its two ends may read. JSON, sealed inside the manifest. Everything that a
// receiver relies on is checked here.

import { DIRS_MAX, NameError, brokenRule, brokenTopRule, checkTogether, extensionOf } from "./names.js";

export * from "./names.js";

/** @typedef {import("./geometry.js").Geometry} Geometry */

export const METADATA_BYTES_MAX = 32 * 2 ** 20;
export const FILES_MAX = 100_000;

/**
 * @typedef {object} FileEntry
 * @property {string} path starts with the share's `original_filename`
 * @property {number} offset where the file starts in the stream
 * @property {number} size
 * @property {string} [blake3]
 * @property {boolean} executable
 * @property {string} modified RFC 3339
 */
/**
 * @typedef {object} Metadata
 * @property {string} original_filename
 * @property {string} extension
 * @property {number} size
 * @property {number} chunk_count
 * @property {string} created RFC 3339
 * @property {FileEntry[]} files in the order of the stream
 * @property {string[]} dirs folders that hold nothing
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
  if (metadata.files.length > FILES_MAX) throw new MetadataError("it has too many files");
  if (metadata.dirs.length > DIRS_MAX) throw new MetadataError("it has too many folders");
  if (metadata.size !== geometry.total || metadata.chunk_count !== geometry.chunkCount) {
    throw new MetadataError("its size is not the manifest's");
  }
  checkOffsets(metadata);
  checkNames(metadata);
}

/**
 * Whether the share is one file, saved under its own name, and no folder.
 * @param {Metadata} metadata
 */
export function isSingleFile({ files, dirs, original_filename: name }) {
  return dirs.length === 0 && files.length === 1 && files[0].path === name;
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
    hasExactly(metadata, FIELDS) &&
    typeof metadata.original_filename === "string" &&
    typeof metadata.extension === "string" &&
    isSize(metadata.size) &&
    isSize(metadata.chunk_count) &&
    isTime(metadata.created) &&
    Array.isArray(metadata.files) &&
    metadata.files.every(isFileEntry) &&
    Array.isArray(metadata.dirs) &&
    metadata.dirs.every((/** @type {unknown} */ dir) => typeof dir === "string");
  if (!isSound) throw new MetadataError("it has other fields than metadata");
}

/** @param {any} file */
function isFileEntry(file) {
  if (!hasExactly(file, FILE_FIELDS, "blake3") || typeof file.path !== "string") return false;
  const hash = file.blake3 ?? null;
  if (hash !== null && !(typeof hash === "string" && /^[0-9a-fA-F]{64}$/.test(hash))) return false;
  return isSize(file.offset) && isSize(file.size) && typeof file.executable === "boolean" && isTime(file.modified);
}

/**
 * @param {any} value
 * @param {string[]} fields
 * @param {string} [optional]
 */
function hasExactly(value, fields, optional) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const known = fields.length + (optional !== undefined && Object.hasOwn(value, optional) ? 1 : 0);
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

/** @param {Metadata} metadata */
function checkOffsets({ files, size }) {
  let end = 0;
  for (const file of files) {
    if (file.offset !== end) throw new MetadataError("the files do not follow one another");
    end += file.size;
    if (!Number.isSafeInteger(end)) throw new MetadataError("the files are larger than any disk");
  }
  if (end !== size) throw new MetadataError("the files do not add up to the size");
}

/** @param {Metadata} metadata */
function checkNames(metadata) {
  const { original_filename: top, files, dirs } = metadata;
  const refuse = (/** @type {string} */ path, /** @type {import("./names.js").NameRule | null} */ rule) => {
    if (rule) throw new NameError(path, rule);
  };
  refuse(top, brokenTopRule(top));
  for (const { path } of files) refuse(path, brokenRule(path));
  for (const dir of dirs) refuse(dir, brokenRule(dir));
  const isSingle = isSingleFile(metadata);
  if (metadata.extension !== (isSingle ? extensionOf(top) : "")) {
    throw new MetadataError("the extension is not that of the name");
  }
  if (!isSingle) {
    const isInside = files.every(({ path }) => path.startsWith(`${top}/`)) &&
      dirs.every((dir) => dir === top || dir.startsWith(`${top}/`));
    if (!isInside) throw new MetadataError("a path lies outside the share's own folder");
    if (files.length + dirs.length === 0) throw new MetadataError("it names neither a file nor a folder");
  }
  try {
    checkTogether(files.map(({ path }) => path), dirs);
  } catch (error) {
    throw error instanceof RangeError ? new MetadataError(`it has ${error.message}`) : error;
  }
}
