// A QR code as a picture. It is SVG made of attributes only, so the page's content security policy needs no
// exception for it.

/** @typedef {import("../format/qr.js").QrCode} QrCode */

/**
 * The symbol as a picture, with the quiet zone of four modules that cameras need. It is black on white in
 * dark themes too.
 * @param {QrCode} code
 * @param {string} label for people who do not see it
 * @returns {SVGSVGElement}
 */
export function qrPicture(code, label) {
  const space = "http://www.w3.org/2000/svg";
  const quiet = 4;
  const side = String(code.size + 2 * quiet);
  const shown = "240"; // pixels: fits the narrowest phone
  const svg = document.createElementNS(space, "svg");
  const paper = document.createElementNS(space, "rect");
  const ink = document.createElementNS(space, "path");
  set(svg, { viewBox: `0 0 ${side} ${side}`, width: shown, height: shown, "shape-rendering": "crispEdges" });
  set(svg, { role: "img", "aria-label": label });
  set(paper, { width: side, height: side, fill: "#fff" });
  set(ink, { d: runsOfDark(code, quiet), fill: "#000" });
  svg.append(paper, ink);
  return svg;
}

/** @param {Element} element @param {Record<string, string>} attributes */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

/** @param {QrCode} code @param {number} quiet */
function runsOfDark({ size, modules }, quiet) {
  let path = "";
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      const start = x;
      while (x < size && modules[y * size + x]) x += 1;
      if (x > start) path += `M${start + quiet} ${y + quiet}h${x - start}v1h${start - x}z`;
    }
  }
  return path;
}
