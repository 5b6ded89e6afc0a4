// Names and metadata: one case for every rule of the formats, and what is taken.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Geometry } from "../../../web/js/format/geometry.js";
import { runsOf } from "../../../web/js/format/holes.js";
import {
  brokenRule, brokenTopRule, buildMetadata, checkMetadata, checkTogether, encodeMetadata, extensionOf, parseMetadata, permissionsOf, senderTopName,
} from "../../../web/js/format/metadata.js";
import { notes } from "../../../web/js/format/portability.js";
import { SharedNames } from "../../../web/js/share/names.js";
import { texts } from "../../../web/js/page/texts.js";
import { printable } from "../../../web/js/page/words.js";

const cases = JSON.parse(readFileSync(new URL("../../formats/names.json", import.meta.url), "utf8"));

test("hostile names are refused by rule", () => {
  for (const [name, rule] of cases.refused) assert.equal(brokenRule(name), rule, JSON.stringify(name));
  // Texts that only JavaScript has: no other reader of the cases would take them.
  for (const name of ["a\ud800b", "\udc00"]) assert.equal(brokenRule(name), "not-unicode", JSON.stringify(name));
});

test("names are as long and deep as the limits say", () => {
  for (const [part, times, end, rule] of cases.lengths) assert.equal(brokenRule(part.repeat(times) + end), rule, `${part}, ${times} times`);
});

test("ordinary names of all kinds are taken", () => {
  for (const [name] of cases.allowed) assert.equal(brokenRule(name), null, name);
});

test("names that are none on some systems are safe and noted", () => {
  for (const [name, expected] of cases.allowed) {
    assert.equal(notes([name]).map(([, why]) => why).join(" "), expected, JSON.stringify(name));
  }
});

test("names that a file system may take for one are found", () => {
  for (const [paths, expected] of cases.clashes) {
    checkTogether(paths, []);
    assert.deepEqual(notes(paths).filter(([, why]) => why === "clash").map(([path]) => path), expected, paths.join());
  }
});

test("names are shared in normal form unless another has it already", () => {
  for (const [names, expected] of cases.shared) {
    for (const folder of ["", "a/", "e\u0301/"]) {
      const shared = new SharedNames(names.map((name) => folder + name));
      assert.deepEqual(names.map((name) => shared.of(folder + name)), expected.map((name) => folder.normalize("NFC") + name));
    }
  }
});

test("a top name is one visible component", () => {
  for (const [name, rule] of cases.tops) assert.equal(brokenTopRule(name), rule, JSON.stringify(name));
});

test("deep tables are refused by their number of folders and components", () => {
  const deep = (/** @type {number} */ n) => `${n}/${"d/".repeat(126)}f`;
  const files = (/** @type {number} */ count) => Array.from({ length: count }, (_, n) => deep(n));
  assert.throws(() => checkTogether(files(1000), []), /more folders/);
  const alternating = Array.from({ length: 50_000 }, (_, n) => `${n % 2}/${"d/".repeat(126)}${n}`);
  assert.throws(() => checkTogether(alternating, []), /more components/);
  checkTogether(files(700), []);
});

test("clashes are found", () => {
  for (const [files, folders, expected] of cases.together) {
    let broken = null;
    try {
      checkTogether(files, folders);
    } catch (error) {
      broken = error.rule;
    }
    assert.equal(broken, expected, `${files} ${folders}`);
  }
});

const geometry = Geometry.of(7, 16);
const sound = () => buildMetadata(
  { name: "s", files: [{ path: "s/a", size: 3, modifiedMs: 0 }, { path: "s/b/c", size: 4, executable: true, modifiedMs: 1 }], dirs: ["s/d"], createdMs: 0 },
  geometry,
);
const refusal = (change) => {
  const metadata = sound();
  try {
    checkMetadata(change(metadata) ?? metadata, geometry);
    return "none";
  } catch (error) {
    return error.rule ?? error.message;
  }
};

test("sound metadata round trips", () => {
  assert.deepEqual(parseMetadata(encodeMetadata(sound()), geometry), sound());
  const single = buildMetadata({ name: "a.tar.gz", files: [{ path: "a.tar.gz", size: 7, modifiedMs: 0 }], dirs: [], createdMs: 0 }, geometry);
  assert.equal(single.extension, ".gz");
  assert.equal(parseMetadata(encodeMetadata(single), geometry).original_filename, "a.tar.gz");
});

test("contradictions are refused", () => {
  assert.equal(refusal(() => {}), "none");
  assert.match(refusal((m) => void (m.files[1].offset = 4)), /do not follow/);
  assert.match(refusal((m) => void (m.files[1].size = 5)), /add up/);
  assert.match(refusal((m) => void (m.size = 8)), /not the manifest's/);
  assert.match(refusal((m) => void (m.chunk_count = 2)), /not the manifest's/);
  assert.match(refusal((m) => void (m.extension = ".exe")), /extension/);
  assert.match(refusal((m) => void (m.files[0].path = "t/a")), /outside/);
  assert.match(refusal((m) => void (m.files[0].path = "sa")), /outside/);
  assert.match(refusal((m) => void (m.dirs = ["t"])), /outside/);
  assert.match(refusal((m) => void (m.files = Array.from({ length: 100_001 }, () => m.files[0]))), /too many/);
  assert.match(refusal((m) => void (m.dirs = Array.from({ length: 100_001 }, () => "s/d"))), /too many/);
  assert.equal(refusal((m) => void (m.files[0].path = "s/../a")), "dot-component");
  assert.equal(refusal((m) => void (m.original_filename = ".s")), "hidden");
  assert.equal(refusal((m) => void (m.files[1].path = "s/a")), "twice");
  assert.equal(refusal((m) => void (m.dirs = ["s"])), "none");
});

test("modes are permissions of what is there", () => {
  const modes = (mode, executable, folders) => refusal((m) => {
    Object.assign(m.files[1], mode === undefined ? {} : { mode }, { executable });
    if (folders) m.dir_modes = folders.map(([path, mode]) => ({ path, mode }));
    return parseMetadata(encodeMetadata(m), geometry);
  });
  for (const [mode, executable] of [[0, false], [0o600, false], [0o700, true], [0o777, true], [0o644, false]]) assert.equal(modes(mode, executable), "none");
  assert.equal(modes(undefined, true, [["s", 0o700], ["s/b", 0], ["s/d", 0o777]]), "none");
  for (const [mode, executable] of [[0o4755, true], [0o1000, false], [0o100644, false], [0o644, true], [0o755, false]]) assert.match(modes(mode, executable), /mode/);
  assert.match(modes(-1, false), /other fields/);
  assert.match(modes(0.5, false), /other fields/);
  for (const folders of [[["s/b", 0o2755]], [["s/a", 0o700]], [["s/e", 0o700]], [["t", 0o700]], [["s/b", 0o700], ["s/b", 0o700]]]) {
    assert.match(modes(undefined, false, folders), /mode/);
  }
});

test("a folder with modes and symlinks reads as on the command line", () => {
  const json = readFileSync(new URL("../../../fuzz/corpus/metadata/folder-with-links", import.meta.url));
  const metadata = parseMetadata(json, Geometry.of(0, 16));
  assert.deepEqual([metadata.links.length, metadata.dir_modes[0].mode, permissionsOf(metadata.files[0])], [2, 0o700, 0o600]);
});

const holes = JSON.parse(readFileSync(new URL("../../formats/holes.json", import.meta.url), "utf8"));

test("holes are read and refused as on the command line", () => {
  const read = (files, total, size) => {
    const entries = files.map(({ size, holes, offset }, at) => ({
      path: `s/${at}`, offset, size, ...(holes === undefined ? {} : { holes }), executable: false, modified: "1970-01-01T00:00:00Z",
    }));
    const metadata = { original_filename: "s", extension: "", size, chunk_count: Math.ceil(total / 65536), created: "1970-01-01T00:00:00Z", files: entries, dirs: [] };
    try {
      parseMetadata(new TextEncoder().encode(JSON.stringify(metadata)), Geometry.of(total, 16));
      return null;
    } catch (error) {
      assert.equal(error.name, "MetadataError");
      return error.message;
    }
  };
  for (const { files, total, size, data } of holes.sound) {
    assert.equal(read(files, total, size), null, JSON.stringify(files));
    for (const [at, runs] of data.entries()) assert.deepEqual(dataRuns(files[at]), runs, JSON.stringify(files[at]));
  }
  for (const { files, total, size } of holes.refused) assert.notEqual(read(files, total, size), null, JSON.stringify(files));
  const many = (count) => Array.from({ length: count }, (_, at) => [2 * at, 1]);
  const half = { size: 100_001, holes: many(50_000), offset: 0 };
  assert.equal(read([half, { ...half, offset: 50_001 }], 100_002, 200_002), null);
  assert.match(read([half, { size: 200_000, holes: many(50_001), offset: 50_001 }], 200_000, 300_001), /too many holes/);
});

/** Where the data of a file is: runs of [position, bytes]. */
function dataRuns(file) {
  const runs = [];
  let at = 0;
  for (const { data, zeros } of runsOf(file)) {
    if (data > 0) runs.push([at, data]);
    at += data + zeros;
  }
  return runs;
}

test("symlinks are entries beside the others", () => {
  const links = (...links) => refusal((m) => {
    m.links = links.map(([path, target]) => ({ path, target }));
    return parseMetadata(encodeMetadata(m), geometry);
  });
  assert.equal(links(["s/l", "a"], ["s/only/l", "../b/c"]), "none");
  assert.equal(links(["s/a", "b"]), "twice");
  assert.equal(links(["s/b", "a"]), "file-and-folder");
  assert.equal(links(["s/../l", "a"]), "dot-component");
  assert.match(links(["t", "s/a"]), /outside/);
  assert.match(links(["s/l", 7]), /other fields/);
  assert.match(refusal((m) => void (m.links = Array.from({ length: 100_000 }, () => ({ path: "s/l", target: "a" })))), /too many/);
});

test("JSON with other fields, types, numbers or bytes is refused", () => {
  const json = new TextDecoder().decode(encodeMetadata(sound()));
  const isRefused = (text) => {
    try {
      parseMetadata(typeof text === "string" ? new TextEncoder().encode(text) : text, geometry);
      return false;
    } catch (error) {
      return error.name === "MetadataError" || error.name === "NameError";
    }
  };
  assert.equal(isRefused(json), false);
  for (const [from, to] of [
    ['"size":7', '"setuid":true,"size":7'], ['"executable":false', '"mode":4095,"executable":false'], ['"size":7', '"size":18446744073709551615'],
    ['"size":7', '"size":-7'], ['"size":7', '"size":7.5'], ['"size":7', '"size":"7"'], ['"offset":0', '"offset":null'], ['"dirs":["s/d"]', '"dirs":{}'],
    ['"dirs":["s/d"]', '"dirs":[1]'], ['"path":"s/a"', '"path":["s/a"]'], ['"path":"s/a"', '"path":"s/\\ud800"'], ['"executable":false', '"executable":0'],
    ['"executable":false', '"blake3":"xyz","executable":false'], ['1970-01-01T00:00:00.000Z', "yesterday"], ['"extension":"",', ""], ["{", "\ufeff{"],
  ]) {
    assert.ok(json.includes(from), from);
    assert.ok(isRefused(json.replace(from, to)), to);
  }
  for (const text of ["", "null", "[]", "7", "[".repeat(1 << 20), Uint8Array.of(0xff), new Uint8Array(33 << 20).fill(32)]) assert.ok(isRefused(text));
});

test("what a sender does to names, and what a reader is shown of refused ones", () => {
  assert.equal(senderTopName("..e\u0301"), "é");
  assert.equal(extensionOf(".rc"), "");
  assert.equal(printable("a\u202eb\n\ud800"), "a\\u{202e}b\\u{a}\\u{d800}");
  assert.equal(texts.common.nameRefused("a\u202eb", "bidi").includes("\u202e"), false);
});

test("a hundred thousand names are checked in little time", () => {
  const files = Array.from({ length: 100_000 }, (_, at) => ({ path: `s/ordner-ü${at % 300}/datei ${at}`, size: 0, modifiedMs: 0 }));
  const started = process.cpuUsage();
  const empty = Geometry.of(0, 20);
  parseMetadata(encodeMetadata(buildMetadata({ name: "s", files, dirs: [], createdMs: 0 }, empty)), empty);
  assert.ok(process.cpuUsage(started).user < 10e6);
});
