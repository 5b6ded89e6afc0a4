// Server-sent events by fetch, the page's part of the session, and what the stream does when it breaks off.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { adminCall, answerOtherTabs, askOtherTabs, keepSecret, sessionSecret } from "../../../web/js/admin/secret.js";
import { listen } from "../../../web/js/admin/stream.js";
import { call } from "../../../web/js/transfer/api.js";
import { eventsOf } from "../../../web/js/admin/event-stream.js";
import { problem } from "./support.mjs";

/** A body that comes in these pieces, and then ends or stays open. */
function body(pieces, isOpen = false) {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
      if (!isOpen) controller.close();
    },
  });
}

async function all(pieces) {
  const events = [];
  for await (const { name, data } of eventsOf(body(pieces))) events.push([name, data]);
  return events;
}

globalThis.window = new EventTarget();
afterEach(() => keepSecret(""));

const STREAM = "event: swarm\ndata: {\"a\":\"é日\"}\n\n:\n\nevent: log\r\ndata: one\r\ndata:two\r\n\r\ndata\n\nevent: cut\ndata: off";

test("events are read, however the bytes are cut", async () => {
  const expected = [["swarm", "{\"a\":\"é日\"}"], ["log", "one\ntwo"], ["", ""]];
  assert.deepEqual(await all([STREAM]), expected);
  const bytes = new TextEncoder().encode(STREAM);
  for (let at = 1; at < bytes.length; at++) assert.deepEqual(await all([bytes.slice(0, at), bytes.slice(at)]), expected, `${at}`);
  assert.deepEqual(await all([...bytes].map((byte) => Uint8Array.of(byte))), expected);
});

test("an event without an end is not read for ever", async () => {
  const piece = new Uint8Array(1 << 20).fill(0x61);
  await assert.rejects(all(Array(20).fill(piece)), /without an end/);
});

/** Answers to calls, in order; what was asked. */
function tracker(context, ...answers) {
  const asked = [];
  context.mock.method(globalThis, "fetch", async (path, { method, headers, credentials }) => {
    asked.push({ what: `${method} ${path}`, secret: headers["Session-Secret"], credentials });
    return answers.shift() ?? Response.json({});
  });
  return asked;
}

test("s15 the secret and the cookie go with the admin's calls and with no others", async (context) => {
  const asked = tracker(context);
  keepSecret("SECRET");
  await adminCall("GET", "/v1/peers");
  await call("GET", "/healthz");
  await call("GET", "/v1/shares/x", { bearer: "ACCESS" });
  keepSecret("");
  await adminCall("POST", "/v1/session", { json: { token: "t" } });
  assert.deepEqual(asked, [
    { what: "GET /v1/peers", secret: "SECRET", credentials: "same-origin" },
    { what: "GET /healthz", secret: undefined, credentials: "omit" },
    { what: "GET /v1/shares/x", secret: undefined, credentials: "omit" },
    { what: "POST /v1/session", secret: undefined, credentials: "same-origin" },
  ]);
});

test("a tab without the secret gets it from another", async () => {
  await askOtherTabs();
  assert.equal(sessionSecret(), "", "there is none");
  // The other tab.
  const other = new BroadcastChannel("parcelry.session");
  other.onmessage = ({ data }) => {
    if (data === "who is signed in?") other.postMessage({ secret: "SECRET" });
  };
  await askOtherTabs();
  other.close();
  assert.equal(sessionSecret(), "SECRET");
});

test("a tab with the secret gives it to another that asks", async () => {
  keepSecret("SECRET");
  const mine = answerOtherTabs();
  const other = new BroadcastChannel("parcelry.session");
  const answer = new Promise((resolve) => { other.onmessage = ({ data }) => resolve(data); });
  other.postMessage("who is signed in?");
  assert.deepEqual(await answer, { secret: "SECRET" });
  other.close();
  mine.close();
});

const stream = (pieces, isOpen) => new Response(body(pieces, isOpen), { headers: { "Content-Type": "text/event-stream" } });

/** Listens; what is told, and how to wait for some of it. */
function listening(context) {
  const one = { told: [], ended: 0 };
  one.stop = listen((event) => one.told.push(event.type), () => { one.ended += 1; });
  context.after(one.stop);
  one.until = async (condition) => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  return one;
}

test("s15 the stream shows the secret, tells what comes, and comes back when it breaks off", async (context) => {
  const asked = tracker(context, stream(["event: swarm\ndata: {\"x\":\"a\\u0000\"}\n\nevent: other\ndata: {}\n\n"]), stream(["event: log\ndata: {}\n\n"], true));
  keepSecret("SECRET");
  const one = listening(context);
  await one.until(() => one.told.includes("log"));
  assert.deepEqual(one.told, ["opened", "swarm", "lost", "opened", "log"]);
  assert.deepEqual(asked, Array(2).fill({ what: "GET /v1/events", secret: "SECRET", credentials: "same-origin" }));
});

test("a refused stream ends the session, and is not asked for again", async (context) => {
  const asked = tracker(context, problem("access-denied", 403));
  const one = listening(context);
  await one.until(() => one.ended === 1);
  assert.deepEqual(one.told, []);
  assert.equal(asked.length, 1);
});

test("a tracker that is busy is asked again", async (context) => {
  tracker(context, problem("too-many-requests", 429), stream([], true));
  const one = listening(context);
  await one.until(() => one.told.includes("opened"));
  assert.deepEqual(one.told, ["lost", "opened"]);
  assert.equal(one.ended, 0);
});
