// The playground: two models answer the same question side by side. One anywidget module, hand-written, no dependencies.
// Above the line "The view" are pure functions, tested under node (tests/js/playground.test.mjs); below it is the page.

import { breakLines, h, mark, say, show } from "./dom.js";

const finite = Number.isFinite;

/** A whole number with its thousands apart: 12,400. */
export const formatCount = value => Math.round(value).toLocaleString("en-US");

/** Tokens a second: 312, 41, 7.3, 0.42. */
export const formatRate = value => (!finite(value) ? "" : value >= 9.95 ? formatCount(value) : value >= 0.995 ? value.toFixed(1) : value.toPrecision(2));

/** What stands below an answer: how long, how fast, why it ended. */
export function summary(answer) {
  const count = answer.tokens ? `${formatCount(answer.tokens)} token${answer.tokens === 1 ? "" : "s"}` : "";
  const rate = answer.tokens && finite(answer.rate) ? `${formatRate(answer.rate)} tokens/s` : "";
  return [count, rate, answer.why].filter(Boolean).join(" · ");
}

/**
 * Puts a piece of an answer in its place. Returns "appended", "known" (nothing new in it) or "gap"
 * (something is missing between what is held and what came: ask for everything again).
 */
export function receive(turns, piece) {
  const answer = turns[piece.turn]?.answers[piece.side];
  if (!answer) return "gap";
  if (answer.ended) return "known";  // a late piece: the whole is there
  const have = answer.text.length, add = piece.text.slice(have - piece.at);
  if (piece.at > have) return "gap";
  if (piece.at + piece.text.length <= have) return "known";
  Object.assign(answer, { text: answer.text + add, tokens: piece.tokens, rate: piece.rate });
  return "appended";
}

/** What an answer does: wait, read, write, or its end: stop, limit, context, stopped, failed. */
export const stateOf = (answer, side, status) => answer.ended || (status.phase === "write" && status.side === side ? (answer.text ? "write" : "read") : status.phase === "rest" ? "stopped" : "wait");

/** What a key asks for in the question's field. The Enter that ends a composed character (Japanese, Chinese…) asks for nothing. */
export function keyAsks(event, busy) {
  if (event.isComposing || event.keyCode === 229) return null;
  if (event.key === "Escape") return busy ? "stop" : null;
  if (event.key === "Enter" && !event.shiftKey && !event.altKey) return busy ? "wait" : "send";
  return null;
}

const SETTINGS = {
  max_new_tokens: { whole: true, lo: 1, hi: 1e6, say: "a whole number from 1" },
  temperature: { lo: 0, hi: 10, say: "a number from 0 to 10" },
  top_p: { lo: 0, hi: 1, open: true, say: "a number above 0, and 1 at most" },
  seed: { whole: true, lo: 0, hi: Number.MAX_SAFE_INTEGER, say: "a whole number from 0" },
};

/** A setting in a text: {value} or {problem}. */
export function readSetting(name, text) {
  const { whole, lo, hi, open, say } = SETTINGS[name], value = text.trim() === "" ? NaN : Number(text);
  const fine = finite(value) && value >= lo && value <= hi && !(open && value === lo) && (!whole || Number.isInteger(value));
  return fine ? { value } : { problem: `Has to be ${say}.` };
}

/** A token's text so that each can be seen and pointed at: line ends, what acts on a terminal, and nothing at all. */
export function visible(text) {
  if (text === "") return "…";
  return text.replace(/\t/g, "⇥").replace(/\r/g, "␍").replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu, one => (one === "\n" ? "\n" : `\\u{${one.codePointAt(0).toString(16)}}`));
}

/** The conversation as plain text. */
export function transcript(facts, system, turns) {
  const parts = system.trim() && !facts.plain ? [`system: ${system}`] : [];
  for (const turn of turns) {
    parts.push(`${facts.plain ? "text" : "user"}: ${turn.asked}`);
    for (const [side, answer] of Object.entries(turn.answers)) parts.push(`${side}: ${answer.text}${answer.ended && answer.ended !== "stop" ? ` [${answer.why}]` : ""}`);
  }
  return parts.join("\n\n");
}

/** The address of the file that asks to stop, in Jupyter's contents API. */
export const stopUrl = (base, folder) => `${base.replace(/\/*$/, "/")}api/contents/${[...folder.split("/").filter(Boolean), "stop.json"].map(encodeURIComponent).join("/")}`;

/** The contents model of that file. */
export const stopBody = id => JSON.stringify({ type: "file", format: "text", content: JSON.stringify({ stop: id }) });

/** A cookie's value, "" where it is not there. */
export const cookie = (cookies, name) => cookies.split("; ").find(pair => pair.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";

// ---- The view ----------------------------------------------------------------------------------------------------------------
// What models write is hostile: it only ever becomes text.

const SILENCE = 6000;  // milliseconds without a sign of the kernel after which it counts as gone
const PATIENCE = 1500;  // milliseconds after which a question that the kernel has not taken needs a word

/** Rebuilds `parent` only when what it shows has changed. */
function list(parent, rows, build) {
  const key = JSON.stringify(rows);
  if (parent.ftwbKey === key) return;
  parent.ftwbKey = key;
  parent.replaceChildren(...rows.map(build));
}

/** What all views of one model share: the turns with the newest text, the question on its way, the kernel's last sign. */
function newState() {
  return { turns: [], pending: null, lastId: 0, sign: performance.now(), exact: null, views: new Set(), synced: -Infinity };
}

const silent = state => performance.now() - state.sign > SILENCE;
const tell = (state, what) => { for (const view of state.views) view(what); };
const status = model => model.get("status") ?? {};
const busy = (state, model) => Boolean(state.pending) || ["load", "write"].includes(status(model).phase);

function sync(state, model, now = performance.now()) {
  if (now - state.synced < 1000) return;
  state.synced = now;
  model.send({ type: "sync" });
}

/** The turns as the kernel has them; an answer whose newest text has come already keeps it. */
function adopt(state, model) {
  const before = state.turns;
  state.turns = structuredClone(model.get("turns") ?? []);
  state.turns.forEach((turn, t) => {
    for (const [side, answer] of Object.entries(turn.answers)) {
      const held = before[t]?.asked === turn.asked ? before[t].answers[side] : null;
      if (held && !answer.ended && held.text.startsWith(answer.text)) Object.assign(answer, { text: held.text, tokens: held.tokens, rate: held.rate });
    }
  });
}

function take(state, model, message) {
  state.sign = performance.now();
  if (message.type === "text" && receive(state.turns, message) === "gap") sync(state, model);
  if (message.type === "exact") state.exact = { turn: message.turn, blocks: message.blocks };
  if (message.type === "refused") {
    if (state.exact && !state.exact.blocks.length) state.exact = null;
    state.returned = state.asked?.id === message.id ? state.asked.text : undefined;
    if (state.pending?.id === message.id) state.pending = null;
  }
  tell(state, message.type);
}

function moved(state, model) {
  state.sign = performance.now();
  adopt(state, model);
  if (state.pending && status(model).asked >= state.pending.id) state.pending = null;
  tell(state, "turns");
}

/** Stops what was asked up to now: a file through Jupyter's contents API, which works while the kernel is busy, and a message. */
async function stop(state, model) {
  const id = Math.max(state.pending?.id ?? -1, status(model).asked ?? -1), { folder } = model.get("facts") ?? {};
  if (state.pending) { state.returned = state.pending.text; state.pending = null; }
  tell(state, "stop");
  try { model.send({ type: "stop", id }); } catch { /* the kernel is gone; the file may still be read */ }
  if (!folder) return;
  const page = JSON.parse(document.getElementById("jupyter-config-data")?.textContent || "{}");
  const headers = { "Content-Type": "application/json", "X-XSRFToken": cookie(document.cookie, "_xsrf") };
  if (page.token) headers.Authorization = `token ${page.token}`;
  const options = { method: "PUT", credentials: "same-origin", headers, body: stopBody(id), signal: AbortSignal.timeout(5000) };
  try { await fetch(stopUrl(page.baseUrl ?? "/", folder), options); } catch { /* the message is on its way */ }
}

async function copy(panel, button, text) {
  try { await navigator.clipboard.writeText(text); say(button, "Copied"); }
  catch {  // no clipboard without https or permission: the text to be copied by hand
    panel.sheet.value = text;
    show(panel.sheet, true);
    panel.sheet.select();
    say(button, "Press Ctrl+C");
  }
  setTimeout(() => say(button, button.dataset.text), 2000);
}

// One answer: its text, a line of figures, and what can be done with it.

function newAnswer(panel, turn, side) {
  const text = document.createTextNode(""), body = h("div", { class: "said", dir: "auto" }, text), figures = h("span", { class: "figures" });
  const copying = panel.button("Copy", () => copy(panel, copying, panel.state.turns[turn]?.answers[side]?.text ?? ""), { class: "link", "aria-label": `Copy the answer of ${side}` });
  const tokens = panel.button("Tokens", () => panel.exact({ turn, side }), { class: "link", "aria-label": `Tokens of the answer of ${side}` });
  const root = h("div", { class: "answer", "data-side": side }, h("div", { class: "who" }, side), body, h("div", { class: "foot" }, figures, h("span", { class: "acts" }, tokens, copying)));
  return { root, text, body, figures, copying, tokens };
}

const WORDS = { wait: "waits for its turn", read: "reads the prompt …", write: "" };

function paintAnswer(panel, node, turn, side, answer) {
  const state = stateOf(answer, side, status(panel.model));
  mark(node.root, "data-state", state);
  if (answer.text.startsWith(node.text.data) && answer.text.length > node.text.data.length) node.text.appendData(answer.text.slice(node.text.data.length));
  else if (node.text.data !== answer.text) node.text.data = answer.text;
  const over = !(state in WORDS), empty = over && !answer.text;
  mark(node.body, "data-empty", empty ? "no text" : answer.text ? "" : WORDS[state]);
  say(node.figures, over ? summary(answer) || answer.why : state === "write" ? summary(answer) : "");
  for (const button of [node.copying, node.tokens]) show(button, over);
}

function turnOf(panel, turn, t) {
  const reference = h("div", { class: "reference", hidden: true }, h("span", { class: "label" }, "The row’s answer"), h("span", { class: "text", dir: "auto" }));
  const answers = new Map(Object.keys(turn.answers).map(side => [side, newAnswer(panel, t, side)]));
  const asked = h("div", { class: "asked" }, h("span", { class: "label" }, panel.facts.plain ? "Text" : "You"), h("span", { class: "text", dir: "auto" }, turn.asked));
  const pair = h("div", { class: "pair" }, ...panel.facts.sides.map(({ name }) => answers.get(name)?.root ?? h("div", { class: "answer none", "data-side": name }, "not asked")));
  return { root: h("li", { class: "turn" }, asked, pair, reference), reference, answers, key: JSON.stringify([turn.asked, Object.keys(turn.answers)]) };
}

function paintTurns(panel) {
  const { state, log, nodes } = panel, atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  state.turns.forEach((turn, t) => {
    const key = JSON.stringify([turn.asked, Object.keys(turn.answers)]);
    if (nodes[t]?.key !== key) {
      const made = turnOf(panel, turn, t);
      if (nodes[t]) nodes[t].root.replaceWith(made.root); else panel.turns.append(made.root);
      nodes[t] = made;
    }
    const node = nodes[t];
    for (const [side, answer] of Object.entries(turn.answers)) paintAnswer(panel, node.answers.get(side), turn, side, answer);
    show(node.reference, Boolean(turn.reference));
    say(node.reference.lastChild, turn.reference ?? "");
  });
  while (nodes.length > state.turns.length) nodes.pop().root.remove();
  list(panel.waiting, state.pending ? [state.pending.text] : [], text => h("div", { class: "asked" }, h("span", { class: "label" }, panel.facts.plain ? "Text" : "You"), h("span", { class: "text", dir: "auto" }, text)));
  if (atEnd) log.scrollTop = log.scrollHeight;
  announce(panel);
}

/** Tells a screen reader of an answer once it has ended, not word by word. */
function announce(panel) {
  const ended = panel.state.turns.flatMap((turn, t) => Object.entries(turn.answers).filter(([, answer]) => answer.ended).map(([side, answer]) => ({ id: `${t} ${side}`, words: `${side}: ${answer.text || "no text"}; ${answer.why}` })));
  const news = ended.filter(one => !panel.heard.has(one.id));
  panel.heard = new Set(ended.map(one => one.id));
  if (news.length && panel.opened) panel.live.textContent = news.map(one => one.words).join(". ").slice(0, 2000);
  panel.opened = true;
}

// What the models read, token by token.

function box([text, piece, id, special], i, prompt) {
  const kind = `${i < prompt ? "context" : "trained"}${special ? " named" : ""}`, seen = visible(text), parts = [];
  for (const [n, line] of seen.split("\n").entries()) { if (n) parts.push(h("i", {}, "⏎"), "\n"); if (line) parts.push(line); }
  const bare = /^ +$/.test(text) || text === "";
  return h("span", { class: kind, title: `${i + 1}: ${visible(piece)} · id ${id}${i < prompt ? "" : " · written"}` }, ...(bare ? [h("i", {}, text === "" ? "…" : "·".repeat(text.length))] : parts));
}

function block(panel, sides, one) {
  const written = one.count - one.prompt, skipped = one.count - one.boxes.length;
  const about = `${sides.join(" and ")}: ${formatCount(one.prompt)} tokens read${written ? `, ${formatCount(written)} written` : ""}`;
  const key = h("span", { class: "key" }, h("span", { class: "context" }, "read"), ...(written ? [h("span", { class: "trained" }, "written")] : []), h("span", { class: "context named" }, "special"));
  const pre = h("pre", { tabIndex: 0, "aria-label": about }, ...(skipped ? [`… ${formatCount(skipped)} tokens before\n`] : []), ...one.boxes.map((each, i) => box(each, i + skipped, one.prompt)));
  return h("div", { class: "ftwb-tokens" }, h("header", {}, h("b", {}, about), key), pre);
}

function paintExact(panel) {
  const { exact } = panel.state, { sheetBox } = panel;
  show(sheetBox, Boolean(exact));
  if (!exact || sheetBox.ftwbShown === exact) return;
  sheetBox.ftwbShown = exact;
  const same = new Map();  // sides that read the same are shown once
  for (const one of exact.blocks) {
    const key = JSON.stringify([one.prompt, one.count, one.boxes]);
    same.set(key, { one, sides: [...(same.get(key)?.sides ?? []), one.side] });
  }
  say(panel.sheetTitle, exact.turn === null ? "Exact prompt of what stands in the field" : `Exact tokens of turn ${exact.turn + 1}`);
  panel.sheetBody.replaceChildren(...(same.size ? [...same.values()].map(({ one, sides }) => block(panel, sides, one)) : [h("p", { class: "soft" }, "…")]));
}

// The panel.

function paint(panel) {
  if (!panel.root.isConnected) return;
  const { state, model } = panel, stale = silent(state), working = busy(state, model), { phase, side } = status(model);
  const late = state.pending && performance.now() - state.pending.at > PATIENCE;
  paintTurns(panel);
  paintExact(panel);
  const error = model.get("error") || "";
  say(panel.error, error);
  show(panel.error, Boolean(error));
  show(panel.empty, !state.turns.length && !state.pending);
  show(panel.log, state.turns.length > 0 || Boolean(state.pending));
  show(panel.send, !working);
  show(panel.stop, working);
  panel.send.disabled = stale || !panel.field.value.trim();
  for (const button of [panel.reset, panel.copyAll]) button.disabled = working || !state.turns.length;
  panel.prompt.disabled = stale || working || !panel.field.value.trim();
  const words = stale ? `No sign of the kernel for ${Math.round((performance.now() - state.sign) / 1000)} s. Run this cell again to go on.`
    : late && phase !== "load" && phase !== "write" ? "The kernel is busy with another cell; the answers come when that has ended."
    : phase === "load" ? "Loads the models …" : phase === "write" ? `${side} writes …` : state.pending ? "Sent …" : "";
  say(panel.doing, words);
  mark(panel.doing, "data-tone", stale ? "bad" : "");
  if (state.returned !== undefined) {  // a question that was refused, or called off before it was taken
    if (!panel.field.value.trim()) { panel.field.value = state.returned; grow(panel.field); }
    delete state.returned;
  }
  paintExamples(panel);
}

function paintExamples(panel) {
  const examples = panel.model.get("examples") ?? [];
  show(panel.examples, examples.length > 0);
  list(panel.examples, ["", ...examples.map(one => one.text)], (text, i) => h("option", { value: String(i - 1) }, i ? short(text) : "Examples from valid …"));
  list(panel.offers, examples.slice(0, 3).map(one => one.text), (text, i) => panel.button(short(text), () => panel.pick(i), { class: "offer", dir: "auto", title: text.slice(0, 500) }));
  show(panel.offered, examples.length > 0);
}

/** The first line of a text, no longer than a choice. */
export function short(text, length = 80) {
  const letters = Array.from(text.trim().split("\n")[0]);
  return letters.length <= length ? letters.join("") + (text.trim().includes("\n") ? " …" : "") : `${letters.slice(0, length - 2).join("")} …`;
}

function grow(field) {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, 220)}px`;
}

function newPanel(state, model, signal) {
  const id = `ftwb-${Math.random().toString(36).slice(2)}`;  // every widget has a copy of this module, so a counter would begin anew
  const panel = {
    id, state, model, signal, nodes: [], heard: new Set(), opened: false, frame: 0, inputs: {}, facts: { sides: [], ...model.get("facts") },
    changed() { panel.frame ||= requestAnimationFrame(() => { panel.frame = 0; paint(panel); }); },
    settings: () => ({ ...model.get("settings") }),
    set(patch) { model.set("settings", { ...panel.settings(), ...patch }); model.save_changes(); },
    ask() {
      const text = panel.field.value;
      if (!text.trim() || busy(state, model) || silent(state) || !panel.check()) return;
      state.lastId = Math.max(Date.now(), state.lastId + 1, (status(model).asked ?? 0) + 1);
      state.pending = state.asked = { id: state.lastId, text, at: performance.now() };
      state.exact = null;
      panel.field.value = "";
      grow(panel.field);
      model.send({ type: "ask", id: state.lastId, text, settings: panel.settings() });
      tell(state, "ask");
    },
    exact(which) {
      state.exact = { turn: which.turn ?? null, blocks: [] };
      model.send({ type: "exact", turn: null, ...which });
      panel.changed();
    },
    pick(i) {
      const one = (model.get("examples") ?? [])[i];
      if (!one) return;
      panel.field.value = one.text;
      if (!panel.facts.plain && !state.turns.length) { panel.inputs.system.value = one.system; panel.set({ system: one.system }); }
      grow(panel.field);
      panel.field.focus();
      panel.changed();
    },
    /** Whether every setting can be used; the first that can't gets the focus. */
    check() {
      const wrong = Object.keys(SETTINGS).find(name => readSetting(name, panel.inputs[name].value).problem);
      if (wrong) { panel.options.open = true; panel.inputs[wrong].focus(); }
      return !wrong;
    },
  };
  build(panel);
  return panel;
}

function build(panel) {
  const { state, model, signal, facts } = panel;
  panel.button = (text, action, properties = {}) => {
    const element = h("button", { type: "button", class: "button", "data-text": text, ...properties }, text);
    element.addEventListener("click", action, { signal });
    return element;
  };
  panel.error = h("div", { class: "error", role: "alert", hidden: true });
  panel.doing = h("span", { class: "doing", role: "status" });
  const names = facts.sides.map(({ name }) => name);
  const head = h("div", { class: "head" }, h("span", { class: "title", dir: "auto" }, facts.title ?? ""), h("span", { class: "soft" }, facts.task ?? ""), panel.doing);
  panel.heads = h("div", { class: "pair heads", "aria-hidden": "true" }, ...facts.sides.map(({ name, about }) => h("div", { class: "side", "data-side": name }, h("b", {}, name), h("span", { class: "soft" }, about ?? ""))));
  panel.turns = h("ol", {});
  panel.waiting = h("div", { class: "waiting" });  // the question that is on its way
  panel.log = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": "Conversation", tabIndex: 0 }, panel.heads, panel.turns, panel.waiting);
  panel.offers = h("div", { class: "offers" });
  panel.offered = h("div", {}, h("p", { class: "soft" }, "From the valid rows:"), panel.offers);
  const invite = facts.plain ? `${names.join(" and ")} go${names.length > 1 ? "" : "es"} on from the same text.` : `Ask ${names.join(" and ")} the same thing.`;
  panel.empty = h("div", { class: "empty" }, h("p", {}, invite.charAt(0).toUpperCase() + invite.slice(1)), panel.offered);
  panel.root = h("div", { class: "ftwb-playground", role: "region", "aria-label": "Playground", id: panel.id }, head, panel.error, panel.log, panel.empty, buildComposer(panel), buildOptions(panel), buildSheet(panel), (panel.live = h("div", { class: "unseen", "aria-live": "polite" })));
  mark(panel.root, "data-sides", String(names.length));
  panel.root.addEventListener("keydown", event => {
    if (event.key === "Escape" && keyAsks(event, busy(state, model)) === "stop") { stop(state, model); event.preventDefault(); event.stopPropagation(); }
  }, { signal });
}

function buildComposer(panel) {
  const { state, model, signal, facts } = panel, label = facts.plain ? "Text to go on from" : "Your question";
  panel.field = h("textarea", { class: "field", rows: 2, placeholder: facts.plain ? "Text to go on from …" : "Ask something …", "aria-label": label, "aria-describedby": `${panel.id}-keys`, dir: "auto" });
  panel.field.addEventListener("keydown", event => {
    const asks = keyAsks(event, busy(state, model));
    if (asks === "send") panel.ask();
    if (asks === "send" || asks === "wait") { event.preventDefault(); event.stopPropagation(); }
  }, { signal });
  breakLines(panel.field, signal);
  panel.field.addEventListener("input", () => { grow(panel.field); panel.changed(); }, { signal });
  panel.send = panel.button(facts.plain ? "Go on" : "Ask", () => panel.ask(), { class: "button primary" });
  panel.stop = panel.button("Stop", () => stop(state, model), { class: "button danger", hidden: true });
  panel.examples = h("select", { class: "choice", "aria-label": "Example from the valid rows", hidden: true });
  panel.examples.addEventListener("change", () => { panel.pick(Number(panel.examples.value)); panel.examples.selectedIndex = 0; }, { signal });
  panel.prompt = panel.button("Exact prompt", () => panel.exact({ text: panel.field.value, system: panel.settings().system }), { class: "button small" });
  panel.copyAll = panel.button("Copy all", () => copy(panel, panel.copyAll, transcript(facts, panel.settings().system ?? "", state.turns)), { class: "button small" });
  panel.reset = panel.button(facts.plain ? "Clear" : "New conversation", () => { state.exact = null; model.send({ type: "reset" }); panel.field.focus(); }, { class: "button small" });
  panel.sheet = h("textarea", { class: "field copied", readOnly: true, rows: 4, hidden: true, "aria-label": "Text to copy" });
  panel.sheet.addEventListener("blur", () => show(panel.sheet, false), { signal });
  const keys = h("span", { class: "keys", id: `${panel.id}-keys` }, "Enter asks · Shift+Enter: new line · Esc stops");
  return h("div", { class: "composer" }, h("div", { class: "row" }, panel.field, panel.send, panel.stop), h("div", { class: "row tools" }, panel.examples, panel.prompt, panel.copyAll, panel.reset, keys), panel.sheet);
}

function buildOptions(panel) {
  const { facts, signal } = panel, settings = panel.settings();
  const number = (name, label, title) => {
    const input = (panel.inputs[name] = h("input", { class: "number", type: "text", inputMode: "decimal", value: String(settings[name] ?? ""), autocomplete: "off" })), problem = h("span", { class: "problem" });
    input.addEventListener("input", () => {
      const { value, problem: words } = readSetting(name, input.value);
      say(problem, words ?? "");
      mark(input, "aria-invalid", String(Boolean(words)));
      if (words === undefined) panel.set({ [name]: value });
    }, { signal });
    return h("label", { title }, label, input, problem);
  };
  const system = (panel.inputs.system = h("textarea", { class: "field", rows: 2, value: settings.system ?? "", dir: "auto", placeholder: "none" }));
  breakLines(system, signal);
  system.addEventListener("input", () => panel.set({ system: system.value }), { signal });
  const only = h("select", { class: "choice" }, ...["", ...facts.sides.map(({ name }) => name)].map(name => h("option", { value: name }, name ? `${name} only` : "all")));
  only.addEventListener("change", () => panel.set({ only: only.value }), { signal });
  only.value = settings.only ?? "";
  panel.options = h("details", { class: "options" }, h("summary", {}, "Settings"), h("div", { class: "fields" },
    number("max_new_tokens", "Max new tokens", "An answer is cut off after this many tokens."), number("temperature", "Temperature", "0 takes the likeliest token each time, as the evaluation does; 1 draws as the model says."),
    number("top_p", "Top p", "Draw among the likeliest tokens that make up this probability."), number("seed", "Seed", "The same seed draws the same answer."),
    ...(facts.sides.length > 1 ? [h("label", {}, "Who answers", only)] : []), ...(facts.plain ? [] : [h("label", { class: "wide" }, "System prompt", system)])));
  return panel.options;
}

function buildSheet(panel) {
  const close = panel.button("Close", () => { panel.state.exact = null; panel.changed(); panel.field.focus(); }, { class: "button small" });
  panel.sheetTitle = h("h3", {});
  panel.sheetBody = h("div", { "aria-live": "polite" });
  return (panel.sheetBox = h("section", { class: "exact", hidden: true, "aria-label": "Exact tokens" }, h("div", { class: "row" }, panel.sheetTitle, close), panel.sheetBody));
}

const TRAITS = ["turns", "status", "facts", "examples", "error"];

function attach(state, model, el) {
  const control = new AbortController(), panel = newPanel(state, model, control.signal), changed = panel.changed;
  const tick = setInterval(changed, 1000);
  for (const name of TRAITS) model.on(`change:${name}`, changed);
  state.views.add(changed);
  el.append(panel.root);
  paint(panel);
  return () => {
    control.abort();
    clearInterval(tick);
    cancelAnimationFrame(panel.frame);
    state.views.delete(changed);
    for (const name of TRAITS) model.off(`change:${name}`, changed);
    panel.root.remove();
  };
}

export default () => {
  const state = newState();  // anywidget hands initialize and render different proxies of the model, so what they share is here
  return {
    initialize({ model }) {
      const message = content => take(state, model, content), turns = () => moved(state, model);
      model.on("msg:custom", message);
      model.on("change:turns", turns);
      model.on("change:status", turns);
      adopt(state, model);
      sync(state, model);
      return () => { model.off("msg:custom", message); model.off("change:turns", turns); model.off("change:status", turns); };
    },
    render: ({ model, el }) => attach(state, model, el),
  };
};
