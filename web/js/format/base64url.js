// base64url without padding (RFC 4648 section 5), canonical only. Manifests come in it, up to 90 MiB of text,
// so the browser's own decoder is used where there is one.

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const NONE = 255;
const VALUES = new Uint8Array(128).fill(NONE);
for (let value = 0; value < 64; value++) VALUES[ALPHABET.charCodeAt(value)] = value;

/** @typedef {{fromBase64?: (text: string, options: object) => Uint8Array<ArrayBuffer>}} NativeDecoder */
/** @typedef {{toBase64?: (options: object) => string}} NativeEncoder */

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function encodeBase64url(bytes) {
  const native = /** @type {NativeEncoder} */ (/** @type {unknown} */ (bytes));
  if (native.toBase64) return native.toBase64({ alphabet: "base64url", omitPadding: true });
  return encodeByTable(bytes);
}

/**
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>} Throws a SyntaxError for padding, other alphabets and stray bits.
 */
export function decodeBase64url(text) {
  const native = /** @type {NativeDecoder} */ (/** @type {unknown} */ (Uint8Array));
  if (!native.fromBase64) return decodeByTable(text);
  // The native decoder skips white space and takes padding: neither is canonical.
  if (/[^A-Za-z0-9_-]/.test(text)) throw new SyntaxError("not base64url");
  const padding = "=".repeat((4 - (text.length % 4)) % 4);
  return native.fromBase64(text + padding, { alphabet: "base64url", lastChunkHandling: "strict" });
}

/**
 * Decodes a text that must stand for exactly `length` bytes: an id, a secret, a token.
 * @param {string} text
 * @param {number} length
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function decodeExactly(text, length) {
  const bytes = text.length === Math.ceil((length * 4) / 3) ? decodeBase64url(text) : null;
  if (bytes === null) throw new SyntaxError(`not ${length} bytes in base64url`);
  return bytes;
}

/**
 * The encoder for browsers that have none; exported for its test.
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function encodeByTable(bytes) {
  const parts = [];
  // Whole groups of three bytes at a time, so that parts can be joined; small enough for one call.
  for (let at = 0; at < bytes.length; at += 24_576) {
    const part = String.fromCharCode(...bytes.subarray(at, at + 24_576));
    parts.push(btoa(part).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", ""));
  }
  return parts.join("");
}

/**
 * The decoder for browsers that have none; exported for its test.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function decodeByTable(text) {
  const tail = text.length % 4;
  if (tail === 1) throw new SyntaxError("not base64url: cut off");
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let bits = 0;
  let held = 0;
  let to = 0;
  for (let from = 0; from < text.length; from++) {
    const code = text.charCodeAt(from);
    const value = code < 128 ? VALUES[code] : NONE;
    if (value === NONE) throw new SyntaxError("not base64url");
    bits = (bits << 6) | value;
    held += 6;
    if (held >= 8) {
      held -= 8;
      bytes[to++] = bits >> held;
      bits &= (1 << held) - 1;
    }
  }
  if (bits !== 0) throw new SyntaxError("not base64url: stray bits at the end");
  return bytes;
}
