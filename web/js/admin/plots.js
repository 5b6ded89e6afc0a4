// The plots of the last ten minutes: throughput, and space. The line of text below each says the same in words.

import { byId, element } from "../page/dom.js";
import { bytes, rate } from "../page/words.js";
import { texts } from "./texts.js";
import { keyed, setAttribute, setText, svg } from "./parts.js";
import { HISTORY_MS } from "./state.js";
import { area, line, peak, ticks } from "./scale.js";

/** @typedef {import("./parts.js").View} View */
/** @typedef {import("./state.js").Sample} Sample */
/** @typedef {import("./state.js").State} State */
/** @typedef {{ name: string, style: string, filled: boolean, valueOf: (sample: Sample) => number }} Series */

const HEIGHT = 170;
const MARGIN = { left: 74, right: 14, top: 10, bottom: 24 };
const MINUTES = [10, 5, 0];

/** @returns {View} */
export function plotsView() {
  const plots = [
    plot("rates", rate, [
      { name: texts.plots.received, style: "received", filled: false, valueOf: (sample) => sample.received_bytes_per_s },
      { name: texts.plots.served, style: "served", filled: false, valueOf: (sample) => sample.served_bytes_per_s },
    ]),
    plot("space", bytes, [{ name: texts.plots.used, style: "used", filled: true, valueOf: (sample) => sample.used_bytes }]),
  ];
  return {
    update(state, before) {
      if (state.samples !== before.samples) for (const draw of plots) draw(state.samples);
    },
  };
}

/**
 * @param {string} id
 * @param {(value: number) => string} format
 * @param {Series[]} series
 * @returns {(samples: State["samples"]) => void}
 */
function plot(id, format, series) {
  const root = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (byId(`plot-${id}`)));
  const grid = svg("g", { class: "grid", "aria-hidden": "true" });
  const lines = series.map(({ style, filled }) => svg("path", { class: `line ${style}${filled ? " filled" : ""}` }));
  const times = MINUTES.map((minutes) => svg("text", { class: "axis" }, texts.plots.ago(minutes)));
  root.append(grid, ...lines, ...times);
  const fillKey = keyOf(byId(`plot-${id}-text`));
  const fillGrid = gridOf(grid, format);
  /** @type {State["samples"]} */
  let shown = [];
  let width = 480;

  function draw() {
    const frame = {
      left: MARGIN.left,
      top: MARGIN.top,
      width: width - MARGIN.left - MARGIN.right,
      height: HEIGHT - MARGIN.top - MARGIN.bottom,
    };
    setAttribute(root, "viewBox", `0 0 ${width} ${HEIGHT}`);
    // The newest sample is now, whatever this machine's clock says.
    const to_ms = shown.at(-1)?.at_ms ?? 0;
    const points = series.map(({ valueOf }) => shown.map((sample) => ({ at_ms: sample.at_ms, value: valueOf(sample) })));
    const steps = ticks(Math.max(...points.map(peak)));
    const most = /** @type {number} */ (steps.at(-1));
    const range = { from_ms: to_ms - HISTORY_MS, to_ms, most };
    // Half a unit further down, a line covers whole pixels.
    const y = (/** @type {number} */ value) => Math.round(frame.top + frame.height * (1 - value / most)) + 0.5;
    fillGrid(steps.map((value) => ({ value, y: y(value), to: frame.left + frame.width })));
    lines.forEach((path, index) => {
      const shape = series[index]?.filled ? area : line;
      setAttribute(path, "d", shape(points[index] ?? [], frame, range));
    });
    times.forEach((text, index) => {
      setAttribute(text, "x", frame.left + (frame.width * index) / (times.length - 1));
      setAttribute(text, "y", HEIGHT - 6);
      setAttribute(text, "text-anchor", index === 0 ? "start" : index === times.length - 1 ? "end" : "middle");
    });
    fillKey(
      series.map((one, index) => {
        const own = points[index] ?? [];
        return [one, texts.plots.current(one.name, format(own.at(-1)?.value ?? 0), format(peak(own)))];
      }),
    );
  }

  setAttribute(root, "height", HEIGHT);
  // The width is told, not asked for: asking makes the browser lay the page out.
  new ResizeObserver(([entry]) => {
    width = Math.max(200, Math.floor(entry?.contentRect.width ?? width));
    draw();
  }).observe(/** @type {Element} */ (root.parentElement));
  return (samples) => {
    shown = samples;
    draw();
  };
}

/**
 * What each line is and where it stands, in words below the plot.
 * @param {Element} parent
 */
function keyOf(parent) {
  return keyed(parent, (/** @type {[Series, string]} */ [{ name }]) => name, ([{ style }]) => {
    const sample = svg("svg", { width: 26, height: 10, "aria-hidden": "true" }, svg("path", { class: `line ${style}`, d: "M1 5H25" }));
    const text = element("span");
    return { node: element("span", { class: "key-item" }, sample, text), update: ([, said]) => setText(text, said) };
  });
}

/**
 * The lines of the value axis, with their labels.
 * @param {Element} parent
 * @param {(value: number) => string} format
 */
function gridOf(parent, format) {
  return keyed(parent, (/** @type {{ value: number, y: number, to: number }} */ { value }) => value, ({ value }) => {
    const rule = svg("path");
    const label = svg("text", { class: "axis", x: MARGIN.left - 8, "text-anchor": "end" }, format(value));
    return {
      node: svg("g", {}, rule, label),
      update({ y, to }) {
        setAttribute(rule, "d", `M${MARGIN.left} ${y}H${to}`);
        setAttribute(label, "y", y + 4);
      },
    };
  });
}
