"""The exercises of the walkthroughs: a check says that nothing was answered yet, takes a right answer, and refuses wrong ones with the reason.

That the pages run from top to bottom is proved by `make walkthroughs`, which CI runs after the tests.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from exercises import WALKTHROUGHS, cells_of, checked

ROOT = Path(__file__).parents[1]
RIGHT = {  # page → answers that have to pass
    "01_should_i.ipynb": [
        """
from scipy.stats import binomtest

def decide(tuned, baseline):
    won, lost = int((tuned & ~baseline).sum()), int((baseline & ~tuned).sum())
    if won + lost == 0 or binomtest(won, won + lost).pvalue >= 0.05: return "can't tell"
    return "worth it" if won > lost else "not worth it"
""",
        """
def decide(tuned, baseline):
    gaps = tuned.astype(float) - baseline
    drawn = np.random.default_rng(0).choice(gaps, (1000, len(gaps))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return "worth it" if low > 0 else "not worth it" if high < 0 else "can't tell"
""",
    ],
    "02_data.ipynb": [
        """
from finetune_wb.data.copies import copy_groups

def leaked(train_texts, test_texts):
    groups = copy_groups([*train_texts, *test_texts])
    known = set(groups[: len(train_texts)])
    return {place for place, group in enumerate(groups[len(train_texts) :]) if group in known}
""",
        r"""
import re

def leaked(train_texts, test_texts):
    words = lambda text: set(re.findall(r"\w+", text.lower()))
    train = [words(text) for text in train_texts]
    return [place for place, text in enumerate(test_texts) if max(len(words(text) & other) / len(words(text) | other) for other in train) > 0.7]
""",
    ],
    "03_tokens.ipynb": [
        "import numpy as np\nlabels_of = lambda p, a, end, n: None if len(p + a) >= n else (np.array(p + a + [end]), np.where(np.arange(len(p + a) + 1) < len(p), -100, p + a + [end]))",
        """
def labels_of(prompt, answer, end, max_length):
    if len(prompt) + len(answer) + 1 > max_length: return None
    return [*prompt, *answer, end], [*[-100] * len(prompt), *answer, end]
""",
    ],
}
WRONG = {  # page → answers that have to fail, and a part of the reason
    "01_should_i.ipynb": {
        "decide = lambda tuned, baseline: 'worth it' if tuned.mean() > baseline.mean() else 'not worth it'": "a higher number is not yet a difference",
        "decide = lambda tuned, baseline: 'worth it' if tuned.mean() - baseline.mean() > 0.05 else 'not worth it' if tuned.mean() - baseline.mean() < -0.05 else \"can't tell\"": "6 points better|60 rows",
        "decide = lambda tuned, baseline: \"can't tell\"": "0% of the models that are 6 points better",
        "decide = lambda tuned, baseline: 'yes'": "is none of the three answers",
        "decide = lambda tuned, baseline: (lambda gap: 'worth it' if gap > 2.6 else 'not worth it' if gap < -1.96 else \"can't tell\")((tuned.mean() - baseline.mean()) / np.sqrt((tuned.var() + baseline.var()) / len(tuned)))": "both answered the same rows",
    },
    "02_data.ipynb": {
        "leaked = lambda train, test: {i for i, text in enumerate(test) if text in set(train)}": "0% of the retyped rows",
        "leaked = lambda train, test: {i for i, t in enumerate(test) if any(''.join(c for c in t.lower() if c.isalnum()) == ''.join(c for c in o.lower() if c.isalnum()) for o in train)}": "0% of the reworded rows",
        "leaked = lambda train, test: range(len(test))": "nobody planted were named too",
        "leaked = lambda train, test: set()": "0% of the retyped rows",
        "leaked = lambda train, test: [1000]": "there is no test text at .1000.",
    },
    "03_tokens.ipynb": {
        "labels_of = lambda prompt, answer, end, limit: (prompt + answer, [-100] * len(prompt) + answer)": "the end is not in the row",
        "labels_of = lambda prompt, answer, end, limit: None": "fit into 128, and the row was left out",
        "labels_of = lambda prompt, answer, end, limit: (prompt + answer + [end], prompt + answer + [end])": "the prompt is trained",
        "labels_of = lambda prompt, answer, end, limit: (prompt + answer + [end], [-100] * len(prompt) + answer + [-100])": "its own place",
        "labels_of = lambda prompt, answer, end, limit: (prompt + answer + [end], ([-100] * len(prompt) + answer + [end])[1:] + [-100])": "the prompt is trained|its own place",
        "labels_of = lambda prompt, answer, end, limit: (prompt + answer + [end], [-100] * len(prompt) + answer)": "each token needs one label",
        "labels_of = lambda prompt, answer, end, limit: ((prompt + answer + [end])[:limit], ([-100] * len(prompt) + answer + [end])[:limit])": "the end would be cut",
        "labels_of = lambda prompt, answer, end, limit: (prompt + answer + [end], [-100] * len(prompt) + answer + [end]) if len(prompt + answer) + 1 < limit else None": "the row is whole",
    },
}
PAGES = sorted(RIGHT)
every_page = pytest.mark.parametrize("page", PAGES)


@pytest.mark.parametrize("page", sorted(path.name for path in WALKTHROUGHS.glob("[0-9][0-9]_*.ipynb")))
def test_every_numbered_page_has_an_exercise_and_is_committed_without_its_answer(page):
    (blank,) = [source for source, is_answer in cells_of(page) if is_answer]
    name, equals, value = blank.partition("=")
    assert value.split("#")[0].strip() == "None" and f"check({name.strip()})" in cells_of(page)[-1][0]


@pytest.mark.parametrize("path", sorted([*WALKTHROUGHS.glob("*.ipynb"), *(WALKTHROUGHS.parent / "recipes").glob("*.ipynb")]), ids=lambda path: path.name)
def test_a_page_can_be_read_in_a_window(path):
    "No code that has to be scrolled sideways, no list run together in one line, no result shown as a quoted string that breaks inside words."
    for cell in nbformat.read(path, 4).cells:
        lines = cell.source.splitlines()
        if cell.cell_type == "markdown": assert not [line for line in lines if re.search(r"^1\. .*\b2\. ", line)], cell.source
        else:
            assert not [line for line in lines if len(line) > 130], cell.source
            assert "exercise" in cell.metadata.get("tags", []) or not re.match(r"f?[\"']", (lines or [""])[-1]), lines[-1]


@every_page
def test_unanswered_is_neither_right_nor_wrong(page):
    assert checked(page).startswith("Not answered yet")


@pytest.mark.parametrize("page, answer", [(page, answer) for page in PAGES for answer in RIGHT[page]])
def test_a_right_answer_passes(page, answer):
    assert checked(page, answer).startswith("Right")


@pytest.mark.parametrize("page, answer", [(page, answer) for page in PAGES for answer in WRONG[page]])
def test_a_wrong_answer_fails_with_the_reason(page, answer):
    with pytest.raises(AssertionError, match=WRONG[page][answer]):
        checked(page, answer)


# ---- the runner -------------------------------------------------------------------------------------------------------

@pytest.fixture
def runner(tmp_path, monkeypatch):
    """`.ci/run_notebooks.py` as a module, looking at pages of a folder of its own."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / ".ci" / "run_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "NBS", tmp_path)
    (tmp_path / "walkthroughs").mkdir()
    (tmp_path / "recipes").mkdir()
    return module


def page(path: Path, *sources: str) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources], metadata=kernel), path)


@pytest.mark.parametrize("source, reason", [
    ("assert 1 == 1", ""),
    ("assert 1 == 2, 'numbers disagree'", "AssertionError: numbers disagree"),
    ("import sys\nprint('a warning', file=sys.stderr)", "writes to stderr: a warning"),
    ("import os\nos._exit(1)", "papermill ended with|not executed to its end"),
])
def test_the_runner_says_what_is_wrong(runner, tmp_path, source, reason):
    page(tmp_path / "walkthroughs" / "one.ipynb", source, "2")
    name, seconds, used, problem = runner.execute("walkthroughs/one.ipynb")
    assert seconds > 0 and used > 0 and (problem == "" if not reason else any(part in problem for part in reason.split("|"))), problem


def test_a_recipe_without_a_verdict_fails(runner, tmp_path):
    page(tmp_path / "recipes" / "job.ipynb", "1 + 1")
    assert "ends in a verdict" in runner.execute("recipes/job.ipynb")[-1]


def test_the_runner_fails_where_one_page_does(runner, tmp_path, monkeypatch, capsys):
    for name in ("good", "bad"): page(tmp_path / "walkthroughs" / f"{name}.ipynb", "1")
    monkeypatch.setattr(runner, "execute", lambda name: (name, 1.0, 0.5, "it broke" if "bad" in name else ""))
    monkeypatch.setattr(sys, "argv", ["run_notebooks.py"])
    assert runner.main() == 1
    said = capsys.readouterr().out
    assert "walkthroughs/bad.ipynb  FAILED: it broke" in said and "walkthroughs/good.ipynb  ok" in said and "1 failed: walkthroughs/bad.ipynb" in said
    monkeypatch.setattr(sys, "argv", ["run_notebooks.py", "good"])
    assert runner.main() == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system doesn't let a process choose its cores")
def test_pages_side_by_side_have_cores_of_their_own(runner, tmp_path, monkeypatch, capsys):
    cores = sorted(os.sched_getaffinity(0))
    for name in ("one", "two"): page(tmp_path / "walkthroughs" / f"{name}.ipynb", f"import os, time; open({str(tmp_path / name)!r}, 'w').write(str(sorted(os.sched_getaffinity(0)))); time.sleep(1)")
    monkeypatch.setattr(sys, "argv", ["run_notebooks.py", "--workers", "2"])
    assert runner.main() == 0, capsys.readouterr().out
    told = sorted(json.loads((tmp_path / name).read_text()) for name in ("one", "two"))
    assert told == sorted([cores[::2], cores[1::2] or cores]) and sorted(os.sched_getaffinity(0)) == cores


def test_every_page_is_found(runner):
    listed = subprocess.run([sys.executable, "-c", "import runpy, json; m = runpy.run_path('.ci/run_notebooks.py'); print(json.dumps([m['pages']([]), list(m['SMALL'])]))"], cwd=ROOT, capture_output=True, text=True, check=True)
    found, small = json.loads(listed.stdout)
    expected = {path.relative_to(ROOT / "nbs").as_posix() for folder in ("walkthroughs", "recipes") for path in (ROOT / "nbs" / folder).glob("*.ipynb")} | {"workbench.ipynb"}
    assert set(found) == expected and set(small) <= expected
    assert WALKTHROUGHS.is_dir()
