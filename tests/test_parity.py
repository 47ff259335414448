"""One recipe, one seed, four ways to run it: Python, a process of its own, the command line and a papermill job give the same numbers."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_wb.recipe import load_recipe, to_yaml
from finetune_wb.run import Run, open_run

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "nbs" / "recipes" / "finetune.ipynb"
RATE = "train.learning_rate=1e-2"
WORDS = "array frame model layer tensor value figure axis library index computes returns sorted".split()
KEYS = {"animal": ["cat", "dog", "bird"], "colour": ["red", "green", "blue"], "number": ["one", "two", "three"]}
FTWB = [sys.executable, "-c", "import sys; sys.argv[0] = 'ftwb'; from finetune_wb.cli import main; main()"]


def write_split(path: Path, rows: int, seed: int) -> str:
    """A csv in which a word gives the class, now and then the wrong one."""
    draw, lines = random.Random(seed), ["text,label"]
    for i in range(rows):
        key = list(KEYS)[i % 3]
        label = draw.choice(list(KEYS)) if draw.random() < 0.15 else key
        lines.append(f"{seed}{i} {' '.join(draw.choices(WORDS, k=6))} {draw.choice(KEYS[key])},{label}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model) -> Path:
    """A folder with train.csv, test.csv and a recipe; runs go into runs/."""
    here = tmp_path_factory.mktemp("parity")
    source = {"train": write_split(here / "train.csv", 150, 1), "test": write_split(here / "test.csv", 60, 2)}
    recipe = {"model": {"id": str(tiny_model("bert"))}, "data": {"source": source}, "method": {"name": "full", "probe_first": False, "freeze_embeddings": False},
              "train": {"bf16": False, "threads": 1, "num_train_epochs": 4.0, "tokens_per_batch": 96, "seed": 5, "metric_for_best_model": "loss"}, "evaluate": {"bootstrap_samples": 300}}  # fmt: skip
    (here / "recipe.yaml").write_text(to_yaml(load_recipe(recipe)))
    return here


def environment(here: Path) -> dict:
    kept = {name: value for name, value in os.environ.items() if name not in ("FTWB_TRACEBACK", "FTWB_PROGRESS")}
    return {**kept, "FTWB_RUNS": str(here / "runs"), "COLUMNS": "200"}


def ftwb(here: Path, *arguments) -> subprocess.CompletedProcess:
    done = subprocess.run([*FTWB, *map(str, arguments)], cwd=here, env=environment(here), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def from_python(place) -> Run:
    from finetune_wb import evaluate, load_recipe, train

    run = train(load_recipe(place / "recipe.yaml", RATE), runs_dir=place / "runs", run_id="python")
    evaluate(run)
    return run


@pytest.fixture(scope="module")
def from_terminal(place) -> tuple[Run, list[subprocess.CompletedProcess]]:
    said = [ftwb(place, "train", "recipe.yaml", RATE, "--run-id", "terminal"), ftwb(place, "evaluate", "terminal")]
    return open_run("terminal", place / "runs"), said


@pytest.fixture(scope="module")
def from_launch(place) -> tuple[Run]:
    """A process of its own, as a notebook's panel watches it."""
    from finetune_wb import evaluate, launch, wait

    run = wait(launch(load_recipe(place / "recipe.yaml", RATE), runs_dir=place / "runs", run_id="launched"), quiet=True)
    assert run.state == "finished", run.ended
    evaluate(run)
    return (run,)


@pytest.fixture(scope="module")
def from_notebook(place) -> tuple[Run, dict, subprocess.CompletedProcess]:
    said = ftwb(place, "notebook", NOTEBOOK, RATE, "--recipe", "recipe.yaml", "--run-id", "job")
    copies = list((place / "runs").rglob("*.ipynb"))
    assert len(copies) == 1 and str(copies[0]) in said.stdout
    return open_run("job", place / "runs"), json.loads(copies[0].read_text()), said


def numbers(run: Run) -> dict:
    """Everything measured, but for time and memory, which no seed decides, and the count of the other runs."""
    measured = {name: value for name, value in run.metrics.items() if name not in ("cost", "other_runs_on_this_split")}
    curve = [{k: v for k, v in event.items() if k not in ("time", "seconds")} for event in run.events("metric")]
    verdict = json.loads((run.evaluation / "verdict.json").read_text())
    compared = [{k: v for k, v in c.items() if k not in ("seconds", "peak_mb")} for c in verdict["comparisons"]]
    result = {k: v for k, v in run.record["result"].items() if "seconds" not in k}
    return {"test": measured, "curve": curve, "result": result, "compared": compared, "decision": verdict["decision"], "data": run.record["data"]["split_fingerprint"]}


def files(run: Run) -> dict[str, bytes]:
    return {name: (run.folder / name).read_bytes() for name in ("recipe.yaml", "model/model.safetensors", "evaluation/predictions.jsonl")}


@pytest.mark.parametrize("other", ["from_terminal", "from_launch", "from_notebook"])
def test_each_way_gives_the_same_numbers(from_python, other, request):
    run = request.getfixturevalue(other)[0]
    assert run.metrics["accuracy"] == from_python.metrics["accuracy"] and run.metrics["loss"] == from_python.metrics["loss"]
    assert numbers(run) == numbers(from_python)
    assert files(run) == files(from_python), "the same weights and predictions, to the bit"


def test_it_learned_and_the_override_was_heard(from_python):
    assert from_python.recipe.train.learning_rate == 1e-2 and from_python.recipe.train.seed == 5
    assert from_python.record["result"]["fine_tune"]["best_step"] > 0, "or the weights compared are those of the start"


def test_another_seed_gives_other_numbers(place, from_python):
    from finetune_wb import evaluate, load_recipe, train

    run = train(load_recipe(place / "recipe.yaml", RATE, "train.seed=6"), runs_dir=place / "runs", run_id="other")
    evaluate(run)
    assert run.metrics["loss"] != from_python.metrics["loss"]
    assert run.record["data"]["split_fingerprint"] == from_python.record["data"]["split_fingerprint"]


def test_the_terminal_tells_what_it_did(place, from_terminal):
    run, (trained, evaluated) = from_terminal
    assert str(run.folder.name) in trained.stdout and "ftwb evaluate terminal" in trained.stdout
    verdict = json.loads((run.evaluation / "verdict.json").read_text())
    assert verdict["sentence"] in evaluated.stdout and "report.html" in evaluated.stdout
    assert f"{run.metrics['accuracy']:.2%}" in ftwb(place, "runs").stdout
    shown = ftwb(place, "show", "terminal").stdout
    assert f"{run.metrics['accuracy']:.4f}" in shown and "finished" in shown and "full" in shown


def test_progress_never_floods_a_log(from_terminal, from_notebook):
    for done in (*from_terminal[1], from_notebook[2]):
        assert len((done.stdout + done.stderr).replace("\r", "\n").splitlines()) < 40, done.stderr
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_upstream_keeps_quiet(from_terminal):
    for done in from_terminal[1]:
        assert "Warning" not in done.stderr


def outputs(notebook: dict) -> list[dict]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def test_the_executed_notebook_shows_verdict_and_pictures_and_no_errors(from_notebook):
    run, notebook, _ = from_notebook
    found = outputs(notebook)
    assert not [output for output in found if output["output_type"] == "error"]
    pictures = [output for output in found if "image/png" in output.get("data", {}) or "image/svg+xml" in output.get("data", {})]
    assert len(pictures) >= 5
    text = json.dumps([output.get("data", {}).get("text/html", "") for output in found]) + json.dumps([output.get("data", {}).get("text/markdown", "") for output in found])
    assert f"{100 * run.metrics['accuracy']:.1f} %" in text
    assert "report.html" in json.dumps(found)


def test_the_executed_notebook_holds_no_widgets(from_notebook):
    _, notebook, _ = from_notebook
    assert "widgets" not in notebook["metadata"]
    assert not [output for output in outputs(notebook) if any("widget" in kind for kind in output.get("data", {}))]


def test_the_executed_notebook_is_not_flooded_by_progress(from_notebook):
    _, notebook, _ = from_notebook
    for cell in notebook["cells"]:
        printed = "".join("".join(output["text"]) for output in cell.get("outputs", []) if output["output_type"] == "stream")
        assert len(printed.replace("\r", "\n").splitlines()) < 40


def test_the_notebook_itself_is_left_as_it_was(from_notebook):
    assert not [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if "injected-parameters" in cell["metadata"].get("tags", [])]


def test_a_job_that_fails_says_why_and_keeps_the_executed_copy(place):
    done = subprocess.run([*FTWB, "notebook", NOTEBOOK, "data.label=category", "--recipe", "recipe.yaml", "--run-id", "broken"], cwd=place, env=environment(place), capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "category" in done.stderr and "DataError" in done.stderr and "broken.ipynb" in done.stderr
    assert ". The executed copy shows where." in done.stderr and "\n." not in done.stderr
    assert not (place / "runs" / "broken").exists() and (place / "runs" / "broken.ipynb").exists()


def test_importing_the_package_loads_neither_torch_nor_transformers():
    code = "import sys, finetune_wb; print([m for m in ('torch', 'transformers', 'datasets', 'pandas', 'sklearn', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
