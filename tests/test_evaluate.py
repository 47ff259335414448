"""The test split is read once: what is written, what is refused, and that the numbers are scikit-learn's."""

import json
import math
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from finetune_wb.errors import DataError, RunError, WorkbenchError
from finetune_wb.recipe import load_recipe, override, to_yaml
from finetune_wb.run import Run, open_run, read_json

WORDS = "array frame model layer tensor value figure axis library index computes returns sorted".split()
KEYS = {"animal": ["cat", "dog", "bird"], "colour": ["red", "green", "blue"], "number": ["one", "two", "three"]}


def planted(rows: int = 150, names=tuple(KEYS), noise: float = 0.2) -> list[dict]:
    """Rows in which a word gives the class, but for some whose label is another's, so that there are mistakes to show."""
    draw, made = random.Random(0), []
    for i in range(rows):
        key = list(KEYS)[i % 3]
        label = names[draw.randrange(3)] if draw.random() < noise else names[i % 3]
        made.append({"text": f"{i} {' '.join(draw.choices(WORDS, k=6))} {draw.choice(KEYS[key])}", "label": label})
    return made


def write_csv(path: Path, rows: list[dict]) -> Path:
    path.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows), encoding="utf-8")
    return path


def recipe_for(folder, source="builtin:docstrings", method="probe", **evaluate):
    train = {"bf16": False, "threads": 1, "tokens_per_batch": 256, **({} if method == "probe" else {"max_steps": 4, "learning_rate": 3e-3})}
    return load_recipe({"model": {"id": str(folder)}, "data": {"source": str(source)}, "method": {"name": method}, "train": train, "evaluate": {"bootstrap_samples": 200, **evaluate}})


def train(*arguments, **options) -> Run:
    from finetune_wb.training.train import train

    return train(*arguments, **options)


def evaluate(*arguments, **options):
    from finetune_wb.evaluation.evaluate import evaluate

    return evaluate(*arguments, **options)


@pytest.fixture(scope="module")
def measured(tiny_model, tmp_path_factory):
    """A full fine-tuning of rows from a file, evaluated: run and verdict. Read only."""
    place = tmp_path_factory.mktemp("measured")
    source = write_csv(place / "rows.csv", planted())
    run = train(recipe_for(tiny_model("bert"), source, "full"), None, place / "runs", "one")
    return run, evaluate(run)


@pytest.fixture(scope="module")
def trained_once(tiny_model, tmp_path_factory):
    """A probe of rows from a file, not evaluated; to be copied."""
    place = tmp_path_factory.mktemp("trained")
    source = write_csv(place / "rows.csv", planted())
    return train(recipe_for(tiny_model("bert"), source), None, place / "runs", "one")


@pytest.fixture
def trained(trained_once, tmp_path):
    """A copy of it, and of its file: free to be broken."""
    run, source = Run(shutil.copytree(trained_once.folder, tmp_path / "runs" / "one")), tmp_path / "rows.csv"
    shutil.copy(trained_once.recipe.data.source, source)
    (run.folder / "recipe.yaml").write_text(to_yaml(override(trained_once.recipe, f"data.source={source}")))
    return run, source


@pytest.fixture
def real_report():
    """Asked for by tests that read the report."""


@pytest.fixture(autouse=True)
def _quick_report(request, monkeypatch):
    """The report's pictures take longer than all the rest; the others get an empty page (`measured` has a real one)."""
    from finetune_wb.evaluation import evaluate as module

    if "real_report" not in request.fixturenames:
        monkeypatch.setattr(module, "write_report", lambda path, content: path.write_text("report"))


def predicted(run: Run) -> list[dict]:
    return [json.loads(line) for line in (run.evaluation / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


# ---- what is written


def test_the_run_folder_gains_metrics_verdict_predictions_and_a_report(measured):
    run, verdict = measured
    assert {p.name for p in run.evaluation.iterdir()} == {"metrics.json", "verdict.json", "predictions.jsonl"}
    assert read_json(run.evaluation / "verdict.json")["sentence"] == verdict.sentence
    assert verdict.rows == run.record["data"]["rows"]["test"] == len(predicted(run)) and verdict.accuracy == run.metrics["accuracy"]
    assert (run.folder / "report.html").stat().st_size > 10_000
    assert run.events("evaluation")[-1]["sentence"] == verdict.sentence and run.state == "finished"


def test_the_numbers_are_those_of_scikit_learn_on_the_predictions(measured):
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    run, _ = measured
    rows, metrics = predicted(run), run.metrics
    truth, guess = [row["label"] for row in rows], [row["predicted"] for row in rows]
    assert metrics["accuracy"] == accuracy_score(truth, guess)
    for how in ("macro", "weighted"):
        expected = precision_recall_fscore_support(truth, guess, average=how, zero_division=0)[:3]
        assert [metrics[f"{name}_{how}"] for name in ("precision", "recall", "f1")] == pytest.approx(expected, abs=1e-12)
    assert metrics["confusion"] == confusion_matrix(truth, guess, labels=sorted(KEYS)).tolist()
    assert metrics["label_names"] == sorted(KEYS)
    assert 0 <= metrics["ece"] <= 1 and metrics["loss"] > 0


def test_predictions_name_their_rows_and_keep_no_text(measured):
    run, _ = measured
    source = Path(run.recipe.data.source).read_text().splitlines()
    for row in predicted(run):
        assert set(row) == {"origin", "label", "predicted", "confidence"}
        file, line = row["origin"].rsplit(":", 1)
        assert file.endswith("rows.csv") and source[int(line) - 1].endswith("," + row["label"])
        assert 1 / 3 - 1e-6 <= row["confidence"] <= 1


def test_the_test_rows_are_those_that_training_did_not_see(measured):
    from finetune_wb.data.load import load_data

    run, _ = measured
    data = load_data(run.recipe)
    assert {row["origin"] for row in predicted(run)} == set(data.test["origin"])
    assert not set(data.test["text"]) & (set(data.train["text"]) | set(data.valid["text"]))


def test_every_baseline_is_compared_and_charged(measured):
    _, verdict = measured
    assert {c.baseline for c in verdict.comparisons} == {"majority", "zero_shot", "few_shot", "probe"}
    assert [c.accuracy for c in verdict.comparisons] == sorted((c.accuracy for c in verdict.comparisons), reverse=True)
    assert verdict.seconds > 0 and all(c.seconds > 0 for c in verdict.comparisons if c.baseline != "majority")
    assert verdict.best.low <= verdict.best.difference <= verdict.best.high and 0 <= verdict.best.p_value <= 1
    assert verdict.decision in ("worth it", "not worth it", "can't tell")


def test_the_report_is_one_file_that_asks_for_nothing(measured):
    run, verdict = measured
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:|//|file:)""", page)
    assert "<script src" not in page and "@import" not in page and "<link" not in page
    assert run.record["data"]["fingerprint"][:12] in page and "ftwb train" in page


# ---- once


def test_a_second_evaluation_returns_what_was_written_without_reading_anything(trained, monkeypatch):
    run, source = trained
    first = evaluate(run)
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    from finetune_wb.evaluation import evaluate as module

    for name in ("curate", "rows_of_run", "load_trained", "predict", "embed"):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("was read again"))
    source.unlink()
    again = evaluate(run.id, run.folder.parent)
    assert again == first and again.sentence == first.sentence
    assert {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()} == before


def test_the_same_run_evaluated_elsewhere_gives_the_same_numbers(measured, tmp_path):
    run, verdict = measured
    copy = Run(shutil.copytree(run.folder, tmp_path / "runs" / "copy"))
    shutil.rmtree(copy.evaluation)
    again = evaluate(copy)
    assert again.accuracy == verdict.accuracy and copy.metrics["loss"] == run.metrics["loss"]
    assert [(c.baseline, c.accuracy, c.low, c.high, c.p_value) for c in again.comparisons] == [(c.baseline, c.accuracy, c.low, c.high, c.p_value) for c in verdict.comparisons]


def test_an_evaluation_that_fails_leaves_no_verdict_and_can_be_done_again(trained, monkeypatch):
    from finetune_wb.evaluation import evaluate as module

    def full(*_):
        raise OSError(28, "No space left on device")

    run, _ = trained
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_report", full)
        with pytest.raises((OSError, WorkbenchError), match="No space left"):
            evaluate(run)
    assert not (run.evaluation / "verdict.json").exists()
    assert evaluate(run).rows > 0


# ---- the rows must be those that were frozen


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("cat", "cats", 1),
        lambda text: text + "new row,animal\n",
        lambda text: text[: text.rstrip("\n").rfind("\n") + 1],
        lambda text: re.sub(r",animal\n", ",number\n", text, count=1),
        lambda text: "\n".join([text.splitlines()[0], *reversed(text.splitlines()[1:])]) + "\n",
    ],
    ids=["a text", "a row more", "a row less", "a label", "the order"],
)
def test_data_that_changed_since_training_is_refused(trained, change):
    """PITFALLS 95."""
    run, source = trained
    source.write_text(change(source.read_text()))
    with pytest.raises(DataError, match="fingerprint changed") as caught:
        evaluate(run)
    assert "rows.csv" in str(caught.value) and "train again" in str(caught.value)
    assert not (run.evaluation / "verdict.json").exists() and not (run.folder / "report.html").exists()


def test_data_that_is_gone_is_named(trained):
    run, source = trained
    source.unlink()
    with pytest.raises(DataError, match="rows.csv"):
        evaluate(run)


def test_rows_from_memory_are_kept_and_evaluated_from_there(tiny_model, tmp_path, monkeypatch):
    import pandas as pd

    from finetune_wb.data import gate
    from finetune_wb.evaluation import evaluate as module

    run = train(recipe_for(tiny_model("bert")), pd.DataFrame(planted()), tmp_path, "one")
    for place, name in ((gate, "load_data"), (module, "curate")): monkeypatch.setattr(place, name, lambda *_: pytest.fail("the recipe's source was read"))
    verdict = evaluate(run)
    assert verdict.rows == run.record["data"]["rows"]["test"] == len(predicted(run))
    kept = pd.read_parquet(run.folder / "rows.parquet")
    assert set(kept["split"]) == {"train", "valid", "test"} and len(kept) == 150


def test_rows_from_memory_and_from_a_file_give_the_same_numbers(trained, tiny_model, tmp_path):
    run, _ = trained
    other = train(recipe_for(tiny_model("bert")), planted(), tmp_path / "memory", "one")
    assert evaluate(other).accuracy == evaluate(run).accuracy
    assert other.metrics["loss"] == run.metrics["loss"]
    assert other.record["data"]["fingerprint"] == run.record["data"]["fingerprint"]


# ---- what else is counted


def test_other_runs_on_this_split_are_counted(tiny_model, tmp_path, real_report):
    recipe, rows = recipe_for(tiny_model("bert"), baselines=["majority"]), planted()
    counted = []
    for name in ("one", "two"):
        run = train(recipe, rows, tmp_path, name)
        evaluate(run)
        counted.append(run.metrics["other_runs_on_this_split"])
    other = train(recipe, rows[:120], tmp_path, "other")
    evaluate(other)
    assert counted == [0, 1] and other.metrics["other_runs_on_this_split"] == 0
    assert "1 other run was measured here on this test split" in (tmp_path / "two/report.html").read_text()


@pytest.mark.parametrize("name, content", [("record.json", "{"), ("record.json", "[]"), ("recipe.yaml", "a: [")])
def test_a_damaged_neighbour_does_not_stop_an_evaluation(trained, tmp_path, name, content):
    run, _ = trained
    damaged = shutil.copytree(run.folder, run.folder.parent / "damaged")
    (damaged / "evaluation").mkdir()
    (damaged / "evaluation/verdict.json").write_text("{}")
    (damaged / name).write_text(content)
    assert evaluate(run).rows > 0


def test_a_probe_is_not_its_own_baseline(trained):
    run, _ = trained
    assert {c.baseline for c in evaluate(run).comparisons} == {"majority", "zero_shot", "few_shot"}


@pytest.mark.parametrize("wanted", [[], ["majority"], ["few_shot"], ["probe", "zero_shot"]])
def test_only_the_baselines_asked_for_are_measured(measured, tmp_path, wanted):
    copy = Run(shutil.copytree(measured[0].folder, tmp_path / "copy"))
    shutil.rmtree(copy.evaluation)
    (copy.folder / "recipe.yaml").write_text(to_yaml(override(copy.recipe, f"evaluate.baselines=[{', '.join(wanted)}]")))
    verdict = evaluate(Run(copy.folder))
    assert {c.baseline for c in verdict.comparisons} == set(wanted)
    assert verdict.accuracy == measured[1].accuracy
    if not wanted:
        assert verdict.decision == "can't tell" and "no baseline" in verdict.sentence


def test_the_settings_of_evaluation_reach_it(tiny_model, tmp_path):
    run = train(recipe_for(tiny_model("bert"), confidence=0.8, calibration_bins=5, mistakes=1, baselines=["majority"], bootstrap_samples=123), planted(), tmp_path, "one")
    verdict = evaluate(run)
    assert verdict.confidence == 0.8 and verdict.samples == 123 and len(run.metrics["reliability"]) == 5 and "80 %" in verdict.sentence


def test_long_test_rows_are_counted_as_cut(tiny_model, tmp_path):
    rows = [{**row, "text": " ".join([row["text"], *random.Random(i).choices("cat dog bird red green blue one two three".split(), k=70)])} if i % 2 else row for i, row in enumerate(planted())]
    run = train(recipe_for(tiny_model("bert"), baselines=["majority"]), rows, tmp_path, "one")
    evaluate(run)
    assert 0 < run.metrics["cut"] < run.metrics["rows"]


# ---- hostile content


HOSTILE = ("<script>alert(1)</script>", "[/b]${x}{{7*7}}", '"><img src=x onerror=alert(2)>')


def test_hostile_labels_and_texts_are_escaped_everywhere(tiny_model, tmp_path, real_report):
    rows = [{**row, "text": row["text"] + " </td><script>alert(3)</script>"} for row in planted(names=HOSTILE)]
    run = train(recipe_for(tiny_model("bert")), rows, tmp_path, "one")
    verdict = evaluate(run)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    for text in ("<script>alert", "<img src=x"):
        assert text not in page
        assert text not in verdict._repr_html_()
    assert "&lt;script&gt;alert(1)" in page and "{{7*7}}" in page
    assert {row["label"] for row in predicted(run)} == set(HOSTILE) and sorted(run.metrics["label_names"]) == sorted(HOSTILE)


# ---- runs that can't be measured


def test_a_run_that_failed_says_so(trained, tmp_path):
    run, _ = trained
    shutil.rmtree(run.model_folder)
    with pytest.raises(RunError, match="no trained model"):
        evaluate(run)
    assert not run.evaluation.exists()


def test_an_unknown_run_is_named_with_the_nearest(trained):
    run, _ = trained
    with pytest.raises(RunError, match='Did you mean "one"'):
        evaluate("onne", run.folder.parent)


def test_a_run_is_found_by_id_by_folder_and_as_the_last(measured):
    run, verdict = measured
    for name in (run.id, "last"):
        assert open_run(name, run.folder.parent) == run
    assert evaluate(run.folder) == verdict and evaluate(str(run.folder)) == verdict


def test_a_damaged_verdict_is_named(trained):
    run, _ = trained
    run.evaluation.mkdir()
    (run.evaluation / "verdict.json").write_text('{"rows": 3')
    with pytest.raises(RunError, match="verdict.json"):
        evaluate(run)


def test_a_model_that_predicts_nan_gets_no_verdict(trained):
    from safetensors.torch import load_file, save_file

    from finetune_wb.training.checkpoints import MANIFEST, commit

    run, _ = trained
    path = run.model_folder / "model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"][:] = math.nan
    part = run.model_folder.rename(run.model_folder.with_name("model.part"))
    (part / MANIFEST).unlink()
    save_file(weights, part / path.name, metadata={"format": "pt"})
    commit(part, run.model_folder)  # saved like this, and not damaged later
    with pytest.raises(WorkbenchError, match="NaN"):
        evaluate(run)
    assert not (run.evaluation / "verdict.json").exists() and np.isnan(load_file(path)["classifier.weight"]).all()
