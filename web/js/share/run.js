// One share under way: its worker, and what keeps the browser from ending it by accident.

import { scriptUrl } from "../page/dom.js";
import { UnreadableFileError } from "./stream.js";

/** @typedef {import("./worker.js").ShareJob} ShareJob */
/** @typedef {import("./worker.js").ShareNews} ShareNews */
/** @typedef {import("./worker.js").ShareOrder} ShareOrder */
/** @typedef {import("./stream.js").FileStream} FileStream */

/**
 * @typedef {Extract<ShareNews, {kind: "done" | "failed"}> | {kind: "cancelled", isLate: boolean}} Outcome if it is late,
 *   the peers may have the share already
 *
 * @typedef {object} Run
 * @property {Promise<Outcome>} outcome
 * @property {() => void} cancel
 */

/**
 * Starts to send a share.
 * @param {ShareJob} job
 * @param {FileStream} stream
 * @param {(news: ShareNews) => void} onNews not told of the outcome
 * @param {(expiresMs: number) => Promise<void>} onTooLate takes back a share that was published though it was cancelled
 * @returns {Run}
 */
export function startRun(job, stream, onNews, onTooLate) {
  const worker = new Worker(scriptUrl("/web/js/share/worker.js"), { type: "module" });
  const letGo = stayAwake();
  let isCancelled = false;
  let isFinishing = false;
  /** @type {(outcome: Outcome) => void} */
  let end;
  /** @type {Promise<Outcome>} */
  const outcome = new Promise((resolve) => { end = resolve; });
  const finish = async (/** @type {Outcome} */ how) => {
    worker.terminate();
    if (isCancelled && how.kind === "done") await onTooLate(how.expiresMs);
    letGo();
    end(how);
  };
  worker.addEventListener("message", (/** @type {MessageEvent<ShareNews>} */ { data }) => {
    isFinishing ||= data.kind === "finishing";
    if (data.kind === "done" || data.kind === "failed") void finish(data);
    else if (data.kind === "read") void read(worker, stream, data.start, data.end);
    else if (!isCancelled) onNews(data);
  });
  worker.addEventListener("error", (event) => {
    void finish({ kind: "failed", failure: { kind: "other", detail: event.message ?? "the worker did not start" } });
  });
  worker.postMessage(/** @type {ShareOrder} */ ({ kind: "job", job }));
  const cancel = () => {
    isCancelled = true;
    // The worker tells the gateway, then ends; nobody has to wait for it unless there may be something to take back.
    worker.postMessage(/** @type {ShareOrder} */ ({ kind: "cancel" }));
    if (!isFinishing) letGo();
    end({ kind: "cancelled", isLate: isFinishing });
  };
  return { outcome, cancel };
}

/**
 * Reads a part of the stream for the worker.
 * @param {Worker} worker @param {FileStream} stream @param {number} start @param {number} end
 */
async function read(worker, stream, start, end) {
  /** @type {ShareOrder} */
  const answer = { kind: "part", start, part: null, unreadable: "" };
  try {
    answer.part = await stream.read(start, end);
  } catch (error) {
    answer.unreadable = error instanceof UnreadableFileError ? error.path : "";
  }
  worker.postMessage(answer, answer.part ? [answer.part.bytes.buffer] : []);
}

/** Asks before the page is left, and keeps the screen on; returns what ends both. */
function stayAwake() {
  /** @type {WakeLockSentinel | null} */
  let lock = null;
  let isOver = false;
  const ask = (/** @type {BeforeUnloadEvent} */ event) => event.preventDefault();
  // A browser takes the lock away whenever the page is hidden, and may refuse it.
  const wake = async () => {
    if (isOver || document.visibilityState !== "visible") return;
    lock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
    if (isOver) void lock?.release();
  };
  addEventListener("beforeunload", ask);
  document.addEventListener("visibilitychange", wake);
  void wake();
  return () => {
    isOver = true;
    removeEventListener("beforeunload", ask);
    document.removeEventListener("visibilitychange", wake);
    void lock?.release();
  };
}
