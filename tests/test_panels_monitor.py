"""The panel's kernel half without a browser: what is sent and when, threads and comms, faults under a live panel, papermill."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import comm
import numpy as np
import pytest
from fake_runs import TOKENS, fill, live, loss_at, make_folder, metric, valid

from finetune_wb.errors import RunError
from finetune_wb.events import EventLog
from finetune_wb.follow import Follower, facts, line, numbers, summary, wait
from finetune_wb.panels import monitor as module
from finetune_wb.panels import server
from finetune_wb.panels.feed import HISTORY, SHARED, Feed, pack, window
from finetune_wb.panels.monitor import RunMonitor, monitor
from finetune_wb.panels.picture import run_picture
from finetune_wb.panels.sender import Sender
from finetune_wb.process import process_now
from finetune_wb.run import write_json
from finetune_wb.series import Series

pytest.importorskip("anywidget")


class Wire(comm.DummyComm):
    """A comm whose other end writes down what came, as JSON would carry it."""

    every: list["Wire"] = []  # the layouts' too
    panels: list["Wire"] = []

    def __init__(self, *args, **kwargs):
        self.sent, self.traits, self.closed_now, self._reply_subshell_for = [], {}, False, None
        super().__init__(*args, **kwargs)
        Wire.every.append(self)
        if "runs" in self.traits: Wire.panels.append(self)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        data = json.loads(json.dumps(data or {}, allow_nan=False, ensure_ascii=False).encode())
        if data.get("method") == "custom": self.sent.append((data["content"], *map(bytes, buffers or ())))
        elif msg_type != "comm_close": self.traits |= data.get("state", {})
        self.closed_now |= msg_type == "comm_close"

    def browser_says(self, **content):
        self.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


@pytest.fixture(autouse=True)
def wires(monkeypatch):
    """Every widget's comm is a `Wire`; no panel outlives its test."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    Wire.every, Wire.panels = [], []
    yield Wire.panels
    for panel in [*module._open.values()]: panel.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("monitor")]


def until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found


def living(folder) -> EventLog:
    """The log of a run that this process trains, as far as anyone can tell."""
    run = make_folder(folder)
    write_json(folder / "process.json", process_now())
    run.log.write("state", state="running", stage="train", steps=10_000)
    return run.log


class Held:
    """What a browser holds after the messages of a wire: the protocol's other end, without its drawing."""

    def __init__(self):
        self.series, self.gaps, self.status = {}, 0, {}

    def take(self, messages):
        for content, *buffers in messages:
            for status in content.get("status", ()): self.status[status["id"]] = {**self.status.get(status["id"], {}), **status}
            if content["type"] != "points": continue
            values, at, places = np.frombuffer(buffers[0]), 0, []
            for item in content["items"]:
                if "like" in item: item = {key: content["items"][item["like"]].get(key) for key in SHARED} | item
                rows = 1 if "like" in item else 4
                block = values[at : at + rows * item["count"]].reshape(rows, -1)
                at += rows * item["count"]
                places.append(places[item["like"]] if "like" in item else block[:3])
                self._item(item, np.vstack([places[-1], block[-1:]]))
            assert at == len(values)
        return self

    def _item(self, item, data):
        generation, total, held = self.series.get((item["run"], item["name"]), (None, 0, np.empty((4, 0))))
        if item.get("decimated"): self.series[item["run"], item["name"]] = item["generation"], item["total"], data
        elif generation == item["generation"] and item["start"] == total:
            self.series[item["run"], item["name"]] = generation, total + item["count"], np.hstack([held, data])
        else: self.gaps += 1


# What is sent


def test_the_browser_ends_up_with_the_curve(tmp_path):
    "History, deltas, resumes and a replaced file: after every look the browser holds what is in the file."
    log, held, sent = living(tmp_path / "run"), Held(), []
    series = Series(tmp_path / "run")
    feed, rng, step = Feed(series, "run"), np.random.default_rng(0), 0
    for look in range(60):
        for _ in range(rng.integers(0, 40)):
            step += 1
            log.write("metric", **metric(step, 10_000, step / 100))
            if step % 7 == 0: log.write("metric", **valid(step, 10_000, step / 100))
        if look % 13 == 12:
            step = max(0, step - 30)
            log.write("state", state="running", stage="train", resumed_from=step)
        if look == 40:
            lines = log.path.read_bytes().split(b"\n")
            log.path.write_bytes(b"\n".join([lines[0].replace(b'"time": ', b'"time": 1'), *lines[1:200], b""]))
            step = max(json.loads(item).get("step", 0) for item in lines[1:200])
        series.update()
        headers, buffer = pack(feed.news())
        sent.append(({"type": "points", "items": headers}, buffer))
        held.take(sent[-1:])
    assert held.gaps == 0 and not feed.news()
    for name, column in series.columns.items():
        if name != "tokens": assert np.array_equal(held.series["run", name][2], column.data, equal_nan=True), name
    late = Held().take(sent[30:])  # a browser that missed the start knows it
    assert late.gaps > 0


def test_a_long_history_is_thinned_and_a_zoom_is_not(tmp_path):
    series = Series(fill(tmp_path / "run", steps=30_000))
    series.update()
    headers, buffer = pack(Feed(series, "run").news())
    assert all(header.get("count", 0) <= HISTORY for header in headers) and len(buffer) < 32 * HISTORY * len(headers)
    loss = next(header for header in headers if header["name"] == "train_loss")
    assert (loss["total"], loss["decimated"], loss["start"]) == (30_000, True, 0)
    header, points = window(series, "train_loss", "step", 1000, 1500)
    assert header["raw"] and points[0].tolist() == list(range(999, 1502)) and points[3].tolist() == [loss_at(s) for s in range(999, 1502)]
    header, points = window(series, "train_loss", "time", 0, 1e9)
    assert not header["raw"] and points.shape[1] <= 4000 and header["total"] == 30_000
    for bad in (("train_loss", "x", 0, 1), ("train_loss", "step", "0", 1), ("train_loss", "step", float("nan"), 1), ([], "step", 0, 1)):
        with pytest.raises(ValueError): window(series, *bad)


def test_an_hour_of_watching_keeps_the_browser_small(tmp_path):
    log, held = living(tmp_path / "run"), Held()
    series = Series(tmp_path / "run")
    feed = Feed(series, "run")
    for look in range(60):
        for i in range(500): log.write("metric", step=look * 500 + i, seconds=look, train_loss=0.5)
        series.update()
        headers, buffer = pack(feed.news())
        held.take([({"type": "points", "items": headers}, buffer)])
        assert held.series["run", "train_loss"][2].shape[1] <= 6 * HISTORY
    assert held.series["run", "train_loss"][1] == 30_000 and held.gaps == 0


def test_readings_that_gave_way_are_taken_back(tmp_path):
    log, held = EventLog(make_folder(tmp_path / "run").folder / "events.jsonl"), Held()
    series = Series(tmp_path / "run")
    feed = Feed(series, "run")
    for kind, fields in (("system", {"cpu_percent": 5}), ("state", {"state": "running", "stage": "train"})):
        log.write(kind, **fields)
        series.update()
        headers, buffer = pack(feed.news())
        held.take([({"type": "points", "items": headers}, buffer)])
    assert held.series["run", "cpu_percent"][1] == 0 and held.series["run", "cpu_percent"][2].shape == (4, 0)


# The panel


def test_the_panel_sends_on_its_own_while_the_main_thread_computes(tmp_path, wires):
    log = living(tmp_path / "run")
    for step in range(1, 101): log.write("metric", **metric(step, 10_000, step / 100))
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires
    until(lambda: wire.sent)
    end, step = time.monotonic() + 2.5, 100
    while time.monotonic() < end:  # the main thread never gives way for long
        step += 1
        log.write("metric", **metric(step, 10_000, step / 100))
        sum(range(300_000))
    held = until(lambda: (h := Held().take(wire.sent)).series["run", "train_loss"][1] == step and h)
    assert held.series["run", "train_loss"][2][3].tolist() == [loss_at(s) for s in range(1, step + 1)]
    assert held.status["run"]["step"] == step and wire.traits["runs"][0]["state"] == "running"
    assert wire.traits["runs"][0]["stale_after"] == 6 and wire.traits["error"] == ""
    kinds = [content["type"] for content, *_ in wire.sent]
    assert 3 <= kinds.count("points") <= 10
    panel.close()


def test_at_most_two_updates_a_second_and_none_while_nothing_happens(tmp_path, wires):
    log = living(tmp_path / "run")
    log.write("metric", **metric(1, 100, 0.01))
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires
    wire.browser_says(type="sync")
    until(lambda: len(wire.sent) >= 2)
    time.sleep(0.7)
    before, traits = len(wire.sent), dict(wire.traits)
    time.sleep(4.2)
    quiet = [content for content, *_ in wire.sent[before:]]
    assert {content["type"] for content in quiet} == {"beat"} and 1 <= len(quiet) <= 3 and wire.traits == traits
    panel.close()


def test_resync_on_request(tmp_path, wires):
    log = living(tmp_path / "run")
    for step in range(1, 51): log.write("metric", **metric(step, 100, step / 100))
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires
    until(lambda: wire.sent)
    wire.browser_says(type="sync")
    time.sleep(0.6)
    panel.ticker.do = lambda do=panel.ticker.do: do() and 1000.0  # it would not look again by itself
    panel.ticker.wake()
    time.sleep(0.2)
    before = len(wire.sent)
    wire.browser_says(type="sync")
    until(lambda: [c for c, *_ in wire.sent[before:] if c["type"] == "points"])
    held = Held().take(wire.sent[before:])
    assert held.gaps == 0 and held.series["run", "train_loss"][1] == 50
    panel.close()


def test_a_browser_that_could_not_ask_gets_everything_again(tmp_path, wires):
    log = living(tmp_path / "run")
    log.write("metric", **metric(1, 100, 0.01))
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires
    until(lambda: len([c for c, *_ in wire.sent if c["type"] == "points" and c["items"][0].get("decimated")]) >= 2)
    panel.close()


def test_zoom_and_requests_by_message(tmp_path, wires):
    log = living(tmp_path / "run")
    for step in range(1, 51): log.write("metric", **metric(step, 100, step / 100))
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires
    until(lambda: wire.sent)
    wire.browser_says(type="window", run="run", name="train_loss", axis="step", lo=10, hi=20)
    content, buffer = next(message for message in wire.sent if message[0]["type"] == "window")
    assert content["raw"] and content["count"] == 13 and np.frombuffer(buffer)[:13].tolist() == list(range(9, 22))

    def asked(**fields):
        wire.browser_says(type="request", run="run", id=3, **fields)
        return wire.sent[-1][0] if wire.sent[-1][0]["type"] == "requested" else [c for c, *_ in wire.sent if c["type"] == "requested"][-1]

    told = asked(request="learning_rate", value=1e-5)
    assert json.loads((tmp_path / f"run/control/{told['as']}.json").read_text()) == {"request": "learning_rate", "value": 1e-5}
    for bad in ({"request": "learning_rate", "value": "fast"}, {"request": "fly"}, {"request": None}, {"request": "stop", "force": True}, {"request": ["stop"]}):
        assert asked(**bad)["answer"] == "refused", bad
    assert len([*(tmp_path / "run/control").iterdir()]) == 1
    for bad in ({"type": "window", "run": "run", "name": "x", "axis": "y"}, {"type": "request", "run": "other", "request": "stop"}, {"run": "run"}, {"type": "request", "run": "run", "request": "stop", "name": 1}):
        panel.widget.publish(error="")
        wire.browser_says(**bad)
        assert wire.traits["error"], bad
    assert panel.ticker._thread.is_alive()
    panel.close()


def test_requests_to_a_run_without_a_process(tmp_path, wires, monkeypatch):
    from finetune_wb.training import launch

    fill(tmp_path / "run", steps=50)
    calls = []
    monkeypatch.setattr(launch, "clone", lambda run, *overrides, run_id=None: calls.append((run.id, overrides, run_id)) or make_folder(tmp_path / (run_id or "c2")))
    monkeypatch.setattr(launch, "resume", lambda run: calls.append((run.id, "resume")) or run)
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires
    for fields in ({"request": "stop"}, {"request": "clone", "overrides": ["train.learning_rate=1e-5"], "run_id": "copy"}, {"request": "clone", "overrides": "x=1"},
                   {"request": "clone", "run_id": "../x"}, {"request": "resume"}): wire.browser_says(type="request", run="run", id=1, **fields)  # fmt: skip
    told = [c for c, *_ in wire.sent if c["type"] == "requested"]
    assert [t["answer"] for t in told] == ["refused", "done", "refused", "refused", "done"] and told[1]["reason"] == "started copy"
    assert calls == [("run", ("train.learning_rate=1e-5",), "copy"), ("run", "resume")]
    panel.close()


def test_the_user_moves_a_slider_while_the_thread_sends(tmp_path, wires):
    log = living(tmp_path / "run")
    panel = RunMonitor(tmp_path / "run", live=True, smoothing=0.3)
    (wire,) = wires
    assert panel.widget.view == {"axis": "step", "smoothing": 0.3, "log": False, "hidden": []}
    panel.ticker.do = lambda do=panel.ticker.do: do() * 0  # as fast as it can
    panel.ticker.wake()
    for i in range(300):
        log.write("state", state="running", reason=f"{i}")  # `runs` changes all the time
        wire.handle_msg({"content": {"data": {"method": "update", "state": {"view": {"axis": "time", "smoothing": i / 300, "log": True, "hidden": []}}, "buffer_paths": []}}, "buffers": []})
        assert panel.widget.view["smoothing"] == i / 300
    until(lambda: wire.traits["runs"][0]["reason"] == "299")
    assert wire.traits["error"] == ""
    panel.close()


def test_comms_stay_on_the_main_thread(tmp_path, wires):
    panel = RunMonitor(fill(tmp_path / "run", steps=5), live=True)
    assert wires[0]._reply_subshell_for({"anything": 1}, "subshell-7") is None
    panel.close()


# Nothing is left behind


def test_running_the_cell_again_leaves_nothing_behind(tmp_path, wires):
    import ipywidgets

    for name in ("one", "two"): fill(tmp_path / name, steps=20)
    count = lambda: [t.name for t in threading.enumerate() if t.name.startswith("monitor")]
    widgets = len(ipywidgets.widget._instances) if hasattr(ipywidgets, "widget") and hasattr(ipywidgets.widget, "_instances") else None
    for _ in range(5): panel = monitor(tmp_path / "one", live=True)
    both = [RunMonitor([tmp_path / "one", tmp_path / "two"], live=True) for _ in range(3)][-1]
    assert sorted(count()) == ["monitor of one", "monitor of one"]
    assert sum(not wire.closed_now for wire in wires) == 2 and len(wires) == 8
    RunMonitor([tmp_path / "two", tmp_path / "one"], live=False).close()
    assert both.widget.comm is None and panel.widget.comm is not None
    panel.close(), panel.close()
    assert not count() and all(wire.closed_now for wire in Wire.every) and len(Wire.every) == 16
    if widgets is not None: assert len(ipywidgets.widget._instances) == widgets


def test_two_runs_of_one_name_are_told_apart(tmp_path, wires):
    for folder in ("a", "b"): fill(tmp_path / folder / "run", steps=20)
    panel = RunMonitor([tmp_path / "a/run", tmp_path / "b/run"], live=True)
    held = until(lambda: (h := Held().take(wires[0].sent)).series and h)
    assert {run for run, _ in held.series} == {"a/run", "b/run"} == {run["id"] for run in wires[0].traits["runs"]}
    panel.close()


# Faults


def test_the_folder_is_deleted_under_the_panel(tmp_path, wires):
    log = living(tmp_path / "run")
    for step in range(1, 21): log.write("metric", **metric(step, 100, step / 100))
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires
    until(lambda: wire.sent)
    shutil.rmtree(tmp_path / "run")
    until(lambda: wire.traits["runs"][0]["state"] == "gone")
    assert "is gone" in wire.traits["error"] and panel.ticker._thread.is_alive() and wire.traits["runs"][0]["step"] == 20
    wire.browser_says(type="request", run="run", id=1, request="stop")
    assert [c for c, *_ in wire.sent if c["type"] == "requested"][-1]["answer"] == "refused"
    assert "gone" in repr(panel)
    panel.close()


def test_what_breaks_in_the_thread_is_shown_and_the_reading_goes_on(tmp_path, wires, monkeypatch):
    log = living(tmp_path / "run")
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires
    broken = Sender.send
    monkeypatch.setattr(Sender, "send", lambda *_: 1 / 0)
    panel.ticker.wake()
    until(lambda: wire.traits["error"] == "ZeroDivisionError: division by zero")
    monkeypatch.setattr(Sender, "send", broken)
    log.write("metric", **metric(1, 100, 0.01))
    until(lambda: ("run", "train_loss") in Held().take(wire.sent).series)
    panel.close()


def test_hostile_events_reach_the_browser_as_text(tmp_path, wires):
    log = living(tmp_path / "run")
    with log.path.open("a") as file:
        file.write('{"kind": "metric", "step": 1, "train_loss": NaN, "epoch": Infinity, "seconds": 1e999}\n{"kind": "metric", "step": "x", "train_loss": 1}\n')
        file.write('{"kind": "alert", "message": "\\ud800<script>alert(1)</script>", "step": NaN}\n{"kind": "system", "cpu_percent": NaN, "step": 1e400}\n')
        file.write('{"kind": "state", "state": "running", "reason": {"a": NaN}, "steps": "NaN"}\n{"kind": "metric", "step": 2, "\\udfff": 3, "train_loss": Infinity}\n')
    panel = RunMonitor(tmp_path / "run", live=True)
    (wire,) = wires  # it refuses what is no JSON
    until(lambda: ("run", "train_loss") in Held().take(wire.sent).series)
    assert wire.traits["error"] == "" and wire.traits["runs"][0]["alerts"][0]["message"].endswith("<script>alert(1)</script>")
    assert "\x1b" not in summary(Follower(tmp_path / "run")) and repr(panel)
    panel.close()


def test_a_damaged_folder_is_no_reason_to_fall(tmp_path, wires):
    run = fill(tmp_path / "run", steps=20)
    (run.folder / "evaluation").mkdir()
    for name in ("exit.json", "process.json", "evaluation/verdict.json"): (run.folder / name).write_text('["torn')
    (run.folder / "recipe.yaml").write_text("task: [")
    shutil.rmtree(run.control)
    panel = RunMonitor(run, live=True)
    until(lambda: ("run", "train_loss") in Held().take(wires[0].sent).series)
    assert wires[0].traits["error"] == "" and wires[0].traits["runs"][0]["control"] is None
    panel.close()


# Where it stands


def test_what_is_known_of_a_live_run(tmp_path):
    writer = live(tmp_path / "run", hertz=50, steps=1000, before=200)
    try:
        follower = Follower(tmp_path / "run")
        until(lambda: follower.update() and numbers(follower)["step"] > 220)
        now = numbers(follower)
        assert follower.state == "running" and not follower.over
        assert now["tokens_per_s"] == pytest.approx(TOKENS * 50, rel=0.6) and now["remaining"] == pytest.approx((1000 - now["step"]) / 50, rel=0.6)
        assert now["elapsed"] == pytest.approx(now["step"] / 50, rel=0.6) and facts(follower)["epochs"] and "tokens/s" in line(follower)
        assert json.dumps([now, facts(follower)], allow_nan=False)
    finally:
        writer.kill(), writer.wait()
    until(lambda: follower.update() and follower.state == "killed")
    assert facts(follower)["resume"].startswith("ftwb resume run") and numbers(follower)["remaining"] is None
    still = numbers(follower)["elapsed"]
    time.sleep(0.1)
    assert numbers(follower)["elapsed"] == still


def test_wait_returns_when_the_run_ends_and_ctrl_c_leaves_it_running(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FTWB_PROGRESS", "lines")
    writer = live(tmp_path / "run", hertz=100, seconds=60, steps=100_000)
    try:
        code = "import sys; from finetune_wb.follow import wait; print('waiting', flush=True); wait(sys.argv[1])"
        waiter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        waiter.stdout.readline()
        time.sleep(1)
        waiter.send_signal(2)
        assert "KeyboardInterrupt" in waiter.communicate(timeout=20)[1] and waiter.returncode != 0
        assert writer.poll() is None and Follower(tmp_path / "run").run.state == "running"
        threading.Timer(0.7, lambda: (tmp_path / "run/control/1-stop.json").write_text('{"request": "stop"}')).start()
        assert wait(tmp_path / "run").state == "finished"
    finally:
        writer.kill(), writer.wait()
    with pytest.raises(RunError, match="no process will start it"): wait(make_folder(tmp_path / "new"), every=0.01, patience=0.03)


# Pictures and places without a widget


def test_the_picture_needs_no_shared_settings(tmp_path):
    "Drawn in a thread while the main thread has a style of its own: neither changes the other."
    import matplotlib

    follower = Follower(fill(tmp_path / "$run_{x}".replace("$", "_").replace("{x}", "x"), steps=300))
    follower.update()
    plain, done = run_picture([follower]), []
    with matplotlib.rc_context({"axes.facecolor": "black", "lines.linewidth": 9, "font.size": 30, "text.color": "red"}):
        before = dict(matplotlib.rcParams)
        threads = [threading.Thread(target=lambda: done.append(run_picture([follower, follower], axis="time", smoothing=0.5, log=True))) for _ in range(4)]
        for thread in threads: thread.start()
        while any(thread.is_alive() for thread in threads): assert dict(matplotlib.rcParams) == before
    assert len(set(done)) == 1 and plain[:4] == done[0][:4] == b"\x89PNG" and len(plain) < 60_000
    import io

    from PIL import Image

    assert Image.open(io.BytesIO(plain)).convert("RGB").getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names_and_no_numbers_are_drawn(tmp_path):
    log = living(tmp_path / "run")
    for step in range(1, 5): log.write("metric", step=step, train_loss=float("nan"), learning_rate=float("inf"), **{"valid_$\\frac{1}{0}$": step, "valid_größe 漢字": step})
    follower = Follower(tmp_path / "run")
    follower.update()
    for axis in ("step", "epoch", "time"): assert run_picture([follower], axis=axis, log=True)


def test_the_contents_path_of_the_control_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    run = fill(tmp_path / "root/work/runs/demo", steps=5)
    sender = lambda: Sender([Follower(run)], None).control
    info = tmp_path / f"jpserver-{os.getppid()}.json"
    assert sender() == [None]
    for text, path in (
        ({"root_dir": str(tmp_path / "root")}, "work/runs/demo/control"), ({"root_dir": str(tmp_path / "root/work/runs/demo")}, "control"),
        ({"root_dir": str(tmp_path / "other")}, None), ({"root_dir": 7}, None), ([], None), ({}, None),
    ):  # fmt: skip
        info.write_text(json.dumps(text))
        assert sender() == [path], text
    info.write_text("{torn")
    assert sender() == [None]
    info.write_text(json.dumps({"root_dir": str(tmp_path / "link")}))
    (tmp_path / "link").symlink_to(tmp_path / "root", target_is_directory=True)  # the server was started at a link
    assert sender() == ["work/runs/demo/control"]
    (tmp_path / f"jpserver-{os.getppid()}.json").rename(tmp_path / "jpserver-999999.json")  # another server is not ours
    assert sender() == [None]
    assert server.contents_path(tmp_path / "root/.hidden/run", tmp_path / "root") is None


def test_without_a_kernel_it_is_a_text(tmp_path, wires, capsys):
    panel = monitor(fill(tmp_path / "run", steps=300))
    assert panel.where == "text" and panel.widget is None and not wires and not module._open
    assert "run · finished · step 300 of 300" in repr(panel)
    panel._ipython_display_()
    assert "train loss" in capsys.readouterr().out
    code = "import sys; from finetune_wb.panels.monitor import monitor; print(monitor(sys.argv[1])); print([m for m in sys.modules if m in ('anywidget', 'ipywidgets', 'torch', 'matplotlib')])"
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=True).stdout
    assert "run · finished" in out and out.strip().endswith("[]")


NOTEBOOK = [
    "from finetune_wb.panels.monitor import monitor",
    "panel = monitor(RUN)\nprint(panel.where)\npanel.wait()",
    "import threading\npanel.close()\nprint([t.name for t in threading.enumerate() if t.name.startswith('monitor')])",
]


@pytest.mark.parametrize("session", [None, "in JupyterLab"])
def test_papermill_gets_a_picture_and_no_widget(tmp_path, session, monkeypatch):
    "A live run watched by a notebook that nobody looks at; also from a kernel whose environment was inherited from JupyterLab, with live=False."
    import nbformat
    import papermill

    writer = live(tmp_path / "run", hertz=60, seconds=4, steps=100_000)
    if session: monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "x.ipynb"))
    cells = [text.replace("RUN", repr(str(tmp_path / "run")) + (", live=False" if session else "")) for text in NOTEBOOK]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells], metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}})
    nbformat.write(notebook, tmp_path / "in.ipynb")
    try:
        papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False, cwd=str(Path(__file__).parents[1]))
    finally:
        writer.kill(), writer.wait()
    done = nbformat.read(tmp_path / "out.ipynb", 4)
    outputs = [output for output in done.cells[1].outputs if output.get("name") != "stderr"]
    assert "widgets" not in done.metadata and not [kind for o in outputs for kind in o.get("data", {}) if "widget" in kind]
    kinds = [sorted(o["data"]) if "data" in o else o["text"] for o in outputs]
    assert kinds[0] == "picture\n" and ["image/png", "text/plain"] in kinds and len(outputs) <= 5  # print, text, picture, one line of progress, the run
    text = next(o["data"]["text/plain"] for o in outputs if "data" in o)
    assert "finished" in text and "train loss" in text  # the final state
    assert done.cells[2].outputs[-1]["text"] == "[]\n" and (tmp_path / "out.ipynb").stat().st_size < 150_000


def test_a_kernel_within_a_kernel_is_not_live(monkeypatch):
    class Process:
        def __init__(self, line, above=()): self.cmdline, self.parents = (lambda: line), (lambda: above)

    import psutil

    kernel = ["python", "-m", "ipykernel_launcher", "-f", "a.json"]
    lab = Process(["python", "-m", "jupyterlab"])
    for above, nested in (((lab,), False), ((Process(["python.exe", *kernel[1:]]), lab), False), ((Process(["papermill"]), Process([*kernel[:-1], "b.json"]), lab), True)):
        monkeypatch.setattr(psutil, "Process", lambda above=above: Process(kernel, above))
        assert server._within_kernel() is nested
