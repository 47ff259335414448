"""Execute the pages that people and jobs run (walkthroughs, recipes, the workbench), each from top to bottom by papermill in a folder of its own; fail if one does.

`make walkthroughs` runs all of them, `make walkthroughs PAGES="02 chat"` those whose name holds one of the words. What is written goes into a temporary folder and is thrown away.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NBS = Path(__file__).resolve().parents[1] / "nbs"
LIMIT = 900  # seconds that a page may take before it counts as hanging
LONG = 180  # seconds that a walkthrough should stay under
PAPERMILL = """import json, papermill, resource, sys
try: papermill.execute_notebook(**json.loads(sys.argv[1]), kernel_name="python3", progress_bar=False, store_widget_state=False, extra_arguments=["--IPKernelApp.log_level=40"])
finally:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("\\nprocessor", used.ru_utime + used.ru_stime)"""  # of the kernel; what the clock says depends on who else computes
SMALL = {  # what a page is run with where its own defaults take many minutes; the others run as they are
    "recipes/finetune.ipynb": {"overrides": ["data.max_rows=300", "train.num_train_epochs=1"]},
    "recipes/chat.ipynb": {"overrides": ["data.max_rows=150", "train.max_steps=6", "evaluate.max_rows=8", "evaluate.max_new_tokens=8", "evaluate.bootstrap_samples=200"]},
    "walkthroughs/classify.ipynb": {"max_rows": 300, "epochs": 1},
}


def pages(words: list[str]) -> list[str]:
    "The pages below nbs/, walkthroughs first; with `words`, those whose name holds one."
    found = [path.relative_to(NBS).as_posix() for folder in ("walkthroughs", "recipes", ".") for path in sorted((NBS / folder).glob("[!.]*.ipynb"))]
    found = [page for page in found if page.startswith(("walkthroughs/", "recipes/")) or page == "workbench.ipynb"]
    chosen = [page for page in found if not words or any(word in page for word in words)]
    if not chosen: raise SystemExit(f"no page's name holds {' or '.join(words)}; there are {', '.join(found)}")
    return chosen


def wrong(page: str, notebook: dict, runs: Path) -> str:
    "What is wrong with an executed page; empty where nothing is."
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        begin = f"the cell {''.join(cell['source']).strip().partition(chr(10))[0][:80]!r}"
        for output in cell["outputs"]:
            if output["output_type"] == "error": return f"{begin}: {output['ename']}: {output['evalue']}"
            if output.get("name") == "stderr": return f"{begin} writes to stderr: {''.join(output['text'])[:300]}"
            if any("widget" in kind for kind in output.get("data", {})): return f"{begin} leaves a widget that nobody can see"
    if any(cell["execution_count"] is None for cell in code if "".join(cell["source"]).strip()): return "it was not executed to its end"
    if "widgets" in notebook["metadata"]: return "it holds the state of widgets"
    made = sorted(runs.iterdir()) if runs.is_dir() else []
    if page.startswith("recipes/") and not any((run / "evaluation" / "verdict.json").is_file() for run in made): return "a recipe ends in a verdict, and there is none in its runs"
    for run in made:
        lost = {"record.json", "events.jsonl", "model"} - {path.name for path in run.iterdir()}
        if (run / "recipe.yaml").is_file() and lost: return f"the run {run.name} lacks {', '.join(sorted(lost))}"
        if (run / "evaluation" / "verdict.json").is_file() and not (run / "report.html").is_file(): return f"the run {run.name} has a verdict and no report"
    return ""


def execute(page: str) -> tuple[str, float, float, str]:
    "The page, the seconds and the processor seconds it took, and what is wrong with it."
    with tempfile.TemporaryDirectory(prefix="ftwb-page-") as folder:
        out, began = Path(folder, "out.ipynb"), time.monotonic()
        environment = {**os.environ, "FTWB_RUNS": f"{folder}/runs", "FTWB_PROGRESS": "off", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-c", PAPERMILL, json.dumps({"input_path": str(NBS / page), "output_path": str(out), "parameters": SMALL.get(page, {}), "cwd": folder})]
        try: done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=LIMIT)
        except subprocess.TimeoutExpired: return page, time.monotonic() - began, 0.0, f"not done after {LIMIT} seconds"
        seconds, used = time.monotonic() - began, float((re.findall(r"^processor ([\d.]+)$", done.stdout, re.M) or [0])[-1])
        problem = wrong(page, json.loads(out.read_text(encoding="utf-8")), Path(folder, "runs")) if out.is_file() else ""
        return page, seconds, used, problem or ("" if done.returncode == 0 else f"papermill ended with {done.returncode}: {done.stderr.strip()[-600:]}")


def settle(shares: Iterator[list[int]]) -> None:
    "Keeps a worker and what it starts to its share of the cores: `train` takes every core it may use, and two pages that both do are slower than one after the other."
    if (cores := next(shares)) and hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, cores)  # of this thread; a process it starts inherits it


def main() -> int:
    "0 where every page is sound."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of the names of pages; none takes all")
    parser.add_argument("--workers", type=int, default=1, help="pages at a time")
    asked, failed, began = parser.parse_args(), [], time.monotonic()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares = iter([cores[worker :: asked.workers] for worker in range(asked.workers)])
    with ThreadPoolExecutor(asked.workers, initializer=settle, initargs=(shares,)) as pool:
        for page, seconds, used, problem in pool.map(execute, pages(asked.words)):
            note = f"FAILED: {re.sub(chr(27) + r'.[0-9;]*m', '', problem)}" if problem else f"ok, and longer than the {LONG} s of a walkthrough" if seconds > LONG and page.startswith("walkthroughs/") else "ok"
            print(f"{seconds:6.1f} s ({used:5.1f} s of processor)  {page}  {note}", flush=True)
            if problem: failed.append(page)
    print(f"{time.monotonic() - began:6.1f} s  in all; {len(failed)} failed" + (f": {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


if __name__ == "__main__": sys.exit(main())
