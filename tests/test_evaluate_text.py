"""Written answers: their metrics against planted truth, their verdict against the plain one, and a run measured end to end."""

import json
import math
import random
import shutil

import numpy as np
import pytest
from causal_models import causal_model, causal_tokens  # noqa: F401

from finetune_wb.evaluation.textmetrics import corpus_scores, distinct, normalised, repetition, row_scores, said
from finetune_wb.evaluation.verdict import Verdict, paired_verdict, verdict
from finetune_wb.recipe import load_recipe, override, to_yaml
from finetune_wb.run import Run

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
    for trial in range(100):
        base, noise = random.normal(2, 0.5, 150), random.standard_t(5, 150) * 0.2
        best = paired_verdict(metric, base + 0.05 + noise, {"base": base}, weights, samples=500, seed=trial).best
        covered += best.low <= 0.05 <= best.high
        told += paired_verdict(metric, base + noise - 0.0, {"base": base}, weights, samples=500, seed=trial).decision != "can't tell"
    assert 0.88 <= covered / 100 <= 1 and told / 100 <= 0.1


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


# ---- examples before the question


def talk(question, answer, system=None):
    return {"messages": [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "mistral", "phi", "smollm", "gpt_neox"])
def test_examples_change_the_context_and_never_what_is_scored(causal_tokens, kind):  # noqa: F811
    from finetune_wb.evaluation.shots import ask, ask_after

    tokenizer = causal_tokens(kind)
    rows = [talk("reads the file", "rows", "returns a table"), talk("sorted by index", "a table of rows " * 3)]
    for limit in (256, 30):  # cut or not
        bare = ask(tokenizer, rows, limit)
        led = ask_after(tokenizer, rows, bare, [talk("value", "of index", "file"), talk("the file", "sorted")], positions=256, max_new_tokens=8)
        assert led.shown == (2, 2) and not led.refused
        for own, after, prompt in zip(bare.rows.rows, led.rows.rows, led.prompts):
            assert after.ids[: after.kept][after.trained[: after.kept]].tolist() == own.ids[: own.kept][own.trained[: own.kept]].tolist()
            assert after.ids.tolist()[: len(tokenizer(prompt, add_special_tokens=False)["input_ids"])] == tokenizer(prompt, add_special_tokens=False)["input_ids"]
            assert "of index" in prompt and "sorted" in prompt
        assert "returns a table" in led.prompts[0] and led.prompts[0].index("returns a table") < led.prompts[0].index("of index")


def test_a_row_without_room_is_shown_fewer_examples(causal_tokens):  # noqa: F811
    from finetune_wb.evaluation.shots import ask, ask_after

    tokenizer = causal_tokens("llama")
    rows = [talk("reads", "rows"), talk("the file " * 30, "rows"), talk("the file " * 60, "rows")]
    bare, shot = ask(tokenizer, rows, 512), talk("value", "of index " * 8)
    room = 16 + len(tokenizer(ask_after(tokenizer, rows, bare, [shot] * 3, 9999, 16).prompts[0], add_special_tokens=False)["input_ids"])
    led = ask_after(tokenizer, rows, bare, [shot, shot, shot], positions=room, max_new_tokens=16)
    assert led.shown[0] == 3 > led.shown[1] > led.shown[2] == 0 and led.prompts[2] == bare.prompts[2]
    for place in range(2):
        assert len(tokenizer(led.prompts[place], add_special_tokens=False)["input_ids"]) + 16 <= room


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_examples_before_a_plain_text_are_whole_texts(causal_tokens, kind):  # noqa: F811
    from finetune_wb.evaluation.shots import ask, ask_after
    from finetune_wb.training.tokens import encode_text

    tokenizer, rows, shot = causal_tokens(kind), [{"text": "reads the file and returns rows"}], {"text": "sorted by index"}
    bare = ask(tokenizer, rows, 256)
    led = ask_after(tokenizer, rows, bare, [shot], positions=256, max_new_tokens=8)
    first = encode_text(tokenizer, [shot], 256).rows[0].ids.tolist()
    assert led.rows.rows[0].ids.tolist() == first + bare.rows.rows[0].ids.tolist()
    assert led.rows.trained.tolist() == bare.rows.trained.tolist() and not led.rows.rows[0].trained[: len(first)].any()
    assert tokenizer(led.prompts[0], add_special_tokens=False)["input_ids"] == first + tokenizer(bare.prompts[0], add_special_tokens=False)["input_ids"]


def test_both_answers_of_a_preference_stand_behind_the_same_examples(causal_tokens):  # noqa: F811
    from finetune_wb.evaluation.shots import ask, ask_after

    def pair(question, chosen, rejected):
        return {"messages": [{"role": "user", "content": question}], "chosen": [{"role": "assistant", "content": chosen}], "rejected": [{"role": "assistant", "content": rejected}]}

    tokenizer, rows = causal_tokens("llama"), [pair("reads", "the file", "rows")]
    led = ask_after(tokenizer, rows, ask(tokenizer, rows, 256), [pair("sorted", "by index", "value")], 256, 8)
    texts = [tokenizer.decode(side.rows[0].ids) for side in (led.rows, led.rejected)]
    assert all("by index" in text and "value" not in text for text in texts) and "the file" in texts[0] and "rows" in texts[1] and "the file" not in led.prompts[0]


def test_rows_that_can_t_be_asked_are_left_out_and_named(causal_tokens):  # noqa: F811
    from finetune_wb.errors import DataError
    from finetune_wb.evaluation.written import _askable

    tokenizer = causal_tokens("gemma3")
    refused = {"messages": [{"role": "assistant", "content": "hm"}, *talk("a", "b")["messages"]], "origin": "rows.jsonl:2"}
    long = {**talk("the file " * 40, "rows"), "origin": "rows.jsonl:3"}
    kept, asked, reasons = _askable(tokenizer, [talk("reads", "rows"), refused, long], 40)
    assert len(kept) == len(asked.prompts) == len(asked.rows) == 1 and not asked.refused
    assert "rows.jsonl:2: the chat template refuses it" in reasons[0] and reasons[1] == "rows.jsonl:3: max_length leaves nothing of its answer"
    with pytest.raises(DataError, match="none of 2 test rows"):
        _askable(tokenizer, [refused, long], 40)


# ---- a run from end to end

WORDS = "array frame model layer tensor value figure axis library index computes returns sorted".split()
ANSWERS = {"cat": "a map", "dog": "table", "bird": "<b>rows</b>"}


def planted(rows=75, make=talk):
    """Questions whose last word tells the answer, which no model knows before."""
    draw = random.Random(0)
    return [make(f"{' '.join(draw.choices(WORDS, k=5))} {who}", what) for _ in range(rows // 3) for who, what in ANSWERS.items()]


def recipe_for(folder, task="chat", method="full", train=None, **evaluate):
    return load_recipe(
        {
            "task": task, "model": {"id": str(folder)}, "method": {"name": method}, "data": {"source": "unused"},
            "train": {"bf16": False, "threads": 1, "learning_rate": 0.01, "num_train_epochs": 8, "evals_per_epoch": 1, "early_stopping_patience": None, "tokens_per_batch": 256, **(train or {})},
            "evaluate": {"bootstrap_samples": 300, "max_new_tokens": 16, "mistakes": 5, **evaluate},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(causal_model):  # noqa: F811
    return causal_model("llama")


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    """A chat model that has learned the planted answers, evaluated: run and verdict. Read only."""
    from finetune_wb.evaluation.evaluate import evaluate
    from finetune_wb.training.train import train

    run = train(recipe_for(folder), planted(), tmp_path_factory.mktemp("measured"), "one")
    return run, evaluate(run)


@pytest.fixture
def unmeasured(measured, tmp_path):
    """A copy of it without its evaluation."""
    run = Run(shutil.copytree(measured[0].folder, tmp_path / "runs" / "one"))
    shutil.rmtree(run.evaluation)
    return run


@pytest.fixture
def _quick_report(monkeypatch):
    from finetune_wb.evaluation import evaluate as module

    monkeypatch.setattr(module, "write_report", lambda path, content: path.write_text("report"))


def predicted(run):
    return [json.loads(line) for line in (run.evaluation / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def test_what_was_planted_is_found_and_the_rest_is_written(measured):
    run, outcome = measured
    metrics = run.metrics
    assert outcome.decision == "worth it" and outcome.metric == "chrf" and {c.baseline for c in outcome.comparisons} == {"base", "few_shot"}
    assert metrics["exact_match"] > 0.9 and all(metrics["models"][name]["exact_match"] == 0 for name in ("base", "few_shot"))
    assert metrics["loss"] < 0.5 < metrics["models"]["base"]["loss"] and metrics["stop_rate"] > 0.9
    assert {one.metric for one in outcome.further} == {"loss", "exact_match", "token_f1", "rouge_l"} and all(one.decision == "worth it" for one in outcome.further)
    assert {p.name for p in run.evaluation.iterdir()} == {"metrics.json", "verdict.json", "predictions.jsonl"}
    assert run.events("evaluation")[-1]["sentence"] == outcome.sentence and outcome.seconds > outcome.best.seconds > 0
    assert Verdict.from_json(json.loads((run.evaluation / "verdict.json").read_text())) == outcome


def test_predictions_keep_what_was_written_and_no_prompt(measured):
    run, outcome = measured
    rows = predicted(run)
    assert len(rows) == outcome.rows == run.record["data"]["rows"]["test"] and {tuple(row) for row in rows} == {("origin", "tuned", "base", "few_shot")}
    assert np.mean([row["tuned"]["chrf"] for row in rows]) == pytest.approx(outcome.score, abs=1e-5)
    assert np.mean([row["base"]["exact_match"] for row in rows]) == run.metrics["models"]["base"]["exact_match"]
    assert set(ANSWERS.values()) >= {row["tuned"]["text"] for row in rows if row["tuned"]["exact_match"]}
    assert not any(word in json.dumps([{k: v for k, v in row["tuned"].items() if k != "text"} for row in rows]) for word in WORDS)


def test_the_loss_is_that_of_transformers_on_the_answers_tokens(measured):
    """Row by row, one at a time, by the model's own loss on labels made here."""
    import torch

    from finetune_wb.data.kept import kept_rows
    from finetune_wb.training.generate import answer_of, prompt_of
    from finetune_wb.training.saved import load_trained

    run, _ = measured
    model, tokenizer = load_trained(run)
    nats = count = 0
    for row in kept_rows(run.folder).test.to_dict("records"):
        prompt = tokenizer(prompt_of(tokenizer, row), add_special_tokens=False)["input_ids"]
        answer = tokenizer(answer_of(row) + "<|eot_id|>", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + answer])
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.no_grad():
            nats, count = nats + float(model(input_ids=ids, labels=labels).loss) * len(answer), count + len(answer)
    assert run.metrics["answer_tokens"] == count and run.metrics["loss"] == pytest.approx(nats / count, abs=1e-5)
    assert run.metrics["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-4)


def test_the_report_shows_answers_as_text(measured):
    import re

    page = (measured[0].folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;rows&lt;/b&gt;" in page and "<b>rows</b>" not in page and "<script" not in page
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:|//|file:)""", page)
    for words in ("Every measure", "exact match", "ended by itself", "Answers to read", "few-shot", "worst", "at random", "chrF"):
        assert words in page, words
    assert 'id="confusion"' not in page and 'id="calibration"' not in page


def test_a_second_evaluation_asks_nobody(measured, monkeypatch):
    from finetune_wb.evaluation import evaluate as module

    run, outcome = measured
    for name in ("load_trained", "measure", "rows_of"):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("was read again"))
    assert module.evaluate(run.id, run.folder.parent) == outcome


def test_a_killed_evaluation_goes_on_with_the_next_model(unmeasured, measured, monkeypatch, _quick_report):
    from finetune_wb.evaluation import written
    from finetune_wb.evaluation.evaluate import evaluate

    asked, real = [], written.answer

    def dying(*arguments, **options):
        asked.append(arguments[6])
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(written, "answer", dying)
    with pytest.raises(KeyboardInterrupt):
        evaluate(unmeasured)
    assert not (unmeasured.evaluation / "verdict.json").exists()
    again = evaluate(unmeasured)
    assert asked == ["tuned model", "base model", "base model", "few-shot"]
    assert predicted(unmeasured) == predicted(measured[0]) and again.score == measured[1].score
    assert {p.name for p in unmeasured.evaluation.iterdir()} == {"metrics.json", "verdict.json", "predictions.jsonl"}


@pytest.mark.parametrize("wanted", [[], ["base"], ["majority", "few_shot", "probe"]])
def test_only_the_baselines_asked_for_and_rows_allowed_are_measured(unmeasured, measured, wanted, _quick_report):
    from finetune_wb.evaluation.evaluate import evaluate

    recipe = override(unmeasured.recipe, f"evaluate.baselines=[{', '.join(wanted)}]", "evaluate.max_rows=4")
    (unmeasured.folder / "recipe.yaml").write_text(to_yaml(recipe))
    run = Run(unmeasured.folder)
    outcome = evaluate(run)
    rows, whole = predicted(run), {row["origin"]: row for row in predicted(measured[0])}
    assert {c.baseline for c in outcome.comparisons} == {"base", "few_shot"} & set(wanted) and outcome.rows == len(rows) == 4
    assert all(row["tuned"] == pytest.approx(whole[row["origin"]]["tuned"], abs=1e-5) for row in rows), "an answer does not depend on who else was asked"
    if not wanted:
        assert outcome.decision == "can't tell"


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_the_base_of_an_adapter_is_the_model_it_started_from(folder, measured, method, tmp_path, _quick_report):
    """With its adapter off, it writes and scores what the base model loaded afresh does."""
    from finetune_wb.evaluation.evaluate import evaluate
    from finetune_wb.training.train import train

    run = train(recipe_for(folder, method=method, train={"max_steps": 3}), planted(), tmp_path, "one")
    evaluate(run)
    ours, theirs = ({row["origin"]: row["base"] for row in predicted(r)} for r in (run, measured[0]))
    assert ours.keys() == theirs.keys() and all(row["text"] == theirs[origin]["text"] and row["loss"] == pytest.approx(theirs[origin]["loss"], abs=1e-4) for origin, row in ours.items())
    assert run.metrics["loss"] != run.metrics["models"]["base"]["loss"]


def test_a_plain_text_is_judged_by_its_loss(folder, tmp_path, _quick_report):
    from finetune_wb.data.kept import kept_rows
    from finetune_wb.evaluation.evaluate import evaluate
    from finetune_wb.training.train import train

    rows = planted(make=lambda question, answer: {"text": f"{question} {answer}"})
    run = train(recipe_for(folder, "completion", train={"num_train_epochs": 3}, mistakes=2), rows, tmp_path, "one")
    outcome = evaluate(run)
    test, metrics = kept_rows(run.folder).test["text"], run.metrics
    assert outcome.metric == "loss" and outcome.decision == "worth it" and outcome.further == () and "chrf" not in metrics and metrics["written"] == 2
    nats = sum(row["tuned"]["loss"] * row["tuned"]["answer_tokens"] for row in predicted(run))
    assert metrics["bits_per_byte"] == pytest.approx(nats / math.log(2) / sum(len(text.encode()) for text in test), rel=1e-4)
    assert sum("text" in row["tuned"] for row in predicted(run)) == 2 and "perplexity" in outcome.sentence


def test_a_preference_is_judged_by_which_answer_is_likelier(folder, tmp_path, _quick_report):
    from finetune_wb.evaluation.evaluate import evaluate
    from finetune_wb.training.train import train

    def pair(question, chosen):
        return {"prompt": question, "chosen": chosen, "rejected": "a figure of rows"}

    run = train(recipe_for(folder, "preference", train={"learning_rate": 0.001, "num_train_epochs": 3}), planted(make=pair), tmp_path, "one")
    outcome = evaluate(run)
    rows, metrics = predicted(run), run.metrics
    assert outcome.metric == "preferred" and all(c.spread is None for c in outcome.comparisons) and "McNemar" in outcome.sentence
    assert outcome.score == np.mean([row["tuned"]["preferred"] for row in rows]) == metrics["preferred"]
    assert metrics["reward_accuracy"] > 0.9 and metrics["reward_margin"] > 0 and metrics["dpo_loss"] < math.log(2)
    assert metrics["margin"] > metrics["models"]["base"]["margin"] and {one.metric for one in outcome.further} == {"loss", "chrf"}


def test_the_command_line_shows_verdict_and_every_measure(measured):
    from typer.testing import CliRunner

    from finetune_wb.cli import app

    run, outcome = measured
    place = ["--runs-dir", str(run.folder.parent)]
    shown = CliRunner().invoke(app, ["evaluate", run.id, *place], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and "few-shot" in shown.output and "exact match" in shown.output and "ended by itself" in shown.output and "chrF" in shown.output
    assert outcome.sentence in shown.output.replace("\n", " ")
    listed = CliRunner().invoke(app, ["runs", *place], env={"COLUMNS": "200"})
    assert listed.exit_code == 0 and f"chrF {100 * outcome.score:.1f}" in listed.output
