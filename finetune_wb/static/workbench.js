// The workbench's frame: the road of tabs, what is missing before the next, and the same as code. One anywidget module, hand-written, no dependencies.
// What a tab holds is another widget beside this one (a Stack of ipywidgets), whose place `tab` is linked to in the browser: turning pages needs no kernel.

import { h, mark, say, show } from "./dom.js";
import { live, newPanel, paintError } from "./panel.js";
import { clamp, codeLine, list } from "./words.js";

// ---- Words -------------------------------------------------------------------------------------------------------------------

export const MARKS = { done: ["✓", "done"], now: ["…", "going on"], missing: ["●", "something is missing"], wrong: ["✕", "something is wrong"], "": ["○", "not yet"] };
export const CODE = { cell: "Cell", cli: "Command", papermill: "papermill", recipe: "Recipe" };

/** The tab that a key leads to; null for a key that is none of ours. */
export function turned(at, count, key) {
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: count - 1 }[key];
  return to === undefined ? null : clamp(to, 0, count - 1);
}

// ---- The view ----------------------------------------------------------------------------------------------------------------

function makePanel(model, signal) {
  const panel = newPanel(model, signal, { code: false, tabs: [] }), { id } = panel;
  panel.go = (tab, focus = false) => {
    model.set("tab", tab);
    model.save_changes();
    paint(panel);
    if (focus) panel.tabs[tab]?.focus();
  };
  panel.error = h("div", { class: "ftwb-error", role: "alert", hidden: true });
  panel.busy = panel.bar = panel.fill = h("span");  // the frame says in words how each station stands
  panel.file = h("span", { class: "ftwb-soft ftwb-file ftwb-id" });
  panel.problems = h("div", { class: "ftwb-say ftwb-problems", "data-tone": "bad", role: "alert", hidden: true });
  panel.road = h("div", { class: "ftwb-road", role: "tablist", "aria-label": "The road" });
  panel.says = h("span", { role: "status", dir: "auto" });
  panel.next = panel.button("", () => panel.go(clamp((model.get("tab") ?? 0) + 1, 0, panel.tabs.length - 1), true), { class: "ftwb-button ftwb-primary" });
  panel.toggle = panel.button("As code", () => { panel.code = !panel.code; paint(panel); }, { "aria-expanded": "false", "aria-controls": `${id}-code` });
  panel.screen = panel.button("Full screen", () => { document.fullscreenElement ? document.exitFullscreen() : panel.root.closest(".ftwb-frame")?.requestFullscreen(); }, { hidden: !document.fullscreenEnabled });
  panel.on(document, "fullscreenchange", () => paint(panel));
  panel.lines = h("div", { class: "ftwb-code", id: `${id}-code`, hidden: true });
  panel.root = h("div", { class: "ftwb ftwb-panel ftwb-st ftwb-wb", role: "region", "aria-label": "Workbench", id }, panel.error, h("div", { class: "ftwb-line" }, h("span", { class: "ftwb-run" }, "Workbench"), panel.file, h("span", { class: "ftwb-group ftwb-end" }, panel.screen)), panel.problems,
    panel.road, h("div", { class: "ftwb-line ftwb-now" }, panel.says, h("span", { class: "ftwb-group ftwb-end" }, panel.toggle, panel.next)), panel.lines);
  panel.on(panel.road, "keydown", event => {
    const at = panel.tabs.indexOf(event.target.closest("[role=tab]")), to = event.altKey || event.ctrlKey || event.metaKey || at < 0 ? null : turned(at, panel.tabs.length, event.key);
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    panel.go(to, true);
  });
  return panel;
}

function paint(panel) {
  panel.state = panel.model.get("state") ?? {};
  const { stations = [], file = "", problems = [], code = {} } = panel.state, tab = panel.model.get("tab") ?? 0, here = stations[tab];
  paintError(panel);
  say(panel.file, file);
  list(panel.problems, problems.length ? [...problems, null] : [], text => text === null
    ? h("div", { class: "ftwb-line" }, h("span", {}, "What was last good stays in force. Mend the file in an editor, or"), panel.button("Go back to the last good recipe", () => panel.ask("restore"), { class: "ftwb-button ftwb-small ftwb-danger" })) : h("p", { dir: "auto" }, text));
  show(panel.problems, problems.length > 0);
  if (panel.tabs.length !== stations.length) {
    panel.tabs = stations.map((station, i) => panel.on(h("button", { type: "button", class: "ftwb-stop", role: "tab", id: `${panel.id}-${station.id}` }, h("span", { class: "ftwb-dot", "aria-hidden": "true" }), h("span", {}, station.title), h("span", { class: "ftwb-unseen" })), "click", () => panel.go(i)));
    panel.road.replaceChildren(...panel.tabs);
  }
  stations.forEach((station, i) => {
    const button = panel.tabs[i], [dot, , words] = button.children, [sign, spoken] = MARKS[station.mark] ?? MARKS[""];
    say(dot, sign);
    mark(dot, "data-mark", station.mark);
    say(words, `, ${spoken}`);
    mark(button, "aria-selected", String(i === tab));
    button.tabIndex = i === tab ? 0 : -1;
  });
  say(panel.says, here?.says ?? "");
  mark(panel.says, "data-mark", here?.mark ?? "");
  const next = stations[tab + 1];
  show(panel.next, Boolean(next));
  say(panel.next, next ? `Next: ${next.title}` : "");
  say(panel.screen, document.fullscreenElement?.contains(panel.root) ? "Leave full screen" : "Full screen");
  mark(panel.toggle, "aria-expanded", String(panel.code));
  show(panel.lines, panel.code);
  const told = code[here?.id] ?? {};
  list(panel.lines, panel.code ? Object.entries(CODE).map(([name, title]) => [title, name === "recipe" ? panel.state.recipe : told[name]]).filter(([, text]) => text) : [], ([name, text]) => codeLine(panel, name, text));
}

function render(view) { return live(view, ["state", "error", "tab"], makePanel, paint); }

export default { render };
