// What the operator can have done: each action as one call, its outcome as an event or a message.

import { texts } from "./texts.js";
import { short } from "./parts.js";
import { Calls } from "./calls.js";
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
  const calls = new Calls(ended);
  return {
    leave: () => calls.leave(),
    ...peerActions(calls, tell),
    ...shareActions(calls, tell, stateNow),
    ...inviteActions(calls, tell),
  };
}

/**
 * @param {Calls} calls
 * @param {(event: Event) => void} tell
 */
function peerActions(calls, tell) {
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
          await calls.admin("DELETE", path);
          tell({ type: "forgotten", id });
        });
      } else void calls.shown("peers-problem", () => calls.admin("PUT", `${path}/drain`, { draining: draining === null }));
    },
  };
}

/**
 * @param {Calls} calls
 * @param {(event: Event) => void} tell
 * @param {() => State} stateNow
 */
function shareActions(calls, tell, stateNow) {
  /** @param {string|null} after */
  const page = (after) => calls.admin("GET", `/v1/shares?limit=${PAGE}${after === null ? "" : `&after=${encodeURIComponent(after)}`}`);
  // One load after another: two at once would list some shares twice, or lose some.
  const load = (/** @type {() => Promise<void>} */ work) => calls.inTurn("shares-problem", work);
  return {
    /** The first page, or as many as were loaded before. */
    loadShares: () =>
      load(async () => {
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
      load(async () => {
        const next = stateNow().shares?.next ?? null;
        if (next !== null) tell({ type: "shares", data: await page(next), more: true });
      }),

    /** @param {string} share */
    takeDown(share) {
      ask(texts.confirm.takeDown(short(share)), async () => {
        await calls.admin("DELETE", `/v1/shares/${encodeURIComponent(share)}`);
        tell({ type: "taken-down", share });
      });
    },
  };
}

/**
 * @param {Calls} calls
 * @param {(event: Event) => void} tell
 */
function inviteActions(calls, tell) {
  const load = async () => {
    const { invites: all } = await calls.admin("GET", "/v1/invites");
    tell({ type: "invites", data: { invites: all.map((/** @type {Invite} */ one) => ({ ...one, name: String(masked("", one.name)) })) } });
  };
  return {
    loadInvites: () => calls.shown("invite-problem", load),

    /**
     * @param {{ role: string, name: string, expires_ms: number|null, allowance: Partial<Allowance> }} wanted
     * @param {(invite: string) => void} made is told the invite
     */
    makeInvite: (wanted, made) =>
      calls.shown("invite-problem", async () => {
        made((await calls.admin("POST", "/v1/invites", wanted)).invite);
        await load();
      }),

    /** @param {Invite} invite */
    revoke({ id, name }) {
      ask(texts.confirm.revoke(name), async () => {
        await calls.admin("DELETE", `/v1/invites/${encodeURIComponent(id)}`);
        await load();
      });
    },
  };
}
