"""The first page in a real JupyterLab and a real browser: no error, no flood of progress, no request that leaves the machine."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CI = os.environ.get("CI") == "true"
QUIET = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync").split()  # fmt: skip
OUTPUTS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells.map(c => c.outputs || [])"""
READY = """() => { const w = window.jupyterapp?.shell?.currentWidget, c = w?.context;
    return c?.isReady && c.sessionContext?.session?.kernel?.status === 'idle' }"""
LOCAL = ("127.0.0.1", "localhost", None)  # data: and blob: have no host


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab whose settings and files all live in `tmp_path`."""
    pytest.importorskip("jupyterlab")
    settings = tmp_path / "app" / "overrides.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({
        "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
        "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    }))  # fmt: skip
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    env = {**os.environ, **{name: str(tmp_path / name.lower()) for name in folders}, "FTWB_RUNS": str(tmp_path / "runs")}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    env.pop("FTWB_PROGRESS", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", f"--notebook-dir={tmp_path}"]
    command += ["--LabApp.expose_app_in_browser=True", f"--LabApp.app_settings_dir={settings.parent}"]
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=tmp_path)
    try:
        yield _address(server, tmp_path)
    finally:
        server.terminate()
        server.wait(20)


def _address(server, folder: Path) -> str:
    """Waits until the server answers; `{}` stands where a path goes."""
    info = folder / "jupyter_runtime_dir" / f"jpserver-{server.pid}.json"
    for _ in range(120):
        assert server.poll() is None, (folder / "lab.log").read_text()
        try:
            found = json.loads(info.read_text())
            urllib.request.urlopen(f"{found['url']}api/status?token={found['token']}", timeout=5).close()
            return f"{found['url']}{{}}?reset&token={found['token']}"
        except (OSError, ValueError):
            time.sleep(0.5)
    raise AssertionError((folder / "lab.log").read_text())


def _small(name: str, page: Path, parameters: dict) -> None:
    """A page with other values in its parameters cell."""
    import nbformat

    notebook = nbformat.read(ROOT / "nbs" / name, 4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    nbformat.write(notebook, page)


@pytest.mark.skipif(CHROMIUM is None and not CI, reason="no chromium on this machine")
@pytest.mark.parametrize("name, parameters", [
    ("workbench.ipynb", {"method": "probe", "max_rows": 300, "runs_dir": ""}),
    ("recipes/finetune.ipynb", {"recipe_file": "", "overrides": ["method.name=probe", "data.max_rows=300"], "runs_dir": "", "run_id": ""}),
])
def test_page_in_lab(name, parameters, tmp_path, lab):
    assert CHROMIUM, "CI needs chromium: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    _small(name, tmp_path / "page.ipynb", parameters)
    asked, errors = [], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(lab.format("doc/tree/page.ipynb"))
        page.wait_for_function(READY, timeout=60_000)
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        outputs = page.evaluate(OUTPUTS)
        if shots := os.environ.get("FTWB_SHOTS"):  # a folder, to look at it yourself
            page.set_viewport_size({"width": 1200, "height": 5500})
            page.wait_for_timeout(1000)
            page.screenshot(path=f"{shots}/light.png")
            page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
            page.wait_for_timeout(2000)
            page.screenshot(path=f"{shots}/dark.png")
        browser.close()
    assert not [o for cell in outputs for o in cell if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert sum(bool(cell) for cell in outputs) >= 7  # it did run
    assert max(map(len, outputs)) <= 3  # bars update in place
    assert {urllib.parse.urlsplit(url).hostname for url in asked} <= {*LOCAL}
    assert not errors
