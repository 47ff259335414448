"""The `ftwb` command: bad input ends with exit code 2 and lines that say where and what to do; good input reads well."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetune_wb import cli
from finetune_wb.control import Control
from finetune_wb.errors import plain
from finetune_wb.process import process_now
from finetune_wb.recipe import Recipe, describe, load_recipe, to_yaml
from finetune_wb.run import create_run, open_run, write_json

WORDS = "array frame model layer tensor value figure axis library index computes returns".split()
KEYS = {"animal": ["cat", "dog"], "colour": ["red", "green"]}


def write_rows(path: Path, rows: int = 80, names: tuple[str, str] = ("animal", "colour"), header: str = "text,label") -> Path:
    """A csv in which a word gives the class."""
    draw = random.Random(0)
    lines = [header]
    for i in range(rows):
        key = list(KEYS)[i % 2]
        quoted = names[i % 2].replace('"', '""')
        lines.append(f'{" ".join(draw.choices(WORDS, k=8))} {draw.choice(KEYS[key])} {i},"{quoted}"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def ftwb(tmp_path, monkeypatch, capsys):
    """`ftwb("train", "recipe.yaml")` → exit code, stdout, stderr; in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FTWB_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("FTWB_TRACEBACK", raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ftwb", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def recipe_file(tmp_path, tiny_model):
    """A recipe that trains a tiny model in a second."""
    write_rows(tmp_path / "rows.csv")
    recipe = {"model": {"id": str(tiny_model("bert"))}, "data": {"source": "rows.csv"}, "method": {"name": "probe"}, "train": {"bf16": False, "threads": 1}, "evaluate": {"bootstrap_samples": 200}}
    (tmp_path / "recipe.yaml").write_text(to_yaml(load_recipe(recipe)))
    return tmp_path / "recipe.yaml"


def refused(result, *says: str) -> list[str]:
    """The ERROR lines of a call that must have failed cleanly."""
    code, out, err = result
    assert code == 2, (code, out, err)
    assert "Traceback" not in err and "Traceback" not in out
    lines = [line for line in err.splitlines() if line.startswith("ERROR ")]
    assert lines, err
    for text in says:
        assert text in err, (text, err)
    return lines


# ---- bad input


def test_a_missing_recipe(ftwb):
    refused(ftwb("train", "none.yaml"), "none.yaml", "no such file", "ftwb recipe > recipe.yaml")


def test_an_unknown_key_and_a_wrong_type_come_together(ftwb, tmp_path):
    (tmp_path / "recipe.yaml").write_text("train:\n  learning_rat: 1e-4\n  max_steps: '5'\nmodel:\n  idd: x\n")
    lines = refused(ftwb("train", "recipe.yaml"), '"train.learning_rat"', 'Did you mean "learning_rate"?', '"train.max_steps"', '"model.idd"')
    assert len(lines) == 3


def test_a_quoted_learning_rate(ftwb, tmp_path):
    (tmp_path / "recipe.yaml").write_text("train:\n  learning_rate: '1e-4'\n")
    refused(ftwb("train", "recipe.yaml"), "train.learning_rate", "without quotes")


@pytest.mark.parametrize("override, says", [("train.lr=3", "train.lr"), ("train.seed", "path=value"), ("train.seed=x", "train.seed"), ("train.metric_for_best_model=error_rate", "metric_for_best_model")])
def test_a_bad_override(ftwb, recipe_file, override, says):
    refused(ftwb("train", recipe_file, override), says)


def test_bad_yaml_names_the_line(ftwb, tmp_path):
    (tmp_path / "recipe.yaml").write_text("model:\n  id: [a\n")
    refused(ftwb("train", "recipe.yaml"), "recipe.yaml", "line 3")


def test_a_missing_data_file_names_the_nearest(ftwb, recipe_file, tmp_path):
    refused(ftwb("train", recipe_file, "data.source=row.csv"), "row.csv")
    assert not list((tmp_path / "runs").glob("*/recipe.yaml"))


def test_a_column_that_is_not_there_lists_those_that_are(ftwb, recipe_file):
    for command in ("data", "train"):
        refused(ftwb(command, recipe_file, "data.label=category"), "category", "rows.csv", "text", "label")


def test_an_empty_file_and_a_ragged_one(ftwb, recipe_file, tmp_path):
    (tmp_path / "rows.csv").write_text("")
    refused(ftwb("data", recipe_file), "rows.csv")
    (tmp_path / "rows.csv").write_text("text,label\na,b\nc,d,e\n")
    refused(ftwb("data", recipe_file), "rows.csv", "line 3")


@pytest.mark.parametrize("model, says", [("minilmm", 'Did you mean "minilm"?'), ("nobody/nothing", "HF_HUB_OFFLINE"), ("./none", "no such folder")])
def test_an_unknown_model(ftwb, recipe_file, tmp_path, model, says):
    refused(ftwb("train", recipe_file, f"model.id={model}"), "model.id", model, says)
    assert not list((tmp_path / "runs").glob("*/recipe.yaml"))


def test_recipe_data_and_model_are_all_reported(ftwb, recipe_file):
    lines = refused(ftwb("train", recipe_file, "data.label=category", "model.id=./none", "train.extra={optm: adafactor}"), "category", "./none", "train.extra.optm")
    assert len(lines) == 3


def test_an_unknown_run_names_the_nearest(ftwb, tmp_path):
    create_run(Recipe(), tmp_path / "runs", "first")
    for command in ("show", "evaluate"):
        refused(ftwb(command, "frist"), "no such run", 'Did you mean "first"?')


def test_a_run_that_exists_is_not_touched(ftwb, recipe_file, tmp_path):
    made = create_run(Recipe(), tmp_path / "runs", "first")
    before = {p.name: p.read_bytes() for p in made.folder.iterdir() if p.is_file()}
    refused(ftwb("train", recipe_file, "--run-id", "first"), "exists already", "first")
    refused(ftwb("notebook", Path(__file__).parent.parent / "nbs/recipes/finetune.ipynb", "--run-id", "first"), "exists already")
    assert {p.name: p.read_bytes() for p in made.folder.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("name", ["../x", ".hidden", "CON", "a b", "x" * 65])
def test_a_hostile_run_name(ftwb, recipe_file, tmp_path, name):
    refused(ftwb("train", recipe_file, "--run-id", name), "can't name a run")
    assert not (tmp_path / "runs").exists() and not (tmp_path / "x").exists()


def test_a_place_that_cant_be_written(ftwb, recipe_file, tmp_path):
    (tmp_path / "file").write_text("")
    refused(ftwb("train", recipe_file, "--runs-dir", "file"), "can't make a run folder", "file")


def test_a_run_that_was_not_trained_can_be_shown_but_not_measured(ftwb, tmp_path):
    create_run(Recipe(), tmp_path / "runs", "first")
    refused(ftwb("evaluate", "first"), "no trained model", "first")
    code, out, _ = ftwb("show", "first")
    assert code == 0 and "queued" in out


def test_a_missing_notebook(ftwb):
    refused(ftwb("notebook", "none.ipynb"), "none.ipynb", "finetune.ipynb")


@pytest.mark.parametrize("name, content", [("record.json", "{"), ("exit.json", "{"), ("process.json", "{"), ("recipe.yaml", "a: [")])
def test_one_damaged_run_does_not_hide_the_others(ftwb, tmp_path, name, content):
    create_run(Recipe(), tmp_path / "runs", "good")
    (create_run(Recipe(), tmp_path / "runs", "bad").folder / name).write_text(content)
    code, out, err = ftwb("runs")
    assert code == 0 and "good" in out and "bad" in out, err
    assert "Traceback" not in err


# ---- runs that go on by themselves


def test_a_run_that_nobody_trains_is_not_asked_for_anything(ftwb, tmp_path):
    run = create_run(Recipe(), tmp_path / "runs", "first")
    for command in (("stop", "first"), ("stop", "first", "--now"), ("pause", "first"), ("pause", "first", "--release"), ("request", "first", "evaluate"), ("request", "first", "learning_rate=1e-5")):
        refused(ftwb(*command), "first", "no process of it would read the request")
    write_json(run.folder / "process.json", {"pid": 2**30})
    refused(ftwb("stop", "first"), "it is killed", "ftwb resume first")
    assert list(run.control.iterdir()) == []


@pytest.mark.parametrize("what, says", [("fly", "no such request"), ("stop", "no such request"), ("evaluate=1", "no such request"), ("learning_rate", "no such request"), ("learning_rate=fast", "is no number"), ("learning_rate=", "is no number"), ("learning_rate=2", "between 0 and 1"), ("learning_rate=nan", "between 0 and 1")])
def test_a_request_that_is_none(ftwb, tmp_path, what, says):
    run = create_run(Recipe(), tmp_path / "runs", "first")
    write_json(run.folder / "process.json", process_now())
    refused(ftwb("request", "first", what), says)
    assert list(run.control.iterdir()) == []


def test_a_request_is_answered_and_a_refusal_is_an_error(ftwb, tmp_path):
    run = create_run(Recipe(), tmp_path / "runs", "first")
    write_json(run.folder / "process.json", process_now())
    run.log.write("state", state="running", stage="train")
    done = threading.Event()

    def loop():
        control = Control(run.folder, run.log)
        while not done.wait(0.05):
            for asked in control.poll(every=0):
                control.answer(asked, *(("refused", "not \x1b[2Jnow") if asked.name == "evaluate" else ("done", f"took {asked.fields}")))

    worker = threading.Thread(target=loop)
    worker.start()
    try:
        code, out, err = ftwb("request", "first", "learning_rate=1e-5")
        assert code == 0 and "learning_rate: done (took {'value': 1e-05}); first is running" in out, err
        assert "release" in ftwb("pause", "first", "--release")[1]
        assert "\x1b" not in "".join(refused(ftwb("request", "first", "evaluate"), "evaluate was refused: not"))
    finally:
        done.set()
        worker.join()


def test_how_a_run_ended_and_how_to_go_on_is_shown(ftwb, tmp_path):
    run = create_run(Recipe(), tmp_path / "runs", "first")
    write_json(run.folder / "exit.json", {"state": "failed", "reason": "out of memory: \x1b[2J[/b]", "cure": "Train with less memory: train.tokens_per_batch=512", "changes": []})
    code, out, err = ftwb("show", "first")
    assert code == 0 and all(text in out for text in ("failed", "out of memory", "[/b]", "train.tokens_per_batch=512", "ftwb resume first")) and "\x1b" not in out, err
    code, out, _ = ftwb("runs")
    assert code == 0 and "failed" in out and "out of memory" in out and "\x1b" not in out


def test_what_cant_be_launched_says_why_in_the_terminal_that_asked(ftwb, recipe_file, tmp_path):
    refused(ftwb("launch", recipe_file, "--run-id", "../x"), "can't name a run")
    refused(ftwb("launch", recipe_file, "data.source=row.csv", "--run-id", "first"), "failed", "row.csv")
    assert open_run("first", tmp_path / "runs").state == "failed"
    refused(ftwb("clone", "first", "data.source=rows.csv"), "a clone keeps it")
    refused(ftwb("resume", "frist"), 'Did you mean "first"?')


def test_a_run_that_never_began_is_taken_up_in_this_terminal(ftwb, recipe_file, tmp_path):
    create_run(load_recipe(recipe_file), tmp_path / "runs", "first")
    code, out, err = ftwb("resume", "first")
    assert code == 0 and "now: ftwb evaluate first" in out and open_run("first", tmp_path / "runs").state == "finished", err
    for how in ((), ("--detach",)):
        refused(ftwb("resume", "first", *how), "has finished")


@pytest.mark.parametrize("arguments", [("fly",), ("train",), ("train", "recipe.yaml", "--fast")])
def test_wrong_usage_ends_with_usage(ftwb, arguments):
    code, _, err = ftwb(*arguments)
    assert code == 2 and "Usage" in err and "Traceback" not in err


def test_a_traceback_comes_when_asked_for(ftwb, monkeypatch):
    monkeypatch.setenv("FTWB_TRACEBACK", "1")
    with pytest.raises(cli.WorkbenchError, match="no such file"):
        ftwb("train", "none.yaml")


def test_in_a_process_of_its_own_the_same_holds(tmp_path):
    entry = [sys.executable, "-c", "import sys; sys.argv[0] = 'ftwb'; from finetune_wb.cli import main; main()", "train", "none.yaml"]
    plainly = subprocess.run(entry, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "FTWB_TRACEBACK": ""})
    assert plainly.returncode == 2 and plainly.stderr.startswith("ERROR none.yaml") and "Traceback" not in plainly.stderr and plainly.stdout == ""
    loudly = subprocess.run(entry, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "FTWB_TRACEBACK": "1"})
    assert loudly.returncode != 0 and "Traceback" in loudly.stderr
    assert list(tmp_path.iterdir()) == []


# ---- good input


def test_help_names_every_command(ftwb):
    code, out, _ = ftwb("--help")
    assert code == 0
    for command in ("recipe", "fields", "data", "train", "evaluate", "runs", "show", "notebook"):
        assert command in out
        code, text, _ = ftwb(command, "--help")
        assert code == 0 and "Usage" in text


def test_fields_lists_every_field(ftwb):
    code, out, _ = ftwb("fields")
    assert code == 0
    for path, *_ in describe():
        assert path.split("[")[0].split(".")[-1] in out, path


def test_the_recipe_it_prints_is_a_recipe(ftwb, tmp_path):
    code, out, _ = ftwb("recipe", "train.learning_rate=3e-4", "method.name=lora")
    (tmp_path / "printed.yaml").write_text(out, encoding="utf-8")
    recipe = load_recipe(tmp_path / "printed.yaml")
    assert code == 0 and recipe.train.learning_rate == 3e-4 and recipe.method.name == "lora"
    assert to_yaml(recipe, comments=True) == out


def test_data_shows_the_splits_and_trains_nothing(ftwb, recipe_file, tmp_path):
    code, out, _ = ftwb("data", recipe_file)
    assert code == 0 and all(split in out for split in ("train", "valid", "test"))
    assert not (tmp_path / "runs").exists()


def test_the_road_from_the_command_line(ftwb, recipe_file):
    code, out, err = ftwb("train", recipe_file, "--run-id", "first")
    assert code == 0 and "ftwb evaluate first" in out and "Traceback" not in err
    code, out, _ = ftwb("evaluate", "last")
    assert code == 0 and "report:" in out and "majority" in out.lower()
    accuracy = open_run("first").metrics["accuracy"]
    code, out, _ = ftwb("runs")
    assert code == 0 and "first" in out and "finished" in out and f"{accuracy:.2%}" in out
    code, out, _ = ftwb("show", "first")
    assert code == 0 and f"{accuracy:.4f}" in out and "probe" in out and "seconds" not in err


def test_no_runs_is_an_empty_list(ftwb):
    code, _, err = ftwb("runs")
    assert code == 0 and "Traceback" not in err


HOSTILE = ("[/b]", "[red]x[/red]", "\x1b[31mred", "<script>alert(1)</script>", "\u202eabc", "$HOME", "{{ 7 * 7 }}", "\x07bell")


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_are_shown_as_they_are(ftwb, recipe_file, tmp_path, label):
    write_rows(tmp_path / "rows.csv", names=(label, "colour"))
    code, out, err = ftwb("data", recipe_file)
    assert "\x1b" not in out + err and "\x07" not in out + err and "\u202e" not in out + err
    if code == 0:
        assert "Traceback" not in err
    else:  # a reader may refuse a control character, with its place
        assert "ERROR" in err and "rows.csv" in err


def test_hostile_labels_get_through_the_whole_road(ftwb, recipe_file, tmp_path):
    write_rows(tmp_path / "rows.csv", names=("[/b][red]<script>alert(1)</script>", "$HOME\u202e"))
    assert ftwb("train", recipe_file, "--run-id", "first")[0] == 0
    code, out, err = ftwb("evaluate", "first")
    assert code == 0, err
    report = (tmp_path / "runs/first/report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in report and "&lt;script&gt;alert(1)" in report
    for command in ("show", "runs"):
        code, out, err = ftwb(command, *(["first"] if command == "show" else []))
        assert code == 0 and "\u202e" not in out and "\x1b" not in out


def test_a_hostile_argument_cannot_act_on_the_terminal(ftwb):
    code, out, err = ftwb("train", "\x1b[2Jnone.yaml")
    assert code == 2 and "\x1b" not in out + err and plain("\x1b[2J") in err


def test_a_token_in_the_environment_is_never_printed(ftwb, recipe_file, monkeypatch, tmp_path):
    """PITFALLS 101: neither in messages nor in anything that a run keeps."""
    secret = "hf_" + "S3cretTokenS3cretToken"
    for name in ("HF_TOKEN", "WANDB_API_KEY", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, secret)
    said = [*ftwb("train", recipe_file, "model.id=nobody/nothing")[1:], *ftwb("train", recipe_file, "--run-id", "first")[1:], *ftwb("evaluate", "first")[1:], *ftwb("show", "first")[1:]]
    assert secret not in "".join(said)
    kept = [p for p in (tmp_path / "runs").rglob("*") if p.is_file()]
    assert kept and not [p for p in kept if secret.encode() in p.read_bytes()]
