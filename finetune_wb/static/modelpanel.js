// Which model: a search that answers while one types, a card beside the list, two or three side by side, and the recipe that a choice changes. One anywidget module, hand-written, no dependencies.
// Above the line "The view" are pure functions, tested under node (tests/js/modelpanel.test.mjs); below it is the page.

import { h, mark, say, show } from "./dom.js";
import { clamp, codeLine, finite, formatCount, list, options, plural, spoken } from "./words.js";
import { buildHead, buildPager, fact, fillTo, lastPage, live, newPanel, pageText, paintBusy, paintError, paintPager, spokenLines } from "./panel.js";

// ---- Words -------------------------------------------------------------------------------------------------------------------

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

const scaled = (value, units, digits) => {
  for (const [size, unit] of units) if (Math.abs(value) >= size) { const part = value / size; return `${part < 10 ? part.toFixed(digits) : part.toFixed(part < 100 && digits > 1 ? 1 : 0)}${unit}`; }
  return formatCount(value);
};

/** A number of parameters, downloads, likes: 22.7M, 1.24B. */
export const formatShort = value => (!finite(value) ? "–" : value < 10000 ? formatCount(value) : scaled(value, [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]], value < 1e6 ? 0 : 2));

/** Bytes: 91 MB, 1.24 GB. */
export const formatBytes = value => (!finite(value) ? "–" : value < 1000 ? `${formatCount(value)} bytes` : scaled(value, [[1e12, " TB"], [1e9, " GB"], [1e6, " MB"], [1e3, " kB"]], value < 1e9 ? 0 : 2));

const METHODS = { probe: "Linear probe", full: "Full fine-tuning", last_layers: "Last layers", lora: "LoRA", qlora: "QLoRA", ia3: "IA3", prompt_tuning: "Prompt tuning", prefix_tuning: "Prefix tuning", p_tuning: "P-tuning", bottleneck: "Adapters" };

/** A method's name as people write it. */
export const methodTitle = name => METHODS[name] ?? spoken(name).replaceAll("_", " ");

const SOURCES = { embedded: "built in", cache: "on this machine", folder: "your folder", hub: "on the hub" };

/** What is known of a model of the list, in two lines of pieces: what it is, and what people make of it. */
export function rowFacts(row) {
  const what = [row.task_title || "task not named"], said = [];
  if (finite(row.parameters)) what.push(`${formatShort(row.parameters)} parameters`);
  what.push(row.licence || "no licence");
  if (finite(row.downloads)) said.push(`${formatShort(row.downloads)} downloads`);
  if (finite(row.likes)) said.push(`${formatShort(row.likes)} ${row.likes === 1 ? "like" : "likes"}`);
  if (row.updated) said.push(`updated ${row.updated.slice(0, 10)}`);
  return [what, said].map(line => line.map(text => cut(spoken(text), 48)));
}

export const GATES = { open: ["good", "open"], conditions: ["warn", "with conditions"], "non-commercial": ["bad", "no commercial use"], unknown: ["warn", "not known"] };
export const FITS = { fits: ["good", "fits"], tight: ["warn", "tight"], "does not fit": ["bad", "does not fit"] };

/** Whether a licence asks for consent that was not given: `agreed` holds the models that it was given for. */
export const asksFirst = (card, agreed) => card.licence?.gate === "non-commercial" && !agreed.has(card.id);

/** A method's memory in words, for those who don't see its bar. */
export function memoryText(fit, machine) {
  if (!fit.applies) return `${methodTitle(fit.method)}: ${spoken(fit.why_not) || "does not apply"}`;
  if (!finite(fit.bytes)) return `${methodTitle(fit.method)}: not known`;
  return `${methodTitle(fit.method)}: ${formatBytes(fit.bytes)}${finite(machine?.free) ? ` of ${formatBytes(machine.free)} free` : ""}, ${FITS[fit.verdict]?.[1] ?? spoken(fit.verdict)}`;
}

/** Where a bar of memory ends and where the free memory does, 0 to 1 of what the machine has, or of the largest where that is more. */
export function bars(methods, machine) {
  const most = Math.max(machine?.total ?? 0, 1), free = finite(machine?.free) ? Math.min(1, machine.free / most) : null;
  return methods.map(fit => ({ share: finite(fit.bytes) ? Math.min(1, fit.bytes / most) : 0, over: finite(fit.bytes) && fit.bytes > most, free }));
}

const RANKS = ["lora", "bottleneck", "full", "last_layers", "ia3", "prefix_tuning", "p_tuning", "prompt_tuning", "qlora", "probe"];

/** The method that a choice takes: the recipe's where it fits, else the usual one that does; null where none applies. */
export function bestMethod(card, wanted) {
  const able = card.methods.filter(fit => fit.applies), known = able.find(fit => fit.method === wanted), ways = able.toSorted((one, other) => RANKS.indexOf(one.method) - RANKS.indexOf(other.method));
  const fitting = known && known.verdict !== "does not fit" ? known : ways.find(fit => fit.verdict === "fits") ?? ways.find(fit => fit.verdict === "tight");
  return (fitting ?? known ?? ways[0])?.method ?? null;
}

/** Whether a card could be read at all; of a gated model only its page is open. */
export const isRead = card => card.architecture !== null && card.architecture !== undefined;

/** A verdict: [tone, what it says first, why]. */
export function verdictText(card) {
  const { ok, reason } = card.verdict, fits = card.methods.filter(fit => fit.verdict === "fits").length, tight = card.methods.filter(fit => fit.verdict === "tight").length;
  if (!ok) return card.gated && !isRead(card) ? ["warn", "Needs access:", spoken(reason)] : ["bad", "✕ Does not work here:", spoken(reason || "")];
  const room = fits ? `${plural(fits, "method")} ${fits === 1 ? "fits" : "fit"} into memory.` : tight ? "Memory is tight for every method." : "";
  return ["good", "✓ Works here:", [card.tasks?.length ? `can be fine-tuned for ${card.tasks.join(", ")}.` : "", room].filter(Boolean).join(" ")];
}

/** What there is to look out for beside what the verdict and the licence say. */
export const warningsLeft = card => card.warnings.filter(({ fix }) => !fix || fix !== card.licence.asks).filter(({ what }) => card.verdict.ok || !spoken(card.verdict.reason || "").includes(spoken(what)));

/** The machine in words. */
export const machineText = machine => (machine ? `${formatBytes(machine.free)} of ${formatBytes(machine.total)} ${machine.place === "cuda" ? "GPU memory" : "RAM"} free` : "");

/** Why methods don't apply: [reason, their names]. */
export function notApplying(methods) {
  const found = new Map();
  for (const fit of methods) if (!fit.applies) { const why = spoken(fit.why_not || "does not apply"); found.set(why, [...(found.get(why) ?? []), methodTitle(fit.method)]); }
  return [...found];
}

/** A chat template in words; one that is null belongs to a model that writes no text. */
export function templateText(template) {
  if (!template) return "–";
  if (!template.own) return template.fits?.length ? `none; these fit: ${template.fits.join(", ")}` : "none";
  return `its own${template.sound ? "" : ", with problems"}${template.system ? ", takes a system prompt" : ""}`;
}

const listed = values => (values?.length ? values.join(", ") : "–");

/** The facts of a card: [name, value]. */
export function cardFacts(card) {
  const tokenizer = card.tokenizer ?? {}, known = isRead(card);
  return [
    ["Architecture", card.architecture ?? "–"],
    ["Parameters", finite(card.parameters) ? `${formatShort(card.parameters)} (${formatCount(card.parameters)})` : "–"],
    ["Precision", card.dtype ?? "–"],
    ["Weights", formatBytes(card.weight_bytes)],
    ["Context length", finite(card.context) ? plural(card.context, "token") : "–"],
    ["Tokenizer", card.tokenizer ? `${tokenizer.class}, ${plural(tokenizer.tokens, "token")}` : known ? "none" : "–"],
    ["Chat template", templateText(card.template)],
    ["Task heads", card.heads?.length ? card.heads.join("; ") : known ? "none (base model only)" : "–"],
    ["Fine-tunes for", listed(card.tasks)],
    ["File formats", listed(card.formats)],
    ["To download", card.download_bytes ? formatBytes(card.download_bytes) : card.source === "hub" ? "–" : "nothing, it is here"],
    ["Revision", card.commit ? card.commit.slice(0, 12) : "–"],
    ["Remote code", card.remote_code ? "asks to run its own Python code" : known ? "none" : "–"],
    ["Last update", card.updated ? String(card.updated).slice(0, 10) : "–"],
  ].map(([name, value]) => [name, spoken(String(value))]);
}

/** The rows of a comparison: [name, [text a card], whether they differ]. */
export function compared(cards) {
  const rows = [["Licence", cards.map(card => `${spoken(card.licence?.title ?? "–")}: ${GATES[card.licence?.gate]?.[1] ?? "not known"}`)]];
  const facts = cards.map(cardFacts);
  facts[0]?.forEach(([name], i) => rows.push([name, facts.map(each => each[i][1])]));
  return rows.map(([name, texts]) => [name, texts, new Set(texts).size > 1]);
}

/** How far a download is, in words. */
export function downloadText({ state, done, total, file, error, note }) {
  const amount = finite(total) && total > 0 ? `${formatBytes(done)} of ${formatBytes(total)}` : formatBytes(done);
  if (state === "waiting") return "waits…";
  if (state === "running") return `${amount}${note || file ? ` · ${spoken(note || file)}` : ""}`;
  if (state === "finished") return `${formatBytes(total)}, here and checked against the hub's hashes`;
  if (state === "cancelled") return `Stopped at ${amount}; what is here stays.`;
  return `Failed at ${amount}: ${spoken(error || "no reason given")}`;
}

/** What the list says of itself where it has no rows. */
export function notice(page) {
  if (page.rows.length) return "";
  if (page.searching) return "Searching…";
  const { words } = page.query, filtered = narrowed(page.query).length > 0;
  return words ? `No model is called “${spoken(words)}”${filtered ? " among those that fit the filters" : ""}.` : filtered ? "No model fits these filters." : "There are no models here.";
}

/** Why only this machine's models are shown, without the names of errors. */
export const lostText = notes => notes.map(note => spoken(note).replace(/ \(\w*(?:Error|Timeout|Exception)\)/, "")).join(" ");

const FILTERS = ["modality", "task", "licence", "language", "source", "max_parameters", "fits"];

/** The filters that are set. */
export const narrowed = query => FILTERS.filter(name => query[name] !== null && query[name] !== undefined);

const NAMES = new Intl.DisplayNames(["en"], { type: "language" });

/** A language by its code, in English. */
export function languageTitle(code) {
  try { return NAMES.of(code); } catch { return spoken(code); }
}

/** Gates as choices: how many licences' models each holds. */
export function byGate(licences) {
  const sums = new Map();
  for (const [, , count, gate] of licences) sums.set(gate, (sums.get(gate) ?? 0) + count);
  return Object.entries(GATES).filter(([gate]) => sums.has(gate)).map(([gate, [, title]]) => [gate, `All ${title} (${formatCount(sums.get(gate))})`]);
}

/** What a filter is set to, where nothing that was found has it. */
export function takenTitle(name, value) {
  if (name === "licence" && value in GATES) return `All ${GATES[value][1]} (0)`;
  const words = name === "language" ? languageTitle(value) : name === "source" ? SOURCES[value] ?? value : name === "max_parameters" ? `up to ${formatShort(value)} parameters` : name === "task" ? `${String(value).charAt(0).toUpperCase()}${String(value).slice(1).replaceAll("-", " ")}` : value;
  return name === "max_parameters" ? words : `${spoken(String(words))} (0)`;
}

const SIZES = [[1e8, "100M"], [5e8, "500M"], [1e9, "1B"], [3e9, "3B"], [8e9, "8B"], [3e10, "30B"]];

// ---- The view ----------------------------------------------------------------------------------------------------------------
// Names, licences and cards are strangers' texts: they only ever become textContent.

const MOST = 3;  // models side by side

function makePanel(model, signal) {
  const panel = newPanel(model, signal, { agreed: new Set(), active: 0, code: false, searched: 0, sought: "", side: false, cards: {} });
  panel.page = model.get("page") ?? {};
  /** Another search; what is not said stays as it is, but for the page. */
  panel.search = fields => { clearTimeout(panel.typing); panel.active = 0; panel.side = false; panel.ask("search", fields); panel.searched = panel.asked; };
  build(panel);
  return panel;
}

function build(panel) {
  const head = buildHead(panel, "Model");
  panel.now = buildNow(panel);
  panel.title.replaceWith(panel.now.root);
  panel.busy.after(panel.now.buttons);
  panel.notes = h("div", { class: "ftwb-note", role: "status", hidden: true });
  panel.tools = buildTools(panel);
  panel.list = buildList(panel);
  panel.card = h("article", { class: "ftwb-card", "aria-label": "Card", tabIndex: 0 });
  panel.tray = h("div", { class: "ftwb-tray ftwb-line", hidden: true });
  panel.beside = h("section", { class: "ftwb-beside", "aria-label": "Side by side", hidden: true });
  panel.main = h("div", { class: "ftwb-main" }, panel.list.root, panel.card);
  panel.downloads = h("ul", { class: "ftwb-downloads", "aria-label": "Downloads" });
  panel.root = h("div", { class: "ftwb ftwb-panel ftwb-mp", role: "region", "aria-label": "Model", id: panel.id }, ...head, panel.now.lines, panel.downloads, panel.notes, panel.tools.root, panel.tray, panel.main, panel.beside);
}

// What the recipe says now.

function buildNow(panel) {
  const made = { text: h("span"), why: h("span", { class: "ftwb-soft" }) };
  made.reset = panel.button("Reset", () => panel.ask("reset"), { title: "The recipe as it came", hidden: true });
  made.code = panel.button("As code", () => { panel.code = !panel.code; paint(panel); }, { class: "ftwb-button ftwb-small ftwb-own-code", "aria-expanded": "false" });
  made.lines = h("div", { class: "ftwb-code", hidden: true });
  made.root = h("span", { class: "ftwb-now", role: "group", "aria-label": "Recipe" }, h("span", { class: "ftwb-soft" }, "The recipe takes "), made.text, " ", made.why);
  made.buttons = h("span", { class: "ftwb-group" }, made.reset, made.code);
  return made;
}

function paintNow(panel) {
  const { now: made, state } = panel, { id, revision, method } = state.recipe;
  list(made.text, [[id, revision]], ([name, commit]) => h("span", {}, panel.button(spoken(name), () => open(panel, name), { class: "ftwb-link ftwb-name", title: "Show its card", dir: "auto" }), ...(commit ? [h("span", { class: "ftwb-soft" }, ` at ${spoken(commit.slice(0, 12))}`)] : [])));
  say(made.why, `· ${methodTitle(method)}`);
  show(made.reset, state.changed);
  mark(made.code, "aria-expanded", String(panel.code));
  show(made.lines, panel.code);
  list(made.lines, state.changed ? state.code : [["", "Nothing was chosen yet: the recipe is as it came."]], ([name, text]) => codeLine(panel, name, text));
}

// What is looked for.

const TITLES = { task: "Task", licence: "Licence", language: "Language", source: "Source", max_parameters: "Size", fits: "Fits here with" };
const unset = name => (name === "fits" ? "Memory: any" : `${TITLES[name]}: any`);

function buildTools(panel) {
  const { on, button } = panel, made = {};
  made.words = h("input", { class: "ftwb-input", type: "search", placeholder: "Search models: a name, an owner, a word", "aria-label": "Search models", title: "Press / in the list to come here", spellcheck: false, autocomplete: "off" });
  const find = () => { clearTimeout(panel.typing); if (made.words.value === panel.sought) return; panel.sought = made.words.value; panel.search({ words: made.words.value }); };
  on(made.words, "input", () => { clearTimeout(panel.typing); panel.typing = setTimeout(find, 250); });
  on(made.words, "change", find);
  on(made.words, "keydown", event => { if (event.key === "Enter") find(); if (event.key === "ArrowDown") { event.preventDefault(); focusRow(panel, panel.active); } });
  const select = (name, title, read = value => value) => on(h("select", { class: "ftwb-input", title, "aria-label": TITLES[name] }), "change", event => panel.search({ [name]: event.target.value === "" ? null : read(event.target.value.slice(1)), ...(name === "modality" ? { task: null } : {}) }));
  made.sort = on(h("select", { class: "ftwb-input", "aria-label": "Sort", title: "Which come first" }), "change", () => panel.search({ sort: made.sort.value }));
  made.selects = { task: select("task", "What the model was made for"), licence: select("licence", "What its licence is"), language: select("language", "A language it was made for"), source: select("source", "Where it is"),
    max_parameters: select("max_parameters", "No larger than this", Number), fits: select("fits", "Only what surely fits into this machine's memory, fine-tuned with this method") };
  made.modalities = h("span", { class: "ftwb-choices", role: "radiogroup", "aria-label": "Family" });
  made.clear = button("Clear", () => panel.search(Object.fromEntries(FILTERS.map(name => [name, null]))), { hidden: true, title: "Take all filters away" });
  made.root = h("search", { role: "search", "aria-label": "Models" }, h("div", { class: "ftwb-tools ftwb-first-tools" }, made.words, made.sort),
    h("div", { class: "ftwb-tools ftwb-families" }, made.modalities, made.clear), h("div", { class: "ftwb-tools ftwb-filters" }, ...Object.values(made.selects)));
  return made;
}

const counted = (title, count) => `${cut(spoken(title), 48)} (${formatCount(count)})`;

function paintTools(panel) {
  const { tools: made, page, state } = panel, { query, facets } = page;
  if (document.activeElement !== made.words) { made.words.value = query.words; panel.sought = query.words; }
  options(made.sort, page.sorts, query.sort);
  list(made.modalities, [["", "All", null], ...facets.modality], ([name, title, count]) => {
    const input = panel.on(h("input", { type: "radio", name: `${panel.id}-family`, value: name }), "change", () => panel.search({ modality: name || null, task: null }));
    return h("label", { class: "ftwb-choice", "data-none": String(count === 0) }, input, h("span", {}, spoken(title), ...(count === null ? [] : [" ", h("small", {}, formatCount(count))])));
  });
  for (const input of made.modalities.querySelectorAll("input")) input.checked = input.value === (query.modality ?? "");
  const choices = {
    task: facets.task.map(([name, title, count, ours]) => [name, `${counted(title, count)}${ours ? "" : ": no fine-tuning yet"}`]), licence: [...byGate(facets.licence), ...facets.licence.map(([name, title, count]) => [name, counted(title, count)])],
    language: facets.language.map(([name, , count]) => [name, counted(languageTitle(name), count)]), source: facets.source.map(([name, , count]) => [name, counted(SOURCES[name] ?? name, count)]),
    max_parameters: SIZES.map(([value, text]) => [value, `up to ${text} parameters`]), fits: state.methods.map(name => [name, `Fits with ${methodTitle(name)}`]) };
  for (const [name, element] of Object.entries(made.selects)) {
    const taken = query[name], rows = choices[name].map(([value, text]) => [`=${value}`, text]), now = taken === null || taken === undefined ? "" : `=${taken}`;
    if (now && !rows.some(([value]) => value === now)) rows.push([now, cut(takenTitle(name, taken), 48)]);
    options(element, [["", unset(name)], ...rows], now);
    mark(element, "data-set", String(now !== ""));
  }
  show(made.clear, narrowed(query).length > 0);
}

// The list.

function buildList(panel) {
  const made = { rows: h("ul", { class: "ftwb-models", role: "listbox", "aria-label": "Models", "aria-describedby": `${panel.id}-keys` }), empty: h("div", { class: "ftwb-empty", hidden: true }) };
  panel.pager = buildPager(panel, at => panel.search({ at }));
  made.keys = h("div", { class: "ftwb-unseen", id: `${panel.id}-keys` }, "Up and down arrows move from model to model, Page Up and Page Down from page to page, Enter opens a card, C puts a model side by side with others, slash goes to the search.");
  made.notes = h("p", { class: "ftwb-soft ftwb-about", role: "status" });
  made.root = h("section", { class: "ftwb-list", "aria-label": "Found" }, made.rows, made.empty, panel.pager.root, made.notes, made.keys);
  panel.on(made.rows, "keydown", event => rowKeys(panel, event));
  panel.on(made.rows, "click", event => { const row = event.target.closest("[role=option]"); if (!row || getSelection()?.toString()) return; focusRow(panel, [...made.rows.children].indexOf(row)); open(panel, row.ftwbId); });
  return made;
}

function rowKeys(panel, event) {
  if (event.altKey || event.ctrlKey || event.metaKey || !("ftwbId" in event.target)) return;
  const { page } = panel, all = panel.list.rows.children, at = [...all].indexOf(event.target), last = lastPage(page);
  const turn = (to, active) => { if (to === page.at || to < 0 || to > last) return focusRow(panel, active); panel.search({ at: to }); panel.wanted = panel.active = active; };
  const acts = {
    ArrowDown: () => (at + 1 < all.length ? focusRow(panel, at + 1) : page.at < last && turn(page.at + 1, 0)),
    ArrowUp: () => (at > 0 ? focusRow(panel, at - 1) : page.at > 0 ? turn(page.at - 1, -1) : panel.tools.words.focus()),
    PageDown: () => (page.at < last ? turn(page.at + 1, at) : focusRow(panel, -1)),
    PageUp: () => (page.at > 0 ? turn(page.at - 1, at) : focusRow(panel, 0)),
    Home: () => focusRow(panel, 0),
    End: () => focusRow(panel, -1),
    Enter: () => open(panel, event.target.ftwbId),
    " ": () => open(panel, event.target.ftwbId),
    c: () => compare(panel, event.target.ftwbId),
    "/": () => panel.tools.words.focus(),
  };
  const act = acts[event.key] ?? (event.key === "C" ? acts.c : null);
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}

function focusRow(panel, at) {
  const rows = [...panel.list.rows.children];
  if (!rows.length) return;
  panel.active = clamp(at < 0 ? rows.length - 1 : at, 0, rows.length - 1);
  rows.forEach((row, i) => { row.tabIndex = i === panel.active ? 0 : -1; });
  rows[panel.active].focus();
}

const open = (panel, id) => { panel.side = false; panel.ask("open", { values: [id] }); };
const compare = (panel, id) => panel.ask("compare", { values: [id] });
const GATED = "Its owner asks you to accept terms on its page first";
const badge = (text, tone, title = "") => h("span", { class: "ftwb-badge", "data-tone": tone, title }, text);

/** A model's name: its owner softer. */
function named(id) {
  const at = id.lastIndexOf("/") + 1;
  return h("span", { class: "ftwb-name", dir: "auto" }, ...(at > 1 ? [h("span", { class: "ftwb-soft" }, spoken(id.slice(0, at)))] : []), h("b", {}, spoken(id.slice(at)) || spoken(id)));
}

function buildRow(row) {
  const marks = [];
  if (row.taken) marks.push(badge("in the recipe", "good"));
  if (row.beside) marks.push(badge("side by side", "calm"));
  if (row.source !== "hub") marks.push(badge(spoken(SOURCES[row.source] ?? row.source), "calm"));
  if (!row.complete) marks.push(badge("incomplete", "warn", "It can't be loaded as it lies there"));
  if (row.gated) marks.push(badge("gated", "warn", GATED));
  if (GATES[row.gate]?.[0] === "bad") marks.push(badge(GATES[row.gate][1], "bad"));
  if (row.task && !row.ours) marks.push(badge("no fine-tuning yet", "calm", spoken(row.why_not)));
  const element = h("li", { role: "option", tabIndex: -1, "aria-selected": "false" }, h("div", { class: "ftwb-line" }, named(row.id), ...marks), ...rowFacts(row).filter(line => line.length).map(line => h("p", { class: "ftwb-soft" }, line.join(" · "))),
    ...(row.note ? [h("p", { class: "ftwb-soft ftwb-row-note", dir: "auto", title: spoken(row.note) }, spoken(row.note))] : []));
  element.ftwbId = row.id;
  return element;
}

function paintList(panel) {
  const { list: made, page, state } = panel, hadFocus = made.rows.contains(document.activeElement);
  list(made.rows, page.rows.map(row => ({ ...row, taken: row.id === state.recipe.id, beside: state.compared.includes(row.id) })), buildRow);
  const count = page.rows.length, active = clamp(panel.wanted === undefined ? panel.active : panel.wanted < 0 ? count - 1 : panel.wanted, 0, Math.max(0, count - 1));
  [...made.rows.children].forEach((row, i) => { row.tabIndex = i === active ? 0 : -1; mark(row, "aria-selected", String(row.ftwbId === state.open)); });
  panel.active = active;
  if (panel.wanted !== undefined && (page.asked ?? 0) >= panel.searched) { panel.wanted = undefined; focusRow(panel, active); }
  else if (hadFocus && count && !made.rows.contains(document.activeElement)) made.rows.children[active].focus();
  show(made.rows, count > 0);
  const nothing = notice(page);
  say(made.empty, nothing);
  show(made.empty, Boolean(nothing));
  show(panel.pager.root, page.found > 0);
  paintPager(panel, pageText(page, "Model"));
  say(made.notes, page.alone ? "" : page.notes.map(spokenLines).join(" "));
  mark(made.root, "data-old", String((page.asked ?? 0) < panel.searched || Boolean(page.searching)));
}

// The card.

function paintCard(panel) {
  const { state } = panel, id = state.open, held = id === null ? null : panel.cards[id] ?? null;
  show(panel.card, id !== null);
  mark(panel.main, "data-alone", String(id === null));
  const download = state.downloads.find(one => one.id === id)?.state ?? null;
  list(panel.card, id === null ? [] : [{ id, held, row: held ? null : panel.page.rows.find(one => one.id === id) ?? null, recipe: state.recipe, beside: state.compared.includes(id), full: state.compared.length >= MOST, download, token: state.token, batch: state.batch, length: state.length, agreed: panel.agreed.has(id) }], one => buildCard(panel, one));
}

function buildCard(panel, { id, held, row, recipe, beside, full, download, token, batch, length }) {
  const head = h("header", {}, named(id));
  if (!held) return h("div", {}, head, ...(row ? rowFacts(row).filter(line => line.length).map(line => h("p", { class: "ftwb-soft" }, line.join(" · "))) : []), h("p", { class: "ftwb-soft", role: "status" }, "Reading its configuration and the headers of its weights; nothing is downloaded…"));
  const again = panel.button("Try again", () => panel.ask("open", { values: [id], again: true }));
  if (held.error) return h("div", {}, head, h("div", { class: "ftwb-verdict-box", "data-tone": "bad" }, h("p", { class: "ftwb-lines" }, spokenLines(held.error)), again));
  const card = held.card;
  head.append(...cardMarks(card), h("span", { class: "ftwb-group ftwb-end" }, ...cardButtons(panel, card, { recipe, beside, full, download })));
  const parts = [head, summaryOf(card), verdictOf(card), licenceOf(panel, card, token, recipe), ...warningsOf(card), memoryOf(panel, card, { recipe, batch, length }), h("dl", { class: "ftwb-card-facts" }, ...cardFacts(card).flatMap(([name, value]) => [h("dt", {}, name), h("dd", { dir: "auto" }, value)]))];
  return h("div", {}, ...parts);
}

function cardMarks(card) {
  const marks = [badge(spoken(SOURCES[card.source] ?? card.source), "calm")];
  if (card.gated) marks.push(badge("gated", "warn", GATED));
  if (card.remote_code) marks.push(badge("remote code", "bad", "It asks to run Python code of its own; that is refused unless the recipe sets model.trust_remote_code"));
  return marks;
}

function cardButtons(panel, card, { recipe, beside, full, download }) {
  const method = bestMethod(card, recipe.method), taken = card.id === recipe.id && (card.commit ?? null) === (recipe.revision ?? null), asks = asksFirst(card, panel.agreed), can = card.verdict.ok && method !== null && !asks;
  const text = taken ? "✓ In the recipe" : method && method !== recipe.method ? `Choose with ${methodTitle(method)}` : "Choose";
  const choose = panel.button(text, () => panel.ask("choose", { values: [card.id, method, panel.agreed.has(card.id)] }), { class: "ftwb-button ftwb-small ftwb-primary", "data-choose": method ?? "", disabled: !can || taken, title: can ? "Write this model into the recipe" : asks ? CONSENT : spoken(card.verdict.reason || "No method applies to it") });
  const side = panel.button(beside ? "Not side by side" : "Side by side", () => compare(panel, card.id), { "aria-pressed": String(beside), disabled: full && !beside, title: full && !beside ? `${MOST} models stand side by side at most` : "Compare it with others" });
  const fetch = card.download_bytes > 0 && isRead(card) && !["running", "waiting"].includes(download) ? [panel.button(`Download ${formatBytes(card.download_bytes)}`, () => panel.ask("download", { values: [card.id] }), { "data-download": "true", title: "In the background; it can be stopped and goes on where it ended" })] : [];
  return [choose, side, ...fetch];
}

/** What it is, at a glance, and where its page is. */
function summaryOf(card) {
  const parts = [card.architecture, finite(card.parameters) ? `${formatShort(card.parameters)} parameters` : "", finite(card.context) ? `context of ${plural(card.context, "token")}` : "", card.download_bytes ? `${formatBytes(card.download_bytes)} to download` : "", card.updated ? `updated ${String(card.updated).slice(0, 10)}` : ""];
  const page = card.page ? [h("a", { class: "ftwb-link", href: card.page, target: "_blank", rel: "noopener noreferrer" }, "Page on the hub")] : [];
  return h("p", { class: "ftwb-soft ftwb-summary", dir: "auto" }, parts.filter(Boolean).map(spoken).join(" · "), ...(page.length ? [" · ", ...page] : []));
}

function verdictOf(card) {
  const [tone, first, why] = verdictText(card);
  return h("div", { class: "ftwb-verdict-box", "data-tone": tone }, h("p", {}, h("b", {}, first), " ", why), ...(card.verdict.way_out ? [h("p", {}, spoken(card.verdict.way_out))] : []));
}

const CONSENT = "Its licence does not allow commercial use: agree to that below first";

function licenceOf(panel, card, token, recipe) {
  const box = panel.on(h("input", { type: "checkbox", checked: panel.agreed.has(card.id) }), "change", event => { panel.agreed[event.target.checked ? "add" : "delete"](card.id); paint(panel); panel.card.querySelector("[data-agree] input")?.focus(); });
  const agree = card.licence.gate === "non-commercial" && card.verdict.ok && card.id !== recipe.id ? [h("label", { class: "ftwb-check", "data-agree": "true" }, box, h("span", {}, "I will not use it commercially"))] : [];
  const { licence } = card, [tone, word] = GATES[licence.gate] ?? GATES.unknown, consent = card.gated && (token || isRead(card)) ? [h("p", {}, `Gated: its owner asks you to accept terms on its page. ${token ? `A token is set on this machine${isRead(card) ? "." : ", but its account has no access yet."}` : "No token is set on this machine; HF_TOKEN or `hf auth login` sets one."}`)] : [];
  return h("section", { class: "ftwb-licence", "aria-label": "Licence" }, h("p", {}, h("b", { dir: "auto" }, spoken(licence.title)), " ", badge(word, tone)), ...(licence.allows ? [h("p", {}, spoken(licence.allows))] : []), ...(licence.asks ? [h("p", { class: "ftwb-soft" }, spoken(licence.asks))] : []), ...consent, ...agree);
}

function warningsOf(card) {
  const left = warningsLeft(card);
  if (!left.length) return [];
  return [h("ul", { class: "ftwb-warnings", "aria-label": "Warnings" }, ...left.map(({ what, fix }) => h("li", {}, h("span", { class: "ftwb-mark" }, "⚠ "), `${spoken(what)}.`, ...(fix ? [h("span", { class: "ftwb-soft" }, ` ${spoken(fix)}`)] : []))))];
}

function meter(fit, bar, machine) {
  const [tone] = FITS[fit.verdict] ?? ["calm"], fill = h("i"), track = h("span", { class: "ftwb-meter", "data-tone": tone, "data-over": String(bar.over), role: "img", "aria-label": memoryText(fit, machine), title: memoryText(fit, machine) }, fill);
  fillTo(fill, bar.share);
  if (bar.free !== null) { const free = h("b", { "aria-hidden": "true" }); free.style.left = `${(100 * bar.free).toFixed(1)}%`; track.append(free); }
  return track;
}

function memoryOf(panel, card, { recipe, batch, length }) {
  if (!card.verdict.ok && !card.methods.some(fit => fit.applies)) return "";
  const { machine } = card, ways = bars(card.methods, machine), number = (value, name, title, placeholder) => panel.on(h("input", { class: "ftwb-input", type: "number", min: 1, step: 1, value: value ?? "", placeholder, title }), "change", event => {
    const read = Number(event.target.value);
    if (event.target.value.trim() === "" ? name === "length" : Number.isInteger(read) && read > 0) panel.ask("measure", { [name]: event.target.value.trim() === "" ? null : read });
    else event.target.value = value ?? "";
  });
  const rows = card.methods.flatMap((fit, i) => {
    if (!fit.applies) return [];
    const [tone, word] = FITS[fit.verdict] ?? ["calm", spoken(fit.verdict ?? "")], name = methodTitle(fit.method), taken = fit.method === recipe.method && card.id === recipe.id;
    const choose = panel.button(taken ? "✓" : "Choose", () => panel.ask("choose", { values: [card.id, fit.method, panel.agreed.has(card.id)] }), { disabled: !card.verdict.ok || asksFirst(card, panel.agreed) || taken, "aria-label": taken ? `${name} is in the recipe` : `Choose with ${name}`, title: `Write this model with ${name} into the recipe` });
    return [h("tr", { "data-method": fit.method }, h("th", { scope: "row" }, name), h("td", { class: "ftwb-meters" }, meter(fit, ways[i], machine)), h("td", { class: "ftwb-value" }, formatBytes(fit.bytes), " ", h("span", { class: "ftwb-fit", "data-tone": tone }, word)), h("td", {}, choose))];
  });
  const lacking = notApplying(card.methods).map(([why, names]) => h("p", { class: "ftwb-soft", "data-off": "true" }, `✕ ${names.join(", ")}: ${why}`));
  return h("section", { class: "ftwb-memory", "aria-label": "Memory" }, h("div", { class: "ftwb-line ftwb-tools-line" }, h("h3", {}, "Memory to train"), h("span", { class: "ftwb-soft", title: machine ? spoken(machine.name || machine.place || "") : "" }, machineText(machine)), h("span", { class: "ftwb-group ftwb-end" }, panel.labelled("Batch size", number(batch, "batch", "Rows a batch", "8")), panel.labelled("Length", number(length, "length", "Tokens a row; empty takes what the task usually does", card.shape?.length ?? "")))), ...(rows.length ? [h("table", {}, h("tbody", {}, ...rows))] : []), ...lacking);
}

// Two or three side by side.

function paintBeside(panel) {
  const { state } = panel, ids = state.compared;
  if (ids.length < 2) panel.side = false;
  show(panel.tray, ids.length > 0);
  list(panel.tray, ids.length ? [["", ids.length, panel.side], ...ids.map(id => [id])] : [], ([id, count, side]) => (id ? panel.button(`${spoken(id)} ×`, () => compare(panel, id), { class: "ftwb-button ftwb-small ftwb-chip", title: "Take it away" })
    : panel.button(side ? "Back to the list" : count < 2 ? "Side by side: one more" : `Show ${count} side by side`, () => { panel.side = !panel.side; paint(panel); }, { "data-side": "true", "aria-pressed": String(side), disabled: count < 2 })));
  show(panel.main, !panel.side);
  show(panel.beside, panel.side);
  list(panel.beside, panel.side ? [{ ids, held: ids.map(id => panel.cards[id] ?? null), recipe: state.recipe, agreed: [...panel.agreed] }] : [], one => buildBeside(panel, one));
}

function buildBeside(panel, { ids, held, recipe }) {
  const cards = held.map((one, i) => one?.card ?? { id: ids[i], error: one?.error ?? "", methods: [], warnings: [], verdict: { ok: false, reason: one?.error ?? "", way_out: "" }, licence: { title: "–", gate: "unknown" } });
  const width = h("colgroup", {}, h("col", { class: "ftwb-names" }), ...ids.map(() => h("col"))), cell = (...children) => h("td", { dir: "auto" }, ...children);
  const head = h("thead", {}, h("tr", {}, h("td"), ...cards.map(card => h("th", { scope: "col" }, panel.button(spoken(card.id), () => open(panel, card.id), { class: "ftwb-link ftwb-name", title: "Show its card" })))));
  const verdict = h("tr", {}, h("th", { scope: "row" }, "Verdict"), ...cards.map((card, i) => cell(...(held[i] ? [badge(card.verdict.ok ? "✓ works here" : "✕ not here", card.verdict.ok ? "good" : "bad"), h("p", { class: "ftwb-soft" }, spokenLines(card.verdict.ok ? verdictText(card)[2] : card.verdict.reason || ""))] : [h("span", { class: "ftwb-soft" }, "reading…")]))));
  const facts = compared(cards).map(([name, texts, differs]) => h("tr", { "data-differs": String(differs) }, h("th", { scope: "row" }, name), ...texts.map(text => cell(text))));
  const names = [...new Set(cards.flatMap(card => card.methods.filter(fit => fit.applies).map(fit => fit.method)))];
  const memory = names.map(name => h("tr", { "data-method": name }, h("th", { scope: "row" }, `${methodTitle(name)}, memory`), ...cards.map(card => {
    const fit = card.methods.find(one => one.method === name);
    if (!fit?.applies) return cell(h("span", { class: "ftwb-soft", title: spoken(fit?.why_not ?? "") }, "does not apply"));
    const [tone, word] = FITS[fit.verdict] ?? ["calm", ""];
    return cell(meter(fit, bars([fit], card.machine)[0], card.machine), formatBytes(fit.bytes), " ", h("span", { class: "ftwb-fit", "data-tone": tone }, word));
  })));
  const foot = h("tr", {}, h("td"), ...cards.map(card => { const method = bestMethod(card, recipe.method), taken = card.id === recipe.id; return cell(panel.button(taken ? "✓ In the recipe" : method && method !== recipe.method ? `Choose with ${methodTitle(method)}` : "Choose", () => panel.ask("choose", { values: [card.id, method, panel.agreed.has(card.id)] }), { class: "ftwb-button ftwb-small ftwb-primary", disabled: !card.verdict.ok || method === null || asksFirst(card, panel.agreed) || taken, title: asksFirst(card, panel.agreed) ? "Its licence does not allow commercial use: agree to that on its card first" : "" })); }));
  return h("table", {}, width, head, h("tbody", {}, verdict, ...facts, ...memory, foot));
}

// Downloads.

function paintDownloads(panel) {
  const { downloads: made, state } = panel;
  show(made, state.downloads.length > 0);
  list(made, state.downloads.map(({ id, state: now }) => [id, now]), ([id, now]) => {
    const bar = h("span", { class: "ftwb-bar", role: "progressbar", "aria-label": `Download of ${spoken(id)}`, "aria-valuemin": "0", "aria-valuemax": "100", "data-tone": now === "failed" ? "bad" : "calm" }, h("span")), busy = ["waiting", "running"].includes(now);
    const ways = busy ? [panel.button("Stop", () => panel.ask("cancel", { values: [id] }), { title: "What is here stays; it goes on from there" })] : [...(now === "finished" ? [] : [panel.button("Go on", () => panel.ask("download", { values: [id] }))]), panel.button("Hide", () => panel.ask("forget", { values: [id] }))];
    return h("li", { "data-state": now }, named(id), bar, h("span", { class: "ftwb-value ftwb-soft" }), h("span", { class: "ftwb-group ftwb-end" }, ...ways));
  });
  state.downloads.forEach((one, i) => {
    const [, bar, text] = made.children[i].children, share = one.state === "finished" ? 1 : one.total > 0 ? one.done / one.total : 0;
    fillTo(bar.firstChild, share);
    mark(bar, "aria-valuenow", String(Math.floor(100 * share)));
    say(text, downloadText(one));
  });
}

// What it shows, from the traits.

function paint(panel) {
  const page = panel.model.get("page") ?? {};
  panel.state = panel.model.get("state") ?? {};
  if ((page.asked ?? 0) >= panel.searched || !panel.page.rows) panel.page = page;  // an answer to a search of before is none
  panel.cards = panel.model.get("cards") ?? {};
  const { state } = panel;
  if (!state.recipe || !panel.page.rows) return;
  paintError(panel);
  paintNow(panel);
  paintDownloads(panel);
  const { alone, notes } = panel.page, lost = alone && notes.length > 0;
  list(panel.notes, lost ? [notes] : [], () => h("div", { class: "ftwb-line" }, h("span", { class: "ftwb-soft", title: spoken(notes.join(" ")) }, lostText(notes)), panel.button("Try again", () => panel.search({ at: panel.page.at, again: true }))));
  show(panel.notes, lost);
  paintTools(panel);
  paintList(panel);
  paintCard(panel);
  paintBeside(panel);
  paintBusy(panel);
}

export default { render: view => live(view, ["state", "page", "cards", "error"], makePanel, paint) };
