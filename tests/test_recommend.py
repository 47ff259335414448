"""Recommendations: planted jobs whose answer is known, and listings whose order can be argued with."""

import random
from dataclasses import replace

import pytest
from hub import Hub, Repo

from finetune_wb.data.load import load_data
from finetune_wb.errors import DataError, ModelError
from finetune_wb.evaluation.cheaper import Cheaper, Rival
from finetune_wb.evaluation.recommend import recommend, tool_advice
from finetune_wb.models.listing import Listed
from finetune_wb.models.search import Catalog
from finetune_wb.recipe import Recipe

LAPTOP = {"place": "cpu", "name": "a laptop", "total": 16 * 10**9, "free": 8 * 10**9}
GPU = {"place": "cuda", "name": "a GPU", "total": 24 * 10**9, "free": 24 * 10**9}
SUBJECTS = {"sport": "the goalkeeper saved a penalty in the football match", "cooking": "simmer the onions with butter and garlic in a pan", "money": "the bank raised the interest rate on my savings account"}
FILLERS = "today yesterday again later finally slowly quickly here there once twice often never always maybe".split()


def rows(count: int, shuffled: bool = False):
    rng = random.Random(0)
    made = [{"text": f"{rng.choice(FILLERS)} {rng.choice(FILLERS)} {text} {i}", "label": label} for i in range(count) for label, text in [rng.choice(list(SUBJECTS.items()))]]
    if shuffled:
        labels = [row["label"] for row in made]
        rng.shuffle(labels)
        made = [{**row, "label": label} for row, label in zip(made, labels, strict=True)]
    return made


def shelf(*lines, **options): return Catalog(cache="no-such-cache", hub=False, listing=lines, **options)


# ---- is it the right tool

def test_many_labelled_rows_and_a_simple_task_are_a_job_for_a_probe():
    data = load_data(Recipe(), rows(800))
    advised = recommend(data=data, catalog=shelf(), machine=LAPTOP)
    assert advised.wrong_tool and "valid rows" in advised.advice[0] and "the majority class alone has" in advised.advice[0] and advised.measured_with == "minilm"
    assert advised.measured.rows == len(data.valid) and {r.name for r in advised.measured.rivals} == {"majority", "zero_shot", "few_shot", "probe"}
    # what is in test changes nothing: those rows are taken away before anything is measured
    poisoned = replace(data, test=data.test.assign(label="sport", text="nonsense"))
    again = recommend(data=poisoned, catalog=shelf(), machine=LAPTOP)
    assert [(r.name, r.score) for r in again.measured.rivals] == [(r.name, r.score) for r in advised.measured.rivals] and again.advice == advised.advice


def test_next_to_no_rows_are_too_few_to_tell():
    for count, said in ((30, "3 valid rows"), (8, "1 valid row ")):
        advised = recommend(data=rows(count), catalog=shelf(), machine=LAPTOP)
        assert advised.advice[0].startswith("Too few rows to tell") and said in advised.advice[0] and "Label more rows" in advised.advice[0] and not advised.wrong_tool
        assert any("train rows per class" in text for text in advised.advice)


def test_a_recipe_whose_model_can_not_write_is_measured_with_one_that_can(tmp_path):
    """The default recipe names an encoder; whoever points it at prompts and answers wants to know what to take instead."""
    file = tmp_path / "asks.jsonl"
    file.write_text("".join(f'{{"prompt": "what is {i} and {i}?", "completion": "{2 * i}"}}\n' for i in range(30)), encoding="utf-8")
    recipe = Recipe(data={"source": str(file)}, evaluate={"max_rows": 2, "max_new_tokens": 2})
    advised = recommend(data=recipe, catalog=shelf(), machine=LAPTOP)
    assert recipe.model.id == "minilm" and advised.task == "instruction" and advised.measured_with == "minidoc" and {r.name for r in advised.measured.rivals} == {"base", "few_shot"}


def test_rows_of_one_class_are_no_success_of_the_majority():
    made = [{"text": f"message {i} about {random.Random(i).choice('cats dogs rain sun'.split())} {i * i}", "label": "spam" if i % 50 == 0 else "ham"} for i in range(500)]
    advised = recommend(data=made, catalog=shelf(), machine=LAPTOP)
    assert advised.advice[0].startswith("Check the class balance first: 98.0 % of the valid rows") and not advised.wrong_tool and "no clear gain over the majority class (98.0 %)" in advised.measured.sentence


def test_labels_by_chance_deserve_a_look_first():
    advised = recommend(data=rows(300, shuffled=True), catalog=shelf(), machine=LAPTOP)
    assert advised.advice[0].startswith("Look at the rows first") and not advised.wrong_tool


def test_a_few_rows_are_said_to_be_few():
    advised = recommend(data=rows(60), catalog=shelf(), machine=LAPTOP, measure=False)
    assert advised.measured is None and advised.measured_with == "" and any("train rows per class" in text for text in advised.advice)
    assert advised.models[0].method == "probe" and any("Few labelled rows" in reason for reason in advised.models[0].reasons)


def test_what_writes_is_asked_alone_and_after_examples():
    pairs = [{"prompt": f"def add_{a}_{b}(x)", "completion": f"Add {a} to {b}."} for a in "one two three four five six".split() for b in "apples pears bread milk tea rice".split()]
    recipe = Recipe(model={"id": "minidoc"}, evaluate={"max_new_tokens": 8})
    advised = recommend(data=load_data(recipe, pairs), catalog=shelf(), machine=LAPTOP)
    assert advised.task == "instruction" and advised.measured_with == "minidoc" and {r.name for r in advised.measured.rivals} == {"base", "few_shot"} and advised.measured.metric == "chrf"
    assert advised.advice[0].startswith("Fine-tuning may pay off") and " chrF " in advised.advice[0] and any("36" not in text and "train rows" in text for text in advised.advice)


@pytest.mark.parametrize("metric, scores, begins", [
    ("accuracy", {"majority": (0.97, 0.96, 0.98), "probe": (0.98, 0.97, 0.99)}, "Check the class balance first: 97.0 % of the valid rows belong to one class"),
    ("accuracy", {"majority": (0.92, 0.90, 0.94), "probe": (0.99, 0.98, 1.0)}, "Fine-tuning is the wrong tool here: a linear probe"),
    ("accuracy", {"majority": (0.3, 0.28, 0.32), "zero_shot": (0.97, 0.96, 0.98), "probe": (0.99, 0.98, 1.0)}, "Fine-tuning is the wrong tool here: zero-shot"),
    ("accuracy", {"majority": (0.3, 0.2, 0.4), "probe": (0.97, 0.85, 0.99)}, "Try the cheaper way first: a linear probe"),
    ("accuracy", {"majority": (0.3, 0.28, 0.32), "probe": (0.7, 0.68, 0.72)}, "Fine-tuning may pay"), ("accuracy", {"majority": (0.5, 0.4, 0.6), "few_shot": (0.55, 0.45, 0.65)}, "Look at the rows first"),
    ("chrf", {"base": (0.2, 0.1, 0.3), "few_shot": (0.95, 0.93, 0.97)}, "Fine-tuning is the wrong tool here: few-shot"), ("chrf", {"base": (0.2, 0.1, 0.3), "few_shot": (0.4, 0.3, 0.5)}, "Fine-tuning may pay"),
    ("loss", {"base": (0.01, 0.0, 0.02), "few_shot": (0.005, 0.0, 0.01)}, "Fine-tuning may pay"),  # of a loss nobody knows where enough is
])
def test_advice(metric, scores, begins):
    rivals = tuple(sorted((Rival(name, *values, 1.0) for name, values in scores.items()), key=lambda r: r.score if metric == "loss" else -r.score))
    (said,) = tool_advice(Cheaper("classification", metric, 300, 2000, rivals, 3), "minilm")
    assert said.startswith(begins) and "300 valid rows" in said


# ---- which model

BASE = Listed("a/base", "hub", "fill-mask", "text", "apache-2.0", 110 * 10**6, ("en",), downloads=10**6)


def order(*lines, task="classification", machine=LAPTOP, **more): return [c.model.id for c in recommend(task, catalog=shelf(*lines), machine=machine, **more).models]


def test_the_order_has_its_reasons():
    lines = (BASE, replace(BASE, id="a/unpopular", downloads=10), replace(BASE, id="a/closed", licence="cc-by-nc-4.0"), replace(BASE, id="a/gated", gated=True), replace(BASE, id="a/toy", parameters=10**6))
    assert order(*lines)[0] == "a/base" and {*order(*lines, count=7)} == {*(m.id for m in lines), "minilm"}
    advised = recommend("classification", catalog=shelf(*lines), machine=LAPTOP, count=7)
    reasons = {c.model.id: " ".join(c.reasons) for c in advised.models}
    assert "non-commercial" in reasons["a/closed"] and "Gated" in reasons["a/gated"] and "small for this task" in reasons["a/toy"] and "on this machine already" in reasons["minilm"]
    assert [c.points for c in advised.models] == sorted((c.points for c in advised.models), reverse=True) and "nothing was measured" in advised.advice[-1]


def test_what_can_not_be_a_start_is_not_named():
    lines = (replace(BASE, id="a/huge", parameters=10**12), replace(BASE, id="a/unknown", parameters=None), replace(BASE, id="a/broken", source="cache", complete=False), replace(BASE, id="a/other", task="translation"),
             replace(BASE, id="a/picture", task="image-classification", family="vision"), replace(BASE, id="a/odd", task="telepathy", family=None))
    assert order(*lines) == ["minilm"]
    assert order(*lines, machine={**LAPTOP, "free": 10**8}) == []


def test_methods_follow_the_machine():
    large = replace(BASE, id="a/writer", task="text-generation", parameters=3 * 10**9)
    assert "a/writer" not in order(large, task="chat") and order(large, task="chat", machine=GPU)[0] == "a/writer"
    methods = {c.model.id: c.method for c in recommend("chat", catalog=shelf(large, replace(large, id="a/small", parameters=3 * 10**8)), machine=GPU).models}
    assert methods["a/writer"] == "qlora" and methods["a/small"] == "lora" and methods["minidoc"] == "full"


def test_rows_in_another_script_ask_for_a_model_that_reads_it():
    data = [{"text": f"Мой поезд опоздал на {i} минут, и я потерял билет номер {i * 7}", "label": ("жалоба", "вопрос")[i % 2]} for i in range(100)]
    lines = (replace(BASE, languages=("en",)), replace(BASE, id="a/many", languages=("multilingual",)))
    advised = recommend(data=data, catalog=shelf(*lines), machine=LAPTOP, measure=False)
    assert advised.models[0].model.id == "a/many" and any("English only" in reason for c in advised.models if c.model.id == "a/base" for reason in c.reasons)


def test_the_hub_and_strangers_names(monkeypatch, tmp_path):
    evil = "<script>alert(1)</script>\x1b[31m"
    with Hub([Repo("someone/good", pipeline_tag="fill-mask", card={"license": "mit"}, downloads=10**6, parameters={"F32": 10**8}),
              Repo("evil/model", pipeline_tag="fill-mask", card={"license": evil}, downloads=10**5, parameters={"F32": 10**8})]) as hub:
        hub.use(monkeypatch, tmp_path)
        advised = recommend("classification", machine=LAPTOP, catalog=Catalog())
        assert [c.model.id for c in advised.models][0] == "someone/good" and "evil/model" in [c.model.id for c in advised.models]
        assert "\x1b" not in str(advised) and "<script>" not in advised._repr_html_() and "\x1b" not in advised._repr_html_()
        hub.fault("", status=500, times=None)
        silent = recommend("classification", machine=LAPTOP, catalog=Catalog())
        assert [c.model.id for c in silent.models] == ["minilm"] and "The hub answers with status 500." in str(silent)


# ---- what can't be meant

def test_tasks_that_are_not_ours_say_why():
    assert "can't be fine-tuned here yet" in recommend("image-classification").advice[0] and recommend("image-classification").task == "image-classification"
    with pytest.raises(ModelError, match="Did you mean"): recommend("clasification")
    with pytest.raises(ModelError, match="Give a task or data"): recommend()
    with pytest.raises(ModelError, match="the rows are for classification"): recommend("chat", data=load_data(Recipe(), rows(60)), measure=False)
    with pytest.raises(DataError, match="no such file"): recommend(data="nowhere.csv")


def test_as_plain_values():
    import json
    told = recommend(data=rows(60), catalog=shelf(BASE), machine=LAPTOP).as_dict()
    assert json.loads(json.dumps(told))["models"][0]["model"]["id"] == "a/base" and {"wrong_tool", "advice", "measured", "notes"} <= set(told)
