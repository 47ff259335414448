"Each option of training a language model has its effect, and those that only save memory or time have no other."

import importlib.util
import shutil

import numpy as np
import pytest
import torch
from causal_models import causal_model  # noqa: F401
from test_lmloss import adapted, loaded
from transformers import TrainerCallback

from finetune_wb.errors import RecipeError
from finetune_wb.progress import Progress
from finetune_wb.recipe import Recipe, TrainSpec
from finetune_wb.run import create_run
from finetune_wb.training.arguments import training_arguments
from finetune_wb.training.compiled import check_compile, compile_layers
from finetune_wb.training.language import language_trainer
from finetune_wb.training.tokens import TokenRow, TokenRows
from finetune_wb.training.trainer import Live, RunCallback


def token_rows(count: int = 8, length: int | None = None) -> TokenRows:
    "Rows of different lengths, of which different parts are trained."
    random, rows = np.random.default_rng(0), []
    for i in range(count):
        size = length or int(random.integers(8, 40))
        ids, start = random.integers(6, 400, size).astype(np.int32), int(random.integers(1, size - 2))
        rows.append(TokenRow(f"row {i}", None, ids, np.arange(size) >= start, size))
    return TokenRows(tuple(rows), None, 64, "completion")


class _Pad:
    pad_token_id, eos_token_id, chat_template = 0, 1, None

    def __len__(self) -> int:
        return 10_000


Pad = _Pad()


class Gradients(TrainerCallback):
    "Keeps the gradients of the first optimizer step."

    found = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        if self.found is None:
            self.found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def one_step(tmp_path):
    "`one_step(model, **train)` → gradients of the first step, the trainer, and the loss it reported."

    def run(model, batching="grouped", rows=None, **train):
        number = len(list(tmp_path.iterdir()))
        spec = TrainSpec(**{"tokens_per_batch": 10_000, "max_steps": 1, "max_grad_norm": 0.0, "warmup_ratio": 0.0, "metric_for_best_model": "loss", "bf16": False, **train})
        live, kept = Live(create_run(Recipe(), tmp_path, f"run{number}")), Gradients()
        arguments = training_arguments(spec, live.run.checkpoints, 1e-3, False, "cpu", 1)
        with Progress(1, "train") as bar:
            callback = RunCallback(live, bar)
            trainer = language_trainer(model, None, Pad, rows or token_rows(), token_rows(4), spec, arguments, callback, batching)
            trainer.show = lambda: ""
            trainer.add_callback(kept)
            torch.manual_seed(0)
            trainer.start = trainer.evaluate()["eval_loss"]
            trainer.train()
            callback.close()
        logged = next(log["loss"] for log in trainer.state.log_history if "loss" in log)
        return kept.found, trainer, logged

    return run


def same(one: dict, other: dict, tolerance: float = 1e-5) -> bool:
    assert one.keys() == other.keys() and one
    return all(torch.allclose(one[n], other[n], atol=tolerance) for n in one)


@pytest.mark.parametrize("name", [None, "lora", "prompt"])
def test_accumulated_and_checkpointed_steps_are_one_big_batch(causal_model, one_step, name):  # noqa: F811
    make = lambda: adapted(causal_model("llama"), name) if name else loaded(causal_model("llama"))
    whole, _, loss = one_step(make())
    parts, trainer, split_loss = one_step(make(), tokens_per_batch=40, gradient_accumulation_steps=8)
    assert len(trainer.get_train_dataloader()) > 3  # there was something to add up
    assert same(whole, parts) and abs(loss - split_loss) < 1e-5
    again, trainer, checkpointed_loss = one_step(make(), gradient_checkpointing=True)
    assert same(whole, again) and abs(loss - checkpointed_loss) < 1e-5
    base = trainer.model.get_base_model() if name else trainer.model
    assert base.is_gradient_checkpointing
    if not name:
        assert same(whole, one_step(make(), "packed")[0])
        assert same(whole, one_step(make(), "packed", tokens_per_batch=60, gradient_accumulation_steps=8, gradient_checkpointing=True)[0])


def test_checkpointing_keeps_less(causal_model):  # noqa: F811
    "Fewer numbers are kept for the backward pass."
    rows, kept = token_rows(4, 32), []
    ids = torch.tensor(np.stack([row.ids for row in rows.rows]).astype(np.int64))
    for on in (False, True):
        model, count = loaded(causal_model("llama")), [0]
        if on:
            model.gradient_checkpointing_enable()
        with torch.autograd.graph.saved_tensors_hooks(lambda t, c=count: c.__setitem__(0, c[0] + t.numel()) or t, lambda t: t):
            model.model(input_ids=ids, use_cache=False)
        kept.append(count[0])
    assert kept[1] < kept[0] / 3


def test_neftune_shakes_training_and_nothing_else(causal_model, one_step):  # noqa: F811
    plain, before, _ = one_step(loaded(causal_model("llama")))
    noisy, trainer, _ = one_step(loaded(causal_model("llama")), neftune_noise_alpha=5.0)
    assert not same(plain, noisy, 1e-6)
    assert trainer.start == before.start  # valid is measured without noise
    assert not trainer.model.get_input_embeddings()._forward_hooks  # and nothing of it stays
    small, _, _ = one_step(loaded(causal_model("llama")), neftune_noise_alpha=1e-6)
    assert same(plain, small, 1e-5)


def test_label_smoothing_is_trained_and_not_measured(causal_model, one_step):  # noqa: F811
    _, before, plain = one_step(loaded(causal_model("llama")))
    _, trainer, smooth = one_step(loaded(causal_model("llama")), label_smoothing_factor=0.3)
    assert abs(plain - smooth) > 1e-4 and trainer.start == before.start


def test_weight_decay_pulls_matrices_and_leaves_norms(causal_model, one_step):  # noqa: F811
    _, trainer, _ = one_step(loaded(causal_model("llama")), weight_decay=0.25)
    decay = {group["weight_decay"]: {tuple(p.shape) for p in group["params"]} for group in trainer.optimizer.param_groups}
    assert set(decay) == {0.0, 0.25} and all(len(shape) == 1 for shape in decay[0.0]) and any(len(shape) == 2 for shape in decay[0.25])


def test_clipping_shortens_the_gradient(causal_model, one_step):  # noqa: F811
    length = lambda found: float(torch.cat([g.flatten() for g in found.values()]).norm())
    assert length(one_step(loaded(causal_model("llama")))[0]) > 0.011
    assert length(one_step(loaded(causal_model("llama")), max_grad_norm=0.01)[0]) == pytest.approx(0.01, rel=1e-3)


def test_dropout_reaches_the_model(causal_model, one_step):  # noqa: F811
    from finetune_wb.models.catalog import find_model
    from finetune_wb.models.causal import load_causal

    for kind in ("llama", "gpt2", "gpt_neox"):
        spec = Recipe(model={"id": str(causal_model(kind))}).model
        calm, shaken = (load_causal(find_model(spec), spec, "eager", dropout).train() for dropout in (0.0, 0.5))
        assert not same(one_step(calm)[0], one_step(shaken)[0], 1e-6), kind


@pytest.mark.skipif(not shutil.which("g++") and not shutil.which("clang++"), reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None and torch.cuda.is_available(), reason="torch.compile needs Triton on a GPU")
def test_compiled_layers_compute_the_same_under_the_same_names(causal_model, one_step):  # noqa: F811
    plain, before, _ = one_step(loaded(causal_model("llama")))
    fast, trainer, _ = one_step(loaded(causal_model("llama")), compile=True)
    assert same(plain, fast) and list(trainer.model.state_dict()) == list(before.model.state_dict())
    assert all(layer._compiled_call_impl for layer in trainer.model.model.layers)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "gemma3", "phi"])
def test_layers_are_found_in_every_family(causal_model, kind):  # noqa: F811
    assert compile_layers(loaded(causal_model(kind))) == 2
    assert compile_layers(adapted(causal_model("llama"), "lora")) == 2


def test_compiling_without_a_compiler_is_refused_before_training(monkeypatch):
    import torch._inductor.cpp_builder as builder

    def none():
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(builder, "get_cpp_compiler", none)
    check_compile(TrainSpec(), "cpu")
    with pytest.raises(RecipeError, match=r"C\+\+ compiler on a CPU, and none was found"):
        check_compile(TrainSpec(compile=True), "cpu")
