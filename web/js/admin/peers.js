// The table of peers. At most a hundred rows at first; while somebody is at a row, rows keep their order.

import { byId, element } from "../page/dom.js";
import { texts } from "./texts.js";
import { keyed, setAttribute, setText } from "./parts.js";
import { PAGE, arrange, held } from "./rows.js";
import { peerRow } from "./peer-row.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").Event} Event */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Peer} Peer */
/** @typedef {import("./actions.js").Actions} Actions */
/** @typedef {import("./rows.js").Order} Order */
/** @typedef {import("./rows.js").Column} Column */

/** @type {[Column, string, boolean][]} column, heading, whether it holds numbers */
const COLUMNS = [
  ["name", "Name", false],
  ["state", "State", false],
  ["zone", "Zone", false],
  ["space", "Space used", false],
  ["received", "In", true],
  ["served", "Out", true],
  ["seen", "Last heard", true],
  ["version", "Version", false],
  ["scrub", "Scrub", true],
];

/**
 * @param {(event: Event) => void} tell
 * @param {Actions} actions
 * @returns {View & { show: (id: string) => void }}
 */
export function peersView(tell, actions) {
  const body = byId("peer-rows");
  const filter = /** @type {HTMLInputElement} */ (byId("peer-filter"));
  const more = byId("peers-more");
  /** @type {Order} */
  let order = { column: "name", descending: false };
  let most = PAGE;
  /** @type {string[]} */
  let shown = [];
  /** @type {State|null} */
  let last = null;
  let now_ms = 0;
  /** @type {Map<string, ReturnType<typeof peerRow>>} */
  const rows = new Map();

  const fill = keyed(body, (/** @type {Peer} */ peer) => peer.id, (peer) => {
    const row = peerRow(peer.id, tell, actions);
    rows.set(peer.id, row);
    row.tick(peer, now_ms);
    return row;
  });

  /** @param {boolean} inOrder whether rows may change places */
  function draw(inOrder) {
    if (!last) return;
    const { peers, selected } = last;
    let found = arrange(peers.values(), filter.value, order);
    if (!inOrder && isBusy()) found = held(found, shown);
    const page = found.slice(0, most);
    // The chosen peer is always there, at the top if it would not be.
    const chosen = selected === null ? undefined : peers.get(selected);
    if (chosen && !page.includes(chosen)) page.unshift(chosen);
    shown = page.map((peer) => peer.id);
    fill(page);
    for (const id of [...rows.keys()]) if (!shown.includes(id)) rows.delete(id);
    for (const [id, row] of rows) row.select(id === selected);
    more.hidden = found.length <= most;
    const none = peers.size === 0 ? texts.peers.none : texts.peers.noneFound;
    setText(byId("peers-shown"), found.length === 0 ? none : texts.peers.shown(page.length, peers.size));
  }

  const isBusy = () => body.matches(":hover") || body.contains(document.activeElement);

  /** @param {Column} column */
  function sortBy(column) {
    order = { column, descending: order.column === column && !order.descending };
    for (const cell of head.children) {
      const isOrder = cell.getAttribute("data-column") === column;
      setAttribute(cell, "aria-sort", isOrder ? (order.descending ? "descending" : "ascending") : null);
    }
    draw(true);
  }

  const head = /** @type {HTMLElement} */ (byId("peers").querySelector("thead tr"));
  for (const [column, text, isNumber] of COLUMNS) {
    const button = element("button", { class: "sort", text, attributes: { type: "button" }, on: { click: () => sortBy(column) } });
    const attributes = { scope: "col", "data-column": column };
    head.append(element("th", { class: isNumber ? "number" : "", attributes }, button));
  }
  head.append(element("th", { text: "Actions", attributes: { scope: "col" } }));
  setAttribute(/** @type {Element} */ (head.firstElementChild), "aria-sort", "ascending");

  filter.addEventListener("input", () => {
    most = PAGE;
    draw(true);
  });
  more.addEventListener("click", () => {
    most += PAGE;
    draw(true);
  });

  return {
    update(state, before) {
      last = state;
      now_ms = Date.now() + state.clock_ms;
      if (state.peers !== before.peers || state.selected !== before.selected) draw(false);
    },
    tick(now) {
      now_ms = now;
      for (const [id, row] of rows) {
        const peer = last?.peers.get(id);
        if (peer) row.tick(peer, now);
      }
    },
    show(id) {
      const row = rows.get(id);
      row?.node.scrollIntoView({ block: "center" });
      row?.focus();
    },
  };
}
