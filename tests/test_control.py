"""Requests as files: what is taken, what is refused, and that nothing in the folder can stop or fool a run."""

import json
import math
import os
import threading

import pytest

from finetune_wb.control import REQUESTS, Control, Request, request, wait_for_answer
from finetune_wb.errors import RunError
from finetune_wb.process import process_now
from finetune_wb.recipe import Recipe
from finetune_wb.run import Run, create_run, write_json


@pytest.fixture
def run(tmp_path) -> Run:
    made = create_run(Recipe(), tmp_path / "runs", "one")
    write_json(made.folder / "process.json", process_now())
    return made


@pytest.fixture
def control(run) -> Control:
    return Control(run.folder, run.log)


def poll(control: Control) -> list[Request]:
    return control.poll(every=0)


def put(run: Run, name: str, content) -> None:
    """As a browser would, through the contents API."""
    (run.control / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def answers(run: Run) -> list[tuple[str, str, str]]:
    return [(event["id"], event["answer"], event.get("reason", "")) for event in run.events("state")]


def left(run: Run) -> list[str]:
    return sorted(path.name for path in run.control.iterdir())


# ---- asking


@pytest.mark.parametrize("name, fields", [*((name, {}) for name in REQUESTS if name != "learning_rate"), ("pause", {"release": True}), ("learning_rate", {"value": 1e-5}), ("clone", {"overrides": ["train.seed=1"], "run_id": "two"})])
def test_what_is_asked_arrives_and_is_answered(run, control, name, fields):
    id = request(run, name, **fields)
    (asked,) = poll(control)
    assert asked.id == id and asked.name == name and all(asked.fields[key] == value for key, value in fields.items())
    assert poll(control) == [], "each is given out once"
    control.answer(asked, "accepted")
    assert left(run) == [f"{id}.json"]
    control.answer(asked, "done")
    assert left(run) == [] and answers(run) == [(id, "accepted", ""), (id, "done", "")]


def test_fields_that_were_left_out_have_their_defaults(run, control):
    request(run, "pause")
    request(run, "clone")
    assert [asked.fields for asked in poll(control)] == [{"release": False}, {"overrides": [], "run_id": None}]


@pytest.mark.parametrize("name, fields, says", [
    ("stopp", {}, 'Did you mean "stop"'), ("stop", {"now": True}, '"now"'), ("pause", {"release": 1}, "true or false"), ("pause", {"release": "yes"}, "true or false"),
    *(("learning_rate", {"value": value}, "between 0 and 1") for value in (0, 1, -1e-3, math.nan, math.inf, "1e-5", None, True, [1e-5], 10**400)),
    ("learning_rate", {}, "between 0 and 1"), ("clone", {"overrides": "train.seed=1"}, "list"), ("clone", {"overrides": [1]}, "list"), ("clone", {"overrides": ["x"] * 101}, "list"),
    *(("clone", {"run_id": run_id}, "name a run") for run_id in ("../x", "", "a/b", 3, ["x"])),
])  # fmt: skip
def test_a_wrong_request_is_refused_before_it_is_written_and_after(run, control, name, fields, says):
    with pytest.raises(RunError, match=says):
        request(run, name, **fields)
    assert left(run) == []
    (run.control / "1-x.json").write_text(json.dumps({"request": name, **fields}))
    assert poll(control) == [] and left(run) == []
    ((id, answer, reason),) = answers(run)
    assert (id, answer) == ("1-x", "refused") and says.strip('"') in reason.replace('\\"', '"')


@pytest.mark.parametrize("state", ["finished", "failed", "killed"])
def test_a_run_that_has_ended_is_not_asked(run, state):
    write_json(run.folder / "exit.json", {"state": state})
    with pytest.raises(RunError, match=state) as caught:
        request(run, "stop")
    assert left(run) == [] and ("ftwb resume one" in str(caught.value)) == (state != "finished")


def test_a_run_whose_process_is_gone_is_not_asked(run):
    write_json(run.folder / "process.json", {**process_now(), "pid": 2**30})
    with pytest.raises(RunError, match="it is killed.*ftwb resume one"):
        request(run, "pause")


def test_a_folder_that_takes_no_files_says_so(run):
    run.control.rmdir()
    run.control.write_text("a file")
    with pytest.raises(RunError, match="can't be written"):
        request(run, "stop")


def test_many_at_once_each_get_their_own_file_and_come_in_order(run, control):
    ids, start = [], threading.Barrier(4)

    def ask():
        start.wait()
        ids.extend(request(run, "evaluate") for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [asked.id for asked in poll(control)]
    assert found == sorted(set(ids), key=lambda id: int(id.split("-")[0])) and len(set(ids)) == 20


def test_the_oldest_comes_first_whatever_the_names(run, control):
    for name in ("10-b", "9-a", "by hand"):
        put(run, f"{name}.json", {"request": "evaluate"})
    assert [asked.id for asked in poll(control)] == ["9-a", "10-b", "by hand"]


def test_the_folder_is_listed_at_most_so_often(run, control):
    request(run, "evaluate")
    assert len(control.poll()) == 1
    request(run, "evaluate")
    assert control.poll() == [] and len(poll(control)) == 1


# ---- what others put there

HOSTILE = {"array": b"[1]", "number": b"3", "null": b"null", "text": b'"stop"', "nothing": b"{}", "unhashable": b'{"request": ["stop"]}', "deep": b"[" * 50_000, "huge": b'{"request": "stop", "x": "' + b"x" * 100_000 + b'"}', "nested": b'{"request": {"request": "stop"}}', "markup": b'{"request": "<img src=x onerror=alert(1)>"}', "escape": b'{"request": "\\u001b[2J"}'}  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_request_is_refused_once_and_removed(run, control, content):
    put(run, "1-x.json", content)
    assert poll(control) == [] and poll(control) == [] and left(run) == []
    ((id, answer, reason),) = answers(run)
    assert (id, answer) == ("1-x", "refused") and 0 < len(reason) < 400 and "\x1b" not in reason


@pytest.mark.parametrize("content", [b"", b"{", b'{"request": "sto', b"\xff\xfe", b"\x00", b'{"request": "stop"}}'])
def test_a_torn_file_gets_its_time_and_is_then_refused(run, control, monkeypatch, content):
    now = [100.0]
    monkeypatch.setattr("finetune_wb.control.time.monotonic", lambda: now[0])
    put(run, "1-x.json", content)
    assert poll(control) == [] and answers(run) == [] and left(run) == ["1-x.json"]
    now[0] += 1.9
    assert poll(control) == [] and left(run) == ["1-x.json"]
    now[0] += 0.2
    assert poll(control) == [] and left(run) == []
    assert answers(run)[0][1:] == ("refused", "is not valid JSON")


def test_a_file_that_becomes_whole_in_time_is_taken(run, control):
    put(run, "1-x.json", b'{"request": "sto')
    assert poll(control) == []
    put(run, "1-x.json", {"request": "stop"})
    assert poll(control) == [Request("1-x", "stop")]


def test_links_are_not_followed_and_folders_not_entered(run, control, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text('{"request": "stop"}')
    (run.control / "1-link.json").symlink_to(secret)
    (run.control / "2-nowhere.json").symlink_to(tmp_path / "none")
    (run.control / "3-empty.json").mkdir()
    (run.control / "4-full.json").mkdir()
    (run.control / "4-full.json" / "x").write_text("")
    os.mkfifo(run.control / "5-pipe.json")
    assert poll(control) == [] and poll(control) == []
    assert left(run) == ["4-full.json"] and secret.exists()
    assert [(id, answer) for id, answer, _ in answers(run)] == [(id, "refused") for id in ("1-link", "2-nowhere", "3-empty", "4-full", "5-pipe")]


@pytest.mark.parametrize("name", ["1-stop.json.part", ".~1-stop.json", ".hidden.json", "1-stop.txt", "1-stop.JSON"])
def test_files_in_the_making_and_others_are_left_alone(run, control, name):
    put(run, name, {"request": "stop"})
    assert poll(control) == [] and left(run) == [name] and answers(run) == []


def test_a_folder_that_is_gone_is_no_request(run, control):
    run.control.rmdir()
    assert poll(control) == []


def test_a_name_of_any_kind_is_an_id(run, control):
    put(run, "9" * 200 + "-x.json", {"request": "evaluate"})
    (run.control / os.fsdecode(b"\xff-x.json")).write_text('{"request": "sample"}')
    found = poll(control)
    assert sorted(asked.name for asked in found) == ["evaluate", "sample"]
    for asked in found:
        control.answer(asked, "done")
    assert left(run) == []


# ---- two readers, and the end


def test_with_a_supervisor_each_request_has_one_reader(run, monkeypatch):
    monkeypatch.setenv("FTWB_SUPERVISED", "1")
    worker, supervisor = Control(run.folder, run.log), Control(run.folder, run.log, only=("stop_now",))
    for name in REQUESTS:
        request(run, name, **({"value": 1e-5} if name == "learning_rate" else {}))
    put(run, "1-bad.json", b"[]")
    assert {asked.name for asked in poll(supervisor)} == {"stop_now"} and answers(run) == []
    assert {asked.name for asked in poll(worker)} == {*REQUESTS} - {"stop_now"} and [answer[0] for answer in answers(run)] == ["1-bad"]


def test_the_end_answers_whatever_is_left(run, control):
    stop, pause = request(run, "stop"), request(run, "pause")
    assert len(poll(control)) == 2
    rate = request(run, "learning_rate", value=0.1)
    put(run, "1-bad.json", b"{")
    control.close("the run has ended", done=("stop",))
    assert left(run) == []
    assert dict((id, answer) for id, answer, _ in answers(run)) == {stop: "done", pause: "refused", rate: "refused", "1-bad": "refused"}
    assert {reason for _, answer, reason in answers(run) if answer == "refused"} == {"the run has ended"}


def test_a_supervisor_that_closes_leaves_nothing_of_anybodys(run):
    id = request(run, "evaluate")
    Control(run.folder, run.log, only=("stop_now",)).close("killed")
    assert left(run) == [] and answers(run) == [(id, "refused", "killed")]


def test_waiting_ends_with_the_answer(run, control):
    id = request(run, "evaluate")
    assert wait_for_answer(run, id, timeout=0) is None

    def work():
        (asked,) = poll(control)
        control.answer(asked, "accepted")
        control.answer(asked, "done", "valid loss 0.1")

    worker = threading.Timer(0.2, work)
    worker.start()
    assert wait_for_answer(run, id, timeout=60)["reason"] == "valid loss 0.1"
    worker.join()


def test_an_answer_is_one_of_three(run, control):
    with pytest.raises(ValueError, match="no answer"):
        control.answer(Request("1", "stop"), "perhaps")
    assert answers(run) == []
