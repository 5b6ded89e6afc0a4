// How the swarm stands, in one line. Pure.

import { texts } from "./texts.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Health} Health */
/** @typedef {{ level: "good"|"wait"|"warn"|"bad", headline: string, detail: string }} Verdict */

/**
 * The headline changes seldom (it is read aloud); what changes all the time stands in the detail.
 * @param {State} state
 * @returns {Verdict}
 */
export function verdict({ connection, swarm, peers }) {
  const words = texts.verdict;
  if (connection === "lost") return { level: "warn", headline: words.notConnected, detail: words.old };
  if (!swarm) return { level: "wait", headline: words.waiting, detail: "" };
  const { health } = swarm;
  const copies = health.copies > 0 ? words.copies(health.copies) : "";
  const needs = needsOf(health);
  if (health.paused) return { level: "bad", headline: words.paused, detail: sentence([...needs, words.pausedUntil]) };
  if (needs.length > 0) {
    const level = health.lost + health.unavailable > 0 ? "bad" : "warn";
    return { level, headline: sentence(needs), detail: copies || words.soon };
  }
  if (swarm.failing.length > 0) return { level: "warn", headline: words.failing, detail: words.failingBelow };
  if (health.shares === null || !health.complete) return { level: "wait", headline: words.looking, detail: copies };
  if (peers.size === 0) return { level: "wait", headline: words.noPeers, detail: words.noPeersHelp };
  if (health.shares === 0) return { level: "good", headline: words.noShares, detail: "" };
  return { level: "good", headline: words.healthy, detail: copies };
}

/** @param {Health} health */
function needsOf({ lost, unavailable, endangered, weakened }) {
  const words = texts.verdict;
  const needs = [];
  if (lost > 0) needs.push(words.lost(lost));
  if (unavailable > 0) needs.push(words.unavailable(unavailable));
  if (endangered + weakened > 0) needs.push(words.short(endangered + weakened));
  return needs;
}

/** @param {string[]} parts */
function sentence(parts) {
  return parts.join("; ");
}
