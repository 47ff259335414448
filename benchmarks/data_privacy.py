"""Personal data and secrets: recall and precision of finetune_wb beside presidio, datafog and detect-secrets on the labelled rows of tests/, rows a second, and what is found in data as published.

    python benchmarks/data_privacy.py                          # ours alone
    python benchmarks/data_privacy.py --peers PYTHON           # PYTHON: an environment with presidio-analyzer, datafog, detect-secrets
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from common import DATA, HERE, installed, load_average, machine_line, median, peak_rss_mb, table, write_section

sys.path.insert(0, str(HERE.parent / "tests"))
from privacy_rows import UNSTRUCTURED, read_rows, scored  # noqa: E402

PEER = r"""
import io, json, logging, sys, time
logging.disable(logging.CRITICAL)
texts, tool = json.load(sys.stdin), sys.argv[1]
if tool.startswith("presidio"):
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NoOpNlpEngine
    engine = AnalyzerEngine(nlp_engine=NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "no_op"}]), supported_languages=["en"])
    wanted = sorted(set(engine.get_supported_entities("en")) - {"DATE_TIME", "URL", "US_DRIVER_LICENSE", "NRP"}) if tool.endswith("restricted") else None
    def find(text): return [(r.start, r.end, r.entity_type.lower()) for r in engine.analyze(text=text, language="en", score_threshold=0.4, entities=wanted)]
elif tool == "datafog":
    from datafog.processing.text_processing.regex_annotator import RegexAnnotator
    annotator = RegexAnnotator()
    def find(text): return [(s.start, s.end, s.label.lower()) for s in annotator.annotate_with_spans(text)[1].spans]
else:
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import default_settings
    def find(text):
        found = []
        for line in text.split("\n"):
            for secret in scan_line(line):
                at = text.find(secret.secret_value or "\0")
                if at >= 0: found.append((at, at + len(secret.secret_value), "secret"))
        return found
with (default_settings() if tool == "detect-secrets" else io.StringIO()):
    find(texts[0])
    began = time.process_time()
    spans = {i: found for i, text in enumerate(texts) if (found := find(text))}
    print(json.dumps({"spans": spans, "seconds": time.process_time() - began}))
"""


def ours(texts: list[str]) -> tuple[dict, float]:
    "Row → spans, and CPU seconds."
    from finetune_wb.data.patterns import find_spans
    find_spans(texts[:50])  # numbering plans are loaded once
    began = time.process_time()
    found = find_spans(texts)
    return {i: [(s.start, s.end, s.thing) for s in spans] for i, spans in found.items()}, time.process_time() - began


def peer(python: str, tool: str, texts: list[str]) -> tuple[dict, float] | None:
    answer = subprocess.run([python, "-c", PEER, tool], input=json.dumps(texts), capture_output=True, text=True)
    if answer.returncode:
        print(f"{tool}: {answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else answer.returncode}", file=sys.stderr)
        return None
    told = json.loads(answer.stdout.strip().splitlines()[-1])
    return {int(i): [tuple(span) for span in spans] for i, spans in told["spans"].items()}, told["seconds"]


def line(name: str, rows: list[dict], result: tuple[dict, float] | None, secrets: set[str]) -> list:
    "A tool's figures on one part: what has a form, secrets and personal data apart."
    if result is None: return [name, *["–"] * 6]
    found, seconds = result
    score = scored(rows, found)
    labels, missed = Counter(thing for row in rows for _, _, thing in row["spans"]), Counter(thing for *_, thing in score["missed"])
    def recall(kinds): return 1 - sum(missed[t] for t in kinds) / sum(labels[t] for t in kinds)
    personal = set(labels) - secrets - set(UNSTRUCTURED)
    of = sum(len(spans) for spans in found.values())
    precision = 1 - len(score["wrong"]) / of if of else 0
    return [name, f"{recall(personal):.3f}", f"{recall(set(labels) & secrets):.3f}", f"{recall(UNSTRUCTURED):.3f}", f"{precision:.3f}", f"{score['touched']} of {score['clean']}", f"{len(rows) / seconds:,.0f}"]


def published(folder: Path) -> list[tuple[str, list[str]]]:
    "Rows of public data, where they are on this machine."
    sets = []
    if (folder / "banking77").is_dir(): sets.append(("Banking77", [row["text"] for part in ("train", "test") for row in csv.DictReader((folder / "banking77" / f"{part}.csv").open(encoding="utf-8"))]))
    if (folder / "clinc150").is_dir(): sets.append(("CLINC150", [row[0] for rows in json.loads((folder / "clinc150" / "data_full.json").read_text(encoding="utf-8")).values() for row in rows]))
    if (folder / "gsm8k").is_dir(): sets.append(("GSM8K", ["{question}\n{answer}".format(**json.loads(row)) for part in ("train", "test") for row in (folder / "gsm8k" / f"{part}.jsonl").open(encoding="utf-8")]))
    from finetune_wb.data.docstrings import docstring_rows
    return [*sets, ("built-in docstrings", docstring_rows()["text"].tolist())]


def scaled(texts: list[str], share: float, count: int) -> list[str]:
    "`count` rows of public data, a `share` of which are labelled rows."
    labelled = [row["text"] for row in read_rows() if row["spans"]]
    every = round(1 / share) if share else 0
    return [labelled[i // every % len(labelled)] if every and i % every == 0 else texts[i % len(texts)] for i in range(count)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--peers", help="python of an environment with presidio-analyzer, datafog and detect-secrets")
    options.add_argument("--rounds", type=int, default=3, help="how often speeds are measured; the median counts")
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    chosen = options.parse_args()
    from finetune_wb.data.patterns import THINGS
    secrets, rows, load = {name for name, thing in THINGS.items() if thing.kind == "secret"}, read_rows(), load_average()
    held = [row for row in rows if row["part"] == "held_out"]
    tools, results = {"**finetune_wb**": lambda texts: ours(texts)}, {}
    if chosen.peers:
        for name, tool in (("presidio, no model, score ≥ .4", "presidio"), ("the same without dates, URLs, licences", "presidio-restricted"), ("datafog, regex", "datafog"), ("detect-secrets, all plugins", "detect-secrets")):
            tools[name] = lambda texts, tool=tool: peer(chosen.peers, tool, texts)
    for _ in range(chosen.rounds):  # in turns
        for name, find in tools.items(): results.setdefault(name, []).append(find([row["text"] for row in held]))
    best = {name: None if None in told else (told[0][0], median([seconds for _, seconds in told])) for name, told in results.items()}
    head = ["held-out rows", "recall, personal data with a form", "recall, secrets", "recall, names and addresses", "precision", "clean rows touched", "rows/s"]
    parts = [table(head, [line(name, held, result, secrets) for name, result in best.items()])]

    each = []
    scores = {part: scored(its := [row for row in rows if row["part"] == part], ours([row["text"] for row in its])[0]) for part in ("hand", "dev", "held_out")}
    for thing in sorted({thing for score in scores.values() for thing in score["each"]}, key=lambda thing: (thing in secrets, thing in UNSTRUCTURED, thing)):
        labels, recall, finds, precision = scores["held_out"]["each"].get(thing, (0, 0, 0, 0))
        seen = [scores[part]["each"].get(thing, (0, 0, 0, 0)) for part in ("hand", "dev")]
        each.append([thing, labels or "–", f"{recall:.3f}" if labels else "–", f"{precision:.3f}" if finds else "–", sum(s[0] for s in seen) or "–", f"{sum(s[0] * s[1] for s in seen) / sum(s[0] for s in seen):.3f}" if sum(s[0] for s in seen) else "–"])
    parts.append("Of each thing (finetune_wb; recall: gone, whatever it was called; precision: of the finds with that name):\n\n" + table(["thing", "held out", "recall", "precision", "hand and dev", "recall"], each))

    sets, lines = published(DATA.parent), []
    for name, texts in sets:
        found, seconds = ours(texts)
        things = Counter(thing for spans in found.values() for *_, thing in spans)
        lines.append([name, f"{len(texts):,}", len(found), ", ".join(f"{count} {THINGS[thing].plural}" for thing, count in things.most_common()) or "nothing", f"{len(texts) / seconds:,.0f}"])
    parts.append("As published (none of it is labelled; the mail addresses in the documentation are its authors'):\n\n" + table(["data", "rows", "rows with a find", "finds", "rows/s"], lines))

    base, speeds = sets[0][1], []
    for size in chosen.sizes:
        for share in (0.0, 0.1, 1.0):
            if share == 1.0 and size > 100_000: continue
            seconds = [ours(scaled(base, share, size))[1] for _ in range(chosen.rounds if size < 1_000_000 else 1)]
            speeds.append([f"{size:,}", f"{share:.0%}", f"{median(seconds):.1f}", f"{size / median(seconds):,.0f}"])
    parts.append(f"Speed, CPU seconds on one core ({sets[0][0]} rows, a share of them exchanged for labelled rows; peak {peak_rss_mb():,.0f} MB, the lists of rows included):\n\n" + table(["rows", "labelled", "s", "rows/s"], speeds))

    hand, dev = scores["hand"], scores["dev"]
    words = f"""## Personal data and secrets

Rows: {len(rows):,} labelled ones ({sum(not row['spans'] for row in rows)} of them clean: orders, invoices, hashes, versions, dates, code), in tests/privacy_rows.jsonl, made by tests/privacy_rows.py. A label is met when four fifths of its
characters are covered; a find is right when half of it is labelled. With a form: everything but names and addresses. The patterns were written with `hand` ({hand['labels']} labels) and `dev` ({dev['labels']}) in sight: recall {hand['recall']:.3f} and
{dev['recall']:.3f}, precision {hand['precision']:.3f} and {dev['precision']:.3f} there. `held_out` has sentences of its own, three more locales and other values. Its first draw, before anything was changed for it, gave recall .985 and precision 1.000 (756 labels); after a draw of another seed was
read for what was missed (words behind a number and inside compounds, "callback", JCB numbers that begin with any 35), it was drawn anew, and that is the table: unseen values in sentences that had been seen. The same hand wrote sentences and
patterns, and Faker's numbers are tidier than people's, so read the figures as what is reached on well-formed data. finetune_wb is given neither language nor country of a row; presidio is asked in English, all it knows without a model."""
    versions = {name: number for name, number in installed().items() if name == "finetune_wb" or name == "python"} | (installed_peers(chosen.peers) if chosen.peers else {})
    from finetune_wb.machine import machine
    write_section("data_privacy", "\n\n".join([words, *parts, f"Load at start {load}. " + machine_line(machine(), versions)]))
    print("\n\n".join(parts))


def installed_peers(python: str) -> dict[str, str]:
    code = "import json; from importlib.metadata import version as v; print(json.dumps({n: v(n) for n in ('presidio-analyzer', 'datafog', 'detect-secrets')}))"
    return json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
