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
  const table = new PeerTable(tell, actions);
  makeHead((column) => table.sortBy(column));
  byId("peer-filter").addEventListener("input", () => table.find());
  byId("peers-more").addEventListener("click", () => table.showMore());
  return {
    update: (state, before) => table.update(state, before),
    tick: (now_ms) => table.tick(now_ms),
    show: (id) => table.show(id),
  };
}

class PeerTable {
  #body = byId("peer-rows");
  #filter = /** @type {HTMLInputElement} */ (byId("peer-filter"));
  /** @type {Order} */
  #order = { column: "name", descending: false };
  #most = PAGE;
  /** @type {string[]} ids, as they stand */
  #shown = [];
  /** @type {Map<string, ReturnType<typeof peerRow>>} */
  #rows = new Map();
  /** @type {State|null} */
  #state = null;
  #now_ms = 0;
  #fill;

  /**
   * @param {(event: Event) => void} tell
   * @param {Actions} actions
   */
  constructor(tell, actions) {
    this.#fill = keyed(this.#body, (/** @type {Peer} */ peer) => peer.id, (peer) => {
      const row = peerRow(peer.id, tell, actions);
      this.#rows.set(peer.id, row);
      row.tick(peer, this.#now_ms);
      return row;
    });
  }

  /**
   * @param {State} state
   * @param {State} before
   */
  update(state, before) {
    this.#state = state;
    this.#now_ms = Date.now() + state.clock_ms;
    if (state.peers !== before.peers || state.selected !== before.selected) this.#draw(false);
  }

  /** @param {number} now_ms */
  tick(now_ms) {
    this.#now_ms = now_ms;
    for (const [id, row] of this.#rows) {
      const peer = this.#state?.peers.get(id);
      if (peer) row.tick(peer, now_ms);
    }
  }

  /** @param {string} id */
  show(id) {
    const row = this.#rows.get(id);
    row?.node.scrollIntoView({ block: "center" });
    row?.focus();
  }

  /**
   * By this column; the other way round if it is the one already.
   * @param {Column} column
   * @returns {Order}
   */
  sortBy(column) {
    this.#order = { column, descending: this.#order.column === column && !this.#order.descending };
    this.#draw(true);
    return this.#order;
  }

  find() {
    this.#most = PAGE;
    this.#draw(true);
  }

  showMore() {
    this.#most += PAGE;
    this.#draw(true);
  }

  /** @param {boolean} mayMove whether rows may move although somebody is at one */
  #draw(mayMove) {
    if (!this.#state) return;
    const { peers, selected } = this.#state;
    let found = arrange(peers.values(), this.#filter.value, this.#order);
    if (!mayMove && this.#isBusy()) found = held(found, this.#shown);
    const page = found.slice(0, this.#most);
    // The chosen peer is always there, at the top if it would not be.
    const chosen = selected === null ? undefined : peers.get(selected);
    if (chosen && !page.includes(chosen)) page.unshift(chosen);
    this.#shown = page.map((peer) => peer.id);
    this.#fill(page);
    for (const id of [...this.#rows.keys()]) if (!this.#shown.includes(id)) this.#rows.delete(id);
    for (const [id, row] of this.#rows) row.select(id === selected);
    byId("peers-more").hidden = found.length <= this.#most;
    const none = peers.size === 0 ? texts.peers.none : texts.peers.noneFound;
    setText(byId("peers-shown"), found.length === 0 ? none : texts.peers.shown(page.length, peers.size));
  }

  #isBusy() {
    return this.#body.matches(":hover") || this.#body.contains(document.activeElement);
  }
}

/**
 * The headings: buttons that sort. The one that the rows are in the order of says so.
 * @param {(column: Column) => Order} sortBy
 */
function makeHead(sortBy) {
  const head = /** @type {HTMLElement} */ (byId("peers").querySelector("thead tr"));
  const sort = (/** @type {Column} */ wanted) => {
    const { column, descending } = sortBy(wanted);
    for (const cell of head.children) {
      const isOrder = cell.getAttribute("data-column") === column;
      setAttribute(cell, "aria-sort", isOrder ? (descending ? "descending" : "ascending") : null);
    }
  };
  for (const [column, text, isNumber] of COLUMNS) {
    const button = element("button", { class: "sort", text, attributes: { type: "button" }, on: { click: () => sort(column) } });
    const attributes = { scope: "col", "data-column": column };
    head.append(element("th", { class: isNumber ? "number" : "", attributes }, button));
  }
  head.append(element("th", { text: "Actions", attributes: { scope: "col" } }));
  setAttribute(/** @type {Element} */ (head.firstElementChild), "aria-sort", "ascending");
}
