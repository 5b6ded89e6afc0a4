// Holes of files: runs of zeros that are not in the share's stream. A browser cannot make them, so they are written.

/** Holes of the files of one share. */
export const HOLES_MAX = 100_000;
/** Zeros that are written at once, and after how many of them others have a turn: a hole can be larger than any disk. */
const PIECE_BYTES = 2 ** 20;
const PAUSE_EVERY_BYTES = 64 * 2 ** 20;

/** @typedef {[start: number, length: number][]} Holes in order; no two touch, none is empty */
/** @typedef {{size: number, holes?: Holes}} MayHaveHoles */

/**
 * Whether a value from JSON has the form of holes.
 * @param {unknown} holes
 */
export function areHoles(holes) {
  const isNumber = (/** @type {unknown} */ value) => Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
  return Array.isArray(holes) && holes.every((hole) => Array.isArray(hole) && hole.length === 2 && hole.every(isNumber));
}

/**
 * What is wrong with a file's holes, or null.
 * @param {MayHaveHoles} file
 * @returns {string | null}
 */
export function brokenHoleRule({ size, holes = [] }) {
  let end = -1;
  for (const [start, length] of holes) {
    if (length === 0) return "a hole of a file is empty";
    if (start <= end) return "the holes of a file overlap, touch or are not in order";
    end = start + length;
    if (end > size) return "a hole reaches beyond the end of its file";
  }
  return null;
}

/**
 * Bytes of a file that are in the stream.
 * @param {MayHaveHoles} file
 */
export function dataBytes({ size, holes = [] }) {
  let left = size;
  for (const [, length] of holes) left -= length;
  return left;
}

/**
 * The runs of a file in order: how many bytes come from the stream, and how many zeros follow.
 * @param {MayHaveHoles} file
 * @returns {Generator<{data: number, zeros: number}>}
 */
export function* runsOf({ size, holes = [] }) {
  let at = 0;
  for (const [start, length] of holes) {
    yield { data: start - at, zeros: length };
    at = start + length;
  }
  yield { data: size - at, zeros: 0 };
}

/** Writes zeros in pieces, hole after hole. */
export class ZeroWriter {
  /** Bytes since others had a turn. */
  #sincePause = 0;

  /**
   * @param {(bytes: Uint8Array<ArrayBuffer>) => Promise<void>} write may take the buffer away
   * @param {AbortSignal} [signal]
   */
  constructor(write, signal) {
    this.put = write;
    this.signal = signal;
  }

  /** @param {number} count */
  async write(count) {
    for (let left = count; left > 0; ) {
      this.signal?.throwIfAborted();
      const length = Math.min(PIECE_BYTES, left);
      await this.put(new Uint8Array(length));
      left -= length;
      this.#sincePause += length;
      // What writes nowhere never waits: without a pause nobody could be told to stop.
      if (this.#sincePause < PAUSE_EVERY_BYTES) continue;
      this.#sincePause = 0;
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
}
