// The dashboard's state: what each event does to it, and what it leaves alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HISTORY_MS, LOG_MAX, countPeers, initial, masked, reduce, stateShown } from "../../../web/js/admin/state.js";

const health = { shares: 1, unproven: 0, misplaced: 0, weakened: 0, endangered: 0, unavailable: 0, lost: 0, copies: 0, paused: false, complete: true };

function peer(id, changes = {}) {
  return {
    id, name: `peer ${id}`, state: "alive", why: null, zone: null, addresses: ["10.0.0.1:4000"], capacity_bytes: 100, used_bytes: 10,
    free_bytes: 90, version: "0.1.0", seen_ms: 0, draining: null, received_bytes_per_s: 0, served_bytes_per_s: 0,
    scrub: null, ...changes,
  };
}

function swarm(now_ms, received_ms = now_ms) {
  const rates = { received_bytes_per_s: 1, served_bytes_per_s: 2, gateway_bytes_per_s: 0 };
  return { type: "swarm", received_ms, data: { now_ms, health, used_bytes: 3, capacity_bytes: 4, ...rates } };
}

const peers = (changed, gone = []) => ({ type: "peers", data: { peers: changed, gone } });
const log = (...entries) => ({ type: "log", data: { entries } });
const run = (events, state = initial) => events.reduce(reduce, state);

test("peers come in parts, change and go, and those that did not change stay the same objects", () => {
  const [a, b] = [peer("a"), peer("b")];
  const all = run([peers([a]), peers([b])]);
  assert.deepEqual([...all.peers.keys()], ["a", "b"]);
  const next = reduce(all, peers([peer("b", { state: "dead" })]));
  assert.equal(next.peers.get("a"), a);
  assert.equal(next.peers.get("b").state, "dead");
  assert.equal(all.peers.get("b"), b, "an earlier state is not changed");
  assert.deepEqual(countPeers(next.peers), { alive: 1, suspect: 0, unreachable: 0, cloned: 0, dead: 1 });
  assert.deepEqual([...reduce(next, peers([], ["b"])).peers.keys()], ["a"]);
});

test("a peer that left while the connection was lost goes with the second tick of the next", () => {
  const before = run([{ type: "opened" }, swarm(1), peers([peer("a"), peer("b")]), { type: "lost" }]);
  const first = run([{ type: "opened" }, swarm(5), peers([peer("a")])], before);
  assert.equal(first.peers.size, 2, "the rest of the list may still come");
  assert.deepEqual([...reduce(first, swarm(7)).peers.keys()], ["a"]);
});

test("a chosen peer is let go when it is gone", () => {
  const chosen = run([peers([peer("a")]), { type: "select", id: "a" }]);
  assert.equal(chosen.selected, "a");
  assert.equal(reduce(chosen, { type: "forgotten", id: "a" }).selected, null);
});

test("an event that changes nothing gives the same state", () => {
  const lost = reduce(initial, { type: "lost" });
  assert.equal(reduce(lost, { type: "lost" }), lost);
  const state = reduce(initial, log({ at_ms: 1, kind: "signed-in" }));
  assert.equal(reduce(state, log({ at_ms: 1, kind: "signed-in" })), state);
});

test("the tracker's clock is known from its figures", () => {
  assert.equal(reduce(initial, swarm(10_000, 4_000)).clock_ms, 6_000);
});

test("samples are joined where history and figures overlap, and end after ten minutes", () => {
  const sample = (at_ms) => ({ at_ms, used_bytes: 0, received_bytes_per_s: 0, served_bytes_per_s: 0 });
  const history = (...times) => ({ type: "history", data: { samples: times.map(sample) } });
  const state = run([swarm(4_000), history(2_000, 4_000), swarm(6_000)]);
  assert.deepEqual(state.samples.map((one) => one.at_ms), [2_000, 4_000, 6_000]);
  // A tracker that started again knows less than the page.
  const again = run([history(8_000)], state);
  assert.deepEqual(again.samples.map((one) => one.at_ms), [2_000, 4_000, 6_000, 8_000]);
  const later = reduce(again, swarm(6_000 + HISTORY_MS));
  assert.deepEqual(later.samples.map((one) => one.at_ms), [6_000, 8_000, 6_000 + HISTORY_MS]);
});

test("the log is newest first, without doubles, and bounded", () => {
  const entry = (at_ms) => ({ at_ms, kind: "peer-dead", peer: "a" });
  const state = run([log(entry(1), entry(2)), log(entry(1), entry(2), entry(3))]);
  assert.deepEqual(state.log.map((one) => one.at_ms), [3, 2, 1]);
  const many = reduce(state, log(...Array.from({ length: 500 }, (_, index) => entry(index + 10))));
  assert.equal(many.log.length, LOG_MAX);
  assert.equal(many.log[0].at_ms, 509);
});

test("pages of shares are added, and one that was taken down goes", () => {
  const page = (ids, next, more) => ({ type: "shares", data: { shares: ids.map((share) => ({ share })), next }, more });
  const two = run([page(["a", "b"], "b", false), page(["c"], null, true)]);
  assert.deepEqual(two.shares.rows.map((row) => row.share), ["a", "b", "c"]);
  assert.equal(two.shares.next, null);
  const less = reduce(two, { type: "taken-down", share: "b" });
  assert.deepEqual(less.shares.rows.map((row) => row.share), ["a", "c"]);
  assert.deepEqual(reduce(less, page(["d"], null, false)).shares.rows.map((row) => row.share), ["d"]);
});

test("signing out leaves nothing", () => {
  assert.equal(run([peers([peer("a")]), swarm(1), { type: "signed-out" }]), initial);
});

test("draining shows only on a peer that is alive", () => {
  assert.equal(stateShown(peer("a", { draining: 0 })), "draining");
  assert.equal(stateShown(peer("a", { draining: 3, state: "dead" })), "dead");
  assert.equal(stateShown(peer("a")), "alive");
});

test("what is not seen in a name is shown as an unknown character", () => {
  const told = JSON.parse(String.raw`{"name":"a\u202eb\u0000\n\u2066","peers":[{"zone":"Küche 1"}],"at_ms":5}`, masked);
  assert.deepEqual(told, { name: "a\ufffdb\ufffd\ufffd\ufffd", peers: [{ zone: "Küche 1" }], at_ms: 5 });
});
