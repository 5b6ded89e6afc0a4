// What was dropped or chosen, as files with their paths and sizes: folders are walked. Nothing is read yet.

/**
 * @typedef {object} Found
 * @property {string} path relative, with `/`; its first part is the name of what was dropped
 * @property {File | null} file null for a folder that holds nothing, and for what cannot be read
 * @property {boolean} [isUnreadable] the browser does not let the page see it
 * @property {number} size
 * @property {number} modifiedMs
 */

/** A folder or file that was dropped itself, and that the browser does not let the page see. */
export class UnreadableEntryError extends Error {
  /** @param {string} path */
  constructor(path) {
    super(`cannot read ${path}`);
    this.name = "UnreadableEntryError";
    this.path = path;
  }
}

/** More files than a share may have. */
export class TooManyFilesError extends Error {}

/** As format/metadata.js has it, which is not loaded with the page: the worker checks again. */
export const FILES_MAX = 100_000;
/** How long the page may be busy without a pause. */
const BUSY_MS = 12;

/**
 * Files that an `<input type=file>` holds, with or without `webkitdirectory`.
 * @param {readonly File[]} files
 * @param {(files: number) => void} [progress] told now and then how many were looked at
 * @returns {Promise<Found[]>}
 */
export async function chosenFiles(files, progress = () => {}) {
  if (files.length > FILES_MAX) throw new TooManyFilesError();
  /** @type {Found[]} */
  const found = [];
  let pauseAtMs = performance.now() + BUSY_MS;
  for (const file of files) {
    // Asking a chosen file for its size and time took Chromium over a millisecond on a busy machine.
    found.push(foundFile(file.webkitRelativePath || file.name, file));
    if (performance.now() < pauseAtMs) continue;
    progress(found.length);
    await new Promise((resolve) => setTimeout(resolve));
    pauseAtMs = performance.now() + BUSY_MS;
  }
  return found;
}

/**
 * What was dropped, folders walked to their ends. The list of a drop is empty once its event is over, so
 * this must be called in the event's handler.
 * @param {DataTransfer} dropped
 * @param {(files: number) => void} [progress] told now and then how many were found
 * @returns {Promise<Found[]>}
 */
export async function droppedFiles(dropped, progress = () => {}) {
  const items = Array.from(dropped.items).filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry());
  if (entries.some((entry) => !entry)) return chosenFiles(Array.from(dropped.files), progress);
  /** @type {Found[]} */
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, found, progress);
  return found;
}

/**
 * Without recursion, and one folder after another: a deep or wide tree costs no stack, and few handles.
 * @param {FileSystemEntry} top @param {Found[]} found @param {(files: number) => void} progress
 */
async function walk(top, found, progress) {
  const waiting = [top];
  for (let entry = waiting.pop(); entry; entry = waiting.pop()) {
    const path = entry.fullPath.replace(/^\/+/, "");
    const isTop = entry === top;
    if (isFolder(entry)) {
      const children = await orUnreadable(childrenOf(entry, path), isTop);
      if (!children) found.push(unreadable(path));
      else if (children.length === 0) found.push({ path, file: null, size: 0, modifiedMs: 0 });
      // One by one: engines bound the arguments of a call, some at 65,536.
      for (const child of byName(children ?? []).reverse()) waiting.push(child);
    } else {
      const file = await orUnreadable(fileOf(/** @type {FileSystemFileEntry} */ (entry), path), isTop);
      found.push(file ? foundFile(path, file) : unreadable(path));
    }
    if (found.length > FILES_MAX) throw new TooManyFilesError();
    if (found.length % 500 === 0) progress(found.length);
  }
}

/**
 * Null for what cannot be read, unless it was dropped itself.
 * @template T @param {Promise<T>} reading @param {boolean} isTop
 */
function orUnreadable(reading, isTop) {
  return reading.catch((error) => {
    if (isTop || !(error instanceof UnreadableEntryError)) throw error;
    return null;
  });
}

/** @param {string} path @returns {Found} */
function unreadable(path) {
  return { path, file: null, size: 0, modifiedMs: 0, isUnreadable: true };
}

/** @param {string} path @param {File} file @returns {Found} */
function foundFile(path, file) {
  return { path, file, size: file.size, modifiedMs: file.lastModified };
}

/** @param {FileSystemEntry} entry @returns {entry is FileSystemDirectoryEntry} */
function isFolder(entry) {
  return entry.isDirectory;
}

/** @param {FileSystemDirectoryEntry} folder @param {string} path */
async function childrenOf(folder, path) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const children = [];
  for (;;) {
    // A reader gives some hundred at a time, and none when there are no more.
    const some = await /** @type {Promise<FileSystemEntry[]>} */ (
      new Promise((resolve, reject) => reader.readEntries(resolve, reject))
    ).catch(() => { throw new UnreadableEntryError(path); });
    if (some.length === 0) return children;
    for (const entry of some) children.push(entry);
    if (children.length > FILES_MAX) throw new TooManyFilesError();
  }
}

/** @param {FileSystemFileEntry} entry @param {string} path @returns {Promise<File>} */
function fileOf(entry, path) {
  return new Promise((resolve, reject) => {
    entry.file(resolve, () => reject(new UnreadableEntryError(path)));
  });
}

/** In a fixed order, whatever the disk's is. @param {FileSystemEntry[]} entries */
function byName(entries) {
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}
