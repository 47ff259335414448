"""A real JupyterLab on loopback and a real Chromium, for tests and benchmarks; all their settings and files live in one folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CI = os.environ.get("CI") == "true"
QUIET = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync").split()  # fmt: skip
ISOLATED = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
LOCAL = ("127.0.0.1", "localhost", None)  # data: and blob: have no host
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # else a cell out of sight is not in the page
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}

READY = """() => { const w = window.jupyterapp?.shell?.currentWidget, c = w?.context;
    return c?.isReady && c.sessionContext?.session?.kernel?.status === 'idle' }"""
SELECT = "const { shell, commands } = window.jupyterapp, { content } = shell.currentWidget; content.deselectAll(); content.activeCellIndex = index;"
RUN = "index => { " + SELECT + " return commands.execute('notebook:run-cell') }"
START = "index => { " + SELECT + " commands.execute('notebook:run-cell') }"
OUTPUTS = "() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells.map(c => c.outputs || [])"
WRITE = "([index, source]) => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.at(index).setSource(source)"


@dataclass(frozen=True)
class Lab:
    "A JupyterLab that answers."
    folder: Path  # its root; run folders in `runs` under it
    url: str
    token: str

    @property
    def runs(self) -> Path: return self.folder / "runs"

    def address(self, file: str) -> str:
        "One notebook alone on the page, with no layout of an earlier visit."
        return f"{self.url}doc/tree/{urllib.parse.quote(file)}?reset&token={self.token}"

    def ask(self, method: str, path: str, body: dict | None = None):
        "An answer of the server's REST interface."
        request = urllib.request.Request(self.url + path, method=method, data=json.dumps(body).encode() if body else None)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=20) as answer: return json.loads(answer.read() or "null")

    def end_kernels(self) -> None:
        for session in self.ask("GET", "api/sessions"): self.ask("DELETE", f"api/sessions/{session['id']}")


@contextmanager
def serve_lab(folder: Path, settings: dict | None = None) -> Iterator[Lab]:
    "A JupyterLab on a free port of this machine; everything it and its kernels write is in `folder`."
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "overrides.json").write_text(json.dumps(SETTINGS | (settings or {})))
    (folder / "runs").mkdir()
    places = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")
    env = {**os.environ, **{name: str(folder / "home" / name.lower()) for name in places}, "FTWB_RUNS": str(folder / "runs")}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    env.pop("FTWB_PROGRESS", None)
    for name in places: Path(env[name]).mkdir(parents=True)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", f"--notebook-dir={folder}"]
    command += ["--LabApp.expose_app_in_browser=True", f"--LabApp.app_settings_dir={folder / 'app'}"]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
    try:
        yield _answering(server, folder, Path(env["JUPYTER_RUNTIME_DIR"]))
    finally:
        server.terminate()
        server.wait(30)
        end_runs(folder / "runs")


def _answering(server: subprocess.Popen, folder: Path, runtime: Path) -> Lab:
    for _ in range(240):
        assert server.poll() is None, (folder / "lab.log").read_text()
        try:
            found = json.loads((runtime / f"jpserver-{server.pid}.json").read_text())
            lab = Lab(folder, found["url"], found["token"])
            lab.ask("GET", "api/status")
            return lab
        except (OSError, ValueError):
            time.sleep(0.25)
    raise AssertionError((folder / "lab.log").read_text())


def end_runs(runs_dir: Path) -> None:
    "Runs are made to outlive all else, also a test that failed: their processes end here."
    import psutil

    from finetune_wb.run import is_alive

    for name in ("supervisor.json", "process.json"):  # a supervisor first: it would take note of its worker's end
        for file in runs_dir.glob(f"*/{name}"):
            process = json.loads(file.read_text())
            if process["pid"] != os.getpid() and is_alive(process): psutil.Process(process["pid"]).kill()


@contextmanager
def open_browser():
    "Debian's Chromium, which finds no host but this one."
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, ISOLATED])
        yield browser
        browser.close()


class Notebook:
    "A notebook of `sources`, one cell each and an empty one, on a page of its own."

    def __init__(self, lab: Lab, browser, name: str, sources: list[str] = (), width: int = 1200, height: int = 1300, write: bool = True):
        import nbformat

        self.lab, self.file, self.path = lab, f"{name}.ipynb", lab.folder / f"{name}.ipynb"
        self.asked, self.errors, self.received, self.is_dark = [], [], 0, False  # addresses; what the console called an error; bytes from websockets
        self.expected = None  # part of an error that is no fault of ours
        if write:
            cells = [nbformat.v4.new_code_cell(source) for source in (*sources, "")]
            spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), self.path)
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(f"{message.text} {message.location.get('url', '')}"))
        self.page.on("websocket", self._socket)
        self.load()

    def _socket(self, socket) -> None:
        self.asked.append(socket.url)
        socket.on("framereceived", self._frame)

    def _frame(self, payload) -> None: self.received += len(payload)

    def load(self) -> None:
        "Opens the page, or opens it again, and waits for an idle kernel."
        self.page.goto(self.lab.address(self.file), timeout=120_000)
        self.page.wait_for_function(READY, timeout=120_000)

    def run(self, index: int = 0) -> list[dict]:
        "Runs a cell and waits for its end; its outputs."
        self.page.evaluate(RUN, index)
        return self.outputs()[index]

    def start(self, index: int = 0) -> None:
        "Runs a cell without waiting."
        self.page.evaluate(START, index)

    def run_all(self) -> list[list[dict]]:
        self.command("notebook:run-all-cells")
        return self.outputs()

    def command(self, name: str, **arguments) -> None:
        "One of JupyterLab's commands, to its end."
        self.page.evaluate("([name, given]) => window.jupyterapp.commands.execute(name, given).then(() => null)", [name, arguments])

    def outputs(self) -> list[list[dict]]: return self.page.evaluate(OUTPUTS)

    def write(self, index: int, source: str) -> None: self.page.evaluate(WRITE, [index, source])

    def ask_kernel(self, code: str) -> str:
        "What `code` prints in the kernel; it runs in the last cell."
        last = len(self.outputs()) - 1
        self.write(last, code)
        printed = self.run(last)
        assert not [o for o in printed if o["output_type"] == "error"], printed
        return "".join("".join(o.get("text", "")) for o in printed)

    def until(self, expression: str, argument=None, seconds: float = 15) -> None:
        "Waits until a JavaScript function gives something true."
        self.page.wait_for_function(expression, arg=argument, timeout=1000 * seconds)

    def save(self) -> None: self.command("docmanager:save")

    def dark(self, dark: bool = True) -> None:
        theme = "JupyterLab Dark" if dark else "JupyterLab Light"
        self.command("apputils:change-theme", theme=theme)
        self.until("dark => document.body.dataset.jpThemeLight === String(!dark) && !document.querySelector('#jupyterlab-splash')", dark)
        self.is_dark = dark

    def reopen(self, selector: str, seconds: float) -> None:
        "Saves, loads the page again and waits for a panel that was on it."
        self.save()
        self.expected = "widget model not found"  # JupyterLab's manager gives the kernel four seconds to list its widgets; a loaded machine may need another page
        lost = f"document.querySelector({selector!r}) || document.querySelector('.jp-CodeCell .jp-OutputArea').innerText.includes('model not found')"
        for _ in range(4):
            self.load()
            self.page.wait_for_function(f"() => {lost}", timeout=1000 * seconds)
            if self.page.query_selector(selector): return

    def seen(self, cell: int = 0) -> list[str]:
        "How the outputs of a cell that are in sight begin; a panel hides what stands in for it on other days."
        outputs = f"[...document.querySelectorAll('.jp-CodeCell')][{cell}].querySelectorAll('.jp-OutputArea-child')"
        return self.page.evaluate(f"[...{outputs}].filter(one => one.checkVisibility()).map(one => one.innerText.slice(0, 11))")

    def alive(self, module: str, view: str) -> int:
        "How many widgets of a class the kernel holds that have not been closed."
        return int(self.ask_kernel(f"import ipywidgets; from {module} import {view}; print(sum(isinstance(w, {view}) and w.comm is not None for w in ipywidgets.widgets.widget._instances.values()))"))

    def shot(self, folder: Path, name: str) -> Path:
        "A picture of the page as it is."
        path = folder / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def hosts(self) -> set:
        "Every host the page asked for something."
        return {urllib.parse.urlsplit(url).hostname for url in self.asked}

    def close(self) -> None: self.context.close()


@pytest.fixture(scope="session")
def shots(tmp_path_factory) -> Path:
    "The folder of screenshots: the one FTWB_SHOTS names, else among pytest's own, where the last three sessions are kept."
    folder = Path(os.environ["FTWB_SHOTS"]) if "FTWB_SHOTS" in os.environ else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")  # not session: the driver keeps an event loop in this thread, and other files want their own
def browser():
    "A running Chromium; without one tests are skipped, but not in CI."
    if CHROMIUM is None and not CI: pytest.skip("no chromium on this machine")
    assert CHROMIUM, "CI needs chromium: apt-get install chromium"
    with open_browser() as found: yield found


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    pytest.importorskip("jupyterlab")
    with serve_lab(tmp_path_factory.mktemp("lab")) as found: yield found


@contextmanager
def notebooks(lab: Lab, browser, shots: Path, name: str):
    """Gives `open_one(name, sources)` → a `Notebook`. At the end each is photographed and closed, and has to have been
    quiet: no error in the console, nothing asked of another machine."""
    opened: list[Notebook] = []

    def open_one(file: str | None = None, sources: list[str] = (), **options) -> Notebook:
        opened.append(Notebook(lab, browser, file or name, sources, **options))
        return opened[-1]

    try:
        yield open_one
        for notebook in opened:
            assert notebook.hosts() <= {*LOCAL}
            assert not [error for error in notebook.errors if not (notebook.expected and notebook.expected in error)]
    finally:
        for number, notebook in enumerate(opened):
            notebook.shot(shots, name + (f"-{number + 1}" if number else ""))
            if notebook.is_dark: notebook.dark(False)  # a theme is the server's setting and would stay
            notebook.close()
        lab.end_kernels()


@pytest.fixture
def open_notebook(lab, browser, shots, request):
    "`notebooks` for one test."
    with notebooks(lab, browser, shots, _plain(request.node.name)) as open_one: yield open_one


def _plain(name: str) -> str: return re.sub(r"[^\w-]+", "-", name.removeprefix("test_")).strip("-")
