// What the operator can have done: each action as one call, its outcome as an event or a message.

import { adminCall } from "./secret.js";
import { byId } from "../page/dom.js";
import { texts } from "./texts.js";
import { isRefusal, reasonOf, setText, short } from "./parts.js";
import { ask } from "./dialog.js";
import { masked } from "./state.js";

/** @typedef {import("./state.js").Event} Event */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Peer} Peer */
/** @typedef {import("./state.js").Invite} Invite */
/** @typedef {import("./state.js").Allowance} Allowance */
/** @typedef {ReturnType<typeof makeActions>} Actions */

/** Shares of a page. */
const PAGE = 100;

/**
 * @param {(event: Event) => void} tell
 * @param {() => State} stateNow
 * @param {() => void} ended the session is over
 */
export function makeActions(tell, stateNow, ended) {
  /** Counts sign-outs: an answer to somebody who has left is thrown away. */
  let session = 0;
  /** Shares are loaded one load after another: two at once would list some twice, or lose some. */
  let loads = Promise.resolve();

  /**
   * A call of the admin. A refusal means that the session ended.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [json]
   * @returns {Promise<any>}
   */
  async function admin(method, path, json) {
    const asked = session;
    try {
      const answer = await adminCall(method, path, json === undefined ? {} : { json });
      if (asked === session) return answer;
    } catch (error) {
      if (asked === session && isRefusal(error)) ended();
      throw error;
    }
    throw new Error("signed out");
  }

  /**
   * Runs work whose failure is shown in an element.
   * @param {string} problem its id
   * @param {() => Promise<void>} work
   */
  async function shown(problem, work) {
    const asked = session;
    let text = "";
    try {
      await work();
    } catch (error) {
      text = texts.errors.failed(reasonOf(error));
    }
    if (asked === session) setText(byId(problem), text);
  }

  /** @param {() => Promise<void>} work */
  function inTurn(work) {
    const asked = session;
    loads = loads.then(() => (asked === session ? shown("shares-problem", work) : undefined));
    return loads;
  }

  /** @param {string|null} after */
  const page = (after) => admin("GET", `/v1/shares?limit=${PAGE}${after === null ? "" : `&after=${encodeURIComponent(after)}`}`);

  const invites = async () => {
    const { invites: all } = await admin("GET", "/v1/invites");
    tell({ type: "invites", data: { invites: all.map((/** @type {Invite} */ one) => ({ ...one, name: String(masked("", one.name)) })) } });
  };

  return {
    /** What is under way is of no interest any more. */
    leave() {
      session += 1;
      loads = Promise.resolve();
    },

    /**
     * The one thing that can be done with this peer now.
     * @param {Peer} peer
     * @param {string} name
     */
    ofPeer({ id, state, draining }, name) {
      const path = `/v1/peers/${encodeURIComponent(id)}`;
      if (state === "dead") {
        ask(texts.confirm.forget(name), async () => {
          await admin("DELETE", path);
          tell({ type: "forgotten", id });
        });
      } else void shown("peers-problem", () => admin("PUT", `${path}/drain`, { draining: draining === null }));
    },

    /** The first page, or as many as were loaded before. */
    loadShares: () =>
      inTurn(async () => {
        const wanted = stateNow().shares?.rows.length ?? 0;
        let data = await page(null);
        const rows = [...data.shares];
        while (data.next !== null && rows.length < wanted) {
          data = await page(data.next);
          rows.push(...data.shares);
        }
        tell({ type: "shares", data: { shares: rows, next: data.next }, more: false });
      }),

    loadMoreShares: () =>
      inTurn(async () => {
        const next = stateNow().shares?.next ?? null;
        if (next !== null) tell({ type: "shares", data: await page(next), more: true });
      }),

    /** @param {string} share */
    takeDown(share) {
      ask(texts.confirm.takeDown(short(share)), async () => {
        await admin("DELETE", `/v1/shares/${encodeURIComponent(share)}`);
        tell({ type: "taken-down", share });
      });
    },

    loadInvites: () => shown("invite-problem", invites),

    /**
     * @param {{ role: string, name: string, expires_ms: number|null, allowance: Partial<Allowance> }} wanted
     * @param {(invite: string) => void} made is told the invite
     */
    makeInvite: (wanted, made) =>
      shown("invite-problem", async () => {
        made((await admin("POST", "/v1/invites", wanted)).invite);
        await invites();
      }),

    /** @param {Invite} invite */
    revoke({ id, name }) {
      ask(texts.confirm.revoke(name), async () => {
        await admin("DELETE", `/v1/invites/${encodeURIComponent(id)}`);
        await invites();
      });
    },
  };
}
