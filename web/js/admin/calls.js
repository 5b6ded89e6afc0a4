// The admin's calls to the tracker, within one session: an answer to somebody who has left is thrown away.

import { adminCall } from "./secret.js";
import { byId } from "../page/dom.js";
import { texts } from "./texts.js";
import { isRefusal, reasonOf, setText } from "./parts.js";

export class Calls {
  #ended;
  /** Counts sign-outs. */
  #session = 0;
  #queue = Promise.resolve();

  /** @param {() => void} ended the session is over */
  constructor(ended) {
    this.#ended = ended;
  }

  /** What is under way is of no interest any more. */
  leave() {
    this.#session += 1;
    this.#queue = Promise.resolve();
  }

  /**
   * A call of the admin. A refusal means that the session ended.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [json]
   * @returns {Promise<any>}
   */
  async admin(method, path, json) {
    const asked = this.#session;
    try {
      const answer = await adminCall(method, path, json === undefined ? {} : { json });
      if (asked === this.#session) return answer;
    } catch (error) {
      if (asked === this.#session && isRefusal(error)) this.#ended();
      throw error;
    }
    throw new Error("signed out");
  }

  /**
   * Runs work whose failure is shown in an element.
   * @param {string} problem its id
   * @param {() => Promise<void>} work
   */
  async shown(problem, work) {
    const asked = this.#session;
    let text = "";
    try {
      await work();
    } catch (error) {
      text = texts.errors.failed(reasonOf(error));
    }
    if (asked === this.#session) setText(byId(problem), text);
  }

  /**
   * The same, after all that was given here before: no two run at once.
   * @param {string} problem
   * @param {() => Promise<void>} work
   */
  inTurn(problem, work) {
    const asked = this.#session;
    this.#queue = this.#queue.then(() => (asked === this.#session ? this.shown(problem, work) : undefined));
    return this.#queue;
  }
}
