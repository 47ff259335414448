// The model panel's words, under node: `node --test tests/js/`. No browser, no packages.
import assert from "node:assert/strict";
import test from "node:test";

import widget, * as m from "../../finetune_wb/static/modelpanel.js";

const fit = (method, bytes, verdict = "fits", applies = true, why_not = "") => ({ method, applies, why_not, bytes, verdict });

test("numbers are as short as they can be said", () => {
  const said = [[0, "0"], [9999, "9,999"], [12345, "12k"], [999499, "999k"], [22713216, "22.7M"], [5868800, "5.87M"], [134e6, "134M"], [1.24e9, "1.24B"], [70e9, "70.0B"], [405e9, "405B"], [null, "–"], [NaN, "–"]];
  for (const [value, text] of said) assert.equal(m.formatShort(value), text, String(value));
  for (const [value, text] of [[999, "999 bytes"], [91e6, "91 MB"], [1.239e9, "1.24 GB"], [8.3e12, "8.30 TB"], [undefined, "–"]]) assert.equal(m.formatBytes(value), text, String(value));
});

test("a line of the list says what is known, and no more", () => {
  const row = { task_title: "Text generation", parameters: 22713216, licence: "mit", downloads: 1234567, likes: 1, updated: "2026-01-02T03:04:05Z" };
  assert.deepEqual(m.rowFacts(row), [["Text generation", "22.7M parameters", "mit"], ["1.23M downloads", "1 like", "updated 2026-01-02"]]);
  assert.deepEqual(m.rowFacts({ task_title: null, parameters: null, licence: null, downloads: null, likes: null, updated: null }), [["task not named", "no licence"], []]);
  assert.deepEqual(m.rowFacts({ task_title: "a\u202eb\x1b", parameters: null, licence: "<b>" }), [["a\\u202eb\\x1b", "<b>"], []]);
});

test("a bar ends at what the machine has, and says where it goes on", () => {
  const machine = { total: 8e9, free: 6e9 }, [small, large, none] = m.bars([fit("lora", 4e9), fit("full", 16e9, "does not fit"), fit("probe", null)], machine);
  assert.deepEqual(small, { share: 0.5, over: false, free: 0.75 });
  assert.deepEqual(large, { share: 1, over: true, free: 0.75 });
  assert.deepEqual(none, { share: 0, over: false, free: 0.75 });
  assert.equal(m.bars([fit("lora", 4e9)], null)[0].free, null);
  assert.equal(m.memoryText(fit("lora", 4e9), machine), "LoRA: 4.00 GB of 6.00 GB free, fits");
  assert.equal(m.memoryText(fit("full", 16e9, "does not fit"), machine), "Full fine-tuning: 16.0 GB of 6.00 GB free, does not fit");
  assert.equal(m.memoryText(fit("qlora", null, "", false, "needs CUDA"), machine), "QLoRA: needs CUDA");
});

test("a licence without commercial use asks first, and once", () => {
  const card = gate => ({ id: "a/b", licence: { gate } });
  assert.deepEqual(["open", "conditions", "unknown", "non-commercial"].map(gate => m.asksFirst(card(gate), new Set())), [false, false, false, true]);
  assert.equal(m.asksFirst(card("non-commercial"), new Set(["a/b"])), false);
});

test("a choice keeps the recipe's method where it fits, and else takes the usual one that does", () => {
  const card = { methods: [fit("probe", null, "", false), fit("full", 9e9, "does not fit"), fit("lora", 2e9, "tight"), fit("ia3", 1e9)] };
  assert.equal(m.bestMethod(card, "full"), "ia3");
  assert.equal(m.bestMethod(card, "lora"), "lora");
  assert.equal(m.bestMethod(card, "probe"), "ia3");
  assert.equal(m.bestMethod({ methods: [fit("probe", 1), fit("prompt_tuning", 1), fit("lora", 2)] }, "full"), "lora");
  assert.equal(m.bestMethod({ methods: [fit("full", 9e9, "does not fit")] }, "full"), "full");
  assert.equal(m.bestMethod({ methods: card.methods.slice(0, 3) }, "probe"), "lora");
  assert.equal(m.bestMethod({ methods: card.methods.slice(0, 1) }, "probe"), null);
});

test("methods that don't apply stand together by their reason", () => {
  const methods = [fit("qlora", null, "", false, "needs CUDA"), fit("p_tuning", null, "", false, "no generation"), fit("lora", 1), fit("prefix_tuning", null, "", false, "no generation")];
  assert.deepEqual(m.notApplying(methods), [["needs CUDA", ["QLoRA"]], ["no generation", ["P-tuning", "Prefix tuning"]]]);
});

const card = more => ({ id: "a/b", source: "hub", architecture: "X", parameters: 10, dtype: "float32", weight_bytes: 40, context: 512, tokenizer: null, template: null, heads: [], tasks: ["chat"], licence: { title: "MIT", gate: "open" }, formats: ["safetensors"], download_bytes: 40, commit: "0123456789abcdef", remote_code: false, updated: null, methods: [], ...more });

test("side by side, only what differs stands out", () => {
  const rows = Object.fromEntries(m.compared([card(), card({ parameters: 20, licence: { title: "MIT", gate: "open" } })]).map(([name, texts, differs]) => [name, [texts, differs]]));
  assert.deepEqual(rows.Licence, [["MIT: open", "MIT: open"], false]);
  assert.equal(rows.Parameters[1], true);
  assert.deepEqual(rows.Revision[0], ["0123456789ab", "0123456789ab"]);
  assert.deepEqual(m.compared([]), [["Licence", [], false]]);
});

test("a verdict, and what it leaves to look out for", () => {
  const ok = card({ verdict: { ok: true, reason: "fine", way_out: "" }, tasks: ["chat", "completion"], methods: [fit("lora", 1), fit("ia3", 1), fit("full", 9, "tight")] });
  assert.deepEqual(m.verdictText(ok), ["good", "✓ Works here:", "can be fine-tuned for chat, completion. 2 methods fit into memory."]);
  assert.equal(m.verdictText({ ...ok, methods: [fit("full", 9, "tight")] })[2], "can be fine-tuned for chat, completion. Memory is tight for every method.");
  const no = card({ verdict: { ok: false, reason: "a/b has no\u202e weights", way_out: "" }, gated: true, warnings: [{ what: "has no\u202e weights", fix: "" }, { what: "old", fix: "" }, { what: "the licence is not known", fix: "Read it." }], licence: { title: "x", gate: "unknown", asks: "Read it." } });
  assert.deepEqual(m.verdictText(no), ["bad", "✕ Does not work here:", "a/b has no\\u202e weights"]);
  assert.deepEqual(m.warningsLeft(no).map(({ what }) => what), ["old"]);  // what the verdict says is said once
  const locked = { ...no, architecture: null };
  assert.deepEqual(m.verdictText(locked).slice(0, 2), ["warn", "Needs access:"]);
  const facts = Object.fromEntries(m.cardFacts(locked));
  assert.deepEqual([facts.Tokenizer, facts["Task heads"], facts["Remote code"]], ["–", "–", "–"]);  // what was not read is not denied
});

test("no network is said without the names of errors, and a machine by what it has", () => {
  assert.equal(m.lostText(["The hub can't be reached (ConnectError).", "Showing only the models on this machine."]), "The hub can't be reached. Showing only the models on this machine.");
  assert.equal(m.machineText({ place: "cpu", total: 25.3e9, free: 19e9 }), "19.0 GB of 25.3 GB RAM free");
  assert.equal(m.machineText({ place: "cuda", total: 25.3e9, free: 19e9 }), "19.0 GB of 25.3 GB GPU memory free");
  assert.equal(m.machineText(null), "");
});

test("a download says how far it is, and why it ended", () => {
  const at = more => m.downloadText({ state: "running", done: 5e6, total: 1e9, file: "model.safetensors", error: "", ...more });
  assert.equal(at({}), "5 MB of 1.00 GB · model.safetensors");
  assert.equal(at({ total: null, file: "" }), "5 MB");
  assert.equal(at({ note: "the hub asks for a pause" }), "5 MB of 1.00 GB · the hub asks for a pause");
  assert.match(at({ state: "cancelled" }), /^Stopped at 5 MB of 1.00 GB; what is here stays/);
  assert.match(at({ state: "failed", error: "the hub\u202e" }), /^Failed at 5 MB of 1.00 GB: the hub\\u202e$/);
  assert.match(at({ state: "finished" }), /^1.00 GB, here/);
});

test("an empty list says why", () => {
  const query = { words: "", modality: null, task: null, licence: null, language: null, source: null, max_parameters: null, fits: null, sort: "downloads" };
  assert.equal(m.notice({ rows: [], query, searching: true }), "Searching…");
  assert.equal(m.notice({ rows: [], query }), "There are no models here.");
  assert.equal(m.notice({ rows: [], query: { ...query, words: "\x1bzzz" } }), "No model is called “\\x1bzzz”.");
  assert.equal(m.notice({ rows: [], query: { ...query, words: "zzz", task: "fill-mask" } }), "No model is called “zzz” among those that fit the filters.");
  assert.equal(m.notice({ rows: [], query: { ...query, max_parameters: 1 } }), "No model fits these filters.");
  assert.equal(m.notice({ rows: [1], query }), "");
});

test("licences are summed by what they allow", () => {
  assert.deepEqual(m.byGate([["mit", "MIT", 3, "open"], ["cc-by-nc-4.0", "x", 2, "non-commercial"], ["apache-2.0", "Apache", 4, "open"]]), [["open", "All open (7)"], ["non-commercial", "All no commercial use (2)"]]);
});

test("a chat template, or the lack of one, is said in words", () => {
  assert.equal(m.templateText(null), "–");
  assert.equal(m.templateText({ own: false, fits: [] }), "none");
  assert.equal(m.templateText({ own: false, fits: ["chatml", "alpaca"] }), "none; these fit: chatml, alpaca");
  assert.equal(m.templateText({ own: true, fits: [], sound: true, system: true }), "its own, takes a system prompt");
  assert.equal(m.templateText({ own: true, fits: [], sound: false, system: false }), "its own, with problems");
});

test("a filter that nothing matches keeps its name", () => {
  const said = [["licence", "open", "All open (0)"], ["licence", "mit", "mit (0)"], ["task", "text-generation", "Text generation (0)"], ["language", "de", "German (0)"], ["source", "cache", "on this machine (0)"], ["max_parameters", 7e9, "up to 7.00B parameters"], ["task", "a\u202eb", "A\\u202eb (0)"]];
  for (const [name, value, text] of said) assert.equal(m.takenTitle(name, value), text);
});

test("languages have names", () => assert.deepEqual(["de", "multilingual", "<b>"].map(m.languageTitle), ["German", "multilingual", "<b>"]));

test("the widget is one render function", () => assert.deepEqual(Object.keys(widget), ["render"]));
