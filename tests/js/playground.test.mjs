// The playground's arithmetic, under node: `node --test tests/js/`. No browser, no packages.
import assert from "node:assert/strict";
import test from "node:test";

import * as p from "../../finetune_wb/static/playground.js";
import { cases } from "./talks.mjs";

test("the line below an answer says how long, how fast and why it ended, as far as it is known", () => {
  assert.equal(p.summary({ tokens: 1234, rate: 61.24, why: "stopped" }), "1,234 tokens · 61 tokens/s · stopped");
  assert.equal(p.summary({ tokens: 1, rate: 0.4219, why: "" }), "1 token · 0.42 tokens/s");
  assert.equal(p.summary({ tokens: 0, rate: null, why: "stopped" }), "stopped");
  assert.deepEqual([9.96, 9.94, 1, 0.99, 12345].map(p.formatRate), ["10", "9.9", "1.0", "0.99", "12,345"]);
});

const talk = () => cases.writing().turns;
const piece = (at, text, side = "base", turn = 1) => ({ turn, side, at, text, tokens: 20, rate: 50 });

test("pieces go where they belong; what came twice is known, what is missing is a gap", () => {
  const turns = talk(), base = turns[1].answers.base, start = base.text;
  assert.equal(p.receive(turns, piece(start.length, " reduced")), "appended");
  assert.deepEqual([base.text, base.tokens, base.rate], [`${start} reduced`, 20, 50]);
  assert.equal(p.receive(turns, piece(start.length, " reduced")), "known");
  assert.equal(p.receive(turns, piece(start.length, " reduced are left")), "appended", "the part that is new");
  assert.equal(base.text, `${start} reduced are left`);
  assert.equal(p.receive(turns, piece(base.text.length + 1, "x")), "gap");
  assert.equal(p.receive(turns, piece(0, "x", "base", 2)), "gap", "a turn that never came");
  assert.equal(p.receive(turns, piece(0, "x", "other")), "gap");
  assert.equal(p.receive(turns, piece(900, "late", "base", 0)), "known", "an answer that has ended is whole");
});

test("places count as JavaScript counts: an emoji is two", () => {
  const turns = [{ asked: "?", answers: { base: { text: "🙂", ended: null } } }];
  assert.equal(p.receive(turns, { turn: 0, side: "base", at: 2, text: "é🙂", tokens: 3, rate: 1 }), "appended");
  assert.equal(turns[0].answers.base.text, "🙂é🙂");
});

test("an answer waits, reads, writes and ends", () => {
  const blank = { text: "", ended: null }, some = { text: "a", ended: null };
  assert.equal(p.stateOf(blank, "tuned", { phase: "write", side: "base" }), "wait");
  assert.equal(p.stateOf(blank, "base", { phase: "write", side: "base" }), "read");
  assert.equal(p.stateOf(some, "base", { phase: "write", side: "base" }), "write");
  assert.equal(p.stateOf({ text: "a", ended: "limit" }, "base", { phase: "write", side: "base" }), "limit");
  assert.equal(p.stateOf(blank, "tuned", { phase: "rest", side: "" }), "stopped", "never begun, and nothing goes on");
});

test("Enter asks, with Shift it is a new line, Escape stops what is going on, and composing is left alone", () => {
  const key = (name, more = {}) => ({ key: name, shiftKey: false, altKey: false, isComposing: false, keyCode: 0, ...more });
  assert.equal(p.keyAsks(key("Enter"), false), "send");
  assert.equal(p.keyAsks(key("Enter"), true), "wait");
  assert.equal(p.keyAsks(key("Enter", { shiftKey: true }), false), null);
  assert.equal(p.keyAsks(key("Enter", { isComposing: true }), false), null);
  assert.equal(p.keyAsks(key("Enter", { keyCode: 229 }), false), null);
  assert.deepEqual([p.keyAsks(key("Escape"), true), p.keyAsks(key("Escape"), false), p.keyAsks(key("a"), false)], ["stop", null, null]);
});

test("settings are read as the kernel would take them", () => {
  for (const [name, text, value] of [["max_new_tokens", " 12 ", 12], ["temperature", "0", 0], ["temperature", "1e-1", 0.1], ["top_p", "1", 1], ["seed", "0", 0]]) assert.deepEqual(p.readSetting(name, text), { value });
  for (const [name, text] of [["max_new_tokens", "0"], ["max_new_tokens", "1.5"], ["max_new_tokens", ""], ["temperature", "-1"], ["temperature", "hot"], ["temperature", "Infinity"], ["top_p", "0"], ["top_p", "1.1"], ["seed", "-1"], ["seed", "1e300"]]) {
    assert.match(p.readSetting(name, text).problem, /^Has to be /, `${name} ${text}`);
  }
});

test("in the exact view nothing is invisible and nothing acts", () => {
  assert.equal(p.visible(""), "…");
  assert.equal(p.visible("a\tb\r\n"), "a⇥b␍\n");
  assert.equal(p.visible("\u202ex\u001b[31m\u200b"), "\\u{202e}x\\u{1b}[31m\\u{200b}");
  assert.equal(p.visible("größer 🙂"), "größer 🙂");
});

test("the transcript is plain text", () => {
  const { facts, turns } = cases.done();
  const text = p.transcript(facts, "Be short.", turns.slice(1));
  assert.equal(text, "system: Be short.\n\nuser: And what does keepdims do?\n\nbase: def keepdims(a, axis=None)\n\ntuned: ");
  assert.match(p.transcript(facts, "", turns), /the axis \[cut off at 128 new tokens\]\n\ntuned: Compute/);
  const plain = cases.plain();
  assert.equal(p.transcript(plain.facts, "unread", plain.turns).split("\n")[0], "text: Once upon");
});

test("a choice shows the first line of a text, no longer than there is room", () => {
  assert.equal(p.short("one\ntwo"), "one …");
  assert.equal(p.short("  one  "), "one");
  assert.equal(Array.from(p.short("🙂".repeat(100), 20)).length, 20);
});

test("a request to stop is a file that Jupyter's contents API can write", () => {
  assert.equal(p.stopUrl("/lab base/", "runs/a b/playground/1f"), "/lab base/api/contents/runs/a%20b/playground/1f/stop.json");
  assert.equal(p.stopUrl("/", "r"), "/api/contents/r/stop.json");
  const model = JSON.parse(p.stopBody(12));
  assert.deepEqual([model.type, model.format, JSON.parse(model.content)], ["file", "text", { stop: 12 }]);
  assert.equal(p.cookie("a=1; _xsrf=2|x=y; b=3", "_xsrf"), "2|x=y");
});
