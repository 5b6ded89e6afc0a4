// The map of the swarm: one circle a peer. For a screen reader it is a list from which one peer is chosen.

import { byId, element } from "../page/dom.js";
import { bytes } from "../page/words.js";
import { texts } from "./texts.js";
import { ratio, setAttribute, setText, svg } from "./parts.js";
import { standing } from "./state.js";
import { HEAD, LABEL_CELL, layOut, neighbour } from "./layout.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Peer} Peer */
/** @typedef {import("./state.js").Event} Event */
/** @typedef {import("./layout.js").Layout} Layout */
/** @typedef {import("./layout.js").Place} Place */
/** @typedef {import("./layout.js").Zone} Zone */
/** @typedef {{ node: SVGGElement, title: SVGTitleElement, hit: SVGRectElement, outer: SVGCircleElement, inner: SVGCircleElement,
 *   mark: SVGPathElement, label: SVGTextElement, peer: Peer|null, place: Place|null, cell: number }} Dot */

/** What is drawn over a circle, in units of its radius, so that states differ without colour. */
const MARKS = {
  alive: "",
  suspect: "M0-.6V.12M0 .5V.52",
  unreachable: "M-.5 .5 .5-.5",
  cloned: "M-.3-.5V.5M.3-.5V.5",
  dead: "M-.55-.55 .55 .55M.55-.55-.55 .55",
  draining: "M0-.6V.5M-.4 .1 0 .5 .4 .1",
};
const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];

/**
 * @param {(event: Event) => void} tell
 * @param {(id: string) => void} show has the peer's row shown
 * @returns {View}
 */
export function mapView(tell, show) {
  const map = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (byId("map")));
  const scroll = byId("map-scroll");
  /** @type {Map<string, Dot>} */
  const dots = new Map();
  /** @type {Map<string|null, { node: SVGGElement, box: SVGRectElement, name: SVGTextElement }>} */
  const boxes = new Map();
  /** @type {Layout|null} */
  let layout = null;
  /** @type {State|null} */
  let last = null;
  let width = 0;

  const view = {
    /** @type {View["update"]} */
    update(state, before) {
      if (last === null) before = { ...before, peers: new Map() };
      last = state;
      if (state.peers !== before.peers) drawPeers(state, before);
      if (state.selected !== before.selected) drawSelected(state.selected, before.selected);
    },
  };

  /**
   * @param {State} state
   * @param {State} before
   */
  function drawPeers({ peers }, before) {
    byId("map-empty").hidden = peers.size > 0;
    scroll.hidden = peers.size === 0;
    setAttribute(map, "role", peers.size > 0 ? "listbox" : null);
    if (peers.size !== before.peers.size || layout === null || moved(peers, before.peers)) arrangeMap(peers);
    for (const [id, peer] of peers) {
      const dot = dots.get(id);
      if (dot && dot.peer !== peer) drawPeer(dot, peer);
    }
  }

  /** @param {ReadonlyMap<string, Peer>} peers */
  function arrangeMap(peers) {
    width = Math.max(200, scroll.clientWidth || 800);
    layout = layOut(peers.values(), width, layout);
    setAttribute(map, "viewBox", `0 0 ${layout.width} ${layout.height}`);
    setAttribute(map, "width", layout.width);
    setAttribute(map, "height", layout.height);
    for (const zone of layout.zones) drawZone(zone);
    for (const [id, dot] of dots) {
      if (peers.has(id)) continue;
      dot.node.remove();
      dot.label.remove();
      dots.delete(id);
    }
    for (const zone of layout.zones) {
      const parent = /** @type {SVGGElement} */ (boxes.get(zone.name)?.node);
      for (const id of zone.slots) {
        const place = id === null ? undefined : layout.places.get(id);
        if (id === null || !place) continue;
        const dot = dots.get(id) ?? makeDot(id);
        if (dot.node.parentNode !== parent) parent.append(dot.node, dot.label);
        movePeer(dot, place, layout.cell);
      }
    }
    const names = new Set(layout.zones.map((zone) => zone.name));
    for (const [name, box] of boxes) {
      if (names.has(name)) continue;
      box.node.remove();
      boxes.delete(name);
    }
    keepOneTabStop();
  }

  /** @param {Zone} zone */
  function drawZone({ name, x, y, width, height }) {
    let box = boxes.get(name);
    if (!box) {
      const title = name ?? texts.peers.noZone;
      const rect = svg("rect", { class: "zone", rx: 8 });
      const text = svg("text", { class: "zone-name", "aria-hidden": "true" });
      const node = svg("g", { role: "group", "aria-label": title }, rect, text);
      box = { node, box: rect, name: text };
      boxes.set(name, box);
      map.append(node);
    }
    for (const [key, value] of Object.entries({ x: x + 0.5, y: y + 0.5, width: width - 1, height: height - 1 }))
      setAttribute(box.box, key, value);
    setAttribute(box.name, "x", x + 10);
    setAttribute(box.name, "y", y + HEAD - 9);
    setText(box.name, fitted(name ?? texts.peers.noZone, width - 16, 7));
  }

  /** @param {string} id */
  function makeDot(id) {
    const title = svg("title");
    // The whole cell can be pointed at, however small the circle.
    const hit = svg("rect", { class: "hit" });
    const outer = svg("circle", { class: "outer" });
    const inner = svg("circle", { class: "inner" });
    const mark = svg("path", { class: "state-mark" });
    const label = svg("text", { class: "peer-name", "aria-hidden": "true" });
    const node = svg("g", { role: "option", tabindex: -1, "data-peer": id, "aria-selected": "false" });
    node.append(title, hit, outer, inner, mark);
    /** @type {Dot} */
    const dot = { node, title, hit, outer, inner, mark, label, peer: null, place: null, cell: 0 };
    dots.set(id, dot);
    return dot;
  }

  /**
   * @param {Dot} dot
   * @param {Place} place
   * @param {number} cell
   */
  function movePeer(dot, place, cell) {
    const { place: old } = dot;
    if (old && dot.cell === cell && old.x === place.x && old.y === place.y && old.radius === place.radius) return;
    dot.place = place;
    dot.cell = cell;
    setAttribute(dot.node, "transform", `translate(${place.x} ${place.y})`);
    for (const [key, value] of Object.entries({ x: -cell / 2, y: -cell / 2, width: cell, height: cell })) setAttribute(dot.hit, key, value);
    setAttribute(dot.outer, "r", place.radius);
    setAttribute(dot.mark, "transform", `scale(${place.radius})`);
    setAttribute(dot.mark, "stroke-width", place.radius > 8 ? 2.5 : 1.5);
    setAttribute(dot.label, "x", place.x);
    setAttribute(dot.label, "y", place.y + cell / 2 + 9);
    dot.peer = null; // What depends on the size is drawn again.
  }

  /**
   * @param {Dot} dot
   * @param {Peer} peer
   */
  function drawPeer(dot, peer) {
    dot.peer = peer;
    const state = standing(peer);
    const radius = dot.place?.radius ?? 0;
    setAttribute(dot.node, "data-state", state);
    setAttribute(dot.inner, "r", (radius * Math.sqrt(ratio(peer.used_bytes, peer.capacity_bytes))).toFixed(1));
    setAttribute(dot.mark, "d", MARKS[state]);
    const name = peer.name || texts.peers.unnamed;
    const space = texts.peers.space(bytes(peer.used_bytes), bytes(peer.capacity_bytes));
    const label = texts.peers.label(name, texts.states[state], space, peer.zone ?? texts.peers.noZone);
    setAttribute(dot.node, "aria-label", label);
    setText(dot.title, label);
    setText(dot.label, dot.cell >= LABEL_CELL ? fitted(name, dot.cell, 6.4) : "");
  }

  /**
   * @param {string|null} now
   * @param {string|null} earlier
   */
  function drawSelected(now, earlier) {
    if (earlier !== null) dots.get(earlier)?.node.setAttribute("aria-selected", "false");
    const dot = now === null ? undefined : dots.get(now);
    dot?.node.setAttribute("aria-selected", "true");
    keepOneTabStop();
  }

  /** The tab key reaches the map once; from there on, arrow keys. */
  function keepOneTabStop() {
    const stop = (last?.selected && dots.get(last.selected)?.node) || map.querySelector("[data-peer]");
    for (const node of map.querySelectorAll('[tabindex="0"]')) if (node !== stop) setAttribute(node, "tabindex", -1);
    if (stop) setAttribute(stop, "tabindex", 0);
  }

  /** @param {globalThis.Event} event */
  const peerOf = (event) =>
    (event.target instanceof Element && event.target.closest("[data-peer]")?.getAttribute("data-peer")) || null;
  map.addEventListener("focusin", (event) => {
    const id = peerOf(event);
    if (id !== null) tell({ type: "select", id });
  });
  map.addEventListener("click", (event) => {
    const id = peerOf(event);
    if (id !== null) dots.get(id)?.node.focus();
  });
  map.addEventListener("keydown", (event) => {
    const id = peerOf(event);
    if (id === null || !layout) return;
    if (event.key === "Enter" || event.key === " ") show(id);
    else if (KEYS.includes(event.key)) {
      const next = neighbour(layout, id, /** @type {"Home"} */ (event.key));
      if (next !== null) dots.get(next)?.node.focus();
    } else return;
    event.preventDefault();
  });
  new ResizeObserver(() => {
    if (last && last.peers.size > 0 && Math.abs(scroll.clientWidth - width) > 8) {
      const state = last;
      arrangeMap(state.peers);
      for (const [id, dot] of dots) {
        const peer = state.peers.get(id);
        if (peer && dot.peer !== peer) drawPeer(dot, peer);
      }
    }
  }).observe(scroll);
  legend();
  return view;
}

/**
 * Whether any peer's place may differ.
 * @param {ReadonlyMap<string, Peer>} peers
 * @param {ReadonlyMap<string, Peer>} before
 */
function moved(peers, before) {
  for (const [id, peer] of peers) {
    const old = before.get(id);
    if (old === peer) continue;
    if (!old || old.zone !== peer.zone || old.capacity_bytes !== peer.capacity_bytes) return true;
  }
  return false;
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

function legend() {
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
