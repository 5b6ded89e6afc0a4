// Saves through the File System Access API: a file, or a folder with all its files in place. A file gets its content
// when it is closed, which is when all its chunks were verified.

import { SinkError } from "./sink.js";
import { texts } from "../page/texts.js";

/** @typedef {import("./sink.js").FileSink} FileSink */
/** @typedef {import("./sink.js").ByteSink} ByteSink */
/** @typedef {FileSystemFileHandle & {remove?: () => Promise<void>}} RemovableHandle */

const NAMES_TRIED_MAX = 100;
const NAMES_ASKED_AT_ONCE = 100;

/**
 * @param {FileSystemFileHandle} handle
 * @returns {Promise<ByteSink>}
 */
export async function fileSink(handle) {
  const writable = await saving(() => handle.createWritable());
  return {
    write: (bytes) => saving(() => writable.write(bytes)),
    close: () => saving(() => writable.close()),
    abort: async () => {
      await writable.abort().catch(() => {});
      await removeIfEmpty(handle).catch(() => {});
    },
  };
}

/**
 * A folder that the user chose, and in it a new one under the share's name, or `NAME (2)` and so on if that is taken.
 * As long as it is not complete, a file in it says so: a page that is closed cannot take anything back.
 * What the browser does not take, or the file system takes for another entry of the share, is left out and told.
 * @param {FileSystemDirectoryHandle} parent
 * @param {Pick<import("../format/metadata.js").Metadata, "original_filename" | "files" | "dirs" | "links">} metadata
 * @returns {Promise<FileSink & {name: string, leftOut: string[]}>}
 */
export async function folderSink(parent, { original_filename: name, files, dirs, links = [] }) {
  const paths = [name, ...files.map(({ path }) => path), ...dirs];
  const refused = await refusedNames(parent, paths);
  if (refused.has(name)) throw new SinkError("name-not-allowed", undefined, name);
  const isRefused = (/** @type {string} */ path) => refused.size > 0 && path.split("/").some((part) => refused.has(part));
  const top = await saving(() => makeFresh(parent, name));
  const marker = freeName(texts.get.incomplete.name, paths);
  /** @type {string[]} */
  const made = [];
  /** @type {string[]} */
  const leftOut = links.map(({ path }) => path);
  /** @type {FileSystemWritableFileStream | null} */
  let writable = null;
  const folders = new Folders(top);
  const abort = async () => {
    await writable?.abort().catch(() => {});
    await removeAll(parent, top, folders, made, marker);
  };
  await saving(() => mark(top, marker)).catch(async (error) => {
    await abort();
    throw error;
  });
  return {
    name: top.name,
    leftOut,
    begin: ({ path }) =>
      saving(async () => {
        const folder = isRefused(path) ? null : await folders.of(path);
        if (!folder || (await isTaken(folder, lastOf(path)))) {
          leftOut.push(path);
          return false;
        }
        made.push(path);
        const handle = await naming(path, () => folder.getFileHandle(lastOf(path), { create: true }));
        writable = await handle.createWritable();
      }),
    write: (bytes) => saving(async () => writable?.write(bytes)),
    end: () =>
      saving(async () => {
        await writable?.close();
        writable = null;
      }),
    close: () =>
      saving(async () => {
        // A symlink cannot be made here, but the folder that it lies in can.
        const ofLinks = links.map(({ path }) => path.slice(0, path.lastIndexOf("/")));
        for (const dir of ofLinks) if (!isRefused(dir)) await folders.of(`${dir}/`);
        for (const dir of dirs) if (isRefused(dir) || !(await folders.make(dir))) leftOut.push(dir);
        // Should it stay, that is no reason to throw whole files away.
        await top.removeEntry(marker).catch(() => {});
      }),
    abort,
  };
}

/**
 * Browsers refuse names that others allow, as those of shortcuts (`a.lnk`). They judge a name by itself, so each is
 * asked for once, wherever in the share it is.
 * @param {FileSystemDirectoryHandle} parent
 * @param {string[]} paths
 */
async function refusedNames(parent, paths) {
  const names = [...new Set(paths.flatMap((path) => path.split("/")))];
  /** @type {Set<string>} */
  const refused = new Set();
  for (let at = 0; at < names.length; at += NAMES_ASKED_AT_ONCE) {
    const some = names.slice(at, at + NAMES_ASKED_AT_ONCE);
    // Another error mostly says that there is nothing of this name: it can be used.
    await Promise.all(some.map((name) => parent.getFileHandle(name).catch((error) => {
      if (error instanceof TypeError) refused.add(name);
    })));
  }
  return refused;
}

/**
 * Whether something is there under this name: in a folder that is new, another entry of the share, whose name the
 * file system does not tell apart.
 * @param {FileSystemDirectoryHandle} folder
 * @param {string} name
 */
async function isTaken(folder, name) {
  try {
    await folder.getFileHandle(name);
    return true;
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotFoundError") return false;
    if (error instanceof DOMException && error.name === "TypeMismatchError") return true;
    throw error;
  }
}

/**
 * A name that nothing at the top of the share has, in whatever case.
 * @param {string} wanted
 * @param {string[]} paths of the share
 */
function freeName(wanted, paths) {
  const taken = new Set(paths.map((path) => path.split("/", 2)[1]?.toUpperCase()));
  let name = wanted;
  while (taken.has(name.toUpperCase())) name = `_${name}`;
  return name;
}

/**
 * @param {FileSystemDirectoryHandle} top
 * @param {string} marker
 */
async function mark(top, marker) {
  const writable = await (await top.getFileHandle(marker, { create: true })).createWritable();
  await writable.write(texts.get.incomplete.text);
  await writable.close();
}

/** The folders of a share, made when the first file in them is. */
class Folders {
  #latest = "";
  /** @type {FileSystemDirectoryHandle} */
  #handle;

  /** @param {FileSystemDirectoryHandle} top */
  constructor(top) {
    this.top = top;
    /** @type {Set<string>} */
    this.made = new Set();
    this.#handle = top;
  }

  /**
   * Makes a folder that holds nothing; false if something else has its name already.
   * @param {string} path
   */
  async make(path) {
    const below = path.split("/").slice(1);
    if (below.length === 0 || this.made.has(below.join("/"))) return true;
    const parent = await this.of(path);
    if (!parent || (await isTaken(parent, lastOf(path)))) return false;
    return (await this.of(`${path}/`)) !== null;
  }

  /**
   * The folder that a path lies in; null if there can be none, as a file has its name.
   * @param {string} path
   */
  async of(path) {
    // The first component is the share's own name, whose place `top` takes.
    const folders = path.split("/").slice(1, -1);
    const key = folders.join("/");
    if (key === this.#latest) return this.#handle;
    let handle = this.top;
    for (const [depth, folder] of folders.entries()) {
      const next = await naming(path, () => handle.getDirectoryHandle(folder, { create: true }).catch(nullIfFile));
      if (!next) return null;
      handle = next;
      this.made.add(folders.slice(0, depth + 1).join("/"));
    }
    [this.#latest, this.#handle] = [key, handle];
    return handle;
  }
}

/** @param {unknown} error */
function nullIfFile(error) {
  if (error instanceof DOMException && error.name === "TypeMismatchError") return null;
  throw error;
}

/**
 * @param {FileSystemDirectoryHandle} parent
 * @param {string} name
 */
async function makeFresh(parent, name) {
  for (let tried = 1; tried <= NAMES_TRIED_MAX; tried++) {
    const candidate = tried === 1 ? name : `${name} (${tried})`;
    if (await isFree(parent, candidate)) return naming(candidate, () => parent.getDirectoryHandle(candidate, { create: true }));
  }
  throw new SinkError("save-failed", "every name is taken");
}

/**
 * @param {FileSystemDirectoryHandle} parent
 * @param {string} name
 */
async function isFree(parent, name) {
  try {
    await naming(name, () => parent.getDirectoryHandle(name));
    return false;
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotFoundError") return true;
    if (error instanceof DOMException && error.name === "TypeMismatchError") return false;
    throw error;
  }
}

/**
 * Takes back what was made, and nothing else: a folder goes only if it is empty then.
 * @param {FileSystemDirectoryHandle} parent
 * @param {FileSystemDirectoryHandle} top
 * @param {Folders} folders
 * @param {string[]} files
 * @param {string} marker goes last
 */
async function removeAll(parent, top, folders, files, marker) {
  const quietly = (/** @type {() => Promise<unknown>} */ action) => action().catch(() => {});
  for (const path of files) await quietly(async () => (await folders.of(path))?.removeEntry(lastOf(path)));
  const deepestFirst = [...folders.made].sort((a, b) => b.split("/").length - a.split("/").length);
  for (const path of deepestFirst) await quietly(async () => (await folders.of(`./${path}`))?.removeEntry(lastOf(path)));
  await quietly(() => top.removeEntry(marker));
  await quietly(() => parent.removeEntry(top.name));
}

/**
 * The picker makes an empty file; one that was there before keeps its content.
 * @param {RemovableHandle} handle
 */
async function removeIfEmpty(handle) {
  if ((await handle.getFile()).size === 0) await handle.remove?.();
}

/** @param {string} path */
function lastOf(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}

/**
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
async function naming(path, action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof TypeError) throw new SinkError("name-not-allowed", error, path);
    throw error;
  }
}

/**
 * @template T
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
async function saving(action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof SinkError) throw error;
    const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
    throw new SinkError(isFull ? "no-space" : "save-failed", error);
  }
}
