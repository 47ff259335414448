"""This project's default recipe beside what else one could do with MiniLM and Banking77.

Every run has a process of its own and adds one line to classification.jsonl; the table is made from those lines, so that long
runs can be collected one by one:

    python benchmarks/classification.py --rounds 3                       # all, in turn
    python benchmarks/classification.py --only ours embeddings           # some
    python benchmarks/classification.py --only trainer-5e-5 --cap 1800   # at most half an hour of training
    python benchmarks/classification.py --table                          # only write the table again
    python benchmarks/classification.py --every 25 --steps 4 --log try.jsonl   # try it out
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import (
    DATA,
    HERE,
    check_data,
    installed,
    load_average,
    machine_line,
    median,
    read_rows,
    spread,
    table,
    write_sample,
    write_section,
)

LOG = HERE / "classification.jsonl"
TRAINER = "transformers.Trainer, the guide's"
CONTENDERS = {  # name: kind in contenders.py, title, what it sets
    "ours": ("ours", "**finetune_wb, default recipe**", {}),
    "ours-seed-1": ("ours", "finetune_wb, other split and batch order (seeds 1)", {"seed": 1}),
    "ours-seed-2": ("ours", "finetune_wb, other split and batch order (seeds 2)", {"seed": 2}),
    "trainer-2e-5": ("trainer", f"(a) {TRAINER}, fp32, lr 2e-5", {"learning_rate": 2e-5}),
    "trainer-5e-5": ("trainer", f"(a) {TRAINER}, fp32, lr 5e-5", {"learning_rate": 5e-5}),
    "setfit": ("setfit", "(b) SetFit, default", {"num_iterations": None}),
    "setfit-20": ("setfit", "(b) SetFit, num_iterations=20", {"num_iterations": 20}),
    "embeddings": ("embeddings", "(c) embeddings fp32 + logistic regression", {}),
}
TARGETS = (0.93, 0.935)
NOTES = """Rows: Banking77, {train:,} train and {test:,} test rows, 77 classes, one standard error at 94 % is 0.43 points; model: all-MiniLM-L6-v2. Each
run is a process of its own; medians (range) over runs. The contenders of one call take turns; the log says under which load each began.

- *train s* and *CPU s* count from before the first import to the trained model: imports, reading rows, tokenising,
  loading the model, and for finetune_wb the checks, its own valid split (10 % of train, which the others may train on) and every evaluation on it. Predicting test
  rows is left out. *total s* is the whole process, with evaluation and, for finetune_wb, baselines, bootstrap and report.
- *s to 93 %* is the first point of a run's curve with that **test** accuracy. (a) has a point after each epoch. finetune_wb has two: the head on
  frozen features, and the finished run; what lies between them was not looked at, so its seconds are if anything too many.
  It never reads the test rows while it trains; (a) is stopped by them, which favours it.
- *times faster*: seconds to {target:.1%} of the faster (a) over this one's. ≥: (a) had not got there when it was cut off.
  Only where most runs got there.
- (x): extrapolated from a few steps. –: not measured. not: not reached.
"""


def model_folder() -> str:
    "MiniLM on this disk."
    from finetune_wb.models.catalog import find_model
    from finetune_wb.recipe import ModelSpec

    return str(find_model(ModelSpec()).folder)


def run_one(name: str, options: dict, python: str) -> dict:
    "One contender in a process of its own; a failure becomes the reason why it was skipped."
    kind, _, own = CONTENDERS[name]
    record = {"contender": name, "date": f"{datetime.date.today()}", "every": options["every"], "load": load_average(),
              "environment": {k: os.environ[k] for k in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if k in os.environ}}
    if kind == "setfit" and subprocess.run([python, "-c", "import setfit"], capture_output=True).returncode:
        return {**record, "skipped": "setfit can't be imported here; --setfit-python names an interpreter where it can"}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "options.json", Path(folder) / "result.json"
        files[0].write_text(json.dumps({**options, **own}))
        start = time.perf_counter()
        ended = subprocess.run([python, str(HERE / "contenders.py"), kind, *map(str, files)], cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stderr=subprocess.PIPE, text=True)
        total = time.perf_counter() - start
        if not files[1].exists():  # a crash while Python shuts down costs nothing
            print(ended.stderr[-2000:], file=sys.stderr)
            return {**record, "skipped": next((line for line in reversed(ended.stderr.splitlines()) if "Error" in line), f"ended with {ended.returncode}")[:300]}
        return {**record, "total_seconds": round(total, 1), **json.loads(files[1].read_text()), "load_after": load_average(), "versions": installed(python)}


def reached(record: dict, target: float) -> float | None:
    "Seconds to the first point with that accuracy."
    return next((seconds for seconds, _, accuracy in record["curve"] if accuracy is not None and accuracy >= target), None)


def typical(runs: list[dict], target: float) -> float | None:
    "Median seconds to the target, if most runs got there."
    times = [reached(r, target) for r in runs]
    return median(times) if 2 * sum(t is not None for t in times) > len(times) else None


def to_target(runs: list[dict], target: float) -> str:
    "Median seconds, how often it was reached where not always, or how long it was tried in vain."
    if all(r["curve"][-1][2] is None for r in runs):
        return "–"
    times = [t for r in runs if (t := reached(r, target)) is not None]
    if not times:
        return f"not in {max(r['curve'][-1][0] for r in runs):,.0f}"
    return spread(times, 0) + ("" if len(times) == len(runs) else f", {len(times)} of {len(runs)} runs")


def faster(runs: list[dict], peers: list[list[dict]], target: float) -> str:
    "How many times sooner than the fastest of `peers` these runs reach the target."
    own = typical(runs, target)
    if own is None or not peers:
        return "–"
    done = [typical(peer, target) for peer in peers]
    if any(done):
        return f"{min(t for t in done if t) / own:.1f}×"
    return f"≥ {min(median([r['curve'][-1][0] for r in peer]) for peer in peers) / own:.1f}×"


def row(name: str, runs: list[dict], peers: list[list[dict]]) -> list[str]:
    "One line of the table."
    ends, x = [r["curve"][-1] for r in runs], " (x)" if runs[0].get("extrapolated") else ""
    percent = spread([100 * e[2] for e in ends if e[2] is not None], 2)
    return [CONTENDERS[name][1], len(runs), spread([e[0] for e in ends], 0) + x, "–" if x else spread([r["total_seconds"] for r in runs], 0), spread([e[1] for e in ends], 0) + x,
            spread([r["peak_rss_mb"] for r in runs], 0), percent, *(to_target(runs, t) for t in TARGETS), faster(runs, peers, TARGETS[-1])]


def section(records: list[dict], machine: dict, rows: tuple[int, int]) -> str:
    "The section of RESULTS.md: table, curves, machine."
    found = {name: [r for r in records if r["contender"] == name and "curve" in r] for name in CONTENDERS}
    peers = [runs for name, runs in found.items() if CONTENDERS[name][0] == "trainer" and runs]
    header = ["", "runs", "train s", "total s", "CPU s", "peak RSS MB", "test accuracy %", "s to 93 %", "s to 93.5 %", "times faster"]
    lines = [table(header, [row(name, runs, peers) for name, runs in found.items() if runs]), "", "Curves, latest run of each (seconds: test accuracy %):", ""]
    for name, runs in found.items():
        points = "; ".join(f"{s:,.0f}: {100 * a:.2f}" for s, _, a in runs[-1]["curve"] if a is not None) if runs else ""
        train = f" Train accuracy {100 * runs[-1]['train_accuracy']:.2f}." if runs and "train_accuracy" in runs[-1] else ""
        if runs:
            lines.append(f"- {name}: {points + '. ' if points else ''}{runs[-1]['note']}.{train} Load at start {', '.join(str(r['load']) for r in runs)}.")
    for name in CONTENDERS:
        skipped = [r["skipped"] for r in records if r["contender"] == name and "skipped" in r]
        if skipped and not found[name]:
            lines.append(f"- {name}: skipped; {skipped[-1]}.")
    versions = {k: v for r in records for k, v in sorted(r.get("versions", {}).items(), key=lambda kv: kv[0] != "setfit") if r["contender"] != "setfit" or k == "setfit"}
    lines += ["", f"{machine_line(machine, versions)} Runs of {min(r['date'] for r in records)} to {max(r['date'] for r in records)}."]
    return "## Classification: the default recipe beside its peers\n\n" + NOTES.format(train=rows[0], test=rows[1], target=TARGETS[-1]) + "\n" + "\n".join(lines)


def options() -> argparse.Namespace:
    "The command line."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.csv and test.csv")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME", help=", ".join(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=1, help="how often each contender runs, in turn")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of (a), over which its learning rate falls")
    parser.add_argument("--target", type=float, default=TARGETS[-1], help="(a) stops when its test accuracy passes this")
    parser.add_argument("--cap", type=float, default=3600, help="(a) stops after this many seconds of training")
    parser.add_argument("--steps", type=int, default=0, help="steps of (a) and (b); 0: all of (a)'s, 20 of (b)'s")
    parser.add_argument("--setfit-python", default=sys.executable, help="interpreter that has setfit")
    parser.add_argument("--every", type=int, default=1, help="take one row in so many, to try things out")
    parser.add_argument("--log", type=Path, default=LOG, help="file of JSON lines, one a run")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table from the log")
    return parser.parse_args()


def main() -> None:
    o = options()
    data, log = check_data(o.data.resolve()), o.log.resolve()
    with tempfile.TemporaryDirectory() as folder:
        if o.every > 1:
            data = write_sample(data, Path(folder), o.every)
        common = {"train": str(data / "train.csv"), "test": str(data / "test.csv"), "every": o.every, "target": o.target, "cap": o.cap, "epochs": o.epochs, "steps": o.steps}
        if not o.table:
            common["model"] = model_folder()
        for number in range(0 if o.table else o.rounds):
            for name in o.only:
                print(f"round {number + 1} of {o.rounds}: {name}, load {load_average()}", flush=True)
                record = run_one(name, common, o.setfit_python if name.startswith("setfit") else sys.executable)
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                print("  " + (record.get("skipped") or f"{record['curve'][-1]} {record['note']}"), flush=True)
        rows = tuple(len(read_rows(data / name)[0]) for name in ("train.csv", "test.csv"))
    from finetune_wb.machine import machine

    records = [r for line in log.read_text(encoding="utf-8").splitlines() if (r := json.loads(line))["every"] == o.every] if log.exists() else []
    if not records:
        sys.exit(f"{log.name}: no runs yet")
    text = section(records, machine(), rows)
    print(text)
    if o.every == 1:
        write_section("classification", text)


if __name__ == "__main__":
    main()
