// One row of the table of peers, and the peer that is shown in full beside the map.

import { byId, element } from "../page/dom.js";
import { bytes, duration, rate } from "../page/words.js";
import { texts } from "./texts.js";
import { bar, keyed, ratio, setAttribute, setText } from "./parts.js";
import { stateShown } from "./state.js";
import { scrubbed } from "./rows.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").Peer} Peer */
/** @typedef {import("./state.js").Event} Event */
/** @typedef {import("./actions.js").Actions} Actions */

export const SIGNS = { alive: "●", suspect: "◐", unreachable: "⊘", cloned: "⧉", dead: "✕", draining: "↓" };

/**
 * @param {string} id
 * @param {(event: Event) => void} tell
 * @param {Actions} actions
 */
export function peerRow(id, tell, actions) {
  const name = element("button", { class: "name-button", attributes: { type: "button" }, on: { click: () => tell({ type: "select", id }) } });
  const chip = stateChip();
  const needed = element("span", { class: "muted small" });
  const zone = element("td", { class: "name" });
  const space = bar();
  const spaceText = element("span");
  const received = element("td", { class: "number" });
  const served = element("td", { class: "number" });
  const seen = element("td", { class: "number" });
  const version = element("td");
  const scrub = element("td", { class: "number" });
  const action = actionButton(actions);
  const node = element(
    "tr",
    { attributes: { "data-peer": id } },
    element("th", { attributes: { scope: "row" } }, name),
    element("td", {}, chip.node, needed),
    zone,
    element("td", { class: "space" }, space.node, spaceText),
    received,
    served,
    seen,
    version,
    scrub,
    element("td", {}, action.node),
  );
  /** @type {Peer|null} */
  let drawn = null;
  return {
    node,
    /** @param {Peer} peer */
    update(peer) {
      if (peer === drawn) return;
      drawn = peer;
      setText(name, nameOf(peer));
      setAttribute(node, "data-state", stateShown(peer));
      chip.update(peer);
      setText(needed, peer.draining === null ? "" : texts.peers.needed(peer.draining));
      setText(zone, peer.zone ?? "–");
      space.set(ratio(peer.used_bytes, peer.capacity_bytes));
      setText(spaceText, spaceOf(peer));
      setText(received, rate(peer.received_bytes_per_s));
      setText(served, rate(peer.served_bytes_per_s));
      setText(version, peer.version);
      setText(scrub, peer.scrub ? `${Math.floor(scrubbed(peer) * 100)} %` : "–");
      action.update(peer);
    },
    /**
     * @param {Peer} peer
     * @param {number} now_ms
     */
    tick: (peer, now_ms) => setText(seen, ago(peer.seen_ms, now_ms)),
    /** @param {boolean} isSelected */
    select(isSelected) {
      node.classList.toggle("selected", isSelected);
      setAttribute(name, "aria-pressed", String(isSelected));
    },
    focus: () => name.focus(),
  };
}

/**
 * @param {Actions} actions
 * @param {(id: string) => void} show has the peer's row shown
 * @returns {View}
 */
export function detailsView(actions, show) {
  const action = actionButton(actions);
  /** @type {Peer|undefined} */
  let peer;
  const rowButton = element("button", {
    class: "quiet",
    text: texts.peers.details,
    attributes: { type: "button" },
    on: { click: () => peer && show(peer.id) },
  });
  byId("peer-details-actions").append(action.node, rowButton);
  const fill = keyed(byId("peer-details-fields"), (/** @type {[string, string]} */ [label]) => label, ([label]) => {
    const value = element("dd");
    const node = element("div", {}, element("dt", { text: label }), value);
    return { node, update: ([, text]) => setText(value, text) };
  });
  const draw = (/** @type {number} */ now_ms) => {
    byId("peer-details").hidden = !peer;
    if (!peer) return;
    setText(byId("peer-details-name"), nameOf(peer));
    action.update(peer);
    const { fields } = texts.peers;
    fill([
      [fields.state, texts.states[stateShown(peer)] + (peer.why === null ? "" : ` (${peer.why})`) + (peer.draining === null ? "" : `. ${texts.peers.needed(peer.draining)}`)],
      [fields.zone, peer.zone ?? texts.peers.noZone],
      [fields.space, spaceOf(peer)],
      [fields.free, bytes(peer.free_bytes)],
      [fields.rates, texts.peers.rates(rate(peer.received_bytes_per_s), rate(peer.served_bytes_per_s))],
      [fields.seen, ago(peer.seen_ms, now_ms)],
      [fields.version, peer.version],
      [fields.addresses, peer.addresses.join(", ")],
      [fields.id, peer.id],
    ]);
  };
  return {
    update(state) {
      const now = state.selected === null ? undefined : state.peers.get(state.selected);
      if (now === peer) return;
      peer = now;
      draw(Date.now() + state.clock_ms);
    },
    tick: draw,
  };
}

/** @param {Peer} peer */
export function nameOf(peer) {
  return peer.name || texts.peers.unnamed;
}

/** @param {Peer} peer */
function spaceOf(peer) {
  return texts.peers.space(bytes(peer.used_bytes), bytes(peer.capacity_bytes));
}

/**
 * @param {number} then_ms
 * @param {number} now_ms
 */
export function ago(then_ms, now_ms) {
  const past = now_ms - then_ms;
  return past < 1_500 ? texts.peers.now : texts.peers.ago(duration(past));
}

/** A peer's state as sign, colour and word. */
function stateChip() {
  const sign = element("span", { attributes: { "aria-hidden": "true" } });
  const word = element("span");
  const node = element("span", { class: "state-chip" }, sign, word);
  return {
    node,
    /** @param {Peer} peer */
    update(peer) {
      const state = stateShown(peer);
      setAttribute(node, "data-state", state);
      setText(sign, SIGNS[state]);
      setText(word, texts.states[state]);
    },
  };
}

/**
 * What can be done with a peer: one button, for there is one thing at a time.
 * @param {Actions} actions
 */
function actionButton(actions) {
  /** @type {Peer|null} */
  let peer = null;
  const node = element("button", { class: "quiet", attributes: { type: "button" }, on: { click: () => peer && actions.ofPeer(peer, nameOf(peer)) } });
  return {
    node,
    /** @param {Peer} now */
    update(now) {
      peer = now;
      const text = now.state === "dead" ? texts.peers.forget : now.draining === null ? texts.peers.drain : texts.peers.stop;
      setText(node, text);
      setAttribute(node, "data-action", now.state === "dead" ? "forget" : now.draining === null ? "drain" : "stop");
      setAttribute(node, "aria-label", texts.peers.action(text, nameOf(now)));
    },
  };
}
