// Getting in the browser what was shared from the command line.
import assert from "node:assert/strict";
import { join } from "node:path";
import { check } from "./harness.mjs";
import { GetPage, savedSize } from "./pages.mjs";
import { run, sha256, sha256OfFile, until } from "./swarm.mjs";
import { tree, writeRandom, writeSparse, writeTree } from "./samples.mjs";

const MIB = 1 << 20;
const all = ["file system", "service worker", "memory"];

for (const [title, bytes, kinds] of [
  ["1 KB", 1000, all],
  ["5.4 MB", 5_400_000, all],
  ["no bytes at all", 0, ["file system", "service worker"]],
]) {
  for (const kind of kinds) {
    check(`a file of ${title} arrives as it was, by ${kind}`, async (stage) => {
      const { page, source } = await opened(stage, { kind, bytes });
      assert.equal(await page.saveFile("sample.bin"), await sha256OfFile(source));
    });
  }
}

const large = process.env.WEB_TEST_LARGE === "1" ? 1024 * MIB : 300_000_000;
// In chunks that are larger than the answers that the tools of development keep in the page's process.
for (const kind of ["file system", "service worker"]) {
  check(`a file of ${large} bytes arrives in bounded memory, by ${kind}`, async (stage, context) => {
    const profile = await stage.folder();
    const { page, visitor, source } = await opened(stage, { kind, profile, bytes: large, shareFlags: ["--replicas", "1", "--chunk-size", "16MiB"] });
    const meter = await Meter.start(visitor);
    const arriving = kind === "service worker" ? page.nextDownload() : undefined;
    const saved = async () => (arriving ? sha256OfFile(await (await arriving).path()) : page.savedFile("sample.bin"));
    await page.download();
    await page.waitUntilDone(150_000);
    const peak = await meter.stop();
    context.diagnostic(`peaks in MiB: ${JSON.stringify(peak)}`);
    assert.ok(peak.page < 300, "memory of the page's process");
    assert.ok(peak.allBeyondStart < 300, "what the whole browser took more");
    assert.equal(await saved(), await sha256OfFile(source));
  }, { timeoutMs: 300_000 });
}

check("the name that is told is the one that the file was saved under", async (stage) => {
  const { page, visitor, source } = await opened(stage, { kind: "file system" });
  await visitor.page.evaluate(() => {
    const pick = window.showSaveFilePicker;
    window.showSaveFilePicker = () => pick({ suggestedName: "mine.bin" });
  });
  assert.equal(await page.saveFile("mine.bin"), await sha256OfFile(source));
  assert.match(await page.at("outcome").innerText(), /“mine\.bin” is saved/);
});

check("a folder arrives with all its files, into a folder that was chosen", async (stage) => {
  const { page } = await openedTree(stage, "file system");
  await page.download();
  await page.waitUntilDone();
  assert.deepEqual(await page.savedTree(), hashes(tree));
});

for (const kind of ["service worker", "memory", "refused pickers"]) {
  check(`a folder arrives as a ZIP that others can read, by ${kind}`, async (stage) => {
    const { page } = await openedTree(stage, kind);
    const [download] = await Promise.all([page.nextDownload(), page.download()]);
    assert.match(download.suggestedFilename(), /\.zip$/);
    const path = join(await stage.folder(), "got.zip");
    await download.saveAs(path);
    await page.waitUntilDone();
    assert.deepEqual(await unzip(path), hashes(tree));
  });
}

for (const kind of all) {
  check(`a file with holes arrives whole, and its size is its length, by ${kind}`, async (stage) => {
    const swarm = await stage.swarm();
    const alice = await swarm.person();
    const source = alice.path("disk.img");
    await writeSparse(source, 40 * MIB + 5, [[MIB, 100_000], [30 * MIB + 1, 5]]);
    const visitor = await stage.visitor({ kind });
    const page = await GetPage.open(swarm, visitor, await alice.share(source));
    assert.match(await page.text(), /41\.9 MB/);
    assert.equal(await page.saveFile("disk.img"), await sha256OfFile(source));
    const chunks = visitor.wire.requests.filter((request) => chunkIndex(request.url) >= 0);
    assert.equal(chunks.length, 1, "the holes are not fetched");
  });
}

check("files with holes arrive in a ZIP that others can read", async (stage) => {
  const swarm = await stage.swarm();
  const alice = await swarm.person();
  const names = ["vm/disk", "vm/hole", "vm/last"];
  await alice.write("vm/plain", "plain");
  await writeSparse(alice.path(names[0]), 9 * MIB, [[2 * MIB, 70_000]]);
  await writeSparse(alice.path(names[1]), 3 * MIB, []);
  await writeSparse(alice.path(names[2]), 5 * MIB + 1, [[0, 3], [5 * MIB, 1]]);
  const page = await GetPage.open(swarm, await stage.visitor({ kind: "service worker" }), await alice.share(alice.path("vm")));
  const [download] = await Promise.all([page.nextDownload(), page.download()]);
  const path = join(await stage.folder(), "got.zip");
  await download.saveAs(path);
  await page.waitUntilDone();
  const expected = { "vm/plain": sha256("plain") };
  for (const name of names) expected[name] = await sha256OfFile(alice.path(name));
  assert.deepEqual(await unzip(path), Object.fromEntries(Object.entries(expected).sort()));
});

check("a download goes on after the connection was cut, and is right", async (stage) => {
  const { page, visitor, source } = await opened(stage, { bytes: 20 * MIB });
  visitor.wire.refuses = (request) => chunkIndex(request.url) >= 5;
  await page.download();
  const refused = () => visitor.wire.requests.filter((request) => chunkIndex(request.url) >= 5).length;
  await until("chunks were asked for in vain", () => refused() >= 3);
  visitor.wire.cut();
  await page.waitUntilItWaits();
  visitor.wire.refuses = undefined;
  visitor.wire.mend();
  await page.waitUntilDone();
  assert.equal(await page.savedFile("sample.bin"), await sha256OfFile(source));
});

check("a download goes on after the tracker hung for a while, and is right", async (stage) => {
  const { swarm, page, visitor, source } = await opened(stage, { bytes: 20 * MIB, kind: "service worker" });
  const chunks = () => visitor.wire.requests.filter((request) => chunkIndex(request.url) >= 0);
  const arriving = page.nextDownload();
  await page.download();
  await until("some chunks came", () => chunks().some((request) => request.status === 200));
  swarm.tracker.freeze();
  await new Promise((resolve) => setTimeout(resolve, 2000)); // how long it hangs
  swarm.tracker.thaw();
  const path = join(await stage.folder(), "got");
  await (await arriving).saveAs(path);
  await page.waitUntilDone();
  assert.equal(await sha256OfFile(path), await sha256OfFile(source));
});

for (const kind of ["file system", "service worker"]) {
  check(`a tab that is closed on the way leaves nothing that looks complete, by ${kind}`, async (stage) => {
    const { swarm, page, visitor } = await opened(stage, { bytes: 20 * MIB, kind });
    visitor.wire.refuses = (request) => chunkIndex(request.url) >= 12;
    const arriving = kind === "service worker" ? page.nextDownload() : undefined;
    await page.download();
    await until("most of it came", () => visitor.wire.requests.filter((request) => chunkIndex(request.url) >= 12).length >= 3);
    const download = await arriving;
    const other = await visitor.context.newPage();
    await page.page.close();
    if (download) {
      assert.notEqual(await download.failure(), null);
    } else {
      await other.goto(`${swarm.origin}/`);
      assert.equal(await savedSize(other, "sample.bin"), 0);
    }
  });
}

check("a folder whose download is left on the way says that it is incomplete", async (stage) => {
  const { swarm, page, visitor } = await openedTree(stage, "file system");
  visitor.wire.refuses = (request) => chunkIndex(request.url) >= 1;
  await page.download();
  await until("the rest was asked for in vain", () => visitor.wire.requests.filter((request) => chunkIndex(request.url) >= 1).length >= 3);
  const other = await visitor.context.newPage();
  await page.page.close();
  await other.goto(`${swarm.origin}/`);
  const saved = Object.keys(await new GetPage(other).savedTree());
  assert.ok(saved.includes("album/INCOMPLETE - parcelry.txt"), saved.join());
});

check("the fragment leaves the address bar, and a reload still works", async (stage) => {
  const { page, visitor, link } = await opened(stage, { bytes: 1000 });
  assert.ok(!(await visitor.page.evaluate(() => location.href)).includes("#"));
  await visitor.page.reload();
  await page.waitUntilReady();
  const stored = await visitor.page.evaluate(() => JSON.stringify({ ...localStorage }) + document.cookie);
  assert.ok(!stored.includes(link.split("#1.")[1].split(".")[0]));
});

check("name, size, files and expiry are shown before anything is fetched", async (stage) => {
  const { page, visitor } = await openedTree(stage, "file system");
  const text = await page.text();
  for (const path of tree.keys()) assert.ok(text.includes(path.split("/").at(-1)), path);
  assert.match(text, /album/);
  assert.match(text, /(Ends|Expires)\s+\d+ \w+ \d{4}.*\(6 d/);
  assert.match(text, /1\.6 MB/);
  assert.match(text, /2 peers/);
  assert.ok(!visitor.wire.requests.some((request) => chunkIndex(request.url) >= 0), "no chunk was asked for");
});

check("the keyboard alone is enough to download", async (stage) => {
  const { page, source } = await opened(stage, { bytes: 1000 });
  await page.tabTo(page.downloadButton);
  await page.page.keyboard.press("Enter");
  await page.waitUntilDone();
  assert.equal(await page.savedFile("sample.bin"), await sha256OfFile(source));
});

check("who skips to the content keeps the link's secret", async (stage) => {
  const { page, visitor } = await opened(stage, { bytes: 1000 });
  await page.tabTo(page.at("skip"));
  await visitor.page.keyboard.press("Enter");
  assert.equal(await visitor.page.evaluate(() => document.activeElement.id), "main");
  assert.ok(!visitor.page.url().includes("#"));
  await visitor.page.reload();
  await page.waitUntilReady();
});

check("a text is shown in the preview as it is, and nothing of it runs", async (stage) => {
  const swarm = await stage.swarm();
  const alice = await swarm.person();
  const text = "<script>alert(1)</script> <b>bold</b>\n";
  const link = await alice.share(await alice.write("note.txt", text));
  const page = await GetPage.open(swarm, await stage.visitor(), link);
  await page.preview();
  await page.page.getByText("<script>alert(1)</script>").first().waitFor();
});

async function opened(stage, { bytes = 1000, shareFlags = [], ...browser }) {
  const swarm = await stage.swarm();
  const alice = await swarm.person();
  const source = alice.path("sample.bin");
  await writeRandom(source, bytes);
  const link = await alice.share(source, ...shareFlags);
  const visitor = await stage.visitor(browser);
  const page = await GetPage.open(swarm, visitor, link);
  return { swarm, page, visitor, source, link };
}

async function openedTree(stage, kind) {
  const swarm = await stage.swarm();
  const alice = await swarm.person();
  const link = await alice.share(await writeTree(alice));
  const visitor = await stage.visitor({ kind });
  return { swarm, visitor, page: await GetPage.open(swarm, visitor, link) };
}

const hashes = (files) => Object.fromEntries([...files].sort().map(([path, bytes]) => [path, sha256(bytes)]));

/** The index of the chunk that a request is for, or -1. */
const chunkIndex = (url) => Number(url.match(/\/chunks\/(\d+)$/)?.[1] ?? -1);

/** What another program finds in a ZIP. */
async function unzip(path) {
  const script = `
import hashlib, json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    print(json.dumps({i.filename: hashlib.sha256(z.read(i)).hexdigest() for i in z.infolist() if not i.is_dir()}))`;
  const ran = await run("python3", ["-c", script, path]);
  assert.equal(ran.code, 0, ran.stderr);
  return Object.fromEntries(Object.entries(JSON.parse(ran.stdout)).sort());
}

/** Samples the browser's memory until it is stopped; peaks in MiB. */
class Meter {
  static async start(visitor) {
    const meter = new Meter();
    meter.visitor = visitor;
    meter.session = await visitor.context.newCDPSession(visitor.page);
    await meter.session.send("Performance.enable");
    meter.before = await visitor.memory();
    meter.peak = { page: 0, all: 0, heap: 0 };
    meter.going = true;
    meter.end = meter.run();
    return meter;
  }

  async run() {
    while (this.going) {
      const { metrics } = await this.session.send("Performance.getMetrics");
      const heap = metrics.find((metric) => metric.name === "JSHeapUsedSize").value;
      const now = { ...(await this.visitor.memory()), heap };
      for (const name in now) this.peak[name] = Math.max(this.peak[name], now[name]);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  async stop() {
    this.going = false;
    await this.end;
    const { page, all, heap } = this.peak;
    const mib = (bytes) => Math.round(bytes / MIB);
    return { page: mib(page), allBeyondStart: mib(all - this.before.all), heap: mib(heap) };
  }
}
