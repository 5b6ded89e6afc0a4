// Signing in and out. The token goes to the tracker, which answers with a cookie that scripts cannot read, and with a
// secret that no other site can.

import { ApiError } from "../transfer/api.js";
import { adminCall, askOtherTabs, keepSecret, sessionSecret } from "./secret.js";
import { byId } from "../page/dom.js";
import { duration } from "../page/words.js";
import { texts } from "./texts.js";
import { isRefusal, setText } from "./parts.js";

/** What a tracker that does not say how long to wait is given. */
const WAIT_MS = 10_000;

/**
 * Wires the form and the button.
 * @param {() => void} begun somebody is signed in
 * @param {() => void} over nobody is any more
 */
export function wireSession(begun, over) {
  const form = byId("sign-in-form");
  const token = /** @type {HTMLInputElement} */ (byId("token"));
  const button = /** @type {HTMLButtonElement} */ (byId("sign-in-button"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = token.value.trim();
    if (value === "") return problem(texts.session.empty);
    button.disabled = true;
    problem("");
    try {
      const { secret } = await adminCall("POST", "/v1/session", { json: { token: value } });
      keepSecret(secret);
      token.value = "";
      begun();
    } catch (error) {
      problem(reason(error));
      if (error instanceof ApiError && error.status === 429) await new Promise((done) => setTimeout(done, error.retryAfterMs ?? WAIT_MS));
    }
    button.disabled = false;
  });
  byId("sign-out").addEventListener("click", async () => {
    signOutProblem("");
    try {
      await adminCall("DELETE", "/v1/session");
    } catch (error) {
      // As long as the tracker knows the session, the cookie opens it to whoever uses this browser next.
      if (!isRefusal(error)) return signOutProblem(texts.session.stillOpen);
    }
    keepSecret("");
    over();
  });
}

/**
 * Whether somebody is signed in; null if the tracker does not answer.
 * @returns {Promise<boolean|null>}
 */
export async function isSignedIn() {
  await askOtherTabs();
  if (sessionSecret() === "") return false;
  try {
    await adminCall("GET", "/v1/session");
    return true;
  } catch (error) {
    return error instanceof ApiError && error.status > 0 && error.status < 500 && error.status !== 429 ? false : null;
  }
}

/**
 * Shows the form, with a reason.
 * @param {string} text
 */
export function askForToken(text) {
  byId("sign-in").hidden = false;
  signOutProblem("");
  problem(text);
  byId("token").focus();
}

/** @param {string} text */
function problem(text) {
  setText(byId("sign-in-problem"), text);
}

/** @param {string} text */
function signOutProblem(text) {
  setText(byId("sign-out-problem"), text);
}

/** @param {unknown} error */
function reason(error) {
  if (!(error instanceof ApiError)) return texts.session.unreachable;
  if (error.status === 429) return texts.session.wait(duration(error.retryAfterMs ?? WAIT_MS));
  return error.status >= 400 && error.status < 500 ? texts.session.refused : texts.session.unreachable;
}
