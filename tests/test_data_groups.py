"""Customers, dates and folds: what must not be parted stays together, test is the newest, and a cross-validation uses each row once."""

import random

import numpy as np
import pandas as pd
import pytest

from finetune_wb.data.copies import copy_groups
from finetune_wb.data.load import load_data
from finetune_wb.data.split import SPLITS, build_dataset, fold, folds
from finetune_wb.data.times import read_times
from finetune_wb.errors import DataError
from finetune_wb.evaluation.evaluate import evaluate
from finetune_wb.recipe import DataSpec, load_recipe
from finetune_wb.training.train import train

DAYS = [f"{year}-{month:02}-{day:02}" for year in (2021, 2022, 2023) for month in range(1, 13) for day in (3, 11, 27)]


def made(n, seed=0, classes=("a", "b", "c"), file="d.csv", **columns):
    "Rows of made-up words; each further column is a function of the row's number and chance."
    chance = random.Random(seed)
    word = lambda: "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9)))
    rows = [{"text": " ".join(word() for _ in range(12)), "label": classes[i % len(classes)], "origin": f"{file}:{i + 2}",
             **{f"extra:{name}": value(i, chance) for name, value in columns.items()}} for i in range(n)]
    return pd.DataFrame(rows)


def build(rows, **spec): return build_dataset(rows if isinstance(rows, dict) else {"all": rows}, DataSpec(**spec), "d.csv")
def side(data): return {origin: split for split in SPLITS for origin in getattr(data, split).origin}
def note(data, words): return next(note for note in data.notes if words in note)
def typo(text): return text[:7] + "x" + text[8:]


def straddle(data, column):
    "Values of a column that are on two sides."
    sets = [{*getattr(data, split)[column]} - {None} for split in SPLITS]
    return sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2]


# ---- groups


def customer(i, chance): return None if i % 11 == 0 else f"c{int(chance.paretovariate(0.6)) % 150}"


def test_a_customer_is_on_one_side_and_the_shares_hold():
    rows = made(1500, customer=customer)
    data = build(rows, group="customer")
    assert not straddle(data, "extra:customer") and sorted(side(data)) == sorted(rows.origin)
    assert abs(len(data.test) - 300) < 90 and abs(len(data.valid) - 150) < 60
    said = note(data, 'the same "customer" stay on one side')
    assert f"{rows['extra:customer'].nunique()} values" in said and f"{rows['extra:customer'].isna().sum()} rows have no value and stand alone" in said
    assert data.group == "customer" and straddle(build(rows), "extra:customer")


def test_a_group_does_not_depend_on_the_order_of_rows_and_blank_is_no_group():
    rows = made(300, customer=lambda i, chance: " " if i % 2 else i // 6)
    data, shuffled = build(rows, group="customer"), build(rows.sample(frac=1, random_state=1), group="customer")
    assert side(data) == side(shuffled) and not straddle(data, "extra:customer") - {" "}


def test_copies_tie_customers_together():
    rows = made(400, customer=lambda i, chance: i // 4)
    twins = rows[::8].assign(text=rows.text[::8].map(typo), origin=rows.origin[::8] + "b", **{"extra:customer": [f"new {i}" for i in range(50)]})
    data = build(pd.concat([rows, twins]), group="customer")
    sides = side(data)
    assert all(sides[o] == sides[o.removesuffix("b")] for o in twins.origin) and not straddle(data, "extra:customer") and not any("left out" in note for note in data.notes)


def test_a_wording_that_everybody_uses_does_not_make_one_group_of_all():
    rows = made(600, customer=lambda i, chance: i // 6)
    thanks = rows[::6].assign(text="Thank you very much, have a nice day", label="a", origin=rows.origin[::6] + "t")
    data = build(pd.concat([rows, thanks]), group="customer")
    assert not straddle(data, "extra:customer") and len(data.test) > 60
    groups = dict(zip((o for split in SPLITS for o in getattr(data, split).origin), copy_groups([t for split in SPLITS for t in getattr(data, split).text])))
    sides = side(data)
    assert len({sides[o] for o in thanks.origin if o in sides}) == 1 and len({(g, sides[o]) for o, g in groups.items()}) == len({*groups.values()})
    assert "rows were left out" in note(data, "measured later holds copies") and {sides[o] for o in thanks.origin if o in sides} == {"test"}


def test_a_column_of_the_task_can_be_the_group_and_unknown_ones_are_refused(tmp_path):
    systems = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}], "system": f"You are number {i // 3}."} for i, text in enumerate(made(60).text)]
    data = load_data(DataSpec(group="system"), systems)
    assert not straddle(data, "extra:system") and data.train.messages[0][0]["role"] == "system"
    with pytest.raises(DataError) as error: load_data(DataSpec(group="persona", split="time", time="day"), [{**row, "Persona": None} for row in systems])
    assert [problem.field for problem in error.value.problems] == ["data.group", "data.time"] and 'Did you mean "Persona"' in str(error.value)
    with pytest.raises(DataError, match='field "data.group": the column is empty in all 60 rows'): load_data(DataSpec(group="Persona"), [{**row, "Persona": None} for row in systems])
    with pytest.raises(DataError, match="d.csv, field \"data.group\": there is no such column .*Known: none"): build(made(60), group="customer")


def test_given_splits_that_share_customers_copies_and_days_are_reported_and_stay():
    train, valid, test = (made(n, seed, file=f"{name}.csv", customer=lambda i, chance, seed=seed: f"{seed} {i}", day=lambda i, chance, seed=seed: f"202{seed}-01-01") for seed, (name, n) in enumerate(zip(SPLITS, (120, 30, 30))))
    test.loc[0, "extra:customer"], test.loc[1, "text"], test.loc[2, "extra:day"] = "0 7", typo(valid.text[3]), "2019-01-01"
    data = build({"train": train, "valid": valid, "test": test}, group="customer", split="time", time="day")
    assert [len(getattr(data, split)) for split in SPLITS] == [120, 30, 30]
    assert '1 of 30 test rows have the "customer" of train rows: test.csv:2' in note(data, '"customer" of train')
    assert "1 of 30 test rows are near copies of valid rows (0 of them copies), for example test.csv:3 of valid.csv:5" in note(data, "near copies of valid rows")
    assert note(data, "not newer than the newest train row").startswith("1 of 30 test rows") and "The given split is kept" in note(data, "not newer than the newest valid")


# ---- time


@pytest.mark.parametrize("seed", range(5))
def test_test_is_the_newest_and_equal_times_are_not_parted(seed):
    rows = made(400, seed, day=lambda i, chance: chance.choice(DAYS))
    data = build(rows, split="time", time="day")
    days = [getattr(data, split)["extra:day"] for split in SPLITS]
    assert days[0].max() < days[1].min() <= days[1].max() < days[2].min() and sum(map(len, days)) == 400
    assert abs(len(data.test) - 80) <= 8 and abs(len(data.valid) - 40) <= 8 and data.time == "day"
    assert f'test from "{days[2].min()}" on ({len(data.test)} rows), valid from "{days[1].min()}" on' in note(data, "Cut by")
    again = build(rows.sample(frac=1, random_state=seed), split="time", time="day")
    assert side(again) == side(data) and data.fingerprint == build(rows).fingerprint and data.split_fingerprint != build(rows).split_fingerprint


@pytest.mark.parametrize("name, spell", {
    "day.month.year": lambda day: f"{day[8:]}.{day[5:7]}.{day[:4]}", "month/day/year": lambda day: f"{day[5:7]}/{day[8:]}/{day[:4]} 10:30",
    "day/month/year": lambda day: f"{day[8:]}/{day[5:7]}/{day[:4]}", "year-month-day": lambda day: f"{day}T08:00:00Z", "numbers": lambda day: day.replace("-", ""),
    "day month year": lambda day: pd.Timestamp(day).strftime("%d %b %Y"), "month day, year": lambda day: pd.Timestamp(day).strftime("%B %d, %Y"),
    "weekday, day month year time zone": lambda day: pd.Timestamp(day).strftime("%a, %d %b %Y %H:%M:%S +0000"),
}.items())
def test_any_spelling_gives_the_same_order(name, spell):
    times = read_times([spell(day) for day in DAYS])
    assert times.spelling == name and not times.rivals and (np.diff(times.values) > 0).all()
    shuffled = read_times([spell(day) for day in DAYS[::-1]] + [None, " "])
    assert (shuffled.values[:-2][::-1] == times.values).all() and np.isnan(shuffled.values[-2:]).all()


def test_numbers_dates_and_zones():
    assert read_times([3, 2.5, "10"]).values.tolist() == [3, 2.5, 10]
    zoned = read_times(["2024-01-01T00:30:00+02:00", "2023-12-31T23:00:00Z", "2024-01-01"]).values
    assert zoned[0] < zoned[1] < zoned[2]
    assert np.isnan(read_times([True, "inf", "soon", None]).values).all()
    frame = made(60).drop(columns="origin").assign(when=pd.date_range("2020-01-01", periods=60))
    data = load_data(DataSpec(split="time", time="when"), frame)
    assert len(data.test) == 12 and data.test["extra:when"].min() == "2020-02-18T00:00:00"


def test_dates_that_cannot_be_read_are_problems_all_at_once():
    rows = made(90, day=lambda i, chance: DAYS[i % 30])
    rows.loc[[4, 40, 80], "extra:day"] = ["last spring", None, "31.02.2021"]
    with pytest.raises(DataError) as error: build(rows, split="time", time="day")
    assert [problem.file for problem in error.value.problems] == ["d.csv:6", "d.csv:42", "d.csv:82"]
    assert [problem.value for problem in error.value.problems] == ["last spring", None, "31.02.2021"] and "has no value to order the row by" in str(error.value)
    data = build(rows, split="time", time="day", bad_rows="drop")
    assert len(side(data)) == 87 and '3 rows whose "day" is no date or number were left out (d.csv:6, d.csv:42, d.csv:82)' in note(data, "no date or number")
    with pytest.raises(DataError, match="is no date and no number.*\n") as error: build(rows.assign(**{"extra:day": "soon"}), split="time", time="day", bad_rows="drop")
    assert len(error.value.problems) + error.value.more == 90


def test_dates_that_can_be_read_in_two_ways_are_refused():
    rows = made(60, day=lambda i, chance: f"0{1 + i % 9}/0{1 + i % 7}/2023")
    with pytest.raises(DataError, match="could be day/month/year or month/day/year .*year-month-day, such as 2024-01-31"): build(rows, split="time", time="day")


def test_too_few_times_no_column_and_folds_of_time():
    rows = made(60, day=lambda i, chance: "2023-01-01" if i % 2 else "2024-01-01")
    with pytest.raises(DataError, match='field "day": holds 2 different times, and rows of one time are never parted. 3 are needed'): build(rows, split="time", time="day")
    with pytest.raises(DataError, match='field "data.split": no column says how old a row is .*data.time='): build(rows, split="time")
    with pytest.raises(DataError, match='field "data.folds": folds would learn from rows that are newer'): load_data(DataSpec(split="time", time="day", folds=5, fold=1), rows.to_dict("records"))


def test_old_copies_of_newer_rows_leave_train_and_test_stays():
    rows = made(300, day=lambda i, chance: DAYS[i // 3])
    late = rows.tail(10).assign(text=rows.text[:10].map(typo).tolist(), origin=[f"late:{i}" for i in range(10)])
    data = build(pd.concat([rows, late]), split="time", time="day")
    sides = side(data)
    assert all(sides[f"late:{i}"] == "test" for i in range(10)) and not {*rows.origin[:10]} & {*sides}
    assert note(data, "were left out").startswith("10 rows were left out (10 of train)") and abs(len(data.test) - 62) <= 1
    assert not np.intersect1d(*(copy_groups([*data.train.text, *data.test.text])[part] for part in (slice(len(data.train)), slice(len(data.train), None)))).size


def test_customers_and_prompts_are_not_on_two_sides_of_a_day_either():
    rows = made(300, day=lambda i, chance: DAYS[i // 3], customer=lambda i, chance: f"c{i}" if i % 10 else "regular")
    data = build(rows, split="time", time="day", group="customer")
    assert not straddle(data, "extra:customer") and "regular" in {*data.test["extra:customer"]} and 'or rows with the same "customer"' in note(data, "were left out")
    chats = pd.DataFrame({"messages": [[{"role": "user", "content": f"What is {i % 40} and {i % 40}, {made(40).text[i % 40]}?"}, {"role": "assistant", "content": text}] for i, text in enumerate(made(80).text)], "origin": [f"c:{i}" for i in range(80)], "extra:day": DAYS[:80]})
    data = build_dataset({"all": chats}, DataSpec(split="time", time="day"), "chats", task="chat")
    asked = [{turns[0]["content"] for turns in getattr(data, split).messages} for split in SPLITS]
    assert not asked[0] & asked[2] and not asked[0] & asked[1] and len(data.test) == 16


@pytest.mark.parametrize("templates", [1, 4])
def test_a_class_of_templates_keeps_its_train_rows(templates):
    rows = made(200, classes=("a", "b"), day=lambda i, chance: DAYS[i // 2])
    words, frames = made(100, 1).text.str.split().str[0], made(templates, 2).text
    texts = [f"{frames[i % templates]} {word} {frames[i % templates][::-1]}" for i, word in enumerate(words)]
    template = pd.DataFrame({"text": texts, "label": "late", "origin": [f"t:{i}" for i in range(100)], "extra:day": DAYS[:100]})
    assert len({*copy_groups(texts)}) == templates
    data = build(pd.concat([rows, template]), split="time", time="day")
    assert "late" in {*data.train.label} & {*data.test.label} and '"late"' in note(data, "only the same texts were kept together")


def test_a_class_that_only_the_newest_rows_have_is_refused():
    rows = made(200, day=lambda i, chance: DAYS[i // 2])
    rows.loc[190:, "label"] = "new"
    with pytest.raises(DataError, match='field "label": the class is in test but not in train .found "new".*or take data.split=stratified'): build(rows, split="time", time="day")


def test_valid_by_time_beside_a_given_test_split():
    train, test = made(200, day=lambda i, chance: DAYS[i // 2]), made(40, 1, file="t.csv", day=lambda i, chance: "2024-05-05")
    test.loc[0, "text"], test.loc[1, "text"] = typo(train.text[199]), typo(train.text[0])
    data = build({"train": train, "test": test}, split="time", time="day")
    assert data.valid["extra:day"].min() > data.train["extra:day"].max() and len(data.test) == 40
    sides = side(data)
    assert train.origin[199] not in sides and sides[train.origin[0]] == "train"  # in valid it would choose for test; in train it is reported
    assert "near copies of train rows" in note(data, "t.csv:3 of d.csv:2") and "(1 of valid)" in note(data, "were left out")


# ---- folds


def test_folds_use_each_row_once_and_leave_test():
    data = build(made(600))
    five = [*folds(data, 5, seed=3)]
    assert sorted(o for one in five for o in one.valid.origin) == sorted([*data.train.origin, *data.valid.origin])
    for one in five:
        assert one.test is data.test and not {*one.train.origin} & {*one.valid.origin} and len(one.train) + len(one.valid) == len(data.train) + len(data.valid)
        assert one.valid.label.value_counts().max() - one.valid.label.value_counts().min() <= 3 and one.fingerprint == data.fingerprint
        assert one.label_names == data.label_names and one.train.index.tolist() == [*range(len(one.train))]
    assert len({one.split_fingerprint for one in five} | {data.split_fingerprint}) == 6
    assert [one.split_fingerprint for one in folds(data, 5, seed=3)] == [one.split_fingerprint for one in five] != [one.split_fingerprint for one in folds(data, 5)]
    assert fold(data, 4, 5, seed=3).split_fingerprint == five[3].split_fingerprint


def test_folds_keep_copies_and_customers_together():
    rows = made(300, customer=lambda i, chance: i // 3)
    twins = rows[::10].assign(text=rows.text[::10].map(typo), origin=rows.origin[::10] + "b", **{"extra:customer": None})
    data = build(pd.concat([rows, twins]), group="customer")
    for one in folds(data, 4):
        assert not {*one.train["extra:customer"]} & {*one.valid["extra:customer"]} - {None}
        groups = copy_groups([*one.train.text, *one.valid.text])
        assert not {*groups[: len(one.train)]} & {*groups[len(one.train) :]}


def test_a_class_that_cannot_be_parted_is_never_only_in_valid():
    rows = made(120, classes=("a", "b"))
    rare = pd.DataFrame({"text": ["a ripe fig", "purple and sweet", "the oldest tree of all"], "label": "fig", "origin": [f"f:{i}" for i in range(3)]})
    data = build(pd.concat([rows, rare]))
    assert all("fig" in {*one.train.label} for one in folds(data, 3))


def test_a_recipe_names_a_fold(tmp_path):
    made(200).drop(columns="origin").to_csv(tmp_path / "a.csv", index=False)
    spec = DataSpec(source=str(tmp_path / "a.csv"), seed=5)
    whole = load_data(spec)
    for number, one in enumerate(folds(whole, 4, seed=5), 1):
        assert load_data(spec.model_copy(update={"folds": 4, "fold": number})).split_fingerprint == one.split_fingerprint
    for wrong, said in (({"folds": 4}, "Say data.fold=1"), ({"fold": 2}, "there are no folds"), ({"folds": 3, "fold": 4}, "there are 3 folds")):
        with pytest.raises(DataError, match=said): load_data(spec.model_copy(update=wrong))
    with pytest.raises(DataError, match="Take fewer folds"): folds(whole, 500)
    with pytest.raises(DataError, match="there is no fold 9 of 5"): fold(whole, 9, 5)
    with pytest.raises(DataError, match="At least two folds|at least two folds"): folds(whole, 1)


def test_folds_of_rows_without_labels():
    texts = pd.DataFrame({"text": made(100).text, "origin": [f"t:{i}" for i in range(100)]})
    data = build_dataset({"all": texts}, DataSpec(), "t", task="completion")
    assert sorted(len(one.valid) for one in folds(data, 8)) == [10] * 8


def test_a_fold_by_customer_is_trained_evaluated_and_recognised(tiny_model, tmp_path):
    source = tmp_path / "a.csv"
    made(150, classes=("a", "b"), customer=lambda i, chance: i // 3).drop(columns="origin").rename(columns={"extra:customer": "customer"}).to_csv(source, index=False)
    recipe = load_recipe({"model": {"id": str(tiny_model("bert"))}, "data": {"source": str(source), "group": "customer", "folds": 3, "fold": 2}, "method": {"name": "probe"},
                          "train": {"threads": 1, "bf16": False}, "evaluate": {"bootstrap_samples": 100, "baselines": ["majority"]}})
    run = train(recipe, None, tmp_path / "runs", "one")
    known, data = run.record["data"], load_data(recipe)
    assert known["split_fingerprint"] == data.split_fingerprint and known["split_fingerprints"] == data.fingerprints and {*data.fingerprints} == {*SPLITS}
    assert known["rows"]["valid"] == len(data.valid) and any("Fold 2 of 3" in note for note in known["notes"])
    first = evaluate(run)
    assert first.rows == len(data.test) == known["rows"]["test"]
    for name in ("verdict.json", "metrics.json"): (run.evaluation / name).unlink(missing_ok=True)
    source.write_text("\n".join(source.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match="the rows are not those of training"): evaluate(run)
