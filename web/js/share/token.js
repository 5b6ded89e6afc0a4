// What lets this page share: a sender's token, and the tracker's id that links carry. Kept for this tab only.

import { ApiError, call } from "../transfer/api.js";
import { isId, parseInvite } from "../format/link.js";
import { makeOwner, ownersToken } from "../format/owner.js";

/**
 * @typedef {object} Sender
 * @property {string} token
 * @property {string | null} trackerId null if only the token was given
 */

/** An invite for another swarm. */
export class ElsewhereError extends Error {
  /** @param {string} host */
  constructor(host) {
    super(`it is for ${host}`);
    this.host = host;
  }
}

const KEY = "parcelry.sender";
/** For browsers that keep nothing. @type {Sender | null} */
let sender = null;

/** @returns {Sender | null} */
export function keptSender() {
  try {
    sender ??= JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    // Storage is switched off: the variable has to do.
  }
  return sender;
}

/** @param {Sender} kept */
export function keepSender(kept) {
  sender = kept;
  try {
    sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // As above.
  }
}

export function forgetSender() {
  sender = null;
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // As above.
  }
}

/**
 * What was pasted: an invite link for this host, or a bare token. Throws an {@link ElsewhereError}, or a LinkError.
 * @param {string} text @param {string} host
 * @returns {Sender}
 */
export function readInvite(text, host) {
  if (isId(text)) return { token: text, trackerId: null };
  const invite = parseInvite(text);
  if (invite.host !== host) throw new ElsewhereError(invite.host);
  return { token: invite.token, trackerId: invite.trackerId };
}

/**
 * Whether the tracker lets the token share. Only a sender's call tells: this one is refused by the token, or, once that
 * is accepted, by its empty body; so it never begins an upload. The share that it names has a key for this call only.
 * @param {string} token
 * @returns {Promise<boolean>} Rejects with an ApiError if there was no answer, or if no browser may share.
 */
export async function maySend(token) {
  const nobody = await makeOwner();
  try {
    const { id } = await call("GET", "/healthz");
    const owner = await ownersToken(nobody, "open", String(id), token);
    await call("POST", `/v1/shares/${nobody.share}/upload`, { bearer: token, owner, json: {} });
    return true;
  } catch (error) {
    if (!(error instanceof ApiError) || ["network", "gateway-closed"].includes(error.kind)) throw error;
    return error.status !== 403;
  }
}
