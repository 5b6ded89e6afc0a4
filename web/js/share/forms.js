// The two fields of the home page that take something pasted: an invite, and a link that somebody sent.

import { ApiError } from "../transfer/api.js";
import { byId } from "../page/dom.js";
import { LinkError, parseInviteFragment, parseLink } from "../format/link.js";
import { ElsewhereError, forgetSender, keepSender, keptSender, maySend, readInvite } from "./token.js";
import { texts } from "./texts.js";

/** @typedef {import("./token.js").Sender} Sender */

/** Takes the invite of the address bar, and those that are pasted. */
export function startTokenForm() {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (byId("token-input"));
    const text = input.value.trim();
    if (text) void takeSender(() => readInvite(text, location.host)).then((taken) => { if (taken) input.value = ""; });
    else refuseSender(texts.token.empty);
  });
  byId("token-forget").addEventListener("click", () => {
    forgetSender();
    showSender();
    byId("token-input").focus();
  });
  showSender();
  takeInvite();
  // One that is put into the address bar of this page does not load it again.
  addEventListener("hashchange", takeInvite);
}

/** Shows why there is no sender, where one can be given. @param {string} reason */
export function refuseSender(reason) {
  showSender();
  byId("token-problem").textContent = reason;
  byId("token-input").focus();
}

/** Opens a pasted link if it leads here. */
export function startLinkForm() {
  byId("link-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = /** @type {HTMLInputElement} */ (byId("link-input")).value.trim();
    const problem = text ? openLink(text) : texts.link.empty;
    byId("link-problem").textContent = problem ?? "";
  });
}

/** Null if it leads here, and is opened. @param {string} text */
function openLink(text) {
  try {
    const { host, share } = parseLink(text);
    if (host !== location.host) return texts.link.elsewhere(host);
    location.assign(`/s/${share}${text.slice(text.indexOf("#"))}`);
    return null;
  } catch (error) {
    if (error instanceof LinkError) return texts.link.malformed;
    throw error;
  }
}

/** Takes the invite of the address bar, if there is one: here, other fragments are none of ours. */
function takeInvite() {
  const fragment = location.hash.slice(1);
  if (location.pathname !== "/join" && !fragment.startsWith("1.")) return;
  // It leaves the address bar before anything else is done with it.
  history.replaceState(null, "", "/");
  if (fragment && !keptSenderIs(fragment)) void takeSender(() => parseInviteFragment(fragment));
}

/** @param {() => Sender} read @returns {Promise<boolean>} */
async function takeSender(read) {
  const button = /** @type {HTMLButtonElement} */ (byId("token-save"));
  byId("token-problem").textContent = "";
  button.disabled = true;
  try {
    const sender = read();
    const isTaken = await maySend(sender.token);
    if (isTaken) keepSender(sender);
    else forgetSender();
    showSender();
    byId("token-problem").textContent = isTaken ? "" : texts.token.denied;
    return isTaken;
  } catch (error) {
    byId("token-problem").textContent = error instanceof ElsewhereError ? texts.token.elsewhere(error.host)
      : error instanceof LinkError ? texts.token.malformed
        : error instanceof ApiError && error.kind === "gateway-closed" ? texts.failed[error.kind]
          : texts.failed.network;
    return false;
  } finally {
    button.disabled = false;
  }
}

/** @param {string} fragment */
function keptSenderIs(fragment) {
  return fragment.endsWith(`.${keptSender()?.token}`);
}

/** Shows the field, or that there is an invite. */
function showSender() {
  const isKept = keptSender() !== null;
  byId("token-form").hidden = isKept;
  byId("token-kept").hidden = !isKept;
  byId("token-status").textContent = isKept ? texts.token.kept : "";
}
