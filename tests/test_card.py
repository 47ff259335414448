"""Cards of models: exact against the loaded model for every architecture, read from headers alone, and hostile text as text."""
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from architectures import ARCHITECTURES, DECODERS, ENCODERS, REFUSED, architecture, load  # noqa: F401
from causal_models import causal_model  # noqa: F401
from hub import TOKEN, Hub, Repo, point_at, safetensors_bytes

from finetune_wb.errors import ModelError
from finetune_wb.method import METHODS
from finetune_wb.models.card import inspect_model

FORMS = [(), ("sharded", "bfloat16")]
TEXT = ("chat", "instruction", "completion", "preference")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FTWB_CACHE", str(tmp_path / "measured"))


def look(folder: Path, **options):
    """A card without the walk of a step, which costs a second a method."""
    return inspect_model(str(folder), **{"memory": False, **options})


def change(folder: Path, **changes) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({k: v for k, v in (json.loads(path.read_text()) | changes).items() if v is not ...}))
    return folder


@pytest.fixture
def copy(architecture, tmp_path):  # noqa: F811
    """`copy("bert")` → a folder of one's own to break."""
    return lambda kind, *forms: Path(shutil.copytree(architecture(kind, *forms), tmp_path / f"{kind}-copy"))


# ------------------------------------------------------------------------------------------------- exact, whatever the architecture


def loaded(folder: Path) -> SimpleNamespace:
    parameters = list(load(folder).parameters())
    return SimpleNamespace(parameters=sum(p.numel() for p in parameters), bytes=sum(p.numel() * p.element_size() for p in parameters))


@pytest.mark.parametrize("forms", FORMS, ids=["whole", "sharded-bfloat16"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_parameters_and_bytes_are_those_of_the_loaded_model(kind, forms, architecture):  # noqa: F811
    card, real = look(architecture(kind, *forms)), loaded(architecture(kind, *forms))
    assert (card.parameters, card.weight_bytes) == (real.parameters, real.bytes)
    assert card.dtype == ("bfloat16" if forms else "float32") and card.formats == ("safetensors",)
    if kind in ENCODERS: assert card.verdict.ok and card.tasks == ("classification",)
    if kind in DECODERS: assert card.verdict.ok and card.tasks[0] == "classification" and "completion" in card.tasks
    if kind in REFUSED: assert not card.verdict.ok and REFUSED[kind] in card.verdict.reason and card.tasks == () and card.verdict.way_out


TRAINED = [*((kind, None) for kind in DECODERS), *((kind, ("no", "yes")) for kind in ENCODERS)]


@pytest.mark.parametrize(("kind", "labels"), TRAINED, ids=[kind for kind, _ in TRAINED])
def test_memory_of_weights_gradients_and_moments_is_that_of_the_loaded_model(kind, labels, hub, architecture):  # noqa: F811
    """From the headers of a model on the hub: what full fine-tuning holds of parameters and buffers, gradients and Adam's moments, to the byte."""
    import torch

    from finetune_wb.models.catalog import find_model
    from finetune_wb.models.causal import load_causal
    from finetune_wb.models.classifier import new_classifier
    from finetune_wb.models.glimpse import glimpse
    from finetune_wb.models.load import load_encoder, pooling_of
    from finetune_wb.models.methods import apply_method
    from finetune_wb.recipe import ModelSpec
    from finetune_wb.training.fits import _Asked

    put(hub, architecture(kind), "acme/tiny")
    with glimpse(ModelSpec(id="acme/tiny")) as seen: told = _Asked(seen.source, ModelSpec(id="acme/tiny"), labels, None, 2, 16, "cpu", False).walk(METHODS["full"]()).moments["optimizer"]
    assert not any("range" not in a.headers for a in of_weights(hub))
    spec = ModelSpec(id=str(architecture(kind)))
    source = find_model(spec)
    if labels is None: real = load_causal(source, spec)
    else:
        encoder = load_encoder(source, spec, "eager")
        real = new_classifier(encoder, labels, pooling_of(source, spec, encoder.config), 0.1)
    held = {t.data_ptr(): t.untyped_storage().nbytes() for t in (*real.parameters(), *real.buffers())}
    assert told.weights == sum(held.values())
    moving = [p for p in apply_method(real, METHODS["full"](), None).parameters() if p.requires_grad]
    for parameter in moving: parameter.grad = torch.zeros_like(parameter)
    assert told.gradients == sum(parameter.grad.untyped_storage().nbytes() for parameter in moving)
    adam = torch.optim.AdamW(moving, fused=True)
    adam.step()
    assert told.optimizer == sum(value.untyped_storage().nbytes() for state in adam.state.values() for value in state.values() if isinstance(value, torch.Tensor))


def test_files_that_hold_more_than_the_model_are_not_summed_up(copy):
    """What old checkpoints hold: the tied table twice, GPT-2's masks, and position ids."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = copy("gpt2")
    real, held = loaded(folder), load_file(folder / "model.safetensors")
    held["lm_head.weight"] = held["transformer.wte.weight"].clone()
    held |= {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 64, 64) for i in range(2)}
    held["position_ids"] = torch.arange(64)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    card = look(folder)
    assert (card.parameters, card.weight_bytes) == (real.parameters, real.bytes) == (loaded(folder).parameters, loaded(folder).bytes)
    assert sum(t.numel() for t in held.values()) > real.parameters + 10_000


def test_a_head_that_is_not_in_the_files_is_said(copy):
    card = look(change(copy("bert-encoder"), architectures=["BertForSequenceClassification"], id2label={"0": "no", "1": "yes"}))
    assert card.heads == ("text classification: no, yes (BertForSequenceClassification), whose weights are missing from the files",)
    assert look(copy("bert-classifier")).heads == ("text classification: LABEL_0, LABEL_1, LABEL_2 (BertForSequenceClassification)",)


def test_a_language_model_without_its_head_classifies_and_does_not_write(copy):
    from safetensors.torch import load_file, save_file

    folder = copy("llama")
    held = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in held.items() if k != "lm_head.weight"}, folder / "model.safetensors", metadata={"format": "pt"})
    card = look(folder)
    assert card.verdict.ok and card.tasks == ("classification",) and any("writing needs" in p.what for p in card.warnings)


# ------------------------------------------------------------------------------------------------- memory


def rows_of(length: int, count: int = 300) -> list[dict]:
    """Rows that are no copies of each other, each longer than the limit."""
    import random

    from conftest import WORDS
    deal = random.Random(0)
    return [{"text": " ".join(deal.choices(WORDS, k=2 * length))} for _ in range(count)]


@pytest.mark.parametrize("name", ["full", "lora", "prompt_tuning"])
def test_memory_is_what_the_recipe_is_told(name, architecture):  # noqa: F811
    """A recipe whose largest batch has the card's shape."""
    from finetune_wb.models.catalog import find_model
    from finetune_wb.recipe import Recipe
    from finetune_wb.training.fits import method_fits
    from finetune_wb.training.memory import estimate, memory_here

    recipe = Recipe(task="completion", model={"id": str(architecture("llama"))}, method={"name": name}, train={"tokens_per_batch": 4 * 32, "max_length": 32, "bf16": False, "batching": "grouped"})
    told = estimate(recipe, rows_of(32))
    assert told.batch.shape == (4, 32)
    fit, = method_fits(find_model(recipe.model), recipe.model, 4, 32, ("completion",), methods=[name], machine=memory_here(), bf16=False)
    assert fit.applies and abs(fit.bytes - told.total) < 100_000 < (told.memory.total - told.memory.overhead) / 10  # the C library's holes come and go by a page


def test_a_gpu_is_asked_by_nvml(monkeypatch):
    import torch

    from finetune_wb import system
    from finetune_wb.training import memory
    seen = SimpleNamespace(nvmlDeviceGetMemoryInfo=lambda handle: {"first": SimpleNamespace(total=80 * 10**9, free=60 * 10**9, used=20 * 10**9)}[handle])
    monkeypatch.setattr(memory, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "a GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5, 9))
    monkeypatch.setattr(system, "_gpus", lambda nvml: ["first"])
    monkeypatch.setattr(system, "_nvml", lambda: seen)
    assert memory.memory_here() == {"place": "cuda", "name": "a GPU", "total": 80 * 10**9, "free": 60 * 10**9}
    monkeypatch.setattr(system, "_nvml", lambda: None)  # no package: torch knows too
    assert memory.memory_here() == {"place": "cuda", "name": "a GPU", "total": 9, "free": 5} and memory.free_memory() == 5


def test_a_deep_model_is_told_along_the_line(architecture):  # noqa: F811
    from finetune_wb.models.catalog import find_model
    from finetune_wb.recipe import ModelSpec
    from finetune_wb.training.fits import _Asked, needs

    folder = architecture("bert", layers=10)
    source, spec, labels = find_model(ModelSpec(id=str(folder))), ModelSpec(id=str(folder)), ("no", "yes")
    for name in ("full", "lora"):
        told, walked = needs(source, spec, METHODS[name](), 8, 64, labels), _Asked(source, spec, labels, None, 8, 64, "cpu", False).walk(METHODS[name]())
        fullest = max(walked.moments.values(), key=lambda memory: memory.total)
        assert (told.weights, told.optimizer) == (walked.memory.weights, fullest.optimizer) and abs(told.total - told.overhead - fullest.total) < 0.02 * fullest.total


@pytest.mark.parametrize("free, verdict", [(10**12, "fits"), (600_000_000, "tight"), (10**6, "does not fit")])
def test_bars_follow_the_machine(free, verdict, architecture, monkeypatch):  # noqa: F811
    from finetune_wb.models import card as module

    monkeypatch.setattr(module, "memory_here", lambda: {"place": "cpu", "name": "a processor", "total": 2 * free, "free": free})
    monkeypatch.setattr(module, "method_fits", lambda *a, **k: _only("lora", *a, **k))
    card = inspect_model(str(architecture("bert")), batch=2, length=16)
    assert [fit.verdict for fit in card.methods] == [verdict] and card.verdict.ok == (verdict != "does not fit")
    assert verdict in str(card) and verdict in card._repr_html_() and ("smaller batch" in card.verdict.way_out) == (verdict == "does not fit")


def _only(name, *arguments, **options):
    from finetune_wb.training.fits import method_fits
    return method_fits(*arguments, **options, methods=[name], bf16=False)


def test_methods_that_do_not_apply_say_why(architecture):  # noqa: F811
    fits = {fit.method: fit for fit in inspect_model(str(architecture("albert")), batch=2, length=16).methods}
    assert fits.keys() == METHODS.keys()
    assert not fits["last_layers"].applies and "layers" in fits["last_layers"].why_not  # its layers are one
    assert not fits["prompt_tuning"].applies and "pools" in fits["prompt_tuning"].why_not and fits["prompt_tuning"].bytes is None
    assert fits["full"].applies and fits["lora"].bytes > 0 and fits["full"].verdict


# ------------------------------------------------------------------------------------------------- tokenizer and template


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "mistral", "smollm", "gpt2"])
def test_templates_of_many_families(kind, causal_model):  # noqa: F811
    card = look(causal_model(kind))
    assert set(TEXT) <= set(card.tasks) and card.tokenizer["tokens"] == card.tokenizer["embedding_rows"]
    if kind == "gpt2": assert not card.template["own"] and "alpaca" in card.template["fits"] and any("no chat template" in p.what for p in card.warnings)
    else: assert card.template["own"] and card.template["sound"] and card.template["system"]
    assert card.template.get("marks_answers", False) == (kind == "smollm")


def test_a_template_whose_answers_never_end_is_said(causal_model, tmp_path):  # noqa: F811
    folder = Path(shutil.copytree(causal_model("qwen3"), tmp_path / "model"))
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 0}))
    card = look(folder)
    assert not card.template["sound"] and any("generation stops at" in p.what for p in card.warnings)
    assert card.verdict.ok  # a cure is known, so it is a warning


@pytest.mark.parametrize("template", ["{{ 1 / 0 }}", "{% for m in messages %}", "{{ raise_exception('no') }}", "{{ ''.__class__.__mro__ }}", "nothing of it"])
def test_a_broken_template_is_a_warning(template, causal_model, tmp_path):  # noqa: F811
    folder = Path(shutil.copytree(causal_model("qwen3"), tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(template)
    card = look(folder)
    assert not card.template.get("sound") and any("chat template" in p.what for p in card.warnings) and "completion" in card.tasks


# ------------------------------------------------------------------------------------------------- what is refused


def test_a_pickle_is_named_and_never_opened(architecture, monkeypatch):  # noqa: F811
    import torch

    folder = architecture("bert", "pickled")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    card = look(folder)
    assert not card.verdict.ok and "pickle can run code" in card.verdict.reason and "safetensors" in card.verdict.way_out and card.formats == ("pickle",)


def test_a_pickle_that_is_allowed_is_judged_and_not_fetched(hub, architecture):  # noqa: F811
    for kind in ("bert", "llama"):
        put(hub, architecture(kind, "pickled"))
        hub.asked.clear()
        refused, card = look("acme/tiny"), look("acme/tiny", allow_pickle=True)
        assert not refused.verdict.ok and "allow_pickle" in refused.verdict.way_out
        assert card.verdict.ok and card.tasks == ("classification",) and card.parameters == loaded(architecture(kind)).parameters and not of_weights(hub)
        if kind in DECODERS: assert any("pickled weights, whose shapes can't be read" in p.what for p in card.warnings)


def test_code_of_its_own_is_refused_and_not_run(copy, tmp_path):
    folder = change(copy("bert"), model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModel": "mine.Model"})
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    card = look(folder)
    assert card.remote_code and not card.verdict.ok and "trust_remote_code" in card.verdict.way_out and not (tmp_path / "ran").exists()
    look(folder, trust_remote_code=True)
    assert (tmp_path / "ran").exists()  # asked for, and so it ran


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 10**9}, {"num_hidden_layers": -1}, {"hidden_size": "wide"}, {"model_type": ["bert"]}, {"model_type": "no-such"}, {"architectures": {"a": 1}}, {"architectures": ["os"]},
                                     {"id2label": "x"}, {"vocab_size": 3}, {"num_attention_heads": 0}, {"quantization_config": {"bits": 4}}, {"id2label": {"0": "a" * 10**5}}], ids=str)
def test_damaged_configurations_get_a_card(changes, copy):
    card = look(change(copy("bert-classifier"), **changes))
    assert len(str(card)) < 5000 and json.dumps(card.as_dict())
    if changes.keys() & {"num_hidden_layers", "hidden_size", "model_type", "vocab_size", "num_attention_heads", "quantization_config"}: assert not card.verdict.ok and card.verdict.way_out and card.tasks == ()


@pytest.mark.parametrize("file, content", [("config.json", b"{"), ("config.json", b"[]"), ("config.json", None), ("tokenizer.json", b"{}"), ("tokenizer.json", None), ("model.safetensors", b"torn"), ("model.safetensors", None)])
def test_damaged_files_get_a_card(file, content, copy):
    folder = copy("bert")
    if content is None: (folder / file).unlink()
    else: (folder / file).write_bytes(content)
    card = look(folder)
    assert not card.verdict.ok and card.verdict.way_out


def test_a_length_beyond_the_model_is_cut_and_said(architecture):  # noqa: F811
    card = look(architecture("bert"), length=500)
    assert card.shape == {"batch": 8, "length": 64} and any("at most 64 tokens" in p.what for p in card.warnings)
    with pytest.raises(ModelError, match="at least 1 row"): look(architecture("bert"), batch=0)


# ------------------------------------------------------------------------------------------------- hostile text

EVIL = '<img src=x onerror=alert(1)>"\'&\x1b[2J\u202e</td><script>alert(2)</script>'


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attributes): self.seen.append((tag, dict(attributes)))


def test_a_strangers_strings_are_text_everywhere(copy, tmp_path):
    folder = change(copy("bert-classifier"), id2label={"0": EVIL, "1": EVIL}, model_type=EVIL, architectures=[EVIL])
    (folder / "README.md").write_text(f"---\nlicense: {json.dumps(EVIL)}\n---\n# {EVIL}\n", encoding="utf-8")
    folder = folder.rename(tmp_path / "<script>alert(3)")
    card = look(folder)
    tags = Tags(card._repr_html_()).seen
    assert {tag for tag, _ in tags} <= {"div", "b", "table", "tr", "th", "td", "p", "span", "ul", "li"} and all(set(attributes) <= {"style"} for _, attributes in tags)
    assert not {"\x1b", "\u202e"} & set(str(card) + card._repr_html_() + "".join(map(str, _strings(card.as_dict()))))


def _strings(value):
    if isinstance(value, dict): return [s for k, v in value.items() for s in (k, *_strings(v))]
    if isinstance(value, list | tuple): return [s for v in value for s in _strings(v)]
    return [value] if isinstance(value, str) else []


# ------------------------------------------------------------------------------------------------- on the hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub() as server: yield server.use(monkeypatch, tmp_path / "home")


def put(hub, folder, id="acme/tiny", **said) -> Repo: return hub.add(Repo(id, folder, **{"lfs_from": 1000, "card": {"license": "mit"}, **said}))


def of_weights(hub) -> list: return [a for a in hub.asked if a.method == "GET" and ("/lfs/" in a.path or a.path.endswith((".safetensors", ".bin")))]


KINDS = {  # files beside README.md, card -> what the verdict says, and what it advises
    "gguf": ({"model.Q4_K_M.gguf": b"g" * 5000}, {"base_model": "acme/writer"}, "acme/thing has its weights only as gguf, which can't be fine-tuned.", "acme/writer"),
    "adapter": ({"adapter_config.json": b'{"base_model_name_or_path": "acme/writer"}', "adapter_model.safetensors": safetensors_bytes({"a": (50, 50)})}, {}, "acme/thing is an adapter for acme/writer, not a model by itself.", "base model"),
    "pipeline": ({"model_index.json": b"{}", "unet/diffusion_pytorch_model.safetensors": safetensors_bytes({"a": (50, 50)})}, {}, "acme/thing is a pipeline that makes images, audio or video, not a text model.", "text model"),
    "empty": ({".gitattributes": b""}, {}, "acme/thing has no weights.", "another model"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_model_to_start_from_is_called_by_its_name(kind, hub):
    files, known, reason, way_out = KINDS[kind]
    hub.add(Repo("acme/thing", {**files, "README.md": b"x"}, card={"license": "mit", **known}, lfs_from=1000))
    card = look("acme/thing")
    assert (card.verdict.ok, card.verdict.reason) == (False, reason) and way_out in card.verdict.way_out and card.download_bytes == 0
    assert str(card).splitlines()[1].startswith(f"Does not work here: {reason}") and not [line for line in str(card).splitlines() if line.startswith(("input ", "heads ", "tasks ", "!"))]


def test_the_verdict_comes_first_and_is_said_once(hub, architecture):  # noqa: F811
    put(hub, architecture("t5"), card={"license": "cc-by-nc-4.0"})
    card = look("acme/tiny")
    for text in (str(card), card._repr_html_()):
        assert text.count("encoder-decoder") == 1 and text.index("Does not work here") < text.index("does not allow commercial use") < text.index("parameters")
    assert [p.what for p in card.warnings][0].startswith("is an encoder-decoder")  # of programs, all of them


@pytest.mark.parametrize("kind", ["bert", "qwen2", "t5", "vit", "llama-tied"])
def test_a_hub_card_is_that_of_the_folder(kind, hub, architecture):  # noqa: F811
    repo = put(hub, architecture(kind, "sharded"), updated="2025-03-04T05:06:07.000Z")
    card, local = look("acme/tiny"), look(architecture(kind, "sharded"))
    for name in ("architecture", "parameters", "dtype", "weight_bytes", "context", "tokenizer", "template", "heads", "tasks", "formats", "remote_code"): assert getattr(card, name) == getattr(local, name), name
    assert (card.source, card.commit, card.updated, card.licence.id, card.verdict.ok) == ("hub", repo.sha, "2025-03-04", "mit", local.verdict.ok)
    assert card.download_bytes == sum(len(body) for name, body in repo.files.items() if name != "preprocessor_config.json")


def test_no_weights_are_fetched_to_answer(hub):
    """A model of 8 MB in two shards: what is asked for of them is the length of the header and the header, by the hub's own log."""
    shapes = {f"layer.{i}.weight": (1000, 1000) for i in range(2)}
    files = {f"model-0000{i + 1}-of-00002.safetensors": safetensors_bytes({name: shape}) for i, (name, shape) in enumerate(shapes.items())}
    index = {"weight_map": {name: f"model-0000{i + 1}-of-00002.safetensors" for i, name in enumerate(shapes)}}
    hub.add(Repo("acme/large", {"config.json": b'{"model_type": "new-kind"}', "model.safetensors.index.json": json.dumps(index).encode(), "pytorch_model.bin": bytes(5_000_000), **files}))
    card = look("acme/large")
    asked = of_weights(hub)
    ranges = [tuple(map(int, a.headers["range"].removeprefix("bytes=").split("-"))) for a in asked if a.to == "cdn"]
    assert card.parameters == 2_000_000 and card.weight_bytes == 8_000_000 and card.formats == ("safetensors", "pickle")
    assert sorted(ranges) == sorted([(0, 7)] * 2 + [(8, 7 + int.from_bytes(body[:8], "little")) for body in files.values()]) and all("range" in a.headers for a in asked)
    assert not [a for a in hub.asked if a.path.endswith(".bin")]


def test_a_server_that_knows_no_ranges_is_left_after_the_header(hub, architecture, monkeypatch):  # noqa: F811
    """It begins to send all 80 MB; what is taken of them is the beginning."""
    import hub as server
    sent, whole = [], server._Handler._body

    def without_ranges(self, body, etag, **headers):
        del self.headers["Range"]
        return whole(self, body, etag, **headers)

    def counted(self, body):
        for start in range(0, len(body), 1 << 16):
            self.wfile.write(body[start:start + (1 << 16)])
            if "lfs" in self.path: sent.append(1 << 16)
    monkeypatch.setattr(server._Handler, "_body", without_ranges)
    monkeypatch.setattr(server._Handler, "_write", counted)
    files = {f.name: f.read_bytes() for f in architecture("bert").iterdir()}
    hub.add(Repo("acme/tiny", files | {"model.safetensors": safetensors_bytes({"a": (1000, 20_000)})}, lfs_from=1000))
    assert look("acme/tiny").parameters is not None and sum(sent) < 40_000_000  # two answers, each given up early; what the system buffers of them is some MB


def test_everything_is_read_at_one_commit(hub, architecture):  # noqa: F811
    repo = put(hub, architecture("bert"))
    look("acme/tiny", revision="main")
    assert {a.path.split("/resolve/")[1].split("/")[0] for a in hub.asked if "/resolve/" in a.path} == {repo.sha}
    old = dict(repo.files)
    hub.add(Repo("acme/tiny", {**old, "README.md": b"new"}, history=(old,), refs={"v1": 0}, lfs_from=1000))
    assert look("acme/tiny", revision="v1").commit == hub.repos["acme/tiny"].commits()[0][0] != look("acme/tiny").commit
    with pytest.raises(ModelError, match="no such revision"): look("acme/tiny", revision="v9")


def test_a_second_look_asks_for_headers_only(hub, architecture):  # noqa: F811
    put(hub, architecture("bert"))
    look("acme/tiny")
    hub.asked.clear()
    look("acme/tiny")
    assert not [a for a in hub.asked if a.path.endswith((".json", ".txt"))] and len(hub.asked) <= 5


def test_a_gated_model_shows_what_anyone_is_told(hub, architecture, monkeypatch):  # noqa: F811
    put(hub, architecture("llama-tied"), gated="manual", card={"license": "llama3.2"})
    card = look("acme/tiny")
    assert card.gated and not card.verdict.ok and "gated" in card.verdict.reason and "HF_TOKEN" in card.verdict.way_out
    assert card.licence.gate == "conditions" and card.parameters == hub.repos["acme/tiny"].safetensors()["total"] and card.dtype == "float32" and card.download_bytes > 0
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    card = look("acme/tiny")
    assert card.verdict.ok and card.gated and TOKEN not in str(card) + card._repr_html_() + json.dumps(card.as_dict())


def test_what_is_not_there_and_what_does_not_answer(hub, architecture, monkeypatch, tmp_path):  # noqa: F811
    with pytest.raises(ModelError, match="no such model, or it is private"): look("acme/nothing")
    put(hub, architecture("bert"))
    hub.fault("/api/models/", status=500, times=None)
    with pytest.raises(ModelError, match="status 500"): look("acme/tiny")
    hub.heal()
    hub.fault(r"/lfs/", status=503, times=None)
    card = look("acme/tiny")
    assert not card.verdict.ok and "503" in card.verdict.reason
    point_at(monkeypatch, "http://127.0.0.1:9", tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="can't be reached"): look("acme/tiny")


def test_a_model_in_the_cache_needs_no_hub_and_no_ranges(hub, architecture, monkeypatch, tmp_path):  # noqa: F811
    from finetune_wb.models.catalog import find_model
    from finetune_wb.recipe import ModelSpec

    repo = put(hub, architecture("bert"))
    find_model(ModelSpec(id="acme/tiny"))
    hub.asked.clear()
    card = look("acme/tiny")
    assert (card.source, card.commit, card.download_bytes) == ("cache", repo.sha, 0) and not of_weights(hub) and card.verdict.ok
    point_at(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    card = look("acme/tiny")
    assert (card.source, card.commit, card.verdict.ok) == ("cache", repo.sha, True)


@pytest.mark.parametrize("body", [b"", b"torn", b"\xff" * 100, (10**15).to_bytes(8, "little") + b"{}", (50).to_bytes(8, "little") + b"[" * 50, safetensors_bytes({"a": (10, 10)})[:100]], ids=range(6))
def test_a_hostile_header_gets_a_card(body, hub, architecture):  # noqa: F811
    files = {f.name: f.read_bytes() for f in architecture("bert").iterdir()} | {"model.safetensors": body}
    hub.add(Repo("acme/tiny", files, parameters={"F32": 1}))
    card = look("acme/tiny")
    assert not card.verdict.ok and card.warnings


def test_a_model_larger_than_this_machine_is_built_all_the_same(hub, architecture, monkeypatch):  # noqa: F811
    """70 billion parameters in one file of 140 GB: the hub of the test gives the header and never has to hold the rest."""
    import torch
    import transformers

    from finetune_wb.models import glimpse

    folder = architecture("qwen2")
    config = transformers.Qwen2Config(hidden_size=16384, intermediate_size=65536, num_hidden_layers=16, num_attention_heads=64, num_key_value_heads=8, vocab_size=152064, tie_word_embeddings=False,
                                      architectures=["Qwen2ForCausalLM"], dtype="bfloat16")
    with torch.device("meta"): model = transformers.Qwen2ForCausalLM(config)
    tensors, at = {}, 0
    for name, weight in model.state_dict().items():
        tensors[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [at, at + 2 * weight.numel()]}
        at += 2 * weight.numel()
    files = {f.name: f.read_bytes() for f in folder.iterdir()}
    hub.add(Repo("acme/huge", files | {"config.json": config.to_json_string().encode()}, lfs_from=1000))
    monkeypatch.setattr(glimpse, "_header", lambda *_: json.dumps(tensors).encode())
    asked = glimpse._asked
    monkeypatch.setattr(glimpse, "_asked", lambda spec: _sized(asked(spec), at + 100_000))
    card = look("acme/huge")
    assert card.parameters == at // 2 > 60 * 10**9 and card.weight_bytes == at and "text generation" in card.heads[0] and card.formats == ("safetensors",)
    assert card.verdict.ok and card.download_bytes > at


def _sized(info, size):
    for sibling in info.siblings:
        if sibling.rfilename == "model.safetensors": sibling.size = size
    return info


def test_names_that_point_outside_stay_outside(hub, architecture, tmp_path):  # noqa: F811
    files = {f.name: f.read_bytes() for f in architecture("bert").iterdir() if f.name != "model.safetensors"}
    index = {"weight_map": {"a": "../../../evil.safetensors", "b": "/tmp/evil.safetensors", "c": "model-1.safetensors"}}
    hub.add(Repo("acme/tiny", {**files, "model.safetensors.index.json": json.dumps(index).encode()}))
    card = look("acme/tiny")
    assert not card.verdict.ok and any("outside" in p.what for p in card.warnings) and not Path("/tmp/evil.safetensors").exists()


# ------------------------------------------------------------------------------------------------- in a terminal


@pytest.fixture
def ftwb(monkeypatch, capsys):
    """`ftwb("model", "minilm")` → exit code, stdout, stderr; in this process."""
    from finetune_wb import cli

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["ftwb", *map(str, arguments)])
        code = 0
        try: cli.main()
        except SystemExit as end: code = end.code or 0
        output = capsys.readouterr()
        return code, output.out, output.err
    return call


def test_a_card_in_a_terminal(ftwb, architecture, tmp_path):  # noqa: F811
    code, out, _ = ftwb("model", architecture("bert"), "--no-memory", "--json")
    card = json.loads(out)
    assert code == 0 and card == json.loads(json.dumps(look(architecture("bert")).as_dict() | {"machine": card["machine"]}))
    code, out, _ = ftwb("model", architecture("vit"), "--no-memory")
    assert code == 1 and "Does not work here" in out and "images or audio" in out
    code, _, error = ftwb("model", tmp_path / "nowhere")
    assert code == 2 and "there is no such folder" in error


def test_a_download_in_a_terminal(ftwb, hub, architecture):  # noqa: F811
    repo = put(hub, architecture("bert"))
    code, out, _ = ftwb("download", "acme/tiny", "--revision", repo.sha)
    assert code == 0 and f"acme/tiny @ {repo.sha[:12]} is on this machine" in out
    code, _, error = ftwb("download", "acme/nothing")
    assert code == 2 and "no such model" in error
