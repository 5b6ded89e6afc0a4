// Which peers the table shows, and in which order. Pure.

import { stateShown } from "./state.js";

/** @typedef {import("./state.js").Peer} Peer */
/** @typedef {"name"|"state"|"zone"|"space"|"received"|"served"|"seen"|"version"|"scrub"} Column */
/** @typedef {{ column: Column, descending: boolean }} Order */

/** Rows that are shown at first, and how many more each time. */
export const PAGE = 100;

const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const SERIOUSNESS = { dead: 0, cloned: 1, unreachable: 2, suspect: 3, draining: 4, alive: 5 };

/** @type {Record<Column, (a: Peer, b: Peer) => number>} */
const COMPARE = {
  name: (a, b) => words.compare(a.name, b.name),
  state: (a, b) => SERIOUSNESS[stateShown(a)] - SERIOUSNESS[stateShown(b)],
  // Peers without a zone come last.
  zone: (a, b) => Number(a.zone === null) - Number(b.zone === null) || words.compare(a.zone ?? "", b.zone ?? ""),
  space: (a, b) => a.used_bytes - b.used_bytes,
  received: (a, b) => a.received_bytes_per_s - b.received_bytes_per_s,
  served: (a, b) => a.served_bytes_per_s - b.served_bytes_per_s,
  seen: (a, b) => a.seen_ms - b.seen_ms,
  version: (a, b) => words.compare(a.version, b.version),
  scrub: (a, b) => scrubbed(a) - scrubbed(b),
};

/**
 * The part of a scrub that is done, 0 to 1; -1 without one.
 * @param {Peer} peer
 */
export function scrubbed({ scrub }) {
  if (!scrub) return -1;
  return scrub.total_bytes > 0 ? Math.min(1, scrub.done_bytes / scrub.total_bytes) : 1;
}

/**
 * The peers whose name, id, zone, state, version or address contains the text, in order.
 * @param {Iterable<Peer>} peers
 * @param {string} filter
 * @param {Order} order
 * @returns {Peer[]}
 */
export function arrange(peers, filter, { column, descending }) {
  const needle = filter.trim().toLowerCase();
  const found = [];
  for (const peer of peers) if (needle === "" || haystack(peer).includes(needle)) found.push(peer);
  const compare = COMPARE[column];
  const sign = descending ? -1 : 1;
  // Equal ones by name, then by id: the order does not depend on how they arrived.
  return found.sort((a, b) => sign * compare(a, b) || words.compare(a.name, b.name) || (a.id < b.id ? -1 : 1));
}

/** @param {Peer} peer */
function haystack(peer) {
  return [peer.name, peer.id, peer.zone ?? "", stateShown(peer), peer.version, ...peer.addresses].join("\n").toLowerCase();
}

/**
 * The same peers in the order of an earlier list, for as long as somebody points at a row; new ones at the end.
 * @param {readonly Peer[]} arranged
 * @param {readonly string[]} earlier ids
 * @returns {Peer[]}
 */
export function held(arranged, earlier) {
  const byId = new Map(arranged.map((peer) => [peer.id, peer]));
  const kept = [];
  for (const id of earlier) {
    const peer = byId.get(id);
    if (peer) kept.push(peer);
    byId.delete(id);
  }
  return [...kept, ...byId.values()];
}
