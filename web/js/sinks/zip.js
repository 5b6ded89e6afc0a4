// A ZIP archive (PKWARE's APPNOTE) made while its files stream through: stored, not compressed; UTF-8 names; the
// check sum of a file after its bytes; ZIP64 where a number needs more than 32 bits. Its length is known before.

import { permissionsOf, timeOf } from "../format/metadata.js";

/** @typedef {import("./sink.js").ByteSink} ByteSink */
/** @typedef {import("./sink.js").FileSink} FileSink */
/** @typedef {import("./sink.js").FileHead} FileHead */
/** @typedef {import("../format/metadata.js").FolderMode} Folder */
/** @typedef {{path: Uint8Array, size: number, crc: number, at: number, mode: number, modifiedMs: number, isDir: boolean}} Entry */

const UTF8 = new TextEncoder();
const MAX_16 = 0xffff;
const MAX_32 = 0xffffffff;
const BLOCK_BYTES = 1 << 20;
const LOCAL_BYTES = 30;
const CENTRAL_BYTES = 46;
const UTF8_FLAG = 1 << 11;
const SUM_FOLLOWS_FLAG = 1 << 3;
const MADE_BY_UNIX = (3 << 8) | 45;
const FILE_KIND = 0o100000;
const DIR_KIND = 0o40000;
const DIR_MODE = 0o755;

/**
 * The folders that an archive has entries of: those that hold nothing, and those with other permissions than most.
 * @param {Pick<import("../format/metadata.js").Metadata, "dirs" | "dir_modes" | "links">} metadata
 * @returns {Folder[]}
 */
export function zipFolders({ dirs, dir_modes: others = [], links = [] }) {
  /** @type {Map<string, number>} */
  const modes = new Map();
  // Symlinks are no part of an archive; the folders that hold nothing else are.
  for (const { path } of links) modes.set(path.slice(0, path.lastIndexOf("/")), DIR_MODE);
  for (const dir of dirs) modes.set(dir, DIR_MODE);
  for (const { path, mode } of others) modes.set(path, mode);
  return [...modes].map(([path, mode]) => ({ path, mode }));
}

/**
 * @param {ByteSink} sink
 * @param {Folder[]} dirs
 * @param {typeof crc32} [sum] for tests
 * @returns {FileSink}
 */
export function zipSink(sink, dirs, sum = crc32) {
  const out = new Gathered(sink);
  /** @type {Entry[]} */
  const entries = [];
  let crc = 0;
  return {
    begin: async (file) => {
      crc = 0;
      entries.push(entryOf(file, out.position));
      await out.write(localHeader(entries[entries.length - 1]));
    },
    write: async (bytes) => {
      crc = sum(bytes, crc);
      await out.write(bytes);
    },
    end: async () => {
      const entry = entries[entries.length - 1];
      entry.crc = crc;
      await out.write(sumOf(entry));
    },
    close: async () => {
      // After the files: a folder that may not be written to gets its permissions when all is in it.
      for (const dir of dirs) {
        entries.push(dirEntryOf(dir, out.position));
        await out.write(localHeader(entries[entries.length - 1]));
      }
      const directoryAt = out.position;
      for (const entry of entries) await out.write(centralHeader(entry));
      await out.write(ending(entries.length, directoryAt, out.position - directoryAt));
      await out.flush();
      return sink.close();
    },
    abort: () => sink.abort(),
  };
}

/**
 * The bytes that an archive of these files will have.
 * @param {FileHead[]} files
 * @param {Folder[]} dirs
 */
export function zipLength(files, dirs) {
  let at = 0;
  let directory = 0;
  const count = (/** @type {Entry} */ entry) => {
    const named = entry.path.length + timeExtra(entry).length;
    const wide = (isLarge(entry) ? 16 : 0) + (isFar(entry) ? 8 : 0);
    directory += CENTRAL_BYTES + named + (wide ? 4 + wide : 0);
    at += LOCAL_BYTES + named + (isLarge(entry) ? 20 : 0) + entry.size;
  };
  for (const file of files) {
    const entry = entryOf(file, at);
    count(entry);
    at += isLarge(entry) ? 24 : 16;
  }
  for (const dir of dirs) count(dirEntryOf(dir, at));
  return at + directory + ending(files.length + dirs.length, at, directory).length;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/**
 * @param {Uint8Array} bytes
 * @param {number} [before] the check sum of what came before
 */
export function crc32(bytes, before = 0) {
  let crc = ~before;
  for (let at = 0; at < bytes.length; at++) crc = TABLE[(crc ^ bytes[at]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Gathers small pieces into blocks, so that a hundred thousand small files are not as many messages. */
class Gathered {
  /** @type {Uint8Array<ArrayBuffer> | null} */
  #block = null;
  #used = 0;
  position = 0;

  /** @param {ByteSink} sink */
  constructor(sink) {
    this.sink = sink;
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  async write(bytes) {
    this.position += bytes.length;
    if (this.#used + bytes.length > BLOCK_BYTES) await this.flush();
    if (bytes.length >= BLOCK_BYTES / 4) {
      await this.flush();
      return this.sink.write(bytes);
    }
    this.#block ??= new Uint8Array(BLOCK_BYTES);
    this.#block.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  async flush() {
    if (this.#block === null || this.#used === 0) return;
    const block = this.#block.subarray(0, this.#used);
    this.#block = null; // The sink may take its buffer away.
    this.#used = 0;
    await this.sink.write(block);
  }
}

/**
 * @param {FileHead} file
 * @param {number} at
 * @returns {Entry}
 */
function entryOf({ path, size, executable, mode: given, modified }, at) {
  const mode = FILE_KIND | permissionsOf({ executable, mode: given });
  return { path: UTF8.encode(path), size, crc: 0, at, mode, modifiedMs: timeOf(modified), isDir: false };
}

/**
 * @param {Folder} folder
 * @param {number} at
 * @returns {Entry}
 */
function dirEntryOf({ path, mode }, at) {
  const name = UTF8.encode(`${path}/`);
  return { path: name, size: 0, crc: 0, at, mode: DIR_KIND | mode, modifiedMs: NaN, isDir: true };
}

/** @param {Entry} entry */
function isLarge({ size }) {
  return size >= MAX_32;
}

/** @param {Entry} entry */
function isFar({ at }) {
  return at >= MAX_32;
}

/** @param {Entry} entry */
function localHeader(entry) {
  const large = isLarge(entry);
  const time = timeExtra(entry);
  const extra = large ? join(time, pack([2, 1], [2, 16], [8, 0], [8, 0])) : time;
  const size = large ? MAX_32 : 0; // It follows with the check sum.
  const fields = pack([4, 0x04034b50], ...commonFields(entry, size), [2, entry.path.length], [2, extra.length]);
  return join(fields, entry.path, extra);
}

/** @param {Entry} entry */
function sumOf(entry) {
  const width = isLarge(entry) ? 8 : 4;
  return pack([4, 0x08074b50], [4, entry.crc], [width, entry.size], [width, entry.size]);
}

/** @param {Entry} entry */
function centralHeader(entry) {
  const large = isLarge(entry);
  const far = isFar(entry);
  const numbers = [...(large ? [entry.size, entry.size] : []), ...(far ? [entry.at] : [])];
  const wide = numbers.map((n) => /** @type {[number, number]} */ ([8, n]));
  const time = timeExtra(entry);
  const extra = wide.length ? join(time, pack([2, 1], [2, 8 * wide.length], ...wide)) : time;
  const fields = pack(
    [4, 0x02014b50],
    [2, MADE_BY_UNIX],
    ...commonFields(entry, large ? MAX_32 : entry.size),
    [2, entry.path.length],
    [2, extra.length],
    [2, 0], // comment
    [2, 0], // disk
    [2, 0], // kind of content
    [4, entry.mode * 0x10000 + (entry.isDir ? 0x10 : 0)], // Unix mode above, DOS's mark of a folder below
    [4, far ? MAX_32 : entry.at],
  );
  return join(fields, entry.path, extra);
}

/**
 * What both headers of an entry have in common, from the version on to the sizes.
 * @param {Entry} entry
 * @param {number} size
 * @returns {[number, number][]}
 */
function commonFields(entry, size) {
  const flags = UTF8_FLAG | (entry.isDir ? 0 : SUM_FOLLOWS_FLAG);
  const { date, time } = dosTime(entry.modifiedMs);
  // Version 4.5 of the format, which has ZIP64, is asked for only where that is needed.
  return [[2, isLarge(entry) || isFar(entry) ? 45 : 20], [2, flags], [2, 0], [2, time], [2, date], [4, entry.crc], [4, size], [4, size]];
}

/**
 * The end of the archive.
 * @param {number} count
 * @param {number} at where the central directory starts
 * @param {number} size its bytes
 */
function ending(count, at, size) {
  const short = pack(
    [4, 0x06054b50],
    [2, 0],
    [2, 0],
    [2, Math.min(count, MAX_16)],
    [2, Math.min(count, MAX_16)],
    [4, Math.min(size, MAX_32)],
    [4, Math.min(at, MAX_32)],
    [2, 0],
  );
  if (count < MAX_16 && at < MAX_32 && size < MAX_32) return short;
  const long = pack([4, 0x06064b50], [8, 44], [2, MADE_BY_UNIX], [2, 45], [4, 0], [4, 0], [8, count], [8, count], [8, size], [8, at]);
  const locator = pack([4, 0x07064b50], [4, 0], [8, at + size], [4, 1]);
  return join(long, locator, short);
}

/**
 * The time of change in seconds since 1970, where it fits: the archive's own times have no time zone.
 * @param {Entry} entry
 */
function timeExtra({ modifiedMs }) {
  const seconds = Math.floor(modifiedMs / 1000);
  return seconds >= 0 && seconds < 2 ** 31 ? pack([2, 0x5455], [2, 5], [1, 1], [4, seconds]) : new Uint8Array();
}

/** @param {number} ms */
function dosTime(ms) {
  const moment = new Date(ms);
  const year = moment.getUTCFullYear();
  if (!(year >= 1980 && year <= 2107)) return { date: (1 << 5) | 1, time: 0 };
  const date = ((year - 1980) << 9) | ((moment.getUTCMonth() + 1) << 5) | moment.getUTCDate();
  const time = (moment.getUTCHours() << 11) | (moment.getUTCMinutes() << 5) | (moment.getUTCSeconds() >> 1);
  return { date, time };
}

/**
 * Numbers of the given widths, little-endian.
 * @param {...[width: number, value: number]} fields
 */
function pack(...fields) {
  let length = 0;
  for (const field of fields) length += field[0];
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const [width, value] of fields) {
    const low = value % 2 ** 32;
    for (let i = 0; i < width && i < 4; i++) bytes[at + i] = low >>> (8 * i);
    if (width === 8) {
      const high = Math.floor(value / 2 ** 32);
      for (let i = 0; i < 4; i++) bytes[at + 4 + i] = high >>> (8 * i);
    }
    at += width;
  }
  return bytes;
}

/** @param {...Uint8Array} parts */
function join(...parts) {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
