// Lower-case hexadecimal, as formats.md wants it: two digits for each byte, nothing else.

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function encodeHex(bytes) {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/**
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>} Throws a SyntaxError for anything but pairs of lower-case digits.
 */
export function decodeHex(text) {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) throw new SyntaxError("not lower-case hexadecimal");
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}
