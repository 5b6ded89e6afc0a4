// Calls to the tracker that served this page, and to nobody else.

const PAUSE_MIN_MS = 500;
const PAUSE_MAX_MS = 15_000;
const RETRY_AFTER_MAX_MS = 120_000;
const GIVE_UP_MS = 10 * 60_000;
const PROBLEM_PREFIX = "urn:parcelry:problem:";
const TRANSIENT_STATUSES = [0, 408, 429, 502, 503, 504];

/** A call that did not succeed. */
export class ApiError extends Error {
  /**
   * @param {string} kind the problem document's type without its prefix; `network` if there was no whole answer
   * @param {number} status 0 if there was no whole answer
   * @param {string} detail for people, from the server: show it as text only
   * @param {number | null} [retryAfterMs]
   */
  constructor(kind, status, detail, retryAfterMs = null) {
    super(`${kind} (${status})`);
    this.name = "ApiError";
    this.kind = kind;
    this.status = status;
    this.detail = detail;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same call may succeed a little later. */
  get isTransient() {
    return TRANSIENT_STATUSES.includes(this.status);
  }
}

/**
 * @typedef {object} CallOptions
 * @property {string} [bearer]
 * @property {string} [session] the page's part of the admin's session; without it no cookie goes along either
 * @property {string} [owner] an owner's token
 * @property {unknown} [json]
 * @property {Uint8Array<ArrayBuffer>} [bytes]
 * @property {AbortSignal} [signal]
 * @property {() => void} [onBytes] told whenever some of a good answer has come
 */

/**
 * One call. JSON answers come parsed, octet streams as a Uint8Array, empty ones as null.
 * @param {string} method
 * @param {string} path
 * @param {CallOptions} [options]
 * @returns {Promise<any>} Rejects with an ApiError, or the signal's reason.
 */
export async function call(method, path, options = {}) {
  const { signal, onBytes } = options;
  const response = await answerOf(method, path, options);
  try {
    return await bodyOf(onBytes ? heard(response, onBytes) : response);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new ApiError("network", 0, String(error));
  }
}

/**
 * One call, of whose answer only the head is there.
 * @param {string} method
 * @param {string} path
 * @param {CallOptions} [options]
 * @returns {Promise<Response>} Rejects with an ApiError, or the signal's reason.
 */
export async function answerOf(method, path, { bearer, owner, session, json, bytes, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (bearer !== undefined) headers.Authorization = `Bearer ${bearer}`;
  if (session) headers["Session-Secret"] = session;
  if (owner !== undefined) headers["Owner-Token"] = owner;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (bytes !== undefined) headers["Content-Type"] = "application/octet-stream";
  const body = json !== undefined ? JSON.stringify(json) : bytes;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body,
      signal,
      cache: "no-store",
      credentials: session === undefined ? "omit" : "same-origin",
      mode: "same-origin",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new ApiError("network", 0, String(error));
  }
  if (response.ok) return response;
  throw await apiErrorOf(response);
}

/**
 * @typedef {object} Waiting
 * @property {ApiError} error why
 * @property {number} pauseMs until the next try
 */
/**
 * @typedef {object} RetryOptions
 * @property {AbortSignal} [signal]
 * @property {(waiting: Waiting | null) => void} [onWait] told before each pause, and with null when a try succeeds after one
 * @property {() => number} [lastProgressMs] by `now`: when something else went on; gives up long after the last of it
 * @property {number} [giveUpMs]
 * @property {() => number} [now]
 * @property {(ms: number, signal?: AbortSignal) => Promise<void>} [pause]
 */

/**
 * Does something again as long as it fails by the network, or because the server is busy; pauses grow from 0.5 s to
 * 15 s, and are never shorter than the server asks for. After ten minutes without progress the last error is thrown.
 * @template T
 * @param {() => Promise<T>} action
 * @param {RetryOptions} [options]
 * @returns {Promise<T>}
 */
export async function withRetries(action, options = {}) {
  const { signal, onWait, lastProgressMs, giveUpMs = GIVE_UP_MS, now = Date.now, pause = sleep } = options;
  const started = now();
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted();
    try {
      const result = await action();
      if (attempt) onWait?.(null);
      return result;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isTransient) throw error;
      if (now() - Math.max(started, lastProgressMs?.() ?? 0) >= giveUpMs) throw error;
      const pauseMs = pauseAfter(attempt, error.retryAfterMs);
      onWait?.({ error, pauseMs });
      await pause(pauseMs, signal);
    }
  }
}

/**
 * Those who were refused together come back one by one.
 * @param {number} attempt
 * @param {number | null} retryAfterMs
 */
function pauseAfter(attempt, retryAfterMs) {
  const grown = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** Math.min(attempt, 10)) * (0.75 + Math.random() / 4);
  return Math.max(grown, Math.min(retryAfterMs ?? 0, RETRY_AFTER_MAX_MS) * (1 + Math.random() / 10));
}

/**
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>} Rejects with the signal's reason.
 */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * @param {Response} response
 * @param {() => void} onBytes
 */
function heard(response, onBytes) {
  onBytes();
  const parts = new TransformStream({
    transform(part, controller) {
      onBytes();
      controller.enqueue(part);
    },
  });
  return new Response(response.body?.pipeThrough(parts), response);
}

/** @param {Response} response */
async function bodyOf(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (response.status === 204 || response.status === 202) return null;
  if (type.startsWith("application/octet-stream")) return new Uint8Array(await response.arrayBuffer());
  return response.json();
}

/** @param {Response} response */
async function apiErrorOf(response) {
  const seconds = Number(response.headers.get("Retry-After") ?? "");
  const retryAfterMs = seconds > 0 && Number.isFinite(seconds) ? seconds * 1000 : null;
  /** @type {{type?: unknown, detail?: unknown}} */
  const problem = (await response.json().catch(() => null)) ?? {};
  const type = String(problem.type ?? "");
  const kind = type.startsWith(PROBLEM_PREFIX) ? type.slice(PROBLEM_PREFIX.length) : `status-${response.status}`;
  return new ApiError(kind, response.status, String(problem.detail ?? ""), retryAfterMs);
}
