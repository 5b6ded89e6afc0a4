// The list of shares, page by page. It is loaded again, seldom, when the swarm says that something changed.

import { announce, byId, element } from "../page/dom.js";
import { bytes, duration } from "../page/words.js";
import { texts } from "./texts.js";
import { copyText, keyed, setAttribute, setText, short } from "./parts.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").Share} Share */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./actions.js").Actions} Actions */

const NAMES_SHOWN = 3;
/** Pause between two loads that nobody asked for, and the most rows that are loaded so. */
const RELOAD_MS = 5_000;
const RELOAD_ROWS = 500;
const SIGNS = { healthy: "●", unproven: "◌", weakened: "◐", endangered: "!", unavailable: "○", lost: "✕" };

/**
 * @param {Actions} actions
 * @returns {View}
 */
export function sharesView(actions) {
  const needy = /** @type {HTMLInputElement} */ (byId("shares-needy"));
  /** @type {State|null} */
  let last = null;
  let now_ms = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let reload;
  const fill = keyed(byId("share-rows"), (/** @type {Share} */ { share }) => share, ({ share }) =>
    shareRow(share, actions, () => ({ peers: last?.peers, now_ms })),
  );

  function draw() {
    const rows = last?.shares?.rows ?? [];
    const found = needy.checked ? rows.filter((row) => row.condition !== "healthy" && row.condition !== "unproven") : rows;
    fill(found);
    const more = (last?.shares?.next ?? null) !== null;
    byId("shares-more").hidden = !more;
    const none = rows.length === 0 ? texts.shares.none : texts.shares.noneInNeed;
    const text = found.length === 0 && !more ? none : texts.shares.loaded(found.length, rows.length, more);
    setText(byId("shares-shown"), last?.shares ? text : "");
  }

  needy.addEventListener("change", draw);
  byId("shares-more").addEventListener("click", () => void actions.loadMoreShares());
  byId("shares-reload").addEventListener("click", () => void actions.loadShares());

  return {
    update(state, before) {
      last = state;
      now_ms = Date.now() + state.clock_ms;
      if (state.shares !== before.shares) draw();
      const isOld = state.shares !== null && signature(state) !== signature(before);
      if (!isOld || reload !== undefined || (state.shares?.rows.length ?? 0) > RELOAD_ROWS) return;
      reload = setTimeout(() => {
        reload = undefined;
        // Not while it would take a row away under somebody's hand.
        if (last?.connection === "live" && last.shares) void actions.loadShares();
      }, RELOAD_MS);
    },
    tick(now) {
      // A minute is fine enough for times of expiry.
      if (now - now_ms < 30_000) return;
      now_ms = now;
      draw();
    },
  };
}

/**
 * What tells that the list may be old.
 * @param {State} state
 */
function signature({ swarm }) {
  if (!swarm) return "";
  const { shares, weakened, endangered, unavailable, lost, copies } = swarm.health;
  return [shares, weakened, endangered, unavailable, lost, copies].join();
}

/**
 * @param {string} id
 * @param {Actions} actions
 * @param {() => { peers: State["peers"]|undefined, now_ms: number }} known
 */
function shareRow(id, actions, known) {
  const sign = element("span", { attributes: { "aria-hidden": "true" } });
  const word = element("span");
  const condition = element("span", { class: "state-chip" }, sign, word);
  const [size, chunks, replicas, missing] = [1, 2, 3, 4].map(() => element("td", { class: "number" }));
  const peers = element("td", { class: "name" });
  const expires = element("td");
  const copy = element("button", {
    class: "quiet",
    text: texts.shares.copy,
    attributes: { type: "button", "aria-label": texts.shares.copyLabel(short(id)), title: id },
    on: {
      click: async () => {
        const said = (await copyText(id)) ? texts.shares.copied : id;
        setText(copy, said);
        // The label would hide it.
        setAttribute(copy, "aria-label", null);
        announce(said);
      },
    },
  });
  const remove = element("button", {
    class: "quiet danger",
    text: texts.shares.delete,
    attributes: { type: "button", "data-action": "delete", "aria-label": texts.shares.deleteLabel(short(id)) },
    on: { click: () => actions.takeDown(id) },
  });
  const code = element("code", { text: short(id), attributes: { title: id } });
  const node = element(
    "tr",
    { attributes: { "data-share": id } },
    element("th", { attributes: { scope: "row" } }, code, copy),
    element("td", {}, condition),
    .../** @type {HTMLElement[]} */ ([size, chunks, replicas, missing]),
    peers,
    expires,
    element("td", {}, remove),
  );
  const cell = (/** @type {HTMLElement|undefined} */ node, /** @type {string} */ text) => node && setText(node, text);
  return {
    node,
    /** @param {Share} share */
    update(share) {
      const { peers: all, now_ms } = known();
      setAttribute(condition, "data-condition", share.condition);
      setText(sign, SIGNS[share.condition] ?? "");
      setText(word, texts.shares.conditions[share.condition] ?? share.condition);
      cell(size, bytes(share.total_bytes));
      cell(chunks, String(share.chunk_count));
      cell(replicas, texts.shares.replicas(share.fewest_replicas, share.replicas));
      cell(missing, texts.shares.missing(share.missing_chunks));
      const names = share.peers.map((peer) => all?.get(peer)?.name || short(peer));
      const rest = names.length - NAMES_SHOWN;
      setText(peers, names.slice(0, NAMES_SHOWN).join(", ") + (rest > 0 ? ` ${texts.shares.more(rest)}` : ""));
      setAttribute(peers, "title", rest > 0 ? names.join(", ") : null);
      const left = share.expires_ms - now_ms;
      setText(expires, left > 0 ? texts.shares.in(duration(left)) : texts.shares.over);
    },
  };
}
