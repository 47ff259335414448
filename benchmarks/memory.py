"""Memory of a training step, predicted beside measured: `python benchmarks/memory.py`.

Each configuration is a model of random weights built from a real configuration class, rows of words, and a recipe. `estimate` predicts from
the configuration; `trial` takes two real steps on the largest batch in a process of its own and measures its peak. The two constants of the
prediction (`OVERHEAD` in nbs/44_training.memory.ipynb) were fitted on CALIBRATION (`--fit`), and are judged on REPORTED, which has no
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


def measure(model: str, method: dict, budget: int, longest: int, further: dict, attention: str) -> dict:
    "One configuration, predicted and measured."
    from finetune_wb.recipe import Recipe
    from finetune_wb.training.memory import estimate_job
    from finetune_wb.training.prepare import prepare
    from finetune_wb.training.prove import trial

    with tempfile.TemporaryDirectory() as folder:
        build_model(model, Path(folder))
        train = {"tokens_per_batch": budget, "max_length": longest, "bf16": True, "threads": 1, **further}
        recipe = Recipe(
            task="completion", model={"id": folder, "attn_implementation": attention}, method=method, train=train
        )
        job, _ = prepare(recipe, rows_of(longest, MODELS[model][1]["vocab_size"]))
        predicted, load = estimate_job(job), load_average()
        measured = trial(job)
    return {
        "model": model, "method": method, "budget": budget, "longest": longest, "further": further, "attention": attention, "batch": list(predicted.batch.shape),
        "predicted": {**asdict(predicted.memory), "total": predicted.memory.total}, "passed": predicted.passed, "trainable": predicted.trainable, "measured": measured.peak, "process": measured.process,
        "step_predicted": predicted.step_seconds, "step_measured": measured.seconds, "load": load, "reason": measured.reason,
    }  # fmt: skip


def fit(found: list[dict]) -> tuple[float, float]:
    "The constants that make the relative errors of `found` least: bytes at once, and bytes for each byte that passes through the heap."
    tensors = np.array(
        [
            sum(one["predicted"][p] for p in ("weights", "gradients", "optimizer", "activations", "logits"))
            for one in found
        ],
        float,
    )
    passed = np.array([one["passed"] for one in found], float)
    measured = np.array([one["measured"] for one in found], float)
    design = np.stack([np.ones_like(passed), passed], 1) / measured[:, None]
    return tuple(np.linalg.lstsq(design, 1 - tensors / measured, rcond=None)[0])


def identity(model: str, method: dict, budget: int, longest: int, further: dict, attention: str) -> str:
    "A configuration as a key."
    return json.dumps([model, method, budget, longest, further, attention], sort_keys=True)


def latest() -> dict[str, dict]:
    "The newest measurement of each configuration."
    lines = map(json.loads, LOG.read_text(encoding="utf-8").splitlines()) if LOG.exists() else ()
    return {
        identity(*(one[name] for name in ("model", "method", "budget", "longest", "further", "attention"))): one
        for one in lines
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


def section(calibration: list[dict], reported: list[dict]) -> str:
    "The part of RESULTS.md."
    from finetune_wb.machine import machine
    from finetune_wb.training.memory import OVERHEAD

    def rows(found):
        for one in found:
            predicted = one["now"]
            error = predicted / one["measured"] - 1
            yield [
                *name_of(one),
                f"{predicted / 1e6:,.0f}",
                f"{one['measured'] / 1e6:,.0f}",
                f"{error:+.0%}",
                f"{one['step_predicted']:.2f}",
                f"{one['step_measured']:.2f}",
                one["load"],
            ]

    fixed, share = OVERHEAD["cpu"]
    for one in calibration + reported:
        parts = one["predicted"]
        one["now"] = parts["total"] - parts["overhead"] + fixed + share * one["passed"]
    missing = f" ({len(REPORTED) - len(reported)} of the {len(REPORTED)} configurations were not measured)" if len(reported) < len(REPORTED) else ""
    errors = [abs(one["now"] / one["measured"] - 1) for one in reported]
    header = [
        "model",
        "method",
        "batch",
        "settings",
        "predicted MB",
        "measured MB",
        "error",
        "step predicted s",
        "step measured s",
        "load",
    ]
    return f"""## Memory: predicted beside measured

Peak resident memory over the process before the model is loaded, MB. Predicted: the training step walked through on tensors without storage,
plus {fixed / 1e6:,.0f} MB and {share:.1%} of the bytes that pass through the heap in a step, for allocator and kernels. Measured: the largest of an evaluation and two optimizer steps on the
largest batch, through the same trainer as `train`, in a process of its own (VmHWM). Random weights, rows of random words, one or two threads; processes that were not ours
took turns on the same two cores, so seconds are an orientation and memory is not touched by them.

**{sum(error <= 0.15 for error in errors)} of {len(errors)} within 15 %**{missing}; median error {median(errors):.1%}, largest {max(errors):.1%}.

{table(header, list(rows(reported)))}

The two constants were fitted on these, none of which is above (errors here are of the fit, not of a prediction):

{table(header, list(rows(calibration)))}

{machine_line(machine(), installed())} No GPU was at hand: the constants for CUDA were not measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set",
        choices=("calibration", "reported", "both", "none"),
        default="both",
        help="which configurations to measure; the others are read from the log",
    )
    parser.add_argument("--again", action="store_true", help="measure those too that the log has")
    parser.add_argument(
        "--fit", action="store_true", help="print the constants that CALIBRATION gives, and write nothing"
    )
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    sets = {"calibration": CALIBRATION, "reported": REPORTED}
    done = {} if chosen.again else latest()
    for name, configurations in sets.items():
        for configuration in configurations if chosen.set in (name, "both") else ():
            if identity(*configuration) in done:
                continue
            one = measure(*configuration)
            print(
                name_of(one),
                f"{one['predicted']['total'] / 1e6:,.0f} → {one['measured'] / 1e6:,.0f} MB",
                one["reason"],
                file=sys.stderr,
                flush=True,
            )
            with LOG.open("a", encoding="utf-8") as log:
                log.write(json.dumps(one) + "\n")
    found = latest()
    calibration, reported = (
        [found[key] for one in configurations if (key := identity(*one)) in found] for configurations in sets.values()
    )
    if chosen.fit:
        print("bytes at once, share of what passes through the heap:", fit(calibration))
    else:
        write_section("memory", section(calibration, reported))


if __name__ == "__main__":
    main()
