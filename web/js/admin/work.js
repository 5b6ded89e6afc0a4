// What is under way: copies that repair ordered, scrubs that peers report. And the list of recent events.

import { byId, element } from "../page/dom.js";
import { when } from "../page/words.js";
import { texts } from "./texts.js";
import { keyed, setAttribute, setText, short } from "./parts.js";
import { scrubbed } from "./rows.js";
import { nameOf } from "./peer-row.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").Copy} Copy */
/** @typedef {import("./state.js").Peer} Peer */
/** @typedef {import("./state.js").LogEntry} LogEntry */
/** @typedef {import("./state.js").State} State */

/** Scrubs that are listed. */
const SCRUBS_MAX = 30;

/** @returns {View} */
export function workView() {
  /** @type {State["peers"]} */
  let peers = new Map();
  const fillCopies = keyed(byId("copy-rows"), (/** @type {Copy} */ { share, target }) => `${share} ${target}`, ({ share, target }) => {
    const to = element("td", { class: "name" });
    const left = element("td", { class: "number" });
    const code = element("code", { text: short(share), attributes: { title: share } });
    const node = element("tr", { attributes: { "data-share": share } }, element("th", { attributes: { scope: "row" } }, code), to, left);
    return {
      node,
      update(copy) {
        setText(to, peers.get(target)?.name || short(target));
        setText(left, texts.work.left(copy.chunks_left));
      },
    };
  });
  const fillScrubs = keyed(byId("scrubs"), (/** @type {Peer} */ { id }) => id, ({ id }) => {
    const name = element("span", { class: "name" });
    const progress = element("progress", { attributes: { max: 100 } });
    const percent = element("span", { class: "number" });
    const node = element("li", { attributes: { "data-peer": id } }, name, progress, percent);
    return {
      node,
      update(peer) {
        const done = Math.floor(scrubbed(peer) * 100);
        setText(name, nameOf(peer));
        setAttribute(progress, "aria-label", texts.work.scrub(nameOf(peer)));
        progress.value = done;
        setText(percent, `${done} %`);
      },
    };
  });
  return {
    update(state, before) {
      peers = state.peers;
      const { copies, more } = state.work;
      if (state.work !== before.work || state.peers !== before.peers) {
        fillCopies(copies);
        setText(byId("copies-note"), more > 0 ? texts.work.more(more) : copies.length === 0 ? texts.work.noCopies : "");
      }
      if (state.peers !== before.peers) {
        // By id, which does not change: rows stay where they are while scrubs go on.
        const scrubs = [...peers.values()].filter((peer) => peer.scrub !== null).sort((a, b) => (a.id < b.id ? -1 : 1));
        fillScrubs(scrubs.slice(0, SCRUBS_MAX));
        const rest = scrubs.length - SCRUBS_MAX;
        setText(byId("scrubs-note"), rest > 0 ? texts.work.more(rest) : scrubs.length === 0 ? texts.work.noScrubs : "");
      }
    },
  };
}

/** @returns {View} */
export function logView() {
  const fill = keyed(byId("log"), (/** @type {LogEntry} */ entry) => entry, (entry) => {
    const time = element("time", { class: "muted", text: when(entry.at_ms), attributes: { datetime: new Date(entry.at_ms).toISOString() } });
    const node = element("li", { attributes: { "data-kind": entry.kind } }, time, element("span", { class: "name", text: sentence(entry) }));
    return { node, update: () => {} };
  });
  return {
    update(state, before) {
      if (state.log !== before.log) fill(state.log);
      setText(byId("log-note"), state.log.length === 0 ? texts.log.none : "");
    },
  };
}

/**
 * An event in plain words; one of a kind that is not known here by its own name.
 * @param {LogEntry} entry
 */
export function sentence({ kind, peer, peer_name, share, detail = "" }) {
  const { kinds, unknownPeer, unknownShare } = texts.log;
  const tell = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  const who = peer_name || (peer ? short(peer) : unknownPeer);
  const said = tell ? tell({ peer: who, share: share ? short(share) : unknownShare, detail }) : kind;
  return detail ? `${said} (${detail})` : said;
}
