"""Training on tiny models and planted rows: each method learns, keeps its best, loads again the same, and fails cleanly."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from finetune_wb.errors import DataError, ModelError, RecipeError, RunError, TrainingError, WorkbenchError
from finetune_wb.recipe import load_recipe
from finetune_wb.run import Run

pytestmark = pytest.mark.usefixtures("quick_garbage")
WORDS = "array frame model layer tensor value figure axis library index computes returns sorted".split()
KEYS = {"animal": ["cat", "dog", "bird"], "colour": ["red", "green", "blue"], "number": ["one", "two", "three"]}
METHODS = ("probe", "last_layers", "full", "lora")


def planted(rows: int = 120, seed: int = 0) -> list[dict]:
    """Rows whose last word gives the class: encoders find it anywhere, decoders pool where it stands."""
    draw = random.Random(seed)
    labels = [list(KEYS)[i % 3] for i in range(rows)]
    return [{"text": f"{i} {' '.join(draw.choices(WORDS, k=5))} {draw.choice(KEYS[label])}", "label": label} for i, label in enumerate(labels)]


ROWS = planted()


def recipe_for(folder, method: str | dict = "full", **train):
    """A recipe that trains in a second."""
    method = {"name": method} if isinstance(method, str) else method
    settings = {"bf16": False, "threads": 1, "tokens_per_batch": 128, "learning_rate": None if method["name"] == "probe" else 5e-3, "logging_steps": 2, **train}
    return load_recipe({"model": {"id": str(folder)}, "method": method, "train": settings, "evaluate": {"bootstrap_samples": 100}})


def train(*arguments, **options) -> Run:
    from finetune_wb.training.train import train

    return train(*arguments, **options)


def predictions(model, tokenizer, texts=None) -> np.ndarray:
    from finetune_wb.training.encode import encode
    from finetune_wb.training.probe import predict

    return predict(model, encode(tokenizer, texts or [row["text"] for row in ROWS], 64), tokenizer.pad_token_id, "cpu", False)


def reloaded(run: Run) -> np.ndarray:
    from finetune_wb.training.saved import load_trained

    return predictions(*load_trained(run))


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """`trained("bert", "lora")` → the run and what the model in memory predicted before it was saved; once each."""
    from finetune_wb.training import saved

    runs_dir, done, real = tmp_path_factory.mktemp("runs"), {}, saved.save_trained

    def make(kind: str, method: str):
        if (kind, method) not in done:
            seen = []

            def keep(model, tokenizer, *rest):
                seen.append(predictions(model, tokenizer))
                real(model, tokenizer, *rest)

            saved.save_trained = keep
            try:
                run = train(recipe_for(tiny_model(kind), method, num_train_epochs=4.0), ROWS, runs_dir, f"{kind}-{method}")
            finally:
                saved.save_trained = real
            done[kind, method] = run, seen[0]
        return done[kind, method]

    return make


# ---- what each method learns and keeps


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_loads_again_the_same(trained, kind, method):
    run, before = trained(kind, method)
    assert run.state == "finished" and run.record["result"]["trainable"] > 0
    after = reloaded(run)
    assert after.dtype == np.float32 and abs(after - before).max() == 0
    names = run.record["data"]["classes"]
    right = np.mean([names[best] == row["label"] for best, row in zip(after.argmax(1), ROWS)])
    assert right > 0.6, "a third is chance"


@pytest.mark.parametrize("method", METHODS)
def test_what_moves_is_what_the_method_says(trained, tiny_model, method):
    from safetensors.torch import load_file

    from finetune_wb.training.saved import load_trained

    run, _ = trained("bert", method)
    before = load_file(tiny_model("bert") / "model.safetensors")
    model, _ = load_trained(run)
    base = model.get_base_model() if method == "lora" else model
    moved = {name for name, value in base.encoder.state_dict().items() if name in before and not value.equal(before[name])}
    if method in ("probe", "lora"):
        assert not moved
    if method == "last_layers":
        assert all(name.startswith("encoder.layer.") for name in moved)
    if method == "full":
        assert not any("embeddings.weight" in name for name in moved)
    counts = run.record["result"]
    assert (counts["trainable"] < counts["parameters"]) and counts["parameters"] > 10_000


@pytest.mark.parametrize("method", METHODS)
def test_the_run_folder_holds_what_it_should_and_no_more(trained, method):
    run, _ = trained("bert", method)
    names = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    assert not [name for name in names if name.endswith(("README.md", "training_args.bin", ".part", ".bin", ".pt", ".pkl"))]
    assert {"recipe.yaml", "record.json", "events.jsonl", "exit.json", "process.json", "model/config.json", "model/tokenizer.json", "rows.parquet", "probe/head.safetensors"} <= names
    assert not (run.folder / "checkpoints").exists()
    assert ("model/adapter_model.safetensors" in names) == (method == "lora") != ("model/model.safetensors" in names)


def test_lora_saves_its_head(trained):
    from safetensors.torch import load_file

    run, _ = trained("bert", "lora")
    weights = load_file(run.model_folder / "adapter_model.safetensors")
    heads = {name: value for name, value in weights.items() if "classifier" in name}
    assert {tuple(value.shape) for value in heads.values()} == {(3, 32), (3,)}
    assert all(value.abs().sum() > 0 for value in heads.values())
    config = json.loads((run.model_folder / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS" and "classifier" in config["modules_to_save"]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_nothing_kept_names_a_place_on_this_machine(tiny_model, tmp_path, monkeypatch, method):
    shutil.copytree(tiny_model("bert"), tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    run = train(recipe_for("./base", method, max_steps=2), ROWS, "runs", "one")
    kept = [p for p in run.folder.rglob("*") if p.suffix in (".json", ".yaml", ".jsonl", ".safetensors")]
    assert len(kept) > 8
    assert not [p for p in kept if str(tmp_path).encode() in p.read_bytes()]
    if method == "lora":
        assert json.loads((run.model_folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "./base"


RELOAD = """
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from finetune_wb.run import Run
from test_training import reloaded
np.save(sys.argv[3], reloaded(Run(Path(sys.argv[2]))))
"""


def test_lora_predicts_the_same_in_a_fresh_process(trained, tmp_path):
    run, before = trained("bert", "lora")
    subprocess.run([sys.executable, "-c", RELOAD, os.path.dirname(__file__), run.folder, tmp_path / "after.npy"], check=True, capture_output=True)
    assert np.array_equal(np.load(tmp_path / "after.npy"), before)


def test_an_adapter_is_refused_on_another_base(tiny_model, tmp_path):
    """PITFALLS 84 and 96: one flipped bit in the base is another base."""
    from finetune_wb.training.saved import load_trained

    base = shutil.copytree(tiny_model("bert"), tmp_path / "base")
    run = train(recipe_for(base, "lora", max_steps=1), ROWS, tmp_path / "runs", "one")
    load_trained(run)
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (base / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="sha256 is not that of training") as caught:
        load_trained(run)
    assert "bring back" in str(caught.value)


def test_a_run_without_a_model_says_so(tmp_path):
    from finetune_wb.run import create_run
    from finetune_wb.training.saved import load_trained

    with pytest.raises(RunError, match="no trained model.*queued"):
        load_trained(create_run(load_recipe({}), tmp_path, "one"))


# ---- what is kept is the best on valid


def valid_metrics(run: Run) -> dict[int, dict]:
    return {event["step"]: event for event in run.events("metric") if "valid_loss" in event}


@pytest.mark.parametrize("metric, best", [("loss", min), ("accuracy", max), ("f1_macro", max)])
def test_the_best_on_valid_is_kept_and_each_metric_knows_its_direction(tiny_model, tmp_path, metric, best):
    """PITFALLS 103: with a rate that overshoots the last weights are not the best ones."""
    from finetune_wb.data.load import load_data
    from finetune_wb.tasks.metrics import quick_metrics
    from finetune_wb.training.saved import load_trained

    recipe = recipe_for(tiny_model("bert"), "full", metric_for_best_model=metric, learning_rate=0.05, num_train_epochs=3.0, early_stopping_patience=None, lr_scheduler_type="constant")
    run = train(recipe, ROWS, tmp_path, "one")
    seen, outcome = valid_metrics(run), run.record["result"]["fine_tune"]
    values = {step: event[f"valid_{metric}"] for step, event in seen.items()}
    assert outcome["best"] == best(values.values()) == values[outcome["best_step"]]
    valid = load_data(recipe, ROWS).valid
    names = run.record["data"]["classes"]
    kept = quick_metrics(predictions(*load_trained(run), valid["text"].tolist()), np.array([names.index(label) for label in valid["label"]]))
    assert kept[metric] == pytest.approx(outcome["best"], abs=1e-5)


def test_a_destructive_rate_leaves_the_head_that_was_fitted_first(tiny_model, tmp_path):
    from finetune_wb.data.load import load_data

    recipe = recipe_for(tiny_model("bert"), {"name": "full", "freeze_embeddings": False}, learning_rate=0.9, max_grad_norm=0.0, num_train_epochs=2.0)
    try:
        run = train(recipe, ROWS, tmp_path, "one")
    except TrainingError:
        run = Run(tmp_path / "one")
        assert run.state == "failed" and not run.model_folder.exists()
        return
    outcome = run.record["result"]
    assert outcome["fine_tune"]["best_step"] == 0 and outcome["fine_tune"]["best"] == outcome["probe"]["accuracy"]
    probe = train(recipe_for(tiny_model("bert"), "probe"), ROWS, tmp_path, "two")
    assert load_data(recipe, ROWS).split_fingerprint == probe.record["data"]["split_fingerprint"]
    assert np.array_equal(reloaded(run), reloaded(probe))


def test_early_stopping_ends_early_and_null_does_not(tiny_model, tmp_path):
    steps = {}
    for patience in (2, None):
        recipe = recipe_for(tiny_model("bert"), "last_layers", learning_rate=1e-7, num_train_epochs=8.0, early_stopping_patience=patience)
        steps[patience] = train(recipe, ROWS, tmp_path, f"p{patience}").record["result"]["fine_tune"]["steps"]
    assert steps[2] < steps[None] / 2


@pytest.mark.parametrize("max_steps", [1, 3])
def test_max_steps_ends_training_and_its_weights_are_measured(tiny_model, tmp_path, max_steps):
    recipe = recipe_for(tiny_model("bert"), {"name": "full", "probe_first": False}, max_steps=max_steps, evals_per_epoch=1, metric_for_best_model="loss")
    run = train(recipe, ROWS, tmp_path, "one")
    assert run.record["result"]["fine_tune"]["steps"] == max_steps
    assert max(valid_metrics(run)) == max_steps, "or what was learned is thrown away unseen"


def test_without_a_probe_the_head_starts_at_zero(tiny_model, tmp_path):
    run = train(recipe_for(tiny_model("bert"), {"name": "full", "probe_first": False}, max_steps=1), ROWS, tmp_path, "one")
    assert "probe" not in run.record["result"] and not (run.folder / "probe").exists()
    assert valid_metrics(run)[0]["valid_loss"] == pytest.approx(math.log(3), abs=1e-4)


# ---- seeds and settings


def test_one_seed_gives_one_result_and_another_another(tiny_model, tmp_path):
    weights, metrics = [], []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run = train(recipe_for(tiny_model("bert"), {"name": "full", "probe_first": False}, seed=seed, max_steps=6, metric_for_best_model="loss"), ROWS, tmp_path, name)
        weights.append((run.model_folder / "model.safetensors").read_bytes())
        metrics.append([{k: v for k, v in event.items() if k not in ("time", "kind", "seconds")} for event in run.events("metric")])
    assert weights[0] == weights[1] and metrics[0] == metrics[1]
    assert weights[0] != weights[2] and metrics[0] != metrics[2]


@pytest.fixture
def trainer_seen(monkeypatch):
    """The trainers that were made."""
    from finetune_wb.training.trainer import BudgetTrainer

    made, real = [], BudgetTrainer.__init__

    def spy(self, *arguments, **options):
        real(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(BudgetTrainer, "__init__", spy)
    return made


def test_the_recipe_reaches_the_trainer(tiny_model, tmp_path, trainer_seen, monkeypatch):
    import torch

    smoothing, real = [], torch.nn.functional.cross_entropy
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda *a, **k: smoothing.append(k.get("label_smoothing", 0.0)) or real(*a, **k))
    settings = {"weight_decay": 0.07, "dropout": 0.33, "label_smoothing_factor": 0.21, "warmup_ratio": 0.25, "lr_scheduler_type": "cosine", "max_grad_norm": 0.5, "gradient_accumulation_steps": 2, "seed": 9, "learning_rate": 2e-3}
    run = train(recipe_for(tiny_model("bert"), "full", max_steps=2, extra={"adam_beta2": 0.95}, **settings), ROWS, tmp_path, "one")
    (trainer,) = trainer_seen
    arguments = trainer.args
    for name in ("weight_decay", "max_grad_norm", "gradient_accumulation_steps", "seed", "learning_rate"):
        assert getattr(arguments, name) == settings[name], name
    assert arguments.lr_scheduler_type == "cosine" and arguments.warmup_steps == 0.25 and arguments.adam_beta2 == 0.95 and arguments.use_cpu
    assert {group["weight_decay"] for group in trainer.optimizer.param_groups} == {0.07, 0.0}
    assert 0.21 in smoothing and 0.0 in smoothing, "smoothed in training, plain on valid"
    config = json.loads((run.model_folder / "config.json").read_text())
    assert config["head_dropout"] == 0.33 and config["encoder_config"]["hidden_dropout_prob"] == 0.33
    assert run.record["settings"]["learning_rate"] == 2e-3 and run.record["seeds"]["train"] == 9


def test_null_takes_the_rate_of_the_method(tiny_model, tmp_path):
    from finetune_wb.models.methods import default_learning_rate

    for method in ("full", "lora", "last_layers"):
        recipe = recipe_for(tiny_model("bert"), method, max_steps=1, learning_rate=None)
        assert train(recipe, ROWS, tmp_path, method).record["settings"]["learning_rate"] == default_learning_rate(recipe.method)


def test_no_tracker_is_told_unless_named(tiny_model, tmp_path, trainer_seen, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "COMET_API_KEY", "NEPTUNE_API_TOKEN", "CLEARML_TASK"):
        monkeypatch.setenv(name, "x")
    monkeypatch.chdir(tmp_path)
    train(recipe_for(tiny_model("bert"), "full", max_steps=1), ROWS, "runs", "one")
    assert trainer_seen[0].args.report_to == []
    assert {type(callback).__name__ for callback in trainer_seen[0].callback_handler.callbacks} == {"DefaultFlowCallback", "RunCallback"}
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_tensorboard_files_hold_the_same_numbers_as_the_events(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = trained("bert", "full")
    board = EventAccumulator(str(run.folder / "tensorboard"))
    board.Reload()
    assert {"train/loss", "valid/loss", "valid/accuracy", "learning/rate"} <= set(board.Tags()["scalars"])
    seen = valid_metrics(run)
    assert {point.step: point.value for point in board.Scalars("valid/loss")} == {step: pytest.approx(event["valid_loss"], rel=1e-6) for step, event in seen.items()}


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_upstream_does_not_warn_into_the_terminal(tiny_model, tmp_path, recwarn, kind):
    from finetune_wb.training.saved import load_trained

    load_trained(train(recipe_for(tiny_model(kind), "lora", max_steps=1), ROWS, tmp_path, "one"))
    assert not [str(w.message) for w in recwarn if w.filename.find("/transformers/") + w.filename.find("/peft/") > -2]


def test_cut_rows_are_counted(tiny_model, tmp_path):
    rows = [{**row, "text": " ".join([row["text"], *random.Random(i).choices("cat dog bird red green blue one two three".split(), k=70)])} if i % 2 else row for i, row in enumerate(ROWS)]
    run = train(recipe_for(tiny_model("bert"), "probe"), rows, tmp_path, "one")
    cut = run.record["data"]["cut"]
    assert cut["train"] > 20 and cut["valid"] > 0 and run.record["settings"]["max_length"] <= 64


# ---- the test split


def test_development_has_no_test_rows():
    from finetune_wb.data.load import load_data

    data = load_data(load_recipe({}), ROWS)
    development = data.development()
    assert len(data.test) > 0 and len(development.test) == 0 and list(development.test.columns) == ["text", "label", "origin"]


@pytest.mark.parametrize("method", ["probe", "full"])
def test_training_never_reads_a_test_text(tiny_model, tmp_path, monkeypatch, method):
    import dataclasses

    import pandas as pd

    from finetune_wb.data.load import load_data
    from finetune_wb.training import prepare as module

    class Poisoned(pd.DataFrame):
        def __getitem__(self, key):
            raise AssertionError("the test rows were read")

    read, real_encode = [], module.encode
    data = load_data(load_recipe({}), ROWS)
    monkeypatch.setattr(module, "curate", lambda *_: dataclasses.replace(data, test=Poisoned(data.test)))
    monkeypatch.setattr(module, "encode", lambda tokenizer, texts, *rest: read.extend(texts) or real_encode(tokenizer, texts, *rest))
    run = train(recipe_for(tiny_model("bert"), method, max_steps=2), None, tmp_path, "one")
    assert run.state == "finished" and read and not set(read) & set(data.test["text"])
    assert run.record["data"]["rows"]["test"] == len(data.test)


# ---- faults


def nothing_left(folder) -> bool:
    return not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["output_dir", "report_to", "push_to_hub", "hub_token", "per_device_train_batch_size", "learning_rate", "seed", "max_steps", "bf16", "optm", "eval_strategy", "eval_steps", "save_strategy", "save_total_limit", "save_only_model", "load_best_model_at_end", "metric_for_best_model", "greater_is_better", "disable_tqdm", "warmup_steps", "remove_unused_columns", "label_names", "logging_nan_inf_filter", "dataloader_pin_memory", "include_num_input_tokens_seen", "weight_decay"])  # fmt: skip
def test_further_arguments_that_are_unknown_or_ours_are_refused_before_weights_load(tiny_model, tmp_path, monkeypatch, name):
    from finetune_wb.tasks import classification

    monkeypatch.setattr(classification, "load_encoder", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(RecipeError, match=f"train.extra.{name}"):
        train(recipe_for(tiny_model("bert"), "full", extra={name: 1}), ROWS, tmp_path / "runs", "one")
    assert nothing_left(tmp_path / "runs")


@pytest.mark.parametrize("extra", [{"optim": "nonsense"}, {"dataloader_num_workers": "two"}, {"adam_beta1": "high"}])
def test_further_arguments_with_wrong_values_are_errors_of_the_recipe(tiny_model, tmp_path, extra):
    with pytest.raises(RecipeError, match="train.extra"):
        train(recipe_for(tiny_model("bert"), "full", extra=extra), ROWS, tmp_path / "runs", "one")


def test_a_tracker_that_is_not_there_is_an_error_of_the_recipe(tiny_model, tmp_path):
    with pytest.raises(RecipeError, match="train.report_to"):
        train(recipe_for(tiny_model("bert"), "full", report_to=["nonsense"]), ROWS, tmp_path / "runs", "one")


def test_recipe_data_and_model_are_reported_together_and_leave_no_folder(tmp_path):
    recipe = load_recipe({"model": {"id": "./none"}, "data": {"label": "category"}, "train": {"extra": {"optm": 1}}})
    with pytest.raises(WorkbenchError) as caught:
        train(recipe, ROWS, tmp_path / "runs", "one")
    said = str(caught.value)
    assert len(caught.value.problems) == 3 and "./none" in said and "category" in said and "train.extra.optm" in said
    assert nothing_left(tmp_path / "runs")


@pytest.mark.parametrize(
    "change, error, says",
    [
        ({"train": {"max_length": 500}}, WorkbenchError, "train.max_length"),
        ({"model": {"id": "./none"}}, ModelError, "model.id"),
        ({"data": {"label": "category"}}, DataError, "category"),
    ],
)
def test_a_run_that_fails_before_step_one_leaves_no_folder(tiny_model, tmp_path, change, error, says):
    values = recipe_for(tiny_model("bert")).model_dump()
    for section, fields in change.items():
        values[section].update(fields)
    with pytest.raises(error, match=says):
        train(load_recipe(values), ROWS, tmp_path / "runs", "one")
    assert nothing_left(tmp_path / "runs")


@pytest.mark.parametrize("method, says", [({"name": "last_layers", "layers": 9}, "method.layers"), ({"name": "lora", "target_modules": ["querry"]}, '"query"')])
def test_a_method_that_does_not_fit_the_model_says_so(tiny_model, tmp_path, method, says):
    with pytest.raises(ModelError, match=says):
        train(recipe_for(tiny_model("bert"), method), ROWS, tmp_path, "one")
    run = Run(tmp_path / "one")
    assert not run.folder.exists() or (run.state == "failed" and not run.model_folder.exists())


def test_a_run_that_exists_is_refused_and_kept(trained):
    run, before = trained("bert", "probe")
    stamp = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")}
    with pytest.raises(RunError, match="exists already"):
        train(run.recipe, ROWS, run.folder.parent, run.id)
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")} == stamp


@pytest.mark.parametrize("step", [1, 5])
def test_a_loss_that_is_nan_is_shown_and_fatal(tiny_model, tmp_path, monkeypatch, step):
    """PITFALLS 92."""
    from finetune_wb.tasks.classification import Classification

    real = Classification.loss

    def broken(self, *arguments):
        compute, calls = real(self, *arguments), []

        def loss(outputs, labels, num_items_in_batch=None):
            value = compute(outputs, labels, num_items_in_batch)
            calls.append(outputs.logits.requires_grad)
            return value * math.nan if outputs.logits.requires_grad and sum(calls) >= step else value

        return loss

    monkeypatch.setattr(Classification, "loss", broken)
    with pytest.raises(TrainingError, match="NaN|nan") as caught:
        train(recipe_for(tiny_model("bert"), "full", logging_steps=1), ROWS, tmp_path, "one")
    run = Run(tmp_path / "one")
    ended = json.loads((run.folder / "exit.json").read_text())
    assert "learning_rate" in str(caught.value) and ended["state"] == "failed" and "nan" in ended["reason"].lower()
    assert run.state == "failed" and not run.model_folder.exists()
    assert any(math.isnan(event.get("train_loss", 0)) or math.isnan(event.get("grad_norm", 0)) for event in run.events("metric")), "NaN is shown as NaN"
    assert not list(run.folder.rglob("training_args.bin"))


def test_too_little_room_is_noticed_before_training(tiny_model, tmp_path, monkeypatch):
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    with pytest.raises(TrainingError, match="MB are free"):
        train(recipe_for(tiny_model("bert"), "full", max_steps=1), ROWS, tmp_path, "one")
    assert Run(tmp_path / "one").state == "failed"


def test_a_disk_that_fills_up_while_saving_is_a_failure_with_a_reason(tiny_model, tmp_path, monkeypatch):
    from finetune_wb.training import saved

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved, "save_trained", full)
    with pytest.raises((TrainingError, OSError), match="No space left"):
        train(recipe_for(tiny_model("bert"), "full", max_steps=1), ROWS, tmp_path, "one")
    run = Run(tmp_path / "one")
    assert run.state == "failed" and "No space left" in json.loads((run.folder / "exit.json").read_text())["reason"]


def test_an_interrupt_stops_the_run_and_says_so(tiny_model, tmp_path, monkeypatch):
    """PITFALLS 98: Ctrl-C is a signal to this process."""
    from finetune_wb.training.trainer import RunCallback

    monkeypatch.setattr(RunCallback, "on_step_end", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(recipe_for(tiny_model("bert"), "full"), ROWS, tmp_path, "one")
    run = Run(tmp_path / "one")
    assert run.state == "killed" and not run.model_folder.exists() and run.events("state")[-1]["state"] == "killed"
    assert "keyboard" in run.ended["reason"]


KILL = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_training import ROWS, recipe_for, train
from finetune_wb.training.trainer import RunCallback
RunCallback.on_step_end = lambda *_, **__: os.kill(os.getpid(), 9)
train(recipe_for(sys.argv[2], "full"), ROWS, sys.argv[3], "one")
"""


def test_a_killed_run_is_seen_as_killed_and_reads_as_far_as_it_came(tiny_model, tmp_path):
    """PITFALLS 88."""
    ended = subprocess.run([sys.executable, "-c", KILL, os.path.dirname(__file__), tiny_model("bert"), tmp_path], capture_output=True)
    run = Run(tmp_path / "one")
    assert ended.returncode == -9 and run.state == "killed"
    assert valid_metrics(run) and run.record["data"]["rows"]["train"] > 0
    from finetune_wb.training.saved import load_trained

    with pytest.raises(RunError, match="killed"):
        load_trained(run)
