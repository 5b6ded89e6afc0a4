// What the page shows of a share before anything is downloaded: name, size, files, end, health; and problems.

import { byId, element } from "../page/dom.js";
import { canSaveFolders } from "../sinks/choice.js";
import { previewKind } from "./preview-kind.js";
import { texts } from "../page/texts.js";
import { bytes, count, duration, when } from "../page/words.js";

/** @typedef {import("./share.js").Summary} Summary */
/** @typedef {import("./share.js").Problem} Problem */
/** @typedef {import("../format/metadata.js").FileEntry} FileEntry */

const ROWS_AT_ONCE = 200;
const { get: t, common } = texts;

/**
 * @param {Summary} summary
 * @param {(file: FileEntry) => void} onPreview
 */
export function showShare(summary, onPreview) {
  const { metadata, terms, isSingle } = summary;
  document.title = t.title(metadata.original_filename);
  byId("share-kind").textContent = isSingle ? t.file : t.folder;
  byId("share-name-text").textContent = metadata.original_filename;
  byId("share-size").textContent = bytes(metadata.size);
  byId("share-expiry").textContent = `${when(terms.expires_ms)} (${duration(terms.expires_ms - Date.now())})`;
  showHealth(summary);
  if (isSingle) {
    const [file] = metadata.files;
    byId("preview-open").hidden = previewKind(file) === null;
    byId("preview-open").addEventListener("click", () => onPreview(file));
  } else {
    byId("share-count").textContent = count(metadata.files.length, "file");
    byId("share-count-row").hidden = false;
    byId("download-zip").hidden = !canSaveFolders();
    if (!canSaveFolders()) byId("download").textContent = byId("download-zip").textContent;
    showFiles(summary, onPreview);
  }
  byId("share").hidden = false;
}

/** @param {Summary} summary */
function showHealth({ health, terms }) {
  const available = byId("share-available");
  available.textContent = health.available ? t.available : t.notAvailable;
  available.dataset.level = !health.available ? "bad" : health.fewest < terms.replicas ? "warn" : "good";
  const words = [t.health(count(health.peers, "peer"), health.fewest, terms.replicas)];
  if (health.suspect) words.push(t.suspect(count(health.suspect, "peer")));
  byId("share-health").textContent = words.join(", ");
}

/**
 * The list, some rows at a time: a hundred thousand at once would freeze the page.
 * @param {Summary} summary
 * @param {(file: FileEntry) => void} onPreview
 */
function showFiles({ metadata: { files, dirs, original_filename: top } }, onPreview) {
  const list = byId("file-list");
  const more = byId("files-more");
  const all = files.length + dirs.length;
  const showMore = () => {
    const from = list.childElementCount;
    const rows = document.createDocumentFragment();
    for (let at = from; at < Math.min(all, from + ROWS_AT_ONCE); at++) {
      if (at < files.length) rows.append(fileRow(files[at], top, onPreview));
      else rows.append(dirRow(dirs[at - files.length], top));
    }
    list.append(rows);
    const shown = list.childElementCount;
    more.hidden = shown === all;
    byId("files-shown").textContent = shown === all ? "" : t.shown(shown.toLocaleString("en"), all.toLocaleString("en"));
  };
  more.addEventListener("click", showMore);
  showMore();
  byId("files").hidden = false;
}

/**
 * @param {FileEntry} file
 * @param {string} top
 * @param {(file: FileEntry) => void} onPreview
 */
function fileRow(file, top, onPreview) {
  const name = file.path.slice(top.length + 1);
  const row = element("li", {}, element("bdi", { class: "name", text: name }));
  if (previewKind(file)) {
    const attributes = { type: "button", "aria-label": t.previewOf(name) };
    row.append(element("button", { class: "quiet", text: t.preview, attributes, on: { click: () => onPreview(file) } }));
  }
  row.append(element("span", { class: "number muted", text: bytes(file.size) }));
  return row;
}

/**
 * @param {string} dir
 * @param {string} top
 */
function dirRow(dir, top) {
  const name = `${dir.slice(top.length + 1)}/`;
  return element("li", {}, element("bdi", { class: "name", text: name }), element("span", { class: "muted", text: t.emptyFolder }));
}

/**
 * A problem that keeps the share from being shown.
 * @param {Problem} problem
 * @param {() => void} [again] what a second try does, where one makes sense
 */
export function showProblem(problem, again) {
  showMessage(problemTexts(problem));
  const button = byId("problem-again");
  button.hidden = !again;
  button.onclick = again ?? null;
}

/** @param {{title: string, text: string, detail?: string}} message */
export function showMessage({ title, text, detail }) {
  byId("looking").hidden = true;
  byId("problem-title").textContent = title;
  byId("problem-text").textContent = text;
  byId("problem-detail").textContent = detail ?? "";
  byId("problem-detail").hidden = !detail;
  byId("problem").hidden = false;
}

/**
 * @param {Problem} problem
 * @returns {{title: string, text: string, detail?: string}}
 */
export function problemTexts({ kind, path, rule }) {
  const found = t.problems[kind] ?? t.problems.unexpected;
  if (path === undefined) return found;
  return { ...found, detail: rule ? common.nameRefused(path, rule) : t.theName(path) };
}

/**
 * @param {string} command
 */
export function showCommand(command) {
  byId("command-text").textContent = command;
  byId("command").hidden = false;
  const button = byId("command-copy");
  button.addEventListener("click", async () => {
    const isCopied = await navigator.clipboard.writeText(command).then(() => true, () => false);
    button.textContent = isCopied ? common.copied : common.copyFailed;
    setTimeout(() => (button.textContent = common.copy), 3000);
  });
}
