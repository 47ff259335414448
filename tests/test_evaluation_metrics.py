"""The numbers of a report against hand-made cases, scikit-learn and planted truth; baselines against geometry."""
import json
import math

import numpy as np
import pandas as pd
import pytest

from finetune_wb.errors import ModelError
from finetune_wb.evaluation.baselines import few_shot, few_shot_rows, label_prompts, majority, zero_shot
from finetune_wb.evaluation.metrics import calibration, check_probabilities, classification_metrics, confident_mistakes
from finetune_wb.evaluation.pictures import (
    confused_pairs,
    confusion_figure,
    learning_curves,
    reliability_figure,
    verdict_figure,
)
from finetune_wb.evaluation.verdict import verdict
from finetune_wb.pictures import caption, to_png, to_png_uri
from finetune_wb.tasks.metrics import METRICS

NAMES = ("a", "b", "c")


def saying(predicted, classes: int = 3, confidence: float = 0.8) -> np.ndarray:
    "Probabilities whose argmax is `predicted`."
    rest = (1 - confidence) / (classes - 1)
    return np.where(np.eye(classes, dtype=bool)[predicted], confidence, rest)


def test_hand_made_confusion():
    # true a: 3 rows (2 right, 1 as b) · true b: 2 rows (1 right, 1 as c) · true c: 1 row (right)
    truth, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    values = classification_metrics(saying(said), truth, NAMES)
    assert values["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    each = {c["label"]: (c["precision"], c["recall"], c["support"]) for c in values["per_class"]}
    assert each == {"a": (1.0, pytest.approx(2 / 3), 3), "b": (0.5, 0.5, 2), "c": (0.5, 1.0, 1)}
    f1 = [0.8, 0.5, 2 / 3]
    assert values["f1_macro"] == pytest.approx(np.mean(f1))
    assert values["f1_weighted"] == pytest.approx(np.average(f1, weights=[3, 2, 1]))
    assert values["accuracy"] == values["recall_weighted"] == pytest.approx(4 / 6)
    assert values["loss"] == pytest.approx(-(4 * math.log(0.8) + 2 * math.log(0.1)) / 6)
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_confusion_agrees_with_recall_and_support():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 12, 900)
    values = classification_metrics(rng.dirichlet([0.3] * 12, 900), truth, [f"c{i}" for i in range(12)])
    counts = np.array(values["confusion"])
    assert counts.sum() == 900 and counts.sum(1).tolist() == [c["support"] for c in values["per_class"]]
    assert np.allclose(np.diag(counts) / counts.sum(1), [c["recall"] for c in values["per_class"]])


def test_a_zero_denominator_is_zero_and_never_nan():
    values = classification_metrics(saying([0, 0]), np.array([0, 1]), NAMES)
    by_label = {c["label"]: c for c in values["per_class"]}
    assert by_label["b"]["precision"] == by_label["b"]["f1"] == 0  # tested, never predicted
    assert by_label["c"] == {"label": "c", "precision": 0, "recall": 0, "f1": 0, "support": 0}  # neither
    assert values["f1_macro"] == pytest.approx((2 / 3 + 0) / 2)  # c says nothing about the model


def test_every_selection_metric_is_reported_and_knows_its_direction():
    values = classification_metrics(saying([0, 1, 2]), np.array([0, 1, 2]), NAMES)
    assert set(METRICS) <= set(values)
    for name, metric in METRICS.items():
        worse = classification_metrics(saying([1, 1, 2]), np.array([0, 1, 2]), NAMES)[name]
        assert metric.better(values[name], worse) and not metric.better(worse, values[name]), name


@pytest.mark.parametrize("truly", [0.6, 0.8, 0.95])
def test_calibration_finds_a_planted_gap(truly):
    rng = np.random.default_rng(1)
    truth = np.where(rng.random(20_000) < truly, 0, 1)
    assert calibration(saying(np.zeros(20_000, int), 2, truly), truth)["ece"] < 0.015
    assert calibration(saying(np.zeros(20_000, int), 2, 0.99), truth)["ece"] == pytest.approx(0.99 - truly, abs=0.015)


@pytest.mark.parametrize("bins", [1, 2, 15])
def test_calibration_bins_hold_every_row_once_edges_included(bins):
    sure = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    result = calibration(sure, np.array([0, 0, 1]), bins)
    assert len(result["bins"]) == bins and sum(b["rows"] for b in result["bins"]) == 3 and result["bins"][-1]["rows"] >= 1
    assert result["ece"] <= 1


@pytest.mark.parametrize(("probabilities", "label_ids", "message"), [
    ([[np.nan, 1.0]], [0], "predicts NaN or infinity in 1 of 1 rows"),
    ([[np.inf, 0.0]], [0], "NaN or infinity"),
    ([[2.0, -1.0]], [0], "should be positive and sum to 1"),
    ([[0.4, 0.4]], [0], "Apply a softmax to logits first"),
    ([[0.5, 0.5]], [2], "a label id is outside 0…1 (found 2)"),
    ([[0.5, 0.5]], [-1], "a label id is outside 0…1 (found -1)"),
    ([[0.5, 0.5]], [0, 1], "shape (1, 2) for labels of shape (2,)"),
    ([], [], "at least one labelled row"),
])  # fmt: skip
def test_predictions_that_are_no_probabilities_are_refused(probabilities, label_ids, message):
    with pytest.raises(ModelError) as error: check_probabilities(probabilities, label_ids, "the probe")
    assert message in str(error.value)


def test_all_problems_of_predictions_at_once():
    with pytest.raises(ModelError) as error: check_probabilities([[np.nan, 1], [3.0, 1.0], [0.5, 0.5]], [0, 0, 7])
    text = str(error.value)
    assert "row 1: the model predicts NaN" in text and "row 2: " in text and "row 3: a label id" in text


def test_half_precision_probabilities_are_welcome():
    half = np.random.default_rng(0).dirichlet([0.1] * 77, 50).astype(np.float16)
    assert check_probabilities(half, np.zeros(50))[0].dtype == np.float64


def test_names_must_fit_the_columns():
    with pytest.raises(ModelError, match="3 columns of probabilities for 2 label names"): classification_metrics(saying([0]), np.array([0]), ("a", "b"))


def test_mistakes_are_wrong_rows_surest_first_and_stable():
    rows = pd.DataFrame({"text": list("abcde"), "label": list("aaabb"), "origin": [f"x.csv:{i}" for i in range(2, 7)]})
    probabilities = np.array([[0.1, 0.9], [0.9, 0.1], [0.4, 0.6], [0.9, 0.1], [0.6, 0.4]])
    found = confident_mistakes(rows, probabilities, np.array([0, 0, 0, 1, 1]), ("a", "b"), limit=3)
    assert [(m["origin"], m["predicted"]) for m in found] == [("x.csv:2", "b"), ("x.csv:5", "a"), ("x.csv:4", "b")]
    assert confident_mistakes(rows, probabilities, np.array([0, 0, 0, 1, 1]), ("a", "b"), limit=0) == []


# baselines

@pytest.mark.parametrize(("name", "prompt"), [
    ("card_arrival", "card arrival"), ("CardArrival", "card arrival"), ("cardArrival", "card arrival"), ("card-arrival", "card arrival"),
    ("xml.etree", "xml etree"), ("HTTPError", "HTTP error"), ("parseJSON", "parse JSON"), ("A", "a"), ("SPAM", "spam"), ("top2vec", "top2vec"),
    ("Card Arrival", "card arrival"), ("42", "42"), ("__", "__"), ("日本語", "日本語"), ("", ""),
])  # fmt: skip
def test_label_prompts(name, prompt): assert label_prompts([name]) == (prompt,)


def test_majority_learns_from_train_only():
    guesses = majority(np.array([1, 1, 0]), 4, 3)
    assert guesses.shape == (4, 3) and guesses.dtype == np.float32 and (guesses.argmax(1) == 1).all()


def test_few_shot_beats_chance_by_the_margin_that_geometry_gives():
    rng = np.random.default_rng(0)
    centres, ids = rng.normal(size=(20, 32)), rng.integers(0, 20, 1000)
    features = centres[ids] + rng.normal(0, 0.5, (1000, 32))
    drawn = few_shot_rows(ids, shots=8, seed=0)
    guesses = few_shot(features[drawn], ids[drawn], features, n_classes=20)
    assert (guesses.argmax(1) == ids).mean() > 0.97
    assert (zero_shot(features, centres).argmax(1) == ids).mean() > 0.97
    check_probabilities(guesses, ids)


def test_few_shot_draws_its_shots_of_each_class_seeded():
    ids = np.repeat([0, 1, 3], [100, 5, 100])
    drawn = few_shot_rows(ids, 8, seed=5)
    assert np.bincount(ids[drawn]).tolist() == [8, 5, 0, 8] and len(set(drawn.tolist())) == 21
    assert np.array_equal(drawn, few_shot_rows(ids, 8, seed=5)) and not np.array_equal(drawn, few_shot_rows(ids, 8, seed=6))


def test_features_of_zeros_and_unseen_classes_are_no_nan():
    guesses = few_shot(np.eye(2), np.array([0, 1]), np.zeros((1, 2)), n_classes=3)
    assert np.isfinite(guesses).all() and guesses[0, 2] == 0 and guesses.sum() == pytest.approx(1)


# pictures

HOSTILE = ["$\\frac{", "$x$", "<script>alert(1)</script>", "two\nlines", "\x1b[31mred", "\u202eevil", "", "名前", "مرحبا", "x" * 5000, "%s {} \\", "[/b]"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("classes", [len(HOSTILE), 40])
def test_pictures_take_any_class_name(classes):
    names = (HOSTILE * 4)[:classes]
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, 300)
    probabilities = rng.dirichlet([0.1] * classes, 300)
    values = classification_metrics(probabilities, truth, names)
    assert to_png(confusion_figure(values["confusion"], names), dpi=50).startswith(b"\x89PNG")
    assert to_png(reliability_figure(values["reliability"], values["ece"]), dpi=50)
    assert to_png(verdict_figure(verdict(truth, probabilities, {name: probabilities[::-1] for name in HOSTILE})), dpi=50)


def test_pictures_need_no_pyplot_and_no_session_settings():
    import subprocess
    import sys
    code = ("import matplotlib, sys; matplotlib.rcParams['text.usetex'] = True; matplotlib.rcParams['figure.facecolor'] = 'black'\n"
            "from finetune_wb.evaluation.pictures import confusion_figure, to_png_uri\n"
            "assert to_png_uri(confusion_figure([[2, 1], [0, 3]], ['$a', 'b_c'])).startswith('data:image/png;base64,')\n"
            "assert 'matplotlib.pyplot' not in sys.modules and matplotlib.rcParams['text.usetex']\n")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("events", [
    [], [{"kind": "state", "state": "running"}], [{"kind": "metric", "step": 1}], [{"kind": "metric", "step": 1, "train_loss": math.nan}],
    [{"kind": "metric", "step": 1, "train_loss": 1.0}], [{"kind": "metric", "step": 0, "valid_loss": 1.0, "valid_f1_macro": 0.5}],
    [{"kind": "metric", "train_loss": 1.0}], [{"kind": "metric", "step": 3, "train_loss": "NaN"}],
])  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_curves_of_runs_that_logged_little(events): assert to_png_uri(learning_curves(events, 0, "f1_macro")).startswith("data:image/png")


@pytest.mark.parametrize("losses", [(7.0, 2.0, 0.01), (1.2, 1.1, 1.0)])
def test_the_axis_of_perplexity_has_plain_numbers(losses):
    events = [{"kind": "metric", "step": step, "valid_loss": loss, "valid_perplexity": math.exp(loss)} for step, loss in enumerate(losses)]
    figure = learning_curves(events, 0, "loss", "token")
    figure.canvas.draw()
    labels = [label.get_text() for label in [*figure.axes[1].get_yticklabels(), *figure.axes[1].get_yticklabels(minor=True)]]
    assert any(labels) and not [label for label in labels if "$" in label or "math" in label], labels


def test_the_kept_step_is_marked():
    events = [{"kind": "metric", "step": s, "train_loss": 1.0, "valid_loss": 1.0, "valid_accuracy": 0.5} for s in (10, 20)]
    loss = learning_curves(events, best_step=20).axes[0]
    assert "kept: step 20" in [text.get_text() for text in loss.get_legend().get_texts()]


def test_confused_pairs_leave_out_the_right_ones():
    assert confused_pairs([[5, 0], [0, 5]], ["a", "b"]).empty
    assert confused_pairs([[5, 1], [2, 0]], ["a", "b"])["share"].tolist() == [1.0, pytest.approx(1 / 6)]


def test_a_caption_keeps_both_ends(): assert caption("card_payment_fee_charged_abroad_twice", 20) == "card_payment…d_twice" and len(caption("x" * 99)) == 30
