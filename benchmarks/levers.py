"""What each lever does to one training step: `python benchmarks/levers.py`.

Cases take turns in one process on one thread; the measure is CPU milliseconds per real (unpadded) token, which neighbours disturb
least. Only the last table, about threads that wait by spinning, needs wall seconds, several threads and processes of its own."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import (
    DATA,
    check_data,
    installed,
    load_average,
    machine_line,
    median,
    read_rows,
    spread,
    table,
    write_section,
)

BASE = {"attention": "eager", "dropout": 0.1, "bf16": True, "frozen": True, "budget": 1024, "train": True}
GUIDE = {"attention": "sdpa", "dropout": 0.1, "bf16": False, "frozen": False, "budget": None, "train": True}
SHORT = {
    "default: bf16, eager, dropout .1, frozen tables, 1024 tokens": {},
    "fp32": {"bf16": False},
    "embedding tables trained": {"frozen": False},
    "token budget 512": {"budget": 512},
    "token budget 2048": {"budget": 2048},
    "16 rows at random, padded": {"budget": None},
    "sdpa": {"attention": "sdpa"},
    "eager, dropout 0": {"dropout": 0.0},
    "sdpa, dropout 0": {"attention": "sdpa", "dropout": 0.0},
    "the guide's: fp32, sdpa, all weights, 16 rows at random": GUIDE,
}
READ = {
    "bf16, eager": {"train": False, "budget": 4096},
    "bf16, sdpa": {"train": False, "budget": 4096, "attention": "sdpa"},
    "fp32, eager": {"train": False, "budget": 4096, "bf16": False},
    "fp32, sdpa": {"train": False, "budget": 4096, "bf16": False, "attention": "sdpa"},
}
LONG = {"default": {}, "sdpa": {"attention": "sdpa"}, "eager, dropout 0": {"dropout": 0.0}, "sdpa, dropout 0": {"attention": "sdpa", "dropout": 0.0}}


def encoded_rows(data: Path, rows: int, long: bool):
    "Train rows drawn at random; long ones are rows strung together to 128 tokens or more."
    from finetune_wb.models.catalog import find_model
    from finetune_wb.models.load import load_tokenizer
    from finetune_wb.recipe import Recipe
    from finetune_wb.training.encode import encode

    texts, labels = read_rows(data / "train.csv")
    names = sorted(set(labels))
    order = np.random.default_rng(0).permutation(len(texts))
    tokenizer = load_tokenizer(find_model(Recipe().model), Recipe().model)
    groups = [[i] for i in order[:rows]] if not long else list(order[: 12 * rows].reshape(rows, 12))
    label_ids = np.array([names.index(labels[group[0]]) for group in groups])
    return encode(tokenizer, [" ".join(texts[i] for i in group) for group in groups], 256, label_ids), tokenizer, tuple(names)


def stepper(rows, tokenizer, names, case: dict):
    "A function that goes once over `rows` as `case` says and returns wall seconds, CPU seconds and real tokens."
    import torch
    from transformers import DataCollatorWithPadding

    from finetune_wb.method import FullSpec
    from finetune_wb.models.catalog import find_model
    from finetune_wb.models.methods import apply_method
    from finetune_wb.recipe import Recipe
    from finetune_wb.tasks.classification import Classification
    from finetune_wb.training.encode import token_batches

    case, recipe = {**BASE, **case}, Recipe()
    torch.manual_seed(0)
    model = Classification(names).model(find_model(recipe.model), recipe, case["attention"], case["dropout"])
    model = apply_method(model, FullSpec(freeze_embeddings=case["frozen"])).train()
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=1e-5, fused=True)
    size, lengths = case["budget"], rows.lengths
    batches = token_batches(lengths, size, (0,)) if size else np.split(np.arange(len(rows)), range(16, len(rows), 16))
    collate = DataCollatorWithPadding(tokenizer)

    def read() -> None:
        model.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=case["bf16"]):
            for batch in batches:
                inputs = collate([{"input_ids": rows.input_ids[i]} for i in batch])
                model.features(inputs["input_ids"], inputs["attention_mask"])

    def train() -> None:
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=case["bf16"]):
                loss = model(**collate([rows[int(i)] for i in batch])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    def once() -> tuple[float, float, int]:
        wall, cpu = time.perf_counter(), time.process_time()
        (train if case["train"] else read)()
        return time.perf_counter() - wall, time.process_time() - cpu, int(lengths.sum())
    return once


def compare(cases: dict, data: Path, rows: int, rounds: int, title: str, long: bool = False) -> str:
    "A table of CPU milliseconds per token, each as a ratio to the first case of the same round."
    shared = encoded_rows(data, rows, long)
    steps, found = {name: stepper(*shared, case) for name, case in cases.items()}, {name: [] for name in cases}
    for number in range(rounds + 1):  # the first warms up and is dropped
        for name, once in steps.items():
            _, cpu, tokens = once()
            if number:
                found[name].append(1000 * cpu / tokens)
    first, lengths = next(iter(found.values())), shared[0].lengths
    lines = [[name, spread(values, 3), spread([v / b for v, b in zip(values, first)], 2)] for name, values in found.items()]
    return f"{title}, rows of {np.median(lengths):.0f} tokens (median; longest {lengths.max()}), {len(lengths)} of them:\n\n" + table(["", "CPU ms per token", "of the first line's"], lines)


def alone(data: Path, rows: int, rounds: int) -> None:
    "The default case in a process of its own: prints wall and CPU milliseconds per token, a list of pairs."
    once = stepper(*encoded_rows(data, rows, False), {})
    once()
    print(json.dumps([(1000 * wall / tokens, 1000 * cpu / tokens) for wall, cpu, tokens in (once() for _ in range(rounds))]))


def spinning(data: Path, rows: int, rounds: int, threads: int) -> str:
    "OpenMP threads that wait by spinning (the default) or sleeping, with and without a neighbour who computes on one core."
    found = {}
    for _ in range(rounds):
        for busy in (False, True):
            for spin in ("default", "0"):
                environment = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))} | ({"GOMP_SPINCOUNT": spin} if spin == "0" else {})
                command = [sys.executable, str(Path(__file__).resolve()), "--alone", "--data", str(data), "--rows", str(rows), "--rounds", "3", "--threads", str(threads)]
                neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
                try:
                    answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir()).stdout
                finally:
                    if neighbour:
                        neighbour.kill()
                        neighbour.wait()
                pairs = json.loads(answer.splitlines()[-1])
                found.setdefault((busy, spin), []).append([median([pair[k] for pair in pairs]) for k in (0, 1)])
    lines = [["a busy one" if busy else "none", "GOMP_SPINCOUNT=0" if spin == "0" else "default", spread([v[0] for v in values], 3), spread([v[1] for v in values], 3)] for (busy, spin), values in found.items()]
    return f"Waiting threads, {threads} of them, wall time:\n\n" + table(["neighbour", "spinning", "wall ms per token", "CPU ms per token"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.csv and test.csv")
    parser.add_argument("--rows", type=int, default=192, help="short rows a round; an eighth as many long ones")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the one that is dropped")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), help="threads of the last table")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="into RESULTS.md")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    o = parser.parse_args()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    data = check_data(o.data.resolve())
    torch.set_num_threads(o.threads if o.alone else 1)
    if o.alone:
        return alone(data, o.rows, o.rounds)
    load = load_average()
    tables = [compare(SHORT, data, o.rows, o.rounds, "Training"), compare(LONG, data, max(16, o.rows // 8), o.rounds, "Training", long=True),
              compare(READ, data, 4 * o.rows, o.rounds, "Reading without gradients, 4096 tokens a batch"), spinning(data, o.rows, max(1, o.rounds // 2), o.threads)]
    from finetune_wb.machine import machine

    text = "\n\n".join(["## Levers: what makes a training step cheap", "MiniLM, forward, backward, clipping and AdamW (fused) over Banking77 rows; each line changes the default in what it names;\nreading is the forward pass that fits the head. One thread, CPU time, "
                        f"median (range) of {o.rounds} rounds in turn after one that was dropped. Below 1 is cheaper than the default. The last table is wall time. Load at start {load}, at the end {load_average()}.",
                        *tables, machine_line(machine(), installed())])
    print(text)
    if o.write:
        write_section("levers", text)


if __name__ == "__main__":
    main()
