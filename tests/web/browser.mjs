// A visitor in Chromium, watched: dialogs, violations of the content security policy, uncaught errors, and
// everything that goes over the wire.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createRequire } from "node:module";
import { root } from "./swarm.mjs";
import { Wire } from "./wire.mjs";

/** Where run.sh installed what the tests use. */
export const modules = process.env.PARCELRY_WEB_MODULES ?? join(root, "target/web-tests");
export const require = createRequire(join(modules, "package.json"));
export const { chromium } = require("playwright-core");

const flags = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/** Where this browser goes on errands of its own, whatever the page does. */
const errands = /^(https?:\/\/)?(\w[\w-]*\.googleapis|accounts\.google)\.com\b/;

export const policy =
  "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; " +
  "base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types parcelry";

/** Ways to save, each by what a browser of that kind lacks. The pickers hand out files of the origin's private folder. */
export const kinds = {
  "file system": () => {
    window.showSaveFilePicker = async ({ suggestedName } = {}) => {
      const folder = await navigator.storage.getDirectory();
      return folder.getFileHandle(suggestedName ?? "unnamed", { create: true });
    };
    window.showDirectoryPicker = async () => {
      const folder = await navigator.storage.getDirectory();
      return folder.getDirectoryHandle("chosen", { create: true });
    };
  },
  "refused pickers": () => {
    window.showSaveFilePicker = window.showDirectoryPicker = async () => {
      throw new DOMException("not here", "SecurityError");
    };
  },
  "service worker": () => {
    delete window.showSaveFilePicker;
    delete window.showDirectoryPicker;
  },
  memory: () => {
    delete window.showSaveFilePicker;
    delete window.showDirectoryPicker;
    delete Navigator.prototype.serviceWorker;
  },
};

/** Runs in every document before anything else. */
export const watchPage = () => {
  addEventListener("securitypolicyviolation", (event) => {
    console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
  });
};

/** Whether a line of the console says that the page was kept from something that its policy forbids. */
export const isViolation = (text) => /CSP violation|Content Security Policy|Trusted ?(Type|HTML|Script)/i.test(text);

export const launch = { executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags };
let common;

export class Visitor {
  /**
   * Somebody with a new profile: in the browser that the tests of a file have in common, or with `profile`, a
   * folder, in one of their own, which keeps on disk what the other keeps in memory.
   */
  static async arrive({ kind = "file system", scheme = "light", width = 1280, height = 900, profile, ...more } = {}) {
    const visitor = new Visitor();
    visitor.secrets = [];
    visitor.troubles = [];
    visitor.wire = await Wire.start();
    const proxy = { server: visitor.wire.url, bypass: "<-loopback>" };
    const options = { proxy, colorScheme: scheme, viewport: { width, height }, acceptDownloads: true, ...more };
    if (profile) visitor.context = await chromium.launchPersistentContext(profile, { ...launch, ...options });
    else visitor.context = await (await (common ??= chromium.launch(launch))).newContext(options);
    await visitor.context.addInitScript(watchPage);
    await visitor.context.addInitScript(kinds[kind]);
    visitor.context.setDefaultTimeout(20_000);
    visitor.page = visitor.context.pages()[0] ?? (await visitor.context.newPage());
    visitor.asked = [];
    visitor.context.on("request", (request) => visitor.asked.push(request.url()));
    visitor.context.on("page", (page) => visitor.watch(page));
    visitor.watch(visitor.page);
    return visitor;
  }

  watch(page) {
    page.on("dialog", (dialog) => {
      if (dialog.type() !== "beforeunload") this.troubles.push(`dialog: ${dialog.message()}`);
      dialog.accept().catch(() => {});
    });
    page.on("pageerror", (error) => this.troubles.push(`uncaught at ${page.url()}: ${error.name} ${error.message} ${error.stack}`));
    page.on("console", (message) => {
      if (isViolation(message.text())) this.troubles.push(message.text());
    });
  }

  /** Opens a path of the swarm's page; or a link, whose secret then must not be seen on the wire. */
  async open(swarm, pathOrLink) {
    const [, secret] = pathOrLink.match(/#1\.([\w-]+)/) ?? [];
    if (secret && pathOrLink.includes("/s/")) this.secrets.push(secret);
    const path = pathOrLink.replace(/^https?:\/\/[^/]+/, "");
    await this.page.goto(swarm.origin + path);
    return this.page;
  }

  /** What must hold in every test, whatever it does. */
  checkHygiene(swarm) {
    assert.deepEqual(this.troubles, []);
    for (const url of this.asked) assert.match(url, new RegExp(`^(${swarm.origin}/|blob:)`), `a request to elsewhere: ${url}`);
    for (const request of this.wire.requests) {
      if (errands.test(request.url)) continue;
      assert.ok(request.url.startsWith(`${swarm.origin}/`), `a request to elsewhere: ${request.method} ${request.url}`);
      const text = `${request.url}\n${request.headers.join("\n")}\n${request.body.toString("latin1")}`;
      for (const secret of this.secrets) assert.ok(!text.includes(secret), `the secret is in ${request.method} ${request.url}`);
      if (request.answer) checkHeaders(request);
    }
  }

  /**
   * Memory that is the browser's own, in bytes: of the process that runs the page and its workers (the largest of
   * its kind; others wait for pages to come, or draw the browser itself), and of all.
   */
  async memory() {
    const processes = await descendants(process.pid);
    let [page, all] = [0, 0];
    for (const pid of processes) {
      const [command, status] = await Promise.all(["cmdline", "status"].map((name) => read(`/proc/${pid}/${name}`)));
      if (!command.includes("chromium")) continue;
      const kib = (field) => Number(status.match(new RegExp(`${field}:\\s+(\\d+)`))?.[1] ?? 0);
      const own = (kib("RssAnon") + kib("RssShmem")) * 1024;
      all += own;
      if (command.includes("--type=renderer")) page = Math.max(page, own);
    }
    return { page, all };
  }

  /** Ends the browser that the visitors have in common. */
  static async closeBrowser() {
    await (await common)?.close();
  }

  async leave() {
    await this.context.close().catch(() => {});
    await this.wire.end();
  }
}

function checkHeaders({ method, url, answer }) {
  const what = `${method} ${url}`;
  assert.equal(answer["x-content-type-options"], "nosniff", what);
  assert.equal(answer["cache-control"], "no-store", what);
  assert.equal(answer["x-frame-options"], "DENY", what);
  assert.equal(answer["cross-origin-opener-policy"], "same-origin", what);
  assert.equal(answer["access-control-allow-origin"], undefined, what);
  if (answer["content-type"]?.startsWith("text/html")) assert.equal(answer["content-security-policy"], policy, what);
}

const read = (path) => readFile(path, "utf8").catch(() => "");

/** The processes below this one. */
async function descendants(top) {
  const below = new Map();
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number((await read(`/proc/${name}/stat`)).replace(/^.*\) /s, "").split(" ")[1]);
    below.set(parent, [...(below.get(parent) ?? []), Number(name)]);
  }
  const found = [];
  for (const queue = [top]; queue.length > 0;) {
    const children = below.get(queue.shift()) ?? [];
    found.push(...children);
    queue.push(...children);
  }
  return found;
}
