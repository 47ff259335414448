"""The workbench's kernel half without a browser: one file and the runs folder are its state, panels are made when they are opened, and nothing that anybody changed is lost."""

import json
import time
from pathlib import Path

import comm
import pytest

from finetune_wb.errors import RecipeError, RunError, WorkbenchError
from finetune_wb.panels import monitor, station
from finetune_wb.panels import workbench as module
from finetune_wb.panels.errand import errand, evaluation_of, start_evaluation
from finetune_wb.panels.fields import fields_of
from finetune_wb.panels.recipefile import RecipeFile, edited
from finetune_wb.panels.train import TrainPanel
from finetune_wb.panels.workbench import DataSource, Workbench
from finetune_wb.recipe import Recipe, load_recipe, override, to_yaml
from finetune_wb.run import create_run, write_json

pytest.importorskip("anywidget")
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202eevil"


@pytest.fixture
def place(tmp_path):
    """Sixty rows, and a recipe of them that trains in seconds."""
    rows = [{"text": f"I {verb} my {thing} {when}", "label": verb} for verb in ("lost", "found") for thing in ("card", "phone", "keys", "bag", "ring") for when in ("today", "yesterday", "last week", "at home", "in town", "again")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "workbench.yaml").write_text(f"# mine\ndata:\n  source: {tmp_path}/rows.jsonl\nmethod:\n  name: probe\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def bench_of(monkeypatch, place):
    """`bench_of()` → a live workbench with nobody at its other end; closed after the test."""
    monkeypatch.setattr(comm, "create_comm", comm.DummyComm)
    for part in (module, station, monitor): monkeypatch.setattr(part, "_where", lambda live: "text" if live is False else "widget")
    import finetune_wb.panels.data
    import finetune_wb.panels.model
    import finetune_wb.panels.tokens
    for part in (finetune_wb.panels.data, finetune_wb.panels.model, finetune_wb.panels.tokens): monkeypatch.setattr(part, "_where", lambda live: "text" if live is False else "widget")
    made = []

    def make(**options) -> Workbench:
        made.append(Workbench(place / "workbench.yaml", place / "runs", **options))
        return made[-1]

    yield make
    for bench in made: bench.close()


def until(what, seconds: float = 60) -> None:
    """Waits for something true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


# The file


def test_a_change_keeps_what_a_person_wrote():
    text = "# for the report\ntrain:\n  seed: 7  # as in the paper\n  extra: {eval_delay: 1}\nmodel: {id: minilm}\n"
    old = load_recipe({"train": {"seed": 7, "extra": {"eval_delay": 1}}})
    new = override(old, "train.seed=8", "evaluate.mistakes=3", "task=classification")
    made = edited(text, old, new)
    assert "# for the report" in made and "seed: 8  # as in the paper" in made and "model: {id: minilm}" in made
    assert load_recipe(__import__("yaml").load(made, __import__("finetune_wb.recipe", fromlist=["_Loader"])._Loader)) == new
    assert edited("model: {id: minilm}\n", Recipe(), override(Recipe(), "model.revision=main")) == to_yaml(override(Recipe(), "model.revision=main"), comments=True)  # a style of its own is written anew


def test_every_field_survives_the_file(tmp_path):
    file = RecipeFile(tmp_path / "r.yaml", Recipe(method={"name": "lora"}))
    file.change("train.extra={eval_delay: 1}", "data.source={train: a.csv, test: b.csv}", "data.policy.copies=drop", "data.delimiter=;", "data.label='1'", "train.report_to=[mlflow]", "model.chat_template={{ x }} # no")
    assert RecipeFile(tmp_path / "r.yaml").recipe == file.recipe and file.recipe.data.delimiter == ";" and file.recipe.data.label == "1"
    assert not [name for name in tmp_path.iterdir() if name.name.endswith(".part")]


def test_a_file_of_somebody_else_is_never_written_over(place):
    file = RecipeFile(place / "workbench.yaml")
    (place / "workbench.yaml").write_text("train: [half a thought", encoding="utf-8")
    with pytest.raises(RecipeError, match="can't be read"): file.change("train.seed=1")
    assert (place / "workbench.yaml").read_text() == "train: [half a thought" and file.problems


# Two on one file, an editor, a restart


def test_two_workbenches_and_an_editor_lose_nothing(bench_of, place):
    first, second = bench_of(), bench_of()
    for bench in (first, second): bench._open("train")
    until(lambda: all("train" in bench.sheets for bench in (first, second)))
    mine, theirs = first.sheets["train"][0], second.sheets["train"][0]
    mine.fill("train.seed", "7")
    theirs.fill("train.learning_rate", "3e-4")  # before it has heard of the other
    until(lambda: mine.recipe == theirs.recipe == first.recipe == second.recipe and mine.recipe.train.learning_rate == 3e-4 and mine.recipe.train.seed == 7)
    text = (place / "workbench.yaml").read_text()
    assert text.startswith("# mine\n")
    (place / "workbench.yaml").write_text(text.replace("seed: 7", "seed: 9"), encoding="utf-8")  # an editor
    until(lambda: mine.recipe.train.seed == theirs.recipe.train.seed == 9)
    first.close()
    again = bench_of()  # a kernel that came back
    assert again.recipe == second.recipe


def test_a_wrong_file_is_told_and_can_be_mended(bench_of, place):
    bench = bench_of()
    good = (place / "workbench.yaml").read_text()
    (place / "workbench.yaml").write_text(good + "train:\n  sede: 1\n", encoding="utf-8")
    until(lambda: bench.view.state["problems"])
    assert "seed" in bench.view.state["problems"][0] and bench.recipe.method.name == "probe"
    bench._take(None, {"type": "restore", "asked": 1}, [])
    until(lambda: not bench.view.state["problems"])
    assert load_recipe(place / "workbench.yaml") == bench.recipe


# Tabs


def test_panels_are_made_when_they_are_opened(bench_of):
    bench = bench_of()
    until(lambda: "decide" in bench.sheets)
    assert [*bench.sheets] == ["decide"] and len(bench._boxes["decide"].children) == 1
    bench.view.tab = 4  # as the browser sets it
    until(lambda: "train" in bench.sheets)
    assert isinstance(bench.sheets["train"][0], TrainPanel) and "data" not in bench.sheets
    until(lambda: bench.known.task == "classification")
    until(lambda: [s["mark"] for s in bench.view.state["stations"]] == ["done", "done", "done", "done", "missing", "", ""])


def test_cures_go_into_the_recipe(bench_of, place):
    with (place / "rows.jsonl").open("a") as file: file.write(json.dumps({"text": "I lost my card today", "label": "lost"}) + "\n")
    bench = bench_of()
    bench._open("data")
    until(lambda: "data" in bench.sheets and len(bench.sheets["data"]) == 2)
    source, panel = bench.sheets["data"]
    assert isinstance(source, DataSource)
    panel.wait()
    with pytest.raises(RunError, match="nothing was changed"): source.keep()
    panel.drop(0)
    source.keep()
    until(lambda: bench.recipe.data.ledger is not None)
    assert Path(bench.recipe.data.ledger).is_file()
    until(lambda: bench.known.found is not None and sum(bench.known.found["rows"].values()) == 60)


def test_messages_that_are_not_ours_are_refused(bench_of):
    bench = bench_of()
    bench._take(None, {"type": "close", "asked": 1}, [])
    assert "is not something to ask of this panel" in bench.error and bench.view is not None
    with pytest.raises(RunError, match="Did you mean"): bench.go("trian")


# What stands in a notebook, and what is hostile in it


def test_text_and_html_stand_in(place):
    bench = Workbench(place / "workbench.yaml", place / "runs", live=False)
    bench.wait()
    html = bench._stays()["rows"]["text/html"]
    assert "Decide" in html and "papermill" in html and "No run of this recipe yet" in html and "<script" not in html
    bench.set(f"model.id={HOSTILE}")
    assert "<img" not in bench._stays()["rows"]["text/html"] and "\x1b" not in repr(bench) and "\u202e" not in repr(bench)
    bench.close()


# Fields


def test_what_is_typed_wrongly_stays_beside_its_reason(place):
    panel = TrainPanel(Recipe(), runs_dir=place / "runs", live=False)
    for path, typed in (("train.seed", "x"), ("train.learning_rate", "7"), ("train.extra", "[1, 2]"), ("method.name", "lorra")): panel.fill(path, typed)
    assert set(panel._wrong) == {"train.seed", "train.learning_rate", "train.extra", "method.name"} and panel.recipe == Recipe()
    panel.fill("train.seed", "3")
    assert "train.seed" not in panel._wrong and panel.recipe.train.seed == 3
    assert all(field.meaning for field in fields_of(Recipe()) if field.path != "method.name")
    panel.close()


# Errands


def test_an_errand_that_nobody_waits_for_ends(place):
    class Enough(Exception): pass

    def step(said): raise Enough

    with pytest.raises(Enough): errand("look", Recipe(data={"source": str(place / "rows.jsonl")}), step)
    import psutil

    def goes_on(process) -> bool:
        try: return "finetune_wb.panels.errand" in process.cmdline()
        except psutil.Error: return False  # gone, or a zombie

    def left() -> list: return [*filter(goes_on, psutil.Process().children(recursive=True))]

    until(lambda: not left(), 10)  # a workbench that was closed before takes a moment too


def test_an_evaluation_that_died_says_so(place):
    run = create_run(Recipe(), place / "runs", "lost")
    run.evaluation.mkdir()
    write_json(run.evaluation / "process.json", {"pid": 2**22 + 1, "start_ticks": 1, "boot_id": "gone"})
    (run.evaluation / "log.txt").write_text("reading\nthe data is not there\n")
    assert evaluation_of(run) == {"state": "failed", "said": "the data is not there"}
    with pytest.raises(WorkbenchError, match="has no model yet"): start_evaluation(run)
