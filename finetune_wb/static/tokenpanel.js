// Every token before step one: rows a page at a time, findings, options. One anywidget module, hand-written, no dependencies.
// Above the line "The view" are pure functions, tested under node (tests/js/tokenpanel.test.mjs); below it is the page.

import { h, mark, say, show } from "./dom.js";
import { clamp, codeLine, finite, formatCount, formatShare, list, options, plural, spoken, visible } from "./words.js";
import { buildHead, buildPager, fact, lastPage, live, newPanel, paintBusy, paintError, paintPager } from "./panel.js";

// ---- Words -------------------------------------------------------------------------------------------------------------------

export { formatCount, formatShare, plural, spoken, visible };

export const STATES = { t: "trained", c: "context", x: "cut" };
const TOP = 6;  // nats: a token as good as unknown, 1 in 400; the colours of tokens.css end there too

/** How strong the colour of a loss is, 0 to 1. */
export const heat = nats => (finite(nats) ? clamp(nats / TOP, 0, 1) : 0);

/** The chance the model gave a token. */
export const chance = nats => formatShare(Math.exp(-nats));

/** The tokens of one side of a card, as they are drawn: their place in the row, and what is left out between them. */
export function laid(side, vocabulary) {
  const ends = new Set(side.ends), hits = new Set(side.hits), found = [];
  let next = 0, at = 0;
  for (const [from, to] of side.parts) {
    if (from > at) found.push({ gap: from - at });
    for (let place = from; place < to; place++, next++) {
      const [id, text, piece, named] = vocabulary[side.tokens[next]];
      found.push({ place, id, text, piece, named: Boolean(named), state: STATES[side.states[next]], end: ends.has(place), hit: hits.has(place), nats: side.losses?.[next] ?? null });
    }
    at = to;
  }
  if (side.length > at) found.push({ gap: side.length - at });
  return found;
}

/** All that is known of a token, in a line. */
export function about(token) {
  const parts = [`Token ${formatCount(token.place + 1)}`, `“${spoken(token.text)}”`];
  if (token.piece !== token.text) parts.push(`piece ${spoken(token.piece)}`);
  parts.push(`id ${token.id}`, token.state + (token.end && token.state === "trained" ? ", end of turn" : ""));
  if (finite(token.nats)) parts.push(`loss ${token.nats.toFixed(2)} nats (${chance(token.nats)})`);
  return parts.join(" · ");
}

/** A side's counts, in a line. */
export function summary(side) {
  if (side.refused) return `refused: ${side.refused}`;
  const parts = [plural(side.length, "token"), `${formatCount(side.trained)} trained`];
  if (side.cut) parts.push(`${formatCount(side.cut)} cut${side.cut_answer ? `, ${formatCount(side.cut_answer)} of the answer` : ""}`);
  if (finite(side.mean)) parts.push(`loss ${side.mean.toFixed(2)}`);
  return parts.join(" · ");
}

/** The counts of a split: [name, value, note, whether it is bad]. */
export function facts(counts, options) {
  if (!counts) return [];
  const { rows, tokens, trained, cut, cut_answers, left_out, refused, longest, padding } = counts;
  return [
    ["Rows", formatCount(rows), [left_out && `${formatCount(left_out)} left out`, refused && `${formatCount(refused)} refused`].filter(Boolean).join(", "), refused > 0],
    ["Tokens", formatCount(tokens), "", false],
    ["Trained", formatCount(trained), tokens ? formatShare(trained / tokens) : "", trained === 0],
    ["Rows cut", formatCount(cut), cut ? plural(cut_answers, "cut answer") : "", cut_answers > 0],
    ["Longest row", formatCount(longest), options ? `limit ${formatCount(options.max_length.now)}` : "", false],
    ["Padding", padding === null ? "–" : formatShare(padding), padding === null ? "" : "in grouped batches", false],
  ];
}

/** What a page says of itself where it has no cards, or comes short. */
export function notice(page, state) {
  if (page.note) return page.note;
  if (state.findings.some(finding => finding.kind === "no_template")) return "No tokens yet: the tokenizer has no chat template. Take the cure above, or choose a template.";
  if (page.cards.length) return "";
  if (page.query) return page.mode === "token" ? `No row holds the token “${spoken(page.query)}”.` : page.mode === "row" ? `No row is called “${spoken(page.query)}”.` : `No row says “${spoken(page.query)}”.`;
  return "There are no rows here.";
}

/** Work in hand, in words. */
export function doing(job) {
  if (!job) return "";
  const all = job.total > 0 ? ` ${formatCount(job.done)} of ${formatCount(job.total)}` : "";
  return job.name === "encoding" ? `Encoding${all} rows…` : `${job.name.charAt(0).toUpperCase()}${job.name.slice(1)}:${all || " loading the model"}…`;
}

/** A length as a person may type it: {value} (null: the default) or {problem}. */
export function readLength(text, most) {
  if (!text.trim()) return { value: null };
  const value = Number(text);
  if (!Number.isInteger(value) || value < 4) return { problem: "A length is a whole number from 4." };
  return value > most ? { problem: `The model reads ${formatCount(most)} tokens at most.` } : { value };
}

// ---- The view ----------------------------------------------------------------------------------------------------------------
// Text from data is hostile: it only ever becomes textContent.

const SPLITS = { train: "Train", valid: "Valid" };
const ORDERS = { worst: "Worst first", loss: "Highest loss first", longest: "Longest first", data: "As in the data" };
const MODES = { text: ["Text", "words in the data"], token: ["Token", "a token, its piece, or #id"], row: ["Row", "a number, or part of a name"] };
const KEYS = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };

function makePanel(model, signal) {
  const panel = newPanel(model, signal, { progress: doing, numbers: false, code: false, here: null, sought: { query: "", mode: "text" }, found: [] });
  panel.set = (...values) => panel.ask("set", { values });
  panel.show = fields => panel.ask("show", { finding: panel.page.finding, ...fields });
  build(panel);
  return panel;
}

function build(panel) {
  const head = buildHead(panel, "Tokens");
  panel.facts = h("dl", { class: "ftwb-facts" });
  panel.options = buildOptions(panel);
  panel.findings = h("ul", { class: "ftwb-alerts" });
  panel.clean = h("p", { class: "ftwb-clean" });
  panel.tools = buildTools(panel);
  panel.losses = buildLosses(panel);
  panel.notice = h("div", { class: "ftwb-empty", hidden: true });
  panel.cards = h("div", { class: "ftwb-cards" });
  panel.pager = buildPager(panel, at => panel.show({ at }));
  panel.tip = h("div", { class: "ftwb-tip", "aria-hidden": "true", hidden: true });
  panel.live = h("div", { class: "ftwb-unseen", "aria-live": "polite" });
  panel.help = h("div", { class: "ftwb-unseen", id: `${panel.id}-help` }, "Left and right arrows move from token to token, up and down to the next change between trained and context, Escape ends.");
  panel.root = h("div", { class: "ftwb ftwb-panel ftwb-tp", role: "region", "aria-label": "Tokens", id: panel.id }, ...head, panel.facts, panel.options.root,
    h("section", { class: "ftwb-findings", "aria-label": "Findings" }, panel.clean, panel.findings), panel.tools.root, panel.losses.root, panel.notice, panel.cards, panel.pager.root, panel.tip, panel.live, panel.help);
  watchTokens(panel);
}

function buildOptions(panel) {
  const { on, button, labelled } = panel, made = {};
  const select = (field, properties) => on(h("select", { class: "ftwb-input", ...properties }), "change", event => panel.set(`${field}=${event.target.value || "null"}`));
  made.loss_on = select("train.loss_on", { title: "Which tokens are trained: the last answer (completion), every answer (assistant), or all" });
  made.chat_template = select("model.chat_template", { title: "How a conversation becomes text" });
  made.max_length = on(h("input", { class: "ftwb-input", type: "number", min: 4, step: 1, title: "Tokens that training sees of a row; empty takes the default" }), "change", () => {
    const { value, problem } = readLength(made.max_length.value, panel.state.options.max_length.most);
    say(made.problem, problem ?? "");
    if (!problem) panel.set(`train.max_length=${value ?? "null"}`);
  });
  made.fit = button("", () => panel.set(`train.max_length=${made.fit.value}`), { class: "ftwb-button ftwb-small", title: "Cut no row" });
  made.bad_rows = on(h("input", { type: "checkbox" }), "change", () => panel.set(`data.bad_rows=${made.bad_rows.checked ? "drop" : "error"}`));
  made.problem = h("span", { class: "ftwb-problem", role: "alert" });
  made.reset = button("Reset", () => panel.ask("reset"), { title: "The recipe as it came" });
  made.code = button("As code", () => { panel.code = !panel.code; paint(panel); }, { class: "ftwb-button ftwb-small ftwb-own-code", "aria-expanded": "false" });
  made.templates = labelled("Template", made.chat_template);
  made.lines = h("div", { class: "ftwb-code", hidden: true });
  const bar = h("div", { class: "ftwb-tools", role: "group", "aria-label": "Options" }, labelled("Loss on", made.loss_on), made.templates, h("span", { class: "ftwb-group" }, labelled("Max length", made.max_length), made.fit),
    h("label", { class: "ftwb-check", title: "Rows that teach nothing, or only the wrong thing: refused ones, cut answers, pairs of one answer" }, made.bad_rows, "Leave out bad rows"), h("span", { class: "ftwb-group ftwb-end" }, made.reset, made.code), made.problem);
  made.root = h("section", { "aria-label": "Options" }, bar, made.lines);
  return made;
}

function buildTools(panel) {
  const { on, button, labelled } = panel, made = { splits: {} };
  for (const [name, text] of Object.entries(SPLITS)) {
    const input = on(h("input", { type: "radio", name: `${panel.id}-split`, value: name }), "change", () => panel.ask("show", { split: name })), said = h("span", {}, text);
    made.splits[name] = { input, said, root: h("label", { class: "ftwb-choice" }, input, said) };
  }
  made.order = on(h("select", { class: "ftwb-input" }, ...Object.entries(ORDERS).map(([value, text]) => h("option", { value }, text))), "change", () => panel.show({ order: made.order.value }));
  made.mode = on(h("select", { class: "ftwb-input", "aria-label": "What is searched" }, ...Object.entries(MODES).map(([value, [text]]) => h("option", { value }, text))), "change", () => { made.query.placeholder = MODES[made.mode.value][1]; if (made.query.value) find(); else panel.sought.mode = made.mode.value; });
  made.query = h("input", { class: "ftwb-input", type: "search", size: 22, placeholder: MODES.text[1], "aria-label": "Search", spellcheck: false, autocomplete: "off" });
  const find = () => {
    const asked = { query: made.query.value, mode: made.mode.value };
    clearTimeout(panel.typing);
    if (asked.query === panel.sought.query && asked.mode === panel.sought.mode) return;
    panel.sought = asked;
    panel.show(asked);
  };
  on(made.query, "input", () => { clearTimeout(panel.typing); panel.typing = setTimeout(find, 500); });
  on(made.query, "change", find);
  on(made.query, "keydown", event => { if (event.key === "Enter") find(); });
  made.chip = button("", () => panel.ask("show", {}), { class: "ftwb-button ftwb-small ftwb-chip", title: "Show all rows again", hidden: true });
  made.again = button("Order again", () => panel.show({}), { title: "These rows stayed where they were while options changed", hidden: true });
  made.found = h("span", { class: "ftwb-soft ftwb-value" });
  made.root = h("div", { class: "ftwb-tools", role: "toolbar", "aria-label": "Rows" }, h("span", { class: "ftwb-choices", role: "radiogroup", "aria-label": "Split" }, ...Object.values(made.splits).map(one => one.root)),
    labelled("Order", made.order), h("span", { class: "ftwb-group ftwb-search" }, made.mode, made.query), made.chip, made.again, made.found);
  return made;
}

function buildLosses(panel) {
  const { on, button, labelled } = panel, made = {};
  made.of = on(h("select", { class: "ftwb-input" }), "change", () => panel.ask("ask_model", { values: [made.of.value] }));
  made.page = button("This page", () => panel.ask("measure"), { title: "Load the model, if it is not yet, and ask it about these rows" });
  made.all = button("All rows found", () => panel.ask("measure", { all_rows: true }), { title: "Ask the model about every row; what is known comes first in “Highest loss first”" });
  made.cancel = button("Cancel", () => panel.ask("cancel"), { hidden: true });
  made.numbers = on(h("input", { type: "checkbox" }), "change", () => { panel.numbers = made.numbers.checked; mark(panel.root, "data-numbers", String(panel.numbers)); });
  made.show = h("label", { class: "ftwb-check", title: "The loss behind each trained token, in nats" }, made.numbers, "Numbers");
  made.ask = h("span", { class: "ftwb-group" }, labelled("Losses of", made.of), made.page, made.all, made.cancel, made.show);
  const key = (name, text) => h("span", { class: name }, text);
  made.scale = h("span", { class: "ftwb-scale" }, "loss 0", h("i", { "aria-hidden": "true" }), "6+ nats");
  made.key = h("span", { class: "ftwb-tokens ftwb-legend", "aria-label": "Legend" }, key("trained", "trained"), key("context", "context"), key("cut", "cut off"), key("context named", "special"), key("trained named end", "end of turn"), made.scale);
  made.root = h("div", { class: "ftwb-legends" }, made.ask, made.key);
  return made;
}

// What it shows, from the traits.

function paint(panel) {
  panel.state = panel.model.get("state") ?? {};
  panel.page = panel.model.get("page") ?? {};
  const { state, page } = panel;
  if (!state.splits || !page.cards) return;
  paintError(panel);
  say(panel.title, [state.task, state.model, state.source].filter(Boolean).join(" · "));
  paintFacts(panel);
  paintOptions(panel);
  paintFindings(panel);
  paintTools(panel);
  paintCards(panel);
  paintBusy(panel);
}

function paintFacts(panel) {
  const { state, page } = panel;
  mark(panel.facts, "data-old", String(!state.checked));
  const rows = facts(state.counts[page.split], state.options);
  show(panel.facts, rows.length > 0);
  list(panel.facts, rows, fact);
}

function paintOptions(panel) {
  const { options: made, state } = panel, given = state.options;
  show(made.root, Boolean(given));
  if (!given) return;
  options(made.loss_on, given.loss_on.choices.map(name => [name, name]), given.loss_on.value);
  const custom = given.chat_template.choices.map(([name, text]) => [name, name === "" && !state.template ? "none" : text]);
  options(made.chat_template, custom, given.chat_template.value);
  show(made.templates, custom.length > 0);
  const { value, now, most } = given.max_length, { longest } = given;
  if (document.activeElement !== made.max_length || panel.shown !== value) made.max_length.value = value ?? "";
  panel.shown = value;
  made.max_length.placeholder = String(now);
  made.max_length.max = most;
  const fit = Math.min(longest, most);
  made.fit.value = String(fit);
  say(made.fit, longest > most ? `Model's most: ${formatCount(most)}` : `Longest row: ${formatCount(longest)}`);
  show(made.fit, longest > now && fit > now);
  made.bad_rows.checked = given.bad_rows === "drop";
  const changed = state.code.overrides.length > 0;
  show(made.reset, changed);
  mark(made.code, "aria-expanded", String(panel.code));
  show(made.lines, panel.code);
  const lines = changed ? [["Overrides", state.code.overrides.join("\n")], ["Cell", state.code.cell], ["Command", state.code.line]] : [];
  list(made.lines, lines.length ? lines : [["", "Nothing was changed yet."]], ([name, text]) => codeLine(panel, name, text));
}

function paintFindings(panel) {
  const { state, page } = panel;
  if (state.checked || !panel.found.length) panel.found = state.findings;  // those of before stay in sight until all rows are encoded anew
  mark(panel.findings, "data-old", String(!state.checked));
  list(panel.findings, panel.found, (finding, i) => {
    const bad = finding.severity === "error", names = finding.names.length ? ` (${finding.names.join(", ")}${finding.rows > finding.names.length ? ", …" : ""})` : "";
    const rows = finding.rows ? [panel.button(`Show ${plural(finding.rows, "row")}`, () => panel.ask("show", { split: "train", query: "", finding: i }), { "data-rows": i })] : [];
    const cure = finding.cure.length && state.options ? [panel.button(`Apply ${finding.cure.join(" ")}`, () => panel.ask("cure", { values: [i] }), { class: "ftwb-button ftwb-small ftwb-cure", "data-cure": finding.kind })] : [];
    return h("li", { "data-tone": bad ? "bad" : "warn", "data-kind": finding.kind }, h("span", { class: "ftwb-mark" }, bad ? "✕ error" : "⚠ warning"),
      h("div", {}, h("p", {}, h("b", {}, finding.kind.replaceAll("_", " ")), `: ${finding.what}${names}.`), h("p", { class: "ftwb-soft" }, [finding.evidence && `${finding.evidence}.`, finding.fix].filter(Boolean).join(" "))), h("span", { class: "ftwb-group" }, ...rows, ...cure));
  });
  for (const element of panel.findings.querySelectorAll("[data-rows]")) mark(element, "aria-pressed", String(Number(element.dataset.rows) === page.finding));
  for (const element of panel.findings.querySelectorAll("button")) if (element.disabled === state.checked) element.disabled = !state.checked;
  const clean = state.checked && !state.findings.length;
  show(panel.findings, panel.found.length > 0);
  show(panel.clean, !panel.found.length);
  say(panel.clean, clean ? "✓ Preflight found nothing wrong." : "Preflight follows once all rows are encoded.");
  mark(panel.clean, "data-tone", clean ? "good" : "calm");
}

function paintTools(panel) {
  const { tools, losses, pager, state, page } = panel;
  for (const [name, { input, said }] of Object.entries(tools.splits)) { input.checked = page.split === name; say(said, `${SPLITS[name]} ${formatCount(state.splits[name])}`); }
  tools.order.value = page.order;
  if (document.activeElement !== tools.query) { tools.query.value = page.query; panel.sought = { query: page.query, mode: page.mode }; }
  if (document.activeElement !== tools.mode) { tools.mode.value = page.mode; tools.query.placeholder = MODES[page.mode][1]; }
  const finding = page.finding === null ? null : state.findings[page.finding];
  show(tools.chip, Boolean(finding));
  say(tools.chip, finding ? `${finding.kind.replaceAll("_", " ")} ×` : "");
  show(tools.again, page.pinned && !page.partial);
  const few = page.query || page.finding !== null;
  say(tools.found, page.partial ? "in the order of the data until all are encoded" : page.pinned ? "the rows you were looking at" : few ? `${plural(page.found, "row")} found` : "");
  show(losses.ask, state.losses.choices.length > 0);
  options(losses.of, state.losses.choices, state.losses.of);
  const asks = state.job && state.job.name !== "encoding", known = page.cards.some(card => card.sides.some(side => side.losses));
  losses.page.disabled = losses.all.disabled = Boolean(asks) || !page.cards.length;
  show(losses.all, !page.partial && page.found > page.cards.length);
  show(losses.cancel, Boolean(asks));
  show(losses.show, known);
  show(losses.scale, known);
  show(pager.root, page.found > page.size && !page.pinned);
  paintPager(panel, `Page ${formatCount(page.at + 1)} of ${formatCount(lastPage(page) + 1)}`);
}

function paintCards(panel) {
  const { page, state } = panel, text = notice(page, state);
  say(panel.notice, text);
  show(panel.notice, Boolean(text));
  mark(panel.notice, "data-tone", page.note ? "warn" : "calm");
  const kinds = number => state.findings[number] ?? { kind: "", severity: "" };
  const rows = page.cards.map(card => ({ ...card, marks: card.findings.map(number => [kinds(number).kind, kinds(number).severity]).filter(([kind]) => kind), words: card.sides.map(side => side.tokens.map(number => page.vocabulary[number])) }));
  const focused = panel.here ? [panel.here.card, panel.here.side, panel.here.place] : null;
  const built = [];
  list(panel.cards, rows, row => { const card = buildCard(panel, row, page.vocabulary); built.push(card); return card; });
  for (const card of built) for (const text of card.querySelectorAll("pre")) reveal(text);
  if (focused && !panel.here?.element.isConnected) pointAt(panel, null);
}

function buildCard(panel, card, vocabulary) {
  const pair = card.sides.length > 1, names = pair ? ["Chosen", "Rejected"] : [""];
  const marks = card.marks.map(([kind, severity]) => h("span", { class: "ftwb-badge", "data-tone": severity === "error" ? "bad" : "warn" }, kind.replaceAll("_", " ")));
  const out = card.left_out ? [h("span", { class: "ftwb-badge", "data-tone": "warn" }, `left out: ${card.left_out}`)] : [];
  const head = h("header", {}, h("b", {}, `Row ${formatCount(card.place + 1)}`), h("span", { class: "ftwb-name", dir: "auto" }, card.name), ...(pair ? [] : [counted(card.sides[0])]), ...out, ...marks);
  const sides = card.sides.map((side, k) => buildSide(panel, card, side, k, names[k], vocabulary));
  return h("article", { class: "ftwb-tokens", "data-place": String(card.place), "data-out": String(Boolean(card.left_out)), "aria-label": `Row ${card.place + 1}, ${spoken(card.name)}` }, head, pair ? h("div", { class: "ftwb-pair" }, ...sides) : sides[0]);
}

const counted = side => h("span", { class: side.refused ? "refused" : "counts" }, summary(side));

function buildSide(panel, card, side, k, name, vocabulary) {
  const text = h("pre", { tabIndex: 0, role: "listbox", "aria-label": `Tokens of row ${card.place + 1}${name ? `, ${name.toLowerCase()}` : ""}: ${summary(side)}`, "aria-describedby": `${panel.id}-help` });
  text.ftwbTokens = [];
  for (const token of laid(side, vocabulary)) {
    if (token.gap) { text.append(panel.button(`… ${formatCount(token.gap)} more tokens …`, () => panel.ask("whole", { values: [card.place] }), { class: "ftwb-gap", title: "Show the whole row" })); continue; }
    const [element, ...after] = buildToken(token);
    Object.assign(token, { element, card: card.place, side: k });
    element.ftwbToken = token;
    text.ftwbTokens.push(token);
    text.append(element, ...after);
  }
  const body = side.tokens.length ? [text] : [];
  return name ? h("div", {}, h("header", {}, h("b", {}, name), counted(side)), ...body) : h("div", {}, ...body);
}

function buildToken(token) {
  const kinds = [token.state, token.named && "named", token.end && "end", token.hit && "hit"].filter(Boolean).join(" ");
  const element = h("span", { class: kinds, role: "option" });
  if (finite(token.nats)) { element.style.setProperty("--heat", heat(token.nats).toFixed(2)); element.dataset.loss = token.nats.toFixed(2); }
  const pieces = visible(token.text), last = pieces.findLastIndex(([kind]) => kind !== "line");
  pieces.forEach(([kind, shown], i) => element.append(kind === "text" ? shown : h("i", { class: kind }, shown), ...(kind === "line" && i < last ? ["\n"] : [])));
  return pieces.length - 1 > last ? [element, "\n"] : [element];  // a box that held the break would go on in the next line
}

// Tokens under the mouse and the arrows.

function watchTokens(panel) {
  const { on, cards } = panel, tokenOf = event => event.target.closest?.("[role=option]")?.ftwbToken ?? null;
  on(cards, "pointermove", event => { const token = tokenOf(event); if (token !== panel.here) pointAt(panel, token); });
  on(cards, "pointerleave", () => pointAt(panel, null));
  on(cards, "focusout", () => pointAt(panel, null));
  on(cards, "keydown", event => {
    const text = event.target;
    if (!text.ftwbTokens?.length || event.altKey || event.ctrlKey || event.metaKey) return;
    const all = text.ftwbTokens, at = panel.here && all.includes(panel.here) ? all.indexOf(panel.here) : -1;
    let to = null;
    if (event.key in KEYS) to = at < 0 && KEYS[event.key] < 0 && finite(KEYS[event.key]) ? all.length - 1 : clamp(at + KEYS[event.key], 0, all.length - 1);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") to = change(all, at, event.key === "ArrowDown" ? 1 : -1);
    else if (event.key === "Escape" && panel.here) to = -1;
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    pointAt(panel, all[to] ?? null, true);
  });
}

/** Scrolls a long row to where it gets interesting: its first cut token, else the first trained one. */
function reveal(text) {
  if (text.scrollHeight <= text.clientHeight) return;
  const first = text.querySelector(".hit") ?? text.querySelector(".cut") ?? text.querySelector(".trained");
  if (first && first.offsetTop > text.clientHeight * 0.7) text.scrollTop = first.offsetTop - text.clientHeight * 0.5;
}

/** The first token of the next (or the previous) stretch of one state. */
export function change(all, at, step) {
  if (at < 0) return step > 0 ? 0 : all.length - 1;
  let to = at;
  if (step > 0) { while (to < all.length && all[to].state === all[at].state) to++; return to < all.length ? to : all.length - 1; }
  while (to > 0 && all[to - 1].state === all[at].state) to--;
  if (to < at || to === 0) return to;
  at = --to;
  while (to > 0 && all[to - 1].state === all[at].state) to--;
  return to;
}

function pointAt(panel, token, byKey = false) {
  const before = panel.here, { tip } = panel;
  panel.here = token;
  if (before) { before.element.classList.remove("here"); before.element.removeAttribute("id"); before.element.removeAttribute("aria-selected"); before.element.removeAttribute("aria-label"); before.element.parentElement?.removeAttribute("aria-activedescendant"); }
  show(tip, Boolean(token));
  if (!token) return;
  const text = about(token), element = token.element;
  element.classList.add("here");
  element.id = `${panel.id}-here`;
  mark(element, "aria-selected", "true");
  mark(element, "aria-label", text);
  if (byKey) { mark(element.parentElement, "aria-activedescendant", element.id); element.scrollIntoView({ block: "nearest" }); }
  say(tip, text);
  const box = (Array.from(element.getClientRects()).find(rect => rect.width > 0) ?? element.getBoundingClientRect()), frame = panel.root.getBoundingClientRect();
  const left = clamp(box.left - frame.left - panel.root.clientLeft, 8, Math.max(8, frame.width - tip.offsetWidth - 10)), above = box.top - frame.top - tip.offsetHeight - 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 0 ? above : box.bottom - frame.top + 6}px`;
}

export default { render: view => live(view, ["state", "page", "error"], makePanel, paint) };
