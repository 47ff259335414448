"""The data gate: planted faults are found on one page, cured by policy on a ledger, and end the road wherever a recipe says so."""

import json
import random

import pandas as pd
import pytest
from typer.testing import CliRunner

from finetune_wb.cli import app
from finetune_wb.data.findings import Change, DataFinding, rows_of
from finetune_wb.data.gate import KINDS, PolicyError, clean, curate, inspect, rows_of_run
from finetune_wb.data.ledger import apply, load_ledger, replay
from finetune_wb.data.load import load_data
from finetune_wb.errors import DataError, WorkbenchError
from finetune_wb.evaluation.evaluate import evaluate
from finetune_wb.recipe import load_recipe, override, to_yaml
from finetune_wb.run import runs
from finetune_wb.training.launch import launch
from finetune_wb.training.train import train

WORDS = "array frame model layer tensor value figure axis library index computes returns sorted river stone window garden letter market copper velvet thunder".split()
KEYS = {"animal": ["cat", "dog", "bird"], "colour": ["red", "green", "blue"], "number": ["one", "two", "three"]}
KEY = "AKIA" + "Q7ZPLM4XVT9KD2HB"  # of the shape of a cloud's access key; opens nothing
MAIL = "vera.long@mailbox.org"


def frames(rows: int = 150) -> dict[str, pd.DataFrame]:
    draw = random.Random(0)
    labels = [list(KEYS)[i % 3] for i in range(rows)]
    texts = [f"{' '.join(draw.sample(WORDS, 9))} {draw.choice(KEYS[label])}" for label in labels]
    frame = pd.DataFrame({"text": texts, "label": labels})
    return {"train": frame[:100].reset_index(drop=True), "valid": frame[100:120].reset_index(drop=True), "test": frame[120:].reset_index(drop=True)}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A folder of three files; what was planted in them stands in the tests' names."""
    folder, parts = tmp_path_factory.mktemp("planted"), frames()
    parts["train"].loc[3, "text"] = parts["test"]["text"][5]  # a leak
    parts["train"].loc[[10, 11], "text"] = parts["train"]["text"][9]
    parts["train"].loc[[10, 11], "label"] = parts["train"]["label"][9]  # copies
    parts["train"].loc[20, "text"] += f", write to {MAIL}"
    parts["train"].loc[21, "text"] += f", write to {MAIL}, key {KEY}"
    for name, part in parts.items():
        part.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture
def recipe(planted, tiny_model):
    return load_recipe({"data": {"source": str(planted)}, "model": {"id": str(tiny_model("bert"))}, "method": {"name": "full", "probe_first": False},
                        "train": {"bf16": False, "threads": 1, "tokens_per_batch": 128, "max_steps": 4}, "evaluate": {"baselines": ["majority"]}})  # fmt: skip


def test_what_was_planted_is_found_and_nothing_is_changed(recipe):
    dataset = load_data(recipe)
    before = dataset.train.copy()
    found = inspect(dataset)
    by_kind = {finding.kind: finding for finding in found}
    assert {"copies", "leak", "personal_data", "secret"} <= by_kind.keys()
    assert by_kind["leak"].severity == "error" and by_kind["leak"].rows[0].startswith("train.csv:5")
    assert set(by_kind["copies"].rows) == {"train.csv:12", "train.csv:13"}
    assert set(by_kind["personal_data"].rows) == {"train.csv:22", "train.csv:23"} and by_kind["secret"].rows == ("train.csv:23",)
    assert dataset.train.equals(before) and dataset.ledger is None


def test_what_is_personal_is_shown_nowhere(recipe):
    found = inspect(load_data(recipe))
    told = str(found) + found._repr_html_() + repr(found) + json.dumps([finding.evidence for finding in found])
    assert MAIL not in told and KEY not in told


def test_a_policy_cures_and_its_ledger_makes_the_same_rows_again(recipe, tmp_path):
    dataset = load_data(recipe)
    mended, ledger = clean(dataset, {"copies": "drop", "leak": "drop", "personal_data": "redact", "secret": "redact"})
    assert len(mended.train) == 97 and len(mended.test) == len(dataset.test)
    everything = "\n".join(rows_of(mended).texts)
    assert MAIL not in everything and KEY not in everything and everything.count("[EMAIL]") == 2
    ledger.save(tmp_path / "ledger.json")
    assert MAIL not in (tmp_path / "ledger.json").read_text() and KEY not in (tmp_path / "ledger.json").read_text()
    again = replay(load_data(recipe), load_ledger(tmp_path / "ledger.json"))
    assert again.train.equals(mended.train) and (again.fingerprint, again.split_fingerprint) == (mended.fingerprint, mended.split_fingerprint)
    back = replay(load_data(recipe), ledger.without(why="copies"))
    assert len(back.train) == 99 and replay(load_data(recipe), ledger.without()).fingerprint == dataset.fingerprint
    assert not {"copies", "leak", "personal_data", "secret"} & {finding.kind for finding in inspect(mended)}


def test_findings_are_cured_as_they_do_by_default(recipe):
    dataset = load_data(recipe)
    mended, ledger = clean(dataset, inspect(dataset, ["copies", "leak"]))
    assert len(mended.train) == 97 and {why for why, _ in ledger.counts()} == {"copies", "leak"}


def test_two_cures_of_one_text_are_both_made(recipe):
    dataset = load_data(recipe)
    text = dataset.train["text"][0]
    row = rows_of(dataset).ids[0]
    one = DataFinding("encoding", "warning", "a", (row,), cures={"edit": (Change(row, "edit", "text", text + " one"),)})
    other = DataFinding("encoding", "warning", "b", (row,), cures={"edit": (Change(row, "edit", "text", text + " two"),)})
    mended, _ = clean(dataset, [one, other])  # the second is looked for again, and isn't there any more
    assert mended.train["text"][0] == text + " one"


@pytest.mark.parametrize(("policy", "message"), [({"copy": "drop"}, "no such kind"), ({"copies": "burn"}, "nothing that can be done"), ({"copies": "relabel"}, "no cure relabel")])
def test_a_policy_that_means_nothing_is_refused(recipe, policy, message):
    with pytest.raises(DataError, match=message):
        clean(load_data(recipe), policy)


def test_a_policy_that_would_take_a_class_away_is_refused(tmp_path):
    parts = frames()
    parts["train"].loc[parts["train"]["label"] == "animal", "text"] = [parts["test"]["text"][i % 10 * 3] for i in range((parts["train"]["label"] == "animal").sum())]
    for name, part in parts.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    dataset = load_data(load_recipe({"data": {"source": str(tmp_path)}}))
    with pytest.raises(DataError, match="take the whole class away|would be in test and not in train"):
        clean(dataset, {"leak": "drop"})


def test_changes_by_hand_and_a_policy_travel_with_a_recipe(recipe, tmp_path):
    source = load_data(recipe)
    by_hand = apply(source, [Change("train.csv:30", "drop"), Change("train.csv:31", "relabel", "label", "number")])
    by_hand.ledger.save(tmp_path / "by_hand.json")
    dataset = curate(override(recipe, f"data.ledger={tmp_path / 'by_hand.json'}", "data.policy.copies=drop", "data.policy.near_copies=report"))
    assert len(dataset.train) == 97 and len(dataset.ledger) == 4 and dataset.ledger.policy == {"copies": "drop", "near_copies": "report"}
    assert curate(override(recipe, "data.policy.copies=drop", "data.policy.near_copies=report"), dataset) is dataset


def test_rows_that_changed_since_the_ledger_are_named(recipe, planted, tmp_path):
    ledger = apply(load_data(recipe), [Change("train.csv:31", "relabel", "label", "number"), Change("train.csv:32", "drop")]).ledger
    ledger.save(tmp_path / "ledger.json")
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text((planted / f"{name}.csv").read_text())
    lines = (tmp_path / "train.csv").read_text().splitlines()
    lines[30], lines[31] = lines[30].rsplit(",", 1)[0] + ",animal" if not lines[30].endswith("animal") else lines[30].rsplit(",", 1)[0] + ",colour", "x" + lines[31]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        curate(override(recipe, f"data.source={tmp_path}", f"data.ledger={tmp_path / 'ledger.json'}"))
    assert "train.csv:31" in str(caught.value) and "train.csv:32" in str(caught.value)


def test_a_run_keeps_its_ledger_and_is_evaluated_on_the_same_rows(recipe, tmp_path):
    run = train(override(recipe, "data.policy.leak=drop", "data.policy.personal_data=redact", "data.policy.secret=redact"), runs_dir=tmp_path)
    assert MAIL not in (run.folder / "ledger.json").read_text() and run.record["data"]["rows"]["train"] == 99
    assert any("Policy leak=drop: 1 row changed" in note for note in run.record["data"]["notes"])
    assert rows_of_run(run).fingerprint == run.record["data"]["fingerprint"]
    evaluate(run)
    assert len((run.folder / "evaluation" / "predictions.jsonl").read_text().splitlines()) == 30
    for path in run.folder.rglob("*"):
        assert not path.is_file() or MAIL.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("start", [train, launch])
def test_fail_ends_the_road_before_a_model_loads(recipe, tmp_path, start):
    with pytest.raises(WorkbenchError, match="leak: .*The policy says fail"):
        start(override(recipe, "data.policy.leak=fail"), runs_dir=tmp_path)
    assert start is train or not runs(tmp_path)


def test_the_command_line(recipe, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(recipe))
    told = CliRunner().invoke(app, ["inspect", str(file)])
    assert told.exit_code == 1 and "error leak" in told.output and MAIL not in told.output
    told = CliRunner().invoke(app, ["inspect", str(file), "data.policy.copies=drop", "--kind", "copies", "--ledger", str(tmp_path / "ledger.json")])
    assert told.exit_code == 0 and "policy: Policy copies=drop: 2 rows changed" in told.output and len(load_ledger(tmp_path / "ledger.json")) == 2
    assert isinstance(CliRunner().invoke(app, ["inspect", str(file), "--kind", "copy"]).exception, DataError)


def test_the_command_line_for_programs(recipe, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(recipe))
    kinds = ["--kind", "leak", "--kind", "personal_data", "--json"]
    told = CliRunner().invoke(app, ["inspect", str(file), *kinds])
    page = json.loads(told.output)
    leak = next(finding for finding in page["findings"] if finding["kind"] == "leak")
    assert told.exit_code == 1 and page["errors"] == 1 and page["rows"] == 150 and leak["rows"] == ["train.csv:5"] and leak["cures"] == {"drop": 1} and MAIL not in told.output
    told = CliRunner().invoke(app, ["inspect", str(file), "data.policy.leak=drop", *kinds])
    assert told.exit_code == 0 and json.loads(told.output)["policy"] == ["Policy leak=drop: 1 row changed."]  # what the policy cures is no error any more
    told = CliRunner().invoke(app, ["inspect", str(file), "data.policy.leak=fail", *kinds])
    assert json.loads(told.output)["errors"] == 1 and isinstance(told.exception, PolicyError) and told.exception.exit_code == 1


def test_a_papermill_run_fails_by_policy(recipe, tmp_path, monkeypatch):
    papermill = pytest.importorskip("papermill")
    from pathlib import Path

    import finetune_wb

    monkeypatch.setenv("FTWB_PROGRESS", "off")
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    page = Path(finetune_wb.__file__).parents[1] / "nbs" / "recipes" / "finetune.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match="The policy says fail"):
        papermill.execute_notebook(page, tmp_path / "out.ipynb", parameters={"recipe_file": str(tmp_path / "recipe.yaml"), "overrides": ["data.policy.leak=fail"], "runs_dir": str(tmp_path / "runs")}, progress_bar=False, cwd=str(tmp_path))


def test_every_kind_has_its_check():
    assert len(set(KINDS)) == len(KINDS) == 26


def test_what_is_personal_is_in_no_event_and_no_report_even_where_a_policy_lets_it_stay(planted, recipe, tmp_path):
    parts = {name: pd.read_csv(planted / f"{name}.csv") for name in ("train", "valid", "test")}
    for part in parts.values():
        part["text"] += f" write to {MAIL} with {KEY}"
    run = train(override(recipe, "data.policy.personal_data=report", "data.policy.secret=report"), data=parts, runs_dir=tmp_path)
    evaluate(run)
    told = {path: path.read_text() for path in run.folder.rglob("*") if path.suffix in (".jsonl", ".html", ".txt", ".json") and path.name not in ("predictions.jsonl",)}
    assert {"events.jsonl", "report.html"} <= {path.name for path in told} and "[EMAIL]" in "".join(told.values())
    for path, text in told.items():
        assert MAIL not in text and KEY not in text, path


def test_errors_of_loading_and_class_names_are_shown_without_what_is_personal(tmp_path):
    for rows in (f"hello,a\nwrite to {MAIL}, now,a\n", f'hello,a\n"write to {MAIL}" now,a\n', f"hello,{MAIL}\none,b\ntwo,b\nthree,b\nfour,b\n"):
        (tmp_path / "rows.csv").write_text(f"text,label\n{rows}")
        with pytest.raises(DataError) as caught:
            load_data(load_recipe({"data": {"source": str(tmp_path / "rows.csv")}}))
        assert MAIL not in str(caught.value) and MAIL not in repr(caught.value) and "[EMAIL]" in str(caught.value)
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": "b"}\n{"text": "' + MAIL + '", "label": "b"\n')
    with pytest.raises(DataError) as caught:
        load_data(load_recipe({"data": {"source": str(tmp_path / "rows.jsonl")}}))
    assert "mailbox" not in str(caught.value)
    shown = load_data(load_recipe({}), {name: part.assign(label=part["label"].replace("animal", MAIL)) for name, part in frames().items()})
    assert MAIL in shown.label_names and MAIL not in shown._repr_html_() + shown._repr_markdown_()


def test_a_redacted_text_is_in_no_entry_of_a_ledger(recipe):
    parts = frames()
    parts["train"].loc[range(5), "text"] += f" &amp; caf\u00c3\u00a9, {MAIL}"  # encoding concerns more rows, and would be cured first
    parts["train"].loc[7, "text"] += " mail ann&#64;mailbox.org"  # an address once it is mended
    mended, ledger = clean(load_data(recipe, parts), {"encoding": "edit", "personal_data": "redact"})
    assert MAIL not in json.dumps([str(entry) for entry in ledger.entries]) and mended.train["text"][0].endswith(" & caf\u00e9, [EMAIL]") and mended.train["text"][7].endswith("[EMAIL]")


def test_rare_classes_can_be_dropped_on_purpose_and_no_other_class(recipe):
    parts = frames()
    parts["train"].loc[0, "label"] = "odd"
    mended, ledger = clean(load_data(recipe, parts), {"rare_class": "drop"})
    assert mended.label_names == ("animal", "colour", "number") and [entry.why for entry in ledger.entries] == ["rare_class"]


def test_a_page_says_once_what_to_do_and_what_it_can_not_see(recipe):
    found = inspect(load_data(recipe, frames()))
    assert not found.of("personal_data") and "Names and free-form addresses are not seen" in str(found) and "Names and free-form addresses are not seen" in found._repr_html_()
    parts = frames()
    parts["train"].loc[0, "text"] += f" {MAIL} or +44 20 7946 0958"
    assert str(inspect(load_data(recipe, parts))).count("Names and free-form addresses are not seen") == 1
    assert "Names" not in str(inspect(load_data(recipe, parts), ["copies"]))


def test_hostile_names_are_text_in_a_terminal_and_on_a_page(tmp_path):
    file = tmp_path / "rows\x1b[31m[b]<i>.csv"
    frame = pd.concat(frames().values(), ignore_index=True)
    hostile = {"animal": "<script>alert(1)</script>", "colour": "\u202e[/b]\x1b[2J", "number": "=cmd()"}
    frame.assign(label=frame["label"].map(hostile)).to_csv(file, index=False)
    (tmp_path / "r.yaml").write_text(to_yaml(load_recipe({"data": {"source": str(file)}})))
    for command in ("data", "inspect"):
        told = CliRunner().invoke(app, [command, str(tmp_path / "r.yaml")])
        assert told.exit_code in (0, 1) and (told.exception is None or isinstance(told.exception, SystemExit)) and not {"\x1b", "\u202e"} & {*told.output}
    dataset = load_data(load_recipe({"data": {"source": str(file)}}))
    page = inspect(dataset)._repr_html_() + dataset._repr_html_()
    assert "<script" not in page and "<i>" not in page and not {"\x1b", "\u202e"} & {*page}


def test_a_policy_for_rows_that_are_too_long_asks_the_models_tokenizer(recipe, tmp_path):
    parts = frames()
    parts["train"].loc[0, "text"] += " river" * 300
    short = override(recipe, "train.max_length=64")
    assert len(curate(override(short, "data.policy.too_long=drop"), parts).train) == 99
    with pytest.raises(PolicyError, match="too_long: 1 row is longer than the 64 tokens"):
        curate(override(short, "data.policy.too_long=fail"), parts)
    with pytest.raises(WorkbenchError):  # never passed over in silence
        curate(override(short, "data.policy.too_long=drop", f"model.id={tmp_path / 'none'}"), parts)
    (tmp_path / "recipe.yaml").write_text(to_yaml(override(recipe, f"model.id={tmp_path / 'none'}")))
    told = CliRunner().invoke(app, ["inspect", str(tmp_path / "recipe.yaml")])
    assert "not looked for: rows too long" in told.stderr
