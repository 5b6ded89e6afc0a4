// Taking a share back, against a tracker that answers what each test says.

import assert from "node:assert/strict";
import { test } from "node:test";

import { takeBack } from "../../../web/js/share/done.js";
import { makeOwner } from "../../../web/js/format/owner.js";
import { problem } from "./support.mjs";

const shared = async () => ({ owner: await makeOwner(), expiresMs: 9e12, replicas: 2, clockAheadMs: 0 });

test("a share that is gone already counts as taken back", async (context) => {
  const asked = [];
  const answers = [new Response(null, { status: 204 }), problem("share-gone", 410)];
  context.mock.method(globalThis, "fetch", async (path, { method }) => {
    asked.push(`${method} ${path}`);
    return answers.shift();
  });
  const one = await shared();
  await takeBack(one);
  await takeBack(one);
  assert.deepEqual(asked, Array(2).fill(`PUT /v1/shares/${one.owner.share}/terms`));
});

test("a share that could not be taken back is told", async (context) => {
  context.mock.method(globalThis, "fetch", async () => problem("conflict", 409));
  await assert.rejects(takeBack(await shared()), { kind: "conflict" });
});
