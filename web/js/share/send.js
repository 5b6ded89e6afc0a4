// One share from the press of the button to its link. Loaded then, with all that it needs, so the page itself is light.

import { call, withRetries } from "../transfer/api.js";
import { byId } from "../page/dom.js";
import { formatLink } from "../format/link.js";
import { makeOwner } from "../format/owner.js";
import { showDone, takeBack } from "./done.js";
import { showNotes } from "./notes.js";
import { UploadProgress } from "./progress.js";
import { startRun } from "./run.js";
import { showStep } from "./step.js";
import { FileStream } from "./stream.js";
import { forgetSender } from "./token.js";
import { texts as allTexts } from "../page/texts.js";
import { texts } from "./texts.js";
import { printable } from "../page/words.js";

/** @typedef {import("./worker.js").ShareFailure} ShareFailure */

/**
 * @typedef {object} SendRequest
 * @property {import("./token.js").Sender} sender
 * @property {import("./selection.js").SharePlan} plan
 * @property {number} replicas
 * @property {number} lifeMs
 */

/**
 * Sends the share and shows its link.
 * @param {SendRequest} request
 * @returns {Promise<string | null>} null if it is shared, or what to tell people
 */
export async function send({ sender, plan: { name, files, dirs, leftOut }, replicas, lifeMs }) {
  const stream = new FileStream(files);
  const entries = files.map(({ path, size, modifiedMs }) => ({ path, size, modifiedMs }));
  const content = { name, files: entries, dirs, createdMs: Date.now() };
  const view = new UploadProgress(stream.totalBytes);
  // Pressed before there is a worker, it counts as well.
  const cancelled = new Promise((resolve) => { byId("cancel").onclick = resolve; });
  showStep("sending");
  byId("stage").focus();

  const owner = await makeOwner();
  const tracker = await lookAtTracker();
  if (!tracker) return texts.failed.network;
  const { clockAheadMs } = tracker;
  const trackerId = sender.trackerId ?? tracker.id;
  const job = { owner, token: sender.token, trackerId, content, replicas, lifeMs, clockAheadMs };
  const run = startRun(job, stream, (news) => view.show(news), (expiresMs) => {
    return withRetries(() => takeBack({ owner, expiresMs, replicas, clockAheadMs })).catch(() => {});
  });
  void cancelled.then(run.cancel);
  const outcome = await run.outcome;
  if (outcome.kind === "failed") return sentence(outcome.failure, replicas);
  if (outcome.kind === "cancelled") return outcome.isLate ? texts.progress.cancelledLate : texts.progress.cancelled;

  const link = formatLink({ origin: location.origin, share: owner.share, secret: owner.secret, trackerId });
  showDone({ owner, link, peers: outcome.peers, expiresMs: outcome.expiresMs, replicas, clockAheadMs });
  showNotes(leftOut, [...files.map(({ path }) => path), ...dirs]);
  showStep("done");
  byId("done-title").focus();
  return null;
}

/** Who it is, for the link, and what time it is there: the swarm's clock ends a share. */
async function lookAtTracker() {
  try {
    const health = await withRetries(() => call("GET", "/healthz"), { giveUpMs: 5000 });
    return { id: String(health.id), clockAheadMs: Number(health.now_ms) - Date.now() };
  } catch {
    return null;
  }
}

/** @param {ShareFailure} failure @param {number} replicas */
function sentence(failure, replicas) {
  const { kind } = failure;
  if (kind === "access-denied") forgetSender();
  if (kind === "not-enough-peers") return texts.failed[kind](replicas);
  if (kind === "unreadable") return texts.failed[kind](printable(failure.path));
  if (kind === "name") return texts.failed[kind](allTexts.common.nameRefused(failure.path, failure.rule));
  if (kind === "other") return texts.failed[kind](failure.detail);
  return texts.failed[kind];
}
