"""The model panel's kernel half without a browser: what is found and why, cards, choices, downloads, a hub that fails, and what stays when there is no widget."""

import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hub import TOKEN, Hub, Repo, point_at, wait_until
from panel_page import traits_of
from panel_wire import says, wired  # noqa: F401
from planted_models import HOSTILE, LINES, read_once

from finetune_wb.errors import DataError, ModelError, RecipeError
from finetune_wb.models.families import FAMILIES, TASKS
from finetune_wb.models.index import SORTS
from finetune_wb.models.search import Catalog
from finetune_wb.panels import model as module
from finetune_wb.panels.model import ORDERS, ModelPanel, ModelView
from finetune_wb.recipe import Recipe, override, to_yaml

pytest.importorskip("anywidget")
STATIC = Path(module.__file__).parents[1] / "static"


@pytest.fixture
def panel_of(monkeypatch, tmp_path, wired):  # noqa: F811
    """`panel_of(recipe, catalog)` → a live panel; by default of `LINES`, with no hub."""
    monkeypatch.setattr("finetune_wb.models.card.inspect_model", read_once)
    monkeypatch.setattr(module, "_where", lambda live: "widget")
    monkeypatch.setattr(module, "_downloads", {})

    def make(recipe=None, catalog=None, wait=True, **options):
        panel = wired(ModelPanel(recipe, catalog or Catalog(cache=str(tmp_path / "cache"), hub=False, listing=LINES), **options))
        return panel.wait() if wait else panel

    return make


@pytest.fixture
def hub(monkeypatch, tmp_path, tiny_model):
    """A hub with tiny models, asked by huggingface_hub's real client."""
    def files(kind: str) -> dict[str, bytes]: return {file.name: file.read_bytes() for file in tiny_model(kind).iterdir() if file.is_file()}
    repos = [Repo("tiny/bert", files("bert"), pipeline_tag="fill-mask", card={"license": "apache-2.0", "language": "en"}, downloads=50), Repo("tiny/gpt2", files("gpt2"), pipeline_tag="text-generation", card={"license": "cc-by-nc-4.0"}, downloads=90),
             Repo("tiny/gated", files("bert"), pipeline_tag="fill-mask", card={"license": "other"}, gated="manual", downloads=10)]
    with Hub(repos) as running: yield running.use(monkeypatch, tmp_path / "home")


def ids(traits: dict) -> list[str]: return [row["id"] for row in traits["page"]["rows"]]


# What is found


def test_families_first_then_tasks_licences_languages_and_places(panel_of):
    page = panel_of().view.comm.traits["page"]
    assert [name for name, *_ in page["facets"]["modality"]] == [*FAMILIES] and dict((name, count) for name, _, count in page["facets"]["modality"]) == {**dict.fromkeys(FAMILIES, 0), "vision": 1, "text": 4}
    tasks = {name: (count, ours) for name, _, count, ours in page["facets"]["task"]}
    assert tasks["text-generation"] == (2, True) and tasks["image-classification"] == (1, False)  # what is not ours yet is shown as such
    assert [name for name, *_ in page["facets"]["source"]] == ["embedded", "hub"] and page["found"] == 6
    rows = {row["id"]: row for row in page["rows"]}
    assert not rows["someone/pictures"]["ours"] and rows["someone/pictures"]["why_not"] == TASKS["image-classification"].why_not
    assert rows["someone/closed"]["gate"] == "non-commercial" and rows["someone/closed"]["gated"] and rows["minidoc"]["gate"] == "open"


def test_a_search_narrows_and_keeps_what_is_not_said(panel_of):
    panel = panel_of(rows_per_page=2)
    says(panel, "search", words="someone", asked=3)
    traits = panel.wait().view.comm.traits
    assert ids(traits) == ["someone/tiny", "someone/pictures"] and traits["page"]["found"] == 3 and traits["page"]["asked"] == 3
    says(panel, "search", at=1, asked=4)
    assert ids(panel.wait().view.comm.traits) == ["someone/closed"]
    says(panel, "search", modality="text", asked=5)
    traits = panel.wait().view.comm.traits
    assert ids(traits) == ["someone/tiny", "someone/closed"] and traits["page"]["at"] == 0 and traits["page"]["query"]["words"] == "someone"
    says(panel, "search", licence="open", fits="lora", asked=6)
    assert not panel.wait().view.comm.traits["page"]["alone"]  # a note on what fits is no want of a hub
    says(panel, "search", licence="open", fits=None, asked=6)
    assert ids(panel.wait().view.comm.traits) == ["someone/tiny"]
    says(panel, "search", words="", modality=None, licence=None, sort="parameters", source="hub", max_parameters=100_000_000, asked=7)
    assert ids(panel.wait().view.comm.traits) == ["someone/tiny", "someone/pictures"]


class Slow(Catalog):
    """Answers to a word when its gate is open."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.gates, self.asked = {}, []

    def search(self, words="", **filters):
        self.asked.append((words, filters.get("source")))
        if words in self.gates: assert self.gates[words].wait(30)
        return super().search(words, **filters)


def test_an_answer_that_was_overtaken_is_dropped(panel_of, tmp_path):
    catalog = Slow(cache=str(tmp_path), hub=False, listing=LINES)
    panel = panel_of(catalog=catalog)
    catalog.gates["some"] = threading.Event()
    says(panel, "search", words="some", asked=2)
    slow = panel._jobs["search"]
    says(panel, "search", words="tiny", asked=3)
    assert ids(panel.wait().view.comm.traits) == ["someone/tiny"]
    catalog.gates["some"].set()
    slow.wait()
    traits = panel.view.comm.traits
    assert ids(traits) == ["someone/tiny"] and traits["page"]["asked"] == 3 and traits["page"]["query"]["words"] == "tiny"


def test_this_machine_is_shown_while_the_hub_thinks(panel_of, hub):
    hub.fault("/api/models\\?", delay=1.5)
    panel = panel_of(catalog=Catalog(), wait=False)
    wait_until(lambda: ids(panel.view.comm.traits))
    assert ids(panel.view.comm.traits) == ["minidoc", "minilm"] and "search" in panel._jobs
    assert {*ids(panel.wait().view.comm.traits)} == {"minidoc", "minilm", "tiny/gpt2", "tiny/bert", "tiny/gated"}


def test_a_hub_that_is_not_there_is_a_line_and_can_be_asked_again(panel_of, hub, monkeypatch, tmp_path):
    point_at(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    page = panel_of(catalog=Catalog()).view.comm.traits["page"]
    assert page["alone"] and "can't be reached" in page["notes"][0] and [row["id"] for row in page["rows"]] == ["minidoc", "minilm"]
    panel = panel_of(catalog=Catalog())
    hub.use(monkeypatch, tmp_path / "home")
    says(panel, "search", again=True)
    page = panel.wait().view.comm.traits["page"]
    assert not page["alone"] and not page["notes"] and page["found"] == 5
    hub.fault("/api/models", status=429, retry_after=3, times=None)
    says(panel, "search", again=True, words="bert")
    page = panel.wait().view.comm.traits["page"]
    assert "takes no more requests" in page["notes"][0] and panel.view.comm.traits["error"] == ""


def test_what_no_search_can_mean_is_said_and_changes_nothing(panel_of):
    panel = panel_of()
    for fields, text in (({"word": "x"}, "is nothing to search by"), ({"sort": "size"}, "is no order"), ({"fits": "lore"}, "is not a known method")):
        says(panel, "search", **fields)
        traits = panel.wait().view.comm.traits
        assert text in traits["error"] + "".join(traits["page"]["notes"]), fields
    assert {*ORDERS} == {*SORTS}


# Cards


def test_a_card_comes_from_headers_alone_and_a_choice_pins_its_commit(panel_of, hub):
    panel = panel_of(catalog=Catalog())
    heard = []
    panel.on_change(heard.append)
    says(panel, "open", "tiny/gpt2")
    card = panel.wait().view.comm.traits["cards"]["tiny/gpt2"]["card"]
    assert card["commit"] == hub.repos["tiny/gpt2"].sha and card["licence"]["gate"] == "non-commercial" and card["download_bytes"] > 0 and card["verdict"]["ok"]
    assert not [path for path in hub.paths() if path.endswith(".safetensors") and "resolve" in path and not any(a.path == path and "range" in a.headers for a in hub.asked)]  # weights were asked for by ranges only
    assert {fit["method"] for fit in card["methods"] if fit["applies"]} >= {"full", "lora"} and card["machine"]["total"] > 0
    assert panel.chosen is None and card["page"] == f"{hub.url}/tiny/gpt2"  # where its terms are accepted
    says(panel, "choose", "tiny/gpt2", "lora")
    assert "does not allow commercial use" in panel.wait().view.comm.traits["error"] and panel.chosen is None and panel.recipe == Recipe()
    says(panel, "choose", "tiny/gpt2", "lora", True)
    traits = panel.wait().view.comm.traits
    assert traits["error"] == "" and panel.chosen == "tiny/gpt2" and (panel.recipe.model.id, panel.recipe.model.revision, panel.recipe.method.name) == ("tiny/gpt2", card["commit"], "lora")
    assert heard == [panel.recipe] and traits["state"]["recipe"] == {"id": "tiny/gpt2", "revision": card["commit"], "method": "lora"}
    says(panel, "reset")
    assert panel.wait().recipe == Recipe() == heard[-1] and panel.chosen is None and len(heard) == 2


def test_the_code_is_the_choice(panel_of):
    original = Recipe(train={"learning_rate": 1e-3})
    panel = panel_of(original)
    panel.choose("minidoc", "bottleneck")
    code = dict(panel.wait().view.comm.traits["state"]["code"])
    names = {"recipe": original, "override": override}
    exec(code["Cell"], names)
    import shlex

    import yaml
    words = shlex.split(code["Command"])
    assert words[:3] == ["ftwb", "train", "recipe.yaml"] and override(original, *words[3:]) == names["recipe"] == panel.recipe != original
    merged = original.model_dump()
    for section, fields in yaml.safe_load(code["Recipe"]).items(): merged[section] = (merged[section] if section != "method" else {}) | fields
    assert to_yaml(Recipe(**merged)) == to_yaml(panel.recipe)


def test_what_was_granted_to_one_model_is_not_passed_on(panel_of):
    recipe = Recipe(model={"id": "minilm", "trust_remote_code": True, "allow_pickle": True, "pooling": "cls", "attn_implementation": "eager"})
    panel = panel_of(recipe)
    panel.choose("minidoc")
    chosen = panel.recipe.model
    assert (chosen.trust_remote_code, chosen.allow_pickle, chosen.pooling, chosen.attn_implementation) == (False, False, "auto", "eager")
    panel.choose("minilm")
    assert panel.wait().recipe == recipe and panel.chosen is None  # back where it came from
    asked = []
    panel._inspect = lambda key: asked.append(key) or 1 / 0
    says(panel, "measure", batch=3)
    panel.wait()
    says(panel, "open", "someone/tiny")
    panel.wait()
    assert {key[0]: key[4] for key in asked} == {"minilm": True, "someone/tiny": False}


def test_what_can_not_be_chosen_says_why_and_changes_nothing(panel_of, tmp_path):
    (tmp_path / "broken").mkdir()
    panel = panel_of()
    refused = [fit for fit in read_once("minilm", None, batch=8, length=None, trust_remote_code=False).methods if not fit.applies]
    assert "prompt_tuning" in [fit.method for fit in refused]
    for arguments, text in ((("minidoc", "lore"), "is no method"), (("minilm", "prompt_tuning"), "does not go with it"), ((str(tmp_path / "broken"), None), "has no weights")):
        with pytest.raises(ModelError, match=text): panel.choose(*arguments)
    says(panel, "choose", "minilm", "prompt_tuning")
    assert "does not go with it" in panel.view.comm.traits["error"] and panel.recipe == Recipe() and panel.chosen is None


def test_a_card_that_can_not_be_read_says_so_and_is_read_again(panel_of, hub):
    panel = panel_of(catalog=Catalog())
    says(panel, "open", "tiny/gone")
    assert "no such model" in panel.wait().view.comm.traits["cards"]["tiny/gone"]["error"] and panel.view.comm.traits["error"] == ""
    says(panel, "open", "tiny/gated")
    card = panel.wait().view.comm.traits["cards"]["tiny/gated"]
    assert "gated" in json.dumps(card)
    hub.add(Repo("tiny/gone", hub.repos["tiny/bert"].files, pipeline_tag="fill-mask"))
    says(panel, "open", "tiny/gone", again=True)
    assert panel.wait().view.comm.traits["cards"]["tiny/gone"]["card"]["verdict"]["ok"]


def test_side_by_side_and_other_batches(panel_of, monkeypatch):
    card = read_once("minidoc", None, batch=8, length=None, trust_remote_code=False)
    monkeypatch.setattr("finetune_wb.models.card.inspect_model", lambda id, revision, *, batch, length, trust_remote_code: replace(card, id=id, shape={"batch": batch, "length": length}))
    panel = panel_of()
    for name in ("minilm", "minidoc"): says(panel, "compare", name)
    traits = panel.wait().view.comm.traits
    assert traits["state"]["compared"] == ["minilm", "minidoc"] and {*traits["cards"]} == {"minilm", "minidoc"}
    says(panel, "measure", batch=64, length=256)
    assert {name: each["card"]["shape"] for name, each in panel.wait().view.comm.traits["cards"].items()} == dict.fromkeys(("minilm", "minidoc"), {"batch": 64, "length": 256})
    says(panel, "compare", "someone/tiny")
    says(panel, "compare", "someone/pictures")
    assert "3 models stand side by side at most" in panel.view.comm.traits["error"]
    says(panel, "compare", "minilm")
    assert panel.view.comm.traits["state"]["compared"] == ["minidoc", "someone/tiny"]
    for fields in ({"batch": 0}, {"batch": True}, {"batch": None}, {"rows": 3}):
        says(panel, "measure", **fields)
        assert panel.view.comm.traits["error"], fields


def test_a_recipe_from_elsewhere_is_taken(panel_of):
    panel = panel_of()
    panel.choose("minidoc", "lora")
    panel.recipe = Recipe(method={"name": "ia3"})
    assert panel.wait().chosen is None and panel.view.comm.traits["state"]["recipe"] == {"id": "minilm", "revision": None, "method": "ia3"} and not panel.view.comm.traits["state"]["changed"]


# Downloads


def test_a_download_is_cut_gone_on_with_and_found_by_the_next_panel(panel_of, hub, monkeypatch):
    panel = panel_of(catalog=Catalog())
    says(panel, "open", "tiny/bert")
    panel.wait()
    hub.fault("model.safetensors", status=404, method="GET", times=None)
    says(panel, "download", "tiny/bert")
    (failed,) = panel.wait().view.comm.traits["state"]["downloads"]
    assert failed["id"] == "tiny/bert" and failed["state"] == "failed" and failed["error"] and panel.view.comm.traits["error"] == ""
    hub.heal()
    hub.fault("/lfs/", pace=5_000, times=None)
    says(panel, "download", "tiny/bert")
    wait_until(lambda: panel.downloads["tiny/bert"].done > 2_000)
    panel.close()
    other = panel_of(catalog=Catalog(), wait=False)  # the cell ran again
    assert [one["state"] for one in other.view.comm.traits["state"]["downloads"]] == ["running"] and other.downloads["tiny/bert"].total > 20_000
    says(other, "cancel", "tiny/bert")
    assert [one["state"] for one in other.wait().view.comm.traits["state"]["downloads"]] == ["cancelled"]
    hub.heal()
    says(other, "download", "tiny/bert")
    other.wait()
    (done,) = other.view.comm.traits["state"]["downloads"]
    assert done["state"] == "finished" and done["done"] == done["total"] and other.downloads["tiny/bert"].commit == hub.repos["tiny/bert"].sha
    says(other, "forget", "tiny/bert")
    assert other.view.comm.traits["state"]["downloads"] == []


# Secrets and strangers


def test_a_token_is_never_told(panel_of, hub, monkeypatch, tmp_path):
    hub.use(monkeypatch, tmp_path / "home", TOKEN)
    panel = panel_of(catalog=Catalog())
    says(panel, "open", "tiny/gated")
    says(panel, "choose", "tiny/bert", "lora")
    panel.wait()
    assert panel.view.comm.traits["state"]["token"] is True and any(TOKEN in a.headers.get("authorization", "") for a in hub.asked)
    told = [json.dumps(panel.view.comm.traits), repr(panel), json.dumps(panel._stays()), to_yaml(panel.recipe), panel.error]
    assert not [text for text in told if TOKEN in text]
    monkeypatch.delenv("HF_TOKEN")
    says(panel, "reset")
    assert panel.view.comm.traits["state"]["token"] is False


def test_a_strangers_text_is_text_everywhere(panel_of):
    panel = panel_of()
    traits = panel.view.comm.traits  # it went through JSON, lone surrogate and all
    name = next(row["id"] for row in traits["page"]["rows"] if row["id"].startswith("evil/"))
    assert name == "evil/<img src=x onerror=window.hacked=1><script>window.hacked=1</script>\\x1b[31m\\u202eevil\\u202c\\u200b\\ud800"
    says(panel, "open", name)
    assert panel._open == f"evil/{HOSTILE}"  # what was told is found again
    card = panel.wait().view.comm.traits["cards"][name]
    assert "error" in card and not {"\x1b", "\u202e", "\u200b"} & {*json.dumps(card, ensure_ascii=False)}
    html, text = panel._stays()["rows"]["text/html"], repr(panel)
    assert "<img" not in html and "<script" not in html and "&lt;img" in html and not {"\x1b", "\u202e", "\u200b", "\ud800"} & {*html, *text}


def test_a_message_is_one_of_the_panels_own(panel_of):
    panel = panel_of()
    for kind in ("close", "_inspect", "recipe", "on_change"):
        says(panel, kind)
        assert "is not something to ask of this panel" in panel.view.comm.traits["error"], kind
    with pytest.raises(RecipeError, match="is no recipe"): ModelPanel({"model": "minilm"}, live=False)
    with pytest.raises(DataError, match="from 1 to 100"): ModelPanel(rows_per_page=True + 100, live=False)


# Other places


def test_without_a_front_end_text_and_a_table_stay(monkeypatch, tmp_path, capsys):
    published = []
    monkeypatch.setattr("IPython.display.publish_display_data", lambda bundle, metadata, transient, update: published.append((bundle, transient["display_id"].split("-")[1], update)))
    monkeypatch.setattr("finetune_wb.models.card.inspect_model", read_once)
    catalog = Catalog(cache=str(tmp_path), hub=False, listing=LINES)
    monkeypatch.setattr(module, "_where", lambda live: "picture")
    panel = ModelPanel(catalog=catalog, live=False)
    panel._ipython_display_()
    (text, _, _), (html, part, update) = published
    assert "minilm: works here" in text["text/plain"] and part == "rows" and not update and html["text/html"].count("<tr>") == 7 and panel.view is None
    panel.search(words="tiny").wait()
    assert {part for _, part, update in published[2:] if update} == {"text", "rows"} and published[-1][0]["text/html"].count("<tr>") == 2
    panel.search(words="no such model anywhere").wait()
    assert published[-1][0]["text/html"] == "<p>No model was found.</p>"
    monkeypatch.setattr(module, "_where", lambda live: "text")
    ModelPanel(catalog=catalog, live=False)._ipython_display_()
    assert capsys.readouterr().out.startswith("recipe: minilm with full\nminilm: works here")


def test_a_cell_that_runs_again_ends_its_panel(panel_of, monkeypatch):
    monkeypatch.setattr(module, "_cell", lambda: ("cell 1", "first run"))
    one = panel_of()
    monkeypatch.setattr(module, "_cell", lambda: ("cell 1", "second run"))
    two = panel_of()
    assert one.view is None and two.view is not None


# Names


def test_names_are_the_same_on_both_sides(panel_of):
    script = (STATIC / "modelpanel.js").read_text(encoding="utf-8")
    assert {*re.findall(r'"(\w+)"', re.search(r"live\(view, \[(.*?)\]", script)[1])} == traits_of(ModelView)
    assert {*re.findall(r'panel\.ask\("(\w+)"', script)} == {*ModelPanel.asked_for}
    filters = {*re.findall(r'"(\w+)"', re.search(r"const FILTERS = \[(.*?)\]", script)[1])}
    assert filters == {*module._ALL} - {"words", "sort"}
    panel = panel_of()
    traits = panel.view.comm.traits
    for name, keys in (("state", {*traits["state"]}), ("page", {*traits["page"]}), ("card", {*traits["cards"]["minilm"]["card"]})):
        read = {*re.findall(rf"(?<![\w.]){name}\.(\w+)", script)} - {"length"}
        assert read <= keys, read - keys
    rows = {*re.findall(r"\brow\.(\w+)", script)} - {"ftwbId", "tabIndex", "taken", "beside"}
    assert rows <= {*traits["page"]["rows"][0]} and {*re.findall(r"\bfit\.(\w+)", script)} <= {*traits["cards"]["minilm"]["card"]["methods"][0]}


def test_text_is_only_ever_text():
    from finetune_wb.panels import view

    script, style = view.script("modelpanel.js"), view.style("panel.css", "modelpanel.css")  # as they are sent, with what the panels share
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "createContextualFragment", "document.write", "eval(", "new Function"): assert word not in script, word
    assert not re.search(r"^import\b|\bimport\(", script, re.M)
    for text in (script, style): assert not re.search(r"https?://|@import|url\(", text)
