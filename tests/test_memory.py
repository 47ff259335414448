"""Memory: counts that are exact, a walk that agrees with real tensors, and two real steps in a process of their own."""

import resource
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from causal_models import KINDS, causal_model  # noqa: F401

from finetune_wb.method import METHODS
from finetune_wb.models.heap import _is_glibc
from finetune_wb.recipe import Recipe, override, to_yaml

ROWS = [{"text": " ".join(f"{(7 * i + j) % 97} reads the file" for j in range(2 + i % 9))} for i in range(80)]
SETTINGS = {"bf16": False, "threads": 1, "tokens_per_batch": 256, "max_length": 64}
SPECS = ["full", "last_layers", "lora", "ia3", "prompt_tuning", "prefix_tuning", "p_tuning", "bottleneck"]


def recipe_for(folder, method="full", **train) -> Recipe:
    return Recipe(task="completion", model={"id": str(folder)}, method={"name": method}, train={**SETTINGS, **train})


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    "A model whose step takes some hundred MB: narrow, with a wide feed-forward layer."
    from causal_models import build_causal_model

    return build_causal_model(
        "llama", tmp_path_factory.mktemp("roomy") / "m", intermediate_size=8192, num_hidden_layers=2
    )


def memory_of(folder, *changes):
    from finetune_wb.training.memory import estimate

    return estimate(override(recipe_for(folder), *changes), ROWS).memory


# ------------------------------------------------------------------------------------------------------------ counts


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_the_real_model(kind, causal_model):  # noqa: F811
    import torch

    from finetune_wb.models.catalog import find_model
    from finetune_wb.models.causal import load_causal
    from finetune_wb.models.load import load_tokenizer, quiet
    from finetune_wb.models.methods import apply_method, trainable
    from finetune_wb.training.memory import outlined

    for name in SPECS:
        recipe = Recipe(
            model={"id": str(causal_model(kind))},
            method=METHODS[name](layers=1) if name == "last_layers" else METHODS[name](),
        )
        source = find_model(recipe.model)
        job = SimpleNamespace(
            recipe=recipe,
            source=source,
            tokenizer=load_tokenizer(source, recipe.model),
            settings={"attn_implementation": "sdpa"},
            spec=recipe.train,
            task=SimpleNamespace(name="completion"),
        )
        with quiet():
            real = apply_method(load_causal(source, recipe.model), recipe.method, job.tokenizer)
        shape = outlined(job)
        assert trainable(shape) == trainable(real), name
        assert {n for n, p in shape.named_parameters() if p.requires_grad} == {
            n for n, p in real.named_parameters() if p.requires_grad
        }, name
        assert all(p.device == torch.device("meta") for p in shape.parameters()), name


# -------------------------------------------------------------------------------------------------------------- walk


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_fake_tensors_take_what_real_ones_take(kind, checkpointing, causal_model, monkeypatch):  # noqa: F811
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from finetune_wb.models import memory as module
    from finetune_wb.models.memory import Walk, _prepare, _step, fullest, walk_step
    from finetune_wb.training.lmloss import answer_loss
    from finetune_wb.training.memory import _unpacked

    config = AutoConfig.from_pretrained(causal_model(kind))
    labels = torch.full((6, 40), -100)
    labels[:, 25:37] = 5

    def loss(model, rows, length):
        ids = torch.zeros(rows, length, dtype=torch.long)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with _unpacked("packed" if real else "grouped"):  # what is real sees the positions itself
            return answer_loss(model, inputs, labels.clone() if real else ids, 1)

    class Real(Walk):
        def _told(self, func, args):
            return None

    def model():
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")

    real, moments = False, ("forward", "backward", "optimizer")
    monkeypatch.setattr(module, "_on_heap", lambda walk, _: fullest(walk, *moments))
    walked = walk_step(model(), loss, (6, 40), trained=72, bf16=True, checkpointing=checkpointing).memory
    real, walk = True, Real(72)
    with walk:
        made, moving, optimizer = _prepare(walk, model(), "cpu", True, checkpointing)
        for buffer in made.buffers():
            buffer.zero_()
        for parameter in moving:
            parameter.data.zero_()
        _step(walk, made, moving, optimizer, loss, (6, 40), 1, 1.0)
    true = fullest(walk, *moments)
    assert walked.weights == true.weights and walked.optimizer == true.optimizer
    assert walked.total == pytest.approx(true.total, rel=0.003)


def test_what_takes_more_takes_more(causal_model):  # noqa: F811
    base = memory_of(causal_model("llama"))
    assert memory_of(causal_model("llama"), "train.tokens_per_batch=512").activations > 1.5 * base.activations
    assert memory_of(causal_model("llama"), "train.gradient_checkpointing=true").activations < base.activations
    assert (
        memory_of(causal_model("llama"), "model.attn_implementation=eager").activations
        > memory_of(causal_model("llama"), "model.attn_implementation=sdpa").activations
    )
    assert memory_of(causal_model("llama"), "train.bf16=true").weights == base.weights
    small = memory_of(causal_model("llama"), "method.name=lora", "method.r=2")
    assert small.optimizer < base.optimizer / 4 and small.weights > base.weights
    held = memory_of(causal_model("llama"), "train.gradient_accumulation_steps=2")
    assert held.gradients >= base.gradients


def test_weights_are_told_as_they_are_loaded_and_not_as_they_lie_on_the_disk(causal_model, tmp_path):  # noqa: F811
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    halved = AutoModelForCausalLM.from_pretrained(causal_model("llama"), dtype=torch.bfloat16)
    halved.save_pretrained(tmp_path), AutoTokenizer.from_pretrained(causal_model("llama")).save_pretrained(tmp_path)
    assert '"bfloat16"' in (tmp_path / "config.json").read_text()
    told, same = memory_of(tmp_path), memory_of(causal_model("llama"))
    assert (told.weights, told.optimizer, told.total) == (same.weights, same.optimizer, same.total)


def shape_of(config: str, **changes):
    import torch
    import transformers

    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64}
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**sizes, **changes))


def test_a_wide_vocabulary_is_walked_in_a_few_rounds(monkeypatch):
    "Qwen's 151,936 tokens make seven thousand rounds of the loss: three stand for all, and the figures stay what they were."
    from finetune_wb.models import memory
    from finetune_wb.training import lmloss
    from finetune_wb.training.memory import loss_of

    softened, real = [], lmloss._soften
    monkeypatch.setattr(lmloss, "_soften", lambda logits, *rest: softened.append(len(logits)) or real(logits, *rest))

    def walked(vocabulary: int):
        softened.clear()
        model = shape_of("LlamaConfig", vocab_size=vocabulary)
        return memory.walk_step(model, loss_of(False), (4, 256), 4 * 255, evaluated=(16, 256, 16 * 255), vocabulary=vocabulary)

    walked(151_936)
    assert len(softened) <= 2 * 3 * 3
    few = walked(32_000)
    monkeypatch.setattr(lmloss, "rounds", lambda parts: parts)
    every = walked(32_000)
    assert few.flops == every.flops and few.calls == every.calls
    assert few.moved == pytest.approx(every.moved, rel=1e-3) and few.memory.total == pytest.approx(every.memory.total, rel=0.02)


@pytest.mark.parametrize(("config", "changes"), [("Gemma2Config", {"head_dim": 32}), ("CohereConfig", {"logit_scale": 0.25}), ("GraniteConfig", {"logits_scaling": 7.0})])
def test_logits_that_are_capped_or_scaled_are_walked(config, changes):
    from finetune_wb.models.memory import walk_step
    from finetune_wb.training.memory import loss_of, shaped

    model = shape_of(config, vocab_size=40_000, **changes)
    assert shaped(model.config)
    found = walk_step(model, loss_of(False), (4, 128), 4 * 127, evaluated=(16, 128, 16 * 127), vocabulary=40_000, plain=False).memory
    assert found.total < 16 * 127 * 40_000 * 4  # chunk by chunk: all logits of the evaluation at once would be more


def test_layers_that_will_be_compiled_are_said_not_to_be_walked(causal_model):  # noqa: F811
    from finetune_wb.training.memory import estimate

    recipe = recipe_for(causal_model("llama"))
    plain, compiled = (estimate(override(recipe, f"train.compile={on}"), ROWS) for on in ("false", "true"))
    assert compiled.compiled and "compiler needs memory" in str(compiled)
    assert not plain.compiled and "compiler" not in str(plain)


# -------------------------------------------------------------------------------------------------------------- heap


@pytest.mark.skipif(not _is_glibc(), reason="what is replayed is glibc's allocator")
def test_a_heap_keeps_what_it_had_and_takes_it_again_where_it_fits():
    from finetune_wb.models.heap import held

    came, gone = [(i, 2**16) for i in range(800)], [(i, -(2**16)) for i in range(800)]
    again, large = [(1600 + i, 2**16) for i in range(800)], [(1600, 2**26)]
    assert held([*came, *gone])[-1] > 800 * 2**16
    assert held([*came, *gone, *again])[-1] < 1.05 * held(came)[-1]
    assert held([*came, *gone, *large])[-1] > held(came)[-1] + 2**26  # mapped beside it


@pytest.mark.skipif(not _is_glibc(), reason="what is replayed is glibc's allocator")
def test_the_replay_hears_the_settings_of_the_environment():
    import os

    from finetune_wb.models.heap import held

    log = [(i, 2**16) for i in range(801)] + [(i, -(2**16)) for i in range(800)]
    mapped = held(log, {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=32768"})
    assert held(log)[-1] > 800 * 2**16 and mapped[-1] < 2**20


def test_parts_that_come_twice_have_blocks_of_their_own():
    from finetune_wb.models.heap import spliced

    log = [(0, 8), (1, 5), (2, 7), (1, -5), (0, -8)]  # 2 stays
    new, places = spliced(log, (1, 4), (1, 4), (4, 5))
    assert new == [(0, 5), (1, 7), (0, -5), (3, 5), (4, 7), (3, -5)] and places == [1, 2, 3, 1, 2, 3]


def test_a_trial_runs_as_a_launched_run_would(causal_model, monkeypatch):  # noqa: F811
    from finetune_wb.training import prove, supervise

    assert prove.roomy is supervise.roomy
    popen, given = subprocess.Popen, []
    monkeypatch.setattr(prove.subprocess, "Popen", lambda *a, **k: given.append(k["env"]) or popen(*a, **k))
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=3")
    from finetune_wb.training.prepare import prepare

    assert prove.trial(prepare(recipe_for(causal_model("llama")), ROWS)[0]).fits
    assert given[0]["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=3:glibc.malloc.mxfast=0"


def test_preferences_and_classes_are_estimated_too(causal_model, tiny_model):  # noqa: F811
    from finetune_wb.training.memory import estimate

    pairs = [{"prompt": f"add {i}", "chosen": f"{i} is the value of it", "rejected": f"no {i}"} for i in range(60)]
    both = estimate(Recipe(model={"id": str(causal_model("llama"))}, train={**SETTINGS, "max_length": 128}), pairs)
    assert both.batch.shape[0] % 2 == 0 and both.trainable == both.parameters
    texts = [{"text": f"{i} reads the file", "label": "ab"[i % 2]} for i in range(60)]
    head = estimate(Recipe(model={"id": str(tiny_model("bert"))}, train={**SETTINGS, "tokens_per_batch": 128}), texts)
    assert 0 < head.trainable < head.parameters and head.memory.logits == 0


# ------------------------------------------------------------------------------------------------------------- proof


def trials() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("ftwb-trial-*")}


def test_two_steps_are_measured_and_leave_nothing(roomy, tmp_path, monkeypatch):
    from finetune_wb.training.prove import prove

    monkeypatch.chdir(tmp_path)
    before = trials()
    proof = prove(recipe_for(roomy, tokens_per_batch=1024), ROWS)
    assert proof.fits and not proof.changes and proof.trial.seconds > 0
    assert 0.6 < proof.estimate.memory.total / proof.trial.peak < 1.5
    assert "fits:" in str(proof) and "measured" in proof._repr_markdown_()
    assert trials() <= before and not list(tmp_path.iterdir())


def test_a_child_that_runs_out_of_memory_says_so(roomy, monkeypatch):
    from finetune_wb.training import prove as module
    from finetune_wb.training.prepare import prepare

    popen = subprocess.Popen
    limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (900_000_000, 900_000_000))  # noqa: E731
    monkeypatch.setattr(module.subprocess, "Popen", lambda *a, **k: popen(*a, **k, preexec_fn=limit))
    job, _ = prepare(recipe_for(roomy, tokens_per_batch=16384), ROWS * 20)
    found = module.trial(job, limit=10**12)
    assert not found.fits and found.reason.startswith("out of memory") and found.seconds is None


def test_beyond_a_limit_the_cheapest_change_is_measured(roomy, monkeypatch):
    from finetune_wb.training import prove as module

    ways = module.ways
    monkeypatch.setattr(module, "ways", lambda job: list(ways(job))[:1])
    proof = module.prove(recipe_for(roomy, tokens_per_batch=8192), ROWS * 10, limit=900_000_000)
    assert not proof.fits and "beyond 900 MB" in proof.trial.reason and len(proof.changes) == 1
    change = proof.changes[0]
    assert change.trial.fits and change.trial.process + change.trial.peak <= 900_000_000
    assert change.overrides[0].startswith("train.tokens_per_batch=") and change.overrides[1].startswith(
        "train.gradient_accumulation_steps="
    )
    changed = override(recipe_for(roomy, tokens_per_batch=8192), *change.overrides)
    assert changed.train.tokens_per_batch * changed.train.gradient_accumulation_steps == 8192
    assert change.overrides[0] in str(proof)


def test_a_fault_in_a_trial_is_no_want_of_memory(causal_model, monkeypatch):  # noqa: F811
    from finetune_wb.errors import TrainingError
    from finetune_wb.training import prove as module
    from finetune_wb.training.prepare import prepare

    job, _ = prepare(recipe_for(causal_model("llama")), ROWS)
    monkeypatch.setattr(module, "smallest_job", lambda job, batching: "no job")
    with pytest.raises(TrainingError, match="trial of two steps ended"):
        module.trial(job)


# --------------------------------------------------------------------------------------------------------------- cli


def test_the_command_says_whether_it_should_fit(causal_model, tmp_path):  # noqa: F811
    import json

    from typer.testing import CliRunner

    from finetune_wb.cli import app

    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    recipe = override(recipe_for(causal_model("llama")), f"data.source={tmp_path / 'rows.jsonl'}")
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    said = CliRunner().invoke(app, ["memory", str(tmp_path / "recipe.yaml")])
    assert said.exit_code == 0 and "should fit" in said.output and "optimizer state" in said.output, said.output
    said = CliRunner().invoke(app, ["memory", str(tmp_path / "recipe.yaml"), "--limit", "0.2"])
    assert said.exit_code == 1 and "should not fit" in said.output and "200 MB" in said.output
