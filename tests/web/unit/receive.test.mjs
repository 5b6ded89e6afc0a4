// From a look-up to the last byte against a fake tracker: what is taken, what is refused, and what is told then.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, call, sleep } from "../../../web/js/transfer/api.js";
import { decodeBase64url, encodeBase64url } from "../../../web/js/format/base64url.js";
import { Geometry } from "../../../web/js/format/geometry.js";
import { healthOf, parseChunkSet } from "../../../web/js/get/health.js";
import { imageType, previewKind } from "../../../web/js/get/preview-kind.js";
import { causeOf } from "../../../web/js/get/progress.js";
import { Share, problemOf } from "../../../web/js/get/share.js";
import { openTransfer, readRange } from "../../../web/js/get/transfer.js";
import { decodeHex } from "../../../web/js/format/hex.js";
import { deriveKeys, makeHeader } from "../../../web/js/format/keys.js";
import { sealChunk } from "../../../web/js/format/seal.js";
import { signTerms } from "../../../web/js/format/terms.js";
import { texts } from "../../../web/js/page/texts.js";
import { privateKey, streamOf, vectors } from "./support.mjs";

const NOW = 1_767_225_600_000;
const vector = vectors.find(({ name }) => name.startsWith("two files"));
const id = encodeBase64url(decodeHex(vector.share_id));
const secret = decodeHex(vector.secret);
const stream = streamOf(vector);
const geometry = Geometry.of(vector.total, vector.log2_chunk);

/** A tracker that has the share of the vector; `change` may spoil its answers. */
async function tracker({ change = (answer) => answer, terms = {}, chunk = (sealed) => sealed } = {}) {
  const key = await privateKey(vector.signing_seed);
  const keys = await deriveKeys(secret, decodeHex(vector.salt), makeHeader(vector.log2_chunk));
  const token = await signTerms(
    { share: id, issued_ms: NOW, expires_ms: NOW + 1000, replicas: 2, access_sha256: encodeBase64url(new Uint8Array(32)), deleted: false, ...terms }, key,
  );
  const asked = [];
  const callTracker = async (method, path, { bearer }) => {
    asked.push(path);
    assert.equal(method, "GET");
    assert.equal(Buffer.from(bearer, "base64url").toString("hex"), vector.access);
    if (path === `/v1/shares/${id}`) {
      const sources = [{ state: "alive", chunks: "3.4A" }, { state: "suspect", chunks: "3.wA" }];
      return change({ manifest: encodeBase64url(decodeHex(vector.manifest_hex)), terms: token, sources });
    }
    const index = Number(path.split("/chunks/")[1]);
    const { start, end } = geometry.plainRange(index);
    return chunk(await sealChunk(keys.chunk, geometry, index, new Uint8Array(stream.subarray(start, end))), index);
  };
  return { callTracker, asked };
}

const look = async (options, from = secret) => Share.look(id, from, { ...(await tracker(options)), nowMs: NOW });

test("a sound share is opened: names, health, terms", async () => {
  const { summary } = await look();
  assert.equal(summary.metadata.original_filename, "folder");
  assert.equal(summary.isSingle, false);
  assert.deepEqual(summary.health, { peers: 2, suspect: 1, fewest: 1, available: true });
  assert.equal(summary.terms.expires_ms, NOW + 1000);
});

test("each thing that is wrong with a share is told by its own kind", async () => {
  const spoil = (at) => (answer) => {
    const bytes = decodeBase64url(answer.manifest);
    bytes[at] ^= 1;
    return { ...answer, manifest: encodeBase64url(bytes) };
  };
  const fails = (error) => ({ change: () => { throw error; } });
  for (const [options, kind] of [
    [{ change: spoil(200) }, "damaged-share"],
    [{ change: spoil(4) }, "newer"],
    [{ change: spoil(72) }, "damaged-share"],
    [{ change: (answer) => ({ ...answer, manifest: "!" }) }, "damaged-share"],
    [{ change: (answer) => ({ ...answer, terms: answer.terms.slice(0, -3) }) }, "damaged-share"],
    [{ terms: { expires_ms: NOW } }, "gone"],
    [{ terms: { deleted: true } }, "gone"],
    [fails(new ApiError("share-not-found", 404, "")), "not-found"],
    [fails(new ApiError("share-gone", 410, "")), "gone"],
    [fails(new ApiError("internal", 500, "")), "unexpected"],
  ]) {
    const error = await look(options).then(() => null, (e) => e);
    assert.equal(problemOf(error).kind, kind);
    assert.ok(texts.get.problems[kind]?.title);
  }
  assert.equal(problemOf(new ApiError("gateway-closed", 403, "")).kind, "gateway-closed");
  assert.ok(texts.get.problems["gateway-closed"]);
  assert.equal(problemOf(new ApiError("network", 0, "")).kind, "network");
  assert.equal(problemOf(new ApiError("unavailable", 503, "")).kind, "no-peer");
  assert.equal(problemOf(new Error("?")).kind, "unexpected");
});

test("a wrong secret that the tracker let pass is a damaged link", async () => {
  const { callTracker } = await tracker();
  const wrong = Uint8Array.from(secret);
  wrong[0] ^= 1;
  const any = async (method, path) => callTracker(method, path, { bearer: Buffer.from(vector.access, "hex").toString("base64url") });
  const error = await Share.look(id, wrong, { callTracker: any, nowMs: NOW }).catch((e) => e);
  assert.equal(problemOf(error).kind, "damaged-link");
});

test("a look-up is given up when the tracker is silent, not when its answer is long", async () => {
  const silent = (_, __, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  await assert.rejects(Share.look(id, secret, { callTracker: silent, silenceMs: 20, giveUpMs: 0 }), { kind: "network" });
  const { callTracker } = await tracker();
  const slow = async (method, path, options) => {
    for (let part = 0; part < 15; part++) {
      await sleep(20, options.signal);
      options.onBytes();
    }
    return callTracker(method, path, options);
  };
  await Share.look(id, secret, { callTracker: slow, nowMs: NOW, silenceMs: 200, giveUpMs: 0 });
});

async function transferred(options, target = { to: "memory" }) {
  const share = await look(options);
  const told = [];
  const ended = Promise.withResolvers ? Promise.withResolvers() : {};
  if (!ended.promise) ended.promise = new Promise((resolve) => (ended.resolve = resolve));
  const transfer = await openTransfer(share, target, false, (report) => {
    told.push(report);
    if (report.type !== "progress") ended.resolve(report);
  });
  return { transfer, told, ended: ended.promise };
}

test("all bytes arrive, in order, with progress", async () => {
  const { transfer, told, ended } = await transferred();
  await transfer.run();
  const { type, blob } = await ended;
  assert.equal(type, "done");
  assert.ok(Buffer.from(await blob.arrayBuffer()).equals(stream));
  assert.equal(told.findLast((report) => report.type === "progress").done, stream.length);
});

test("one flipped bit in one chunk, a longer chunk, or one in another's place: nothing is handed out", async () => {
  for (const chunk of [
    (sealed, index) => (index === 2 && (sealed[9] ^= 4), sealed),
    (sealed, index) => (index === 1 ? Uint8Array.of(...sealed, 0) : sealed),
    (() => {
      let first;
      return (sealed, index) => (index === 0 ? (first = sealed.slice()) : index === 1 ? first ?? new Uint8Array(sealed.length) : sealed);
    })(),
  ]) {
    const { transfer, ended } = await transferred({ chunk });
    await transfer.run();
    const report = await ended;
    assert.deepEqual(report, { type: "failed", problem: { kind: "damaged-chunk" } });
  }
});

test("a chunk that was cut off is fetched again", async () => {
  let cuts = 2;
  const { transfer, ended } = await transferred({ chunk: (sealed) => (cuts-- > 0 ? sealed.subarray(0, 10) : sealed) });
  await transfer.run();
  assert.equal((await ended).type, "done");
});

test("a cancelled transfer says so, and keeps nothing", async () => {
  const { transfer, ended } = await transferred();
  const run = transfer.run();
  await transfer.cancel();
  await run;
  assert.equal((await ended).type, "cancelled");
});

test("a transfer is cancelled even while the browser takes no bytes", async () => {
  const { port1, port2 } = new MessageChannel();
  const { transfer, ended } = await transferred({}, { to: "stream", port: port1 });
  const { write } = transfer.sink;
  const writing = new Promise((resolve) => {
    transfer.sink.write = (bytes) => (resolve(), write(bytes));
  });
  const run = transfer.run();
  await writing;
  await transfer.cancel();
  await run;
  assert.equal((await ended).type, "cancelled");
  port2.close();
});

/** The worker of the page, which has looked the share up, and what it reports. */
async function worker(context, options) {
  const { callTracker, asked } = await tracker({ ...options, terms: { expires_ms: Date.now() + 3_600_000 } });
  context.mock.method(globalThis, "fetch", async (path, { method, headers }) => {
    const answer = await callTracker(method, path, { bearer: headers.Authorization.slice("Bearer ".length) }).catch((error) => error);
    if (answer instanceof ApiError) return Response.json({ type: `urn:parcelry:problem:${answer.kind}` }, { status: answer.status });
    if (!(answer instanceof Uint8Array)) return Response.json(answer);
    return new Response(answer, { headers: { "Content-Type": "application/octet-stream" } });
  });
  const waiting = new Map();
  globalThis.self = { postMessage: (report) => waiting.get(report.type)?.(report) };
  await import(`../../../web/js/get/worker.js?${context.name}`);
  const order = (data) => self.onmessage({ data });
  const reported = (type) => new Promise((resolve) => waiting.set(type, resolve));
  order({ type: "look", id, secret });
  await reported("looked");
  return { order, reported, asked };
}

test("a download is cancelled even before it has begun", async (context) => {
  const { order, reported, asked } = await worker(context);
  order({ type: "download", target: { to: "memory" }, isZip: false });
  order({ type: "cancel" });
  await reported("cancelled");
  assert.ok(!asked.some((path) => path.includes("/chunks/")), "no chunk was asked for");
  order({ type: "download", target: { to: "memory" }, isZip: false });
  await reported("done");
});

test("a preview asks for the chunks that it needs, and for no others", async () => {
  const { callTracker, asked } = await tracker();
  const share = await Share.look(id, secret, { callTracker, nowMs: NOW });
  asked.length = 0;
  for (const [start, end, chunks] of [[0, 11, [0]], [65530, 65540, [0, 1]], [131072, 132083, [2]], [11, 132083, [0, 1, 2]], [5, 5, []]]) {
    const bytes = await readRange(share, start, end, new AbortController().signal);
    assert.ok(Buffer.from(bytes).equals(stream.subarray(start, end)));
    assert.deepEqual(asked.splice(0).map((path) => Number(path.split("/").at(-1))).sort(), chunks);
  }
});

test("a preview gives its bytes, or says why there are none", async (context) => {
  const chunk = (sealed, index) => {
    if (index === 0) return sealed;
    throw new ApiError("hash-mismatch", 422, "");
  };
  const { order, reported } = await worker(context, { chunk });
  order({ type: "preview", request: 0, start: 0, end: 5 });
  assert.deepEqual((await reported("previewed")).bytes, new Uint8Array(stream.subarray(0, 5)));
  order({ type: "preview", request: 1, start: 65536, end: 65540 });
  assert.deepEqual(await reported("previewed"), { type: "previewed", request: 1, problem: { kind: "no-good-copy" } });
});

test("a download that gives up says for what it waited", async () => {
  for (const [status, kind, cause] of [[0, "network", "connectionLost"], [503, "unavailable", "noPeer"], [429, "too-many-requests", "busy"]]) {
    const chunk = () => {
      throw new ApiError(kind, status, "");
    };
    const { transfer, ended } = await transferred({ chunk });
    transfer.download.work.retry = { giveUpMs: 0 };
    await transfer.run();
    assert.deepEqual(await ended, { type: "gave-up", why: kind });
    assert.ok(texts.get.gaveUp.titles[causeOf(kind)] && texts.common[causeOf(kind)]);
    assert.equal(causeOf(kind), cause);
    await transfer.cancel();
  }
});

test("sets of chunks are canonical, and tell the health", () => {
  assert.deepEqual(parseChunkSet("9.gIA"), { count: 9, bits: Uint8Array.of(0x80, 0x80) });
  for (const wrong of ["9.gIB", "9.gP8", "09.gIA", "9.gIA=", "9", "9.", "-1.", "8.gIA", ""]) assert.equal(parseChunkSet(wrong), null, wrong);
  const alive = (chunks) => ({ state: "alive", chunks });
  assert.deepEqual(healthOf([alive("9.gIA"), alive("9.gAA"), { state: "dead", chunks: "9.__8" }], 9), { peers: 2, suspect: 0, fewest: 0, available: false });
  assert.deepEqual(healthOf([alive("9.gIA"), alive("9._4A"), alive("bad")], 9), { peers: 2, suspect: 0, fewest: 1, available: true });
  assert.deepEqual(healthOf([], 0), { peers: 0, suspect: 0, fewest: 0, available: true });
  assert.equal(healthOf([], 1).available, false);
});

test("only pictures and text are previewed", () => {
  const kind = (path, size = 10) => previewKind({ path, size });
  for (const path of ["a.png", "s/a.JPG", "a.tar.webp"]) assert.equal(kind(path), "image");
  for (const path of ["a.txt", "s.d/README.md"]) assert.equal(kind(path), "text");
  for (const path of ["a.svg", "a.html", "a.pdf", "a.xml", "a", ".png", "s.png/a", "a.constructor", "png"]) assert.equal(kind(path), null, path);
  assert.equal(kind("a.png", 21 * 2 ** 20), null);
  assert.equal(kind("a.txt", 0), null);
  assert.equal(imageType("a.jpeg"), "image/jpeg");
});

test("an answer of the tracker becomes bytes, JSON, nothing, or an error that says what it is", async (context) => {
  const answers = (body, init) => context.mock.method(globalThis, "fetch", async () => new Response(body, init));
  const type = (value) => ({ headers: { "Content-Type": value } });
  answers(Uint8Array.of(1, 2), type("application/octet-stream"));
  assert.deepEqual(await call("GET", "/x"), Uint8Array.of(1, 2));
  answers('{"a":1}', type("application/json"));
  assert.deepEqual(await call("GET", "/x"), { a: 1 });
  const parts = ['{"a"', ":", "1}"].map((part) => new TextEncoder().encode(part));
  let told = 0;
  answers(ReadableStream.from(parts), type("application/json"));
  assert.deepEqual(await call("GET", "/x", { onBytes: () => told++ }), { a: 1 });
  assert.ok(told >= parts.length, "each part is told");
  answers(null, { status: 204 });
  assert.equal(await call("DELETE", "/x"), null);
  answers('{"type":"urn:parcelry:problem:unavailable","detail":"no"}', { status: 503, headers: { "Retry-After": "7" } });
  await assert.rejects(call("GET", "/x"), { kind: "unavailable", status: 503, detail: "no", retryAfterMs: 7000, isTransient: true });
  answers("<html>", { status: 404 });
  await assert.rejects(call("GET", "/x"), { kind: "status-404", isTransient: false });
  context.mock.method(globalThis, "fetch", async () => { throw new TypeError("gone"); });
  await assert.rejects(call("GET", "/x"), { kind: "network", status: 0, isTransient: true });
  const seen = answers("{}", type("application/json"));
  await call("POST", "/x", { bearer: "b", json: { a: 1 } });
  const [, init] = seen.mock.calls[0].arguments;
  assert.equal(init.headers.Authorization, "Bearer b");
  assert.equal(init.credentials, "omit");
  assert.equal(init.redirect, "error");
  assert.equal(init.cache, "no-store");
});
