// The operator's actions, against a tracker that answers when each test says, on a page that is hardly one.

import assert from "node:assert/strict";
import { test } from "node:test";

import { makeActions } from "../../../web/js/admin/actions.js";
import { ask } from "../../../web/js/admin/dialog.js";
import { initial, reduce } from "../../../web/js/admin/state.js";
import { problem } from "./support.mjs";

/** Until everything that could happen has. */
const settled = () => new Promise((resolve) => setTimeout(resolve));

/** Elements by id, made when they are asked for. */
function page(context) {
  const elements = new Map();
  const make = () => ({
    textContent: "", open: false, focus() {}, showModal() { this.open = true; }, close() { this.open = false; },
  });
  const getElementById = (id) => elements.get(id) ?? elements.set(id, make()).get(id);
  globalThis.document = { getElementById };
  context.after(() => { delete globalThis.document; });
  return getElementById;
}

/** Somebody who is signed in, and the calls that wait for their answers, by method and path. */
function signedIn(context) {
  const at = page(context);
  const calls = [];
  context.mock.method(globalThis, "fetch", (path, { method }) => new Promise((resolve) => {
    calls.push({ what: `${method} ${path}`, answer: (said) => resolve(said instanceof Response ? said : Response.json(said)) });
  }));
  const one = { at, calls, state: initial, ended: 0 };
  one.actions = makeActions((event) => { one.state = reduce(one.state, event); }, () => one.state, () => { one.ended += 1; });
  /** Answers the next call once it is made. */
  one.answer = async (what, said) => {
    await settled();
    const call = calls.shift();
    assert.equal(call?.what, what);
    call.answer(said);
    await settled();
  };
  return one;
}

/** So many shares from a number on, as the tracker lists them. */
const shares = (from, count, next) => ({ shares: Array.from({ length: count }, (_, at) => ({ share: `s${from + at}` })), next });
const FIRST = "GET /v1/shares?limit=100";

test("clicking twice for more shares loads two pages, none of them twice", async (context) => {
  const one = signedIn(context);
  one.actions.loadShares();
  await one.answer(FIRST, shares(0, 100, "s99"));
  one.actions.loadMoreShares();
  one.actions.loadMoreShares();
  await one.answer(`${FIRST}&after=s99`, shares(100, 100, "s199"));
  await one.answer(`${FIRST}&after=s199`, shares(200, 5, null));
  assert.deepEqual(one.state.shares.rows, shares(0, 205).shares);
});

test("loading again while more are loaded keeps them", async (context) => {
  const one = signedIn(context);
  one.actions.loadShares();
  await one.answer(FIRST, shares(0, 100, "s99"));
  one.actions.loadMoreShares();
  one.actions.loadShares();
  await one.answer(`${FIRST}&after=s99`, shares(100, 100, null));
  await one.answer(FIRST, shares(0, 100, "s99"));
  await one.answer(`${FIRST}&after=s99`, shares(100, 100, null));
  assert.deepEqual(one.state.shares.rows, shares(0, 200).shares);
});

test("an answer that comes after signing out is thrown away, and does not hold up who signs in next", async (context) => {
  const one = signedIn(context);
  let secret = "";
  one.actions.loadShares();
  one.actions.loadMoreShares();
  one.actions.makeInvite({ role: "peer", name: "nas", expires_ms: null }, (invite) => { secret = invite; });
  await settled();
  const late = one.calls.splice(0);
  assert.deepEqual(late.map(({ what }) => what), ["POST /v1/invites", FIRST]);
  one.actions.leave();
  one.actions.loadShares();
  await one.answer(FIRST, shares(7, 1, null));
  const { state } = one;
  late[0].answer({ invite: "secret" });
  late[1].answer(shares(0, 100, "s99"));
  await settled();
  assert.equal(one.state, state);
  assert.equal(secret, "");
  assert.equal(one.calls.length, 0);
  for (const id of ["shares-problem", "invite-problem"]) assert.equal(one.at(id).textContent, "");
});

test("only a refusal of this session ends it", async (context) => {
  const one = signedIn(context);
  one.actions.loadInvites();
  await settled();
  const [late] = one.calls.splice(0);
  one.actions.leave();
  late.answer(problem("access-denied", 403));
  await settled();
  assert.equal(one.ended, 0);
  one.actions.loadInvites();
  await one.answer("GET /v1/invites", problem("access-denied", 403));
  assert.equal(one.ended, 1);
});

test("what fails is told beside it", async (context) => {
  const one = signedIn(context);
  one.actions.loadInvites();
  await one.answer("GET /v1/invites", problem("internal", 500));
  assert.match(one.at("invite-problem").textContent, /did not work: internal/);
});

test("an answer closes or changes its own question only", async (context) => {
  const at = page(context);
  const question = (title) => ({ title, text: "", action: "Yes" });
  for (const fails of [false, true]) {
    let done;
    ask(question("first"), () => new Promise((resolve, reject) => { done = fails ? reject : resolve; }));
    const working = at("confirm-yes").onclick();
    at("confirm").close(); // with the Escape key
    ask(question("second"), async () => {});
    done(new Error("no"));
    await working;
    assert.equal(at("confirm").open, true);
    assert.equal(at("confirm-title").textContent, "second");
    assert.equal(at("confirm-problem").textContent, "");
    await at("confirm-yes").onclick();
    assert.equal(at("confirm").open, false);
  }
});
