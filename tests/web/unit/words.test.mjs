// Numbers as people read them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, count, duration, rate } from "../../../web/js/page/words.js";

test("sizes have a unit, and three digits at most", () => {
  for (const [n, text] of [[0, "0 B"], [999, "999 B"], [1000, "1 kB"], [1536, "1.5 kB"], [5_400_000, "5.4 MB"], [104_857_600, "105 MB"],
    [999_999, "1 MB"], [2 ** 30, "1.1 GB"], [2 ** 44, "17.6 TB"]]) assert.equal(bytes(n), text);
  assert.equal(rate(2048), "2 kB/s");
});

test("durations have two parts at most", () => {
  for (const [ms, text] of [[-5, "0 s"], [900, "0 s"], [7000, "7 s"], [60_000, "1 min"], [250_000, "4 min 10 s"], [3_600_000, "1 h"],
    [183_600_000, "2 d 3 h"]]) assert.equal(duration(ms), text);
});

test("counts have a plural", () => {
  assert.equal(count(1, "peer"), "1 peer");
  assert.equal(count(0, "peer"), "0 peers");
  assert.equal(count(1234, "copy", "copies"), "1,234 copies");
});
