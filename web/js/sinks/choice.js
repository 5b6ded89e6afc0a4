// Where a download is saved, by what the browser can: on disk where the user says, else through the browser's own
// downloads, else in memory. Nothing is ever shown on this origin.

/** @typedef {import("./sink.js").Target} Target */
/**
 * @typedef {object} Choice
 * @property {Target} target
 * @property {Transferable[]} transfer
 * @property {() => void} alive passes a sign of life on
 * @property {() => void} abort the page is going away
 * @property {(listener: () => void) => void} onLost told when the service worker does not know the download any more
 */
/**
 * @typedef {object} Pickers
 * @property {(options: {suggestedName: string}) => Promise<FileSystemFileHandle>} [showSaveFilePicker]
 * @property {(options: {id: string, mode: string}) => Promise<FileSystemDirectoryHandle>} [showDirectoryPicker]
 */

/** What a page may hold in memory; beyond it the command line is the better way. */
export const MEMORY_BYTES_MAX = 256 * 2 ** 20;

/** Whether this browser can write a folder in place. */
export function canSaveFolders() {
  return Boolean(pickers().showDirectoryPicker);
}

/**
 * To be called in the click itself, since browsers open their pickers only then.
 * @param {{name: string, length: () => Promise<number>, isFolder: boolean}} what `isFolder`: as a folder in place if that
 *   can be, else as one file of this name and length
 * @returns {Promise<Choice | "dismissed" | "too-large-for-memory">} Rejects if a part of the page cannot be loaded.
 */
export async function chooseTarget({ name, length, isFolder }) {
  const { showSaveFilePicker, showDirectoryPicker } = pickers();
  try {
    if (isFolder) {
      const handle = await showDirectoryPicker?.call(window, { id: "parcelry", mode: "readwrite" });
      if (handle) return simple({ to: "folder", handle });
    }
    const handle = await showSaveFilePicker?.call(window, { suggestedName: name });
    if (handle) return simple({ to: "file", handle });
  } catch (error) {
    // Anything but the user's no means that this browser has the pickers, but not here.
    if (error instanceof DOMException && error.name === "AbortError") return "dismissed";
  }
  const bytes = await length();
  const { openStream } = await import("./browser.js");
  const stream = await openStream(name, bytes).catch(() => null);
  if (stream) return stream;
  return bytes <= MEMORY_BYTES_MAX ? simple({ to: "memory" }) : "too-large-for-memory";
}

/**
 * @param {Target} target
 * @returns {Choice}
 */
function simple(target) {
  const nothing = () => {};
  return { target, transfer: [], alive: nothing, abort: nothing, onLost: nothing };
}

/** @returns {Pickers} */
function pickers() {
  return /** @type {Pickers} */ (/** @type {unknown} */ (window));
}
