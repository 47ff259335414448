"""How long `load_data` takes and how much it holds, by rows and kind of file, and on bad input: `python benchmarks/data_load.py`."""

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from common import installed, load_average, machine_line, peak_rss_mb, spread, table, write_section

SIZES = (10_000, 100_000, 1_000_000)
SPLITS = {"stratified": {}, "by customer": {"group": "customer"}, "by time": {"split": "time", "time": "day"}, "one of five folds": {"folds": 5, "fold": 1}}


def rows(n: int, classes: int = 77, seed: int = 0):
    "Rows of a text of about ten made-up words, a label, and two further columns; one text in fifty is a copy with another ending."
    chance, letters = random.Random(seed), "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(3, 9))) for _ in range(20_000)]
    text = ""
    for number in range(n):
        text = f"{text}!" if number % 50 == 49 else " ".join(chance.choices(words, k=chance.randint(6, 14)))
        label = number % classes if number % 50 != 49 else (number - 1) % classes
        yield text, f"class {label}", f"c{chance.randrange(n // 5 + 1)}", f"20{chance.randint(10, 24)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"


def write(kind: str, n: int, folder: Path) -> Path:
    "The file that a measurement reads."
    if kind == "identical":
        made, kind = [("Where is my order?", "late", "c1", "2024-01-01")] * n, "csv"
    elif kind == "long":
        made, kind = [*rows(n), ("word " * 10_000_000, "class 0", "c1", "2024-01-01")], "csv"
    elif kind == "classes":
        made, kind = list(rows(n, classes=10_000)), "csv"
    else:
        made = list(rows(n))
    header, path = ("text", "label", "customer", "day"), folder / f"rows.{'parquet' if kind == 'vectors' else kind}"
    if kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *made])
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(header, row))) + "\n" for row in made), encoding="utf-8")
    else:
        import numpy as np
        import pyarrow
        from pyarrow import parquet

        columns = {name: [row[i] for row in made] for i, name in enumerate(header)}
        if kind == "vectors":
            columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.random.default_rng(0).random(n * 768, np.float32)), 768).cast(pyarrow.list_(pyarrow.float32()))
        parquet.write_table(pyarrow.table(columns), path)
    return path


def measured(path: str, fields: dict) -> dict:
    "Seconds, peak memory and outcome of one `load_data`, in this process."
    from finetune_wb.data.load import load_data
    from finetune_wb.errors import DataError
    from finetune_wb.recipe import DataSpec

    for name in ("pandas", "scipy.sparse.csgraph"):  # whoever loads rows has imported them once
        import_module(name)
    before, start, spent = peak_rss_mb(), time.perf_counter(), time.process_time()
    try:
        data = load_data(DataSpec(source=path, **fields))
        outcome = f"{len(data.train):,} / {len(data.valid):,} / {len(data.test):,}"
    except DataError as error:
        outcome = str(error).split("\n")[0].split(": ", 1)[-1]
    return {"cpu": time.process_time() - spent, "seconds": time.perf_counter() - start, "before": before, "peak": peak_rss_mb(), "outcome": outcome}


def in_turn(path: Path, fields: dict, rounds: int) -> tuple[list, float]:
    "A line of the table, and the memory of a process before it reads; each round is a process of its own."
    found = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, __file__, "--one", str(path), json.dumps(fields)], check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
    line = [spread([one["cpu"] for one in found]), spread([one["seconds"] for one in found]), f"{max(one['peak'] for one in found):,.0f}", found[0]["outcome"]]
    return line, found[0]["before"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="processes for each line; a million rows are read once")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="leave out tables with more rows than this")
    parser.add_argument("--one", nargs=2, metavar=("PATH", "FIELDS"), help="measure one file in this process and print the figures")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(arguments.one[0], json.loads(arguments.one[1]))))
        return
    load, lines = load_average(), []
    cases = [(kind, n, "stratified") for kind in ("csv", "jsonl", "parquet") for n in SIZES] + [("csv", 100_000, split) for split in SPLITS if split != "stratified"]
    cases += [("identical", 1_000_000, "stratified"), ("long", 1_000, "stratified"), ("classes", 100_000, "stratified"), ("vectors", 100_000, "stratified")]
    names = {"identical": "csv, one row a million times", "long": "csv, one more row of 50 MB", "classes": "csv, 10,000 classes", "vectors": "parquet, a column of 768 numbers a row"}
    with tempfile.TemporaryDirectory() as folder:
        for kind, n, split in cases:
            if n > arguments.most:
                continue
            path = write(kind, n, Path(folder))
            size = path.stat().st_size / 1e6
            line, before = in_turn(path, SPLITS[split], 1 if n == SIZES[-1] else arguments.rounds)
            lines.append([names.get(kind, kind), f"{n:,}", f"{size:,.1f}", split, *line])
            print(*lines[-1], sep=" | ", flush=True)
    from finetune_wb.machine import machine

    told = "of one process for each line" if arguments.rounds == 1 else f"median and range of {arguments.rounds} processes for each line, one for a million rows"
    text = f"""## Loading and splitting

`load_data` from a file on disk to a frozen split: read, checked, near copies grouped, split, fingerprinted. Texts of 6 to 14 made-up words, 77 classes, two further columns that travel along; one text in fifty is a
copy of the one before. Seconds of the processor and of the clock, {told}, the most memory the process held ({before:,.0f} MB of it before it read), and the rows of
train / valid / test, or what the loader said. Load at start {load}: with other work on the machine, the clock says more about that work.

{table(["file", "rows", "MB", "split", "CPU s", "wall s", "peak MB", "train / valid / test"], lines)}

{machine_line(machine(), installed())}"""
    print(text)
    write_section("data_load", text)


if __name__ == "__main__":
    main()
