// A share that is safe: its link to copy or scan, and the owner's way to take it back.

import { ApiError, call } from "../transfer/api.js";
import { announce, byId } from "../page/dom.js";
import { encodeQr } from "../format/qr.js";
import { qrPicture } from "./qr-picture.js";
import { ownersTerms } from "./sealing.js";
import { texts } from "./texts.js";

/**
 * @typedef {object} Shared
 * @property {import("../format/owner.js").Owner} owner
 * @property {string} link
 * @property {string[]} peers
 * @property {number} expiresMs by the tracker's clock
 * @property {number} replicas
 * @property {number} clockAheadMs
 */

/**
 * Shows the share. To be called once for each share.
 * @param {Shared} shared
 */
export function showDone(shared) {
  const link = /** @type {HTMLInputElement} */ (byId("done-link"));
  const code = encodeQr(shared.link);
  byId("done-safe").textContent = texts.done.safe(shared.peers);
  byId("done-safe").dataset.level = "good";
  byId("done-expires").textContent = texts.done.expires(shared.expiresMs - shared.clockAheadMs);
  byId("done-command").textContent = texts.done.command(shared.link);
  byId("done-qr").replaceChildren(...(code ? [qrPicture(code, texts.done.qr)] : []));
  byId("done-copied").textContent = "";
  byId("done-problem").textContent = "";
  byId("done-live").hidden = false;
  byId("done-take-back").hidden = false;
  link.value = shared.link;
  byId("done-copy").onclick = () => copy(link);
  byId("done-take-back").onclick = () => takeBackAndTell(shared);
  byId("done-again").onclick = clearDone;
  announce(texts.done.safe(shared.peers));
}

/** Nothing of the share stays in the page. */
function clearDone() {
  /** @type {HTMLInputElement} */ (byId("done-link")).value = "";
  byId("done-command").textContent = "";
  byId("done-qr").replaceChildren();
  byId("done-copy").onclick = null;
  byId("done-take-back").onclick = null;
}

/**
 * Ends the share for good, if it is not over already.
 * @param {Pick<Shared, "owner" | "expiresMs" | "replicas" | "clockAheadMs">} shared
 */
export async function takeBack({ owner, expiresMs, replicas, clockAheadMs }) {
  const issuedMs = Date.now() + clockAheadMs;
  const terms = await ownersTerms(owner, { issuedMs, expiresMs, replicas, isDeleted: true });
  try {
    await call("PUT", `/v1/shares/${owner.share}/terms`, { json: { terms } });
  } catch (error) {
    // As when it was taken back before, and the answer was lost.
    if (!(error instanceof ApiError) || error.kind !== "share-gone") throw error;
  }
}

/** @param {Shared} shared */
async function takeBackAndTell(shared) {
  const button = /** @type {HTMLButtonElement} */ (byId("done-take-back"));
  button.disabled = true;
  byId("done-problem").textContent = "";
  try {
    await takeBack(shared);
    clearDone();
    button.hidden = true;
    byId("done-live").hidden = true;
    byId("done-safe").textContent = texts.done.takenBack;
    byId("done-safe").dataset.level = "warn";
    byId("done-title").focus();
    announce(texts.done.takenBack);
  } catch (error) {
    const isAnswer = error instanceof ApiError && error.kind !== "network";
    byId("done-problem").textContent = texts.done.notTakenBack(isAnswer ? error.detail : texts.failed.network);
  } finally {
    button.disabled = false;
  }
}

/** @param {HTMLInputElement} link */
async function copy(link) {
  let isCopied = true;
  await navigator.clipboard.writeText(link.value).catch(() => { isCopied = false; });
  if (!isCopied) link.select();
  byId("done-copied").textContent = isCopied ? texts.done.copied : texts.done.selected;
}
