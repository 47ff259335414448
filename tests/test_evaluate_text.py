"""Written answers: their metrics against planted truth, their verdict against the plain one, and a run measured end to end."""

import json
import math

import numpy as np
import pytest

from finetune_wb.evaluation.textmetrics import corpus_scores, distinct, normalised, repetition, row_scores, said
from finetune_wb.evaluation.verdict import Verdict, paired_verdict, verdict

# ---- metrics against planted truth


@pytest.mark.parametrize(
    ("written", "reference", "exact", "f1"),
    [
        ("The sum, of values!", "sum of values", 1, 1),
        ("a b c d", "b c d e", 0, 6 / 7),  # SQuAD drops the article a: three of three, three of four words
        ("cat cat cat", "cat", 0, 0.5),  # words count as often as they come
        ("", "cat", 0, 0),
        ("", "", 1, 1),
        ("1.5", "15", 1, 1),  # as SQuAD's script has it
        ("+", "-", 0, 0),  # nothing but punctuation: compared as it is
        ("  same\n text ", "same text", 1, 1),
    ],
)
def test_exact_match_and_f1_are_those_of_squad(written, reference, exact, f1):
    found = row_scores(written, reference)
    assert found["exact_match"] == exact and found["token_f1"] == pytest.approx(f1)


def test_squads_own_script_gives_the_same_normal_form():
    import re
    import string

    def official(text):
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    for text in ["The U.S. of A.", "an 'apple' a day", "there's  no\ttheatre", "ÀÉ à an", "x=1; y=[2]"]:
        assert normalised(text) == official(text)


@pytest.mark.parametrize(("written", "reference", "share"), [("a b c d", "a b c d", 1.0), ("a c", "a b c d", 2 * 1 * 0.5 / 1.5), ("d c b a", "a b c d", 0.25), ("x", "a b", 0.0), ("да нет", "да, нет!", 1.0), ("我 爱你", "我爱你", 1.0)])
def test_rouge_l_is_the_longest_common_subsequence_in_every_script(written, reference, share):
    assert row_scores(written, reference)["rouge_l"] == pytest.approx(share)


def test_on_ascii_rouge_l_is_google_s_own():
    from rouge_score.rouge_scorer import RougeScorer

    own, draw = RougeScorer(["rougeL"]), np.random.default_rng(0)
    words = ["Return", "the_sum", "of", "x2", "values.", "don't", "a-b"]
    for _ in range(50):
        a, b = (" ".join(draw.choice(words, size=draw.integers(1, 9))) for _ in range(2))
        assert row_scores(a, b)["rouge_l"] == pytest.approx(own.score(b, a)["rougeL"].fmeasure)


def test_chrf_and_bleu_are_sacrebleus():
    import sacrebleu

    written = ["Return the sum of values.", "Sort rows", "x", "Надо спать"]
    references = ["Return the sum of all the values.", "Sort the rows of a table.", "y", "надо спать!"]
    found = corpus_scores(written, references)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [references]).score / 100)
    assert found["corpus_chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [references]).score / 100)
    assert found["chrf"] == pytest.approx(np.mean([sacrebleu.sentence_chrf(a, [b]).score / 100 for a, b in zip(written, references)]))
    assert "version:" in found["signatures"] and found["length_ratio"] == sum(map(len, written)) / sum(map(len, references))


def test_more_of_the_reference_scores_more():
    """A reference, and ever more of its characters replaced: every measure falls, from 1 to nearly 0."""
    reference, draw = "Return the sum of array elements over the given axis of the table.", np.random.default_rng(0)
    order, scores = draw.permutation(len(reference)), []
    for share in (0, 0.1, 0.3, 0.6, 1):
        spoilt = "".join("#" if i in order[: int(share * len(reference))] else c for i, c in enumerate(reference))
        scores.append(row_scores(spoilt, reference))
    for name in ("chrf", "bleu", "rouge_l", "token_f1"):
        values = [s[name] for s in scores]
        assert values == sorted(values, reverse=True) and values[0] == pytest.approx(1) and values[-1] < 0.05, name


HOSTILE = ["", " ", "\n\n", "\x00", "\ud800", "<script>alert(1)</script>", "\u202eevil", "[/b]{{7*7}}", "a" * 3000, "😀" * 50, "<think>", "%s%n", "-1e999"]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_hostile_and_empty_texts_score_between_0_and_1(hostile):
    for written, reference in [(hostile, "an answer"), ("an answer", hostile), (hostile, hostile)]:
        found = row_scores(written, reference)
        assert all(0 <= v <= 1 for k, v in found.items() if k != "length_ratio") and found["length_ratio"] >= 0
    assert all(math.isfinite(v) for v in corpus_scores([hostile, "b"], ["a", "b"]).values() if isinstance(v, float))


def test_thoughts_are_not_scored():
    assert row_scores("<think>\nis it 5?\n</think>\n\nfour", "<think></think>four")["exact_match"] == 1
    assert row_scores("<think>four four four", "four")["chrf"] == 0
    assert said("I <think> so </think>") == "I <think> so </think>"


def test_circles_are_counted():
    assert repetition([1, 2, 3, 4, 5, 6]) == 0 and repetition([7] * 104) == 1 - 1 / 101 and repetition([]) == 0
    assert repetition([*range(50), *range(50)]) == pytest.approx(1 - 50 / 97, abs=0.04)
    same, other = distinct([[1, 2, 3]] * 50), distinct([[i, i + 1, i + 2] for i in range(0, 150, 3)])
    assert same == 2 / 100 and other == 1


# ---- the verdict of scores


def test_right_and_wrong_rows_give_the_verdict_of_classification():
    random = np.random.default_rng(0)
    ours, theirs = random.random(300) < 0.8, random.random(300) < 0.7
    truth, guess = np.zeros(300, int), lambda right: np.eye(2)[np.where(right, 0, 1)]
    seconds, memory = {"tuned": 9.0, "base": 2.0}, {"base": 100.0}
    assert paired_verdict("accuracy", ours, {"base": theirs}, None, seconds, memory) == verdict(truth, guess(ours), {"base": guess(theirs)}, seconds, memory)


@pytest.mark.parametrize("metric", ["chrf", "loss"])
def test_intervals_of_scores_cover_a_planted_difference_and_equals_are_seldom_told_apart(metric):
    random, covered, told = np.random.default_rng(0), 0, 0
    weights = random.integers(1, 30, 150) if metric == "loss" else None
    for trial in range(200):
        base, noise = random.normal(2, 0.5, 150), random.standard_t(5, 150) * 0.2
        best = paired_verdict(metric, base + 0.05 + noise, {"base": base}, weights, samples=500, seed=trial).best
        covered += best.low <= 0.05 <= best.high
        told += paired_verdict(metric, base + noise - 0.0, {"base": base}, weights, samples=500, seed=trial).decision != "can't tell"
    assert 0.90 <= covered / 200 <= 0.98 and told / 200 <= 0.08


def test_less_loss_is_better():
    base = np.full(100, 3.0)
    lower, higher = (paired_verdict("loss", base + by + np.linspace(-0.1, 0.1, 100), {"base": base, "worse": base + 5}) for by in (-0.5, 0.5))
    assert lower.decision == "worth it" and lower.best.baseline == "base" and lower.best.difference < 0 and lower.best.gained == 100
    assert higher.decision == "not worth it" and higher.best.lost == 100
    assert lower.sentence.startswith("Worth it: loss 2.500 nats per token (perplexity 12.18) on 100 test rows, −0.500 against the best baseline (base model, 3.000)")


def test_rows_weigh_what_they_have_of_tokens():
    outcome = paired_verdict("loss", np.array([1.0, 4.0]), {"base": np.array([2.0, 4.0])}, weights=np.array([30, 10]))
    assert outcome.score == (30 * 1 + 10 * 4) / 40 and outcome.best.score == 2.5 and outcome.best.difference == -0.75


def test_rows_needed_for_scores_are_about_enough():
    random = np.random.default_rng(1)
    few = paired_verdict("chrf", 0.4 + random.normal(0.02, 0.1, 40), {"base": np.full(40, 0.4)})
    assert few.decision == "can't tell" and few.rows_needed > 40 and f"About {few.rows_needed:,} test rows" in few.sentence
    shift, spread = few.best.difference, few.best.spread
    said = [paired_verdict("chrf", random.normal(shift, spread, few.rows_needed), {"base": np.zeros(few.rows_needed)}, samples=400).decision for _ in range(100)]
    assert 0.65 <= said.count("worth it") / 100 <= 0.95  # planned for 80 %


def test_a_verdict_of_scores_survives_its_file_and_names_its_score():
    random = np.random.default_rng(0)
    base = random.random(50)
    further = (paired_verdict("exact_match", base > 0.5, {"base": base > 0.7}),)
    outcome = paired_verdict("chrf", base * 0.9, {"base": base, "few_shot": base / 2}, seconds={"tuned": 3.0}, further=further)
    values = json.loads(json.dumps(outcome.to_json(), allow_nan=False))
    assert Verdict.from_json(values) == outcome and values["chrf"] == outcome.score and values["comparisons"][0]["chrf"] == outcome.best.score
    assert values["further"][0]["exact_match"] == further[0].score and "accuracy" not in json.dumps(values)
    assert list(outcome.table().columns)[0] == "chrf" and outcome.cells()[0][1] == "chrF" and outcome.cells()[0][4] == "p"
    assert outcome.decision == "not worth it" and "base model" in outcome._repr_html_() and "chrF" in outcome._repr_markdown_()


def test_the_same_on_every_row_bought_nothing():
    same = paired_verdict("chrf", np.full(20, 0.3), {"base": np.full(20, 0.3)})
    assert same.decision == "not worth it" and same.sentence == "Not worth it: chrF 30.0 on 20 test rows, on every row what the best baseline (base model, 30.0) has."
    assert paired_verdict("chrf", np.array([0.2]), {"base": np.array([0.1])}).decision == "can't tell"
    assert "no baseline" in paired_verdict("chrf", np.full(20, 0.3), {}).sentence
