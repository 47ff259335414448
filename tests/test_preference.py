"""Preference: TRL's loss on our tokens. A planted preference is learnt; the loss is DPO's by hand; what is interrupted goes on to the same bits."""

import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from causal_models import KINDS, causal_model  # noqa: F401
from test_checkpoints import curve, interrupt, weights

from finetune_wb import train
from finetune_wb.errors import DataError, RecipeError, TrainingError
from finetune_wb.models.catalog import find_model
from finetune_wb.models.causal import load_causal
from finetune_wb.recipe import METHODS, Recipe, override
from finetune_wb.run import Run, create_run
from finetune_wb.training.arguments import training_arguments
from finetune_wb.training.examples import load_examples
from finetune_wb.training.saved import load_trained

pytestmark = pytest.mark.usefixtures("quick_garbage")
LN_2 = math.log(2)
ROWS = [{"prompt": f"which {i}?", "chosen": f"the {'dog' if i % 3 else 'bird'} {i} reads a cat", "rejected": f"{i} the {'dog' if i % 2 else 'bird'} runs"} for i in range(60)]
TRAIN = {"num_train_epochs": 3.0, "tokens_per_batch": 768, "learning_rate": 3e-3, "logging_steps": 1, "evals_per_epoch": 1, "bf16": False, "threads": 1, "early_stopping_patience": None}
LORA = {"name": "lora", "r": 4, "lora_dropout": 0.1}


@pytest.fixture
def recipe_of(causal_model):  # noqa: F811
    def make(kind="llama", method="full", **spec) -> Recipe:
        made = Recipe(task="preference", model={"id": str(causal_model(kind))}, method={"name": method} if isinstance(method, str) else method, train={**TRAIN, **spec})
        return override(made, "model.chat_template=alpaca") if kind == "gpt2" else made

    return make


@pytest.fixture(scope="module")
def whole(causal_model, tmp_path_factory):  # noqa: F811
    "`whole('lora')` → a run that nothing disturbed; once each."
    folder, done = tmp_path_factory.mktemp("whole"), {}

    def make(method: str) -> Run:
        if method not in done:
            spec = LORA if method == "lora" else {"name": method}
            done[method] = train(Recipe(task="preference", model={"id": str(causal_model("llama"))}, method=spec, train={**TRAIN, **({"learning_rate": 1e-2} if method == "lora" else {})}), ROWS, folder, method)
        return done[method]

    return make


def by_hand(model, pairs, rows) -> np.ndarray:
    "Log-probability of each answer from plain logits: (rows, 2)."
    import torch

    found = []
    for row in rows:
        sides = []
        for side in (pairs.chosen, pairs.rejected):
            ids, labels = torch.tensor(side[row]["input_ids"]), torch.tensor(side[row]["labels"])
            with torch.no_grad(): scores = model(input_ids=ids[None]).logits[0, -len(ids) : -1].double().log_softmax(-1)
            sides.append(sum(float(scores[i, ids[i + 1]]) for i in range(len(ids) - 1) if labels[i + 1] != -100))
        found.append(sides)
    return np.array(found)


@pytest.fixture
def trainer_of(recipe_of, tmp_path):
    "`trainer_of('qwen3')` → a `PreferenceTrainer` that has not begun, and the base model."

    def make(kind="llama", method="full", **spec):
        from finetune_wb.models.methods import apply_method
        from finetune_wb.progress import Progress
        from finetune_wb.training.preference import Pairs, preference_trainer, reference_of
        from finetune_wb.training.trainer import Live, RunCallback

        recipe = recipe_of(kind, method, metric_for_best_model="loss", dropout=0.0, **spec)
        examples, run = load_examples(recipe, ROWS), create_run(recipe, tmp_path / "runs")
        base, model = (load_causal(find_model(recipe.model), recipe.model, dropout=0.0) for _ in range(2))
        sides = {"train": (examples.train, examples.rejected["train"]), "valid": (examples.valid, examples.rejected["valid"])}
        pairs = [Pairs(*rows, reference_of(base, examples.tokenizer, *rows, 1024)) for rows in sides.values()]
        arguments = training_arguments(recipe.train, run.checkpoints, 1e-3, False, "cpu", 4)
        callback = RunCallback(Live(run), Progress(1, "train"))
        return preference_trainer(apply_method(model, recipe.method), examples.tokenizer, *pairs, recipe.train, arguments, callback), base

    return make


# ------------------------------------------------------------------ it learns
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_planted_preference_is_learnt(method, whole):
    run = whole(method)
    events = [event for event in run.events("metric") if "valid_loss" in event]
    first = next(event for event in run.events("metric") if "train_loss" in event)
    assert first["train_loss"] == pytest.approx(LN_2, abs=1e-5) and events[0]["valid_loss"] == pytest.approx(LN_2, abs=1e-5)
    margins = [event["valid_margin"] for event in events]
    assert margins == sorted(margins) and margins[-1] > 0.5 and events[-1]["valid_accuracy"] == 1 and events[-1]["valid_loss"] < 0.5
    assert events[-1]["valid_margin"] == pytest.approx(events[-1]["valid_reward_chosen"] - events[-1]["valid_reward_rejected"], abs=1e-5)
    tuned = run.record["result"]["fine_tune"]
    assert run.state == "finished" and tuned["metric"] == "loss" and tuned["best"] == min(event["valid_loss"] for event in events)
    assert run.record["cost"]["reference"]["seconds"] > 0 and run.record["task"] == "preference"
    sample = run.events("sample")[-1]["rows"][0]
    assert "cat" in sample["expected"] and sample["prompt"].endswith("\n\n") and isinstance(sample["ended"], bool)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_saved_model_prefers_it_too(method, whole):
    from finetune_wb.training.preference import Pairs

    run = whole(method)
    model, _ = load_trained(run)
    examples = load_examples(run.recipe, ROWS)
    pairs, base = Pairs(examples.valid, examples.rejected["valid"], np.zeros((0, 2))), load_causal(find_model(run.recipe.model), run.recipe.model)
    rewards = run.recipe.train.beta * (by_hand(model, pairs, range(len(pairs))) - by_hand(base, pairs, range(len(pairs))))
    last = [event for event in run.events("metric") if "valid_margin" in event][-1]
    assert (rewards[:, 0] > rewards[:, 1]).all() and np.mean(rewards[:, 0] - rewards[:, 1]) == pytest.approx(last["valid_margin"], rel=1e-3)


# ------------------------------------------------------------------ the tokens are ours, the loss is DPO's
@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral", "gpt2"])
def test_what_trl_computes_with_is_what_was_looked_at(kind, trainer_of):
    trainer, _ = trainer_of(kind)
    tokenizer, wanted, seen = trainer.writer, [], []
    for side in (trainer.train_dataset.chosen, trainer.train_dataset.rejected):
        wanted += [(row["input_ids"], [i for i, label in enumerate(row["labels"]) if label != -100]) for row in (side[i] for i in range(len(side)))]
    for batch in trainer.get_train_dataloader():
        for ids, there, counts in zip(batch["input_ids"], batch["attention_mask"], batch["completion_mask"]):
            seen.append((ids[there.bool()].tolist(), counts.nonzero().flatten().tolist()))
    assert sorted(seen) == sorted(wanted)
    for ids, counts in seen:
        assert tokenizer.bos_token_id is None or ids.count(tokenizer.bos_token_id) == (kind != "gpt2") + (kind == "gpt2") * ids.count(tokenizer.eos_token_id)
        assert tokenizer.decode([ids[counts[-1]]]) in ("<|eot_id|>", "<|im_end|>", "</s>", "<|endoftext|>")


def test_trls_own_tokenization_has_the_same_answers_where_it_can(trainer_of, recipe_of):
    "On a template without surprises both ways agree, and TRL's own loss is the same number."
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    trainer, base = trainer_of("llama")
    talk = lambda i: {"prompt": [{"role": "user", "content": ROWS[i]["prompt"]}], **{side: [{"role": "assistant", "content": ROWS[i][side]}] for side in ("chosen", "rejected")}}  # noqa: E731
    names = [int(row.name.rpartition(":")[2]) - 1 for row in trainer.train_dataset.chosen.rows[:4]]
    config = DPOConfig(output_dir=trainer.args.output_dir, use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False, per_device_train_batch_size=4)
    theirs = DPOTrainer(trainer.model, base, config, train_dataset=Dataset.from_list([talk(i) for i in names]), processing_class=trainer.writer)
    rows = [theirs.train_dataset[i] for i in range(4)]
    assert [row["prompt_ids"] + row["chosen_ids"] for row in rows] == [trainer.train_dataset.chosen[i]["input_ids"] for i in range(4)]
    shake(trainer.model)
    ours = trainer.compute_loss(trainer.model.eval(), trainer.data_collator([trainer.train_dataset[i] for i in range(4)]))
    assert float(theirs.compute_loss(theirs.model.eval(), theirs.data_collator(rows))) == pytest.approx(float(ours), abs=1e-5)


def shake(model) -> None:
    "Moves every weight a little, so that there is something to measure."
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad: weight += 0.05 * torch.randn_like(weight)


@pytest.mark.parametrize(("kind", "method"), [*((kind, "full") for kind in KINDS), *(("llama", name) for name in METHODS if name not in ("probe", "qlora", "full"))])
def test_the_loss_is_that_of_the_paper(kind, method, trainer_of):
    trainer, base = trainer_of(kind, method, beta=0.3)
    shake(trainer.model)
    rows = [3, 0, 7, 21]
    rewards = 0.3 * (by_hand(trainer.model.eval(), trainer.train_dataset, rows) - by_hand(base, trainer.train_dataset, rows))
    losses = np.log1p(np.exp(-(rewards[:, 0] - rewards[:, 1])))
    batch = lambda some: trainer.data_collator([trainer.train_dataset[i] for i in some])  # noqa: E731
    assert abs(losses - LN_2).max() > 1e-3 and float(trainer.compute_loss(trainer.model, batch(rows))) == pytest.approx(losses.mean(), abs=1e-5)
    parts = [batch(rows[:1]), batch(rows[1:])]  # accumulated over two batches of different size it is the same
    count = trainer._get_num_items_in_batch(parts, "cpu")
    assert count == 4 and sum(float(trainer.compute_loss(trainer.model, part, num_items_in_batch=count)) for part in parts) == pytest.approx(losses.mean(), abs=1e-5)


def test_valid_weighs_pairs_alike(trainer_of):
    trainer, _ = trainer_of("llama", tokens_per_batch=80)
    shake(trainer.model)
    pairs = trainer.train_dataset  # more of them
    assert len({len(batch["input_ids"]) for batch in trainer.get_eval_dataloader(pairs)}) > 1
    rewards = 0.1 * (by_hand(trainer.model.eval(), pairs, range(len(pairs))) - pairs.reference)
    found, margins = trainer.evaluate(pairs), rewards[:, 0] - rewards[:, 1]
    assert found["eval_loss"] == pytest.approx(np.log1p(np.exp(-margins)).mean(), abs=1e-5) and found["eval_margin"] == pytest.approx(margins.mean(), abs=1e-5)
    assert found["eval_accuracy"] == pytest.approx((margins > 0).mean()) and 0 < found["eval_accuracy"] < 1


# ------------------------------------------------------------------ every method, measured against the base
@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("probe", "qlora", "full", "lora")] + ["pissa"])
def test_every_method_is_measured_against_the_untouched_base(method, recipe_of, tmp_path):
    spec = {"name": "lora", "init_lora_weights": "pissa"} if method == "pissa" else {"name": method}
    run = train(recipe_of("llama", spec, max_steps=2), ROWS, tmp_path)
    start = run.record["result"]["fine_tune"]["start"]
    virtual = method in ("prompt_tuning", "prefix_tuning", "p_tuning")
    assert math.isfinite(start) and (virtual or start == pytest.approx(LN_2, abs=1e-4)) and run.state == "finished"
    model, _ = load_trained(run)
    assert "ref" not in getattr(model, "peft_config", {})


@pytest.mark.parametrize("method", ["full", "lora"])
def test_checkpointing_gives_the_same_curve(method, recipe_of, tmp_path):
    spec = {"name": method, "lora_dropout": 0.0} if method == "lora" else method
    runs = [train(recipe_of("qwen3", spec, max_steps=3, gradient_checkpointing=on), ROWS, tmp_path) for on in (False, True)]
    losses = [[event["train_loss"] for event in run.events("metric") if "train_loss" in event] for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and len(losses[0]) == 3 and losses[0][-1] < losses[0][0]


def test_bf16_learns_too(recipe_of, tmp_path):
    run = train(recipe_of("llama", bf16=True), ROWS, tmp_path)
    tuned = run.record["result"]["fine_tune"]
    assert run.record["settings"]["bf16"] and tuned["start"] == pytest.approx(LN_2, abs=0.01) and tuned["best"] < 0.6


# ------------------------------------------------------------------ interrupted, asked, refused
@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_interrupted_run_goes_on_to_the_same_bits(method, whole, tmp_path, monkeypatch):
    done = whole(method)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, done.record["result"]["fine_tune"]["steps"] - 2)
        train(done.recipe, ROWS, tmp_path, method)
    damaged = Run(Path(shutil.copytree(tmp_path / method, tmp_path / "damaged" / method)))
    with monkeypatch.context() as patch:
        patch.setattr("finetune_wb.training.preference.reference_of", None)  # it is with the run
        run = train(Run(tmp_path / method))
    assert [event["resumed_from"] for event in run.events("state") if "resumed_from" in event][0] > 0
    assert weights(run) == weights(done) and curve(run) == curve(done) and len(curve(run)) > 6
    (damaged.folder / "reference" / "reference.safetensors").write_bytes(b"\0" * 100)
    (damaged.folder / "reference.part").mkdir()  # of a save that was cut short
    assert weights(train(damaged)) == weights(done)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from finetune_wb import train
from finetune_wb.recipe import load_recipe
from finetune_wb.training.trainer import RunCallback
from test_preference import ROWS
step_end = RunCallback.on_step_end
def kill(self, args, state, control, **more):
    step_end(self, args, state, control, **more)
    if state.global_step == int(sys.argv[4]): os.kill(os.getpid(), signal.SIGKILL)
RunCallback.on_step_end = kill
train(load_recipe(sys.argv[2]), ROWS, sys.argv[3], "killed")
"""


def test_a_killed_process_costs_no_bit(whole, tmp_path):
    done = whole("full")
    arguments = [str(Path(__file__).parent), str(done.folder / "recipe.yaml"), str(tmp_path), str(done.record["result"]["fine_tune"]["steps"] - 1)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    run = Run(tmp_path / "killed")
    assert run.state == "killed" and not run.model_folder.exists()
    train(run)
    assert weights(run) == weights(done) and curve(run) == curve(done)


def test_asking_changes_nothing(whole, tmp_path, monkeypatch):
    from finetune_wb.training.trainer import RunCallback

    told, step_end = [], RunCallback.on_step_end

    def ask(self, args, state, control, **more):
        step_end(self, args, state, control, **more)
        if state.global_step == 2: told.extend((self.trainer.measure(), self.trainer.show()))

    monkeypatch.setattr(RunCallback, "on_step_end", ask)
    run = train(whole("full").recipe, ROWS, tmp_path)
    assert told[0].startswith("valid loss 0.") and told[1] == "3 rows at step 2" and weights(run) == weights(whole("full"))


def test_the_best_may_be_chosen_by_accuracy(recipe_of, tmp_path):
    tuned = train(recipe_of(metric_for_best_model="accuracy", max_steps=4), ROWS, tmp_path).record["result"]["fine_tune"]
    assert tuned["metric"] == "accuracy" and tuned["best"] == 1 and tuned["best_step"] > 0


def test_nobody_is_told(recipe_of, tmp_path, monkeypatch):
    def tell(*_, **__): raise AssertionError("TRL reports this training to the hub")

    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", tell)
    assert train(recipe_of("llama", max_steps=1), ROWS, tmp_path).state == "finished"


def test_pairs_that_are_one_are_refused_before_a_weight_loads(recipe_of, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune_wb.models.causal.load_causal", None)
    with pytest.raises(DataError, match="row 3.*chosen and rejected are the same"): train(recipe_of(), [*ROWS[:2], {"prompt": "which?", "chosen": "a cat", "rejected": "a cat"}, *ROWS[3:]], tmp_path)
    rows = [{"prompt": f"which {i}?", "chosen": "cat " * 40 + "dog", "rejected": "cat " * 40 + "bird"} for i in range(20)]
    with pytest.raises(TrainingError, match="same_pair.*only once cut at 50 tokens.*Cure: train.max_length=") as caught: train(recipe_of(max_length=50), rows, tmp_path)
    assert "cut_answer" in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("setting", ["train.label_smoothing_factor=0.1", "train.batching=packed", "train.loss_on=all", "train.neftune_noise_alpha=5.0", "method.name=probe"])
def test_settings_that_nothing_would_read_are_refused(setting, recipe_of, tmp_path):
    with pytest.raises(RecipeError, match=setting.partition("=")[0]): train(override(recipe_of(), setting), ROWS, tmp_path)
    assert not list(tmp_path.iterdir())
