"""A run that was interrupted goes on to the same bits, or says why it can't; what is damaged, mixed up or from elsewhere is never trained from."""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_training import ROWS, recipe_for, train

from finetune_wb.errors import DataError, RunError, TrainingError
from finetune_wb.recipe import load_recipe
from finetune_wb.run import Run, create_run, hold, read_json, write_json
from finetune_wb.training.checkpoints import MANIFEST, PARTS, check, checkpoint_name, checkpoints, commit, newest_whole

pytestmark = pytest.mark.usefixtures("quick_garbage")
METHODS = {"full": {"name": "full", "probe_first": False}, "lora": {"name": "lora", "probe_first": False, "lora_dropout": 0.1}}
SPEC = {"num_train_epochs": 2.0, "learning_rate": 3e-4, "metric_for_best_model": "loss", "logging_steps": 4, "evals_per_epoch": 2, "early_stopping_patience": None, "gradient_accumulation_steps": 1}
STEPS = 12  # of them every third is evaluated
KILLED = 8  # in this one, so that step 6 is the newest checkpoint


def curve(run: Run) -> list[dict]:
    """The metric events without the clock."""
    return [{k: v for k, v in event.items() if k not in ("time", "kind", "seconds")} for event in run.history()]


def weights(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.model_folder.glob("*.safetensors"))}


def same(run: Run, other: Run) -> bool:
    return weights(run) == weights(other) and curve(run) == curve(other) and len(curve(run)) > 6


def interrupt(monkeypatch, step: int):
    """Ctrl-C in the middle of a step."""
    from finetune_wb.training.trainer import RunCallback

    def on_step_end(self, args, state, control, **_):
        if state.global_step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunCallback, "on_step_end", on_step_end)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model folder of this module's own, which its recipes name."""
    from conftest import build_tiny_model

    return build_tiny_model("bert", tmp_path_factory.mktemp("base") / "bert")


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """`whole("lora")` → the run that nothing disturbed; once each."""
    folder, done = tmp_path_factory.mktemp("whole"), {}

    def make(method: str) -> Run:
        if method not in done:
            done[method] = train(recipe_for(base, METHODS[method], **SPEC), ROWS, folder, method)
        return done[method]

    return make


@pytest.fixture(scope="module")
def cut(base, tmp_path_factory):
    """`cut("lora")` → the same run, interrupted; to be copied before it is touched."""
    folder, done = tmp_path_factory.mktemp("cut"), {}

    def make(method: str) -> Run:
        if method not in done:
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                interrupt(patch, KILLED)
                train(recipe_for(base, METHODS[method], **SPEC), ROWS, folder, method)
            done[method] = Run(folder / method)
        return done[method]

    return make


@pytest.fixture
def broken(cut, tmp_path):
    """`broken("lora")` → a copy of the interrupted run, to break."""
    return lambda method: Run(Path(shutil.copytree(cut(method).folder, tmp_path / method)))


every_method = pytest.mark.parametrize("method", METHODS)


# ---- resume is bit by bit


@every_method
def test_an_interrupted_run_goes_on_to_the_same_bits(whole, broken, method):
    run = broken(method)
    assert run.state == "killed" and checkpoints(run) == [6, 3] and not run.model_folder.exists()
    train(run)
    assert same(run, whole(method)) and run.state == "finished" and not run.checkpoints.exists()
    assert [event["resumed_from"] for event in run.events("state") if "resumed_from" in event] == [6]


DIFFERENT = {
    "in a window of gradient accumulation's": {"gradient_accumulation_steps": 2, "num_train_epochs": 4.0},
    "with a cosine and label smoothing": {"lr_scheduler_type": "cosine", "label_smoothing_factor": 0.1, "num_train_epochs": 2.5},
    "in the last epoch of a fraction": {"num_train_epochs": 1.5},
    "with max_steps in mid-epoch": {"max_steps": 10},
    "saved more often": {"save_steps": 1, "save_total_limit": 3},
    "saved seldom": {"save_steps": 5},
    "by accuracy": {"metric_for_best_model": "accuracy"},
    "with other data loaders": {"extra": {"dataloader_drop_last": True, "adam_beta2": 0.95}},
    "logged at once": {"logging_steps": 1},
}


@pytest.mark.parametrize("how", DIFFERENT)
def test_whatever_the_recipe_says_the_bits_are_the_same(base, tmp_path, monkeypatch, how):
    recipe = recipe_for(base, METHODS["full"], **{**SPEC, **DIFFERENT[how]})
    undisturbed = train(recipe, ROWS, tmp_path / "a", "one")
    steps = undisturbed.record["result"]["fine_tune"]["steps"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, steps - 1)
        train(recipe, ROWS, tmp_path / "b", "one")
    run = train(Run(tmp_path / "b" / "one"))
    assert same(run, undisturbed)


@pytest.mark.parametrize("kind, method", [("bert", "full"), ("bert", "lora"), ("bert", "last_layers"), ("llama", "full"), ("llama", "lora")])
def test_with_a_fitted_head_too_and_it_is_not_fitted_again(tiny_model, tmp_path, monkeypatch, kind, method):
    from finetune_wb.training import probe

    recipe = recipe_for(tiny_model(kind), method, **SPEC)
    undisturbed = train(recipe, ROWS, tmp_path / "a", "one")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 7)
        train(recipe, ROWS, tmp_path / "b", "one")
    fitted = []
    monkeypatch.setattr(probe, "embed", lambda *_, **__: fitted.append(1))
    run = train(Run(tmp_path / "b" / "one"))
    assert same(run, undisturbed) and not fitted
    assert run.record["result"] == undisturbed.record["result"] and run.record["cost"].keys() == {"probe", "train"}


def test_a_damaged_probe_is_fitted_again(tiny_model, tmp_path, monkeypatch):
    recipe = recipe_for(tiny_model("bert"), "full", **SPEC)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 7)
        train(recipe, ROWS, tmp_path, "one")
    run = Run(tmp_path / "one")
    before = (run.folder / "probe" / "head.safetensors").read_bytes()
    flip(run.folder / "probe" / "head.safetensors", 3)
    train(run)
    assert (run.folder / "probe" / "head.safetensors").read_bytes() == before


def test_early_stopping_counts_on_where_it_was(base, tmp_path, monkeypatch):
    """Patience is two: killed after the first evaluation that brought nothing, it stops after one more."""
    recipe = recipe_for(base, METHODS["full"], **{**SPEC, "learning_rate": 1e-7, "metric_for_best_model": "accuracy", "early_stopping_patience": 2, "num_train_epochs": 5.0})
    undisturbed = train(recipe, ROWS, tmp_path / "a", "one")
    outcome = undisturbed.record["result"]["fine_tune"]
    assert outcome["ended"] == "early stopping" and outcome["steps"] < outcome["of"]
    for step in (outcome["steps"] - 1, outcome["steps"] - 2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt(patch, step)
            train(recipe, ROWS, tmp_path / str(step), "one")
        assert same(train(Run(tmp_path / str(step) / "one")), undisturbed)


@every_method
def test_killed_after_the_last_save_it_only_ends(whole, base, tmp_path, monkeypatch, method):
    """Upstream would train one more step past max_steps, or past its early stop."""
    from finetune_wb.training import saved

    def gone(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(saved, "save_trained", gone)
        train(recipe_for(base, METHODS[method], **SPEC), ROWS, tmp_path, method)
    run = Run(tmp_path / method)
    assert checkpoints(run)[0] == STEPS
    assert same(train(run), whole(method))


def test_before_the_first_checkpoint_it_begins_again(whole, broken):
    run = broken("full")
    shutil.rmtree(run.checkpoints)
    train(run)
    assert same(run, whole("full"))
    assert [event["resumed_from"] for event in run.events("state") if "resumed_from" in event] == [-1]


def test_seconds_and_tokens_go_on(broken):
    run = broken("full")
    loop = run.checkpoints / "step-000006" / "loop.json"
    assert 0 < read_json(loop)["seconds"] < 60
    train(run)
    history = run.history()
    for name in ("seconds", "tokens"):
        values = [event[name] for event in history]
        assert values == sorted(values) and values[-1] > values[1] > 0
    assert history[-1]["step"] == STEPS and run.record["cost"]["train"]["seconds"] > history[-1]["seconds"] * 0.5


def test_tensorboard_hides_what_was_done_twice(broken):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = broken("full")
    train(run)
    board = EventAccumulator(str(run.folder / "tensorboard"))
    board.Reload()
    for name, key in (("train/loss", "train_loss"), ("valid/loss", "valid_loss")):
        assert [point.step for point in board.Scalars(name)] == [event["step"] for event in run.history() if key in event]


def test_an_interrupted_run_holds_no_path_of_this_machine(broken, base):
    run = broken("lora")
    files = [path for path in run.folder.rglob("*") if path.is_file() and path.name != "recipe.yaml"]  # it names the model as the user did
    assert {"trainer_state.json", "optimizer.pt", "loop.json"} <= {path.name for path in files}
    places = [str(place).encode() for place in (run.folder.parent, base.parent, Path.cwd(), Path.home(), Path(sys.prefix))]
    record = json.dumps({k: v for k, v in read_json(run.folder / "record.json").items() if k != "model"}).encode()
    for path in files:
        content = record if path.name == "record.json" else path.read_bytes()
        assert not [place for place in places if place in content], path.name


# ---- PITFALLS E: the damaged-checkpoint matrix


def flip(path: Path, bits: int, seed: int = 0) -> None:
    """Flips bits in the second half of a file: in a safetensors file that is weights, not names."""
    content, draw = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(bits):
        content[draw.randrange(len(content) // 2, len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def cut_to(share: float):
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


MATRIX = {
    "optimizer missing": ("optimizer.pt", Path.unlink, "optimizer.pt is missing"),
    "scheduler missing": ("scheduler.pt", Path.unlink, "scheduler.pt is missing"),
    "random state missing": ("rng_state.pth", Path.unlink, "rng_state.pth is missing"),
    "trainer_state missing": ("trainer_state.json", Path.unlink, "trainer_state.json is missing"),
    "loop.json missing": ("loop.json", Path.unlink, "loop.json is missing"),
    "weights missing": ("weights.safetensors", Path.unlink, "weights.safetensors is missing"),
    "weights cut at half": ("weights.safetensors", cut_to(0.5), "weights.safetensors has"),
    "optimizer cut": ("optimizer.pt", cut_to(0.7), "optimizer.pt has"),
    "scheduler empty": ("scheduler.pt", cut_to(0), "scheduler.pt has 0 of"),
    "random state empty": ("rng_state.pth", cut_to(0), "rng_state.pth has 0 of"),
    "trainer_state cut": ("trainer_state.json", cut_to(0.6), "trainer_state.json has"),
    "40 bits of the weights": ("weights.safetensors", lambda path: flip(path, 40), "weights.safetensors is damaged"),
    "1 bit of the weights": ("weights.safetensors", lambda path: flip(path, 1), "weights.safetensors is damaged"),
    "1 bit of the optimizer": ("optimizer.pt", lambda path: flip(path, 1), "optimizer.pt is damaged"),
    "manifest missing": (MANIFEST, Path.unlink, "no manifest"),
    "manifest cut": (MANIFEST, cut_to(0.9), "manifest is damaged"),
    "manifest not text": (MANIFEST, lambda path: path.write_bytes(b"\xff\xfe{}"), "manifest is damaged"),
    "1 digit of the manifest": (MANIFEST, lambda path: path.write_text(path.read_text().replace('"step": 6', '"step": 7')), "manifest is damaged"),
}


@every_method
@pytest.mark.parametrize("damage", MATRIX)
def test_a_damaged_checkpoint_is_skipped_said_and_kept_and_the_bits_are_the_same(whole, broken, capsys, method, damage):
    name, hurt, says = MATRIX[damage]
    run = broken(method)
    hurt(run.checkpoints / "step-000006" / name)
    seen = {}
    from finetune_wb.training import trainer

    real = trainer.fine_tune
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "fine_tune", lambda *a, **k: seen.update({p.name: p.is_dir() for p in run.checkpoints.iterdir()}) or real(*a, **k))
        train(run)
    assert same(run, whole(method))
    assert seen == {"broken-step-000006-1": True, "step-000003": True}, "set aside, not deleted, while it trains"
    (alert,) = run.events("alert")
    assert alert["severity"] == "warning" and "step-000006" in alert["message"] and says in alert["message"] and "step-000003" in alert["cure"]
    assert says in capsys.readouterr().err


def test_no_whole_checkpoint_at_all_begins_again(whole, broken):
    run = broken("full")
    for step in checkpoints(run):
        (run.checkpoints / checkpoint_name(step) / "optimizer.pt").unlink()
    train(run)
    assert same(run, whole("full")) and len(run.events("alert")) == 2


def test_what_is_broken_twice_is_set_aside_twice(broken):
    run = broken("full")
    for k in (1, 2, 3):
        folder = run.checkpoints / "step-000009"
        folder.mkdir()
        found, skipped = newest_whole(run)
        assert found.name == "step-000006" and skipped == [("step-000009", "it has no manifest: saving it was cut short")]
        assert (run.checkpoints / f"broken-step-000009-{k}").is_dir()


def test_a_best_checkpoint_that_goes_bad_while_training_is_replaced_by_the_next(base, tmp_path, monkeypatch):
    """A rate that overshoots makes an early checkpoint the best; the disk spoils it later."""
    from finetune_wb.training import trainer

    recipe = recipe_for(base, METHODS["full"], **{**SPEC, "learning_rate": 0.05, "lr_scheduler_type": "constant", "num_train_epochs": 3.0})
    best = train(recipe, ROWS, tmp_path, "best").record["result"]["fine_tune"]["best_step"]
    assert 0 <= best < 18
    real = trainer.ResumableTrainer.save

    def save(self):
        real(self)
        if self.step == 18:
            flip(self.live.run.checkpoints / checkpoint_name(best) / "weights.safetensors", 1)

    monkeypatch.setattr(trainer.ResumableTrainer, "save", save)
    run = train(recipe, ROWS, tmp_path, "spoilt")
    outcome = run.record["result"]["fine_tune"]
    assert outcome["best_step"] != best and "damaged" in run.events("alert")[0]["message"]
    values = {event["step"]: event["valid_loss"] for event in run.history() if "valid_loss" in event}
    assert outcome["best"] == values[outcome["best_step"]]


# ---- PITFALLS E: worse resume findings


def test_a_stale_folder_of_another_run_is_not_gone_on_with(whole, broken, base, tmp_path):
    """Finding 1: run A's checkpoint lies in run B's folder; upstream trains no step and says nothing."""
    other = broken("full")
    recipe = recipe_for(base, METHODS["full"], **{**SPEC, "learning_rate": 1e-4, "max_steps": 5})
    run = create_run(recipe, tmp_path, "b")
    from finetune_wb.data.kept import keep_rows
    from finetune_wb.data.load import load_data

    keep_rows(load_data(recipe, ROWS), run.folder)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 2)
        train(run)
    shutil.copytree(other.checkpoints / "step-000006", run.checkpoints / "step-000006")
    train(run)
    assert run.record["result"]["fine_tune"]["steps"] == 5 and "another run" in run.events("alert")[0]["message"]
    fresh = train(recipe, ROWS, tmp_path / "fresh", "b")
    assert weights(run) == weights(fresh) and curve(run) == curve(fresh)


def test_a_run_that_exists_is_never_begun_in(cut):
    with pytest.raises(RunError, match="exists already"):
        train(cut("full").recipe, ROWS, cut("full").folder.parent, "full")


@pytest.mark.parametrize("with_manifest", [False, True])
def test_a_mixed_checkpoint_is_not_gone_on_with(whole, broken, cut, with_manifest):
    """Finding 2: one run's weights beside another's optimizer."""
    run = broken("full")
    step3, step6 = (run.checkpoints / checkpoint_name(step) for step in (3, 6))
    shutil.copyfile(step3 / "weights.safetensors", step6 / "weights.safetensors")
    if with_manifest:
        shutil.copyfile(step3 / MANIFEST, step6 / MANIFEST)
    train(run)
    assert same(run, whole("full")) and len(run.events("alert")) == 1


def test_a_file_that_was_put_beside_the_others_is_not_read(whole, broken):
    """What no manifest lists could be anything."""
    run = broken("full")
    step3, step6 = (run.checkpoints / checkpoint_name(step) for step in (3, 6))
    shutil.copyfile(step3 / "weights.safetensors", step6 / "zz.safetensors")
    shutil.copyfile(step3 / "weights.safetensors", step6 / "model.safetensors")
    train(run)
    assert same(run, whole("full")) and not run.events("alert")


def test_changed_rows_are_refused(broken, base, tmp_path, monkeypatch):
    """Finding 3."""
    run = broken("full")
    flip(run.folder / "rows.parquet", 1)
    with pytest.raises(DataError, match="were changed"):
        train(run)
    assert run.state == "failed" and checkpoints(run) == [6, 3]
    table = tmp_path / "rows.csv"
    table.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS))
    recipe = recipe_for(base, METHODS["full"], **SPEC).model_copy(update={"data": load_recipe({"data": {"source": str(table)}}).data})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, KILLED)
        train(recipe, None, tmp_path, "csv")
    table.write_text(table.read_text().replace("cat", "dog"))
    with pytest.raises(RunError, match="rows are not those this run began with") as caught:
        train("csv", runs_dir=tmp_path)
    assert "Bring those rows back" in str(caught.value) and checkpoints(Run(tmp_path / "csv")) == [6, 3]


@pytest.mark.parametrize("before, after", [("learning_rate: 0.0003", "learning_rate: 0.0001"), ("tokens_per_batch: 128", "tokens_per_batch: 64"), ("num_train_epochs: 2.0", "num_train_epochs: 4.0")])
def test_an_edited_recipe_is_refused_with_the_way_out(broken, before, after):
    """Findings 4 and 5: upstream ignores the new rate, and only warns about another batch size."""
    run = broken("full")
    text = (run.folder / "recipe.yaml").read_text()
    assert before in text
    (run.folder / "recipe.yaml").write_text(text.replace(before, after))
    with pytest.raises(RunError, match="was edited since this run began") as caught:
        train(run)
    assert "ftwb clone full field=value" in str(caught.value) and checkpoints(run) == [6, 3]
    (run.folder / "recipe.yaml").write_text(text)
    assert train(Run(run.folder)).state == "finished"


def test_another_base_model_is_refused(base, tmp_path, monkeypatch):
    """Finding 6: a folder with another architecture under the same name; upstream leaves two layers random."""
    from conftest import build_tiny_model

    model = Path(shutil.copytree(base, tmp_path / "model"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, KILLED)
        train(recipe_for(model, METHODS["full"], **SPEC), ROWS, tmp_path, "one")
    shutil.rmtree(model)
    build_tiny_model("bert", model, num_hidden_layers=4)
    with pytest.raises(RunError, match="base model's weights are not those"):
        train("one", runs_dir=tmp_path)


def test_weights_of_another_shape_or_name_never_load(base):
    from torch import nn

    from finetune_wb.training.weights import WEIGHTS, load_moving, save_moving

    two, three = (nn.Sequential(*(nn.Linear(4, 4) for _ in range(n))) for n in (2, 3))
    folder = base.parent / "saved"
    folder.mkdir()
    save_moving(two, folder)
    before = [p.clone() for p in three.parameters()]
    with pytest.raises(RunError, match="2 names or shapes differ"):
        load_moving(three, folder)
    load_moving(three, folder, exactly=False)
    assert not all(a.equal(b) for a, b in zip(before, three.parameters())) and (folder / WEIGHTS).exists()
    with pytest.raises(RunError, match="1 names or shapes differ"):
        load_moving(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False)), folder)


def test_a_renamed_folder_is_refused(broken):
    run = broken("full")
    renamed = Run(run.folder.rename(run.folder.with_name("other")))
    with pytest.raises(RunError, match="began under the name full"):
        train(renamed)
    assert checkpoints(renamed) == [6, 3], "nothing in it is broken"
    assert train(Run(renamed.folder.rename(run.folder))).state == "finished"


def test_everything_that_changed_is_said_at_once(broken):
    run = broken("full")
    record = read_json(run.folder / "record.json")
    write_json(run.folder / "record.json", {**record, "facts": {**record["facts"], "model": "0" * 64, "data": "0" * 64, "split": "0" * 64}, "run": "zero"})
    with pytest.raises(RunError) as caught:
        train(run)
    assert len(caught.value.problems) == 4


def test_other_versions_are_said(broken):
    run = broken("full")
    record = read_json(run.folder / "record.json")
    write_json(run.folder / "record.json", {**record, "versions": {**record["versions"], "torch": "1.0", "transformers": "4.0"}})
    train(run)
    said = [event["message"] for event in run.events("alert")]
    assert len(said) == 2 and "torch" in said[0] and "was 1.0" in said[0] and "transformers" in said[1]


def test_settings_stay_those_of_the_first_start(broken):
    run = broken("full")
    record = read_json(run.folder / "record.json")
    write_json(run.folder / "record.json", {**record, "settings": {**record["settings"], "attn_implementation": "sdpa"}})
    seen = []
    from finetune_wb.tasks.classification import Classification

    real = Classification.model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "model", lambda self, source, recipe, attention, dropout: seen.append(attention) or real(self, source, recipe, attention, dropout))
        train(run)
    assert seen == ["sdpa"]


def test_a_finished_run_is_not_trained_again(whole):
    before = {path: path.stat().st_mtime_ns for path in whole("full").folder.rglob("*") if path.name != "lock"}
    with pytest.raises(RunError, match="has finished"):
        train(whole("full"))
    assert {path: path.stat().st_mtime_ns for path in whole("full").folder.rglob("*") if path.name != "lock"} == before


def test_a_run_has_its_rows_and_its_name(cut):
    for options in ({"data": ROWS}, {"run_id": "other"}):
        with pytest.raises(RunError, match="its rows and its name already"):
            train(cut("full"), **options)


# ---- NaN


def poisoned(monkeypatch, step: int, gradient_only: bool):
    """A loss, or only its gradient, that is NaN in one step."""
    import torch

    from finetune_wb.tasks.classification import Classification

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            return value.clone() if gradient_only else value * math.nan

        @staticmethod
        def backward(context, gradient):
            return gradient * math.nan

    real = Classification.loss

    def loss(self, *arguments):
        compute, calls = real(self, *arguments), []

        def spoilt(outputs, labels, num_items_in_batch=None):
            value = compute(outputs, labels, num_items_in_batch)
            calls.append(outputs.logits.requires_grad)
            return Spoil.apply(value) if outputs.logits.requires_grad and sum(calls) == step else value

        return spoilt

    monkeypatch.setattr(Classification, "loss", loss)


@pytest.mark.parametrize("gradient_only", [False, True])
@pytest.mark.parametrize("step", [5, 6])  # 6 is evaluated and saved, neither is logged
def test_the_first_number_that_is_none_stops_before_anything_is_saved_over(whole, base, tmp_path, monkeypatch, step, gradient_only):
    """Finding 8: upstream shows 0.0 and saves the ruined weights."""
    with monkeypatch.context() as patch, pytest.raises(TrainingError, match=f"is nan at step {step}") as caught:
        poisoned(patch, step, gradient_only)
        train(recipe_for(base, METHODS["full"], **SPEC), ROWS, tmp_path, "full")
    run = Run(tmp_path / "full")
    assert ("grad_norm" if gradient_only else "train_loss") in str(caught.value)
    assert checkpoints(run) == [3, 0] and all(check(run.checkpoints / checkpoint_name(s), PARTS) is None for s in (0, 3))
    shown = [event for event in run.history() if not math.isfinite(event.get("train_loss", event.get("grad_norm", 0.0)))]
    assert [event["step"] for event in shown] == [step], "shown as NaN, not as 0.0"
    assert run.ended["state"] == "failed" and "nan" in run.ended["reason"] and "learning_rate" in run.ended["cure"]
    assert run.events("alert")[-1]["severity"] == "error"
    assert same(train(run), whole("full")), "what was saved before is sound"


# ---- how many are kept


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_the_newest_and_the_best_are_never_removed(base, tmp_path, monkeypatch, limit):
    from finetune_wb.training import trainer

    seen, real = [], trainer.ResumableTrainer.save

    def save(self):
        real(self)
        values = {step: value for step, value in self.measured().items()}
        best = min(values, key=lambda step: (values[step], step))
        seen.append((checkpoints(self.live.run), self.step, best))

    monkeypatch.setattr(trainer.ResumableTrainer, "save", save)
    recipe = recipe_for(base, METHODS["full"], **{**SPEC, "learning_rate": 0.03, "lr_scheduler_type": "constant", "num_train_epochs": 3.0, "save_steps": 1, "save_total_limit": limit})
    train(recipe, ROWS, tmp_path, "one")
    assert len(seen) == 19 and any(best != newest for _, newest, best in seen)
    for kept, newest, best in seen:
        assert {newest, best} <= {*kept} and len(kept) <= max(limit, 2)
    assert max(len(kept) for kept, *_ in seen) == max(limit, 2)


def test_saves_and_deletions_cut_short_are_cleared_away(whole, broken):
    run = broken("full")
    (run.checkpoints / "step-000009.part").mkdir()
    (run.checkpoints / "step-000000.gone").mkdir()
    os.rename(run.checkpoints / "step-000006", run.checkpoints / "step-000006.old")  # killed between two renames
    (run.folder / "model.part").mkdir()
    train(run)
    assert same(run, whole("full")) and [e["resumed_from"] for e in run.events("state") if "resumed_from" in e] == [6]
    assert not list(run.folder.rglob("*.part")) and not list(run.folder.rglob("*.old"))


def test_a_checkpoint_appears_at_once_or_not_at_all(tmp_path, monkeypatch):
    """Whatever call it dies in, the folder has the old content, the new one, or none."""

    def save(number: int) -> None:
        part = tmp_path / "step-000001.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        (part / "a").write_text(str(number) * 100)
        (part / "b").write_text(str(number))
        commit(part, tmp_path / "step-000001", number=number)

    save(1)
    calls, deaths = [], 0
    names = ("fsync", "rename", "open", "replace")
    for limit in range(40):
        with monkeypatch.context() as patch:
            calls.clear()

            def counted(real, limit=limit):
                def call(*arguments, **options):
                    calls.append(1)
                    if len(calls) > limit:
                        raise KeyboardInterrupt
                    return real(*arguments, **options)

                return call

            for name in names:
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                save(limit + 2)
            except KeyboardInterrupt:
                deaths += 1
        old = tmp_path / "step-000001.old"
        assert (tmp_path / "step-000001").exists() or old.exists()
        if old.exists():
            shutil.rmtree(tmp_path / "step-000001") if (tmp_path / "step-000001").exists() else None
            os.rename(old, tmp_path / "step-000001")
        assert check(tmp_path / "step-000001", ("a", "b")) is None
        if len(calls) <= limit:
            break
    assert deaths > 5 and read_json(tmp_path / "step-000001" / MANIFEST)["number"] == limit + 2


# ---- the model and the log


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_flipped_bit_in_a_model_is_an_error(whole, tmp_path, name):
    from finetune_wb.training.saved import load_trained

    run = Run(Path(shutil.copytree(whole("full").folder, tmp_path / "full")))
    load_trained(run)
    flip(run.model_folder / name, 1)
    with pytest.raises(RunError, match=f"can't be trusted: {name} is damaged"):
        load_trained(run)


def test_a_truncated_adapter_is_an_error(whole, tmp_path):
    from finetune_wb.training.saved import load_trained

    run = Run(Path(shutil.copytree(whole("lora").folder, tmp_path / "lora")))
    cut_to(0.5)(run.model_folder / "adapter_model.safetensors")
    with pytest.raises(RunError, match="adapter_model.safetensors has .* of .* bytes"):
        load_trained(run)


def test_a_torn_last_event_line_spoils_nothing(whole, broken):
    run = broken("full")
    with run.log.path.open("ab") as file:
        file.write(b'{"time": 1, "kind": "metric", "step": 7, "train_lo')
    train(run)
    assert same(run, whole("full"))


# ---- one at a time, and places that can't be written


HOLD = "import sys, time; from pathlib import Path; from finetune_wb.run import Run, hold, process_now, write_json; run = Run(Path(sys.argv[1]))\nwith hold(run): write_json(run.folder / 'process.json', process_now()); print('held', flush=True); time.sleep(60)"


def test_a_second_process_is_refused_and_told_who_has_it(whole, broken):
    run = broken("full")
    other = subprocess.Popen([sys.executable, "-c", HOLD, run.folder], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"another process has this run.*{other.pid}"):
            train(run)
    finally:
        other.kill()
        other.wait()
    assert same(train(run), whole("full"))


def test_two_in_one_process_are_one_too_many(broken):
    run = broken("full")
    with hold(run), pytest.raises(RunError, match="another process has this run"):
        train(run)


@pytest.fixture
def small_disk(tmp_path):
    """`small_disk(megabytes)` → a folder on a disk of that size; skipped where a disk can't be mounted."""
    mounted = []

    def make(size: float, options: str = "") -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(size * 1024)}k{options}", "tmpfs", place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small disk can't be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    filler, free = place / "filler", shutil.disk_usage(place).free
    with filler.open("wb") as file:
        file.write(b"\0" * (free - leave))
    return filler


@every_method
def test_a_full_disk_is_an_error_in_words_and_what_was_saved_stays(whole, base, small_disk, monkeypatch, method):
    """Finding 7, on a real disk: it fills up in the save of step 6."""
    from finetune_wb.training import trainer

    place, real, fillers = small_disk(40), trainer.ResumableTrainer.save, []

    def save(self):
        if self.step == 6:
            fillers.append(fill(place, leave=100_000))
        real(self)

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match="step 6 could not be saved") as caught:
        patch.setattr(trainer.ResumableTrainer, "save", save)
        train(recipe_for(base, METHODS[method], **SPEC), ROWS, place, method)
    run = Run(place / method)
    assert "Make room" in str(caught.value) and run.state == "failed"
    assert "disk is full" in run.ended["reason"], run.ended
    assert checkpoints(run) == [3, 0] and not list(run.checkpoints.glob("*.part"))
    assert all(check(run.checkpoints / checkpoint_name(step), PARTS) is None for step in (0, 3))
    fillers[0].unlink()
    assert same(train(run), whole(method))


def test_a_disk_without_a_byte_left_still_tells_that_it_ended(base, small_disk, monkeypatch):
    from finetune_wb.training.trainer import RunCallback

    place = small_disk(40)

    def on_step_end(self, args, state, control, **_):
        if state.global_step == 5:
            fill(place, leave=0)
            (place / "rest").write_bytes(b"")
            self.live.run.log.write("alert", severity="error", message="x" * 10_000, cure="")

    monkeypatch.setattr(RunCallback, "on_step_end", on_step_end)
    with pytest.raises(TrainingError, match="No space left"):
        train(recipe_for(base, METHODS["full"], **SPEC), ROWS, place, "one")
    assert Run(place / "one").state in ("failed", "killed"), "and not running, for ever, in a notebook that lives on"


def test_too_little_room_is_said_before_the_first_step(base, small_disk):
    place = small_disk(6)
    with pytest.raises(TrainingError, match="MB are free and .* MB are needed: .* MB a checkpoint, 2 kept and one in the making"):
        train(recipe_for(base, METHODS["full"], **SPEC), ROWS, place, "one")
    run = Run(place / "one")
    assert run.state == "failed" and not run.events("metric") and not checkpoints(run)


def test_the_room_that_is_asked_for_is_what_checkpoints_take(broken, monkeypatch):
    """Weights and AdamW's two numbers each: within a tenth of what lies on the disk."""
    from finetune_wb.training import train as module

    asked = []
    monkeypatch.setattr(module, "check_room", lambda run, size, keep, model: asked.append(size))
    run = broken("full")
    size = sum(path.stat().st_size for path in (run.checkpoints / "step-000006").iterdir())
    train(run)
    assert size <= asked[0] < size * 1.1 + 200_000


def test_a_folder_that_can_only_be_read_is_an_error_in_words(cut, small_disk):
    place = small_disk(40)
    run = Run(Path(shutil.copytree(cut("full").folder, place / "full")))
    (run.folder / "lock").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    try:
        with pytest.raises(RunError, match="can't be written") as caught:
            train(run)
        assert "Read-only" in str(caught.value)
        with pytest.raises(RunError, match="can't make a run folder"):
            train(run.recipe, ROWS, place, "new")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)
