// What panels of data share: counts in words, text of which nothing acts on its surroundings, lists that keep what has not changed.

import { h, say } from "./dom.js";

export const finite = Number.isFinite;
export const clamp = (value, lo, hi) => Math.min(hi, Math.max(lo, value));

/** A whole number with its thousands apart: 12,400. */
export const formatCount = value => (finite(value) ? Math.round(value).toLocaleString("en-US") : "–");

/** A share as 4 %, 0.4 % or < 0.1 %. */
export function formatShare(value) {
  if (!finite(value)) return "–";
  const percent = value * 100;
  return percent === 0 ? "0 %" : percent < 0.1 ? "< 0.1 %" : `${Number(percent.toPrecision(percent < 10 ? 1 : 2)) || 0} %`;
}

/** "1 row", "1,200 rows". */
export const plural = (count, one, many = `${one}s`) => `${formatCount(count)} ${count === 1 ? one : many}`;

const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;  // acts on what is around it, or can't be told from nothing
const escape = letter => {
  const code = letter.codePointAt(0), named = { 9: "\\t", 13: "\\r" }[code];
  return named ?? (code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : code < 65536 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`);
};

/**
 * A text in pieces [kind, text]: "text" as it is, "line" for a line break, "space" for spaces that stand alone,
 * "escape" for what can't be seen or would act on its surroundings (written as Python writes it), "part" for a token that only begins a character.
 */
export function visible(text) {
  if (text === "") return [["part", "…"]];
  if (/^ +$/.test(text)) return [["space", "·".repeat(text.length)]];
  if (!HIDDEN.test(text)) return [["text", text]];
  const pieces = [];
  for (const letter of text) {
    const kind = letter === "\n" ? "line" : HIDDEN.test(letter) ? "escape" : "text";
    const shown = kind === "line" ? "⏎" : kind === "escape" ? escape(letter) : letter;
    if (pieces.length && kind === "text" && pieces.at(-1)[0] === "text") pieces.at(-1)[1] += shown; else pieces.push([kind, shown]);
  }
  return pieces;
}

/** The same as one string, for labels. */
export const spoken = text => visible(text).map(([, shown]) => shown).join("");

/** Rebuilds only those children whose rows have changed. */
export function list(parent, rows, build) {
  const held = new Map(Array.from(parent.children, child => [child.ftwbKey, child]));
  const wanted = rows.map((row, i) => {
    const key = JSON.stringify([i, row]), child = held.get(key) ?? build(row, i);
    child.ftwbKey = key;
    return child;
  });
  if (wanted.length !== parent.children.length || wanted.some((child, i) => parent.children[i] !== child)) parent.replaceChildren(...wanted);
}

/** The choices of a select, [value, text] each, and which is taken. */
export function options(select, choices, value) {
  list(select, choices, ([name, text]) => h("option", { value: name }, text));
  if (select.value !== value) select.value = value;
}

/** A line of code under its name, with a button that copies it. */
export function codeLine(panel, name, text) {
  if (!name) return h("p", { class: "ftwb-soft" }, text);
  const code = h("code", {}, spoken(text).replaceAll("⏎", "\n"));
  const copy = panel.button("Copy", async () => {
    try { await navigator.clipboard.writeText(text); say(copy, "Copied"); }
    catch { getSelection().selectAllChildren(code); say(copy, "Selected: press Ctrl+C"); }
    clearTimeout(panel.copied);
    panel.copied = setTimeout(() => say(copy, "Copy"), 2500);
  });
  return h("div", { class: "ftwb-command" }, h("span", { class: "ftwb-soft" }, name), code, copy);
}
