// What is going to be shared: files and folders as they were added, and what becomes of them in the share.
// No document and no network here.

import { brokenRule, senderTopName } from "../format/names.js";
import { FILES_MAX, TooManyFilesError } from "./files.js";
import { SharedNames } from "./names.js";

/** @typedef {import("./files.js").Found} Found */

/**
 * @typedef {object} Item one file or one folder, as it was dropped or chosen
 * @property {number} id
 * @property {string} name
 * @property {boolean} isFolder
 * @property {Found[]} found in the order of their paths
 * @property {number} files
 * @property {number} bytes
 * @property {boolean} isNormal whether all paths below its name are in normal form
 *
 * @typedef {{path: string, rule: import("../format/names.js").NameRule | "unreadable"}} LeftOut
 *
 * @typedef {object} SharePlan what the share will hold; the rules of names that were chosen themselves are unchecked
 * @property {string} name what the receiver sees
 * @property {{path: string, file: File, size: number, modifiedMs: number}[]} files
 * @property {string[]} dirs folders that hold nothing
 * @property {LeftOut[]} leftOut what is in a folder and cannot be shared
 */

/** The list of what is to be shared. */
export class Selection {
  /** @type {Item[]} */
  #items = [];
  #nextId = 1;

  /** @returns {readonly Item[]} */
  get items() { return this.#items; }
  get isEmpty() { return this.#items.length === 0; }
  get files() { return sum(this.#items, (item) => item.files); }
  get bytes() { return sum(this.#items, (item) => item.bytes); }
  /** Whether the receiver gets a folder, which has a name of its own. */
  get isFolder() { return this.#items.length > 1 || this.#items.some((item) => item.isFolder); }

  /** The name that is offered for the receiver's folder; empty for a single file, which has its own. */
  get suggestedName() {
    if (!this.isFolder) return "";
    return this.#items.length === 1 ? senderTopName(this.#items[0].name) : "files";
  }

  /**
   * Adds what was found. Everything below one folder is one item.
   * @param {readonly Found[]} found
   */
  add(found) {
    if (found.length + sum(this.#items, (item) => item.found.length) > FILES_MAX) throw new TooManyFilesError();
    /** @type {Map<string, Found[]>} */
    const folders = new Map();
    for (const one of found) {
      const [name] = one.path.split("/", 1);
      const below = folders.get(name);
      if (one.file && name === one.path) this.#push(name, false, [one]);
      else if (below) below.push(one);
      else folders.set(name, [one]);
    }
    for (const [name, below] of folders) this.#push(name, true, below.sort(byPath));
  }

  /** @param {number} id */
  remove(id) {
    this.#items = this.#items.filter((item) => item.id !== id);
  }

  clear() {
    this.#items = [];
  }

  /**
   * What the receiver will see, and whether that is another name than was asked for, or any other in it is changed:
   * leading dots, normal form.
   * @param {string} folderName of the receiver's folder; not used for a single file
   */
  naming(folderName) {
    const wanted = this.isFolder ? folderName : this.#items[0].name;
    const name = senderTopName(wanted);
    const hasOwnNames = this.#items.length > 1;
    const isNormal = (/** @type {Item} */ item) => item.isNormal && !(hasOwnNames && isOther(item.name));
    return { name, isChanged: name !== wanted || !this.#items.every(isNormal) };
  }

  /**
   * What the share will hold.
   * @param {string} folderName as above
   * @returns {SharePlan}
   */
  plan(folderName) {
    const hasOneItem = this.#items.length === 1;
    const { name } = this.naming(folderName);
    /** @type {SharePlan} */
    const plan = { name, files: [], dirs: [], leftOut: [] };
    const all = this.#items.flatMap((item) => item.found);
    const names = this.#items.every((item) => item.isNormal && !isOther(item.name)) ? null
      : new SharedNames(all.map(({ path }) => path));
    for (const { path, file, size, modifiedMs, isUnreadable } of all) {
      const own = names?.of(path) ?? path;
      // A single file or folder has the name in the place of its own.
      const below = hasOneItem ? own.split("/").slice(1).join("/") : own;
      const final = below ? `${name}/${below}` : name;
      const rule = isUnreadable ? "unreadable" : path.includes("/") ? brokenRule(final) : null;
      if (rule) plan.leftOut.push({ path, rule });
      else if (file) plan.files.push({ path: final, file, size, modifiedMs });
      else plan.dirs.push(final);
    }
    keepFolders(plan);
    return plan;
  }

  /** @param {string} name @param {boolean} isFolder @param {Found[]} found */
  #push(name, isFolder, found) {
    const files = sum(found, ({ file }) => (file ? 1 : 0));
    const bytes = sum(found, ({ size }) => size);
    const isNormal = !found.some(({ path }) => isOther(path.slice(name.length)));
    this.#items.push({ id: this.#nextId, name, isFolder, found, files, bytes, isNormal });
    this.#nextId += 1;
  }
}

/** A folder of which everything is left out is shared as one that holds nothing. @param {SharePlan} plan */
function keepFolders({ name, files, dirs, leftOut }) {
  if (leftOut.length > 0 && files.length + dirs.length === 0) dirs.push(name);
}

/** Whether a path is not in normal form. @param {string} path */
function isOther(path) {
  return path.normalize("NFC") !== path;
}

/** @param {Found} a @param {Found} b */
function byPath(a, b) {
  return a.path < b.path ? -1 : Number(a.path > b.path);
}

/** @template T @param {readonly T[]} values @param {(value: T) => number} of */
function sum(values, of) {
  return values.reduce((total, value) => total + of(value), 0);
}
