// A share that is being made: its keys, its chunks, and what completes it. What is sealed here leaves the browser,
// so this is where one index never gets two contents.

import { deriveAccess, deriveKeys, makeHeader } from "../format/keys.js";
import { decodeBase64url, encodeBase64url } from "../format/base64url.js";
import { TAG_BYTES } from "../format/geometry.js";
import { encodeManifest } from "../format/manifest.js";
import { sealChunk } from "../format/seal.js";
import { UnreadableFileError } from "./stream.js";
import { signTerms } from "../format/terms.js";

/** @typedef {import("../format/geometry.js").Geometry} Geometry */
/** @typedef {import("../format/owner.js").Owner} Owner */
/** @typedef {import("./stream.js").Part} Part */

/**
 * @typedef {object} Conditions
 * @property {number} issuedMs
 * @property {number} expiresMs
 * @property {number} replicas
 * @property {boolean} [isDeleted]
 */

/**
 * The share's terms, signed.
 * @param {Owner} owner @param {Conditions} conditions
 */
export async function ownersTerms({ share, privateKey, secret }, { issuedMs, expiresMs, replicas, isDeleted = false }) {
  const access = await deriveAccess(secret);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", access));
  const terms = {
    share,
    issued_ms: issuedMs,
    expires_ms: expiresMs,
    replicas,
    access_sha256: encodeBase64url(hash),
    deleted: isDeleted,
  };
  return signTerms(terms, privateKey);
}

/** Seals the chunks of one share, and completes it. */
export class Sealing {
  #owner;
  #geometry;
  #read;
  /** Fresh with every run, so the keys are. */
  #salt = crypto.getRandomValues(new Uint8Array(32));
  /** The tags of the chunks that were sealed: other bytes at the same index have another one. @type {Uint8Array} */
  #tags;
  #isSealed;
  /** @type {Promise<import("../format/keys.js").ShareKeys>} */
  #keys;

  /**
   * @param {Owner} owner @param {Geometry} geometry
   * @param {(start: number, end: number) => Promise<Part>} read a part of the stream
   */
  constructor(owner, geometry, read) {
    this.#owner = owner;
    this.#geometry = geometry;
    this.#read = read;
    this.#tags = new Uint8Array(TAG_BYTES * geometry.chunkCount);
    this.#isSealed = new Uint8Array(geometry.chunkCount);
    this.#keys = deriveKeys(owner.secret, this.#salt, makeHeader(geometry.log2));
  }

  /**
   * Reads a chunk's bytes and seals them. Throws {@link UnreadableFileError} if they cannot be read, or are others
   * than before: browsers do not always notice that a file has changed.
   * @param {number} index
   */
  async seal(index) {
    const { start, end } = this.#geometry.plainRange(index);
    const { bytes, path } = await this.#read(start, end);
    const sealed = await sealChunk((await this.#keys).chunk, this.#geometry, index, bytes);
    const tag = sealed.subarray(-TAG_BYTES);
    const known = this.#tags.subarray(TAG_BYTES * index, TAG_BYTES * (index + 1));
    if (this.#isSealed[index] && known.some((byte, at) => byte !== tag[at])) {
      throw new UnreadableFileError(path);
    }
    known.set(tag);
    this.#isSealed[index] = 1;
    return sealed;
  }

  /**
   * The manifest. To be called once: its metadata is sealed under a nonce that is always the same.
   * @param {Uint8Array} chunkIds 32 bytes each, in order
   * @param {Uint8Array<ArrayBuffer>} metadata JSON
   */
  async manifest(chunkIds, metadata) {
    const parts = { geometry: this.#geometry, salt: this.#salt, keys: await this.#keys };
    const share = decodeBase64url(this.#owner.share);
    return encodeManifest({ ...parts, share, chunkIds, metadata }, this.#owner.privateKey);
  }
}
