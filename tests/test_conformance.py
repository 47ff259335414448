"""Eight architectures and every method on the same road: tokens, twenty steps, a falling loss, a model that comes back the same,
writes, and can be merged."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
from causal_models import KINDS, causal_model  # noqa: F401

from finetune_wb.errors import ModelError, RunError, WorkbenchError
from finetune_wb.export.merge import merge
from finetune_wb.method import METHODS, why_not
from finetune_wb.recipe import Recipe, override
from finetune_wb.training import saved as saving
from finetune_wb.training.saved import load_trained
from finetune_wb.training.train import train

ROWS = [
    {"messages": [{"role": "user", "content": f"reads the {noun} {verb}"}, {"role": "assistant", "content": f"{verb} the {noun}"}]}
    for noun in ("file", "rows", "text", "line", "page", "name", "word", "code")
    for verb in ("opens", "saves", "closes", "prints", "finds", "moves")
]
PROMPT = "reads the file opens"
STEPS = 20


def recipe_for(folder: Path, kind: str, *assignments: str) -> Recipe:
    "Twenty steps of chat on a tiny model, in float32, with one evaluation at the end."
    template = ["model.chat_template=alpaca"] if KINDS[kind][5] is None else []
    fixed = ["task=chat", f"train.max_steps={STEPS}", "train.tokens_per_batch=256", "train.bf16=false", "train.threads=1", "train.evals_per_epoch=1"]
    return override(Recipe(), f"model.id={folder}", *fixed, *template, *assignments)


def logits(model, ids):
    "(rows, places, vocabulary) of the places of the text alone, float32."
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -ids.shape[1] :].float()


def some_ids(model):
    import torch

    return torch.randint(10, len(model.get_input_embeddings().weight), (3, 24), generator=torch.Generator().manual_seed(0))


@contextmanager
def observed(monkeypatch):
    "What the model gives at the moment it is saved."
    seen, save = {}, saving.save_trained

    def look(model, tokenizer, folder, *args):
        seen["logits"] = logits(model, some_ids(model))
        seen["moved"] = {name for name, p in model.named_parameters() if p.requires_grad}
        return save(model, tokenizer, folder, *args)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_trained", look)
        yield seen


def write(model, tokenizer) -> list[int]:
    "Ids that a model writes after the prompt, greedily, by transformers' own generate."
    text = tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
    return model.generate(**ids, max_new_tokens=6, do_sample=False, pad_token_id=tokenizer.pad_token_id)[0, ids["input_ids"].shape[1] :].tolist()


def trained(recipe: Recipe, folder: Path, monkeypatch):
    "A finished run, its model as it was saved and as it comes back, and its tokenizer."
    import torch

    with observed(monkeypatch) as seen:
        run = train(recipe, ROWS, folder / "runs")
    outcome = run.record["result"]["fine_tune"]
    assert outcome["steps"] == STEPS and outcome["best"] < outcome["start"], outcome
    model, tokenizer = load_trained(run)
    ids = some_ids(model)
    assert torch.equal(logits(model, ids), seen["logits"]) or torch.allclose(logits(model, ids), seen["logits"], atol=2e-5)
    assert not [file for file in run.model_folder.rglob("*.json") if str(folder) in file.read_text()]  # no path of this machine
    return run, model, tokenizer, seen


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_trains_comes_back_and_writes(causal_model, tmp_path, monkeypatch, kind):  # noqa: F811
    recipe = recipe_for(causal_model(kind), kind, "train.learning_rate=1e-2")
    run, model, tokenizer, seen = trained(recipe, tmp_path, monkeypatch)
    assert seen["moved"] == {name for name, _ in model.named_parameters()}  # full moves all of it, tied tables too
    outcome = run.record["result"]["fine_tune"]
    assert outcome["best"] < 0.75 * outcome["start"]
    written = write(model, tokenizer)
    assert 1 <= len(written) <= 6
    plain = merge(run, tmp_path / "whole")
    # others load with their own attention (sdpa), training on a CPU took eager: the last bit of a float may differ
    assert plain.difference < 1e-5 and plain.same_choice == 1 and write(*as_others_load(tmp_path / "whole")) == written


def as_others_load(folder: Path):
    "Model and tokenizer, by transformers alone."
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_takes_an_adapter_that_merges(causal_model, tmp_path, monkeypatch, kind):  # noqa: F811
    recipe = recipe_for(causal_model(kind), kind, "method.name=lora", "method.r=4", "train.learning_rate=2e-2")
    run, model, tokenizer, seen = trained(recipe, tmp_path, monkeypatch)
    assert seen["moved"] and all(".lora_" in name for name in seen["moved"])
    assert run.record["result"]["trainable"] < 0.25 * run.record["result"]["parameters"]
    written = write(model, tokenizer)
    merged = merge(run, tmp_path / "whole")
    assert merged.difference < 1e-4 and merged.same_choice == 1
    whole, words = as_others_load(tmp_path / "whole")
    assert write(whole, words) == written
    assert words.chat_template == tokenizer.chat_template and whole.generation_config.eos_token_id == model.generation_config.eos_token_id
    assert not [file for file in (tmp_path / "whole").rglob("*.json") if str(tmp_path) in file.read_text()]


# name of the case -> what the recipe says, and a part of the name of every parameter that may move
METHOD_CASES = {
    "full, tables frozen": (("method.name=full", "method.freeze_embeddings=true", "train.learning_rate=1e-2"), ("layers.", "norm", "lm_head")),
    "last_layers": (("method.name=last_layers", "method.layers=1", "train.learning_rate=1e-2"), ("layers.1.", "model.norm")),
    "rslora": (("method.name=lora", "method.r=4", "method.use_rslora=true", "train.learning_rate=1e-2"), (".lora_",)),
    "dora": (("method.name=lora", "method.r=4", "method.use_dora=true", "train.learning_rate=1e-2"), (".lora_",)),
    "pissa": (("method.name=lora", "method.r=4", "method.init_lora_weights=pissa", "train.learning_rate=1e-2"), (".lora_",)),
    "pissa, dora, rslora": (("method.name=lora", "method.r=4", "method.init_lora_weights=pissa", "method.use_dora=true", "method.use_rslora=true", "train.learning_rate=1e-2"), (".lora_",)),
    "ia3": (("method.name=ia3", "train.learning_rate=1e-1"), (".ia3_l.",)),
    "prompt_tuning": (("method.name=prompt_tuning", "method.num_virtual_tokens=4", "method.init_text='reads the'"), ("prompt_encoder.",)),
    "prefix_tuning": (("method.name=prefix_tuning", "method.num_virtual_tokens=4"), ("prompt_encoder.",)),
    "p_tuning": (("method.name=p_tuning", "method.num_virtual_tokens=4", "method.encoder_hidden_size=16"), ("prompt_encoder.",)),
    "bottleneck": (("method.name=bottleneck", "method.bottleneck_size=8", "train.learning_rate=1e-2"), (".bottleneck_adapter.",)),
}  # fmt: skip


def resumed(recipe: Recipe, folder: Path, monkeypatch) -> dict[str, bytes]:
    "The weights of the same run, interrupted in step 13 and taken up again."
    from finetune_wb.training.trainer import RunCallback

    def on_step_end(self, args, state, control, **_):
        if state.global_step == 13:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunCallback, "on_step_end", on_step_end)
        train(recipe, ROWS, folder, "one")
    run = train(folder / "one")
    assert [event["resumed_from"] > 0 for event in run.events("state") if "resumed_from" in event] == [True]
    return {path.name: path.read_bytes() for path in run.model_folder.glob("*.safetensors")}


@pytest.mark.parametrize("case", METHOD_CASES)
def test_every_method_moves_only_its_own_and_comes_back(causal_model, tmp_path, monkeypatch, case):  # noqa: F811
    import torch
    from transformers import AutoModelForCausalLM

    assignments, parts = METHOD_CASES[case]
    recipe = recipe_for(causal_model("qwen3"), "qwen3", *assignments)
    run, model, tokenizer, seen = trained(recipe, tmp_path, monkeypatch)
    assert seen["moved"] and all(any(part in name for part in parts) for name in seen["moved"]), seen["moved"]
    base = AutoModelForCausalLM.from_pretrained(causal_model("qwen3")).state_dict()
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    there = {name.replace(".base_layer", ""): value for name, value in inner.state_dict().items()}
    changed = {name for name, value in base.items() if not torch.equal(there[name], value)}
    assert all(any(part in name for part in parts) for name in changed)  # frozen weights are bit for bit the base's
    assert not torch.allclose(logits(model, some_ids(model)), logits(AutoModelForCausalLM.from_pretrained(causal_model("qwen3")), some_ids(model)), atol=1e-3)
    assert resumed(recipe, tmp_path / "cut", monkeypatch) == {path.name: path.read_bytes() for path in run.model_folder.glob("*.safetensors")}
    if reason := why_not(recipe.method, "merge"):
        with pytest.raises(ModelError, match=reason):
            merge(run, tmp_path / "whole")
        assert not (tmp_path / "whole").exists()
        return
    merged = merge(run, tmp_path / "whole")
    assert merged.difference < 1e-4
    assert write(*as_others_load(tmp_path / "whole")) == write(model, tokenizer)


@pytest.mark.parametrize("case", ["dora", "ia3", "prompt_tuning", "p_tuning", "bottleneck"])
def test_checkpointing_changes_no_weight_of_a_method_that_goes_with_it(causal_model, tmp_path, case):  # noqa: F811
    import torch
    from safetensors.torch import load_file

    recipe = recipe_for(causal_model("llama"), "llama", *METHOD_CASES[case][0], "train.max_steps=4")
    runs = [train(override(recipe, f"train.gradient_checkpointing={on}"), ROWS, tmp_path, f"run-{on}") for on in ("false", "true")]
    without, with_it = ({name: value for file in run.model_folder.glob("*.safetensors") for name, value in load_file(file).items()} for run in runs)
    assert without.keys() == with_it.keys() and all(torch.allclose(without[name], with_it[name], atol=1e-5) for name in without)


@pytest.mark.parametrize("method", [{"name": "ia3"}, {"name": "bottleneck", "bottleneck_size": 8}, {"name": "lora", "r": 4, "init_lora_weights": "pissa", "use_dora": True}])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_classifiers_take_them_too(tiny_model, tmp_path, monkeypatch, kind, method):
    import torch
    from test_training import ROWS as LABELLED
    from test_training import recipe_for as classified

    with observed_classifier(monkeypatch) as seen:
        run = train(classified(tiny_model(kind), method), LABELLED, tmp_path)
    model, _ = load_trained(run)
    assert torch.allclose(class_logits(model), seen["logits"], atol=1e-5)
    assert {name.split(".")[-2] for name in seen["moved"] if "classifier" in name} and not any("embeddings" in name for name in seen["moved"])


def class_logits(model):
    import torch

    ids = torch.randint(5, len(model.get_input_embeddings().weight), (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@contextmanager
def observed_classifier(monkeypatch):
    "What the classifier gives at the moment it is saved."
    seen, save = {}, saving.save_trained

    def look(model, *args):
        seen["logits"], seen["moved"] = class_logits(model), {name for name, p in model.named_parameters() if p.requires_grad}
        return save(model, *args)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_trained", look)
        yield seen


REFUSED = {  # what is asked -> what is said, before a weight is read
    "a layer that is not there": (("method.name=lora", "method.target_modules=[q_proj, nonexistent_proj]"), "nonexistent_proj"),
    "ia3 of such a layer": (("method.name=ia3", "method.target_modules=[k_prj]", "method.feedforward_modules=[k_prj]"), "k_prj"),
    "more layers than there are": (("method.name=last_layers", "method.layers=3"), "only 2 layers"),
    "a prompt as long as the model": (("method.name=prompt_tuning", "method.num_virtual_tokens=256"), "256 positions"),
    "a text longer than the prompt": (("method.name=prompt_tuning", "method.num_virtual_tokens=1", "method.init_text='reads the file'"), "to learn"),
    "more directions than a matrix has": (("method.name=lora", "method.r=64", "method.init_lora_weights=pissa"), "singular directions"),
    "a prefix and checkpointing": (("method.name=prefix_tuning", "train.gradient_checkpointing=true"), "in silence"),
    "a prefix and packing": (("method.name=prefix_tuning", "train.batching=packed"), "does not go with packed"),
    "a probe of a language model": (("method.name=probe",), "no head of its own"),
    "four bits on a CPU": (("method.name=qlora",), "4-bit weights need a CUDA device"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_a_weight_is_read_and_no_run_is_left(causal_model, tmp_path, monkeypatch, case):  # noqa: F811
    from finetune_wb import machine
    from finetune_wb.models import causal, methods

    assignments, said = REFUSED[case]
    monkeypatch.setattr(causal, "load_causal", lambda *_, **__: pytest.fail("weights were read"))
    monkeypatch.setattr(methods, "device", lambda: "cpu") if machine.device() != "cpu" else None
    with pytest.raises(WorkbenchError, match=said):
        train(recipe_for(causal_model("llama"), "llama", *assignments), ROWS, tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*"))


def test_learned_tokens_take_up_positions(causal_model):  # noqa: F811
    "A row as long as the model reads leaves them no place: it is cut that much earlier, or refused where the limit was set by hand."
    from finetune_wb.training.examples import load_examples, preflight

    long = [*ROWS, {"messages": [{"role": "user", "content": "reads the file"}, {"role": "assistant", "content": "opens " * 400}]}]
    recipe = recipe_for(causal_model("llama"), "llama", "method.name=prompt_tuning", "method.num_virtual_tokens=56")
    assert load_examples(recipe, ROWS).train.max_length == 200 and load_examples(override(recipe, "method={name: full}"), ROWS).train.max_length == 256
    found = preflight(override(recipe, "train.max_length=256"), long)
    assert "positions" in {finding.kind for finding in found if finding.severity == "error"}


def test_an_adapter_on_other_weights_is_refused(causal_model, tmp_path):  # noqa: F811
    "PITFALLS G 32: peft loads it without an error."
    import shutil

    from safetensors.torch import load_file, save_file

    base = Path(shutil.copytree(causal_model("llama"), tmp_path / "base"))
    run = train(recipe_for(base, "llama", "method.name=ia3", "train.max_steps=2"), ROWS, tmp_path / "runs")
    weights = load_file(base / "model.safetensors")
    save_file({name: value + 0.01 for name, value in weights.items()}, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not that of training"):
        load_trained(run)
    with pytest.raises(ModelError, match="not that of training"):
        merge(run, tmp_path / "whole")


def test_the_adapter_of_qlora_merges_into_whole_weights_without_a_gpu(causal_model, tmp_path):  # noqa: F811
    "The base that was held in four bits for training is read whole; what training saw of it is not at hand here."
    run = train(recipe_for(causal_model("llama"), "llama", "method.name=lora", "method.r=4", "train.max_steps=4"), ROWS, tmp_path / "runs")
    (run.folder / "recipe.yaml").write_text((run.folder / "recipe.yaml").read_text().replace("name: lora", "name: qlora"))
    merged = merge(str(run.folder), tmp_path / "whole")
    assert merged.method == "qlora" and merged.difference < 1e-4


def test_a_finished_run_whose_adapter_is_no_start_is_not_cloned(causal_model, tmp_path):  # noqa: F811
    from finetune_wb.training.launch import clone

    for name, assignments in {"p": METHOD_CASES["p_tuning"][0], "s": METHOD_CASES["pissa"][0]}.items():
        train(recipe_for(causal_model("llama"), "llama", *assignments, "train.max_steps=2"), ROWS, tmp_path / "runs", name)
        with pytest.raises(RunError, match="can't be gone on from"):
            clone(name, "train.learning_rate=1e-4", runs_dir=tmp_path / "runs")


def test_the_command_merges(causal_model, tmp_path):  # noqa: F811
    from typer.testing import CliRunner

    from finetune_wb.cli import app

    run = train(recipe_for(causal_model("llama"), "llama", "method.name=ia3", "train.max_steps=2"), ROWS, tmp_path / "runs")
    done = CliRunner().invoke(app, ["merge", str(run.folder), str(tmp_path / "whole"), "--dtype", "bfloat16"])
    assert done.exit_code == 0 and "logits differ by at most" in done.output
    facts = json.loads((tmp_path / "whole" / "merged.json").read_text())
    assert facts["method"] == "ia3" and facts["dtype"] == "bfloat16" and facts["base"]["sha256"] == run.record["model"]["sha256"]
    with pytest.raises(RunError, match="not empty"):
        merge(run, tmp_path / "whole")
    with pytest.raises(ModelError, match="float32, bfloat16 or float16"):
        merge(run, tmp_path / "other", dtype="int8")


def test_the_cases_are_every_method():
    named = {part.partition("=")[2] for assignments, _ in METHOD_CASES.values() for part in assignments if part.startswith("method.name=")}
    assert named | {"lora", "probe", "qlora"} == METHODS.keys()  # lora is above; probe is for classes, qlora for CUDA
