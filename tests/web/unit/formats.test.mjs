// Keys, chunks, manifests, terms and links against the project's test vectors, which others made.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeBase64url, decodeByTable, decodeExactly, encodeBase64url, encodeByTable } from "../../../web/js/format/base64url.js";
import { isSoundPoint } from "../../../web/js/format/ed25519.js";
import { Geometry } from "../../../web/js/format/geometry.js";
import { decodeHex, encodeHex } from "../../../web/js/format/hex.js";
import { deriveAccess, deriveKeys, makeHeader, parseHeader } from "../../../web/js/format/keys.js";
import { decodeManifest, encodeManifest, openMetadata } from "../../../web/js/format/manifest.js";
import { encodeMetadata, parseMetadata } from "../../../web/js/format/metadata.js";
import { OpenError, openChunk, sealChunk } from "../../../web/js/format/seal.js";
import { isOver, signTerms, verifyTerms } from "../../../web/js/format/terms.js";
import { golden, hex, privateKey, streamOf, vectors } from "./support.mjs";

const rejects = (promise, kind) => assert.rejects(promise, (error) => (assert.equal(error.kind, kind), true));

for (const vector of vectors) {
  const secret = decodeHex(vector.secret);
  const salt = decodeHex(vector.salt);
  const geometry = Geometry.of(vector.total, vector.log2_chunk);
  const shareId = encodeBase64url(decodeHex(vector.share_id));

  test(`vector "${vector.name}": keys and access`, async () => {
    const keys = await deriveKeys(secret, salt, makeHeader(vector.log2_chunk));
    assert.equal(hex(keys.commit), vector.commit);
    assert.equal(hex(await deriveAccess(secret)), vector.access);
    assert.equal(keys.chunk.extractable, false);
  });

  test(`vector "${vector.name}": geometry and chunks round trip`, async () => {
    assert.equal(geometry.chunkCount, vector.chunk_count);
    const { chunk } = await deriveKeys(secret, salt, makeHeader(vector.log2_chunk));
    const stream = streamOf(vector);
    for (let index = 0; index < geometry.chunkCount; index++) {
      const { start, end } = geometry.plainRange(index);
      const plain = new Uint8Array(stream.subarray(start, end));
      const sealed = await sealChunk(chunk, geometry, index, plain);
      assert.equal(sealed.length, vector.sealed_lengths[index]);
      assert.deepEqual(await openChunk(chunk, geometry, index, sealed), plain);
      sealed[0] ^= 1;
      await assert.rejects(openChunk(chunk, geometry, index, sealed), OpenError);
      await assert.rejects(openChunk(chunk, geometry, index, sealed.slice(1)), OpenError);
    }
  });

  test(`vector "${vector.name}": the manifest is read, and made again byte for byte`, async () => {
    const encoded = decodeHex(vector.manifest_hex);
    const manifest = await decodeManifest(encoded, shareId);
    const { keys, metadata } = await openMetadata(manifest, secret);
    assert.equal(new TextDecoder().decode(encodeMetadata(metadata)), vector.metadata_json);
    const again = await encodeManifest(
      {
        geometry,
        salt,
        keys,
        share: decodeHex(vector.share_id),
        chunkIds: decodeHex(vector.chunk_ids.join("")),
        metadata: new TextEncoder().encode(vector.metadata_json),
      },
      await privateKey(vector.signing_seed),
    );
    assert.equal(hex(again), vector.manifest_hex);
  });
}

const small = vectors.find(({ name }) => name === "small text");
const smallId = encodeBase64url(decodeHex(small.share_id));

test("every changed bit of a manifest is noticed", async () => {
  const encoded = decodeHex(small.manifest_hex);
  for (let bit = 0; bit < encoded.length * 8; bit++) {
    const changed = encoded.slice();
    changed[bit >> 3] ^= 1 << (bit & 7);
    await assert.rejects(decodeManifest(changed, smallId), { name: "ManifestError" }, `bit ${bit}`);
  }
});

test("what is wrong with a manifest is named", async () => {
  const decode = (change) => {
    const bytes = decodeHex(small.manifest_hex);
    return decodeManifest(change(bytes) ?? bytes, smallId);
  };
  await rejects(decode((b) => void (b[0] = 0)), "magic");
  await rejects(decode((b) => void (b[4] = 2)), "newer");
  await rejects(decode((b) => void (b[5] = 2)), "newer");
  await rejects(decode((b) => void (b[7] = 1)), "newer");
  await rejects(decode((b) => void (b[6] = 25)), "chunk-size");
  await rejects(decode((b) => void (b[72] ^= 1)), "other-share");
  await rejects(decode((b) => void (b[104] = 0x7f)), "chunk-count");
  await rejects(decode((b) => void (b[115] = 3)), "chunk-count");
  await rejects(decode((b) => b.slice(0, 117)), "length");
  await rejects(decode((b) => b.slice(0, 4)), "length");
  await rejects(decode((b) => Uint8Array.of(...b, 0)), "length");
  await rejects(decode((b) => void (b[b.length - 1] ^= 1)), "signature");
  await rejects(decode((b) => void (b[116] ^= 1)), "signature");
  await rejects(decodeManifest(new Uint8Array(), smallId), "magic");
});

test("a wrong secret is a damaged link, not a damaged share", async () => {
  const manifest = await decodeManifest(decodeHex(small.manifest_hex), smallId);
  await rejects(openMetadata(manifest, new Uint8Array(32)), "commitment");
});

test("sealed metadata that was changed, or whose JSON is refused, is noticed under a sound signature", async () => {
  const key = await privateKey(small.signing_seed);
  const keys = await deriveKeys(decodeHex(small.secret), decodeHex(small.salt), makeHeader(20));
  const make = async (json, change = (parts) => parts) => {
    const parts = {
      geometry: Geometry.of(small.total, 20),
      salt: decodeHex(small.salt),
      keys,
      share: decodeHex(small.share_id),
      chunkIds: decodeHex(small.chunk_ids.join("")),
      metadata: new TextEncoder().encode(json),
    };
    const manifest = await decodeManifest(await encodeManifest(change(parts), key), smallId);
    return openMetadata(manifest, decodeHex(small.secret));
  };
  assert.equal((await make(small.metadata_json)).metadata.size, small.total);
  await rejects(make("{}"), "metadata");
  await rejects(make(small.metadata_json.replaceAll("Testing.txt", "../x.txt")), "name");
  await rejects(make(small.metadata_json, (parts) => ({ ...parts, keys: { ...keys, metadata: keys.chunk } })), "sealed");
});

test("headers of newer versions are told from wrong ones", () => {
  assert.equal(parseHeader(makeHeader(16)), 16);
  for (const [header, kind] of [[[2, 1, 20, 0], "newer"], [[1, 2, 20, 0], "newer"], [[1, 1, 20, 1], "newer"], [[1, 1, 15, 0], "chunk-size"]]) {
    assert.throws(() => parseHeader(Uint8Array.from(header)), { kind });
  }
});

test("golden terms are verified, and signed again byte for byte", async () => {
  const key = await privateKey(golden.signing_seed);
  for (const { payload, token } of golden.terms) {
    const terms = await verifyTerms(token, smallId);
    assert.deepEqual(terms, JSON.parse(payload));
    assert.equal(await signTerms(terms, key), token);
    assert.equal(isOver(terms, terms.expires_ms - 1), terms.deleted);
    assert.equal(isOver(terms, terms.expires_ms), true);
  }
});

test("every changed character of terms is noticed, and so are other purposes, footers and fields", async () => {
  const { token, payload } = golden.terms[0];
  for (let at = 0; at < token.length; at++) {
    const other = token[at] === "A" ? "B" : "A";
    await assert.rejects(verifyTerms(token.slice(0, at) + other + token.slice(at + 1), smallId), { name: "TokenError" });
  }
  await rejects(verifyTerms(golden.grants[0].token, smallId), "signature");
  await rejects(verifyTerms(`${token}.Zm9v`, smallId), "shape");
  await rejects(verifyTerms(token.replace("v4", "v3"), smallId), "shape");
  await rejects(verifyTerms(`v4.public.${"A".repeat(2048)}`, smallId), "shape");
  await rejects(verifyTerms(token, encodeBase64url(decodeHex("11".repeat(32)))), "signature");
  const key = await privateKey(golden.signing_seed);
  const sound = JSON.parse(payload);
  for (const change of [{ replicas: 0 }, { replicas: 17 }, { share: smallId.toLowerCase() }, { expires_ms: -1 }, { deleted: 0 }, { access_sha256: "AA" }]) {
    await rejects(verifyTerms(await signTerms({ ...sound, ...change }, key), smallId), "fields");
  }
});

test("points of small order and points that are not canonical are no keys", async () => {
  assert.equal(isSoundPoint(decodeHex(small.share_id)), true);
  for (const point of ["00".repeat(32), `01${"00".repeat(31)}`, `01${"00".repeat(30)}80`, `ec${"ff".repeat(30)}7f`, `ed${"ff".repeat(30)}7f`, "ff".repeat(32),
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"]) {
    assert.equal(isSoundPoint(decodeHex(point)), false, point);
  }
});

test("base64url is canonical only, by the browser's decoder and by the table", () => {
  for (let length = 0; length < 70; length++) {
    const bytes = Uint8Array.from({ length }, (_, at) => (at * 37 + length) & 255);
    const text = Buffer.from(bytes).toString("base64url");
    for (const encode of [encodeBase64url, encodeByTable]) assert.equal(encode(bytes), text);
    for (const decode of [decodeBase64url, decodeByTable]) assert.deepEqual(decode(text), bytes);
  }
  for (const wrong of ["A", "AA==", "AB", "AAB", "AA A", "AA\n", "A+/A", "AAé", "AAAAA"]) {
    for (const decode of [decodeBase64url, decodeByTable]) assert.throws(() => decode(wrong), SyntaxError, wrong);
  }
  assert.throws(() => decodeExactly("AAAA", 32), SyntaxError);
});

test("a manifest of the largest size is decoded in little time", () => {
  const text = "Abc-_xyz".repeat(4 << 20);
  const started = process.cpuUsage();
  assert.equal(decodeByTable(text).length, 24 << 20);
  assert.ok(process.cpuUsage(started).user < 5e6);
});

test("hex is lower-case pairs only", () => {
  assert.equal(encodeHex(decodeHex("00ff10")), "00ff10");
  for (const wrong of ["0", "0G", "FF", "0x"]) assert.throws(() => decodeHex(wrong), SyntaxError);
});

test("geometry holds at its edges", () => {
  const chunk = 65536;
  for (const [total, count] of [[0, 0], [1, 1], [chunk, 1], [chunk + 1, 2], [2 * chunk - 1, 2]]) {
    assert.equal(Geometry.of(total, 16).chunkCount, count);
  }
  assert.equal(Geometry.of(2 ** 20 * chunk + 1, 16), null);
  assert.equal(Geometry.of(1, 15), null);
  assert.equal(Geometry.of(-1, 16), null);
  assert.equal(Geometry.of(2 ** 60, 24), null);
  assert.equal(Geometry.fitting(5).log2, 20);
  assert.equal(Geometry.fitting(2 ** 40 + 1).log2, 21);
  assert.equal(Geometry.fitting(2 ** 44 + 1), null);
  const geometry = Geometry.of(3 * chunk + 5, 16);
  assert.equal(geometry.sealedTotal, 3 * chunk + 5 + 64);
  assert.equal(geometry.sealedLength(3), 21);
  assert.deepEqual(geometry.chunksOf(chunk - 1, chunk + 1), { first: 0, end: 2 });
  assert.deepEqual(geometry.chunksOf(chunk, 2 * chunk), { first: 1, end: 2 });
  assert.deepEqual(geometry.chunksOf(chunk, chunk), { first: 1, end: 1 });
  assert.throws(() => geometry.plainRange(4), RangeError);
});

test("metadata that is parsed again is the same", () => {
  const json = new TextEncoder().encode(small.metadata_json);
  assert.deepEqual(encodeMetadata(parseMetadata(json, Geometry.of(small.total, 20))), json);
});
