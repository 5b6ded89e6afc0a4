// QR codes: read back by the standard's rules, written here a second time and the other way round.

import assert from "node:assert/strict";
import { test } from "node:test";

import { encodeQr } from "../../../web/js/format/qr.js";

/** Level by the two bits of the format information. */
const LEVELS = { 1: "L", 0: "M" };
/** Blocks of the versions that links need, as the standard lists them: [blocks, data bytes], then the longer ones. */
const BLOCKS = {
  "1M": [[1, 16]],
  "5M": [[2, 43]],
  "7M": [[4, 31]],
  "8M": [[2, 38], [2, 39]],
  "9M": [[3, 36], [2, 37]],
  "10M": [[4, 43], [1, 44]],
  "15M": [[5, 41], [5, 42]],
  "15L": [[5, 87], [1, 88]],
};
const CORRECTION = { "1M": 10, "5M": 24, "7M": 18, "8M": 22, "9M": 22, "10M": 26, "15M": 24, "15L": 22 };
const MASKS = [
  (i, j) => (i + j) % 2, (i) => i % 2, (i, j) => j % 3, (i, j) => (i + j) % 3, (i, j) => ((i >> 1) + Math.floor(j / 3)) % 2,
  (i, j) => ((i * j) % 2) + ((i * j) % 3), (i, j) => (((i * j) % 2) + ((i * j) % 3)) % 2, (i, j) => (((i + j) % 2) + ((i * j) % 3)) % 2,
];

test("texts of every length that matters are read back", () => {
  const lengths = { 0: "1M", 14: "1M", 84: "5M", 122: "7M", 123: "8M", 152: "8M", 180: "9M", 181: "10M", 213: "10M", 412: "15M", 520: "15L" };
  for (const [length, block] of Object.entries(lengths)) {
    const text = "https://tracker.example:9090/s/aB3_-#1.".repeat(14).slice(0, Number(length));
    const code = encodeQr(text);
    assert.equal(`${code.version}${code.level}`, block, `${length} characters`);
    assert.equal(code.size, 17 + 4 * code.version);
    assert.equal(read(code), text, `${length} characters`);
  }
});

test("text outside ASCII is read back as UTF-8", () => {
  assert.equal(read(encodeQr("é – 群")), "é – 群");
});

test("what is too long gets no code", () => {
  assert.equal(encodeQr("x".repeat(521)), null);
});

test("finder, timing and the dark module stand where cameras look for them", () => {
  for (const length of [1, 100, 200, 400]) {
    const { size, modules } = encodeQr("x".repeat(length));
    const row = (y, from, to) => modules.slice(y * size + from, y * size + to).join("");
    const finder = ["1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"];
    finder.forEach((line, y) => {
      assert.equal(row(y, 0, 8), `${line}0`);
      assert.equal(row(y, size - 8, size), `0${line}`);
      assert.equal(row(size - 7 + y, 0, 8), `${line}0`);
    });
    assert.match(row(6, 8, size - 8), /^1(01)+$/);
    assert.equal(modules[(size - 8) * size + 8], 1);
  }
});

/** The text of a symbol; asserts everything that is redundant in it. */
function read({ size, modules }) {
  const dark = (row, column) => modules[row * size + column];
  const version = (size - 17) / 4;
  const { level, mask } = readFormat(dark, size);
  if (version >= 7) assert.equal(readVersion(dark, size), version);
  const words = readWords(dark, size, version, mask);
  const data = readBlocks(words, `${version}${level}`);
  return readText(data, version);
}

function readFormat(dark, size) {
  const rows = [0, 1, 2, 3, 4, 5, 7, 8];
  const first = [...rows.map((row) => dark(row, 8)), dark(8, 7), ...[5, 4, 3, 2, 1, 0].map((column) => dark(8, column))];
  const second = Array.from({ length: 15 }, (_, bit) => (bit < 8 ? dark(8, size - 1 - bit) : dark(size - 15 + bit, 8)));
  assert.deepEqual(first, second, "both copies of the format agree");
  const bits = first.reduce((sum, bit, at) => sum | (bit << at), 0) ^ 0b101010000010010;
  assert.equal(polynomialRest(bits, 0b10100110111), 0, "the format's check bits are right");
  return { level: LEVELS[bits >> 13], mask: (bits >> 10) & 7 };
}

function readVersion(dark, size) {
  const at = (bit) => [size - 11 + (bit % 3), Math.floor(bit / 3)];
  const copies = [([a, b]) => dark(a, b), ([a, b]) => dark(b, a)].map((copy) =>
    Array.from({ length: 18 }, (_, bit) => copy(at(bit)) << bit).reduce((sum, bit) => sum | bit));
  assert.equal(copies[0], copies[1]);
  assert.equal(polynomialRest(copies[0], 0b1111100100101), 0, "the version's check bits are right");
  return copies[0] >> 12;
}

/** The rest of a division of polynomials over GF(2). */
function polynomialRest(value, divisor) {
  const degree = 31 - Math.clz32(divisor);
  while (value >= 1 << degree) value ^= divisor << (31 - Math.clz32(value) - degree);
  return value;
}

function readWords(dark, size, version, mask) {
  const bits = [];
  let isUp = true;
  for (let right = size - 1; right > 0; right -= right === 8 ? 3 : 2) {
    for (let step = 0; step < size; step++) {
      const row = isUp ? size - 1 - step : step;
      for (const column of [right, right - 1]) {
        if (!isPattern(row, column, size, version)) bits.push(dark(row, column) ^ (MASKS[mask](row, column) === 0 ? 1 : 0));
      }
    }
    isUp = !isUp;
  }
  const words = [];
  for (let at = 0; at + 8 <= bits.length; at += 8) words.push(bits.slice(at, at + 8).reduce((sum, bit) => 2 * sum + bit));
  return words;
}

function isPattern(row, column, size, version) {
  const far = size - 9;
  if (row === 6 || column === 6) return true;
  if ((row < 9 && column < 9) || (row < 9 && column > far) || (row > far && column < 9)) return true;
  if (version >= 7 && ((row < 6 && column > size - 12) || (column < 6 && row > size - 12))) return true;
  const centres = { 1: [], 2: [18], 5: [30], 7: [6, 22, 38], 8: [6, 24, 42], 9: [6, 26, 46], 10: [6, 28, 50], 15: [6, 26, 48, 70] }[version];
  const last = size - 7;
  return centres.some((y) => centres.some((x) => {
    const isFinder = (x === 6 && y === 6) || (x === 6 && y === last) || (x === last && y === 6);
    return !isFinder && Math.abs(row - y) <= 2 && Math.abs(column - x) <= 2;
  }));
}

function readBlocks(words, kind) {
  const lengths = BLOCKS[kind].flatMap(([count, length]) => Array(count).fill(length));
  const correction = CORRECTION[kind];
  assert.equal(words.length, lengths.reduce((sum, length) => sum + length + correction, 0), "all bytes are there");
  const blocks = lengths.map(() => []);
  let at = 0;
  for (let i = 0; i < Math.max(...lengths); i++) lengths.forEach((length, block) => { if (i < length) blocks[block].push(words[at++]); });
  for (let i = 0; i < correction; i++) for (const block of blocks) block.push(words[at++]);
  for (const block of blocks) {
    for (let power = 0; power < correction; power++) assert.equal(evaluate(block, exponent(power)), 0, "a syndrome is zero");
  }
  return blocks.flatMap((block) => block.slice(0, -correction));
}

/** 2 to a power in GF(256), by repeated doubling. */
function exponent(power) {
  let value = 1;
  for (; power > 0; power--) value = value < 128 ? 2 * value : (2 * value) ^ 285;
  return value;
}

/** The polynomial at a point, by Horner's rule. */
function evaluate(coefficients, point) {
  let sum = 0;
  for (const coefficient of coefficients) {
    let product = 0;
    for (let bit = 7; bit >= 0; bit--) {
      product = product < 128 ? 2 * product : (2 * product) ^ 285;
      if ((point >> bit) & 1) product ^= sum;
    }
    sum = product ^ coefficient;
  }
  return sum;
}

function readText(data, version) {
  const bits = data.map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const lengthBits = version < 10 ? 8 : 16;
  assert.equal(bits.slice(0, 4), "0100", "byte mode");
  const length = parseInt(bits.slice(4, 4 + lengthBits), 2);
  const start = 4 + lengthBits;
  const bytes = Array.from({ length }, (_, at) => parseInt(bits.slice(start + 8 * at, start + 8 * at + 8), 2));
  const rest = bits.slice(start + 8 * length);
  assert.match(rest.slice(0, rest.length % 8 || 8), /^0*$/, "the end is marked");
  return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
}
