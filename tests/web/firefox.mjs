// Firefox as Debian has it, over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), with as much of that as the
// tests use. The same methods as Chromium's in chromium.mjs.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { isViolation, require, watchPage } from "./browser.mjs";
import { trust } from "./certificates.mjs";
import { begin, until } from "./swarm.mjs";

const WebSocket = require("ws");

const program = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

export class Firefox {
  /** With a new profile in the folder, and an `authority`, a file, beside those that every Firefox trusts. */
  static async start(folder, { authority } = {}) {
    const profile = join(folder, "profile");
    const saved = join(folder, "downloads");
    await Promise.all([profile, saved].map((path) => mkdir(path)));
    const settings = { "browser.download.folderList": 2, "browser.download.dir": saved };
    const lines = Object.entries(settings).map((setting) => `user_pref(${setting.map((part) => JSON.stringify(part)).join()});\n`);
    await writeFile(join(profile, "user.js"), lines.join(""));
    if (authority) await trust(authority, profile);
    const args = ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0"];
    const env = { PATH: process.env.PATH, HOME: folder };
    const firefox = new Firefox(begin(program, args, { env, stdio: ["ignore", "ignore", "pipe"] }));
    try {
      await firefox.#connect();
    } catch (error) {
      await firefox.leave();
      throw error;
    }
    return firefox;
  }

  constructor(child) {
    this.child = child;
    this.ended = new Promise((resolve) => child.once("close", resolve));
    this.troubles = [];
    this.downloads = [];
    this.calls = [];
  }

  async #connect() {
    this.socket = new WebSocket(`${await addressOf(this.child)}/session`);
    this.socket.on("message", (data) => this.#hear(JSON.parse(data)));
    this.socket.on("close", () => this.calls.forEach(({ reject }) => reject(new Error("Firefox is gone"))));
    await new Promise((resolve, reject) => this.socket.once("open", resolve).once("error", reject));
    await this.#send("session.new", { capabilities: { alwaysMatch: { acceptInsecureCerts: false } } });
    await this.#send("session.subscribe", { events: ["log.entryAdded", "browsingContext"] });
    await this.#send("script.addPreloadScript", { functionDeclaration: `${watchPage}` });
    const { contexts } = await this.#send("browsingContext.getTree", {});
    this.context = contexts[0].context;
  }

  #send(method, params) {
    return new Promise((resolve, reject) => {
      const id = this.calls.push({ resolve, reject }) - 1;
      this.socket.send(JSON.stringify({ id, method, params }));
    });
  }

  #hear({ type, id, result, error, message, method, params }) {
    if (type === "success") this.calls[id].resolve(result);
    else if (type === "error") this.calls[id].reject(new Error(`${error}: ${message}`));
    else if (method === "log.entryAdded" && isTrouble(params)) this.troubles.push(params.text);
    else if (method === "browsingContext.downloadWillBegin") this.downloads.push({ url: params.url });
    else if (method === "browsingContext.downloadEnd") this.downloads.at(-1).path = params.filepath ?? params.status;
  }

  /** Gives what the browser has against it, or nothing. */
  async goto(url) {
    const goes = this.#send("browsingContext.navigate", { context: this.context, url, wait: "complete" });
    return goes.then(() => "", (error) => error.message);
  }

  /** Clicks the warning away that is there instead of a page. */
  async goOn() {
    for (const id of ["advanced-button", "exception-button"]) {
      const click = (id) => {
        const button = document.querySelector("net-error-card")?.shadowRoot?.getElementById(id);
        if (!button || button.disabled) return false;
        button.click();
        return true;
      };
      await until(`${id} can be clicked`, () => this.evaluate(click, id), 60_000);
    }
  }

  /** Calls the function in the page, with plain arguments, as if in a click. */
  async evaluate(body, ...args) {
    const ran = await this.#send("script.callFunction", {
      functionDeclaration: `async (args) => JSON.stringify(await (${body})(...JSON.parse(args)))`,
      arguments: [{ type: "string", value: JSON.stringify(args) }],
      target: { context: this.context },
      awaitPromise: true,
      userActivation: true,
    });
    if (ran.type !== "success") throw new Error(ran.exceptionDetails.text);
    return ran.result.value && JSON.parse(ran.result.value);
  }

  /** Chooses a file in the page's field with this id. */
  async choose(id, path) {
    const locator = { type: "css", value: `#${id}` };
    const { nodes } = await this.#send("browsingContext.locateNodes", { context: this.context, locator });
    const element = { sharedId: nodes[0].sharedId };
    await this.#send("input.setFiles", { context: this.context, element, files: [path] });
  }

  /** What is in the browser's downloads, once it is there: its address and where it is saved. */
  download() {
    return until("a download ended", () => this.downloads.find(({ path }) => path), 60_000);
  }

  async leave() {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

const isTrouble = ({ type, level, text }) => (type === "javascript" && level === "error") || isViolation(text ?? "");

function addressOf(child) {
  return new Promise((resolve, reject) => {
    let said = "";
    child.once("error", reject);
    child.once("close", () => reject(new Error(`Firefox did not start:\n${said}`)));
    createInterface({ input: child.stderr }).on("line", (line) => {
      said += `${line}\n`;
      const [, address] = line.match(/^WebDriver BiDi listening on (ws:\S+)/) ?? [];
      if (address) resolve(address);
    });
  });
}
