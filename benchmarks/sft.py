"""Tokens a second and peak memory of supervised fine-tuning beside TRL, transformers.Trainer and LLaMA-Factory: `python benchmarks/sft.py`.

Every run is a process of its own and a line of sft.jsonl; contenders take turns. `--report` writes the section of RESULTS.md from all lines of this
machine. LLaMA-Factory and Unsloth pin other versions of transformers and need an environment of their own: name its interpreter with --llamafactory or
--unsloth; without one they are left out. On a GPU: `--device cuda --shapes 1b --methods full lora --contenders ours trl llamafactory unsloth`."""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from common import DATA, HERE, installed, load_average, machine_line, median, spread, table, write_section

ROWS, LOG, CHILD = DATA.parent / "gsm8k", HERE / "sft.jsonl", HERE / "sft_contenders.py"
SHAPES = {  # Llama's layout with tied embeddings: hidden, layers, heads, key-value heads, intermediate, vocabulary
    "8m": (256, 8, 4, 2, 704, 8192),
    "30m": (384, 12, 6, 2, 1024, 32000),
    "135m": (576, 30, 9, 3, 1536, 49152),  # SmolLM2-135M's
    "1b": (2048, 16, 32, 8, 8192, 128256),  # Llama 3.2 1B's
}
NAMES = {"ours": "**finetune_wb, default**", "ours_uncompiled": "finetune_wb, train.compile=false", "ours_compiled": "finetune_wb, train.compile=true", "trl": "TRL SFTTrainer, defaults", "trainer": "transformers.Trainer, bf16, dynamic padding",
         "trainer_grouped": "transformers.Trainer, bf16, group_by_length", "llamafactory": "LLaMA-Factory, defaults", "unsloth": "Unsloth, defaults"}  # fmt: skip
MARKS = ("<pad>", "<|im_start|>", "<|im_end|>")


def read_pairs(folder: Path) -> list[dict]:
    "Questions and answers, or an exit that says how to get them."
    file = folder / "train.jsonl"
    if not file.is_file():
        sys.exit(f"skipped: {file} is missing. This benchmark reads GSM8K (question, answer; MIT, github.com/openai/grade-school-math) and downloads nothing.")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def model_folder(shape: str, pairs: list[dict], folder: Path) -> Path:
    "Random weights of a shape and a byte-level BPE tokenizer learnt from the rows; made once."
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    hidden, layers, heads, groups, wide, vocabulary = SHAPES[shape]
    if (folder / shape / "model.safetensors").exists():
        return folder / shape
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=min(vocabulary, 16000), special_tokens=list(MARKS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    bpe.train_from_iterator([f"{pair['question']} {pair['answer']}" for pair in pairs], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=MARKS[0], eos_token=MARKS[2], model_max_length=2048)
    tokenizer.chat_template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=groups, intermediate_size=wide, vocab_size=vocabulary,
                         max_position_embeddings=2048, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / shape)
    tokenizer.save_pretrained(folder / shape)
    return folder / shape


def encoded(pairs: list[dict], model: Path, count: int, seed: int) -> list[dict]:
    "Token rows whose answers, up to the end of turn, are trained."
    from transformers import AutoTokenizer

    tokenizer, rows = AutoTokenizer.from_pretrained(model), []
    for i in np.random.default_rng(seed).permutation(len(pairs))[:count]:
        prompt = tokenizer(f"<|im_start|>user\n{pairs[i]['question']}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        answer = tokenizer(f"{pairs[i]['answer']}<|im_end|>")["input_ids"]
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows


def budget_for(rows: list[dict], batches: int) -> int:
    "The smallest token budget that makes as many batches of `rows` as the others have."
    from finetune_wb.training.encode import token_batches

    lengths = np.array([len(row["input_ids"]) for row in rows])
    return next(budget for budget in range(int(lengths.max()), 10**6, 4) if len(token_batches(lengths, budget)) <= batches)


def job(shape: str, method: str, o: argparse.Namespace, cache: Path) -> dict:
    "What one run is told; `whole_job` is the tokens that a run over all of GSM8K would train, by which the default decides whether to compile."
    from finetune_wb.recipe import TrainSpec

    pairs = read_pairs(o.data)
    model = model_folder(shape, pairs, cache)
    rows = encoded(pairs, model, o.rows + o.valid, seed=0)
    train, per_epoch = rows[: o.rows], o.rows // o.rows_per_batch
    return {"shape": shape, "method": method, "device": o.device, "threads": o.threads, "model": str(model), "train": train, "valid": rows[o.rows :], "rows_per_batch": o.rows_per_batch,
            "whole_job": float(np.mean([len(row["input_ids"]) for row in train])) * len(pairs) * TrainSpec().num_train_epochs,
            "steps_per_epoch": per_epoch, "steps": o.steps, "dropped": o.dropped, "tokens_per_batch": budget_for(train, per_epoch)}  # fmt: skip


def run(name: str, options: dict, o: argparse.Namespace) -> dict:
    "One contender in a process of its own; a line for the log."
    python = {"llamafactory": o.llamafactory, "unsloth": o.unsloth}.get(name) or sys.executable
    quiet = {"OMP_NUM_THREADS": str(o.threads), "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false", "UNSLOTH_RETURN_LOGITS": "1", "PYTHONPATH": os.pathsep.join(o.path)}
    with tempfile.TemporaryDirectory() as folder:
        told, result = Path(folder, "options.json"), Path(folder, "result.json")
        told.write_text(json.dumps(options))
        load, began = load_average(), time.time()
        ended = subprocess.run([python, str(CHILD), name, str(told), str(result)], env={**os.environ, **quiet}, cwd=folder, capture_output=True, text=True, start_new_session=True)
        if ended.returncode or not result.exists():
            raise RuntimeError(f"{name} failed:\n{ended.stderr[-2000:]}")
        found = json.loads(result.read_text())
    packages = {k: v for k, v in installed(python).items() if k in ("torch", "transformers", "trl", "peft", "llamafactory", "unsloth")}
    return {"name": name, **{k: options[k] for k in ("shape", "method", "device", "threads", "rows_per_batch", "steps", "dropped")}, "rows": len(options["train"]), **found, "load": load, "together": o.together, "began": round(began), "versions": packages}


def ceiling(device: str, threads: int, clock: str) -> float:
    "Matrix products of this machine, bf16, FLOP a second of a clock (wall or cpu): the best of a few."
    import torch

    torch.set_num_threads(threads)
    size, best, now = (8192 if device == "cuda" else 2048), 0.0, time.perf_counter if clock == "wall" else time.process_time
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(10):
        if device == "cuda":
            torch.cuda.synchronize()
        begun = now()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (now() - begun))
    return best


def needed(shape: str, trained: float) -> float:
    "FLOP a token that full fine-tuning needs at least: the layers for every token, the head for the `trained` share; attention's own products left out."
    hidden, layers, heads, groups, wide, vocabulary = SHAPES[shape]
    layer = 2 * hidden * hidden + 2 * hidden * hidden * groups // heads + 3 * hidden * wide
    return 6 * (layers * layer + trained * hidden * vocabulary)


def section(lines: list[dict], o: argparse.Namespace) -> str:
    "All runs of the log as tables."
    from finetune_wb.machine import machine

    parts, tops = [], {}
    for shape, method, threads in itertools.product(SHAPES, ("full", "lora"), sorted({line["threads"] for line in lines}, reverse=True)):
        runs = [line for line in lines if (line["shape"], line["method"], line["device"], line["threads"]) == (shape, method, o.device, threads)]
        if runs:  # on a machine that others use the clock on the wall tells of them
            quiet = o.device != "cpu" or max(line["load"] for line in runs) < QUIET
            clock = "wall" if quiet else "cpu"
            if (threads, clock) not in tops:
                tops[threads, clock] = ceiling(o.device, threads, clock)
            parts.append(group_table(shape, method, runs, clock, tops[threads, clock]))
    versions = {name: sorted({line["versions"].get(name) for line in lines if line["name"] == who and name in line["versions"]}) for who, name in (("ours", "torch"), ("ours", "transformers"), ("trl", "trl"), ("ours", "peft"), ("llamafactory", "llamafactory"), ("unsloth", "unsloth"))}
    told = {name: " and ".join(found) for name, found in versions.items() if found}
    return "\n\n".join([INTRODUCTION.format(ceiling=" and ".join(f"{top / 1e9:,.0f} GFLOP a {'second' if clock == 'wall' else 'CPU-second'} ({threads} thread{'s' * (threads > 1)})" for (threads, clock), top in tops.items())), *parts, machine_line(machine(), {**{k: v for k, v in installed().items() if k in ("python", "finetune_wb")}, **told})])


QUIET = 3.0  # load at the start of a run, its own last minute included

INTRODUCTION = """## Supervised fine-tuning: tokens a second and memory, beside TRL, Trainer and LLaMA-Factory

GSM8K rows (question → answer, loss on the answer alone for everybody), random weights of Llama's layout, the same token rows, initial weights, constant rate of 3e-4
and rows an epoch; batches of 8 rows (4 at 135m with one thread) drawn at random for the others, for finetune_wb a token budget that makes as many steps an epoch of the same rows, and what its default decides for a job over all of GSM8K (to compile, at every shape). Everything else is each
one's own default: TRL and LLaMA-Factory checkpoint activations, all use bf16 autocast. A run is a process of its own; contenders take turns or, to meet the same neighbours, run side by side. Counted are non-padding
tokens per second (where the machine was quiet) or per own CPU-second (where it was not), from the begin of a step to its end, the first four steps dropped (one, where a table says so); ×: against the run of finetune_wb nearest in time, over all runs.
Memory is the peak over what the process held before the model was loaded. Loss: nats per answer token on the same held-out rows, before the first step and after the last.
"MFU": the FLOP that the job needs at least (head on answers only, attention's own products left out) over a bf16 matrix product's {ceiling}, measured when this page was written."""


def rate(line: dict, clock: str) -> float:
    return line["tokens"] / line[clock]


def beside(line: dict, runs: list[dict]) -> dict | None:
    "The run of ours that is nearest in time: by default, or uncompiled where there is no such."
    name = "ours" if any(r["name"] == "ours" for r in runs) else "ours_uncompiled"
    return min((r for r in runs if r["name"] == name), key=lambda r: abs(r["began"] - line["began"]), default=None)


def group_table(shape: str, method: str, runs: list[dict], clock: str, top: float) -> str:
    names, rows = [name for name in NAMES if any(r["name"] == name for r in runs)], []
    for name in names:
        mine = [r for r in runs if r["name"] == name]
        ratios = [rate(beside(r, runs), clock) / rate(r, clock) for r in mine if beside(r, runs)]
        share = f"{100 * median([rate(r, clock) for r in mine]) * needed(shape, 0.6) / top:.1f} %" if method == "full" else "–"
        curve = max(mine, key=lambda r: r["began"])["curve"]
        rows.append([NAMES[name], len(mine), spread([rate(r, clock) for r in mine], 0), "–" if beside(mine[0], runs) is mine[0] else spread(ratios, 1) + "×", share, spread([r["peak_mb"] for r in mine], 0), " → ".join(f"{value:.2f}" for _, value in curve)])
    first = runs[-1]
    title = f"**{shape}, {method}** ({first['rows']} rows, {first['steps']} steps, {first.get('dropped', 1)} of them dropped, {first['threads']} thread{'s' * (first['threads'] > 1)}; load at start {spread([r['load'] for r in runs], 1)}; {'seconds' if clock == 'wall' else 'own CPU-seconds'}):"
    return title + "\n\n" + table(["", "runs", "tokens/s", "finetune_wb faster", "MFU", "memory MB", "held-out loss"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROWS, help="folder with GSM8K's train.jsonl")
    parser.add_argument("--shapes", nargs="+", default=["8m", "30m", "135m"], choices=SHAPES)
    parser.add_argument("--methods", nargs="+", default=["full", "lora"], choices=["full", "lora"])
    parser.add_argument("--contenders", nargs="+", default=["ours", "trl", "trainer", "llamafactory"], choices=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=32, help="train rows; each is seen once an epoch")
    parser.add_argument("--valid", type=int, default=8, help="held-out rows")
    parser.add_argument("--rows-per-batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--dropped", type=int, default=4, help="steps at the start that are not timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--llamafactory", help="interpreter of an environment with LLaMA-Factory")
    parser.add_argument("--unsloth", help="interpreter of an environment with Unsloth")
    parser.add_argument("--path", nargs="*", default=[str(HERE.parent)], help="PYTHONPATH of the runs")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "finetune_wb-sft", help="where models of random weights are kept")
    parser.add_argument("--together", action="store_true", help="the contenders of a round side by side instead of in turn; needs memory for all of them")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="into RESULTS.md")
    parser.add_argument("--report", action="store_true", help="only write the section from the log")
    o = parser.parse_args()
    if o.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            sys.exit("skipped: --device cuda, and there is no CUDA here")
    if not o.report:
        left_out = {name for name in ("llamafactory", "unsloth") if not getattr(o, name)}
        for number in range(o.rounds):
            for shape in o.shapes:
                for method in o.methods:
                    options = job(shape, method, o, o.cache)
                    wanted = [n for n in o.contenders if n not in left_out]
                    for line in (ThreadPoolExecutor(len(wanted)) if o.together else ThreadPoolExecutor(1)).map(lambda name, options=options: run(name, options, o), wanted):
                        name = line["name"]
                        with LOG.open("a") as file:
                            file.write(json.dumps(line) + "\n")
                        print(number, shape, method, name, f"{rate(line, 'cpu'):.0f} tokens/CPU-s, {rate(line, 'wall'):.0f} tokens/s, {line['peak_mb']:.0f} MB, loss {line['curve'][-1][1]:.3f}, load {line['load']}", flush=True)
    text = section([json.loads(line) for line in LOG.read_text().splitlines()], o)
    print(text)
    if o.write:
        write_section("sft", text)


if __name__ == "__main__":
    main()
