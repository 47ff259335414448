"""Known and new answers: planted rows, models whose right answers are known, and the look-up beside them."""

import json

import pytest

from finetune_wb.data.kept import keep_rows
from finetune_wb.data.load import load_data
from finetune_wb.errors import DataError, RunError
from finetune_wb.evaluation import overlap
from finetune_wb.evaluation.overlap import answer_overlap, looked_up, overlap_of, overlap_table
from finetune_wb.recipe import Recipe, load_recipe, to_yaml
from finetune_wb.run import Run, write_json

NOUNS = "harbour lantern meadow orchard pebble quarry ribbon saddle thimble umbrella velvet willow".split()


def pairs(nouns, prompt="what about the {}"): return [{"prompt": prompt.format(noun), "completion": f"Open the {noun}."} for noun in nouns]


@pytest.fixture
def made(tmp_path):
    """A run as an evaluation leaves it: four test answers of which train has two, and what two models wrote."""

    def make(skip=0):
        recipe = load_recipe({"task": "instruction"})
        data = load_data(recipe, {"train": pairs(NOUNS[:8]), "valid": pairs(NOUNS[8:10]), "test": [*pairs(NOUNS[:2], "{0}, {0}, {0}: and then?"), *pairs(NOUNS[10:])]})
        run = Run(tmp_path)
        (run.folder / "recipe.yaml").write_text(to_yaml(recipe))
        keep_rows(data, run.folder)
        write_json(run.folder / "record.json", {"data": {"fingerprint": data.fingerprint, "split_fingerprint": data.split_fingerprint}})
        run.evaluation.mkdir()
        lines = [{"origin": row.origin, "tuned": {"text": row.messages[-1]["content"].upper()}, "base": {"text": "no idea"}} for row in data.test.itertuples()][skip:]
        (run.evaluation / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    return make


def test_answers_of_train_and_new_ones_are_apart(made):
    found = answer_overlap(made())
    assert [found[part]["rows"] for part in ("known", "new", "all")] == [2, 2, 4]
    assert found["new"]["tuned"]["exact_match"] == found["known"]["tuned"]["exact_match"] == 1 and found["all"]["base"]["exact_match"] == 0
    assert found["known"]["looked_up"]["exact_match"] == 1 and found["new"]["looked_up"]["exact_match"] == 0 < found["new"]["looked_up"]["chrf"] < 1


def test_rows_that_could_not_be_asked_have_no_line(made):
    found = answer_overlap(made(skip=1))
    assert [found[part]["rows"] for part in ("known", "new")] == [1, 2] and found["all"]["tuned"]["exact_match"] == 1


def test_a_run_that_was_not_evaluated_says_so(made):
    run = made()
    (run.evaluation / "predictions.jsonl").unlink()
    with pytest.raises(RunError, match="has not been evaluated.*ftwb evaluate"): answer_overlap(run)


@pytest.mark.parametrize("task", ["classification", "completion"])
def test_tasks_without_answers_are_refused(tmp_path, monkeypatch, task):
    rows = [{"text": f"{noun} {other}", **({"label": noun} if task == "classification" else {})} for noun in NOUNS[:3] for other in NOUNS]
    run, data = Run(tmp_path), load_data(Recipe(task=task), rows)
    (run.folder / "recipe.yaml").write_text(to_yaml(Recipe(task=task)))
    run.evaluation.mkdir()
    (run.evaluation / "predictions.jsonl").write_text("{}\n")
    monkeypatch.setattr(overlap, "rows_of", lambda run: data)
    with pytest.raises(DataError, match=f"task {task} writes no answers"): answer_overlap(run)


def test_looking_up_is_the_same_in_pieces(monkeypatch):
    known, asked = [f"def get_{noun}(self)" for noun in NOUNS], [f"def {noun}_of(a, b)" for noun in reversed(NOUNS)]
    whole = looked_up(asked, known, NOUNS)
    monkeypatch.setattr(overlap, "_ROWS_AT_ONCE", 5)
    assert looked_up(asked, known, NOUNS) == whole == NOUNS[::-1]
    assert looked_up(["same", "same"], ["same", "same"], ["first", "second"]) == ["first", "first"]


def test_an_answer_is_known_as_exact_match_has_it():
    found = overlap_of(["The Sum!", "a product"], {"m": ["sum", "sum"]}, ["sum."])
    assert found["known"] == {"rows": 1, "m": {"exact_match": 1.0, "chrf": found["known"]["m"]["chrf"]}} and found["new"]["m"]["exact_match"] == 0
    head, known, new, everything = overlap_table(found)
    assert head == ["", "test rows", "m"] and [line[2] for line in (known, new, everything)] == ["100.0 %", "0.0 %", "50.0 %"]
