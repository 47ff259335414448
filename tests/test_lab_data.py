"""The data panel in a real JupyterLab and a real browser: rows before they are split, a cure in the kernel, keys that JupyterLab leaves alone, a reload, and nothing that leaks."""

import json
import re

import pytest

pytest_plugins = "lab"
PATIENCE = 90  # seconds: the first panel of a kernel imports pandas, the first map torch
HAS = "([selector, text]) => [...document.querySelectorAll('.ftwb-dp ' + selector)].some(one => one.checkVisibility() && one.textContent.includes(text))"
HOSTILE = "<img src=x onerror=window.hacked=1>\u202eevil\u202c\x1b[31m"
NAMES = ("card", "rate", "cash", "pin")


@pytest.fixture
def rows(lab):
    lines = [f"what of the {NAMES[i % 4]} number{i} in town{i * 7 % 50}" + (f" {HOSTILE}" if i % 10 == 0 else "") for i in range(300)] + ["what of the card number4 in town28"]
    (lab.folder / "rows.csv").write_text("text,label\n" + "".join(f'"{line}",{NAMES[i % 4] if i < 300 else "card"}\n' for i, line in enumerate(lines)), encoding="utf-8")


def test_data_in_lab(lab, open_notebook, shots, rows):
    source = ("from finetune_wb import DataPanel\nfrom finetune_wb.data.findings import Change, DataFinding\nprint('said before')\npanel = DataPanel('rows.csv')\npanel")  # fmt: skip
    notebook = open_notebook("data", [source], height=1500)
    page, has = notebook.page, lambda selector, text="", seconds=PATIENCE: notebook.until(HAS, [selector, text], seconds)
    assert not [o for o in notebook.run() if o["output_type"] == "error"]
    has("tbody tr", "what of the")
    has("dt", "Findings")  # split and checked
    seen = notebook.seen()
    assert len(notebook.outputs()[0]) == 4 and seen[0] == "said before" and len(seen) == 2  # the stand-ins are there for other days
    assert page.evaluate("[window.hacked, document.querySelectorAll('.jp-OutputArea :is(img, script)').length]") == [None, 0]

    # the copy that was planted is found, looked at and dropped, in the kernel too
    has("li[data-kind]", "copies")
    page.locator(".ftwb-dp [data-rows=copies]").first.click()
    has("tbody tr td", "★")
    page.locator(".ftwb-dp [data-apply=drop]").first.click()
    has("tbody tr[data-state=dropped]")
    assert json.loads(notebook.ask_kernel("import json; print(json.dumps([len(panel.dataset.train) + len(panel.dataset.valid) + len(panel.dataset.test), len(panel.ledger)]))")) == [300, 1]
    notebook.shot(shots, "data-findings")

    # keys that JupyterLab's command mode would take
    page.locator(".ftwb-dp .ftwb-chip").first.click()
    notebook.until("() => document.querySelectorAll('.ftwb-dp tbody tr[data-place]').length === 15", None, PATIENCE)
    before = page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    page.locator(".ftwb-dp tbody tr").first.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"): page.keyboard.press(key)
    has(".ftwb-detail header b", "Row 3")
    page.keyboard.press("PageDown")
    has(".ftwb-pager", "Rows 16–30")
    page.keyboard.press("/")
    page.keyboard.type("number77")
    has("mark", "number77")
    cells = page.evaluate("window.jupyterapp.shell.currentWidget.content.model.cells.length")
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == before and cells == 2

    # a label by hand, columns, and the map of the encoder
    page.locator(".ftwb-dp tbody tr").first.click()
    has(".ftwb-detail header", "Drop row")
    page.locator(".ftwb-dp .ftwb-detail input[aria-label=Label]").fill("card")
    page.locator(".ftwb-dp .ftwb-detail button:text-is('Relabel')").click()
    has(".ftwb-detail .ftwb-badge", "relabelled")
    page.locator(".ftwb-dp input[type=search]").fill("")
    notebook.until("() => document.querySelectorAll('.ftwb-dp tbody tr[data-place]').length === 15", None, PATIENCE)
    page.locator(".ftwb-dp .ftwb-tab:has-text('Columns')").click()
    has(".ftwb-card", "Classes")
    notebook.shot(shots, "data-columns")
    page.locator(".ftwb-dp .ftwb-tab:has-text('Map')").click()
    notebook.until("() => [...document.querySelectorAll('.ftwb-dp .ftwb-map-tools select')].at(-1)?.value === 'tsne'", None, PATIENCE)
    notebook.dark()
    notebook.until("() => document.querySelector('.ftwb-dp .ftwb-map canvas').width > 300", None, PATIENCE)
    notebook.shot(shots, "data-map-dark")
    assert page.evaluate("() => { const root = document.querySelector('.ftwb-dp'); return root.scrollWidth - root.clientWidth }") <= 0

    # a page that reloads finds its panel again; a cell that runs again ends the panel of before
    notebook.reopen(".ftwb-dp", PATIENCE)
    has("dt", "Changed")
    assert notebook.alive("finetune_wb.panels.data", "DataView") == 1
    assert not [o for o in notebook.run() if o["output_type"] == "error"]
    has("dt", "Findings")
    assert notebook.alive("finetune_wb.panels.data", "DataView") == 1
    stored = "".join(str(output.get("data", {}).get("text/html", "")) for output in notebook.outputs()[0])
    assert "<table" in stored and "<img" not in stored and re.search("&lt;img", stored)  # what is left for a day without a kernel
