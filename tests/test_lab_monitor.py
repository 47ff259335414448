"""The monitor in a real JupyterLab and a real browser: curves that move, requests that are obeyed, and what becomes of it all when a page,
a kernel, a tab or a folder goes away."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_runs import fill, live, loss_at

from finetune_wb.events import EventLog
from finetune_wb.run import Run, write_json

pytest_plugins = "lab"

PART = "const root = document.querySelectorAll('.jp-CodeCell')[cell].querySelector('.ftwb'), chart = root?.querySelector(`[data-chart=${name}]`);"
POINTS = "([cell, name, least]) => { " + PART + " return Number(chart?.dataset.points) >= least }"
PIXELS = "([cell, name]) => { " + PART + " return chart.querySelector('canvas').toDataURL() }"
BADGE = "([cell, text]) => document.querySelectorAll('.jp-CodeCell')[cell].querySelector('.ftwb-head .ftwb-badge')?.textContent.includes(text)"
STALE = "() => { const badge = document.querySelectorAll('.ftwb-head .ftwb-badge')[1]; return badge && !badge.hidden && badge.textContent.includes('STALE') }"
KERNEL = "status => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.status === status"
OVERFLOW = "() => { const root = document.querySelector('.ftwb'); return root.scrollWidth - root.clientWidth }"


def watch(run: str, name: str = "panel") -> str:
    "The cell that shows a run's panel."
    return f"from finetune_wb.panels.monitor import monitor\n{name} = monitor({run})\n{name}"


class Panel:
    "The panel that a cell shows, as hands and eyes find it."

    def __init__(self, notebook, cell: int = 0):
        self.notebook, self.page, self.cell = notebook, notebook.page, cell

    def find(self, selector: str): return self.page.locator(".jp-CodeCell").nth(self.cell).locator(selector)

    def chart(self, name: str): return self.find(f".ftwb [data-chart={name}]")

    def shows(self, points: int, name: str = "loss", seconds: float = 20) -> None: self.notebook.until(POINTS, [self.cell, name, points], seconds)

    def points(self, name: str = "loss") -> int: return int(self.chart(name).get_attribute("data-points"))

    def pixels(self, name: str = "loss") -> str:
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.page.evaluate(PIXELS, [self.cell, name])

    def press(self, request: str) -> None: self.find(f".ftwb [data-request={request}]").click()

    def is_in(self, state: str, seconds: float = 20) -> None: self.notebook.until(BADGE, [self.cell, state], seconds)

    def values(self, name: str = "loss") -> str:
        "What a screen reader hears of a chart."
        self.pixels(name)
        return self.chart(name).locator(".ftwb-plot").get_attribute("aria-valuetext")

    def at(self, name: str = "loss") -> tuple[int, float]:
        "Step and first value at the crosshair."
        heard = self.values(name)
        return int(re.search(r"step ([\d,]+)", heard)[1].replace(",", "")), float(re.search(r"train ([\d.e-]+)", heard)[1])

    def newest(self, name: str = "loss") -> float: return float(re.search(r"train ([\d.e-]+)", self.values(name))[1])

    def width(self, name: str = "loss") -> float:
        "How much of the axis a chart shows."
        self.pixels(name)
        plot = self.chart(name).locator(".ftwb-plot")
        return float(plot.get_attribute("aria-valuemax")) - float(plot.get_attribute("aria-valuemin"))

    def drag(self, start: float, end: float, name: str = "loss") -> None:
        "Marks a part of a chart with the mouse; 0 is its left edge and 1 its right one."
        plot, mouse = self.chart(name).locator(".ftwb-plot"), self.page.mouse
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        mouse.move(box["x"] + start * box["width"], box["y"] + 40)
        mouse.down()
        mouse.move(box["x"] + (start + end) / 2 * box["width"], box["y"] + 40)
        mouse.move(box["x"] + end * box["width"], box["y"] + 40)
        mouse.up()


@pytest.fixture(autouse=True)
def picture(request, shots):
    "A picture of a shared page after each test; a page of a test's own is photographed when it closes."
    yield
    if panel := request.node.funcargs.get("panel") or request.node.funcargs.get("both"):
        panel.find(".ftwb").first.evaluate("panel => panel.scrollIntoView({block: 'start'})")
        panel.notebook.shot(shots, re.sub(r"[^\w-]+", "-", request.node.name.removeprefix("test_")).strip("-"))


@pytest.fixture
def writer():
    "`writer(folder, …)` → a process that writes a run; ended after the test."
    started = []

    def start(folder: Path, **how):
        started.append(live(folder, **how))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait()


def closely(value: float): return pytest.approx(value, rel=1e-3)  # the panel shows four digits


class TestCharts:
    "Finished runs, whose every value is known."

    @pytest.fixture(scope="class")
    def notebook(self, lab, browser, shots):
        from lab import notebooks

        fill(lab.runs / "one", 1500)
        fill(lab.runs / "two", 700)
        fill(lab.runs / "long", 20_000)
        with notebooks(lab, browser, shots, "charts") as open_one:
            page = open_one("charts", [watch("'one'"), watch("['one', 'two']", "both"), watch("'long'", "long")])
            for cell in range(3): page.run(cell)
            yield page

    @pytest.fixture
    def panel(self, notebook):
        panel = Panel(notebook)
        panel.shows(1530)  # 1500 steps and 30 evaluations
        return panel

    @pytest.fixture
    def both(self, notebook):
        panel = Panel(notebook, 1)
        panel.shows(1530 + 714)
        return panel

    def test_values_under_the_mouse(self, panel):
        plot = panel.chart("loss").locator(".ftwb-plot")
        plot.scroll_into_view_if_needed()
        for share in (0.3, 0.8):
            box = plot.bounding_box()
            panel.page.mouse.move(box["x"] + share * box["width"], box["y"] + 50)
            step, loss = panel.at()
            assert loss == closely(loss_at(step)) and abs(step - 1500 * share) < 120
        assert f"step {step:,}" in panel.find(".ftwb-where").text_content()
        assert "step" in panel.values("learning_rate")  # one crosshair on all charts
        panel.page.mouse.move(5, 5)
        assert "newest" in panel.values()

    def test_values_under_the_arrows(self, panel):
        panel.chart("loss").locator(".ftwb-plot").focus()
        panel.page.keyboard.press("Home")
        assert panel.at() == (1, closely(loss_at(1)))
        panel.page.keyboard.press("End")
        assert panel.at() == (1500, closely(loss_at(1500)))
        panel.page.keyboard.press("ArrowLeft")
        step, loss = panel.at()
        assert 1490 <= step < 1500 and loss == closely(loss_at(step))
        for key in 6 * ["+"] + 3 * ["ArrowLeft"]:
            panel.page.keyboard.press(key)
            panel.pixels()
        assert panel.at()[0] == step - 3  # close by, an arrow is a step
        panel.page.keyboard.press("Escape")
        assert panel.width() == 1500
        panel.page.keyboard.press("Tab")

    def test_axis_smoothing_and_log(self, panel):
        before, seen = panel.width(), {panel.pixels()}
        panel.find(".ftwb-tools input[value=time]").check(force=True)
        seen.add(panel.pixels())
        assert panel.width() == closely(15)  # 1500 steps, 100 a second
        panel.find(".ftwb-tools input[value=epoch]").check(force=True)
        seen.add(panel.pixels())
        assert panel.width() == closely(3)
        panel.find(".ftwb-tools input[value=step]").check(force=True)
        panel.find(".ftwb-tools input[type=checkbox]").check()
        seen.add(panel.pixels())
        raw = panel.newest()
        panel.find(".ftwb-tools input[type=range]").fill("0.9")
        seen.add(panel.pixels())
        assert len(seen) == 5 and panel.width() == before
        near = [loss_at(step) for step in range(1480, 1501)]
        assert min(near) < panel.newest() < max(near) and panel.newest() != raw
        assert json.loads(panel.notebook.ask_kernel("import json; print(json.dumps(panel.widget.view))")) == {"axis": "step", "smoothing": 0.9, "log": True, "hidden": []}
        panel.find(".ftwb-tools input[type=range]").fill("0")
        panel.find(".ftwb-tools input[type=checkbox]").uncheck()

    def test_zoom_and_back(self, panel):
        whole, before = panel.width(), panel.pixels()
        panel.drag(0.3, 0.5)
        assert panel.width() == pytest.approx(0.2 * whole, rel=0.3) and panel.pixels() != before
        assert panel.width("learning_rate") == panel.width()  # one axis
        panel.find(".ftwb-tools button").click()
        assert panel.width() == whole
        panel.page.mouse.move(5, 5)
        assert panel.pixels() == before

    def test_a_zoom_brings_every_point(self, notebook):
        panel = Panel(notebook, 2)
        panel.shows(20_400)
        panel.drag(0.3, 0.7)
        panel.page.wait_for_timeout(1000)  # that many points come thinned
        for _ in range(2): panel.drag(0.4, 0.6)
        assert panel.width() < 500
        panel.chart("loss").locator(".ftwb-plot").focus()
        walked, end = [], time.time() + 15
        while walked[1:] != [step + 1 for step in walked[:-1]] or not walked:  # until the kernel has sent this part
            assert time.time() < end, walked
            walked = []
            for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight"):
                panel.page.keyboard.press(key)
                step, loss = panel.at()
                assert loss == closely(loss_at(step))
                walked.append(step)

    def test_panels_keep_to_themselves(self, panel, both):
        assert both.find(".ftwb-tools input[value=step]").is_checked()
        panel.find(".ftwb-tools input[value=epoch]").check(force=True)
        assert panel.width() == closely(3) and both.width() == 1500
        panel.find(".ftwb-tools input[value=step]").check(force=True)
        assert both.find(".ftwb-tools input[value=step]").is_checked()
        ids = panel.page.evaluate("() => [...document.querySelectorAll('.ftwb [id], .ftwb[id]')].map(element => element.id)")
        assert len(set(ids)) == len(ids) == 6  # a region and its help, three times

    def test_runs_in_the_legend(self, both):
        with_both = both.pixels()
        both.find(".ftwb-runs input").nth(0).uncheck()
        assert both.width() == 700 and both.pixels() != with_both
        assert "one" not in both.values() and "two" in both.values()
        both.find(".ftwb-runs input").nth(0).check()
        assert both.pixels() == with_both

    def test_runs_differ_without_colour(self, both):
        symbols = [both.find(".ftwb-runs .ftwb-symbol").nth(i).text_content() for i in range(2)]
        assert len(set(symbols)) == 2 and "one" in both.values() and "two" in both.values()


class TestLive:
    "A run that another process writes, thirty steps a second."

    @pytest.fixture(scope="class")
    def notebook(self, lab, browser, shots):
        from lab import notebooks

        process = live(lab.runs / "live", hertz=30, seconds=600, before=900)
        try:
            with notebooks(lab, browser, shots, "live") as open_one:
                page = open_one("live", [watch("'live'"), "import time\ntime.sleep(4)", "end = time.time() + 4\nwhile time.time() < end: sum(range(1000))"])
                page.run(0)
                yield page
        finally:
            process.terminate()
            process.wait()

    @pytest.fixture
    def panel(self, notebook):
        panel = Panel(notebook)
        panel.shows(900)
        return panel

    def test_the_curve_moves(self, panel):
        panel.is_in("running")
        before, points = panel.pixels(), panel.points()
        panel.shows(points + 30)
        assert panel.pixels() != before

    @pytest.mark.parametrize("cell", [1, 2], ids=["sleep", "loop"])
    def test_the_curve_moves_while_a_cell_computes(self, panel, cell):
        points = panel.points()
        panel.notebook.start(cell)
        panel.notebook.until(KERNEL, "busy")
        seen, end = set(), time.time() + 3
        while time.time() < end:
            seen.add(panel.points())
            panel.page.wait_for_timeout(50)
        assert panel.page.evaluate(KERNEL, "busy")
        assert 3 <= len(seen) <= 8 and max(seen) > points + 30  # two updates a second at most
        panel.notebook.until(KERNEL, "idle")

    def test_dark(self, panel, shots):
        light, paper = panel.pixels(), "() => getComputedStyle(document.querySelector('.ftwb')).backgroundColor"
        before = panel.page.evaluate(paper)
        panel.notebook.dark()
        panel.page.wait_for_timeout(1200)  # the panel looks for a theme that comes late once a second
        assert panel.page.evaluate(paper) != before and panel.pixels() != light
        panel.notebook.shot(shots, "dark_theme")
        panel.notebook.dark(False)
        panel.page.wait_for_timeout(1200)
        assert panel.page.evaluate(paper) == before

    @pytest.mark.parametrize("width", [420, 1800, 1200])
    def test_every_width(self, panel, width):
        panel.page.set_viewport_size({"width": width, "height": 1600 if width < 1000 else 1000})
        panel.page.wait_for_timeout(300)
        assert panel.page.evaluate(OVERFLOW) == 0
        for request in ("pause", "stop", "evaluate"): assert panel.find(f"[data-request={request}]").is_visible()

    def test_five_times_leaks_nothing(self, panel):
        count = "import threading, comm\nprint(threading.active_count(), len(comm.get_comm_manager().comms))"
        panel.notebook.run(0)
        panel.shows(900)
        before = panel.notebook.ask_kernel(count)
        for _ in range(5): panel.notebook.run(0)
        panel.shows(900)
        panel.page.wait_for_timeout(1500)
        assert panel.notebook.ask_kernel(count) == before
        assert panel.page.locator(".ftwb").count() == 1
        panel.shows(panel.points() + 30)

    def test_reload(self, panel):
        panel.notebook.save()
        points = panel.points()
        panel.notebook.load()
        panel.shows(points)
        panel.shows(panel.points() + 30)
        assert panel.page.locator(".ftwb").count() == 1

    def test_restart_and_run_again(self, panel):
        points = panel.points()
        panel.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()")
        panel.notebook.until(KERNEL, "idle")
        panel.notebook.run(0)
        panel.shows(points)
        panel.shows(panel.points() + 30)
        assert panel.page.locator(".ftwb").count() == 1

    def test_stop_by_keyboard_alone(self, panel, lab):
        panel.page.locator(".ftwb-tools input[type=range]").focus()
        for _ in range(40):
            panel.page.keyboard.press("Shift+Tab")
            if panel.page.evaluate("() => document.activeElement.dataset.request") == "stop": break
        panel.page.keyboard.press("Enter")
        panel.is_in("finished")
        assert Run(lab.runs / "live").state == "finished"


LAUNCH = """from finetune_wb import launch
run = launch("recipe.json", run_id="real")"""
BUSY = {"sleep": "import time\ntime.sleep(8)", "loop": "import time\nend = time.time() + 8\nwhile time.time() < end: sum(range(1000))"}


class TestARunThatTrains:
    "A tiny model, launched from the notebook: each request from the panel, and what the run's folder says."

    @pytest.fixture(scope="class")
    def notebook(self, lab, browser, shots, tiny_model):
        from lab import notebooks

        shutil.copytree(tiny_model("bert"), lab.folder / "model")
        rows = [{"text": f"{i} {word} the cat sleeps", "label": word} for i in range(1500) for word in ("red", "green", "blue")]
        (lab.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        (lab.folder / "recipe.json").write_text(json.dumps({
            "model": {"id": "model"}, "data": {"source": "rows.jsonl"}, "method": {"name": "full", "probe_first": False},
            "train": {"threads": 1, "bf16": False, "tokens_per_batch": 64, "num_train_epochs": 500.0, "evals_per_epoch": 1, "logging_steps": 5, "early_stopping_patience": None, "lr_scheduler_type": "constant"},
        }))  # fmt: skip
        with notebooks(lab, browser, shots, "real") as open_one:
            page = open_one("real", [LAUNCH, watch("run"), *BUSY.values()])
            assert not [o for o in page.run(0) if o["output_type"] == "error"], page.outputs()[0]
            page.run(1)
            yield page

    @pytest.fixture
    def run(self, lab): return Run(lab.runs / "real")

    @pytest.fixture
    def panel(self, notebook):
        panel = Panel(notebook, 1)
        panel.shows(3, seconds=60)
        return panel

    def answered(self, panel, request: str, answer: str = "done", seconds: float = 20) -> None:
        "The newest answer on the page says so."
        title = panel.find(f"[data-request={request}]").text_content().rstrip("…")
        panel.notebook.until("([title, answer]) => [...document.querySelectorAll('.ftwb-answers li')].some(li => li.textContent.startsWith(title) && li.textContent.includes(answer))", [title, answer], seconds)

    def test_it_trains(self, panel, run):
        assert run.state == "running"
        panel.is_in("running")
        before, points = panel.pixels(), panel.points()
        panel.shows(points + 20)
        assert panel.pixels() != before

    def test_evaluate_and_sample_now(self, panel, run):
        panel.press("evaluate")
        self.answered(panel, "evaluate")
        panel.press("sample")
        self.answered(panel, "sample")
        panel.find(".ftwb-samples td").first.wait_for()
        assert run.events("sample") and [e for e in run.events("metric") if "valid_loss" in e]

    def test_learning_rate(self, panel, run):
        panel.press("learning_rate")
        field = panel.find("[data-form=learning_rate] input")
        field.fill("3")
        field.press("Enter")
        assert "between 0 and 1" in panel.find("[data-form=learning_rate]").text_content()
        field.fill("3e-6")
        field.press("Enter")
        self.answered(panel, "learning_rate")
        panel.notebook.until("() => document.querySelector('.ftwb [data-chart=learning_rate] .ftwb-value').textContent === '3e-6'")
        assert [e["learning_rate"] for e in run.history() if "learning_rate" in e][-1] == 3e-6

    @pytest.mark.parametrize("busy", BUSY)
    def test_pause_and_resume_while_a_cell_computes(self, panel, run, busy):
        panel.notebook.start(2 + list(BUSY).index(busy))
        panel.notebook.until(KERNEL, "busy")
        panel.press("pause")
        panel.is_in("paused", 7)
        assert run.state == "paused" and panel.page.evaluate(KERNEL, "busy")  # the cell still computes
        points = panel.points()
        panel.press("resume")
        panel.is_in("running", 7)
        panel.shows(points + 5)
        panel.notebook.until(KERNEL, "idle")

    def test_stop_while_a_cell_computes_and_clone(self, panel, run, lab):
        panel.notebook.start(3)
        panel.notebook.until(KERNEL, "busy")
        panel.press("stop")
        panel.is_in("finished", 30)
        assert run.state == "finished" and (run.model_folder / "model.safetensors").exists()
        panel.notebook.until(KERNEL, "idle")
        panel.press("clone")
        panel.find("[data-form=clone] textarea").fill("train.max_steps=40")
        panel.find("[data-form=clone] input").fill("child")
        panel.find("[data-form=clone] [type=submit]").click()
        self.answered(panel, "clone", seconds=60)
        child = Run(lab.runs / "child")
        assert child.recipe.train.max_steps == 40
        end = time.time() + 60
        while child.state != "finished" and time.time() < end: time.sleep(0.2)
        assert child.state == "finished" and child.history()[-1]["step"] == 40



class TestTrouble:
    "What goes away or comes from strangers."

    def test_the_kernel_is_killed(self, lab, open_notebook, writer):
        writer(lab.runs / "orphan", hertz=20, before=200)
        notebook = open_notebook(sources=[watch("'orphan'")])
        notebook.run(0)
        panel = Panel(notebook)
        panel.shows(200)
        os.kill(int(notebook.ask_kernel("import os; print(os.getpid())")), signal.SIGKILL)
        killed = time.time()
        notebook.until(STALE, seconds=12)
        assert time.time() - killed < 10
        for button in notebook.page.locator(".jp-Dialog button").all(): button.click()
        panel.press("stop")  # nobody is there but Jupyter's server
        end = time.time() + 10
        while (state := Run(lab.runs / "orphan").state) != "finished" and time.time() < end: time.sleep(0.1)
        assert state == "finished"

    def test_two_tabs(self, lab, open_notebook, writer):
        writer(lab.runs / "shared", hertz=20, before=200)
        first = open_notebook("tabs", [watch("'shared'")])
        first.run(0)
        first.save()
        one, two = Panel(first), Panel(open_notebook("tabs", write=False))
        for panel in (one, two): panel.shows(220)
        two.press("stop")
        for panel in (one, two): panel.is_in("finished")
        assert one.points() == two.points()

    def test_the_folder_is_deleted(self, lab, open_notebook):
        fill(lab.runs / "gone", 300, 1000, state="running")
        write_json(lab.runs / "gone" / "process.json", {"pid": os.getpid(), "started": 0})
        notebook = open_notebook(sources=[watch("'gone'"), "1 + 1"])
        notebook.run(0)
        panel = Panel(notebook)
        panel.shows(306)
        shutil.rmtree(lab.runs / "gone")
        panel.find(".ftwb-error").wait_for(timeout=10_000)
        assert panel.points() == 306  # what was seen stays
        assert notebook.run(1)[0]["data"]["text/plain"] == "2"
        assert not [o for o in notebook.outputs()[0] if o["output_type"] in ("error", "stream")]

    def test_a_run_out_of_the_servers_reach(self, open_notebook, writer, tmp_path):
        writer(tmp_path / "elsewhere", hertz=20, before=200)
        notebook = open_notebook(sources=[watch(repr(str(tmp_path / "elsewhere")))])
        notebook.run(0)
        panel = Panel(notebook)
        panel.shows(220)
        panel.press("stop")  # through the kernel, for the browser can't write there
        panel.is_in("finished")
        assert not [url for url in notebook.asked if "/api/contents/" in url and "-stop" in url]

    def test_text_stays_text(self, lab, open_notebook):
        evil = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script> \x1b[31mred\x1b[0m \u202eevil"
        run = fill(lab.runs / "evil", 500)
        log = EventLog(run.folder / "events.jsonl")
        log.write("alert", severity="error", step=5, message=evil, cure=evil)
        log.write("state", request=evil, id="5-x", answer="refused", reason=evil)
        log.write("metric", step=501, **{evil: 1.0, "<b>bold</b>": 2.0})
        write_json(run.folder / "exit.json", {"state": "failed", "reason": evil, "cure": evil, "resume": evil})
        notebook = open_notebook(sources=[watch("'evil'")])
        notebook.run(0)
        Panel(notebook).shows(510)
        notebook.page.wait_for_timeout(500)
        shown = notebook.page.locator(".ftwb").text_content()
        assert shown.count("<img src=x") >= 4 and "row at step 500" in shown
        assert notebook.page.evaluate("() => window.hacked") is None
        assert notebook.page.locator(".ftwb :is(img, script, b b)").count() == 0

    def test_a_cell_that_draws_keeps_its_output(self, lab, open_notebook):
        fill(lab.runs / "trap", 300)
        draws = "import time\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\ntime.sleep(3)\nplt.show()\n'the end'"
        notebook = open_notebook(sources=[watch("'trap'"), "%matplotlib inline\nimport matplotlib.pyplot", draws])
        notebook.run(0)
        notebook.run(1)
        panel = Panel(notebook)
        panel.shows(306)
        notebook.start(2)
        notebook.until(KERNEL, "busy")
        slider = panel.find(".ftwb-tools input[type=range]")
        slider.focus()
        for _ in range(30):
            slider.press("ArrowRight")
            notebook.page.wait_for_timeout(60)
        panel.drag(0.2, 0.6)
        notebook.until(KERNEL, "idle")
        kept = [kind for output in notebook.outputs()[2] for kind in output["data"]]
        assert "image/png" in kept and notebook.outputs()[2][-1]["data"]["text/plain"] == "'the end'"

    def test_what_is_left_where_no_widget_lives(self, lab, open_notebook):
        import nbconvert
        import nbformat

        fill(lab.runs / "left", 300)
        notebook = open_notebook("left", [watch("'left'")])
        notebook.run(0)
        Panel(notebook).shows(306)
        picture = notebook.page.locator(".jp-RenderedImage img")
        picture.wait_for(state="attached")
        assert not picture.is_visible()
        notebook.save()
        saved = nbformat.read(notebook.path, 4)
        kinds = [kind for output in saved.cells[0].outputs for kind in output.get("data", {})]
        assert "image/png" in kinds and "widgets" not in saved.metadata
        saved.cells[0].source += "  # by another"  # so the signature is another one
        nbformat.write(saved, lab.folder / "strange.ipynb")
        lab.end_kernels()
        for name in ("left", "strange"):  # trusted and untrusted
            later = open_notebook(name, write=False)
            later.page.locator(".jp-RenderedImage img").wait_for()
            assert "loss" in later.page.locator(".jp-OutputArea").first.text_content() and later.page.locator(".ftwb").count() == 0
            later.expected = "widget model not found"  # JupyterLab's word for it where the notebook is trusted
        html, _ = nbconvert.HTMLExporter().from_filename(str(notebook.path))
        assert "data:image/png" in html.replace("\n", "") and "widget-view" not in html

    def test_papermill_shows_text_and_picture(self, lab):
        import nbformat

        fill(lab.runs / "batch", 300)
        page, out = lab.folder / "batch.ipynb", lab.folder / "batch.out.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(watch(repr(str(lab.runs / "batch"))))]), page)
        subprocess.run([sys.executable, "-m", "papermill", "-k", "python3", "--no-progress-bar", page, out], check=True, capture_output=True, cwd=Path(__file__).parents[1])
        kinds = {kind for output in nbformat.read(out, 4).cells[-1].outputs for kind in output.get("data", {})}
        assert kinds == {"text/plain", "image/png"}
