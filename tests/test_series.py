"""Reading a run's events while they are written: torn, hostile, replaced and resumed files, against planted truth."""

import json
import math
import os
import random
import threading
import time

import numpy as np
import pytest
from fake_runs import TOKENS, fill, loss_at, metric

from finetune_wb.events import EventLog
from finetune_wb.series import MOST, Series, Tail, smooth, thin


def values(series, name="train_loss"): return series.columns[name].data[3].tolist()


def steps(series, name="train_loss"): return series.columns[name].data[0].tolist()


def test_columns_hold_what_was_written(tmp_path):
    series = Series(fill(tmp_path / "run", steps=600, hertz=100, start=1000))
    assert series.update() and not series.update()
    data = series.columns["train_loss"].data
    assert data[0].tolist() == list(range(1, 601)) and data[3].tolist() == [loss_at(s) for s in range(1, 601)]
    assert np.allclose(data[1], np.arange(1, 601) / 100) and np.allclose(data[2], np.arange(1, 601) / 200)
    assert steps(series, "valid_loss") == list(range(50, 601, 50)) and steps(series, "cpu_percent") == [200, 400, 600]
    assert np.allclose(series.columns["cpu_percent"].data[1], [2, 4, 6]) and series.system["rss_mb"] >= 900
    assert np.allclose(series.columns["tokens_per_s"].data[3], TOKENS * 100)
    assert (series.state, series.stage, series.steps) == ("finished", "train", 600)
    assert [s["step"] for s in series.samples] == [500] and not {"kind", "time", "idle"} & set(series.columns)


@pytest.mark.parametrize("piece", [7, 64, 1000, 1 << 20])
def test_any_cut_of_the_file_gives_the_same(tmp_path, piece):
    "The file arrives in random cuts, in the middle of lines and of letters; read in pieces of any size."
    whole = (fill(tmp_path / "whole", steps=40, start=1000).folder / "events.jsonl").read_bytes().replace(b'"grad_norm"', '"größe"'.encode())
    (tmp_path / "cut").mkdir()
    path, chance, at = tmp_path / "cut/events.jsonl", random.Random(piece), 0
    series, lines = Series(tmp_path / "cut"), b""
    series._tail.piece = max(piece, 300)  # a line is shorter
    tail = Tail(path, max(piece, 300))
    while at < len(whole):
        size = chance.randrange(1, 900)
        with path.open("ab") as file: file.write(whole[at : at + size])
        at += size
        series.update()
        while new := tail.read()[0]: lines += new
    assert lines == whole and values(series) == [loss_at(s) for s in range(1, 41)] and len(series.columns["größe"]) == 40


def test_the_file_is_replaced_cut_deleted_and_made_again(tmp_path):
    run = fill(tmp_path / "run", steps=100, start=1000)
    series, path = Series(run), run.folder / "events.jsonl"
    series.update()
    seen = [series.generation]

    def now(expected):
        assert series.update()
        seen.append(series.generation)
        assert steps(series) == expected

    first = path.read_bytes()
    os.truncate(path, first.index(b"\n", 5000) + 1)
    now(list(range(1, 1 + first[: first.index(b"\n", 5000)].count(b"train_loss"))))
    path.unlink()
    assert not series.update() and len(steps(series)) > 1  # what was seen stays on the screen
    fill(run.folder, steps=200, start=2000)  # longer than what was read: only its beginning tells
    now(list(range(1, 201)))
    other = tmp_path / "other.jsonl"
    other.write_bytes(first)
    os.replace(other, path)
    now(list(range(1, 101)))
    path.write_bytes(b"")
    assert series.update() and not series.columns
    assert seen == sorted(set(seen))
    path.unlink()
    path.mkdir()
    assert not series.update()  # a folder by that name is no file


def test_what_a_resumed_run_does_again_counts_once(tmp_path):
    log, series = EventLog(tmp_path / "events.jsonl"), Series(tmp_path)
    log.write("state", state="running", stage="train", steps=100)
    truth = {}
    for start, stop in ((1, 30), (21, 25), (26, 60), (41, 100)):  # killed three times, each later than its checkpoint
        if start > 1: log.write("state", state="running", stage="train", resumed_from=start - 1)
        for step in range(start, stop + 1):
            truth = {s: v for s, v in truth.items() if s < step} | {step: step + start / 1000}
            log.write("metric", step=step, epoch=step / 100, seconds=step / 10, train_loss=truth[step], tokens=step)
            if step % 10 == 0: log.write("metric", step=step, epoch=step / 100, seconds=step / 10, valid_loss=-truth[step])
        if stop == 30:
            series.update()  # one reader came in between, another reads it all at once
            assert len(series.columns["valid_loss"]) == 3
    late = Series(tmp_path)
    late.update(), series.update()
    for reader in (late, series):
        assert values(reader) == [truth[s] for s in range(1, 101)] and steps(reader, "valid_loss") == list(range(10, 101, 10))
        assert np.allclose(reader.columns["tokens_per_s"].data[3], 10) and len(reader.columns["tokens_per_s"]) == 99
        assert steps(reader) == [event["step"] for event in _history(tmp_path) if "train_loss" in event]


def _history(folder):
    from finetune_wb.run import Run

    return Run(folder).history()


def test_hostile_and_foreign_lines(tmp_path):
    good = json.dumps({"time": 1, "kind": "metric", **metric(1, 10, 0.1)})
    bad = [
        "", "null", "[]", "3", '"text"', "{", '{"kind": "metr', "]", "],[", '{"kind": "metric"}', "NaN", "\x00" * 50, "[" * 100_000, "{" * 5000, "9" * 5000,
        '{"kind": ["metric"], "step": 1}', '{"kind": "metric", "step": "2", "train_loss": 7}', '{"kind": "metric", "step": true, "train_loss": 7}',
        '{"kind": "metric", "step": [2], "train_loss": 7}', '{"kind": "metric", "step": "NaN", "train_loss": 7}', '{"kind": "metric", "step": null, "train_loss": 7}',
        '{"kind": "metric", "step": Infinity, "train_loss": 7}', '{"time": 2, "kind": "metric", "step": 2, "train_loss": "high", "seconds": "soon", "epoch": {}}',
        '{"time": "then", "kind": "metric", "step": 3, "valid_loss": 0.5}', '{"time": 1e999, "kind": "system", "step": [], "cpu_percent": "all", "rss_mb": 5}',
        '{"kind": "state", "state": 7, "stage": ["x"], "steps": "many", "resumed_from": "start"}', '{"kind": "state"}', '{"kind": "state", "answer": {}, "id": []}',
        '{"kind": "alert", "message": ' + json.dumps("x" * 100_000) + ', "step": NaN}', '{"kind": "alert", "message": "\\ud800 \\u202e <script>"}',
        '{"kind": "sample", "rows": ' + "[" * 60 + "]" * 60 + "}", '{"kind": "sample", "rows": 7}', '{"kind": "unknown", "step": 1, "x": 1}',
        '{"kind": "metric", "step": 4, "valid_x": ' + "9" * 400 + "}",
    ]  # fmt: skip
    (tmp_path / "events.jsonl").write_bytes("\n".join([good, *bad, good.replace('"step": 1', '"step": 5'), ""]).encode() + b"\xff\xfe\n")
    series = Series(tmp_path)
    assert series.update()
    assert steps(series) == [1, 5] and values(series) == [loss_at(1)] * 2
    assert steps(series, "valid_loss") == [3] and values(series, "valid_x") == [math.inf] and "valid_loss" in series.columns
    told = json.dumps([*series.alerts, *series.samples, *series.answers, series.system], allow_nan=False, ensure_ascii=False).encode()  # as a message to the browser is made
    assert len(told) < 10_000 and len(series.alerts) == 2 and series.state is None


def test_many_names_do_not_fill_the_memory(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    for i in range(20): log.write("metric", step=i, **{f"name {i} {k}": k for k in range(20)}, **{"\u202eevil": 1, "x" * 101: 2})
    series = Series(tmp_path)
    series.update()
    assert len(series.columns) == MOST and not [n for n in series.columns if "evil" in n or len(n) > 100]


def test_the_clock_stands_while_paused_and_between_processes(tmp_path):
    path, series = tmp_path / "events.jsonl", Series(tmp_path)
    told = [
        (100, "state", {"state": "running", "stage": "prepare"}), (102, "system", {"step": None, "cpu_percent": 1}),
        (110, "state", {"state": "running", "stage": "train", "steps": 9}), (111, "system", {"step": 0, "cpu_percent": 2}),
        (112, "metric", {"step": 1, "epoch": 0.1, "seconds": 2.0, "train_loss": 1}), (113, "system", {"step": 1, "cpu_percent": 3}),
        (114, "state", {"state": "paused"}), (150, "system", {"step": 1, "cpu_percent": 0}), (200, "state", {"state": "running"}),
        (201, "system", {"step": 1, "cpu_percent": 4}), (202, "metric", {"step": 2, "epoch": 0.2, "seconds": 6.0, "train_loss": 1}),
        (300, "state", {"state": "running", "stage": "prepare"}), (301, "system", {"step": 2, "cpu_percent": 9}),
        (310, "state", {"state": "running", "stage": "train", "resumed_from": 1}), (311, "system", {"step": 1, "cpu_percent": 5}),
    ]  # fmt: skip
    for count, (now, kind, fields) in enumerate(told):
        with path.open("a") as file: file.write(json.dumps({"time": now, "kind": kind, **fields}) + "\n")
        series.update()
        if count == 1: assert series.columns["cpu_percent"].data[1].tolist() == [2]  # no clock yet: seconds since the first event
    whole = Series(tmp_path)
    whole.update()
    for reader in (series, whole):  # read line by line, and all at once
        assert reader.columns["cpu_percent"].data[[1, 3]].T.tolist() == [[1, 2], [3, 5]]
        assert reader.system["cpu_percent"] == 5 and reader.clock.at(312) == 4
    assert whole.columns["train_loss"].data[1].tolist() == [2]


def test_a_reader_and_a_writer_at_once(tmp_path):
    log, done = EventLog(tmp_path / "events.jsonl"), threading.Event()

    def write():
        for step in range(1, 3001): log.write("metric", step=step, seconds=step / 100, train_loss=loss_at(step))
        done.set()

    series, looks, held = Series(tmp_path), 0, []
    threading.Thread(target=write).start()
    while not done.is_set() or series.update():
        series.update()
        if "train_loss" in series.columns:
            data = series.columns["train_loss"].data
            held.append((data, data.shape[1], data[3].sum()))
        looks += 1
    assert steps(series) == list(range(1, 3001)) and looks > 1
    for data, size, total in held: assert data.shape[1] == size and data[3].sum() == total  # what a reader holds stays


@pytest.mark.parametrize("size", [1, 2, 1999, 2000, 2001, 5000, 123_457])
@pytest.mark.parametrize("holes", [False, True])
def test_thin_keeps_the_picture(size, holes):
    rng = np.random.default_rng(size)
    y = rng.normal(size=size)
    spikes = rng.choice(size, min(3, size), replace=False)
    y[spikes] = [1e6, -1e6, 2e6][: len(spikes)]
    if holes: y[rng.choice(size, size // 50, replace=False)] = math.nan
    kept = thin(y)
    assert len(kept) <= 2000 and (np.diff(kept) > 0).all() and kept[0] == 0 and kept[-1] == size - 1
    assert set(spikes[np.isfinite(y[spikes])]) <= set(kept.tolist()) and np.isnan(y[kept]).any() == np.isnan(y).any()
    if size <= 2000: assert len(kept) == size


def test_thin_and_smooth_of_nothing_finite():
    y = np.full(5000, math.nan)
    y[7] = math.inf
    assert 0 < len(thin(y)) <= 2000 and np.isnan(smooth(y[:3], 0.9)).all() and thin(np.empty(0)).tolist() == []
    assert smooth(np.array([1.0, 3.0]), 0.5).tolist() == [1.0, pytest.approx(7 / 3)]  # TensorBoard: (0.25·1 + 0.5·3) / 0.75


def test_a_hundred_thousand_lines_load_in_a_moment_and_nothing_new_costs_nothing(tmp_path):
    series = Series(fill(tmp_path / "run", steps=100_000))
    start = time.process_time()
    series.update()
    assert time.process_time() - start < 5 and len(series.columns["train_loss"]) == 100_000
    start = time.process_time()
    for _ in range(1000): series.update()
    assert time.process_time() - start < 0.2  # 0.2 ms a look at most
