// Which chunk is fetched when: several at once, handed on in order, and no more in memory than a window. Knows
// neither network nor disk, so that it can be tested without.

import { ApiError, withRetries } from "./api.js";

/** Bytes of chunks that may be under way or waiting for their turn. */
const WINDOW_BYTES = 16 * 2 ** 20;
/** The gateway serves 8 requests of one address at once: leave some to a preview or another tab. */
const REQUESTS_MAX = 6;
const WINDOW_CHUNKS_MAX = 64;
/** After how many bytes the collector is reminded, and by how many that are never touched. */
const REMIND_EVERY_BYTES = 2 ** 20;
const REMINDER_BYTES = 16 * 2 ** 20;

/**
 * @typedef {object} Work
 * @property {import("../format/geometry.js").Geometry} geometry
 * @property {number} [first] the first chunk that is wanted
 * @property {number} [end] the one after the last
 * @property {(index: number, signal: AbortSignal) => Promise<Uint8Array<ArrayBuffer>>} fetchSealed one try
 * @property {(index: number, sealed: Uint8Array<ArrayBuffer>) => Promise<Uint8Array<ArrayBuffer>>} open
 * @property {(plain: Uint8Array<ArrayBuffer>, index: number) => Promise<void>} write in order; the next chunk waits for it
 * @property {(plainBytes: number) => void} [onProgress] how many bytes more were written
 * @property {(why: ApiError | null) => void} [onWait] told when a fetch has to be tried again, and with null when one succeeded
 * @property {import("./api.js").RetryOptions} [retry]
 */

/** A download that can be run again after the network failed it: it goes on with the chunks that were not written. */
export class Download {
  #running = 0;
  /** @type {(() => void)[]} */
  #queued = [];
  #lastProgressMs = 0;
  #sinceReminder = 0;

  /** @param {Work} work */
  constructor(work) {
    this.work = work;
    /** The next chunk to be written. */
    this.position = work.first ?? 0;
    this.end = work.end ?? work.geometry.chunkCount;
    this.now = work.retry?.now ?? Date.now;
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<void>} Rejects with an ApiError when the network does not come back, with whatever `open` and
   *   `write` throw, or with the signal's reason.
   */
  async run(signal) {
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    const window = windowOf(this.work.geometry.chunkBytes);
    /** @type {Promise<Uint8Array<ArrayBuffer>>[]} */
    const arriving = [];
    let next = this.position;
    this.#lastProgressMs = this.now();
    try {
      while (this.position < this.end) {
        for (; arriving.length < window && next < this.end; next++) arriving.push(this.#get(next, either));
        const plain = await /** @type {Promise<Uint8Array<ArrayBuffer>>} */ (arriving.shift());
        const { length } = plain; // The sink may take the buffer away.
        signal.throwIfAborted();
        await this.work.write(plain, this.position);
        this.position++;
        this.#lastProgressMs = this.now();
        this.work.onProgress?.(length);
        this.#remind(length);
      }
    } finally {
      stop.abort();
    }
  }

  /**
   * @param {number} index
   * @param {AbortSignal} signal
   */
  #get(index, signal) {
    const opened = this.#fetch(index, signal).then((sealed) => this.work.open(index, sealed));
    // Its turn may never come, when an earlier one fails.
    opened.catch(() => {});
    return opened;
  }

  /**
   * @param {number} index
   * @param {AbortSignal} signal
   */
  async #fetch(index, signal) {
    const { work } = this;
    await this.#slot();
    try {
      const sealed = await withRetries(() => work.fetchSealed(index, signal), {
        ...work.retry,
        signal,
        lastProgressMs: () => this.#lastProgressMs,
        onWait: (waiting) => waiting && work.onWait?.(waiting.error),
      });
      this.#lastProgressMs = this.now();
      work.onWait?.(null);
      return sealed;
    } finally {
      this.#running--;
      this.#queued.shift()?.();
    }
  }

  /**
   * What an answer leaves behind lies outside the script's heap, where the collector does not see it, and would
   * gather to hundreds of MiB. A buffer that is not touched takes no memory, but makes the collector look.
   * @param {number} bytes
   */
  #remind(bytes) {
    this.#sinceReminder += bytes;
    if (this.#sinceReminder < REMIND_EVERY_BYTES) return;
    this.#sinceReminder = 0;
    new ArrayBuffer(REMINDER_BYTES);
  }

  /** Waits until a request may begin; those that came first go first. */
  async #slot() {
    while (this.#running >= REQUESTS_MAX) await new Promise((resolve) => this.#queued.push(() => resolve(null)));
    this.#running++;
  }
}

/**
 * How many chunks may be in memory at once.
 * @param {number} chunkBytes
 */
export function windowOf(chunkBytes) {
  return Math.min(WINDOW_CHUNKS_MAX, Math.max(2, Math.floor(WINDOW_BYTES / chunkBytes)));
}
