// The pages as a person sees them: where things are, and how they are used.
import { sha256OfFile, until } from "./swarm.mjs";

class Page {
  constructor(page) {
    this.page = page;
  }

  at(id) {
    return this.page.locator(`#${id}`);
  }

  text() {
    return this.page.locator("main").innerText();
  }

  /** Walks with the tabulator until the element has the focus. */
  async tabTo(element) {
    for (let step = 0; step < 60; step++) {
      await this.page.keyboard.press("Tab");
      if (await element.evaluate((node) => node === document.activeElement)) return;
    }
    throw new Error("the tabulator does not lead there");
  }
}

/** What a link opens. */
export class GetPage extends Page {
  static async open(swarm, visitor, link) {
    const page = new GetPage(await visitor.open(swarm, link));
    await page.waitUntilReady();
    return page;
  }

  /** One that shows a problem instead. */
  static async openBad(swarm, visitor, link) {
    const page = new GetPage(await visitor.open(swarm, link));
    await page.at("problem").waitFor();
    return page;
  }

  get downloadButton() {
    return this.at("download");
  }

  waitUntilReady() {
    return this.downloadButton.waitFor();
  }

  download() {
    return this.downloadButton.click();
  }

  nextDownload() {
    return this.page.waitForEvent("download", { timeout: 60_000 });
  }

  /** Until it says so; fails at once if it says something else. */
  async waitUntilDone(timeout = 60_000) {
    await this.at("outcome").waitFor({ timeout });
    const level = await this.at("outcome").getAttribute("data-level");
    if (level !== "good") throw new Error(await this.at("outcome").innerText());
  }

  /** Until it says that it waits for something to come back. */
  async waitUntilItWaits(forWhat = /connection/) {
    await this.at("transfer-waiting").getByText(/trying again/).and(this.page.getByText(forWhat)).waitFor();
  }

  /** What it says went wrong. */
  async error(timeout) {
    const problem = this.page.locator("#problem:visible, #outcome:visible");
    await problem.waitFor({ timeout });
    const text = await problem.innerText();
    if (await this.page.locator("#outcome[data-level=good]").isVisible()) throw new Error(`no error: ${text}`);
    return text;
  }

  /** Downloads a single file and gives the hash of what was saved, wherever that is. */
  async saveFile(name) {
    const canPick = await this.page.evaluate(() => "showSaveFilePicker" in window);
    const arriving = canPick ? undefined : this.nextDownload();
    await this.download();
    await this.waitUntilDone();
    const download = await arriving;
    return download ? hashOfDownload(download, name) : this.savedFile(name);
  }

  /** The hash of a file that was saved through a picker. */
  savedFile(name) {
    return this.page.evaluate(async (name) => {
      const folder = await navigator.storage.getDirectory();
      const file = await (await folder.getFileHandle(name)).getFile();
      const hash = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
      return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    }, name);
  }

  /** Its size; 0 if there is none. */
  savedSize(name) {
    return savedSize(this.page, name);
  }

  /** The hashes of what was saved below the chosen folder, by path. */
  savedTree() {
    return this.page.evaluate(async () => {
      const found = [];
      const walk = async (folder, prefix) => {
        for await (const [name, handle] of folder.entries()) {
          if (handle.kind === "directory") await walk(handle, `${prefix}${name}/`);
          else {
            const hash = await crypto.subtle.digest("SHA-256", await (await handle.getFile()).arrayBuffer());
            found.push([prefix + name, [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("")]);
          }
        }
      };
      await walk(await (await navigator.storage.getDirectory()).getDirectoryHandle("chosen"), "");
      return Object.fromEntries(found.sort());
    });
  }

  async preview() {
    await this.at("preview-open").click();
    await this.at("preview").waitFor();
    return this.at("preview-body");
  }
}

/** The size of a file in the origin's private folder; 0 if there is none. */
export const savedSize = (page, name) =>
  page.evaluate(async (name) => {
    const folder = await navigator.storage.getDirectory();
    const file = await folder.getFileHandle(name).catch(() => undefined);
    return file ? (await file.getFile()).size : 0;
  }, name);

/** The home page. */
export class SharePage extends Page {
  /** With an invite that was pasted. */
  static async open(swarm, visitor, { invite = swarm.senderInvite } = {}) {
    const page = new SharePage(await visitor.open(swarm, "/"));
    await page.useInvite(invite);
    await page.at("token-kept").waitFor();
    return page;
  }

  async useInvite(invite) {
    await this.at("token-input").fill(invite);
    await this.at("token-save").click();
  }

  async choose(paths) {
    await this.at("file-input").setInputFiles(paths);
    await this.at("share-form").waitFor();
  }

  async chooseFolder(path) {
    await this.at("folder-input").setInputFiles(path);
    await this.at("share-form").waitFor();
  }

  share() {
    return this.at("share-start").click();
  }

  /** The link, once the share is safe. */
  async link() {
    const over = this.page.locator("#done:visible, #share-problem:not(:empty)");
    await over.first().waitFor({ timeout: 60_000 });
    if (!(await this.at("done").isVisible())) throw new Error(await this.at("share-problem").innerText());
    return this.at("done-link").inputValue();
  }

  waitUntilItWaits() {
    return this.at("trouble").getByText(/trying again/i).waitFor();
  }

  /** The pixels of the QR code, as a camera sees them. */
  async qrCode() {
    const png = await this.at("done-qr").screenshot();
    return this.page.evaluate(async (bytes) => {
      const picture = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: "image/png" }));
      const canvas = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
      canvas.drawImage(picture, 0, 0);
      const { width, height, data } = canvas.getImageData(0, 0, picture.width, picture.height);
      return { width, height, data: [...data] };
    }, [...png]);
  }
}

/** The operator's page. */
export class Dashboard extends Page {
  static async open(swarm, visitor) {
    const dashboard = new Dashboard(await visitor.open(swarm, "/admin"));
    await dashboard.at("sign-in").waitFor();
    return dashboard;
  }

  async trySignIn(token) {
    await this.at("token").fill(token);
    const isAnswer = (response) => response.url().endsWith("/v1/session") && response.request().method() === "POST";
    const answer = this.page.waitForResponse(isAnswer);
    await this.at("sign-in-button").click();
    await answer;
  }

  async signIn(token) {
    await this.trySignIn(token);
    await this.waitUntilShown();
  }

  waitUntilShown() {
    return this.at("dashboard").waitFor();
  }

  async signOut() {
    await this.at("sign-out").click();
    await this.at("sign-in").waitFor();
  }

  async waitForFigures(figures) {
    for (const [name, number] of Object.entries(figures)) {
      await until(`${number} peers ${name}`, async () => (await this.at(`figure-${name}`).innerText()) === String(number));
    }
  }

  /** Until there is something to see in the plot of throughput. */
  async waitForPlots() {
    const isDrawn = (node) => [...node.querySelectorAll("path.line")].some((line) => (line.getAttribute("d") ?? "").length > 100);
    await until("the plots show something", () => this.at("plot-rates").evaluate(isDrawn));
  }

  get log() {
    return this.at("log");
  }

  peer(name) {
    return this.page.locator("#peer-rows tr").filter({ hasText: name });
  }

  share(id) {
    return this.page.locator("#share-rows tr").filter({ hasText: id.slice(0, 9) });
  }

  invite(name) {
    return this.page.locator("#invite-rows tr").filter({ hasText: name });
  }

  async makeInvite(role, name) {
    const before = await this.at("invite-text").inputValue();
    await this.at("invite-role").selectOption(role);
    await this.at("invite-name").fill(name);
    await this.at("invite-make").click();
    return until("the invite is shown", async () => {
      const invite = await this.at("invite-text").inputValue();
      return invite !== before && invite;
    });
  }

  confirm() {
    return this.at("confirm-yes").click();
  }
}

async function hashOfDownload(download, name) {
  if (download.suggestedFilename() !== name) throw new Error(`saved as ${download.suggestedFilename()}`);
  return sha256OfFile(await download.path());
}
