"""The first page and the main job's page in a real JupyterLab and a real browser: no error, no flood of progress, no request that leaves the machine."""

from pathlib import Path

import pytest

pytest_plugins = "lab"
ROOT = Path(__file__).parents[1]


def _small(name: str, page: Path, parameters: dict) -> None:
    """A page with other values in its parameters cell."""
    import nbformat

    notebook = nbformat.read(ROOT / "nbs" / name, 4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    nbformat.write(notebook, page)


@pytest.mark.parametrize("name, parameters", [
    ("recipes/finetune.ipynb", {"data": "", "recipe_file": "", "overrides": ["method.name=probe", "data.max_rows=300"], "runs_dir": "", "run_id": ""}),
])
def test_page_in_lab(name, parameters, lab, open_notebook, shots):
    stem = Path(name).stem
    _small(name, lab.folder / f"{stem}.ipynb", parameters)
    notebook = open_notebook(stem, write=False)
    outputs = notebook.run_all()
    assert not [o for cell in outputs for o in cell if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert sum(bool(cell) for cell in outputs) >= 7  # it did run
    assert max(map(len, outputs)) <= 3  # bars update in place
    notebook.page.set_viewport_size({"width": 1200, "height": 5500})
    notebook.page.evaluate("() => document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, 0)")
    notebook.shot(shots, f"{stem}-light")
    notebook.dark()
    notebook.shot(shots, f"{stem}-dark")
