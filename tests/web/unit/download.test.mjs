// The scheduler of downloads against a fake network: order, bounds, retries, giving up, going on, stopping.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, withRetries } from "../../../web/js/transfer/api.js";
import { Download, windowOf } from "../../../web/js/transfer/download.js";
import { Geometry } from "../../../web/js/format/geometry.js";
import { DownloadSpeed } from "../../../web/js/get/progress.js";

const lost = () => new ApiError("network", 0, "lost");
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A download of `count` chunks of 1 MiB whose network, clock and sink are the test's. */
function setUp(count, { log2 = 20, fetch = async () => {}, write = async () => {} } = {}) {
  const geometry = Geometry.of(count * 2 ** log2, log2);
  const seen = { running: 0, most: 0, inMemory: 0, mostInMemory: 0, fetched: [], written: [], pauses: [], waits: [], nowMs: 0 };
  const download = new Download({
    geometry,
    fetchSealed: async (index, signal) => {
      seen.most = Math.max(seen.most, ++seen.running);
      try {
        await turn();
        signal.throwIfAborted();
        await fetch(index, seen);
        seen.fetched.push(index);
        seen.mostInMemory = Math.max(seen.mostInMemory, ++seen.inMemory);
        return Uint8Array.of(index & 255);
      } finally {
        seen.running--;
      }
    },
    open: async (_, sealed) => sealed,
    write: async (plain, index) => {
      assert.equal(plain[0], index & 255);
      await write(index, seen);
      seen.written.push(index);
      seen.inMemory--;
    },
    onWait: (error) => seen.waits.push(error?.kind ?? null),
    retry: {
      now: () => seen.nowMs,
      pause: async (ms, signal) => {
        signal?.throwIfAborted();
        seen.pauses.push(ms);
        seen.nowMs += ms;
        await turn();
      },
    },
  });
  return { download, seen, run: (signal = new AbortController().signal) => download.run(signal) };
}

const upTo = (count) => Array.from({ length: count }, (_, index) => index);

test("all chunks arrive in order, whatever the order of the answers", async () => {
  const { seen, run } = setUp(50, { fetch: async (index) => { for (let i = 0; i < (index * 7) % 5; i++) await turn(); } });
  await run();
  assert.deepEqual(seen.written, upTo(50));
  assert.ok(seen.most <= 6 && seen.most > 1, `${seen.most} at once`);
});

test("a slow sink holds the network back: never more than the window is in memory", async () => {
  for (const [log2, window] of [[24, 2], [20, 16], [16, 64]]) {
    assert.equal(windowOf(2 ** log2), window);
    const { seen, run } = setUp(100, { log2, write: async () => { for (let i = 0; i < 20; i++) await turn(); } });
    await run();
    assert.ok(seen.mostInMemory <= window + 1, `${seen.mostInMemory} chunks of 2^${log2}`);
  }
});

test("an empty share asks for nothing", async () => {
  const { seen, run } = setUp(0);
  await run();
  assert.deepEqual(seen.fetched, []);
});

test("what the network loses is fetched again, after pauses that grow", async () => {
  const failures = new Map([[3, 8]]);
  const { seen, run } = setUp(10, {
    fetch: async (index) => {
      const left = failures.get(index) ?? 0;
      failures.set(index, left - 1);
      if (left > 0) throw lost();
    },
  });
  await run();
  assert.deepEqual(seen.written, upTo(10));
  assert.equal(seen.pauses.length, 8);
  assert.ok(seen.pauses[0] <= 500 && seen.pauses[7] <= 15_000 && seen.pauses[7] > seen.pauses[0] * 8);
  assert.equal(seen.waits.at(-1), null);
  assert.ok(seen.waits.includes("network"));
});

test("the pause that the server asks for is kept", async () => {
  let refused = false;
  const { seen, run } = setUp(1, {
    fetch: async () => {
      if (!refused) {
        refused = true;
        throw new ApiError("too-many-requests", 429, "", 7000);
      }
    },
  });
  await run();
  assert.ok(seen.pauses[0] >= 7000 && seen.pauses[0] < 8000);
});

test("it gives up after ten minutes without progress, and goes on from there when asked", async () => {
  let isGone = false;
  const { download, seen, run } = setUp(30, {
    fetch: async (index) => {
      if (index >= 12 && isGone !== null) isGone = true;
      if (isGone) throw lost();
    },
  });
  await assert.rejects(run(), { kind: "network" });
  assert.ok(seen.nowMs >= 600_000, `${seen.nowMs} ms`);
  assert.deepEqual(seen.written, upTo(download.position));
  isGone = null;
  await run();
  assert.deepEqual(seen.written, upTo(30), "no chunk twice, none left out");
});

test("a chunk that does not open stops everything, and nothing after it is written", async () => {
  const { download, seen, run } = setUp(40);
  const open = download.work.open;
  const damaged = new Error("damaged");
  download.work.open = async (index, sealed) => {
    if (index === 5) throw damaged;
    return open(index, sealed);
  };
  await assert.rejects(run(), damaged);
  assert.deepEqual(seen.written, upTo(5));
  const { length } = seen.fetched;
  for (let i = 0; i < 20; i++) await turn();
  assert.equal(seen.fetched.length, length, "no request goes on");
});

test("a sink that fails stops everything", async () => {
  const full = new Error("full");
  const { run } = setUp(40, { write: async (index) => { if (index === 3) throw full; } });
  await assert.rejects(run(), full);
});

test("an error that a second try cannot mend is not tried again", async () => {
  const { seen, run } = setUp(4, { fetch: async () => { throw new ApiError("share-gone", 410, ""); } });
  await assert.rejects(run(), { kind: "share-gone" });
  assert.deepEqual(seen.pauses, []);
});

test("cancelling ends it at once", async () => {
  const stop = new AbortController();
  const reason = new Error("cancelled");
  const { seen, run } = setUp(40, { write: async (index) => { if (index === 3) stop.abort(reason); } });
  await assert.rejects(run(stop.signal), reason);
  assert.deepEqual(seen.written, upTo(4));
});

test("cancelling ends a pause, too", async () => {
  const stop = new AbortController();
  const reason = new Error("cancelled");
  const waiting = withRetries(async () => { throw lost(); }, { signal: stop.signal });
  setTimeout(() => stop.abort(reason), 20);
  await assert.rejects(waiting, reason);
});

test("the speed is that of the last seconds", () => {
  const speed = new DownloadSpeed();
  assert.equal(speed.perSecond, 0);
  for (let second = 0; second <= 30; second++) speed.note(second < 20 ? second * 1000 : 20_000 + (second - 20) * 5000, second * 1000);
  assert.equal(speed.perSecond, 5000);
});
