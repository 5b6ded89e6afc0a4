// Links and shares that are not right: a clear word, and nothing saved as if it were complete.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { check } from "./harness.mjs";
import { GetPage } from "./pages.mjs";
import { accessOf, secretOf, shareOf, until } from "./swarm.mjs";

async function shared(stage, { bytes = 3_000_000, flags = [], swarm: options, visitor } = {}) {
  const swarm = await stage.swarm(options);
  const alice = await swarm.person();
  const link = await alice.share(await alice.write("sample.bin", randomBytes(bytes)), ...flags);
  return { swarm, alice, link, visitor: await stage.visitor(visitor) };
}

check("a link with another secret opens nothing", async (stage) => {
  const { swarm, link, visitor } = await shared(stage);
  const wrong = link.replace(secretOf(link), randomBytes(32).toString("base64url"));
  const page = await GetPage.openBad(swarm, visitor, wrong);
  assert.match(await page.error(), /no such share.*character of the link is missing or was changed/is);
});

for (const [title, change, said] of [
  ["without a secret", (link) => link.split("#")[0], /part of the link is missing/],
  ["with half a secret", (link) => link.slice(0, link.indexOf("#") + 20), /link is damaged/],
  ["of a newer version", (link) => link.replace("#1.", "#9."), /newer/],
  ["with a share id that is none", (link) => link.replace(shareOf(link), "nonsense"), /link is damaged/],
]) {
  check(`a link ${title} gets a clear answer`, async (stage) => {
    const { swarm, link, visitor } = await shared(stage);
    const page = await GetPage.openBad(swarm, visitor, change(link));
    assert.match(await page.error(), said);
    assert.ok(!visitor.wire.requests.some((request) => request.url.includes("/v1/")), "the tracker is not asked");
  });
}

check("a share that nobody knows is told to be unknown", async (stage) => {
  const { swarm, link, visitor } = await shared(stage);
  const page = await GetPage.openBad(swarm, visitor, link.replace(shareOf(link), randomBytes(32).toString("base64url")));
  assert.match(await page.error(), /no such share/i);
});

check("a deleted share is told to be over", async (stage) => {
  const { swarm, alice, link, visitor } = await shared(stage);
  assert.equal((await alice.run("rm", link)).code, 0);
  const page = await GetPage.openBad(swarm, visitor, link);
  assert.match(await page.error(), /share is over/i);
});

check("an expired share is told to be over", async (stage) => {
  const { swarm, link, visitor } = await shared(stage, { flags: ["--expires", "2s"] });
  const path = `/v1/shares/${shareOf(link)}`;
  await until("it has expired", async () => (await swarm.ask("GET", path, { bearer: accessOf(link) })).status === 410);
  const page = await GetPage.openBad(swarm, visitor, link);
  assert.match(await page.error(), /share is over/i);
});

check("a chunk that is damaged everywhere stops the download, and nothing looks complete", async (stage) => {
  const { swarm, link, visitor } = await shared(stage);
  const page = await GetPage.open(swarm, visitor, link);
  const [chunk] = await swarm.chunkFiles(0);
  await swarm.damage(chunk.split("/").at(-1));
  await page.download();
  assert.match(await page.error(), /no good copy is left/i);
  assert.equal(await page.savedSize("sample.bin"), 0);
});

check("a tracker whose gateway is closed is told to serve no browsers", async (stage) => {
  const { swarm, link, visitor } = await shared(stage, { swarm: { flags: ["--gateway-rate", "0B"] } });
  const page = await GetPage.open(swarm, visitor, link);
  await page.download();
  assert.match(await page.error(), /serves no browsers.*command line/is);
  assert.equal(await page.savedSize("sample.bin"), 0);
});

for (const kind of ["file system", "service worker"]) {
  check(`who has lost the network before the click is told so, by ${kind}`, async (stage) => {
    const { swarm, link, visitor } = await shared(stage, { visitor: { kind } });
    const page = await GetPage.open(swarm, visitor, link);
    visitor.wire.cut();
    await page.download();
    assert.match(await page.error(), /could not be loaded.*load the page again/is);
    assert.ok(await page.downloadButton.isEnabled());
    visitor.wire.mend();
    await page.page.reload();
    await page.waitUntilReady();
  });
}

check("a preview without the network does not blame the file", async (stage) => {
  const { swarm, alice, visitor } = await shared(stage);
  const page = await GetPage.open(swarm, visitor, await alice.share(await alice.write("note.txt", "hello")));
  visitor.wire.cut();
  await (await page.preview()).getByText(/could not be loaded/).waitFor();
});

check("a download that is cancelled keeps nothing", async (stage) => {
  const { swarm, link, visitor } = await shared(stage);
  const page = await GetPage.open(swarm, visitor, link);
  await Promise.all(swarm.peers.map((peer) => peer.kill()));
  await page.download();
  await page.waitUntilItWaits(/no peer/);
  await page.at("cancel").click();
  assert.match(await page.error(), /cancelled.*nothing was kept/is);
  assert.equal(await page.savedSize("sample.bin"), 0);
});

check("when every peer is away the page says so, and goes on when one is back", async (stage) => {
  const { swarm, link, visitor } = await shared(stage);
  const page = await GetPage.open(swarm, visitor, link);
  await Promise.all(swarm.peers.map((peer) => peer.kill()));
  await page.download();
  await page.waitUntilItWaits(/no peer/);
  assert.equal(await page.savedSize("sample.bin"), 0);
  await swarm.addPeer(0);
  await page.waitUntilDone(60_000);
  assert.equal(await page.savedSize("sample.bin"), 3_000_000);
});
