// Whoever holds a share's key owns it. Owner's tokens are his word for one act at one server, to go with one credential.

import { encodeBase64url } from "./base64url.js";
import { signToken } from "./paseto.js";

const PURPOSE = "parcelry/1 owner";

/**
 * @typedef {object} Owner the keys of one share
 * @property {string} share share id: the public key
 * @property {CryptoKey} privateKey
 * @property {Uint8Array<ArrayBuffer>} secret
 */

/**
 * Fresh keys for a share.
 * @returns {Promise<Owner>}
 */
export async function makeOwner() {
  const pair = /** @type {CryptoKeyPair} */ (await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]));
  const share = encodeBase64url(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  return { share, privateKey: pair.privateKey, secret: crypto.getRandomValues(new Uint8Array(32)) };
}

/**
 * @param {Owner} owner
 * @param {"open" | "delegate"} act what a page asks of its tracker; the rest the tracker does in the owner's place
 * @param {string} trackerId whom the token is for
 * @param {string} credential the token of an invite to open, a grant to delegate
 * @returns {Promise<string>}
 */
export async function ownersToken({ share, privateKey }, act, trackerId, credential) {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(credential));
  const claims = { share, act, audience: trackerId, credential_sha256: encodeBase64url(new Uint8Array(hash)) };
  return signToken(JSON.stringify(claims), privateKey, PURPOSE);
}
