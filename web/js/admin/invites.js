// Invites: those that were made, a new one (shown once), and revoking.

import { byId, element } from "../page/dom.js";
import { bytes, duration, when } from "../page/words.js";
import { texts } from "./texts.js";
import { copyText, keyed, setAttribute, setText } from "./parts.js";
import { masked } from "./state.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").Invite} Invite */
/** @typedef {import("./state.js").Allowance} Allowance */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./actions.js").Actions} Actions */

const DAY_MS = 86_400_000;
/** Days that a peer's invite gets in the place of "never": the tracker makes none without an end. */
const PEER_DAYS = "7";
const GB = 1e9;
/** Peers that an invite admits unless it says otherwise. */
const PEERS_MAX = 8;

/**
 * @param {Actions} actions
 * @returns {View}
 */
export function invitesView(actions) {
  /** @type {State|null} */
  let last = null;
  const now = () => Date.now() + (last?.clock_ms ?? 0);
  const fill = keyed(byId("invite-rows"), (/** @type {Invite} */ { id }) => id, (invite) => inviteRow(invite, actions, now));
  const made = madeInvite();
  startForm(actions, now, made.show);

  function draw() {
    const all = [...(last?.invites ?? [])];
    // Those that still open something first, the newest of them at the top.
    fill(all.sort((a, b) => Number(a.revoked) - Number(b.revoked) || b.created_ms - a.created_ms));
  }

  return {
    update(state, before) {
      last = state;
      if (state.invites === before.invites) return;
      // The session ended: a secret does not stay in the page.
      if (state.invites === null) made.hide();
      draw();
      setText(byId("invites-note"), state.invites?.length === 0 ? texts.invites.none : "");
    },
    // Their time runs out while the page is open.
    tick: draw,
  };
}

/**
 * The form for a new invite.
 * @param {Actions} actions
 * @param {() => number} now
 * @param {(invite: string) => void} show
 */
function startForm(actions, now, show) {
  const role = /** @type {HTMLSelectElement} */ (byId("invite-role"));
  const name = /** @type {HTMLInputElement} */ (byId("invite-name"));
  const life = /** @type {HTMLSelectElement} */ (byId("invite-life"));
  const make = /** @type {HTMLButtonElement} */ (byId("invite-make"));
  const bounds = boundsForm();

  const never = /** @type {HTMLOptionElement} */ (life.querySelector("[value='']"));
  const offer = () => {
    never.disabled = role.value === "peer";
    if (never.disabled && never.selected) life.value = PEER_DAYS;
    bounds.offer(role.value);
  };
  role.addEventListener("change", offer);
  offer();

  byId("invite-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    make.disabled = true;
    const expires_ms = life.value === "" ? null : now() + Number(life.value) * DAY_MS;
    const allowance = bounds.allowance(role.value);
    await actions.makeInvite({ role: role.value, name: name.value.trim(), expires_ms, allowance }, (invite) => {
      name.value = "";
      bounds.clear();
      show(invite);
    });
    make.disabled = false;
  });
}

/** The invite that was just made: to copy, and to hide again. */
function madeInvite() {
  const text = /** @type {HTMLInputElement} */ (byId("invite-text"));
  byId("invite-copy").addEventListener("click", async () => {
    const done = await copyText(text.value);
    if (!done) text.select();
    setText(byId("invite-copied"), done ? texts.invites.copied : texts.invites.notCopied);
  });
  const hide = () => {
    text.value = "";
    byId("invite-made").hidden = true;
  };
  byId("invite-hide").addEventListener("click", () => {
    hide();
    byId("invite-make").focus();
  });
  return {
    hide,
    /** @param {string} invite */
    show(invite) {
      text.value = invite;
      setText(byId("invite-copied"), "");
      byId("invite-made").hidden = false;
      text.focus();
      text.select();
    },
  };
}

/** The fields for what an invite allows: those that go with its role; what is left empty has the bounds that all have. */
function boundsForm() {
  const fields = /** @type {const} */ ({
    quota_bytes: { id: "invite-quota", role: "sender", unit: GB },
    share_bytes_max: { id: "invite-share-max", role: "sender", unit: GB },
    life_ms_max: { id: "invite-life-max", role: "sender", unit: DAY_MS },
    replicas_max: { id: "invite-replicas-max", role: "sender", unit: 1 },
    peers_max: { id: "invite-count", role: "peer", unit: 1 },
    zone: { id: "invite-zone", role: "peer", unit: null },
  });
  const all = Object.entries(fields).map(([key, field]) => ({ key, ...field, input: /** @type {HTMLInputElement} */ (byId(field.id)) }));
  return {
    /** @param {string} role */
    offer(role) {
      for (const { input, ...field } of all) {
        input.disabled = field.role !== role;
        /** @type {HTMLElement} */ (input.parentElement).hidden = input.disabled;
      }
    },
    /**
     * @param {string} role
     * @returns {Partial<Allowance>}
     */
    allowance(role) {
      const filled = all.filter(({ input, ...field }) => field.role === role && input.value.trim() !== "");
      return Object.fromEntries(
        filled.map(({ key, unit, input }) => [key, unit === null ? input.value.trim() : Math.round(Number(input.value) * unit)]),
      );
    },
    clear() {
      for (const { input } of all) input.value = "";
    },
  };
}

/**
 * @param {Invite} invite
 * @param {Actions} actions
 * @param {() => number} now
 */
function inviteRow({ id, name, role, created_ms, allowance }, actions, now) {
  const expires = element("td");
  const state = element("td");
  const kind = element("td");
  /** @type {Invite|null} */
  let drawn = null;
  const revoke = element("button", {
    class: "quiet danger",
    text: texts.invites.revoke,
    attributes: { type: "button", "data-action": "revoke", "aria-label": texts.peers.action(texts.invites.revoke, name) },
    on: { click: () => drawn && actions.revoke(drawn) },
  });
  const node = element(
    "tr",
    { attributes: { "data-invite": id } },
    element("th", { class: "name", text: name || texts.peers.unnamed, attributes: { scope: "row" } }),
    kind,
    element("td", { text: when(created_ms) }),
    expires,
    state,
    element("td", {}, revoke),
  );
  return {
    node,
    /** @param {Invite} invite */
    update(invite) {
      drawn = invite;
      const left = invite.expires_ms === null ? Infinity : invite.expires_ms - now();
      const isOver = left <= 0;
      setText(kind, [texts.invites.roles[role] ?? role, ...allowed(role, allowance, invite)].join(", "));
      setText(expires, invite.expires_ms === null ? texts.invites.never : isOver ? texts.invites.over : texts.shares.in(duration(left)));
      setText(state, invite.revoked ? texts.invites.revoked : isOver ? texts.invites.over : texts.invites.good);
      setAttribute(node, "data-state", invite.revoked || isOver ? "over" : "good");
      // The admin's own token is what this page was opened with: it is replaced beside the tracker, not here.
      revoke.hidden = invite.revoked || invite.role === "admin";
    },
  };
}

/**
 * What is used of an invite and what it allows, in words; nothing where it has the bounds that everybody has.
 * @param {string} role
 * @param {Allowance} allowance
 * @param {Invite} invite
 */
function allowed(role, { quota_bytes, share_bytes_max, life_ms_max, replicas_max, peers_max, zone }, { used, peers }) {
  const say = texts.invites;
  return [
    role === "peer" ? say.peers(peers, peers_max ?? PEERS_MAX) : null,
    zone === null ? null : say.zone(String(masked("", zone))),
    quota_bytes !== null ? say.quota(bytes(used.bytes), bytes(quota_bytes)) : used.bytes > 0 ? say.used(bytes(used.bytes)) : null,
    used.shares > 0 ? say.shares(used.shares) : null,
    used.uploads > 0 ? say.uploads(used.uploads) : null,
    share_bytes_max === null ? null : say.share(bytes(share_bytes_max)),
    life_ms_max === null ? null : say.life(duration(life_ms_max)),
    replicas_max === null ? null : say.replicas(replicas_max),
  ].filter((part) => part !== null);
}
