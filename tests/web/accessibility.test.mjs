// Everybody can use the pages: axe-core finds nothing, in light and dark, on a desktop and on a phone.
import assert from "node:assert/strict";
import { check } from "./harness.mjs";
import { require } from "./browser.mjs";
import { Dashboard, GetPage, SharePage } from "./pages.mjs";
import { hostileNames, writeTree } from "./samples.mjs";
import { secretOf } from "./swarm.mjs";

const axe = require("axe-core").source;
const looks = [
  { scheme: "light", width: 1280 },
  { scheme: "dark", width: 1280 },
  { scheme: "light", width: 360 },
  { scheme: "dark", width: 360 },
];

for (const look of looks) {
  const title = `${look.scheme}, ${look.width} px wide`;
  // Only here the page's policy is bypassed: the scanner is foreign code.
  const visit = (stage) => stage.visitor({ ...look, bypassCSP: true });

  check(`nothing bars anybody from getting (${title})`, async (stage) => {
    const swarm = await stage.swarm();
    const alice = await swarm.person();
    const link = await alice.share(await writeTree(alice));
    const visitor = await visit(stage);
    const bad = await GetPage.openBad(swarm, visitor, link.replace(secretOf(link), secretOf(link).split("").reverse().join("").replace(/.$/, "A")));
    await scan(bad.page, "a bad link");
    const page = await GetPage.open(swarm, visitor, link);
    await scan(page.page, "ready");
    await page.download();
    await page.waitUntilDone();
    await scan(page.page, "done");
  });

  check(`nothing bars anybody from sharing (${title})`, async (stage) => {
    const swarm = await stage.swarm();
    const alice = await swarm.person();
    const page = await SharePage.open(swarm, await visit(stage));
    await scan(page.page, "empty");
    await page.choose([await alice.write("a.txt", "hello")]);
    await scan(page.page, "chosen");
    await page.share();
    await page.link();
    await scan(page.page, "shared");
  });

  check(`nothing bars anybody from operating (${title})`, async (stage) => {
    const swarm = await stage.swarm({ peers: [{ name: "nas", zone: "home" }, { name: "attic", zone: "home" }, { name: hostileNames[0] }] });
    const alice = await swarm.person();
    await alice.share(await alice.write("a.txt", "hello"));
    const dashboard = await Dashboard.open(swarm, await visit(stage));
    await scan(dashboard.page, "sign-in");
    await dashboard.signIn(swarm.adminToken);
    await dashboard.waitForFigures({ alive: 3 });
    await swarm.peers[2].kill();
    await dashboard.peer(hostileNames[0]).getByText("dead").waitFor();
    await dashboard.makeInvite("sender", "alice");
    await scan(dashboard.page, "the swarm");
    await dashboard.peer(hostileNames[0]).getByRole("button", { name: /forget/i }).click();
    await scan(dashboard.page, "a question");
  });
}

async function scan(page, state) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.map((node) => `  ${node.html.slice(0, 200)} ${node.failureSummary}`).join("\n")}`);
  assert.deepEqual(found, [], state);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wider <= 0, `${state}: the page is ${wider} px wider than the window`);
}
