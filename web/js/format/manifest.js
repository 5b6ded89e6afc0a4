// The manifest: the signed list of a share's chunks, with the sealed metadata inside.
//
//   "PRCL" | header 4 | salt 32 | COMMIT 32 | share id 32 | total u64be | n u32be | n chunk ids of 32
//   | length u32be | sealed metadata | Ed25519 signature 64

import { decodeExactly } from "./base64url.js";
import { makeSignature, verifySignature } from "./ed25519.js";
import { Geometry, TAG_BYTES } from "./geometry.js";
import { HeaderError, deriveKeys, makeHeader, parseHeader } from "./keys.js";
import { METADATA_BYTES_MAX, MetadataError, NameError, parseMetadata } from "./metadata.js";

const MAGIC = new TextEncoder().encode("PRCL");
const CONTEXT = new TextEncoder().encode("parcelry/1 manifest\0");
const SALT_AT = 8;
const COMMIT_AT = 40;
const SHARE_AT = 72;
const TOTAL_AT = 104;
const COUNT_AT = 112;
const CHUNKS_AT = 116;
const SIGNATURE_BYTES = 64;

/** @typedef {import("./keys.js").ShareKeys} ShareKeys */
/** @typedef {import("./metadata.js").Metadata} Metadata */
/**
 * @typedef {"magic" | "newer" | "chunk-size" | "length" | "chunk-count" | "other-share" | "signature" | "commitment" |
 *   "sealed" | "metadata" | "name"} ManifestProblem
 */

/** Bytes that are no manifest of the share, or that its secret does not open. */
export class ManifestError extends Error {
  /**
   * @param {ManifestProblem} kind
   * @param {unknown} [cause]
   */
  constructor(kind, cause) {
    super(`the manifest is refused: ${kind}`, { cause });
    this.name = "ManifestError";
    this.kind = kind;
  }
}

/**
 * A manifest whose signature is the share's.
 * @typedef {object} Manifest
 * @property {Uint8Array<ArrayBuffer>} encoded
 * @property {Geometry} geometry
 */

/**
 * @param {Uint8Array<ArrayBuffer>} encoded
 * @param {string} shareId
 * @returns {Promise<Manifest>} Rejects with a ManifestError.
 */
export async function decodeManifest(encoded, shareId) {
  const geometry = parse(encoded);
  const share = decodeExactly(shareId, 32);
  if (!equal(encoded.subarray(SHARE_AT, TOTAL_AT), share)) throw new ManifestError("other-share");
  const signedEnd = encoded.length - SIGNATURE_BYTES;
  const message = inContext(encoded.subarray(0, signedEnd));
  if (!(await verifySignature(share, encoded.slice(signedEnd), message))) throw new ManifestError("signature");
  return { encoded, geometry };
}

/**
 * Derives the share's keys from the link's secret, checks that it is the right one, and opens the metadata.
 * @param {Manifest} manifest
 * @param {Uint8Array<ArrayBuffer>} secret
 * @returns {Promise<{keys: ShareKeys, metadata: Metadata}>} Rejects with a ManifestError.
 */
export async function openMetadata({ encoded, geometry }, secret) {
  const keys = await deriveKeys(secret, encoded.slice(SALT_AT, COMMIT_AT), encoded.subarray(4, 8));
  if (!equal(keys.commit, encoded.subarray(COMMIT_AT, SHARE_AT))) throw new ManifestError("commitment");
  const prefixEnd = CHUNKS_AT + 32 * geometry.chunkCount;
  const sealed = encoded.subarray(prefixEnd + 4, encoded.length - SIGNATURE_BYTES);
  let json;
  try {
    json = await crypto.subtle.decrypt(sealing(encoded.subarray(0, prefixEnd)), keys.metadata, sealed);
  } catch (error) {
    throw new ManifestError("sealed", error);
  }
  try {
    return { keys, metadata: parseMetadata(new Uint8Array(json), geometry) };
  } catch (error) {
    if (error instanceof NameError) throw new ManifestError("name", error);
    if (error instanceof MetadataError) throw new ManifestError("metadata", error);
    throw error;
  }
}

/**
 * Seals the metadata into a manifest and signs it. Do this once for each run: the metadata's nonce is fixed.
 * @param {object} parts
 * @param {Geometry} parts.geometry
 * @param {Uint8Array} parts.salt
 * @param {ShareKeys} parts.keys
 * @param {Uint8Array} parts.share the public key
 * @param {Uint8Array} parts.chunkIds 32 bytes for each chunk, in order
 * @param {Uint8Array<ArrayBuffer>} parts.metadata JSON
 * @param {CryptoKey} privateKey
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function encodeManifest({ geometry, salt, keys, share, chunkIds, metadata }, privateKey) {
  if (chunkIds.length !== 32 * geometry.chunkCount) throw new RangeError("one id for each chunk");
  const prefixEnd = CHUNKS_AT + chunkIds.length;
  const sealedLength = metadata.length + TAG_BYTES;
  const encoded = new Uint8Array(prefixEnd + 4 + sealedLength + SIGNATURE_BYTES);
  const view = new DataView(encoded.buffer);
  encoded.set(MAGIC);
  encoded.set(makeHeader(geometry.log2), 4);
  encoded.set(salt, SALT_AT);
  encoded.set(keys.commit, COMMIT_AT);
  encoded.set(share, SHARE_AT);
  view.setBigUint64(TOTAL_AT, BigInt(geometry.total));
  view.setUint32(COUNT_AT, geometry.chunkCount);
  encoded.set(chunkIds, CHUNKS_AT);
  view.setUint32(prefixEnd, sealedLength);
  const sealed = await crypto.subtle.encrypt(sealing(encoded.subarray(0, prefixEnd)), keys.metadata, metadata);
  encoded.set(new Uint8Array(sealed), prefixEnd + 4);
  const signedEnd = encoded.length - SIGNATURE_BYTES;
  encoded.set(await makeSignature(privateKey, inContext(encoded.subarray(0, signedEnd))), signedEnd);
  return encoded;
}

/**
 * Checks everything about the bytes but their signature.
 * @param {Uint8Array<ArrayBuffer>} encoded
 * @returns {Geometry}
 */
function parse(encoded) {
  if (!MAGIC.every((byte, at) => encoded[at] === byte)) throw new ManifestError("magic");
  if (encoded.length < 8) throw new ManifestError("length");
  // The header before any length: what a newer version looks like behind it is not known.
  let log2;
  try {
    log2 = parseHeader(encoded.subarray(4, 8));
  } catch (error) {
    throw new ManifestError(error instanceof HeaderError ? error.kind : "magic", error);
  }
  if (encoded.length < CHUNKS_AT + 4) throw new ManifestError("length");
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const geometry = Geometry.of(Number(view.getBigUint64(TOTAL_AT)), log2);
  if (!geometry || geometry.chunkCount !== view.getUint32(COUNT_AT)) throw new ManifestError("chunk-count");
  const lengthAt = CHUNKS_AT + 32 * geometry.chunkCount;
  if (encoded.length < lengthAt + 4) throw new ManifestError("length");
  const sealedLength = view.getUint32(lengthAt);
  const isBounded = sealedLength >= TAG_BYTES && sealedLength <= METADATA_BYTES_MAX + TAG_BYTES;
  if (!isBounded || encoded.length !== lengthAt + 4 + sealedLength + SIGNATURE_BYTES) throw new ManifestError("length");
  return geometry;
}

/**
 * A constant nonce is sound: each run has a fresh key, which seals one metadata only.
 * @param {Uint8Array<ArrayBuffer>} additionalData
 */
function sealing(additionalData) {
  return { name: "AES-GCM", iv: new Uint8Array(12), additionalData };
}

/** @param {Uint8Array} signed */
function inContext(signed) {
  const message = new Uint8Array(CONTEXT.length + signed.length);
  message.set(CONTEXT);
  message.set(signed, CONTEXT.length);
  return message;
}

/**
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 */
function equal(a, b) {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
