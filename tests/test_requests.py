"""What is asked of a run while it trains: answered between two steps, and looking changes nothing."""

import json
import threading
import time

import pytest
from test_checkpoints import METHODS, SPEC, curve, interrupt, same, weights
from test_training import ROWS, recipe_for, train

from finetune_wb.errors import RecipeError, RunError
from finetune_wb.run import Run, create_run
from finetune_wb.training.checkpoints import checkpoints, copy_start

pytestmark = pytest.mark.usefixtures("quick_garbage")
RECIPE = {**SPEC, "logging_steps": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    from conftest import build_tiny_model

    return build_tiny_model("bert", tmp_path_factory.mktemp("base") / "bert")


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory) -> Run:
    """The run that nobody asked anything of."""
    return train(recipe_for(base, METHODS["full"], **RECIPE), ROWS, tmp_path_factory.mktemp("whole"), "one")


@pytest.fixture
def asked(base, tmp_path, monkeypatch):
    """`asked({4: [("evaluate", {})]})` trains a run of whom it is asked at these steps; requests are files, as a browser writes them."""
    from finetune_wb.control import Control
    from finetune_wb.training.trainer import RunCallback

    real, poll = RunCallback.on_step_end, Control.poll
    monkeypatch.setattr(Control, "poll", lambda self, every=0.2: poll(self, every=0))

    def make(plan: dict, run: Run | None = None, **train_fields) -> Run:
        place = tmp_path / "one" if run is None else run.folder

        def on_step_end(self, args, state, control, **kwargs):
            real(self, args, state, control, **kwargs)
            for number, (name, fields) in enumerate(plan.pop(state.global_step, [])):
                (place / "control").mkdir(exist_ok=True)
                (place / "control" / f"{1000 * state.global_step + number}-{name}.json").write_text(json.dumps({"request": name, **fields}))

        monkeypatch.setattr(RunCallback, "on_step_end", on_step_end)
        if run is None:
            return train(recipe_for(base, METHODS["full"], **{**RECIPE, **train_fields}), ROWS, tmp_path, "one")
        return train(run)

    return make


def answers(run: Run) -> list[tuple[str, str]]:
    return [(event["request"], event["answer"]) for event in run.events("state") if "request" in event]


def reasons(run: Run, name: str) -> list[str]:
    return [event["reason"] for event in run.events("state") if event.get("request") == name and "reason" in event]


def states(run: Run) -> list[str]:
    return [event["state"] for event in run.events("state") if "state" in event]


def nothing_asked(run: Run) -> bool:
    return not list((run.folder / "control").iterdir())


# ---- looking


def test_who_looks_changes_nothing(asked, whole):
    run = asked({1: [("evaluate", {})], 4: [("sample", {}), ("evaluate", {}), ("evaluate", {})], 6: [("evaluate", {})], 12: [("evaluate", {})]})
    assert weights(run) == weights(whole) and run.record["result"] == whole.record["result"]
    looked = [event for event in curve(run) if "valid_loss" in event]
    assert [event["step"] for event in looked] == [0, 1, 3, 4, 4, 6, 6, 9, 12, 12]
    assert [event for event in curve(run) if "train_loss" in event] == [event for event in curve(whole) if "train_loss" in event]
    assert all(event in looked for event in curve(whole) if "valid_loss" in event)
    assert answers(run) == [(name, answer) for name in ("evaluate", "sample", "evaluate", "evaluate", "evaluate", "evaluate") for answer in ("accepted", "done")]
    assert "valid loss" in reasons(run, "evaluate")[0] and nothing_asked(run)


def test_looking_often_does_not_wear_out_patience(asked, base, tmp_path):
    plan = {step: [("evaluate", {})] * 3 for step in range(1, 5)}
    run = asked(plan, learning_rate=1e-7, metric_for_best_model="accuracy", early_stopping_patience=3, num_train_epochs=5.0)
    alone = train(recipe_for(base, METHODS["full"], **{**RECIPE, "learning_rate": 1e-7, "metric_for_best_model": "accuracy", "early_stopping_patience": 3, "num_train_epochs": 5.0}), ROWS, tmp_path / "alone", "one")
    assert run.record["result"] == alone.record["result"] and weights(run) == weights(alone)


def test_samples_are_rows_of_valid_as_they_are_predicted(whole):
    from finetune_wb.data.kept import kept_rows

    samples = whole.events("sample")
    assert [event["step"] for event in samples] == [0, 3, 6, 9, 12], "one at each evaluation, unasked"
    valid = kept_rows(whole.folder).valid
    known = dict(zip(valid["text"], valid["label"]))
    for event in samples:
        assert len(event["rows"]) == 5
        for row in event["rows"]:
            assert known[row["text"]] == row["label"] and row["predicted"] in whole.record["data"]["classes"] and 0.333 <= row["confidence"] <= 1
    assert [row["confidence"] for row in samples[0]["rows"]] == [0.3333] * 5 != [row["confidence"] for row in samples[-1]["rows"]]
    test = {*kept_rows(whole.folder).test["text"]}
    assert not [row for event in samples for row in event["rows"] if row["text"] in test]


def test_long_texts_are_cut_in_samples(base, tmp_path):
    rows = [{**row, "text": "word " * 80 + row["text"]} for row in ROWS]
    run = train(recipe_for(base, METHODS["full"], **{**RECIPE, "max_steps": 1}), rows, tmp_path, "long")
    assert {len(row["text"]) for event in run.events("sample") for row in event["rows"]} == {200}


# ---- stopping


def test_stop_saves_measures_ends_and_can_be_gone_on_from(asked, whole, tmp_path):
    from finetune_wb.training.saved import load_trained

    run = asked({5: [("stop", {})]})
    assert run.state == "finished" and run.ended["reason"] == "stopped on request at step 5 of 12"
    outcome = run.record["result"]["fine_tune"]
    assert (outcome["ended"], outcome["steps"], outcome["best_step"]) == ("request", 5, 5) and run.history()[-1]["step"] == 5
    assert "valid_loss" in run.history()[-1] and checkpoints(run) == [5, 3] and load_trained(run)
    assert answers(run) == [("stop", "accepted"), ("stop", "done")] and states(run)[-2:] == ["stopping", "finished"] and nothing_asked(run)
    assert run.ended["state"] == "finished"
    train(run)
    assert run.state == "finished" and not run.ended["reason"] and weights(run) == weights(whole)
    assert [event for event in curve(run) if "train_loss" in event] == [event for event in curve(whole) if "train_loss" in event]


def test_what_was_stopped_and_then_measured_on_test_rows_is_not_trained_on(asked):
    from finetune_wb.evaluation.evaluate import evaluate

    run = asked({5: [("stop", {})]})
    result = evaluate(run)
    assert result.sentence and "stopped on request at step 5 of 12" in (run.folder / "report.html").read_text()
    with pytest.raises(RunError, match="measured on its test rows, which is done once"):
        train(run)
    assert evaluate(run) == result


def test_a_run_that_goes_on_after_a_stop_has_no_model_until_it_ends(asked, monkeypatch):
    from finetune_wb.training.saved import load_trained

    run = asked({5: [("stop", {})]})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 8)
        train(run)
    with pytest.raises(RunError, match="no trained model .it is killed"):
        load_trained(run)
    assert train(run).state == "finished" and load_trained(run)


def test_what_was_asked_of_a_process_that_is_gone_is_answered_and_not_done(asked, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 8)
        train(whole.recipe, ROWS, tmp_path, "one")
    run = Run(tmp_path / "one")
    (run.folder / "control" / "7-stop.json").write_text('{"request": "stop"}')
    assert same(train(run), whole) and answers(run) == [("stop", "refused")] and "is gone" in reasons(run, "stop")[0] and nothing_asked(run)


def test_stop_at_a_step_that_is_measured_anyway_measures_once(asked):
    run = asked({6: [("stop", {})]})
    assert [event["step"] for event in run.history() if "valid_loss" in event] == [0, 3, 6]
    assert run.record["result"]["fine_tune"]["steps"] == 6


def test_stop_at_the_last_step_is_the_end(asked, whole):
    run = asked({12: [("stop", {})]})
    assert run.record["result"]["fine_tune"]["ended"] == "all steps" and not run.checkpoints.exists() and weights(run) == weights(whole)


@pytest.mark.parametrize("step", [5, 6])  # in the evaluation of 6
def test_stop_now_ends_at_once_even_in_an_evaluation(asked, whole, tmp_path, step):
    with pytest.raises(RunError, match="stopped at once") as caught:
        asked({step: [("stop_now", {})]})
    run = Run(tmp_path / "one")
    assert "ftwb resume one" in str(caught.value) and run.state == "killed" and run.ended["reason"] == "stopped at once on request" and answers(run) == [("stop_now", "done")]
    assert 6 not in [event["step"] for event in run.history() if "valid_loss" in event] and checkpoints(run) == [3, 0]
    assert same(train(run), whole)


# ---- pausing


def test_a_pause_costs_no_training_time_and_changes_nothing(asked, whole, tmp_path, monkeypatch):
    go_on, seen = tmp_path / "one" / "control" / "9-resume.json", []

    def later():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and Run(tmp_path / "one").state != "paused":
            time.sleep(0.02)
        seen.append(Run(tmp_path / "one").state)
        time.sleep(1.0)
        go_on.write_text('{"request": "resume"}')

    threading.Thread(target=later, daemon=True).start()
    before = time.perf_counter()
    run = asked({4: [("pause", {}), ("learning_rate", {"value": 3e-4 * 0.9}), ("evaluate", {})], 7: [("resume", {})]}, lr_scheduler_type="constant")
    assert time.perf_counter() - before > 1.0 and seen == ["paused"]
    at = {event["step"]: event["seconds"] for event in run.history()}
    assert at[5] - at[4] < 0.9, "the second it waited is none of training"
    assert states(run)[states(run).index("paused") :][:2] == ["paused", "running"]
    assert answers(run)[:8] == [("pause", "accepted"), ("pause", "done"), ("learning_rate", "accepted"), ("learning_rate", "done"), ("evaluate", "accepted"), ("evaluate", "done"), ("resume", "accepted"), ("resume", "done")]
    assert answers(run)[8:] == [("resume", "accepted"), ("resume", "refused")] and "not paused" in reasons(run, "resume")[-1]


def test_a_paused_run_can_be_stopped(asked):
    run = asked({4: [("pause", {}), ("stop", {})]})
    assert run.state == "finished" and run.record["result"]["fine_tune"]["steps"] == 4


def test_release_needs_somebody_who_takes_it_up_again(asked, whole):
    run = asked({4: [("pause", {"release": True})]})
    assert answers(run) == [("pause", "accepted"), ("pause", "refused")] and "foreground" in reasons(run, "pause")[0] and same(run, whole)


def test_release_saves_and_ends_the_process(asked, whole, tmp_path, monkeypatch):
    monkeypatch.setenv("FTWB_SUPERVISED", "1")
    with pytest.raises(SystemExit) as caught:
        asked({4: [("pause", {"release": True})]})
    run = Run(tmp_path / "one")
    assert caught.value.code == 75 and checkpoints(run)[0] == 4 and not (run.folder / "exit.json").exists()
    assert run.state == "paused" and answers(run) == [("pause", "accepted"), ("pause", "done")]
    assert same(asked({}, run), whole)


# ---- the rate


def test_the_rate_scales_what_remains_of_the_schedule(asked, whole):
    rates = {event["step"]: event["learning_rate"] for event in whole.history() if "learning_rate" in event}
    run = asked({6: [("learning_rate", {"value": 1e-5})]})
    scaled = {event["step"]: event["learning_rate"] for event in run.history() if "learning_rate" in event}
    assert all(scaled[step] == rates[step] for step in range(1, 7)), "the events tell the rate that a step was taken with"
    assert scaled[7] == pytest.approx(1e-5) and all(scaled[step] == pytest.approx(rates[step] * 1e-5 / rates[7]) for step in range(7, 13))
    assert "1e-05 at step 6" in reasons(run, "learning_rate")[0]


def test_a_rate_that_is_set_while_it_warms_up_is_the_peak_to_come(asked):
    """Or it would go on rising past what was asked for."""
    run = asked({2: [("learning_rate", {"value": 1e-4})]}, warmup_ratio=0.5)
    rates = [event["learning_rate"] for event in run.history() if "learning_rate" in event]
    assert max(rates[2:]) == pytest.approx(1e-4) == rates[6] and rates[2] < rates[4] < rates[6] > rates[8] > rates[11]


def test_a_new_rate_outlives_a_kill(asked, tmp_path, base, monkeypatch):
    undisturbed = asked({5: [("learning_rate", {"value": 1e-3})]})
    copy = undisturbed.folder.rename(tmp_path / "first")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        asked_once = {5: [("learning_rate", {"value": 1e-3})]}
        from finetune_wb.training.trainer import BudgetTrainer

        real = BudgetTrainer._maybe_log_save_evaluate

        def killed(self, *arguments, **options):
            if self.step == 8:
                raise KeyboardInterrupt
            real(self, *arguments, **options)

        patch.setattr(BudgetTrainer, "_maybe_log_save_evaluate", killed)
        asked(asked_once)
    run = Run(tmp_path / "one")
    assert checkpoints(run)[0] == 6
    assert same(asked({}, run), Run(copy))


def test_a_rate_of_zero_can_not_be_scaled(asked, whole):
    run = asked({12: [("learning_rate", {"value": 1e-3})]})
    assert answers(run) == [("learning_rate", "accepted"), ("learning_rate", "refused")] and "above 0 is left" in reasons(run, "learning_rate")[0] and same(run, whole)


@pytest.mark.parametrize("value", [0, 1, -1e-3, "fast", None])
def test_a_rate_that_is_none_is_refused_and_training_goes_on(asked, whole, value):
    run = asked({3: [("learning_rate", {"value": value})]})
    assert [answer for _, answer in answers(run)] == ["refused"] and same(run, whole)


# ---- cloning


def test_clone_saves_now_and_hands_over(asked, monkeypatch, whole, tmp_path):
    import finetune_wb

    seen = []

    def clone(run, *overrides, run_id=None, step=None):
        seen.append((run.id, overrides, run_id, step, checkpoints(run)))
        return Run(tmp_path / "child")

    monkeypatch.setattr(finetune_wb, "clone", clone, raising=False)
    run = asked({5: [("clone", {"overrides": ["train.learning_rate=1e-5"], "run_id": "child"})]})
    assert seen == [("one", ("train.learning_rate=1e-5",), "child", 5, [5, 3])]
    assert answers(run) == [("clone", "accepted"), ("clone", "done")] and reasons(run, "clone") == ["child"] and same(run, whole)


def test_a_clone_that_can_not_be_is_refused_and_training_goes_on(asked, whole):
    run = asked({5: [("clone", {"overrides": ["train.learning_rte=1e-5"]}), ("clone", {"overrides": ["data.seed=4"]})]})
    assert answers(run) == [("clone", "accepted"), ("clone", "refused")] * 2
    assert "learning_rte" in reasons(run, "clone")[0] and same(run, whole)


def test_a_clone_starts_with_its_parents_weights_and_a_schedule_of_its_own(base, whole, tmp_path, monkeypatch):
    import shutil

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 8)
        train(recipe_for(base, METHODS["full"], **{**RECIPE, "learning_rate": 1e-2}), ROWS, tmp_path, "parent")
    parent = Run(tmp_path / "parent")
    step = checkpoints(parent)[0]
    child = create_run(recipe_for(base, METHODS["full"], **{**RECIPE, "learning_rate": 1e-3}), tmp_path, "child")
    for name in ("rows.parquet", "data.json"):
        shutil.copyfile(parent.folder / name, child.folder / name)
    copy_start(parent.checkpoints / f"step-{step:06d}", child)
    train(child)
    at = {event["step"]: event for event in parent.history() if "valid_loss" in event}
    first = child.history()[0]
    assert first["valid_loss"] == at[step]["valid_loss"] != at[0]["valid_loss"] and first["step"] == 0
    rates, alone = ({event["step"]: event["learning_rate"] for event in run.history() if "learning_rate" in event} for run in (child, whole))
    assert rates == {step: pytest.approx(rate * 1e-3 / 3e-4) for step, rate in alone.items()}
    assert child.record["start"] == {"run": "parent", "step": step} and child.state == "finished" and not (child.folder / "start").exists()
    with pytest.raises(RunError, match="can't start from the weights it was given"):
        other = create_run(child.recipe, tmp_path, "other")
        for name in ("rows.parquet", "data.json", "start.json"):
            shutil.copyfile(child.folder / name, other.folder / name)
        train(other)


def test_a_clone_that_is_interrupted_goes_on_from_its_own_checkpoint(base, tmp_path, monkeypatch):
    import shutil

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 8)
        train(recipe_for(base, METHODS["full"], **RECIPE), ROWS, tmp_path, "parent")
    children = []
    for place in ("a", "b"):
        child = create_run(recipe_for(base, METHODS["full"], **{**RECIPE, "learning_rate": 1e-3}), tmp_path / place, "child")
        for name in ("rows.parquet", "data.json"):
            shutil.copyfile(tmp_path / "parent" / name, child.folder / name)
        copy_start(tmp_path / "parent" / "checkpoints" / "step-000006", child)
        children.append(child)
    train(children[0])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 8)
        train(children[1])
    (children[1].folder / "start" / "weights.safetensors").write_bytes(b"needed no more")
    assert same(train(children[1]), children[0])


def test_a_clone_of_another_method_says_that_the_weights_do_not_fit(base, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 8)
        train(recipe_for(base, METHODS["full"], **RECIPE), ROWS, tmp_path, "parent")
    parent = Run(tmp_path / "parent")
    child = create_run(recipe_for(base, METHODS["lora"], **RECIPE), tmp_path, "child")
    (child.folder / "rows.parquet").write_bytes((parent.folder / "rows.parquet").read_bytes())
    (child.folder / "data.json").write_bytes((parent.folder / "data.json").read_bytes())
    copy_start(parent.checkpoints / "step-000006", child)
    with pytest.raises(RunError, match="don't fit this model"):
        train(child)


# ---- what is no request


def test_nonsense_in_the_folder_stops_nothing(asked, whole):
    run = asked({2: [("dance", {}), ("pause", {"release": "yes"}), ("learning_rate", {})]})
    assert sorted(answer for _, answer in answers(run)) == ["refused"] * 3 and same(run, whole)


def test_what_comes_too_late_is_answered_all_the_same(asked, monkeypatch, tmp_path):
    from finetune_wb.training import saved

    real = saved.save_trained

    def save(*arguments):
        (tmp_path / "one" / "control" / "99-evaluate.json").write_text('{"request": "evaluate"}')
        real(*arguments)

    monkeypatch.setattr(saved, "save_trained", save)
    run = asked({})
    assert answers(run) == [("evaluate", "refused")] and "has ended" in reasons(run, "evaluate")[0] and nothing_asked(run)


def test_a_run_id_is_taken_up_by_name_and_a_recipe_by_its_path(base, tmp_path):
    from finetune_wb.recipe import to_yaml

    recipe = recipe_for(base, METHODS["full"], **{**RECIPE, "max_steps": 1})
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    run = train(tmp_path / "recipe.yaml", ROWS, tmp_path, "one")
    with pytest.raises(RunError, match="has finished"):
        train("one", runs_dir=tmp_path)
    with pytest.raises(RunError, match='Did you mean "one"'):
        train("onne", runs_dir=tmp_path)
    with pytest.raises(RecipeError, match="no such file"):
        train("missing.yaml", runs_dir=tmp_path)
    assert run.state == "finished"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_clone_of_a_finished_run_starts_with_its_best_weights(base, tmp_path, monkeypatch, method):
    from finetune_wb.training import launch

    parent = train(recipe_for(base, METHODS[method], **RECIPE), ROWS, tmp_path, "one")
    monkeypatch.setattr(launch, "_start", lambda run, queue: None)  # trained here instead
    child = launch.clone(parent, "train.learning_rate=1e-4", run_id="two")
    assert train(child).state == "finished"
    best, start = (run.record["result"]["fine_tune"] for run in (parent, child))
    assert start["start"] == best["best"], "the first look at valid is the parent's best"
    assert child.record["start"] == {"run": "one", "step": best["best_step"]}


def test_a_stopped_run_that_was_measured_is_not_trained_on_by_any_door(asked):
    from finetune_wb.run import write_json
    from finetune_wb.training.launch import resume

    run = asked({3: [("stop", {})]})
    run.evaluation.mkdir()
    write_json(run.evaluation / "verdict.json", {})
    for door in (train, resume):
        with pytest.raises(RunError, match="measured on its test rows"):
            door(run)
    assert run.state == "finished" and not (run.folder / "supervisor.json").exists()
