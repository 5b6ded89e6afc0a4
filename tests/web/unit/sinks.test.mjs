// Where bytes go: cut into files, made a ZIP that others read, saved in place and taken back, streamed by pulls.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { problemOf } from "../../../web/js/get/share.js";
import { problemTexts } from "../../../web/js/get/view.js";
import { FileCutter, memorySink, singleFile } from "../../../web/js/sinks/sink.js";
import { folderSink, fileSink } from "../../../web/js/sinks/disk.js";
import { streamSink } from "../../../web/js/sinks/stream.js";
import { texts } from "../../../web/js/page/texts.js";
import { crc32, zipFolders, zipLength, zipSink } from "../../../web/js/sinks/zip.js";

const file = (path, size, more = {}) => ({ path, size, executable: false, modified: "2026-01-02T03:04:06Z", ...more });
const pattern = (length, seed) => Uint8Array.from({ length }, (_, at) => (at * 31 + seed) & 255);

async function feed(files, sink, chunkBytes) {
  const stream = Buffer.concat(files.map(({ size }, at) => pattern(size, at)));
  const cutter = new FileCutter(files, sink);
  for (let at = 0; at < stream.length; at += chunkBytes) await cutter.write(new Uint8Array(stream.subarray(at, at + chunkBytes)));
  return cutter.close();
}

test("a stream is cut into its files at every size of chunk", async () => {
  const files = [file("s/empty", 0), file("s/a", 5), file("s/b", 0), file("s/c", 17), file("s/d", 1), file("s/e", 0)];
  for (let chunkBytes = 1; chunkBytes <= 24; chunkBytes++) {
    const got = [];
    await feed(files, {
      begin: async ({ path }) => void got.push([path, []]),
      write: async (bytes) => void got.at(-1)[1].push(...bytes),
      end: async () => void got.at(-1).push("whole"),
      close: async () => {},
    }, chunkBytes);
    assert.deepEqual(got, files.map(({ path, size }, at) => [path, [...pattern(size, at)], "whole"]));
  }
});

const sparse = [
  file("s/only", 3_000_000, { holes: [[0, 3_000_000]] }),
  file("s/start", 70, { holes: [[0, 10]] }),
  file("s/mixed", 50, { holes: [[5, 3], [9, 1], [40, 10]] }),
  file("s/plain", 6),
  file("s/last", 2_000_005, { holes: [[5, 2_000_000]] }),
];
const dataOf = ({ size, holes = [] }, at) => pattern(size - holes.reduce((sum, [, length]) => sum + length, 0), at);
function wholeOf(file, at) {
  const whole = new Uint8Array(file.size);
  const isHole = (place) => (file.holes ?? []).some(([start, length]) => place >= start && place < start + length);
  const data = dataOf(file, at);
  for (let place = 0, taken = 0; taken < data.length; place++) if (!isHole(place)) whole[place] = data[taken++];
  return Buffer.from(whole);
}

test("holes are written as zeros where they were, in pieces, at every size of chunk", async () => {
  const stream = Buffer.concat(sparse.map(dataOf));
  for (let chunkBytes = 1; chunkBytes <= stream.length + 1; chunkBytes++) {
    const got = [];
    let zeros = 0;
    const sink = {
      begin: async ({ path }) => void got.push({ path, parts: [] }),
      write: async (bytes) => {
        assert.ok(bytes.length > 0 && bytes.length <= 2 ** 20);
        got.at(-1).parts.push(Buffer.from(bytes));
      },
      end: async () => void (got.at(-1).isWhole = true),
      close: async () => {},
    };
    const cutter = new FileCutter(sparse, sink, { onZeros: (count) => void (zeros += count) });
    for (let at = 0; at < stream.length; at += chunkBytes) await cutter.write(new Uint8Array(stream.subarray(at, at + chunkBytes)));
    await cutter.close();
    for (const [at, { path, parts, isWhole }] of got.entries()) {
      assert.equal(path, sparse[at].path);
      assert.ok(isWhole && Buffer.concat(parts).equals(wholeOf(sparse[at], at)), `${path} in chunks of ${chunkBytes}`);
    }
    assert.equal(got.length, sparse.length);
    assert.equal(zeros, sparse.reduce((sum, { size }) => sum + size, 0) - stream.length);
  }
});

test("a hole larger than any disk can be stopped, although nothing that takes it ever waits", async () => {
  const stop = new AbortController();
  const nothing = { begin: async () => {}, write: async () => {}, end: async () => {}, close: async () => {} };
  const cutter = new FileCutter([file("a", 2 ** 53 - 1, { holes: [[0, 2 ** 53 - 1]] })], nothing, { signal: stop.signal });
  setTimeout(() => stop.abort(new Error("stopped")));
  await assert.rejects(cutter.close(), { message: "stopped" });
});

test("holes each of which is soon written can be stopped all the same", async () => {
  const stop = new AbortController();
  const nothing = { begin: async () => {}, write: async () => {}, end: async () => {}, close: async () => {} };
  const many = Array.from({ length: 20_000 }, (_, at) => file(`s/${at}`, 2 ** 20, { holes: [[0, 2 ** 20]] }));
  const cutter = new FileCutter(many, nothing, { signal: stop.signal });
  setTimeout(() => stop.abort(new Error("stopped")));
  await assert.rejects(cutter.close(), { message: "stopped" });
});

test("of a file that is left out no zeros are written, and all count as done", async () => {
  const got = [];
  let zeros = 0;
  const sink = {
    begin: async ({ path }) => (path === "s/out" ? false : undefined),
    write: async (bytes) => void got.push(bytes.length),
    end: async () => {},
    close: async () => {},
  };
  const files = [file("s/out", 2 ** 53 - 2000, { holes: [[0, 2 ** 53 - 2000]] }), file("s/in", 1000, { holes: [[0, 1000]] })];
  await new FileCutter(files, sink, { onZeros: (count) => void (zeros += count) }).close();
  assert.deepEqual([got, zeros], [[1000], 2 ** 53 - 1000]);
});

test("Python reads a ZIP of files with holes, whose length was known before", async () => {
  const sink = zipSink(memorySink(), []);
  const cutter = new FileCutter(sparse, sink);
  await cutter.write(new Uint8Array(Buffer.concat(sparse.map(dataOf))));
  const blob = await cutter.close();
  assert.equal(blob.size, zipLength(sparse, []));
  const folder = mkdtempSync(join(tmpdir(), "zip-"));
  try {
    writeFileSync(join(folder, "a.zip"), Buffer.from(await blob.arrayBuffer()));
    const { bad, entries } = JSON.parse(execFileSync("python3", ["-c", READ_ZIP, join(folder, "a.zip")], { encoding: "utf8" }));
    assert.equal(bad, null, "every check sum is right");
    assert.deepEqual(entries.map(([, size]) => size), sparse.map(({ size }) => size));
    assert.equal(entries[2][2], wholeOf(sparse[2], 2).toString("hex"));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a stream that ends early is no whole file", async () => {
  const cutter = new FileCutter([file("a", 5)], singleFile(memorySink()));
  await cutter.write(new Uint8Array(4));
  await assert.rejects(cutter.close(), { kind: "save-failed" });
  await assert.rejects(new FileCutter([file("a", 5)], singleFile(memorySink())).close(), { kind: "save-failed" });
  const withHole = new FileCutter([file("a", 5, { holes: [[0, 4]] })], singleFile(memorySink()));
  await assert.rejects(withHole.close(), { kind: "save-failed" });
});

test("the check sum is that of ZIP", () => {
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
  assert.equal(crc32(pattern(500, 1).subarray(200), crc32(pattern(500, 1).subarray(0, 200))), crc32(pattern(500, 1)));
});

const READ_ZIP = `
import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    bad = z.testzip()
    print(json.dumps({"bad": bad, "entries": [
        [i.filename, i.file_size, z.read(i).hex() if i.file_size < 100000 else None, i.external_attr >> 16, list(i.date_time), i.compress_type]
        for i in z.infolist()]}))
`;

test("Python reads the ZIP: names, bytes, times, modes, folders; its length was known before", async () => {
  const files = [
    file("s/ünï 日本.txt", 40), file("s/empty", 0), file("s/run.sh", 300, { executable: true }), file("s/sub/large.bin", 3_000_000),
    file("s/old", 3, { modified: "1970-01-01T00:00:00Z", mode: 0o600 }), file("s/<img src=x>", 7),
  ];
  const dirs = zipFolders({ dirs: ["s/leer", "s/sub/also"], dir_modes: [{ path: "s/sub", mode: 0o700 }, { path: "s/leer", mode: 0o775 }] });
  for (const chunkBytes of [1000, 65536, 1 << 20]) {
    const blob = await feed(files, zipSink(memorySink(), dirs), chunkBytes);
    assert.equal(blob.size, zipLength(files, dirs));
    assert.equal(blob.type, "application/octet-stream");
    const folder = mkdtempSync(join(tmpdir(), "zip-"));
    try {
      writeFileSync(join(folder, "a.zip"), Buffer.from(await blob.arrayBuffer()));
      const { bad, entries } = JSON.parse(execFileSync("python3", ["-c", READ_ZIP, join(folder, "a.zip")], { encoding: "utf8" }));
      assert.equal(bad, null);
      assert.deepEqual(entries.map(([name]) => name), [...files.map(({ path }) => path), "s/leer/", "s/sub/also/", "s/sub/"]);
      for (const [at, { size }] of files.entries()) {
        assert.equal(entries[at][1], size);
        if (size < 100_000) assert.equal(entries[at][2], Buffer.from(pattern(size, at)).toString("hex"));
        assert.equal(entries[at][5], 0);
      }
      assert.deepEqual(entries[0][4], [2026, 1, 2, 3, 4, 6]);
      assert.deepEqual(entries[4][4], [1980, 1, 1, 0, 0, 0]);
      assert.equal(entries[0][3], 0o100644);
      assert.equal(entries[2][3], 0o100755);
      assert.equal(entries[4][3], 0o100600);
      assert.deepEqual(entries.slice(6).map((entry) => entry[3]), [0o40775, 0o40755, 0o40700]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
});

// Python's reader over a file that is not there but for its headers: a file of 5 GiB need not be written.
const READ_LARGE = `
import io, json, sys, zipfile
class Sparse(io.RawIOBase):
    def __init__(self, parts, size): self.parts, self.size, self.at = parts, size, 0
    def seekable(self): return True
    def readable(self): return True
    def seek(self, at, whence=0):
        self.at = at if whence == 0 else self.at + at if whence == 1 else self.size + at
        return self.at
    def tell(self): return self.at
    def readinto(self, b):
        n = max(0, min(len(b), self.size - self.at)); out = bytearray(n)
        for start, data in self.parts:
            lo, hi = max(start, self.at), min(start + len(data), self.at + n)
            if lo < hi: out[lo - self.at:hi - self.at] = data[lo - start:hi - start]
        b[:n] = out; self.at += n
        return n
given = json.load(sys.stdin)
z = zipfile.ZipFile(Sparse([(at, bytes.fromhex(data)) for at, data in given["parts"]], given["size"]))
print(json.dumps([[i.filename, i.file_size, i.header_offset, z.open(i).read(5).hex(), i.extract_version] for i in z.infolist()]))
`;

test("sizes and places beyond 4 GiB are told in ZIP64", async () => {
  const large = 5 * 2 ** 30;
  const files = [file("s/large", large), file("s/after", 5)];
  const parts = [];
  let size = 0;
  const sink = {
    write: async (bytes) => {
      // The large file's bytes are zeros, and are left out.
      if (bytes.length < 2 ** 20) parts.push([size, Buffer.from(bytes).toString("hex")]);
      size += bytes.length;
    },
    close: async () => {},
  };
  // The sum of 5 GiB would take long, and is not read.
  const zip = zipSink(sink, [], (bytes) => (bytes.length === large ? 0 : crc32(bytes)));
  await zip.begin(files[0]);
  await zip.write({ length: large });
  await zip.end();
  await zip.begin(files[1]);
  await zip.write(Uint8Array.from([1, 2, 3, 4, 5]));
  await zip.end();
  await zip.close();
  assert.equal(zipLength(files, []), size);
  const input = JSON.stringify({ parts, size });
  const said = JSON.parse(execFileSync("python3", ["-c", READ_LARGE], { input, encoding: "utf8" }));
  assert.deepEqual(said.map((entry) => entry.slice(0, 2)), [["s/large", large], ["s/after", 5]]);
  assert.ok(said[1][2] > large);
  assert.deepEqual(said.map((entry) => entry[3]), ["0000000000", "0102030405"]);
  assert.deepEqual(said.map((entry) => entry[4]), [45, 45], "the version that reads it");
});

test("more than 65,535 files are told in ZIP64", async () => {
  const files = Array.from({ length: 66_000 }, (_, at) => file(`s/${at}`, at % 3));
  const blob = await feed(files, zipSink(memorySink(), []), 65536);
  assert.equal(blob.size, zipLength(files, []));
  const folder = mkdtempSync(join(tmpdir(), "zip-"));
  try {
    writeFileSync(join(folder, "a.zip"), Buffer.from(await blob.arrayBuffer()));
    const read = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(len(z.infolist()), z.read('s/65998').hex(), z.read('s/2').hex())";
    const said = execFileSync("python3", ["-c", read, join(folder, "a.zip")], { encoding: "utf8" });
    assert.equal(said.trim(), `66000 ${Buffer.from(pattern(1, 65998)).toString("hex")} ${Buffer.from(pattern(2, 2)).toString("hex")}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** A folder of the File System Access API, in memory. */
class FakeFolder {
  constructor(name, fold = (name) => name) {
    this.name = name;
    this.fold = fold;
    this.entries = new Map();
  }
  #get(given, kind, create, make) {
    const name = this.fold(given);
    if (name === "refused") throw new TypeError("Name is not allowed.");
    if (!this.entries.has(name)) {
      if (!create) throw new DOMException("", "NotFoundError");
      this.entries.set(name, make());
    }
    const found = this.entries.get(name);
    if (!(found instanceof kind)) throw new DOMException("", "TypeMismatchError");
    return found;
  }
  async getDirectoryHandle(name, { create } = {}) {
    return this.#get(name, FakeFolder, create, () => new FakeFolder(name, this.fold));
  }
  async getFileHandle(name, { create } = {}) {
    return this.#get(name, FakeFile, create, () => new FakeFile(this, name));
  }
  async removeEntry(given) {
    const name = this.fold(given);
    if (this.entries.get(name)?.entries?.size) throw new DOMException("", "InvalidModificationError");
    if (!this.entries.delete(name)) throw new DOMException("", "NotFoundError");
  }
  listing() {
    return Object.fromEntries([...this.entries].map(([name, entry]) => [name, entry instanceof FakeFolder ? entry.listing() : [...entry.content]]));
  }
}
class FakeFile {
  content = new Uint8Array();
  constructor(folder, name) {
    Object.assign(this, { folder, name });
  }
  async createWritable() {
    const written = [];
    return {
      write: async (bytes) => {
        if (this.name === "full") throw new DOMException("", "QuotaExceededError");
        written.push(...(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes));
      },
      close: async () => void (this.content = Uint8Array.from(written)),
      abort: async () => {},
    };
  }
  async getFile() {
    return { size: this.content.length };
  }
  async remove() {
    await this.folder.removeEntry(this.name);
  }
}

const folder = (files, dirs = []) => ({ original_filename: "s", files, dirs });
const incomplete = texts.get.incomplete.name;

test("a folder is marked as incomplete from before its first file until it is whole", async () => {
  const parent = new FakeFolder("");
  // Another system may take these for the marker's own name.
  const files = [file(`s/${incomplete.toLowerCase()}`, 1), file(`s/_${incomplete}`, 1), file("s/b/c", 1)];
  const sink = await folderSink(parent, folder(files));
  const marker = `__${incomplete}`;
  assert.deepEqual(Object.keys(parent.listing().s), [marker]);
  assert.equal(new TextDecoder().decode(Uint8Array.from(parent.listing().s[marker])), texts.get.incomplete.text);
  const cutter = new FileCutter(files, sink);
  await cutter.write(pattern(3, 0));
  assert.ok(marker in parent.listing().s);
  await cutter.close();
  assert.deepEqual(Object.keys(parent.listing().s), [incomplete.toLowerCase(), `_${incomplete}`, "b"]);
});

test("a folder is saved in place, under a new name if its own is taken", async () => {
  const parent = new FakeFolder("");
  const mine = await parent.getDirectoryHandle("s", { create: true });
  await mine.getFileHandle("mine", { create: true });
  await parent.getFileHandle("s (2)", { create: true });
  const files = [file("s/a", 2), file("s/x/y/b", 3), file("s/x/c", 0)];
  const sink = await folderSink(parent, folder(files, ["s/leer", "s/x/tief/leer"]));
  await feed(files, sink, 4);
  assert.equal(sink.name, "s (3)");
  assert.deepEqual(parent.listing(), {
    s: { mine: [] }, "s (2)": [],
    "s (3)": { a: [...pattern(2, 0)], x: { y: { b: [...pattern(3, 1)] }, c: [], tief: { leer: {} } }, leer: {} },
  });
});

test("a folder that fails on the way is taken back, but nothing that somebody else put there", async () => {
  const parent = new FakeFolder("");
  const files = [file("s/x/a", 2), file("s/x/y/b", 3), file("s/c", 2)];
  const sink = await folderSink(parent, folder(files));
  const cutter = new FileCutter(files, sink);
  await cutter.write(pattern(4, 0));
  const x = await (await parent.getDirectoryHandle("s")).getDirectoryHandle("x");
  assert.equal((await (await (await x.getDirectoryHandle("y")).getFileHandle("b")).getFile()).size, 0, "not before all of it is there");
  await sink.abort();
  assert.deepEqual(parent.listing(), {});
  const again = await folderSink(parent, folder([file("s/a", 2)]));
  await new FileCutter([file("s/a", 2)], again).write(pattern(2, 0));
  await (await parent.getDirectoryHandle("s")).getFileHandle("foreign", { create: true });
  await again.abort();
  assert.deepEqual(parent.listing(), { s: { foreign: [] } });
});

test("what the file system refuses is told by kind", async () => {
  const parent = new FakeFolder("");
  const write = async (path) => new FileCutter([file(path, 2)], await folderSink(parent, folder([file(path, 2)]))).write(pattern(2, 0));
  await assert.rejects(write("s/full"), { kind: "no-space" });
  const error = await folderSink(parent, { ...folder([]), original_filename: "refused" }).catch((error) => error);
  const said = problemTexts(problemOf(error));
  assert.equal(said.title, texts.get.problems["name-not-allowed"].title);
  assert.match(said.detail, /“refused”/);
});

test("what the browser refuses is left out and told, and each name is asked for once", async (context) => {
  const parent = new FakeFolder("");
  const asked = context.mock.method(parent, "getFileHandle");
  const files = Array.from({ length: 1000 }, (_, at) => file(`s/${at % 10}/${at % 100}`, 1));
  await folderSink(parent, folder(files));
  assert.equal(asked.mock.callCount(), 101);
  const some = [file("s/a", 2), file("s/x/refused/b", 3), file("s/refused", 1), file("s/c", 2)];
  const sink = await folderSink(parent, folder(some, ["s/refused", "s/d"]));
  await feed(some, sink, 3);
  assert.deepEqual(parent.listing()[sink.name], { a: [...pattern(2, 0)], c: [...pattern(2, 3)], d: {} });
  assert.deepEqual(sink.leftOut, ["s/x/refused/b", "s/refused", "s/refused"]);
  assert.match(texts.get.done.leftOut(sink.leftOut), /“s\/x\/refused\/b”/);
});

test("symlinks are left out and told, and the folders that they are in are made", async () => {
  const parent = new FakeFolder("");
  const files = [file("s/a", 2)];
  const links = [{ path: "s/l", target: "a" }, { path: "s/only/l", target: "../a" }];
  const sink = await folderSink(parent, { ...folder(files), links });
  await feed(files, sink, 2);
  assert.deepEqual(parent.listing(), { s: { a: [...pattern(2, 0)], only: {} } });
  assert.deepEqual(sink.leftOut, ["s/l", "s/only/l"]);
  assert.deepEqual(zipFolders({ dirs: [], links }).map(({ path }) => path), ["s", "s/only"]);
});

test("what the file system takes for another entry is left out, overwrites nothing, and is not taken back", async () => {
  for (const isGivenUp of [false, true]) {
    const parent = new FakeFolder("", (name) => name.toLowerCase());
    const files = [file("s/A", 2), file("s/a", 3), file("s/X/b", 1), file("s/x/B", 2), file("s/x/c", 1), file("s/a/d", 1)];
    const sink = await folderSink(parent, folder(files, ["s/x", "s/Y", "s/y", "s/A/e", "s/X/B"]));
    if (isGivenUp) {
      await new FileCutter(files, sink).write(pattern(9, 0));
      await sink.abort();
      assert.deepEqual(parent.listing(), {});
      continue;
    }
    await feed(files, sink, 2);
    assert.deepEqual(parent.listing(), { s: { a: [...pattern(2, 0)], x: { b: [...pattern(1, 2)], c: [...pattern(1, 4)] }, y: {} } });
    assert.deepEqual(sink.leftOut, ["s/a", "s/x/B", "s/a/d", "s/y", "s/A/e", "s/X/B"]);
  }
});

test("a single file gets its content at the end, and is taken away if it fails", async () => {
  const parent = new FakeFolder("");
  const handle = await parent.getFileHandle("a", { create: true });
  const sink = await fileSink(handle);
  await sink.write(pattern(3, 0));
  assert.equal(handle.content.length, 0);
  await sink.abort();
  assert.deepEqual(parent.listing(), {});
  const before = await parent.getFileHandle("b", { create: true });
  before.content = Uint8Array.of(7);
  await (await fileSink(before)).abort();
  assert.deepEqual(parent.listing(), { b: [7] }, "what was there before stays");
});

test("the stream sends only what is pulled, and hands buffers over", async () => {
  const { port1, port2 } = new MessageChannel();
  const got = [];
  port2.onmessage = ({ data }) => got.push(data);
  const sink = streamSink(port1);
  const tick = () => new Promise((resolve) => setTimeout(resolve, 10));
  const first = pattern(8, 0);
  const written = sink.write(first);
  await tick();
  assert.equal(got.length, 0, "nobody has pulled");
  port2.postMessage("pull");
  await written;
  await tick();
  assert.deepEqual(got, [pattern(8, 0)]);
  assert.equal(first.length, 0, "the buffer changed hands");
  const shared = pattern(8, 1);
  port2.postMessage("pull");
  await sink.write(shared.subarray(2, 4));
  assert.equal(shared.length, 8, "a part is copied");
  const closed = sink.close();
  port2.postMessage("pull");
  await tick();
  assert.equal(got.at(-1), "end");
  port2.postMessage("ended");
  await closed;
  port2.close();
});

test("a download that was cancelled in the browser, or lost its service worker, is no success", async () => {
  for (const [kind, end] of [
    ["stopped-by-browser", (sink, port) => port.postMessage("cancelled")],
    ["stream-broken", (sink, port) => port.postMessage("failed")],
    ["stream-broken", (sink) => sink.lose()],
  ]) {
    const { port1, port2 } = new MessageChannel();
    const sink = streamSink(port1);
    const written = sink.write(pattern(8, 0));
    end(sink, port2);
    await assert.rejects(written, { kind });
    assert.ok(texts.get.problems[kind]);
    port1.close();
  }
});
