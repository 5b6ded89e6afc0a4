// Whether an invite lets this page share, by what the tracker answers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { maySend } from "../../../web/js/share/token.js";
import { problem } from "./support.mjs";

const answered = (context, answer) => context.mock.method(globalThis, "fetch", async (path) => {
  return path === "/healthz" ? Response.json({ id: "A".repeat(43), now_ms: 0 }) : answer();
});

test("a token may share if only the empty body is refused", async (context) => {
  answered(context, () => problem("bad-request", 400));
  assert.equal(await maySend("token"), true);
});

test("a token that is refused may not share", async (context) => {
  answered(context, () => problem("access-denied", 403));
  assert.equal(await maySend("token"), false);
});

test("a tracker that is away, or lets no browser share, says nothing about the token", async (context) => {
  answered(context, () => problem("gateway-closed", 403));
  await assert.rejects(maySend("token"), { kind: "gateway-closed" });
  answered(context, () => { throw new TypeError("no connection"); });
  await assert.rejects(maySend("token"), { kind: "network" });
});
