"""The catalogue: what is listed, what a search finds, and what it says when a source is silent."""

import json
import os
import random
import re
import string
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub import TOKEN, Hub, Repo, point_at, safetensors_bytes, wait_until

from finetune_wb.errors import ModelError
from finetune_wb.models.bound import needed
from finetune_wb.models.families import FAMILIES, TASKS
from finetune_wb.models.hub import HubList, Question
from finetune_wb.models.index import Index, find
from finetune_wb.models.listing import Listed, cached_models, folder_models
from finetune_wb.models.search import Catalog

CONFIG = b'{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}'
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[31m"


def repos():
    yield Repo("someone/tiny-bert", {"config.json": CONFIG, "model.safetensors": safetensors_bytes({"w": (100, 20)})}, pipeline_tag="text-classification", card={"license": "mit", "language": ["en", "de"]},
               downloads=500, likes=2, trending=1, updated="2026-03-01T00:00:00.000Z")
    yield Repo("someone/big", pipeline_tag="text-generation", card={"license": "llama3"}, downloads=900, likes=9, gated="manual", parameters={"BF16": 8 * 10**9})
    yield Repo("someone/whisper", pipeline_tag="automatic-speech-recognition", card={"license": "apache-2.0"}, downloads=700, parameters={"F32": 74 * 10**6})
    yield Repo("someone/secret", private=True, downloads=10**6)
    yield Repo("odd/" + "x" * 60, pipeline_tag="telepathy", card={"license": HOSTILE, "language": HOSTILE}, tags=("</script><script>",), downloads=1)
    for i in range(120): yield Repo(f"many/bert-{i:03}", pipeline_tag="fill-mask", card={"license": "mit" if i % 2 else "cc-by-nc-4.0"}, downloads=i, parameters={"F32": (i + 1) * 10**6})


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub(repos()) as running: yield running.use(monkeypatch, tmp_path)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An address that nobody listens on."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    point_at(monkeypatch, f"http://127.0.0.1:{port}", tmp_path)


def names(found): return [m.id for m in found.rows]


# ---- the hub

def test_all_sources_stand_in_one_list(hub, tmp_path):
    folder = tmp_path / "own" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(CONFIG)
    for i in range(100): hub.add(Repo(f"more/m{i}", {"config.json": CONFIG}, pipeline_tag="fill-mask"))
    found = Catalog(folders=[tmp_path / "own"]).search()
    assert names(found)[:4] == [*sorted(["minidoc", "minilm", str(folder)]), "someone/big"] and len(found.rows) == 50
    assert found.facets["source"] == {"hub": 200, "embedded": 2, "folder": 1} and found.total == 203  # what was looked at, which is more than a page: filters count it
    assert found.notes == ("The hub has more: only its first 200 were searched, by downloads",)
    assert set(found.facets) == {"modality", "task", "licence", "language", "source"} and "secret" not in str(found)


def test_filters_reach_the_hub(hub):
    catalog = Catalog()
    assert names(catalog.search(task="text-classification", source="hub")) == ["someone/tiny-bert"]
    assert names(catalog.search(modality="audio")) == ["someone/whisper"]
    assert names(catalog.search(language="de")) == ["someone/tiny-bert"]
    assert names(catalog.search(licence="llama3")) == ["someone/big"]
    assert names(catalog.search(max_parameters="3M", source="hub", sort="parameters")) == ["someone/tiny-bert", "many/bert-000", "many/bert-001", "many/bert-002"]
    assert names(catalog.search("TINY bert", source="hub")) == ["someone/tiny-bert"]  # the hub looks for one string, the rest is sifted here
    asked = [a.query for a in hub.asked]
    assert any(q.get("pipeline_tag") == ["text-classification"] for q in asked) and any(q.get("filter") == ["license:llama3"] for q in asked) and any(q.get("search") == ["tiny"] for q in asked)
    assert any(q.get("num_parameters") == ["min:0,max:3M"] for q in asked)


def test_gates_of_licences_and_several_values(hub):
    catalog = Catalog()
    open_ones = catalog.search("bert", licence="open", source="hub", limit=200)
    assert len(open_ones.rows) == 61 and {m.licence for m in open_ones.rows} == {"mit"}
    both = catalog.search(task=["text-generation", "automatic-speech-recognition"], source="hub")
    assert names(both) == ["someone/big", "someone/whisper"]
    assert catalog.search("bert", licence="non-commercial", source="hub", limit=200).total == 60


def test_a_licence_or_a_language_that_nobody_has_is_a_sentence(hub):
    found = Catalog().search(licence="apche-2.0", language="german")
    assert not found.rows and found.notes == ('No model here has the licence "apche-2.0"; the closest known name is "apache-2.0"', 'No model here has the language "german"; languages are ISO 639 codes, such as en or de')
    assert not [note for note in Catalog().search(licence=["openrail", "non-commercial"], language="fr").notes if note.startswith("No model")]  # known names that find nothing


def test_models_that_say_no_licence_are_found_by_its_gate():
    listed = Catalog(cache="no-such-cache", hub=False, listing=[Listed("a/none", "hub"), Listed("a/other", "hub", licence="other"), Listed("a/mit", "hub", licence="mit")])
    assert names(listed.search(licence="unknown", source="hub")) == ["a/none", "a/other"] and names(listed.search(licence="open", source="hub")) == ["a/mit"]


def test_what_can_not_be_fine_tuned_is_shown_with_the_reason(hub):
    for asked in ({"modality": "audio"}, {"task": "automatic-speech-recognition"}):
        found = Catalog().search(**asked)
        assert names(found) == ["someone/whisper"] and "Speech and audio models can't be fine-tuned here yet" in found.notes and "can't be fine-tuned here yet" in found.cells()[1][-1]
    assert not [note for note in Catalog().search(modality=["audio", "text"]).notes if "fine-tuned" in note]


def test_sorts_and_pages(hub):
    catalog = Catalog()
    assert names(catalog.search(source="hub", sort="likes", limit=2)) == ["someone/big", "someone/tiny-bert"]
    assert names(catalog.search(source="hub", sort="updated", limit=1)) == ["someone/tiny-bert"] and names(catalog.search(source="hub", sort="trending", limit=1)) == ["someone/tiny-bert"]
    pages = [names(catalog.search("bert-", source="hub", limit=50, offset=offset)) for offset in (0, 50, 100)]
    assert [len(p) for p in pages] == [50, 50, 20] and [*pages[0], *pages[1], *pages[2]] == [f"many/bert-{i:03}" for i in reversed(range(120))]


def test_a_model_in_the_cache_is_one_line_with_the_hubs_counts(hub):
    from huggingface_hub import snapshot_download
    folder = Path(snapshot_download("someone/tiny-bert"))
    (row,) = Catalog().search("tiny-bert").rows
    assert (row.source, row.downloads, row.likes, row.licence, row.languages, row.complete, row.note) == ("cache", 500, 2, "mit", ("en", "de"), True, "")
    assert row.size == sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) and (row.parameters, row.architecture) == (2000, "bert")


def test_an_answer_is_kept_and_refresh_asks_anew(hub):
    catalog = Catalog()
    catalog.search("bert")
    many = len(hub.asked)
    catalog.search("bert", licence="mit", source=["hub", "cache"])
    catalog.search("bert")
    catalog.search("bert", source="embedded")
    assert len(hub.asked) == many + 1
    hub.add(Repo("late/bert-new", downloads=10**6))
    assert "late/bert-new" not in names(catalog.search("bert"))
    catalog.refresh()
    assert "late/bert-new" in names(catalog.search("bert"))


# ---- a hub that does not answer

def test_no_network_is_a_normal_state(offline):
    started = time.monotonic()
    found = Catalog().search()
    assert [m.source for m in found.rows] == ["embedded", "embedded"] and time.monotonic() - started < 5
    assert found.notes[0].startswith("The hub can't be reached (ConnectError)") and found.notes[1] == "Showing only the models on this machine"
    assert "can't be reached" in str(found) and "http" not in str(found)


def test_offline_mode(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert Catalog().search().notes[0] == "The hub was not asked: HF_HUB_OFFLINE is set" and not hub.asked
    assert Catalog(hub=False).search().notes == () and not hub.asked


@pytest.mark.parametrize("fault, says", [
    ({"status": 500}, "The hub answers with status 500"), ({"status": 503}, "The hub answers with status 503"), ({"status": 429, "retry_after": 30}, "The hub takes no more requests for 30 s (status 429)"),
    ({"status": 403}, "The hub refuses access (status 403)"), ({"drop": True}, "The hub can't be reached (RemoteProtocolError)"), ({"cut": 20}, "The hub can't be reached (RemoteProtocolError)"),
    ({"corrupt": True}, "The answer from the hub's address is not a list of models; a proxy may have sent its own page"), ({"delay": 30}, "The hub can't be reached (ReadTimeout)"),
])
def test_each_failure_is_a_sentence_and_the_rest_is_shown(hub, fault, says):
    catalog = Catalog()
    catalog.hub.patience = 0.4 if "delay" in fault else 5
    hub.fault("/api/models", **fault)
    found = catalog.search()
    assert found.notes == (says, "Showing only the models on this machine") and len(found.rows) == 2
    catalog.hub.patience = 5
    assert catalog.search("bert").notes[0] == says and len(hub.asked) == 1  # left alone for a while
    catalog.refresh()
    assert names(catalog.search("tiny")) == ["someone/tiny-bert"]


def test_an_answer_that_is_no_list_is_no_crash(hub, monkeypatch):
    for body in ({"error": "no"}, ["text"], [{"no": "id"}], [{"id": "a/b", "tags": None, "lastModified": "never"}]):
        monkeypatch.setattr("hub._Handler._list", lambda self: self._json(body))  # noqa: B023
        answer = HubList().ask(Question("x"))
        assert not answer.rows and "not a list of models" in answer.notes[0]


def test_who_sends_a_byte_now_and_then_is_not_waited_for(hub):
    hub.fault("/api/models", pace=2000, times=None)
    catalog, started = Catalog(), time.monotonic()
    catalog.hub.patience = 0.5
    assert "The hub can't be reached (TimeoutError)" in catalog.search().notes  # 50 models are 20 kB and more
    hub.heal()
    hub.fault("/api/models", delay=0.3, times=None)
    catalog.refresh()
    assert any("can't be reached" in note for note in catalog.search(modality="vision").notes)  # twenty requests in one question, four at a time
    assert time.monotonic() - started < 8


# ---- tokens

def test_a_token_is_used_and_never_shown(hub, monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    found = Catalog().search("secret")
    assert names(found) == ["someone/secret"] and hub.asked[-1].token == TOKEN
    hub.fault("", status=500)
    broken = Catalog()
    said = str(found) + str(broken.search("x")) + repr(found) + json.dumps(vars(broken), default=repr)
    assert TOKEN not in said + "".join(capfd.readouterr()) and not any(TOKEN in f.read_text(errors="replace") for f in tmp_path.rglob("*") if f.is_file())


def test_a_token_that_expired_does_not_hide_the_public_models(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    found = Catalog().search("tiny", source="hub")
    assert names(found) == ["someone/tiny-bert"] and "refuses this machine's token" in found.notes[0] and "expired" not in str(found)
    assert [a.token for a in hub.asked] == ["hf_expired", None]


# ---- strangers' texts

def test_names_are_whole_in_a_narrow_terminal_and_in_a_pipe():
    name = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
    found = Catalog(cache="no-such-cache", hub=False, listing=[Listed(name, "hub", "sentence-similarity", "text", "apache-2.0", 118 * 10**6, downloads=9 * 10**6),
                                                               Listed("a/broken", "cache", "fill-mask", "text", complete=False, note="1 broken link: model.safetensors")]).search(source=["hub", "cache"])
    assert found.text(80).splitlines() == ["a/broken", "    fill-mask · cache · incomplete: 1 broken link: model.safetensors",
                                           name, "    sentence-similarity · 118M parameters · apache-2.0 · hub · 9M downloads", "2 of 2 models"]
    assert [line.split()[0] for line in str(found).splitlines()] == ["model", "a/broken", name, "2"] and found.text(200) == str(found)


def test_hostile_texts_are_text(hub):
    found = Catalog().search("xxxx")
    (row,) = found.rows
    assert row.licence == HOSTILE.lower() and row.family is None and row.task == "telepathy" and found.facets["task"] == {"telepathy": 1}
    assert "\x1b" not in str(found) and "\u202e" not in str(found) and "\\x1b[31m" in str(found)
    page = found._repr_html_()
    assert "<img" not in page and "&lt;img" in page and "\x1b" not in page


def test_a_card_that_is_a_bomb(tmp_path):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=False)) + "license: *i\nlanguage: *i\n"
    for name, card in (("alias", bomb), ("deep", "license: " + "[" * 50_000), ("types", "license: {a: 1}\nlanguage: 7\npipeline_tag: [x]\nlibrary_name: 2026-01-01\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"---\n{card}---\n")
        (tmp_path / name / "config.json").write_bytes(b'{"model_type": ["x"], "architectures": {"a": 1}}')
    rows = folder_models([tmp_path])[0]
    assert len(rows) == 3 and all(m.licence is None and m.languages == () and m.architecture is None and m.task is None for m in rows)


# ---- the cache as it lies on disks

def test_two_revisions_and_what_main_means(hub, tmp_path):
    from huggingface_hub import snapshot_download
    repo = hub.repos["someone/tiny-bert"]
    first = snapshot_download(repo.id)
    repo.history, repo.files = (repo.files,), {**repo.files, "README.md": b"---\nlicense: apache-2.0\n---\n"}
    second = snapshot_download(repo.id)
    assert first != second
    (row,) = cached_models(tmp_path / "hub")
    assert row.licence == "apache-2.0" and row.complete and row.note.startswith("2 revisions in the cache: ") and f"{Path(second).name[:7]} (main)" in row.note and Path(first).name[:7] in row.note


def test_half_a_download(hub, tmp_path):
    hub.repos["someone/tiny-bert"].files["model.safetensors"] = safetensors_bytes({"w": (500_000,)})
    hub.fault("/lfs/", pace=200_000, times=None)
    killed = subprocess.Popen([sys.executable, "-c", "import huggingface_hub.constants as c; c.DOWNLOAD_CHUNK_SIZE = 1000; from huggingface_hub import snapshot_download as s; s('someone/tiny-bert')"],
                              env=hub.environment(tmp_path), stderr=subprocess.DEVNULL)
    wait_until(lambda: any(f.stat().st_size > 100_000 for f in (tmp_path / "hub").glob("*/blobs/*.incomplete")))
    killed.kill()
    killed.wait()
    (row,) = cached_models(tmp_path / "hub")
    assert not row.complete and re.fullmatch(r"No weights\. 1 unfinished download, 0\.[1-9] MB so far", row.note) and row.task == "text-classification"
    assert Catalog().search("tiny-bert").rows[0].source == "cache"


def test_links_that_lead_nowhere_shards_that_are_missing_and_names_alone(hub, tmp_path):
    from huggingface_hub import snapshot_download
    folder = Path(snapshot_download("someone/tiny-bert"))
    weights = folder / "model.safetensors"
    weights.resolve().unlink()
    (row,) = cached_models(tmp_path / "hub")
    assert not row.complete and row.note == "1 broken link: model.safetensors"
    weights.unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    (folder / "one.safetensors").write_bytes(safetensors_bytes({"a": (3,)}))
    (row,) = cached_models(tmp_path / "hub")
    assert row.note == "Only 1 of 2 weight files" and row.parameters is None
    (tmp_path / "hub" / "models--only--name").mkdir()
    (tmp_path / "hub" / "models--bad").write_text("a file")
    (tmp_path / "hub" / "datasets--a--b").mkdir()
    assert [(m.id, m.complete) for m in cached_models(tmp_path / "hub")] == [("only/name", False), ("someone/tiny-bert", False)]


def test_weights_that_were_cut_and_adapters(tmp_path):
    made = {"cut": {"config.json": CONFIG, "model.safetensors": safetensors_bytes({"w": (9,)})[:-1]}, "pickled": {"config.json": CONFIG, "pytorch_model.bin": b"x"},
            "adapter": {"adapter_config.json": b'{"base_model_name_or_path": "a/base"}', "adapter_model.safetensors": b""}, "owner/deep": {"config.json": b"{"}}
    for name, files in made.items():
        (tmp_path / name).mkdir(parents=True)
        for file, body in files.items(): (tmp_path / name / file).write_bytes(body)
    notes = {Path(m.id).name: (m.complete, m.note) for m in folder_models([tmp_path, tmp_path / "none"])[0]}
    assert notes["pickled"] == (True, "") and not notes["cut"][0] and "cut short" in notes["cut"][1]
    assert notes["adapter"] == (False, "An adapter for a/base, not a model by itself") and notes["deep"] == (False, "No weights")
    assert folder_models([tmp_path / "none"]) == ([], [f"There is no folder {tmp_path / 'none'}"])


def test_a_new_download_shows_up(hub):
    from huggingface_hub import snapshot_download
    catalog = Catalog()
    assert catalog.search("tiny-bert").rows[0].source == "hub"
    snapshot_download("someone/tiny-bert")
    catalog.refresh()
    assert catalog.search("tiny-bert").rows[0].source == "cache"


# ---- the index, against the slow and obvious way

def drawn(count: int, seed: int = 0) -> list[Listed]:
    """A listing of made-up models."""
    rng = random.Random(seed)
    tags, licences = [None, *TASKS], [None, "mit", "apache-2.0", "cc-by-nc-4.0", "llama3"]
    def one(i: int) -> Listed:
        tag = rng.choice(tags)
        return Listed(f"{rng.choice('abc')}{rng.randrange(50)}/{''.join(rng.choices(string.ascii_lowercase, k=3))}-{i}", rng.choice(("hub", "hub", "cache", "embedded")), tag, TASKS[tag].family if tag else None,
                      rng.choice(licences), rng.choice((None, rng.randrange(10**6, 10**10))), tuple(rng.sample(("en", "de", "fr", "zh"), rng.randrange(3))), rng.choice((None, rng.randrange(1000))),
                      rng.choice((None, 3)), rng.choice((None, 0.5)), rng.choice((None, "2026-01-0" + str(rng.randrange(1, 9)))))
    return [one(i) for i in range(count)]


def slowly(rows, words, chosen, most):
    def value(m, facet): return m.languages if facet == "language" else (getattr(m, {"modality": "family"}.get(facet, facet)),)
    def has(m, but=None): return all(facet == but or set(value(m, facet)) & set(values) for facet, values in chosen.items())
    base = [m for m in rows if all(w in " ".join(filter(None, (m.id, m.architecture, m.library, m.task, m.note))).lower() for w in words.split())]
    small = [m for m in base if most is None or (m.parameters is not None and m.parameters <= most)]
    facets = {}
    for facet in ("modality", "task", "licence", "language", "source"):
        counts = {}
        for m in small:
            if has(m, facet):
                for v in value(m, facet):
                    if v is not None: counts[v] = counts.get(v, 0) + 1
        facets[facet] = counts
    return [m for m in small if has(m)], facets


@pytest.mark.parametrize("words, chosen, most", [
    ("", {}, None), ("a1", {}, None), ("b text", {"modality": ["text"]}, None), ("", {"task": ["fill-mask", "robotics"], "licence": ["mit"]}, None), ("", {"language": ["de", "fr"]}, 10**9),
    ("zz", {"source": ["cache"], "language": ["en"]}, 10**8), ("", {"licence": ["no such"]}, None),
])
def test_the_index_counts_as_a_loop_would(words, chosen, most):
    rows = drawn(2000)
    wanted, facets = slowly(rows, words, chosen, most)
    hits = find(Index(rows), words, chosen, most, "name", limit=5000)
    assert list(hits.rows) == sorted(wanted, key=lambda m: m.id.lower()) and hits.total == len(wanted) and hits.facets == facets


@pytest.mark.parametrize("sort", ["downloads", "likes", "trending", "updated", "parameters"])
def test_orders(sort):
    rows = drawn(1000, 1)
    found = find(Index(rows), sort=sort, limit=1000).rows
    popular, sign = sort in ("downloads", "likes", "trending"), 1 if sort == "parameters" else -1
    def key(m):
        value = getattr(m, sort)
        number = float("inf") if value is None else sign * (int(value.replace("-", "")) if sort == "updated" else value)
        return (popular and m.source == "hub", number, m.id.lower())
    assert list(found) == sorted(rows, key=key)


# ---- fits

SHAPES = {  # what people fine-tune: class of its configuration, and what differs from the class's defaults
    "minilm": ("BertConfig", {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}), "bert-base": ("BertConfig", {}),
    "smollm-135m": ("LlamaConfig", {"vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536, "tie_word_embeddings": True}),
    "qwen-0.5b": ("Qwen2Config", {"vocab_size": 151936, "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864, "tie_word_embeddings": True}),
}


def walked(name: str, method: str, rows: int, length: int) -> tuple[int, int]:
    """Parameters, and bytes of a step walked through on a CPU, with what the process holds."""
    import torch
    import transformers

    from finetune_wb.method import METHODS
    from finetune_wb.models.classifier import new_classifier
    from finetune_wb.models.memory import walk_step
    from finetune_wb.models.methods import apply_method
    from finetune_wb.training.lmloss import answer_loss
    from finetune_wb.training.memory import OVERHEAD, PROCESS

    kind, differs = SHAPES[name]
    config, writes = getattr(transformers, kind)(**differs), kind in ("LlamaConfig", "Qwen2Config")
    def inputs(r, n): return {"input_ids": torch.zeros(r, n, dtype=torch.long), "attention_mask": torch.ones(r, n, dtype=torch.long)}
    def writing(model, r, n): return answer_loss(model, inputs(r, n), torch.zeros(r, n, dtype=torch.long), 1, 0.0)
    def classifying(model, r, n): return model(**inputs(r, n), labels=torch.zeros(r, dtype=torch.long)).loss
    with torch.device("meta"):
        model = (transformers.AutoModelForCausalLM if writes else transformers.AutoModel).from_config(config, dtype=torch.float32, attn_implementation="eager")
        model = apply_method(model if writes else new_classifier(model, ("a", "b"), "mean", 0.1), METHODS[method](), None)
    parameters = sum(p.numel() for p in model.parameters())
    found = walk_step(model, writing if writes else classifying, (rows, length), rows * length if writes else rows, vocabulary=config.vocab_size if writes else 0)
    return parameters, found.memory.total + PROCESS["cpu"] + OVERHEAD["cpu"][0]


@pytest.mark.parametrize("name, method", [("minilm", "full"), ("bert-base", "lora"), ("smollm-135m", "full"), ("qwen-0.5b", "lora")])
def test_the_bound_is_above_the_walk(name, method):
    rows, length = (4, 384) if name == "bert-base" else (8, 128)
    parameters, bytes_ = walked(name, method, rows, length)
    assert bytes_ <= needed(parameters, method, rows, length) < 5 * bytes_


def test_fits_keeps_what_surely_fits_and_says_so(hub):
    here = {"place": "cpu", "name": "a machine", "free": 3 * 10**9, "total": 4 * 10**9}
    catalog = Catalog(machine=here)
    found = catalog.search(fits="full", source="hub", limit=200)
    assert found.rows and all(needed(m.parameters, "full") <= here["free"] for m in found.rows) and "someone/big" not in names(found)
    assert any(n.startswith("Fits: models of up to ") and "3.0 GB with full" in n for n in found.notes)
    assert any("num_parameters" in a.query for a in hub.asked)
    offline = Catalog(hub=False, machine=here, listing=[Listed("a/unknown", "hub")])
    assert "1 model of unknown size left out" in offline.search(fits=True, source="hub").notes
    with pytest.raises(ModelError, match="needs a CUDA device"): catalog.search(fits="qlora")
    assert Catalog(hub=False, machine={"place": "cuda", "free": 24 * 10**9}).search(fits="qlora").rows


# ---- families, and the command line

def test_every_family_has_tasks_and_every_task_a_way_or_a_reason():
    assert list(FAMILIES) == ["multimodal", "vision", "text", "audio", "tabular", "reinforcement"] and {k.family for k in TASKS.values()} == set(FAMILIES)
    assert all(bool(k.task) != bool(k.why_not) for k in TASKS.values()) and TASKS["image-classification"].why_not


def run(hub, tmp_path, *words, **environment):
    done = subprocess.run([sys.executable, "-c", "import sys; sys.argv[0] = 'ftwb'; from finetune_wb.cli import main; main()", *words], capture_output=True, text=True, timeout=100, env=hub.environment(tmp_path, **environment), cwd=tmp_path)
    return done.returncode, done.stdout, done.stderr


def test_the_command(hub, tmp_path):
    code, out, err = run(hub, tmp_path, "models", "bert", "--task", "classification", "--max-parameters", "3M", "--sort", "parameters", "--json", token=TOKEN)
    found = json.loads(out)
    assert code == 0 and not err and [m["id"] for m in found["rows"]] == ["someone/tiny-bert", "many/bert-000", "many/bert-001", "many/bert-002"] and found["facets"]["licence"]["mit"] == 2
    assert TOKEN not in out and hub.asked[-1].token == TOKEN
    code, out, err = run(hub, tmp_path, "models", "--modality", "audio", "--licence", "open", "--language", "en")
    assert code == 0 and out.strip().endswith("0 of 0 models")
    code, out, err = run(hub, tmp_path, "models", "xxxx")
    assert code == 0 and f"odd/{'x' * 60}  telepathy" in out  # a pipe has no width
    code, out, err = run(hub, tmp_path, "models", "--task", "classificaton", "--sort", "size")
    assert code == 2 and 'Did you mean "classification"?' in err and '"sort"' in err and "Traceback" not in err
    hub.fault("", status=500, times=None)
    code, out, err = run(hub, tmp_path, "models", "--fits", "full")
    assert code == 0 and "The hub answers with status 500. " not in err and out.startswith("The hub answers with status 500.") and "minilm" in out


def test_searching_loads_no_torch():
    code = "import sys, finetune_wb; finetune_wb.Catalog(hub=False).search('bert', fits=True); print([m for m in ('torch', 'transformers', 'pandas', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.stdout.strip() == "[]"


def test_searches_from_threads(hub):
    import threading
    catalog, found = Catalog(), []
    threads = [threading.Thread(target=lambda word=word: found.append((word, names(catalog.search(word, source="hub"))))) for word in ("tiny", "whisper", "big") * 6]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    wait_until(lambda: len(found) == 18)
    assert {(w, *n) for w, n in found} == {("tiny", "someone/tiny-bert"), ("whisper", "someone/whisper"), ("big", "someone/big")}
