// How a share is sent through the gateway, against a gateway that does what each test says.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { ApiError, sleep, withRetries } from "../../../web/js/transfer/api.js";
import { GatewayError, NotEnoughPeersError, chunksInFlight, upload } from "../../../web/js/transfer/upload.js";

const CHUNK = 1 << 20;
const hash = (bytes) => createHash("sha256").update(bytes).digest("hex");
const problem = (kind, status) => new ApiError(kind, status, kind);
const network = () => problem("network", 0);

test("every chunk is sent once, the ids come back in order, and then the share is finished", async () => {
  const { gateway, run } = share({ chunks: 10, last: 5 });
  assert.deepEqual(await run(), ["nas", "attic"]);
  assert.equal(gateway.chunks.size, 10);
  assert.equal(gateway.count("PUT chunk"), 10);
  assert.deepEqual(gateway.finishIds, Array.from({ length: 10 }, (_, index) => hash(sealed(index))));
  assert.equal(gateway.progress.at(-1), 9 * CHUNK + 5);
  assert.deepEqual(gateway.opened, { size: { total_bytes: 9 * CHUNK + 5, chunk_bytes: CHUNK }, replicas: 2 });
  assert.equal(gateway.count("DELETE upload"), 0);
});

test("an empty share has no chunks and is finished all the same", async () => {
  const { gateway, run } = share({ chunks: 0 });
  assert.deepEqual(await run(), ["nas", "attic"]);
  assert.deepEqual(gateway.log, ["POST upload", "PUT delegation", "PUT upload"]);
});

test("several chunks are under way at once, and no more than the window has room for", async () => {
  assert.deepEqual([20, 21, 22, 23, 24].map((log2) => chunksInFlight(2 ** log2)), [4, 4, 4, 2, 1]);
  let now = 0;
  let most = 0;
  const answer = async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 1));
    now--;
  };
  await share({ chunks: 20, answer }).run();
  assert.equal(most, 4);
});

test("a lost connection is retried with the same sealed bytes, which are not sealed again", async () => {
  const lost = new Map([[1, 3], [5, 1]]);
  const answer = ({ what, index }) => {
    const left = lost.get(index) ?? 0;
    if (what !== "PUT chunk" || left === 0) return;
    lost.set(index, left - 1);
    throw left % 2 ? network() : problem("unavailable", 503);
  };
  const { gateway, run } = share({ chunks: 8, answer });
  await run();
  assert.equal(gateway.count("PUT chunk"), 12);
  assert.equal(gateway.sealed, 8);
  assert.deepEqual(gateway.pauses.length, 4);
});

test("when the gateway has forgotten the upload, it is opened again and everything is sent again", async () => {
  for (const [kind, status] of [["upload-not-found", 404], ["access-denied", 403], ["clock-skew", 403]]) {
    let isForgotten = false;
    const answer = ({ what, index, gateway }) => {
      if (what !== "PUT chunk" || index !== 6 || isForgotten) return;
      isForgotten = true;
      gateway.chunks.clear();
      throw problem(kind, status);
    };
    const { gateway, run } = share({ chunks: 8, answer });
    await run();
    assert.equal(gateway.count("POST upload"), 2);
    assert.equal(gateway.chunks.size, 8);
    assert.equal(gateway.count("PUT upload"), 1);
  }
});

test("what completes the share is made once, even if it is sent again", async () => {
  let isForgotten = false;
  const answer = ({ what }) => {
    if (what !== "PUT upload" || isForgotten) return;
    isForgotten = true;
    throw problem("upload-not-found", 404);
  };
  const { gateway, run } = share({ chunks: 3, answer });
  await run();
  assert.equal(gateway.count("PUT chunk"), 6);
  assert.equal(gateway.finishesMade, 1);
});

test("if only the last answer was lost, nothing is sent again", async () => {
  let attempts = 0;
  const answer = ({ what }) => {
    if (what === "PUT upload") throw ++attempts === 1 ? network() : problem("upload-not-found", 404);
  };
  const { gateway, run } = share({ chunks: 3, answer, published: ["nas", "attic"] });
  assert.deepEqual(await run(), ["nas", "attic"]);
  assert.equal(gateway.count("PUT chunk"), 3);
  assert.equal(gateway.count("DELETE upload"), 0);
});

test("a gateway that forgets again and again is given up", async () => {
  const answer = ({ what }) => { if (what === "PUT upload") throw problem("upload-not-found", 404); };
  const { gateway, run } = share({ chunks: 2, answer });
  await assert.rejects(run(), GatewayError);
  assert.equal(gateway.count("POST upload"), 8);
  assert.equal(gateway.log.at(-1), "DELETE upload");
});

test("a gateway that gives one chunk two ids, or none, is not believed", async () => {
  for (const id of ["", "AB".repeat(32), null, 7]) {
    await assert.rejects(share({ chunks: 1, id: () => id }).run(), GatewayError);
  }
  let calls = 0;
  const answer = ({ what }) => { if (what === "PUT upload") throw problem("upload-not-found", 404); };
  await assert.rejects(share({ chunks: 1, answer, id: () => hash(`${calls++}`) }).run(), /two ids/);
});

test("too few peers are told at once at the start, and waited for when an upload is begun over", async () => {
  const none = ({ what }) => { if (what === "POST upload") throw problem("not-enough-peers", 503); };
  const { gateway, run } = share({ chunks: 1, answer: none });
  await assert.rejects(run(), NotEnoughPeersError);
  assert.deepEqual(gateway.log, ["POST upload"]);

  let posts = 0;
  let isForgotten = false;
  const later = ({ what }) => {
    if (what === "POST upload" && [2, 3].includes(++posts)) throw problem("not-enough-peers", 503);
    if (what === "PUT chunk" && !isForgotten) {
      isForgotten = true;
      throw problem("upload-not-found", 404);
    }
  };
  assert.deepEqual(await share({ chunks: 1, answer: later }).run(), ["nas", "attic"]);
});

test("what no retry mends stops everything, and the upload is given up", async () => {
  for (const [kind, status] of [["no-space", 507], ["conflict", 409], ["bad-request", 400]]) {
    const answer = ({ what, index }) => { if (what === "PUT chunk" && index === 2) throw problem(kind, status); };
    const { gateway, run } = share({ chunks: 100, answer });
    await assert.rejects(run(), (error) => error.kind === kind);
    assert.ok(gateway.count("PUT chunk") <= 8);
    assert.equal(gateway.log.at(-1), "DELETE upload");
  }
  const refused = share({ chunks: 1, answer: () => { throw problem("access-denied", 403); } });
  await assert.rejects(refused.run(), (error) => error.kind === "access-denied");
  assert.equal(refused.gateway.count("DELETE upload"), 0, "there is no grant to give back");
});

test("a file that cannot be read stops those that wait for the network", async () => {
  const answer = ({ what, index }) => { if (what === "PUT chunk" && index !== 3) throw network(); };
  const seal = (index) => { if (index === 3) throw new Error("changed"); };
  const { gateway, run } = share({ chunks: 8, answer, seal, pauseMs: 60_000 });
  await assert.rejects(run(), /changed/);
  assert.equal(gateway.log.at(-1), "DELETE upload");
});

test("cancelling ends it at once and gives the upload up", async () => {
  const stop = new AbortController();
  const answer = ({ what, index }) => {
    if (what === "PUT chunk" && index === 4) stop.abort();
    if (what === "PUT chunk" && index > 2) throw network();
  };
  const { gateway, run } = share({ chunks: 8, answer, pauseMs: 60_000 });
  await assert.rejects(run(stop.signal), { name: "AbortError" });
  assert.equal(gateway.log.at(-1), "DELETE upload");
  assert.equal(gateway.count("PUT upload"), 0);
});

test("cancelling while the peers store the share does not end that: who cancelled hears that it is published", async () => {
  const stop = new AbortController();
  const answer = ({ what }) => { if (what === "PUT upload") stop.abort(); };
  const { gateway, run } = share({ chunks: 3, answer });
  assert.deepEqual(await run(stop.signal), ["nas", "attic"]);
  assert.equal(gateway.count("DELETE upload"), 0);
});

test("an upload that was cancelled is not begun over", async () => {
  for (const published of [null, ["nas"]]) {
    const stop = new AbortController();
    const answer = ({ what }) => {
      if (what !== "PUT upload") return;
      stop.abort();
      throw problem("upload-not-found", 404);
    };
    const { gateway, run } = share({ chunks: 3, answer, published });
    if (published) assert.deepEqual(await run(stop.signal), published);
    else await assert.rejects(run(stop.signal), { name: "AbortError" });
    assert.equal(gateway.count("POST upload"), 1);
  }
});

test("nothing is published once it was cancelled", async () => {
  const stop = new AbortController();
  const { gateway, run } = share({ chunks: 3, finishing: () => stop.abort() });
  await assert.rejects(run(stop.signal), { name: "AbortError" });
  assert.equal(gateway.count("PUT upload"), 0);
  assert.equal(gateway.log.at(-1), "DELETE upload");
});

test("on a line that is too slow for several chunks, one at a time is sent, after the pause that was asked for", async () => {
  let nowMs = 0;
  const underWay = new Set();
  const late = new Set();
  const answer = async ({ what, index, gateway }) => {
    if (what !== "PUT chunk") return;
    assert.ok(gateway.pauses.length <= 7, "it finds out soon");
    underWay.add(index);
    if (underWay.size > 1) for (const one of underWay) late.add(one);
    await new Promise((resolve) => setTimeout(resolve, 1));
    underWay.delete(index);
    nowMs += 35_000;
    if (late.delete(index)) throw new ApiError("unavailable", 503, "the chunk came too slowly", 7000);
  };
  const { gateway, run } = share({ chunks: 12, answer, now: () => nowMs });
  await run();
  assert.equal(gateway.chunks.size, 12);
  assert.ok(gateway.pauses.length > 0 && gateway.pauses.every((ms) => ms >= 7000));
});

test("a connection that is cut does not make a fast line send one at a time", async () => {
  let isCut = true;
  let now = 0;
  let most = 0;
  const answer = async ({ what, index }) => {
    if (what !== "PUT chunk") return;
    if (isCut) throw network();
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 1));
    now--;
  };
  const { run } = share({ chunks: 20, answer, paused: () => { isCut = false; } });
  await run();
  assert.equal(most, 4);
});

const sealed = (index) => Uint8Array.of(index, 1, 2, 3);

/** A share of so many chunks, and the gateway that it is sent to; `answer` may throw in the place of an answer. */
function share({
  chunks, last = CHUNK, answer = () => {}, seal = () => {}, finishing = () => {}, id = hash, published = null,
  pauseMs = 0, paused = () => {}, now = () => 0,
}) {
  const gateway = {
    log: [], chunks: new Map(), pauses: [], progress: [], sealed: 0, finishesMade: 0,
    count: (what) => gateway.log.filter((entry) => entry === what).length,
  };
  const totalBytes = chunks && (chunks - 1) * CHUNK + last;
  const plan = { share: "S", token: "token", totalBytes, chunkBytes: CHUNK, chunkCount: chunks, replicas: 2 };
  const call = async (method, path, { bearer, owner, json, bytes, signal }) => {
    const [, index] = /^\/v1\/shares\/S\/chunks\/(\d+)$/.exec(path) ?? [];
    const what = `${method} ${index === undefined ? path.slice("/v1/shares/S/".length) : "chunk"}`;
    signal.throwIfAborted();
    gateway.log.push(what);
    assert.equal(bearer, what === "POST upload" ? "token" : "grant");
    const acts = { "POST upload": "open with token", "PUT delegation": "delegate with grant" };
    assert.equal(owner, acts[what], "the owner's word goes with what needs it, and with nothing else");
    await answer({ what, index: Number(index), gateway });
    signal.throwIfAborted();
    if (what === "POST upload") gateway.opened = json;
    if (what === "PUT chunk") gateway.chunks.set(Number(index), bytes);
    return { grant: "grant", peers: ["nas", "attic"], id: bytes && id(bytes) };
  };
  const ports = {
    call,
    retry: (attempt, signal) => withRetries(attempt, {
      signal,
      giveUpMs: Infinity,
      pause: (ms, stop) => {
        gateway.pauses.push(ms);
        paused();
        return sleep(pauseMs, stop);
      },
    }),
    word: async (act, credential) => `${act} with ${credential}`,
    seal: async (index) => {
      gateway.sealed++;
      await seal(index);
      return sealed(index);
    },
    finish: async (ids) => {
      gateway.finishesMade++;
      finishing();
      gateway.finishIds = Array.from({ length: chunks }, (_, at) => Buffer.from(ids.subarray(32 * at, 32 * at + 32)).toString("hex"));
      return { manifest: "m", terms: "t" };
    },
    published: async () => published,
    progress: (bytes) => gateway.progress.push(bytes),
    now,
  };
  return { gateway, run: (signal = new AbortController().signal) => upload(plan, ports, signal) };
}
