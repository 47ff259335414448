"""The run folder: what may be its name, what happens where it can't be written, and how it reads after an accident."""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetune_wb.errors import RunError
from finetune_wb.events import KINDS, EventLog, read_events
from finetune_wb.process import is_alive, process_now
from finetune_wb.recipe import Recipe, load_recipe
from finetune_wb.run import Run, check_name, create_run, hold, open_run, read_json, runs, write_json


@pytest.fixture
def run(tmp_path) -> Run:
    return create_run(Recipe(), tmp_path / "runs", "one")


# ---- the folder


def test_a_run_that_exists_is_left_alone(run):
    (run.folder / "record.json").write_text("mine")
    with pytest.raises(RunError, match="exists already") as caught:
        create_run(Recipe(), run.folder.parent, "one")
    assert "run_id" in str(caught.value) and str(run.folder) in str(caught.value)
    assert sorted(p.name for p in run.folder.iterdir()) == ["control", "recipe.yaml", "record.json"]
    assert (run.folder / "record.json").read_text() == "mine"


def test_a_file_in_place_of_the_run_is_left_alone(tmp_path):
    (tmp_path / "one").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        create_run(Recipe(), tmp_path, "one")
    assert (tmp_path / "one").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", ".hidden", "-rf", "a/b", "a\\b", "/abs", "", " ", "a b", "CON", "con", "nul.txt", "LPT1", "x" * 65, "naïve", "run\n", "a\0b", "a:b", "run.", "\u202eexe", "~", "$HOME", "a*"],
)
def test_a_hostile_name_makes_no_folder(tmp_path, name):
    with pytest.raises(RunError, match="can't name a run") as caught:
        create_run(Recipe(), tmp_path / "runs", name)
    assert "run_id" in str(caught.value) and "letters" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "_x", "2026-01-01", "x" * 64, "a.b-c_d", "0", "console", "com10"])
def test_ordinary_names_pass(name):
    check_name(name)


@pytest.mark.parametrize("model", ["org/Model-7B", "./my model/", "../../etc", "/", "naïve/модель", "x" * 300, "C:\\models\\bert"])
def test_the_name_that_is_made_is_always_a_good_one(tmp_path, model):
    made = create_run(load_recipe({"model": {"id": model}}), tmp_path)
    check_name(made.id)
    assert made.folder.parent == tmp_path and made.recipe.model.id == model


def test_two_runs_in_one_second_get_two_folders(tmp_path):
    made = [create_run(Recipe(), tmp_path) for _ in range(5)]
    assert len({run.id for run in made}) == 5 and len(runs(tmp_path)) == 5


def test_of_two_at_once_with_one_name_exactly_one_wins(tmp_path):
    outcomes, start = [], threading.Barrier(8)

    def attempt():
        start.wait()
        try:
            outcomes.append(create_run(Recipe(), tmp_path / "runs", "same"))
        except RunError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Run) for outcome in outcomes) == 1
    assert all("exists already" in outcome for outcome in outcomes if isinstance(outcome, str))


def test_a_place_that_cant_be_written_says_so(tmp_path):
    """A file stands where the runs folder should be: refused to root as well, which a read-only mode is not."""
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="can't make a run folder") as caught:
        create_run(Recipe(), tmp_path / "runs", "one")
    assert str(tmp_path / "runs" / "one") in str(caught.value) and "runs_dir" in str(caught.value)
    assert (tmp_path / "runs").read_text() == "a file"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that takes no folders")
def test_a_file_system_that_takes_no_folders_says_so():
    with pytest.raises(RunError, match="can't make a run folder"):
        create_run(Recipe(), "/proc/self/runs", "one")


def test_a_full_disk_leaves_no_half_made_run(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError, match="No space left"):
        create_run(Recipe(), tmp_path, "one")
    assert not (tmp_path / "one").exists()


# ---- finding runs


def test_runs_are_listed_newest_first_and_other_folders_are_not_runs(tmp_path):
    for i, name in enumerate(["old", "new", "middle"]):
        made = create_run(Recipe(), tmp_path, name)
        os.utime(made.folder / "recipe.yaml", (0, [100, 300, 200][i]))
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("")
    assert [run.id for run in runs(tmp_path)] == ["new", "middle", "old"]
    assert open_run("last", tmp_path).id == "new" and open_run(tmp_path / "old").id == "old"


def test_an_unknown_run_names_the_nearest(run):
    with pytest.raises(RunError, match='Did you mean "one"') as caught:
        open_run("onne", run.folder.parent)
    assert "there is no such run" in str(caught.value)


@pytest.mark.parametrize("name", ["", "last", "../one", "\0", "x" * 5000])
def test_names_that_are_no_run_are_refused(tmp_path, name):
    with pytest.raises(RunError, match="no such run"):
        open_run(name, tmp_path)


# ---- state


NOBODY = {"pid": 2**30, "started": 0.0}


def as_worker(run: Run, **changes) -> Run:
    """The run with this very process as its worker, but for `changes`."""
    write_json(run.folder / "process.json", {**process_now(), **changes})
    return run


def test_the_state_is_read_off_the_folder(run):
    assert run.state == "queued" and run.holder is None and run.ended == {}
    as_worker(run)
    assert run.state == "running" and run.holder == os.getpid()
    write_json(run.folder / "process.json", NOBODY)
    assert run.state == "killed" and run.holder is None
    for state in ("failed", "killed", "finished"):
        write_json(run.folder / "exit.json", {"state": state, "reason": "so"})
        assert run.state == state and run.ended["reason"] == "so"


@pytest.mark.parametrize("said", ["queued", "running", "paused", "stopping"])
def test_what_a_living_process_said_last_holds_and_a_dead_one_is_killed(run, said):
    as_worker(run)
    run.log.write("state", state=said)
    run.log.write("state", request="stop", id="1-stop", answer="accepted")  # an answer is no state
    assert run.state == said
    write_json(run.folder / "process.json", NOBODY)
    assert run.state == "killed"


@pytest.mark.parametrize("said", ["finished", "failed", "killed", "flying", 3, None])
def test_a_living_process_whose_last_word_is_from_before_is_running(run, said):
    """Taken up again after an end: exit.json is gone, the newest state event is the old end."""
    as_worker(run).log.write("state", state=said)
    assert run.state == "running"


def test_a_supervisor_without_a_worker_keeps_the_run(run):
    write_json(run.folder / "supervisor.json", process_now())
    run.log.write("state", state="queued")
    assert run.state == "queued" and run.holder == os.getpid()
    run.log.write("state", state="paused")
    assert run.state == "paused"
    write_json(run.folder / "supervisor.json", NOBODY)
    assert run.state == "killed"


def test_a_killed_run_says_how_to_go_on(run, monkeypatch):
    write_json(run.folder / "process.json", NOBODY)
    assert "without a word" in run.ended["reason"] and run.ended["resume"] == f"ftwb resume one --runs-dir {run.folder.parent}"
    monkeypatch.setenv("FTWB_RUNS", str(run.folder.parent))
    assert run.ended["resume"] == "ftwb resume one"
    write_json(run.folder / "exit.json", {"state": "finished"})
    assert run.ended["resume"] == ""


@pytest.mark.skipif("boot" not in process_now(), reason="this system counts no start ticks")
def test_a_process_is_known_by_ticks_and_boot_and_no_clock_moves_it(run):
    assert as_worker(run, started=process_now()["started"] - 7200).state == "running", "the clock was set by two hours"
    assert as_worker(run, ticks=process_now()["ticks"] + 1).state == "killed", "another process has the number now"
    assert as_worker(run, ticks="1").state == "killed" and as_worker(run, pid="1").state == "killed" and as_worker(run, pid=-1).state == "killed"


def test_where_no_ticks_are_counted_the_start_time_decides(run):
    now = process_now()
    write_json(run.folder / "process.json", {"pid": now["pid"], "started": now["started"]})
    assert run.state == "running"
    write_json(run.folder / "process.json", {"pid": now["pid"], "started": now["started"] - 3600})
    assert run.state == "killed"


def test_a_process_of_another_machine_is_judged_by_its_latest_word(run):
    as_worker(run, boot="another", pid=2**30)
    run.log.write("metric", step=1)
    assert run.state == "running"
    os.utime(run.folder / "events.jsonl", (0, 1000))
    assert run.state == "killed"


def test_a_killed_process_is_seen_at_once_even_as_a_zombie(run):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = process_now(child.pid)
    write_json(run.folder / "process.json", process)
    assert is_alive(process) and run.state == "running"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
    assert not is_alive(process) and run.state == "killed"
    child.wait()
    child.stdin.close()
    assert run.state == "killed"


def test_a_process_that_stands_still_is_stalled_until_it_moves(run):
    as_worker(run).log.write("state", state="running", stage="train")
    run.log.write("system", step=3, idle=59.0, limit=60.0)
    assert run.state == "running"
    run.log.write("system", step=3, idle=61.0, limit=60.0)
    run.log.write("metric", step=3)
    assert run.state == "stalled"
    run.log.write("system", step=4, idle=0.1, limit=60.0)
    assert run.state == "running"
    run.log.write("system", step=4, idle=61.0, limit=60.0)
    run.log.write("state", state="running", stage="evaluate")
    assert run.state == "running", "a new stage is a sign of life"


def test_a_process_that_says_nothing_at_all_while_training_is_stalled(run):
    as_worker(run).log.write("state", state="running", stage="prepare")
    os.utime(run.folder / "events.jsonl", (0, 1000))
    assert run.state == "running", "a model may take its time to load"
    run.log.write("state", state="running", stage="train")
    assert run.state == "running"
    os.utime(run.folder / "events.jsonl", (0, 1000))
    assert run.state == "stalled"
    run.log.write("state", state="paused")
    os.utime(run.folder / "events.jsonl", (0, 1000))
    assert run.state == "paused", "who waits in silence does not stall"


# ---- one process a run


def test_of_two_at_once_one_holds_the_run_and_the_other_is_told_who(run):
    code = "import sys; from finetune_wb.run import *; from finetune_wb.process import process_now\nr = Run(__import__('pathlib').Path(sys.argv[1]))\nwith hold(r): write_json(r.folder / 'process.json', process_now()); print('held', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code, run.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=f"another process has this run .pid {child.pid}"), hold(run):
        pytest.fail("held twice")
    child.kill()
    child.communicate()
    with hold(run):
        pass


def test_a_run_whose_supervisor_waits_is_held(run):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(run.folder / "supervisor.json", process_now(child.pid))
    with pytest.raises(RunError, match=f"pid {child.pid}"), hold(run):
        pytest.fail("held twice")
    child.communicate()
    with hold(run):
        pass


def test_a_run_that_is_gone_cant_be_held(run):
    shutil.rmtree(run.folder)
    with pytest.raises(RunError, match="is gone"), hold(run):
        pytest.fail("held")
    assert not run.folder.exists()


# ---- the curve


def test_the_history_of_a_run_that_was_resumed_twice_is_one_curve(run):
    def steps(*numbers):
        for number in numbers:
            run.log.write("metric", step=number, train_loss=number)

    steps(1, 2, 3, 4, 5)
    run.log.write("state", state="running", resumed_from=4)
    steps(5, 6, 7)
    run.log.write("state", state="running", resumed_from=2)
    steps(3)
    assert [m["step"] for m in run.history()] == [1, 2, 3] and len(run.events("metric")) == 9


@pytest.mark.parametrize("foreign", ['{"kind": "metric"}', '{"kind": "metric", "step": "x"}', '{"kind": "state", "resumed_from": "x"}', '{"kind": "state", "resumed_from": null}', '{"kind": "metric", "step": [1]}'])
def test_a_foreign_line_does_not_break_the_curve(run, foreign):
    run.log.write("metric", step=1)
    with (run.folder / "events.jsonl").open("a") as file:
        file.write(foreign + "\n")
    run.log.write("state", resumed_from=1)
    run.log.write("metric", step=2)
    assert [m["step"] for m in run.history() if m.get("step") in (1, 2)] == [1, 2]


# ---- events


def test_events_come_back_in_order_and_by_kind(run):
    for step in range(3):
        run.log.write("metric", step=step)
        run.log.write("alert", message=str(step))
    assert [event["step"] for event in run.events("metric")] == [0, 1, 2]
    assert len(run.events()) == 6 and len(run.events("metric", "alert")) == 6 and run.events("sample") == []


@pytest.mark.parametrize("torn", [b'{"time": 1, "kind": "met', b"\x00" * 40, b'{"kind": "metric", "text": "\xc3', b"[1, 2]", b"3", b"null", b'"metric"', b"{}{}", b"\xff\xfe", b"[" * 20000])
def test_a_torn_or_foreign_line_costs_only_itself(run, torn):
    run.log.write("metric", step=1)
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(torn)
    assert [event["step"] for event in run.events("metric")] == [1]
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b"\n")
    run.log.write("metric", step=2)
    assert [event["step"] for event in run.events("metric")] == [1, 2]


def test_a_log_cut_at_any_byte_reads_as_its_whole_lines(run):
    for step in range(3):
        run.log.write("metric", step=step, note="é🙂")
    whole = (run.folder / "events.jsonl").read_bytes()
    for size in range(len(whole)):
        (run.folder / "events.jsonl").write_bytes(whole[:size])
        assert whole[:size].count(b"\n") <= len(run.events()) <= whole[:size].count(b"\n") + 1


def test_an_event_after_a_torn_one_is_not_lost(run):
    """A process was killed in the middle of a line; the next one (an evaluation, say) appends to the same file."""
    run.log.write("metric", step=1)
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"time": 1, "kind": "metr')
    run.log.write("metric", step=2)
    assert [event["step"] for event in run.events("metric")] == [1, 2]


def test_a_kind_that_is_none_is_refused_when_written_and_passed_over_when_read(run):
    with pytest.raises(ValueError, match="metric"):
        run.log.write("metrics", loss=1)
    assert not (run.folder / "events.jsonl").exists()
    (run.folder / "events.jsonl").write_text('{"kind": "new one", "x": 1}\n{"x": 2}\n{"kind": ["metric"]}\n{"kind": {}}\n')
    assert run.events(*KINDS) == [] and len(run.events()) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_come_back_and_the_file_stays_json(run, value):
    import numpy as np

    run.log.write("metric", step=1, train_loss=value, grad_norm=np.float32(value), history=[value])
    json.loads((run.folder / "events.jsonl").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    (event,) = run.events("metric")
    assert event["train_loss"] == value or (math.isnan(value) and math.isnan(event["train_loss"]))
    assert event["grad_norm"] == value or (math.isnan(value) and math.isnan(event["grad_norm"]))


def test_text_that_says_nan_stays_text_where_text_is_meant(run):
    run.log.write("alert", message="NaN")
    assert run.events("alert")[0]["message"] == "NaN"


def test_text_of_any_kind_is_one_line(run):
    text = "a\nb\r\u2028\x85\ud800é\x00"
    run.log.write("sample", text=text)
    assert (run.folder / "events.jsonl").read_bytes().count(b"\n") == 1
    assert len(run.events()) == 1


def test_writers_at_once_do_not_mix_their_lines(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    threads = [threading.Thread(target=lambda n=n: [log.write("metric", step=i, writer=n, pad="x" * 500) for i in range(50)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_events(log.path)) == 200


# ---- damaged files


DAMAGED = [b"{", b"", b"\x00\x00", b"\xff", b"{'a': 1}"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_is_named(run, content):
    (run.folder / "record.json").write_bytes(content)
    with pytest.raises(RunError, match="not valid JSON") as caught:
        _ = run.record
    assert str(run.folder / "record.json") in str(caught.value)


@pytest.mark.parametrize("name", ["exit.json", "process.json", "supervisor.json"])
@pytest.mark.parametrize("content", [*DAMAGED, b"[]", b"3", b'{"pid": {}, "state": []}', None])
def test_a_run_whose_state_files_are_damaged_still_has_a_state(run, name, content):
    if content is None:
        (run.folder / name).mkdir()
    else:
        (run.folder / name).write_bytes(content)
    assert run.state == "killed" and run.ended["resume"] and run.holder is None
    as_worker(run) if name != "process.json" else None
    assert run.state == ("killed" if name == "process.json" else "running")


# ---- the newest event


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 18])
@pytest.mark.parametrize("lines", [0, 1, 3, 2000])
def test_the_newest_event_is_found_from_the_end(run, monkeypatch, lines, piece):
    """Read in pieces of any size, so that every line is cut somewhere."""
    from finetune_wb import events

    newest_event = events.newest_event
    monkeypatch.setattr(events, "_PIECE", piece if lines < 100 else max(piece, 64))
    path = run.folder / "events.jsonl"
    assert newest_event(path, "state") is None
    run.log.write("state", state="running", text="x" * 100)
    path.write_text(path.read_text() + "".join(json.dumps({"time": 1, "kind": "metric", "step": i, "text": '"kind": "state"'}) + "\n" for i in range(lines)) + '{"time": 3, "kind": "state", "sta')
    assert newest_event(path, "state")["state"] == "running"
    assert newest_event(path, "state", "metric").get("step", -1) == lines - 1
    if lines > 1:
        assert newest_event(path, "metric", accept=lambda e: e["step"] == 0)["step"] == 0
        assert newest_event(path, "state", reach=100) is None


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    write_json(path, {"a": math.nan, "b": math.inf})
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
