"""kill -9 at random moments, half of them inside a save, then resume: who ends with the bits of an undisturbed run? `python benchmarks/crash.py`.

A warmed-up server (multiprocessing's forkserver) forks each process that trains, so that a trial takes a second. Every trial is a run
of its own: it is killed one to three times, taken up again after each, and in the end its weights and its whole loss curve are compared,
bit by bit, with those of a run that nothing disturbed.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", GOMP_SPINCOUNT="0", FTWB_PROGRESS="off", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # its tiny models and planted rows

WARM = ["torch", "transformers.models.bert.modeling_bert", "transformers.trainer", "peft", "accelerate", "pandas", "pyarrow.parquet", "sklearn.metrics",
        "torch.utils.tensorboard", "safetensors.torch", "psutil", "finetune_wb.training.train", "finetune_wb.training.trainer", "finetune_wb.training.arguments",
        "finetune_wb.training.probe", "finetune_wb.training.saved", "finetune_wb.models.methods", "finetune_wb.models.classifier", "test_training"]  # fmt: skip
STEPS, EVERY = 18, 3  # optimizer steps, and between two saves
METHODS = {"full": {"name": "full", "probe_first": False}, "lora": {"name": "lora", "probe_first": False, "lora_dropout": 0.1}}


# ---- finetune_wb


def make_run(place: Path, model: Path, method: str) -> None:
    "A run folder as `launch` leaves it: recipe and rows, never begun."
    from test_training import ROWS, recipe_for

    from finetune_wb.data.kept import keep_rows
    from finetune_wb.data.load import load_data
    from finetune_wb.run import create_run

    settings = {"num_train_epochs": 3.0, "evals_per_epoch": 2, "learning_rate": 3e-4, "metric_for_best_model": "loss", "early_stopping_patience": None, "logging_steps": 4, "save_steps": 2}
    recipe = recipe_for(model, METHODS[method], **settings)
    keep_rows(load_data(recipe, ROWS), create_run(recipe, place, "one").folder)


def workbench(place: Path, model: Path) -> None:
    "Trains the run in `place`, or goes on with it."
    from finetune_wb.run import Run
    from finetune_wb.training.train import train

    train(Run(place / "one"))


def workbench_saves(place: Path) -> bool:
    return any(path.name.endswith(".part") for path in listed(place / "one" / "checkpoints"))


def workbench_result(place: Path) -> tuple[dict, list]:
    from finetune_wb.run import Run

    run = Run(place / "one")
    curve = [{k: v for k, v in event.items() if k not in ("time", "seconds")} for event in run.history()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in run.model_folder.glob("*.safetensors")}, curve


# ---- transformers.Trainer alone


def plain(place: Path, model: Path) -> None:
    "The same model and rows under transformers.Trainer, resumed as its documentation says."
    import transformers as hf
    from test_training import KEYS, ROWS
    from transformers.trainer_utils import get_last_checkpoint

    hf.set_seed(0)
    tokenizer, labels = hf.AutoTokenizer.from_pretrained(model), list(KEYS)
    rows = [{**tokenizer(row["text"]), "labels": labels.index(row["label"])} for row in ROWS[:96]]
    network = hf.AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(labels))
    out = place / "plain"
    arguments = hf.TrainingArguments(str(out), per_device_train_batch_size=16, num_train_epochs=3, learning_rate=3e-4, logging_steps=1, save_steps=EVERY, save_total_limit=2, use_cpu=True, report_to="none", disable_tqdm=True)
    trainer = hf.Trainer(network, arguments, data_collator=hf.DataCollatorWithPadding(tokenizer), train_dataset=rows)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(out)) if out.is_dir() else None)
    network.save_pretrained(place / "done")
    curve = [{k: v for k, v in log.items() if k in ("loss", "grad_norm", "learning_rate", "step")} for log in trainer.state.log_history if "loss" in log]
    (place / "done" / "curve.json").write_text(json.dumps(curve))


def plain_saves(place: Path) -> bool:
    return any(path.name.startswith("checkpoint-") and not os.path.exists(path.path + "/trainer_state.json") for path in listed(place / "plain"))


def plain_result(place: Path) -> tuple[dict, list]:
    return {"model": hashlib.sha256((place / "done" / "model.safetensors").read_bytes()).hexdigest()}, json.loads((place / "done" / "curve.json").read_text())


# ---- killing


def listed(folder: Path) -> list:
    try:
        return [*os.scandir(folder)]
    except FileNotFoundError:
        return []


def child(work, place: Path, model: Path) -> None:
    "One process that trains; what it says goes to a file."
    import gc

    gc.freeze()  # what the server holds is no garbage
    log = os.open(place / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    work(place, model)


def start(work, place: Path, model: Path):
    process = CONTEXT.Process(target=child, args=(work, place, model))
    process.start()
    return process


def wait_for_save(process, saves, place: Path, number: int) -> None:
    "Returns when the `number`-th save of this process begins, or the process ends."
    before = saves(place)  # what an earlier process left
    while process.is_alive():
        now = saves(place)
        if now and not before:
            number -= 1
            if number == 0:
                return
        before = now
        time.sleep(0.0002)


def kill(process, saves, place: Path, draw: random.Random, inside: bool, seconds: float, save_seconds: float) -> bool:
    "Kills it inside a save, or anywhere; whether it was still alive."
    if inside:
        wait_for_save(process, saves, place, draw.randint(1, STEPS // EVERY))
        time.sleep(draw.uniform(0, save_seconds))
    else:
        process.join(draw.uniform(0, seconds))
    process.kill()
    process.join()
    return process.exitcode == -9


def undisturbed(work, saves, result, place: Path, model: Path) -> tuple[tuple, float, float]:
    "What comes out, the seconds it takes, and those of one save."
    began, process, spent, since = time.perf_counter(), start(work, place, model), [], None
    while process.is_alive():
        if saves(place):
            since = since or time.perf_counter()
        elif since:
            spent, since = [*spent, time.perf_counter() - since], None
        time.sleep(0.0002)
    assert process.exitcode == 0, (place / "log.txt").read_text()[-2000:]
    return result(place), time.perf_counter() - began, sorted(spent)[len(spent) // 2]


def trial(work, saves, result, place: Path, model: Path, draw: random.Random, kills: list[bool], wanted, seconds: float, save_seconds: float) -> Counter:
    "Kills, resumes, compares."
    counts = Counter(runs=1)
    for inside in [*kills, None]:
        process = start(work, place, model)
        if inside is None:
            process.join()
        elif kill(process, saves, place, draw, inside, seconds, save_seconds):
            counts.update({"kills": 1, "inside a save": saves(place)})
            continue
        counts["ended before it was killed"] += inside is not None
        break
    if process.exitcode:
        return counts + Counter(crashed=1)
    return counts + Counter(["identical" if result(place) == wanted else "differs"])


def campaign(name: str, kills: int, folder: Path, model: Path, seed: int) -> dict:
    "At least so many kills of one contender; the counts."
    work, saves, result = (plain, plain_saves, plain_result) if name == "plain" else (workbench, workbench_saves, workbench_result)
    template = folder / name
    template.mkdir()
    if name != "plain":
        make_run(template, model, name)
    def fresh(label):
        return Path(shutil.copytree(template, folder / f"{name}-{label}"))
    undisturbed(work, saves, result, fresh("cold"), model)
    wanted, seconds, save_seconds = undisturbed(work, saves, result, fresh("whole"), model)
    again, *_ = undisturbed(work, saves, result, fresh("again"), model)
    assert again == wanted, "two undisturbed runs differ: nothing can be compared here"
    draw, counts, number = random.Random(seed), Counter(), 0
    while counts["kills"] < kills:
        plan = [(number + k) % 2 == 0 for k in range(draw.choice((1, 1, 2, 3)))]
        place = fresh(number)
        counts += trial(work, saves, result, place, model, draw, plan, wanted, seconds, save_seconds)
        shutil.rmtree(place)
        number += 1
    return {"name": name, "seconds": seconds, "save_seconds": save_seconds, **counts}


def section(found: list[dict], versions: dict) -> str:
    "The counts as they stand in RESULTS.md."
    from common import machine_line, table

    from finetune_wb.machine import machine

    names = {"full": "finetune_wb, full", "lora": "finetune_wb, lora", "plain": "transformers.Trainer, `resume_from_checkpoint`"}
    columns = ("runs", "kills", "inside a save", "crashed", "differs", "identical")
    rows = [[names[one["name"]], *(one.get(column, 0) for column in columns)] for one in found]
    return f"""## kill -9 and resume

Runs of {STEPS} steps on a tiny BERT (two layers, CPU, one thread) that save every {EVERY} steps, this project's every second step as well. Each was killed one to three
times (half of the kills were aimed into a save; "inside a save" counts those that left one unfinished on the disk), and taken up again after each. "Crashed": a resume
ended with an error. "Identical": final weights and every metric event equal those of an undisturbed run bit for bit; two undisturbed runs were
identical before the first kill. Not tested: power cuts, accelerators, several processes.

{table(["", *columns], rows)}

{machine_line(machine(), versions)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="at least so many for each contender")
    parser.add_argument("--only", nargs="+", choices=["full", "lora", "plain"], default=["full", "lora", "plain"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the counts here and leave RESULTS.md as it is")
    options = parser.parse_args()
    from common import installed, write_section
    from conftest import build_tiny_model

    with tempfile.TemporaryDirectory() as folder:
        model = build_tiny_model("bert", Path(folder) / "model")
        found = [campaign(name, options.kills, Path(folder), model, options.seed) for name in options.only]
    for one in found:
        print(json.dumps(one))
    if options.json:
        options.json.write_text(json.dumps(found))
    else:
        write_section("crash", section(found, installed()))


if __name__ == "__main__":
    CONTEXT = multiprocessing.get_context("forkserver")
    CONTEXT.set_forkserver_preload(["__main__", *WARM])
    main()
