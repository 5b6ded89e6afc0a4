// PASETO v4.public tokens: JSON signed with Ed25519 and bound to one purpose by the implicit assertion. One version,
// no footer: a token of any other kind is refused before its contents are looked at.

import { decodeBase64url, encodeBase64url } from "./base64url.js";
import { makeSignature, verifySignature } from "./ed25519.js";

const PREFIX = "v4.public.";
const SIGNATURE_BYTES = 64;

/** A token that is refused. */
export class TokenError extends Error {
  /** @param {"shape" | "signature" | "fields"} kind */
  constructor(kind) {
    super(`the token is refused: ${kind}`);
    this.name = "TokenError";
    this.kind = kind;
  }
}

/**
 * @param {string} payload JSON
 * @param {CryptoKey} privateKey
 * @param {string} purpose
 * @returns {Promise<string>}
 */
export async function signToken(payload, privateKey, purpose) {
  const message = new TextEncoder().encode(payload);
  const signature = await makeSignature(privateKey, encodeParts(message, purpose));
  return PREFIX + encodeBase64url(concatenate([message, signature]));
}

/**
 * @param {string} token
 * @param {Uint8Array<ArrayBuffer>} publicKey
 * @param {string} purpose
 * @param {number} bytesMax
 * @returns {Promise<unknown>} what the payload says
 */
export async function verifyToken(token, publicKey, purpose, bytesMax) {
  if (typeof token !== "string" || token.length > bytesMax || !token.startsWith(PREFIX)) throw new TokenError("shape");
  let body;
  try {
    body = decodeBase64url(token.slice(PREFIX.length));
  } catch {
    throw new TokenError("shape"); // A footer's dot is outside the alphabet, too.
  }
  if (body.length <= SIGNATURE_BYTES) throw new TokenError("shape");
  const message = body.slice(0, -SIGNATURE_BYTES);
  const signature = body.slice(-SIGNATURE_BYTES);
  if (!(await verifySignature(publicKey, signature, encodeParts(message, purpose)))) throw new TokenError("signature");
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(message));
  } catch {
    throw new TokenError("fields");
  }
}

/**
 * The pre-authentication encoding: how many parts, then each with its length, as little-endian 64-bit numbers.
 * @param {Uint8Array} message
 * @param {string} purpose
 */
function encodeParts(message, purpose) {
  const text = new TextEncoder();
  const parts = [text.encode(PREFIX), message, new Uint8Array(), text.encode(purpose)];
  return concatenate([littleEndian(parts.length), ...parts.flatMap((part) => [littleEndian(part.length), part])]);
}

/** @param {number} n */
function littleEndian(n) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, n, true);
  return bytes;
}

/** @param {Uint8Array[]} parts */
function concatenate(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
