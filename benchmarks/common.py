"""What the benchmarks share: rows, medians, one line about the machine, and sections of RESULTS.md that a rerun replaces."""

import csv
import json
import os
import re
import resource
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
DATA = HERE.parent.parent / "shared" / "data" / "banking77"
PACKAGES = ("finetune_wb", "torch", "transformers", "sentence-transformers", "setfit", "scikit-learn", "trl", "peft", "llamafactory", "unsloth")


def check_data(folder: Path) -> Path:
    "The folder, or an exit that says how to get the rows."
    missing = [name for name in ("train.csv", "test.csv") if not (folder / name).is_file()]
    if missing:
        sys.exit(
            f"{folder}: no {' and no '.join(missing)}.\n"
            "These benchmarks read Banking77 (columns text and category) and download nothing. Take train.csv and test.csv from folder\n"
            "banking_data of github.com/PolyAI-LDN/task-specific-datasets (CC BY 4.0) and name their folder with --data."
        )
    return folder


def read_rows(
    file: Path,
) -> tuple[list[str], list[str]]:  # texts, labels
    "Rows of a csv file with columns text and category."
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def write_sample(
    source: Path,  # folder with train.csv and test.csv
    folder: Path,  # where the smaller ones go
    every: int,  # keep one row in so many; the files are in order of class, so classes keep their shares
) -> Path:
    "A smaller copy of the data, to try a benchmark out."
    for name in ("train.csv", "test.csv"):
        texts, labels = read_rows(source / name)
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "category"), *list(zip(texts, labels))[::every]])
    return folder


def peak_rss_mb() -> float:
    "The most memory this process has held, MB; unlike getrusage's, not inherited from the parent."
    try:
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def installed(python: str | None = None) -> dict[str, str]:
    "Versions of the packages that matter, of this interpreter or of another one."
    import subprocess

    code = "import json, platform, sys; from importlib.metadata import distributions as d; w = set(sys.argv[1:]); "
    code += "f = {x.metadata['Name'].replace('_', '-').lower(): x.version for x in d()}; "
    code += "print(json.dumps({'python': platform.python_version(), **{n: f[n.replace('_', '-')] for n in sys.argv[1:] if n.replace('_', '-') in f}}))"
    answer = subprocess.run([python or sys.executable, "-c", code, *PACKAGES], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def load_average() -> float:
    "Runnable processes over the last minute."
    return round(os.getloadavg()[0], 2)


def median(values: list) -> float | None:
    "The median of those that are there."
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def spread(values: list[float], digits: int = 1) -> str:
    "Median and range, the range only where there is one."
    if not values:
        return "–"
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(header: list[str], rows: list[list]) -> str:
    "A markdown table."
    lines = [header, ["-"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine_line(machine: dict, versions: dict[str, str]) -> str:
    "Machine and versions in one sentence."
    gpus = f", {', '.join(machine['gpus'])}" if machine["gpus"] else ", no GPU"
    packages = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}{gpus}. {packages}."


def write_section(name: str, text: str, path: Path = RESULTS) -> None:
    "Puts `text` between the markers of section `name`; a section that isn't there yet goes to the end."
    start, end = f"<!-- {name}: written by benchmarks/{name}.py -->", f"<!-- end of {name} -->"
    section = f"{start}\n{text.strip()}\n{end}"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    new = pattern.sub(lambda _: section, old) if pattern.search(old) else f"{old.rstrip()}\n\n{section}\n"
    path.write_text(new, encoding="utf-8")
