"""What each lever does to one step of supervised fine-tuning: `python benchmarks/sft_levers.py`.

Cases take turns in one process on one thread over the same GSM8K rows; the measure is own CPU seconds, which neighbours disturb least."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import installed, load_average, machine_line, median, spread, table, write_section
from sft import ROWS, SHAPES, encoded, model_folder, read_pairs

BASE = {"attention": "eager", "mask": False, "loss": "answer", "budget": 2048, "chunk": 2**23, "bf16": True, "frozen": False, "checkpointing": False, "compile": False, "batching": "grouped", "lora": False}
CASES = {
    "default: answers only in chunks of 2^23 logits, eager, no mask, 2,048 tokens": {},
    "every token's logits, by the model's own loss": {"loss": "model"},
    "chunks of 2^21 logits": {"chunk": 2**21},
    "chunks of 2^25 logits": {"chunk": 2**25},
    "with the mask of padding": {"mask": True},
    "sdpa": {"attention": "sdpa"},
    "sdpa, with the mask of padding": {"attention": "sdpa", "mask": True},
    "sdpa, packed into 2,048": {"attention": "sdpa", "batching": "packed"},
    "1,024 tokens": {"budget": 1024},
    "4,096 tokens": {"budget": 4096},
    "8 rows at random, padded": {"budget": None},
    "embeddings frozen": {"frozen": True},
    "LoRA, r 16 on every linear layer": {"lora": True},
    "gradient checkpointing": {"checkpointing": True},
    "fp32": {"bf16": False},
    "layers compiled": {"compile": True},
}


def stepper(rows: list[dict], folder: Path, case: dict):
    "A function that goes once over `rows` as `case` says: CPU seconds and mean loss."
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    import finetune_wb.training.lmloss as lmloss
    from finetune_wb.training.collate import collator, packed_batches
    from finetune_wb.training.compiled import compile_layers
    from finetune_wb.training.encode import token_batches

    case = {**BASE, **case}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=case["attention"]).train()
    if case["frozen"]:
        model.get_input_embeddings().weight.requires_grad_(False)
    if case["lora"]:
        model = peft.get_peft_model(model, peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    if case["checkpointing"]:
        model.gradient_checkpointing_enable()
    if case["compile"]:
        compile_layers(model)
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=1e-5, fused=True)
    lengths = np.array([len(row["input_ids"]) for row in rows])
    make = packed_batches if case["batching"] == "packed" else token_batches
    batches = make(lengths, case["budget"], (0,)) if case["budget"] else np.split(np.arange(len(rows)), range(8, len(rows), 8))
    collate = collator(type("Pad", (), {"pad_token_id": 0, "eos_token_id": 2}), case["batching"])
    lean = lmloss._lean

    def loss_of(batch: dict, labels) -> "torch.Tensor":
        with torch.autocast("cpu", torch.bfloat16, enabled=case["bf16"]):
            return model(**batch, labels=labels).loss if case["loss"] == "model" else lmloss.answer_loss(model, batch, labels)

    def once() -> tuple[float, float]:
        begun, losses = time.process_time(), []
        lmloss.CHUNK_LOGITS, lmloss._lean = case["chunk"], (lambda base, inputs: inputs) if case["mask"] else lean
        for rows_of_batch in batches:
            batch = collate([rows[int(i)] for i in rows_of_batch])
            loss = loss_of(batch, batch.pop("labels"))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return time.process_time() - begun, float(np.mean(losses))

    return once


def compare(shape: str, rows: list[dict], folder: Path, cases: dict, rounds: int) -> str:
    "A table of tokens a CPU-second, each as a ratio to the first case of the same round."
    tokens, found = sum(len(row["input_ids"]) for row in rows), {name: [] for name in cases}
    steps = {name: stepper(rows, folder, case) for name, case in cases.items()}
    for number in range(rounds + 1):  # the first warms up, compiles, and is dropped
        for name, once in steps.items():
            cpu, _ = once()
            if number:
                found[name].append(tokens / cpu)
    first = next(iter(found.values()))
    lines = [[name, spread(values, 0), spread([v / b for v, b in zip(values, first)], 2)] for name, values in found.items()]
    lengths = [len(row["input_ids"]) for row in rows]
    return f"{shape}, {len(rows)} rows of {median(lengths):.0f} tokens (median; longest {max(lengths)}):\n\n" + table(["", "tokens per CPU-second", "of the first line's"], lines)


def joined(rows: list[dict], times: int) -> list[dict]:
    "Longer rows: `times` of them strung together."
    return [{k: sum((row[k] for row in rows[i : i + times]), []) for k in rows[0]} for i in range(0, len(rows) - times + 1, times)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROWS, help="folder with GSM8K's train.jsonl")
    parser.add_argument("--shape", default="30m", choices=SHAPES)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="rounds after the one that is dropped")
    parser.add_argument("--skip", nargs="*", default=[], help="cases left out, by the begin of their names")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "finetune_wb-sft")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="into RESULTS.md")
    o = parser.parse_args()
    import torch

    from finetune_wb.machine import machine

    torch.set_num_threads(1)
    load, pairs = load_average(), read_pairs(o.data)
    folder = model_folder(o.shape, pairs, o.cache)
    rows = encoded(pairs, folder, o.rows, seed=0)
    cases = {name: case for name, case in CASES.items() if not any(name.startswith(skipped) for skipped in o.skip)}
    long = {name: cases[name] for name in cases if name.startswith(("default", "with the mask", "sdpa"))}
    tables = [compare(o.shape, rows, folder, cases, o.rounds), compare(o.shape, joined(rows, 5), folder, long, o.rounds)]
    head = ("## Levers of supervised fine-tuning\n\nForward, backward, clipping and AdamW (fused) on answers of GSM8K; each line changes the first in what it names. One thread, own CPU time, median (range) of "
            f"{o.rounds} rounds in turn after one that was dropped. Above 1 is faster than the default. Load at start {load}, at the end {load_average()}.")  # fmt: skip
    text = "\n\n".join([head, *tables, machine_line(machine(), installed())])
    print(text)
    if o.write:
        write_section("sft_levers", text)


if __name__ == "__main__":
    main()
