"""Drop from the notebooks what nbdev-clean keeps: widget views and everything on stderr (progress, timings, warnings with paths)."""
from pathlib import Path

from fastcore.nbio import read_nb, write_nb


def is_kept(output: dict) -> bool:
    return output.get("name") != "stderr" and not any("widget" in kind for kind in output.get("data", {}))


for path in sorted((Path(__file__).parent.parent / "nbs").rglob("[!.]*.ipynb")):
    notebook = read_nb(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if all(is_kept(output) for cell in code for output in cell.outputs): continue
    for cell in code: cell.outputs = [output for output in cell.outputs if is_kept(output)]
    write_nb(notebook, path)
    print(f"cleaned {path.name}")
