// The page that receives, at /s/{share id}. The link's secret comes in the fragment; it is taken out of the address
// bar, and kept in memory and in this tab's session storage only. Keys and bytes are in the worker (worker.js).

import { byId, scriptUrl } from "../page/dom.js";
import { cryptographySupport } from "../format/ed25519.js";
import { DownloadProgress } from "./progress.js";
import { problemTexts, showCommand, showMessage, showProblem, showShare } from "./view.js";
import { LinkError, formatLink, isId, parseFragment } from "../format/link.js";
import { showPreview } from "./preview.js";
import { canSaveFolders, chooseTarget } from "../sinks/choice.js";
import { texts } from "../page/texts.js";

/** @typedef {import("./worker.js").Content} Content */
/** @typedef {import("./worker.js").Order} Order */
/** @typedef {import("./worker.js").Report} Report */
/** @typedef {import("./share.js").Problem} Problem */
/** @typedef {import("./share.js").Summary} Summary */
/** @typedef {import("../sinks/choice.js").Choice} Choice */

const { get: t, common } = texts;

/**
 * The fragment, which is no longer in the address bar after this; a reload finds it in the session storage.
 * @param {string} shareId
 */
function takeFragment(shareId) {
  const key = `parcelry:${shareId}`;
  const fragment = location.hash.slice(1);
  if (fragment) {
    history.replaceState(null, "", location.pathname);
    rememberInTab((store) => store.setItem(key, fragment));
    return fragment;
  }
  return rememberInTab((store) => store.getItem(key)) ?? "";
}

/**
 * Session storage may be switched off: then a reload needs the whole link again.
 * @template T
 * @param {(store: Storage) => T} action
 * @returns {T | null}
 */
function rememberInTab(action) {
  try {
    return action(sessionStorage);
  } catch {
    return null;
  }
}

/** One share, from its summary to the end of its downloads. */
class Page {
  /** @type {Choice | null} */
  #choice = null;
  #isBusy = false;
  #isZip = false;
  /** @type {Map<number, (content: Content) => void>} */
  #previews = new Map();

  /**
   * @param {Worker} worker
   * @param {Summary} summary
   */
  constructor(worker, summary) {
    this.worker = worker;
    this.summary = summary;
    this.view = new DownloadProgress(summary.metadata.size);
    worker.onmessage = ({ data }) => this.#take(data);
    worker.onerror = () => this.#fail({ kind: "unexpected" });
    byId("download").onclick = () => this.#start(!summary.isSingle && canSaveFolders());
    byId("download-zip").onclick = () => this.#start(false);
    byId("cancel").onclick = byId("give-up").onclick = () => this.#order({ type: "cancel" });
    byId("again").onclick = () => {
      this.view.resume();
      this.#order({ type: "again" });
    };
    addEventListener("beforeunload", (event) => this.#isBusy && event.preventDefault());
    addEventListener("pagehide", () => this.#leave());
    showShare(summary, (file) => void showPreview(file, (start, end) => this.#read(start, end)));
  }

  /** @param {boolean} isFolder whether to save a folder in place */
  async #start(isFolder) {
    if (this.#isBusy || this.#choice) return;
    const { metadata, isSingle } = this.summary;
    const name = isSingle ? metadata.original_filename : `${metadata.original_filename}.zip`;
    const length = async () => {
      if (isSingle) return metadata.size;
      const { zipFolders, zipLength } = await import("../sinks/zip.js");
      return zipLength(metadata.files, zipFolders(metadata));
    };
    this.#setDisabled(true);
    const choice = await chooseTarget({ name, length, isFolder }).catch(() => /** @type {const} */ ("not-loaded"));
    this.#setDisabled(false);
    if (choice === "dismissed") return;
    if (typeof choice === "string") return this.view.end(problemTexts({ kind: choice }), "warn");
    // A folder that was to be saved in place may have become one file after all.
    this.#isZip = !isSingle && choice.target.to !== "folder";
    this.#choice = choice;
    this.#isBusy = true;
    choice.onLost(() => this.#order({ type: "lost" }));
    this.view.begin();
    this.#order({ type: "download", target: choice.target, isZip: this.#isZip }, choice.transfer);
  }

  /** @param {Report} report */
  #take(report) {
    if (report.type === "progress") this.view.show(report.done, report.waiting);
    else if (report.type === "alive") this.#choice?.alive();
    else if (report.type === "previewed") this.#previewed(report.request, report);
    else if (report.type === "gave-up") this.view.giveUp(report.why);
    else if (report.type === "cancelled") this.#end(() => this.view.end(t.cancelled, "warn"));
    else if (report.type === "failed") this.#fail(report.problem);
    else if (report.type === "done") this.#end((choice) => this.#done(report, choice));
  }

  /** @param {Problem} problem */
  #fail(problem) {
    // The worker may not have got as far as to end it.
    this.#choice?.abort();
    this.#end(() => this.view.end(problemTexts(problem), "bad"));
  }

  /** @param {(choice: Choice | null) => void} show */
  #end(show) {
    const choice = this.#choice;
    this.#choice = null;
    this.#isBusy = false;
    show(choice);
  }

  /**
   * @param {{blob?: Blob, name?: string, leftOut: string[]}} report
   * @param {Choice | null} choice
   */
  #done({ blob, name, leftOut }, choice) {
    const { original_filename: original } = this.summary.metadata;
    const target = choice?.target;
    // The user may have chosen another name, and a folder's may have been taken.
    const chosen = target?.to === "file" ? target.handle.name : name;
    const saved = chosen ?? (this.#isZip ? `${original}.zip` : original);
    if (blob) void import("../sinks/browser.js").then(({ saveBlob }) => saveBlob(blob, saved));
    const text = target?.to === "folder" ? t.done.folder(saved) : target?.to === "file" ? t.done.file(saved) : t.done.stream(saved);
    if (leftOut.length === 0) return this.view.end({ title: t.done.title, text }, "good");
    this.view.end({ title: t.done.partly, text, detail: t.done.leftOut(leftOut) }, "warn");
  }

  /** The page is going away: what was begun must not look complete. */
  #leave() {
    if (!this.#choice) return;
    this.worker.terminate();
    this.#fail({ kind: "interrupted" });
    // A page that the browser keeps and shows again has no worker any more.
    addEventListener("pageshow", () => location.reload());
  }

  /**
   * @param {number} start
   * @param {number} end
   * @returns {Promise<Content>}
   */
  #read(start, end) {
    const request = this.#previews.size;
    return new Promise((resolve) => {
      this.#previews.set(request, resolve);
      this.#order({ type: "preview", request, start, end });
    });
  }

  /**
   * @param {number} request
   * @param {Content} content
   */
  #previewed(request, content) {
    this.#previews.get(request)?.(content);
    this.#previews.set(request, () => {}); // Keeps the number taken, not the bytes.
  }

  /**
   * @param {Order} order
   * @param {Transferable[]} [transfer]
   */
  #order(order, transfer = []) {
    this.worker.postMessage(order, transfer);
  }

  /** @param {boolean} isDisabled */
  #setDisabled(isDisabled) {
    for (const id of ["download", "download-zip"]) /** @type {HTMLButtonElement} */ (byId(id)).disabled = isDisabled;
  }
}

/**
 * @param {string} id
 * @param {Uint8Array<ArrayBuffer>} secret
 */
function look(id, secret) {
  byId("problem").hidden = true;
  byId("looking-text").textContent = t.looking;
  byId("looking").hidden = false;
  const worker = new Worker(scriptUrl("/web/js/get/worker.js"), { type: "module" });
  const fail = (/** @type {Problem} */ problem) => {
    worker.terminate();
    const canChange = ["network", "no-peer", "unexpected"].includes(problem.kind);
    showProblem(problem, canChange ? () => look(id, secret) : undefined);
  };
  worker.onerror = () => fail({ kind: "unexpected" });
  worker.onmessage = (/** @type {MessageEvent<Report>} */ { data }) => {
    if (data.type === "look-failed") fail(data.problem);
    if (data.type === "look-waits") byId("looking-text").textContent = t.starting;
    if (data.type !== "looked") return;
    byId("looking").hidden = true;
    new Page(worker, data.summary);
  };
  worker.postMessage({ type: "look", id, secret });
}

async function main() {
  const id = location.pathname.replace(/^\/s\//, "");
  const fragment = takeFragment(id);
  // Its own fragment would take the place of the link's.
  byId("skip").onclick = (event) => {
    event.preventDefault();
    byId("main").focus();
  };
  // The same page opened with another fragment is not loaded again by the browser.
  addEventListener("hashchange", () => location.hash.length > 1 && (takeFragment(id), location.reload()));
  const support = await cryptographySupport();
  if (support !== "ok") return showMessage(support === "insecure" ? common.insecure : common.oldBrowser);
  if (!fragment) return showProblem({ kind: "no-secret" });
  if (!isId(id)) return showProblem({ kind: "damaged-link" });
  try {
    const { secret, trackerId } = parseFragment(fragment);
    showCommand(`parcelry get '${formatLink({ origin: location.origin, share: id, secret, trackerId })}'`);
    look(id, secret);
  } catch (error) {
    const kind = error instanceof LinkError ? error.kind : "";
    showProblem({ kind: kind === "version" ? "newer" : kind === "no-fragment" ? "no-secret" : "damaged-link" });
  }
}

void main();
