// Sealing and opening of chunks: AES-256-GCM in the STREAM construction. The nonce carries the chunk's index and
// whether it is the last, so chunks cannot be moved, dropped or cut off unnoticed.

/** @typedef {import("./geometry.js").Geometry} Geometry */

/** Sealed bytes that do not open: they are not what the sender sealed at this place. */
export class OpenError extends Error {
  constructor() {
    super("the sealed bytes do not open under the share's key");
    this.name = "OpenError";
  }
}

/**
 * @param {Geometry} geometry
 * @param {number} index
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function chunkNonce(geometry, index) {
  geometry.plainRange(index); // Throws if there is no such chunk.
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setUint32(7, index);
  nonce[11] = geometry.isLast(index) ? 1 : 0;
  return nonce;
}

/**
 * One index must never be sealed with two contents under one key: the nonce depends on nothing else.
 * @param {CryptoKey} key
 * @param {Geometry} geometry
 * @param {number} index
 * @param {Uint8Array<ArrayBuffer>} plain
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function sealChunk(key, geometry, index, plain) {
  if (plain.length !== geometry.plainLength(index)) throw new RangeError("the chunk has another length");
  const iv = chunkNonce(geometry, index);
  return new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, plain));
}

/**
 * @param {CryptoKey} key
 * @param {Geometry} geometry
 * @param {number} index
 * @param {Uint8Array<ArrayBuffer>} sealed
 * @returns {Promise<Uint8Array<ArrayBuffer>>} Rejects with an OpenError if they are not what the sender sealed.
 */
export async function openChunk(key, geometry, index, sealed) {
  if (sealed.length !== geometry.sealedLength(index)) throw new OpenError();
  const iv = chunkNonce(geometry, index);
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv }, key, sealed));
  } catch (error) {
    // Anything else, as no memory left, is not the sender's fault.
    if (error instanceof DOMException && error.name === "OperationError") throw new OpenError();
    throw error;
  }
}
