"""One contender of sft.py in a process of its own: `python sft_contenders.py NAME options.json result.json`.

Everybody gets the same token rows, initial weights, rate and number of steps, and keeps everything else at its own default. A step is timed from its begin to
its end (forward, backward, clipping, optimizer), the first ones are dropped. This file imports nothing of finetune_wb outside `ours`, since
LLaMA-Factory and Unsloth live in environments of their own."""

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

RATE, LORA = 3e-4, {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}


def rss_mb(which: str) -> float:
    "Memory of this process, MB: VmRSS now, VmHWM at most."
    return int(re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6


def watcher(options: dict, shared: dict):
    "A callback that times steps and, between them and outside the clock, measures the loss of other rows."
    import torch
    from transformers import TrainerCallback

    def loss(model) -> float:
        "Nats per answer token of the valid rows, one row at a time, bf16 for everyone."
        was, total, count, place = model.training, 0.0, 0, next(model.parameters()).device
        model.eval()
        with torch.no_grad():
            for row in options["valid"]:
                ids, labels = (torch.tensor([row[name]], device=place) for name in ("input_ids", "labels"))
                with torch.autocast(place.type, torch.bfloat16):
                    logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
                total += float(torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum"))
                count += int((labels[0, 1:] != -100).sum())
        model.train(was)
        return total / count

    class Watch(TrainerCallback):
        steps, curve, begun = [], [], None

        def on_train_begin(self, args, state, control, model=None, **_):
            self.curve.append((0, loss(model)))

        def on_step_begin(self, *_, **__):
            if options["device"] == "cuda":
                torch.cuda.synchronize()
            self.begun = time.process_time(), time.perf_counter()

        def on_step_end(self, args, state, control, model=None, **_):
            if options["device"] == "cuda":
                torch.cuda.synchronize()
            self.steps.append((time.process_time() - self.begun[0], time.perf_counter() - self.begun[1], state.num_input_tokens_seen))
            shared["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6 if options["device"] == "cuda" else rss_mb("VmHWM") - shared["before_mb"]
            if state.global_step % options["steps_per_epoch"] == 0 or state.global_step == options["steps"]:
                self.curve.append((state.global_step, loss(model)))

    return Watch()


def plain_model(options: dict):
    "What a guide loads, LoRA as peft's own guide has it."
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(options["model"])
    return model.to(options["device"])


def lora(model, options: dict):
    import peft

    return peft.get_peft_model(model, peft.LoraConfig(**LORA, target_modules="all-linear", task_type="CAUSAL_LM")) if options["method"] == "lora" else model


def common(options: dict, folder: str) -> dict:
    "Arguments that are the job's and not the contender's."
    return {"output_dir": folder, "max_steps": options["steps"], "per_device_train_batch_size": options["rows_per_batch"], "learning_rate": RATE, "lr_scheduler_type": "constant",
            "weight_decay": 0.0, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": options["device"] == "cpu", "logging_steps": 1000, "include_num_input_tokens_seen": "non_padding"}  # fmt: skip


def dataset(options: dict, mask: bool = False):
    from datasets import Dataset

    rows = [{**row, "attention_mask": [1] * len(row["input_ids"])} if mask else row for row in options["train"]]
    return Dataset.from_list(rows)


def trainer(options: dict, watch, folder: str, **changes) -> None:
    "transformers.Trainer as guides have it: random batches padded to their longest row, bf16, the model's own loss."
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(options["model"])
    arguments = TrainingArguments(**common(options, folder), bf16=True, **changes)
    Trainer(model=lora(plain_model(options), options), args=arguments, train_dataset=dataset(options), data_collator=DataCollatorForSeq2Seq(tokenizer), callbacks=[watch]).train()


def trainer_grouped(options: dict, watch, folder: str) -> None:
    "The same with transformers' own grouping by length."
    trainer(options, watch, folder, train_sampling_strategy="group_by_length")


def trl(options: dict, watch, folder: str) -> None:
    "TRL's SFTTrainer with its defaults."
    import peft
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    adapter = {"peft_config": peft.LoraConfig(**LORA, target_modules="all-linear", task_type="CAUSAL_LM")} if options["method"] == "lora" else {}
    tokenizer = AutoTokenizer.from_pretrained(options["model"])
    SFTTrainer(model=plain_model(options), args=SFTConfig(**common(options, folder)), train_dataset=dataset(options), processing_class=tokenizer, callbacks=[watch], **adapter).train()


def llamafactory(options: dict, watch, folder: str) -> None:
    "LLaMA-Factory with its defaults, on rows that are tokenized already."
    from datasets import DatasetDict
    from llamafactory.train.tuner import run_exp

    DatasetDict(train=dataset(options, mask=True)).save_to_disk(f"{folder}/rows")
    method = {"finetuning_type": "full"} if options["method"] == "full" else {"finetuning_type": "lora", "lora_rank": LORA["r"], "lora_alpha": LORA["lora_alpha"], "lora_dropout": 0.0, "lora_target": "all"}
    run_exp({**common(options, f"{folder}/out"), **method, "stage": "sft", "do_train": True, "model_name_or_path": options["model"], "tokenized_path": f"{folder}/rows", "template": "chatml",
             "bf16": True, "dataset": "rows", "overwrite_output_dir": True, "remove_unused_columns": False}, callbacks=[watch])  # fmt: skip


def unsloth(options: dict, watch, folder: str) -> None:
    "Unsloth with its defaults; CUDA only."
    from unsloth import FastLanguageModel  # isort: skip  (it patches what is imported after it)
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = FastLanguageModel.from_pretrained(options["model"], max_seq_length=1024, load_in_4bit=False, full_finetuning=options["method"] == "full")
    if options["method"] == "lora":
        model = FastLanguageModel.get_peft_model(model, **LORA)
    SFTTrainer(model=model, args=SFTConfig(**common(options, folder), bf16=True), train_dataset=dataset(options), processing_class=tokenizer, callbacks=[watch]).train()


def ours(options: dict, watch, folder: str, **train) -> None:
    "This project, with what its recipe and its settings are by default; rows as `TokenRows`, trained by the trainer of a run."
    import numpy as np
    import torch
    from transformers import AutoTokenizer, set_seed

    from finetune_wb.machine import bf16_is_faster
    from finetune_wb.models.catalog import find_model
    from finetune_wb.models.causal import load_causal
    from finetune_wb.models.methods import apply_method
    from finetune_wb.progress import Progress
    from finetune_wb.recipe import Recipe
    from finetune_wb.run import create_run
    from finetune_wb.training.arguments import training_arguments
    from finetune_wb.training.collate import settle_batching
    from finetune_wb.training.compiled import settle_compile
    from finetune_wb.training.language import language_trainer
    from finetune_wb.training.prepare import _attention
    from finetune_wb.training.tokens import TokenRow, TokenRows
    from finetune_wb.training.trainer import Live, RunCallback

    tokenizer = AutoTokenizer.from_pretrained(options["model"])

    def token_rows(rows):
        made = [TokenRow(f"row {i}", tokenizer, np.array(r["input_ids"], np.int32), np.array(r["labels"]) != -100, len(r["input_ids"])) for i, r in enumerate(rows)]
        return TokenRows(tuple(made), tokenizer, 1024, "completion")

    rows = token_rows(options["train"])
    method = {"name": "lora", **LORA} if options["method"] == "lora" else {"name": "full"}
    recipe = Recipe(task="chat", model={"id": options["model"]}, method=method, train={"learning_rate": RATE, "lr_scheduler_type": "constant", "warmup_ratio": 0.0, "weight_decay": 0.0,
                    "max_steps": options["steps"], "tokens_per_batch": options["tokens_per_batch"], "metric_for_best_model": "loss", "logging_steps": 1000, **train})  # fmt: skip
    attention, bf16 = _attention(recipe, options["device"], rows.lengths), bf16_is_faster()
    torch.set_num_threads(options["threads"])
    set_seed(0)
    model = apply_method(load_causal(find_model(recipe.model), recipe.model, attention).to(options["device"]), recipe.method)
    spec = recipe.train.model_copy(update={"compile": settle_compile(recipe.train, recipe.method.name, options["whole_job"], sum(p.numel() for p in model.parameters()), options["device"])})
    live = Live(create_run(recipe, folder, "run"))
    live.run.log.write("state", state="running", stage="load")
    arguments = training_arguments(recipe.train, live.run.checkpoints, RATE, bf16, options["device"], options["steps_per_epoch"])
    arguments.eval_strategy = arguments.save_strategy = "no"
    with Progress(1, "train") as bar:
        callback = RunCallback(live, bar)
        runner = language_trainer(model, None, tokenizer, rows, token_rows(options["valid"]), spec, arguments, callback, settle_batching(recipe.train.batching, model, attention))
        if len(runner.get_train_dataloader()) != options["steps_per_epoch"]:
            raise SystemExit(f"{len(runner.get_train_dataloader())} batches an epoch instead of {options['steps_per_epoch']}")
        runner.start = 0.0
        runner.add_callback(watch)
        runner.train()
        callback.close()
    watch.note = f"{attention}, {'bf16' if bf16 else 'fp32'}{', compiled' if spec.compile else ''}"


def ours_compiled(options: dict, watch, folder: str) -> None:
    "The same with train.compile."
    ours(options, watch, folder, compile=True)


def ours_uncompiled(options: dict, watch, folder: str) -> None:
    "The same without it, as a short job is."
    ours(options, watch, folder, compile=False)


KINDS = {f.__name__: f for f in (ours, ours_uncompiled, ours_compiled, trainer, trainer_grouped, trl, llamafactory, unsloth)}

if __name__ == "__main__":
    name, options, result = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    os.environ.update(FTWB_PROGRESS="off", HF_HUB_OFFLINE="1", DISABLE_VERSION_CHECK="1")
    import torch
    from transformers import Trainer  # noqa: F401  (part of the baseline)

    torch.set_num_threads(options["threads"])
    shared = {"before_mb": rss_mb("VmRSS")}
    watch = watcher(options, shared)
    with tempfile.TemporaryDirectory() as folder:
        KINDS[name](options, watch, folder)
    first, last = watch.steps[options["dropped"] - 1], watch.steps[-1]
    cpu, wall = (sum(step[k] for step in watch.steps[options["dropped"] :]) for k in (0, 1))
    found = {"tokens": last[2] - first[2], "cpu": cpu, "wall": wall, "begin": watch.steps[0][:2], "seen": last[2], "curve": watch.curve, "note": getattr(watch, "note", ""), "peak_mb": shared["peak_mb"], "steps": len(watch.steps)}
    result.write_text(json.dumps(found))
