"""The walkthrough and the first page run from top to bottom, in a fresh kernel, and leave nothing ugly behind."""

from pathlib import Path

import nbformat
import pytest

NBS = Path(__file__).parents[1] / "nbs"
PAGES = {
    "walkthroughs/classify.ipynb": {"max_rows": 300, "epochs": 1},
    "recipes/chat.ipynb": {"overrides": ["data.max_rows=150", "train.max_steps=6", "evaluate.max_rows=8", "evaluate.max_new_tokens=8", "evaluate.bootstrap_samples=200"]},
    "workbench.ipynb": {"method": "full", "max_rows": 200},
}


@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page, tmp_path, monkeypatch):
    import papermill

    monkeypatch.setenv("FTWB_PROGRESS", "off")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out, runs_dir = tmp_path / "out.ipynb", tmp_path / "runs"
    papermill.execute_notebook(
        NBS / page, out, parameters={**PAGES[page], "runs_dir": str(runs_dir)}, progress_bar=False, cwd=str(tmp_path),
        store_widget_state=False, extra_arguments=["--IPKernelApp.log_level=40"],
    )  # fmt: skip
    notebook = nbformat.read(out, 4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert not [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert "widgets" not in notebook.metadata
    (run,) = runs_dir.iterdir()
    assert {"model", "report.html", "evaluation"} <= {path.name for path in run.iterdir()}
