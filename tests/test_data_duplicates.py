"""Duplicates: planted copies are found and nothing else is, whatever the rows look like; cures leave nothing to find and no test row out."""

import random

import numpy as np
import pandas as pd
import pytest
from planted_copies import EDITS, SHARED, plant, published, reformed, rows_of_parts
from rapidfuzz.distance import Levenshtein

from finetune_wb.data.alike import NEAR, alike, find_templates, nearly_same, text_key
from finetune_wb.data.duplicates import find_conflicting_copies, find_copies, find_near_copies, find_templates_used
from finetune_wb.data.findings import Rows

WORDS = "account address airport balance bridge candle carpet cheque city cloud coffee crown desert dinner doctor engine festival flight forest garden guitar harbour island journey kitchen ladder letter market meadow mirror mountain number orchard palace payment pencil planet pocket policy prison quarter railway report river school shadow silver station summer teacher ticket tunnel umbrella valley village weather window winter".split()
public = pytest.mark.skipif(not SHARED.exists(), reason="the public data is not beside the project")


def made(count, seed=0, words=12):
    chance = random.Random(seed)
    return [" ".join(chance.choice(WORDS) for _ in range(words)) for _ in range(count)]


def train(texts, labels=None): return rows_of_parts({"train": [(text, label) for text, label in zip(texts, labels or [""] * len(texts))]}, labels is not None)


def without(rows, findings):
    "The rows after every `drop`."
    gone = {change.row for finding in findings for change in finding.cures.get("drop", ())}
    kept = [i for i, row in enumerate(rows.ids) if row not in gone]
    return Rows(tuple(rows.ids[i] for i in kept), rows.split[kept], [rows.texts[i] for i in kept], rows.labels and [rows.labels[i] for i in kept], rows.frame.iloc[kept].reset_index(drop=True), rows.task, rows.label_names)


def pair(prompt, better, worse):
    return {"messages": [{"role": "user", "content": prompt}], "chosen": [{"role": "assistant", "content": better}], "rejected": [{"role": "assistant", "content": worse}]}


def pairs_of(*lines):
    frame = pd.DataFrame([pair(*line) for line in lines]).assign(origin=[f"p:{i}" for i in range(len(lines))])
    return Rows(tuple(frame.origin), np.full(len(lines), "train"), [" ".join(line) for line in lines], None, frame, "preference")


# ---- the same text ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("one", "other"), [("Hello, world.", "hello,  WORLD"), ("it’s", "it's"), ("ﬁne", "fine"), ("ｆｕｌｌ", "full"), ("a\u200bb", "ab"), ("STRASSE", "straße"), ("a\r\nb", "a b"), ("caf\u0065\u0301", "café")])
def test_form_does_not_count(one, other): assert text_key(one) == text_key(other)


@pytest.mark.parametrize(("one", "other"), [("3 + 4", "3 - 4"), ("3.5", "35"), ("C++", "C"), ("a != b", "a = b"), ("x < y", "x > y"), ("10:30", "1030"), ("f(x)", "fx"), ("?", "!"), ("50%", "50")])
def test_content_counts(one, other): assert text_key(one) != text_key(other)


def test_copies_in_every_form_are_found_and_the_first_stays():
    texts, chance = made(300), random.Random(0)
    copies = plant(texts, reformed, 100, chance)
    rows = train(texts + [copy for _, copy in copies])
    finding = find_copies(rows)[0]
    assert set(finding.rows) == set(rows.ids[300:]) and {group[0] for group in finding.groups} == {rows.ids[place] for place, _ in copies}
    assert find_copies(without(rows, [finding])) == []


def test_nothing_is_found_where_nothing_is():
    rows = train(made(500))
    assert [find_copies(rows), find_near_copies(rows), find_conflicting_copies(rows), find_templates_used(rows)] == [[], [], [], []]


@pytest.mark.parametrize("texts", [[], ["one"], ["", "", ""], ["?", "!", "…"], ["\x1b[31mred\x1b[0m", "<b>bold</b>", "\ud800", "\u202eevil", "\0"], ["a" * 5, "b" * 5]])
def test_odd_texts_pass(texts):
    rows = train(texts)
    found = alike(texts)
    assert len(found.same) == len(texts)
    for check in (find_copies, find_near_copies, find_templates_used): check(rows, found)


def test_a_million_identical_rows_are_one_group():
    rows = Rows(tuple(map(str, range(1_000_000))), np.full(1_000_000, "train"), ["the same"] * 1_000_000, None, pd.DataFrame({"text": ["the same"] * 1_000_000}), "text")
    finding = find_copies(rows)[0]
    assert len(finding.rows) == 999_999 == len(finding.cures["drop"]) and len(finding.groups) == 1 and finding.rows[0] == "1" and len(finding.evidence) <= 20
    assert find_near_copies(rows, alike(rows.texts)) == []


def test_one_huge_row_among_small_ones():
    huge = " ".join(made(60_000, words=10))
    assert len(huge) > 4_000_000
    rows = train([huge, *made(50), huge.replace("river", "stream", 3), huge.upper()])
    found = alike(rows.texts)
    assert find_copies(rows, found)[0].rows == (rows.ids[-1],) and found.by.tolist() == ["words"]


# ---- nearly the same -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", EDITS)
def test_edited_copies_are_found(kind):
    texts = made(2_000)
    copies = plant(texts, EDITS[kind], 400, random.Random(1))
    rows = train(texts + [copy for _, copy in copies])
    finding = next(f for f in find_near_copies(rows) if f.cures)
    groups = {row: group[0] for group in finding.groups for row in group[1:]}
    right = [groups.get(rows.ids[2_000 + i]) == rows.ids[place] for i, (place, _) in enumerate(copies)]
    assert np.mean(right) >= 0.98 and set(finding.rows) <= set(rows.ids[2_000:])
    assert len(finding.scores) == len(finding.rows) and list(finding.scores) == sorted(finding.scores, reverse=True)


@public
@pytest.mark.parametrize("name", ["banking77", "clinc150", "gsm8k"])
def test_edited_copies_in_public_data(name):
    texts = list(dict.fromkeys(text_key(text) for part in published(name).values() for text, _ in part))
    chance = random.Random(2)
    copies = [(place, copy) for edit in EDITS.values() for place, copy in plant(texts, edit, 300, chance)]
    keys = list(dict.fromkeys(texts + [text_key(copy) for _, copy in copies]))
    at = {key: i for i, key in enumerate(keys)}
    pairs, _, near = nearly_same(keys)
    found, wanted = {tuple(pair) for pair in pairs[near].tolist()}, {tuple(sorted((place, at[text_key(copy)]))) for place, copy in copies if at[text_key(copy)] != place}
    right = [pair in wanted or Levenshtein.normalized_similarity(keys[pair[0]], keys[pair[1]]) >= NEAR for pair in found]
    assert np.mean([pair in found for pair in wanted]) >= 0.95 and np.mean(right) >= 0.95


def test_moved_sentences_are_near_copies_and_short_rows_put_otherwise_are_to_look_at():
    one, other = made(2, words=15)
    rows = train([f"{one}. {other}.", f"{other}. {one}.", "how can i move money from savings to my card", "to my card how can i move money from savings", *made(20, seed=1)])
    assert [(f.severity, f.rows) for f in find_near_copies(rows)] == [("warning", (rows.ids[1],)), ("note", (rows.ids[3],))]


def test_every_row_that_goes_is_near_the_row_that_stays():
    texts, chance = made(40, words=20), random.Random(3)
    chain = [texts[0]]
    for _ in range(30): chain.append(EDITS["letters"](chain[-1], chance, WORDS))
    rows = train([*texts, *chain[1:]])
    finding = next(f for f in find_near_copies(rows) if f.cures)
    text = dict(zip(rows.ids, rows.texts))
    for group in finding.groups:
        for row in group[1:]: assert Levenshtein.normalized_similarity(text_key(text[group[0]]), text_key(text[row])) >= NEAR
    assert not [f for f in find_near_copies(without(rows, [finding])) if f.cures]


def test_the_order_of_rows_does_not_change_what_is_alike():
    texts = made(300)
    texts += [copy for _, copy in plant(texts, EDITS["letters"], 60, random.Random(4))]
    keys = [text_key(text) for text in texts]
    order = random.Random(5).sample(range(len(keys)), len(keys))
    def found(order): return {frozenset((keys[order[a]], keys[order[b]])) for a, b in nearly_same([keys[i] for i in order])[0].tolist()}
    assert found(range(len(keys))) == found(order)


def test_near_copies_under_other_labels_are_not_dropped():
    rows = train(["please activate my new card today", "please deactivate my new card today", *made(20)], ["on", "off", *["else"] * 20])
    findings = find_near_copies(rows)
    assert [(f.severity, f.rows, dict(f.cures)) for f in findings] == [("note", (rows.ids[1],), {})] and "another label" in findings[0].what


def test_a_hundred_near_copies_of_one_row_are_one_group():
    base = made(1, words=25)[0]
    rows = train(list(dict.fromkeys([base, *(EDITS["letters"](base, random.Random(i), WORDS) for i in range(100))])))
    groups = next(f for f in find_near_copies(rows) if f.cures).groups
    assert groups[0][0] == rows.ids[0] and len(groups[0]) >= 0.95 * len(rows)


def test_embeddings_find_what_letters_cannot():
    texts = ["How old do I have to be?", "Is there a minimum age for this?", "Close my account."]
    vectors = np.array([[1, 0, 0], [0.95, 0.3122, 0], [0, 0, 1]], np.float32)
    notes = find_near_copies(train(texts), vectors=vectors)
    assert [(f.severity, f.rows, f.scores[0] == pytest.approx(0.95)) for f in notes] == [("note", ("train:2",), True)] and find_near_copies(train(texts)) == []


def test_embeddings_of_many_texts_are_compared_by_landmarks():
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(60_000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[30_000:30_200] = vectors[:200]
    from finetune_wb.data.alike import _same_meaning
    pairs, closeness = _same_meaning(vectors)
    found = {tuple(pair) for pair in pairs.tolist()}
    assert np.mean([(i, 30_000 + i) in found for i in range(200)]) == 1 and closeness.min() >= 0.8


# ---- templates -------------------------------------------------------------------------------------------------------

def test_templates_are_a_group_and_no_copies():
    templates = ["what is the capital of {}", "how far is {} from the old harbour", "order {} has not arrived at my door"]
    texts = [template.format(word if "order" not in template else 1_000 + i) for template in templates for i, word in enumerate(WORDS[:40])]
    rows = train([*texts, *made(200)])
    found = alike(rows.texts)
    finding = find_templates_used(rows, found)[0]
    assert len(finding.groups) == 3 and {len(group) for group in finding.groups} == {40} and set(finding.rows) == set(rows.ids[:120]) and not finding.cures and finding.severity == "note"
    assert find_near_copies(rows, found) == []


def test_many_numbered_rows_stay_small():
    texts = [f"sensor {i} reads {i % 977}.{i % 89} degrees" for i in range(20_000)]
    found = alike(texts)
    assert len(found.masks) == 1 and (found.template == 0).all() and not len(found.pairs)


def test_rows_that_all_differ_in_many_places_stay_small():
    chance = random.Random(0)
    texts = [f"{chance.choice(WORDS)} at gate {chance.choice(WORDS)} of {chance.choice(WORDS)} hall, then {chance.choice(WORDS)} by {chance.choice(WORDS)} again" for _ in range(5_000)]
    assert len(alike(texts).pairs) <= 50 * 5_000


def test_everyday_beginnings_are_no_template():
    texts = [f"how do i {word}" for word in WORDS[:40]] + [f"{text} i wonder how they do" for text in made(400)]
    assert not any(mask == "how do i …" for mask in find_templates(texts)[1])


def test_fillings_that_differ_by_a_typo_are_near_copies():
    rows = train([*(f"what is the weather like in {word}" for word in WORDS[:10]), f"what is the weather like in {WORDS[3][:-1]}"])
    assert next(f for f in find_near_copies(rows) if f.cures).rows == (rows.ids[-1],)


# ---- conflicts -------------------------------------------------------------------------------------------------------

def test_conflicting_copies_are_set_apart():
    rows = train(["Is it safe?", "is it safe", "IS IT SAFE", "Same", "same", "Torn", "torn", *made(20)], ["yes", "yes", "no", "yes", "yes", "yes", "no", *["else"] * 20])
    finding = find_conflicting_copies(rows)[0]
    assert set(finding.rows) == {rows.ids[i] for i in (0, 1, 2, 5, 6)} and [len(group) for group in finding.groups] == [3, 2]
    assert [(change.row, change.value) for change in finding.cures["relabel"]] == [(rows.ids[2], "yes")] and len(finding.cures["drop"]) == 5 and next(iter(finding.cures)) == "drop"
    assert find_copies(rows)[0].rows == (rows.ids[4],)


def test_pairs_that_contradict_each_other():
    rows = pairs_of(("Why?", "Because.", "No idea."), ("why", "No idea", "because"), ("Why?", "Because.", "Never."), ("How?", "So.", "Thus."))
    finding = find_conflicting_copies(rows)[0]
    assert finding.rows == ("p:0", "p:1") and list(finding.cures) == ["drop"]


def test_test_rows_are_never_dropped():
    texts = made(30)
    rows = rows_of_parts({"train": [(text, "a") for text in texts], "test": [(text.upper(), "b") for text in texts] + [("twice the same test row", "a"), ("Twice the same test row!", "a"), ("twice the same test rows", "a")]})
    findings = [*find_copies(rows), *find_near_copies(rows), *find_conflicting_copies(rows)]
    assert {finding.kind for finding in findings} == {"copies", "near_copies", "conflicting_copies"}
    changed = {change.row for finding in findings for changes in finding.cures.values() for change in changes}
    assert changed and not [row for row in changed if row.startswith("test")]


def test_where_most_rows_are_close_in_meaning_the_finding_says_how_little_that_says():
    chance = np.random.default_rng(0)
    narrow = chance.normal(size=(200, 8)).astype(np.float32) * 0.2 + 1  # all about one subject
    wide = chance.normal(size=(200, 64)).astype(np.float32)
    wide[1] = wide[0] + 0.05
    words = [" ".join("".join(chr(97 + c) for c in chance.integers(0, 26, 6)) for _ in range(5)) for _ in range(200)]
    for vectors, said in ((narrow, "such a cosine says little"), (wide, "they may be one row twice, in other words")):
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        assert said in next(finding for finding in find_near_copies(train(words), vectors=vectors) if "meaning" in finding.what).fix
