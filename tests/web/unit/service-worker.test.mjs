// The service worker, with a clock and a page that are the test's: what it hands on, and when it gives a page up.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { runInNewContext } from "node:vm";

const script = readFileSync(new URL("../../../web/sw.js", import.meta.url), "utf8");
const bytes = (length) => new Uint8Array(length);

/** A service worker that was offered a download of so many bytes, which the browser has begun to read. */
async function begun(length) {
  const listeners = {};
  const said = [];
  const clock = { nowMs: 1_000_000, round: () => {} };
  const setInterval = (round) => (clock.round = round);
  runInNewContext(script, {
    self: { addEventListener: (type, listener) => (listeners[type] = listener) },
    Date: { now: () => clock.nowMs }, setInterval, clearInterval: () => {}, setTimeout: () => {},
    ReadableStream, Response, Uint8Array, URL,
  });
  const port = { postMessage: (word) => said.push(word) };
  const message = (data, ports) => listeners.message({ data, ports, waitUntil: () => {} });
  message({ type: "offer", id: "a", name: "n", length }, [port, { postMessage: () => {} }]);
  let response;
  listeners.fetch({ request: { url: "https://drop/download/a", method: "GET" }, respondWith: (given) => (response = given) });
  const got = response.arrayBuffer().then((buffer) => buffer.byteLength, (error) => error.name);
  return {
    got, said,
    alive: () => message({ type: "alive", id: "a" }),
    send: (data) => port.onmessage({ data }),
    /** Its watch goes round once after so long. */
    pass: (ms) => {
      clock.nowMs += ms;
      clock.round();
    },
  };
}

test("what the page sends arrives, and its end is told", async () => {
  const { got, said, send } = await begun(5);
  send(bytes(2));
  send(bytes(3));
  send("end");
  assert.equal(await got, 5);
  assert.equal(said.at(-1), "ended");
});

for (const [what, sent] of [["more", [bytes(6)]], ["fewer", [bytes(4), "end"]]]) {
  test(`a download of ${what} bytes than were announced fails`, async () => {
    const { got, said, send } = await begun(5);
    for (const data of sent) send(data);
    assert.equal(await got, "TypeError");
    assert.equal(said.at(-1), "failed");
  });
}

test("a page that is silent for long is given up, and it is not told that the user did", async () => {
  const { got, said, pass } = await begun(5);
  for (let second = 0; second < 35; second += 5) pass(5000);
  assert.equal(await got, "TypeError");
  assert.ok(said.includes("failed") && !said.includes("cancelled"));
});

for (const sign of ["alive", "send"]) {
  test(`a page is not given up while it gives signs of life by ${sign}`, async () => {
    const { got, said, pass, ...page } = await begun(100);
    for (let second = 0; second < 300; second += 5) {
      if (second % 20 === 0) page[sign](bytes(1));
      pass(5000);
    }
    assert.ok(!said.includes("failed"));
    page.send(bytes(sign === "send" ? 85 : 100));
    page.send("end");
    assert.equal(await got, 100);
  });
}

test("a page has time to come back after the machine slept", async () => {
  const { said, pass, alive } = await begun(5);
  pass(5000);
  pass(3_600_000);
  pass(5000);
  alive();
  pass(5000);
  assert.ok(!said.includes("failed"));
});
