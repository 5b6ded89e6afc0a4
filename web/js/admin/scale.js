// From samples to lines: scales, ticks and paths of the plots. Pure.

/** @typedef {{ at_ms: number, value: number }} Point */
/** @typedef {{ left: number, top: number, width: number, height: number }} Frame */

/** Samples further apart than this belong to two lines: nothing is known of what lies between. */
export const GAP_MS = 10_000;

/**
 * Values from zero to at least `most` for the axis, in steps of 1, 2 or 5 times a power of ten.
 * @param {number} most
 * @param {number} [parts] at most so many steps
 * @returns {number[]}
 */
export function ticks(most, parts = 4) {
  if (!(most > 0) || !Number.isFinite(most)) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(most / parts));
  const step = Math.max(1, power * ([1, 2, 5, 10].find((times) => power * times * parts >= most) ?? 10));
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
}

/**
 * The largest value; 0 without any.
 * @param {readonly Point[]} points
 */
export function peak(points) {
  return points.reduce((most, { value }) => Math.max(most, value), 0);
}

/**
 * The points as path data inside the frame.
 * @param {readonly Point[]} points oldest first
 * @param {Frame} frame
 * @param {{ from_ms: number, to_ms: number, most: number }} range
 */
export function line(points, frame, range) {
  return runs(points, range)
    .map((run) => run.map((point, index) => `${index === 0 ? "M" : "L"}${at(point, frame, range)}`).join(""))
    .join("");
}

/**
 * The same, filled down to zero.
 * @param {readonly Point[]} points
 * @param {Frame} frame
 * @param {{ from_ms: number, to_ms: number, most: number }} range
 */
export function area(points, frame, range) {
  const foot = (/** @type {Point} */ point) => at({ ...point, value: 0 }, frame, range);
  return runs(points, range)
    .map((run) => {
      const [first, last] = [/** @type {Point} */ (run[0]), /** @type {Point} */ (run.at(-1))];
      return `M${foot(first)}${run.map((point) => `L${at(point, frame, range)}`).join("")}L${foot(last)}Z`;
    })
    .join("");
}

/**
 * @param {readonly Point[]} points
 * @param {{ from_ms: number, to_ms: number }} range
 * @returns {Point[][]}
 */
function runs(points, { from_ms, to_ms }) {
  /** @type {Point[][]} */
  const found = [];
  let before = -Infinity;
  for (const point of points) {
    if (point.at_ms < from_ms || point.at_ms > to_ms) continue;
    if (point.at_ms - before > GAP_MS) found.push([]);
    found.at(-1)?.push(point);
    before = point.at_ms;
  }
  return found;
}

/**
 * @param {Point} point
 * @param {Frame} frame
 * @param {{ from_ms: number, to_ms: number, most: number }} range
 */
function at({ at_ms, value }, { left, top, width, height }, { from_ms, to_ms, most }) {
  const x = left + ((at_ms - from_ms) / Math.max(1, to_ms - from_ms)) * width;
  const part = most > 0 ? Math.min(1, Math.max(0, value / most)) : 0;
  return `${round(x)} ${round(top + height * (1 - part))}`;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
