// The worker that seals and sends one share, so that the page stays quick. The page sends one `ShareJob`, then the
// parts of the stream that are asked for, perhaps "cancel", and hears a `ShareNews` whenever there is some; the last
// one is `done` or `failed`.

import { ApiError, call, withRetries } from "../transfer/api.js";
import { encodeBase64url } from "../format/base64url.js";
import { Geometry } from "../format/geometry.js";
import { deriveAccess } from "../format/keys.js";
import { MetadataError, NameError, buildMetadata, encodeMetadata } from "../format/metadata.js";
import { ownersToken } from "../format/owner.js";
import { Sealing, ownersTerms } from "./sealing.js";
import { UnreadableFileError } from "./stream.js";
import { GatewayError, NotEnoughPeersError, upload } from "../transfer/upload.js";

/** @typedef {import("../format/owner.js").Owner} Owner */
/** @typedef {import("./stream.js").Part} Part */

/**
 * @typedef {Parameters<typeof buildMetadata>[0]} ShareContent names and sizes; their rules are checked here
 *
 * @typedef {object} ShareJob
 * @property {Owner} owner
 * @property {string} token
 * @property {string} trackerId
 * @property {ShareContent} content
 * @property {number} replicas
 * @property {number} lifeMs
 * @property {number} clockAheadMs how far the tracker's clock is ahead of this machine's: the swarm's time counts
 *
 * @typedef {{kind: typeof API_FAILURES[number] | "too-large" | "gateway" | "memory" | "other", detail: string}
 *   | {kind: "unreadable", path: string}
 *   | {kind: "name", path: string, rule: import("../format/names.js").NameRule}} ShareFailure
 *
 * @typedef {{kind: "read", start: number, end: number}
 *   | {kind: "progress", storedBytes: number}
 *   | {kind: "finishing"}
 *   | {kind: "waiting", pauseMs: number, isNetwork: boolean}
 *   | {kind: "going-on"}
 *   | {kind: "done", peers: string[], expiresMs: number}
 *   | {kind: "failed", failure: ShareFailure}} ShareNews
 *
 * @typedef {{kind: "job", job: ShareJob} | {kind: "cancel"} | ReadPart} ShareOrder
 *
 * @typedef {object} ReadPart an answer to `read`
 * @property {"part"} kind
 * @property {number} start
 * @property {Part | null} part null if a file cannot be read
 * @property {string} unreadable its path
 */

const API_FAILURES = /** @type {const} */ ([
  "access-denied", "gateway-closed", "not-enough-peers", "no-space", "conflict", "share-gone",
]);
const stop = new AbortController();
/** Who waits for a part of the stream, by where it starts. @type {Map<number, (answer: ReadPart) => void>} */
const readers = new Map();

addEventListener("message", (event) => {
  /** @type {ShareOrder} */
  const order = event.data;
  if (order.kind === "cancel") stop.abort();
  else if (order.kind === "part") readers.get(order.start)?.(order);
  else void run(order.job);
});

/** @param {ShareNews} news */
function tell(news) {
  postMessage(news);
}

/** @param {ShareJob} job */
async function run(job) {
  try {
    tell({ kind: "done", ...(await share(job)) });
  } catch (error) {
    tell({ kind: "failed", failure: failureOf(error) });
  }
}

/** @param {ShareJob} job */
async function share(job) {
  const { owner, replicas } = job;
  const geometry = Geometry.fitting(job.content.files.reduce((sum, { size }) => sum + size, 0));
  if (!geometry) throw new MetadataError("the files are larger than a share can be");
  // Every rule is checked before the first byte leaves.
  const metadata = encodeMetadata(buildMetadata(job.content, geometry));
  const sealing = new Sealing(owner, geometry, read);
  let expiresMs = 0;
  let manifest = "";
  const { total: totalBytes, chunkBytes, chunkCount } = geometry;
  const plan = { share: owner.share, token: job.token, totalBytes, chunkBytes, chunkCount, replicas };
  const peers = await upload(plan, {
    call,
    retry,
    word: (act, credential) => ownersToken(owner, act, job.trackerId, credential),
    seal: (index) => sealing.seal(index),
    progress: (storedBytes) => tell({ kind: "progress", storedBytes }),
    now: () => performance.now(),
    finish: async (chunkIds) => {
      tell({ kind: "finishing" });
      const issuedMs = Date.now() + job.clockAheadMs;
      expiresMs = issuedMs + job.lifeMs;
      manifest = encodeBase64url(await sealing.manifest(chunkIds, metadata));
      return { manifest, terms: await ownersTerms(owner, { issuedMs, expiresMs, replicas }) };
    },
    published: () => published(owner, manifest),
  }, stop.signal);
  return { peers, expiresMs };
}

/**
 * Has the page read a part of the stream. No two that start at the same place are asked for at once.
 * @param {number} start @param {number} end
 * @returns {Promise<Part>}
 */
async function read(start, end) {
  tell({ kind: "read", start, end });
  /** @type {ReadPart} */
  const { part, unreadable } = await new Promise((resolve) => { readers.set(start, resolve); });
  readers.delete(start);
  if (!part) throw new UnreadableFileError(unreadable);
  return part;
}

/**
 * The names of the peers that hold the share, if it is published with this manifest.
 * @param {Owner} owner @param {string} manifest
 */
async function published({ share, secret }, manifest) {
  const bearer = encodeBase64url(await deriveAccess(secret));
  try {
    // Not ended by `stop`: what is published though it was cancelled has to be taken back.
    const found = await retry(() => call("GET", `/v1/shares/${share}`, { bearer }));
    if (found.manifest !== manifest) return null;
    return found.sources.map((/** @type {{peer: {name: string}}} */ source) => source.peer.name);
  } catch (error) {
    if (error instanceof ApiError && error.kind === "share-not-found") return null;
    throw error;
  }
}

/** For as long as the page is open. @param {() => Promise<any>} attempt @param {AbortSignal} [signal] */
function retry(attempt, signal) {
  return withRetries(attempt, {
    signal,
    giveUpMs: Infinity,
    onWait: (waiting) => tell(waiting
      ? { kind: "waiting", pauseMs: waiting.pauseMs, isNetwork: waiting.error.kind === "network" }
      : { kind: "going-on" }),
  });
}

/** @param {unknown} error @returns {ShareFailure} */
function failureOf(error) {
  if (error instanceof UnreadableFileError) return { kind: "unreadable", path: error.path };
  if (error instanceof NameError) return { kind: "name", path: error.path, rule: error.rule };
  if (error instanceof MetadataError) return { kind: "too-large", detail: error.message };
  if (error instanceof NotEnoughPeersError) return { kind: "not-enough-peers", detail: "" };
  if (error instanceof GatewayError) return { kind: "gateway", detail: error.message };
  if (error instanceof RangeError) return { kind: "memory", detail: error.message };
  if (!(error instanceof ApiError)) return { kind: "other", detail: String(error) };
  const kind = API_FAILURES.find((known) => known === error.kind) ?? "other";
  return { kind, detail: error.detail || error.kind };
}
