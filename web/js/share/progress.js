// How far a share is: stage, bar, speed, time left, and what it waits for.

import { announce, byId } from "../page/dom.js";
import { texts } from "./texts.js";

/** @typedef {import("./worker.js").ShareNews} ShareNews */

const WINDOW_MS = 15_000;
const SHOW_EVERY_MS = 250;
const ANNOUNCE_STEP = 10;

/** Bytes per second over the last seconds. */
export class UploadSpeed {
  /** @type {{atMs: number, bytes: number}[]} */
  #samples = [];

  /** @param {number} atMs @param {number} bytes that were done by then */
  add(atMs, bytes) {
    const last = this.#samples[this.#samples.length - 1];
    if (last && bytes < last.bytes) this.#samples = []; // It was begun over.
    this.#samples.push({ atMs, bytes });
    while (this.#samples.length > 2 && atMs - this.#samples[1].atMs >= WINDOW_MS) this.#samples.shift();
  }

  /** Null until there is something to tell by. */
  get bytesPerSecond() {
    const [first] = this.#samples;
    const last = this.#samples[this.#samples.length - 1];
    if (!first || last.atMs - first.atMs < 500 || last.bytes === first.bytes) return null;
    return ((last.bytes - first.bytes) * 1000) / (last.atMs - first.atMs);
  }
}

/** Shows the news of one share. */
export class UploadProgress {
  #totalBytes;
  #speed = new UploadSpeed();
  #shownAtMs = -SHOW_EVERY_MS;
  #announced = 0;
  #bar = /** @type {HTMLProgressElement} */ (byId("progress"));

  /** @param {number} totalBytes */
  constructor(totalBytes) {
    this.#totalBytes = totalBytes;
    this.#stage(texts.progress.opening);
    this.#bar.value = 0;
    byId("progress-done").textContent = "";
    byId("progress-speed").textContent = "";
    byId("trouble").hidden = true;
  }

  /** @param {ShareNews} news */
  show(news) {
    if (news.kind === "progress") this.#progress(news.storedBytes);
    else if (news.kind === "finishing") this.#finishing();
    else if (news.kind === "waiting") this.#waiting(news.isNetwork, news.pauseMs);
    else if (news.kind === "going-on") byId("trouble").hidden = true;
  }

  /** @param {number} bytes */
  #progress(bytes) {
    const now = performance.now();
    const total = this.#totalBytes;
    this.#stage(texts.progress.sending);
    this.#speed.add(now, bytes);
    if (now - this.#shownAtMs < SHOW_EVERY_MS && bytes < total) return;
    this.#shownAtMs = now;
    const rate = this.#speed.bytesPerSecond;
    this.#bar.value = total > 0 ? bytes / total : 1;
    byId("progress-done").textContent = texts.progress.details(bytes, total);
    byId("progress-speed").textContent = rate ? texts.progress.speed(rate, ((total - bytes) / rate) * 1000) : "";
    const percent = Math.floor((bytes / Math.max(total, 1)) * 100);
    if (percent >= this.#announced + ANNOUNCE_STEP) {
      this.#announced = percent - (percent % ANNOUNCE_STEP);
      announce(texts.progress.percent(this.#announced));
    }
  }

  #finishing() {
    this.#stage(texts.progress.finishing);
    this.#bar.removeAttribute("value");
    byId("progress-speed").textContent = "";
    announce(texts.progress.finishing);
  }

  /** @param {boolean} isNetwork @param {number} pauseMs */
  #waiting(isNetwork, pauseMs) {
    const trouble = byId("trouble");
    trouble.textContent = isNetwork ? texts.progress.again(pauseMs) : texts.progress.busy(pauseMs);
    trouble.hidden = false;
  }

  /** @param {string} text */
  #stage(text) {
    const stage = byId("stage");
    if (stage.textContent !== text) stage.textContent = text;
  }
}
