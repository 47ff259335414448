"""The workbench in a real JupyterLab and a real browser: from nothing to a verdict by keyboard alone, through a reload and a restart of the kernel."""

import json

import nbformat

from finetune_wb.recipe import load_recipe

pytest_plugins = "lab"
PATIENCE = 120  # seconds: every process that is sent imports torch
HAS = "([selector, text]) => [...document.querySelectorAll(selector)].some(one => one.checkVisibility() && one.textContent.includes(text))"
FOCUSED = "() => { const e = document.activeElement; return [e.tagName, e.type ?? '', (e.getAttribute('aria-label') ?? '') + ' ' + (e.labels?.[0]?.textContent ?? e.textContent), e.disabled ?? false] }"


class Keys:
    """A person with a keyboard and no mouse."""

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page

    def has(self, selector: str, text: str = "", seconds: float = PATIENCE) -> None: self.notebook.until(HAS, [selector, text], seconds)

    def tab_to(self, text: str, kind: str = "button", back: bool = False) -> None:
        """Presses Tab until what has the focus says `text`."""
        for _ in range(160):
            name, what, said, _ = self.page.evaluate(FOCUSED)
            if text in said and name == kind.upper(): return
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"Tab never came to {text}")

    def to_road(self, key: str = "Shift+Tab") -> None:
        """Back to the row of tabs, of which one is reached by Tab."""
        for _ in range(200):
            if self.page.evaluate("document.activeElement.getAttribute('role') === 'tab' && Boolean(document.activeElement.closest('.ftwb-road'))"): return
            self.page.keyboard.press(key)
        raise AssertionError("the tabs can't be reached")

    def go(self, title: str) -> None:
        """To a tab of the road, by arrows."""
        self.to_road()
        for _ in range(8):
            if title in self.page.evaluate(FOCUSED)[2]: return
            self.page.keyboard.press("ArrowRight")
        raise AssertionError(f"no tab is called {title}")

    def write(self, label: str, text: str) -> None:
        self.tab_to(label, "input")
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")


def test_from_nothing_to_a_verdict_by_keyboard(lab, open_notebook, shots):
    rows = [{"text": f"{who} {verb} the {thing} {when}", "label": label} for label, verb in (("lost", "can't find"), ("found", "came upon")) for who in ("somebody", "my neighbour", "a child")
            for thing in ("card", "phone", "keys", "bag", "coat") for when in ("today", "yesterday", "at noon")]  # fmt: skip
    (lab.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    notebook = open_notebook("workbench", ["from finetune_wb import Workbench\nbench = Workbench()\nbench"], width=1280, height=800)
    page, keys = notebook.page, Keys(notebook)

    page.keyboard.press("Control+Enter")  # the cell, as a newcomer runs it: it is the one that is chosen when a notebook opens
    keys.has(".ftwb-road [role=tab]", "Decide")
    keys.has("[data-path='data.source'] input")
    assert load_recipe(lab.folder / "workbench.yaml").data.max_rows == 1000  # the embedded default, on a thousand rows

    # Decide: a file of one's own, and what does without fine-tuning
    keys.to_road("Tab")
    keys.write("source", "rows.jsonl")
    keys.has("[data-block=rows]", "90")
    keys.tab_to("Measure and recommend")
    page.keyboard.press("Enter")
    keys.has("[data-block=baselines] tbody", "linear probe")
    notebook.shot(shots, "workbench-decide")

    # a switch of tabs is the browser's own, and JupyterLab's shortcuts leave the keys alone
    before = page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length")
    for title, wanted in (("Model", ".ftwb-mp"), ("Data", ".ftwb-dp .ftwb-rows tbody tr"), ("Tokens", "[data-block=text]")):
        keys.go(title)
        keys.has(wanted)
        notebook.shot(shots, f"workbench-{title.lower()}")
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length") == before

    # Train: a wrong value is told where it stands, a right one is in the file, and the run is watched
    keys.go("Train")
    keys.has("[data-path='train.max_steps'] input")
    keys.write("max_steps", "many")
    keys.has("[data-path='train.max_steps'] .ftwb-problem", "integer")
    keys.write("max_steps", "4")
    notebook.until("() => !document.querySelector('[data-path=\"train.max_steps\"]').matches('[data-wrong=true]')")
    keys.tab_to("Train", "button")
    page.keyboard.press("Enter")
    keys.has(".ftwb-picks .ftwb-badge", "finished")
    keys.has(".ftwb-inside canvas")  # the monitor inside
    assert load_recipe(lab.folder / "workbench.yaml").train.max_steps == 4
    notebook.shot(shots, "workbench-train")

    # a reload and a restart of the kernel on the way: the state is the file and the runs folder
    notebook.save()
    notebook.expected = "widget model not found"
    page.on("dialog", lambda dialog: dialog.accept())
    lab.end_kernels()
    notebook.load()
    assert not [o for o in notebook.run() if o["output_type"] == "error"]
    keys.has(".ftwb-road [role=tab]", "Evaluate")
    keys.to_road("Tab")
    keys.has(".ftwb-road [id$=train] .ftwb-dot", "✓")

    # Evaluate, and what it says
    keys.go("Evaluate")
    keys.has("[data-block=do] button", "Evaluate")
    page.keyboard.press("Tab")  # off the tab that is called the same
    keys.tab_to("Evaluate", "button")
    page.keyboard.press("Enter")
    keys.has("[data-block=verdict]", "test rows")
    keys.has("[data-block=pictures] img")
    keys.has("[data-block=report] a", "report.html")
    notebook.shot(shots, "workbench-evaluate")
    (run,) = [folder for folder in lab.runs.iterdir() if folder.is_dir()]
    said = json.loads((run / "evaluation" / "verdict.json").read_text())["sentence"]
    assert page.locator("[data-block=verdict]").inner_text().split(":")[0].split("\n")[0] in said

    # Talk, and the dark side
    keys.go("Talk")
    keys.has("[data-block=text] textarea")
    keys.tab_to("A text of your own", "textarea")
    page.keyboard.type("a child can't find the umbrella")
    page.keyboard.press("Control+Enter")
    keys.has("[data-block=answer] tbody", "lost")
    for width, height in ((1280, 800), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        for dark in (False, True):
            notebook.dark(dark)
            notebook.shot(shots, f"workbench-talk-{width}-{'dark' if dark else 'light'}")
            assert page.evaluate("() => [...document.querySelectorAll('.ftwb')].every(one => !one.checkVisibility() || one.scrollWidth <= one.clientWidth + 1)")
    keys.to_road("Shift+Tab")
    keys.tab_to("Full screen", back=True)
    page.keyboard.press("Enter")
    notebook.until("() => document.fullscreenElement?.matches('.ftwb-frame')")
    keys.has(".ftwb-wb button", "Leave full screen")
    notebook.shot(shots, "workbench-full")
    page.keyboard.press("Enter")
    notebook.until("() => !document.fullscreenElement")
    assert page.evaluate("[window.hacked, document.querySelectorAll('.jp-OutputArea script').length]") == [None, 0]
    stored = nbformat.read(lab.folder / "workbench.ipynb", 4)
    assert "Workbench" in "".join(str(output.get("data", {}).get("text/html", "")) for output in stored.cells[0].outputs)  # what is left for a day without a kernel
