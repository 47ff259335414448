"""Which columns, which values: right tables give exactly their rows, doubtful ones a message with the way out."""

import pandas as pd
import pytest

from finetune_wb.data.columns import check_labels, find_columns, to_rows
from finetune_wb.data.table import Table
from finetune_wb.errors import DataError
from finetune_wb.recipe import DataSpec

TEXTS = [f"this is text number {i} of a table" for i in range(40)]
CLASSES = ["sport", "world"] * 20


def table(file="a.csv", unit="line", **columns):
    rows = list(zip(*columns.values()))
    return Table(tuple(columns), rows, list(range(2, len(rows) + 2)), file, unit)


def rows(text, label): return table(text=text, label=label)


FOUND = {
    "usual names": (dict(text=TEXTS, label=CLASSES), {}, ("text", "label")),
    "case and order": (dict(Label=CLASSES, Text=TEXTS), {}, ("Text", "Label")),
    "banking77": (dict(text=TEXTS, category=CLASSES), {}, ("text", "category")),
    "other names": (dict(utterance=TEXTS, intent=CLASSES), {}, ("utterance", "intent")),
    "text wins over title": (dict(title=TEXTS, text=TEXTS, label=CLASSES), {}, ("text", "label")),
    "names in words": (dict(text=TEXTS, label=[0, 1] * 20, label_text=CLASSES), {}, ("text", "label_text")),
    "not the same classes": (dict(text=TEXTS, label=[0, 1] * 20, topic=["a", "b", "c", "d"] * 10), {}, ("text", "label")),
    "numbers, when asked for": (dict(text=TEXTS, label=[0, 1] * 20, label_text=CLASSES), {"label": "label"}, ("text", "label")),
    "by content": (dict(phrase=TEXTS, domain=CLASSES), {}, ("phrase", "domain")),
    "label by content, beside an id": (dict(id=list(range(40)), text=TEXTS, domain=CLASSES), {}, ("text", "domain")),
    "text by content": (dict(phrase=TEXTS, label=CLASSES), {}, ("phrase", "label")),
    "named": (dict(text=TEXTS, title=TEXTS, label=CLASSES, kind=CLASSES), {"text": "title", "label": "kind"}, ("title", "kind")),
    "answer named as label": (dict(question=TEXTS, answer=CLASSES), {"label": "answer"}, ("question", "answer")),
}


@pytest.mark.parametrize("case", FOUND)
def test_columns_are_found(case):
    columns, spec, expected = FOUND[case]
    assert find_columns(table(**columns), DataSpec(**spec)) == ("classification", *expected)


NOT_FOUND = {
    "two texts": (dict(title=TEXTS, content=TEXTS, label=CLASSES), {}, ['several columns could be the text: "title" (such as', '"content"', "data.text=title"]),
    "two labels": (dict(text=TEXTS, intent=CLASSES, topic=CLASSES[::-1] + []), {}, ['"intent" (such as "sport"', '"topic"', "data.label=intent"]),
    "two labels by content": (dict(text=TEXTS, x=CLASSES, y2=CLASSES), {}, ["several columns could be the label", '"x"', '"y2"']),
    "both": (dict(title=TEXTS, content=TEXTS, intent=CLASSES, topic=CLASSES), {}, ["could be the text", "could be the label"]),
    "no label": (dict(text=TEXTS, number=list(range(40))), {}, ["no column looks like the label", '"number"', "data.label=…"]),
    "not there": (dict(text=TEXTS, category=CLASSES), {"label": "categry"}, ['field "data.label"', '"categry"', 'Did you mean "category"?', '"text", "category"']),
    "both not there": (dict(text=TEXTS, category=CLASSES), {"label": "x", "text": "zz"}, ["data.label", "data.text", "Known: text, category"]),
    "case matters when named": (dict(Text=TEXTS, label=CLASSES), {"text": "text"}, ['Did you mean "Text"?']),
    "same column twice": (dict(text=TEXTS, label=CLASSES), {"text": "label", "label": "label"}, ["named as text and as label", '"label"']),
    "messages": (dict(messages=[[{"role": "user"}]] * 40), {}, ["looks like chat data", "data.text=", "data.label="]),
    "conversations": (dict(id=TEXTS, conversations=[[]] * 40), {}, ["chat data"]),
    "prompt and completion": (dict(prompt=TEXTS, completion=TEXTS), {}, ["prompt and completion data"]),
    "alpaca": (dict(instruction=TEXTS, input=TEXTS, output=TEXTS), {}, ["prompt and completion data"]),
    "gsm8k": (dict(question=TEXTS, answer=TEXTS), {}, ["prompt and completion data"]),
    "preference": (dict(prompt=TEXTS, chosen=TEXTS, rejected=TEXTS), {}, ["preference data"]),
    "pairs": (dict(premise=TEXTS, hypothesis=TEXTS, label=CLASSES), {}, ["pairs of texts"]),
    "tagged": (dict(tokens=[["a"]] * 40, ner_tags=[[0]] * 40), {}, ["token classification"]),
    "plain text": (dict(text=TEXTS), {}, ["plain text, without labels"]),
}


@pytest.mark.parametrize("case", NOT_FOUND)
def test_doubtful_columns_are_asked_for(case):
    columns, spec, parts = NOT_FOUND[case]
    with pytest.raises(DataError) as caught: find_columns(table(**columns), DataSpec(**spec))
    for part in ["a.csv", *parts]: assert part in str(caught.value)


CONVERTED = {
    "text": (["a", "b"], ["x", "y"], ["x", "y"]),
    "NA, None, null, nan are names": (["a"] * 4, ["NA", "None", "null", "nan"], ["NA", "None", "null", "nan"]),
    "007": (["007"], ["007"], ["007"]),
    "whole numbers": (["a", "b", "c"], [1, 2, 10**25], ["1", "2", str(10**25)]),
    "1..N as text": (["a", "b"], ["1", "2"], ["1", "2"]),
    "-1 and -100": (["a", "b"], [-1, -100], ["-1", "-100"]),
    "true and false": (["a", "b"], [True, False], ["true", "false"]),
    "odd names": (["a"] * 4, ["$\\frac{", "[/b]", "<script>", "x\ny"], ["$\\frac{", "[/b]", "<script>", "x\ny"]),
    "long text": (["w " * 100_000], ["x"], ["x"]),
    "emoji": (["👩‍👩‍👧"], ["😀"], ["😀"]),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_values_are_converted_on_purpose(case):
    texts, labels, names = CONVERTED[case]
    frame, notes = to_rows(rows(texts, labels), "text", "label")
    assert list(frame.columns) == ["text", "label", "origin"] and notes == ()
    assert frame.text.tolist() == texts and frame.label.tolist() == names and frame.origin[0] == "a.csv:2"


NAN = float("nan")
REFUSED = {
    "empty text": (["a", ""], ["x", "y"], ["line 3", 'field "text"', "is empty", "data.bad_rows=drop"]),
    "blank text": (["a", " \t\u200b"], ["x", "y"], ["line 3", 'field "text"', "nothing visible"]),
    "no text": (["a", None], ["x", "y"], ["line 3", 'field "text"', "is missing"]),
    "no label": (["a", "b"], ["x", None], ["line 3", 'field "label"', "is missing"]),
    "empty label": (["a", "b"], ["x", ""], ["line 3", 'field "label"', "is empty"]),
    "NaN label": (["a", "b"], ["x", NAN], ["line 3", 'field "label"', "is NaN"]),
    "NaN text": ([NAN, "b"], ["x", "y"], ["line 2", 'field "text"', "is NaN"]),
    "both": (["", "b"], ["x", ""], ["line 2", "line 3"]),
    "all texts empty": (["", None, " "], ["x", "y", "x"], ['field "text"', "empty in all 3 rows"]),
    "all labels missing": (["a", "b"], [None, NAN], ['field "label"', "empty in all 2 rows"]),
    "fractions": (["a", "b"], [0.5, 1.0], ["line 2", 'field "label"', "0.5", "regression"]),
    "whole fractions": (["a", "b"], [1.0, NAN], ["1.0", "beside missing values", "whole numbers"]),
    "infinity": (["a", "b"], [float("inf"), 1.0], ["fractions"]),
    "1 and text 1": (["a", "b"], ["1", 1], ["mix types", 'first in line 2: "1"', "first in line 3: 1"]),
    "True and yes": (["a", "b"], [True, "yes"], ["mix types", "True", '"yes"']),
    "lists": (["a", "b"], [["x"], ["y", "z"]], ['field "label"', "is a list", "one class a row"]),
    "objects": (["a", "b"], [{"x": 1}, {"x": 2}], ["is an object"]),
    "text is numbers": ([1, 2], ["x", "y"], ["line 2", 'field "text"', "a whole number in 2 rows", "data.text="]),
    "text is a list": (["a", ["b"]], ["x", "y"], ["line 3", "a list in 1 rows"]),
    "text is bytes": ([b"a", b"b"], ["x", "y"], ["raw bytes"]),
    "lone surrogate": (["a", "b\ud83d"], ["x", "y"], ["line 3", 'field "text"', r"b\ud83d", "lone surrogate"]),
    "lone surrogate in a label": (["a", "b"], ["x", "\udc00"], ["line 3", 'field "label"', "lone surrogate"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_mean_nothing_are_refused(case):
    texts, labels, parts = REFUSED[case]
    with pytest.raises(DataError) as caught: to_rows(rows(texts, labels), "text", "label")
    for part in ["a.csv", *parts]: assert part in str(caught.value)


def test_drop_counts_and_leaves_the_rest():
    frame, notes = to_rows(rows(["a", "", "c", None, "e"], ["x", "y", " ", "x", "y"]), "text", "label", bad_rows="drop")
    assert frame.text.tolist() == ["a", "e"] and frame.origin.tolist() == ["a.csv:2", "a.csv:6"]
    assert notes == ("a.csv: 3 rows without text or label were left out (line 3, 4, 5).",)
    with pytest.raises(DataError, match="mix types"): to_rows(rows(["a", "b"], ["x", 1]), "text", "label", bad_rows="drop")
    assert len(to_rows(rows(["", ""], ["x", "y"]), "text", "label", bad_rows="drop")[0]) == 0


def test_rows_of_sources_without_lines():
    with pytest.raises(DataError, match='DataFrame, row 3, field "text": the value is missing'): to_rows(table("DataFrame", "row", text=["a", None], label=["x", "y"]), "text", "label")


def frame(labels, texts=None):
    return pd.DataFrame({"text": texts or [f"text {i}" for i in range(len(labels))], "label": labels, "origin": [f"a.csv:{i + 2}" for i in range(len(labels))]})


ALIKE = {
    "case": (["pos", "neg", "pos", "Pos"], ["a.csv:5", '"Pos" (1 rows) and "pos" (2 rows)', 'Did you mean "pos"?']),
    "spaces": (["pos", "neg", "pos", " pos "], ["a.csv:5", '" pos "', 'Did you mean "pos"?']),
    "inner spaces": (["card lost", "card  lost", "card lost"], ["a.csv:3"]),
    "zero width": (["pos", "pos", "pos\u200b"], ["a.csv:4", r"pos\u200b"]),
    "composed and decomposed": (["café", "café", "cafe\u0301"], ["a.csv:4"]),
    "true and yes": (["True", "yes", "False", "no"], ["true/false with yes/no", '"True"', "alike"]),
    "ids": ([f"id-{i}" for i in range(30)] + ["id-1"] * 5, ["30 classes in 35 rows", "id column", "data.label="]),
    "fractions as text": ([str(i % 30 / 7) for i in range(90)], ["fractions", "regression"]),
}


@pytest.mark.parametrize("case", ALIKE)
def test_class_names_that_cannot_be_meant(case):
    labels, parts = ALIKE[case]
    with pytest.raises(DataError) as caught: check_labels(frame(labels), "label", "a.csv")
    for part in ['field "label"', *parts]: assert part in str(caught.value)


@pytest.mark.parametrize("labels", [["x"] * 99 + ["y"], ["1", "2", "3"], ["1.0", "2.0"], ["0.5", "1.0"] * 3, ["yes", "no", "maybe"], ["true", "false"], ["a", "b", "c", "d"]])
def test_class_names_that_are_fine(labels): assert check_labels(frame(labels), "label", "a.csv") == ()


def test_notes_on_class_names():
    assert check_labels(frame(["a", "-1", "-100"]), "label", "a.csv")[0] == 'The class "-1" (1 rows) often means "no label": it is kept as a class.'
    assert "10000 classes" in check_labels(frame([f"class {i % 10_000}" for i in range(30_000)]), "label", "a.csv")[0]
    assert "spaces around" in check_labels(frame([" a", "b"]), "label", "a.csv")[0]
    texts = [f"my lost card number {i}" for i in range(10)] + [f"hello {i}" for i in range(10)]
    note, = check_labels(frame(["lost_card"] * 10 + ["greeting"] * 10, texts), "label", "a.csv")
    assert '"lost_card"' in note and "greeting" not in note
