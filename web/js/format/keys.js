// The keys of a share, derived from the link's secret by HKDF-SHA-256 as in formats.md. The keys that seal and
// open cannot be read out of the browser's cryptography again.

import { CHUNK_LOG2_MAX, CHUNK_LOG2_MIN } from "./geometry.js";

const VERSION = 1;
const SUITE = 1;
const FLAGS = 0;

/**
 * @typedef {object} ShareKeys
 * @property {CryptoKey} chunk
 * @property {CryptoKey} metadata
 * @property {Uint8Array<ArrayBuffer>} commit
 */

/** A header that cannot be read here. */
export class HeaderError extends Error {
  /** @param {"newer" | "chunk-size"} kind */
  constructor(kind) {
    super(kind === "newer" ? "made by a newer parcelry" : "the chunk size is out of bounds");
    this.name = "HeaderError";
    this.kind = kind;
  }
}

/**
 * The four bytes that open a manifest and enter every key.
 * @param {number} log2
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function makeHeader(log2) {
  return new Uint8Array([VERSION, SUITE, log2, FLAGS]);
}

/**
 * @param {Uint8Array} header four bytes
 * @returns {number} log2 of the chunk size
 */
export function parseHeader(header) {
  const [version, suite, log2, flags] = header;
  if (version !== VERSION || suite !== SUITE || flags !== FLAGS) throw new HeaderError("newer");
  if (log2 < CHUNK_LOG2_MIN || log2 > CHUNK_LOG2_MAX) throw new HeaderError("chunk-size");
  return log2;
}

/**
 * @param {Uint8Array<ArrayBuffer>} secret
 * @param {Uint8Array<ArrayBuffer>} salt
 * @param {Uint8Array} header
 * @returns {Promise<ShareKeys>}
 */
export async function deriveKeys(secret, salt, header) {
  const [chunk, metadata, commit] = await Promise.all(
    ["chunk", "metadata", "commit"].map((label) => hkdf(secret, salt, `parcelry/1 ${label}`, header)),
  );
  return { chunk: await gcmKey(chunk), metadata: await gcmKey(metadata), commit };
}

/**
 * The token that reads a share.
 * @param {Uint8Array<ArrayBuffer>} secret
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export function deriveAccess(secret) {
  return hkdf(secret, new Uint8Array(), "parcelry/1 access", new Uint8Array());
}

/**
 * @param {Uint8Array<ArrayBuffer>} secret
 * @param {Uint8Array<ArrayBuffer>} salt
 * @param {string} label
 * @param {Uint8Array} suffix
 */
async function hkdf(secret, salt, label, suffix) {
  const info = new Uint8Array([...new TextEncoder().encode(label), ...suffix]);
  const key = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, 256));
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function gcmKey(bytes) {
  const key = await crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt", "decrypt"]);
  bytes.fill(0);
  return key;
}
