// The head of the page: connection, verdict and figures.

import { byId } from "../page/dom.js";
import { bytes, rate } from "../page/words.js";
import { texts } from "./texts.js";
import { setAttribute, setText } from "./parts.js";
import { countPeers } from "./state.js";
import { verdict } from "./verdict.js";

/** @typedef {import("./parts.js").View} View */

const ICONS = { good: "✓", wait: "…", warn: "!", bad: "✕" };
const NEEDS = /** @type {const} */ (["weakened", "endangered", "unavailable", "lost"]);
const STATES = /** @type {const} */ (["alive", "suspect", "doubted", "dead"]);

/** @returns {View} */
export function figuresView() {
  return {
    update(state, before) {
      const { connection, swarm, peers } = state;
      byId("connection").hidden = connection !== "lost";
      setText(byId("connection"), connection === "lost" ? texts.connection.lost : "");
      const { level, headline, detail } = verdict(state);
      setAttribute(byId("verdict"), "data-level", level);
      setText(byId("verdict-icon"), ICONS[level]);
      setText(byId("verdict-headline"), headline);
      setText(byId("verdict-detail"), detail);
      if (peers !== before.peers) {
        const states = countPeers(peers);
        const counts = { ...states, doubted: states.unreachable + states.cloned };
        for (const name of STATES) figure(name, String(counts[name]), name !== "alive" && counts[name] > 0);
      }
      if (!swarm || swarm === before.swarm) return;
      const { health } = swarm;
      figure("shares", health.shares === null ? texts.unknown : String(health.shares), false);
      for (const need of NEEDS) figure(need, String(health[need]), health[need] > 0);
      figure("space", texts.peers.space(bytes(swarm.used_bytes), bytes(swarm.capacity_bytes)), false);
      figure("received", rate(swarm.received_bytes_per_s), false);
      figure("served", rate(swarm.served_bytes_per_s), false);
      figure("gateway", rate(swarm.gateway_bytes_per_s), false);
    },
  };
}

/**
 * @param {string} name
 * @param {string} text
 * @param {boolean} isNeed stands out
 */
function figure(name, text, isNeed) {
  const node = byId(`figure-${name}`);
  setText(node, text);
  node.classList.toggle("need", isNeed);
}
