// One share as its receiver sees it, in the order of formats.md: look it up, check every signature, the secret, the
// metadata and its names, and the terms; then fetch and open its chunks.

import { ApiError, call, withRetries } from "../transfer/api.js";
import { decodeBase64url, encodeBase64url } from "../format/base64url.js";
import { GetError } from "../transfer/get-error.js";
import { healthOf } from "./health.js";
import { deriveAccess } from "../format/keys.js";
import { ManifestError, decodeManifest, openMetadata } from "../format/manifest.js";
import { NameError, isSingleFile } from "../format/metadata.js";
import { TokenError } from "../format/paseto.js";
import { OpenError, openChunk } from "../format/seal.js";
import { isOver, verifyTerms } from "../format/terms.js";

const LOOK_GIVE_UP_MS = 25_000;
/** A look-up may answer with 90 MiB: it is given up when nothing more comes, not when it takes long. */
const LOOK_SILENCE_MS = 30_000;
/** A request that hangs is given up after a minute and the time that its bytes take on a very slow line. */
const REQUEST_MS = 60_000;
const SLOWEST_BYTES_PER_MS = 8;

/** @typedef {import("../format/metadata.js").Metadata} Metadata */
/** @typedef {import("../format/terms.js").Terms} Terms */
/** @typedef {import("../format/keys.js").ShareKeys} ShareKeys */
/** @typedef {import("../format/geometry.js").Geometry} Geometry */
/** @typedef {import("./health.js").Health} Health */
/** @typedef {{metadata: Metadata, terms: Terms, health: Health, isSingle: boolean}} Summary */
/** @typedef {{kind: string, path?: string, rule?: import("../format/metadata.js").NameRule}} Problem the kind is a key of texts.get.problems */

export class Share {
  /**
   * @param {object} parts
   * @param {string} parts.id
   * @param {string} parts.bearer
   * @param {Geometry} parts.geometry
   * @param {ShareKeys} parts.keys
   * @param {Summary} parts.summary
   * @param {typeof call} parts.callTracker
   */
  constructor({ id, bearer, geometry, keys, summary, callTracker }) {
    this.id = id;
    this.geometry = geometry;
    this.keys = keys;
    this.summary = summary;
    this.bearer = bearer;
    this.callTracker = callTracker;
  }

  /**
   * Looks a share up, and checks all that can be checked before its chunks are there.
   * @param {string} id
   * @param {Uint8Array<ArrayBuffer>} secret
   * @param {{callTracker?: typeof call, nowMs?: number, silenceMs?: number, giveUpMs?: number, onWait?: () => void}} [options]
   */
  static async look(id, secret, options = {}) {
    const { callTracker = call, nowMs = Date.now(), silenceMs = LOOK_SILENCE_MS, giveUpMs = LOOK_GIVE_UP_MS, onWait } = options;
    const bearer = encodeBase64url(await deriveAccess(secret));
    const ask = () => unlessSilent(silenceMs, (more) => callTracker("GET", `/v1/shares/${id}`, { bearer, ...more }));
    const found = await withRetries(ask, {
      giveUpMs,
      // A tracker that has just started answers nothing before it has heard its peers.
      onWait: (waiting) => waiting?.error.kind === "unavailable" && onWait?.(),
    });
    const { geometry, keys, metadata } = await openManifest(found.manifest, id, secret);
    const terms = await verifyTerms(found.terms, id);
    if (isOver(terms, nowMs)) throw new GetError("gone");
    const health = healthOf(found.sources, geometry.chunkCount);
    const summary = { metadata, terms, health, isSingle: isSingleFile(metadata) };
    return new Share({ id, bearer, geometry, keys, summary, callTracker });
  }

  /**
   * One try to fetch a chunk.
   * @param {number} index
   * @param {AbortSignal} signal
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async fetchSealed(index, signal) {
    const length = this.geometry.sealedLength(index);
    // A signal of its own that is let go of afterwards: one that lives on would keep the answer's memory, too.
    const request = new AbortController();
    const stop = () => request.abort(signal.reason);
    signal.addEventListener("abort", stop);
    const hung = () => request.abort(new ApiError("network", 0, "no answer"));
    const timer = setTimeout(hung, REQUEST_MS + length / SLOWEST_BYTES_PER_MS);
    let sealed;
    try {
      signal.throwIfAborted();
      const path = `/v1/shares/${this.id}/chunks/${index}`;
      sealed = await this.callTracker("GET", path, { bearer: this.bearer, signal: request.signal });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
    // Not every browser notices that a body was cut off.
    if (!(sealed instanceof Uint8Array) || sealed.length < length) throw new ApiError("network", 0, "cut off");
    return /** @type {Uint8Array<ArrayBuffer>} */ (sealed);
  }

  /**
   * @param {number} index
   * @param {Uint8Array<ArrayBuffer>} sealed
   */
  open(index, sealed) {
    return openChunk(this.keys.chunk, this.geometry, index, sealed);
  }
}

/**
 * Gives a call up as soon as nothing of its answer has come for so long.
 * @template T
 * @param {number} ms
 * @param {(options: {signal: AbortSignal, onBytes: () => void}) => Promise<T>} begin
 */
async function unlessSilent(ms, begin) {
  const silent = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const onBytes = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silent.abort(new ApiError("network", 0, "no answer")), ms);
  };
  onBytes();
  try {
    return await begin({ signal: silent.signal, onBytes });
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {string} text base64url
 * @param {string} id
 * @param {Uint8Array<ArrayBuffer>} secret
 */
async function openManifest(text, id, secret) {
  let encoded;
  try {
    encoded = decodeBase64url(text);
  } catch {
    throw new GetError("damaged-share");
  }
  const manifest = await decodeManifest(encoded, id);
  // The manifest's bytes are let go of: the gateway compares chunk ids, and GCM tells what the sender sealed.
  return { geometry: manifest.geometry, ...(await openMetadata(manifest, secret)) };
}

/** @type {Record<string, string>} */
const API_PROBLEMS = {
  "share-not-found": "not-found",
  "gateway-closed": "gateway-closed",
  "bad-request": "damaged-link",
  "share-gone": "gone",
  "chunk-not-found": "damaged-share",
  "hash-mismatch": "no-good-copy",
  unavailable: "no-peer",
  network: "network",
};

/**
 * What to tell about an error.
 * @param {unknown} error
 * @returns {Problem}
 */
export function problemOf(error) {
  if (error instanceof GetError) return { kind: error.kind, path: error.path };
  if (error instanceof OpenError) return { kind: "damaged-chunk" };
  if (error instanceof TokenError) return { kind: "damaged-share" };
  if (error instanceof ManifestError) return problemOfManifest(error);
  if (error instanceof ApiError) return { kind: API_PROBLEMS[error.kind] ?? (error.isTransient ? "network" : "unexpected") };
  return { kind: "unexpected" };
}

/**
 * @param {ManifestError} error
 * @returns {Problem}
 */
function problemOfManifest({ kind, cause }) {
  if (kind === "newer") return { kind: "newer" };
  if (kind === "commitment") return { kind: "damaged-link" };
  if (cause instanceof NameError) return { kind: "bad-name", path: cause.path, rule: cause.rule };
  return { kind: "damaged-share" };
}
