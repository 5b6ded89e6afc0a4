// The shapes on the map of the swarm: a zone's box, a peer's circle, the legend. A zone has one box and a peer one circle
// for as long as it is shown; both are moved and drawn again.

import { byId, element } from "../page/dom.js";
import { bytes } from "../page/words.js";
import { texts } from "./texts.js";
import { ratio, setAttribute, setText, svg } from "./parts.js";
import { stateShown } from "./state.js";
import { HEAD, LABEL_CELL } from "./layout.js";

/** @typedef {import("./state.js").Peer} Peer */
/** @typedef {import("./layout.js").Place} Place */
/** @typedef {import("./layout.js").Zone} Zone */

/** What is drawn over a circle, in units of its radius, so that states differ without colour. */
const MARKS = {
  alive: "",
  suspect: "M0-.6V.12M0 .5V.52",
  unreachable: "M-.5 .5 .5-.5",
  cloned: "M-.3-.5V.5M.3-.5V.5",
  dead: "M-.55-.55 .55 .55M.55-.55-.55 .55",
  draining: "M0-.6V.5M-.4 .1 0 .5 .4 .1",
};
/** About the widths of a character of a zone's and of a peer's name. */
const ZONE_CHARACTER = 7;
const PEER_CHARACTER = 6.4;

/** The box of a zone, with its name; the circles of its peers go into its node. */
export class ZoneBox {
  #title;
  #rect = svg("rect", { class: "zone", rx: 8 });
  #text = svg("text", { class: "zone-name", "aria-hidden": "true" });

  /** @param {string|null} name */
  constructor(name) {
    this.#title = name ?? texts.peers.noZone;
    this.node = svg("g", { role: "group", "aria-label": this.#title }, this.#rect, this.#text);
  }

  /** @param {Zone} zone */
  move({ x, y, width, height }) {
    // Half a unit further in, the line of the box lies on whole pixels.
    const inner = { x: x + 0.5, y: y + 0.5, width: width - 1, height: height - 1 };
    for (const [key, value] of Object.entries(inner)) setAttribute(this.#rect, key, value);
    setAttribute(this.#text, "x", x + 10);
    setAttribute(this.#text, "y", y + HEAD - 9);
    setText(this.#text, fitted(this.#title, width - 16, ZONE_CHARACTER));
  }
}

/** A peer's circle, with its name below it. */
export class Dot {
  label = svg("text", { class: "peer-name", "aria-hidden": "true" });
  #title = svg("title");
  // The whole cell can be pointed at, however small the circle.
  #hit = svg("rect", { class: "hit" });
  #outer = svg("circle", { class: "outer" });
  #inner = svg("circle", { class: "inner" });
  #mark = svg("path", { class: "state-mark" });
  /** @type {Peer|null} as it was drawn; null if it is to be drawn again whatever it is */
  #peer = null;
  /** @type {Place|null} */
  #place = null;
  #cell = 0;

  /** @param {string} id */
  constructor(id) {
    this.node = svg("g", { role: "option", tabindex: -1, "data-peer": id, "aria-selected": "false" });
    this.node.append(this.#title, this.#hit, this.#outer, this.#inner, this.#mark);
  }

  /**
   * @param {Place} place
   * @param {number} cell
   */
  move(place, cell) {
    const old = this.#place;
    if (old && this.#cell === cell && old.x === place.x && old.y === place.y && old.radius === place.radius) return;
    this.#place = place;
    this.#cell = cell;
    setAttribute(this.node, "transform", `translate(${place.x} ${place.y})`);
    const hit = { x: -cell / 2, y: -cell / 2, width: cell, height: cell };
    for (const [key, value] of Object.entries(hit)) setAttribute(this.#hit, key, value);
    setAttribute(this.#outer, "r", place.radius);
    setAttribute(this.#mark, "transform", `scale(${place.radius})`);
    setAttribute(this.#mark, "stroke-width", place.radius > 8 ? 2.5 : 1.5);
    setAttribute(this.label, "x", place.x);
    setAttribute(this.label, "y", place.y + cell / 2 + 9);
    this.#peer = null; // What depends on the size is drawn again.
  }

  /** @param {Peer} peer */
  draw(peer) {
    if (peer === this.#peer) return;
    this.#peer = peer;
    const state = stateShown(peer);
    const radius = this.#place?.radius ?? 0;
    setAttribute(this.node, "data-state", state);
    // The area is as the space used, as that of the outer circle is as the capacity.
    setAttribute(this.#inner, "r", (radius * Math.sqrt(ratio(peer.used_bytes, peer.capacity_bytes))).toFixed(1));
    setAttribute(this.#mark, "d", MARKS[state]);
    const name = peer.name || texts.peers.unnamed;
    const space = texts.peers.space(bytes(peer.used_bytes), bytes(peer.capacity_bytes));
    const label = texts.peers.label(name, texts.states[state], space, peer.zone ?? texts.peers.noZone);
    setAttribute(this.node, "aria-label", label);
    setText(this.#title, label);
    setText(this.label, this.#cell >= LABEL_CELL ? fitted(name, this.#cell, PEER_CHARACTER) : "");
  }

  remove() {
    this.node.remove();
    this.label.remove();
  }
}

/** What the signs mean, below the map. */
export function drawLegend() {
  const list = byId("map-legend");
  for (const state of /** @type {const} */ (["alive", "draining", "suspect", "unreachable", "cloned", "dead"])) {
    const sign = svg("g", { "data-state": state, transform: "translate(9 9)" });
    sign.append(
      svg("circle", { class: "outer", r: 8 }),
      svg("circle", { class: "inner", r: 5 }),
      svg("path", { class: "state-mark", d: MARKS[state], transform: "scale(8)", "stroke-width": 2 }),
    );
    const drawing = svg("svg", { width: 18, height: 18, viewBox: "0 0 18 18", "aria-hidden": "true" }, sign);
    list.append(element("li", {}, drawing, texts.states[state]));
  }
}

/**
 * As much of a name as fits.
 * @param {string} text
 * @param {number} width
 * @param {number} each about the width of a character
 */
function fitted(text, width, each) {
  const characters = [...text];
  const most = Math.floor(width / each);
  return characters.length <= most ? text : `${characters.slice(0, Math.max(1, most - 1)).join("")}…`;
}
