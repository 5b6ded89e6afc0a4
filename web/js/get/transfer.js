// Downloads of a share: which sink, how far, what goes wrong. Loaded when something is downloaded for the first time.

import { ApiError } from "../transfer/api.js";
import { Download } from "../transfer/download.js";
import { problemOf } from "./share.js";
import { FileCutter, SinkError, memorySink, singleFile } from "../sinks/sink.js";
import { fileSink, folderSink } from "../sinks/disk.js";
import { streamSink } from "../sinks/stream.js";
import { zipFolders, zipSink } from "../sinks/zip.js";

/** @typedef {import("./share.js").Share} Share */
/** @typedef {import("./worker.js").Report} Report */
/** @typedef {import("../sinks/sink.js").Target} Target */
/** @typedef {(report: Report) => void} Tell */

const PROGRESS_EVERY_MS = 250;
const ALIVE_EVERY_MS = 5000;
/** A fetch that is tried again is told only if it lasts: a single lost request is nothing to worry about. */
const WAITING_SHOWN_AFTER_MS = 1000;
const READ_GIVE_UP_MS = 15_000;

/** One download into one sink, from its beginning to the word that ends it. */
export class Transfer {
  #stop = new AbortController();
  #done = 0;
  #isOver = false;
  #isRunning = false;
  /** @type {ApiError | null} */
  #waiting = null;
  #waitingSince = 0;

  /**
   * @param {Share} from
   * @param {Awaited<ReturnType<typeof sinkFor>>} sink
   * @param {Target} target
   * @param {Tell} tell
   */
  constructor(from, sink, target, tell) {
    this.sink = sink;
    this.tell = tell;
    // Zeros count like what comes: the page shows how much of the files is written.
    const onZeros = (/** @type {number} */ count) => void (this.#done += count);
    this.cutter = new FileCutter(from.summary.metadata.files, sink, { signal: this.#stop.signal, onZeros });
    this.download = new Download({
      ...workOf(from),
      write: (plain) => this.cutter.write(plain),
      onProgress: (bytes) => void (this.#done += bytes),
      onWait: (error) => this.#wait(error),
    });
    this.timers = [setInterval(() => this.#tell(), PROGRESS_EVERY_MS)];
    // Timers of a worker go on while the page is in the background: the sign of life comes from here.
    if (target.to === "stream") this.timers.push(setInterval(() => this.tell({ type: "alive" }), ALIVE_EVERY_MS));
  }

  async run() {
    if (this.#isRunning || this.#isOver) return;
    this.#isRunning = true;
    this.#waiting = null;
    try {
      await this.download.run(this.#stop.signal);
      const blob = (await this.cutter.close()) ?? undefined;
      this.#tell();
      this.#end({ type: "done", blob, name: this.sink.name, leftOut: this.sink.leftOut ?? [] });
    } catch (error) {
      await this.#fail(error);
    } finally {
      this.#isRunning = false;
    }
  }

  async cancel() {
    this.#stop.abort(new SinkError("stopped-by-browser"));
    // Nobody takes the next bytes while the browser's own download is paused: only this ends that wait.
    this.lose();
    // A run that is under way ends by itself; one that gave up has to be ended here.
    if (!this.#isRunning && !this.#isOver) await this.#fail(this.#stop.signal.reason);
  }

  /** The service worker is gone. */
  lose() {
    this.sink.lose?.();
  }

  /** @param {unknown} error */
  async #fail(error) {
    const isCancelled = this.#stop.signal.aborted;
    const isPatient = error instanceof ApiError && error.isTransient;
    if (isPatient && !isCancelled) return this.tell({ type: "gave-up", why: error.kind }); // The sink stays open.
    await this.sink.abort();
    if (problemOf(error).kind === "unexpected") console.error(error);
    this.#end(isCancelled ? { type: "cancelled" } : { type: "failed", problem: problemOf(error) });
  }

  /** @param {Report} report */
  #end(report) {
    this.#isOver = true;
    for (const timer of this.timers) clearInterval(timer);
    this.tell(report);
  }

  /** @param {ApiError | null} error */
  #wait(error) {
    if (error && !this.#waiting) this.#waitingSince = Date.now();
    this.#waiting = error;
  }

  #tell() {
    const isShown = this.#waiting && Date.now() - this.#waitingSince > WAITING_SHOWN_AFTER_MS;
    this.tell({ type: "progress", done: this.#done, waiting: isShown && this.#waiting ? this.#waiting.kind : null });
  }
}

/**
 * @param {Share} share
 * @param {Target} target
 * @param {boolean} isZip
 * @param {Tell} tell
 */
export async function openTransfer(share, target, isZip, tell) {
  return new Transfer(share, await sinkFor(share, target, isZip), target, tell);
}

/**
 * A few bytes of the stream, for a preview.
 * @param {Share} share
 * @param {number} start
 * @param {number} end
 * @param {AbortSignal} signal
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function readRange(share, start, end, signal) {
  const bytes = new Uint8Array(end - start);
  const write = async (/** @type {Uint8Array} */ plain, /** @type {number} */ index) => {
    const range = share.geometry.plainRange(index);
    const part = plain.subarray(Math.max(0, start - range.start), Math.min(plain.length, end - range.start));
    bytes.set(part, Math.max(0, range.start - start));
  };
  const chunks = share.geometry.chunksOf(start, end);
  await new Download({ ...workOf(share), ...chunks, write, retry: { giveUpMs: READ_GIVE_UP_MS } }).run(signal);
  return bytes;
}

/** @param {Share} share */
function workOf(share) {
  const { geometry } = share;
  /** @type {Pick<import("../transfer/download.js").Work, "geometry" | "fetchSealed" | "open">} */
  const work = {
    geometry,
    fetchSealed: (index, signal) => share.fetchSealed(index, signal),
    open: (index, sealed) => share.open(index, sealed),
  };
  return work;
}

/**
 * @param {Share} from
 * @param {Target} target
 * @param {boolean} isZip
 * @returns {Promise<import("../sinks/sink.js").FileSink & {name?: string, lose?: () => void}>}
 */
async function sinkFor({ summary: { metadata } }, target, isZip) {
  if (target.to === "folder") return folderSink(target.handle, metadata);
  const stream = target.to === "stream" ? streamSink(target.port) : null;
  const bytes = stream ?? (target.to === "file" ? await fileSink(target.handle) : memorySink());
  const sink = isZip ? zipSink(bytes, zipFolders(metadata)) : singleFile(bytes);
  // A ZIP's symlinks are made by some programs before what they lead to is looked at.
  return { ...sink, leftOut: metadata.links?.map(({ path }) => path), lose: stream?.lose };
}
