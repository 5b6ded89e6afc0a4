// The gateway holds: it serves the chunks of a share that is named, to who may read it, and no more than it can.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import http from "node:http";
import { check } from "./harness.mjs";
import { accessOf, shareOf, sha256, sha256OfFile } from "./swarm.mjs";

const MIB = 1 << 20;

async function shareMebibytes(swarm, mebibytes) {
  const alice = await swarm.person();
  const bytes = randomBytes(mebibytes * MIB);
  const link = await alice.share(await alice.write("sample.bin", bytes));
  return { link, bytes, path: `/v1/shares/${shareOf(link)}`, bearer: accessOf(link) };
}

check("the gateway serves chunks of the share that is named, and nothing else", async (stage) => {
  const swarm = await stage.swarm();
  const [one, other] = [await shareMebibytes(swarm, 2), await shareMebibytes(swarm, 1)];
  const status = async (path, bearer) => (await swarm.ask("GET", path, { bearer })).status;

  const answer = await swarm.ask("GET", `${one.path}/chunks/0`, { bearer: one.bearer });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("content-type"), "application/octet-stream");
  assert.equal((await answer.arrayBuffer()).byteLength, MIB + 16);
  assert.equal(await status(`${one.path}/chunks/1`, one.bearer), 200);

  for (const index of ["2", "1048576", "4294967295", "99999999999999999999", "-1", "0x0", "1.0", "", "0/..", "%30%2f1"]) {
    const code = await status(`${one.path}/chunks/${index}`, one.bearer);
    assert.ok(code === 404 || code === 400, `${index}: ${code}`);
  }
  assert.equal(await status(`${one.path}/chunks/0`, other.bearer), 404, "with another share's access");
  for (const bearer of [undefined, swarm.senderToken, swarm.adminToken]) {
    const code = await status(`${one.path}/chunks/0`, bearer);
    assert.ok(code === 403 || code === 404, `${code}`);
  }
});

check("nobody uploads through the gateway without a sender's token", async (stage) => {
  const swarm = await stage.swarm();
  const path = `/v1/shares/${randomBytes(32).toString("base64url")}`;
  const json = { size: { total_bytes: 10, chunk_bytes: 65536 }, replicas: 1 };
  for (const bearer of [undefined, swarm.tracker.ready.peer_invite.split(".").at(-1), randomBytes(32).toString("base64url")]) {
    assert.equal((await swarm.ask("POST", `${path}/upload`, { bearer, json })).status, 403);
  }
  const bytes = randomBytes(26);
  for (const bearer of [undefined, swarm.senderToken, "v4.public.AAAA"]) {
    assert.equal((await swarm.ask("PUT", `${path}/chunks/0`, { bearer, bytes })).status, 403);
  }
});

check("more than eight chunks at once for one address are told to wait", async (stage) => {
  const swarm = await stage.swarm();
  const share = await shareMebibytes(swarm, 8);
  const answers = await Promise.all(Array.from({ length: 64 }, (_, number) => chunk(swarm, share, number % 8)));
  assert.deepEqual([...new Set(answers.map((answer) => answer.status))].sort(), [200, 429]);
  for (const { status, headers } of answers) {
    if (status === 429) assert.match(headers["retry-after"], /^[1-9]\d*$/);
  }
  assert.equal((await chunk(swarm, share, 7)).status, 200, "and then goes on");
});

check("a get next to eight browsers that hammer the gateway completes", async (stage, context) => {
  const swarm = await stage.swarm();
  const [busy, quiet] = [await shareMebibytes(swarm, 8), await shareMebibytes(swarm, 64)];
  const bob = await swarm.person();
  const timed = async (name) => {
    const start = performance.now();
    await bob.get(quiet.link, "-o", name);
    assert.equal(await sha256OfFile(bob.path(name)), sha256(quiet.bytes));
    return performance.now() - start;
  };
  const alone = await timed("alone");
  const served = new Map();
  let going = true;
  const browsers = Array.from({ length: 8 }, async (_, number) => {
    while (going) {
      const { status } = await chunk(swarm, busy, number);
      served.set(status, (served.get(status) ?? 0) + 1);
    }
  });
  const beside = await timed("beside");
  going = false;
  await Promise.all(browsers);
  assert.ok(served.get(200) > 0);
  context.diagnostic(`get of 64 MiB: ${alone.toFixed(0)} ms alone, ${beside.toFixed(0)} ms beside the browsers (${(beside / alone).toFixed(2)} x); ${JSON.stringify([...served])}`);
});

/** One chunk, on a connection of its own. */
function chunk(swarm, { path, bearer }, index) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${bearer}` };
    const request = http.get(`${swarm.origin}${path}/chunks/${index}`, { agent: false, headers }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers }));
      answer.on("error", reject);
    });
    request.on("error", reject);
  });
}
