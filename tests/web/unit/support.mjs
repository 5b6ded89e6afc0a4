// What several tests of the web page's modules share: the vectors, a sound share, and its private key.

import { readFileSync } from "node:fs";

import { decodeHex } from "../../../web/js/format/hex.js";

const formats = new URL("../../formats/", import.meta.url);
export const vectors = JSON.parse(readFileSync(new URL("vectors.json", formats), "utf8")).vectors;
export const golden = JSON.parse(readFileSync(new URL("golden.json", formats), "utf8"));

/** The private key with this seed, as the browser's cryptography takes it: PKCS #8 (RFC 8410). */
export function privateKey(seedHex) {
  const pkcs8 = decodeHex(`302e020100300506032b657004220420${seedHex}`);
  return crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", false, ["sign"]);
}

/** The plain bytes of a vector's files, one after another. */
export function streamOf(vector) {
  return Buffer.concat(
    vector.files.map(({ content_hex: hex, size }) =>
      hex === null ? Buffer.from({ length: size }, (_, at) => (at * 7 + 3) % 256) : Buffer.from(hex, "hex"),
    ),
  );
}

/** The tracker's answer when something does not work. */
export function problem(kind, status) {
  return Response.json({ type: `urn:parcelry:problem:${kind}`, detail: kind }, { status });
}

export const hex = (bytes) => Buffer.from(bytes).toString("hex");
