// Sharing from the browser, getting on the command line.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { check } from "./harness.mjs";
import { require } from "./browser.mjs";
import { GetPage, SharePage } from "./pages.mjs";
import { accessOf, sha256, sha256OfFile, shareOf, until } from "./swarm.mjs";
import { tree, writeRandom, writeTree } from "./samples.mjs";

const jsQR = require("jsqr");

for (const [title, bytes] of [["no bytes", 0], ["1 KB", 1000], ["exactly one chunk", 1 << 20], ["5.4 MB", 5_400_000], ["60 MB", 60_000_000]]) {
  check(`a file of ${title} that was shared in the browser is got on the command line`, async (stage) => {
    const { swarm, alice, page } = await opened(stage);
    const source = alice.path("sample.bin");
    await writeRandom(source, bytes);
    await page.choose([source]);
    await page.share();
    const link = await page.link();
    const bob = await swarm.person();
    await bob.get(link);
    assert.equal(await sha256OfFile(bob.path("sample.bin")), await sha256OfFile(source));
    assert.equal(await (await bob.run("inspect", link, "--json")).code, 0);
  });
}

check("several files that were shared in the browser are got on the command line", async (stage) => {
  const { swarm, alice, page } = await opened(stage);
  const sources = [];
  for (const [number, bytes] of [10, 0, 2_000_000].entries()) {
    sources.push(alice.path(`file ${number}.bin`));
    await writeRandom(sources.at(-1), bytes);
  }
  await page.choose(sources);
  await page.share();
  const bob = await swarm.person();
  await bob.get(await page.link());
  const [folder] = await readdir(bob.work);
  for (const source of sources) {
    assert.equal(await sha256OfFile(join(bob.work, folder, source.split("/").at(-1))), await sha256OfFile(source));
  }
});

check("a folder that was shared in the browser is got on the command line", async (stage) => {
  const { swarm, alice, page } = await opened(stage);
  await page.chooseFolder(await writeTree(alice));
  await page.share();
  const bob = await swarm.person();
  await bob.get(await page.link());
  for (const [path, bytes] of tree) assert.equal(await sha256OfFile(bob.path(path)), sha256(bytes), path);
});

check("what was shared in the browser is safe on two peers before the link is shown", async (stage) => {
  const { swarm, alice, page } = await opened(stage);
  await page.choose([await alice.write("a.txt", "hello")]);
  await page.share();
  const link = await page.link();
  const looked = await (await swarm.ask("GET", `/v1/shares/${shareOf(link)}`, { bearer: accessOf(link) })).json();
  assert.equal(looked.sources.length, 2);
  await swarm.peers[0].kill();
  await (await swarm.person()).get(link);
});

check("a link made in the browser opens in the browser", async (stage) => {
  const { swarm, alice, page, visitor } = await opened(stage);
  const source = alice.path("sample.bin");
  await writeRandom(source, 3_000_000);
  await page.choose([source]);
  await page.share();
  const got = await GetPage.open(swarm, visitor, await page.link());
  assert.equal(await got.saveFile("sample.bin"), await sha256OfFile(source));
});

check("the QR code says the link", async (stage) => {
  const { alice, page } = await opened(stage);
  await page.choose([await alice.write("a.txt", "hello")]);
  await page.share();
  const link = await page.link();
  const { width, height, data } = await page.qrCode();
  assert.equal(jsQR(Uint8ClampedArray.from(data), width, height)?.data, link);
});

check("sharing goes on after the connection was cut", async (stage) => {
  const { swarm, alice, page, visitor } = await opened(stage);
  const source = alice.path("sample.bin");
  await writeRandom(source, 20 << 20);
  const puts = () => visitor.wire.requests.filter((request) => request.method === "PUT").length;
  visitor.wire.refuses = (request) => /\/chunks\/\d{2}$/.test(request.url);
  await page.choose([source]);
  await page.share();
  await until("most of it was sent", () => puts() >= 12);
  visitor.wire.cut();
  await page.waitUntilItWaits();
  visitor.wire.refuses = undefined;
  visitor.wire.mend();
  const bob = await swarm.person();
  await bob.get(await page.link());
  assert.equal(await sha256OfFile(bob.path("sample.bin")), await sha256OfFile(source));
});

check("sharing without a sender's token is refused with a clear word", async (stage) => {
  const swarm = await stage.swarm();
  const alice = await swarm.person();
  const visitor = await stage.visitor();
  const page = new SharePage(await visitor.open(swarm, "/"));
  for (const token of [randomBytes(32).toString("base64url"), swarm.tracker.ready.peer_invite]) {
    await page.useInvite(token);
    await page.page.getByText("This invite is not valid here").waitFor();
  }
  await page.choose([await alice.write("a.txt", "hello")]);
  await page.share();
  await page.page.getByText("Paste an invite link or a token first").first().waitFor();
  assert.ok(!visitor.wire.requests.some((request) => request.method === "PUT"));
});

check("an invite is taken from the address bar, before and after the page is there", async (stage) => {
  const swarm = await stage.swarm();
  const fragment = swarm.senderInvite.split("#")[1];
  for (const path of [`/join#${fragment}`, `/#${fragment}`, "/"]) {
    const visitor = await stage.visitor();
    const page = new SharePage(await visitor.open(swarm, path));
    if (path === "/") await page.page.evaluate((fragment) => { location.hash = fragment; }, fragment);
    await page.at("token-kept").waitFor();
    assert.equal(page.page.url(), `${swarm.origin}/`);
  }
});

check("skipping to the content is not taken for an invite", async (stage) => {
  const swarm = await stage.swarm();
  const page = new SharePage(await (await stage.visitor()).open(swarm, "/"));
  await page.at("token-form").waitFor();
  await page.at("skip").focus();
  await page.page.keyboard.press("Enter");
  assert.equal(await page.page.evaluate(() => document.activeElement.id), "main");
  assert.equal(page.page.url(), `${swarm.origin}/`);
  await page.page.goto(`${swarm.origin}/#main`);
  await page.page.reload();
  await page.at("token-form").waitFor();
  assert.equal(await page.at("token-problem").innerText(), "");
});

check("a share that is cancelled while the peers store it is taken back", async (stage) => {
  const { alice, page, visitor } = await opened(stage);
  visitor.wire.refuses = ({ method, url }) => method === "PUT" && url.endsWith("/upload");
  await page.choose([await alice.write("a.txt", "hello")]);
  await page.share();
  await page.waitUntilItWaits();
  await page.at("cancel").click();
  await page.at("share-problem").getByText(/taken back/).waitFor();
  visitor.wire.refuses = undefined;
  const isAnswered = ({ method, url, status }) => method === "PUT" && url.endsWith("/terms") && status;
  const taken = await until("it is taken back", () => visitor.wire.requests.find(isAnswered));
  assert.equal(Math.floor(taken.status / 100), 2);
});

check("a tracker that serves no browsers says so, and the invite is kept", async (stage) => {
  const swarm = await stage.swarm({ flags: ["--heartbeat", "200ms", "--dead-after", "3s", "--gateway-rate", "0B"] });
  const alice = await swarm.person();
  const visitor = await stage.visitor();
  const page = new SharePage(await visitor.open(swarm, "/"));
  const sender = JSON.stringify({ token: swarm.senderToken, trackerId: null });
  await page.page.evaluate((sender) => sessionStorage.setItem("parcelry.sender", sender), sender);
  await page.page.reload();
  await page.choose([await alice.write("a.txt", "hello")]);
  await page.share();
  await page.at("share-problem").getByText("takes no shares from browsers").waitFor();
  await page.at("token-kept").waitFor();
});

async function opened(stage) {
  const swarm = await stage.swarm();
  const visitor = await stage.visitor();
  return { swarm, visitor, alice: await swarm.person(), page: await SharePage.open(swarm, visitor) };
}
