// An authority that only a test knows, and browsers that trust it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { run } from "./swarm.mjs";

/** An authority's certificate, and a tracker's for 127.0.0.1 that it signed. */
export async function makeAuthority(folder) {
  const [authority, own, chain, key] = ["authority.pem", "authority.key", "chain.pem", "key.pem"].map((name) => join(folder, name));
  const make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "3"];
  const extensions = (...all) => all.flatMap((extension) => ["-addext", extension]);
  await succeeds("openssl", [
    ...make, "-keyout", own, "-out", authority, "-subj", "/CN=authority of a test",
    ...extensions("keyUsage=critical,keyCertSign"),
  ]);
  await succeeds("openssl", [
    ...make, "-keyout", key, "-out", chain, "-subj", "/CN=tracker of a test", "-CA", authority, "-CAkey", own,
    ...extensions("subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:false", "extendedKeyUsage=serverAuth"),
  ]);
  return { authority, chain, key };
}

/** Adds the authority to those that a browser knows by the database in this folder, which is made. */
export async function trust(authority, folder) {
  const database = ["-d", `sql:${folder}`];
  await succeeds("certutil", ["-N", ...database, "--empty-password"]);
  await succeeds("certutil", ["-A", ...database, "-n", "authority of a test", "-t", "C,,", "-i", authority]);
}

async function succeeds(program, args) {
  const { code, stdout, stderr } = await run(program, args);
  assert.equal(code, 0, `${program} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}
