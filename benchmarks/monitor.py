"""What watching a run costs: training time, bytes, processor, latency and the first look: `python benchmarks/monitor.py`.

A real JupyterLab and Debian's Chromium (apt-get install chromium), both on loopback. Cases take turns; processor time is each
process's own, which neighbours disturb least. `--only bytes,latency` runs some parts and prints them without touching RESULTS.md."""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

from common import HERE, installed, load_average, machine_line, spread, table, write_section

sys.path.insert(0, str(HERE.parent / "tests"))
from fake_runs import fill, live  # noqa: E402
from lab import Notebook, open_browser, serve_lab  # noqa: E402

PREDICTED = """Written down before the first measurement: (a) events, readings and requests take 0.2 % of the trainer's processor time and the kernel 0.6 % more, 0.8 %
together; (b) an update of the panel is 3 kB on the wire, 1/10 of the callback's table after a thousand steps and 1/8 of a redrawn picture,
the kernel 1 % of a core beside 8 % for the picture; (c) 0.3 s median, for it looks twice a second; (d) 0.3 s from the widget
to the curve, 4 s from navigation, nearly all of it JupyterLab's own start; (e) 5 s for a million lines, 2 s of it beyond bare `json.loads`."""


# ---- (a) training with and without -----------------------------------------------------------------------------------

def train_alone(folder: Path, watched: bool) -> None:
    "A short training in this process; prints what it took as JSON. Without: no event, no reading, no request is written or read."
    from finetune_wb.control import Control
    from finetune_wb.events import EventLog
    from finetune_wb.run import Run
    from finetune_wb.system import SystemSampler
    from finetune_wb.training import trainer  # noqa: F401  # torch and transformers are loaded before the clock runs
    from finetune_wb.training.train import train

    spent = defaultdict(float)

    def timed(owner, name: str) -> None:
        inner = getattr(owner, name)

        def outer(*given, **named):
            start = time.thread_time()
            try: return inner(*given, **named)
            finally: spent[f"{owner.__name__}.{name}"] += time.thread_time() - start
        setattr(owner, name, outer)

    if watched:
        for owner, name in ((EventLog, "write"), (Control, "poll"), (SystemSampler, "beat"), (SystemSampler, "_sample")): timed(owner, name)
    else:
        (folder / "events.jsonl").touch()  # checkpoints look at it
        EventLog.write = lambda self, kind, **fields: {"kind": kind, **fields}
        Control.poll = lambda self, every=0.2: []
        SystemSampler.__enter__ = lambda self: self
        SystemSampler.__exit__ = lambda self, *_: None
        SystemSampler.beat = lambda self, *_, **__: None
    print("ready", flush=True)
    sys.stdin.readline()
    wall, cpu = time.perf_counter(), time.process_time()
    train(Run(folder))
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "spent": spent}), flush=True)


@contextmanager
def trainer(folder: Path, watched: bool):
    "The process of `train_alone`, imported and waiting for a line on its standard input."
    command = [sys.executable, str(Path(__file__).resolve()), "--train", str(folder), *(["--watched"] * watched)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "FTWB_PROGRESS": "off"})
    try:
        while process.stdout.readline() != "ready\n": assert process.poll() is None, "the trainer ended"
        yield process
    finally:
        process.kill()
        process.wait()


def finish(process: subprocess.Popen) -> dict:
    "Lets a waiting trainer go and gives what it printed last."
    process.stdin.write("go\n")
    process.stdin.flush()
    lines = process.stdout.read().splitlines()
    assert lines and lines[-1].startswith("{"), lines[-5:]
    return json.loads(lines[-1])


def cpu_seconds(pid: int) -> float:
    "Processor seconds a process has used."
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def tree_seconds(pid: int, word: str) -> float:
    "Processor seconds of those descendants of `pid` whose name has `word` in it."
    import psutil

    total = 0.0
    for process in psutil.Process(pid).children(recursive=True):
        try: total += cpu_seconds(process.pid) if word in process.name() else 0.0
        except psutil.NoSuchProcess: pass
    return total


def reached(what: str, value: float, aim: float, unit: str) -> str:
    "A sentence on an aim."
    return f"{what}: {value:.2g} {unit}, aim {aim:g} {unit}, {'reached' if value <= aim else '**missed**'}."


WATCH = "from finetune_wb import monitor\nmonitor({!r})"


def overhead(lab, browser, rounds: int, rows: int) -> str:
    from finetune_wb.recipe import Recipe
    from finetune_wb.run import create_run

    recipe = Recipe(data={"max_rows": rows}, method={"name": "full", "probe_first": False}, train={"threads": 1, "num_train_epochs": 1.0, "bf16": False, "logging_steps": 1})
    found = defaultdict(list)
    for number in range(rounds):
        for watched in (False, True) if number % 2 else (True, False):
            run = create_run(recipe, lab.runs, f"overhead-{number}-{'with' if watched else 'without'}")
            notebook = Notebook(lab, browser, run.id, [WATCH.format(run.id)])  # open in both cases
            pid = int(notebook.ask_kernel("import os; print(os.getpid())"))
            if watched: notebook.run(0)
            with trainer(run.folder, watched) as process:
                time.sleep(3)
                before, chrome, received = cpu_seconds(pid), tree_seconds(os.getpid(), "chrom"), notebook.received
                ended = finish(process)
                ended |= {"kernel": cpu_seconds(pid) - before, "chrome": tree_seconds(os.getpid(), "chrom") - chrome, "bytes": notebook.received - received}
                found["with" if watched else "without"].append(ended | {"steps": len(run.events("metric"))})
            notebook.close()
            lab.end_kernels()
    bare, full = found["without"], found["with"]
    base, inside = [b["cpu"] for b in bare], [sum(f["spent"].values()) for f in full]
    core = lambda part, runs: [100 * run[part] / run["wall"] for run in runs]
    lines = [
        ["trainer, without", spread(base, 2), "", spread([b["wall"] for b in bare], 1)],
        ["trainer, with", spread([f["cpu"] for f in full], 2), spread([100 * (f["cpu"] / b - 1) for f, b in zip(full, base)], 2) + " more", spread([f["wall"] for f in full], 1)],
        ["of these in calls that write events, read requests and sample, by thread", spread(inside, 3), spread([100 * i / f["cpu"] for i, f in zip(inside, full)], 2), ""],
    ]
    others = [[name, spread(core(part, bare), 2), spread(core(part, full), 2)] for name, part in (("the kernel", "kernel"), ("Chromium, which draws in software here", "chrome"))]
    total = [100 * i / f["cpu"] + kernel - idle for i, f, kernel, idle in zip(inside, full, core("kernel", full), core("kernel", bare))]
    return (f"**(a) Training time.** MiniLM, {rows} rows, one epoch of {full[0]['steps'] - 1} events on one thread, {rounds} rounds in turn, the notebook open in both cases. *Without*: no event, no "
            "reading, no request, no panel. The difference of two trainings holds the noise of both; the time inside our own calls does not.\n\n"
            + table(["", "CPU seconds", "% of the trainer's", "wall seconds"], lines) + "\n\n" + table(["beside it, % of a core", "no panel", "panel"], others)
            + f"\n\n{reached('Our own calls and what the panel adds to the kernel', statistics.median(total), 1, '%')} (Rounds: {spread(total, 2)}.)")


# ---- (b) bytes and processor while live -----------------------------------------------------------------------------------

PICTURE = """import io, json, time
from pathlib import Path
from matplotlib.figure import Figure
from IPython.display import Image, display
path, at, points, handle, end = Path({folder!r}, "events.jsonl"), 0, [], None, time.time() + {seconds}
while time.time() < end:
    time.sleep(0.5)
    with path.open("rb") as file:
        file.seek(at)
        new = file.read()
    new = new[: new.rfind(b"\\n") + 1]
    at += len(new)
    points += [(e["step"], e["train_loss"]) for e in map(json.loads, new.splitlines()) if "train_loss" in e]
    figure = Figure((6, 2.4), layout="tight")
    figure.subplots().plot(*zip(*points))
    figure.savefig(png := io.BytesIO(), dpi=72)  # the resolution of the inline backend
    if handle: handle.update(Image(png.getvalue()))
    else: handle = display(Image(png.getvalue()), display_id=True)
"""
CALLBACK = """import time
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.utils.notebook import NotebookProgressCallback, NotebookTrainingTracker
NotebookTrainingTracker.update_every = {every}
arguments, control = TrainingArguments("out", report_to=[]), TrainerControl()
state, callback = TrainerState(max_steps=100_000, num_train_epochs=3), NotebookProgressCallback()
callback.on_train_begin(arguments, state, control)
def step(number):
    state.global_step, state.epoch = number, 3 * number / 100_000
    callback.on_step_end(arguments, state, control)
    if {table} and number % {log} == 0: callback.on_log(arguments, state, control, logs={{"loss": 2 / number}})
if {table}: callback.training_tracker.inner_table += [[n, 2 / n] for n in range({log}, {before} + 1, {log})]  # rows of the steps before
begun, number, end = time.time(), {before}, time.time() + {seconds}
while time.time() < end:
    time.sleep({log} / {hertz} / 10)
    while number < {before} + (time.time() - begun) * {hertz}: number += 1; step(number)
"""


def traffic(lab, browser, rounds: int, seconds: float, before: int, hertz: float, log: int) -> str:
    "Bytes to the page and the kernel's processor time, of ways to show the same training at the same pace."
    measured, lasting = defaultdict(list), seconds + 14
    common = {"before": before, "hertz": hertz, "log": log, "seconds": lasting}
    cases = {
        "RunMonitor, all charts and readings": None,
        "matplotlib picture of one loss, redrawn twice a second": PICTURE,
        "NotebookProgressCallback, held to two updates a second": CALLBACK.format(every=0.5, table=True, **common),
        "NotebookProgressCallback, as it comes": CALLBACK.format(every=0.2, table=True, **common),
        "NotebookProgressCallback, as it comes, no row a log": CALLBACK.format(every=0.2, table=False, **common),
    }
    for number in range(rounds):
        for index, (name, source) in enumerate(cases.items()):
            folder = lab.runs / f"traffic-{number}-{index}"
            writer = None if source and "transformers" in source else pace(folder, hertz, log, before, lasting + 40)
            cell = WATCH.format(folder.name) if source is None else source if writer is None else source.format(folder=str(folder), seconds=lasting)
            notebook = Notebook(lab, browser, folder.name, [cell])
            try:
                pid = int(notebook.ask_kernel("import os; print(os.getpid())"))
                notebook.start(0)
                notebook.page.wait_for_function(LIVE, timeout=60_000)
                notebook.page.wait_for_timeout(4000)
                received, cpu, clock = notebook.received, cpu_seconds(pid), time.perf_counter()
                notebook.page.wait_for_timeout(1000 * seconds)
                passed = time.perf_counter() - clock
                measured[name].append({"bytes": (notebook.received - received) / passed, "cpu": 100 * (cpu_seconds(pid) - cpu) / passed})
            finally:
                notebook.close()
                lab.end_kernels()
                if writer: writer.kill(); writer.wait()
    ours = [m["bytes"] for m in measured["RunMonitor, all charts and readings"]]
    lines = [[name, spread([m["bytes"] / hertz / 1000 for m in found], 2), spread([m["bytes"] / 1000 for m in found], 1), spread([m["cpu"] for m in found], 1),
              spread([o / m["bytes"] for o, m in zip(ours, found)], 2)] for name, found in measured.items()]
    ratios = {name: statistics.median(o / m["bytes"] for o, m in zip(ours, found)) for name, found in measured.items() if not name.startswith("RunMonitor")}
    verdict = "\n".join(f"- {reached(f'Bytes beside {name}', ratio, 0.1, 'of them')}" for name, ratio in ratios.items())
    return (f"**(b) While live.** {hertz:.0f} steps a second, a log every {log} steps, {before:,} steps done before; {seconds:.0f} s of each, {rounds} rounds in turn. "
            "Bytes are all that arrived on the page's websocket.\n\n"
            + table(["", "kB a step", "kB a second", "kernel, % of a core", "RunMonitor's bytes beside it"], lines) + f"\n\n{verdict}")


LIVE = """() => document.querySelector('.ftwb-chart[data-chart=loss]')?.dataset.points > 0
    || document.querySelector('.jp-OutputArea-output img, .jp-OutputArea-output progress')"""


def pace(folder: Path, hertz: float, log: int, before: int, seconds: float) -> subprocess.Popen:
    "A process that writes one metric event every `log` steps, as training does."
    return live(folder, hertz / log, seconds, 10_000_000, before // log)


# ---- (c) latency --------------------------------------------------------------------------------------------------------------

PIXELS = """() => {
    const canvas = document.querySelector('.ftwb-chart[data-chart=loss] canvas'), seen = window.ftwbSeen = [];
    let last = null;
    const look = () => {
        const now = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
        if (last && now.some((value, i) => value !== last[i])) seen.push(Date.now());
        last = now;
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""


def latency(lab, browser, events: int, sizes: tuple[int, ...]) -> str:
    "Milliseconds from an event written to the first frame in which the loss chart's pixels are others."
    from finetune_wb.events import EventLog
    from finetune_wb.process import process_now
    from finetune_wb.run import write_json

    lines, medians = [], []
    for size in sizes:
        folder = lab.runs / f"latency-{size}"
        fill(folder, size, 2 * size, state="running")
        write_json(folder / "process.json", process_now())  # whoever writes the events is the run's process
        notebook, log, written = Notebook(lab, browser, folder.name, [WATCH.format(folder.name)]), EventLog(folder / "events.jsonl"), []
        notebook.run(0)
        notebook.until(f"() => document.querySelector('.ftwb-chart[data-chart=loss]')?.dataset.points >= {size}", seconds=60)
        notebook.page.wait_for_timeout(2000)
        notebook.page.evaluate(PIXELS)
        jitter = random.Random(0)
        for number in range(events):
            notebook.page.wait_for_timeout(1000 * jitter.uniform(1.0, 2.0))
            step = size + (number + 1) * size // 40
            written.append(time.time())
            log.write("metric", step=step, epoch=step / size, seconds=step / 100, train_loss=1 + number % 7 / 10)
        notebook.page.wait_for_timeout(3000)
        seen = notebook.page.evaluate("() => window.ftwbSeen")
        took = [next((at - 1000 * start for at in seen if at >= 1000 * start), None) for start in written]
        assert None not in took, f"{took.count(None)} of {events} never changed a pixel"
        medians.append(statistics.median(took) / 1000)
        lines.append([f"{size:,}", len(took), spread(took, 0), f"{statistics.quantiles(took, n=20)[-1]:.0f}"])
        notebook.close()
        lab.end_kernels()
    return "**(c) From an event written to a pixel changed.** Events at random moments, the loss chart read back in every animation frame.\n\n" + table(
        ["points before", "events", "ms, median (range)", "ms, 95th percentile"], lines) + f"\n\n{reached('Median, the worse of the two', max(medians), 1, 's')}"


# ---- (d) the first look after a reload ------------------------------------------------------------------------------------------

CLOCK = """(() => {
    const seen = window.ftwbSeen = {};
    const idle = () => window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle';
    const look = () => {
        const figure = document.querySelector('.ftwb-chart[data-chart=loss]');
        if (!seen.lab && window.jupyterapp?.shell?.currentWidget?.context?.isReady) seen.lab = performance.now();
        if (!seen.kernel && idle()) seen.kernel = performance.now();
        if (!seen.widget && document.querySelector('.ftwb')) seen.widget = performance.now();
        if (figure?.dataset.points >= POINTS) {
            const canvas = figure.querySelector('canvas'), data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let coloured = 0;
            for (let i = 0; i < data.length; i += 4) coloured += data[i + 3] > 128 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 60;
            if (coloured > 200) { seen.curve = performance.now(); return; }
        }
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})()"""


def reload(lab, browser, rounds: int, points: int) -> str:
    "Seconds from navigation, and from the widget's appearance, to the curve."
    fill(lab.runs / "reload", points, points)
    notebook = Notebook(lab, browser, "reload", [WATCH.format("reload")])
    notebook.run(0)
    there = "() => window.ftwbSeen?.curve"
    notebook.until(f"() => document.querySelector('.ftwb-chart[data-chart=loss]')?.dataset.points >= {points}", seconds=60)
    notebook.save()
    notebook.page.add_init_script(CLOCK.replace("POINTS", str(points)))
    found = []
    for number in range(rounds + 1):
        received = notebook.received
        notebook.page.goto(lab.address(notebook.file))
        notebook.until(there, seconds=60)
        if number: found.append(notebook.page.evaluate("() => window.ftwbSeen") | {"bytes": notebook.received - received})
    notebook.close()
    bare = Notebook(lab, browser, "bare", ["1 + 1"])
    bare.page.add_init_script(CLOCK.replace("POINTS", "1"))
    empty = []
    for _ in range(rounds):
        bare.load()
        empty.append(bare.page.evaluate("() => window.ftwbSeen"))
    bare.close()
    lab.end_kernels()
    between = lambda a, b: spread([(f[b] - (f[a] if a else 0)) / 1000 for f in found], 2)
    lines = [["widget on the page → curve on screen", between("widget", "curve")], ["kernel connected → curve on screen", between("kernel", "curve")],
             ["navigation → curve on screen", between(None, "curve")], ["navigation → notebook open, of these", between(None, "lab")],
             ["navigation → kernel idle in a notebook without a panel", spread([e["kernel"] / 1000 for e in empty], 2)]]
    return (f"**(d) A reload with {points:,} points.** {rounds} reloads after one that was dropped; {spread([f['bytes'] / 1000 for f in found], 0)} kB came on the websocket each "
            "time.\n\n" + table(["", "seconds"], lines) + f"\n\n{reached('From the widget to the curve', statistics.median(f['curve'] - f['widget'] for f in found) / 1000, 1, 's')}")


# ---- (e) a long file ----------------------------------------------------------------------------------------------------------------

def load(rounds: int, lines: int) -> str:
    "Seconds to read a long events file into columns, beside bare json."
    from finetune_wb.series import Series

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "long"
        fill(folder, int(lines / 1.021), evaluate_every=100, hertz=500)
        path, found = folder / "events.jsonl", defaultdict(list)
        count = sum(1 for _ in path.open("rb"))
        for _ in range(rounds):
            start = time.process_time()
            for line in path.open("rb"): json.loads(line)
            middle = time.process_time()
            series = Series(folder)
            while series.update(): pass
            end = time.process_time()
            found["json.loads a line, nothing kept"].append(middle - start)
            found["Series, all columns"].append(end - middle)
        size = path.stat().st_size / 1e6
    rows = [[name, spread(values, 2), spread([v / b for v, b in zip(values, found["json.loads a line, nothing kept"])], 2)] for name, values in found.items()]
    return f"**(e) A file of {count:,} lines,** {size:.0f} MB, {rounds} rounds in turn.\n\n" + table(["", "CPU seconds", "of the first line's"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("overhead", "bytes", "latency", "reload", "load")
    parser.add_argument("--only", default=",".join(parts), help=f"some of {', '.join(parts)}; RESULTS.md is written when all run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1500, help="rows of the training in (a)")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--watched", action="store_true", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.train: return train_alone(o.train, o.watched)
    from finetune_wb.machine import machine

    wanted, start, texts = o.only.split(","), load_average(), []
    with tempfile.TemporaryDirectory() as place, open_browser() as browser, serve_lab(Path(place) / "lab") as lab:
        makers = {"overhead": lambda: overhead(lab, browser, o.rounds, o.rows), "bytes": lambda: traffic(lab, browser, max(2, o.rounds // 2 + 1), 20, 1000, 20, 10),
                  "latency": lambda: latency(lab, browser, 30, (1000, 100_000)), "reload": lambda: reload(lab, browser, o.rounds, 100_000),
                  "load": lambda: load(max(2, o.rounds // 2), 1_000_000)}
        for part in parts:
            if part in wanted:
                texts.append(makers[part]())
                print(texts[-1], end="\n\n", flush=True)
        chromium = browser.version
    text = "\n\n".join(["## The monitor: what watching costs", f"Medians (ranges). Chromium {chromium}, headless, no GPU. Load at start {start}, at the end {load_average()}.",
                        PREDICTED, *texts, machine_line(machine(), installed())])
    if set(parts) <= set(wanted): write_section("monitor", text)


if __name__ == "__main__":
    main()
