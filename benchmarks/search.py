"""A search over a listing of 100,000 models, as typed, faceted and sorted: `python benchmarks/search.py`.

The listing is made up: owners and names of unequal fame, the hub's tasks, licences and languages in about its proportions, a third without a size. Everything is asked of `Catalog.search` in a process of its own, cold and warm;
the hub is not asked. The section of RESULTS.md is written from what this call measured."""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from common import installed, load_average, machine_line, median, peak_rss_mb, table, write_section

LIMIT = 0.2  # seconds a search may take
TYPED = ("qwen 0.5b instruct", "all minilm", "bert-base uncased", "whisper de", "zzzz")
BASES = "bert roberta deberta qwen llama mistral gemma phi smollm gpt2 t5 whisper wav2vec2 vit clip sdxl flux yolo minilm e5 bge distilbert xlm-roberta electra falcon pythia opt bloom".split()
TAGS = {"text-generation": 40, "text-classification": 12, "text-to-image": 8, "reinforcement-learning": 7, "fill-mask": 5, "sentence-similarity": 5, "token-classification": 4, "automatic-speech-recognition": 4,
        "image-classification": 4, "feature-extraction": 3, "text-to-speech": 1, "image-text-to-text": 2, "translation": 1, "robotics": 1, "tabular-classification": 1, None: 12}
LICENCES = {"apache-2.0": 35, "mit": 15, "llama3": 5, "cc-by-nc-4.0": 5, "openrail": 4, "gemma": 2, "other": 6, None: 28}
SPOKEN = ("en", "zh", "de", "fr", "es", "ja", "multilingual")


def made_up(count: int):
    "A listing about as varied as the hub's."
    from finetune_wb.models.families import family_of
    from finetune_wb.models.listing import Listed

    rng = random.Random(0)
    owners = [f"{rng.choice(BASES)}-{rng.choice(('lab', 'ai', 'team', 'research', 'community'))}{rng.randrange(count // 8)}" for _ in range(count // 10)]
    tags, licences = (rng.choices(list(shares), list(shares.values()), k=count) for shares in (TAGS, LICENCES))
    sizes = ("0.5b", "1.5b", "7b", "70b", "base", "large", "small", "tiny")
    def one(i: int) -> Listed:
        name = f"{owners[int(rng.paretovariate(1)) % len(owners)]}/{rng.choice(BASES)}-{rng.choice(sizes)}-{rng.choice(('instruct', 'uncased', 'finetuned', 'v2', 'gguf'))}-{i}"
        return Listed(name, "hub", tags[i], family_of(tags[i]), licences[i], int(10 ** rng.uniform(6, 11)) if rng.random() < 0.67 else None, tuple(rng.sample(SPOKEN, rng.choice((0, 1, 1, 2)))),
                      int(rng.paretovariate(0.6)), int(rng.paretovariate(0.9)) - 1, rng.random(), f"202{rng.randrange(2, 7)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}", rng.random() < 0.03, "transformers")
    return [one(i) for i in range(count)]


def questions() -> dict[str, list[dict]]:
    "What is asked, by kind; each is one call."
    typed = [{"words": text[: i + 1]} for text in TYPED for i in range(len(text))]
    facets = [{"modality": "text"}, {"modality": ["text", "audio"]}, {"task": "classification"}, {"task": ["text-generation", "fill-mask"]}, {"licence": "open"}, {"licence": ["mit", "apache-2.0"]}, {"language": "de"},
              {"source": "hub"}, {"modality": "text", "task": "text-generation", "licence": "open", "language": ["en", "de"]}]
    sorts = [{"sort": name, "offset": offset} for name in ("downloads", "likes", "trending", "updated", "parameters", "name") for offset in (0, 5000)]
    small = [{"max_parameters": "7B"}, {"max_parameters": "350M", "modality": "text"}, {"fits": "lora"}, {"fits": "full", "licence": "open"}]
    both = [{"words": text[: i + 1], "modality": "text", "licence": "open", "max_parameters": "7B", "sort": sort} for text in TYPED[:2] for i in range(0, len(text), 3) for sort in ("likes", "updated")]
    return {"as typed, each key": typed, "faceted": facets, "sorted": sorts, "by size": small, "all together": both}


def measure(count: int, rounds: int) -> dict:
    "Seconds of every call, by kind."
    from finetune_wb.models.search import Catalog

    rows, before = made_up(count), peak_rss_mb()
    catalog = Catalog(cache="no-such-cache", hub=False, listing=rows)
    def seconds(asked: dict) -> tuple[float, int]:
        start = time.perf_counter()
        total = catalog.search(**asked).total
        return time.perf_counter() - start, total
    found = {"first": seconds({})[0], "first word": seconds({"words": "qwen"})[0], "orders": {name: seconds({"sort": name})[0] for name in ("likes", "trending", "updated", "parameters", "name")}}
    asked = [(kind, question) for kind, every in questions().items() for question in every]
    taken = [[seconds(question) for _, question in asked] for _ in range(rounds)]  # a round after the other, so that what else the machine does falls on different questions
    found["kinds"] = {}
    for kind in questions():
        own = [[one[i] for one in taken] for i, (other, _) in enumerate(asked) if other == kind]
        best, hits = [min(s for s, _ in calls) for calls in own], [calls[0][1] for calls in own]
        found["kinds"][kind] = {"questions": len(own), "median": median(best), "worst": max(best), "any": max(s for calls in own for s, _ in calls), "hits": [min(hits), max(hits)]}
    return {**found, "rows": count, "rounds": rounds, "memory_mb": peak_rss_mb() - before}


def section(found: dict, line: str) -> str:
    "What RESULTS.md says."
    kinds = [[kind, f"{k['questions']}", f"{k['hits'][0]:,} to {k['hits'][1]:,}", *(f"{1000 * k[name]:.0f} ms" for name in ("median", "worst", "any"))] for kind, k in found["kinds"].items()]
    worst = max(k["worst"] for k in found["kinds"].values())
    verdict = "kept" if worst <= LIMIT else "**missed**"
    return f"""## Search over {found['rows']:,} models

`Catalog.search` over a made-up listing of {found['rows']:,} models, on one core. Each call returns a page of 50 models in order and the counts of five facets. Every question is asked {found['rounds']} times and its fastest call counts, so that other work on the machine is left out.

The limit of {1000 * LIMIT:.0f} ms for a question is {verdict}: the slowest took {1000 * worst:.0f} ms. The last column is the slowest single call, with the time that other work on the machine took from it.

{line}

{table(["asked", "questions", "models found", "median", "slowest question", "slowest call"], kinds)}

Once, before these: {found['first']:.2f} s for the first search, which turns the listing into columns, {1000 * found['first word']:.0f} ms for the first word, and {1000 * max(found['orders'].values()):.0f} ms at most for each sort order asked for the first time. Columns and orders take {found['memory_mb']:.0f} MB beside
the listing itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here: return print(json.dumps(measure(given.rows, given.rounds)))
    again = [sys.executable, str(Path(__file__).resolve()), "--here", "--rows", str(given.rows), "--rounds", str(given.rounds)]
    done = subprocess.run(again, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
    found = json.loads(done.stdout.splitlines()[-1])
    from finetune_wb.machine import machine

    text = section(found, f"Load {load_average()} at the end. {machine_line(machine(), installed())}")
    print(text)
    if given.rows == 100_000: write_section("search", text)


if __name__ == "__main__":
    main()
