"""The verdict against known p-values, planted truth and the slow bootstrap; its words; its round trip."""
import json
import time

import numpy as np
import pytest

from finetune_wb.errors import ModelError
from finetune_wb.evaluation.verdict import Verdict, verdict


def models(gained: int, lost: int, both: int, neither: int = 0):
    "Labels, tuned and baseline probabilities whose rows fall into these four cells."
    tuned = [True] * gained + [False] * lost + [True] * both + [False] * neither
    other = [False] * gained + [True] * lost + [True] * both + [False] * neither
    return np.zeros(len(tuned), int), *(np.eye(2)[np.where(right, 0, 1)] for right in (tuned, other))


def compared(*cells, **options):
    truth, tuned, other = models(*cells)
    return verdict(truth, tuned, {"probe": other}, **options)


@pytest.mark.parametrize(("gained", "lost", "p_value"), [
    (9, 1, 22 / 1024), (1, 9, 22 / 1024), (5, 0, 2 / 32), (6, 0, 2 / 64), (0, 0, 1.0), (7, 7, 1.0), (1, 0, 1.0), (10, 2, 2 * 79 / 4096),
])  # fmt: skip
def test_mcnemar_is_exact(gained, lost, p_value):
    best = compared(gained, lost, 100).best
    assert best.p_value == pytest.approx(p_value) and (best.gained, best.lost) == (gained, lost)


@pytest.mark.parametrize("cells", [(60, 20, 900, 20), (5, 3, 30, 12), (1, 0, 99, 0)])
def test_the_multinomial_is_the_bootstrap_of_rows(cells):
    truth, tuned, other = models(*cells)
    gain = (tuned.argmax(1) == truth).astype(int) - (other.argmax(1) == truth)
    drawn = np.random.default_rng(1).integers(0, len(gain), (4000, len(gain)))
    slowly = np.quantile(gain[drawn].mean(1), [0.025, 0.975])
    best = compared(*cells).best
    assert [best.low, best.high] == pytest.approx(slowly, abs=1.5 / len(gain) + 0.002)


def test_the_interval_covers_a_planted_difference():
    rng, covered = np.random.default_rng(0), 0
    for trial in range(300):
        cells = rng.multinomial(800, [0.08, 0.04, 0.8, 0.08])  # the tuned model is 4 points better
        best = compared(*cells, samples=1000, seed=trial).best
        covered += best.low <= 0.04 <= best.high
    assert 0.92 <= covered / 300 <= 0.98


def test_worth_it_is_seldom_said_of_equals():
    rng = np.random.default_rng(0)
    said = [compared(*rng.multinomial(600, [0.05, 0.05, 0.8, 0.1]), samples=500).decision for _ in range(300)]
    assert said.count("worth it") <= 0.04 * 300 and said.count("can't tell") >= 0.92 * 300


@pytest.mark.parametrize(("cells", "decision", "start"), [
    ((60, 20, 900, 20), "worth it", "Worth it: 96.0 % of 1,000 test rows right, +4.0 points against the best baseline (linear probe, 92.0 %)"),
    ((20, 60, 900, 20), "not worth it", "Not worth it: 92.0 % of 1,000 test rows right, −4.0 points"),
    ((3, 1, 44, 2), "can't tell", "Can't tell at this test size: 94.0 % of 50 test rows right, +4.0 points"),
    ((5, 0, 95, 0), "can't tell", "Can't tell at this test size"),  # its bootstrap interval lies above 0, its p-value is 0.06
    ((0, 0, 90, 10), "not worth it", "Not worth it: 90.0 % of 100 test rows right, the very rows"),
    ((7, 7, 80, 6), "can't tell", "Can't tell at this test size"),
])  # fmt: skip
def test_the_sentence(cells, decision, start):
    outcome = compared(*cells)
    assert outcome.decision == decision and outcome.sentence.startswith(start)


def test_rows_needed_grow_with_the_square_and_are_about_enough():
    outcome = compared(14, 10, 370, 6)  # a point of difference on 400 rows
    assert "test rows would be needed" in outcome.sentence
    again = np.random.default_rng(0)
    share = np.array([14, 10, 370, 6]) / 400
    said = [compared(*again.multinomial(outcome.rows_needed, share), samples=300).decision for _ in range(100)]
    assert 0.65 <= said.count("worth it") / 100 <= 0.92  # planned for 80 %
    assert compared(7, 7, 386).rows_needed is None and compared(7, 7, 386).sentence.endswith("They get equally many rows right.")
    assert compared(60, 20, 900).rows_needed is None


def test_the_headline_is_the_best_baseline():
    truth, tuned, probe = models(60, 20, 900, 20)
    outcome = verdict(truth, tuned, {"majority": np.eye(2)[np.ones(1000, int)], "probe": probe}, {"tuned": 154.0, "probe": 8.1}, {"tuned": 1432.0})
    assert [c.baseline for c in outcome.comparisons] == ["probe", "majority"]
    assert outcome.sentence.endswith("It took 2.6 min, the baseline 8.1 s.")
    table = outcome.table()
    assert list(table.index) == ["tuned model", "linear probe", "majority class"]
    assert table.loc["tuned model", "peak_mb"] == 1432 and table.loc["linear probe", "difference"] == pytest.approx(0.04)


def test_round_trip_through_json():
    outcome = compared(60, 20, 900, 20, seconds={"tuned": 1.5, "probe": 0.5}, peak_memory={"probe": 10.0})
    values = json.loads(json.dumps(outcome.to_json(), allow_nan=False))
    assert Verdict.from_json(values) == outcome and values["sentence"] == outcome.sentence and values["decision"] == "worth it"


def test_the_same_seed_gives_the_same_interval_at_any_level():
    first, second, wide = compared(60, 20, 900), compared(60, 20, 900), compared(60, 20, 900, confidence=0.99)
    assert first == second and wide.best.low < first.best.low < first.best.high < wide.best.high
    assert "99 % interval" in wide.sentence


def test_no_baseline_is_no_crash():
    truth, tuned, _ = models(1, 0, 9)
    outcome = verdict(truth, tuned, {})
    assert outcome.decision == "can't tell" and "no baseline" in outcome.sentence and outcome.rows_needed is None
    assert len(outcome.table()) == 1 and "tuned model" in outcome._repr_html_()
    assert Verdict.from_json(outcome.to_json()) == outcome


def test_one_row(): assert compared(1, 0, 0).decision == "can't tell"


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "a|b", "$\\frac{", "[/b]", "\x1b[31m", "\u202eevil", "two\nlines"])
def test_hostile_baseline_names_are_text(hostile):
    truth, tuned, other = models(6, 2, 40)
    outcome = verdict(truth, tuned, {hostile: other})
    html, markdown = outcome._repr_html_(), outcome._repr_markdown_()
    for page in (html, markdown): assert "<script" not in page.replace("\\<script", "") and "\x1b" not in page and "\u202e" not in page
    assert all(line.replace("\\|", "").count("|") == 8 for line in markdown.split("\n\n", 1)[1].splitlines())


@pytest.mark.parametrize(("tuned", "other", "who"), [(np.nan, 1.0, "the tuned model"), (1.0, np.nan, "the baseline probe")])
def test_nan_names_who_predicted_it(tuned, other, who):
    truth, ours, theirs = models(1, 1, 3)
    with pytest.raises(ModelError, match=f"{who} predicts NaN"): verdict(truth, ours * tuned, {"probe": theirs * other})


def test_ten_thousand_resamples_of_three_thousand_rows_take_well_under_a_second():
    truth, tuned, other = models(120, 60, 2700, 200)
    start = time.perf_counter()
    verdict(truth, tuned, {name: other for name in "abcd"}, samples=10_000)
    assert time.perf_counter() - start < 3  # four baselines; a few milliseconds each, unless rows are drawn
