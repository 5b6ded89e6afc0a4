// The operator looks at the swarm, and acts on it.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { check } from "./harness.mjs";
import { Dashboard } from "./pages.mjs";
import { exists, shareOf, until } from "./swarm.mjs";

async function signedIn(stage, options) {
  const swarm = await stage.swarm(options);
  const visitor = await stage.visitor();
  const dashboard = await Dashboard.open(swarm, visitor);
  await dashboard.signIn(swarm.adminToken);
  return { swarm, visitor, dashboard };
}

check("a killed peer is shown as suspect, then dead, and as alive when it is back", async (stage, context) => {
  const { swarm, dashboard } = await signedIn(stage, { peers: 3 });
  await dashboard.waitForFigures({ alive: 3, suspect: 0, dead: 0 });
  const start = performance.now();
  await swarm.peers[1].kill();
  await dashboard.peer("p1").getByText(/suspect|dead/).waitFor();
  context.diagnostic(`shown as suspect after ${(performance.now() - start).toFixed(0)} ms`);
  await dashboard.peer("p1").getByText("dead").waitFor();
  context.diagnostic(`shown as dead after ${(performance.now() - start).toFixed(0)} ms`);
  await dashboard.waitForFigures({ alive: 2, suspect: 0, dead: 1 });
  await dashboard.log.getByText("p1 is taken for dead").waitFor();
  await swarm.addPeer(1);
  await dashboard.peer("p1").getByText("alive").waitFor();
  await dashboard.waitForFigures({ alive: 3, dead: 0 });
});

check("a dead peer is forgotten on request", async (stage) => {
  const { swarm, dashboard } = await signedIn(stage);
  await swarm.peers[1].kill();
  await dashboard.peer("p1").getByText("dead").waitFor();
  await dashboard.peer("p1").getByRole("button", { name: /forget/i }).click();
  await dashboard.confirm();
  await dashboard.peer("p1").waitFor({ state: "detached" });
});

check("a peer is drained, and let fill again", async (stage) => {
  const { swarm, dashboard } = await signedIn(stage, { peers: 3 });
  const alice = await swarm.person();
  await alice.share(await alice.write("a.bin", randomBytes(300_000)), "--replicas", "3");
  await dashboard.peer("p0").getByRole("button", { name: /^drain/i }).click();
  await dashboard.peer("p0").getByText("draining", { exact: true }).waitFor();
  const listed = async () => (await (await swarm.ask("GET", "/v1/peers", { bearer: swarm.adminToken })).json()).peers;
  assert.ok((await listed()).find((peer) => peer.name === "p0").draining !== null);
  await dashboard.peer("p0").getByRole("button", { name: /stop draining/i }).click();
  await dashboard.peer("p0").getByText("alive").waitFor();
});

check("a share is listed with its size, and deleted", async (stage) => {
  const { swarm, dashboard } = await signedIn(stage);
  const alice = await swarm.person();
  const link = await alice.share(await alice.write("a.bin", randomBytes(300_000)));
  await dashboard.at("shares-reload").click();
  const row = dashboard.share(shareOf(link));
  await row.getByText("healthy").waitFor();
  await row.getByText("2 of 2").waitFor();
  await row.getByRole("button", { name: /copy/i }).click();
  // A browser may refuse to copy: then the id stands there.
  const said = () => dashboard.at("announcer").textContent();
  await until("it is told", async () => ["Copied", shareOf(link)].includes(await said()));
  await row.getByRole("button", { name: /delete/i }).click();
  await dashboard.confirm();
  await row.waitFor({ state: "detached" });
  const bob = await swarm.person();
  assert.equal((await bob.run("get", link)).code, 4);
  assert.ok(!(await exists(bob.path("a.bin"))));
});

check("an invite is made, works, and is revoked", async (stage) => {
  const { swarm, dashboard } = await signedIn(stage);
  const invite = await dashboard.makeInvite("sender", "alice");
  assert.match(invite, /^https:\/\/127\.0\.0\.1:\d+\/join#1\.[\w-]{43}\.[\w-]{43}$/);
  const alice = await swarm.person();
  alice.invite = invite;
  await alice.share(await alice.write("a.txt", "hello"));
  await dashboard.invite("alice").getByRole("button", { name: /revoke/i }).click();
  await dashboard.confirm();
  await dashboard.invite("alice").getByText("revoked").waitFor();
  assert.equal((await alice.run("share", await alice.write("b.txt", "hello"))).code, 10);
});

check("an invite without an end is offered for senders only", async (stage) => {
  const { dashboard } = await signedIn(stage);
  const never = dashboard.at("invite-life").locator("option", { hasText: "never" });
  assert.ok(await never.isDisabled());
  await dashboard.at("invite-role").selectOption("sender");
  await dashboard.at("invite-life").selectOption("");
  await dashboard.makeInvite("sender", "alice");
  await dashboard.invite("alice").getByText("never").waitFor();
  await dashboard.at("invite-role").selectOption("peer");
  assert.ok(await never.isDisabled());
  assert.equal(await dashboard.at("invite-life").inputValue(), "7");
});

check("an invite is made with bounds, and shows what of them is used", async (stage) => {
  const { swarm, dashboard } = await signedIn(stage);
  assert.ok(!(await dashboard.at("invite-quota").isVisible()), "peers have no quota");
  await dashboard.at("invite-role").selectOption("sender");
  assert.ok(!(await dashboard.at("invite-count").isVisible()), "a sender is one");
  await dashboard.at("invite-quota").fill("0.5");
  await dashboard.at("invite-replicas-max").fill("2");
  const alice = await swarm.person();
  alice.invite = await dashboard.makeInvite("sender", "alice");
  await dashboard.invite("alice").getByText(/0 B of 500 MB in all, 2 copies at most/).waitFor();
  assert.equal(await dashboard.at("invite-quota").inputValue(), "");
  await alice.share(await alice.write("a.txt", "x".repeat(1_000_000)));
  await dashboard.makeInvite("sender", "bob");
  await dashboard.invite("alice").getByText(/2(\.0)? MB of 500 MB in all, 1 share/).waitFor();
});

check("an invite that ends while it is shown is told to be over", async (stage) => {
  const swarm = await stage.swarm();
  const dashboard = await Dashboard.open(swarm, await stage.visitor());
  const json = { role: "sender", name: "alice", expires_ms: Date.now() + 12_000 };
  assert.equal((await swarm.ask("POST", "/v1/invites", { bearer: swarm.adminToken, json })).status, 200);
  await dashboard.signIn(swarm.adminToken);
  await dashboard.invite("alice").getByText("good").waitFor();
  await dashboard.invite("alice").getByText("over").first().waitFor();
});

check("a wrong token is refused", async (stage) => {
  const swarm = await stage.swarm();
  const visitor = await stage.visitor();
  const dashboard = await Dashboard.open(swarm, visitor);
  for (const token of ["wrong", randomBytes(32).toString("base64url"), swarm.senderToken]) {
    await dashboard.trySignIn(token);
    await until("the page says so", async () => /does not take/.test(await dashboard.at("sign-in-problem").innerText()));
  }
  assert.ok(!(await dashboard.at("dashboard").isVisible()));
  await dashboard.signIn(swarm.adminToken);
});

check("signing out ends the session", async (stage) => {
  const { swarm, visitor, dashboard } = await signedIn(stage);
  const [cookie] = await visitor.context.cookies();
  assert.equal(cookie.name, "parcelry_session");
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");
  const secret = await visitor.page.evaluate(() => sessionStorage.getItem("parcelry.session"));
  const headers = { cookie: `${cookie.name}=${cookie.value}`, "session-secret": secret };
  assert.equal((await swarm.ask("GET", "/v1/session", { headers })).status, 204);
  await visitor.page.reload();
  await dashboard.waitUntilShown();
  await dashboard.signOut();
  assert.equal((await swarm.ask("GET", "/v1/session", { headers })).status, 403, "the old cookie opens nothing");
  await visitor.page.reload();
  await visitor.page.locator("#token").waitFor();
});

check("another tab of the page is signed in, too", async (stage) => {
  const { swarm, visitor } = await signedIn(stage);
  const page = await visitor.context.newPage();
  await page.goto(`${swarm.origin}/admin`);
  await new Dashboard(page).waitUntilShown();
});

check("whoever could not sign out is told so, and stays signed in", async (stage) => {
  const { visitor, dashboard } = await signedIn(stage);
  visitor.wire.refuses = ({ method }) => method === "DELETE";
  await dashboard.at("sign-out").click();
  await dashboard.at("sign-out-problem").getByText("you are still signed in").waitFor();
  assert.ok(await dashboard.at("dashboard").isVisible());
  visitor.wire.refuses = undefined;
  await dashboard.signOut();
  assert.ok(!(await dashboard.at("sign-out-problem").isVisible()));
});

check("the admin's token stays out of the page's memory and storage", async (stage) => {
  const { swarm, visitor } = await signedIn(stage);
  const kept = await visitor.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
  assert.ok(!kept.includes(swarm.adminToken));
  assert.equal(await visitor.page.locator("#token").inputValue(), "");
});

check("a lost connection to the tracker is told, and comes back by itself", async (stage) => {
  const { visitor, dashboard } = await signedIn(stage);
  await dashboard.waitForFigures({ alive: 2 });
  visitor.wire.cut();
  await visitor.page.locator("#connection").getByText(/lost/i).waitFor();
  visitor.wire.mend();
  await visitor.page.locator("#connection").waitFor({ state: "hidden", timeout: 40_000 });
});
