"""Runs in processes of their own: what they survive, what they answer, who gets to have them, and what is left when they end."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune_wb.control import request, wait_for_answer
from finetune_wb.errors import DataError, RecipeError, RunError
from finetune_wb.process import is_alive, process_now
from finetune_wb.recipe import Recipe, load_recipe
from finetune_wb.run import Run, _mapping, create_run, hold, open_run, read_json, runs, write_json
from finetune_wb.training.launch import attach, clone, launch, resume
from finetune_wb.training.supervise import Supervisor, is_blocked

WORDS = "array frame model layer tensor value figure axis library index computes returns sorted".split()
KEYS = {"animal": ["cat", "dog", "bird"], "colour": ["red", "green", "blue"], "number": ["one", "two", "three"]}


def planted(rows: int = 120) -> list[dict]:
    draw = random.Random(0)
    labels = [list(KEYS)[i % 3] for i in range(rows)]
    return [{"text": f"{i} {' '.join(draw.choices(WORDS, k=5))} {draw.choice(KEYS[label])}", "label": label} for i, label in enumerate(labels)]


ROWS = planted()


def endless(model, **train) -> Recipe:
    """A recipe that trains until somebody ends it, and saves every few steps."""
    settings = {"bf16": False, "threads": 1, "tokens_per_batch": 128, "learning_rate": 1e-3, "num_train_epochs": 100_000, "early_stopping_patience": None, "lr_scheduler_type": "constant", "evals_per_epoch": 1, "logging_steps": 5, "save_steps": 25, **train}
    return load_recipe({"model": {"id": str(model)}, "method": {"name": "full", "probe_first": False}, "train": settings})


def until(condition, what: str = "", seconds: float = 180):
    """Waits for a condition and returns its value; the deadline is for a test that hangs, not a measure."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain {what}"
        time.sleep(0.05)
    return value


def step(run: Run) -> int:
    return max((event["step"] for event in run.events("metric")), default=0)


def trains(run: Run, steps: int = 10) -> int:
    """Waits until the run has gone on by some steps."""
    before = step(run)
    return until(lambda: (now := step(run)) >= before + steps and now, f"for steps of {run.id}: {run.state} {run.ended} {log_of(run)}")


def log_of(run: Run) -> str:
    return (run.folder / "log.txt").read_text()[-3000:] if (run.folder / "log.txt").exists() else ""


def saved(run: Run) -> list[str]:
    return sorted(path.name for path in run.checkpoints.glob("step-*") if (path / "manifest.json").exists())


def ask(run: Run, name: str, **fields) -> dict:
    """The answer that ends a request."""
    id = request(run, name, **fields)
    return until(lambda: (answer := wait_for_answer(run, id, timeout=0)) and answer["answer"] != "accepted" and answer, f"for the answer to {name}: {run.state} {log_of(run)}")


def ftwb(run: Run, *arguments: str) -> str:
    """What the command prints."""
    done = subprocess.run([sys.executable, "-c", "from finetune_wb.cli import main; main()", *arguments], capture_output=True, text=True, timeout=180, env={**os.environ, "FTWB_RUNS": str(run.folder.parent)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def process(run: Run, name: str = "process") -> dict:
    return _mapping(run.folder / f"{name}.json")


def delete(folder: Path) -> None:
    """Removes a folder that somebody may still be writing into."""
    until(lambda: shutil.rmtree(folder, ignore_errors=True) or not folder.exists(), f"to delete {folder}")


def gone(*processes: dict) -> bool:
    return not any(is_alive(found) for found in processes if found.get("pid") != os.getpid())


@pytest.fixture
def runs_dir(tmp_path):
    """A runs folder; whatever still trains in it when the test ends is ended."""
    yield tmp_path / "runs"
    left = [process(run, name) for run in runs(tmp_path / "runs") for name in ("supervisor", "process")]
    delete(tmp_path / "runs")  # takes their run away: they go by themselves
    until(lambda: gone(*left), "for the processes of a deleted folder to end")


KERNEL = """
import sys; sys.path.insert(0, sys.argv[1])
from test_launch import ROWS, endless, launch
run = launch(endless(sys.argv[2]), ROWS, sys.argv[3], "one")
print(run.state, run.holder, "torch" in sys.modules, flush=True)
input()
"""


def test_a_run_outlives_whoever_launched_it_and_answers_others(tiny_model, runs_dir):
    """The process that launched it is killed with its whole group; another one attaches, asks, and stops it."""
    launcher = subprocess.Popen([sys.executable, "-c", KERNEL, os.path.dirname(__file__), tiny_model("bert"), runs_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    state, holder, torch_loaded = launcher.stdout.readline().split()
    run = attach(runs_dir=runs_dir)
    assert (state, torch_loaded) == ("queued", "False") and run.id == "one" and int(holder) == process(run, "supervisor")["pid"]
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()
    launcher.stdin.close()
    launcher.stdout.close()
    trains(run)
    assert run.state == "running" and os.getsid(run.holder) not in (os.getsid(0), launcher.pid)
    with pytest.raises(RunError, match=f"pid {run.holder}"):
        resume(run)
    with pytest.raises(RunError, match="another process has this run"), hold(run):
        pytest.fail("held twice")

    # every request is answered, in the log, by the living run
    assert ask(run, "evaluate")["answer"] == "done"
    assert ask(run, "sample")["answer"] == "done" and run.events("sample")[-1]["rows"]
    assert ask(run, "learning_rate", value=3e-4)["answer"] == "done"
    trains(run)
    assert [m["learning_rate"] for m in run.history() if "learning_rate" in m][-1] == pytest.approx(3e-4)
    (run.control / "5-nonsense.json").write_text('{"request": "fly"}')
    until(lambda: any(event.get("id") == "5-nonsense" for event in run.events("state")))

    # a pause waits in place, memory kept
    worker = process(run)
    assert "pause: done" in ftwb(run, "pause", "one") and run.state == "paused"
    stands = step(run)
    assert ask(run, "evaluate")["answer"] == "done" and is_alive(worker), "a paused run still listens"
    resume(run)
    trains(run)
    assert run.state == "running" and process(run) == worker and step(run) > stands

    # a pause that releases: no process, no memory, and still somebody to ask
    assert "pause: done" in ftwb(run, "pause", "one", "--release")
    until(lambda: gone(worker), "for the released process to end")
    assert run.state == "paused" and run.holder == process(run, "supervisor")["pid"]
    assert ask(run, "evaluate") == {**run.events("state")[-1], "answer": "refused"} and "resume it first" in run.events("state")[-1]["reason"]
    with pytest.raises(RunError, match="another process has this run"), hold(run):
        pytest.fail("held while paused")
    stands = step(run)
    assert "resume: done" in ftwb(run, "resume", "one")
    trains(run)
    assert run.state == "running" and process(run)["pid"] != worker["pid"] and len({m["step"] for m in run.history() if "train_loss" in m}) == len([m for m in run.history() if "train_loss" in m])
    assert max(event.get("resumed_from", 0) for event in run.events("state")) >= stands

    # stop: saved, measured, the best kept, and nobody left
    processes = process(run), process(run, "supervisor")
    id = request(run, "stop")
    until(lambda: run.state == "finished", f"for the end: {log_of(run)}")
    until(lambda: gone(*processes) and not list(run.control.iterdir()))
    assert "request" in run.ended["reason"] and wait_for_answer(run, id, timeout=0)["answer"] == "done"
    assert (run.model_folder / "config.json").exists() and run.record["result"]
    with pytest.raises(RunError, match="finished"):
        request(run, "pause")

    # who stopped it may change their mind
    stands = step(run)
    resume(run)
    until(lambda: run.state == "running" and step(run) > stands, f"for it to go on: {log_of(run)}")
    assert not run.ended

    # a process that does not listen is ended all the same
    os.kill(process(run)["pid"], signal.SIGSTOP)
    assert "stop_now: done" in ftwb(run, "stop", "one", "--now") and run.ended["reason"] == "stopped at once on request"
    until(lambda: gone(process(run), process(run, "supervisor")))


def test_queue_clone_and_ends_from_outside(tiny_model, runs_dir):
    first = launch(endless(tiny_model("bert")), ROWS, runs_dir, "first")
    second = launch(endless(tiny_model("bert"), seed=1), ROWS, runs_dir, "second", queue=True)
    third = launch(endless(tiny_model("bert"), seed=2), ROWS, runs_dir, "third", queue=True)
    until(lambda: saved(first), f"for a checkpoint {log_of(first)}")
    assert [run.state for run in (first, second, third)] == ["running", "queued", "queued"] and not process(second)

    # who waits can be asked, too
    assert ask(second, "evaluate")["answer"] == "refused"
    assert ask(third, "stop")["answer"] == "done" and third.state == "killed" and "request" in third.ended["reason"]

    # a clone of a living run starts at this step, under its changed recipe, when its turn comes
    answer = ask(first, "clone", overrides=["train.learning_rate=0.0005"], run_id="child")
    assert answer["answer"] == "done", answer
    child = open_run("child", runs_dir)
    origin = read_json(child.folder / "start.json")
    assert origin["run"] == "first" and origin["step"] > 0 and child.recipe.train.learning_rate == 5e-4 and child.state == "queued"
    assert ask(first, "clone", overrides=["data.seed=5"])["answer"] == "refused"

    # at once: the process is gone, the last whole checkpoint stays, the reason says who wanted it
    worker, before = process(first), saved(first)
    assert ask(first, "stop_now")["answer"] == "done"
    assert first.state == "killed" and "stopped at once on request" in first.ended["reason"] and gone(worker)
    assert saved(first)[-1] >= before[-1] and not first.model_folder.exists()  # it may have saved once more before it heard

    # first in, first out: the second begins, the child still waits
    trains(second)
    assert child.state == "queued" and not process(child)
    worker = process(second)

    # killed from outside: the supervisor says by what, and how to go on
    os.kill(worker["pid"], signal.SIGKILL)
    until(lambda: second.state == "killed")
    told = until(lambda: "exit.json" in os.listdir(second.folder) and second.ended)
    assert "signal 9 (SIGKILL)" in told["reason"] and told["changes"] and told["resume"].startswith("ftwb resume second")
    trains(child)
    assert child.state == "running" and child.record["data"]["split_fingerprint"] == second.record["data"]["split_fingerprint"]

    # and the command does what it says
    stands = step(second)
    ftwb(second, *told["resume"].split()[1:], "--detach")
    trains(second)
    took_up = [event["resumed_from"] for event in second.events("state") if "resumed_from" in event]
    assert took_up and 0 < took_up[-1] <= stands and not second.ended

    # a supervisor that is killed takes nothing along; the worker then answers for itself
    os.kill(process(second, "supervisor")["pid"], signal.SIGKILL)
    until(lambda: gone(process(second, "supervisor")))
    trains(second)
    assert second.state == "running" and second.holder == process(second)["pid"]
    assert ask(second, "stop_now")["answer"] == "done"
    until(lambda: second.state == "killed" and gone(process(second)))

    # a run folder that is deleted while it trains: the processes go, quickly and without a word
    processes = process(child), process(child, "supervisor")
    assert all(map(is_alive, processes))
    delete(child.folder)
    until(lambda: gone(*processes), "for the processes of a deleted run")
    delete(child.folder)


RACE = """
import sys, pathlib
from finetune_wb.errors import RunError
from finetune_wb.recipe import Recipe
from finetune_wb.run import Run
from finetune_wb.training.launch import launch, resume
folder = pathlib.Path(sys.argv[2])
print("ready", flush=True); input()
try:
    run = launch(Recipe(), runs_dir=folder.parent, run_id=folder.name, queue=True) if sys.argv[1] == "launch" else resume(Run(folder), queue=True)
    print("won", run.holder, flush=True)
except RunError as error: print("lost", str(error).replace("\\n", " "), flush=True)
input()
"""


@pytest.mark.parametrize("how", ["launch", "resume"])
def test_of_many_at_once_exactly_one_gets_the_run(runs_dir, how):
    """Four processes stand ready and go at the same moment; who wins waits its turn, so that nobody can come after its end."""
    write_json(create_run(Recipe(), runs_dir, "blocker").folder / "process.json", process_now())
    run = create_run(Recipe(), runs_dir, "one") if how == "resume" else Run(runs_dir / "one")
    racers = [subprocess.Popen([sys.executable, "-c", RACE, how, run.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.stdout.readline().strip() for racer in racers]
    assert [line for line in said if line.startswith("won")] == [f"won {run.holder}"], said
    for line in said:
        assert line.startswith("won") or "exists already" in line or "another process has this run" in line, said
    for racer in racers:
        racer.communicate("\n")
    with pytest.raises(RunError, match=f"another process has this run .pid {run.holder}"):
        resume(run)
    assert run.state == "queued" and len(run.events("state")) == 1, "one supervisor"
    assert ask(run, "stop")["answer"] == "done"
    until(lambda: run.state == "killed" and run.holder is None)


# ---- what can be said before anything is started


def test_rows_in_memory_are_checked_at_once_and_nothing_is_left(tiny_model, runs_dir):
    with pytest.raises(DataError, match="not a mapping"):
        launch(endless(tiny_model("bert")), [3], runs_dir, "one")
    assert not runs_dir.exists()


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "CON", ""])
def test_a_name_that_is_no_name_starts_nothing(runs_dir, name):
    for start in (lambda: launch(Recipe(), runs_dir=runs_dir, run_id=name), lambda: clone(create_run(Recipe(), runs_dir, "parent"), run_id=name)):
        with pytest.raises(RunError, match="can't name a run"):
            start()
        assert not [path for path in runs_dir.parent.rglob("supervisor.json")]


def test_a_place_that_cant_be_written_starts_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't make a run folder"):
        launch(Recipe(), runs_dir=tmp_path / "file", run_id="one")


def test_a_folder_that_became_read_only_starts_nothing(runs_dir, monkeypatch):
    """Also for root, whom a mode does not stop: the first write is refused by the system."""
    run = create_run(Recipe(), runs_dir, "one")
    (run.folder / "log.txt").mkdir()
    with pytest.raises(RunError, match="can't be started"):
        resume(run)
    assert run.state == "queued" and not process(run, "supervisor")
    shutil.rmtree(run.folder / "log.txt")
    (run.folder / "lock").unlink()
    (run.folder / "lock").mkdir()
    with pytest.raises(RunError, match="can't be written"):
        resume(run)
    assert run.state == "queued"


def test_a_launch_that_fails_leaves_no_folder(runs_dir, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("finetune_wb.training.launch.write_json", full)
    with pytest.raises(RunError, match="No space left"):
        launch(Recipe(), runs_dir=runs_dir, run_id="one")
    assert list(runs_dir.iterdir()) == []


def test_a_clone_keeps_what_made_its_parent(runs_dir):
    parent = create_run(Recipe(), runs_dir, "parent")
    for change, says in [("data.seed=1", '"data"'), ("model.id=x", '"model"'), ("method.name=lora", '"method"'), ("task=classification", '"task"'), ("train.sead=1", "train.sead")]:
        with pytest.raises(RecipeError, match=says):
            clone(parent, change)
    with pytest.raises(RunError, match="no checkpoint of that step, only of none"):
        clone(parent, step=3)
    with pytest.raises(RunError, match="no such run"):
        clone("nobody", runs_dir=runs_dir)
    assert [run.id for run in runs(runs_dir)] == ["parent"]


def test_attach_gives_back_the_newest_that_goes_on(runs_dir):
    with pytest.raises(RunError, match="no run is going on"):
        attach(runs_dir=runs_dir)
    for i, name in enumerate(["old", "new", "ended"]):
        os.utime(create_run(Recipe(), runs_dir, name).folder / "recipe.yaml", (0, 100 + i))
    write_json(runs_dir / "ended" / "exit.json", {"state": "finished"})
    assert attach(runs_dir=runs_dir).id == "new" and attach("ended", runs_dir).id == "ended"
    with pytest.raises(RunError, match="no such run"):
        attach("../new", runs_dir)


# ---- whose turn it is


def waiting(runs_dir: Path, name: str, **changes) -> Run:
    run = create_run(Recipe(), runs_dir, name)
    write_json(run.folder / "supervisor.json", {**process_now(), "phase": "waiting", **changes})
    return run


def test_the_queue_is_first_in_first_out_whatever_the_clock_says(runs_dir):
    ticks = process_now().get("ticks", 0)
    mine = waiting(runs_dir, "mine")
    assert not is_blocked(mine)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    other = waiting(runs_dir, "other", **process_now(child.pid))
    assert process(other, "supervisor")["ticks"] >= ticks and is_blocked(other) and not is_blocked(mine), "the other process began later"
    write_json(other.folder / "supervisor.json", {**process(other, "supervisor"), "started": 1.0})
    assert is_blocked(other) and not is_blocked(mine), "its clock was set back since"
    for phase, blocks in [("working", True), ("released", False), ("waiting", False)]:
        write_json(other.folder / "supervisor.json", {**process(other, "supervisor"), "phase": phase})
        assert is_blocked(mine) == blocks
    child.communicate()
    write_json(other.folder / "supervisor.json", {**process(other, "supervisor"), "phase": "working"})
    assert not is_blocked(mine), "nobody waits for the dead"


def test_a_run_in_a_notebooks_own_process_has_its_turn_too(runs_dir):
    mine, other = waiting(runs_dir, "mine"), create_run(Recipe(), runs_dir, "other")
    write_json(other.folder / "process.json", process_now())
    assert is_blocked(mine)
    write_json(other.folder / "exit.json", {"state": "finished"})
    assert not is_blocked(mine)


@pytest.mark.parametrize("content", ["{", "[]", '{"phase": "working"}', '{"phase": "working", "pid": "x"}', '{"phase": ["waiting"], "pid": 1}'])
def test_a_damaged_neighbour_does_not_hold_up_the_queue(runs_dir, content):
    mine = waiting(runs_dir, "mine")
    (create_run(Recipe(), runs_dir, "other").folder / "supervisor.json").write_text(content)
    assert not is_blocked(mine)


# ---- a supervisor's seat


def test_a_supervisor_whose_run_was_taken_or_deleted_goes_home(runs_dir):
    run = waiting(runs_dir, "one")
    supervisor = Supervisor(run)
    assert supervisor.is_ours()
    for torn in ("{", "[]", ""):
        (run.folder / "supervisor.json").write_text(torn)
        assert supervisor.is_ours(), "a disk that does not answer is no reason to give up"
    write_json(run.folder / "supervisor.json", {**process_now(), "pid": 1, "phase": "waiting"})
    supervisor.run_to_end()
    assert not (run.folder / "exit.json").exists() and not run.events("state")
    shutil.rmtree(run.folder)
    assert not supervisor.is_ours()
    supervisor.run_to_end()
    assert not run.folder.exists()


def test_a_launcher_that_dies_half_way_leaves_no_supervisor(runs_dir):
    """The gate: its standard input closes before supervisor.json names it."""
    run = create_run(Recipe(data={"source": "none.csv"}), runs_dir, "one")
    done = subprocess.run([sys.executable, "-m", "finetune_wb.training.supervise", run.folder], input="", text=True, capture_output=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "" and run.state == "queued" and not run.events("state")


def test_a_supervisor_that_is_asked_to_end_says_so(runs_dir):
    """SIGTERM, as when the machine goes down, while it waits behind a run that works."""
    blocker = create_run(Recipe(), runs_dir, "blocker")
    write_json(blocker.folder / "process.json", process_now())
    run = launch(Recipe(), runs_dir=runs_dir, run_id="one", queue=True)
    until(lambda: process(run, "supervisor").get("phase") == "waiting" and "asked_to_end" not in run.ended and _handles_sigterm(run.holder))
    os.kill(run.holder, signal.SIGTERM)
    until(lambda: run.state == "killed" and run.ended.get("reason") and run.holder is None)
    assert "SIGTERM" in run.ended["reason"] and run.events("state")[-1]["state"] == "killed"


def _handles_sigterm(pid: int | None) -> bool:
    """Whether a process has installed its handler (Linux shows the mask of those that are caught)."""
    try:
        mask = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    except OSError:
        return False
    return bool(int(mask.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_data_that_is_not_there_ends_a_launched_run_with_its_reason(runs_dir):
    run = launch(Recipe(data={"source": "none.csv"}), runs_dir=runs_dir, run_id="one")
    until(lambda: run.state == "failed" and run.holder is None)
    assert "none.csv" in run.ended["reason"] and run.ended["resume"] and json.loads((run.folder / "exit.json").read_text())["state"] == "failed"
    assert "none.csv" in log_of(run)


@pytest.fixture
def small_disk(tmp_path):
    """A runs folder on a disk of 40 MB; skipped where none can be mounted."""
    place = tmp_path / "runs"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40M", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted here: {done.stderr.strip()}")
    yield place
    delete(place / "one")
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_takes_nothing_starts_nothing(small_disk):
    """Read-only for root, too."""
    run = create_run(Recipe(), small_disk, "one")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        for start, says in [(lambda: launch(Recipe(), runs_dir=small_disk, run_id="two"), "can't make a run folder"), (lambda: resume(run), "can't be written"), (lambda: clone(run), "can't make a run folder")]:
            with pytest.raises(RunError, match=f"{says}.*Read-only"):
                start()
        assert run.state == "queued" and run.holder is None and [found.id for found in runs(small_disk)] == ["one"]
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


def test_a_disk_without_a_byte_left_still_takes_the_last_word(tiny_model, small_disk):
    run = launch(endless(tiny_model("bert")), ROWS, small_disk, "one")
    until(lambda: len(saved(run)) > 1, f"for a checkpoint beside that of step 0 {log_of(run)}")
    supervisor = process(run, "supervisor")
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536) or file.write(b"x")
    until(lambda: gone(supervisor, process(run)), "for the end")
    assert run.state == "failed" and "disk is full" in run.ended["reason"] and "Make room" in run.ended["cure"], run.ended
    filler.unlink()
    resume(run)
    until(lambda: any(event.get("resumed_from", 0) > 0 for event in run.events("state")), f"to be taken up: {run.ended} {log_of(run)}")
    assert ask(run, "stop_now")["answer"] == "done"
    until(lambda: gone(process(run), process(run, "supervisor")))


def small_group() -> Path | None:
    """A new memory cgroup that may have 200 MB, `None` where none can be made."""
    for root, limit in [(Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max")]:
        group = root / f"ftwb-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(200 * 2**20))
            return group
        except OSError:
            if group.is_dir():
                group.rmdir()
    return None


@pytest.fixture
def little_memory():
    """The file that takes a process into a group with little memory."""
    group = small_group()
    if group is None:
        pytest.skip("no memory cgroup can be made here")
    yield group / "cgroup.procs"
    until(lambda: not (group / "cgroup.procs").read_text(), "for the group to be empty")
    group.rmdir()


def test_a_worker_that_the_kernel_kills_for_want_of_memory_is_known_as_such(runs_dir, little_memory):
    """A real out-of-memory kill: torch alone needs more than the group may have, the supervisor less."""
    code = "import os, sys; open(sys.argv[2], 'w').write(str(os.getpid())); from finetune_wb import Recipe, launch; launch(Recipe(), runs_dir=sys.argv[1], run_id='one')"
    subprocess.run([sys.executable, "-c", code, runs_dir, little_memory], check=True, timeout=120)
    run = attach("one", runs_dir)
    until(lambda: run.holder is None)
    assert run.state == "killed" and "out-of-memory killer" in run.ended["reason"] and "train.tokens_per_batch=512" in run.ended["cure"], (run.ended, log_of(run))
