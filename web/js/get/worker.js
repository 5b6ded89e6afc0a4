// The worker of the page that receives: keys and plain bytes stay here, off the thread that draws the page. What it
// is told and what it answers are the types below.

import { GetError } from "../transfer/get-error.js";
import { Share, problemOf } from "./share.js";

/** @typedef {import("./share.js").Problem} Problem */
/** @typedef {import("../sinks/sink.js").Target} Target */
/**
 * @typedef {{type: "look", id: string, secret: Uint8Array<ArrayBuffer>} | {type: "download", target: Target, isZip: boolean} |
 *   {type: "again"} | {type: "cancel"} | {type: "lost"} | {type: "preview", request: number, start: number, end: number}} Order
 */
/** @typedef {{bytes: Uint8Array<ArrayBuffer>} | {problem: Problem}} Content what a preview asked for */
/**
 * @typedef {{type: "looked", summary: import("./share.js").Summary} | {type: "look-waits"} | {type: "look-failed", problem: Problem} |
 *   {type: "progress", done: number, waiting: string | null} | {type: "done", blob?: Blob, name?: string, leftOut: string[]} |
 *   {type: "gave-up", why: string} | {type: "failed", problem: Problem} | {type: "cancelled"} | {type: "alive"} |
 *   ({type: "previewed", request: number} & Content)} Report
 */

const worker = /** @type {{onmessage: ((event: MessageEvent<Order>) => void) | null, postMessage(report: Report, transfer?: Transferable[]): void}} */ (
  /** @type {unknown} */ (self)
);
/** @type {Share | null} */
let share = null;
/** @type {import("./transfer.js").Transfer | null} */
let transfer = null;
/** Whether the last download that was begun was cancelled; its transfer may not be open yet. */
let isCancelled = false;

worker.onmessage = ({ data: order }) => {
  if (order.type === "look") void look(order.id, order.secret);
  else if (order.type === "preview") void preview(order.request, order.start, order.end);
  else if (order.type === "download") void begin(order.target, order.isZip);
  else if (order.type === "again") void transfer?.run();
  else if (order.type === "cancel") cancel();
  else if (order.type === "lost") transfer?.lose();
};

/**
 * @param {string} id
 * @param {Uint8Array<ArrayBuffer>} secret
 */
async function look(id, secret) {
  try {
    share = await Share.look(id, secret, { onWait: () => worker.postMessage({ type: "look-waits" }) });
    worker.postMessage({ type: "looked", summary: share.summary });
  } catch (error) {
    if (problemOf(error).kind === "unexpected") console.error(error);
    worker.postMessage({ type: "look-failed", problem: problemOf(error) });
  }
}

/**
 * @param {number} request
 * @param {number} start
 * @param {number} end
 */
async function preview(request, start, end) {
  try {
    if (!share) throw new GetError("unexpected");
    const { readRange } = await transfers();
    const bytes = await readRange(share, start, end, new AbortController().signal);
    worker.postMessage({ type: "previewed", request, bytes }, [bytes.buffer]);
  } catch (error) {
    worker.postMessage({ type: "previewed", request, problem: problemOf(error) });
  }
}

/**
 * @param {Target} target
 * @param {boolean} isZip
 */
async function begin(target, isZip) {
  isCancelled = false;
  try {
    if (!share) throw new GetError("unexpected");
    const { openTransfer } = await transfers();
    transfer = await openTransfer(share, target, isZip, (report) => worker.postMessage(report));
  } catch (error) {
    return worker.postMessage({ type: "failed", problem: problemOf(error) });
  }
  await (isCancelled ? transfer.cancel() : transfer.run());
}

function cancel() {
  isCancelled = true;
  void transfer?.cancel();
}

function transfers() {
  return import("./transfer.js").catch((error) => {
    throw new GetError("not-loaded", error);
  });
}
