// The terms of a share: what may change about it after it was published, signed by the share's key.

import { decodeExactly } from "./base64url.js";
import { TokenError, signToken, verifyToken } from "./paseto.js";

const PURPOSE = "parcelry/1 terms";
const TOKEN_BYTES_MAX = 2048;
const REPLICAS_MAX = 16;
const FIELDS = ["share", "issued_ms", "expires_ms", "replicas", "access_sha256", "deleted"];

/**
 * @typedef {object} Terms
 * @property {string} share share id
 * @property {number} issued_ms
 * @property {number} expires_ms
 * @property {number} replicas
 * @property {string} access_sha256 SHA-256(ACCESS), base64url
 * @property {boolean} deleted
 */

/**
 * @param {string} token
 * @param {string} share share id
 * @returns {Promise<Terms>} Rejects with a TokenError.
 */
export async function verifyTerms(token, share) {
  const terms = await verifyToken(token, decodeExactly(share, 32), PURPOSE, TOKEN_BYTES_MAX);
  if (!isTerms(terms) || terms.share !== share) throw new TokenError("fields");
  return terms;
}

/**
 * @param {Terms} terms
 * @param {CryptoKey} privateKey the share's
 * @returns {Promise<string>} the token
 */
export function signTerms(terms, privateKey) {
  const { share, issued_ms, expires_ms, replicas, access_sha256, deleted } = terms;
  const payload = { share, issued_ms, expires_ms, replicas, access_sha256, deleted };
  return signToken(JSON.stringify(payload), privateKey, PURPOSE);
}

/**
 * Whether the share is over, by its time or by its owner.
 * @param {Terms} terms
 * @param {number} nowMs
 */
export function isOver(terms, nowMs) {
  return terms.deleted || terms.expires_ms <= nowMs;
}

/**
 * @param {any} value
 * @returns {value is Terms}
 */
function isTerms(value) {
  if (typeof value !== "object" || value === null || Object.keys(value).length !== FIELDS.length) return false;
  if (!FIELDS.every((field) => Object.hasOwn(value, field))) return false;
  /** @param {unknown} ms */
  const isTime = (ms) => Number.isSafeInteger(ms) && /** @type {number} */ (ms) >= 0;
  const { replicas } = value;
  if (!isTime(value.issued_ms) || !isTime(value.expires_ms) || typeof value.deleted !== "boolean") return false;
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > REPLICAS_MAX) return false;
  try {
    return decodeExactly(value.access_sha256, 32).length === 32;
  } catch {
    return false;
  }
}
