// What the panels share: elements whose text is text, and keys that JupyterLab would take. `panels/view.py` puts it into each panel's script.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name in element && name !== "role" && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  // JupyterLab's command mode would take single keys (A, B, D D, arrows) from what has the focus here.
  if (["button", "input", "select", "textarea", "summary"].includes(tag) || "tabIndex" in properties) element.setAttribute("data-lm-suppress-shortcuts", "true");
  element.append(...children);
  return element;
}

export const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
export const show = (element, shown) => { if (element.hidden === shown) element.hidden = !shown; };
export const mark = (element, name, value) => { if (element.getAttribute(name) !== value) element.setAttribute(name, value); };

/** A line break on Enter: JupyterLab 4.6 takes the browser's own from every text field in a cell (`insertLineBreak`, in its application). */
export function breakLines(field, signal) {
  field.addEventListener("keydown", event => {
    if (event.key !== "Enter" || event.isComposing || event.defaultPrevented || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (document.execCommand("insertText", false, "\n")) return;  // as if typed, so that it can be undone
    field.setRangeText("\n", field.selectionStart, field.selectionEnd, "end");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }, { signal });
}
