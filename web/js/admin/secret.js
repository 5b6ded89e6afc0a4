// The page's part of the session. The browser sends the cookie to every port of the tracker's host; this secret is
// known to pages of the tracker's own origin only, and goes with each call beside it. It is kept for the tab, and tabs
// of the page give it to each other.

import { call } from "../transfer/api.js";

/** @typedef {import("../transfer/api.js").CallOptions} CallOptions */

const KEY = "parcelry.session";
const CHANNEL = "parcelry.session";
/** Other tabs answer at once, if there are any. */
const ANSWER_MS = 300;

/** @type {string|null} */
let known = null;

/** The secret, or an empty text if nobody is signed in. */
export function sessionSecret() {
  return known ?? stored()?.getItem(KEY) ?? "";
}

/** @param {string} secret an empty text forgets it */
export function keepSecret(secret) {
  known = secret;
  if (secret === "") stored()?.removeItem(KEY);
  else stored()?.setItem(KEY, secret);
}

/**
 * A call of the admin, by cookie and secret.
 * @param {string} method
 * @param {string} path
 * @param {CallOptions} [options]
 * @returns {Promise<any>}
 */
export function adminCall(method, path, options = {}) {
  return call(method, path, { ...options, session: sessionSecret() });
}

/** Gives the secret to other tabs of this page that ask for it. */
export function answerOtherTabs() {
  const channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = ({ data }) => {
    if (data === "who is signed in?" && sessionSecret() !== "") channel.postMessage({ secret: sessionSecret() });
  };
  return channel;
}

/** Asks other tabs of this page for the secret, if this one has none. */
export async function askOtherTabs() {
  if (sessionSecret() !== "") return;
  const channel = new BroadcastChannel(CHANNEL);
  /** @type {Promise<string>} */
  const answer = new Promise((resolve) => {
    setTimeout(resolve, ANSWER_MS, "");
    channel.onmessage = ({ data }) => {
      if (typeof data?.secret === "string") resolve(data.secret);
    };
  });
  channel.postMessage("who is signed in?");
  keepSecret(await answer);
  channel.close();
}

/** Browsers may refuse to keep anything; then a reload ends the session for this tab. */
function stored() {
  try {
    return globalThis.sessionStorage;
  } catch {
    return undefined;
  }
}
