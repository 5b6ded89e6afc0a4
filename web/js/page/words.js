// What people read: sizes, rates, durations, dates, counts; and names that were refused, made harmless.

/** Powers of ten, as the command line has them. */
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * "0 B", "999 B", "1.5 kB", "12 MB".
 * @param {number} n
 * @returns {string}
 */
export function bytes(n) {
  let unit = 0;
  let value = n;
  // 999.95 would be shown as 1000.0.
  while (value >= (unit ? 999.95 : 1000) && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit > 0 && value < 99.95 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(0);
  return `${digits} ${UNITS[unit]}`;
}

/**
 * "1.5 MB/s".
 * @param {number} n bytes per second
 * @returns {string}
 */
export function rate(n) {
  return `${bytes(n)}/s`;
}

/**
 * The two largest parts, as in "2 d 3 h", "4 min 10 s", "7 s".
 * @param {number} ms
 * @returns {string}
 */
export function duration(ms) {
  const left = Math.max(0, ms);
  if (left >= DAY) return pair(left, DAY, "d", HOUR, "h");
  if (left >= HOUR) return pair(left, HOUR, "h", MINUTE, "min");
  if (left >= MINUTE) return pair(left, MINUTE, "min", SECOND, "s");
  return `${Math.floor(left / SECOND)} s`;
}

/**
 * @param {number} ms
 * @param {number} large
 * @param {string} largeName
 * @param {number} small
 * @param {string} smallName
 */
function pair(ms, large, largeName, small, smallName) {
  const first = Math.floor(ms / large);
  const second = Math.floor((ms % large) / small);
  return second ? `${first} ${largeName} ${second} ${smallName}` : `${first} ${largeName}`;
}

/**
 * A moment in the reader's own time zone, as in "24 Nov 2026, 17:20".
 * @param {number} ms since the Unix epoch
 * @returns {string}
 */
export function when(ms) {
  return new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" }).format(ms);
}

/**
 * "1 peer", "2 peers", "1,234 files".
 * @param {number} n
 * @param {string} singular
 * @param {string} [plural]
 * @returns {string}
 */
export function count(n, singular, plural = `${singular}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? singular : plural}`;
}

/**
 * A name that was refused, with everything escaped that could confuse whoever reads it.
 * @param {string} name
 * @returns {string}
 */
export function printable(name) {
  const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu;
  /** @param {string} character */
  const escape = (character) => `\\u{${/** @type {number} */ (character.codePointAt(0)).toString(16)}}`;
  return name.slice(0, 300).replace(unsafe, escape);
}
