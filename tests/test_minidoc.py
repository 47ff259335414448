"""The model inside the package: what its files promise, that preflight has nothing to say, and that the notebook that made it runs."""

import json
import os
from pathlib import Path

import pytest

from finetune_wb.data.signatures import signature_rows
from finetune_wb.models.catalog import CATALOG, find_model
from finetune_wb.models.causal import load_causal
from finetune_wb.recipe import Recipe, load_recipe
from finetune_wb.training.examples import preflight

NOTEBOOK = Path(__file__).parents[1] / "nbs" / "pretrain" / "minidoc.ipynb"
SMALL = {"packages": ["joblib"], "steps": 4, "vocab_size": 500, "layers": 1, "width": 64, "batch_size": 2, "length": 64, "log_steps": 2, "compile": False}
RECIPE = load_recipe({"task": "instruction", "model": {"id": "minidoc"}, "data": {"source": "builtin:signatures"}})


@pytest.fixture(scope="module")
def source(): return find_model(RECIPE.model)


@pytest.fixture(scope="module")
def tokenizer(source):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source.folder)


def test_it_is_small_and_says_what_it_is(source):
    from safetensors import safe_open

    entry, config = CATALOG["minidoc"], json.loads((source.folder / "config.json").read_text())
    assert (source.kind, source.license, source.sha256) == ("catalog", "Apache-2.0", entry.sha256)
    assert config["architectures"] == ["LlamaForCausalLM"] and (source.folder / "model.safetensors").stat().st_size <= 16e6
    with safe_open(source.folder / "model.safetensors", "pt") as weights:
        tensors = [weights.get_slice(name) for name in weights.keys()]
        assert {t.get_dtype() for t in tensors} == {"BF16"}
        shapes = [t.get_shape() for t in tensors]
    assert sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes) == entry.parameters
    card = (source.folder / "README.md").read_text()
    assert "knows nothing" in card and "perplexity" in card and f"{entry.parameters:,}" in card and "license: apache-2.0" in card


def test_its_tokens_have_one_meaning_each(source, tokenizer):
    generation = json.loads((source.folder / "generation_config.json").read_text())
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_start|>")}) == 3
    assert generation["eos_token_id"] == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>") and generation["pad_token_id"] == tokenizer.pad_token_id
    text = "def größe(x: int) -> '日本':\n\tReturn   it. 🙂\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a b"}]
    found = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    trained = [token for token, mask in zip(found["input_ids"], found["assistant_masks"]) if mask]
    assert tokenizer.decode(trained) == "a b<|im_end|>"


def test_preflight_has_nothing_to_say():
    assert preflight(load_recipe(RECIPE.model_dump(), "data.max_rows=300")) == []


def test_it_knows_the_form_of_texts_it_has_not_read(source, tokenizer):
    import torch

    model = load_causal(source, Recipe().model.model_copy(update={"id": "minidoc"})).eval()

    def nats(text: str) -> float:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad(): return float(model(input_ids=ids, labels=ids).loss)

    rows = [[turn["content"] for turn in turns] for turns in signature_rows()["test"].messages[:40]]
    straight = sum(nats(f"{prompt}:\n    {answer}") for prompt, answer in rows) / len(rows)
    shuffled = sum(nats(f"{prompt}:\n    {' '.join(sorted(answer.split()))}") for prompt, answer in rows) / len(rows)
    assert straight < 4 and straight < shuffled - 0.2  # nats a token; guessing costs 8.3
    asked = tokenizer("def mean(a, axis=None):\n", return_tensors="pt")
    with torch.no_grad(): written = model.generate(**asked, max_new_tokens=200, do_sample=False)
    assert written[0, -1] == tokenizer.eos_token_id or written.shape[1] > 100


def test_the_notebook_that_made_it_runs_and_goes_on(tmp_path, monkeypatch):
    import papermill
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")

    def made(name: str, **parameters) -> dict:
        folder = tmp_path / name
        papermill.execute_notebook(NOTEBOOK, tmp_path / f"{name}.ipynb", parameters={**SMALL, "folder": str(folder), **parameters}, progress_bar=False, cwd=str(tmp_path), extra_arguments=["--IPKernelApp.log_level=40"])
        return {file: (folder / file).read_bytes() for file in sorted(os.listdir(folder))}

    whole = made("whole")
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"} == set(whole)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path / "whole"), AutoTokenizer.from_pretrained(tmp_path / "whole")
    assert len(tokenizer) == model.config.vocab_size == 500 and model.config.max_position_embeddings == 64 and tokenizer.chat_template
    assert "4 steps of 128 tokens" in whole["README.md"].decode()
    saved = str(tmp_path / "half.pt")
    import torch

    made("first", checkpoint=saved)
    assert torch.load(saved, weights_only=True)["step"] == 4
    again = made("again", checkpoint=saved)  # nothing is left to do: the same weights
    assert again["model.safetensors"] == whole["model.safetensors"] and again["tokenizer.json"] == whole["tokenizer.json"]
