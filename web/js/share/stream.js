// Several files as one stream of bytes, in the order of the file table, read chunk by chunk. Any part can be
// read again, which a second attempt needs; only the part that is asked for is in memory. Files are read where they
// were chosen, in the page, so that 100,000 of them need not be copied to a worker.

/**
 * @typedef {{path: string, file: Blob, size: number}} StreamFile
 *
 * @typedef {object} Part
 * @property {Uint8Array<ArrayBuffer>} bytes
 * @property {string} path of the file in which the part begins
 */

/** Files that are read at once, however many small ones a chunk holds. */
const AT_ONCE = 32;

/** A file that cannot be read, or is no longer what it was when it was chosen. */
export class UnreadableFileError extends Error {
  /** @param {string} path */
  constructor(path) {
    super(`cannot read ${path}`);
    this.name = "UnreadableFileError";
    this.path = path;
  }
}

/** The stream of a share's files. */
export class FileStream {
  /** @type {readonly StreamFile[]} */
  #files;
  /** Where each file starts, and at the end the length of the stream. @type {Float64Array} */
  #starts;

  /** @param {readonly StreamFile[]} files in the order of the file table */
  constructor(files) {
    this.#files = files;
    this.#starts = new Float64Array(files.length + 1);
    files.forEach(({ size }, at) => { this.#starts[at + 1] = this.#starts[at] + size; });
  }

  /** Bytes of all files. */
  get totalBytes() {
    return this.#starts[this.#files.length];
  }

  /**
   * The bytes from `start` up to `end`; throws {@link UnreadableFileError} if they are not all there.
   * @param {number} start @param {number} end
   * @returns {Promise<Part>}
   */
  async read(start, end) {
    const first = this.#fileAt(start);
    const bytes = new Uint8Array(end - start);
    for (let at = first; at < this.#files.length && this.#starts[at] < end; at += AT_ONCE) {
      const some = Array.from({ length: Math.min(AT_ONCE, this.#files.length - at) }, (_, next) => at + next);
      await Promise.all(some.map((one) => this.#readFile(one, start, bytes)));
    }
    return { bytes, path: this.#files[first]?.path ?? "" };
  }

  /**
   * Copies what one file has of a part that begins at `start`.
   * @param {number} at @param {number} start @param {Uint8Array} part
   */
  async #readFile(at, start, part) {
    const { path, file, size } = this.#files[at];
    const offset = this.#starts[at];
    const from = Math.max(start - offset, 0);
    const to = Math.min(start + part.length - offset, size);
    if (to <= from) return;
    const bytes = await bytesOf(file.slice(from, to));
    if (bytes?.length !== to - from) throw new UnreadableFileError(path);
    part.set(bytes, offset + from - start);
  }

  /** The last file that starts at or before `position`. @param {number} position */
  #fileAt(position) {
    let low = 0;
    let high = this.#files.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle] <= position) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Null if it cannot be read. @param {Blob} blob */
async function bytesOf(blob) {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch {
    return null;
  }
}
