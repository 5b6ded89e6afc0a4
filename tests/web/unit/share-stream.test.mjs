// What is chosen, what becomes of it in the share, and the stream of bytes that it makes.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { test } from "node:test";

import { UnreadableEntryError, chosenFiles, droppedFiles } from "../../../web/js/share/files.js";
import { Selection } from "../../../web/js/share/selection.js";
import { FileStream, UnreadableFileError } from "../../../web/js/share/stream.js";

const file = (text, name = "x") => new File([text], name);
const streamFile = (path, content) => ({ path, file: file(content), size: file(content).size });
const text = (bytes) => new TextDecoder().decode(bytes);

test("files are one stream in their order, whatever part is read", async () => {
  const parts = ["", "a", "bcd", "", "", "efghij", "k", ""];
  const stream = new FileStream(parts.map((part, at) => streamFile(`${at}`, part)));
  const all = parts.join("");
  assert.equal(stream.totalBytes, all.length);
  for (let start = 0; start <= all.length; start++) {
    for (let end = start; end <= all.length; end++) assert.equal(text((await stream.read(start, end)).bytes), all.slice(start, end));
  }
  const paths = await Promise.all([0, 1, 4, 10].map(async (at) => (await stream.read(at, at + 1)).path));
  assert.deepEqual(paths, ["1", "2", "5", "6"]);
});

test("a chunk of thousands of small files is read", async () => {
  const parts = Array.from({ length: 5000 }, (_, at) => `${at},`);
  const stream = new FileStream(parts.map((part, at) => streamFile(`${at}`, part)));
  assert.equal(text((await stream.read(3, stream.totalBytes - 3)).bytes), parts.join("").slice(3, -3));
});

test("a stream of no files, and of empty ones, has no bytes", async () => {
  for (const files of [[], [streamFile("e", "")]]) {
    const stream = new FileStream(files);
    assert.equal(stream.totalBytes, 0);
    assert.equal((await stream.read(0, 0)).bytes.length, 0);
  }
});

test("a file that cannot be read, or is shorter than it was, is named", async () => {
  const gone = { slice: unreadable };
  const short = { slice: () => file("yz") };
  for (const bad of [gone, short]) {
    const stream = new FileStream([streamFile("good", "abc"), { path: "bad", file: bad, size: 3 }]);
    assert.equal(text((await stream.read(0, 3)).bytes), "abc");
    await assert.rejects(stream.read(2, 6), (error) => error instanceof UnreadableFileError && error.path === "bad");
  }
});

test("dropped folders are walked to their ends, in a fixed order", async () => {
  const tree = folder("/top", [folder("/top/b", [leaf("/top/b/2"), leaf("/top/b/1")]), folder("/top/empty", []), leaf("/top/a")]);
  const found = await droppedFiles(dropOf([tree, leaf("/alone")]));
  assert.deepEqual(found.map(({ path, file: content }) => [path, content !== null]), [
    ["top/a", true], ["top/b/1", true], ["top/b/2", true], ["top/empty", false], ["alone", true],
  ]);
});

test("a folder of 100,000 files is walked, and a deep one costs no stack", async () => {
  const wide = folder("/wide", Array.from({ length: 100_000 }, (_, at) => leaf(`/wide/${at}`)));
  const found = await droppedFiles(dropOf([wide]));
  assert.equal(found.length, 100_000);
  const selection = new Selection();
  selection.add(found);
  assert.equal(selection.plan("wide").files.length, 100_000);
  let deep = leaf(`/${"d/".repeat(20_000)}leaf`);
  for (let depth = 20_000; depth > 0; depth--) deep = folder(`/${"d/".repeat(depth).slice(0, -1)}`, [deep]);
  assert.equal((await droppedFiles(dropOf([deep]))).length, 1);
});

test("what was dropped itself and cannot be read is an error, and in a folder it is left out and named", async () => {
  const bad = { ...leaf("/top/bad"), file: (_, refuse) => refuse(new Error("no")) };
  const locked = { ...folder("/top/locked", []), createReader: () => ({ readEntries: (_, refuse) => refuse(new Error("no")) }) };
  for (const [entry, path] of [[{ ...bad, fullPath: "/bad" }, "bad"], [{ ...locked, fullPath: "/locked" }, "locked"]]) {
    await assert.rejects(droppedFiles(dropOf([entry])), (error) => error instanceof UnreadableEntryError && error.path === path);
  }
  const selection = new Selection();
  selection.add(await droppedFiles(dropOf([folder("/top", [bad, locked, leaf("/top/good")])])));
  const { files, dirs, leftOut } = selection.plan("top");
  assert.deepEqual(files.map(({ path }) => path), ["top/good"]);
  assert.deepEqual([dirs, leftOut], [[], ["top/bad", "top/locked"].map((path) => ({ path, rule: "unreadable" }))]);
});

test("what is in a folder and cannot be shared is left out, and what was chosen itself is not", () => {
  const paths = ["top/Icon\r", "top/a\\b", "top/aux.c", "top/A", "top/a", "top/e\u0301", "top/\u00e9", "top/b/\u202e/"];
  const plan = planOf([paths], "top");
  assert.deepEqual(plan.paths, ["top/A", "top/a", "top/aux.c", "top/e\u0301", "top/\u00e9"]);
  assert.deepEqual(plan.leftOut, [["top/Icon\r", "control"], ["top/a\\b", "backslash"], ["top/b/\u202e", "bidi"]]);
  assert.deepEqual(planOf([["top/Icon\r"]], "top"), { name: "top", paths: [], dirs: ["top"], renamed: false, leftOut: [["top/Icon\r", "control"]] });
  assert.deepEqual(planOf([["a\\b"]], "").paths, ["a\\b"], "the worker refuses it");
});

test("one file is shared as itself, without leading dots and in normal form", () => {
  assert.deepEqual(planOf([["cafe\u0301.txt"]], ""), { name: "caf\u00e9.txt", paths: ["caf\u00e9.txt"], dirs: [], renamed: true });
  assert.deepEqual(planOf([[".profile"]], ""), { name: "profile", paths: ["profile"], dirs: [], renamed: true });
  assert.deepEqual(planOf([["a.txt"]], "ignored"), { name: "a.txt", paths: ["a.txt"], dirs: [], renamed: false });
});

test("one folder is shared under its own or another name, with its empty folders", () => {
  const found = ["top/b", "top/a/1", "top/none/"];
  assert.deepEqual(planOf([found], "top"), { name: "top", paths: ["top/a/1", "top/b"], dirs: ["top/none"], renamed: false });
  assert.deepEqual(planOf([found], "other").paths, ["other/a/1", "other/b"]);
  assert.deepEqual(planOf([["top/"]], "top"), { name: "top", paths: [], dirs: ["top"], renamed: false });
});

test("a name that is not in normal form is noticed wherever the receiver would see it", () => {
  const other = "e\u0301";
  assert.equal(planOf([[`top/${other}/x`]], "top").renamed, true);
  assert.equal(planOf([[other, "b"]], "files").renamed, true);
  assert.equal(planOf([[`${other}/x`]], "top").renamed, false, "the folder got another name");
  assert.deepEqual(planOf([[`${other}/x`, "b"]], "files").paths, ["files/b", "files/\u00e9/x"]);
});

test("several files and folders go into a new folder", () => {
  const plan = planOf([["a.txt", "b/c"], ["d/"]], "files");
  assert.deepEqual(plan, { name: "files", paths: ["files/a.txt", "files/b/c"], dirs: ["files/d"], renamed: false });
});

test("the list counts, suggests a name, and forgets what is removed", async () => {
  const selection = new Selection();
  selection.add(await chosenFiles([file("12", "a"), Object.assign(file("345", "c"), { webkitRelativePath: "b/c" })]));
  assert.deepEqual([selection.files, selection.bytes, selection.isFolder, selection.suggestedName], [2, 5, true, "files"]);
  selection.remove(selection.items[0].id);
  assert.deepEqual([selection.files, selection.bytes, selection.suggestedName], [1, 3, "b"]);
  selection.remove(selection.items[0].id);
  assert.ok(selection.isEmpty);
});

/** What becomes of paths that were added; those that end in / are empty folders. */
function planOf(additions, name) {
  const selection = new Selection();
  for (const paths of additions) {
    const measures = { size: 1, modifiedMs: 5 };
    const empty = { file: null, size: 0, modifiedMs: 0 };
    selection.add(paths.map((path) =>
      (path.endsWith("/") ? { path: path.slice(0, -1), ...empty } : { path, file: file("x"), ...measures })));
  }
  const { files, dirs, leftOut } = selection.plan(name);
  const naming = selection.naming(name);
  const plan = { name: naming.name, paths: files.map(({ path }) => path), dirs, renamed: naming.isChanged };
  return leftOut.length ? { ...plan, leftOut: leftOut.map(({ path, rule }) => [path, rule]) } : plan;
}

function leaf(fullPath) {
  const name = fullPath.split("/").at(-1);
  return { isDirectory: false, name, fullPath, file: (give) => give(file("x", name)) };
}

/** Gives a hundred entries at a time, as browsers do. */
function folder(fullPath, children) {
  const createReader = () => {
    let at = 0;
    return { readEntries: (give) => give(children.slice(at, (at += 100))) };
  };
  return { isDirectory: true, name: fullPath.split("/").at(-1), fullPath, createReader };
}

function dropOf(entries) {
  return { items: entries.map((entry) => ({ kind: "file", webkitGetAsEntry: () => entry })), files: [] };
}

/** A Blob that fails when it is read. */
function unreadable() {
  const blob = new Blob();
  blob.arrayBuffer = () => Promise.reject(new DOMException("changed", "NotReadableError"));
  return blob;
}
