// Ed25519 by the browser, with the strictness that formats.md asks for: no small-order keys, canonical encodings
// only. Browsers differ in what they refuse, so the encodings that must not pass are refused here.

import { decodeHex, encodeHex } from "./hex.js";

/** The y coordinates of the points of small order, canonical, without the sign bit; little-endian. */
const SMALL_ORDER = [
  `01${"00".repeat(31)}`,
  `ec${"ff".repeat(30)}7f`,
  "00".repeat(32),
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

/**
 * Whether these 32 bytes encode a point in canonical form that is not of small order; that they lie on the curve is
 * left to the browser.
 * @param {Uint8Array} point
 */
export function isSoundPoint(point) {
  const y = Uint8Array.from(point);
  y[31] &= 0x7f;
  const abovePrime = y[0] >= 0xed && y.subarray(1, 31).every((byte) => byte === 0xff) && y[31] === 0x7f;
  return !abovePrime && !SMALL_ORDER.includes(encodeHex(y));
}

/**
 * @param {Uint8Array<ArrayBuffer>} publicKey
 * @param {Uint8Array<ArrayBuffer>} signature
 * @param {Uint8Array<ArrayBuffer>} message
 * @returns {Promise<boolean>}
 */
export async function verifySignature(publicKey, signature, message) {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  if (!isSoundPoint(publicKey) || !isSoundPoint(signature.subarray(0, 32))) return false;
  let key;
  try {
    key = await crypto.subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]);
  } catch (error) {
    // A browser without Ed25519 must not look like a wrong signature.
    if (error instanceof DOMException && error.name === "NotSupportedError") throw error;
    return false;
  }
  return crypto.subtle.verify("Ed25519", key, signature, message);
}

/**
 * @param {CryptoKey} privateKey
 * @param {Uint8Array<ArrayBuffer>} message
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function makeSignature(privateKey, message) {
  return new Uint8Array(await crypto.subtle.sign("Ed25519", privateKey, message));
}

/**
 * Whether this browser has all the cryptography that the page needs.
 * @returns {Promise<"ok" | "insecure" | "old">}
 */
export async function cryptographySupport() {
  if (!globalThis.crypto?.subtle) return globalThis.isSecureContext === false ? "insecure" : "old";
  try {
    // The public key of RFC 8032's first test.
    const key = decodeHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
    return "ok";
  } catch {
    return "old";
  }
}
