// All that the dashboard knows, and how each event changes it. Pure: no page, no clock, no network. A row that did not
// change stays the same object, so that the views compare by identity and touch only what changed.

/**
 * @typedef {"alive"|"suspect"|"unreachable"|"cloned"|"dead"} Liveness
 * @typedef {{ id: string, name: string, state: Liveness, why: string|null, zone: string|null, addresses: string[], capacity_bytes: number,
 *   used_bytes: number, free_bytes: number, version: string, seen_ms: number, draining: number|null,
 *   received_bytes_per_s: number, served_bytes_per_s: number,
 *   scrub: { done_bytes: number, total_bytes: number }|null }} Peer
 * @typedef {{ shares: number|null, unproven: number, misplaced: number, weakened: number, endangered: number, unavailable: number, lost: number, copies: number,
 *   paused: boolean, complete: boolean }} Health
 * @typedef {{ now_ms: number, health: Health, used_bytes: number, capacity_bytes: number, received_bytes_per_s: number,
 *   served_bytes_per_s: number, gateway_bytes_per_s: number, failing: readonly FailingWorker[] }} Swarm
 * @typedef {{ worker: string, what: string, error: string, since_ms: number, failed_ms: number, failures: number }} FailingWorker
 * @typedef {{ at_ms: number, used_bytes: number, received_bytes_per_s: number, served_bytes_per_s: number }} Sample
 * @typedef {{ share: string, target: string, chunks_left: number }} Copy
 * @typedef {{ at_ms: number, kind: string, peer?: string, peer_name?: string, share?: string, detail?: string }} LogEntry
 * @typedef {"healthy"|"unproven"|"weakened"|"endangered"|"unavailable"|"lost"} Condition
 * @typedef {{ share: string, total_bytes: number, chunk_count: number, replicas: number, peers: string[],
 *   fewest_replicas: number, missing_chunks: number, expires_ms: number, condition: Condition }} Share
 * @typedef {{ id: string, role: "admin"|"peer"|"sender", name: string, created_ms: number, expires_ms: number|null,
 *   revoked: boolean, allowance: Allowance, used: Used, peers: number }} Invite
 * @typedef {{ bytes: number, shares: number, manifest_bytes: number, uploads: number }} Used
 * @typedef {{ quota_bytes: number|null, share_bytes_max: number|null, life_ms_max: number|null, replicas_max: number|null,
 *   peers_max: number|null, zone: string|null }} Allowance
 * @typedef {"connecting"|"live"|"lost"} Connection
 *
 * @typedef {object} State
 * @property {Connection} connection
 * @property {ReadonlyMap<string, Peer>} peers
 * @property {Swarm|null} swarm the newest figures
 * @property {number} clock_ms what to add to this machine's clock to get the tracker's
 * @property {readonly Sample[]} samples oldest first, of the last ten minutes
 * @property {{ copies: readonly Copy[], more: number }} work
 * @property {readonly LogEntry[]} log newest first
 * @property {{ rows: readonly Share[], next: string|null }|null} shares the pages that were loaded
 * @property {readonly Invite[]|null} invites
 * @property {string|null} selected the peer that is shown in full
 * @property {ReadonlySet<string>} unheard peers of an earlier connection that this one has not named yet
 * @property {number} swarms `swarm` events of this connection
 *
 * @typedef {{ type: "opened" } | { type: "lost" } | { type: "signed-out" } | { type: "select", id: string|null }
 *   | { type: "swarm", data: Swarm, received_ms: number }
 *   | { type: "peers", data: { peers: Peer[], gone: string[] } }
 *   | { type: "history", data: { samples: Sample[] } }
 *   | { type: "work", data: { copies: Copy[], more: number } }
 *   | { type: "log", data: { entries: LogEntry[] } }
 *   | { type: "forgotten", id: string }
 *   | { type: "shares", data: { shares: Share[], next: string|null }, more: boolean }
 *   | { type: "taken-down", share: string }
 *   | { type: "invites", data: { invites: Invite[] } }} Event
 */

/** How far back the plots look. */
export const HISTORY_MS = 10 * 60 * 1000;
/** Entries of the log that are kept. */
export const LOG_MAX = 200;

/** @type {State} */
export const initial = {
  connection: "connecting",
  peers: new Map(),
  swarm: null,
  clock_ms: 0,
  samples: [],
  work: { copies: [], more: 0 },
  log: [],
  shares: null,
  invites: null,
  selected: null,
  unheard: new Set(),
  swarms: 0,
};

/**
 * The state after an event.
 * @param {State} state
 * @param {Event} event
 * @returns {State}
 */
export function reduce(state, event) {
  switch (event.type) {
    case "opened":
      return { ...state, connection: "live", unheard: new Set(state.peers.keys()), swarms: 0 };
    case "lost":
      return state.connection === "lost" ? state : { ...state, connection: "lost" };
    case "signed-out":
      return initial;
    case "select":
      return state.selected === event.id ? state : { ...state, selected: event.id };
    case "swarm":
      return afterSwarm(state, event.data, event.received_ms);
    case "peers":
      return afterPeers(state, event.data.peers, event.data.gone ?? []);
    case "forgotten":
      return afterPeers(state, [], [event.id]);
    case "history":
      return { ...state, samples: recent(joined(state.samples, event.data.samples)) };
    case "work":
      return { ...state, work: event.data };
    case "log": {
      const log = newestFirst(state.log, event.data.entries);
      return log === state.log ? state : { ...state, log };
    }
    case "shares": {
      const before = event.more ? (state.shares?.rows ?? []) : [];
      return { ...state, shares: { rows: [...before, ...event.data.shares], next: event.data.next } };
    }
    case "taken-down": {
      const { shares } = state;
      return shares ? { ...state, shares: { ...shares, rows: shares.rows.filter((row) => row.share !== event.share) } } : state;
    }
    case "invites":
      return { ...state, invites: event.data.invites };
  }
}

/**
 * @param {State} state
 * @param {Swarm} swarm
 * @param {number} received_ms
 * @returns {State}
 */
function afterSwarm(state, swarm, received_ms) {
  const sample = {
    at_ms: swarm.now_ms,
    used_bytes: swarm.used_bytes,
    received_bytes_per_s: swarm.received_bytes_per_s,
    served_bytes_per_s: swarm.served_bytes_per_s,
  };
  const next = {
    ...state,
    swarm,
    clock_ms: swarm.now_ms - received_ms,
    samples: recent(joined(state.samples, [sample])),
    swarms: state.swarms + 1,
  };
  // A connection begins with all peers. What it has not named by its second tick left while there was none.
  return next.swarms >= 2 && state.unheard.size > 0
    ? { ...afterPeers(next, [], [...state.unheard]), unheard: new Set() }
    : next;
}

/**
 * @param {State} state
 * @param {readonly Peer[]} changed
 * @param {readonly string[]} gone
 * @returns {State}
 */
function afterPeers(state, changed, gone) {
  const peers = new Map(state.peers);
  const unheard = new Set(state.unheard);
  for (const peer of changed) {
    peers.set(peer.id, peer);
    unheard.delete(peer.id);
  }
  for (const id of gone) {
    peers.delete(id);
    unheard.delete(id);
  }
  const selected = state.selected !== null && peers.has(state.selected) ? state.selected : null;
  return { ...state, peers, unheard, selected };
}

/**
 * Old samples, then new ones: where the two overlap, the new ones are right.
 * @param {readonly Sample[]} old
 * @param {readonly Sample[]} added
 * @returns {readonly Sample[]}
 */
function joined(old, added) {
  const first = added[0];
  if (!first) return old;
  return [...old.filter((sample) => sample.at_ms < first.at_ms), ...added];
}

/**
 * @param {readonly Sample[]} samples
 * @returns {readonly Sample[]}
 */
function recent(samples) {
  const last = samples.at(-1);
  return last ? samples.filter((sample) => sample.at_ms >= last.at_ms - HISTORY_MS) : samples;
}

/**
 * A new connection tells recent entries again: those are not listed twice.
 * @param {readonly LogEntry[]} log
 * @param {readonly LogEntry[]} added
 * @returns {readonly LogEntry[]}
 */
function newestFirst(log, added) {
  const known = new Set(log.map((entry) => JSON.stringify(entry)));
  const fresh = added.filter((entry) => !known.has(JSON.stringify(entry)));
  if (fresh.length === 0) return log;
  // Stable: of two with the same time, the later told one is the newer.
  return [...fresh.reverse(), ...log].sort((a, b) => b.at_ms - a.at_ms).slice(0, LOG_MAX);
}

/**
 * Names come from anybody: characters that are not seen, or that turn the reading direction, are shown as unknown ones.
 * To be used as the reviver of JSON.parse.
 * @param {string} _key
 * @param {unknown} value
 */
export function masked(_key, value) {
  return typeof value === "string" ? value.replace(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu, "\u{FFFD}") : value;
}

/**
 * How a peer is shown: being emptied matters as long as it is alive.
 * @param {Peer} peer
 * @returns {Liveness|"draining"}
 */
export function stateShown(peer) {
  return peer.state === "alive" && peer.draining !== null ? "draining" : peer.state;
}

/**
 * How many peers there are of each state.
 * @param {ReadonlyMap<string, Peer>} peers
 * @returns {Record<Liveness, number>}
 */
export function countPeers(peers) {
  const counts = { alive: 0, suspect: 0, unreachable: 0, cloned: 0, dead: 0 };
  for (const peer of peers.values()) counts[peer.state] += 1;
  return counts;
}
