"""The whole data gate on 10,000, 100,000 and 1,000,000 short rows, and what it finds in Banking77 and GSM8K as published (CLINC150, whose splits are three files in one, is read by data_copies.py and data_labels.py): `python benchmarks/data_gate.py`.

Every size is a process of its own, on as many threads as the machine gives; rows are Banking77's with about a third of their words drawn anew, so that they are as long, as
many-classed and as different from each other as real ones. Without embeddings, without a tokenizer. The section of RESULTS.md is written from what this call measured."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict

import numpy as np
from common import DATA, check_data, installed, load_average, machine_line, peak_rss_mb, read_rows, table, write_section

FOLDER = DATA.parent


def drawn(count: int):
    "Rows like Banking77's, as many as asked for."
    import pandas as pd

    text, label = (np.array(column, dtype=object) for column in read_rows(DATA / "train.csv"))
    random = np.random.default_rng(0)
    words = np.array(sorted({word for row in text for word in row.split()}), dtype=object)
    places = random.integers(0, len(text), count)
    texts = []
    for row in text[places]:
        own = np.array(row.split(), dtype=object)
        other = random.random(len(own)) < 0.33
        own[other] = random.choice(words, int(other.sum()))
        texts.append(" ".join(own))
    return pd.DataFrame({"text": texts, "label": label[places], "origin": [f"drawn.csv:{i + 2}" for i in range(count)]})


def measured(count: int) -> dict:
    "Seconds of each check and of all, and memory over what the rows themselves take."
    from finetune_wb.data.gate import inspect
    from finetune_wb.data.split import Dataset

    frame = drawn(count)
    cuts = (int(0.7 * count), int(0.8 * count))
    parts = [part.reset_index(drop=True) for part in (frame[: cuts[0]], frame[cuts[0] : cuts[1]], frame[cuts[1] :])]
    dataset = Dataset(*parts, tuple(sorted(set(parts[0]["label"]))), "", "", (), "drawn")
    marks, before, cpu = [], peak_rss_mb(), time.process_time()
    found = inspect(dataset, on_check=lambda name: marks.append((name, time.perf_counter())))
    cpu = time.process_time() - cpu
    marks.append(("", time.perf_counter()))
    checks = {name: end - begin for (name, begin), (_, end) in zip(marks, marks[1:], strict=False)}
    return {"rows": count, "seconds": found.seconds, "cpu": cpu, "before_mb": before, "peak_mb": peak_rss_mb(), "checks": checks, "found": len(found)}


def published() -> dict[str, list[tuple[str, str, int]]]:
    "What is found in the data sets as they were published."
    from finetune_wb.data.gate import inspect
    from finetune_wb.data.load import load_data
    from finetune_wb.recipe import DataSpec

    found = {}
    for name in ("banking77", "gsm8k"):
        if (FOLDER / name).is_dir():
            dataset = load_data(DataSpec(source=str(FOLDER / name)))
            found[name] = [(f.severity, f.kind, f.what) for f in inspect(dataset)]
    return found


def section(sizes: list[dict], found: dict, load: float) -> str:
    from finetune_wb.machine import machine

    shares, biggest = defaultdict(list), sizes[-1]
    for line in sizes:
        for name, seconds in line["checks"].items():
            shares[name].append(seconds)
    slow = sorted(shares, key=lambda name: -shares[name][-1])[:8]
    speed = table(["rows", "seconds", "CPU-seconds", "peak memory MB (of the process)", "before looking MB", *slow],
                  [[f"{line['rows']:,}", f"{line['seconds']:.1f}", f"{line['cpu']:.1f}", f"{line['peak_mb']:,.0f}", f"{line['before_mb']:,.0f}", *(f"{line['checks'].get(name, 0):.1f}" for name in slow)] for line in sizes])  # fmt: skip
    pages = "\n\n".join(f"**{name}**, as published:\n\n" + table(["", "kind", "what"], [[severity, kind, what.replace("|", "\\|")] for severity, kind, what in lines]) for name, lines in found.items())
    return f"""## The data gate as a whole

Everything that `inspect` looks for without embeddings and tokenizer, on rows like Banking77's (about a third of the words drawn anew), 77 classes, seven tenths of them train; load at the start {load:.1f}. The
eight columns at the right are the seconds of the slowest checks at {biggest["rows"]:,} rows; the first check that compares texts pays for all that do.

{speed}

{pages}

{machine_line(machine(), installed())}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", type=int, help="measure this size in this process and print a line")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="into RESULTS.md")
    o = parser.parse_args()
    check_data(DATA)
    if o.one:
        print(json.dumps(measured(o.one)))
        return
    load, sizes = load_average(), []
    for count in o.sizes:
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run([sys.executable, __file__, "--one", str(count)], capture_output=True, text=True, cwd=folder, env={**os.environ, "GOMP_SPINCOUNT": "0"}, start_new_session=True)
        if ended.returncode:
            sys.exit(ended.stderr[-2000:])
        sizes.append(json.loads(ended.stdout.splitlines()[-1]))
        print({name: value for name, value in sizes[-1].items() if name != "checks"}, flush=True)
    text = section(sizes, published(), load)
    print(text)
    if o.write:
        write_section("data_gate", text)


if __name__ == "__main__":
    main()
