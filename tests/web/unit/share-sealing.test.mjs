// A share that the page makes is opened again by what the page receives with.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { Geometry } from "../../../web/js/format/geometry.js";
import { decodeManifest, openMetadata } from "../../../web/js/format/manifest.js";
import { buildMetadata, encodeMetadata } from "../../../web/js/format/metadata.js";
import { openChunk } from "../../../web/js/format/seal.js";
import { makeOwner, ownersToken } from "../../../web/js/format/owner.js";
import { verifyToken } from "../../../web/js/format/paseto.js";
import { Sealing, ownersTerms } from "../../../web/js/share/sealing.js";
import { Selection } from "../../../web/js/share/selection.js";
import { FileStream, UnreadableFileError } from "../../../web/js/share/stream.js";
import { UploadSpeed } from "../../../web/js/share/progress.js";
import { deriveAccess } from "../../../web/js/format/keys.js";
import { verifyTerms } from "../../../web/js/format/terms.js";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest();
const bytesOf = (length, seed) => Uint8Array.from({ length }, (_, at) => (at * seed + (at >> 8)) % 251);
const MODIFIED = Date.UTC(2026, 0, 2, 3, 4, 5);

for (const [title, lengths] of [
  ["nothing", []], ["an empty file", [0]], ["a byte", [1]], ["exactly a chunk", [65_536]],
  ["files across chunks", [10, 0, 65_530, 200_000, 3]],
]) {
  test(`a share of ${title} is opened again`, async () => {
    const files = lengths.map((length, at) => found(`top/${at}`, bytesOf(length, at + 3)));
    const dirs = files.length ? [] : ["top/none"];
    const { owner, geometry, manifest, chunks } = await made("top", files, dirs);
    const decoded = await decodeManifest(manifest, owner.share);
    const { keys, metadata } = await openMetadata(decoded, owner.secret);
    assert.deepEqual(decoded.geometry, geometry);
    assert.deepEqual(metadata.files.map(({ path, size, modified }) => [path, size, modified]),
      lengths.map((length, at) => [`top/${at}`, length, "2026-01-02T03:04:05.000Z"]));
    assert.deepEqual(metadata.dirs, dirs);
    const opened = await Promise.all(chunks.map((sealed, index) => openChunk(keys.chunk, geometry, index, sealed)));
    assert.deepEqual(Buffer.concat(opened), Buffer.concat(lengths.map((length, at) => bytesOf(length, at + 3))));
  });
}

test("what was chosen passes the receiver's checks", async () => {
  const selection = new Selection();
  selection.add([found(".cafe\u0301.tar.gz", bytesOf(5, 3))]);
  const plan = selection.plan("");
  const { owner, manifest } = await made(plan.name, plan.files, plan.dirs);
  const { metadata } = await openMetadata(await decodeManifest(manifest, owner.share), owner.secret);
  assert.deepEqual([metadata.original_filename, metadata.extension], ["caf\u00e9.tar.gz", ".gz"]);
});

test("terms are the owner's, and the later ones delete", async () => {
  const owner = await makeOwner();
  const access = Buffer.from(sha256(await deriveAccess(owner.secret))).toString("base64url");
  const first = await verifyTerms(await ownersTerms(owner, { issuedMs: 5, expiresMs: 9, replicas: 2 }), owner.share);
  assert.deepEqual(first, { share: owner.share, issued_ms: 5, expires_ms: 9, replicas: 2, access_sha256: access, deleted: false });
  const last = await ownersTerms(owner, { issuedMs: 6, expiresMs: 9, replicas: 2, isDeleted: true });
  assert.equal((await verifyTerms(last, owner.share)).deleted, true);
});

test("keys are fresh for each share, and with each attempt", async () => {
  const owners = await Promise.all([makeOwner(), makeOwner()]);
  assert.notEqual(owners[0].share, owners[1].share);
  assert.notDeepEqual(owners[0].secret, owners[1].secret);
  const geometry = Geometry.of(1, 16);
  const read = async () => ({ bytes: bytesOf(1, 3), path: "a" });
  const sealed = await Promise.all([1, 2].map(() => new Sealing(owners[0], geometry, read).seal(0)));
  assert.notDeepEqual(sealed[0], sealed[1]);
});

test("a chunk that is sealed again is the same, or it does not leave", async () => {
  let content = bytesOf(70_000, 3);
  const read = async (start, end) => ({ bytes: content.slice(start, end), path: "top/a" });
  const sealing = new Sealing(await makeOwner(), Geometry.of(70_000, 16), read);
  const first = await sealing.seal(1);
  assert.deepEqual(await sealing.seal(1), first);
  content = content.with(69_999, 255);
  await assert.rejects(sealing.seal(1), (error) => error instanceof UnreadableFileError && error.path === "top/a");
  await sealing.seal(0);
});

test("the speed is that of the last seconds, and begins anew with the bytes", () => {
  const speed = new UploadSpeed();
  assert.equal(speed.bytesPerSecond, null);
  for (let second = 0; second <= 100; second++) speed.add(1000 * second, second < 50 ? 10 * second : 490 + 100 * (second - 49));
  assert.equal(speed.bytesPerSecond, 100);
  speed.add(101_000, 0);
  assert.equal(speed.bytesPerSecond, null);
  speed.add(102_000, 40);
  assert.equal(speed.bytesPerSecond, 40);
});

test("an owner's token names the share, the act, whom it is for, and what it goes with", async () => {
  const owner = await makeOwner();
  const token = await ownersToken(owner, "delegate", "T".repeat(43), "v4.public.grant");
  const claims = await verifyToken(token, Uint8Array.from(Buffer.from(owner.share, "base64url")), "parcelry/1 owner", 1024);
  const credential_sha256 = Buffer.from(sha256("v4.public.grant")).toString("base64url");
  assert.deepEqual(claims, { share: owner.share, act: "delegate", audience: "T".repeat(43), credential_sha256 });
});

const found = (path, bytes) => ({ path, file: new File([bytes], "x"), size: bytes.length, modifiedMs: MODIFIED });

/** A whole share as the worker makes it, in small chunks. */
async function made(name, files, dirs) {
  const owner = await makeOwner();
  const stream = new FileStream(files);
  const geometry = Geometry.of(stream.totalBytes, 16);
  const metadata = encodeMetadata(buildMetadata({ name, files, dirs, createdMs: MODIFIED }, geometry));
  const sealing = new Sealing(owner, geometry, (start, end) => stream.read(start, end));
  const chunks = await Promise.all(Array.from({ length: geometry.chunkCount }, (_, index) => sealing.seal(index)));
  const ids = new Uint8Array(Buffer.concat(chunks.map(sha256)));
  return { owner, geometry, chunks, manifest: await sealing.manifest(ids, metadata) };
}
