"""The exercise of a walkthrough, run on its own: the cells tagged `exercise`, with the cell tagged `answer` replaced by what a reader might write."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import nbformat

WALKTHROUGHS = Path(__file__).parents[1] / "nbs" / "walkthroughs"


def cells_of(page: str) -> list[tuple[str, bool]]:
    """Source of each cell of the exercise, and whether it is the one that the reader fills in."""
    tagged = [(cell.source, cell.metadata.get("tags", [])) for cell in nbformat.read(WALKTHROUGHS / page, 4).cells if cell.cell_type == "code"]
    return [(source, "answer" in tags) for source, tags in tagged if "exercise" in tags]


def checked(page: str, answer: str | None = None) -> str:
    """What the exercise prints for `answer` (Python source; None leaves the cell as the page has it). Raises what its check raises."""
    said, names = io.StringIO(), {"__name__": "__main__"}
    with redirect_stdout(said):
        for source, is_answer in cells_of(page):
            exec(compile(answer if is_answer and answer is not None else source, page, "exec"), names)
    return said.getvalue()
