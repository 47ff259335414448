"""The contenders, each alone in its process: `python contenders.py NAME OPTIONS.json RESULT.json`, called by classification.py.

A contender gets files of train and test rows and the folder of the pre-trained model. Its clock starts before it imports
anything heavy and stands still while test rows are predicted. Its curve is a list of points [seconds, CPU seconds or null, test
accuracy]."""

import json
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from common import peak_rss_mb, read_rows


class Clock:
    "Wall and CPU seconds of this process, without those of `with clock.paused():`."

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return round(time.perf_counter() - self.wall, 2), round(time.process_time() - self.cpu, 2)

    def __enter__(self):
        self._stopped = self.read()
        return self

    def __exit__(self, *_):
        wall, cpu = self._stopped
        self.wall, self.cpu = time.perf_counter() - wall, time.process_time() - cpu

    def paused(self):
        return self


def numbered(train: list[str], test: list[str]) -> tuple[list[int], list[int], list[str]]:
    "Labels as numbers, and their names in order."
    names = sorted(set(train))
    number = {name: i for i, name in enumerate(names)}
    return [number[label] for label in train], [number.get(label, -1) for label in test], names


def ours(o: dict, clock: Clock) -> dict:
    "This project's default recipe; nothing of it is changed but where the rows are and, where one is asked for, the seeds."
    started = time.time()
    from finetune_wb import Recipe, evaluate, train

    with tempfile.TemporaryDirectory() as folder:
        seed = o.get("seed", 0)
        run = train(Recipe(data={"source": {"train": o["train"], "test": o["test"]}, "seed": seed}, train={"seed": seed}), runs_dir=folder)
        end = clock.read()
        verdict = evaluate(run)
        probe = next(event["time"] for event in run.events("evaluation") if event.get("name") == "probe")
        probe_accuracy = next(c.accuracy for c in verdict.comparisons if c.baseline == "probe")
        best, cost = run.record["result"]["fine_tune"], run.record["cost"]
        note = f"fine-tuning kept step {best['best_step']} of {best['steps']}; head {cost['probe']['seconds']:.0f} s, fine-tuning {cost['train']['seconds']:.0f} s; verdict: {verdict.decision}"
        curve = [[round(probe - started, 2), None, probe_accuracy], [*end, verdict.accuracy]]
        return {"curve": curve, "train_accuracy": train_accuracy(run), "note": note, "settings": run.record["settings"]}


def train_accuracy(run) -> float:
    "Share of its own training rows that a run predicts right."
    from finetune_wb.evaluation.evaluate import rows_of
    from finetune_wb.training.encode import encode
    from finetune_wb.training.probe import predict
    from finetune_wb.training.saved import load_trained

    (model, tokenizer), data, settings = load_trained(run), rows_of(run), run.record["settings"]
    encoded = encode(tokenizer, data.train["text"].tolist(), settings["max_length"])
    found = predict(model.to(settings["device"]), encoded, tokenizer.pad_token_id, settings["device"], settings["bf16"])
    names = data.label_names
    return sum(names[i] == label for i, label in zip(found.argmax(1), data.train["label"])) / len(data.train)


def trainer(o: dict, clock: Clock) -> dict:
    "transformers.Trainer as the text classification guide has it (huggingface.co/docs/transformers/tasks/sequence_classification)."
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    (texts, labels), (test_texts, test_labels) = read_rows(Path(o["train"])), read_rows(Path(o["test"]))
    labels, test_labels, names = numbered(labels, test_labels)
    tokenizer = AutoTokenizer.from_pretrained(o["model"])
    rows = lambda t, y: Dataset.from_dict({"text": t, "label": [max(i, 0) for i in y]}).map(lambda b: tokenizer(b["text"], truncation=True), batched=True)
    data, test = rows(texts, labels), rows(test_texts, test_labels)
    model = AutoModelForSequenceClassification.from_pretrained(o["model"], num_labels=len(names), id2label=dict(enumerate(names)))
    curve, ended = [], []

    class Watch(TrainerCallback):
        "Test accuracy after every epoch, off the clock; stops at the target, at the cap, or after `steps`."

        def measure(self, state) -> None:
            with clock.paused():
                found = runner.predict(test).predictions.argmax(1)
                model.train()
            accuracy = sum(int(i) == y for i, y in zip(found, test_labels)) / len(test_labels)
            curve.append([*clock.read(), accuracy])
            print(f"  epoch {state.epoch:.2f}: {curve[-1][0]:.0f} s, test accuracy {accuracy:.4f}", flush=True)

        def on_epoch_end(self, args, state, control, **_):
            self.measure(state)
            if curve[-1][2] >= o["target"]:
                ended.append("stopped at the target")
                control.should_training_stop = True

        def on_step_end(self, args, state, control, **_):
            if clock.read()[0] < o["cap"] and state.global_step != o["steps"]:
                return
            self.measure(state)
            ended.append(f"cut off in epoch {state.epoch:.1f}")
            control.should_training_stop = True
            self.on_epoch_end = lambda *_, **__: None

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, learning_rate=o["learning_rate"], per_device_train_batch_size=16, per_device_eval_batch_size=16,
            num_train_epochs=o["epochs"], weight_decay=0.01, save_strategy="no", report_to="none", disable_tqdm=True)
        runner = Trainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer, data_collator=DataCollatorWithPadding(tokenizer), callbacks=[Watch()])
        runner.train()
    return {"curve": curve, "note": f"linear schedule over {o['epochs']} epochs; {ended[0] if ended else 'ran to its end'}"}


def embeddings(o: dict, clock: Clock) -> dict:
    "sentence-transformers in fp32 and scikit-learn's logistic regression."
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    (texts, labels), (test_texts, test_labels) = read_rows(Path(o["train"])), read_rows(Path(o["test"]))
    model = SentenceTransformer(o["model"])
    features = model.encode(texts, show_progress_bar=False)
    head = LogisticRegression(C=10, max_iter=1000).fit(features, labels)
    end = clock.read()
    accuracy = float(head.score(model.encode(test_texts, show_progress_bar=False), test_labels))
    return {"curve": [[*end, accuracy]], "train_accuracy": float(head.score(features, labels)), "note": "C=10, max_iter=1000"}


def pairs(labels: list[str], num_iterations: int | None) -> int:
    "How many pairs SetFit trains on: by default as many of each kind as there are of the commoner kind, else 2 per row and iteration."
    if num_iterations:
        return 2 * num_iterations * len(labels)
    same = sum(n * (n + 1) // 2 for n in Counter(labels).values())
    return 2 * max(same, len(labels) * (len(labels) + 1) // 2 - same)


def setfit(o: dict, clock: Clock) -> dict:
    "SetFit for a few steps: seconds are what all its steps would take at their median, plus what came before and after them."
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from transformers import TrainerCallback

    texts, labels = read_rows(Path(o["train"]))
    ticks, batch = [], 16

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            ticks.append(clock.read())

    limits = {"num_iterations": o["num_iterations"]} if o["num_iterations"] else {}
    steps = o["steps"] if o["steps"] > 0 else 20
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(output_dir=folder, batch_size=batch, max_steps=steps, save_strategy="no", report_to="none", show_progress_bar=False, **limits)
        runner = Trainer(model=SetFitModel.from_pretrained(o["model"]), args=arguments, train_dataset=Dataset.from_dict({"text": texts, "label": labels}), callbacks=[Watch()])
        runner.train()
    end, total = clock.read(), math.ceil(pairs(labels, o["num_iterations"]) / batch)
    gaps = [sorted(b[k] - a[k] for a, b in zip(ticks, ticks[1:])) for k in (0, 1)]
    seconds, cpu = (end[k] + gaps[k][len(gaps[k]) // 2] * (total - len(ticks)) for k in (0, 1))
    note = f"measured {len(ticks)} of {total:,} steps, {gaps[0][len(gaps[0]) // 2]:.2f} s each (median); accuracy not measured"
    return {"curve": [[round(seconds), round(cpu), None]], "extrapolated": True, "note": note}


KINDS = {"ours": ours, "trainer": trainer, "embeddings": embeddings, "setfit": setfit}

if __name__ == "__main__":
    name, options, result = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    found = KINDS[name](options, Clock())
    found["peak_rss_mb"] = round(peak_rss_mb())
    result.write_text(json.dumps(found))
