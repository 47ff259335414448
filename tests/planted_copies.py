"""Copies with known edits, planted in public data; shared by tests and benchmarks/data_copies.py."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from finetune_wb.data.findings import Rows

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
LETTERS = "abcdefghijklmnopqrstuvwxyz "
SETS = ("banking77", "clinc150", "gsm8k")
MOST = 0.15  # share of characters that an edit changes at most


def published(name: str) -> dict[str, list[tuple[str, str]]]:
    "Split → (text, label) as published; of GSM8K questions without labels."
    folder = SHARED / name
    if name == "banking77":
        return {split: [(row["text"], row["category"]) for row in csv.DictReader(open(folder / f"{split}.csv", encoding="utf-8", newline=""))] for split in ("train", "test")}
    if name == "clinc150":
        data = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
        return {split: [tuple(row) for row in data[key] + data[f"oos_{key}"]] for split, key in (("train", "train"), ("valid", "val"), ("test", "test"))}
    return {split: [(json.loads(line)["question"], "") for line in open(folder / f"{split}.jsonl", encoding="utf-8")] for split in ("train", "test")}


def rows_of_parts(parts: dict[str, list[tuple[str, str]]], labelled: bool = True) -> Rows:
    "Rows of split → (text, label)."
    lines = [(split, text, label, f"{split}:{i + 1}") for split in ("train", "valid", "test") for i, (text, label) in enumerate(parts.get(split, []))]
    frame = pd.DataFrame({"text": [line[1] for line in lines], "origin": [line[3] for line in lines]}, dtype=object)
    labels = [line[2] for line in lines] if labelled else None
    if labelled: frame["label"] = labels
    names = tuple(sorted({line[2] for line in lines if line[0] == "train"})) if labelled else ()
    return Rows(tuple(frame.origin), np.array([line[0] for line in lines], dtype=str), frame.text.tolist(), labels, frame, "classification" if labelled else "text", names)


def sentences(name: str) -> list[str]:
    "Different short texts of a set; of GSM8K sentences of questions and lines of answers."
    if name != "gsm8k": return list(dict.fromkeys(text.strip() for part in published(name).values() for text, _ in part))
    found = []
    for split in ("train", "test"):
        for line in open(SHARED / name / f"{split}.jsonl", encoding="utf-8"):
            row = json.loads(line)
            found += re.split(r"(?<=[.?!])\s+", row["question"]) + re.sub(r"<<.*?>>", "", row["answer"]).split("\n")
    return list(dict.fromkeys(text.strip() for text in found if len(text) > 15))


def mistyped(text: str, chance, vocabulary: list[str]) -> str:
    "A letter changed, added or lost here and there, in up to 15 % of the characters."
    letters = list(text)
    for _ in range(budget(text, chance)):
        at, kind = chance.randrange(len(letters)), chance.random()
        if kind < 0.4: letters[at] = chance.choice(LETTERS)
        elif kind < 0.7: letters.insert(at, chance.choice(LETTERS))
        elif len(letters) > 2: del letters[at]
    return "".join(letters)


def reworded(text: str, chance, vocabulary: list[str]) -> str:
    "Words replaced, added or lost, up to 15 % of the characters."
    words, left = text.split(), budget(text, chance)
    for _ in range(20):
        at, word, kind = chance.randrange(len(words)), chance.choice(vocabulary), chance.random()
        cost = max(len(words[at]), len(word)) if kind < 0.4 else len(word) + 1 if kind < 0.7 else len(words[at]) + 1
        if cost > left or kind >= 0.7 and len(words) < 3: continue
        left -= cost
        if kind < 0.4: words[at] = word
        elif kind < 0.7: words.insert(at, word)
        else: del words[at]
    return " ".join(words)


def reformed(text: str, chance, vocabulary: list[str]) -> str:
    "The same text in another form: case, white space, quotes, final punctuation."
    form = chance.choice([str.upper, str.title, str.lower, lambda t: t.replace(" ", "  \t"), lambda t: t.rstrip(".?!") + "!!", lambda t: f"\u200b{t} ", lambda t: t.replace("'", "’")])
    return form(text)


def budget(text: str, chance) -> int: return max(1, int(chance.uniform(0, MOST) * len(text)))


EDITS = {"letters": mistyped, "words": reworded}


def plant(texts: list[str], edit, count: int, chance, least: int = 20) -> list[tuple[int, str]]:
    "`count` edited copies of texts of at least `least` letters: (place of the original, the copy), none of them one of `texts`."
    known, vocabulary = set(texts), [word for text in texts[:3_000] for word in text.split()]
    places, made = [i for i, text in enumerate(texts) if len(text) >= least], []
    for place in chance.sample(places, len(places)):
        if len(made) == count: break
        copy = edit(texts[place], chance, vocabulary)
        if copy.strip() and copy not in known: made.append((place, copy))
        known.add(copy)
    return made
