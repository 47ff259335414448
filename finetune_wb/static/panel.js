// What panels that ask their kernel share: questions that are counted, the head with what is being done, pages, keys that move among buttons, the life of a view.

import { h, mark, say, show } from "./dom.js";
import { clamp, formatCount, spoken } from "./words.js";

export const PATIENCE = 8000;  // milliseconds after which a kernel that does not answer is spoken of

/** Work in hand, in words. */
export function progress(job) {
  if (!job) return "";
  const all = job.total > 0 ? ` ${formatCount(job.done)} of ${formatCount(job.total)}` : "";
  return `${job.name.charAt(0).toUpperCase()}${job.name.slice(1)}${all}…`;
}

/** A view's model, what it holds by itself (`more`), and makers of elements that listen until the view is gone. `more.progress` may say otherwise what is being done. */
export function newPanel(model, signal, more) {
  const panel = { id: `ftwb-${Math.random().toString(36).slice(2)}`, model, signal, state: model.get("state") ?? {}, page: model.get("page") ?? {}, asked: 0, since: 0, waits: 0, progress, ...more };
  panel.on = (element, event, action) => { element.addEventListener(event, action, { signal }); return element; };
  panel.button = (text, action, properties = {}) => panel.on(h("button", { type: "button", class: "ftwb-button ftwb-small", ...properties }, text), "click", action);
  panel.labelled = (text, ...controls) => h("label", { class: "ftwb-check" }, h("span", {}, text), ...controls);
  /** Asks for a method of the panel's kernel half; the answer is known by a number that is not less. */
  panel.ask = (type, { values = [], ...fields } = {}) => {
    panel.asked = Math.max(panel.asked, panel.state.asked ?? 0, panel.page.asked ?? 0) + 1;
    panel.since = performance.now();
    model.send({ type, asked: panel.asked, values, fields });
    clearTimeout(panel.waits);
    panel.waits = setTimeout(() => paintBusy(panel), PATIENCE);
    paintBusy(panel);
  };
  return panel;
}

/** What went wrong, the title, and what is being done: the first elements of a panel. */
export function buildHead(panel, title) {
  panel.error = h("div", { class: "ftwb-error", role: "alert", hidden: true });
  panel.title = h("span", { class: "ftwb-soft" });
  panel.busy = h("span", { class: "ftwb-busy", role: "status" });
  panel.fill = h("span");
  panel.bar = h("div", { class: "ftwb-bar", "aria-hidden": "true" }, panel.fill);
  return [panel.error, h("div", { class: "ftwb-line" }, h("span", { class: "ftwb-run" }, title), panel.title, panel.busy), panel.bar];
}

export const spokenLines = text => text.split("\n").map(line => line && spoken(line)).join("\n");

export function paintError(panel) {
  const text = panel.model.get("error") || "";
  say(panel.error, spokenLines(text));
  show(panel.error, Boolean(text));
}

/** The width of a part, 0 to 1. */
export function fillTo(element, share) {
  const width = `${(100 * clamp(share, 0, 1)).toFixed(1)}%`;
  if (element.style.width !== width) element.style.width = width;
}

export function paintBusy(panel) {
  const { job } = panel.state, waits = panel.asked > Math.max(panel.state.asked ?? 0, panel.page.asked ?? 0), silent = waits && performance.now() - panel.since >= PATIENCE - 100;
  say(panel.busy, silent ? "The kernel does not answer: it computes something else, or it was restarted. Then run this cell again." : panel.progress(job));
  mark(panel.busy, "data-tone", silent ? "warn" : "calm");
  mark(panel.root, "aria-busy", String(waits || Boolean(job)));
  fillTo(panel.fill, job?.total ? job.done / job.total : 0);
  mark(panel.bar, "data-idle", String(!job));
}

/** Of a group of buttons Tab reaches one; arrows move among them. */
export function rove(panel, group, selector = "button") {
  panel.on(group, "keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], all = [...group.querySelectorAll(selector)], at = all.indexOf(event.target);
    if (!step || at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const next = all[clamp(at + step, 0, all.length - 1)];
    all.forEach(one => { one.tabIndex = one === next ? 0 : -1; });
    next.focus();
  });
  return group;
}

/** Counts, each a name, a value, a note and whether it is bad. */
export const fact = ([name, value, note, bad]) => h("div", {}, h("dt", {}, name), h("dd", { "data-tone": bad ? "bad" : "calm" }, value, h("small", {}, note)));

// Pages of rows: `page` has at (from 0), size and found.

/** The last page there is. */
export const lastPage = page => Math.max(0, Math.ceil(page.found / page.size) - 1);

/** Which rows are on the page: "Rows 21–40 of 1,000,000". */
export function pageText({ at, size, found, of = found }, one = "Row") {
  if (!found) return `No ${one.toLowerCase()}s`;
  const from = at * size + 1, to = Math.min(found, from + size - 1);
  return `${found === 1 ? one : `${one}s`} ${formatCount(from)}${to > from ? `–${formatCount(to)}` : ""} of ${formatCount(found)}${found < of ? ` found among ${formatCount(of)}` : ""}`;
}

/** First page, page before, next page, last page; `go(at)` turns to one. */
export function buildPager(panel, go) {
  const ways = [["«", () => 0, "First page"], ["‹", () => panel.page.at - 1, "Page before"], ["›", () => panel.page.at + 1, "Next page"], ["»", () => lastPage(panel.page), "Last page"]];
  const within = to => clamp(to(), 0, lastPage(panel.page)), made = { at: h("span", { class: "ftwb-value ftwb-soft", "aria-live": "polite" }) };
  made.buttons = ways.map(([text, to, title]) => [() => within(to), panel.button(text, () => go(within(to)), { title, "aria-label": title })]);
  const [first, before, next, last] = made.buttons.map(([, element]) => element);
  made.root = h("nav", { class: "ftwb-pager", "aria-label": "Pages" }, first, before, made.at, next, last);
  return made;
}

export function paintPager(panel, text) {
  const { pager, page } = panel;
  for (const [to, element] of pager.buttons) { const off = to() === page.at; if (element.disabled !== off) element.disabled = off; show(element, page.found > page.size); }
  say(pager.at, text);
}

/**
 * A view from its first paint to its end: painted once a frame when one of `names` changes. `begin(panel, changed)` may watch more, and gives back what ends that.
 */
export function live({ model, el }, names, make, paint, begin = () => () => {}) {
  const control = new AbortController(), panel = make(model, control.signal);
  let frame = 0;
  const changed = () => { frame ||= requestAnimationFrame(() => { frame = 0; paint(panel); }); };
  for (const name of names) model.on(`change:${name}`, changed);
  el.append(panel.root);
  const end = begin(panel, changed);
  paint(panel);
  return () => {
    control.abort();
    cancelAnimationFrame(frame);
    for (const timer of [panel.waits, panel.typing, panel.copied]) clearTimeout(timer);
    for (const name of names) model.off(`change:${name}`, changed);
    end();
    panel.root.remove();
  };
}
