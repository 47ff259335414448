"""What a million rows cost in the data panel: opening, paging, searching, sorting, bytes and memory: `python benchmarks/data_panel.py`.

The kernel's half is timed in a process of its own, the browser's in a real JupyterLab with Debian's Chromium on loopback. Aims are those of the issue:
first rows in about a second, search within a second, a page within 0.1 s. `--rows 100000` tries it out and leaves RESULTS.md alone."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import HERE, installed, load_average, machine_line, peak_rss_mb, table, write_section

sys.path.insert(0, str(HERE.parent / "tests"))

WORDS = "card rate money bank transfer account pin lost please help exchange dollar euro machine refund fee limit top up statement".split()
ROUNDS = 5


def write_rows(folder: Path, rows: int) -> None:
    "Two texts, a label of 77 classes and a name, as parquet, csv and jsonl."
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv, parquet

    random, words = np.random.default_rng(0), np.array(WORDS)
    def texts(length): return [" ".join(row) for row in words[random.integers(0, len(words), (rows, length))].tolist()]
    made = pa.table({"text": [f"{text} {i}" for i, text in enumerate(texts(12))], "label": [f"class {i}" for i in random.integers(0, 77, rows)], "note": texts(6), "who": [f"user {i}" for i in random.integers(0, 100_000, rows)]})
    parquet.write_table(made, folder / "rows.parquet")
    csv.write_csv(made, folder / "rows.csv")
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for batch in made.to_batches(50_000): file.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())


def kernel_half(file: Path) -> None:
    "Times of one process as JSON; the panel with a wire that counts what it sends."
    import comm

    start = time.perf_counter()
    from finetune_wb import DataPanel
    from finetune_wb.panels import data as module

    found = {"import": time.perf_counter() - start}

    class Wire(comm.DummyComm):
        sent, _reply_subshell_for = 0, None
        def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys): type(self).sent += len(json.dumps(data or {}).encode())

    comm.create_comm = Wire
    module._where = lambda live: "widget"
    before, start = peak_rss_mb(), time.perf_counter()
    panel = DataPanel(file)
    found["open"], found["opening"] = time.perf_counter() - start, Wire.sent
    found["script"] = len(panel.view._esm) + len(panel.view._packed)
    panel.wait()
    found["profiles"] = time.perf_counter() - start

    def timed(name, ask):
        taken = []
        for i in range(ROUNDS):
            sent, start = Wire.sent, time.perf_counter()
            ask(i)
            taken.append(time.perf_counter() - start)
            found[name + " bytes"] = Wire.sent - sent
        found[name] = sorted(taken)[ROUNDS // 2]
    rows = len(panel._viewing.base)
    timed("page", lambda i: panel.show(at=(i + 1) * rows // 150))
    timed("search, many rows", lambda i: panel.show(query=f"dollar {WORDS[i]}"))
    timed("search, one row", lambda i: panel.show(query=f" {rows - 1 - i}"))
    timed("filter", lambda i: panel.show(query="", where={"label": ["is", f"class {i}"]}))
    panel.show(where={})
    for name in ("text", "label"):
        start = time.perf_counter()
        panel.show(sort=name)
        found[f"sort by {name}, first time"] = time.perf_counter() - start
    timed("sort, again", lambda i: panel.show(sort=("text", "label")[i % 2]))
    found["memory"] = peak_rss_mb() - before
    print(json.dumps(found))


def browser_half(folder: Path) -> dict:
    "Seconds from running the cell to rows on the screen, and what a key takes there."
    from lab import Notebook, open_browser, serve_lab

    found = {}
    with serve_lab(folder / "lab") as lab, open_browser() as browser:
        (lab.folder / "rows.parquet").symlink_to(folder / "rows.parquet")
        notebook = Notebook(lab, browser, "rows", ["import finetune_wb.panels.data", "from finetune_wb import DataPanel\npanel = DataPanel('rows.parquet')\npanel"])
        notebook.run(0)
        received, start = notebook.received, time.perf_counter()
        notebook.start(1)
        notebook.until("() => document.querySelectorAll('.ftwb-dp tbody tr[data-place]').length === 15", seconds=120)
        found["first rows"], found["received"] = time.perf_counter() - start, notebook.received - received
        notebook.until("() => document.querySelectorAll('.ftwb-dp .ftwb-card p').length >= 5 && document.querySelector('.ftwb-dp .ftwb-bar').dataset.idle === 'true'", seconds=180)
        page, taken = notebook.page, []
        page.locator(".ftwb-dp tbody tr").first.focus()
        for _ in range(ROUNDS):
            before = page.locator(".ftwb-dp .ftwb-pager .ftwb-value").inner_text()
            received, start = notebook.received, time.perf_counter()
            page.keyboard.press("PageDown")
            notebook.until("before => document.querySelector('.ftwb-dp .ftwb-pager .ftwb-value').innerText !== before", before)
            taken.append(time.perf_counter() - start)
            found["page received"] = notebook.received - received
        found["page"] = sorted(taken)[ROUNDS // 2]
        notebook.close()
    return found


def report(rows: int, halves: dict[str, dict], seen: dict) -> str:
    from finetune_wb.machine import machine

    first = halves["parquet"]
    megabytes = lambda count: f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
    opening = table(["", *halves], [["rows on their way, seconds", *(f"{each['open']:.2f}" for each in halves.values())], ["all columns counted, seconds", *(f"{each['profiles']:.1f}" for each in halves.values())], ["memory beyond the imports, MB", *(f"{each['memory']:,.0f}" for each in halves.values())]])
    asks = [name for name in first if f"{name} bytes" in first]
    asked = table(["", "seconds", "sent"], [*([name, f"{first[name]:.3f}", megabytes(first[f'{name} bytes'])] for name in asks), *([name, f"{first[name]:.2f}", ""] for name in first if name.endswith("first time"))])
    reached = lambda what, value, aim: f"{what}: {value:.2f} s, aim {aim:g} s, {'reached' if value <= aim else '**missed**'}."
    searches = max(first[name] for name in asks if name.startswith("search"))
    aims = " ".join([reached("First rows in JupyterLab, from the cell's start to the screen", seen["first rows"], 1), reached("Search", searches, 1), reached("A page, in the kernel", first["page"], 0.1)])
    return f"""## A million rows in the data panel

{rows:,} rows of two texts, a label and a name; medians of {ROUNDS}, load {load_average()} at the end. {machine_line(machine(), installed())}

{opening}

{asked}

In JupyterLab, beside its own start: first rows after {seen['first rows']:.2f} s with the modules loaded (importing them takes {first['import']:.1f} s once a kernel); {megabytes(seen['received'])} came to the browser by then, {megabytes(first['script'])} of it the panel's script and style,
the page itself {megabytes(first['page bytes'])}. A page turned with a key is on the screen after {seen['page']:.2f} s ({megabytes(seen['page received'])}).

{aims}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kernel", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kernel: return kernel_half(given.kernel)
    with tempfile.TemporaryDirectory() as made:
        folder, halves = Path(made), {}
        write_rows(folder, given.rows)
        for kind in ("parquet", "csv", "jsonl"):
            command = [sys.executable, str(Path(__file__).resolve()), "--kernel", str(folder / f"rows.{kind}")]
            answer = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            halves[kind] = json.loads(answer.stdout.splitlines()[-1])
        text = report(given.rows, halves, browser_half(folder))
    print(text)
    if given.rows == 1_000_000: write_section("data_panel", text)


if __name__ == "__main__":
    main()
