// What panels that ask their kernel share, under node: `node --test tests/js/`. No browser, no packages.
import assert from "node:assert/strict";
import test from "node:test";

import * as p from "../../finetune_wb/static/panel.js";

test("the page says where it is", () => {
  const page = { at: 1, size: 20, found: 1000000 };
  assert.equal(p.pageText(page), "Rows 21–40 of 1,000,000");
  assert.equal(p.pageText({ ...page, at: 0, found: 1, of: 1000000 }), "Row 1 of 1 found among 1,000,000");
  assert.equal(p.pageText({ ...page, found: 30 }, "Model"), "Models 21–30 of 30");
  assert.equal(p.pageText({ ...page, found: 0 }), "No rows");
  assert.deepEqual([0, 1, 20, 21, 41].map(found => p.lastPage({ found, size: 20 })), [0, 0, 0, 1, 2]);
});

test("work in hand is said in words", () => {
  assert.equal(p.progress({ name: "counting", done: 2, total: 5 }), "Counting 2 of 5…");
  assert.equal(p.progress({ name: "splitting the rows", done: 0, total: 0 }), "Splitting the rows…");
  assert.equal(p.progress(null), "");
});

test("an error keeps its lines, and nothing in it acts", () => {
  assert.equal(p.spokenLines("one\u202e\n\ntwo\x1b[31m"), "one\\u202e\n\ntwo\\x1b[31m");
});

/** A panel without a page: what is asked, and what the model was sent. */
function asking(state) {
  const sent = [], panel = p.newPanel({ get: () => state, send: message => sent.push(message) }, new AbortController().signal, { busy: element(), root: element(), fill: element(), bar: element() });
  return [panel, sent];
}
const element = () => ({ style: {}, attributes: {}, getAttribute(name) { return this.attributes[name]; }, setAttribute(name, value) { this.attributes[name] = value; } });

test("questions are counted on from what was answered, and silence is spoken of", t => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const [panel, sent] = asking({ asked: 7 });
  panel.ask("show", { values: [1], order: "data" });
  panel.ask("undo");
  assert.deepEqual(sent, [{ type: "show", asked: 8, values: [1], fields: { order: "data" } }, { type: "undo", asked: 9, values: [], fields: {} }]);
  assert.deepEqual([panel.busy.textContent, panel.root.attributes["aria-busy"]], ["", "true"]);
  panel.since -= p.PATIENCE;
  t.mock.timers.tick(p.PATIENCE);
  assert.match(panel.busy.textContent, /The kernel does not answer/);
  panel.state = { asked: 9, job: { name: "counting", done: 1, total: 4 } };
  p.paintBusy(panel);
  assert.deepEqual([panel.busy.textContent, panel.fill.style.width], ["Counting 1 of 4…", "25.0%"]);
});
