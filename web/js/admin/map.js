// The map of the swarm: one circle a peer. For a screen reader it is a list from which one peer is chosen.

import { byId } from "../page/dom.js";
import { setAttribute } from "./parts.js";
import { layOut, neighbour } from "./layout.js";
import { Dot, ZoneBox, drawLegend } from "./map-shapes.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Peer} Peer */
/** @typedef {import("./state.js").Event} Event */
/** @typedef {import("./layout.js").Layout} Layout */

const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
const WIDTH_MIN = 200;
/** Change of the width from which on peers are arranged anew: a few pixels would only make them tremble. */
const WIDTH_STEP = 8;

/**
 * @param {(event: Event) => void} tell
 * @param {(id: string) => void} show has the peer's row shown
 * @returns {View}
 */
export function mapView(tell, show) {
  const map = new SwarmMap();
  map.listen(tell, show);
  drawLegend();
  return map;
}

/** The map as it is drawn now. */
class SwarmMap {
  #root = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (byId("map")));
  #scroll = byId("map-scroll");
  /** @type {Map<string, Dot>} */
  #dots = new Map();
  /** @type {Map<string|null, ZoneBox>} */
  #boxes = new Map();
  /** @type {Layout|null} */
  #layout = null;
  /** @type {State|null} */
  #state = null;
  #width = 0;

  /**
   * @param {State} state
   * @param {State} before
   */
  update(state, before) {
    // At first nothing is drawn, whatever the state was before.
    const drawn = this.#state === null ? new Map() : before.peers;
    this.#state = state;
    if (state.peers !== drawn) this.#drawPeers(state.peers, drawn);
    if (state.selected !== before.selected) this.#drawSelected(state.selected, before.selected);
  }

  /**
   * @param {(event: Event) => void} tell
   * @param {(id: string) => void} show
   */
  listen(tell, show) {
    this.#root.addEventListener("focusin", (event) => {
      const id = peerOf(event);
      if (id !== null) tell({ type: "select", id });
    });
    this.#root.addEventListener("click", (event) => {
      const id = peerOf(event);
      if (id !== null) this.#focus(id);
    });
    this.#root.addEventListener("keydown", (event) => {
      const id = peerOf(event);
      if (id === null || !this.#layout) return;
      if (event.key === "Enter" || event.key === " ") show(id);
      else if (KEYS.includes(event.key)) {
        const next = neighbour(this.#layout, id, /** @type {"Home"} */ (event.key));
        if (next !== null) this.#focus(next);
      } else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.#resize()).observe(this.#scroll);
  }

  /** @param {string} id */
  #focus(id) {
    this.#dots.get(id)?.node.focus();
  }

  #resize() {
    const peers = this.#state?.peers;
    if (!peers || peers.size === 0 || Math.abs(this.#scroll.clientWidth - this.#width) <= WIDTH_STEP) return;
    this.#arrange(peers);
    this.#drawDots(peers);
  }

  /**
   * @param {State["peers"]} peers
   * @param {State["peers"]} before
   */
  #drawPeers(peers, before) {
    byId("map-empty").hidden = peers.size > 0;
    this.#scroll.hidden = peers.size === 0;
    setAttribute(this.#root, "role", peers.size > 0 ? "listbox" : null);
    if (peers.size !== before.size || this.#layout === null || moved(peers, before)) this.#arrange(peers);
    this.#drawDots(peers);
  }

  /** @param {State["peers"]} peers */
  #drawDots(peers) {
    for (const [id, peer] of peers) this.#dots.get(id)?.draw(peer);
  }

  /**
   * Gives every zone and peer its place.
   * @param {State["peers"]} peers
   */
  #arrange(peers) {
    this.#width = Math.max(WIDTH_MIN, this.#scroll.clientWidth || 800);
    const layout = layOut(peers.values(), this.#width, this.#layout);
    this.#layout = layout;
    setAttribute(this.#root, "viewBox", `0 0 ${layout.width} ${layout.height}`);
    setAttribute(this.#root, "width", layout.width);
    setAttribute(this.#root, "height", layout.height);
    for (const [id, dot] of this.#dots) {
      if (peers.has(id)) continue;
      dot.remove();
      this.#dots.delete(id);
    }
    this.#moveAll(layout);
    // Only now: a peer that changed its zone has left the box of the one before.
    const names = new Set(layout.zones.map((zone) => zone.name));
    for (const [name, box] of this.#boxes) {
      if (names.has(name)) continue;
      box.node.remove();
      this.#boxes.delete(name);
    }
    this.#keepOneTabStop();
  }

  /** @param {Layout} layout */
  #moveAll({ zones, places, cell }) {
    for (const zone of zones) {
      const box = this.#boxOf(zone.name);
      box.move(zone);
      for (const id of zone.slots) {
        const place = id === null ? undefined : places.get(id);
        if (id === null || !place) continue;
        const dot = this.#dotOf(id);
        if (dot.node.parentNode !== box.node) box.node.append(dot.node, dot.label);
        dot.move(place, cell);
      }
    }
  }

  /** @param {string|null} name */
  #boxOf(name) {
    let box = this.#boxes.get(name);
    if (!box) {
      box = new ZoneBox(name);
      this.#boxes.set(name, box);
      this.#root.append(box.node);
    }
    return box;
  }

  /** @param {string} id */
  #dotOf(id) {
    let dot = this.#dots.get(id);
    if (!dot) {
      dot = new Dot(id);
      this.#dots.set(id, dot);
    }
    return dot;
  }

  /**
   * @param {string|null} now
   * @param {string|null} earlier
   */
  #drawSelected(now, earlier) {
    if (earlier !== null) this.#dots.get(earlier)?.node.setAttribute("aria-selected", "false");
    if (now !== null) this.#dots.get(now)?.node.setAttribute("aria-selected", "true");
    this.#keepOneTabStop();
  }

  /** The tab key reaches the map once; from there on, arrow keys. */
  #keepOneTabStop() {
    const selected = this.#state?.selected;
    const stop = (selected && this.#dots.get(selected)?.node) || this.#root.querySelector("[data-peer]");
    for (const node of this.#root.querySelectorAll('[tabindex="0"]')) if (node !== stop) setAttribute(node, "tabindex", -1);
    if (stop) setAttribute(stop, "tabindex", 0);
  }
}

/** @param {globalThis.Event} event */
function peerOf(event) {
  return (event.target instanceof Element && event.target.closest("[data-peer]")?.getAttribute("data-peer")) || null;
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
