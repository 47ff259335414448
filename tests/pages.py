"""A page of nbs/ run in this process: its code cells one after the other, parameters set after the cell tagged `parameters`, as papermill does."""

from pathlib import Path
from typing import Any

import nbformat

NBS = Path(__file__).parents[1] / "nbs"


def run_page(page: str, until: str | None = None, **parameters: Any) -> dict[str, Any]:
    """The names that the page's cells have made in the end, or once there is one called `until`; what a cell shows draws itself and is thrown away."""
    names = {"__name__": "__main__"}
    cells = [cell for cell in nbformat.read(NBS / page, 4).cells if cell.cell_type == "code"]
    assert [("parameters" in cell.metadata.get("tags", [])) for cell in cells].count(True) == 1
    for number, cell in enumerate(cells):
        *lines, last = _statements(cell.source)
        exec(compile("\n".join(lines), f"{page}[{number}]", "exec"), names)
        _show(last, f"{page}[{number}]", names)
        if "parameters" in cell.metadata.get("tags", []):
            unknown = parameters.keys() - names.keys()
            assert not unknown, f"{page} has no parameters {unknown}"
            names.update(parameters)
        if until in names: break
    return names


def _statements(source: str) -> list[str]:
    "The statements of a cell as source."
    import ast

    return [ast.unparse(statement) for statement in ast.parse(source).body] or [""]


def _show(source: str, place: str, names: dict[str, Any]) -> None:
    "Runs the last statement; the value of an expression draws itself as a notebook would have it."
    try: value = eval(compile(source, place, "eval"), names)
    except SyntaxError: exec(compile(source, place, "exec"), names)
    else:
        for drawn in ("_repr_html_", "_repr_markdown_", "_repr_png_"):
            if hasattr(value, drawn): getattr(value, drawn)()
