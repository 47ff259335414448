// The token panel's words and layout, under node: `node --test tests/js/`. No browser, no packages.
import assert from "node:assert/strict";
import test from "node:test";

import widget, * as t from "../../finetune_wb/static/tokenpanel.js";

const kinds = text => t.visible(text).map(([kind]) => kind);

test("what can't be seen, or acts on its surroundings, is written as Python writes it", () => {
  const said = [["\x1b[31m", "\\x1b[31m"], ["\u202eevil\u202c", "\\u202eevil\\u202c"], ["a\u200bb", "a\\u200bb"], ["\x00\x07", "\\x00\\x07"], ["\t", "\\t"], ["\r\n", "\\r⏎"], ["\u00a0", "\\xa0"], ["\u2028", "\\u2028"],
    ["\u{e0041}", "\\U000e0041"], ["\u3000", "\\u3000"], ["\ud800", "\\ud800"], ["<b>&amp;</b>", "<b>&amp;</b>"], ["héé 漢字 😀", "héé 漢字 😀"], ["", "…"], ["  ", "··"], [" a", " a"]];
  for (const [text, shown] of said) assert.equal(t.spoken(text), shown);
});

test("no piece that is drawn as text holds a hidden character, whatever comes", () => {
  for (let code = 0; code < 0x30000; code++) {
    for (const [kind, shown] of t.visible(`a${String.fromCodePoint(code)}`)) assert.ok(!/[\p{C}\p{Zl}\p{Zp}]/u.test(shown), `${code.toString(16)} as ${kind}`);
  }
});

test("an escape that is written out in the data is no escape", () => {
  assert.deepEqual(kinds("\\x1b"), ["text"]);
  assert.deepEqual(kinds("a\x1bb\nc"), ["text", "escape", "text", "line", "text"]);
});

const vocabulary = [[5, "the", "the", 0], [6, " cat", "Ġcat", 0], [7, "<|end|>", "<|end|>", 1], [8, "", "Ã", 0]];
const side = { length: 60, parts: [[0, 2], [40, 43]], tokens: [0, 1, 1, 2, 3], states: "cctxx", ends: [41], hits: [40], losses: [null, null, 2.5, null, null], trained: 1, cut: 19, cut_answer: 3, refused: "", mean: 2.5 };

test("tokens know their place beyond a gap", () => {
  const found = t.laid(side, vocabulary);
  assert.deepEqual(found.filter(one => one.gap).map(one => one.gap), [38, 17]);
  const tokens = found.filter(one => !one.gap);
  assert.deepEqual(tokens.map(one => [one.place, one.id, one.state, one.named, one.end, one.hit]), [[0, 5, "context", false, false, false], [1, 6, "context", false, false, false], [40, 6, "trained", false, false, true], [41, 7, "cut", true, true, false], [42, 8, "cut", false, false, false]]);
  assert.equal(tokens.reduce((sum, one) => sum + 1, 0) + 38 + 17, side.length);
});

test("a token says all that is known of it", () => {
  const [, , , trained, end] = t.laid(side, vocabulary);
  assert.equal(t.about(trained), "Token 41 · “ cat” · piece Ġcat · id 6 · trained · loss 2.50 nats (8 %)");
  assert.equal(t.about(end), "Token 42 · “<|end|>” · id 7 · cut");  // what is cut ends nothing
  assert.equal(t.about({ ...end, state: "trained" }), "Token 42 · “<|end|>” · id 7 · trained, end of turn");
});

test("heat rises with the loss, from nothing to all at 6 nats", () => {
  assert.deepEqual([0, 3, 6, 60, NaN, null].map(t.heat), [0, 0.5, 1, 1, 0, 0]);
  assert.deepEqual([0, Math.LN2, 20].map(t.chance), ["100 %", "50 %", "< 0.1 %"]);
});

test("shares are short and honest", () => {
  assert.deepEqual([0, 1, 0.5342, 0.043, 0.0042, 0.0001, NaN].map(t.formatShare), ["0 %", "100 %", "53 %", "4 %", "0.4 %", "< 0.1 %", "–"]);
});

test("counts in words", () => {
  assert.equal(t.summary(side), "60 tokens · 1 trained · 19 cut, 3 of the answer · loss 2.50");
  assert.equal(t.summary({ ...side, refused: "there are no messages" }), "refused: there are no messages");
  const counts = { rows: 1200, tokens: 5000, trained: 0, cut: 2, cut_answers: 1, left_out: 3, refused: 1, longest: 90, padding: null };
  const said = Object.fromEntries(t.facts(counts, { max_length: { now: 64 } }).map(([name, ...rest]) => [name, rest]));
  assert.deepEqual(said.Rows, ["1,200", "3 left out, 1 refused", true]);
  assert.deepEqual(said.Trained, ["0", "0 %", true]);
  assert.deepEqual(said["Rows cut"], ["2", "1 cut answer", true]);
  assert.deepEqual(said.Padding, ["–", "", false]);
  assert.deepEqual(t.facts(undefined), []);
});

test("an empty page says why", () => {
  const page = { cards: [], note: "", query: "", mode: "text" }, state = { findings: [] };
  assert.equal(t.notice({ ...page, cards: [1] }, state), "");
  assert.equal(t.notice({ ...page, query: "a\u202eb" }, state), "No row says “a\\u202eb”.");
  assert.equal(t.notice({ ...page, query: "x", mode: "row" }, state), "No row is called “x”.");
  assert.match(t.notice(page, { findings: [{ kind: "no_template" }] }), /no chat template/);
  assert.equal(t.notice({ ...page, note: "wrong" }, state), "wrong");
});

test("work in hand is counted, and a model that loads is named", () => {
  assert.equal(t.doing(null), "");
  assert.equal(t.doing({ name: "encoding", done: 1500, total: 9000 }), "Encoding 1,500 of 9,000 rows…");
  assert.equal(t.doing({ name: "losses of this page", done: 0, total: 0 }), "Losses of this page: loading the model…");
});

test("lengths are lengths", () => {
  assert.deepEqual(t.readLength("", 99), { value: null });
  assert.deepEqual(t.readLength("64", 99), { value: 64 });
  for (const text of ["3", "6.5", "x", "1000", "-8"]) assert.ok(t.readLength(text, 99).problem, text);
});

test("up and down go from stretch to stretch", () => {
  const all = Array.from("cccttxx", state => ({ state }));
  assert.deepEqual([-1, 0, 2, 3, 5, 6].map(at => t.change(all, at, 1)), [0, 3, 3, 5, 6, 6]);
  assert.deepEqual([-1, 6, 5, 4, 3, 2, 0].map(at => t.change(all, at, -1)), [6, 5, 3, 3, 0, 0, 0]);
});

test("the module is a widget", () => assert.equal(typeof widget.render, "function"));
