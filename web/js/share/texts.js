// Every English text of the home page that a script writes. What never changes stands in index.html.

import { bytes, count, duration, rate, when } from "../page/words.js";

const OR_COMMAND_LINE = "Or use the command line: parcelry share.";

export const texts = {
  support: {
    insecure: `Browsers seal files on secure pages only. Open this page by https://, or on the machine itself. ${OR_COMMAND_LINE}`,
    old: `This browser is too old: it cannot sign with Ed25519. Chrome and Edge can from version 137, Firefox from 129, Safari from 17. ${OR_COMMAND_LINE}`,
  },
  token: {
    empty: "Paste an invite link or a token first.",
    malformed: "This is neither an invite link nor a token. Copy all of it.",
    elsewhere: (/** @type {string} */ host) => `This invite is for another swarm, at ${host}. Open it there.`,
    denied: "This invite is not valid here: it is over, was revoked, or does not allow sharing. Ask the operator for a sender's invite.",
    kept: "You may share with this swarm.",
  },
  link: {
    empty: "Paste a link first.",
    malformed: "This is not a link to a share, or a part of it is missing. Copy all of it.",
    elsewhere: (/** @type {string} */ host) => `This share is at another swarm, at ${host}. Open the link there.`,
  },
  list: {
    looking: (/** @type {number} */ files) => `Looking at the files: ${count(files, "file")} so far`,
    folder: (/** @type {number} */ files, /** @type {number} */ size) => `folder, ${count(files, "file")}, ${bytes(size)}`,
    file: (/** @type {number} */ size) => bytes(size),
    remove: "Remove",
    removeNamed: (/** @type {string} */ name) => `Remove ${name}`,
    more: (/** @type {number} */ items) => `and ${items.toLocaleString("en")} more`,
    total: (/** @type {number} */ files, /** @type {number} */ size) => `${count(files, "file")}, ${bytes(size)}`,
    added: (/** @type {number} */ files, /** @type {number} */ size) => `In the list: ${count(files, "file")}, ${bytes(size)}`,
    nothing: "There is nothing to share in what was chosen.",
    tooMany: "A share has at most 100,000 files. Share a part of them, or pack them into an archive first.",
    unreadable: (/** @type {string} */ path) => `Cannot read ${path}. Check that you may read it.`,
    renamed: (/** @type {string} */ name) => `Names are shared in Unicode normal form and without leading dots. The receiver will see ${name}.`,
  },
  check: {
    noToken: "Paste an invite link or a token first: it lets you share.",
  },
  progress: {
    opening: "Asking for peers…",
    sending: "Sealing and sending",
    finishing: "Waiting until the peers have it on stable storage…",
    cancelled: "Cancelled. Nothing was shared.",
    cancelledLate: "Cancelled. The peers may have the share already, then it is taken back: keep this page open for a moment.",
    details: (/** @type {number} */ done, /** @type {number} */ total) => `${bytes(done)} of ${bytes(total)}`,
    speed: (/** @type {number} */ perSecond, /** @type {number} */ leftMs) => `${rate(perSecond)}, ${duration(leftMs)} left`,
    percent: (/** @type {number} */ percent) => `${percent} % sent`,
    again: (/** @type {number} */ ms) => `Connection lost. Trying again in ${duration(Math.max(ms, 1000))}.`,
    busy: (/** @type {number} */ ms) => `The swarm is busy. Trying again in ${duration(Math.max(ms, 1000))}.`,
  },
  done: {
    safe: (/** @type {string[]} */ peers) => `Safe on ${count(peers.length, "peer")} (${peers.join(", ")}). You can close this page.`,
    expires: (/** @type {number} */ ms) => `Expires ${when(ms)}.`,
    leftOut: (/** @type {number} */ entries) => (entries === 1 ? "One entry could not be shared and was left out:" : `${entries.toLocaleString("en")} entries could not be shared and were left out:`),
    unreadable: (/** @type {string} */ path) => `${path}: it cannot be read`,
    notEverywhere: (/** @type {number} */ names) => `${count(names, "name")} in it ${names === 1 ? "does" : "do"} not work on every system. A receiver saves what his system takes:`,
    command: (/** @type {string} */ link) => `parcelry get '${link}'`,
    qr: "QR code of the link",
    copied: "Link copied.",
    selected: "The link is selected. Copy it with the keyboard.",
    takenBack: "Taken back. The link no longer works.",
    notTakenBack: (/** @type {string} */ reason) => `Could not take it back: ${reason}`,
  },
  failed: {
    "access-denied": "The invite does not allow sharing here: it is over or was revoked. Forget it and ask the operator for another.",
    "gateway-closed": "This tracker takes no shares from browsers. Use the command line: parcelry share.",
    "not-enough-peers": (/** @type {number} */ replicas) => `Fewer than ${count(replicas, "peer")} with room can be reached now. Try again later, or ask for fewer replicas.`,
    "no-space": "The peers have no space for a share of this size. Ask the operator, or share less.",
    name: (/** @type {string} */ sentence) => `${sentence} Rename it, then choose it again.`,
    "too-large": "This is more than one share can hold: 16 TiB, and 32 MiB of names. Share a part of it.",
    conflict: "The swarm already has other bytes for this share. Share again from the start.",
    "share-gone": "The share is over.",
    unreadable: (/** @type {string} */ path) => `Cannot read ${path}: it was changed, moved or removed since you chose it. Nothing was shared. Choose it again and share it anew.`,
    gateway: "The swarm's gateway does not do what it should. Nothing was shared. Tell the operator.",
    network: "The tracker does not answer.",
    memory: "This browser ran out of memory. Share less at once, or use the command line: parcelry share.",
    other: (/** @type {string} */ detail) => `It did not work: ${detail}`,
  },
};
