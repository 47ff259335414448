"""Leaks and giveaways: planted ones are found to the last, honest data is left in peace, and test rows never change place."""

import random

import numpy as np
import pandas as pd
import pytest
from planted_copies import EDITS, SETS, SHARED, plant, published, reformed, rows_of_parts

from finetune_wb.data.alike import alike
from finetune_wb.data.findings import Rows
from finetune_wb.data.giveaways import find_giveaways
from finetune_wb.data.leaks import find_group_leaks, find_leaks, find_near_leaks, find_template_leaks, find_time_leaks
from finetune_wb.errors import DataError

WORDS = "account address airport balance bridge candle carpet cheque city cloud coffee crown desert dinner doctor engine festival flight forest garden guitar harbour island journey kitchen ladder letter market".split()
public = pytest.mark.skipif(not SHARED.exists(), reason="the public data is not beside the project")


def made(count, seed=0, words=12):
    chance = random.Random(seed)
    return [" ".join(chance.choice(WORDS) for _ in range(words)) for _ in range(count)]


def parts(**splits): return rows_of_parts({split: [(text, "a") for text in texts] for split, texts in splits.items()})


def with_columns(rows, **columns): return Rows(rows.ids, rows.split, rows.texts, rows.labels, rows.frame.assign(**{f"extra:{name}": values for name, values in columns.items()}), rows.task, rows.label_names)


def dropped(finding): return {change.row for change in finding.cures.get("drop", ())}


# ---- texts -----------------------------------------------------------------------------------------------------------

def test_the_later_split_keeps_a_row():
    a, b, c, d = made(4)
    rows = parts(train=[a, b, c, a.upper(), d], valid=[b, c + "."], test=[a, f"  {c}"])
    finding = find_leaks(rows)[0]
    assert finding.severity == "error" and set(finding.rows) == {"train:1", "train:4", "train:3", "train:2", "valid:2"} == dropped(finding)
    assert ("test:1", "train:1", "train:4") in finding.groups and ("valid:1", "train:2") in finding.groups and finding.rows[-1] == "train:2"


@public
@pytest.mark.parametrize("name", SETS)
def test_every_planted_leak_is_found_in_public_data(name):
    data, chance = published(name), random.Random(0)
    before = {row for finding in find_leaks(rows_of_parts(data)) for row in finding.rows}
    leaked = [(copy, data["test"][place][1]) for place, copy in plant([text for text, _ in data["test"]], reformed, 200, chance)]
    rows = rows_of_parts({**data, "train": [*data["train"], *leaked]})
    finding = find_leaks(rows)[0]
    planted = {f"train:{len(data['train']) + 1 + i}" for i in range(len(leaked))}
    assert planted <= set(finding.rows) and set(finding.rows) - planted == before


@pytest.mark.parametrize("kind", EDITS)
def test_near_leaks_are_found_and_nothing_else(kind):
    train, test = made(800), made(300, seed=1)
    copies = plant(test, EDITS[kind], 100, random.Random(2))
    rows = parts(train=[*train, *(copy for _, copy in copies)], test=test)
    finding = find_near_leaks(rows)[0]
    planted = {f"train:{801 + i}": f"test:{place + 1}" for i, (place, _) in enumerate(copies)}
    partner = {row: group[0] for group in finding.groups for row in group[1:]}
    assert set(finding.rows) <= set(planted) and len(finding.rows) >= 98 and all(partner[row] == planted[row] for row in finding.rows) and dropped(finding) == set(finding.rows)


def test_near_rows_with_another_label_are_no_leak():
    rows = rows_of_parts({"train": [("please activate my new card today", "on"), *((text, "on") for text in made(9))], "test": [("please deactivate my new card today", "off")]})
    assert find_leaks(rows) == find_near_leaks(rows) == []


def test_templates_across_splits_are_a_note():
    rows = parts(train=[f"what is the capital of {word}" for word in WORDS[:15]], test=[f"what is the capital of {word}" for word in WORDS[15:25]])
    found = alike(rows.texts)
    finding = find_template_leaks(rows, found)[0]
    assert finding.severity == "note" and len(finding.rows) == 15 and not finding.cures and find_near_leaks(rows, found) == [] == find_leaks(rows, found)


def test_a_question_in_test_with_another_answer_in_train():
    def chat(question, answer): return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    lines = [("train", "Why is the sky blue?", "It scatters."), *(("train", "Go on.", f"And then {i}.") for i in range(8)), ("test", "why is the sky blue", "Rayleigh."), ("test", "Go on.", "The end.")]
    frame = pd.DataFrame({"messages": [chat(*line[1:]) for line in lines], "origin": [f"{line[0]}:{i}" for i, line in enumerate(lines)]})
    rows = Rows(tuple(frame.origin), np.array([line[0] for line in lines]), ["\n".join(line[1:]) for line in lines], None, frame, "chat")
    assert [(f.severity, f.rows) for f in find_leaks(rows)] == [("warning", ("train:0",))]


@pytest.mark.parametrize("rows", [parts(train=[]), parts(train=["a"]), parts(train=["a", "a", ""]), parts(test=["a", "a"])], ids=["none", "one", "train", "test"])
def test_one_split_has_no_leak(rows):
    for check in (find_leaks, find_near_leaks, find_template_leaks, find_group_leaks, find_time_leaks): assert check(rows) == []


# ---- groups and times ------------------------------------------------------------------------------------------------

def grouped(**columns): return with_columns(parts(train=made(60), valid=made(20, 1), test=made(20, 2)), **columns)


def test_groups_that_cross_splits():
    owners = [f"c{i // 4}" for i in range(60)] + [f"v{i // 4}" for i in range(20)] + [f"t{i // 4}" for i in range(20)]
    assert find_group_leaks(grouped(customer_id=owners)) == []
    owners[0], owners[1], owners[60] = "t0", "v0", "t1"
    finding = find_group_leaks(grouped(customer_id=owners))[0]
    assert finding.severity == "warning" and finding.rows == ("train:1", "valid:1", "train:2") and dropped(finding) == set(finding.rows) and "data.group=customer_id" in finding.fix
    assert find_group_leaks(grouped(shop=owners)) == [] and find_group_leaks(grouped(shop=owners), group="shop")[0].severity == "error"


@pytest.mark.parametrize("values", [list(range(100)), ["web", "mail"] * 50, [None] * 100, [*["", " "] * 40, *range(20)], ["all"] * 100], ids=["each its own", "two", "missing", "blank", "one"])
def test_columns_that_are_called_a_group_and_are_none(values): assert find_group_leaks(grouped(customer=values)) == []


def test_groups_that_are_everywhere_are_not_dropped():
    finding = find_group_leaks(grouped(thread=[i % 10 for i in range(100)]), group="thread")[0]
    assert len(finding.rows) == 80 and not finding.cures and "Split anew" in finding.fix


def test_an_unknown_column_is_refused():
    with pytest.raises(DataError, match="customer"): find_group_leaks(grouped(customer=["x"] * 100), group="custmer")
    with pytest.raises(DataError, match="no such column"): find_time_leaks(grouped(), time="when")


def days(numbers): return [str(np.datetime64("2024-01-01") + int(number)) for number in numbers]


def test_rows_from_the_future():
    assert find_time_leaks(grouped(date=days(range(100)))) == []
    numbers = list(range(100))
    numbers[3], numbers[70] = 95, 99
    finding = find_time_leaks(grouped(date=days(numbers)))[0]
    assert finding.severity == "warning" and set(finding.rows) == {"train:4", "valid:11"} == dropped(finding)
    assert find_time_leaks(grouped(when=days(numbers))) == [] and find_time_leaks(grouped(when=days(numbers)), time="when")[0].severity == "error"


def test_a_random_split_of_dated_rows_is_a_note():
    finding = find_time_leaks(grouped(created_at=days(np.random.default_rng(0).permutation(100))))[0]
    assert finding.severity == "note" and not finding.cures and "data.split=time" in finding.fix


@pytest.mark.parametrize("values", [[i % 7 for i in range(100)], ["soon"] * 100, [None] * 100, np.random.default_rng(0).random(100).tolist()], ids=["weekday", "words", "missing", "seconds taken"])
def test_columns_that_are_called_a_time_and_are_none(values): assert find_time_leaks(grouped(time=values)) == []


# ---- giveaways -------------------------------------------------------------------------------------------------------

def labelled(texts, labels, **columns): return with_columns(rows_of_parts({"train": list(zip(texts, labels))[:400], "test": list(zip(texts, labels))[400:]}), **columns)


TEXTS = [text.capitalize() for text in made(500, 3, 8)]
COIN = [("good", "bad")[i] for i in np.random.default_rng(1).integers(0, 2, 500)]
SHAPES = {
    "a tag": lambda text, label: f"{text} #{label[0]}" if label == "good" else text, "a tag for each class": lambda text, label: f"__label__{len(label)} {text}",
    "capitals": lambda text, label: text.upper() if label == "bad" else text, "a full stop": lambda text, label: text + "." * (label == "bad"), "a space": lambda text, label: text + " " * (label == "bad"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_gives_the_label_away_is_an_error(shape):
    rows = labelled([SHAPES[shape](text, label) for text, label in zip(TEXTS, COIN)], COIN)
    assert "error" in {finding.severity for finding in find_giveaways(rows)}


@pytest.mark.parametrize("shape", ["a tag", "a tag for each class"])
def test_the_cure_takes_the_word_out_everywhere(shape):
    rows = labelled([SHAPES[shape](text, label) for text, label in zip(TEXTS, COIN)], COIN)
    finding = find_giveaways(rows)[0]
    new = {change.row: change.value for change in finding.cures["edit"]}
    mended = [new.get(row, text) for row, text in zip(rows.ids, rows.texts)]
    assert mended == TEXTS and any(row.startswith("test") for row in new) and find_giveaways(labelled(mended, COIN)) == []


def test_chance_gives_nothing_away(): assert find_giveaways(labelled(TEXTS, COIN)) == []


def test_a_weaker_hint_is_a_warning():
    chance = random.Random(0)
    rows = labelled([f"{text} {'terrible' if (label == 'bad') == (chance.random() < 0.85) else 'splendid'}" for text, label in zip(TEXTS, COIN)], COIN)
    assert {finding.severity for finding in find_giveaways(rows)} == {"warning"}


def test_columns_that_know_the_label():
    columns = {"label_id": [len(label) for label in COIN], "team": [f"{label}{i % 4}" for i, label in enumerate(COIN)], "id": list(range(500)), "source": ["web", "mail"] * 250, "nothing": [None] * 500}
    findings = find_giveaways(labelled(TEXTS, COIN, **columns))
    assert [(f.severity, name) for f, name in zip(findings, ("label_id", "team")) if name in f.what] == [("note", "label_id"), ("warning", "team")] and len(findings) == 2


def test_the_class_in_its_own_text():
    names = {"good": "card_arrival", "bad": "lost_card"}
    labels = [names[label] for label in COIN]
    few = labelled([f"{text} (card_arrival)" if label == "card_arrival" and i % 20 == 0 else text for i, (text, label) in enumerate(zip(TEXTS, labels))], labels)
    finding, = find_giveaways(few)
    assert finding.severity == "warning" and all(few.labels[few.ids.index(row)] == "card_arrival" for row in finding.rows) and {change.value for change in finding.cures["edit"]} <= set(TEXTS)
    everywhere = labelled([f"{label.replace('_', ' ')}: {text}" for text, label in zip(TEXTS, labels)], labels)
    assert "error" in {finding.severity for finding in find_giveaways(everywhere)}


@public
@pytest.mark.parametrize("name", ["banking77", "clinc150"])
def test_honest_keywords_are_at_most_a_note(name): assert {finding.severity for finding in find_giveaways(rows_of_parts(published(name)))} <= {"note"}


def test_many_classes_and_few_rows():
    assert find_giveaways(rows_of_parts({"train": [(f"text {i}", f"class {i}") for i in range(10_000)]})) == []
    assert find_giveaways(rows_of_parts({"train": [("one", "a"), ("two", "b")]})) == [] == find_giveaways(rows_of_parts({"train": [("one", "a")] * 100}))


def pairs(*lines):
    def answer(text): return [{"role": "assistant", "content": text}]
    frame = pd.DataFrame({"messages": [[{"role": "user", "content": text}] for text, _, _ in lines], "chosen": [answer(text) for _, text, _ in lines], "rejected": [answer(text) for _, _, text in lines], "origin": [str(i) for i in range(len(lines))]})
    return Rows(tuple(frame.origin), np.full(len(lines), "train"), [" ".join(line) for line in lines], None, frame, "preference")


def test_pairs_told_by_length_or_by_a_word():
    long, short, asked = made(100, 5, 20), made(100, 6, 5), made(100, 7, 6)
    assert [(f.severity, "longer" in f.what) for f in find_giveaways(pairs(*zip(asked, long, short)))][0] == ("error", True)
    same = made(100, 8, 20)
    assert any("sorry" in f.what and f.severity == "error" for f in find_giveaways(pairs(*zip(asked, long, [f"Sorry, {text}" for text in same]))))
    swapped = [(question, *((one, other) if i % 2 else (other, one))) for i, (question, one, other) in enumerate(zip(asked, long, short))]
    assert find_giveaways(pairs(*swapped)) == []
