// Links and invites: the texts that people hand to one another.
//
//   link    https://HOST[:PORT]/s/<share id>#1.<secret>[.<tracker id>]
//   invite  https://HOST[:PORT]/join#1.<tracker id>.<token>

import { decodeExactly, encodeBase64url } from "./base64url.js";

const VERSION = "1";
const LINK_BYTES_MAX = 1024;
const ID_BYTES = 32;

/** @typedef {"scheme" | "host" | "path" | "no-fragment" | "version" | "damaged" | "extra" | "not-text"} LinkProblem */

/** A text that is not a link or invite. Never says what the secret was. */
export class LinkError extends Error {
  /** @param {LinkProblem} kind */
  constructor(kind) {
    super(`not a link: ${kind}`);
    this.name = "LinkError";
    this.kind = kind;
  }
}

/**
 * @typedef {object} Link
 * @property {string} host with its port unless that is 443, as in `example.org:9090`
 * @property {string} share share id
 * @property {Uint8Array<ArrayBuffer>} secret
 * @property {string | null} trackerId
 */
/**
 * @typedef {object} Invite
 * @property {string} host
 * @property {string} trackerId
 * @property {string} token base64url, as it is sent
 */

/**
 * @param {string} text
 * @returns {Link} Throws a LinkError.
 */
export function parseLink(text) {
  const { host, path, fragment } = split(text);
  if (!path.startsWith("/s/")) throw new LinkError("path");
  const share = parseId(path.slice("/s/".length));
  return { host, share, ...parseFragment(fragment) };
}

/**
 * What follows `#` in a link.
 * @param {string} fragment without the `#`
 * @returns {{secret: Uint8Array<ArrayBuffer>, trackerId: string | null}}
 */
export function parseFragment(fragment) {
  const [secret, trackerId, ...more] = partsOf(fragment);
  if (more.length) throw new LinkError("extra");
  return { secret: parseBytes(secret ?? ""), trackerId: trackerId === undefined ? null : parseId(trackerId) };
}

/**
 * @param {string} text
 * @returns {Invite} Throws a LinkError.
 */
export function parseInvite(text) {
  const { host, path, fragment } = split(text);
  if (path !== "/join") throw new LinkError("path");
  return { host, ...parseInviteFragment(fragment) };
}

/**
 * What follows `#` in an invite.
 * @param {string} fragment without the `#`
 * @returns {{trackerId: string, token: string}}
 */
export function parseInviteFragment(fragment) {
  const [trackerId, token, ...more] = partsOf(fragment);
  if (more.length) throw new LinkError("extra");
  return { trackerId: parseId(trackerId ?? ""), token: parseId(token ?? "") };
}

/**
 * The link's text, secret included. The scheme is always https: a tracker answers it on the port of plain http, too.
 * @param {{origin: string, share: string, secret: Uint8Array, trackerId: string | null}} link
 * @returns {string}
 */
export function formatLink({ origin, share, secret, trackerId }) {
  const url = new URL(origin);
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  const host = port === "443" ? url.hostname : `${url.hostname}:${port}`;
  const tracker = trackerId === null ? "" : `.${trackerId}`;
  return `https://${host}/s/${share}#${VERSION}.${encodeBase64url(secret)}${tracker}`;
}

/**
 * Whether this is a share's, peer's or tracker's id: 32 bytes.
 * @param {string} text
 */
export function isId(text) {
  try {
    return decodeExactly(text, ID_BYTES).length === ID_BYTES;
  } catch {
    return false;
  }
}

/** @param {string} text */
function split(text) {
  if (text.length > LINK_BYTES_MAX || !/^[\x21-\x7e]*$/.test(text)) throw new LinkError("not-text");
  const hash = text.indexOf("#");
  if (hash < 0) throw new LinkError("no-fragment");
  const match = /^https:\/\/([^/?]*)(\/.*)?$/.exec(text.slice(0, hash));
  if (!match) throw new LinkError("scheme");
  return { host: canonicalHost(match[1]), path: match[2] ?? "", fragment: text.slice(hash + 1) };
}

/** @param {string} authority */
function canonicalHost(authority) {
  const isSound = /^(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::[1-9][0-9]{0,4})?$/.test(authority);
  const url = isSound ? tryUrl(`https://${authority}`) : null;
  // A host that the browser would read as another one, as 010.1 for 8.0.0.1, is not taken.
  const isPlain = url && (url.hostname.startsWith("[") || url.hostname === authority.replace(/:\d+$/, "").toLowerCase());
  if (!url || !isPlain) throw new LinkError("host");
  return url.host;
}

/** @param {string} text */
function tryUrl(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

/** @param {string} fragment */
function partsOf(fragment) {
  const [version, ...parts] = fragment.split(".");
  if (version === "") throw new LinkError("no-fragment");
  if (version !== VERSION) throw new LinkError("version");
  return parts;
}

/** @param {string} text */
function parseId(text) {
  parseBytes(text);
  return text;
}

/** @param {string} text */
function parseBytes(text) {
  try {
    return decodeExactly(text, ID_BYTES);
  } catch {
    throw new LinkError("damaged");
  }
}
