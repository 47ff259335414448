"""Run folders that look trained, and a process that goes on writing one: what a viewer can be tested and timed with.

    python tests/fake_runs.py FOLDER [--hertz 100] [--seconds 30] [--steps 3000] [--before 0] [--idle]

writes a run at FOLDER in the way that training does, line by line, and obeys `stop` in its control folder.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from finetune_wb.events import EventLog
from finetune_wb.recipe import Recipe, to_yaml
from finetune_wb.run import Run, write_json

TOKENS = 512  # a step


def loss_at(step: int) -> float:
    """The train loss every fake run has at a step: known, so that a test can tell a right curve from a wrong one."""
    return 2.0 * math.exp(-step / 400) + 0.1 + 0.05 * math.sin(step)


def metric(step: int, steps: int, seconds: float) -> dict:
    """The fields of a training metric event."""
    return {"step": step, "epoch": round(3 * step / steps, 4), "seconds": round(seconds, 3), "train_loss": loss_at(step),
            "learning_rate": 1e-4 * (1 - step / (steps + 1)), "grad_norm": 1 + 0.5 * math.cos(step), "tokens": TOKENS * step}  # fmt: skip


def valid(step: int, steps: int, seconds: float) -> dict:
    """The fields of an evaluation's metric event."""
    return {"step": step, "epoch": round(3 * step / steps, 4), "seconds": round(seconds, 3), "valid_loss": loss_at(step) + 0.1,
            "valid_accuracy": 1 - loss_at(step) / 3, "valid_f1_macro": 0.9 - loss_at(step) / 3}  # fmt: skip


def reading(step: int) -> dict:
    """The fields of a system event."""
    return {"step": step, "idle": 0.0, "limit": 60.0, "cpu_percent": 50 + 40 * math.sin(step / 50), "rss_mb": 900 + step % 7}


def make_folder(folder: Path) -> Run:
    """An empty run folder with a recipe, as `create_run` leaves it."""
    folder.mkdir(parents=True)
    (folder / "control").mkdir()
    (folder / "recipe.yaml").write_text(to_yaml(Recipe()), encoding="utf-8")
    return Run(folder)


def fill(
    folder: Path,
    steps: int = 300,  # train events written
    of: int | None = None,  # steps the run has in all; None: as many
    hertz: float = 100.0,  # train events a second
    start: float | None = None,  # unix seconds of the first event; None: so that the last is now
    evaluate_every: int = 50,
    state: str = "finished",  # running, paused…: what the last state event says; killed says nothing
) -> Run:
    """A run with planted curves: written in one go, a million steps in some seconds."""
    run, of = make_folder(folder) if not folder.exists() else Run(folder), of or steps
    start = time.time() - steps / hertz if start is None else start
    line = lambda second, kind, fields: json.dumps({"time": round(start + second, 3), "kind": kind, **fields}) + "\n"
    with (folder / "events.jsonl").open("w", encoding="utf-8") as file:
        file.write(line(0, "state", {"state": "running", "stage": "train", "steps": of}))
        for step in range(1, steps + 1):
            second = step / hertz
            file.write(line(second, "metric", metric(step, of, second)))
            if step % max(1, int(2 * hertz)) == 0: file.write(line(second, "system", reading(step)))
            if step % evaluate_every == 0:
                file.write(line(second, "metric", valid(step, of, second)))
                if step % (10 * evaluate_every) == 0: file.write(line(second, "sample", {"step": step, "rows": samples(step)}))
        if state not in ("killed", "running"): file.write(line(steps / hertz, "state", {"state": state}))
    if state in ("finished", "failed"): write_json(folder / "exit.json", {"state": state, "reason": "" if state == "finished" else "made to fail", "cure": ""})
    if state == "killed": write_json(folder / "process.json", {"pid": 2**22 + 1, "started": start})
    return run


def samples(step: int) -> list[dict]:
    """Rows of a sample event; one of them is hostile."""
    return [{"text": f"row at step {step}", "label": "a", "predicted": "b", "confidence": 0.75},
            {"text": "<img src=x onerror=alert(1)> \x1b[31m\u202etxt", "label": "<b>b</b>", "predicted": "b", "confidence": 0.5}]  # fmt: skip


def go_on(folder: Path, hertz: float, seconds: float, steps: int, before: int = 0, idle: bool = False) -> None:
    """Writes the run of this very process: `before` steps at once, then `hertz` a second, until told to stop."""
    from finetune_wb.process import process_now

    run = fill(folder, before, steps, hertz, state="running") if before else make_folder(folder)
    write_json(folder / "process.json", process_now())
    log, begun, step = EventLog(folder / "events.jsonl"), time.time() - before / hertz, before
    if not before: log.write("state", state="running", stage="train", steps=steps)
    end, looked = time.time() + seconds, 0.0
    while time.time() < end and step < steps:
        due = before if idle else min(steps, int((time.time() - begun) * hertz))
        while step < due:
            step += 1
            log.write("metric", **metric(step, steps, time.time() - begun))
            if step % 50 == 0: log.write("metric", **valid(step, steps, time.time() - begun))
        if time.time() - looked >= 2:
            log.write("system", **reading(step))
            looked = time.time()
        if any(json.loads(path.read_text() or "{}").get("request") in ("stop", "stop_now") for path in run.control.glob("*.json")): break
        time.sleep(min(0.05, 0.5 / hertz))
    log.write("state", state="finished")
    write_json(folder / "exit.json", {"state": "finished", "reason": "", "cure": ""})


def live(folder: Path, hertz: float = 100.0, seconds: float = 60.0, steps: int = 100_000, before: int = 0, idle: bool = False) -> subprocess.Popen:
    """A process of its own that writes the run at `folder`; the caller ends it (terminate) and waits for it."""
    command = [sys.executable, __file__, str(folder), "--hertz", str(hertz), "--seconds", str(seconds), "--steps", str(steps), "--before", str(before)]
    here = str(Path(__file__).parents[1])
    process = subprocess.Popen(command + ["--idle"] * idle, env={**os.environ, "PYTHONPATH": here}, start_new_session=True)
    for _ in range(600):
        if (folder / "process.json").exists() and (folder / "events.jsonl").exists(): return process
        assert process.poll() is None, "the writer ended at once"
        time.sleep(0.05)
    process.kill()
    raise TimeoutError(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name, default in (("hertz", 100.0), ("seconds", 30.0), ("steps", 3000), ("before", 0)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--idle", action="store_true", help="write only `before` steps, then readings of the machine")
    asked = parser.parse_args()
    go_on(asked.folder, asked.hertz, asked.seconds, asked.steps, asked.before, asked.idle)
