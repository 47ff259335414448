"""The recipes for the jobs people come with: each runs on its stand-in, and on a file of one's own by one parameter, with a few rows and steps.

They run whole in `make walkthroughs`, by papermill; here in this process, so that torch is loaded once.
"""

import json

import nbformat
import pandas as pd
import pytest
from pages import NBS, run_page
from pandas.io.formats.style import Styler

from finetune_wb.data import docstrings, signatures
from finetune_wb.errors import DataError
from finetune_wb.run import Run

pytestmark = pytest.mark.usefixtures("quick_garbage")
PAGES = {"tickets": "classification", "voice": "instruction", "extract": "instruction", "prefer": "preference"}
QUICK = ["train.max_steps=2", "train.tokens_per_batch=256", "evaluate.bootstrap_samples=200", "train.threads=1"]
WRITING = [*QUICK, "data.max_rows=60", "evaluate.max_rows=4", "evaluate.max_new_tokens=6"]
QUEUES = {"billing": "the invoice charges me twice", "delivery": "the parcel has not arrived", "account": "my password does not work"}
COLOURS = ["red", "blue", "green", "black", "white", "yellow", "brown", "pink", "grey", "violet"]
THINGS = ["lamp", "desk", "chair", "vase"]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("FTWB_PROGRESS", "off")


@pytest.fixture
def few_sources(monkeypatch):
    "The stand-ins from some of the installed packages' files: the rows are real, and there are fewer."
    whole = signatures.package_files
    monkeypatch.setattr(signatures, "package_files", lambda package: whole(package)[::6])
    monkeypatch.setattr(docstrings, "_ROWS", 24)
    docstrings._all_rows.cache_clear()
    yield
    docstrings._all_rows.cache_clear()


def rows_of_mine(name: str) -> pd.DataFrame:
    "Rows that only this test has, with columns as people call them."
    said = [(colour, thing) for colour in COLOURS for thing in THINGS]
    if name == "tickets": return pd.DataFrame([{"message": f"{text}, it is about order {i} of a {colour} {thing}", "queue": queue} for i, (colour, thing) in enumerate(said) for queue, text in QUEUES.items()])
    if name == "voice": return pd.DataFrame([{"question": f"Is the {thing} {colour}?", "answer": f"Darling, the {thing} is the most {colour} of all."} for colour, thing in said])
    if name == "extract": return pd.DataFrame([{"instruction": "Which colour?", "input": f"We bought a {colour} {thing} in May.", "output": colour} for colour, thing in said])
    return pd.DataFrame([{"prompt": f"Describe the {colour} {thing}.", "chosen": f"A {thing}, {colour} all over.", "rejected": "No."} for colour, thing in said])


def mine(name: str, folder):
    path = folder / f"{name}.{'csv' if name in ('tickets', 'prefer') else 'jsonl'}"
    rows = rows_of_mine(name)
    if path.suffix == ".csv": rows.to_csv(path, index=False)
    else: rows.to_json(path, orient="records", lines=True)
    return str(path)


def ended_well(found: dict, name: str, runs) -> Run:
    run, verdict = found["run"], found["verdict"]
    assert run.folder.parent == runs and run.state == "finished" and run.record["task"] == PAGES[name]
    assert {"model", "report.html", "evaluation"} <= {path.name for path in run.folder.iterdir()}
    assert verdict.sentence.startswith(("Worth it", "Not worth it", "Can't tell")) and verdict.sentence == found["ftwb"].evaluate(run).sentence
    assert len(found["answered"]) == verdict.rows
    return run


@pytest.mark.parametrize("name", PAGES)
def test_on_its_stand_in(name, tmp_path, few_sources):
    found = run_page(f"recipes/{name}.ipynb", runs_dir=str(tmp_path), overrides=[*QUICK, "train.max_length=32"] if name == "tickets" else WRITING, run_id="mine")
    run = ended_well(found, name, tmp_path)
    assert run.id == "mine" and "ticket" not in run.record["data"]["source"]
    if name == "tickets": assert run.record["data"]["source"] == "builtin:docstrings" and run.recipe.data.max_rows == 1200
    else:
        folder = tmp_path / f"stand-in-{name}"  # the rows lie in files that show what one's own should look like
        assert {path.name for path in folder.iterdir()} == {"train.jsonl", "valid.jsonl", "test.jsonl"}
        rows = [json.loads(line) for part in folder.iterdir() for line in part.read_text().splitlines()]
        assert len(rows) > 40 and all(all(row.values()) for row in rows)
        assert found["dataset"].ledger is not None  # near copies of test rows left train, on a ledger


@pytest.mark.parametrize("name", PAGES)
def test_on_ones_own_file_by_one_parameter(name, tmp_path):
    path = mine(name, tmp_path)
    extra = ["data.text=message", "data.label=queue"] if name == "tickets" else WRITING[len(QUICK) + 1 :]
    found = run_page(f"recipes/{name}.ipynb", data=path, runs_dir=str(tmp_path / "runs"), overrides=[*QUICK, *extra])
    run, data = ended_well(found, name, tmp_path / "runs"), found["dataset"]
    assert path.rsplit("/", 1)[1] in run.record["data"]["source"] and not (tmp_path / "runs" / f"stand-in-{name}").exists()
    assert run.recipe.data.max_rows is None and run.recipe.data.policy == {}  # what the stand-in is cut by is not for others' rows
    assert len(data.train) + len(data.valid) + len(data.test) == len(rows_of_mine(name))
    if name == "tickets": assert set(data.label_names) == set(QUEUES)


@pytest.mark.parametrize("name", PAGES)
def test_the_three_doors_to_ones_own_file_are_one(name, tmp_path):
    path, page = mine(name, tmp_path), f"recipes/{name}.ipynb"
    by_parameter = run_page(page, until="recipe", data=path)["recipe"]
    assert by_parameter.data.source == path and run_page(page, until="recipe", overrides=[f"data.source={path}"])["recipe"] == by_parameter
    from finetune_wb import load_recipe
    from finetune_wb.recipe import to_yaml

    written = tmp_path / "recipe.yaml"
    written.write_text(to_yaml(load_recipe(by_parameter.model_dump(), "train.seed=3")))
    assert run_page(page, until="recipe", recipe_file=str(written))["recipe"].train.seed == 3
    odd = "my #1: rows, {final}.csv"
    assert run_page(page, until="recipe", data=odd)["recipe"].data.source == odd


WRONG = {  # a file that is not what the page needs → what the error has to name, the way out among it
    "no label": ("tickets", "message\nwhere is my parcel\nI was charged twice\n", ["wrong.csv", '"message"', "data.label=…"]),
    "three rows": ("tickets", "message,queue\nI was charged twice,billing\nNo parcel came,delivery\nLogin fails,account\n", ["wrong.csv", '"queue"', "data.label=…"]),
    "empty": ("tickets", "", ["wrong.csv", "the file is empty"]),
    "no rows": ("tickets", "message,queue\n", ["wrong.csv", "a header and no rows"]),
    "tickets for a voice": ("voice", "message,queue\nI was charged twice,billing\nNo parcel came,delivery\n", ["wrong.csv", '"message", "queue"', "data.prompt=…", "data.completion=…"]),
    "other names": ("voice", "q,reply\nIs it red?,Darling! It is.\nIs it blue?,Darling! It is not.\n", ['"q", "reply"', "data.completion=…"]),
    "no output": ("extract", "instruction,input\nWho?,Ada sells to Bo.\nWhen?,In May.\n", ["data.completion=…"]),
    "no rejected": ("prefer", "prompt,chosen\nWho?,Ada.\nWhen?,In May.\n", ["data.rejected=…"]),
    "not a choice": ("prefer", "prompt,chosen,rejected\nWho?,Ada.,Ada.\nWhen?,In May.,In June.\n", ["line 2", "chosen and rejected are the same", "data.bad_rows=drop"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_before_training_with_the_way_out(case, tmp_path):
    name, text, told = WRONG[case]
    (tmp_path / "wrong.csv").write_text(text)
    with pytest.raises(DataError) as refused:
        run_page(f"recipes/{name}.ipynb", data=str(tmp_path / "wrong.csv"), runs_dir=str(tmp_path / "runs"))
    assert not [part for part in told if part not in str(refused.value)], str(refused.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", [*PAGES, "finetune"])
def test_rows_are_shown_without_what_is_personal_and_never_as_markup(name, tmp_path, monkeypatch):
    "An executed page goes to people who never had the file."
    mail, key, shown = "jo.blake@example-shop.org", "sk-proj-" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY", []
    rows = rows_of_mine({"finetune": "tickets"}.get(name, name)).head(24)
    rows = rows.map(lambda cell: cell if cell in QUEUES or cell in COLOURS or cell == "No." else f"{cell} <b>write</b> to {mail} with {key}")
    path = tmp_path / "mine.jsonl"
    rows.to_json(path, orient="records", lines=True)
    for kind in (pd.DataFrame, Styler): monkeypatch.setattr(kind, "_repr_html_", lambda self, drawn=kind._repr_html_: shown.append(drawn(self)) or shown[-1])
    own = ["data.text=message", "data.label=queue"] if name in ("tickets", "finetune") else WRITING[len(QUICK) :]
    policy = [f"data.policy.{kind}=report" for kind in ("personal_data", "secret")]
    run_page(f"recipes/{name}.ipynb", data=str(path), runs_dir=str(tmp_path / "runs"), overrides=[*QUICK, *own, *policy])
    told = "".join(shown)
    assert "[EMAIL]" in told and mail not in told and key not in told and key[:20] not in told
    assert "<b>" not in told and "&lt;b&gt;write" in told


def test_conversations_are_a_voice_too(tmp_path):
    talks = [{"messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]} for row in rows_of_mine("voice").to_dict("records")]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)))
    with pytest.raises(DataError, match="task=chat"): run_page("recipes/voice.ipynb", until="dataset", data=str(tmp_path / "talks.jsonl"))
    assert run_page("recipes/voice.ipynb", until="dataset", data=str(tmp_path / "talks.jsonl"), overrides=["task=chat"])["dataset"].task == "chat"


@pytest.mark.parametrize("name", ["finetune", "chat"])
def test_the_general_pages_take_a_file_by_one_parameter_too(name, tmp_path):
    path = mine({"finetune": "tickets", "chat": "voice"}[name], tmp_path)
    dataset = run_page(f"recipes/{name}.ipynb", until="dataset", data=path, overrides=["data.text=message", "data.label=queue"] if name == "finetune" else [])["dataset"]
    assert (dataset.task, dataset.source) == ({"finetune": "classification", "chat": "instruction"}[name], path)


def test_extraction_is_marked_by_the_parser(tmp_path, few_sources):
    found = run_page("recipes/extract.ipynb", until="BUILT_IN", runs_dir=str(tmp_path))
    from finetune_wb.data.signatures import Documented

    thing = Documented("x", "def", "mean", "def mean(self, a, /, axis=None, *, dtype, keep=False)", "")
    assert found["asked"](thing) == {"Name the function.": "mean", "List its parameters.": "a, axis, dtype, keep", "List the parameters that may be left out.": "axis, keep"}
    rest = Documented("x", "def", "draw", "def draw(path, *shapes, by, **options)", "")
    assert list(found["asked"](rest).values())[1:] == ["path, shapes, by, options", "shapes, options"]
    bare = Documented("x", "def", "now", "def now() -> int", "")
    assert list(found["asked"](bare).values()) == ["now", "none", "none"]


def test_a_rejected_answer_is_another_functions_of_the_same_split(tmp_path, few_sources):
    run_page("recipes/prefer.ipynb", until="BUILT_IN", runs_dir=str(tmp_path))
    for part in (tmp_path / "stand-in-prefer").iterdir():
        rows = pd.read_json(part, lines=True)
        assert (rows["chosen"] != rows["rejected"]).all() and set(rows["rejected"]) == set(rows["chosen"])
        assert rows["chosen"].map(signatures.split_of).eq(part.stem).all()


@pytest.mark.parametrize("name", PAGES)
def test_a_recipe_is_committed_without_outputs(name):
    cells = nbformat.read(NBS / f"recipes/{name}.ipynb", 4).cells
    assert not any(cell.get("outputs") for cell in cells)
    (parameters,) = (cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    assert parameters.startswith('data = ""  # your file') and "stand" in cells[0].source


def test_a_job_finds_files_where_it_was_started(tmp_path, monkeypatch):
    "`ftwb notebook … data.source=tickets.csv` means the tickets.csv beside whoever asks, not beside the notebook."
    from finetune_wb.notebook import run_notebook

    here, page = tmp_path / "here", tmp_path / "there" / "page.ipynb"
    here.mkdir(), page.parent.mkdir()
    (here / "mine.txt").write_text("found")
    cells = [nbformat.v4.new_code_cell("overrides = []", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell("print(open(overrides[0].partition('=')[2]).read())")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}), page)
    monkeypatch.chdir(here)
    executed = nbformat.read(run_notebook(page, overrides=("data.source=mine.txt",), runs_dir=tmp_path / "runs"), 4)
    assert executed.cells[-1].outputs[0]["text"].strip() == "found"
