// What a panel's widget sends at first: the script and the stylesheet come packed (gzip) in its trait `_packed`, a third of their size, and are unpacked here, by the browser itself.

async function unpack(model) {
  const text = await new Response(new Blob([model.get("_packed")]).stream().pipeThrough(new DecompressionStream("gzip"))).text(), { name, script, style } = JSON.parse(text);
  const address = URL.createObjectURL(new Blob([script, `\n//# sourceURL=finetune_wb/${name}\n`], { type: "text/javascript" }));
  try {
    const widget = (await import(address)).default;
    return { widget: typeof widget === "function" ? await widget() : widget, style };  // a factory makes what all views of a widget share
  } finally { URL.revokeObjectURL(address); }
}

let panel;  // each widget has this module for itself, and its views share it

async function initialize({ model }) {
  panel ??= unpack(model);
  return (await panel).widget.initialize?.({ model });
}

async function render({ model, el }) {
  panel ??= unpack(model);
  const { widget, style } = await panel, sheet = Object.assign(document.createElement("style"), { textContent: style });
  el.append(sheet);
  const end = widget.render({ model, el });
  return () => { end?.(); sheet.remove(); };
}

export default { initialize, render };
