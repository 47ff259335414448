"""The 36 silent failures that this project set out from, by their numbers (G01 … G36): what plain transformers, TRL and peft do today with the
same rows or models, and what is said or done here instead. Where upstream has changed since the list was made, what it does now is asserted and
said so. Seen with transformers 5.23, TRL 1.16 and peft 0.21."""

import json
import math
import shutil
import warnings
from pathlib import Path

import pytest
from causal_models import causal_model  # noqa: F401
from conftest import tiny_tokenizer

from finetune_wb.data.load import load_data
from finetune_wb.errors import DataError, ModelError, RecipeError, TrainingError
from finetune_wb.recipe import Recipe, load_recipe, override
from finetune_wb.training.examples import load_examples, preflight
from finetune_wb.training.preflight import refuse

CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
LN_2 = math.log(2)


def ask(question: str = "two?", answer: str = "cat dog") -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


GOOD = {
    "chat": [{"messages": ask(f"which {i}?", f"the cat {i}")} for i in range(3)],
    "instruction": [{"prompt": f"which {i}?", "completion": f"the cat {i}"} for i in range(3)],
    "completion": [{"text": f"the cat {i} reads"} for i in range(3)],
    "preference": [{"prompt": f"which {i}?", "chosen": f"the cat {i}", "rejected": f"a dog {i}"} for i in range(3)],
}  # fmt: skip


# ------------------------------------------------------------------ their side
@pytest.fixture(scope="module", autouse=True)
def silent():
    "Upstream's bars and logs are not what is looked at here."
    import datasets
    from transformers.utils import logging

    level = logging.get_verbosity()
    datasets.disable_progress_bars(), logging.disable_progress_bar(), logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    datasets.enable_progress_bars(), logging.enable_progress_bar(), logging.set_verbosity(level)


USUAL = {"use_cpu": True, "report_to": "none", "save_strategy": "no", "per_device_train_batch_size": 4, "disable_tqdm": True, "logging_steps": 1, "max_steps": 1}
TRLS = {**USUAL, "bf16": False, "gradient_checkpointing": False}


@pytest.fixture
def loaded(causal_model):  # noqa: F811
    "`loaded('llama')` → model and tokenizer, as everybody loads them."
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def make(kind: str, template: str | None = None, **roles):
        tokenizer = AutoTokenizer.from_pretrained(causal_model(kind))
        for name, token in roles.items(): setattr(tokenizer, name, token)
        if template: tokenizer.chat_template = template
        return AutoModelForCausalLM.from_pretrained(causal_model(kind)), tokenizer

    return make


@pytest.fixture
def sft(loaded, tmp_path):
    "`sft('llama', rows, max_length=40)` → TRL's trainer for supervised fine-tuning."

    def make(kind, rows, template=None, roles=None, tokenizer=None, **config):
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        model, own = loaded(kind, template, **(roles or {}))
        return SFTTrainer(model, SFTConfig(output_dir=str(tmp_path / "trl"), **{**TRLS, **config}), train_dataset=Dataset.from_list(rows), processing_class=tokenizer or own)

    return make


@pytest.fixture
def dpo(loaded, tmp_path):
    "TRL's trainer for preferences."

    def make(kind, rows, **config):
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        model, tokenizer = loaded(kind)
        config = DPOConfig(output_dir=str(tmp_path / "trl"), **{**TRLS, "max_steps": 3, "learning_rate": 1e-3, **config})
        return DPOTrainer(model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)

    return make


@pytest.fixture
def classifier(tiny_model, tmp_path):
    "`classifier(labels, num_labels=2)` → transformers' Trainer around a BERT with a new head."

    def make(labels, column="labels", kind="bert", valid=None, **config):
        from transformers import (
            AutoModelForSequenceClassification,
            AutoTokenizer,
            DataCollatorWithPadding,
            Trainer,
            TrainingArguments,
        )

        tokenizer = AutoTokenizer.from_pretrained(tiny_model(kind))
        model = AutoModelForSequenceClassification.from_pretrained(tiny_model(kind), **config)
        rows = [{**tokenizer(f"the {'cat dog bird'.split()[i % 3]}"), column: label} for i, label in enumerate(labels)]
        arguments = TrainingArguments(str(tmp_path / "plain"), **{**USUAL, "max_steps": 3, "learning_rate": 1e-3})
        return Trainer(model, arguments, train_dataset=rows, eval_dataset=valid and rows, data_collator=DataCollatorWithPadding(tokenizer))

    return make


def trained_on(trainer) -> list[str]:
    "What stands in the labels of a batch, row by row."
    batch = next(iter(trainer.get_train_dataloader()))
    return [trainer.processing_class.decode([i for i in row.tolist() if i != -100]) for row in batch["labels"]]


def logged(trainer, *names: str) -> list[list[float]]:
    trainer.train()
    return [[log[name] for name in names] for log in trainer.state.log_history if all(name in log for name in names)]


# ------------------------------------------------------------------ our side
@pytest.fixture
def ours(causal_model, tmp_path):  # noqa: F811
    "`ours('llama', rows, 'train.max_length=40')` → a recipe whose train split are these rows, in files as a user has them."

    def make(kind, rows, *overrides, folder=None) -> Recipe:
        good = next((some for some in GOOD.values() if set(some[0]) == set(rows[0])), rows[:1])
        parts = {"train": rows, **{name: json.loads(json.dumps(good).replace("which", f"{name}, which").replace("the cat", f"{name} the cat")) for name in ("valid", "test")}}
        for name, part in parts.items(): (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
        source = {name: str(tmp_path / f"{name}.jsonl") for name in parts}
        return override(Recipe(model={"id": str(folder or causal_model(kind))}, data={"source": source}), *overrides)

    return make


@pytest.fixture
def labelled(tiny_model, tmp_path):
    "`labelled([0, 1, …])` → a recipe of rows with these labels."

    def make(labels, *overrides, column="label", kind="bert", **parts) -> Recipe:
        def write(name, values):
            (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": f"the {'cat dog bird'.split()[i % 3]} {name} {i}", column: v}) for i, v in enumerate(values)))
            return str(tmp_path / f"{name}.jsonl")

        source = {name: write(name, values) for name, values in {"train": labels, **parts}.items()} if parts else write("rows", labels)
        return override(Recipe(model={"id": str(tiny_model(kind))}, data={"source": source}), *overrides)

    return make


def errors(recipe: Recipe) -> dict:
    "Kind → finding, of what refuses this recipe."
    found = [f for f in preflight(recipe) if f.severity == "error" and not f.what.startswith(("valid:", "rejected"))]
    if found:
        with pytest.raises(TrainingError): refuse(found)
    return {f.kind: f for f in found}


def answers(recipe: Recipe) -> list[str]:
    "What is trained of each row here."
    rows = load_examples(recipe).train
    return [rows.tokenizer.decode([i for i in rows[place]["labels"] if i != -100]) for place in range(len(rows))]


# ------------------------------------------------------------------ 1 – 2: what the limit and the columns leave
def test_G01_prompts_longer_than_the_limit_are_dropped_in_silence(sft, ours):
    rows = [{"prompt": f"{i} " + "the " * n, "completion": "cat"} for i, n in enumerate((5, 50, 6, 60))]
    assert len(sft("llama", rows, max_length=40).train_dataset) == 2  # of 4
    recipe = ours("llama", rows, "train.max_length=50")
    found = errors(recipe)["nothing_trained"]
    assert found.rows == (1, 3) and [Path(name).name for name in found.names] == ["train.jsonl:2", "train.jsonl:4"] and "the prompt alone fills the 50 tokens" in found.what
    assert errors(found.cured(recipe)) == {}


def test_G01a_and_where_it_is_every_row_the_error_speaks_of_samples(sft, ours):
    rows = [{"prompt": f"{i} " + "the " * 50, "completion": "cat"} for i in range(3)]
    with pytest.raises(ValueError, match="num_samples=0"): sft("llama", rows, max_length=40).train()
    found = errors(ours("llama", rows, "train.max_length=50"))["nothing_trained"]
    assert "no token of 3 of 3 rows is trained" in found.what


def test_G01b_answers_longer_than_the_limit_teach_never_to_stop(sft, ours):
    rows = [{"prompt": "which?", "completion": " cat" * 60}]
    assert trained_on(sft("llama", rows, max_length=40))[0].endswith("cat")
    recipe = ours("llama", [*rows, *GOOD["instruction"]], "train.max_length=50")
    found = errors(recipe)["cut_answer"]
    assert found.rows == (0,) and "each one's end among them" in found.what
    assert all(text.endswith("<|eot_id|>") for text in answers(found.cured(recipe)))


def test_G02_a_text_column_beside_prompt_and_completion_takes_the_end_away(sft, ours):
    rows = [{"text": f"which {i}? cat", "prompt": f"which {i}?", "completion": " cat"} for i in range(3)]
    assert trained_on(sft("gpt2", rows)) == [" cat"] * 3  # trains on the completion, adds the end to the text
    with pytest.raises(DataError, match="the columns fit several tasks: instruction .*completion.*Say which: task=instruction or task=completion"): load_data(ours("gpt2", rows))
    assert all(text.endswith("cat<|endoftext|>") for text in answers(ours("gpt2", rows, "task=instruction", "model.chat_template=alpaca")))


# ------------------------------------------------------------------ 3 – 7: conversations
def test_G03_a_base_model_without_a_template(sft, ours):
    with pytest.raises(ValueError, match="Cannot use chat template functions"): sft("gpt2", GOOD["chat"])  # clear, and no way out
    recipe = ours("gpt2", GOOD["chat"])
    found = errors(recipe)["no_template"]
    assert found.cure == ("model.chat_template=alpaca",) and errors(found.cured(recipe)) == {}


def test_G04_turns_that_end_with_a_token_at_which_nothing_stops(sft, ours, causal_model, tmp_path):  # noqa: F811
    for text in trained_on(sft("qwen3", GOOD["chat"], CHATML, {"eos_token": "<|endoftext|>"})):
        assert text.endswith("<|im_end|>\n") and "<|endoftext|>" not in text
    folder = shutil.copytree(causal_model("qwen3"), tmp_path / "base")
    for name, change in (("tokenizer_config.json", {"eos_token": "<|endoftext|>"}), ("generation_config.json", {"eos_token_id": 0})):
        (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **change}))
    found = errors(ours("", GOOD["chat"], folder=folder))["stops"]
    assert '"<|im_end|>" (2), but generation stops at "<|endoftext|>" only' in found.what and "[0, 2]" in found.fix


def test_G05_questions_are_learnt_too(sft, ours):
    assert all("which" in text for text in trained_on(sft("qwen3", GOOD["chat"])))
    trained = answers(ours("qwen3", GOOD["chat"]))
    assert all(text.endswith(f"the cat {i}<|im_end|>") and "which" not in text for i, text in enumerate(trained))


def test_G06_roles_that_no_template_knows(sft, ours):
    rows = [{"messages": [{"role": "human", "content": f"which {i}?"}, {"role": "gpt", "content": "cat"}]} for i in range(3)]
    assert all("<|im_start|>gpt\ncat" in text for text in trained_on(sft("qwen3", rows, CHATML)))  # marks that the model has never seen
    with pytest.raises(DataError, match='the role is not one of system, user, assistant, tool .found "gpt".. Did you mean "assistant"'): load_data(ours("qwen3", rows))
    sharegpt = [{"conversations": [{"from": m["role"], "value": m["content"]} for m in row["messages"]]} for row in rows]
    assert all(text.endswith("cat<|im_end|>") for text in answers(ours("qwen3", sharegpt)))  # where they are the usual names


def test_G07_conversations_without_an_answer(sft, ours):
    rows = [*GOOD["chat"], {"messages": ask()[:1]}]
    assert any(text.endswith("two?<|im_end|>\n") for text in trained_on(sft("qwen3", rows, CHATML)))
    with pytest.raises(DataError, match="line 4.*no turn is the assistant's.*data.bad_rows=drop"): load_data(ours("qwen3", rows))
    assert len(answers(ours("qwen3", rows, "data.bad_rows=drop"))) == 3


# ------------------------------------------------------------------ 8 – 12: columns, texts, sizes
def test_G08_columns_of_other_names(sft, ours):
    rows = [{"question": f"which {i}?", "answer": "cat"} for i in range(3)]
    with pytest.raises(KeyError, match="text"): sft("qwen3", rows)
    assert all(text.endswith("cat<|im_end|>") for text in answers(ours("qwen3", rows)))  # they are read
    with pytest.raises(DataError) as caught: load_data(ours("qwen3", [{"colour": "red", "size": 3}] * 3, "task=instruction"))
    assert '"colour"' in str(caught.value) and "data.prompt" in str(caught.value)  # or asked for by name


def test_G09_empty_texts(sft, ours):
    rows = [{"text": ""}] * 4
    assert logged(sft("gpt2", rows), "loss", "grad_norm") == [[0.0, 0.0]]  # and exit code 0
    with pytest.raises(DataError, match="line 2.*the text is empty.*data.bad_rows=drop"): load_data(ours("gpt2", [*GOOD["completion"][:1], *rows], "task=completion"))


def test_G10_missing_texts(sft, ours):
    rows = [*GOOD["completion"], {"text": None}]
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'endswith'") as caught: sft("gpt2", rows)
    assert "row" not in str(caught.value)
    with pytest.raises(DataError, match="line 4.*the text is missing"): load_data(ours("gpt2", rows, "task=completion"))


def test_G11_rows_longer_than_the_model_reads(sft, ours):
    rows = [{"text": "the " * 300}, *GOOD["completion"]]
    assert logged(sft("llama", rows[:1], max_length=None), "loss")[0][0] > 1  # trains on 301 tokens; 256 is all it knows
    recipe = ours("llama", rows, "task=completion", "train.max_length=400")
    found = errors(recipe)["positions"]
    assert "longer than the 256 tokens that the model reads" in found.what
    assert load_examples(found.cured(recipe)).train.lengths.max() == 256 and errors(found.cured(recipe)) == {}


def test_G12_a_tokenizer_larger_than_the_embedding(sft, loaded, ours, causal_model, tmp_path):  # noqa: F811
    _, tokenizer = loaded("llama")
    tokenizer.add_tokens(["catdog"])
    with pytest.raises(IndexError, match="index out of range in self"): sft("llama", [{"text": "a catdog"}], tokenizer=tokenizer).train()
    folder = shutil.copytree(causal_model("llama"), tmp_path / "larger")
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="token ids up to 420, the embedding has 420 rows"): preflight(ours("", GOOD["chat"], folder=folder))


def test_G12_a_pad_token_that_was_added_and_never_resized_for(loaded, ours, causal_model, tmp_path):  # noqa: F811
    "The usual advice for a model without one, saved; a recipe that names another token cures it."
    _, tokenizer = loaded("llama")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    folder = shutil.copytree(causal_model("llama"), tmp_path / "padded")
    tokenizer.save_pretrained(folder)
    recipe = ours("", GOOD["chat"], folder=folder)
    with pytest.raises(ModelError, match=r"token ids up to 420, the embedding has 420 rows.*model.pad_token=<.eot_id.>"): preflight(recipe)
    cured = override(recipe, "model.pad_token=<|eot_id|>")
    assert preflight(cured) == [] and all(text.endswith("<|eot_id|>") for text in answers(cured))
    with pytest.raises(ModelError, match="is not in the vocabulary"): preflight(override(recipe, "model.pad_token=<nothing>"))
    with pytest.raises(ModelError, match="token ids up to 420"): preflight(override(recipe, "model.pad_token=[PAD]"))
    named = ours("", [*GOOD["chat"], {"messages": ask(answer="a [PAD] of paper")}], "model.pad_token=<|eot_id|>", folder=folder)
    assert "1 of 4 rows use such tokens" in errors(named)["vocabulary"].evidence


def test_G12b_a_wrong_tokenizer_of_the_same_size(sft, loaded, ours, causal_model, tmp_path):  # noqa: F811
    _, other = loaded("qwen3")
    assert len(other) == len(loaded("llama")[1]) and logged(sft("llama", GOOD["chat"], tokenizer=other), "loss")
    folder = shutil.copytree(causal_model("llama"), tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"): shutil.copyfile(causal_model("qwen3") / name, folder / name)
    assert "(2), but generation stops at" in errors(ours("", GOOD["chat"], folder=folder))["stops"].what  # its ends of turn are elsewhere


def test_G12b_and_one_whose_ends_are_in_the_right_place(loaded, causal_model, tmp_path):  # noqa: F811
    "The same tokens under other ids: nothing in the files tells, the loss before the first step does."
    import torch
    from conftest import WORDS

    from finetune_wb import train

    model, tokenizer = loaded("llama")
    texts = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
    batch, optimizer = tokenizer(texts[::2], return_tensors="pt", padding=True), torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(30):
        model(**batch, labels=batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)).loss.backward()
        optimizer.step(), optimizer.zero_grad()
    said = {}
    for name in ("own", "other"):
        folder = shutil.copytree(causal_model("llama"), tmp_path / name)
        model.save_pretrained(folder)
        if name == "other":
            held = json.loads((folder / "tokenizer.json").read_text())
            held["model"]["vocab"] = {token: i if i < 6 else 6 + (i + 100) % (len(tokenizer) - 6) for token, i in held["model"]["vocab"].items()}
            (folder / "tokenizer.json").write_text(json.dumps(held))
        recipe = Recipe(task="completion", model={"id": str(folder)}, train={"max_steps": 1, "bf16": False, "threads": 1})
        run = train(recipe, [{"text": text} for text in texts[1::2]], tmp_path / "runs", name)
        said[name] = [event["message"] for event in run.events("alert")]
    assert said["own"] == [] and len(said["other"]) == 1 and "does worse than guessing" in said["other"][0]


# ------------------------------------------------------------------ 13 – 14: preferences
def test_G13_pairs_that_are_one(dpo, ours):
    rows = [{"prompt": f"which {i}?", "chosen": " cat", "rejected": " cat"} for i in range(4)]
    for loss, accuracy, norm in logged(dpo("llama", rows), "loss", "rewards/accuracies", "grad_norm"): assert loss == pytest.approx(LN_2) and accuracy == 0 and norm < 1e-5
    with pytest.raises(DataError, match="line 4.*chosen and rejected are the same.*data.bad_rows=drop"): load_data(ours("llama", [*GOOD["preference"], rows[0]]))


def test_G14_pairs_that_are_one_once_cut(dpo, ours):
    rows = [{"prompt": f"which {i}?", "chosen": "cat " * 30 + "dog", "rejected": "cat " * 30 + "bird"} for i in range(4)]
    for loss, norm in logged(dpo("llama", rows, max_length=20), "loss", "grad_norm"): assert loss == pytest.approx(LN_2) and norm < 1e-5
    recipe = ours("llama", rows, "train.max_length=45")
    found = errors(recipe)["same_pair"]
    assert "same in 4 of 4 rows, 4 of them only once cut at 45 tokens" in found.what and errors(found.cured(recipe)) == {}


# ------------------------------------------------------------------ 15 – 17: ends and begins
def masked(tokenizer, texts: list[str]) -> int:
    "Ends of text among the labels of transformers' collator for language models."
    from transformers import DataCollatorForLanguageModeling

    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)([tokenizer(text) for text in texts])
    return int((batch["labels"] == tokenizer.eos_token_id).sum())


def test_G15_plain_trainer_with_a_tokenizer_that_adds_no_end(loaded, ours):
    _, tokenizer = loaded("gpt2", pad_token="<|endoftext|>")
    assert masked(tokenizer, [row["text"] for row in GOOD["completion"]]) == 0
    assert all(text.endswith("<|endoftext|>") for text in answers(ours("gpt2", GOOD["completion"], "task=completion")))


def test_G16_padding_with_the_end_takes_every_end_out_of_the_loss(loaded, sft, ours):
    _, tokenizer = loaded("gpt2", pad_token="<|endoftext|>")
    texts = [row["text"] + "<|endoftext|>" for row in GOOD["completion"]]
    assert masked(tokenizer, texts) == 0
    assert all(text.endswith("<|endoftext|>") for text in trained_on(sft("gpt2", GOOD["completion"], roles={"pad_token": "<|endoftext|>"})))  # TRL pads by place
    recipe = ours("gpt2", GOOD["completion"], "task=completion")
    assert load_examples(recipe).tokenizer.pad_token == "<|endoftext|>" and all(text.endswith("<|endoftext|>") for text in answers(recipe))


def test_G16_what_training_makes_batches_with_is_asked_too(ours, monkeypatch):
    from finetune_wb.training import collate

    collator = collate.collator
    def masks_the_end(tokenizer, *kind):
        def batch(items):
            found = collator(tokenizer, *kind)(items)
            return {**found, "labels": found["labels"].masked_fill(found["labels"] == tokenizer.eos_token_id, -100)}
        return batch

    recipe = ours("gpt2", GOOD["completion"], "task=completion")
    assert errors(recipe) == {}
    monkeypatch.setattr(collate, "collator", masks_the_end)
    assert errors(recipe).keys() == {"end_masked"}


def test_G17_a_rendered_conversation_that_is_tokenized_begins_twice(loaded, sft, ours):
    _, tokenizer = loaded("llama")
    rows = [{"text": tokenizer.apply_chat_template(row["messages"], tokenize=False)} for row in GOOD["chat"]]
    assert tokenizer(rows[0]["text"])["input_ids"][:2] == [tokenizer.bos_token_id] * 2
    assert all(text.startswith("<|begin_of_text|>" * 2) for text in trained_on(sft("llama", rows)))
    for held, task in ((rows, "completion"), (GOOD["chat"], "chat")):
        assert all(row.ids.tolist().count(tokenizer.bos_token_id) == 1 for row in load_examples(ours("llama", held, f"task={task}")).train.rows)


def test_what_is_refused_leaves_no_run_behind(ours, tmp_path):
    from finetune_wb import launch, train

    recipe = ours("llama", [{"prompt": "which?", "completion": " cat" * 60}, *GOOD["instruction"]], "train.max_length=50", "task=instruction")
    for start in (train, launch):
        with pytest.raises(TrainingError, match="cut_answer.*Cure: train.max_length="): start(recipe, runs_dir=tmp_path / "runs")
        assert not list((tmp_path / "runs").glob("*"))


# ------------------------------------------------------------------ 18 – 26: labels
def test_G18_one_class_becomes_a_regression(classifier, labelled):
    trainer = classifier([0.0] * 8, num_labels=1)
    losses = logged(trainer, "loss")
    assert trainer.model.config.problem_type == "regression" and losses[-1][0] < 0.5  # looks perfect
    with pytest.raises(DataError, match="all 8 rows have the same class"): load_data(labelled([0] * 8))


def test_G19_two_classes_and_one_output_are_a_regression_too(classifier, labelled):
    trainer = classifier([0.0, 1.0] * 4, num_labels=1)
    trainer.train()
    assert trainer.model.config.problem_type == "regression"
    assert load_data(labelled([0, 1] * 8)).label_names == ("0", "1")  # the head has an output for each


def test_G20_labels_that_are_all_masked(classifier, labelled):
    trainer = classifier([-100] * 8, num_labels=2)
    assert logged(trainer, "loss", "grad_norm")[0] == [0.0, 0.0] and trainer.args.logging_nan_inf_filter  # the loss is NaN; a filter shows the last good one
    with pytest.raises(DataError, match='all 8 rows have the same class .found "-100"'): load_data(labelled([-100] * 8))
    assert any('The class "-100"' in note and 'often means "no label"' in note for note in load_data(labelled([0, 1, -100] * 8)).notes)


def test_G21_one_label_that_is_no_number_ruins_every_weight(classifier, labelled):
    trainer = classifier([0.1 * i for i in range(15)] + [math.nan], num_labels=1)
    losses = logged(trainer, "loss")
    assert any(p.isnan().any() for p in trainer.model.parameters()) and losses[-1] == [0.0]  # a loss of 0 is what the log says
    with pytest.raises(DataError, match="line 2.*the value is NaN"): load_data(labelled(["a", math.nan, "b"] * 5))


def test_G22_labels_that_do_not_begin_at_zero(classifier, labelled):
    with pytest.raises(IndexError, match="Target 2 is out of bounds"): classifier([1, 2] * 4, num_labels=2).train()
    assert load_data(labelled([1, 2] * 8)).label_names == ("1", "2")


def test_G23_labels_as_text(classifier, labelled):
    with pytest.raises(ValueError, match="activate truncation"): classifier(["0", "1"] * 4, num_labels=2).train()  # about something else
    assert load_data(labelled(["0", "1"] * 8)).label_names == ("0", "1")


def test_G24_labels_as_fractions(classifier, labelled):
    with pytest.raises(ValueError, match="Target size"): classifier([0.0, 1.0] * 4, num_labels=2).train()
    with pytest.raises(DataError, match="line 1.*the labels are fractions.*Whole numbers turn into fractions beside missing values"): load_data(labelled([0.0, 1.0] * 8))


def test_G25_a_label_column_of_another_name(classifier, labelled):
    trainer = classifier([0, 1] * 4, column="target", valid=True, num_labels=2)
    assert "eval_loss" not in trainer.evaluate()  # and not a word
    assert load_data(labelled([0, 1] * 8, column="target")).label_names == ("0", "1")


def test_G26_classes_numbered_split_by_split(labelled):
    from datasets import Dataset

    train, test = (Dataset.from_dict({"label": names}).class_encode_column("label") for names in (["dog", "cat", "dog"], ["dog", "dog"]))
    assert (train[0]["label"], test[0]["label"]) == (1, 0)  # both are dogs
    data = load_data(labelled(["dog", "cat"] * 6, test=["dog", "dog", "dog"]))
    assert data.label_names == ("cat", "dog") and set(data.test["label"]) == {"dog"}


# ------------------------------------------------------------------ 27 – 28: settings
def test_G27_a_metric_whose_direction_is_guessed(tmp_path):
    from transformers import TrainingArguments

    from finetune_wb.tasks.metrics import METRICS

    for name in ("error_rate", "mae", "wer", "perplexity"):
        assert TrainingArguments(str(tmp_path), use_cpu=True, metric_for_best_model=name).greater_is_better  # keeps the worst model
        with pytest.raises(RecipeError, match="train.metric_for_best_model"): Recipe(train={"metric_for_best_model": name})
    assert METRICS["accuracy"].greater_is_better and not METRICS["loss"].greater_is_better


def test_G28_numbers_that_yaml_takes_for_text(tmp_path):
    import yaml
    from transformers import TrainingArguments

    (tmp_path / "recipe.yaml").write_text("train:\n  learning_rate: 1e-4\n  seed: 10\nmodel:\n  id: no\n")
    held = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert held["train"]["learning_rate"] == "1e-4" and held["model"]["id"] is False
    assert TrainingArguments(str(tmp_path), use_cpu=True, learning_rate="1e-4").learning_rate == "1e-4"  # fails later, elsewhere
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.train.learning_rate == 1e-4 and recipe.model.id == "no"


# ------------------------------------------------------------------ 29 – 35: adapters and models
ROWS = [{"text": f"the {'cat' if i % 2 else 'dog'} reads {i}", "label": "cat" if i % 2 else "dog"} for i in range(24)]


@pytest.fixture(scope="module")
def tuned(tiny_model, tmp_path_factory):
    "A LoRA of this project on a copy of BERT, one step long: its run and its base."
    from finetune_wb import train

    folder = tmp_path_factory.mktemp("tuned")
    base = shutil.copytree(tiny_model("bert"), folder / "base")
    recipe = Recipe(model={"id": str(base)}, method={"name": "lora", "r": 2}, train={"max_steps": 1, "bf16": False, "threads": 1})
    return train(recipe, ROWS, folder / "runs", "one"), base


def adapter(folder: Path, **options):
    "peft's own, around transformers' classifier."
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    return get_peft_model(AutoModelForSequenceClassification.from_pretrained(folder), LoraConfig(r=2, **{"target_modules": ["query"], **options}))


def test_G29_an_adapter_whose_head_stays_random(tiny_model, tuned, tmp_path):
    from safetensors.torch import load_file

    model = adapter(tiny_model("bert"))
    assert not any(p.requires_grad for p in model.get_base_model().classifier.parameters())  # new, random, and frozen
    model.save_pretrained(tmp_path / "adapter")
    assert not [name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors") if "classifier" in name]  # and lost
    run, _ = tuned
    assert [name for name in load_file(run.model_folder / "adapter_model.safetensors") if "classifier" in name]


def test_G30_tokens_that_are_added_are_not_learnt_by_an_adapter(loaded, ours, causal_model, tmp_path):  # noqa: F811
    from peft import LoraConfig, get_peft_model

    model, tokenizer = loaded("llama")
    tokenizer.add_tokens(["catdog"])
    model.resize_token_embeddings(len(tokenizer))
    assert not any(p.requires_grad for name, p in get_peft_model(model, LoraConfig(r=2)).named_parameters() if "embed_tokens" in name)
    folder = shutil.copytree(causal_model("llama"), tmp_path / "added")  # nothing adds tokens here; who does, and resizes nothing, is told (G12)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="the tokenizer that came with the model"): load_examples(ours("", GOOD["chat"], folder=folder))


def test_G30_and_where_the_model_was_resized_for_them(loaded, ours, tmp_path):
    model, tokenizer = loaded("llama")
    tokenizer.add_tokens(["catdog", "dogcat"])
    model.resize_token_embeddings(len(tokenizer))
    folder = tmp_path / "resized"
    model.save_pretrained(folder), tokenizer.save_pretrained(folder)
    rows = [{"messages": ask("dogcat?", f"catdog {i}")} for i in range(3)]
    recipe = ours("", rows, "method.name=lora", folder=folder)
    finding = errors(recipe)["untrained_token"]
    assert '"catdog"' in finding.what and finding.count == 3 and finding.cure == ("method.name=full",)
    assert errors(finding.cured(recipe)) == {} == errors(ours("", GOOD["chat"], "method.name=lora", folder=folder))  # what no row uses harms none
    asked = [{"messages": ask("catdog?", f"the {i}")} for i in range(3)]
    warned = preflight(ours("", asked, "method.name=lora", folder=folder))
    assert [(f.kind, f.severity) for f in warned] == [("untrained_token", "warning")]  # read and never written


def test_G31_layers_that_no_model_has(tiny_model, tmp_path):
    from finetune_wb import train

    assert adapter(tiny_model("bert"), target_modules=["query", "nonexistent_proj"])
    recipe = Recipe(model={"id": str(tiny_model("bert"))}, method={"name": "lora", "target_modules": ("query", "nonexistent_proj")}, train={"max_steps": 1})
    with pytest.raises(ModelError, match="nonexistent_proj"): train(recipe, ROWS, tmp_path / "runs")


def test_G32_an_adapter_on_other_weights(tiny_model, tuned, tmp_path):
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForSequenceClassification

    from finetune_wb.training.saved import load_trained

    adapter(tiny_model("bert"), task_type="SEQ_CLS").save_pretrained(tmp_path / "adapter")
    torch.manual_seed(1)
    other = AutoModelForSequenceClassification.from_config(AutoModelForSequenceClassification.from_pretrained(tiny_model("bert")).config)
    assert PeftModel.from_pretrained(other, tmp_path / "adapter")
    run, base = tuned
    load_trained(run)
    weights = load_file(base / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, base / "model.safetensors")
    try:
        with pytest.raises(ModelError, match="sha256 is not that of training"): load_trained(run)
    finally: save_file(weights, base / "model.safetensors", {"format": "pt"})


def test_G33_the_name_of_another_architecture(causal_model, ours, tmp_path):  # noqa: F811
    from transformers import AutoModelForCausalLM

    folder = shutil.copytree(causal_model("llama"), tmp_path / "renamed")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"llama"', '"gpt2"'))
    assert type(AutoModelForCausalLM.from_pretrained(folder)).__name__ == "GPT2LMHeadModel"  # all of it random; a printed report is all
    with pytest.raises(ModelError, match="model_type says .gpt2., architectures says .LlamaForCausalLM."): preflight(ours("", GOOD["chat"], folder=folder))


def test_G34_truncation_to_a_limit_that_nobody_set(loaded, ours):
    _, tokenizer = loaded("gpt2")
    tokenizer.model_max_length = int(1e30)
    rows = [{"text": "the " * 5000}, *GOOD["completion"]]
    assert len(tokenizer(rows[0]["text"], truncation=True)["input_ids"]) > 5000
    recipe = ours("gpt2", rows, "task=completion")
    assert load_examples(recipe).train.lengths.max() == 256 and [f.kind for f in preflight(recipe)] == ["cut_answer"]


def test_G35_a_decoder_that_has_no_padding(classifier, labelled):
    from transformers import DataCollatorWithPadding

    from finetune_wb.models.catalog import find_model
    from finetune_wb.models.load import load_tokenizer

    trainer = classifier([0, 1] * 4, kind="gpt2", num_labels=2)
    trainer.data_collator = DataCollatorWithPadding(tiny_tokenizer("gpt2", pad_token="<|endoftext|>"))  # so that the rows come as far as the model
    with pytest.raises(ValueError, match="Cannot handle batch sizes > 1 if no padding token is defined"): trainer.train()
    spec = labelled([0, 1] * 4, kind="gpt2").model
    assert load_tokenizer(find_model(spec), spec).pad_token == "<|endoftext|>"  # rows are padded with the end, and an attention mask says where they end


# G36, what resuming passes over, is tested where resuming is: tests/test_checkpoints.py (stale, mixed and damaged folders, data and rates that changed) and tests/test_crash.py.
