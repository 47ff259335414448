"""The four ways of "as code" on a tiny job: the recipe, the cell, the papermill command and the command line give the numbers that the workbench's own buttons do."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune_wb.follow import wait
from finetune_wb.panels.ascode import STATIONS, as_code
from finetune_wb.panels.errand import evaluation_of
from finetune_wb.panels.evaluate import EvaluatePanel
from finetune_wb.panels.train import TrainPanel
from finetune_wb.recipe import load_recipe, to_yaml
from finetune_wb.run import runs

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A folder with sixty rows and a recipe; its name has a blank, as people's have."""
    folder = tmp_path_factory.mktemp("tiny job")
    rows = [{"text": f"{who} {verb} the {thing} {when}", "label": label} for label, verb in (("lost", "can't find"), ("found", "came upon")) for who in ("somebody", "my neighbour", "a child")
            for thing in ("card", "phone", "keys", "bag", "coat") for when in ("today", "yesterday")]  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = load_recipe({"data": {"source": "rows.jsonl"}, "method": {"name": "last_layers", "layers": 1}, "train": {"max_steps": 3, "seed": 5}, "evaluate": {"bootstrap_samples": 200}})
    (folder / "my recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    return folder, recipe


def numbers(runs_dir: Path) -> list:
    """What the only run of a folder ended with."""
    (run,) = runs(runs_dir)
    verdict = json.loads((run.evaluation / "verdict.json").read_text())
    losses = [(event["step"], event["train_loss"]) for event in run.history() if "train_loss" in event]
    return [verdict["score"] if "score" in verdict else verdict["accuracy"], [(c["baseline"], c.get("score", c.get("accuracy")), c["low"], c["high"]) for c in verdict["comparisons"]], run.metrics["ece"], losses]


def by_hand(recipe, place: Path) -> None:
    """What the buttons of the workbench do."""
    panel = TrainPanel(recipe, runs_dir=place, live=False)
    panel.launch().wait()
    assert not panel.error and wait(panel.run, quiet=True).state == "finished"
    judge = EvaluatePanel(runs_dir=place, live=False).evaluate()
    end = time.monotonic() + 300
    while evaluation_of(judge.run)["state"] == "running" and time.monotonic() < end: time.sleep(0.2)
    assert evaluation_of(judge.run)["state"] == "done", evaluation_of(judge.run)
    for each in (panel, judge): each.close()


def test_buttons_and_all_four_give_the_same_numbers(job, monkeypatch):
    folder, recipe = job
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FTWB_PROGRESS": "off", "IPYTHONDIR": str(folder / "ipython")}
    by_hand(recipe, folder / "runs by hand")
    found = {"hand": numbers(folder / "runs by hand")}
    for way in ("cell", "papermill", "cli", "recipe"):
        place = folder / f"runs of {way}"
        told = as_code(recipe, "evaluate", "my recipe.yaml", "classification", place)  # the notebook's path is said from where it is run
        if way == "recipe":
            (folder / "again.yaml").write_text(told["recipe"], encoding="utf-8")
            code = f"from finetune_wb import evaluate, load_recipe, train; evaluate(train(load_recipe('again.yaml'), runs_dir={str(place)!r}))"
        command = [sys.executable, "-c", told["cell"] if way == "cell" else code] if way in ("cell", "recipe") else ["sh", "-c", told[way]]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (way, done.stdout[-2000:], done.stderr[-2000:])
        found[way] = numbers(place)
    assert len(found["cell"][3]) >= 1 and {c[0] for c in found["cell"][1]} == {"majority", "zero_shot", "few_shot", "probe"}
    assert found["hand"] == found["cell"] == found["papermill"] == found["cli"] == found["recipe"]


def test_every_station_has_a_call_and_a_command_that_exist(job):
    import finetune_wb
    from finetune_wb.cli import app

    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    for station in STATIONS:
        told = as_code(job[1], station, "recipe.yaml")
        names = told["cell"].split("import ")[1].split("\n")[0].split(", ")
        assert set(names) <= set(finetune_wb.__all__) and names == sorted(names, key=lambda name: (name.islower(), name))
        assert {part.split()[1] for part in told["cli"].split(" && ")} <= commands
        compile(told["cell"], station, "exec")


@pytest.fixture
def says(job):
    """What the cell and the command of a station print; of the cell, what `told` makes of its last line."""
    folder, recipe = job
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FTWB_PROGRESS": "off", "HF_HUB_OFFLINE": "1", "COLUMNS": "300"}

    def run(station: str, told: str, task: str | None = None, runs_dir: Path | None = None) -> tuple[str, str]:
        code = as_code(recipe, station, "my recipe.yaml", task, runs_dir)
        *lines, last = code["cell"].splitlines()
        ran = [subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300) for command in ([sys.executable, "-c", "\n".join([*lines, f"found = {last}", told])], ["sh", "-c", code["cli"]])]
        assert not [done for done in ran if "Traceback" in done.stderr], [done.stderr[-2000:] for done in ran]
        return tuple(done.stdout for done in ran)

    return run


def lasting(text: str) -> list[str]:
    """Lines without seconds and free memory, which are another moment's."""
    return [re.sub(r"\s+[\d.]+ (s|min)$|[\d.]+ GB that are free|^[\d.]+ GB of", "", line).strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("station", ["decide", "model", "data"])
def test_cell_and_command_of_a_tab_say_the_same(station, says):
    cell, line = map(lasting, says(station, "print(found)"))
    assert len(cell) > 5 and cell == line


def test_the_last_tab_names_classes_where_labels_were_learned(says, tmp_path):
    cell, line = says("talk", "print(*found[0].items())", "classification", tmp_path / "a")
    name, share = cell.split("(")[1].strip(") \n").split(", ")
    assert name.strip("'") in line and f"{float(share):.1%}" in line and "Playground" not in cell


@pytest.mark.parametrize("task, notebook", [("classification", "finetune.ipynb"), ("chat", "chat.ipynb"), ("preference", "chat.ipynb")])
def test_papermill_takes_the_page_of_the_task(job, task, notebook):
    assert as_code(job[1], "train", "recipe.yaml", task)["papermill"].split()[1].endswith(f"nbs/recipes/{notebook}")
