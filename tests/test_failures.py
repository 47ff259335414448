"""Why a run ended, from real errors and real deaths of real processes, and whether the cure can be pasted."""

import os
import signal
import subprocess
import sys

import pytest

from finetune_wb.errors import DataError, Problem, TrainingError
from finetune_wb.failures import _counted, explain, oom_kills
from finetune_wb.recipe import load_recipe, override

RECIPE = load_recipe({"train": {"tokens_per_batch": 1024, "learning_rate": 1e-3, "gradient_accumulation_steps": 2}})
FULL_DISK = OSError(28, "No space left on device", "checkpoints/step-000010.part/weights.safetensors")


def raised(action) -> BaseException:
    """What `action` raises, with its traceback."""
    try:
        action()
    except BaseException as error:
        return error
    pytest.fail("nothing was raised")


def too_much_torch():
    import torch

    torch.empty(10**15)


def too_much_numpy():
    import numpy as np

    np.zeros(10**15)


def gpu_is_full():
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB\nof which 12 MiB is free.")


def wrapped():
    try:
        raise FULL_DISK
    except OSError as error:
        raise TrainingError(Problem("training could not write a file", "Make room.")) from error


def torn_archive():
    raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0: PytorchStreamWriter failed writing file data/0: file write failed")


def safetensors_on_a_full_disk():
    raise Exception("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("action", [lambda: [0] * 10**16, too_much_torch, too_much_numpy, gpu_is_full], ids=["python", "torch", "numpy", "gpu"])
def test_too_little_memory_is_named_and_half_of_it_can_be_pasted(action):
    told = explain(raised(action), RECIPE)
    assert told["state"] == "failed" and told["reason"].startswith("out of memory") and "\n" not in told["reason"]
    assert told["changes"] == ["train.tokens_per_batch=512", "train.gradient_accumulation_steps=4"] and told["cure"].endswith(" ".join(told["changes"]))
    after = override(RECIPE, *told["changes"]).train
    assert after.tokens_per_batch * after.gradient_accumulation_steps == 1024 * 2, "the optimizer sees as much as before"


@pytest.mark.parametrize("train, settings, change", [({"tokens_per_batch": 300}, {}, "train.max_length=128"), ({"tokens_per_batch": 300, "max_length": 64}, {}, "train.tokens_per_batch=150"),
                                                     ({"tokens_per_batch": 300}, {"max_length": 100}, "train.tokens_per_batch=150"), ({"tokens_per_batch": 8, "max_length": 4}, {}, None),
                                                     ({"tokens_per_batch": 8, "max_length": 8}, {}, "train.max_length=4")])  # fmt: skip
def test_a_batch_that_holds_one_row_needs_shorter_rows(train, settings, change):
    recipe = load_recipe({"train": train})
    changes = explain(MemoryError(), recipe, settings=settings)["changes"]
    assert changes[:1] == ([change] if change else [])
    override(recipe, *changes)


@pytest.mark.parametrize("action", [lambda: (_ for _ in ()).throw(FULL_DISK), wrapped, torn_archive, safetensors_on_a_full_disk], ids=["os", "ours around it", "torch", "safetensors"])
def test_a_full_disk_is_named_whoever_reports_it(action):
    told = explain(raised(action), RECIPE)
    assert told["state"] == "failed" and told["reason"].startswith("the disk is full") and "Make room" in told["cure"] and not told["changes"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_is_really_full():
    def write():
        with open("/dev/full", "w") as file:
            file.write("x")

    assert explain(raised(write))["reason"].startswith("the disk is full")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ["train_loss", "grad_norm", "valid_loss"])
def test_a_loss_that_is_no_number_asks_for_smaller_steps(name, value):
    told = explain(TrainingError(Problem(f"{name} is {value} at step 12: training stopped", "Nothing was saved over.")), RECIPE)
    assert told["state"] == "failed" and f"{name} is {value} at step 12" in told["reason"]
    assert told["changes"] == ["train.learning_rate=0.0001"] and "Nothing was saved over." in told["cure"]
    by_method = explain(TrainingError(Problem(f"{name} is {value} at step 12")), load_recipe({}), settings={"learning_rate": 1e-4})
    assert by_method["changes"] == ["train.learning_rate=1e-05"], "the recipe leaves it to the method, the record says what that was"
    override(RECIPE, *by_method["changes"])


def test_our_own_errors_say_themselves_what_to_do():
    told = explain(DataError(Problem("there is no such file", "Did you mean rows.csv?", file="row.csv"), Problem("x"), more=3), RECIPE)
    assert told == {"state": "failed", "reason": "row.csv: there is no such file. (and 4 more)", "cure": "Did you mean rows.csv?", "changes": []}


def test_any_other_error_names_its_place_without_folders():
    told = explain(raised(lambda: {}["weights"]))
    assert told["state"] == "failed" and told["reason"].startswith("KeyError: 'weights' (test_failures.py, line ") and "log.txt" in told["cure"]
    assert explain(KeyboardInterrupt())["state"] == "killed" and "keyboard" in explain(KeyboardInterrupt())["reason"]
    assert len(explain(ValueError("x" * 10_000))["reason"]) < 400


def test_errors_that_refer_to_each_other_end():
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert explain(first)["reason"] == "ValueError: first"


# ---- exit codes of real processes


def exit_code(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("name, says", [("SIGKILL", "from outside"), ("SIGSEGV", "native library"), ("SIGTERM", "asked it to end"), ("SIGABRT", "native library"), ("SIGBUS", "mapped file"), ("SIGUSR1", "killed by")])
def test_a_signal_has_its_number_its_name_and_what_it_means(name, says):
    number = int(getattr(signal, name))
    code = exit_code(f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {number})")
    told = explain(code, RECIPE)
    assert code == -number and told["state"] == "killed" and f"killed by signal {number} ({name})" in told["reason"] and says in told["reason"]
    assert "esume" in told["cure"]


def test_a_signal_without_a_name_still_has_a_number():
    assert "signal 63" in explain(-63)["reason"] and "signal 200" in explain(-200)["reason"]


def test_the_out_of_memory_killer_is_named_when_it_was_seen_and_suspected_when_not():
    seen, not_seen = explain(-9, RECIPE, oom=True), explain(-9, RECIPE)
    assert "out-of-memory killer" in seen["reason"] and "out-of-memory killer" not in not_seen["reason"]
    assert seen["changes"] == not_seen["changes"] == ["train.tokens_per_batch=512", "train.gradient_accumulation_steps=4"]
    assert "out of memory" not in explain(-15, RECIPE, oom=True)["reason"], "it sends SIGKILL and nothing else"


@pytest.mark.parametrize("code, tail, says", [
    (1, "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'torch'\n", "exit code 1: ModuleNotFoundError: No module named 'torch'"),
    (1, "Traceback\nMemoryError\n", "out of memory"), (1, "terminate called after throwing an instance of 'std::bad_alloc'\n", "out of memory"),
    (1, "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes", "out of memory"), (1, "OSError: [Errno 28] No space left on device", "the disk is full"),
    (3, "a\nb\nc\nd\n", "exit code 3: b / c / d"), (1, "", "without a word"), (0, "", "exit code 0"), (1, "\x00\ufffd" * 5000, "exit code 1"),
])  # fmt: skip
def test_an_exit_code_is_explained_by_the_last_lines(code, tail, says):
    told = explain(code, RECIPE, tail)
    assert told["state"] == "failed" and says in told["reason"] and len(told["reason"]) < 400


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's counts are Linux's")
def test_the_kernels_count_is_read_where_it_stands(tmp_path):
    assert isinstance(oom_kills(), int)
    for text, count in [("low 0\noom 3\noom_kill 2\noom_group_kill 9\n", 2), ("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7), ("", 0), ("oom_kill\n", 0), ("oom_kill x\n", 0)]:
        (tmp_path / "memory.events").write_text(text)
        assert _counted(tmp_path / "memory.events") == count
    assert _counted(tmp_path / "none") == 0
