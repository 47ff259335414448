"""Splits: planted copies stay together, classes are stratified, the same split everywhere, and useless data is refused with the way out."""

import hashlib
import os
import random
import subprocess
import sys
import time

import pandas as pd
import pytest

from finetune_wb.data.copies import copy_groups, copy_key
from finetune_wb.data.split import SPLITS, build_dataset
from finetune_wb.errors import DataError
from finetune_wb.recipe import DataSpec

PINNED = "b82115c3c5baaf21e0ce3383c967d2200599f3db51eb8fd9cdc16c64305e9b45"  # of test_pinned_split
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(chance, n): return [hashlib.md5(str(chance.random()).encode()).hexdigest().translate(str.maketrans("0123456789", LETTERS[10:20]))[: chance.randint(3, 9)] for _ in range(n)]


def frame(rows): return pd.DataFrame(rows, columns=["text", "label", "origin"])


def make(counts, seed=0, length=12, file="d.csv"):
    "Rows of made-up words, all different, in mixed order."
    chance = random.Random(seed)
    labels = [label for label, n in counts.items() for _ in range(n)]
    chance.shuffle(labels)
    return frame([(" ".join(words(chance, length)), label, f"{file}:{i + 2}") for i, label in enumerate(labels)])


def build(rows, **spec): return build_dataset(rows if isinstance(rows, dict) else {"all": rows}, DataSpec(**spec), "d.csv")


def side(data): return {origin: split for split in SPLITS for origin in getattr(data, split).origin}


def typo(text, chance):
    at = chance.randrange(len(text) - 1)
    return text[:at] + "x" + text[at + 1 :]


def changed(text, chance):
    parts = text.split()
    parts[chance.randrange(len(parts))] = "altogether"
    return " ".join(parts)


KINDS = {
    "exact": lambda text, chance: text,
    "case and space": lambda text, chance: "  " + text.upper().replace(" ", " \t\n "),
    "punctuation and digits": lambda text, chance: f"12. {text.replace(' ', ', ', 1)}!?",
    "full-width": lambda text, chance: "".join(chr(ord(c) + 0xFEE0) if c in LETTERS else c for c in text),
    "typo": typo,
    "one word of 20": changed,
    "prefix and suffix": lambda text, chance: f"Hello all. {text} Many thanks.",
    "swapped": lambda text, chance: " ".join(text.split()[10:] + text.split()[:10]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_planted_copies_never_straddle(kind):
    rows, chance = make({"a": 400, "b": 300, "c": 100}, length=20), random.Random(1)
    copies = [(KINDS[kind](text, chance), label, f"copy of {origin}") for text, label, origin in rows.sample(100, random_state=0).values]
    data = build(pd.concat([rows, frame(copies)]))
    sides = side(data)
    assert [origin for _, _, origin in copies if sides[origin] != sides[origin.removeprefix("copy of ")]] == []
    assert any("200 rows are copies or near copies of others, in 100 groups" in note for note in data.notes)


def test_chains_of_copies_and_copies_under_another_label_stay_together():
    rows, chance = make({"a": 60, "b": 60}, length=20), random.Random(0)
    chain = [rows.text[0]]
    for _ in range(15): chain.append(typo(chain[-1], chance))
    extra = frame([(text, "ab"[i % 2], f"chain:{i}") for i, text in enumerate(chain)])
    sides = side(build(pd.concat([rows, extra])))
    assert len({sides[f"chain:{i}"] for i in range(16)}) == 1


def test_different_texts_are_not_grouped():
    rows = make({"a": 3000})
    assert len(set(copy_groups(rows.text))) == 3000
    assert len(set(copy_groups(["yes", "no", "ok", "", "1", "2", "👍", "👎", "da", "いいえ", "はい"]))) == 11


def test_groups_do_not_depend_on_the_order_and_survive_strange_text():
    rows = make({"a": 300})
    texts = [*rows.text, *(text.upper() for text in rows.text[:50]), "\ud800 lone surrogate", "\0", "x" * 3_000_000, "e\u0301", "é"]
    groups, back = copy_groups(texts), copy_groups(texts[::-1])[::-1]
    assert (groups == groups[0]).tolist() == (back == back[0]).tolist() and len(set(groups)) == len(set(back))
    assert groups[-1] == groups[-2] and list(groups[:50]) == list(groups[300:350])
    assert len(copy_groups([])) == 0 and copy_key("") == ""


@pytest.mark.parametrize("counts", [{"a": 500, "b": 300, "c": 200}, {f"c{i}": 12 for i in range(100)}, {f"c{i:03}": 130 for i in range(77)}, {"a": 40, "b": 3}, {"a": 1000, "b": 1000}])
def test_stratified_and_close_to_the_fractions(counts):
    rows = make(counts, length=5)
    data, n = build(rows), len(rows)
    assert len(data.train) + len(data.valid) + len(data.test) == n and sorted(side(data)) == sorted(rows.origin)
    assert abs(len(data.test) - 0.2 * n) <= max(2, 0.01 * n) and abs(len(data.valid) - 0.1 * n) <= max(2, 0.01 * n)
    for split, share in (("valid", 0.1), ("test", 0.2)):
        found = getattr(data, split).label.value_counts()
        assert all(1 <= found[label] and abs(found[label] - share * k) <= 2 for label, k in counts.items())
    assert data.label_names == tuple(sorted(counts))


def test_other_fractions():
    data = build(make({"a": 500, "b": 500}), valid_fraction=0.3, test_fraction=0.5)
    assert (len(data.train), len(data.valid), len(data.test)) == (200, 300, 500)
    with pytest.raises(DataError, match="leave no rows to train on"): build(make({"a": 50, "b": 50}), valid_fraction=0.5, test_fraction=0.5)


def test_rows_keep_their_columns_order_and_index():
    rows = make({"a": 60, "b": 40})
    data, place = build(rows), {origin: i for i, origin in enumerate(rows.origin)}
    for split in SPLITS:
        part = getattr(data, split)
        assert list(part.columns) == ["text", "label", "origin"] and list(part.index) == list(range(len(part)))
        assert [place[o] for o in part.origin] == sorted(place[o] for o in part.origin)


def test_the_same_rows_and_seed_give_the_same_split():
    rows = make({"a": 200, "b": 100})
    data, other, shuffled = build(rows), build(rows, seed=1), build(rows.sample(frac=1, random_state=3))
    assert data.split_fingerprint == build(rows).split_fingerprint != other.split_fingerprint
    assert data.fingerprint == other.fingerprint == build(rows.assign(origin="elsewhere")).fingerprint != shuffled.fingerprint
    assert side(data) == side(shuffled) != side(other)
    flipped = rows.assign(label=[{"a": "b", "b": "a"}[label] if i == 7 else label for i, label in enumerate(rows.label)])
    assert build(flipped).fingerprint != data.fingerprint


def test_pinned_split():
    "Written down once: a platform or a release on which it differs would silently change every comparison."
    rows = frame([(f"{a} {b} {c} in the garden", c, f"{a}{b}{c}") for a in ("red", "tall", "wild") for b in ("rose", "fern", "moss", "iris") for c in ("sun", "shade")])
    assert build(rows).split_fingerprint == PINNED


def test_another_process_gives_the_same_split():
    code = "from tests.test_data_split import *; print(build(make({'a': 200, 'b': 100})).split_fingerprint)"
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "7"}, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == build(make({"a": 200, "b": 100})).split_fingerprint


def test_given_splits_are_respected():
    train, valid, test = (make({"a": 60, "b": 60}, seed, file=f"{name}.csv") for seed, name in enumerate(SPLITS))
    data = build({"train": train, "valid": valid, "test": test})
    for split, rows in zip(SPLITS, (train, valid, test)): pd.testing.assert_frame_equal(getattr(data, split), rows)
    assert data.notes == ()
    without = build({"train": train, "test": test})
    assert len(without.valid) == 12 and len(without.train) == 108 and set(without.valid.origin) < set(train.origin)
    pd.testing.assert_frame_equal(without.test, test)
    untested = build({"train": train, "valid": valid})
    assert len(untested.test) == 24 and set(untested.test.origin) < set(train.origin)


def test_copies_across_given_splits_are_reported_not_moved():  # 64
    train, test, chance = make({"a": 60, "b": 60}, length=20), make({"a": 20, "b": 20}, 1, length=20, file="t.csv"), random.Random(0)
    leaks = frame([(train.text[0], train.label[0], "t.csv:90"), (typo(train.text[1], chance), train.label[1], "t.csv:91")])
    data = build({"train": train, "test": pd.concat([test, leaks])})
    note = next(note for note in data.notes if "near copies of train rows" in note)
    assert note.startswith("2 of 42 test rows") and "(1 of them copies)" in note and "t.csv:90 of d.csv:2" in note and "t.csv:91" in note
    assert len(data.test) == 42 and {train.origin[0], train.origin[1]} <= set(data.train.origin)  # never valid: it would be chosen on test


def test_max_rows_is_stratified_seeded_and_keeps_small_classes():
    rows = make({"a": 800, "b": 190, "c": 10})
    data = build(rows, max_rows=200)
    counts = pd.concat([data.train, data.valid, data.test]).label.value_counts()
    assert counts.sum() == 200 and abs(counts["a"] - 160) <= 3 and 3 <= counts["c"] <= 5
    assert any("kept 200 of 1000 rows" in note for note in data.notes)
    assert side(data) == side(build(rows, max_rows=200)) and set(side(data)) != set(side(build(rows, max_rows=200, seed=5)))
    assert data.fingerprint == build(rows).fingerprint and len(side(build(rows, max_rows=1000))) == 1000
    given = build({"train": rows, "test": make({"a": 80, "b": 19, "c": 1}, 1, file="t.csv")}, max_rows=110)
    assert sum(len(getattr(given, split)) for split in SPLITS) == 110 and 8 <= len(given.test) <= 16
    with pytest.raises(DataError, match='field "data.max_rows": leaves fewer than three rows for each of 10 classes .* Set it to 30 or more'):
        build(make({f"c{i}": 10 for i in range(10)}), max_rows=20)


def test_max_rows_takes_different_texts_before_copies():
    rows = make({"a": 100, "b": 100})
    many = pd.concat([rows, frame([(rows.text[0], rows.label[0], f"copy:{i}") for i in range(2000)])])
    data = build(many, max_rows=60)
    assert set(data.train.label) == set(data.test.label) == {"a", "b"}


# What is refused

GOOD = make({"a": 30, "b": 30})


@pytest.mark.parametrize(("n", "said"), [(0, "holds 0 rows"), (1, "holds 1 row[.]"), (2, "holds 2 rows")])
def test_too_few_rows(n, said):
    with pytest.raises(DataError, match=said): build(GOOD[:n])


def test_one_class():  # 44
    with pytest.raises(DataError, match='field "label": all 30 rows have the same class \\(found "a"\\). Two classes are needed'): build(make({"a": 30}))


def test_a_class_with_one_row_and_one_with_one_text():  # 45
    rows = pd.concat([GOOD, frame([("a fig", "fig", "d.csv:98"), ("The kiwi!", "kiwi", "d.csv:99"), ("the kiwi", "kiwi", "d.csv:100")])])
    with pytest.raises(DataError) as error: build(rows)
    lines = str(error.value).split("\n")
    assert len(lines) == 2
    assert lines[0] == 'd.csv:98, field "label": the class has one row, which can\'t be both learnt and measured (found "fig"). Add rows of it, merge it with another class, or leave it out.'
    assert lines[1].startswith('d.csv:99, field "label": all 2 rows of the class have the same text') and "kiwi" in lines[1]


def test_a_class_with_two_texts_is_in_train_and_test():
    data = build(pd.concat([GOOD, frame([("a ripe fig", "fig", "f:1"), ("purple and sweet", "fig", "f:2")])]))
    assert "fig" in set(data.train.label) & set(data.test.label) and "fig" not in set(data.valid.label)
    assert any('1 of 3 classes have no valid rows: "fig"' in note for note in data.notes)


def test_nothing_left_for_valid():
    with pytest.raises(DataError, match="no rows are left for valid"): build(make({"a": 2, "b": 2}))


def test_labels_that_train_lacks():  # 46, 52
    test = GOOD.assign(text=GOOD.text + " again later on today", label=GOOD.label.replace({"b": "postive"}))
    train = make({"a": 30, "positive": 30}, 5)
    with pytest.raises(DataError) as error: build({"train": train, "test": test})
    said = str(error.value)
    assert 'the class is in test but not in train (found "postive"). Did you mean "positive"? Correct the 30 rows (d.csv:' in said
    with pytest.raises(DataError) as error: build({"train": train, "valid": make({"0": 9}, 6), "test": test.assign(label="1")})
    assert [problem.value for problem in error.value.problems] == ["1", "0"] and "Known: a, positive." in str(error.value)


def test_train_as_test():  # 63
    shouted = GOOD.assign(text=GOOD.text.str.upper() + "!")
    with pytest.raises(DataError, match="every one of the 60 test rows is a copy of a train row"): build({"train": GOOD, "test": shouted})
    with pytest.raises(DataError, match="every one of the 60 valid rows"): build({"train": GOOD, "valid": GOOD, "test": make({"a": 9, "b": 9}, 2)})


def test_contradictory_labels():  # 67
    some = GOOD[:5].assign(label=["b" if label == "a" else "a" for label in GOOD.label[:5]], origin=[f"other:{i}" for i in range(5)])
    data = build(pd.concat([GOOD, some]))
    note = next(note for note in data.notes if "another class" in note)
    assert note.startswith("10 of 65 rows") and "d.csv:" in note and "other:" in note
    flipped = GOOD.assign(label=["b" if label == "a" else "a" for label in GOOD.label], origin="other.csv:1")
    with pytest.raises(DataError, match="120 of 120 rows have the text of another row but another class: .*other.csv:1"): build(pd.concat([GOOD, flipped]))


def test_digits_can_carry_the_label():
    rows = frame([(f"{n} stars", "good" if n > 50 else "bad", f"d:{n}") for n in range(100)])
    data = build(rows)
    assert len(data.test) == 20 and any("near copies of each other: there only the same texts were kept together" in note for note in data.notes)


def test_templates_too_large_for_the_test_split_are_noted():
    chance = random.Random(0)
    template = frame([(f"We regret that the order {word} of your company could not be delivered in time for the season", "ab"[i % 2], f"t:{i}") for i, word in enumerate(words(chance, 400))])
    data = build(pd.concat([GOOD, template]))
    assert any(note.startswith("test has ") and "of the rows rather than 20%: groups of near copies" in note for note in data.notes), data.notes
    assert len({side(data)[origin] for origin in template.origin}) == 1


def test_uneven_classes():  # 54
    data = build(make({"a": 990, "b": 10}))
    assert any('"a" has 990 rows (99.0%), 99 times as many as "b" (10)' in note for note in data.notes)
    assert any('1 of 2 classes have fewer than 5 test rows' in note and '"b"' in note for note in data.notes)
    assert "b" in set(data.train.label) & set(data.valid.label) & set(data.test.label)


def test_ten_thousand_classes():  # 55
    data = build(make({f"c{i}": 3 for i in range(10_000)}, length=4))
    assert len(data.label_names) == 10_000 and len(data.test) == len(data.valid) == 10_000
    assert all(len(note) < 500 for note in data.notes)
    with pytest.raises(DataError, match="9980 more like these"): build(make({f"c{i}": 1 for i in range(10_000)}, length=4))


def test_hostile_names_are_shown_escaped():  # 53
    names = ["$x^2$", "[/b]", "<script>alert(1)</script>", "new\nline", "a|b", "\x1b[31m"]
    rows = make({name: 20 for name in names})
    data = build_dataset({"all": rows}, DataSpec(), "<img src=x>", ("<b>note</b> | [link](javascript:x)",))
    assert set(data.label_names) == set(names)
    html, markdown = data._repr_html_(), data._repr_markdown_()
    for text in (html, markdown): assert "<script" not in text and "<img" not in text and "<b>" not in text and "\x1b" not in text
    assert "[link](" not in markdown and "$x" not in markdown.replace("\\$", "") and len(markdown.split("\n")) == 2 + 7 + 1 + sum("note" in line[:6] for line in markdown.split("\n")[10:])


def test_development_has_no_test_rows():
    data = build(GOOD)
    seen = data.development()
    assert seen.test.empty and list(seen.test.columns) == ["text", "label", "origin"] and seen.train is data.train and seen.split_fingerprint == data.split_fingerprint
    with pytest.raises(AttributeError): data.train = None


def test_ten_thousand_rows_take_seconds():
    rows, start = make({f"c{i}": 130 for i in range(77)}), time.process_time()
    build(rows)
    assert time.process_time() - start < 15  # about 1 s on a quiet machine


def test_many_rows_say_how_their_near_copies_were_told(monkeypatch):
    from finetune_wb.data import alike, split

    rows = pd.DataFrame({"text": [f"row {i} of {i * 7919 % 1000} says {i % 7}" for i in range(60)], "label": ["a", "b"] * 30, "origin": [f"r.csv:{i}" for i in range(60)]})
    assert not any("MinHash" in note for note in split.build_dataset({"all": rows}, DataSpec(), "r").notes)
    for module in (alike, split): monkeypatch.setattr(module, "MEASURED", 500)
    assert any("over 500 letters" in note and "data.policy.near_leak=drop" in note for note in split.build_dataset({"all": rows}, DataSpec(), "r").notes)
