// The names that files and folders get in a share: in normal form, unless another name in the same folder has that form
// already.

/** Names of a folder, as they are and as they are shared. @typedef {Map<string, string>} Names */

/** The names of one share. */
export class SharedNames {
  /** Of each folder, by its path as it is. @type {Map<string, Names>} */
  #folders = new Map();

  /** @param {Iterable<string>} paths all of the share, as they are */
  constructor(paths) {
    for (const path of paths) {
      for (let end = path.length; end >= 0; ) {
        const slash = path.lastIndexOf("/", end - 1);
        const folder = path.slice(0, Math.max(0, slash));
        const name = path.slice(slash + 1, end);
        const names = this.#folders.get(folder) ?? new Map();
        if (names.has(name)) break;
        this.#folders.set(folder, names.set(name, name));
        if (slash < 0) break;
        end = slash;
      }
    }
    for (const names of this.#folders.values()) normalise(names);
  }

  /** @param {string} path as it is @returns {string} as it is shared */
  of(path) {
    let folder = "";
    const parts = path.split("/").map((name) => {
      const shared = this.#folders.get(folder)?.get(name) ?? name;
      folder = folder ? `${folder}/${name}` : name;
      return shared;
    });
    return parts.join("/");
  }
}

/** @param {Names} names */
function normalise(names) {
  const taken = new Set([...names.keys()].filter((name) => name.normalize("NFC") === name));
  for (const name of [...names.keys()].sort()) {
    const normal = name.normalize("NFC");
    if (normal === name || taken.has(normal)) continue;
    taken.add(normal);
    names.set(name, normal);
  }
}
