"""How long `import finetune_wb` and `ftwb --help` take, beside a bare Python and what they leave unloaded: `python benchmarks/start.py`."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import installed, load_average, machine_line, spread, table, write_section

HEAVY = ("torch", "transformers", "datasets", "sklearn", "pandas", "peft", "matplotlib", "ipywidgets")
FTWB = shutil.which("ftwb", path=str(Path(sys.executable).parent)) or "ftwb"
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import finetune_wb": [sys.executable, "-c", "import finetune_wb"],
    "from finetune_wb import load_recipe, train": [sys.executable, "-c", "from finetune_wb import load_recipe, train"],
    "ftwb --help": [FTWB, "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
    "from transformers import Trainer": [sys.executable, "-c", "from transformers import Trainer"],
}


def seconds(command: list[str]) -> float:
    "Wall seconds of a process from start to exit."
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def loaded(command: list[str]) -> dict:
    "How many modules an import loads, and which of `HEAVY` are among them."
    code = f"{command[2]}; import json, sys; print(json.dumps([len(sys.modules), [m for m in {HEAVY!r} if m in sys.modules]]))"
    count, heavy = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    return {"modules": count, "heavy": ", ".join(heavy) or "none"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often each command runs, in turn; one more goes before and is dropped")
    rounds, load = parser.parse_args().rounds, load_average()
    times = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, command in COMMANDS.items():
            spent = seconds(command)
            if number:
                times[name].append(spent)
    bare, rows = statistics.median(times["python -c pass"]), []
    for name, command in COMMANDS.items():
        modules = loaded(command) if command[1] == "-c" else {"modules": "–", "heavy": "–"}
        rows.append([f"`{name}`", spread(times[name], 3), f"{statistics.median(times[name]) - bare:.3f}", modules["modules"], modules["heavy"]])
    from finetune_wb.machine import machine

    text = f"""## Start

Wall seconds of a whole process, median (range) of {rounds} rounds in turn after one that was dropped; files were in the system's cache. The reach is
less than 0.5 s for `import finetune_wb`. Heavy are {", ".join(HEAVY)}. Load at start {load}.

{table(["", "seconds", "more than bare Python", "modules loaded", "heavy ones"], rows)}

{machine_line(machine(), installed())}"""
    print(text)
    write_section("start", text)


if __name__ == "__main__":
    main()
