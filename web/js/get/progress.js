// How far a download is: bar, bytes, speed, time left; and how it ended.

import { announce, byId } from "../page/dom.js";
import { texts } from "../page/texts.js";
import { bytes, duration, rate } from "../page/words.js";

const SPEED_OVER_MS = 10_000;
const { get: t, common } = texts;

/** The speed of the last ten seconds, from how many bytes were there when. */
export class DownloadSpeed {
  /** @type {{atMs: number, done: number}[]} */
  #samples = [];

  /**
   * @param {number} done
   * @param {number} atMs
   */
  note(done, atMs) {
    this.#samples.push({ atMs, done });
    while (this.#samples.length > 2 && this.#samples[0].atMs < atMs - SPEED_OVER_MS) this.#samples.shift();
  }

  /** Bytes per second; 0 as long as nothing can be said. */
  get perSecond() {
    const first = this.#samples[0];
    const last = this.#samples[this.#samples.length - 1];
    if (!first || last.atMs - first.atMs < 500) return 0;
    return ((last.done - first.done) * 1000) / (last.atMs - first.atMs);
  }
}

/** The part of the page that shows one download. */
export class DownloadProgress {
  #speed = new DownloadSpeed();
  #announced = "";

  /** @param {number} total */
  constructor(total) {
    this.total = total;
  }

  begin() {
    this.#speed = new DownloadSpeed();
    byId("transfer-title").textContent = t.downloading;
    byId("outcome").hidden = true;
    byId("start").hidden = true;
    byId("transfer").hidden = false;
    byId("cancel").focus();
    this.show(0, null);
  }

  /** Goes on after it was given up. */
  resume() {
    this.#speed = new DownloadSpeed();
    byId("outcome").hidden = true;
    byId("transfer").hidden = false;
    byId("cancel").focus();
  }

  /**
   * @param {number} done
   * @param {string | null} waiting why nothing comes, a kind of ApiError
   */
  show(done, waiting) {
    this.#speed.note(done, performance.now());
    const bar = /** @type {HTMLProgressElement} */ (byId("transfer-progress"));
    bar.value = this.total ? done / this.total : 0;
    const speed = this.#speed.perSecond;
    const words = [t.progress(bytes(done), bytes(this.total))];
    if (this.total > 0 && done === this.total) words.push(t.finishing);
    else if (!waiting && speed > 0) words.push(rate(speed), t.left(duration(((this.total - done) / speed) * 1000)));
    byId("transfer-text").textContent = words.join(" · ");
    const why = waiting ? common[causeOf(waiting)] : "";
    byId("transfer-waiting").textContent = why;
    byId("transfer-waiting").hidden = !why;
    // A screen reader is told every tenth, and when the connection goes or comes back.
    const tenth = this.total ? Math.floor((done / this.total) * 10) * 10 : 100;
    const news = why || t.percent(tenth);
    if (news !== this.#announced) announce(news);
    this.#announced = news;
  }

  /** @param {string} why a kind of ApiError */
  giveUp(why) {
    this.end({ title: t.gaveUp.titles[causeOf(why)], text: t.gaveUp.text }, "warn", true);
  }

  /**
   * @param {{title: string, text: string, detail?: string}} message
   * @param {"good" | "warn" | "bad"} level
   * @param {boolean} [canGoOn] whether the same download can be tried again from where it stands
   */
  end({ title, text, detail }, level, canGoOn = false) {
    const outcome = byId("outcome");
    byId("transfer").hidden = true;
    byId("outcome-title").textContent = title;
    byId("outcome-text").textContent = detail ? `${text} ${detail}` : text;
    outcome.dataset.level = level;
    byId("again").hidden = !canGoOn;
    byId("give-up").hidden = !canGoOn;
    byId("start").hidden = canGoOn;
    outcome.hidden = false;
    outcome.focus();
  }
}

/**
 * What is behind an error that may pass.
 * @param {string} kind of ApiError
 * @returns {"noPeer" | "connectionLost" | "busy"}
 */
export function causeOf(kind) {
  if (kind === "unavailable") return "noPeer";
  return kind === "network" ? "connectionLost" : "busy";
}
