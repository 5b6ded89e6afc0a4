// What is shared in the tests.
import { randomBytes, randomFillSync } from "node:crypto";
import { open } from "node:fs/promises";

/** A file of random bytes, made a MiB at a time. */
export async function writeRandom(path, bytes) {
  const file = await open(path, "w");
  const piece = Buffer.alloc(1 << 20);
  for (let left = bytes; left > 0; left -= piece.length) {
    await file.write(randomFillSync(piece), 0, Math.min(left, piece.length));
  }
  await file.close();
}

/** A file of this length with random bytes at these places, and holes around them. */
export async function writeSparse(path, bytes, data) {
  const file = await open(path, "w");
  await file.truncate(bytes);
  for (const [at, length] of data) await file.write(randomBytes(length), 0, length, at);
  await file.close();
}

/** A folder with what folders have: several levels, an empty file, names in other scripts. */
export const tree = new Map([
  ["album/one.bin", randomBytes(1_500_000)],
  ["album/empty", Buffer.alloc(0)],
  ["album/deep/er/two.txt", Buffer.from("two\n")],
  ["album/deep/three.bin", randomBytes(70_000)],
  ["album/Grüße, 世界 ☃.txt", Buffer.from("four\n")],
]);

export async function writeTree(person) {
  for (const [path, bytes] of tree) await person.write(path, bytes);
  return person.path("album");
}

/** Names that would be code if anybody took them for markup or a template. */
export const hostileNames = [
  "<img src=x onerror=alert(1)>",
  '"><svg onload=alert(1)>',
  "</script><script>alert(1)</script>",
  "{{7*7}}",
  "${alert(1)}",
  "';alert(1);'",
  "javascript:alert(1)",
];
