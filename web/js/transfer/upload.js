// Sends the sealed chunks of one share through the gateway, several at once, and finishes it.
//
// Everything that it works with comes in: how to call the gateway, how to seal a chunk, how to wait. So it runs in a
// worker as in a test. What each answer means is decided here:
//
// - no answer, "later", "too many": the same sealed bytes again after a pause, for as long as it takes; if that was
//   because the line is slow, with fewer chunks under way at once
// - the upload is unknown, or the grant is over: open it again, send everything again (same keys, same content)
// - anything else: stop

import { decodeHex } from "../format/hex.js";

/**
 * @typedef {object} UploadPlan
 * @property {string} share share id
 * @property {string} token the sender's
 * @property {number} totalBytes
 * @property {number} chunkBytes
 * @property {number} chunkCount
 * @property {number} replicas
 *
 * @typedef {object} Request
 * @property {string} [bearer]
 * @property {string} [owner]
 * @property {unknown} [json]
 * @property {Uint8Array<ArrayBuffer>} [bytes]
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} Finish
 * @property {string} manifest base64url
 * @property {string} terms
 *
 * @typedef {object} UploadPorts
 * @property {(method: string, path: string, request: Request) => Promise<any>} call throws errors that have a `kind`
 * @property {(attempt: () => Promise<any>, signal: AbortSignal) => Promise<any>} retry attempts again, after a pause,
 *   as long as the swarm may answer better in a while
 * @property {(act: "open" | "delegate", credential: string) => Promise<string>} word the owner's, for the tracker, to go
 *   with this credential
 * @property {(index: number) => Promise<Uint8Array<ArrayBuffer>>} seal reads and seals a chunk; the same bytes for
 *   the same index
 * @property {(ids: Uint8Array) => Promise<Finish>} finish makes what completes the share; called once
 * @property {() => Promise<string[] | null>} published the peers' names if the share is published as it should be
 * @property {(storedBytes: number) => void} progress
 * @property {() => number} now milliseconds, from anywhere
 */

/** The gateway does not keep to what it said. */
export class GatewayError extends Error {}

/** Too few peers are there to begin. */
export class NotEnoughPeersError extends Error {}

/** Bytes of chunks that are under way at once, and their number. */
const IN_FLIGHT_BYTES = 16 << 20;
const IN_FLIGHT_CHUNKS_MAX = 4;
/** A chunk that failed after this time was too slow: the gateway waits for 30 s at least, a proxy may for less. */
const SLOW_MS = 20_000;
const ID_BYTES = 32;
const GIVE_UP_MS = 5000;
/** How often an upload is begun over before the gateway is given up. */
const ROUNDS_MAX = 8;

/**
 * How many chunks are under way at once.
 * @param {number} chunkBytes
 */
export function chunksInFlight(chunkBytes) {
  return Math.min(Math.max(Math.floor(IN_FLIGHT_BYTES / chunkBytes), 1), IN_FLIGHT_CHUNKS_MAX);
}

/**
 * Sends the share. Returns the names of the peers on whose stable storage it is. On any error, also that of the
 * signal, the gateway is told to give the upload up.
 * @param {UploadPlan} plan @param {UploadPorts} ports @param {AbortSignal} signal
 * @returns {Promise<string[]>}
 */
export async function upload(plan, ports, signal) {
  const one = new Upload(plan, ports, signal);
  try {
    return await one.complete();
  } catch (error) {
    await one.giveUp();
    throw error;
  }
}

class Upload {
  #plan;
  #ports;
  #signal;
  #slots;
  #grant = "";
  /** @type {Uint8Array} */
  #ids;
  /** Whether a chunk's id is known, by its index. @type {Uint8Array} */
  #known;

  /** @param {UploadPlan} plan @param {UploadPorts} ports @param {AbortSignal} signal */
  constructor(plan, ports, signal) {
    this.#plan = plan;
    this.#ports = ports;
    this.#signal = signal;
    this.#slots = new Slots(chunksInFlight(plan.chunkBytes), ports.now);
    this.#ids = new Uint8Array(ID_BYTES * plan.chunkCount);
    this.#known = new Uint8Array(plan.chunkCount);
  }

  async complete() {
    /** @type {Finish | undefined} */
    let finish;
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      await this.#open(round > 0);
      try {
        await this.#sendAll();
        // Made once: the metadata in it must not be sealed with two contents.
        finish ??= await this.#ports.finish(this.#ids);
        this.#signal.throwIfAborted();
        return (await this.#finish(finish)).peers;
      } catch (error) {
        if (!isLost(error)) throw error;
        // If only the answer to an earlier attempt was lost, all is well.
        const peers = finish && (await this.#ports.published());
        if (peers) return peers;
      }
    }
    throw new GatewayError("it forgets the upload again and again");
  }

  /** Once, and without waiting for long: an upload that is left alone is forgotten anyway. */
  async giveUp() {
    if (!this.#grant) return;
    const signal = AbortSignal.timeout(GIVE_UP_MS);
    await this.#once("DELETE", "upload", this.#grant, { signal }).catch(() => {});
  }

  /** @param {boolean} isAgain peers may be missing for a while then, as after a restart of the tracker */
  async #open(isAgain) {
    const { totalBytes, chunkBytes, replicas, token } = this.#plan;
    const json = { size: { total_bytes: totalBytes, chunk_bytes: chunkBytes }, replicas };
    const attempt = async () => {
      const owner = await this.#ports.word("open", token);
      const { grant } = await this.#once("POST", "upload", token, { json, owner });
      this.#grant = grant;
      // The tracker speaks to peers only once the owner has left the share to it, as far as this grant goes.
      await this.#once("PUT", "delegation", grant, { owner: await this.#ports.word("delegate", grant) });
    };
    await this.#ports.retry(() => attempt().catch((error) => {
      // At the start, people rather hear this than wait.
      throw !isAgain && kindOf(error) === "not-enough-peers" ? new NotEnoughPeersError() : error;
    }), this.#signal);
  }

  /** Several at once; the first one that fails stops the others. */
  async #sendAll() {
    const { chunkCount, chunkBytes } = this.#plan;
    const stop = new AbortController();
    const stopToo = () => stop.abort(this.#signal.reason);
    this.#signal.throwIfAborted();
    this.#signal.addEventListener("abort", stopToo);
    let next = 0;
    let stored = 0;
    const sendInTurn = async () => {
      while (next < chunkCount && !stop.signal.aborted) {
        const bytes = await this.#send(next++, stop.signal);
        stored += bytes;
        if (!stop.signal.aborted) this.#ports.progress(stored);
      }
    };
    this.#ports.progress(0);
    const senders = Array.from({ length: chunksInFlight(chunkBytes) }, () => sendInTurn().catch((error) => stop.abort(error)));
    await Promise.all(senders);
    this.#signal.removeEventListener("abort", stopToo);
    stop.signal.throwIfAborted();
  }

  /**
   * Not ended by the signal: peers keep what they have by then, so whoever cancels must hear whether to take it back.
   * @param {Finish} finish
   */
  #finish(finish) {
    const { signal } = new AbortController();
    return this.#ports.retry(() => this.#once("PUT", "upload", this.#grant, { json: finish, signal }), signal);
  }

  /** Returns how many bytes of the stream are safe now. @param {number} index @param {AbortSignal} signal */
  async #send(index, signal) {
    const sealed = await this.#ports.seal(index);
    const put = () => this.#once("PUT", `chunks/${index}`, this.#grant, { bytes: sealed, signal });
    const { id } = await this.#ports.retry(() => this.#slots.run(put), signal);
    this.#note(index, id);
    return Math.min(this.#plan.chunkBytes, this.#plan.totalBytes - index * this.#plan.chunkBytes);
  }

  /** One index has one content, hence one id. @param {number} index @param {string} hex */
  #note(index, hex) {
    const id = idBytes(hex);
    if (!id) throw new GatewayError("its answer has no chunk id");
    const kept = this.#ids.subarray(ID_BYTES * index, ID_BYTES * (index + 1));
    if (this.#known[index] && kept.some((byte, at) => byte !== id[at])) {
      throw new GatewayError("it gave one chunk two ids");
    }
    kept.set(id);
    this.#known[index] = 1;
  }

  /** @param {string} method @param {string} what @param {string} bearer @param {Request} request */
  #once(method, what, bearer, request) {
    return this.#ports.call(method, this.#path(what), { signal: this.#signal, ...request, bearer });
  }

  /** @param {string} what */
  #path(what) {
    return `/v1/shares/${this.#plan.share}/${what}`;
  }
}

/** Lets so many chunks be under way at once, and half as many whenever one was too slow: one fills a slow line, too. */
class Slots {
  #most;
  #now;
  #busy = 0;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {number} most @param {() => number} now */
  constructor(most, now) {
    this.#most = most;
    this.#now = now;
  }

  /** @template T @param {() => Promise<T>} send @returns {Promise<T>} */
  async run(send) {
    while (this.#busy >= this.#most) {
      await /** @type {Promise<void>} */ (new Promise((resolve) => { this.#waiting.push(resolve); }));
    }
    this.#busy += 1;
    const startedMs = this.#now();
    try {
      return await send();
    } catch (error) {
      if (this.#now() - startedMs >= SLOW_MS) this.#most = Math.max(this.#most >> 1, 1);
      throw error;
    } finally {
      this.#busy -= 1;
      this.#waiting.shift()?.();
    }
  }
}

/**
 * What a new upload of the same share mends: the tracker has restarted, or the grant's time is over.
 * @param {unknown} error
 */
function isLost(error) {
  return ["upload-not-found", "access-denied", "clock-skew"].includes(kindOf(error));
}

/** @param {unknown} error @returns {string} */
function kindOf(error) {
  return error instanceof Error && "kind" in error ? String(error.kind) : "";
}

/** @param {unknown} hex */
function idBytes(hex) {
  return typeof hex === "string" && /^[0-9a-f]{64}$/.test(hex) ? decodeHex(hex) : null;
}
