// The home page: share from the browser, top to bottom.

import { announce, byId } from "../page/dom.js";
import { cryptographySupport } from "../format/ed25519.js";
import { TooManyFilesError, UnreadableEntryError, chosenFiles, droppedFiles } from "./files.js";
import { refuseSender, startLinkForm, startTokenForm } from "./forms.js";
import { showList } from "./list.js";
import { Selection } from "./selection.js";
import { showStep } from "./step.js";
import { keptSender } from "./token.js";
import { texts } from "./texts.js";
import { printable } from "../page/words.js";

/** @typedef {import("./files.js").Found} Found */

const HOUR_MS = 3_600_000;
const selection = new Selection();
const nameInput = /** @type {HTMLInputElement} */ (byId("name-input"));
/** Whether the name in the field is the user's own. */
let isNameEdited = false;

await start();

async function start() {
  // The address stays as it is: its fragment is for invites.
  byId("skip").onclick = (event) => {
    event.preventDefault();
    byId("main").focus();
  };
  startLinkForm();
  startTokenForm();
  startChoosing();
  nameInput.addEventListener("input", () => {
    isNameEdited = nameInput.value !== "";
    showRenamed();
  });
  byId("share-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void share();
  });
  byId("done-again").addEventListener("click", () => {
    selection.clear();
    isNameEdited = false;
    showSelection();
    showStep("compose");
    byId("choose-files").focus();
  });
  const support = await cryptographySupport();
  if (support !== "ok") {
    byId("support").textContent = texts.support[support];
    byId("support").hidden = false;
    byId("compose").hidden = true;
  }
}

// ---- Choosing

function startChoosing() {
  for (const [button, id] of [["choose-files", "file-input"], ["choose-folder", "folder-input"]]) {
    const input = /** @type {HTMLInputElement} */ (byId(id));
    byId(button).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const files = Array.from(input.files ?? []);
      input.value = ""; // The same choice again is a change again.
      void take(() => chosenFiles(files, showLooking));
    });
  }
  const zone = byId("drop-zone");
  // Beside the zone a drop does nothing: the browser would leave the page and open the file.
  addEventListener("dragover", (event) => {
    event.preventDefault();
    const isOver = zone.contains(/** @type {Node} */ (event.target));
    zone.toggleAttribute("data-over", isOver);
    if (event.dataTransfer) event.dataTransfer.dropEffect = isOver ? "copy" : "none";
  });
  addEventListener("dragleave", () => zone.removeAttribute("data-over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    zone.removeAttribute("data-over");
    const { dataTransfer } = event;
    if (!dataTransfer || !zone.contains(/** @type {Node} */ (event.target))) return;
    const found = droppedFiles(dataTransfer, showLooking);
    void take(() => found);
  });
}

/** @param {number} files */
function showLooking(files) {
  byId("looking").textContent = texts.list.looking(files);
}

/** Adds what was found to the list. @param {() => Promise<Found[]>} find */
async function take(find) {
  const looking = byId("looking");
  byId("share-problem").textContent = "";
  showLooking(0);
  looking.hidden = false;
  try {
    const found = await find();
    if (found.length === 0) return tellProblem(texts.list.nothing);
    selection.add(found);
    showSelection();
    announce(texts.list.added(selection.files, selection.bytes));
  } catch (error) {
    if (error instanceof TooManyFilesError) tellProblem(texts.list.tooMany);
    else if (error instanceof UnreadableEntryError) tellProblem(texts.list.unreadable(printable(error.path)));
    else throw error;
  } finally {
    looking.hidden = true;
  }
}

function showSelection() {
  showList(selection, (id) => {
    selection.remove(id);
    byId("share-problem").textContent = "";
    showSelection();
    // The button that had the focus is gone.
    byId(selection.isEmpty ? "choose-files" : "file-list").focus();
    announce(texts.list.added(selection.files, selection.bytes));
  });
  byId("share-form").hidden = selection.isEmpty;
  byId("name-field").hidden = !selection.isFolder;
  if (!isNameEdited) nameInput.value = selection.suggestedName;
  showRenamed();
}

/** Says so if the receiver will see another name. */
function showRenamed() {
  const naming = selection.isEmpty ? null : selection.naming(nameInput.value);
  byId("renamed").hidden = !naming?.isChanged;
  byId("renamed").textContent = naming?.isChanged ? texts.list.renamed(printable(naming.name)) : "";
}

// ---- Sharing

async function share() {
  byId("share-problem").textContent = "";
  const sender = keptSender();
  if (!sender) return refuseSender(texts.check.noToken);
  const replicas = Number(/** @type {HTMLSelectElement} */ (byId("replicas")).value);
  const lifeMs = Number(/** @type {HTMLSelectElement} */ (byId("expiry")).value) * HOUR_MS;
  const button = /** @type {HTMLButtonElement} */ (byId("share-start"));
  button.disabled = true;
  const loaded = await import("./send.js").catch(() => null);
  button.disabled = false;
  if (!loaded) return tellProblem(texts.failed.network);
  try {
    const problem = await loaded.send({ sender, plan: selection.plan(nameInput.value), replicas, lifeMs });
    if (problem !== null) backToCompose(problem);
  } catch (error) {
    backToCompose(texts.failed.other(String(error)));
    throw error;
  }
}

/** @param {string} problem */
function backToCompose(problem) {
  showStep("compose");
  if (!keptSender()) return refuseSender(problem);
  tellProblem(problem);
  byId("share-start").focus();
}

/** @param {string} text @returns {null} */
function tellProblem(text) {
  byId("share-problem").textContent = text;
  return null;
}
