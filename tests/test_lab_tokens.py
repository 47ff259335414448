"""The token panel in a real JupyterLab and a real browser: a click changes the recipe in the kernel, what was encoded stays while the page reloads, and nothing leaks."""

import json
import re

from causal_models import causal_model  # noqa: F401

pytest_plugins = "lab"
PATIENCE = 90  # seconds: the first panel of a kernel imports transformers and torch
HAS = "([selector, text]) => [...document.querySelectorAll('.ftwb-tp ' + selector)].some(one => one.checkVisibility() && one.textContent.includes(text))"
HOSTILE = "<img src=x onerror=window.hacked=1>\u202eevil\u202c\x1b[31m"


def chat(question: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_tokens_in_lab(lab, open_notebook, causal_model, shots):  # noqa: F811
    rows = [chat(f"which {i}? {HOSTILE}", f"the {'cat dog cow'.split()[i % 3]} {i}") for i in range(30)] + [chat(f"which one, {i}?", "the dog " * 60) for i in range(8)]  # some of them are train rows
    (lab.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    source = ("from finetune_wb import TokenPanel, override\nfrom finetune_wb.recipe import Recipe\nprint('said before')\n"
              f"panel = TokenPanel(Recipe(model={{'id': {str(causal_model('qwen3'))!r}}}, data={{'source': 'rows.jsonl', 'valid_fraction': 0.1, 'test_fraction': 0.1}}, train={{'max_length': 150}}))\npanel")  # fmt: skip
    notebook = open_notebook("tokens", [source], height=1600)
    page, has = notebook.page, lambda selector, text="", seconds=PATIENCE: notebook.until(HAS, [selector, text], seconds)
    assert not [o for o in notebook.run() if o["output_type"] == "error"]
    has("article pre .trained")
    has("dl[data-old=false] dt", "Padding")  # all rows are encoded

    # the widget stands alone: its stand-ins are there for other days, and what the cell printed stays in sight
    seen = notebook.seen()
    assert len(notebook.outputs()[0]) == 4 and seen[0] == "said before" and len(seen) == 2  # the stand-ins are there for other days
    assert page.evaluate("[window.hacked, document.querySelectorAll('.jp-OutputArea :is(img, script)').length]") == [None, 0]

    # a click is an override in the kernel
    tell = "import json; print(json.dumps([panel.recipe.train.max_length, [f.kind for f in panel.wait().findings]]))"
    assert "cut_answer" in json.loads(notebook.ask_kernel(tell))[1]
    page.locator(".ftwb-tp [data-cure=cut_answer]").first.click()
    notebook.until("() => document.querySelector('.ftwb-tp input[type=number]').value > 150", None, PATIENCE)
    has("dl[data-old=false] dt", "Padding")
    length, kinds = json.loads(notebook.ask_kernel(tell))
    assert length > 150 and "cut_answer" not in kinds
    page.locator(".ftwb-tp label:has-text('Loss on') select").select_option("all")
    has("li[data-kind=prompts_trained]")
    assert json.loads(notebook.ask_kernel(tell))[1].count("prompts_trained") == 1
    page.locator(".ftwb-tp button:text-is('Reset')").click()
    notebook.until("() => !document.querySelector('.ftwb-tp li[data-kind=prompts_trained]')", None, PATIENCE)

    # a search, arrows that JupyterLab leaves alone, and losses of the base model
    page.locator(".ftwb-tp input[type=search]").fill("which one")
    page.locator(".ftwb-tp input[type=search]").press("Enter")
    has("[role=toolbar]", "row")
    page.locator(".ftwb-tp input[type=search]").fill("")
    notebook.until("() => document.querySelectorAll('.ftwb-tp article').length === 5", None, PATIENCE)
    before = page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    page.locator(".ftwb-tp pre[role=listbox]").first.focus()
    for key in ("Home", "ArrowDown", "ArrowRight"): page.keyboard.press(key)
    has(".ftwb-tip", "trained")
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == before
    page.locator(".ftwb-tp button:text-is('This page')").click()
    has("article [data-loss]")
    page.locator(".ftwb-tp label:has-text('Numbers') input").check()
    notebook.shot(shots, "tokens-light")
    notebook.dark()
    notebook.shot(shots, "tokens-dark")
    assert page.evaluate("() => { const root = document.querySelector('.ftwb-tp'); return root.scrollWidth - root.clientWidth }") <= 0

    # a page that reloads finds its panel again; a cell that runs again ends the panel of before
    notebook.reopen(".ftwb-tp", PATIENCE)
    has("article [data-loss]")
    assert notebook.alive("finetune_wb.panels.tokens", "TokenPanelView") == 1
    assert not [o for o in notebook.run() if o["output_type"] == "error"]
    has("article pre .trained")
    assert notebook.alive("finetune_wb.panels.tokens", "TokenPanelView") == 1
    stored = "".join(str(output.get("data", {}).get("text/html", "")) for output in notebook.outputs()[0])
    assert "ftwb-tokens" in stored and "<img" not in stored and re.search("&lt;", stored)  # what is left for a day without a kernel
