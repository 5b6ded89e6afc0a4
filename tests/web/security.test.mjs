// Names are text, whatever is in them; the page loads nothing from elsewhere, and nobody else drives it.
// Every test of this folder checks besides: no dialog, no violation of the policy, the headers of every
// answer, no request to elsewhere, no secret on the wire.
import assert from "node:assert/strict";
import { check } from "./harness.mjs";
import { policy } from "./browser.mjs";
import { Dashboard, GetPage, SharePage } from "./pages.mjs";
import { hostileNames } from "./samples.mjs";
import { run, until } from "./swarm.mjs";

/** Elements that a name would have made, had it been taken for markup. */
const injected = (page) => page.locator("img[src=x], svg[onload], [onerror], script:not([src])").count();

check("w1 names of files and folders are shown as they are", async (stage) => {
  const swarm = await stage.swarm();
  const alice = await swarm.person();
  for (const [number, name] of hostileNames.entries()) await alice.write(`${hostileNames[0]}/${number}/${name}`, "x");
  const link = await alice.share(alice.path(hostileNames[0]));
  const page = await GetPage.open(swarm, await stage.visitor(), link);
  for (const name of hostileNames.flatMap((name) => name.split("/"))) assert.ok((await page.text()).includes(name), name);
  await page.download();
  await page.waitUntilDone();
  assert.equal(await injected(page.page), 0);
});

check("w1 a file's own name is shown as it is", async (stage) => {
  const swarm = await stage.swarm();
  const [alice, visitor] = [await swarm.person(), await stage.visitor()];
  for (const name of hostileNames.filter((name) => !name.includes("/"))) {
    const page = await GetPage.open(swarm, visitor, await alice.share(await alice.write(name, "x")));
    assert.ok((await page.text()).includes(name), name);
    assert.equal(await injected(page.page), 0);
  }
});

check("w1 names of peers and invites are shown as they are", async (stage) => {
  const swarm = await stage.swarm({ peers: hostileNames.map((name) => ({ name, zone: name })) });
  const visitor = await stage.visitor();
  const dashboard = await Dashboard.open(swarm, visitor);
  await dashboard.signIn(swarm.adminToken);
  await dashboard.waitForFigures({ alive: hostileNames.length });
  for (const name of hostileNames) await dashboard.peer(name).first().waitFor();
  for (const name of hostileNames) {
    await dashboard.makeInvite("sender", name);
    await dashboard.invite(name).first().waitFor();
  }
  await swarm.peers[0].kill();
  await dashboard.log.getByText("is taken for dead").waitFor();
  assert.ok((await dashboard.log.innerText()).includes(hostileNames[0]));
  assert.equal(await injected(visitor.page), 0);
});

check("w1 names of what is dropped for sharing are shown as they are", async (stage) => {
  const swarm = await stage.swarm({ peers: hostileNames.slice(0, 2).map((name) => ({ name })) });
  const alice = await swarm.person();
  const files = [];
  for (const name of hostileNames.filter((name) => !name.includes("/"))) files.push(await alice.write(name, "x"));
  const page = await SharePage.open(swarm, await stage.visitor());
  await page.choose(files);
  for (const file of files) assert.ok((await page.text()).includes(file.split("/").at(-1)), file);
  await page.share();
  await page.link();
  assert.ok((await page.text()).includes(hostileNames[0]), "the peer that holds it");
  assert.equal(await injected(page.page), 0);
});

check("w2 a foreign site cannot use the operator's session", async (stage) => {
  const swarm = await stage.swarm();
  const visitor = await stage.visitor();
  const dashboard = await Dashboard.open(swarm, visitor);
  await dashboard.signIn(swarm.adminToken);
  const [cookie] = await visitor.context.cookies();
  const peers = await (await swarm.ask("GET", "/v1/peers", { bearer: swarm.adminToken })).json();
  const id = peers.peers[0].id;
  const secret = await visitor.page.evaluate(() => sessionStorage.getItem("parcelry.session"));
  const as = (method, path, headers, json) => swarm.ask(method, path, { json, headers: { cookie: `${cookie.name}=${cookie.value}`, ...headers } });
  const whole = { "session-secret": secret };
  const changes = [
    ["PUT", `/v1/peers/${id}/drain`, { draining: true }],
    ["DELETE", `/v1/peers/${id}`],
    ["DELETE", `/v1/shares/${id}`],
    ["POST", "/v1/invites", { role: "sender", name: "evil", expires_ms: null }],
    ["DELETE", "/v1/invites/1"],
    ["DELETE", "/v1/session"],
  ];
  const elsewhere = [{ "sec-fetch-site": "cross-site" }, { "sec-fetch-site": "same-site" }, { origin: "https://evil.example" }, { origin: "null" }, {}];
  // With the secret it is still another site; without it, not even our own page.
  for (const headers of [...elsewhere.map((one) => ({ ...one, ...whole })), ...elsewhere, { "sec-fetch-site": "same-origin" }]) {
    for (const [method, path, json] of changes) {
      const { status } = await as(method, path, { ...headers }, json);
      assert.equal(status, 403, `${method} ${path} ${JSON.stringify(headers)}`);
    }
  }
  const after = await (await swarm.ask("GET", "/v1/peers", { bearer: swarm.adminToken })).json();
  assert.deepEqual(after.peers.map((peer) => [peer.id, peer.draining ?? null]).sort(), peers.peers.map((peer) => [peer.id, peer.draining ?? null]).sort());
});

check("w4 every page has the policy and cannot be framed or read by others", async (stage) => {
  const swarm = await stage.swarm();
  for (const path of ["/", "/admin", "/join", `/s/${"A".repeat(43)}`, "/web/style.css", "/web/icon.svg", "/web/js/page/dom.js", "/sw.js"]) {
    const { status, headers } = await swarm.ask("GET", path, { headers: { origin: "https://evil.example" } });
    assert.equal(status, 200, path);
    assert.equal(headers.get("content-security-policy"), policy, path);
    assert.equal(headers.get("x-frame-options"), "DENY", path);
    assert.equal(headers.get("x-content-type-options"), "nosniff", path);
    assert.equal(headers.get("cache-control"), "no-store", path);
    assert.equal(headers.get("cross-origin-opener-policy"), "same-origin", path);
    assert.equal(headers.get("access-control-allow-origin"), null, path);
  }
  for (const path of ["/web/../Cargo.toml", "/web/%2e%2e/Cargo.toml", "/web//etc/passwd", "/web/", "/sw.js/x"]) {
    assert.notEqual((await swarm.ask("GET", path)).status, 200, path);
  }
});

check("w3 a name that is not the tracker's gets no page", async (stage) => {
  const swarm = await stage.swarm();
  const ran = await run("python3", ["-c", `
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1])
connection.request("GET", "/admin", headers={"Host": "evil.example"})
print(connection.getresponse().status)`, swarm.tracker.address]);
  assert.match(ran.stdout, /^(421|403)\n$/);
});

for (const [name, open] of Object.entries({
  sharing: async (swarm, visitor) => {
    const alice = await swarm.person();
    const { page } = await SharePage.open(swarm, visitor);
    const firstPaint = await painted(page);
    await new SharePage(page).choose([await alice.write("a.txt", "hello")]); // still before a transfer
    return { page, firstPaint };
  },
  getting: async (swarm, visitor) => {
    const alice = await swarm.person();
    const { page } = await GetPage.open(swarm, visitor, await alice.share(await alice.write("a.txt", "hello")));
    return { page, firstPaint: await painted(page) };
  },
  operating: async (swarm, visitor) => {
    const dashboard = await Dashboard.open(swarm, visitor);
    const firstPaint = await painted(dashboard.page);
    await dashboard.signIn(swarm.adminToken);
    return { page: dashboard.page, firstPaint };
  },
})) {
  check(`the page for ${name} is light, and no script blocks its first paint`, async (stage, context) => {
    const swarm = await stage.swarm();
    const visitor = await stage.visitor();
    const { page, firstPaint } = await open(swarm, visitor);
    const files = visitor.wire.requests.filter(({ url }) => url.startsWith(swarm.origin) && !url.includes("/v1/"));
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const blocking = await page.evaluate(() => [...document.scripts].filter((script) => script.type !== "module").length);
    context.diagnostic(`${bytes} bytes in ${files.length} files, first paint after ${firstPaint.toFixed(0)} ms`);
    assert.ok(bytes < 160_000, `${bytes} bytes`);
    assert.equal(blocking, 0);
  });
}

const painted = (page) =>
  until("the first paint", () => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime));
