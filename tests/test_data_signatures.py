"""The built-in prompts and answers: one of each, a split that text alone decides, the same rows in every process."""

import hashlib
import re
import subprocess
import sys
from collections import Counter

import pytest

from finetune_wb.data import signatures
from finetune_wb.data.copies import copy_groups, copy_key
from finetune_wb.data.load import load_data
from finetune_wb.data.signatures import (
    PACKAGES,
    documented_objects,
    package_files,
    share_named,
    signature_rows,
    split_of,
    summary_of,
)
from finetune_wb.errors import DataError
from finetune_wb.recipe import DataSpec, Recipe

PRINT_HASH = """
import hashlib, sys
from finetune_wb.data.signatures import signature_rows
rows = signature_rows()
loaded = {"torch", "transformers", "sklearn", "matplotlib"} & set(sys.modules)
print(hashlib.sha256("".join(part.to_json() for part in rows.values()).encode()).hexdigest(), sorted(loaded))
"""


@pytest.fixture(scope="module")
def rows(): return signature_rows()


@pytest.fixture(scope="module")
def data(rows): return load_data(Recipe(data=DataSpec(source="builtin:signatures")))


def test_rows_are_a_signature_and_a_sentence(rows):
    assert list(rows) == ["train", "valid", "test"] and len(rows["train"]) > 1_800 and len(rows["test"]) > 120 and len(rows["valid"]) > 45
    for part in rows.values():
        for turns in part.messages:
            assert [turn["role"] for turn in turns] == ["user", "assistant"]
            prompt, answer = (turn["content"] for turn in turns)
            assert re.match(r"def [a-z]\w*\(.*\)( -> .+)?$", prompt, re.IGNORECASE) and summary_of(answer) == answer and "\n" not in prompt


def test_a_signature_names_its_answer_or_the_answer_comes_again(rows):
    times = Counter(copy_key(turns[1]["content"]) for part in rows.values() for turns in part.messages)
    odd = [turns for part in rows.values() for turns in part.messages if share_named(turns[0]["content"], turns[1]["content"]) < 2 / 3 and times[copy_key(turns[1]["content"])] == 1]
    assert len(odd) < len(rows["train"]) / 10  # whose other rows were near copies of test's


def test_a_known_answer_is_in_train_and_a_new_one_nowhere_else(rows):
    answers = {split: {copy_key(turns[1]["content"]) for turns in part.messages} for split, part in rows.items()}
    for split in ("valid", "test"):
        own = [turns[1]["content"] for turns in rows[split].messages]
        new, known = ({copy_key(answer) for answer in own if split_of(answer) == side} for side in (split, "train"))
        assert new | known == answers[split] and known <= answers["train"] and not new & (answers["train"] | answers["test" if split == "valid" else "valid"])
        assert len(new) > 1.2 * len(known) > 12


def test_loaded_they_are_an_instruction_task_without_leaks(data):
    near = re.findall(r"(\d+) of (\d+) \w+ rows are near copies", " ".join(data.notes))  # by a finer measure than the one that parts them below
    assert data.task == "instruction" and all(int(count) <= 0.08 * int(rows) for count, rows in near), data.notes
    parts = {split: getattr(data, split).messages for split in ("train", "valid", "test")}
    keys = [copy_key(turns[0]["content"], digits=True) for part in parts.values() for turns in part]
    assert len(set(keys)) == len(keys)
    prompts, answers = ([turns[place]["content"] for part in parts.values() for turns in part] for place in (0, 1))
    sides = [split for split, part in parts.items() for _ in part]
    assert all(split_of(answer) in (side, "train") for answer, side in zip(answers, sides))
    for texts in (prompts, [f"{prompt}\n{answer}" for prompt, answer in zip(prompts, answers)]):
        assert len(set(zip(copy_groups(texts), sides))) == len(set(copy_groups(texts))), "near copies on two sides"


def test_the_note_names_the_packages_that_were_read(rows, data):
    read = {origin.split(":")[0] for part in rows.values() for origin in part.origin}
    assert read <= set(PACKAGES) and len(read) >= 12 and all(f"{package} " in data.notes[0] for package in read)


@pytest.mark.parametrize(("signature", "summary", "share"), [
    ("def get_linespacing(self)", "Get the line spacing.", 1),  # the words as letters, wherever they stand
    ("def encode(facility)", "Encodes facilities for people.", 1 / 2),  # stems; "for" has three letters
    ("def whole(self)", "whole", 0),  # the first word alone
    ("def f(x)", "Do it.", 0),
    ("def f(größe)", "Return GRÖSSEN.", 1),
    ("def f(x)", "", 0),
])
def test_the_share_of_words_that_a_signature_names(signature, summary, share):
    assert share_named(signature, summary) == pytest.approx(share)


def test_seed_and_fractions_move_no_row(data):
    other = load_data(Recipe(data=DataSpec(source="builtin:signatures", seed=5, test_fraction=0.4)))
    assert other.split_fingerprint == data.split_fingerprint
    few = load_data(Recipe(data=DataSpec(source="builtin:signatures", max_rows=200)))
    assert len(few.train) + len(few.valid) + len(few.test) == 200
    assert set(few.test.origin) <= set(data.test.origin)


def test_another_task_is_refused():
    with pytest.raises(DataError, match="prompts and completions, and the task is classification.*task=instruction"): load_data(Recipe(task="classification", data=DataSpec(source="builtin:signatures")))
    with pytest.raises(DataError, match='Did you mean "builtin:signatures"'): load_data(Recipe(data=DataSpec(source="builtin:signature")))


def test_another_process_reads_the_same_and_imports_nothing(rows):
    said = subprocess.run([sys.executable, "-c", PRINT_HASH], capture_output=True, text=True, timeout=300, check=True, env={"PYTHONHASHSEED": "7", "PATH": ""}).stdout.split()
    assert said == [hashlib.sha256("".join(part.to_json() for part in rows.values()).encode()).hexdigest(), "[]"]


@pytest.mark.parametrize(("docstring", "summary"), [
    ("Return a mean.", None),  # shorter than fifteen characters
    ("Return the mean value.", "Return the mean value."),
    ("Return the mean value\n\nOf all.", "Return the mean value"),
    ("Return `a.b` of the given\n    array, e.g. this one. Then more.", "Return `a.b` of the given array, e.g. this one."),
    ("return the mean value.", None),
    ("x : array_like\n  The values of it.", None),
    ("A" * 3 + "b " * 80, None),
    ("Return 1 2 3 4 5 6 + 7 = 8 (!)", None),
])
def test_the_first_sentence(docstring, summary):
    assert summary_of(docstring) == summary


def test_signatures_are_what_the_source_says(tmp_path):
    source = '''
try:
    async def fetch(url: str, *rest, wait=1.5, **more) -> "bytes":
        "Fetch the thing from there."
except ImportError:
    pass
if True:
    class Box(list[int], object):
        def inside(self, /, a, *, b=(1, 2)):
            "Say what is inside."
            def never(): "Not this one."
def bare(): pass
'''
    file = tmp_path / "a.py"
    file.write_text(source)
    assert [(thing.kind, thing.signature) for thing in documented_objects(file, "a.py")] == [
        ("def", "def fetch(url: str, *rest, wait=1.5, **more) -> 'bytes'"), ("def", "def inside(self, /, a, *, b=(1, 2))")]
    file.write_bytes(b"\xff\xfe broken")
    assert documented_objects(file, "a.py") == [] and package_files("this_is_no_package") == []


def test_without_libraries_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(signatures, "PACKAGES", {})
    signatures._all_rows.cache_clear()
    try:
        with pytest.raises(DataError, match="data of your own"): signature_rows()
    finally: signatures._all_rows.cache_clear()
