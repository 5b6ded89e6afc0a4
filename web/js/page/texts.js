// Every English text of the pages that receive; `common` is for all pages. Texts that stand still are in the HTML.

import { printable } from "./words.js";

/** @typedef {import("../format/names.js").NameRule} NameRule */

/** @type {Record<NameRule, string>} */
const nameRules = {
  empty: "is empty or has an empty part",
  "too-long": "is longer than 4096 bytes",
  "component-too-long": "has a part longer than 255 bytes",
  "too-deep": "has more than 128 parts",
  "dot-component": "has a part “.” or “..”",
  absolute: "starts with “/”, or has one where only one part may be",
  backslash: "has a backslash",
  control: "has a control character",
  bidi: "has a character that reverses the direction of text",
  "not-unicode": "is not valid Unicode",
  hidden: "would be hidden where it is saved, as it starts with a dot",
  "file-and-folder": "is both a file and a folder",
  twice: "stands there twice",
};

const NAMED_MAX = 20;

/** @param {string[]} paths */
function named(paths) {
  const some = paths.slice(0, NAMED_MAX).map((path) => `“${printable(path)}”`).join(", ");
  return paths.length > NAMED_MAX ? `${some} and ${(paths.length - NAMED_MAX).toLocaleString("en")} more` : some;
}

export const texts = {
  common: {
    copy: "Copy",
    copied: "Copied",
    copyFailed: "Copying did not work: select the text and copy it",
    cancel: "Cancel",
    close: "Close",
    tryAgain: "Try again",
    insecure: {
      title: "This page needs a secure connection",
      text: "The browser lends its cryptography to pages over https only. Open this address with https://. On the tracker's own machine, http://localhost works, too.",
    },
    oldBrowser: {
      title: "This browser is too old",
      text: "It lacks the signatures (Ed25519) that this page needs. Use a current Firefox, Chrome, Edge or Safari, or the command line.",
    },
    /** @type {(path: string, rule: NameRule) => string} */
    nameRefused: (path, rule) => `The name “${printable(path)}” ${nameRules[rule]}.`,
    /** @type {(path: string, rule: NameRule) => string} */
    nameLeftOut: (path, rule) => `${printable(path)}: its name ${nameRules[rule]}`,
    connectionLost: "connection lost, trying again",
    busy: "the tracker is busy, trying again",
    noPeer: "no peer has the next part now, trying again",
  },
  get: {
    title: (/** @type {string} */ name) => `${name} · parcelry`,
    looking: "Looking the share up …",
    starting: "The tracker has just started, and waits for its peers …",
    file: "File",
    folder: "Folder",
    available: "available now",
    notAvailable: "not available now",
    health: (/** @type {string} */ peers, /** @type {number} */ fewest, /** @type {number} */ wanted) =>
      `${peers}, each part on at least ${fewest} of ${wanted} wanted`,
    suspect: (/** @type {string} */ peers) => `${peers} silent for a moment`,
    emptyFolder: "empty folder",
    preview: "Preview",
    previewOf: (/** @type {string} */ name) => `Preview of ${name}`,
    previewLoading: "Loading …",
    previewFailed: "There is no preview: the file is not what its name says, or the browser cannot show it.",
    previewImage: (/** @type {string} */ name, /** @type {number} */ width, /** @type {number} */ height) =>
      `Picture ${name}, ${width} × ${height} pixels`,
    previewCut: (/** @type {string} */ size) => `Only the first ${size} are shown.`,
    shown: (/** @type {string} */ shown, /** @type {string} */ all) => `${shown} of ${all} shown`,
    downloading: "Downloading",
    choosing: "Choose where to save",
    progress: (/** @type {string} */ done, /** @type {string} */ all) => `${done} of ${all}`,
    percent: (/** @type {number} */ n) => `${n} percent`,
    left: (/** @type {string} */ time) => `${time} left`,
    finishing: "Finishing …",
    /** A file that lies in a folder for as long as the folder is being saved. */
    incomplete: {
      name: "INCOMPLETE - parcelry.txt",
      text: "The download of this folder is not finished: files are missing. If it does not go on, delete the folder and download it again.\n",
    },
    done: {
      title: "Done",
      file: (/** @type {string} */ name) => `“${name}” is saved. Every byte was checked.`,
      folder: (/** @type {string} */ name) => `The folder “${name}” is saved. Every byte was checked.`,
      stream: (/** @type {string} */ name) => `“${name}” is in the browser's downloads. Every byte was checked.`,
      partly: "Done, but not everything could be saved",
      leftOut: (/** @type {string[]} */ paths) =>
        `Left out, as the browser or the disk does not take the name, or takes it for another, or as it is a symlink: ${named(paths)}. The command line below may save more.`,
    },
    cancelled: { title: "Cancelled", text: "Nothing was kept." },
    gaveUp: {
      titles: {
        connectionLost: "The connection did not come back",
        busy: "The tracker stayed busy",
        noPeer: "No peer with the next part came back",
      },
      text: "There was no progress for ten minutes. What has arrived is kept as long as this page stays open: try again to go on from there.",
    },
    theName: (/** @type {string} */ path) => `The name is “${printable(path)}”.`,
    /** Problems by kind, from the look-up to the last byte. @type {Record<string, {title: string, text: string}>} */
    problems: {
      "no-secret": {
        title: "The second part of the link is missing",
        text: "What follows “#” opens the share, and it is not here. Open the whole link again, as you were given it.",
      },
      "damaged-link": {
        title: "The link is damaged",
        text: "Its secret does not fit this share: a character is missing or was changed. Copy the whole link again.",
      },
      "not-found": {
        title: "There is no such share",
        text: "This tracker knows no share that this link opens. Perhaps a character of the link is missing or was changed, or the share was forgotten after its end.",
      },
      gone: { title: "The share is over", text: "It has expired, or its owner took it back. Ask for a new link." },
      newer: {
        title: "Made by a newer parcelry",
        text: "This page cannot read this share. The tracker's operator has to update it, or use a newer command line.",
      },
      "damaged-share": {
        title: "The share is damaged",
        text: "What the tracker gave is not what the sender signed, or the sender made it wrong. Nothing was saved. Tell whoever gave you the link.",
      },
      "damaged-chunk": {
        title: "The share is damaged",
        text: "A part does not open: the sender made it wrong, or the tracker changed it. The download was stopped, and nothing that was not checked has been kept. The command line tells which.",
      },
      "no-good-copy": {
        title: "No good copy is left",
        text: "Every peer that is there serves wrong bytes for a part of it. Nothing that was not checked has been kept. Try again later: the peers look for themselves, and others may come back.",
      },
      "bad-name": {
        title: "The share has a name that is refused",
        text: "It could do harm where it is saved. Nothing was saved. Tell whoever gave you the link.",
      },
      "no-peer": {
        title: "No peer can be reached",
        text: "No peer that holds this share is there now. Try again later: peers come back.",
      },
      "gateway-closed": {
        title: "This tracker serves no browsers",
        text: "Its operator has closed the way for browsers. Use the command line below: it gets the share from the peers themselves.",
      },
      network: { title: "The tracker cannot be reached", text: "Check your connection and try again." },
      "not-loaded": {
        title: "A part of this page could not be loaded",
        text: "The tracker cannot be reached. Check your connection, then load the page again.",
      },
      "too-large-for-memory": {
        title: "Too large for this browser",
        text: "This browser cannot save while it downloads, and this is more than fits into memory. Use the command line below, or a browser that can, as Chrome or Edge.",
      },
      "name-not-allowed": {
        title: "The browser does not allow a name",
        text: "It refuses one of the names in this share, and nothing was saved. Download it as ZIP, or use the command line below.",
      },
      "no-space": { title: "No space left", text: "The disk is full. Nothing unfinished was kept." },
      "save-failed": { title: "Saving did not work", text: "The browser could not write the file. Nothing unfinished was kept." },
      "stopped-by-browser": { title: "Stopped", text: "The download was cancelled in the browser. Nothing was kept." },
      "stream-broken": {
        title: "The download broke off",
        text: "The browser lost touch with this page, as it can when the computer sleeps. Nothing was kept: download it again.",
      },
      interrupted: {
        title: "Interrupted",
        text: "The page was left during the download. Of a file nothing was kept; in a folder a file says that it is incomplete.",
      },
      unexpected: { title: "Something went wrong", text: "The page met something that it did not expect." },
    },
  },
};
