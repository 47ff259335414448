"""Preflight: for each failure that plain transformers (and TRL) pass over in silence, what plain tools do with the rows, and what
is said instead. The numbers are those of the list of pitfalls this project started from."""

import numpy as np
import pytest
from causal_models import KINDS, causal_model, causal_tokens  # noqa: F401

from finetune_wb.errors import DataError, RecipeError, TrainingError
from finetune_wb.recipe import Recipe
from finetune_wb.training.preflight import preflight, refuse
from finetune_wb.training.templates import with_template
from finetune_wb.training.tokens import encode_messages, encode_text

CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def ask(question: str = "two?", answer: str = "cat dog") -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def only(found: list, kind: str):
    "The one finding there is, of this kind."
    assert [f.kind for f in found] == [kind], [str(f) for f in found]
    return found[0]


def masks_pads(tokenizer):
    from transformers import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(tokenizer, mlm=False)


@pytest.fixture
def model_of(causal_model):  # noqa: F811
    from transformers import AutoModelForCausalLM

    return lambda kind: AutoModelForCausalLM.from_pretrained(causal_model(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_good_rows_pass_for_every_kind(kind, causal_tokens, model_of):  # noqa: F811
    from transformers import DataCollatorForSeq2Seq

    tokenizer = with_template(causal_tokens(kind), "alpaca") if kind == "gpt2" else causal_tokens(kind)
    if tokenizer.pad_token_id is None: tokenizer = with_template(causal_tokens(kind), tokenizer.chat_template); tokenizer.pad_token = tokenizer.eos_token
    rows, test = encode_messages(tokenizer, [ask(), ask("one?", "bird")], 128), encode_messages(tokenizer, [ask("zero?")], 128)
    assert preflight(tokenizer, rows, model_of(kind), others={"test": test}, collator=DataCollatorForSeq2Seq(tokenizer)) == []


# ------------------------------------------------------------------ 1, 1a, 1b, 20: what the limit leaves
def test_a_prompt_that_fills_the_limit_leaves_nothing_to_train(causal_tokens):  # noqa: F811
    tokenizer, talks = causal_tokens("qwen3"), [ask(), ask("the " * 90), ask("one?"), ask("a " * 90)]
    plain = tokenizer.apply_chat_template(talks, truncation=True, max_length=60)["input_ids"]
    assert sum("dog" in tokenizer.decode(ids) for ids in plain) == 2  # 1: two rows hold nothing of their answer, and nobody says so
    rows = encode_messages(tokenizer, talks, 60)
    found = only(preflight(tokenizer, rows), "nothing_trained")
    assert found.rows == (1, 3) and found.names == ("row 2", "row 4") and "in 2 the prompt alone fills the 60 tokens" in found.what
    cured = found.cured(Recipe())
    assert preflight(tokenizer, encode_messages(tokenizer, talks, cured.train.max_length)) == []
    every = preflight(tokenizer, encode_messages(tokenizer, talks[1::2], 60))  # 1a
    assert "no token of 2 of 2 rows is trained" in only(every, "nothing_trained").what


def test_rows_that_no_limit_of_the_model_can_hold_are_to_be_dropped(causal_tokens, model_of):  # noqa: F811
    tokenizer = causal_tokens("qwen3")
    found = preflight(tokenizer, encode_messages(tokenizer, [ask("the " * 300), ask()], 60), model_of("qwen3"))
    assert only(found, "nothing_trained").cure == ("data.bad_rows=drop",)
    rows = encode_messages(tokenizer, [ask("the " * 300), ask("the " * 90), ask(answer="cat " * 50)], 60)
    cures = {f.kind: f.cure for f in preflight(tokenizer, rows, model_of("qwen3"))}
    longest = f"train.max_length={max(len(r.ids) for r in rows.rows[1:])}"  # one cure does not undo another
    assert cures == {"nothing_trained": (longest, "data.bad_rows=drop"), "cut_answer": (longest,)}


def test_an_answer_longer_than_the_limit_loses_its_end(causal_tokens):  # noqa: F811
    tokenizer, talks = causal_tokens("llama"), [ask(), ask("one?", "rows " * 50)]
    plain = tokenizer.apply_chat_template(talks[1], truncation=True, max_length=40)["input_ids"]
    assert tokenizer.decode(plain).endswith("rows rows")  # 1b: in mid-sentence
    found = only(preflight(tokenizer, rows := encode_messages(tokenizer, talks, 40)), "cut_answer")
    lost = rows.rows[1].cut_answer
    assert found.severity == "error" and found.rows == (1,) and f"{lost} of {lost + rows.trained.sum()} trained tokens" in found.what
    assert preflight(tokenizer, encode_messages(tokenizer, talks, found.cured(Recipe()).train.max_length)) == []


def test_labels_that_are_all_masked_have_no_loss(model_of):
    import torch

    ids = torch.tensor([[5, 6, 7]])
    assert not model_of("llama")(input_ids=ids, labels=torch.full_like(ids, -100)).loss > 0  # 20: nothing raises


# ------------------------------------------------------------------ 2, 4, 15, 16: the end
def test_an_end_is_trained_where_plain_tokenizers_add_none(causal_tokens):  # noqa: F811
    "2 and 15: prompt and completion joined, or text, through a tokenizer that adds no end."
    for kind in KINDS:
        tokenizer = causal_tokens(kind)
        assert tokenizer("two? cat")["input_ids"][-1] != tokenizer.eos_token_id
        rows = encode_text(tokenizer, ["two? cat"], 64)
        assert rows[0]["labels"][-1] == tokenizer.eos_token_id and preflight(tokenizer, rows) == []


def test_a_tokenizer_without_an_end(causal_tokens):  # noqa: F811
    tokenizer = with_template(causal_tokens("qwen3"), CHATML)
    tokenizer.eos_token = None
    found = only(preflight(tokenizer, encode_text(tokenizer, ["two cats"], 64)), "no_end")
    assert "would never stop" in found.what and "end-of-text" in found.fix


def test_a_template_without_an_end(causal_tokens):  # noqa: F811
    template = "{% for m in messages %}{{ m.role + ':\n' + m.content + '\n\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
    tokenizer = with_template(causal_tokens("gpt2"), template)
    found = only(preflight(tokenizer, encode_messages(tokenizer, [ask()], 64)), "no_end")
    assert "alpaca" in found.fix and found.rows == (0,)
    tokenizer = with_template(tokenizer, "alpaca")
    assert preflight(tokenizer, encode_messages(tokenizer, [ask()], 64)) == []


def test_turns_that_end_with_another_token_than_generation_stops_at(causal_tokens, model_of):  # noqa: F811
    tokenizer = with_template(causal_tokens("qwen3"), CHATML)
    tokenizer.eos_token = "<|endoftext|>"  # as in a base model
    assert tokenizer.eos_token_id not in tokenizer.apply_chat_template(ask())["input_ids"]  # 4
    rows = encode_messages(tokenizer, [ask()], 64)
    found = only(preflight(tokenizer, rows), "stops")
    assert found.severity == "warning"  # only the tokenizer says so
    assert '"<|im_end|>" (2), but generation stops at "<|endoftext|>" only' in found.what and "[0, 2]" in found.fix
    model = model_of("qwen3")
    assert preflight(tokenizer, rows, model) == []  # its generation settings know both
    model.generation_config.eos_token_id = 0
    found = only(preflight(tokenizer, rows, model), "stops")
    assert found.rows == (0,) and found.severity == "error"


def test_generation_goes_on_past_an_end_that_it_does_not_know(causal_tokens, model_of):  # noqa: F811
    "Why `stops` is an error: a model that only ever writes the end of turn, and settings that don't name it."
    import torch

    tokenizer, model = causal_tokens("qwen3"), model_of("qwen3")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    torch.nn.init.zeros_(model.lm_head.weight)
    model.lm_head = torch.nn.Linear(model.config.hidden_size, len(tokenizer))
    torch.nn.init.zeros_(model.lm_head.weight)
    with torch.no_grad(): model.lm_head.bias.zero_()[end] = 9.0
    asked = torch.tensor([[5, 6]])
    lengths = [model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=8, do_sample=False, eos_token_id=stop, pad_token_id=0).shape[1] - 2 for stop in (end, 0)]
    assert lengths == [1, 8]


def test_a_collator_that_masks_the_end_as_padding(causal_tokens):  # noqa: F811
    tokenizer = with_template(causal_tokens("gpt2"), "alpaca")
    tokenizer.pad_token = tokenizer.eos_token
    rows = encode_text(tokenizer, ["two cats", "one dog"], 64)
    batch = masks_pads(tokenizer)([{"input_ids": rows[i]["input_ids"]} for i in range(2)])
    assert (batch["labels"] == tokenizer.eos_token_id).sum() == 0  # 16
    found = only(preflight(tokenizer, rows, collator=masks_pads(tokenizer)), "end_masked")
    assert "pad token is the end of turn too" in found.evidence and found.count == 2
    apart = causal_tokens("gpt_neox")  # pads with a token of its own
    assert preflight(apart, encode_text(apart, ["two cats"], 64), collator=masks_pads(apart)) == []


# ------------------------------------------------------------------ 3, 5, 6, 7, 9, 10: conversations that are none
def test_a_base_model_without_a_template_is_offered_some(causal_tokens):  # noqa: F811
    with pytest.raises(ValueError, match="chat template"): causal_tokens("gpt2").apply_chat_template(ask())  # 3: clear, but no way out
    found = only(preflight(causal_tokens("gpt2")), "no_template")
    assert "alpaca" in found.fix and "chatml" not in found.fix
    base = with_template(causal_tokens("qwen3"), CHATML)
    base.chat_template = None
    assert "chatml, alpaca" in only(preflight(base), "no_template").fix


def test_questions_are_not_trained_unless_asked_for(causal_tokens):  # noqa: F811
    tokenizer = causal_tokens("qwen3")
    ids = tokenizer.apply_chat_template(ask())["input_ids"]
    assert (masks_pads(tokenizer)([ids])["labels"] != -100).all()  # 5: plain Trainer learns the questions as well
    rows = encode_messages(tokenizer, [ask()], 64)
    assert rows.trained[0] < len(ids) and preflight(tokenizer, rows) == []
    found = only(preflight(tokenizer, encode_messages(tokenizer, [ask()], 64, loss_on="all")), "prompts_trained")
    assert found.severity == "warning" and "completion" in found.fix


@pytest.mark.parametrize(("talk", "says"), [
    ([{"role": "human", "content": "two?"}, {"role": "gpt", "content": "cat"}], "turn 1 has the role 'human'"),  # 6
    ([{"role": "user", "content": "two?"}], "no turn is the assistant's"),  # 7
    (ask(answer=""), "turn 2 (assistant) is empty"),  # 9
])  # fmt: skip
def test_conversations_that_teach_nothing_are_rendered_without_a_word_upstream(talk, says, causal_tokens):  # noqa: F811
    tokenizer = with_template(causal_tokens("qwen3"), CHATML)
    assert len(tokenizer.apply_chat_template(talk)["input_ids"]) > 5
    found = only(preflight(tokenizer, encode_messages(tokenizer, [ask(), {"messages": talk, "origin": "chats.jsonl:9"}], 64)), "unlearnable")
    assert says in found.what and found.names == ("chats.jsonl:9",) and found.cured(Recipe()).data.bad_rows == "drop"


def test_texts_that_are_empty_or_missing(causal_tokens):  # noqa: F811
    tokenizer = causal_tokens("gpt2")
    assert tokenizer("")["input_ids"] == []  # 9
    with pytest.raises(Exception) as caught: tokenizer(["two", None])  # 10
    assert "row" not in str(caught.value)  # which of them it was is not said
    found = preflight(tokenizer, encode_text(tokenizer, ["two", "", {"text": None, "origin": "a.csv:4"}], 64))
    assert [(f.kind, f.names, f.what) for f in found] == [("unlearnable", ("row 2",), "1 of 3 rows: the text is empty"), ("unlearnable", ("a.csv:4",), "1 of 3 rows: the text is missing")]


def test_a_template_that_refuses_rows_is_named(causal_tokens, model_of):  # noqa: F811
    tokenizer = causal_tokens("gemma3")
    found = preflight(tokenizer, encode_messages(tokenizer, [ask(), [ask()[0], *ask()]], 64), model_of("gemma3"))
    found = only(found, "template")
    assert "roles must alternate" in found.what and "gemma" in found.fix and found.rows == (1,)


# ------------------------------------------------------------------ 11, 12, 34: sizes
def test_rows_longer_than_the_model_reads(causal_tokens, model_of):  # noqa: F811
    import torch

    tokenizer, model = causal_tokens("llama"), model_of("llama")
    rows = encode_messages(tokenizer, [ask("the " * 280), ask()], 999)
    ids = torch.tensor([rows[0]["input_ids"]])
    assert ids.shape[1] > 256 and model(input_ids=ids, labels=ids).loss.isfinite()  # 11
    found = only(preflight(tokenizer, rows, model), "positions")
    assert "1 of 2 rows are longer than the 256 tokens" in found.what and found.cured(Recipe()).train.max_length == 256


def test_a_tokenizer_that_is_larger_than_the_embedding(causal_tokens, model_of):  # noqa: F811
    import torch

    model, tokenizer = model_of("llama"), with_template(causal_tokens("llama"), KINDS["llama"][5])
    tokenizer.add_tokens(["catdog"])
    with pytest.raises(IndexError, match="index out of range in self"): model(torch.tensor([tokenizer("catdog")["input_ids"]]))  # 12
    found = only(preflight(tokenizer, encode_messages(tokenizer, [ask(), ask("catdog?")], 64), model), "vocabulary")
    assert found.rows == (1,) and "1 of 2 rows use such tokens" in found.evidence
    tokenizer = with_template(causal_tokens("llama"), KINDS["llama"][5])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})  # the usual advice
    kinds = {f.kind: f for f in preflight(tokenizer, encode_messages(tokenizer, [ask()], 64), model)}
    assert set(kinds) == {"pad_outside", "vocabulary"} and "id 420, the embedding has 420 rows" in kinds["pad_outside"].what


def test_an_embedding_that_is_much_larger_than_the_tokenizer(causal_tokens, model_of):  # noqa: F811
    model, rows = model_of("llama"), encode_messages(causal_tokens("llama"), [ask()], 64)
    model.resize_token_embeddings(512)
    assert preflight(causal_tokens("llama"), rows, model) == []  # rounded up
    model.resize_token_embeddings(2000)
    assert only(preflight(causal_tokens("llama"), rows, model), "vocabulary").severity == "warning"


def test_a_limit_is_a_limit_where_upstream_has_none(causal_tokens):  # noqa: F811
    tokenizer = with_template(causal_tokens("gpt2"), "alpaca")
    tokenizer.model_max_length = int(1e30)
    text = "the " * 5000
    assert len(tokenizer(text, truncation=True)["input_ids"]) > 5000  # 34
    rows = encode_text(tokenizer, [text], 64)
    assert rows.lengths.tolist() == [64] and only(preflight(tokenizer, rows), "cut_answer").severity == "warning"


# ------------------------------------------------------------------ 17 and the prompt
def test_a_rendered_text_begins_once(causal_tokens):  # noqa: F811
    tokenizer = causal_tokens("llama")
    rendered = tokenizer.apply_chat_template(ask(), tokenize=False)
    assert tokenizer(rendered)["input_ids"][:2] == [tokenizer.bos_token_id] * 2  # 17
    for rows in (encode_text(tokenizer, [rendered], 64), encode_messages(tokenizer, [ask()], 64)):
        assert rows[0]["input_ids"].count(tokenizer.bos_token_id) == 1 and preflight(tokenizer, rows) == []
    twice = preflight(tokenizer, encode_text(tokenizer, [tokenizer.bos_token + rendered], 64))
    assert only(twice, "double_bos").severity == "error"


def test_a_template_without_the_begin_that_the_tokenizer_adds(causal_tokens):  # noqa: F811
    tokenizer = with_template(causal_tokens("llama"), KINDS["llama"][5].replace("{{ bos_token }}", ""))
    assert "bos_token" in only(preflight(tokenizer, encode_messages(tokenizer, [ask()], 64)), "no_bos").fix


def test_prompts_whose_tokens_change(causal_tokens):  # noqa: F811
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    tokenizer = with_template(causal_tokens("gpt2"), template)
    asked, whole = (tokenizer.apply_chat_template(talk, add_generation_prompt=prompt)["input_ids"] for talk, prompt in ((ask()[:1], True), (ask(), False)))
    assert whole[: len(asked)] != asked
    assert only(preflight(tokenizer, encode_messages(tokenizer, [ask(), ask("one?", "dog")], 64)), "prompt_tokens").count == 2


def test_special_tokens_in_the_data(causal_tokens):  # noqa: F811
    tokenizer = causal_tokens("mistral")
    found = only(preflight(tokenizer, encode_messages(tokenizer, [ask(), ask("what does <s> mean?")], 64)), "special_in_text")
    assert found.rows == (1,) and found.evidence == '"<s>" 1 times' and found.severity == "warning"


# ------------------------------------------------------------------ 13, 14, leaks
def test_pairs_that_are_one(causal_tokens, model_of):  # noqa: F811
    tokenizer, long = causal_tokens("llama"), "rows " * 30
    chosen = encode_messages(tokenizer, [ask(), ask("one?", long + "good"), ask("zero?", "good")], 30)
    rejected = encode_messages(tokenizer, [ask(), ask("one?", long + "bad"), ask("zero?", "bad")], 30)
    assert chosen[0] == rejected[0] and chosen[1] == rejected[1]  # 13, 14: equal rewards, the loss stays at ln 2
    kinds = {f.kind: f for f in preflight(tokenizer, chosen, model_of("llama"), rejected=rejected)}
    found = kinds["same_pair"]
    assert set(kinds) == {"same_pair", "cut_answer"} and found.rows == (0, 1) and "1 of them only once cut at 30 tokens" in found.what
    assert found.cured(Recipe()).data.bad_rows == "drop"  # for the pair that is one at any length
    limit = found.cured(Recipe()).train.max_length
    longer = [encode_messages(tokenizer, [ask("one?", long + word)], limit) for word in ("good", "bad")]
    assert preflight(tokenizer, longer[0], model_of("llama"), rejected=longer[1]) == []
    same = only(preflight(tokenizer, encode_messages(tokenizer, [ask(), ask()], 64), rejected=encode_messages(tokenizer, [ask(), ask("two?", "bird")], 64)), "same_pair")
    assert same.rows == (0,) and same.cured(Recipe()).data.bad_rows == "drop"
    with pytest.raises(DataError, match="have to be pairs"): preflight(tokenizer, chosen, rejected=longer[0])


def test_train_rows_in_test(causal_tokens):  # noqa: F811
    tokenizer = causal_tokens("llama")
    train = encode_messages(tokenizer, [{"messages": ask(), "origin": "train.jsonl:1"}, ask("one?")], 64)
    test = encode_messages(tokenizer, [ask("zero?"), {"messages": ask(), "origin": "test.jsonl:2"}], 12)  # another limit hides nothing
    found = only(preflight(tokenizer, train, others={"test": test, "valid": encode_messages(tokenizer, [ask("no?")], 64)}), "leak")
    assert found.rows == (0,) and found.evidence == "train.jsonl:1 of train is test.jsonl:2 of test"


# ------------------------------------------------------------------ refusing
def test_errors_refuse_and_warnings_do_not(causal_tokens):  # noqa: F811
    tokenizer = causal_tokens("llama")
    found = preflight(tokenizer, encode_messages(tokenizer, [ask(answer="rows " * 40), ask("<|eot_id|>?"), ask()], 30))
    assert [f.severity for f in found] == ["error", "warning"]
    with pytest.raises(TrainingError, match=r"cut_answer.*\(row 1\).*Cure: train.max_length=\d+") as caught: refuse(found)
    assert len(caught.value.problems) == 1
    refuse(found[1:])
    with pytest.raises(RecipeError, match="no change to the recipe"): found[1].cured(Recipe())


def test_hostile_names_are_escaped(causal_tokens):  # noqa: F811
    found = preflight(causal_tokens("llama"), encode_messages(causal_tokens("llama"), [{"messages": [], "origin": "\x1b[31m.csv:1"}], 64))
    assert "\x1b" not in str(found[0]) and "\\x1b[31m.csv:1" in str(found[0])


def test_ten_thousand_rows_take_seconds(causal_tokens):  # noqa: F811
    import time

    tokenizer, before = causal_tokens("smollm"), time.process_time()
    random = np.random.default_rng(0)
    rows = encode_messages(tokenizer, [ask(f"{i}?", " ".join(random.choice(["cat", "dog", "rows"], 8))) for i in range(10_000)], 99)
    assert preflight(tokenizer, rows, others={"test": encode_messages(tokenizer, [ask("x")], 64)}) == []
    assert time.process_time() - before < 40
