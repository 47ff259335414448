"""Exercises of walkthroughs 04 to 06: right answers pass however they are written, and each wrong one fails with the reason."""

import nbformat
import pytest
from exercises import WALKTHROUGHS, cells_of, checked

RIGHT = {
    "04_methods.ipynb": [
        "def added(shapes, r): return sum(r * (rows + columns) for rows, columns in shapes)",
        "def added(shapes, r):\n    total = 0\n    for rows, columns in shapes: total += rows * r + r * columns\n    return total",
    ],
    "05_fitting.ipynb": [
        """def stop_early(losses, patience):
    kept = 0
    for i, loss in enumerate(losses):
        if loss < losses[kept]: kept = i
        if i - kept >= patience: return kept, i
    return kept, len(losses) - 1""",
        """def stop_early(losses, patience):
    for stopped in range(len(losses)):
        kept = losses.index(min(losses[: stopped + 1]))
        if stopped - kept == patience: break
    return [kept, stopped]""",
    ],
    "06_evaluate.ipynb": [
        "def report(valid_right, test_right):\n    best = valid_right.mean(1).argmax()\n    return best, test_right[best].mean()",
        "def report(valid_right, test_right):\n    best = test_right.mean(1).argmax()\n    return best, valid_right[best].mean()",  # the same with the names changed, and as honest
    ],
}
WRONG = {
    "04_methods.ipynb": {
        "def added(shapes, r): return sum(r * rows * columns for rows, columns in shapes)": "peft adds 512 numbers",
        "def added(shapes, r): return sum(rows * columns for rows, columns in shapes)": "peft adds",
        "def added(shapes, r): return sum(2 * r * rows for rows, columns in shapes)": "peft adds 1,280 numbers",
        "def added(shapes, r): return r * sum(shapes[0])": "at rank 8",
        "def added(shapes, r): return 512": "the answer is 512",
    },
    "05_fitting.ipynb": {
        "def stop_early(losses, patience): return losses.index(min(losses)), len(losses) - 1": "two evaluations in a row",
        "def stop_early(losses, patience):\n    kept = losses.index(min(losses))\n    return kept, min(kept + patience, len(losses) - 1)": "starts the count anew, and the rest is not seen",
        """def stop_early(losses, patience):
    kept, waited = 0, 0
    for i, loss in enumerate(losses):
        if loss < losses[kept]: kept = i
        elif i: waited += 1
        if waited >= patience: return kept, i
    return kept, len(losses) - 1""": "starts the count anew",
        """def stop_early(losses, patience):
    kept = 0
    for i, loss in enumerate(losses):
        if loss <= losses[kept]: kept = i
        if i - kept >= patience: return kept, i
    return kept, len(losses) - 1""": "as good as the best is not better",
        """def stop_early(losses, patience):
    kept = 0
    for i, loss in enumerate(losses):
        if loss < losses[kept]: kept = i
        if i - kept > patience: return kept, i
    return kept, len(losses) - 1""": "two evaluations in a row",
        """def stop_early(losses, patience):
    worse = 0
    for i in range(1, len(losses)):
        worse = worse + 1 if losses[i] >= losses[i - 1] else 0
        if worse >= patience: return losses.index(min(losses[: i + 1])), i
    return losses.index(min(losses)), len(losses) - 1""": "with patience",  # better than the last is not better than the best
    },
    "06_evaluate.ipynb": {
        "def report(valid_right, test_right):\n    best = test_right.mean(1).argmax()\n    return best, test_right[best].mean()": "chosen by the rows they are reported on",
        "def report(valid_right, test_right):\n    best = valid_right.mean(1).argmax()\n    return best, valid_right[best].mean()": "chosen by the rows they are reported on",
        "def report(valid_right, test_right):\n    both = valid_right.mean(1) + test_right.mean(1)\n    return both.argmax(), both.max() / 2": "chosen by the rows they are reported on",
        "def report(valid_right, test_right):\n    best = (valid_right.mean(1) + test_right.mean(1)).argmax()\n    return best, test_right[best].mean()": "chosen by the rows they are reported on",
        "def report(valid_right, test_right): return 0, test_right[0].mean()": "no better than taking any model",
        "def report(valid_right, test_right):\n    best = valid_right.mean(1).argmax()\n    return best, test_right.mean()": "but of other models",
        "def report(valid_right, test_right): return 7, 82.0": "a share of rows",
    },
}
PAGES = sorted(RIGHT)
every_page = pytest.mark.parametrize("page", PAGES)


@every_page
def test_unanswered_is_neither_right_nor_wrong(page):
    assert [is_answer for _, is_answer in cells_of(page)].count(True) == 1
    assert checked(page).startswith("Not answered yet")


@pytest.mark.parametrize("page, answer", [(page, answer) for page in PAGES for answer in RIGHT[page]])
def test_a_right_answer_passes(page, answer):
    assert checked(page, answer).startswith("Right")


@pytest.mark.parametrize("page, answer", [(page, answer) for page in PAGES for answer in WRONG[page]])
def test_a_wrong_answer_fails_with_the_reason(page, answer):
    with pytest.raises(AssertionError, match=WRONG[page][answer]):
        checked(page, answer)


@every_page
def test_a_page_is_committed_without_outputs_and_asserts_what_it_says(page):
    cells = [cell for cell in nbformat.read(WALKTHROUGHS / page, 4).cells]
    assert not any(cell.get("outputs") for cell in cells) and ["parameters"] in [cell.metadata.get("tags") for cell in cells]
    plain = [cell.source for cell in cells if cell.cell_type == "code" and "exercise" not in cell.metadata.get("tags", [])]
    assert sum("assert " in source for source in plain) >= 5
    assert max(len(cell.source) for cell in cells) < 3000
