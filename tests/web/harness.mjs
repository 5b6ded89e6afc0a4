// What a test of the page stands on: a stage with a swarm, visitors and folders, cleared at the end, and what
// must hold in every test checked.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { modules, Visitor } from "./browser.mjs";
import { Swarm } from "./swarm.mjs";

class Stage {
  visitors = [];
  folders = [];
  swarms = [];
  browsers = [];

  async swarm(options) {
    const swarm = await Swarm.start(options);
    this.swarms.push(swarm);
    return swarm;
  }

  async visitor(options) {
    const visitor = await Visitor.arrive(options);
    this.visitors.push(visitor);
    return visitor;
  }

  /** A browser as it comes, of a kind such as Firefox, with a profile of its own. */
  async browser(Kind, options) {
    const browser = await Kind.start(await this.folder(), options);
    this.browsers.push(browser);
    return browser;
  }

  async folder() {
    const folder = await mkdtemp(join(tmpdir(), "parcelry-web-"));
    this.folders.push(folder);
    return folder;
  }

  checkHygiene() {
    for (const visitor of this.visitors) visitor.checkHygiene(this.swarms[0]);
    for (const browser of this.browsers) assert.deepEqual(browser.troubles, []);
  }

  /** What a person needs to see why a test failed. */
  async report(name) {
    const folder = join(modules, "failures");
    await mkdir(folder, { recursive: true });
    const file = join(folder, name.replace(/\W+/g, "-").slice(0, 80));
    const pages = this.visitors.flatMap((visitor) => visitor.context.pages());
    for (const [number, page] of pages.entries()) {
      await page.screenshot({ path: `${file}-${number}.png` }).catch(() => {});
      const text = await page.locator("body").innerText({ timeout: 2000 }).catch(() => "(no page)");
      console.log(`-- ${page.url()}\n${text}`);
    }
    for (const browser of this.browsers) {
      console.log(`-- ${await browser.evaluate(() => `${location}\n${document.body.innerText}`).catch(String)}`);
    }
    await writeFile(`${file}.log`, this.swarms.map((swarm) => swarm.log).join("\n"));
    console.log(`-- logs and pictures: ${file}*`);
  }

  async clear() {
    await Promise.all([...this.visitors, ...this.browsers].map((visitor) => visitor.leave()));
    await Promise.all(this.swarms.map((swarm) => swarm.end()));
    await Promise.all(this.folders.map((folder) => rm(folder, { recursive: true, force: true, maxRetries: 5 })));
  }
}

after(() => Visitor.closeBrowser());

/** A test with a stage; its name is a sentence about behaviour. */
export function check(name, body, { timeoutMs = 90_000 } = {}) {
  test(name, { timeout: timeoutMs }, async (context) => {
    const stage = new Stage();
    try {
      await body(stage, context);
      stage.checkHygiene();
    } catch (error) {
      await stage.report(name);
      throw error;
    } finally {
      await stage.clear();
    }
  });
}
