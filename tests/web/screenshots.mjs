// Takes the pictures of the README from a real swarm.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { Visitor } from "./browser.mjs";
import { Dashboard, GetPage, SharePage } from "./pages.mjs";
import { writeRandom } from "./samples.mjs";
import { Swarm } from "./swarm.mjs";

const folder = process.argv[2];
const peers = [
  { name: "nas", zone: "home", capacity: "2GB" },
  { name: "attic", zone: "home", capacity: "1GB" },
  { name: "cellar", zone: "home", capacity: "500MB" },
  { name: "office", zone: "work", capacity: "2GB" },
  { name: "archive", zone: "work", capacity: "4GB" },
  { name: "lab", zone: "lab", capacity: "1GB" },
];
const photos = { "Iceland/fjord.jpg": 4_100_000, "Iceland/glacier.jpg": 5_400_000, "Iceland/notes.txt": 2_300, "Iceland/raw/fjord.dng": 22_000_000 };

const swarm = await Swarm.start({ peers });
try {
  const alice = await swarm.person();
  for (const [path, bytes] of Object.entries(photos)) {
    await alice.write(path, "");
    await writeRandom(alice.path(path), bytes);
  }
  const link = await alice.share(alice.path("Iceland"));
  for (const mebibytes of [3, 12, 40, 90]) {
    await writeRandom(alice.path("file.bin"), mebibytes << 20);
    await alice.share(alice.path("file.bin"), "--expires", `${mebibytes}d`);
  }
  for (const scheme of ["light", "dark"]) await shoot(scheme, { alice, link });
} finally {
  await Visitor.closeBrowser();
  await swarm.end();
}

async function shoot(scheme, { alice, link }) {
  const visit = async (height, work) => {
    const visitor = await Visitor.arrive({ scheme, width: 960, height });
    try {
      await work(visitor);
    } finally {
      await visitor.leave();
    }
  };
  const picture = async (page, name) => {
    const path = join(folder, `${name}-${scheme}.png`);
    await page.screenshot({ path });
    console.log(`${path}: ${((await stat(path)).size / 1000).toFixed(0)} KB`);
  };

  await visit(640, async (visitor) => {
    const page = await GetPage.open(swarm, visitor, link);
    await picture(page.page, "get");
  });
  await visit(660, async (visitor) => {
    const page = await SharePage.open(swarm, visitor);
    await page.chooseFolder(alice.path("Iceland"));
    await page.share();
    await page.link();
    await picture(page.page, "share");
  });
  await visit(1100, async (visitor) => {
    const dashboard = await Dashboard.open(swarm, visitor);
    await dashboard.signIn(swarm.adminToken);
    await dashboard.waitForFigures({ alive: peers.length });
    // Something for the plots to show.
    const bob = await swarm.person();
    for (const name of ["a", "b", "c"]) await bob.get(link, "-o", name);
    await dashboard.waitForPlots();
    await picture(dashboard.page, "dashboard");
  });
}
