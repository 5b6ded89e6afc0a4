// Links that were made on the command line, opened in browsers as people have them: over TLS, with the tracker's own
// certificate or an authority's.
import assert from "node:assert/strict";
import { kinds } from "./browser.mjs";
import { makeAuthority } from "./certificates.mjs";
import { Chromium } from "./chromium.mjs";
import { Firefox } from "./firefox.mjs";
import { check } from "./harness.mjs";
import { GetPage } from "./pages.mjs";
import { writeRandom } from "./samples.mjs";
import { run, sha256OfFile, until } from "./swarm.mjs";

// When it is given up: machines may be busy.
const STEP_MS_MAX = 60_000;
const TEST_MS_MAX = 240_000;

/**
 * What each says of the tracker's own certificate; and how it saves a file, by what it can (one of `kinds`, or all that
 * it can), with that certificate and with an authority's.
 */
const browsers = [
  { Kind: Firefox, warning: /SELF_SIGNED_CERT/, own: [[null, "service worker"]], known: [[null, "service worker"]] },
  {
    Kind: Chromium,
    warning: /ERR_CERT_AUTHORITY_INVALID/,
    own: [["file system", "file system"], ["service worker", "memory"]],
    known: [["file system", "file system"], ["service worker", "service worker"]],
  },
];

for (const { Kind, warning, own, known } of browsers) {
  check(`w9 ${Kind.name}: the warning of the tracker's own certificate can be clicked away, and the page works`, async (stage) => {
    const { swarm, link, source } = await shared(stage);
    assert.equal(swarm.tracker.ready.browsers_warn, true);
    const browser = await stage.browser(Kind);
    assert.match(await browser.goto(link), warning);
    await browser.goOn();
    await shown(browser, "download");
    await shares(browser, swarm, source);
    for (const [kind, way] of own) await gets(browser, link, source, kind, way);
  }, { timeoutMs: TEST_MS_MAX });

  check(`w9 ${Kind.name}: with the certificate of an authority that it trusts the page works without a warning`, async (stage) => {
    const certificate = await makeAuthority(await stage.folder());
    const { swarm, link, source } = await shared(stage, { certificate });
    assert.equal(swarm.tracker.ready.browsers_warn, false);
    const browser = await stage.browser(Kind, certificate);
    for (const [kind, way] of known) await gets(browser, link, source, kind, way);
    await shares(browser, swarm, source);
  }, { timeoutMs: TEST_MS_MAX });
}

check("w9 whoever offers what browsers do is shown a certificate, and asked for none", async (stage) => {
  const swarm = await stage.swarm({ peers: 0 });
  const shakesHands = async (...offers) => {
    const { code, stdout, stderr } = await run("openssl", ["s_client", "-connect", swarm.tracker.address, ...offers]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const asked = /Requested Signature Algorithms|Client Certificate Types/;
  const said = await shakesHands("-sigalgs", "ECDSA+SHA256");
  assert.match(said, /BEGIN CERTIFICATE/);
  assert.match(said, /Peer signature type: ECDSA/);
  assert.match(said, /No client certificate CA names sent/);
  assert.doesNotMatch(said, asked);
  assert.match(await shakesHands("-alpn", "parcelry/1"), asked, "that is how a question is seen");
});

async function shared(stage, options) {
  const swarm = await stage.swarm(options);
  const alice = await swarm.person();
  const source = alice.path("sample.bin");
  await writeRandom(source, 5_400_000);
  return { swarm, source, link: await alice.share(source) };
}

/** Gets what the link leads to, in a browser of that kind, which saves it that way. */
async function gets(browser, link, source, kind, way) {
  // From elsewhere: a link to the page that is there changes but its fragment.
  await browser.goto("about:blank");
  assert.equal(await browser.goto(link), "");
  if (kind) await browser.evaluate(kinds[kind]);
  await click(browser, "download");
  assert.match(await shown(browser, "outcome"), /Every byte was checked/);
  assert.equal(await saved(browser, way), await sha256OfFile(source));
}

/** The hash of what was saved, if it was saved that way. */
async function saved(browser, way) {
  if (way === "file system") return new GetPage(browser.page).savedFile("sample.bin");
  const { url, path } = await browser.download();
  assert.equal(url.startsWith("blob:") ? "memory" : "service worker", way, url);
  return sha256OfFile(path);
}

/** Shares the file in the page, and gets it on the command line. */
async function shares(browser, swarm, source) {
  assert.equal(await browser.goto(swarm.senderInvite), "");
  await shown(browser, "token-kept");
  await browser.choose("file-input", source);
  await click(browser, "share-start");
  await shown(browser, "done");
  const link = await browser.evaluate(() => document.getElementById("done-link").value);
  const bob = await swarm.person();
  await bob.get(link);
  assert.equal(await sha256OfFile(bob.path("sample.bin")), await sha256OfFile(source));
}

/** What the element says, once it is to be seen. */
function shown(browser, id) {
  const text = (id) => {
    const element = document.getElementById(id);
    return element?.checkVisibility() && element.innerText;
  };
  return until(`${id} is shown`, () => browser.evaluate(text, id), STEP_MS_MAX);
}

/** Clicks on a button, once it is to be seen. */
async function click(browser, id) {
  await shown(browser, id);
  await browser.evaluate((id) => document.getElementById(id).click(), id);
}
