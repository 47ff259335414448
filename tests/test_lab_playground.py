"""The playground in a real JupyterLab and a real browser, with the models of a real run: keys, streaming, stop while the kernel is busy, and
what stays when page or kernel go away."""

import pytest
from causal_models import causal_model  # noqa: F401
from lab import notebooks
from talks import SYSTEM, train_talk

pytest_plugins = "lab"

SHOW = "from finetune_wb import Playground\npanel = Playground('talked', max_new_tokens=30)\npanel"
SLOW = """import time
slow = [0.3]  # seconds a token
for speaker in panel.talk.speakers.values(): speaker.model.register_forward_hook(lambda *_: time.sleep(slow[0]))"""
BUSY = """try: time.sleep(1000)
finally: slow[0] = 0"""
ENDED = "count => document.querySelectorAll('.ftwb-playground .answer:not([data-state=wait], [data-state=read], [data-state=write])').length >= count"
WRITES = "() => [...document.querySelectorAll('.ftwb-playground .answer[data-state=write] .said')].some(one => one.textContent.length > 1)"
KERNEL = "status => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.status === status"
OVERFLOW = "() => { const root = document.querySelector('.ftwb-playground'); return root.scrollWidth - root.clientWidth }"
HOSTILE = "<img src=x onerror=\"window.hurt=1\"><b>bold</b>"


@pytest.fixture(scope="module")
def talked(lab, causal_model):  # noqa: F811
    """The run `talked` among the runs that the lab's kernels see."""
    return train_talk(causal_model("llama"), lab.runs, "talked")


class Panel:
    "The playground of a notebook, as hands and eyes find it."

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page
        self.root = self.page.locator(".ftwb-playground")
        self.root.wait_for(timeout=90_000)
        self.field = self.root.locator(".composer .field").first

    def button(self, name: str): return self.root.get_by_role("button", name=name, exact=True)

    def ask(self, text: str) -> None:
        self.field.fill(text)
        self.field.press("Enter")

    def ended(self, count: int) -> None: self.notebook.until(ENDED, count, 180)

    def answers(self) -> list[str]: return self.root.locator(".said").all_text_contents()


@pytest.fixture(scope="module")
def panel(talked, lab, browser, shots):
    """One panel for all tests, which go on where the one before left it: a kernel needs seconds for its imports."""
    with notebooks(lab, browser, shots, "playground") as open_one:
        notebook = open_one("playground", [SHOW, SLOW, BUSY])
        notebook.page.set_default_timeout(90_000)
        notebook.run(0)
        yield Panel(notebook)


def test_questions_answers_and_keys(panel, shots):
    notebook, page = panel.notebook, panel.page
    panel.root.locator(".offer").first.wait_for(timeout=90_000)
    notebook.shot(shots, "playground-empty")
    panel.field.click()
    panel.field.type("one")
    panel.field.press("Shift+Enter")
    panel.field.type("two dd")  # letters that are commands of a notebook
    assert panel.field.input_value() == "one\ntwo dd"
    panel.field.fill("")
    panel.root.locator(".offer").first.click()
    question = panel.field.input_value()
    assert question.startswith("say ")
    panel.field.press("Enter")
    panel.ended(2)
    assert panel.root.locator(".asked .text").inner_text() == question and panel.field.input_value() == ""
    figures = panel.root.locator(".figures").all_inner_texts()
    assert len(figures) == 2 and all("tokens/s" in one and ("cut off at 30" in one or "ended by itself" in one) for one in figures)
    assert panel.root.locator(".reference .text").inner_text() == " and ".join(question.removeprefix("say ").split(" and ")[::-1]).replace(" and ", " ")
    panel.button("Tokens of the answer of tuned").click()
    panel.root.locator(".ftwb-tokens pre .named").first.wait_for(timeout=90_000)
    read = panel.root.locator(".ftwb-tokens pre").inner_text()
    assert "<|begin_of_text|>" in read and SYSTEM.split()[0] in read and "<|eot_id|>" in read
    panel.ask(HOSTILE)
    panel.ended(4)
    assert page.evaluate("[window.hurt ?? 0, document.querySelectorAll('.ftwb-playground :is(img, b:not(.side b, header b))').length]") == [0, 0]
    assert panel.root.locator(".asked .text").last.inner_text() == HOSTILE and page.evaluate(OVERFLOW) <= 0
    assert len(notebook.outputs()) == 4 and not any(o["output_type"] in ("error", "stream") for cell in notebook.outputs() for o in cell), "no thread spoke into a cell"
    for name, width, dark in (("narrow", 520, False), ("dark", 1200, True), ("light", 1200, False)):
        page.set_viewport_size({"width": width, "height": 1300})
        notebook.dark(dark)
        panel.root.evaluate("panel => panel.scrollIntoView({block: 'start'})")
        assert page.evaluate(OVERFLOW) <= 0
        notebook.shot(shots, f"playground-{name}")


def test_stop_reaches_it_while_the_kernel_is_busy_with_another_cell(panel, shots):
    notebook = panel.notebook
    notebook.run(1)  # every token takes a while now
    panel.button("New conversation").click()
    panel.root.locator(".empty").wait_for()
    panel.root.locator("summary").click()
    panel.root.get_by_label("Max new tokens").fill("150")
    panel.ask("say cat and dog")
    notebook.until(WRITES, None, 90)
    notebook.start(2)
    notebook.until(KERNEL, "busy", 90)
    notebook.shot(shots, "playground-streaming")
    panel.field.press("Escape")
    panel.ended(2)
    assert panel.root.locator(".answer[data-state=stopped]").count() >= 1 and panel.page.evaluate(KERNEL, "busy"), "the other cell still runs"
    panel.ask("and now")
    notebook.until("() => document.querySelector('.doing').textContent.includes('busy with another cell')", None, 90)
    notebook.shot(shots, "playground-busy")
    notebook.command("notebook:interrupt-kernel")
    panel.ended(4)


def test_what_stays_when_page_and_kernel_go(panel, lab, shots):
    import nbformat

    notebook, text = panel.notebook, panel.answers()
    notebook.until("() => JSON.stringify(window.jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells[0].outputs).includes('user: and now')", None, 90)
    notebook.save()
    notebook.load()
    panel = Panel(notebook)
    panel.ended(4)
    assert panel.answers() == text, "the page has it again"
    lab.end_kernels()
    notebook.expected = "kernel"
    notebook.until("() => document.querySelector('.doing').textContent.includes('No sign of the kernel')", None, 90)
    assert panel.button("Ask").is_disabled()
    notebook.shot(shots, "playground-stale")
    saved = nbformat.read(notebook.path, 4)
    stays = "".join(output.get("data", {}).get("text/plain", "") for output in saved.cells[0].outputs)
    assert "Playground of talked: base" in stays and "user: say cat and dog" in stays
