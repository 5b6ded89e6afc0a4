// Links and invites: what the project's vectors hold, and what is refused.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeHex } from "../../../web/js/format/hex.js";
import { formatLink, isId, parseFragment, parseInvite, parseLink } from "../../../web/js/format/link.js";
import { golden, hex, vectors } from "./support.mjs";

const [{ link, share_id: share }] = vectors;
const [address, fragment] = link.split("#");
const [version, secret, trackerId] = fragment.split(".");

test("links of the vectors are read, and written again", () => {
  for (const vector of vectors) {
    const read = parseLink(vector.link);
    assert.equal(read.host, "tracker.example:9090");
    assert.equal(hex(read.secret), vector.secret);
    assert.equal(formatLink({ ...read, origin: `https://${read.host}` }), vector.link);
  }
  assert.equal(parseLink(`${address}#${version}.${secret}`).trackerId, null);
});

test("invites of the vectors are read", () => {
  for (const { invite, token } of golden.invites) {
    const read = parseInvite(invite);
    assert.equal(Buffer.from(read.token, "base64url").toString("hex"), token);
    assert.ok(isId(read.trackerId));
  }
  assert.equal(parseInvite(golden.invites[1].invite).host, "tracker.example");
});

test("a link always starts with https, and names no port 443", () => {
  const parts = { share, secret: decodeHex("00".repeat(32)), trackerId: null };
  const start = (origin) => formatLink({ ...parts, origin }).split("/s/")[0];
  assert.equal(start("https://a.example"), "https://a.example");
  assert.equal(start("http://localhost:9090"), "https://localhost:9090");
  assert.equal(start("http://localhost"), "https://localhost:80");
  assert.equal(start("https://[::1]:9090"), "https://[::1]:9090");
});

test("what is wrong with a link is named", () => {
  for (const [text, kind] of [
    [link.replace("https", "http"), "scheme"],
    [`ftp://x/s/a#1.${secret}`, "scheme"],
    [link.replace("tracker.example", "user@tracker.example"), "host"],
    [link.replace("tracker.example:9090", "tracker.example:0"), "host"],
    [link.replace("tracker.example:9090", "tracker.example:65536"), "host"],
    [link.replace("tracker.example:9090", "tracker.example:09"), "host"],
    [link.replace("tracker.example:9090", "0x7f.1"), "host"],
    [link.replace("tracker.example:9090", ""), "host"],
    [link.replace("/s/", "/x/"), "path"],
    [link.replace("/s/", "/s/?"), "damaged"],
    [address, "no-fragment"],
    [`${address}#`, "no-fragment"],
    [`${address}#2.${secret}`, "version"],
    [`${address}#1`, "damaged"],
    [`${address}#1.${secret.slice(1)}`, "damaged"],
    [`${address}#1.${secret}=`, "damaged"],
    [`${address}#1.${secret.slice(0, -1)}9`, "damaged"],
    [`${link}.x`, "extra"],
    [`${address}#1.${secret}.`, "damaged"],
    [`${link} `, "not-text"],
    [`${link}é`, "not-text"],
    ["x".repeat(1025), "not-text"],
  ]) {
    assert.throws(() => parseLink(text), { name: "LinkError", kind }, text);
  }
  assert.throws(() => parseInvite(link), { kind: "path" });
  assert.throws(() => parseFragment(""), { kind: "no-fragment" });
  assert.equal(parseFragment(fragment).trackerId, trackerId);
});
