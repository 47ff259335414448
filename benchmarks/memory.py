"""Memory of a training step, predicted beside measured: `python benchmarks/memory.py`.

Each configuration is a model of random weights built from a real configuration class, rows of words, and a recipe. `estimate` predicts from
the configuration; `trial` takes two real steps on the largest batch in a process of its own and measures its peak. The constant of the
prediction (`OVERHEAD` in nbs/44_training.memory.ipynb) was fitted on CALIBRATION (`--fit`), and is judged on REPORTED, which has no
configuration in common with it. One process at a time, none above about 4 GB."""

import argparse
import json
import os
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from common import HERE, installed, load_average, machine_line, median, table, write_section

LOG = HERE / "memory.jsonl"
LLAMA = {
    "8M": {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 688,
        "vocab_size": 6144,
    },
    "30M": {
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "intermediate_size": 1024,
        "vocab_size": 32000,
    },
    "135M": {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
    },
}
MODELS = {
    **{f"Llama {name}": ("LlamaConfig", {**sizes, "tie_word_embeddings": True}) for name, sizes in LLAMA.items()},
    "GPT-2 33M": ("GPT2Config", {"n_embd": 512, "n_layer": 8, "n_head": 8, "vocab_size": 16000, "n_positions": 1024}),
    "Qwen3 25M": (
        "Qwen3Config",
        {
            "hidden_size": 320,
            "num_hidden_layers": 8,
            "num_attention_heads": 5,
            "num_key_value_heads": 5,
            "head_dim": 64,
            "intermediate_size": 960,
            "vocab_size": 24000,
        },
    ),
    "Gemma 3 20M": (
        "Gemma3TextConfig",
        {
            "hidden_size": 320,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 80,
            "intermediate_size": 1280,
            "vocab_size": 24000,
        },
    ),
    "GPT-NeoX 19M": (
        "GPTNeoXConfig",
        {
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "intermediate_size": 1536,
            "vocab_size": 12000,
        },
    ),
}
FULL, LORA, CKPT = {"name": "full"}, {"name": "lora"}, {"gradient_checkpointing": True}
CALIBRATION = [  # model, method, tokens a batch, longest row, further train fields, attention
    ("Llama 8M", FULL, 2048, 128, {}, "sdpa"),
    ("Llama 8M", LORA, 4096, 256, {}, "eager"),
    ("Llama 30M", FULL, 1024, 256, {}, "eager"),
    ("Llama 8M", FULL, 4096, 256, {}, "sdpa"),
]
REPORTED = [
    ("Llama 8M", FULL, 2048, 512, {}, "eager"),
    ("Llama 8M", {"name": "last_layers", "layers": 2}, 4096, 256, {}, "sdpa"),
    ("Llama 8M", FULL, 2048, 256, {"batching": "packed"}, "sdpa"),
    ("GPT-NeoX 19M", FULL, 1024, 128, {"gradient_accumulation_steps": 2}, "eager"),
    ("Gemma 3 20M", {"name": "bottleneck"}, 1024, 256, {}, "sdpa"),
    ("Qwen3 25M", {"name": "prompt_tuning"}, 1024, 256, {}, "sdpa"),
    ("Llama 30M", FULL, 2048, 256, {}, "sdpa"),
    ("Llama 30M", LORA, 2048, 256, {}, "sdpa"),
    ("Llama 30M", FULL, 1024, 256, CKPT, "sdpa"),
    ("GPT-2 33M", {"name": "ia3"}, 1024, 256, {}, "sdpa"),
    ("Llama 135M", FULL, 512, 128, {}, "sdpa"),
    ("Llama 135M", LORA, 512, 128, CKPT, "sdpa"),
    ("Llama 30M", {"name": "full", "freeze_embeddings": True}, 1024, 128, {"bf16": False}, "eager"),
    ("Llama 135M", {"name": "last_layers", "layers": 8}, 512, 128, {}, "sdpa"),
    ("minidoc", FULL, 2048, 512, {}, "auto"),  # the recipe of nbs/recipes/chat.ipynb
]
COMPILED = [  # beside the same without; what compiling takes is no part of the prediction
    ("Llama 8M", FULL, 2048, 512, {"compile": True}, "eager"),
    ("Llama 30M", FULL, 2048, 256, {"compile": True}, "sdpa"),
]


def build_model(name: str, folder: Path) -> Path:
    "Random weights and a tokenizer of one word a token."
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    kind, sizes = MODELS[name]
    words = {"<pad>": 0, "<eos>": 1, **{f"w{i}": i + 2 for i in range(sizes["vocab_size"] - 2)}}
    words_only = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    words_only.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words_only, pad_token="<pad>", eos_token="<eos>", model_max_length=1024
    )
    transformers.utils.logging.disable_progress_bar()
    config = getattr(transformers, kind)(
        **{"max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, **sizes}
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows_of(longest: int, vocabulary: int) -> list[dict]:
    "Texts of half to the whole length, enough for several batches."
    draw = random.Random(0)
    return [
        {"text": " ".join(f"w{draw.randrange(vocabulary - 2)}" for _ in range(draw.randint(longest // 2, longest - 1)))}
        for _ in range(200)
    ]


def recipe_of(model: str, method: dict, budget: int, longest: int, further: dict, attention: str, folder: str):
    "The recipe of a configuration, and its rows; those of the model that the package ships are its own."
    from finetune_wb.recipe import Recipe

    train = {"tokens_per_batch": budget, "max_length": longest, "bf16": True, "threads": 1, "compile": False, **further}
    if model == "minidoc":
        data = {"source": "builtin:signatures"}
        return Recipe(task="instruction", model={"id": model}, data=data, method=method, train=train), None
    build_model(model, Path(folder))
    start = {"id": folder, "attn_implementation": attention}
    rows = rows_of(longest, MODELS[model][1]["vocab_size"])
    return Recipe(task="completion", model=start, method=method, train=train), rows


def foretold(configuration: tuple, folder: str):
    "A configuration as a job, and what is predicted of it."
    from finetune_wb.training.memory import estimate_job
    from finetune_wb.training.prepare import prepare

    job, _ = prepare(*recipe_of(*configuration, folder))
    told = estimate_job(job)
    memory = {**asdict(told.memory), "total": told.memory.total}
    return job, {"batch": list(told.batch.shape), "predicted": memory, "held": told.held, "trainable": told.trainable, "step_predicted": told.step_seconds, "epoch_predicted": told.epoch_seconds}  # fmt: skip


def measure(configuration: tuple, measured: dict | None) -> dict:
    "One configuration, predicted and measured; where `measured` has it from before, only predicted."
    from finetune_wb.training.prove import trial

    names = ("model", "method", "budget", "longest", "further", "attention")
    with tempfile.TemporaryDirectory() as folder:
        job, told = foretold(configuration, folder)
        if measured:
            return {**measured, **told}
        load, found = load_average(), trial(job)
    return {**dict(zip(names, configuration)), **told, "measured": found.peak, "process": found.process, "step_measured": found.seconds, "step_busy": found.busy, "load": load, "reason": found.reason}  # fmt: skip


def fit(found: list[dict]) -> float:
    "The constant that makes the relative errors of `found` least: bytes beside weights and what the allocator holds."
    told = np.array([one["predicted"]["weights"] + one["held"] for one in found], float)
    measured = np.array([one["measured"] for one in found], float)
    return float(((measured - told) / measured**2).sum() / (1 / measured**2).sum())


def identity(model: str, method: dict, budget: int, longest: int, further: dict, attention: str) -> str:
    "A configuration as a key."
    return json.dumps([model, method, budget, longest, further, attention], sort_keys=True)


def latest() -> dict[str, dict]:
    "The newest measurement of each configuration."
    lines = map(json.loads, LOG.read_text(encoding="utf-8").splitlines()) if LOG.exists() else ()
    return {
        identity(*(one[name] for name in ("model", "method", "budget", "longest", "further", "attention"))): one
        for one in lines
        if "held" in one  # older lines were predicted otherwise
    }


def name_of(one: dict) -> list[str]:
    "Model, method and settings of a row."
    method = one["method"]["name"] + "".join(f", {k}={v}" for k, v in one["method"].items() if k != "name")
    further = ", ".join(f"{k}={v}" for k, v in one["further"].items())
    return [
        one["model"],
        method,
        f"{one['batch'][0]} × {one['batch'][1]}",
        one["attention"] + (f", {further}" if further else ""),
    ]


HEADER = ["model", "method", "batch", "settings", "predicted MB", "measured MB", "error", "batch predicted s", "batch measured s", "load"]


def rows(found: list[dict]):
    "Of the table: memory predicted and measured, and processor seconds of a batch."
    for one in found:
        predicted, pace = one["predicted"]["total"], one["step_measured"]
        error = f"{predicted / one['measured'] - 1:+.0%}"
        yield [*name_of(one), f"{predicted / 1e6:,.0f}", f"{one['measured'] / 1e6:,.0f}", error, f"{one['step_predicted']:.2f}", f"{one['step_busy'] or pace:.2f}", one["load"]]


def beside(compiled: list[dict], found: dict[str, dict]):
    "Compiled and not compiled, measured."
    for one in compiled:
        plain = {name: value for name, value in one["further"].items() if name != "compile"}
        other = found[identity(one["model"], one["method"], one["budget"], one["longest"], plain, one["attention"])]
        yield [*name_of(one)[:3], f"{other['measured'] / 1e6:,.0f}", f"{one['measured'] / 1e6:,.0f}", f"{one['predicted']['total'] / 1e6:,.0f}"]


def section(calibration: list[dict], reported: list[dict], compiled: list[dict], found: dict[str, dict]) -> str:
    "The part of RESULTS.md."
    from finetune_wb.machine import machine
    from finetune_wb.training.memory import OVERHEAD

    fixed, _ = OVERHEAD["cpu"]
    for one in calibration + reported + compiled:
        parts = one["predicted"]
        parts["total"] = parts["weights"] + one["held"] + fixed
    missing = len(REPORTED) - len(reported)
    errors = [abs(one["predicted"]["total"] / one["measured"] - 1) for one in reported]
    ratios = sorted(one["step_predicted"] / one["step_busy"] for one in reported if one["step_busy"])
    layers = f"""Layers that are compiled are not walked; their peak, the compiler's own memory in this process included (but not that of the C++ compiler, which is a process of its own), beside that of the same job without:

{table(["model", "method", "batch", "not compiled MB", "compiled MB", "predicted MB"], list(beside(compiled, found)))}

""" if compiled else "Layers that are compiled are not walked, and were not measured here.\n\n"
    return f"""## Memory: predicted beside measured

Peak resident memory over the process before the model is loaded, MB. Predicted: a training step and an evaluation walked through on tensors without storage, their blocks replayed in the C library's own allocator,
plus {fixed / 1e6:,.0f} MB for libraries and kernels. Measured: the largest of evaluations and two optimizer steps on the
largest batch, through the same trainer as `train`, in a process of its own with the environment that `launch` gives (VmHWM). Random weights, rows of random words, one thread; minidoc is the recipe of `nbs/recipes/chat.ipynb`. Processes that were not
ours took turns on the same two cores, so seconds are processor seconds, and those of a busy machine (`load`).

**{sum(error <= 0.15 for error in errors)} of {len(errors)} within 15 %**{f" ({missing} of the {len(REPORTED)} configurations were not measured)" if missing else ""}; median error {median(errors):.1%}, largest {max(errors):.1%}.
Seconds of a batch were predicted at {ratios[0]:.2f} to {ratios[-1]:.2f} times the measured ones (median {median(ratios):.2f}), which is why `estimate` shows a range; `prove` measures them.

{table(HEADER, list(rows(reported)))}

That constant was fitted on these, none of which is above (errors here are of the fit, not of a prediction):

{table(HEADER, list(rows(calibration)))}

{layers}What was found on the way: the walk's live bytes agree with the real step's to 0.3 % (it had taken bf16 files for bf16 weights, and upstream had made a mask of fake positions). What is held beyond them is glibc's: one and the same step held
547 or 880 MB for 500 in use, by where its small caches had left splinters; with `GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0` 610, which is what launched runs and proofs now start with.
Mapping every block of 1 MiB and more (`mmap_threshold`) brings what is held near to what is in use (in replay of GPT-2 33M with IA3: 671 MB for 646 in use, 809 without), and pays for it in page faults: not taken, since steps count for more here.
Replaying the walk without that setting was off by up to a quarter; simulating small blocks beside the large ones (400 bytes for each tensor) changed nothing.

{machine_line(machine(), installed())} No GPU was at hand: the constants for CUDA were not measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set",
        choices=("calibration", "reported", "compiled", "all", "none"),
        default="all",
        help="which configurations to measure; the others are read from the log",
    )
    parser.add_argument("--again", action="store_true", help="measure those too that the log has")
    parser.add_argument("--predict", action="store_true", help="predict anew what the log has measured, and measure nothing else")
    parser.add_argument(
        "--fit", action="store_true", help="print the constants that CALIBRATION gives, and write nothing"
    )
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sets = {"calibration": CALIBRATION, "reported": REPORTED, "compiled": COMPILED}
    done = {} if chosen.again else latest()
    for name, configurations in sets.items():
        for configuration in configurations if chosen.set in (name, "all") else ():
            known = done.get(identity(*configuration))
            if bool(known) != chosen.predict:
                continue
            one = measure(configuration, known)
            print(name_of(one), f"{one['predicted']['total'] / 1e6:,.0f} → {one['measured'] / 1e6:,.0f} MB", one["reason"], file=sys.stderr, flush=True)
            with LOG.open("a", encoding="utf-8") as log:
                log.write(json.dumps(one) + "\n")
    found = latest()
    calibration, reported, compiled = (
        [found[key] for one in configurations if (key := identity(*one)) in found] for configurations in sets.values()
    )
    if chosen.fit:
        print(f"bytes beside what is told: {fit(calibration):,.0f}")
    else:
        write_section("memory", section(calibration, reported, compiled, found))


if __name__ == "__main__":
    main()
