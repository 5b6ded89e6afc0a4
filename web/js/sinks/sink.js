// Where plain bytes go. A ByteSink takes one run of bytes; a FileSink takes files one after another. Both say by
// their promises when they want more, and neither shows anything as complete before `close` was called.

import { runsOf, ZeroWriter } from "../format/holes.js";
import { GetError } from "../transfer/get-error.js";

/**
 * @typedef {object} ByteSink
 * @property {(bytes: Uint8Array<ArrayBuffer>) => Promise<void>} write may take the buffer away
 * @property {() => Promise<Blob | void>} close
 * @property {() => Promise<void>} abort keeps nothing; never rejects
 */
/**
 * Where the page has chosen that they go.
 * @typedef {{to: "file", handle: FileSystemFileHandle} | {to: "folder", handle: FileSystemDirectoryHandle} |
 *   {to: "stream", port: MessagePort} | {to: "memory"}} Target
 */
/** @typedef {Pick<import("../format/metadata.js").FileEntry, "path" | "size" | "holes" | "executable" | "mode" | "modified">} FileHead */
/**
 * @typedef {object} FileSink
 * @property {(file: FileHead) => Promise<void | false>} begin false: the file is left out, and what is written of it is ignored
 * @property {(bytes: Uint8Array<ArrayBuffer>) => Promise<void>} write
 * @property {() => Promise<void>} end all bytes of the file are there, and were verified
 * @property {() => Promise<Blob | void>} close
 * @property {() => Promise<void>} abort
 * @property {string[]} [leftOut] paths that could not be saved
 */
/** @typedef {"no-space" | "save-failed" | "stopped-by-browser" | "stream-broken" | "name-not-allowed" | "too-large-for-memory"} SinkProblem */

/** Bytes that cannot be saved. */
export class SinkError extends GetError {
  /**
   * @param {SinkProblem} kind
   * @param {unknown} [cause]
   * @param {string} [path]
   */
  constructor(kind, cause, path) {
    super(kind, cause, path);
    this.name = "SinkError";
  }
}

/** Cuts a stream into its files, and writes their holes as zeros. */
export class FileCutter {
  #next = 0;
  /** Bytes of data up to the next hole, or to the end of the file. */
  #left = 0;
  #open = false;
  /** @type {ReturnType<typeof runsOf> | null} */
  #runs = null;
  #zeros = 0;
  /** @type {ZeroWriter} */
  #zeroWriter;
  #isLeftOut = false;

  /**
   * @param {FileHead[]} files
   * @param {FileSink} sink
   * @param {{signal?: AbortSignal, onZeros?: (count: number) => void}} [options] `signal` ends the writing of a hole;
   *   `onZeros` is told how many bytes more were written that were not in the stream
   */
  constructor(files, sink, { signal, onZeros } = {}) {
    this.files = files;
    this.sink = sink;
    this.onZeros = onZeros;
    this.#zeroWriter = new ZeroWriter(async (bytes) => {
      const { length } = bytes;
      await sink.write(bytes);
      onZeros?.(length);
    }, signal);
  }

  /** @param {Uint8Array<ArrayBuffer>} chunk */
  async write(chunk) {
    // The sink may take the buffer of a chunk that is handed on whole, so its length is noted first.
    const { length } = chunk;
    for (let at = 0; at < length; ) {
      while (!this.#open) await this.#begin();
      const end = Math.min(length, at + this.#left);
      if (end > at) {
        this.#left -= end - at;
        await this.sink.write(at === 0 && end === length ? chunk : chunk.subarray(at, end));
      }
      at = end;
      if (this.#left === 0) await this.#pass();
    }
  }

  /** @returns {Promise<Blob | void>} */
  async close() {
    // What is left now are files without data.
    while (this.#next < this.files.length && !this.#open) {
      await this.#begin();
      if (this.#left > 0) break;
    }
    if (this.#open) throw new SinkError("save-failed", "the stream ended early");
    return this.sink.close();
  }

  async #begin() {
    const file = this.files[this.#next];
    this.#runs = runsOf(file);
    this.#isLeftOut = (await this.sink.begin(file)) === false;
    this.#open = true;
    await this.#pass();
  }

  /** Goes on behind a run of data: writes holes up to the next one, or ends the file. */
  async #pass() {
    do {
      if (this.#isLeftOut) this.onZeros?.(this.#zeros);
      else await this.#zeroWriter.write(this.#zeros);
      this.#zeros = 0;
      const run = this.#runs?.next().value;
      if (!run) return this.#end();
      this.#left = run.data;
      this.#zeros = run.zeros;
    } while (this.#left === 0);
  }

  async #end() {
    this.#open = false;
    this.#next++;
    await this.sink.end();
  }
}

/**
 * One file: a run of bytes.
 * @param {ByteSink} bytes
 * @returns {FileSink}
 */
export function singleFile(bytes) {
  const nothing = async () => {};
  return {
    begin: nothing,
    write: (part) => bytes.write(part),
    end: nothing,
    close: () => bytes.close(),
    abort: () => bytes.abort(),
  };
}

/**
 * In memory, in a Blob, which the browser may move to its own disk.
 * @returns {ByteSink}
 */
export function memorySink() {
  /** @type {Blob[]} */
  let parts = [];
  return {
    write: async (bytes) => void parts.push(new Blob([bytes])),
    close: async () => new Blob(parts, { type: "application/octet-stream" }),
    abort: async () => void (parts = []),
  };
}
