/** What the operator can have done: each action as one call, its outcome as an event or a message. */
import { ApiError, call } from "./api.js";
import { byId } from "./dom.js";
import { texts } from "./texts-admin.js";
import { reasonOf, setText, short } from "./admin-parts.js";
import { ask } from "./admin-dialog.js";
import { printable } from "./admin-state.js";

/** @typedef {import("./admin-state.js").Event} Event */
/** @typedef {import("./admin-state.js").State} State */
/** @typedef {import("./admin-state.js").Peer} Peer */
/** @typedef {import("./admin-state.js").Invite} Invite */
/** @typedef {ReturnType<typeof makeActions>} Actions */

/** Shares of a page. */
const PAGE = 100;

/**
 * @param {(event: Event) => void} tell
 * @param {() => State} stateNow
 * @param {() => void} ended the session is over
 */
export function makeActions(tell, stateNow, ended) {
  /**
   * A call by cookie. A refusal means that the session ended.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [json]
   * @returns {Promise<any>}
   */
  async function admin(method, path, json) {
    try {
      return await call(method, path, json === undefined ? {} : { json });
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) ended();
      throw error;
    }
  }

  /**
   * Runs work whose failure is shown in an element.
   * @param {string} problem its id
   * @param {() => Promise<void>} work
   */
  async function shown(problem, work) {
    const node = byId(problem);
    try {
      await work();
      setText(node, "");
    } catch (error) {
      setText(node, texts.errors.failed(reasonOf(error)));
    }
  }

  /** @param {string|null} after */
  const page = (after) => admin("GET", `/v1/shares?limit=${PAGE}${after === null ? "" : `&after=${encodeURIComponent(after)}`}`);

  const invites = async () => {
    const { invites: all } = await admin("GET", "/v1/invites");
    tell({ type: "invites", data: { invites: all.map((/** @type {Invite} */ one) => ({ ...one, name: String(printable("", one.name)) })) } });
  };

  return {
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
      shown("shares-problem", async () => {
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
      shown("shares-problem", async () => {
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
     * @param {{ role: string, name: string, expires_ms: number|null }} wanted
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
