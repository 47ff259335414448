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


PARAPHRASES = (  # of rows of Banking77 as published, by hand: (row, the same in other words)
    ("My transaction is still showing that is pending from my cash withdrawal.", "I took out cash and the withdrawal has not left pending yet."),
    ("Do you take both Visa and Mastercard?", "Are Mastercard and Visa both accepted here?"),
    ("Where do I verify my identity?", "At what place can I prove who I am?"),
    ("Is it possible to have both a Visa and a Mastercard from you?", "Could you issue me two cards, one Mastercard and one Visa?"),
    ("Why has payment been returned?", "For what reason did my payment come back?"),
    ("Why isn't my balance reflecting a transfer I did?", 'I sent a transfer but the balance does not show it, why?'),
    ("How do I go about transferring money into my bank account?", "What are the steps to move funds to my bank account?"),
    ("do i need to wait for my card before i get pin", "Will the pin only come after the card has arrived?"),
    ("is there a fee for a transfer? if so how much will it be?", "Do transfers cost anything, and what would be the price?"),
    ("Why is my cash still pending that I put in ATM?", "The money I deposited at the machine remains pending, how come?"),
    ("I paid with my card and got charged an extra fee, what's up with that?", 'Why was there an additional charge when I used my card to pay?'),
    ("Will I be fined for topping up by transfer?", "Is there a penalty if I use a transfer to top up?"),
    ("Can you show me how to verify the top-up card?", "Please explain the verification of my top up card."),
    ("I haven't received the PIN yet.", 'My PIN has still not come.'),
    ("Can you please disable my current account.", "Please deactivate the account I have now."),
    ("There's a $200 withdrawal on my statement that seems fishy to me.", 'My statement lists a suspicious withdrawal of $200.'),
    ("Help me unblock my account.  I entered the PIN wrong too many times.", "I mistyped my PIN too often and am locked out, please unlock the account."),
    ("Why am I being charged to make cash withdrawals? I thought they were supposed to be free!", "Taking out cash should cost nothing, so why is there a fee?"),
    ("How is my PIN sent?", "In what way will you deliver my PIN?"),
    ("What is the process to link the new card?", "How can I connect my new card?"),
    ("Why is there a transaction that shows multiple times?", "Why do I see the same transaction several times?"),
    ("There is a payment that is not mine in the App.", "The App lists a payment which I did not make."),
    ("How many days until my US transfer arrives?", "When will the transfer from the US get here, in days?"),
    ("Where is the closest ATM I can use?", "Which cash machine nearest to me works?"),
    ("there were two of the same charge to my account", "I was billed twice for one thing"),
    ("Why does it cost more to pay with my card?", "What makes card payments more expensive?"),
    ("How do I receive my physical card", "What must I do to get the actual plastic card"),
    ("From what countries can I use this product?", "Which countries is this product available in?"),
    ("I made a currency exchange and think I was charged more than I should of been.", "I believe I was overcharged when I exchanged currency."),
    ("From where are you getting your exchange rates?", "What is the source of the exchange rates?"),
    ("Why am I being charged for transferring money?", "What is the reason for a fee on money transfers?"),
    ("What is the expected delivery date for my card?", "On which day should my card be delivered?"),
    ("When will my deposit post to my account?", "How long before the deposit appears in my account?"),
    ("I'm not sure why my top up request was denied", "I don't understand the reason my top up got refused"),
    ("There is a card payment I'm not familiar with.", "I don't recognise one of the card payments."),
    ("I need to dispute a direct debit.", "I want to contest a direct debit."),
    ("My card payment has had the status of pending forever. What is the issue? It should have gone through at some point.", "Why does the card payment never get out of pending?"),
    ("I got notified that my top up has been reverted. Why?", "Why did I get a message that the top up was undone?"),
    ("If I want to topup by card, how do I do it?", "How does one use a card for a topup?"),
    ("Why is my top-up showing as reverted?", "What is the cause of my top-up being displayed as reverted?"),
)
