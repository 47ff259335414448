// A panel of blocks over one recipe: fields, tables, findings, runs, pictures, as the kernel tells them. One anywidget module, hand-written, no dependencies.
// Above the line "The view" are pure functions, tested under node (tests/js/station.test.mjs); below it is the page.

import { breakLines, h, mark, say, show } from "./dom.js";
import { buildHead, live, newPanel, paintBusy, paintError } from "./panel.js";
import { clamp, finite, formatCount, list, options } from "./words.js";

// ---- Words -------------------------------------------------------------------------------------------------------------------

/** Whether a field is what was searched for: every word in its path or its meaning. */
export const matches = (field, query) => query.toLowerCase().split(/\s+/).filter(Boolean).every(word => `${field.path} ${field.meaning}`.toLowerCase().includes(word));

/** A dotted path as [its last name, its section]; the name of a section is the section itself. */
export function named(path) {
  const at = path.lastIndexOf(".");
  return at < 0 ? [path, ""] : path.endsWith(".name") ? [path.slice(0, at), ""] : [path.slice(at + 1), path.slice(0, at)];
}

/** What a choice says; null is what the workbench chooses by itself. */
export const choiceText = (choice, field) => (choice === "" ? "by default" : field.kind === "switch" ? { true: "yes", false: "no" }[choice] : choice);

/** What stands in an empty field. */
export const placeholder = field => (field.default ? `default: ${field.default}` : field.null ? "by default" : "");

/** The place and width of an interval on a track, in percent; null where there is none. */
export function interval({ low, high }) {
  if (!finite(low) || !finite(high)) return null;
  const from = clamp(low, 0, 1) * 100, to = clamp(high, 0, 1) * 100;
  return { left: from, width: Math.max(to - from, 0.4) };
}

/** Addresses of files of the Jupyter server this page came from. */
export const fileAddress = (base, path) => `${base.endsWith("/") ? base : `${base}/`}files/${path.split("/").map(encodeURIComponent).join("/")}`;

// ---- The view ----------------------------------------------------------------------------------------------------------------
// What comes from data, models and errors is hostile: it only ever becomes textContent.

const KINDS = { form: buildForm, actions: buildActions, facts: buildFacts, table: buildTable, notes: buildNotes, pick: buildPick, pictures: buildPictures, links: buildLinks, say: buildSay, text: buildText };

function makePanel(model, signal) {
  const panel = newPanel(model, signal, { parts: new Map() });
  const head = buildHead(panel, "");
  panel.name = head[1].firstChild;
  panel.stop = panel.button("Cancel", () => panel.ask("cancel"), { hidden: true });
  head[1].append(panel.stop);
  panel.blocks = h("div");
  panel.root = h("div", { class: "ftwb ftwb-panel ftwb-st", role: "region", id: panel.id }, ...head, panel.blocks);
  return panel;
}

function paint(panel) {
  panel.state = panel.model.get("state") ?? {};
  const { title = "", about = "", job, blocks = [] } = panel.state;
  paintError(panel);
  say(panel.name, title);
  say(panel.title, about);
  paintBusy(panel);
  show(panel.stop, Boolean(job));
  mark(panel.bar, "data-busy", String(Boolean(job) && !(job.total > 0)));
  mark(panel.root, "aria-label", title);
  const wanted = blocks.map(block => {
    let part = panel.parts.get(block.id);
    if (!part || part.kind !== block.kind) panel.parts.set(block.id, part = { kind: block.kind, ...KINDS[block.kind](panel, block) });
    part.update(block);
    mark(part.root, "data-block", block.id);
    return part.root;
  });
  if (wanted.length !== panel.blocks.children.length || wanted.some((root, i) => panel.blocks.children[i] !== root)) panel.blocks.replaceChildren(...wanted);
}

const section = (...children) => h("section", { class: "ftwb-block" }, ...children);

/** A heading that is there only where it has words. */
function heading(root) {
  const title = h("h3", { hidden: true });
  root.prepend(title);
  return text => { say(title, text ?? ""); show(title, Boolean(text)); };
}

// Fields.

function buildForm(panel, block) {
  const first = h("div", { class: "ftwb-fields" }), others = h("div", { class: "ftwb-fields ftwb-others", hidden: true });
  const search = h("input", { type: "search", class: "ftwb-input", placeholder: "Search all fields", "aria-label": "Search all fields", autocomplete: "off" }), count = h("span", { class: "ftwb-soft", role: "status" });
  const made = new Map();
  let open = false, now = block;
  const all = panel.button("", () => { open = !open; search.value = ""; arrange(); }, { "aria-expanded": "false" });
  const more = h("div", { class: "ftwb-more" }, search, all, count);
  const fieldOf = field => {
    const key = `${field.path} ${field.kind} ${field.choices.join("|")}`;
    if (!made.has(key)) made.set(key, buildField(panel, field));
    const part = made.get(key);
    part.update(field, now.wrong[field.path]);
    return part.root;
  };
  const put = (parent, wanted) => { if (wanted.length !== parent.children.length || wanted.some((one, i) => parent.children[i] !== one)) parent.replaceChildren(...wanted); };
  function arrange() {
    const query = search.value.trim(), found = query ? now.others.filter(field => matches(field, query)) : open ? now.others : now.others.filter(field => now.wrong[field.path]);
    put(first, now.fields.map(fieldOf));
    put(others, found.map(fieldOf));
    show(others, found.length > 0);
    show(more, now.others.length > 0);
    say(all, open ? "Fewer fields" : `All ${formatCount(now.others.length + now.fields.length)} fields`);
    mark(all, "aria-expanded", String(open));
    say(count, query ? (found.length ? `${formatCount(found.length)} found` : "No other field says that.") : "");
  }
  panel.on(search, "input", arrange);
  return { root: section(first, more, others), update(block) { now = block; arrange(); } };
}

function buildField(panel, field) {
  const [name, of] = named(field.path), id = `${panel.id}-${field.path.replace(/\W/g, "-")}`;
  const typed = field.kind !== "choice" && field.kind !== "switch", numeric = field.kind === "number";
  const input = typed ? h("input", { type: "text", id, class: "ftwb-input", autocomplete: "off", spellcheck: false, ...(numeric ? { inputMode: "decimal" } : {}), "aria-describedby": `${id}-hint ${id}-problem` })
    : h("select", { id, class: "ftwb-input", "aria-describedby": `${id}-hint ${id}-problem` });
  const reset = panel.button("Reset", () => panel.ask("fill", { values: [now.path, now.default] }), { class: "ftwb-link", hidden: true });
  const hint = h("div", { class: "ftwb-hint", id: `${id}-hint` }), problem = h("div", { class: "ftwb-problem", id: `${id}-problem`, role: "alert" });
  const root = h("div", { class: "ftwb-field", "data-path": field.path }, h("label", { htmlFor: id }, name, ...(of ? [" ", h("small", {}, of)] : [])), reset, input, hint, problem);
  let now = field, sent = null, last = null, wrong = null;
  const send = () => { const shown = wrong ? wrong[0] : now.value; if (input.value !== shown) { sent = input.value; panel.ask("fill", { values: [now.path, input.value] }); } };
  panel.on(input, "change", send);
  if (typed) panel.on(input, "keydown", event => { if (event.key === "Enter" && !event.isComposing) { event.preventDefault(); send(); } });
  return {
    root,
    update(field, said) {
      now = field;
      if (!typed) options(input, [...field.choices, ...(field.choices.includes(field.value) ? [] : [field.value])].map(choice => [choice, choiceText(choice, field)]), field.value);
      const shown = said ? said[0] : field.value, waits = panel.asked > (panel.state.asked ?? 0) && input.value === sent;
      const writes = document.activeElement === input && input.value !== last && input.value !== sent;  // somebody is in the middle of a word
      if (typed && !waits && !writes && input.value !== shown) input.value = shown;
      last = shown;
      wrong = said ?? null;
      if (typed) mark(input, "placeholder", placeholder(field));
      mark(root, "data-changed", String(field.changed));
      mark(root, "data-wrong", String(Boolean(said)));
      if (said) mark(input, "aria-invalid", "true"); else input.removeAttribute("aria-invalid");
      say(hint, field.why_not ? `${field.meaning} ${field.why_not}` : field.meaning);
      say(problem, said ? said[1] : "");
      show(reset, field.changed || Boolean(said));
      mark(reset, "title", field.default ? `Back to ${field.default}` : "Back to the default");
      mark(reset, "aria-label", `Reset ${field.path}`);
    },
  };
}

// Buttons.

function buildActions(panel) {
  const row = h("div", { class: "ftwb-line" }), note = h("span", { class: "ftwb-soft" }), root = section(row);
  return {
    root,
    update(block) {
      list(row, [...block.items, { note: block.note }], item => "note" in item ? (say(note, item.note), note.cloneNode(true)) : actionButton(panel, item, "ftwb-button"));
    },
  };
}

function actionButton(panel, item, kind = "ftwb-button ftwb-small") {
  const tone = { primary: " ftwb-primary", danger: " ftwb-danger", cure: " ftwb-cure" }[item.tone] ?? "";
  return panel.button(item.text, () => panel.ask(item.ask, { values: item.values ?? [] }), { class: kind + tone, disabled: Boolean(item.off), title: item.off || item.title || "" });
}

// What is told.

function buildFacts() {
  const facts = h("dl", { class: "ftwb-facts" });
  return { root: section(facts), update: block => list(facts, block.items, ([name, value, note, tone]) => h("div", {}, h("dt", {}, name), h("dd", { "data-tone": tone }, h("span", { class: "ftwb-id" }, value), h("small", {}, note)))) };
}

function buildSay() {
  const title = h("b"), text = h("span", { dir: "auto" }), box = h("div", { class: "ftwb-say", role: "status" }, title, text);
  return { root: section(box), update(block) { say(title, block.title); show(title, Boolean(block.title)); say(text, block.text); mark(box, "data-tone", block.tone); show(box, Boolean(block.text || block.title)); } };
}

const NUMBER = /^[-+−<≥≤]?\s?[\d.,]+(\s?(%|s|h|min|MB|GB|kB|rows?))?( to .*)?$/;

function buildTable(panel) {
  const body = h("tbody"), head = h("thead"), box = h("div", { class: "ftwb-scroll" }, h("table", {}, head, body)), empty = h("div", { class: "ftwb-nothing", hidden: true }), root = section(box, empty), title = heading(root);
  return {
    root,
    update(block) {
      title(block.title);
      show(box, block.rows.length > 0);
      show(empty, !block.rows.length && Boolean(block.empty));
      say(empty, block.empty);
      const numeric = block.head.map((_, i) => i > 0 && block.rows.length > 0 && block.rows.every(row => row[i] && !("bar" in row[i]) && !row[i].ask && (row[i].text === "" || row[i].text === "–" || NUMBER.test(row[i].text))));
      list(head, block.head.some(Boolean) ? [[block.head, numeric]] : [], ([names]) => h("tr", {}, ...names.map((name, i) => h("th", { scope: "col", "data-number": String(numeric[i]) }, name))));
      list(body, block.rows.map(row => [row, numeric]), ([row]) => h("tr", { "data-strong": String(Boolean(row[0]?.strong)) }, ...row.map((cell, i) => buildCell(panel, cell, i, numeric[i]))));
    },
  };
}

function buildCell(panel, cell, i, numeric) {
  const td = h(i ? "td" : "th", { "data-number": String(Boolean(numeric)), "data-tone": cell.tone ?? "", dir: "auto", ...(i ? {} : { scope: "row" }) });
  if ("bar" in cell) {
    const bar = h("i"), track = h("div", { class: "ftwb-track", "aria-hidden": "true" }, bar), range = interval(cell);
    bar.style.width = `${clamp(cell.bar, 0, 1) * 100}%`;
    if (range) { const line = h("i"); line.style.left = `${range.left}%`; line.style.width = `${range.width}%`; track.append(line); }
    td.append(h("div", { class: "ftwb-score" }, track, h("span", {}, cell.text)));
  } else if (cell.ask) td.append(actionButton(panel, cell));
  else td.append(cell.text);
  if (cell.note) td.append(" ", h("small", { class: "ftwb-soft" }, cell.note));
  return td;
}

function buildNotes(panel) {
  const items = h("ul", { class: "ftwb-alerts" }), empty = h("p", { class: "ftwb-soft" }), root = section(items, empty), title = heading(root);
  return {
    root,
    update(block) {
      title(block.title);
      say(empty, block.items.length ? "" : block.empty ?? "");
      show(empty, !block.items.length && Boolean(block.empty));
      list(items, block.items, item => h("li", { "data-tone": item.tone }, h("span", { class: "ftwb-mark" }, item.mark), h("div", {}, h("p", { dir: "auto" }, item.text), h("p", { class: "ftwb-soft", dir: "auto" }, item.fix)),
        h("span", { class: "ftwb-group" }, ...(item.action ? [actionButton(panel, item.action)] : []))));
    },
  };
}

// Runs.

function buildPick(panel) {
  const head = h("thead"), body = h("tbody"), box = h("div", { class: "ftwb-picks", role: "group" }, h("table", {}, head, body)), empty = h("div", { class: "ftwb-nothing", hidden: true }), root = section(box, empty), title = heading(root);
  const name = `${panel.id}-pick`;
  return {
    root,
    update(block) {
      title(block.title);
      mark(box, "aria-label", block.title || "Runs");
      show(box, block.items.length > 0);
      show(empty, !block.items.length);
      say(empty, block.empty);
      list(head, block.items.length ? [[block.head ?? [], block.compare]] : [], ([names, compare]) => h("tr", {}, h("th", { scope: "col" }, "Run"), h("th", { scope: "col" }, "State"), ...names.map(text => h("th", { scope: "col" }, text)), ...(compare ? [h("th", { scope: "col" }, "Compare")] : [])));
      const focused = body.contains(document.activeElement) ? [document.activeElement.type, document.activeElement.closest("tr").dataset.run] : null;
      list(body, block.items.map(item => ({ ...item, chosen: item.id === block.chosen, compared: block.compared.includes(item.id), compare: block.compare })), item => {
        const radio = h("input", { type: "radio", name, checked: item.chosen, value: item.id }), row = h("tr", { "data-run": item.id, "data-chosen": String(item.chosen) });
        panel.on(radio, "change", () => panel.ask("choose", { values: [item.id] }));
        const beside = h("input", { type: "checkbox", checked: item.compared, disabled: item.chosen, "aria-label": `Lay ${item.id} beside the chosen run` });
        panel.on(beside, "change", () => panel.ask("compare", { values: [item.id, beside.checked] }));
        panel.on(row, "click", event => { if (!event.target.closest("label, input") && !item.chosen) panel.ask("choose", { values: [item.id] }); });
        row.append(h("th", { scope: "row" }, h("label", {}, radio, h("span", { class: "ftwb-id" }, item.id))), h("td", {}, h("span", { class: "ftwb-badge", "data-tone": item.tone }, item.state)), ...item.cells.map(text => h("td", { dir: "auto" }, text)), ...(item.compare ? [h("td", {}, beside)] : []));
        return row;
      });
      if (focused && !body.contains(document.activeElement)) body.querySelector(`tr[data-run="${CSS.escape(focused[1])}"] input[type=${focused[0]}]`)?.focus();
    },
  };
}

function buildPictures() {
  const root = h("section", { class: "ftwb-block ftwb-pictures" });
  return { root, update: block => list(root, block.items, item => h("img", { src: item.src, alt: item.alt })) };
}

function buildLinks() {
  const links = h("div", { class: "ftwb-links" }), base = () => { try { return JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}").baseUrl ?? "/"; } catch { return "/"; } };
  return { root: section(links), update: block => list(links, block.items, item => h("a", { href: fileAddress(base(), item.path), target: "_blank", rel: "noopener", "data-lm-suppress-shortcuts": "true" }, item.text)) };
}

function buildText(panel, block) {
  const id = `${panel.id}-${block.id}`, field = h("textarea", { id, class: "ftwb-input", rows: 3, dir: "auto" }), label = h("label", { htmlFor: id });
  const send = panel.button("", () => panel.ask(now.ask, { values: [field.value] }), { class: "ftwb-button ftwb-primary" });
  let now = block;
  breakLines(field, panel.signal);
  panel.on(field, "keydown", event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); event.stopPropagation(); send.click(); } });
  field.value = block.text ?? "";
  return { root: h("section", { class: "ftwb-block ftwb-write" }, label, field, h("div", { class: "ftwb-line" }, send, h("span", { class: "ftwb-soft" }, "Ctrl+Enter"))), update(block) { now = block; say(label, block.label); say(send, block.button); } };
}

function render(view) { return live(view, ["state", "error"], makePanel, paint); }

export default { render };
