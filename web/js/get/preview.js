// Looks at one file of a share without saving it: pictures drawn on a canvas, text as text. Nothing is navigated to,
// and nothing that can hold scripts is shown (SVG, HTML, PDF).

import { byId, element } from "../page/dom.js";
import { baseName, imageType, previewKind } from "./preview-kind.js";
import { problemTexts } from "./view.js";
import { texts } from "../page/texts.js";
import { bytes as sizeText } from "../page/words.js";

const TEXT_BYTES_MAX = 256 * 2 ** 10;
const PIXELS_MAX = 1600;

/** @typedef {import("../format/metadata.js").FileEntry} FileEntry */

/**
 * @param {FileEntry} file
 * @param {(start: number, end: number) => Promise<import("./worker.js").Content>} read bytes of the share's stream
 */
export async function showPreview(file, read) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("preview"));
  const body = byId("preview-body");
  const name = baseName(file.path);
  byId("preview-title").textContent = texts.get.previewOf(name);
  const note = (/** @type {string} */ text) => element("p", { class: "muted", text, attributes: { role: "status" } });
  const loading = note(texts.get.previewLoading);
  body.replaceChildren(loading);
  dialog.showModal();
  const isImage = previewKind(file) === "image";
  const wanted = isImage ? file.size : Math.min(file.size, TEXT_BYTES_MAX);
  const content = await read(file.offset, file.offset + wanted);
  const shown = "bytes" in content ? await (isImage ? picture(content.bytes, name) : text(content.bytes)) : null;
  // Closed meanwhile, or another file was opened.
  if (!dialog.open || loading.parentNode !== body) return;
  body.replaceChildren(shown ?? note("problem" in content ? whyNot(content.problem) : texts.get.previewFailed));
  if (shown && wanted < file.size) body.append(note(texts.get.previewCut(sizeText(wanted))));
}

/** @param {import("./share.js").Problem} problem */
function whyNot(problem) {
  const { title, text } = problemTexts(problem);
  return `${title}. ${text}`;
}

/**
 * @param {Uint8Array<ArrayBuffer>} content
 * @param {string} name
 * @returns {Promise<HTMLElement | null>}
 */
async function picture(content, name) {
  const type = imageType(name) ?? "";
  try {
    const bitmap = await createImageBitmap(new Blob([content], { type }));
    const { width, height } = bitmap;
    const scale = Math.min(1, PIXELS_MAX / Math.max(width, height));
    const label = texts.get.previewImage(name, width, height);
    const size = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
    const canvas = element("canvas", { attributes: { ...size, role: "img", "aria-label": label } });
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return canvas;
  } catch {
    return null;
  }
}

/**
 * @param {Uint8Array} content
 * @returns {HTMLElement | null}
 */
function text(content) {
  // A zero byte is in no text.
  if (content.includes(0)) return null;
  return element("pre", { text: new TextDecoder().decode(content), attributes: { tabindex: 0 } });
}
