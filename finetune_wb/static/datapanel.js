// A data set at a glance and row by row: findings, columns, map and changes above, the rows they lead to below. One anywidget module, hand-written, no dependencies.
// Above the line "The view" are pure functions, tested under node (tests/js/datapanel.test.mjs); below it is the page.

import { breakLines, h, mark, say, show } from "./dom.js";
import { clamp, codeLine, finite, formatCount, formatShare, list, options, plural, spoken, visible } from "./words.js";
import { buildHead, buildPager, fact, lastPage, live, newPanel, pageText, paintBusy, paintError, paintPager, rove, spokenLines } from "./panel.js";

// ---- Words -------------------------------------------------------------------------------------------------------------------

/** A number as short as it can be said: 12,400 or 0.25. */
export const formatNumber = value => (!finite(value) ? "–" : Number.isInteger(value) ? formatCount(value) : String(Number(value.toPrecision(3))));

/** The kind of a finding in words. */
export const kindly = kind => spoken(kind).replaceAll("_", " ");

/** A cell's text, whether it was cut before and after, and its length. */
export function cellOf(cell) {
  if (cell === null || cell === undefined) return { text: "", missing: true, before: false, after: false, length: 0 };
  if (typeof cell === "string") return { text: cell, missing: false, before: false, after: false, length: cell.length };
  const [text, length, start] = cell;
  return { text, missing: false, before: start > 0, after: start + text.length < length, length };
}

const SPECIAL = /[.*+?^${}()|[\]\\]/g;

/** A text in stretches [text, whether it was searched for], whatever the case. */
export function hits(text, query) {
  if (!query) return text ? [[text, false]] : [];
  const parts = text.split(new RegExp(`(${query.replace(SPECIAL, "\\$&")})`, "giu"));
  return parts.map((part, i) => [part, i % 2 === 1]).filter(([part]) => part);
}

/** What a condition on a column says, for its chip. */
export function conditionText(title, [what, ...values]) {
  if (what === "missing") return `${title} missing`;
  if (what === "is") return `${title}: ${String(values[0]) === "" ? "(empty)" : spoken(String(values[0])).slice(0, 60)}`;
  const [from, to] = values.map(formatNumber), range = from === to ? from : `${from} to ${to}`;
  return what === "length" ? `${title}: ${range} characters` : `${title}: ${range}`;
}

/** The condition of a histogram's bar: its edges, the upper one only as far as whole numbers or the next bar let it. */
export function barCondition(bars, i, of) {
  const last = i === bars.counts.length - 1, whole = bars.edges.every(Number.isInteger);
  const from = bars.edges[i], to = last && bars.more ? Number.MAX_SAFE_INTEGER : whole ? bars.edges[i + 1] - 1 : bars.edges[i + 1];
  return [of === "characters" ? "length" : "between", from, to];
}

/** What a bar holds, in words. */
export function barText(bars, i, unit) {
  const [, from, to] = barCondition(bars, i, ""), range = to === Number.MAX_SAFE_INTEGER ? `${formatNumber(from)} or more` : from === to ? formatNumber(from) : `${formatNumber(from)} to ${formatNumber(to)}`;
  return `${range}${unit ? ` ${unit}` : ""}: ${plural(bars.counts[i], "row")}`;
}

/** Where the line of a length lies among bars, 0 to 1; null where it is not in sight. */
export function linePlace(bars, length) {
  const from = bars.edges[0], to = bars.edges.at(-1);
  return length === null || !bars.edges.length || length < from || length > to ? null : (length - from) / (to - from);
}

/** A column in a line: how many are different, missing, empty. */
export function columnFacts(profile) {
  const parts = [];
  if (profile.distinct !== null) parts.push(profile.distinct === profile.rows && profile.rows > 1 ? "all different" : `${formatCount(profile.distinct)} different`);
  if (profile.missing) parts.push(`${formatCount(profile.missing)} missing (${formatShare(profile.missing / profile.rows)})`);
  if (profile.empty) parts.push(`${formatCount(profile.empty)} empty`);
  return parts.join(" · ") || plural(profile.rows, "row");
}

/** The quantiles of values or lengths, in a line. */
export function quantileText({ least, median, most_of: most, most: all }, unit = "") {
  if (!finite(median)) return "";
  return `median ${formatNumber(median)} · 95 % ${formatNumber(most)} · ${unit ? "longest" : "to"} ${formatNumber(all)}${unit ? ` ${unit}` : ` from ${formatNumber(least)}`}`;
}

/** What a length profile says of the cut, and of what was counted. */
export function lengthText(found) {
  const share = found.counted ? found.cut / found.counted : 0;
  const counted = found.counted < found.rows ? `Counted in ${formatCount(found.counted)} of ${formatCount(found.rows)} rows.` : "";
  if (found.unit === "words") return ["Words, for there is no tokenizer at hand: a recipe brings one, and the line where rows are cut.", counted].filter(Boolean).join(" ");
  const cut = found.max_length === null ? "" : found.cut ? `${plural(found.cut, "row")} (${formatShare(share)}) longer than ${formatCount(found.max_length)} would be cut.` : `None is longer than ${formatCount(found.max_length)}, where rows are cut.`;
  return [cut, counted].filter(Boolean).join(" ");
}

/** Why there is nothing to see. */
export function notice(page, state) {
  if (page.rows.length) return "";
  if (!state.rows) return state.job ? "" : "There are no rows here.";
  if (page.query) return `No row says “${spoken(page.query)}”${Object.keys(page.where).length || page.finding !== null || page.picked ? " among those that are shown" : ""}.`;
  return "No row fits these filters.";
}

/** Whether a point lies in a polygon [[x, y], …]. */
export function inside([x, y], polygon) {
  let within = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i], [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  }
  return within;
}

/** The nearest point to a place, no further than `reach`; -1 where there is none. */
export function nearest([x, y], xs, ys, reach) {
  let best = -1, least = reach * reach;
  for (let i = 0; i < xs.length; i++) {
    const d = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
    if (d <= least) { least = d; best = i; }
  }
  return best;
}

const COLOURS = 8;

/** The legend of a map: [name, points, number of its colour or -1] a category, the most frequent first, and the colour of each point. */
export function legend(codes, names, known = COLOURS) {
  const counts = new Map();
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1);
  const ranked = [...counts].filter(([code]) => code >= 0).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const colour = new Map(ranked.slice(0, known).map(([code], i) => [code, i]));
  return { entries: ranked.map(([code, count]) => ({ code, name: names[code], count, colour: colour.get(code) ?? -1 })), colours: codes.map(code => colour.get(code) ?? -1) };
}

/** A score, short, and small ones still apart from each other. */
export const scoreText = score => (score > 0 && score < 0.01 ? score.toPrecision(1) : score.toFixed(2));

/** What a cure would do, in words: "drop 31 rows". */
export function cureText(name, count) {
  const verbs = { drop: "Drop", relabel: "Relabel", redact: "Redact", pseudonymise: "Pseudonymise", edit: "Edit", move: "Move" };
  return `${verbs[name] ?? spoken(name)} ${plural(count, "row")}`;
}

// ---- The view ----------------------------------------------------------------------------------------------------------------
// Text from data is hostile: it only ever becomes textContent.

const TABS = { findings: "Findings", columns: "Columns", map: "Map", changes: "Changes" };
const SEVERITIES = { error: ["bad", "✕ error"], warning: ["warn", "⚠ warning"], note: ["calm", "○ note"] };
const CLASSES = 500;  // that a select bears

function makePanel(model, signal) {
  const panel = newPanel(model, signal, { tab: null, chosen: false, active: 0, open: null, code: false, sought: "", whole: null, by: "", all: false, lasso: null, ring: null, form: false, far: false });
  /** Another page; what is not said stays as it is. */
  panel.show = fields => panel.ask("show", fields);
  panel.filter = (name, condition) => panel.show({ where: { ...panel.page.where, [name]: condition } });
  build(panel);
  return panel;
}

function build(panel) {
  const head = buildHead(panel, "Data");
  panel.facts = h("dl", { class: "ftwb-facts" });
  panel.note = h("div", { class: "ftwb-note", hidden: true });
  panel.tabs = buildTabs(panel);
  panel.findings = buildFindings(panel);
  panel.columns = h("div", { class: "ftwb-columns" });
  panel.map = buildMap(panel);
  panel.changes = h("div", { class: "ftwb-changes" });
  const sheets = { findings: panel.findings.root, columns: panel.columns, map: panel.map.root, changes: panel.changes };
  panel.sheets = Object.fromEntries(Object.entries(sheets).map(([name, inner]) => [name, h("section", { class: "ftwb-sheet", role: "tabpanel", id: `${panel.id}-${name}`, "aria-labelledby": `${panel.id}-${name}-tab`, hidden: true }, inner)]));
  panel.tools = buildTools(panel);
  panel.table = buildTable(panel);
  panel.notice = h("div", { class: "ftwb-empty", hidden: true });
  panel.pager = buildPager(panel, at => { panel.active = 0; panel.show({ at }); });
  panel.detail = panel.on(h("article", { class: "ftwb-detail", "aria-label": "Row" }), "keydown", event => { if (event.key === "Escape") { event.stopPropagation(); shut(panel); } });
  panel.root = h("div", { class: "ftwb ftwb-panel ftwb-dp", role: "region", "aria-label": "Data", id: panel.id }, ...head, panel.facts, panel.note, panel.tabs.root, ...Object.values(panel.sheets),
    panel.tools.root, panel.table.root, panel.notice, panel.pager.root);
}

function buildTabs(panel) {
  const made = { tabs: {} };
  for (const [name, text] of Object.entries(TABS)) {
    const tab = panel.button(text, () => choose(panel, name), { class: "ftwb-tab", role: "tab", id: `${panel.id}-${name}-tab`, "aria-controls": `${panel.id}-${name}`, "aria-selected": "false" });
    made.tabs[name] = tab;
  }
  made.root = rove(panel, h("div", { class: "ftwb-tabs", role: "tablist", "aria-label": "What to look at" }, ...Object.values(made.tabs)));
  return made;
}

function choose(panel, name) {
  panel.tab = name;
  panel.chosen = true;
  if (panel.tab === "map" && !panel.model.get("map")?.places && !panel.state.mapping) panel.ask("map");
  paint(panel);
}

// Findings and their cures.

function buildFindings(panel) {
  const made = { items: h("ul", { class: "ftwb-alerts" }), none: h("p", { class: "ftwb-clean" }), again: panel.button("Check again", () => panel.ask("check"), { title: "Look through the rows as they are now" }) };
  made.next = panel.button("Next finding", () => lookInto(panel, nextFinding(panel)), { class: "ftwb-button ftwb-small ftwb-end", "data-next": "true" });
  made.root = h("div", {}, h("div", { class: "ftwb-line" }, made.none, made.again, made.next), made.items);
  return made;
}

/** The next finding that has rows and is not cured; -1 where there is none. */
const nextFinding = ({ state, page }) => (page.finding === null ? -1 : state.findings.findIndex((finding, i) => i > page.finding && finding.rows && !finding.applied));

/** A finding's rows, and what the first of its cures would do; null: all rows. */
function lookInto(panel, number) {
  panel.active = 0;
  panel.show({ finding: number });
  const finding = panel.state.findings[number];
  if (finding?.cures.length && !finding.applied) panel.ask("look_at", { values: [number, finding.cures[0][0]] });
}

/** What is open of the findings, in words. */
export function findingsText(findings, stale) {
  const open = findings.filter(finding => !finding.applied), cured = findings.length - open.length;
  const counts = Object.keys(SEVERITIES).map(name => [open.filter(finding => finding.severity === name).length, name]).filter(([count]) => count).map(([count, name]) => plural(count, name));
  if (!findings.length) return "✓ Nothing was found.";
  return `${[counts.join(", ") || "Nothing is open", cured ? `${formatCount(cured)} cured` : ""].filter(Boolean).join("; ")}.${stale ? " They speak of the rows as they were before your changes." : ""}`;
}

function paintFindings(panel) {
  const { state, page, findings: made } = panel, cure = panel.model.get("cure") ?? {};
  const rows = state.findings.map((finding, i) => ({ ...finding, number: i, chosen: page.finding === i, cure: page.finding === i && cure.finding === i ? cure : null })).filter(({ chosen }) => chosen || page.finding === null);
  list(made.items, rows, finding => buildFinding(panel, finding));
  say(made.none, state.checking ? "Looking for copies, leaks, labels, personal data and shape…" : state.checked ? findingsText(state.findings, state.stale) : state.can_check ? "The rows have not been checked yet." : "Findings come once the rows are split.");
  mark(made.none, "data-tone", state.checked && !state.findings.length ? "good" : "calm");
  say(made.again, state.checked ? "Check again" : "Check");
  show(made.again, state.can_check && !state.checking && (state.stale || !state.checked));
  show(made.next, nextFinding(panel) >= 0);
  show(made.items, state.findings.length > 0);
}

function buildFinding(panel, finding) {
  const [tone, word] = SEVERITIES[finding.severity] ?? SEVERITIES.note, held = finding.rows > 0;
  const rows = held ? [panel.button(finding.chosen ? "All findings" : `Show ${plural(finding.rows, "row")}`, () => lookInto(panel, finding.chosen ? null : finding.number), { "data-rows": finding.kind, "aria-pressed": String(finding.chosen) })] : [];
  const done = finding.applied ? [h("span", { class: "ftwb-badge", "data-tone": "good" }, `✓ ${finding.applied}`)] : [];
  const cures = finding.applied || finding.chosen ? [] : finding.cures.slice(0, 1).map(([name, count]) => panel.button(cureText(name, count), () => panel.ask("cure", { values: [finding.number, name] }), { class: "ftwb-button ftwb-small ftwb-cure", "data-cure": finding.kind, title: "On the ledger, and can be undone" }));
  const text = h("div", {}, h("p", {}, h("b", {}, kindly(finding.kind)), `: ${spoken(finding.what)}.`), ...(finding.fix ? [h("p", { class: "ftwb-soft" }, spoken(finding.fix))] : []));
  const evidence = held ? [] : finding.evidence.filter(([, seen]) => !finding.what.includes(seen));  // of rows the table shows it beside them
  if (evidence.length) text.append(evidenceOf(evidence));
  if (finding.chosen && !finding.applied && finding.cure) text.append(buildCure(panel, finding, finding.cure));
  return h("li", { "data-tone": tone, "data-kind": finding.kind, "data-chosen": String(finding.chosen) }, h("span", { class: "ftwb-mark" }, word), text, h("span", { class: "ftwb-group" }, ...done, ...rows, ...cures));
}

const evidenceOf = evidence => h("ul", { class: "ftwb-evidence", "aria-label": "Evidence" }, ...evidence.slice(0, 6).map(([row, seen]) => h("li", {}, h("span", { class: "ftwb-name" }, spoken(row)), " ", h("span", { dir: "auto" }, spoken(seen)))));

function buildCure(panel, finding, cure) {
  const names = finding.cures.map(([name, count]) => panel.button(kindly(name), () => panel.ask("look_at", { values: [finding.number, name] }), { "aria-pressed": String(name === cure.name), title: cureText(name, count) }));
  const samples = cure.samples.map(sample => h("li", {}, h("span", { class: "ftwb-name" }, spoken(sample.row)), h("div", { class: "ftwb-diff", dir: "auto" }, ...sample.pieces.map(([kind, text]) => h(kind === "gone" ? "del" : kind === "new" ? "ins" : "span", {}, spoken(text)))),
    ...(sample.kept ? [h("div", { class: "ftwb-soft" }, cure.name === "drop" ? "stays: " : "", h("span", { dir: "auto" }, spoken(sample.kept)))] : [])));
  const rest = cure.count - cure.samples.length;
  return h("div", { class: "ftwb-cure-view", role: "group", "aria-label": "Cure" }, h("div", { class: "ftwb-line" }, h("span", { class: "ftwb-soft" }, finding.cures.length > 1 ? "Cures" : "Cure"), ...names,
    panel.button(`Apply: ${cureText(cure.name, cure.count).toLowerCase()}`, () => panel.ask("cure", { values: [finding.number, cure.name] }), { class: "ftwb-button ftwb-small ftwb-primary", "data-apply": cure.name })),
  h("ul", { class: "ftwb-samples", "aria-label": "Before and after" }, ...samples), ...(rest > 0 ? [h("p", { class: "ftwb-soft" }, `and ${plural(rest, "more change")}`)] : []));
}

// Columns: what is in them.

function bars(panel, found, { of = "", unit = "", name = null, line = null, label }) {
  const most = Math.max(1, ...found.counts), place = linePlace(found, line);
  const made = found.counts.map((count, i) => {
    const text = barText(found, i, unit), fill = h("i", { "aria-hidden": "true" });
    fill.style.height = `${count ? Math.max(3, (100 * count) / most) : 0}%`;
    const properties = { class: "ftwb-bar-of", title: text, "aria-label": text, tabIndex: i ? -1 : 0, "data-cut": String(line !== null && found.edges[i] > line) };
    if (name === null) return h("span", { class: "ftwb-bar-of", title: text, "data-cut": properties["data-cut"] }, fill);
    const element = panel.button("", () => panel.filter(name, barCondition(found, i, of)), properties);
    element.append(fill);
    return element;
  });
  const group = h("div", { class: "ftwb-bars", role: name === null ? "img" : "group", "aria-label": label }, ...made);
  if (place !== null) { const cut = h("span", { class: "ftwb-cut", title: `cut at ${formatCount(line)}` }); cut.style.left = `${100 * place}%`; group.append(cut); }
  const ends = found.edges.length ? [h("div", { class: "ftwb-ends", "aria-hidden": "true" }, h("span", {}, formatNumber(found.edges[0])), h("span", {}, `${formatNumber(found.edges.at(-1))}${found.more ? "+" : ""}`))] : [];
  return [name === null ? group : rove(panel, group), ...ends];
}

function paintColumns(panel) {
  const profile = panel.model.get("profile") ?? {}, { state } = panel;
  const cards = [];
  if (profile.lengths?.counted) cards.push({ card: "lengths", found: profile.lengths });
  if (profile.balance?.length) cards.push({ card: "balance", found: profile.balance, splits: Object.keys(state.splits), all: panel.all });
  const told = new Set(["origin", ...(Object.keys(state.splits).length ? ["split"] : []), ...(profile.balance?.length ? ["label"] : [])]);  // in other words above
  for (const column of state.columns) if (!told.has(column.name)) cards.push({ card: "column", column, found: profile.columns?.[column.name] ?? null });
  list(panel.columns, cards, one => ({ lengths: lengthCard, balance: balanceCard, column: columnCard }[one.card](panel, one)));
}

const card = (title, aside, ...children) => h("article", { class: "ftwb-card" }, h("header", {}, h("b", { dir: "auto" }, spoken(title)), h("span", { class: "ftwb-soft" }, aside)), ...children);

function lengthCard(panel, { found }) {
  const cut = found.max_length;
  return card("Length of the rows", found.unit, ...bars(panel, found.bars, { unit: found.unit, line: cut, label: `Length of the rows in ${found.unit}` }), h("p", { class: "ftwb-soft" }, quantileText(found.quantiles, found.unit)), h("p", { class: found.cut ? "ftwb-warn" : "ftwb-soft" }, lengthText(found)));
}

function balanceCard(panel, { found, splits, all }) {
  const most = Math.max(...found.map(([, counts]) => Object.values(counts).reduce((a, b) => a + b, 0))), shown = all ? found : found.slice(0, 10);
  const rows = shown.map(([name, counts]) => {
    const total = Object.values(counts).reduce((a, b) => a + b, 0), parts = (splits.length ? splits : Object.keys(counts)).filter(split => counts[split]);
    const track = h("span", { class: "ftwb-track", "aria-hidden": "true" }, ...parts.map(split => { const part = h("i", { "data-split": split }); part.style.width = `${(100 * counts[split]) / most}%`; return part; }));
    const text = `${spoken(name)}: ${plural(total, "row")}${parts.length > 1 ? ` (${parts.map(split => `${split} ${formatCount(counts[split])}`).join(", ")})` : ""}`;
    const element = panel.button("", () => panel.filter("label", ["is", name]), { class: "ftwb-class", title: text, "aria-label": text, tabIndex: -1 });
    element.append(h("span", { class: "ftwb-name", dir: "auto" }, spoken(name)), track, h("span", { class: "ftwb-value" }, formatCount(total)));
    return element;
  });
  if (rows[0]) rows[0].tabIndex = 0;
  const toggle = found.length > 10 ? [panel.button(all ? "The ten largest" : `All ${formatCount(found.length)} classes`, () => { panel.all = !panel.all; paint(panel); })] : [];
  const key = splits.length ? [h("div", { class: "ftwb-line ftwb-key-line" }, ...splits.map(split => h("span", { class: "ftwb-key" }, h("i", { class: "ftwb-dot", "data-split": split }), split)), ...toggle)] : toggle;
  const smallest = found.at(-1), total = ([, counts]) => Object.values(counts).reduce((a, b) => a + b, 0);
  return card("Classes", `${formatCount(found.length)}, ${total(smallest) === most ? "" : `${formatCount(total(smallest))} to `}${formatCount(most)} rows each`, rove(panel, h("div", { class: "ftwb-classes", role: "group", "aria-label": "Classes" }, ...rows)), ...key);
}

function columnCard(panel, { column, found }) {
  if (!found) return card(column.title, column.type, h("p", { class: "ftwb-soft" }, panel.state.job ? "counting…" : ""));
  const parts = [h("p", { class: "ftwb-soft" }, columnFacts(found))];
  if (found.top.length) {
    const most = found.top[0][1];
    const rows = found.top.map(([value, count], i) => {
      const track = h("span", { class: "ftwb-track", "aria-hidden": "true" }, h("i")), text = spoken(String(value)) || "(empty)";
      track.firstChild.style.width = `${(100 * count) / most}%`;
      const element = panel.button("", () => panel.filter(column.name, ["is", value]), { class: "ftwb-class", title: `${text}: ${plural(count, "row")}`, "aria-label": `${text}: ${plural(count, "row")}`, tabIndex: i ? -1 : 0 });
      element.append(h("span", { class: "ftwb-name", dir: "auto" }, text), track, h("span", { class: "ftwb-value" }, formatCount(count)));
      return element;
    });
    parts.push(rove(panel, h("div", { class: "ftwb-classes", role: "group", "aria-label": `Values of ${spoken(column.title)}` }, ...rows.slice(0, found.bars && found.of !== "values" ? 5 : 8))));
  }
  if (found.bars?.counts.length && (!found.top.length || found.of === "values")) parts.push(...bars(panel, found.bars, { of: found.of, unit: found.of === "characters" ? "characters" : "", name: column.name, label: `${found.of === "characters" ? "Lengths" : "Values"} of ${spoken(column.title)}` }),
    h("p", { class: "ftwb-soft" }, quantileText(found.quantiles, found.of === "characters" ? "characters" : "")));
  if (found.missing) parts.push(panel.button(`Show ${formatCount(found.missing)} missing`, () => panel.filter(column.name, ["missing"])));
  return card(column.title, column.type, ...parts);
}

// The map.

function buildMap(panel) {
  const { on, labelled } = panel, made = { by: h("select", { class: "ftwb-input" }), how: h("select", { class: "ftwb-input" }), canvas: h("canvas", { "aria-hidden": "true" }), hint: h("span", { class: "ftwb-soft", "aria-live": "polite" }), keys: h("div", { class: "ftwb-map-keys", role: "group", "aria-label": "Legend: show the rows of one" }) };
  on(made.by, "change", () => { panel.by = made.by.value; paintMap(panel); });
  on(made.how, "change", () => panel.ask("map", { how: made.how.value }));
  made.plot = h("div", { class: "ftwb-map", role: "application", tabIndex: 0, "aria-label": "Map of the rows" }, made.canvas);
  on(made.plot, "keydown", event => ringKeys(panel, event));
  for (const name of ["focus", "blur"]) on(made.plot, name, () => sayHint(panel));
  on(made.plot, "pointerdown", event => { if (event.button) return; made.plot.setPointerCapture(event.pointerId); panel.lasso = [pointOf(made, event)]; event.preventDefault(); });
  on(made.plot, "pointermove", event => { if (!panel.lasso) return; panel.lasso.push(pointOf(made, event)); drawMap(panel); });
  on(made.plot, "pointerup", event => { if (panel.lasso) { panel.lasso.push(pointOf(made, event)); caught(panel); } });
  on(made.plot, "pointercancel", () => { panel.lasso = null; drawMap(panel); });
  rove(panel, made.keys);
  made.note = h("p", { class: "ftwb-soft" });
  made.root = h("div", {}, h("div", { class: "ftwb-line ftwb-map-tools" }, labelled("Colour", made.by), labelled("Projection", made.how), made.hint), h("div", { class: "ftwb-map-body" }, made.plot, made.keys), made.note);
  return made;
}

const pointOf = (made, event) => { const box = made.plot.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const PAD = 10, GRAIN = 1000;  // pixels around the points; coordinates travel as whole thousandths

const inset = share => (share + 0.02) / 1.04;  // what lies far out was drawn in to -0.02 and 1.02

function places(panel) {
  const map = panel.model.get("map") ?? {}, width = panel.map.plot.clientWidth - 2 * PAD, height = panel.map.plot.clientHeight - 2 * PAD;
  return { map, xs: (map.x ?? []).map(x => PAD + width * inset(x / GRAIN)), ys: (map.y ?? []).map(y => PAD + height - height * inset(y / GRAIN)) };
}

/** The end of a lasso: what lies in it, or the point that was clicked. */
function caught(panel) {
  const path = panel.lasso, { map, xs, ys } = places(panel);
  panel.lasso = null;
  const [first] = path, far = path.some(([x, y]) => Math.hypot(x - first[0], y - first[1]) > 5);
  if (!far) {
    const hit = nearest(first, xs, ys, 9);
    if (hit >= 0) { panel.active = 0; panel.open = map.places[hit]; panel.far = true; panel.ask("open", { values: [map.places[hit]] }); }
    return drawMap(panel);
  }
  const found = map.places.filter((_, i) => inside([xs[i], ys[i]], path));
  if (found.length) { panel.active = 0; panel.show({ picked: found }); }
  drawMap(panel);
}

/** What the keyboard does instead of a lasso: a circle that is moved and sized. */
function ringKeys(panel, event) {
  const { plot } = panel.map, { clientWidth: width, clientHeight: height } = plot, ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }, way = ways[event.key];
  if (event.altKey || event.ctrlKey || event.metaKey || !(way || ["+", "-", "Enter", "Escape"].includes(event.key))) return;
  event.preventDefault();
  event.stopPropagation();
  const ring = panel.ring ?? { x: width / 2, y: height / 2, r: Math.min(width, height) / 8 }, step = event.shiftKey ? 4 : ring.r / 2;
  if (event.key === "Enter" && panel.ring) { const found = ringed(panel); if (found.length) { panel.active = 0; panel.show({ picked: found }); } }
  else if (event.key === "Escape") panel.ring = null;
  else if (!way) panel.ring = { ...ring, r: clamp(ring.r * (event.key === "+" ? 1.25 : 0.8), 6, height) };
  else panel.ring = { ...ring, x: clamp(ring.x + way[0] * step, 0, width), y: clamp(ring.y + way[1] * step, 0, height) };
  sayHint(panel);
  drawMap(panel);
}

/** The rows in the circle. */
function ringed(panel) {
  const { map, xs, ys } = places(panel), { x, y, r } = panel.ring;
  return map.places.filter((_, i) => Math.hypot(xs[i] - x, ys[i] - y) <= r);
}

function sayHint(panel) {
  const { hint, plot } = panel.map;
  say(hint, panel.ring ? `${plural(ringed(panel).length, "row")} in the circle: Enter shows them, arrows move it, + and - size it, Escape takes it away.`
    : document.activeElement === plot ? "Arrow keys bring a circle that catches points." : "Draw around points to see their rows; click one to open it.");
}

function paintMap(panel) {
  const { map: made, state } = panel, map = panel.model.get("map") ?? {}, there = Boolean(map.places?.length);
  const ways = there ? map.colours.map(({ name, title }) => [name, title]) : [];
  if (!ways.some(([name]) => name === panel.by)) panel.by = ways[0]?.[0] ?? "";
  options(made.by, ways, panel.by);
  options(made.how, map.projections ?? [], map.how ?? "");
  show(made.root.firstChild, there);
  show(made.plot.parentElement, there);
  sayHint(panel);
  say(made.note, there ? `${plural(map.places.length, "point")}${map.places.length < map.total ? ` of ${formatCount(map.total)} rows` : ""}${map.said}${state.mapping ? ` · ${state.mapping}` : ""}` : state.mapping || "No map yet.");
  mark(made.plot, "aria-label", there ? `Map of ${plural(map.places.length, "row")}, coloured by ${ways.find(([name]) => name === panel.by)?.[1]}; the legend beside it filters by the same` : "Map");
  if (!there) return list(made.keys, [], () => null);
  const way = map.colours.find(({ name }) => name === panel.by), { entries, colours } = legend(way.codes, way.names);
  panel.colours = colours;
  const chosen = entry => (way.name === "finding" ? panel.page.finding === entry.code : String(panel.page.where[way.name]?.[1]) === String(way.names[entry.code]));
  const twice = name => way.name === "finding" && way.names.indexOf(name) !== way.names.lastIndexOf(name);
  list(made.keys, entries.slice(0, 40).map((entry, i) => ({ ...entry, chosen: chosen(entry), by: way.name, first: !i, more: twice(entry.name) ? state.findings[entry.code]?.what ?? "" : "" })), entry => {
    const text = entry.by === "finding" ? kindly(entry.name) + (entry.more ? `: ${spoken(entry.more)}` : "") : spoken(entry.name) || "(empty)", dot = h("i", { class: "ftwb-dot", "data-colour": String(entry.colour) });
    const element = panel.button("", () => {
      panel.active = 0;
      if (entry.by === "finding") panel.show({ finding: entry.chosen ? null : entry.code });
      else if (entry.chosen) { const where = { ...panel.page.where }; delete where[entry.by]; panel.show({ where }); }
      else panel.filter(entry.by, ["is", entry.name]);
    }, { class: "ftwb-map-key", "aria-pressed": String(entry.chosen), tabIndex: entry.first ? 0 : -1, title: `Show the rows of ${text}` });
    element.append(dot, h("span", { class: "ftwb-name", dir: "auto" }, text), h("span", { class: "ftwb-value ftwb-soft" }, formatCount(entry.count)));
    return element;
  });
  drawMap(panel);
}

function drawMap(panel) {
  const { canvas, plot } = panel.map, ratio = window.devicePixelRatio || 1, width = plot.clientWidth, height = plot.clientHeight;
  if (!width || !panel.colours) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const pen = canvas.getContext("2d"), style = getComputedStyle(panel.root), colour = name => style.getPropertyValue(name).trim();
  const palette = Array.from({ length: COLOURS }, (_, i) => colour(`--ftwb-c${i}`)), faint = colour("--ftwb-faint"), { map, xs, ys } = places(panel);
  const picked = panel.page.picked_shown ? new Set(panel.page.picked_shown) : null, way = map.colours.find(({ name }) => name === panel.by);
  const wanted = panel.page.where[panel.by]?.[1], bright = i => (picked ? picked.has(map.places[i]) : panel.by === "finding" ? panel.page.finding === null || way.codes[i] === panel.page.finding : wanted === undefined || String(way.names[way.codes[i]]) === String(wanted));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  for (const lit of [false, true]) {
    for (let i = 0; i < xs.length; i++) {
      if (bright(i) !== lit) continue;
      const number = panel.colours[i];
      pen.globalAlpha = !lit ? 0.12 : number < 0 ? 0.35 : 0.85;
      pen.fillStyle = number < 0 ? faint : palette[number];
      pen.beginPath();
      pen.arc(xs[i], ys[i], number < 0 ? 2 : 2.8, 0, 7);
      pen.fill();
    }
  }
  const open = map.places.indexOf(panel.open);
  if (open >= 0) { pen.globalAlpha = 1; pen.strokeStyle = colour("--ftwb-ink"); pen.lineWidth = 2; pen.beginPath(); pen.arc(xs[open], ys[open], 6, 0, 7); pen.stroke(); }
  const path = panel.lasso?.length > 1 ? panel.lasso : panel.ring ? Array.from({ length: 48 }, (_, i) => [panel.ring.x + panel.ring.r * Math.cos((i * Math.PI) / 24), panel.ring.y + panel.ring.r * Math.sin((i * Math.PI) / 24)]) : [];
  if (path.length) {
    pen.globalAlpha = 1;
    pen.strokeStyle = pen.fillStyle = colour("--ftwb-focus");
    pen.lineWidth = 1.5;
    pen.beginPath();
    path.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.stroke();
    pen.globalAlpha = 0.1;
    pen.fill();
  }
}

// Changes, and the same as code.

function paintChanges(panel) {
  const { state } = panel;
  list(panel.changes, [{ changes: state.changes, code: state.code, rows: state.changed_rows, can: state.can_edit, file: state.ledger_file, only: panel.page.changed }], ({ changes, code, rows, can, file }) => {
    if (!changes.length) return h("p", { class: "ftwb-soft" }, can ? "Nothing was changed yet. Cures of findings, and labels, texts and rows that you change by hand, are kept here in their order; each can be undone." : "Rows can be changed once they are split.");
    const keep = file ? [h("span", { class: "ftwb-soft" }, `The changes are saved as ${spoken(file)}.`)] : code.some(([name]) => name === "File") ? [panel.button("Save the changes", () => panel.ask("save_ledger"), { "data-save": "true", title: "A file beside the notebook, which the lines below read" })] : [];
    const items = changes.map((change, i) => h("li", {}, h("span", { class: "ftwb-value ftwb-soft" }, String(i + 1)), h("span", { dir: "auto" }, spoken(change.what)), h("span", { class: "ftwb-soft" }, plural(change.count, "change")),
      panel.button("Undo", () => panel.ask("undo", { values: [i] }), { "data-undo": String(i), "aria-label": `Undo ${spoken(change.what)}` })));
    return h("div", {}, h("div", { class: "ftwb-line" }, h("p", {}, `${plural(rows, "row")} changed. The data you gave is as it was; `, h("code", {}, "panel.dataset"), " is the mended one, ", h("code", {}, "panel.ledger"), " says what was done."),
      panel.button(panel.page.changed ? "Show all rows" : "Show changed rows", () => panel.show({ changed: !panel.page.changed }), { "aria-pressed": String(panel.page.changed) })),
    h("ol", { class: "ftwb-ledger" }, ...items), h("div", { class: "ftwb-line" }, h("h3", {}, "Keep as code"), ...keep), h("div", { class: "ftwb-code" }, ...code.map(([name, text]) => codeLine(panel, name, text))));
  });
}

// The rows.

function buildTools(panel) {
  const { on, button, labelled } = panel, made = { splits: h("span", { class: "ftwb-choices", role: "radiogroup", "aria-label": "Split" }) };
  made.label = on(h("select", { class: "ftwb-input" }), "change", () => { const where = { ...panel.page.where }; delete where.label; if (made.label.value !== "") where.label = ["is", made.label.value.slice(1)]; panel.active = 0; panel.show({ where }); });
  made.labels = labelled("Label", made.label);
  made.query = h("input", { class: "ftwb-input", type: "search", size: 24, placeholder: "words in any text", "aria-label": "Search", title: "Press / to search", spellcheck: false, autocomplete: "off" });
  const find = () => { clearTimeout(panel.typing); if (made.query.value === panel.sought) return; panel.sought = made.query.value; panel.active = 0; panel.show({ query: made.query.value }); };
  on(made.query, "input", () => { clearTimeout(panel.typing); panel.typing = setTimeout(find, 350); });
  on(made.query, "change", find);
  on(made.query, "keydown", event => { if (event.key === "Enter") find(); if (event.key === "ArrowDown") { event.preventDefault(); focusRow(panel, 0); } });
  made.chips = h("span", { class: "ftwb-group" });
  made.found = h("span", { class: "ftwb-soft ftwb-value" });
  made.export = button("Save as csv", () => panel.ask("save_csv"), { title: "The rows found, as they are now, beside the notebook; cells that a spreadsheet would run get an apostrophe in front" });
  made.relabel = button("Relabel these…", () => { panel.form = !panel.form; paint(panel); if (panel.form) made.many.querySelector("input")?.focus(); }, { "data-many": "relabel", title: "Give all rows found another class" });
  made.drop = button("Drop these", () => panel.ask("drop_found"), { "data-many": "drop", title: "Leave all rows found out; it can be undone" });
  made.many = h("span", { class: "ftwb-group", hidden: true });
  made.root = h("div", { class: "ftwb-tools", role: "toolbar", "aria-label": "Rows" }, made.splits, made.labels, made.query, made.chips, h("span", { class: "ftwb-group ftwb-end" }, made.found, made.relabel, made.many, made.drop, made.export));
  return made;
}

function paintTools(panel) {
  const { tools: made, state, page } = panel, splits = Object.entries(state.splits), split = page.where.split?.[1] ?? "";
  show(made.splits, splits.length > 0);
  list(made.splits, splits.length ? [["", "All", null], ...splits.map(([name, count]) => [name, name.charAt(0).toUpperCase() + name.slice(1), count])] : [], ([name, text, count]) => {
    const input = panel.on(h("input", { type: "radio", name: `${panel.id}-split`, value: name }), "change", () => { const where = { ...panel.page.where }; delete where.split; if (name) where.split = ["is", name]; panel.active = 0; panel.show({ where }); });
    return h("label", { class: "ftwb-choice" }, input, h("span", {}, count === null ? text : `${text} ${formatCount(count)}`));
  });
  for (const input of made.splits.querySelectorAll("input")) input.checked = input.value === split;
  show(made.labels, state.labels.length > 0);
  options(made.label, [["", "all"], ...state.labels.slice(0, CLASSES).map(([name, count]) => [`=${name}`, `${spoken(name)} (${formatCount(count)})`]), ...(state.labels.length > CLASSES ? [["?", `${formatCount(state.label_count - CLASSES)} more: see Columns`]] : [])], page.where.label?.[0] === "is" ? `=${page.where.label[1]}` : "");
  if (document.activeElement !== made.query) { made.query.value = page.query; panel.sought = page.query; }
  const chips = [], finding = page.finding === null ? null : state.findings[page.finding];
  if (finding) chips.push(["finding", kindly(finding.kind)]);
  if (page.picked) chips.push(["picked", `${plural(page.picked, "row")} of the map`]);
  if (page.changed) chips.push(["changed", "changed rows"]);
  const titles = Object.fromEntries(state.columns.map(column => [column.name, column.title]));
  for (const [name, condition] of Object.entries(page.where)) if (name !== "split" && !(name === "label" && condition[0] === "is" && state.labels.some(([label]) => label === condition[1]))) chips.push([`where ${name}`, conditionText(titles[name] ?? name, condition)]);
  list(made.chips, chips, ([key, text]) => panel.button(`${text} ×`, () => {
    const where = { ...panel.page.where };
    if (key.startsWith("where ")) delete where[key.slice(6)];
    panel.active = 0;
    panel.show({ finding: { finding: null }, picked: { picked: null }, changed: { changed: false } }[key] ?? { where });
  }, { class: "ftwb-button ftwb-small ftwb-chip", title: "Take this filter away" }));
  const few = page.query || chips.length || Object.keys(page.where).length;
  say(made.found, few && page.found !== page.of ? `${plural(page.found, "row")} found` : "");
  made.export.disabled = !page.found;
  const many = Boolean(state.can_edit && few && page.finding === null && page.found > 0 && page.found < page.of);  // a finding's rows have cures of their own
  show(made.drop, many);
  show(made.relabel, many && state.labels.length > 0);
  panel.form &&= many;
  mark(made.relabel, "aria-expanded", String(panel.form));
  show(made.many, panel.form);
  list(made.many, panel.form ? [state.labels.slice(0, CLASSES).map(([name]) => name)] : [], labels => formOf(panel, labels));
}

/** Where the class is written that all rows found get. */
function formOf(panel, labels) {
  const [input, known] = classInput(panel, "classes", "", labels, "Class for the rows found"), save = panel.button("Relabel", () => { if (!input.value) return; panel.form = false; panel.ask("relabel_found", { values: [input.value] }); }, { class: "ftwb-button ftwb-small ftwb-primary" });
  panel.on(input, "keydown", event => { if (event.key === "Enter") save.click(); if (event.key === "Escape") { panel.form = false; paint(panel); panel.tools.relabel.focus(); } });
  return h("span", { class: "ftwb-group" }, input, save, known);
}

/** A field that knows the classes there are. */
function classInput(panel, name, value, labels, title) {
  const id = `${panel.id}-${name}`, input = h("input", { class: "ftwb-input", value, size: 28, "aria-label": title, placeholder: "a class", autocomplete: "off", spellcheck: false });
  input.setAttribute("list", id);
  return [input, h("datalist", { id }, ...labels.map(label => h("option", { value: label })))];
}

function buildTable(panel) {
  const made = { head: h("thead"), body: h("tbody") };
  made.table = h("table", { role: "grid", "aria-label": "Rows", "aria-describedby": `${panel.id}-keys` }, made.head, made.body);
  made.root = h("div", { class: "ftwb-rows" }, made.table, h("div", { class: "ftwb-unseen", id: `${panel.id}-keys` }, "Up and down arrows move from row to row, Page Up and Page Down from page to page, Home and End to the first and the last row, Enter opens a row, Escape closes it, slash goes to the search."));
  panel.on(made.body, "keydown", event => rowKeys(panel, event));
  panel.on(made.body, "click", event => { const row = event.target.closest("tr[data-place]"); if (!row || getSelection()?.toString()) return; const place = Number(row.dataset.place), shut = panel.open === place; focusRow(panel, rowsOf(panel).indexOf(row)); if (shut || panel.open !== place) open(panel, place); });
  return made;
}

/** The table's rows, without the one that is opened below one of them. */
const rowsOf = panel => [...panel.table.body.children].filter(row => row.dataset.place !== undefined);

function rowKeys(panel, event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName !== "TR") return;
  const { page } = panel, all = rowsOf(panel), at = all.indexOf(event.target), last = lastPage(page);
  const turn = (to, active) => { if (to !== page.at && to >= 0 && to <= last) { panel.wanted = panel.active = active; panel.show({ at: to }); } else focusRow(panel, active < 0 ? all.length - 1 : active); };
  const acts = {
    ArrowDown: () => (at + 1 < all.length ? focusRow(panel, at + 1) : page.at < last && turn(page.at + 1, 0)),
    ArrowUp: () => (at > 0 ? focusRow(panel, at - 1) : page.at > 0 && turn(page.at - 1, -1)),
    PageDown: () => (page.at < last ? turn(page.at + 1, at) : focusRow(panel, all.length - 1)),
    PageUp: () => (page.at > 0 ? turn(page.at - 1, at) : focusRow(panel, 0)),
    Home: () => turn(0, 0),
    End: () => turn(last, -1),
    Enter: () => open(panel, Number(event.target.dataset.place)),
    Escape: () => { if (panel.open !== null) open(panel, panel.open); },
    "/": () => panel.tools.query.focus(),
  };
  if (!(event.key in acts)) return;
  event.preventDefault();
  event.stopPropagation();
  acts[event.key]();
}

function focusRow(panel, at) {
  const rows = rowsOf(panel);
  if (!rows.length) return;
  const to = clamp(at < 0 ? rows.length - 1 : at, 0, rows.length - 1);
  panel.active = to;
  rows.forEach((row, i) => { row.tabIndex = i === to ? 0 : -1; });
  rows[to].focus({ preventScroll: false });
  if (panel.open !== null && panel.open !== Number(rows[to].dataset.place)) open(panel, Number(rows[to].dataset.place), true);
}

/** Opens a row, or closes it where it is open. */
function open(panel, place, stay = false) {
  if (panel.open === place && !stay) { panel.open = null; panel.whole = null; paint(panel); return; }
  panel.open = place;
  panel.far = false;
  panel.ask("open", { values: [place] });
}

/** Closes the open row; the keys are with its line again. */
function shut(panel) {
  const at = rowsOf(panel).findIndex(row => Number(row.dataset.place) === panel.open);
  open(panel, panel.open);
  focusRow(panel, at < 0 ? panel.active : at);
}

const SORT = { "": "none", up: "ascending", down: "descending" };

function paintTable(panel) {
  const { table, page, state } = panel, hadFocus = table.body.contains(document.activeElement);
  const extras = page.finding === null ? [] : [...(page.grouped ? [["group", "Group"]] : []), ...(page.scored ? [["score", page.scored]] : []), ...(page.seen ? [["seen", "Why"]] : [])];
  const head = [{ name: "", title: "Row" }, ...extras.map(([name, title]) => ({ name, title, extra: true })), ...state.columns.map(column => ({ ...column, way: page.sort === column.name ? (page.descending ? "down" : "up") : "" }))];
  list(table.head, [head], columns => h("tr", {}, ...columns.map(column => headCell(panel, column))));
  const main = state.columns.findIndex(column => column.main);
  const rows = page.rows.map(row => ({ ...row, query: page.query, extras: extras.map(([name]) => name), main, kinds: state.columns.map(column => column.kind), names: state.columns.map(column => column.name) }));
  const whole = panel.whole ?? panel.model.get("row") ?? {}, entries = [...rows];
  const at = rows.findIndex(row => row.place === panel.open);
  if (panel.open !== null && whole.place === panel.open && (at >= 0 || panel.far)) entries.splice(at + 1, 0, { opened: panel.open, columns: 1 + extras.length + state.columns.length });  // a point of the map, on another page, stands above
  list(table.body, entries, row => (row.opened === undefined ? buildRow(panel, row) : h("tr", { class: "ftwb-open" }, h("td", { colSpan: row.columns }, panel.detail))));
  mark(table.table, "data-finding", String(extras.length > 0));
  const active = clamp(panel.wanted === undefined ? panel.active : panel.wanted < 0 ? rows.length - 1 : panel.wanted, 0, Math.max(0, rows.length - 1));
  const lines = rowsOf(panel);
  lines.forEach((row, i) => { row.tabIndex = i === active ? 0 : -1; mark(row, "aria-selected", String(Number(row.dataset.place) === panel.open)); });
  panel.active = active;
  if (panel.wanted !== undefined && (page.asked ?? 0) >= panel.asked) { panel.wanted = undefined; focusRow(panel, active); }
  else if (hadFocus && rows.length && !table.body.contains(document.activeElement)) lines[active].focus();
  show(table.root, entries.length > 0);
}

function headCell(panel, column) {
  const text = spoken(column.title);
  if (!column.name || column.extra || !column.sorts) return h("th", { scope: "col", "data-kind": column.name ? column.kind ?? "extra" : "place", "data-name": column.name }, text);
  const sort = () => { panel.active = 0; panel.show(column.way === "" ? { sort: column.name, descending: false } : column.way === "up" ? { sort: column.name, descending: true } : { sort: null }); };
  const arrow = { up: " ▲", down: " ▼" }[column.way] ?? "";
  return h("th", { scope: "col", "data-name": column.name, "data-kind": column.kind, "data-main": String(Boolean(column.main)), "aria-sort": SORT[column.way] }, panel.button(`${text}${arrow}`, sort, { class: "ftwb-link ftwb-sort", title: column.way === "up" ? "Sort downwards" : column.way ? "As in the data" : "Sort upwards" }));
}

function drawText(element, text, query, lines = false) {
  const pieces = visible(text);
  for (const [kind, shown] of pieces) {
    if (kind === "text") for (const [part, hit] of hits(shown, query)) element.append(hit ? h("mark", {}, part) : part);
    else if (kind === "line" && lines) element.append("\n");
    else element.append(h("i", { class: kind }, shown));
  }
}

function buildRow(panel, row) {
  const state = row.state ? [h("span", { class: "ftwb-badge", "data-tone": row.state === "dropped" ? "bad" : "good" }, row.state)] : [], masked = row.masked ? [h("span", { class: "ftwb-badge", "data-tone": "warn", title: "Personal data or secrets are covered" }, "masked")] : [];
  const extra = { group: () => h("td", { "data-kind": "number" }, row.group === null ? "" : `${formatCount(row.group + 1)}${row.keep ? " ★" : ""}`), score: () => h("td", { "data-kind": "number" }, row.score === null ? "" : scoreText(row.score)), seen: () => { const cell = h("td", { "data-name": "seen", "data-kind": "text" }, h("div", { dir: "auto" })); if (row.seen) drawText(cell.firstChild, row.seen, ""); return cell; } };
  const cells = row.cells.map((cell, i) => {
    const { text, missing, before, after } = cellOf(cell), inner = h("div", { dir: "auto" });
    if (missing || text === "") inner.append(h("i", { class: "ftwb-nothing" }, missing ? "missing" : "empty"));
    else { if (before) inner.append("… "); drawText(inner, text, ["text", "nested"].includes(row.kinds[i]) ? row.query : ""); if (after) inner.append(" …"); }
    if (i === row.main) inner.prepend(...state, ...masked);
    return h("td", { "data-name": row.names[i], "data-kind": row.kinds[i], "data-main": String(i === row.main) }, inner);
  });
  if (row.main < 0) cells.push(...state);
  return h("tr", { tabIndex: -1, "data-place": String(row.place), "data-state": row.state, "data-bad": String(row.bad) }, h("th", { scope: "row", "data-kind": "place" }, formatCount(row.place + 1), ...(row.bad ? [h("i", { class: "ftwb-flag", title: plural(row.bad, "finding") }, "●")] : [])), ...row.extras.map(name => extra[name]()), ...cells);
}

// One row, whole.

function paintDetail(panel) {
  const row = panel.whole ?? panel.model.get("row") ?? {}, { state } = panel;
  if (panel.open === null || row.place !== panel.open) return;
  list(panel.detail, [{ row, labels: state.labels.slice(0, CLASSES).map(([name]) => name), can: state.can_edit, query: panel.page.query }], ({ row: one, labels, can, query }) => buildDetail(panel, one, labels, can, query));
}

/** What a finding says of this row, and its cures for this row alone. */
function buildMark(panel, row, found, can) {
  const [tone] = SEVERITIES[found.severity] ?? SEVERITIES.note, cures = can && row.state !== "dropped" ? found.cures.filter(([name]) => name !== "drop") : [];
  return h("li", {}, h("span", { class: "ftwb-badge", "data-tone": tone }, kindly(found.kind)), h("span", { class: "ftwb-soft", dir: "auto" }, found.why ? spoken(found.why) : ""),
    h("span", { class: "ftwb-group" }, ...cures.map(([name, to]) => panel.button(name === "edit" ? "Apply the edit" : `${spoken(name).charAt(0).toUpperCase()}${spoken(name).slice(1)}${to ? ` to ${spoken(to)}` : ""}`, () => panel.ask("cure", { values: [found.number, name], rows: [row.place] }), { class: "ftwb-button ftwb-small ftwb-cure", "data-one": name }))));
}

function buildDetail(panel, row, labels, can, query) {
  const { button } = panel, badges = [...(row.state ? [h("span", { class: "ftwb-badge", "data-tone": row.state === "dropped" ? "bad" : "good" }, row.state)] : [])];
  const close = button("Close", () => shut(panel), { "aria-label": "Close the row" });
  const head = h("header", {}, h("b", {}, `Row ${formatCount(row.place + 1)}`), h("span", { class: "ftwb-soft ftwb-name", dir: "auto" }, spoken(row.name)), ...badges, h("span", { class: "ftwb-group ftwb-end" },
    ...(row.masked ? [button(row.masked === "covered" ? "Uncover" : "Cover", () => { if (row.masked === "covered") return panel.ask("open", { values: [row.place], uncovered: true }); panel.whole = null; paint(panel); }, { title: "Personal data or secrets; a text can be changed when it is uncovered" })] : []),
    ...(can ? [row.state === "dropped" ? button("Keep", () => panel.ask("restore", { values: [row.place] }), { title: "Take back that it is dropped" }) : button("Drop row", () => panel.ask("drop", { values: [row.place] }))] : []), close));
  const parts = row.fields.map(field => buildField(panel, row, field, labels, can, query));
  const found = row.findings.length ? [h("ul", { class: "ftwb-marks", "aria-label": "Findings" }, ...row.findings.map(one => buildMark(panel, row, one, can)))] : [];
  return h("div", {}, head, ...found, ...parts);
}

function buildField(panel, row, field, labels, can, query) {
  const { button, on } = panel, name = h("dt", {}, spoken(field.title));
  if (field.name === "label" && can && row.state !== "dropped") {
    const [input, known] = classInput(panel, "labels", field.text ?? "", labels, "Label");
    const save = button("Relabel", () => { if (input.value !== (field.text ?? "")) panel.ask("relabel", { values: [row.place, input.value] }); }, { title: "Give this row another class" });
    on(input, "keydown", event => { if (event.key === "Enter") save.click(); });
    return h("dl", { class: "ftwb-field" }, name, h("dd", { class: "ftwb-group" }, input, save, known, ...was(field)));
  }
  if (field.turns) return h("dl", { class: "ftwb-field" }, name, h("dd", {}, ...turnsOf(panel, row, field, can, query)));
  const text = h("pre", { dir: "auto", tabIndex: (field.text ?? "").length > 600 ? 0 : -1, "aria-label": spoken(field.title) });
  if (field.text === null || field.text === "") text.append(h("i", { class: "ftwb-nothing" }, field.text === null ? "missing" : "empty"));
  else drawText(text, field.text, query, true);
  const rest = field.length > (field.text ?? "").length ? [h("p", { class: "ftwb-soft" }, `The first ${formatCount(field.text.length)} of ${formatCount(field.length)} characters.`)] : [];
  if (!(field.edits && can && row.state !== "dropped" && !rest.length)) return h("dl", { class: "ftwb-field" }, name, h("dd", {}, text, ...rest, ...was(field)));
  const body = h("dd", {}, text, ...rest, ...was(field));
  body.append(editor(panel, [text], [["", field.text ?? ""]], values => panel.ask("edit", { values: [row.place, values[0]], field: field.name })));
  return h("dl", { class: "ftwb-field" }, name, body);
}

const was = field => (field.before === undefined ? [] : [h("p", { class: "ftwb-soft" }, "was: ", h("span", { dir: "auto" }, field.before === null ? "missing" : spoken(field.before)))]);

function turnsOf(panel, row, field, can, query) {
  const shown = field.turns.map(([role, content]) => { const text = h("pre", { dir: "auto" }); drawText(text, content, query, true); return h("div", { class: "ftwb-turn", "data-role": role }, h("b", {}, spoken(role)), text); });
  const parts = [...shown, ...was(field)];
  if (field.edits && can && row.state !== "dropped") parts.push(editor(panel, shown, field.turns, values => panel.ask("edit", { values: [row.place, values], field: field.name })));
  return parts;
}

/** A button that puts text fields in the place of texts. */
function editor(panel, shown, texts, save) {
  const edit = panel.button("Edit", () => {
    const fields = texts.map(([role, content]) => h("textarea", { class: "ftwb-input", rows: clamp(content.split("\n").length + 1, 2, 14), value: content, "aria-label": role ? `Turn of ${role}` : "Text", spellcheck: false }));
    shown.forEach(one => show(one, false));
    show(edit, false);
    const done = () => { fields.forEach(one => one.remove()); line.remove(); shown.forEach(one => show(one, true)); show(edit, true); edit.focus(); };
    const line = h("div", { class: "ftwb-group" }, panel.button("Save", () => { const values = fields.map(one => one.value); if (values.some((value, i) => value !== texts[i][1])) save(values); else done(); }, { class: "ftwb-button ftwb-small ftwb-primary" }), panel.button("Cancel", done));
    edit.before(...fields, line);
    for (const one of fields) { panel.on(one, "keydown", event => { event.stopPropagation(); if (event.key === "Escape") done(); }); breakLines(one, panel.signal); }
    fields[0].focus();
  });
  return edit;
}

// What it shows, from the traits.

const MOVED = "The file has changed on disk since it was opened here. What is shown, and panel.dataset, are the rows as they were; run the cell again to read the new ones.";
const nameOf = element => element.getAttribute("aria-label") || element.textContent;
const reached = part => [...part.querySelectorAll("button, input, select, textarea, tr[data-place]")].filter(one => !one.disabled && one.checkVisibility());

function paint(panel) {
  panel.state = panel.model.get("state") ?? {};
  panel.page = panel.model.get("page") ?? {};
  const { state, page } = panel;
  if (!state.columns || !page.rows) return;
  const focused = panel.root.contains(document.activeElement) ? document.activeElement : null, part = focused?.closest(".ftwb-sheet, .ftwb-tools, .ftwb-rows") ?? panel.root, held = focused && [nameOf(focused), reached(part).indexOf(focused)];
  paintError(panel);
  say(panel.title, [state.task, spoken(state.source)].filter(Boolean).join(" · "));
  paintFacts(panel);
  const notes = [...(state.note ? [[state.note, state.can_prepare ? "prepare" : state.can_leave_out ? "drop" : ""]] : []), ...(state.moved ? [[MOVED, ""]] : [])];
  list(panel.note, notes, ([text, way]) => h("div", { class: "ftwb-line" }, h("span", {}, spokenLines(text)), ...(way === "prepare" ? [panel.button("Split and check", () => panel.ask("prepare"), { class: "ftwb-button ftwb-small ftwb-primary" })] : []),
    ...(way === "drop" ? [panel.button("Leave such rows out", () => panel.ask("prepare", { bad_rows: "drop" }), { class: "ftwb-button ftwb-small ftwb-primary", title: "As data.bad_rows=drop does; the file stays as it is" })] : [])));
  show(panel.note, notes.length > 0);
  if (!panel.chosen && (state.checked || !state.job)) panel.tab = state.findings.length || panel.tab === "findings" ? "findings" : "columns";
  const counts = { findings: state.findings.filter(finding => !finding.applied).length || "", columns: "", map: "", changes: state.changes.length || "" };
  for (const [name, tab] of Object.entries(panel.tabs.tabs)) {
    const taken = panel.tab === name;
    say(tab, counts[name] === "" ? TABS[name] : `${TABS[name]} ${formatCount(counts[name])}`);
    mark(tab, "aria-selected", String(taken));
    tab.tabIndex = taken || (!panel.tab && name === "findings") ? 0 : -1;
    show(panel.sheets[name], taken);
  }
  paintFindings(panel);
  paintColumns(panel);
  if (panel.tab === "map") paintMap(panel);
  paintChanges(panel);
  paintTools(panel);
  paintTable(panel);
  const nothing = notice(page, state);
  say(panel.notice, nothing);
  show(panel.notice, Boolean(nothing));
  show(panel.pager.root, page.found > 0);
  paintPager(panel, pageText(page));
  paintDetail(panel);
  if (held && !panel.root.contains(document.activeElement)) { const all = reached(part); (all.find(one => nameOf(one) === held[0]) ?? all[clamp(held[1], 0, all.length - 1)] ?? panel.tabs.tabs[panel.tab])?.focus({ preventScroll: true }); }  // what was drawn anew, or what stands in its place, keeps the keys
  paintBusy(panel);
}

function paintFacts(panel) {
  const { state } = panel, open = state.findings.filter(finding => !finding.applied), errors = open.filter(finding => finding.severity === "error").length, cured = state.findings.length - open.length;
  const rows = [["Rows", formatCount(state.rows), ""], ...Object.entries(state.splits).map(([name, count]) => [name.charAt(0).toUpperCase() + name.slice(1), formatCount(count), state.rows ? formatShare(count / state.rows) : ""]),
    ...(state.label_count ? [["Classes", formatCount(state.label_count), ""]] : []), ...(state.checked ? [["Findings", formatCount(open.length), errors ? plural(errors, "error") : cured ? `${formatCount(cured)} cured` : "", errors > 0]] : []), ...(state.changed_rows ? [["Changed", formatCount(state.changed_rows), state.dropped ? `${formatCount(state.dropped)} dropped` : ""]] : [])];
  list(panel.facts, state.rows ? rows : [], fact);
}

/** What must not stay in a saved notebook comes as a message; the map is drawn anew when its place or the theme changes. */
function begin(panel, changed) {
  const { model } = panel, opened = () => { panel.whole = null; }, told = message => { if (message?.type === "whole") { panel.whole = message.row; changed(); } };
  const watch = new ResizeObserver(() => { if (panel.tab === "map") drawMap(panel); }), theme = new MutationObserver(changed);  // on the next frame: while JupyterLab changes its theme nothing has a size
  model.on("change:row", opened);
  model.on("msg:custom", told);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  watch.observe(panel.map.plot);
  return () => {
    watch.disconnect();
    theme.disconnect();
    model.off("change:row", opened);
    model.off("msg:custom", told);
  };
}

export default { render: view => live(view, ["state", "page", "row", "profile", "map", "cure", "error"], makePanel, paint, begin) };
