"""Tokens of eight kinds of causal model: what is trained, by planted truth; and what plain tools do with the same rows."""

import re

import numpy as np
import pytest
from causal_models import KINDS, causal_model, causal_tokens  # noqa: F401

from finetune_wb.errors import DataError, ModelError
from finetune_wb.training.templates import TEMPLATES, fitting_templates, with_template
from finetune_wb.training.tokens import encode_messages, encode_pairs, encode_text
from finetune_wb.training.tokenview import tokens

ANSWERS = ("two  rows: 1, 22", "Né 😀 ok")
TALK = [{"role": "system", "content": "Be good."}, {"role": "user", "content": "reads the file?"}, {"role": "assistant", "content": ANSWERS[0]},
        {"role": "user", "content": "and  the\n\nframe 😀"}, {"role": "assistant", "content": ANSWERS[1]}]  # fmt: skip


@pytest.fixture
def tokenizer_of(causal_tokens):  # noqa: F811
    "A kind's tokenizer; GPT-2, which has no template, gets one by name."
    return lambda kind: with_template(causal_tokens(kind), "alpaca") if kind == "gpt2" else causal_tokens(kind)


def stretches(row) -> list[str]:
    "The decoded runs of trained tokens."
    runs, last = [], -2
    for place in row.trained[: row.kept].nonzero()[0].tolist():
        if place != last + 1: runs.append([])
        runs[-1].append(int(row.ids[place]))
        last = place
    return [row.tokenizer.decode(run, skip_special_tokens=False, clean_up_tokenization_spaces=False) for run in runs]


def ended(kind: str, answer: str) -> str: return answer + KINDS[kind][6]


THOUGHT = {"qwen3": "<think>\n\n</think>\n\n"}  # what a template puts before the last answer: generation has to write it too


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_answer_and_its_end_are_trained_and_nothing_else(kind, tokenizer_of):
    row = encode_messages(tokenizer_of(kind), [TALK], 256).rows[0]
    said = [text.removeprefix(" ") for text in stretches(row)]
    assert said == [ended(kind, THOUGHT.get(kind, "") + ANSWERS[1])] and not row.refused
    assert row.ends == (int(row.trained.nonzero()[0][-1]),) and not row.moved and not row.altered


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_and_its_end_are_trained_and_nothing_else(kind, tokenizer_of):
    row = encode_messages(tokenizer_of(kind), [TALK], 256, loss_on="assistant").rows[0]
    said = [text.removeprefix(" ") for text in stretches(row)]
    assert said == [ended(kind, ANSWERS[0]), ended(kind, THOUGHT.get(kind, "") + ANSWERS[1])]
    assert len(row.ends) == 2 and not row.moved


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_trained_on_request_and_tokens_are_upstreams(kind, tokenizer_of):
    tokenizer = tokenizer_of(kind)
    rows = encode_messages(tokenizer, [TALK], 256, loss_on="all")
    rendered = tokenizer.apply_chat_template(TALK)["input_ids"]
    assert rows[0] == {"input_ids": rendered, "labels": rendered}


@pytest.mark.parametrize("kind", KINDS)
def test_what_generation_is_asked_with_is_what_stands_before_the_answer(kind, tokenizer_of):
    tokenizer = tokenizer_of(kind)
    row = encode_messages(tokenizer, [TALK], 256).rows[0]
    prompt = tokenizer.apply_chat_template(TALK[:-1], add_generation_prompt=True)["input_ids"]
    assert row.ids[: len(prompt)].tolist() == prompt and not row.trained[: len(prompt)].any() and row.trained[len(prompt)]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_begin_once_and_end(kind, tokenizer_of):
    tokenizer = tokenizer_of(kind)
    rows = encode_text(tokenizer, ["reads the file", (tokenizer.bos_token or "") + "two rows" + tokenizer.eos_token], 256)
    for row, text in zip(rows.rows, ("reads the file", "two rows"), strict=True):
        begins = row.ids.tolist()[:2].count(tokenizer.bos_token_id) if tokenizer.bos_token_id != tokenizer.eos_token_id else 0
        assert begins == ("bos" in KINDS[kind][2]) or (text == "two rows" and begins == 1)
        assert int(row.ids[-1]) == tokenizer.eos_token_id and row.trained[-1] and row.ids.tolist().count(tokenizer.eos_token_id) <= 2
        assert tokenizer.decode(row.ids.tolist(), skip_special_tokens=True).strip() == text


PIECES = ["cat", " ", "  ", "\n", "\n\n", "\t", "😀", "é", "日本", "1", "22", ":", "assistant", "### Response:", "<b>", "a\u0301", "\r\n", "[INST", "<|im", "\u200b", "ﬁ"]


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_any_text_are_found(kind, tokenizer_of):
    random, tokenizer = np.random.default_rng(0), tokenizer_of(kind)
    def text(): return "".join(random.choice(PIECES, random.integers(1, 9))) + "x"  # noqa: E306
    talks = [[turn for _ in range(random.integers(1, 4)) for turn in ({"role": "user", "content": text()}, {"role": "assistant", "content": text()})] for _ in range(40)]
    for talk, row in zip(talks, encode_messages(tokenizer, talks, 9999, "assistant").rows, strict=True):
        said = [run.removesuffix(KINDS[kind][6]).replace(THOUGHT.get(kind, "\0"), "").strip() for run in stretches(row)]
        assert said == [turn["content"].strip() for turn in talk[1::2]] and len(row.ends) == len(said)


def test_pairs_share_their_prompt(causal_tokens):  # noqa: F811
    pair = {"messages": TALK[:2], "chosen": [{"role": "assistant", "content": "two rows"}], "rejected": [{"role": "assistant", "content": "bird"}], "origin": "pairs.jsonl:4"}
    chosen, rejected = (side.rows[0] for side in encode_pairs(causal_tokens("llama"), [pair], 128))
    begin = int(chosen.trained.nonzero()[0][0])
    assert stretches(chosen) == ["two rows<|eot_id|>"] and stretches(rejected) == ["bird<|eot_id|>"] and chosen.name == rejected.name == "pairs.jsonl:4"
    assert chosen.ids[:begin].tolist() == rejected.ids[:begin].tolist() and not rejected.trained[:begin].any()


# ------------------------------------------------------------------ templates that behave otherwise
def qwen(causal_tokens, template: str):  # noqa: F811
    return with_template(causal_tokens("qwen3"), template)


FRAME = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}ANSWER{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
SHORT = [{"role": "user", "content": "two?"}, {"role": "assistant", "content": "cat dog"}, {"role": "user", "content": "one?"}, {"role": "assistant", "content": "bird"}]


@pytest.mark.parametrize("name", [n for n in TEMPLATES if n != "mistral"])
def test_named_templates_mark_the_same_as_rendering_twice(name, causal_tokens):  # noqa: F811
    tokenizer = causal_tokens({"chatml": "qwen3", "llama-3": "llama", "gemma": "gemma3", "phi": "phi", "alpaca": "gpt2"}[name])
    assert name in fitting_templates(tokenizer)
    marked = with_template(tokenizer, name)
    plain = with_template(tokenizer, TEMPLATES[name].replace("{% generation %}", "").replace("{% endgeneration %}", ""))
    for loss_on in ("completion", "assistant"):
        one, other = (encode_messages(t, [SHORT, TALK[:3]], 256, loss_on) for t in (marked, plain))
        assert [r.trained.tolist() for r in one.rows] == [r.trained.tolist() for r in other.rows] and one.trained.all()
        assert [r.ends for r in one.rows] == [r.ends for r in other.rows] and not any(r.refused for r in one.rows)


def test_the_named_mistral_template(causal_tokens):  # noqa: F811
    row = encode_messages(with_template(causal_tokens("mistral"), "mistral"), [TALK], 256, "assistant").rows[0]
    assert [text.strip() for text in stretches(row)] == [answer + "</s>" for answer in ANSWERS] and not row.moved


def test_marks_that_leave_out_the_end_of_turn_get_it_back(causal_tokens):  # noqa: F811
    template = FRAME.replace("ANSWER", "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}")
    tokenizer = qwen(causal_tokens, template)
    out = tokenizer.apply_chat_template(SHORT, return_dict=True, return_assistant_tokens_mask=True)
    assert tokenizer.decode([i for i, m in zip(out["input_ids"], out["assistant_masks"], strict=True) if m]) == "cat dogbird"  # upstream: never stops
    assert stretches(encode_messages(tokenizer, [SHORT], 99, "assistant").rows[0]) == ["cat dog<|im_end|>", "bird<|im_end|>"]


def test_marks_in_two_stretches_are_one_answer(causal_tokens):  # noqa: F811
    template = FRAME.replace("ANSWER", "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% generation %}{{ '<|im_end|>\n' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}")
    assert stretches(encode_messages(qwen(causal_tokens, template), [SHORT], 99, "assistant").rows[0]) == ["cat dog<|im_end|>", "bird<|im_end|>"]


def test_a_template_without_prompt_for_answers_does_not_train_its_header(causal_tokens):  # noqa: F811
    template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    assert stretches(encode_messages(qwen(causal_tokens, template), [SHORT], 99, "assistant").rows[0]) == ["cat dog<|im_end|>", "bird<|im_end|>"]


def test_a_conversation_that_the_assistant_begins(causal_tokens):  # noqa: F811
    for kind in ("llama", "qwen3", "smollm", "phi"):
        rows = encode_messages(causal_tokens(kind), [[{"role": "assistant", "content": "good cat"}, *SHORT[:2]]], 256, "assistant")
        assert stretches(rows.rows[0]) == [ended(kind, "good cat"), ended(kind, THOUGHT.get(kind, "") + "cat dog")]


def test_thoughts_of_the_last_answer_are_trained_and_earlier_ones_are_gone(causal_tokens):  # noqa: F811
    talk = [{**m, "content": f"<think>\ngood\n</think>\n\n{m['content']}"} if m["role"] == "assistant" else m for m in SHORT]
    row = encode_messages(causal_tokens("qwen3"), [talk], 256).rows[0]
    assert stretches(row) == ["<think>\ngood\n</think>\n\nbird<|im_end|>"] and not row.altered
    row = encode_messages(causal_tokens("qwen3"), [talk], 256, "assistant").rows[0]
    assert stretches(row) == ["cat dog<|im_end|>", "<think>\ngood\n</think>\n\nbird<|im_end|>"] and row.altered


def test_tool_calls_are_answers(causal_tokens):  # noqa: F811
    call = {"type": "function", "function": {"name": "rows", "arguments": {"of": "file"}}}
    talk = [{"role": "user", "content": "two?"}, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "2"}, {"role": "assistant", "content": "two"}]
    said = stretches(encode_messages(causal_tokens("qwen3"), [{"messages": talk}], 256, "assistant").rows[0])
    assert said == ['<tool_call>\n{"name": "rows", "arguments": {"of": "file"}}\n</tool_call><|im_end|>', "<think>\n\n</think>\n\ntwo<|im_end|>"]
    assert "tool calls" in encode_messages(with_template(causal_tokens("qwen3"), "chatml"), [talk], 256).refused[0]


def test_a_template_that_rewrites_the_prompt_is_refused(causal_tokens):  # noqa: F811
    "Mistral's own v3 template shows the system text only while the last turn is the user's: trained on without, asked with it."
    template = KINDS["mistral"][5].replace("loop.first", "loop.last")
    refused = encode_messages(with_template(causal_tokens("mistral"), template), [TALK], 256).refused
    assert refused == {0: "the chat template rewrites what stands before turn 5 once the answer is there"}


def test_a_prompt_whose_tokens_change_is_noticed(causal_tokens):  # noqa: F811
    "A prompt that ends in a space: alone it is a token of its own, before an answer it belongs to the word."
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    row = encode_messages(with_template(causal_tokens("gpt2"), template), [SHORT], 99).rows[0]
    assert row.moved and stretches(row) == [" bird<|endoftext|>"]


@pytest.mark.parametrize(("messages", "why"), [
    ([], "there are no messages"), (None, "there are no messages"), ("text", "there are no messages"), ([1], "turn 1 is not a message"),
    (SHORT[:1], "nothing to learn"), ([{"role": "human", "content": "a"}, {"role": "gpt", "content": "b"}], "turn 1 has the role 'human'"),
    ([SHORT[0], {"role": "assistant", "content": ""}], "turn 2 (assistant) is empty"), ([SHORT[0], {"role": "assistant", "content": None}], "turn 2 (assistant) is empty"),
    ([{"role": "user", "content": [{"type": "image"}]}, SHORT[1]], "turn 1 (user) is not text"),
])  # fmt: skip
def test_rows_that_teach_nothing_say_why(messages, why, causal_tokens):  # noqa: F811
    rows = encode_messages(causal_tokens("llama"), [{"messages": messages, "origin": "talk.jsonl:7"}, SHORT], 99)
    assert why in rows.refused[0] and list(rows.refused) == [0] and rows.rows[0].name == "talk.jsonl:7" and rows.rows[1].name == "row 2"
    assert rows[0] == {"input_ids": [], "labels": []} and rows.lengths.tolist()[0] == rows.trained.tolist()[0] == 0


def test_the_templates_own_complaint_is_passed_on(causal_tokens):  # noqa: F811
    refused = encode_messages(causal_tokens("gemma3"), [[SHORT[0], SHORT[0], SHORT[1]]], 99).refused
    assert refused == {0: "the chat template refuses it: Conversation roles must alternate user/assistant/user/assistant/..."}


def test_cuts_are_counted(causal_tokens):  # noqa: F811
    whole = encode_messages(causal_tokens("llama"), [SHORT], 999).rows[0]
    for limit in range(1, len(whole.ids) + 2):
        row = encode_messages(causal_tokens("llama"), [SHORT], limit).rows[0]
        assert row.kept == min(limit, len(whole.ids)) and row.cut == len(whole.ids) - row.kept and len(row.labels) == row.kept
        assert (row.labels != -100).sum() + row.cut_answer == whole.trained.sum()


def test_special_tokens_in_the_datas_own_text_are_named(causal_tokens):  # noqa: F811
    talk = [{"role": "user", "content": "what is <|eot_id|>?"}, SHORT[1]]
    assert encode_messages(causal_tokens("llama"), [talk, SHORT], 99).rows[0].odd == ("<|eot_id|>",)


def test_what_is_missing_is_said(causal_tokens):  # noqa: F811
    with pytest.raises(ModelError, match="fitting_templates"): encode_messages(causal_tokens("gpt2"), [SHORT], 99)
    with pytest.raises(DataError, match='no column "text"; they have messages'): encode_text(causal_tokens("gpt2"), [{"messages": SHORT}], 99)
    assert encode_text(causal_tokens("gpt2"), ["a", None, 3, " "], 99).refused == {1: "the text is missing", 2: "is not text", 3: "the text is empty"}


def test_a_tokenizer_with_its_own_truncation_and_padding_is_not_believed(causal_tokens):  # noqa: F811
    tokenizer = with_template(causal_tokens("llama"), KINDS["llama"][5])
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    assert encode_messages(tokenizer, [SHORT], 99).rows[0].ids.tolist() == causal_tokens("llama").apply_chat_template(SHORT)["input_ids"]


# ------------------------------------------------------------------ the view
HOSTILE = "</span><script>alert(1)</script> \x1b[31m \u202e é 日本 😀  \n\n\t<b>&amp;</b>"


@pytest.mark.parametrize("kind", KINDS)
def test_the_view_shows_every_character_once(kind, tokenizer_of):
    tokenizer = tokenizer_of(kind)
    talk = [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": f"rows {HOSTILE} end"}]
    view = tokens(encode_messages(tokenizer, [talk], 999).rows[0])
    seen = "".join(view.texts)
    assert seen.replace(" ", "") == tokenizer.apply_chat_template(talk, tokenize=False).replace(" ", "")  # SentencePiece adds spaces of its own
    assert view.states.count("trained") == view.row.trained.sum() and "\x1b" not in str(view) and "\u202e" not in str(view)


def test_a_strangers_markup_is_text_in_the_view(causal_tokens):  # noqa: F811
    talk = [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": "two"}]
    row = encode_messages(causal_tokens("llama"), [{"messages": talk, "origin": "<img src=x>.csv:3"}], 60).rows[0]
    page = tokens(row)._repr_html_()
    assert "<script" not in page and "<img" not in page and "\x1b" not in page and "\u202e" not in page and "&lt;img src=x&gt;.csv:3" in page
    tags = {tag.split()[0] for tag in re.findall(r"<(/?\w+)", page)}
    assert tags == {t for name in ("style", "div", "header", "b", "span", "pre", "i") for t in (name, "/" + name)}
    assert page.count('class="cut') == row.cut + 1 and "⏎" in page  # and once in the key


def test_long_rows_are_shown_in_part(causal_tokens):  # noqa: F811
    row = encode_text(causal_tokens("gpt2"), ["two " * 300], 999).rows[0]
    view, more = tokens(row, limit=100), f"… {len(row.ids) - 100} more tokens"
    assert view._repr_html_().count('<span class="trained" title') == 100 and more in view._repr_html_() and more in str(view)
