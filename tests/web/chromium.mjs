// Chromium as it comes: over TLS, with nothing between it and the tracker. The same methods as Firefox's in firefox.mjs.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium, isViolation, launch, watchPage } from "./browser.mjs";
import { trust } from "./certificates.mjs";
import { until } from "./swarm.mjs";

export class Chromium {
  /** With a new profile in the folder, and an `authority`, a file, beside those that every Chromium trusts. */
  static async start(folder, { authority } = {}) {
    // Where Chromium looks for authorities that its user trusts.
    const authorities = join(folder, ".pki/nssdb");
    await mkdir(authorities, { recursive: true });
    if (authority) await trust(authority, authorities);
    const env = { PATH: process.env.PATH, HOME: folder };
    const options = { ...launch, env, acceptDownloads: true };
    const browser = new Chromium(await chromium.launchPersistentContext(join(folder, "profile"), options));
    await browser.context.addInitScript(watchPage);
    return browser;
  }

  constructor(context) {
    context.setDefaultTimeout(60_000);
    this.context = context;
    this.page = context.pages()[0];
    this.troubles = [];
    this.downloads = [];
    this.page.on("pageerror", (error) => this.troubles.push(error.message));
    this.page.on("console", (message) => isViolation(message.text()) && this.troubles.push(message.text()));
    this.page.on("download", (download) => this.downloads.push(download));
  }

  /** Gives what the browser has against it, or nothing. */
  async goto(url) {
    return this.page.goto(url).then(() => "", (error) => error.message);
  }

  /** Clicks the warning away that is there instead of a page. */
  async goOn() {
    await this.page.click("#details-button");
    await this.page.click("#proceed-link");
  }

  /** Calls the function in the page, with plain arguments. */
  async evaluate(body, ...args) {
    return this.page.evaluate(`(${body})(...${JSON.stringify(args)})`);
  }

  /** Chooses a file in the page's field with this id. */
  async choose(id, path) {
    await this.page.setInputFiles(`#${id}`, path);
  }

  /** What is in the browser's downloads, once it is there: its address and where it is saved. */
  async download() {
    const download = await until("a download began", () => this.downloads[0], 60_000);
    return { url: download.url(), path: await download.path() };
  }

  async leave() {
    await this.context.close();
  }
}
