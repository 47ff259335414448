// The data panel's words and geometry, under node: `node --test tests/js/`. No browser, no packages.
import assert from "node:assert/strict";
import test from "node:test";

import widget, * as d from "../../finetune_wb/static/datapanel.js";

test("a cell says what was cut of it, and whether there is anything in it", () => {
  assert.deepEqual(d.cellOf(null), { text: "", missing: true, before: false, after: false, length: 0 });
  assert.deepEqual(d.cellOf("whole"), { text: "whole", missing: false, before: false, after: false, length: 5 });
  assert.deepEqual(d.cellOf(["middle", 100, 40]), { text: "middle", missing: false, before: true, after: true, length: 100 });
  assert.equal(d.cellOf(["the end", 100, 93]).after, false);
});

test("what was searched for is found whatever the case, and as it was written", () => {
  assert.deepEqual(d.hits("My CARD and my card", "card"), [["My ", false], ["CARD", true], [" and my ", false], ["card", true]]);
  assert.deepEqual(d.hits("a.b (c) [d]", ".b (c"), [["a", false], [".b (c", true], [") [d]", false]]);
  assert.deepEqual(d.hits("", "x"), []);
  assert.deepEqual(d.hits("text", ""), [["text", false]]);
  for (const query of [".*+?^${}()|[]\\", "😀", "ß", "<b>"]) assert.deepEqual(d.hits(`a${query}b`, query), [["a", false], [query, true], ["b", false]]);
});

test("a bar's condition holds its rows and no others", () => {
  const whole = { edges: [0, 10, 20, 30], counts: [4, 2, 1], more: true }, real = { edges: [0, 0.5, 1], counts: [1, 1], more: false };
  assert.deepEqual(d.barCondition(whole, 0, "characters"), ["length", 0, 9]);
  assert.deepEqual(d.barCondition(whole, 2, "characters"), ["length", 20, Number.MAX_SAFE_INTEGER]);
  assert.deepEqual(d.barCondition(real, 1, "values"), ["between", 0.5, 1]);
  assert.equal(d.barText(whole, 2, "characters"), "20 or more characters: 1 row");
  assert.equal(d.barText(whole, 0, ""), "0 to 9: 4 rows");
});

test("the line of the cut lies where its length does", () => {
  const bars = { edges: [0, 50, 100], counts: [3, 1], more: false };
  assert.deepEqual([25, 100, 101, null].map(length => d.linePlace(bars, length)), [0.25, 1, null, null]);
  assert.equal(d.linePlace({ edges: [], counts: [], more: false }, 5), null);
});

test("lengths say what is cut, what was counted, and in what", () => {
  const found = { unit: "tokens", rows: 100, counted: 100, max_length: 64, cut: 3 };
  assert.equal(d.lengthText(found), "3 rows (3 %) longer than 64 would be cut.");
  assert.equal(d.lengthText({ ...found, cut: 0 }), "None is longer than 64, where rows are cut.");
  assert.equal(d.lengthText({ ...found, rows: 1e6, counted: 20000, cut: 0 }), "None is longer than 64, where rows are cut. Counted in 20,000 of 1,000,000 rows.");
  assert.match(d.lengthText({ ...found, unit: "words", max_length: null }), /^Words, for there is no tokenizer/);
});

test("a column in a line", () => {
  const profile = { rows: 1000, distinct: 77, missing: 4, empty: 0 };
  assert.equal(d.columnFacts(profile), "77 different · 4 missing (0.4 %)");
  assert.equal(d.columnFacts({ ...profile, distinct: 1000, missing: 0 }), "all different");
  assert.equal(d.columnFacts({ ...profile, distinct: null, missing: 0 }), "1,000 rows");
  assert.equal(d.quantileText({ least: 1, median: 12, most_of: 30.5, most: 400 }, "characters"), "median 12 · 95 % 30.5 · longest 400 characters");
  assert.equal(d.quantileText({ least: -1, median: 0.5, most_of: 0.9, most: 1 }), "median 0.5 · 95 % 0.9 · to 1 from -1");
  assert.equal(d.quantileText({}), "");
});

test("a filter says itself", () => {
  assert.equal(d.conditionText("label", ["is", "a\u202eb"]), "label: a\\u202eb");
  assert.equal(d.conditionText("text", ["length", 10, 20]), "text: 10 to 20 characters");
  assert.equal(d.conditionText("score", ["between", 0.25, 0.25]), "score: 0.25");
  assert.equal(d.conditionText("text", ["missing"]), "text missing");
  assert.equal(d.conditionText("text", ["is", ""]), "text: (empty)");
});

test("the page says why it is empty", () => {
  const page = { at: 1, size: 20, found: 1000000, of: 1000000, rows: [], query: "", where: {}, finding: null, picked: 0 }, state = { rows: 5 };
  assert.equal(d.notice({ ...page, query: "x\x1b" }, state), "No row says “x\\x1b”.");
  assert.equal(d.notice({ ...page, query: "x", where: { label: ["is", "a"] } }, state), "No row says “x” among those that are shown.");
  assert.equal(d.notice(page, state), "No row fits these filters.");
  assert.equal(d.notice(page, { rows: 0, job: null }), "There are no rows here.");
  assert.equal(d.notice(page, { rows: 0, job: { name: "reading" } }), "");
});

test("a lasso holds what lies in it, and a click takes the nearest", () => {
  const horseshoe = [[0, 0], [10, 0], [10, 10], [6, 10], [6, 4], [4, 4], [4, 10], [0, 10]];
  assert.deepEqual([[2, 2], [5, 2], [5, 8], [8, 8], [11, 5]].map(point => d.inside(point, horseshoe)), [true, true, false, true, false]);
  assert.equal(d.nearest([1, 1], [0, 2, 9], [0, 1, 9], 3), 1);
  assert.equal(d.nearest([1, 1], [50], [50], 9), -1);
});

test("the legend ranks, and the colours run out politely", () => {
  const { entries, colours } = d.legend([0, 1, 1, 2, 1, 0, -1], ["a", "b", "c"], 2);
  assert.deepEqual(entries.map(entry => [entry.name, entry.count, entry.colour]), [["b", 3, 0], ["a", 2, 1], ["c", 1, -1]]);
  assert.deepEqual(colours, [1, 0, 0, -1, 0, 1, -1]);
});

test("cures, kinds and work in words", () => {
  assert.equal(d.cureText("drop", 1), "Drop 1 row");
  assert.equal(d.cureText("pseudonymise", 1200), "Pseudonymise 1,200 rows");
  assert.equal(d.kindly("near_copies"), "near copies");
});

test("it is a widget", () => assert.equal(typeof widget.render, "function"));

test("findings are counted while they are open", () => {
  const found = [["error", ""], ["warning", "drop"], ["note", ""], ["note", ""]].map(([severity, applied]) => ({ severity, applied }));
  assert.equal(d.findingsText(found, false), "1 error, 2 notes; 1 cured.");
  assert.match(d.findingsText(found, true), /before your changes\.$/);
  assert.equal(d.findingsText([{ severity: "error", applied: "drop" }], false), "Nothing is open; 1 cured.");
  assert.equal(d.findingsText([], false), "✓ Nothing was found.");
});

test("small scores are told apart", () => {
  assert.deepEqual([0, 0.0003, 0.0008, 0.25, 1].map(d.scoreText), ["0.00", "0.0003", "0.0008", "0.25", "1.00"]);
});
