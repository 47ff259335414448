"""Planted debris, boilerplate, languages, cut answers: each found where it was put, and nothing found where nothing is."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from finetune_wb.data.conversations import find_repeated_prompts, find_role_order, find_unfinished, in_order, unfinished
from finetune_wb.data.findings import rows_of
from finetune_wb.data.quality import (
    find_boilerplate,
    find_empty,
    find_encoding,
    find_languages,
    find_outliers,
    find_too_long,
    mended,
)
from finetune_wb.data.split import Dataset

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
TEXT_CHECKS = (find_empty, find_languages, find_encoding, find_boilerplate, find_outliers)
TALK_CHECKS = (find_repeated_prompts, find_role_order, find_unfinished)
EVERY_CHECK = (*TEXT_CHECKS, *TALK_CHECKS, find_too_long)
ENGLISH = ("the a my your this that card account money transfer bank app payment phone number order and for with from was is are not yet still how when why can do please help "
    "need want lost new old late wrong again today week month fee rate cash refund top up limit change address name pin code").split()


def turn(role, content, **more): return {"role": role, "content": content, **more}


def asked(question, answer): return [turn("user", question), turn("assistant", answer)]


def rows(texts=None, labels=None, task=None, **columns):
    "Rows of texts, labelled texts, or conversations, all in train."
    frame = pd.DataFrame({**({"text": texts} if texts is not None else {}), **({"label": labels} if labels is not None else {}), **columns})
    frame["origin"] = [f"row:{i}" for i in range(len(frame))]
    task = task or ("classification" if labels is not None else "completion" if texts is not None else "preference" if "chosen" in columns else "chat")
    return rows_of(Dataset(frame, frame[:0], frame[:0], tuple(sorted(set(labels or ()))), "", "", (), "rows", task))


def sentences(count, seed=0):
    "So many different English-looking sentences."
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(ENGLISH, generator.integers(6, 14))).capitalize() + f" {i}." for i in range(count)]


def numbers(finding): return {int(row.split(":")[1]) for row in finding.rows}


@pytest.mark.parametrize("check", EVERY_CHECK, ids=lambda check: check.__name__)
@pytest.mark.parametrize("few", [
    rows(["Hello there"]), rows(["Hi", "Bye"], ["a", "b"]), rows(messages=[asked("Hi", "Hello.")]),
    rows(messages=[[turn("user", "Hi")]], chosen=[[turn("assistant", "Hello.")]], rejected=[[turn("assistant", "Go away.")]])], ids=["text", "labels", "chat", "pair"])
def test_a_row_or_two_in_order_get_no_finding(check, few): assert check(few) == []


@pytest.mark.parametrize("check", EVERY_CHECK, ids=lambda check: check.__name__)
def test_no_rows_get_no_finding(check): assert check(rows([])) == check(rows(messages=[])) == []


@pytest.mark.parametrize("text", ["", " ", "…", "-", "??!", "\u200b\u00a0", "\u3164", "\ufffd\ufffd", "_" * 9, "\U000e0020"])
def test_what_says_nothing_is_empty(text):
    assert numbers(find_empty(rows(["Hello", text]))[0]) == {1}
    assert numbers(find_empty(rows(messages=[asked("Hi", "Hello."), asked("Hi", text)]))[0]) == {1}


@pytest.mark.parametrize("text", ["a", "7", "€", "👍🏽", "مرحبا", "好", "+", "½"])
def test_a_sign_a_digit_or_a_letter_of_any_script_says_something(text): assert not find_empty(rows(["Hello", text]))


def test_numbers_are_empty_only_among_labelled_words():
    words = sentences(300)
    assert numbers(find_empty(rows([*words, "4711"], ["a", *"b" * 300]))[0]) == {300}
    assert not find_empty(rows([str(i) for i in range(300)], ["a", "b", "c"] * 100)) and not find_empty(rows([*words, "4711"]))


def test_a_turn_that_calls_a_tool_needs_no_words():
    call = turn("assistant", "", tool_calls=[{"type": "function", "function": {"name": "clock", "arguments": {}}}])
    assert not find_empty(rows(messages=[[turn("user", "Time?"), call, turn("tool", "12:00"), turn("assistant", "Noon.")]]))


# wrongly decoded by hand: text, what it should be
MOJIBAKE = [(good.encode("utf-8").decode(wrong, "strict" if wrong == "latin-1" else "ignore"), good) for good in ("Ein schöner Tag für Müller", "l’été à la plage – déjà", "¿Cuánto cuesta el envío?") for wrong in ("latin-1",)]


@pytest.mark.parametrize("bad, good", MOJIBAKE)
def test_wrongly_decoded_letters_come_back(bad, good):
    assert bad != good and mended(bad) == good
    found, = find_encoding(rows([*sentences(20), bad, good]))
    assert numbers(found) == {20} and found.severity == "warning" and found.cures["edit"][0].value == good


DEBRIS = {
    "Fish &amp; chips for &pound;5": "Fish & chips for £5", "It&#8217;s fine&nbsp;now": "It’s fine now", "One<br/>two<br />three": "One\ntwo\nthree",
    '<p class="x">Fine</p>': "Fine", '<a href="http://joe:pw@example.org">Here</a> it is': "Here it is", "\x1b[1;31mError\x1b[0m: no": "Error: no",
    "\ufeffTitle": "Title", "hy\u00adphen": "hyphen", "evil \u202etxt.exe": "evil txt.exe", "a\x00b\x07c": "abc",
}


@pytest.mark.parametrize("bad", DEBRIS)
def test_debris_is_found_mended_and_never_quoted_with_what_it_holds(bad):
    found, = find_encoding(rows([*sentences(5), bad]))
    assert numbers(found) == {5} and found.cures["edit"][0].value == DEBRIS[bad]
    assert "joe" not in str(found.evidence) and find_encoding(rows([DEBRIS[bad]])) == []


@pytest.mark.parametrize("text", ["Straße, naïve café, Ångström, señor", "“quotes” – dashes… 5 €", "x < y && y > z; a&b;c", "Use <br> thus:\n```html\n<br>&nbsp;<b>x</b>\n```", "Write `&amp;` for &",
    "<!DOCTYPE html><html><b>&nbsp;</b></html>", "List<String> and vector<int>", "5 &lt", "👩‍👩‍👧 family", "می‌خواهم", "日本語のテキスト", "Привет, мир", "line\r\nline\ttab\n", "¼ of 20 °C ± 2"])
def test_good_text_is_no_debris(text):
    assert mended(text) == text and find_encoding(rows([text])) == []


def test_edits_of_conversations_keep_the_turns_and_what_is_in_order():
    talk = [turn("system", "Be kind."), turn("user", "CafÃ© &amp; bar?"), turn("assistant", "Yes.", name="bot")]
    change, = find_encoding(rows(messages=[talk, asked("Hi", "Hello.")]))[0].cures["edit"]
    assert change.field == "messages" and change.value == [talk[0], turn("user", "Café & bar?"), talk[2]] and talk[1]["content"].startswith("CafÃ")
    pair = rows(messages=[[turn("user", "Hi")]], chosen=[[turn("assistant", "Yes&nbsp;sir")]], rejected=[[turn("assistant", "No")]])
    assert [change.field for change in find_encoding(pair)[0].cures["edit"]] == ["chosen"]


def test_an_edit_never_empties_a_text():
    found, = find_encoding(rows(["Hello", "<br><br>"]))
    assert not found.cures["edit"] and [change.row for change in found.cures["drop"]] == ["row:1"]


STRANGERS = {"de": "Ich habe meine neue Karte noch immer nicht bekommen, was soll ich tun?", "fr": "Je n'ai toujours pas reçu ma nouvelle carte, que dois-je faire ?",
    "es": "Todavía no he recibido mi tarjeta nueva, ¿qué tengo que hacer ahora?", "ru": "Я до сих пор не получил новую карту", "zh": "我还没有收到新的银行卡，怎么办？", "ar": "لم أستلم بطاقتي الجديدة حتى الآن"}


def test_strangers_among_english_rows_are_found_and_named():
    mine = rows([*sentences(200), *STRANGERS.values()])
    found, = find_languages(mine)
    assert numbers(found) == set(range(200, 206)) and found.kind == "language"
    said = dict(found.evidence)
    assert all(f"“{language}”" in said[f"row:{200 + i}"] or language in ("ru", "zh", "ar") for i, language in enumerate(STRANGERS))


def test_a_dataset_in_many_languages_has_no_strangers():
    mixed = [text for text in STRANGERS.values() for _ in range(40)]
    found = find_languages(rows([f"{text} {i}" for i, text in enumerate(mixed)]))
    assert [finding.severity for finding in found] == ["note"] and found[0].rows == () and not found[0].cures


def test_rows_of_a_translation_task_are_not_strangers():
    talks = [asked(f"Translate: {sentence}", STRANGERS["de"]) for sentence in sentences(60)]
    assert not [finding for finding in find_languages(rows(messages=talks)) if finding.rows]


def test_names_and_scraps_are_no_language():
    assert not find_languages(rows([*sentences(100), "Hans Müller", "ok", "merci", "São Paulo", "C'est la vie", "https://example.org/über-uns", "x = foo(bar)", "α + β", "for (int i = 0; i < n; i++) { sum += a[i] * b[i]; }", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]))


@pytest.mark.parametrize("where", ["start", "end", "middle"])
def test_boilerplate_is_found_and_cut_wherever_it_stands(where):
    passage = "Please do not reply to this message, it was sent by a machine"
    texts = sentences(300)
    for i in range(0, 300, 10):
        words = texts[i].split(" ")
        texts[i] = {"start": f"{passage}. {texts[i]}", "end": f"{texts[i]} {passage}.", "middle": " ".join([*words[:3], passage, *words[3:]])}[where]
    found, = find_boilerplate(rows(texts))
    assert numbers(found) == set(range(0, 300, 10)) and len(found.cures["edit"]) == 30
    assert all("reply" not in change.value for change in found.cures["edit"]) and found.severity == "note"


def test_a_signature_line_is_boilerplate_and_its_address_is_masked():
    texts = [f"{sentence}\nSent by Jo, jo.miller@example.org" if i % 4 == 0 else f"{sentence}\nBye {i}" for i, sentence in enumerate(sentences(120))]
    found, = find_boilerplate(rows(texts))
    assert numbers(found) == set(range(0, 120, 4)) and "miller" not in str(found.evidence) and found.cures["edit"][0].value == texts[0].split("\n")[0]


def test_copies_of_one_row_are_not_boilerplate():
    assert not find_boilerplate(rows([*sentences(100), *["the very same long text that was copied many times over and over"] * 50]))


def test_a_shared_system_prompt_or_instruction_is_not_boilerplate():
    system = turn("system", "You are a helpful assistant who always answers in one short and friendly sentence.")
    assert not find_boilerplate(rows(messages=[[system, *asked("Answer the following question as briefly as you can: " + s, s)] for s in sentences(100)]))


def test_another_assistants_voice_is_heard():
    talks = [*(asked("Who won?", s) for s in sentences(30)), asked("Who won?", "I'm just an AI, I can't know."), asked("Weather?", "As of my last knowledge update in 2021 it rained."), asked("Define AI.", "A field of computer science.")]
    assert numbers(find_boilerplate(rows(messages=talks))[0]) == {30, 31}


def test_lengths_and_words_that_stand_out():
    texts = sentences(400)
    texts[7], texts[11] = texts[7] * 80, "qwx zzrt plmk vbnn ghtt yuio"
    found = {finding.scored: numbers(finding) for finding in find_outliers(rows(texts))}
    assert found == {"robust z-score of the length": {7}, "share of words that no other row has": {11}}
    assert not find_outliers(rows(sentences(400)))


def test_vectors_that_stand_out():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(5000, 16)) * 0.2 + np.repeat(np.eye(16)[:4] * 3, 1250, 0)
    vectors[[17, 4000]] = -np.eye(16)[[5, 9]] * 3
    found = [finding for finding in find_outliers(rows(sentences(5000)), vectors) if finding.scored.endswith("distance")]
    assert [numbers(finding) for finding in found] == [{17, 4000}]


def test_two_kinds_of_data_are_not_outliers():
    texts = sentences(400)
    for i in range(0, 400, 10): texts[i] *= 100
    assert not find_outliers(rows(texts))


class Letters:
    "A tokenizer of one token a letter."
    model_max_length = int(1e30)

    def __call__(self, texts, add_special_tokens=False): return {"input_ids": [list(text) for text in texts]}


def test_too_long_counts_what_is_cut_and_where_the_answer_goes():
    talks = [asked("x" * 30, "y" * 10), asked("x" * 5, "y" * 40), asked("x", "y"), asked("x" * 9, "y" * 10)]
    found, = find_too_long(rows(messages=talks), tokenizer=Letters(), max_length=20)
    assert found.rows == ("row:1", "row:0") and found.scores == (46, 41) and "47 tokens would be cut" in found.what and "in 1 row the whole answer" in found.what
    assert "nothing of the answer is" in dict(found.evidence)["row:0"] and "begins at 5" in dict(found.evidence)["row:1"]
    assert find_too_long(rows(messages=talks), tokenizer=Letters()) == []  # 1e30 is transformers' way to say that it does not know


def test_a_pair_is_as_long_as_its_longer_answer():
    pair = rows(messages=[[turn("user", "x" * 5)]], chosen=[[turn("assistant", "y" * 10)]], rejected=[[turn("assistant", "z" * 12)]])
    assert not find_too_long(pair, tokenizer=Letters(), max_length=18) and find_too_long(pair, tokenizer=Letters(), max_length=17)


def test_repeated_prompts_are_grouped_and_copies_left_alone():
    talks = [asked("Capital of Peru?", "Lima"), asked("2 + 2?", "4"), asked("capital of peru", "It is Lima."), asked("2 + 2?", "4"), asked("Capital of Peru?", "Cusco"), asked("Capital of Chad?", "Lima")]
    found, = find_repeated_prompts(rows(messages=talks))
    assert found.groups == (("row:0", "row:2", "row:4"),) and [change.row for change in found.cures["drop"]] == ["row:2", "row:4"]


def test_the_same_last_words_after_different_talks_are_different_prompts():
    talks = [[*asked(f"Story about {thing}?", "Once upon a time."), *asked("Go on", f"The {thing} slept.")] for thing in ("cat", "dog")]
    assert not find_repeated_prompts(rows(messages=talks))


@pytest.mark.parametrize("talk, mended_talk", [
    ([turn("user", "a"), turn("user", "b"), turn("assistant", "c")], asked("a\n\nb", "c")),
    ([turn("user", "a"), turn("assistant", "b"), turn("assistant", "c")], asked("a", "b\n\nc")),
    ([*asked("a", "b"), turn("user", "c")], asked("a", "b")),
    ([turn("system", "s"), turn("user", "a"), turn("user", "b"), turn("assistant", "c"), turn("user", "d"), turn("user", "e")], [turn("system", "s"), *asked("a\n\nb", "c")]),
])
def test_roles_out_of_order_are_found_and_put_in_order(talk, mended_talk):
    found, = find_role_order(rows(messages=[asked("Hi", "Hello."), talk]))
    assert numbers(found) == {1} and found.cures["edit"][0].value == mended_talk and not find_role_order(rows(messages=[mended_talk]))


def test_a_pair_keeps_its_question_last():
    pair = rows(messages=[[turn("user", "a"), turn("user", "b")]], chosen=[[turn("assistant", "c")]], rejected=[[turn("assistant", "d")]])
    change, = find_role_order(pair)[0].cures["edit"]
    assert (change.field, change.value) == ("messages", [turn("user", "a\n\nb")])


def test_turns_with_more_than_words_are_never_joined():
    call = turn("assistant", "", tool_calls=[{"function": {"name": "f"}}])
    talk = [turn("user", "a"), turn("assistant", "Let me look."), call, turn("tool", "1"), turn("assistant", "c")]
    assert in_order(talk) == talk


@pytest.mark.parametrize("answer", ["First, take the eggs and", "We need:\n- milk\n- eggs,", "```python\ndef f():\n    return 1", "It is so because of the", "He said (", "Thus —"])
def test_answers_that_stop_in_the_middle(answer): assert unfinished(answer) and numbers(find_unfinished(rows(messages=[asked("Hi", "Hello."), asked("Go", answer)]))[0]) == {1}


@pytest.mark.parametrize("answer", ["Yes", "42", "Vitamin A", "x = [1, 2]", "```py\nprint(1)\n```", "See https://example.org", "- one\n- two", "Done!", "“Yes,” she said.", "He is the one they waited for", "好的", "$5 and €3", "I + II"])
def test_answers_that_end(answer): assert unfinished(answer) is None


def test_full_stops_count_only_where_they_are_the_custom():
    prose = [asked("Go", f"{s[:-1]} and so on until the last of all these words has been said.") for s in sentences(100)]
    bare = [asked("Go", talk[1]["content"][:-1]) for talk in prose]
    assert numbers(find_unfinished(rows(messages=[*prose, bare[0]]))[0]) == {100} and not find_unfinished(rows(messages=bare)) and not find_unfinished(rows(messages=[*prose[:50], *bare[:50]]))


@pytest.mark.parametrize("huge", ["wörd " * 600_000, " x" + " " * 3_000_000 + "&amp;<br>", "`" + "<é " * 1_000_000, "\u200b" * 3_000_000 + "x", "Ã©" * 1_500_000, "a" * 3_000_000, "\n" * 3_000_000 + "."], ids=["words", "spaces", "ticks", "invisible", "mojibake", "one word", "lines"])
def test_a_row_of_three_million_characters_is_read_through(huge):
    held = rows([*sentences(220), huge])
    for check in TEXT_CHECKS: assert all(numbers(finding) <= {220} for finding in check(held))
    assert isinstance(mended(huge), str) and not find_boilerplate(rows(messages=[asked("Go", huge)])) and find_unfinished(rows(messages=[asked("Go", huge)])) is not None


@pytest.mark.parametrize("end", ["\n#### {i}", "\nAnswer: {i}", ' {{"value": {i}}}', "\n```\n{i}\n```"])
def test_an_ending_that_all_but_a_few_have_is_missed(end):
    texts = [s + end.format(i=i) for i, s in enumerate(sentences(100))]
    cut = [texts[i][: len(texts[i]) - len(end.format(i=i)) - 1] for i in (3, 50)]
    assert numbers(find_unfinished(rows(messages=[asked("Go", text) for text in [*texts, *cut]]))[0]) == {100, 101} and not find_unfinished(rows(messages=[asked("Go", text) for text in texts]))


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data is not here: GSM8K is read from it")
def test_gsm8k_as_published_is_in_order():
    held = [json.loads(line) for line in (SHARED / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    published = rows(messages=[asked(row["question"], row["answer"]) for row in held])
    fired = {finding.kind: len(finding.rows) for check in EVERY_CHECK for finding in check(published)}
    assert sum(fired.values()) <= 0.01 * len(held), fired
