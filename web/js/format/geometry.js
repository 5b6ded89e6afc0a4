// Sizes to chunks: the only place with offset arithmetic. Totals stay below 2^44, which numbers hold exactly.

export const CHUNK_LOG2_MIN = 16;
export const CHUNK_LOG2_MAX = 24;
export const CHUNK_LOG2_DEFAULT = 20;
export const CHUNKS_MAX = 1 << 20;
export const TAG_BYTES = 16;

/** How a stream of `total` bytes is cut into chunks of 2^`log2` bytes. */
export class Geometry {
  /**
   * Use `Geometry.of`.
   * @param {number} total
   * @param {number} log2
   * @param {number} chunkCount
   */
  constructor(total, log2, chunkCount) {
    /** Bytes of the whole stream. */
    this.total = total;
    this.log2 = log2;
    /** Bytes of every chunk but the last, before sealing. */
    this.chunkBytes = 2 ** log2;
    /** 0 for an empty stream. */
    this.chunkCount = chunkCount;
  }

  /**
   * @param {number} total
   * @param {number} log2
   * @returns {Geometry | null} null if the chunk size is out of bounds, or there are too many chunks
   */
  static of(total, log2) {
    if (!Number.isSafeInteger(total) || total < 0) return null;
    if (!Number.isInteger(log2) || log2 < CHUNK_LOG2_MIN || log2 > CHUNK_LOG2_MAX) return null;
    const chunkCount = Math.ceil(total / 2 ** log2);
    return chunkCount <= CHUNKS_MAX ? new Geometry(total, log2, chunkCount) : null;
  }

  /**
   * With chunks of 1 MiB, or the smallest larger size that needs at most 2^20 of them.
   * @param {number} total
   * @returns {Geometry | null}
   */
  static fitting(total) {
    for (let log2 = CHUNK_LOG2_DEFAULT; log2 <= CHUNK_LOG2_MAX; log2++) {
      const geometry = Geometry.of(total, log2);
      if (geometry) return geometry;
    }
    return null;
  }

  /** Bytes of all chunks after sealing. */
  get sealedTotal() {
    return this.total + this.chunkCount * TAG_BYTES;
  }

  /** @param {number} index */
  isLast(index) {
    return index + 1 === this.chunkCount;
  }

  /**
   * The bytes of the stream that a chunk holds.
   * @param {number} index
   * @returns {{start: number, end: number}}
   */
  plainRange(index) {
    if (!Number.isInteger(index) || index < 0 || index >= this.chunkCount) throw new RangeError("no such chunk");
    const start = index * this.chunkBytes;
    return { start, end: Math.min(this.total, start + this.chunkBytes) };
  }

  /** @param {number} index */
  plainLength(index) {
    const { start, end } = this.plainRange(index);
    return end - start;
  }

  /** @param {number} index */
  sealedLength(index) {
    return this.plainLength(index) + TAG_BYTES;
  }

  /**
   * The chunks that hold the bytes from `start` to before `end`.
   * @param {number} start
   * @param {number} end
   * @returns {{first: number, end: number}} empty if there are no such bytes
   */
  chunksOf(start, end) {
    const first = Math.floor(start / this.chunkBytes);
    return { first, end: end > start ? Math.ceil(end / this.chunkBytes) : first };
  }
}
