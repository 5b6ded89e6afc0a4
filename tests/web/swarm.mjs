// A tracker and peers as real processes on loopback, and people who use the command. They end with the test.
import { spawn } from "node:child_process";
import { createHash, hkdfSync } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));
const binary = process.env.PARCELRY_BIN ?? join(root, "target/release/parcelry");

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts a program that ends with the tests at the latest. */
export function begin(program, args, options) {
  const child = spawn(program, args, options);
  running.add(child);
  child.once("close", () => running.delete(child));
  return child;
}

/** Nothing of this machine's own settings reaches the command. */
const environment = (home, more = {}) => ({ HOME: home, NO_COLOR: "1", RUST_BACKTRACE: "1", ...more });

/** A server process: ready when it has printed its first line. */
class Server {
  static async start(home, args) {
    const server = new Server();
    server.child = begin(binary, [...args, "--json"], { env: environment(home), stdio: ["ignore", "pipe", "pipe"] });
    server.log = "";
    server.ended = new Promise((resolve) => server.child.once("close", resolve));
    server.child.stderr.on("data", (data) => (server.log += data));
    const lines = createInterface({ input: server.child.stdout });
    const first = new Promise((resolve) => lines.once("line", resolve));
    const line = await Promise.race([first, server.ended]);
    if (typeof line !== "string") throw new Error(`${args[0]} did not start:\n${server.log}`);
    server.ready = JSON.parse(line);
    return server;
  }

  get address() {
    return this.ready.address;
  }

  freeze() {
    this.child.kill("SIGSTOP");
  }

  thaw() {
    this.child.kill("SIGCONT");
  }

  /** Kill -9: no farewell. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

/** Somebody who uses the command, with a home and a working folder. */
class Person {
  constructor(home, invite) {
    this.home = home;
    this.work = join(home, "work");
    this.invite = invite;
  }

  path(name) {
    return join(this.work, name);
  }

  async write(name, bytes) {
    await mkdir(dirname(this.path(name)), { recursive: true });
    await writeFile(this.path(name), bytes);
    return this.path(name);
  }

  async read(name) {
    return readFile(this.path(name));
  }

  async run(...args) {
    const env = environment(this.home, { PARCELRY_INVITE: this.invite });
    return run(binary, args, { cwd: this.work, env });
  }

  /** Shares the paths and gives the link. */
  async share(...args) {
    const ran = await this.run("share", ...args);
    if (ran.code !== 0) throw new Error(`share: ${ran.stderr}`);
    return ran.stdout.trim();
  }

  async get(link, ...args) {
    const ran = await this.run("get", link, ...args);
    if (ran.code !== 0) throw new Error(`get: ${ran.stderr}`);
    return ran.stderr;
  }
}

export class Swarm {
  /**
   * A tracker, and so many peers, named p0, p1, …, or a list of peers with `name`, `zone`, `capacity`. `certificate`: one
   * for browsers, as files `chain` and `key`.
   */
  static async start({ peers = 2, flags = ["--heartbeat", "200ms", "--dead-after", "3s"], certificate } = {}) {
    const swarm = new Swarm();
    swarm.folder = await mkdtemp(join(tmpdir(), "parcelry-web-"));
    swarm.peers = [];
    swarm.persons = 0;
    try {
      const data = join(swarm.folder, "tracker");
      if (certificate) flags = [...flags, "--certificate", certificate.chain, "--certificate-key", certificate.key];
      swarm.tracker = await Server.start(swarm.folder, ["tracker", "--listen", "127.0.0.1:0", "--data", data, ...flags]);
      swarm.origin = `http://${swarm.tracker.address}`;
      swarm.adminToken = (await readFile(join(data, "admin.token"), "utf8")).trim();
      const all = Array.isArray(peers) ? peers : Array.from({ length: peers }, () => ({}));
      await Promise.all(all.map((peer, number) => swarm.addPeer(number, peer)));
    } catch (error) {
      await swarm.end();
      throw error;
    }
    return swarm;
  }

  async addPeer(number, { name = `p${number}`, zone, capacity = "8GB" } = {}) {
    const flags = zone ? ["--zone", zone] : [];
    this.peers[number] = await Server.start(this.folder, [
      "peer", "--listen", "127.0.0.1:0", "--keep-free", "0B", "--capacity", capacity, "--name", name,
      "--invite", this.tracker.ready.peer_invite, "--data", this.peerData(number), ...flags,
    ]);
  }

  peerData(number) {
    return join(this.folder, `p${number}`);
  }

  get senderInvite() {
    return this.tracker.ready.sender_invite;
  }

  get senderToken() {
    return this.senderInvite.split(".").at(-1);
  }

  async person() {
    const home = join(this.folder, `person${this.persons++}`);
    const person = new Person(home, this.senderInvite);
    await mkdir(person.work, { recursive: true });
    return person;
  }

  /** A command of the operator, beside the tracker. */
  async operator(...args) {
    const env = environment(this.folder);
    return run(binary, [...args, "--data", join(this.folder, "tracker")], { env });
  }

  /** A request to the tracker, past the browser. */
  async ask(method, path, { bearer, json, bytes, headers = {} } = {}) {
    if (bearer) headers.authorization = `Bearer ${bearer}`;
    if (json) headers["content-type"] = "application/json";
    if (bytes) headers["content-type"] = "application/octet-stream";
    return fetch(this.origin + path, { method, headers, body: json ? JSON.stringify(json) : bytes });
  }

  /** The chunk files of a peer. */
  async chunkFiles(number) {
    const folder = join(this.peerData(number), "store/chunks");
    const files = [];
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) files.push(join(entry.parentPath ?? entry.path, entry.name));
    }
    return files.sort();
  }

  /** Flips a bit in the chunk at every peer. */
  async damage(name) {
    for (let number = 0; number < this.peers.length; number++) {
      for (const file of await this.chunkFiles(number)) {
        if (!file.endsWith(name)) continue;
        const bytes = await readFile(file);
        bytes[bytes.length >> 1] ^= 1;
        await writeFile(file, bytes);
      }
    }
  }

  get log() {
    const tail = (server, name) => `== ${name}\n${server.log.slice(-3000)}`;
    return [tail(this.tracker, "tracker"), ...this.peers.map((peer, number) => tail(peer, `peer ${number}`))].join("\n");
  }

  async end() {
    const servers = [this.tracker, ...this.peers].filter(Boolean);
    await Promise.all(servers.map((server) => server.kill()));
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Runs a program to its end. */
export async function run(program, args, options = {}) {
  const child = begin(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  return { code, stdout, stderr };
}

/** Waits until `condition` gives something true, and gives it. */
export async function until(what, condition, timeoutMs = 20_000) {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export const shareOf = (link) => link.match(/\/s\/([\w-]+)/)[1];
export const secretOf = (link) => link.match(/#1\.([\w-]+)/)[1];

/** What reads a share, as anybody with the link derives it (docs/formats.md). */
export function accessOf(link) {
  const secret = Buffer.from(secretOf(link), "base64url");
  return Buffer.from(hkdfSync("sha256", secret, "", "parcelry/1 access", 32)).toString("base64url");
}

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

export async function sha256OfFile(path) {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece);
  return hash.digest("hex");
}

export const exists = (path) => access(path).then(() => true, () => false);
