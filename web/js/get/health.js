// How a share stands: which peers hold it, and whether all of it can be had now.

import { decodeBase64url } from "../format/base64url.js";

/**
 * @typedef {object} Health
 * @property {number} peers that hold some of it, alive or suspect
 * @property {number} suspect
 * @property {number} fewest replicas of the chunk that has the fewest
 * @property {boolean} available whether every chunk is at some peer
 */

/**
 * @param {{state: string, chunks: string}[]} sources
 * @param {number} chunkCount
 * @returns {Health}
 */
export function healthOf(sources, chunkCount) {
  const counts = new Uint16Array(chunkCount);
  let peers = 0;
  let suspect = 0;
  for (const { state, chunks } of sources) {
    const held = state === "dead" ? null : parseChunkSet(chunks);
    if (!held || held.count !== chunkCount) continue;
    peers++;
    if (state === "suspect") suspect++;
    for (let index = 0; index < chunkCount; index++) {
      if (held.bits[index >> 3] & (0x80 >> (index & 7))) counts[index]++;
    }
  }
  // An empty share has no chunk that could be missing.
  const fewest = chunkCount === 0 ? peers : counts.reduce((least, count) => Math.min(least, count), 0xffff);
  return { peers, suspect, fewest, available: fewest > 0 || chunkCount === 0 };
}

/**
 * The text form of a set of chunks, as in `9.gIA`.
 * @param {string} text
 * @returns {{count: number, bits: Uint8Array} | null} chunk 0 is the highest bit of the first byte; null unless canonical
 */
export function parseChunkSet(text) {
  const match = /^(0|[1-9][0-9]{0,6})\.([A-Za-z0-9_-]*)$/.exec(text);
  if (!match) return null;
  const count = Number(match[1]);
  try {
    const bits = decodeBase64url(match[2]);
    const isWhole = bits.length === Math.ceil(count / 8);
    const stray = count % 8 ? bits[bits.length - 1] & (0xff >> (count % 8)) : 0;
    return isWhole && stray === 0 ? { count, bits } : null;
  } catch {
    return null;
  }
}
