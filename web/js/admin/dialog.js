// Asks before something that cannot be taken back is done.

import { byId } from "../page/dom.js";
import { texts } from "./texts.js";
import { reasonOf, setText } from "./parts.js";

/**
 * Shows the question; on "yes" runs the work, and stays open with the reason if it fails.
 * @param {{ title: string, text: string, action: string }} question
 * @param {() => Promise<void>} work
 */
export function ask({ title, text, action }, work) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("confirm"));
  const yes = /** @type {HTMLButtonElement} */ (byId("confirm-yes"));
  const no = /** @type {HTMLButtonElement} */ (byId("confirm-no"));
  const problem = byId("confirm-problem");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(problem, "");
  setText(yes, action);
  yes.disabled = false;
  no.onclick = () => dialog.close();
  const answer = async () => {
    yes.disabled = true;
    let failure = "";
    try {
      await work();
    } catch (error) {
      failure = texts.errors.failed(reasonOf(error));
    }
    // By now, another question may stand here.
    if (yes.onclick !== answer) return;
    if (failure === "") return dialog.close();
    setText(problem, failure);
    yes.disabled = false;
  };
  yes.onclick = answer;
  dialog.showModal();
  // The harmless answer is the one that Enter gives.
  no.focus();
}

/** Closes an open question, as when the session ends. */
export function dismiss() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("confirm"));
  if (dialog.open) dialog.close();
}
