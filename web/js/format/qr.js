// QR codes for links (ISO/IEC 18004): byte mode, levels M and L, versions 1 to 15. That is enough for
// the longest link, which has 403 characters.
//
// A symbol is built in the order of the standard: data, error correction, function patterns, the data's
// path through the symbol, and the mask that leaves the fewest patterns that confuse a camera.

/**
 * @typedef {object} QrCode
 * @property {number} version 1 to 15
 * @property {Level} level how much damage it stands: M 15 %, L 7 %
 * @property {number} mask 0 to 7
 * @property {number} size modules on each side
 * @property {Uint8Array} modules row by row, 1 is dark
 *
 * @typedef {"L" | "M"} Level
 * @typedef {{size: number, modules: Uint8Array, fixed: Uint8Array}} Canvas `fixed` are modules that carry no data
 */

const VERSION_MAX = 15;
/** Error correction bytes in each block, and number of blocks, for versions 1 to 15. */
const BLOCKS = {
  L: {
    correction: [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22],
    count: [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6],
    indicator: 1,
  },
  M: {
    correction: [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24],
    count: [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10],
    indicator: 0,
  },
};
/** Which modules a mask turns over. */
const MASKS = [
  (/** @type {number} */ x, /** @type {number} */ y) => (x + y) % 2 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => y % 2 === 0,
  (/** @type {number} */ x) => x % 3 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => (x + y) % 3 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => (Math.floor(y / 2) + Math.floor(x / 3)) % 2 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (/** @type {number} */ x, /** @type {number} */ y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/**
 * The smallest symbol that holds the text, at level M if it fits; null if it is too long.
 * @param {string} text
 * @returns {QrCode | null}
 */
export function encodeQr(text) {
  const bytes = new TextEncoder().encode(text);
  for (const level of /** @type {Level[]} */ (["M", "L"])) {
    for (let version = 1; version <= VERSION_MAX; version += 1) {
      const words = dataWords(bytes, version, level);
      if (words) return draw(interleave(words, version, level), version, level);
    }
  }
  return null;
}

// ---- Data and error correction

/**
 * Mode, length, bytes and padding; null if they do not fit.
 * @param {Uint8Array} bytes @param {number} version @param {Level} level
 */
function dataWords(bytes, version, level) {
  const { correction, count } = blocksOf(version, level);
  const capacity = totalWords(version) - correction * count;
  const lengthBits = version < 10 ? 8 : 16;
  if (Math.ceil((4 + lengthBits + 8 * bytes.length) / 8) > capacity) return null;
  const bits = [...bitsOf(0b0100, 4), ...bitsOf(bytes.length, lengthBits)];
  for (const byte of bytes) bits.push(...bitsOf(byte, 8));
  // The end mark is four zeros, or as many as have room; the rest of the byte is zero as well.
  const words = new Uint8Array(capacity);
  bits.forEach((bit, at) => { words[at >> 3] |= bit << (7 - (at & 7)); });
  const used = Math.min(Math.ceil((bits.length + 4) / 8), capacity);
  for (let at = used; at < capacity; at += 1) words[at] = (at - used) % 2 === 0 ? 0xec : 0x11;
  return words;
}

/**
 * Cuts the data into blocks, gives each its error correction, and takes from all of them in turn. The last
 * blocks hold one byte more if the data cannot be cut evenly.
 * @param {Uint8Array} words @param {number} version @param {Level} level
 */
function interleave(words, version, level) {
  const { correction, count } = blocksOf(version, level);
  const short = Math.floor(words.length / count);
  const shortBlocks = count - (words.length % count);
  const generator = generatorOf(correction);
  const data = [];
  const checks = [];
  for (let block = 0, at = 0; block < count; block += 1) {
    const length = block < shortBlocks ? short : short + 1;
    const part = words.subarray(at, at + length);
    data.push(part);
    checks.push(remainder(part, generator));
    at += length;
  }
  const result = [];
  for (let at = 0; at <= short; at += 1) for (const part of data) if (at < part.length) result.push(part[at]);
  for (let at = 0; at < correction; at += 1) for (const part of checks) result.push(part[at]);
  return result;
}

/** The product of (x - 2^i) for i < degree, without its leading 1. @param {number} degree */
function generatorOf(degree) {
  const factors = new Uint8Array(degree);
  factors[degree - 1] = 1;
  for (let i = 0, root = 1; i < degree; i += 1, root = multiply(root, 2)) {
    for (let at = 0; at < degree; at += 1) {
      factors[at] = multiply(factors[at], root) ^ (at + 1 < degree ? factors[at + 1] : 0);
    }
  }
  return factors;
}

/** What is left of the data divided by the generator. @param {Uint8Array} data @param {Uint8Array} generator */
function remainder(data, generator) {
  const rest = new Uint8Array(generator.length);
  for (const byte of data) {
    const factor = byte ^ rest[0];
    rest.copyWithin(0, 1);
    rest[rest.length - 1] = 0;
    for (let at = 0; at < rest.length; at += 1) rest[at] ^= multiply(generator[at], factor);
  }
  return rest;
}

/** In GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1. @param {number} a @param {number} b */
function multiply(a, b) {
  let product = 0;
  for (; b; b >>= 1, a = (a << 1) ^ (a & 0x80 ? 0x11d : 0)) if (b & 1) product ^= a;
  return product;
}

// ---- The symbol

/** @param {number[]} words @param {number} version @param {Level} level @returns {QrCode} */
function draw(words, version, level) {
  const size = 17 + 4 * version;
  const canvas = { size, modules: new Uint8Array(size * size), fixed: new Uint8Array(size * size) };
  drawPatterns(canvas, version);
  // For now only to take its modules, so that the data goes round them: the mask is chosen below.
  drawFormat(canvas, level, 0);
  drawData(canvas, words);
  let best = { mask: 0, penalty: Infinity, modules: canvas.modules };
  MASKS.forEach((turns, mask) => {
    const masked = { ...canvas, modules: canvas.modules.slice() };
    for (let at = 0; at < masked.modules.length; at += 1) {
      if (!canvas.fixed[at] && turns(at % size, Math.floor(at / size))) masked.modules[at] ^= 1;
    }
    drawFormat(masked, level, mask);
    const penalty = penaltyOf(masked);
    if (penalty < best.penalty) best = { mask, penalty, modules: masked.modules };
  });
  return { version, level, mask: best.mask, size, modules: best.modules };
}

/** @param {Canvas} canvas @param {number} x @param {number} y @param {boolean | number} dark */
function fix(canvas, x, y, dark) {
  canvas.modules[y * canvas.size + x] = dark ? 1 : 0;
  canvas.fixed[y * canvas.size + x] = 1;
}

/** Everything that is the same in all symbols of a version. @param {Canvas} canvas @param {number} version */
function drawPatterns(canvas, version) {
  const { size } = canvas;
  for (let at = 0; at < size; at += 1) {
    fix(canvas, at, 6, at % 2 === 0);
    fix(canvas, 6, at, at % 2 === 0);
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) drawSquares(canvas, x, y, 4, [2, 4]);
  const centres = alignmentOf(version);
  const [first, last] = [centres[0], centres[centres.length - 1]];
  for (const x of centres) {
    for (const y of centres) {
      const atFinder = (x === first && y === first) || (x === first && y === last) || (x === last && y === first);
      if (!atFinder) drawSquares(canvas, x, y, 2, [1]);
    }
  }
  if (version < 7) return;
  const bits = (version << 12) | bch(version, 12, 0x1f25);
  for (let i = 0; i < 18; i += 1) {
    const [a, b] = [size - 11 + (i % 3), Math.floor(i / 3)];
    fix(canvas, a, b, (bits >> i) & 1);
    fix(canvas, b, a, (bits >> i) & 1);
  }
}

/**
 * Rings around a centre, those named in `light` light, as far as they lie in the symbol.
 * @param {Canvas} canvas @param {number} x @param {number} y @param {number} radius @param {number[]} light
 */
function drawSquares(canvas, x, y, radius, light) {
  for (let dy = -radius; dy <= radius; dy += 1) {
    for (let dx = -radius; dx <= radius; dx += 1) {
      const inside = Math.min(x + dx, y + dy) >= 0 && Math.max(x + dx, y + dy) < canvas.size;
      if (inside) fix(canvas, x + dx, y + dy, !light.includes(Math.max(Math.abs(dx), Math.abs(dy))));
    }
  }
}

/** Level and mask, twice. @param {Canvas} canvas @param {Level} level @param {number} mask */
function drawFormat(canvas, level, mask) {
  const { size } = canvas;
  const value = (BLOCKS[level].indicator << 3) | mask;
  const bits = ((value << 10) | bch(value, 10, 0x537)) ^ 0x5412;
  for (let i = 0; i < 15; i += 1) {
    const bit = (bits >> i) & 1;
    // Around the first corner, stepping over the timing patterns, and along the two others.
    const near = i < 6 ? i : i < 8 ? i + 1 : 14 - i;
    if (i < 8) fix(canvas, 8, near, bit);
    else fix(canvas, i === 8 ? 7 : near, 8, bit);
    if (i < 8) fix(canvas, size - 1 - i, 8, bit);
    else fix(canvas, 8, size - 15 + i, bit);
  }
  fix(canvas, 8, size - 8, true);
}

/** In columns of two modules from the right, up and down in turn. @param {Canvas} canvas @param {number[]} words */
function drawData(canvas, words) {
  const { size } = canvas;
  let at = 0;
  for (let right = size - 1, upwards = true; right > 0; right -= 2, upwards = !upwards) {
    if (right === 6) right = 5; // the timing pattern has the column to itself
    for (let step = 0; step < size; step += 1) {
      const y = upwards ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (canvas.fixed[y * size + x]) continue;
        if (at < 8 * words.length) canvas.modules[y * size + x] = (words[at >> 3] >> (7 - (at & 7))) & 1;
        at += 1;
      }
    }
  }
}

// ---- Sizes and penalties

/** @param {number} version @param {Level} level */
function blocksOf(version, level) {
  return { correction: BLOCKS[level].correction[version - 1], count: BLOCKS[level].count[version - 1] };
}

/** Bytes in a symbol: all modules but those of function patterns. @param {number} version */
function totalWords(version) {
  const canvas = { size: 17 + 4 * version, modules: new Uint8Array(0), fixed: new Uint8Array((17 + 4 * version) ** 2) };
  drawPatterns(canvas, version);
  drawFormat(canvas, "M", 0);
  return canvas.fixed.reduce((free, fixed) => free + 1 - fixed, 0) >> 3;
}

/** Centres of alignment patterns in a row: even steps from the right, the first is always 6. @param {number} version */
function alignmentOf(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.ceil((4 * version + 4) / (2 * count - 2)) * 2;
  const centres = [6];
  for (let i = count - 2; i >= 0; i -= 1) centres.push(4 * version + 10 - i * step);
  return centres;
}

/** The check bits of a BCH code. @param {number} value @param {number} degree @param {number} generator */
function bch(value, degree, generator) {
  let rest = value << degree;
  for (let bit = 31; bit >= degree; bit -= 1) if ((rest >>> bit) & 1) rest ^= generator << (bit - degree);
  return rest;
}

/** @param {number} value @param {number} count */
function bitsOf(value, count) {
  return Array.from({ length: count }, (_, at) => (value >> (count - 1 - at)) & 1);
}

/** The four rules by which the standard compares masks. @param {Canvas} canvas */
function penaltyOf({ size, modules }) {
  let penalty = 0;
  const rows = Array.from({ length: size }, (_, y) => modules.subarray(y * size, (y + 1) * size).join(""));
  const columns = rows.map((_, x) => rows.map((row) => row[x]).join(""));
  for (const line of [...rows, ...columns]) {
    for (const run of line.match(/0{5,}|1{5,}/g) ?? []) penalty += run.length - 2;
    for (const pattern of ["10111010000", "00001011101"]) {
      for (let at = line.indexOf(pattern); at >= 0; at = line.indexOf(pattern, at + 1)) penalty += 40;
    }
  }
  for (let y = 1; y < size; y += 1) {
    for (let x = 1; x < size; x += 1) {
      const at = y * size + x;
      const sum = modules[at] + modules[at - 1] + modules[at - size] + modules[at - size - 1];
      if (sum % 4 === 0) penalty += 3;
    }
  }
  const share = modules.reduce((sum, dark) => sum + dark, 0) / modules.length;
  return penalty + 10 * Math.floor(Math.abs(share - 0.5) * 20);
}
