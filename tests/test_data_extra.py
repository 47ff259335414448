"""Further columns travel with the rows and change nothing; tables that are hardly tables; files that change under the reader."""

import datetime
import decimal
import json
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from finetune_wb.data.kept import keep_rows, kept_rows
from finetune_wb.data.load import load_data
from finetune_wb.data.split import SPLITS
from finetune_wb.errors import DataError
from finetune_wb.recipe import DataSpec, Recipe, override
from finetune_wb.training.examples import load_examples

WORDS = "harbour lantern copper meadow violin glacier pepper saddle thunder walnut compass ribbon".split()
ROWS = [{"text": f"{a} and {b} on a {c}", "label": "pq"[i % 2]} for i, (a, b, c) in enumerate((a, b, c) for a in WORDS for b in WORDS[:4] for c in WORDS[4:6] if a != b)]
HOSTILE = ["=cmd|'/c calc'!A1", "<script>alert(1)</script>", "\u202eabc", "text", "origin", "label ", "extra:text", "a\nb", "\x1b[31m"]


def load(rows, task="auto", **spec): return load_data(Recipe(task=task, data=DataSpec(**spec)), rows)
def all_rows(data): return pd.concat([data.train, data.valid, data.test])
def same(one, other): return {split: getattr(one, split).iloc[:, :2].to_dict("list") for split in SPLITS} == {split: getattr(other, split).iloc[:, :2].to_dict("list") for split in SPLITS}


VALUES = {  # kind → (a value, as it travels)
    "text": ("Köln", "Köln"), "blank": ("", ""), "number": (7, 7), "fraction": (0.5, 0.5), "true": (True, True), "nothing": (None, None), "no number": (float("nan"), None),
    "long number": (2**70, str(2**70)), "half a character": ("a\ud800", "a\\ud800"), "list": ([1, "b", None], '[1, "b", null]'), "object": ({"a": {"b": 1}}, '{"a": {"b": 1}}'),
    "day": (datetime.date(2024, 5, 1), "2024-05-01"), "time": (datetime.datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"), "money": (decimal.Decimal("1.10"), "1.10"),
    "id": (uuid.UUID(int=5), str(uuid.UUID(int=5))), "bytes": (b"\x89PNG\r\n", "6 bytes"), "image": ({"bytes": b"\xff\xd8" * 600, "path": "cat.jpg"}, "cat.jpg, 1,200 bytes"),
    "array": (np.array([1, 2]), "[1, 2]"), "picture": (np.zeros((32, 32, 3), np.uint8), "uint8 of shape (32, 32, 3)"), "thing": (object(), "a object"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_every_kind_of_value_travels_and_is_kept(kind, tmp_path):
    value, expected = VALUES[kind]
    data = load([{**row, "more": value if i % 3 else None} for i, row in enumerate(ROWS)])
    found = all_rows(data)["extra:more"].tolist()
    assert {*found} == {expected, None} and {*map(type, found)} == {type(expected), type(None)}
    assert same(data, load(ROWS)) and data.fingerprint == load(ROWS).fingerprint and data.split_fingerprint == load(ROWS).split_fingerprint
    keep_rows(data, tmp_path)
    again = kept_rows(tmp_path)
    assert all(getattr(again, split)["extra:more"].tolist() == getattr(data, split)["extra:more"].tolist() for split in SPLITS) and same(again, data)
    assert [*again.bare().train.columns] == ["text", "label", "origin"]


def test_long_lists_are_cut_and_endless_ones_end():
    endless = {}
    endless["again"] = endless
    data = load([{**row, "long": [0.25] * 10_000, "deep": json.loads("[" * 800 + "]" * 800), "endless": endless} for row in ROWS])
    assert max(map(len, data.train["extra:long"])) == 200 and len(data.train["extra:deep"][0]) <= 200 and data.train["extra:endless"][0] == "a dict of 1"


def test_kinds_that_mix_become_text(tmp_path):
    data = load([{**row, "mixed": [1, "x", True, None][i % 4], "numbers": [1, 0.5][i % 2]} for i, row in enumerate(ROWS)])
    assert {*all_rows(data)["extra:mixed"]} == {"1", "x", "true", None} and {*all_rows(data)["extra:numbers"]} == {1.0, 0.5}
    keep_rows(data, tmp_path)
    assert {*all_rows(kept_rows(tmp_path))["extra:mixed"]} == {"1", "x", "true", None}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "frame", "list", "arrow"])
def test_from_every_source(kind, tmp_path):
    rows, path = [{**row, "customer": f"{i // 3:03}", "note": ""} for i, row in enumerate(ROWS)], tmp_path / f"a.{kind}"
    if kind in ("csv", "tsv"): pd.DataFrame(rows).to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    if kind == "jsonl": path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if kind == "json": path.write_text(json.dumps(rows))
    if kind == "parquet": pd.DataFrame(rows).to_parquet(path)
    source = {"frame": pd.DataFrame(rows), "list": rows, "arrow": pyarrow.Table.from_pylist(rows)}.get(kind, str(path))
    data = load(source)
    by_text = {row["text"]: row["customer"] for row in rows}
    assert all(row["extra:customer"] == by_text[row["text"]] and row["extra:note"] == "" for row in all_rows(data).to_dict("records"))
    assert not {*load(source, group="customer").train["extra:customer"]} & {*load(source, group="customer").test["extra:customer"]}


def test_hostile_names_stay_text(tmp_path):
    rows = [{**row, **{name: name for name in HOSTILE if name != "text"}} for row in ROWS]
    data = load(rows, text="text", label="label")
    assert [*data.train.columns] == ["text", "label", "origin", *(f"extra:{name}" for name in HOSTILE if name != "text")] and same(data, load(ROWS))
    keep_rows(data, tmp_path)
    assert [*kept_rows(tmp_path).train.columns] == [*data.train.columns] and kept_rows(tmp_path).train["extra:origin"][0] == "origin"
    lone = load([{**row, "a\ud800": 1} for row in ROWS])
    keep_rows(lone, tmp_path)
    assert [*kept_rows(tmp_path).train.columns][-1] == "extra:a\\ud800"


def test_columns_that_weigh_more_than_the_rows_are_said(monkeypatch):
    monkeypatch.setattr("finetune_wb.data.load._HEAVY", 50_000)
    wide = {f"c{i}": "x" * (i + 1) for i in range(300)}
    data = load([{**row, **wide} for row in ROWS])
    note = next(note for note in data.notes if "further columns" in note)
    assert "300 further columns travel along, with 4 million characters (" in note and '"c299" 0' in note and len(data.train.columns) == 303
    assert not any("further column" in note for note in load(ROWS).notes)


def test_rows_that_are_left_out_take_their_columns_along():
    rows = [{**row, "number": i} for i, row in enumerate(ROWS)]
    rows[5]["text"] = rows[9]["label"] = None
    found = all_rows(load(rows, bad_rows="drop"))
    assert {*found["extra:number"]} == {*range(len(ROWS))} - {5, 9} and all(ROWS[n]["text"] == text for n, text in zip(found["extra:number"], found.text))
    chats = [{"messages": [{"role": "user", "content": row["text"]}, {"role": "assistant", "content": "Yes." if i % 7 else ""}], "number": i} for i, row in enumerate(ROWS)]
    data = load(chats, bad_rows="drop")
    assert all(ROWS[n]["text"] == turns[0]["content"] for n, turns in zip(data.train["extra:number"], data.train.messages)) and 'not read: "number"' in data.notes[0]


def test_a_split_without_the_column_has_nothing_there(tmp_path):
    train, test = [{**row, "number": i} for i, row in enumerate(ROWS[:60])], ROWS[60:]
    data = load({"train": train, "test": test})
    assert {*data.test["extra:number"]} == {None} and {*data.train["extra:number"]} | {*data.valid["extra:number"]} == {*range(60)}
    assert {*map(type, data.train["extra:number"])} == {int}
    keep_rows(data, tmp_path)
    assert kept_rows(tmp_path).train["extra:number"].tolist() == data.train["extra:number"].tolist()


def test_a_model_sees_the_same_tokens():
    asked = [{"prompt": f"What is {row['text']}?", "completion": f"It is {row['label']}."} for row in ROWS]
    recipe = override(Recipe(), "model.id=minidoc", "task=instruction", "model.chat_template=chatml")
    plain, more = (load_examples(recipe, rows) for rows in (asked, [{**row, "customer": i, "text ": "x" * 500} for i, row in enumerate(asked)]))
    assert [*more.data.train.columns] == [*plain.data.train.columns] == ["messages", "origin"]
    for split in ("train", "valid"):
        one, other = (getattr(examples, split).rows for examples in (plain, more))
        assert len(one) == len(other) and all((a.ids == b.ids).all() and (a.trained == b.trained).all() for a, b in zip(one, other))


# ---- tables that are hardly tables


@pytest.mark.parametrize("task, rows, said", [
    ("classification", [{"text": "Where is my order?", "label": "late"}] * 100_000, "all 100000 rows have the same class"),
    ("completion", [{"text": "Where is my order?"}] * 100_000, "its 100,000 rows hold 1 different text"),
    ("completion", [{"text": "Where is my order?" + "!" * (i % 2)} for i in range(1000)], "its 1,000 rows hold 1 different text"),
    ("instruction", [{"prompt": "Where?", "completion": "There."}] * 1000, "its 1,000 rows hold 1 different text"),
    ("classification", [{"text": "Where is my order?", "label": "ab"[i % 2]} for i in range(1000)], "1000 of 1000 rows have the text of another row but another class"),
])
def test_identical_rows_are_refused_with_the_reason(task, rows, said):
    with pytest.raises(DataError, match=said): load(rows, task)


def test_many_copies_of_one_row_beside_others():
    data = load([*ROWS, *[ROWS[0]] * 50_000])
    assert sum(len(getattr(data, split)) for split in SPLITS) == len(ROWS) + 50_000 and len({split for split in SPLITS if ROWS[0]["text"] in {*getattr(data, split).text}}) == 1


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_one_row_of_fifty_megabytes(kind, tmp_path):
    rows, path = [*ROWS, {"text": "giant " * 8_500_000, "label": "p"}], tmp_path / f"a.{kind}"
    if kind == "jsonl": path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else: getattr(pd.DataFrame(rows), f"to_{kind}")(path, index=False)
    assert path.stat().st_size > (10**4 if kind == "parquet" else 5 * 10**7)
    data = load(str(path))
    assert max(map(len, all_rows(data).text)) == 51_000_000 and len(all_rows(data)) == len(rows) and max(map(len, data.notes), default=0) < 1000
    with pytest.raises(DataError) as error: load([*rows[:-1], {"text": rows[-1]["text"], "label": None}])
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("value, kind", [([1, 2], "a list"), ({"bytes": b"\xff", "path": "a.png"}, "an object"), (b"\x89PNG", "raw bytes"), (None, None)])
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_column_of_lists_images_or_nothing_is_no_text_and_no_label(column, value, kind, tmp_path):
    rows = [{**row, column: value} for row in ROWS]
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    for source in (rows, pd.DataFrame(rows), pyarrow.Table.from_pylist(rows), str(tmp_path / "a.parquet")):
        with pytest.raises(DataError) as error: load(source, text="text", label="label")
        assert (f"the {column} is {kind}" if kind else f"the column is empty in all {len(ROWS)} rows") in str(error.value) and len(error.value.problems) == 1


def test_a_column_of_vectors_or_pictures_costs_little(tmp_path):
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.arange(len(ROWS) * 64, dtype=np.float32)), 64)
    table = pyarrow.table({"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS], "vector": vectors, "list": vectors.cast(pyarrow.list_(pyarrow.float32())),
                           "hole": pyarrow.array([[1.5] if i % 2 else None for i in range(len(ROWS))]), "image": [{"bytes": b"\xff" * 99, "path": None}] * len(ROWS), "nothing": pyarrow.nulls(len(ROWS))})
    parquet.write_table(table, tmp_path / "a.parquet")
    data = load(str(tmp_path / "a.parquet"))
    assert data.train["extra:vector"][0].startswith("[") and data.train["extra:list"].tolist() == data.train["extra:vector"].tolist()
    assert {*data.train["extra:hole"]} == {"[1.5]", None} and {*data.train["extra:image"]} == {"a file, 99 bytes"} and {*data.train["extra:nothing"]} == {None}
    keep_rows(data, tmp_path)
    assert kept_rows(tmp_path).train["extra:nothing"].tolist() == data.train["extra:nothing"].tolist()
    with pytest.raises(DataError, match="the label is a list"): load(str(tmp_path / "a.parquet"), label="list")


def test_ten_thousand_classes_from_a_file(tmp_path):
    rows = pd.DataFrame({"text": [f"{WORDS[i % 12]} {i:x} {WORDS[i % 7]} {i * 7919 % 65521:o} {i * 104729 % 65537:x}" for i in range(30_000)], "label": [f"class {i % 10_000}" for i in range(30_000)]})
    rows.to_csv(tmp_path / "a.csv", index=False)
    data = load(str(tmp_path / "a.csv"))
    assert len(data.label_names) == 10_000 and max(map(len, data.notes)) < 600 and sum(len(getattr(data, split)) for split in SPLITS) == 30_000


# ---- a source that changes


def test_a_file_that_is_written_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    read = Path.read_bytes

    def meanwhile(self):
        data = read(self)
        with self.open("a") as file: file.write(json.dumps(ROWS[0]) + "\n")
        return data

    monkeypatch.setattr(Path, "read_bytes", meanwhile)
    with pytest.raises(DataError, match="a.jsonl: the file changed while it was read. Wait until it is written"): load(str(path))


def test_a_file_that_changes_after_it_was_looked_at(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    looked_at = load(str(path))
    pinned = DataSpec(source=str(path), fingerprint=looked_at.fingerprint[:20])
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(ROWS[1:])))
    assert same(looked_at, load(ROWS))  # what is in memory stays
    with pytest.raises(DataError, match='field "data.fingerprint": the rows are not those that the recipe names .*Bring them back'): load_data(pinned)
    path.write_text("\n".join(json.dumps({**row, "more": 1}) for row in ROWS))
    assert load_data(pinned).split_fingerprint == looked_at.split_fingerprint  # further columns and blank lines change no row


def test_fingerprints_tell_which_split_changed():
    data, other = load({"train": ROWS[:60], "test": ROWS[60:]}), load({"train": ROWS[:60], "test": ROWS[61:]})
    one, two = data.fingerprints, other.fingerprints
    assert [split for split in SPLITS if one[split] != two[split]] == ["test"] and len({*one.values()}) == 3
