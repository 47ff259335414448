"""The model panel in a real JupyterLab and a real browser: no network, a search, a choice in the kernel, keys that JupyterLab leaves alone, a reload, and nothing that leaks."""

import json

pytest_plugins = "lab"
PATIENCE = 90  # seconds: the first card of a kernel imports transformers and torch
HAS = "([selector, text]) => [...document.querySelectorAll('.ftwb-mp ' + selector)].some(one => one.checkVisibility() && one.textContent.includes(text))"


def test_models_in_lab(lab, open_notebook, shots):
    source = "from finetune_wb import ModelPanel\nprint('said before')\npanel = ModelPanel()\npanel"
    notebook = open_notebook("models", [source], width=1280, height=1400)
    page, has = notebook.page, lambda selector, text="", seconds=PATIENCE: notebook.until(HAS, [selector, text], seconds)
    assert not [o for o in notebook.run() if o["output_type"] == "error"]
    has(".ftwb-models li", "minidoc")
    has(".ftwb-note", "hub")  # HF_HUB_OFFLINE: a normal state, said in a line
    has(".ftwb-verdict-box", "Works here")
    seen = notebook.seen()
    assert len(notebook.outputs()[0]) == 4 and seen[0] == "said before" and len(seen) == 2  # the stand-ins are there for other days
    notebook.shot(shots, "models-light")

    # search as one types, open, choose: in the kernel too
    page.locator(".ftwb-mp input[type=search]").type("minid", delay=30)
    notebook.until("() => document.querySelectorAll('.ftwb-mp .ftwb-models li').length === 1", None, PATIENCE)
    before = page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    for key in ("ArrowDown", "Enter"): page.keyboard.press(key)
    has(".ftwb-card header", "minidoc")
    has("tr[data-method=lora]", "LoRA")
    page.locator(".ftwb-mp tr[data-method=lora] button").click()
    has(".ftwb-now", "LoRA")
    assert json.loads(notebook.ask_kernel("import json; print(json.dumps([panel.recipe.model.id, panel.recipe.method.name, panel.chosen]))")) == ["minidoc", "lora", "minidoc"]
    page.locator(".ftwb-mp .ftwb-models li").first.focus()
    for key in ("c", "/"): page.keyboard.press(key)
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    notebook.until("() => document.querySelectorAll('.ftwb-mp .ftwb-models li').length > 1", None, PATIENCE)
    has(".ftwb-tray", "minidoc")
    page.locator(".ftwb-mp .ftwb-models li:has-text('minilm')").focus()
    page.keyboard.press("c")
    page.locator(".ftwb-mp [data-side]:not(:disabled)").click()
    has(".ftwb-beside td", "works here")
    notebook.dark()
    notebook.shot(shots, "models-beside-dark")
    assert page.evaluate("() => { const root = document.querySelector('.ftwb-mp'); return root.scrollWidth - root.clientWidth }") <= 0
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == before and page.evaluate("window.jupyterapp.shell.currentWidget.content.model.cells.length") == 2

    # a page that reloads finds its panel again; a cell that runs again ends the panel of before
    notebook.reopen(".ftwb-mp", PATIENCE)
    has(".ftwb-now", "LoRA")
    assert notebook.alive("finetune_wb.panels.model", "ModelView") == 1
    assert not [o for o in notebook.run() if o["output_type"] == "error"]
    has(".ftwb-models li", "minidoc")
    assert notebook.alive("finetune_wb.panels.model", "ModelView") == 1
    stored = "".join(str(output.get("data", {}).get("text/html", "")) for output in notebook.outputs()[0])
    assert "<table" in stored and "minidoc" in stored  # what is left for a day without a kernel
