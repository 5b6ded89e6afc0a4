// What the dashboard says and draws, without a page: verdict, order of rows, map, scales, sentences of the log.
import assert from "node:assert/strict";
import { test } from "node:test";
import { arrange, held } from "../../../web/js/admin/rows.js";
import { layOut, neighbour, roomFor } from "../../../web/js/admin/layout.js";
import { area, line, peak, ticks } from "../../../web/js/admin/scale.js";
import { initial, reduce } from "../../../web/js/admin/state.js";
import { texts } from "../../../web/js/admin/texts.js";
import { verdict } from "../../../web/js/admin/verdict.js";
import { sentence } from "../../../web/js/admin/work.js";
import { failingView } from "../../../web/js/admin/failing.js";

const HEALTHY = { shares: 9, unproven: 0, misplaced: 0, weakened: 0, endangered: 0, unavailable: 0, lost: 0, copies: 0, paused: false, complete: true };

const FAILING = {
  worker: "repair", what: "cannot look after the shares", error: "the tracker's database failed: disk I/O error", failures: 3,
  since_ms: new Date(2026, 10, 24, 10).getTime(), failed_ms: new Date(2026, 10, 24, 11, 30).getTime(),
};

function judged(health, changes = {}, failing = []) {
  const swarm = { health: { ...HEALTHY, ...health }, failing };
  return verdict({ ...initial, connection: "live", peers: new Map([["a", {}]]), swarm, ...changes });
}

test("the verdict names what matters most", () => {
  const cases = [
    [{}, "good", "All shares have their replicas"],
    [{ shares: 0 }, "good", "No shares yet"],
    [{ complete: false }, "wait", "The tracker is still looking at its shares"],
    [{ weakened: 1, endangered: 2, copies: 12 }, "warn", "3 shares are short of a replica"],
    [{ weakened: 1 }, "warn", "1 share is short of a replica"],
    [{ unavailable: 2 }, "bad", "2 shares are unavailable: a chunk is only at peers that are away"],
    [{ lost: 1, weakened: 4 }, "bad", "1 share is lost: a chunk is at no known peer; 4 shares are short of a replica"],
    [{ paused: true, endangered: 7 }, "bad", "Repair is paused: too many peers vanished at once"],
  ];
  for (const [health, level, headline] of cases) {
    const said = judged(health);
    assert.deepEqual([said.level, said.headline], [level, headline]);
  }
});

test("the verdict's detail tells of copies, and why repair waits", () => {
  assert.equal(judged({ weakened: 3, copies: 12 }).detail, "12 copy orders under way");
  assert.match(judged({ paused: true, endangered: 7 }).detail, /^7 shares are short of a replica; it goes on when/);
});

test("the verdict says when it is old, or when there is nothing to judge", () => {
  assert.equal(judged({}, { connection: "lost" }).headline, "Not connected to the tracker");
  assert.equal(judged({}, { swarm: null }).level, "wait");
  assert.equal(judged({}, { peers: new Map() }).headline, "No peers yet");
});

test("the verdict is not good while the tracker's own work fails, or the number of shares is not known", () => {
  for (const health of [{}, { shares: 0 }, { shares: null }, { complete: false }]) {
    const { level, headline } = judged(health, {}, [FAILING]);
    assert.deepEqual([level, headline], ["warn", "The tracker cannot do all of its work"]);
  }
  assert.equal(judged({ lost: 1 }, {}, [FAILING]).level, "bad", "shares come first");
  assert.equal(judged({ shares: null }).level, "wait");
});

const GB = 1e9;

/** Peers of several zones and sizes, the same every time. */
function crowd(count, zones = 5) {
  return Array.from({ length: count }, (_, index) => ({
    id: `peer-${index}`,
    name: `name ${(index * 7919) % count}`,
    zone: index % (zones + 1) === zones ? null : `zone ${index % (zones + 1)}`,
    capacity_bytes: GB * (1 + ((index * 37) % 400)),
  }));
}

function checkLayout(layout, count) {
  assert.equal(layout.places.size, count);
  const places = [...layout.places.values()];
  for (const { x, y, radius } of places) {
    assert.ok(radius > 0 && x - radius >= 0 && y - radius >= 0, "inside, above and left");
    assert.ok(x + radius <= layout.width && y + radius <= layout.height, "inside, below and right");
  }
  places.sort((a, b) => a.x - b.x);
  places.forEach((place, index) => {
    for (let other = index + 1; other < places.length && places[other].x - place.x < 100; other += 1) {
      const apart = Math.hypot(places[other].x - place.x, places[other].y - place.y);
      assert.ok(apart >= place.radius + places[other].radius, "no two circles overlap");
    }
  });
  layout.zones.forEach((zone, index) => {
    assert.ok(zone.x + zone.width <= layout.width + 1e-9 && zone.y + zone.height <= layout.height + 1e-9);
    for (const other of layout.zones.slice(index + 1)) {
      const isBeside = zone.x + zone.width <= other.x || other.x + other.width <= zone.x;
      assert.ok(isBeside || zone.y + zone.height <= other.y || other.y + other.height <= zone.y, "no two zones overlap");
    }
  });
}

test("on the map nothing overlaps and everything is inside, from one peer to a thousand, on any width", () => {
  for (const width of [280, 320, 640, 1200])
    for (const [count, zones] of [[0, 1], [1, 1], [3, 3], [12, 2], [100, 7], [1000, 5], [1000, 300]])
      checkLayout(layOut(crowd(count, zones), width, null), count);
});

test("a peer keeps its place when another changes, joins or leaves", () => {
  const all = crowd(60, 3);
  const before = layOut(all, 800, null);
  const same = layOut([...all].reverse(), 800, before);
  assert.deepEqual(same, before, "the order of arrival does not matter");
  const without = all.filter((peer) => peer.id !== "peer-17");
  const after = layOut(without, 800, before);
  for (const [id, place] of after.places) assert.deepEqual(place, before.places.get(id));
  const back = layOut([...without, { ...all[17], id: "new", name: "0" }], 800, after);
  for (const [id, place] of after.places) assert.deepEqual(back.places.get(id), place);
  assert.deepEqual(back.places.get("new"), before.places.get("peer-17"), "a new peer takes the free cell");
});

test("a circle's area is as the capacity, and never too small to see", () => {
  const sized = (id, capacity_bytes) => ({ id, name: id, zone: null, capacity_bytes });
  const { places } = layOut([sized("large", 400), sized("half", 200), sized("tiny", 0)], 800, null);
  const area = (id) => places.get(id).radius ** 2;
  assert.ok(Math.abs(area("half") / area("large") - 0.5) < 1e-9);
  assert.ok(places.get("tiny").radius > places.get("large").radius / 4);
});

test("a zone grows in steps", () => {
  assert.deepEqual([1, 8, 9, 16, 17, 100, 1000].map(roomFor), [1, 8, 10, 16, 20, 112, 1024]);
});

test("arrow keys reach every peer and stop at the ends", () => {
  const layout = layOut(crowd(40, 3), 500, null);
  let at = neighbour(layout, "unknown", "Home");
  const seen = new Set();
  while (at !== null) {
    seen.add(at);
    at = neighbour(layout, at, "ArrowRight");
  }
  assert.equal(seen.size, 40);
  const first = neighbour(layout, "peer-0", "Home");
  const below = neighbour(layout, first, "ArrowDown");
  assert.ok(layout.places.get(below).y > layout.places.get(first).y);
  assert.equal(neighbour(layout, first, "ArrowUp"), null);
});

test("ticks are round and reach the largest value", () => {
  assert.deepEqual(ticks(0), [0, 1]);
  assert.deepEqual(ticks(NaN), [0, 1]);
  assert.deepEqual(ticks(110_000), [0, 50_000, 100_000, 150_000]);
  for (const most of [1, 3, 1000, 1e6, 123456789, 4e12]) {
    const steps = ticks(most);
    assert.ok(steps.at(-1) >= most && steps.length >= 2 && steps.length <= 6, `${most}`);
  }
});

test("a line fits its frame and breaks where nothing is known", () => {
  const frame = { left: 10, top: 5, width: 100, height: 50 };
  const range = { from_ms: 0, to_ms: 100_000, most: 10 };
  const points = [[0, 0], [2_000, 10], [50_000, 5], [52_000, 20]].map(([at_ms, value]) => ({ at_ms, value }));
  assert.equal(line(points, frame, range), "M10 55L12 5M60 30L62 5");
  assert.equal(area(points.slice(0, 2), frame, range), "M10 55L10 55L12 5L12 55Z");
  assert.equal(line([], frame, range), "");
  assert.equal(line([{ at_ms: -1, value: 1 }], frame, range), "", "what is older is not drawn");
  assert.equal(peak(points), 20);
});

function rowOf(id, changes = {}) {
  return {
    id, name: id, state: "alive", zone: null, addresses: [], used_bytes: 0, version: "1.2.0", seen_ms: 0, draining: null,
    received_bytes_per_s: 0, served_bytes_per_s: 0, scrub: null, ...changes,
  };
}

const ids = (rows) => rows.map((row) => row.id).join(" ");

test("rows are sorted as people count, both ways, equal ones by name", () => {
  const rows = [rowOf("nas 10"), rowOf("nas 9"), rowOf("attic", { state: "dead", zone: "b" }), rowOf("cellar", { draining: 1, zone: "a" })];
  const sorted = (column, descending = false) => ids(arrange(rows, "", { column, descending }));
  assert.equal(sorted("name"), "attic cellar nas 9 nas 10");
  assert.equal(sorted("name", true), "nas 10 nas 9 cellar attic");
  assert.equal(sorted("state"), "attic cellar nas 9 nas 10");
  assert.equal(sorted("zone"), "cellar attic nas 9 nas 10");
  assert.equal(sorted("space", true), "attic cellar nas 9 nas 10");
});

test("the filter finds name, zone, state, version and address, whatever the case", () => {
  const rows = [rowOf("NAS", { zone: "cellar" }), rowOf("b", { state: "dead" }), rowOf("c", { addresses: ["10.1.2.3:99"], version: "3.1" })];
  const found = (filter) => ids(arrange(rows, filter, { column: "name", descending: false }));
  assert.deepEqual(["nas", " Cell", "dead", "10.1", "3.1", "", "none"].map(found), ["NAS", "NAS", "b", "c", "c", "b c NAS", ""]);
});

test("rows keep their order while somebody is at them", () => {
  const rows = ["a", "b", "d", "c"].map((id) => rowOf(id));
  assert.equal(ids(held(rows, ["c", "gone", "a"])), "c a b d");
});

test("every kind of event has its words, whoever is named", () => {
  const hostile = "<img src=x onerror=alert(1)>";
  for (const tell of Object.values(texts.log.kinds)) {
    const said = tell({ peer: hostile, share: "abc", detail: "" });
    assert.equal(typeof said, "string");
    assert.ok(said.length > 5 && !said.includes("undefined"));
  }
});

test("the log tells an event's detail, as whose invite it was", () => {
  assert.equal(sentence({ at_ms: 1, kind: "invite-made", detail: "alice" }), "An invite was made (alice)");
});

/** An element of a page that is hardly one: it has children, and a text. */
function node() {
  const children = [];
  return {
    hidden: false, textContent: "", className: "", children,
    get firstElementChild() { return children[0] ?? null; },
    get nextElementSibling() { return this.parent.children[this.parent.children.indexOf(this) + 1] ?? null; },
    insertBefore(child, next) {
      child.parent?.children.splice(child.parent.children.indexOf(child), 1);
      children.splice(next === null ? children.length : children.indexOf(next), 0, Object.assign(child, { parent: this }));
    },
    remove() { this.parent.children.splice(this.parent.children.indexOf(this), 1); },
  };
}

test("what the tracker cannot do is shown with its reason for as long as it fails, and to nobody who signed out", (context) => {
  const elements = { failing: node(), "failing-workers": node() };
  globalThis.document = { getElementById: (id) => elements[id], createElement: node };
  context.after(() => { delete globalThis.document; });
  elements.failing.hidden = true;
  const view = failingView();
  let state = initial;
  const tell = (event) => {
    const before = state;
    state = reduce(state, event);
    view.update(state, before);
    return [elements.failing.hidden, elements["failing-workers"].children.map((item) => item.textContent)];
  };
  const swarm = (...failing) => tell({ type: "swarm", received_ms: 1, data: { now_ms: 1, health: HEALTHY, failing } });
  const said = "repair cannot look after the shares: the tracker's database failed: disk I/O error " +
    "(3 failures since 24 Nov 2026, 10:00, the last at 24 Nov 2026, 11:30)";
  const audits = { ...FAILING, worker: "audits", what: "cannot audit a peer", error: "full", failures: 1 };
  assert.deepEqual(swarm(), [true, []]);
  assert.deepEqual(swarm(FAILING), [false, [said]]);
  const [isHidden, [first, second]] = swarm(audits, { ...FAILING, failures: 4 });
  assert.equal(isHidden, false);
  assert.match(first, /^audits cannot audit a peer: full \(1 failure since /);
  assert.equal(second, said.replace("3 failures", "4 failures"));
  assert.deepEqual(swarm(FAILING), [false, [said]]);
  assert.deepEqual(tell({ type: "signed-out" }), [true, []]);
  assert.deepEqual([swarm(FAILING), swarm()], [[false, [said]], [true, []]]);
});
