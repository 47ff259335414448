"""The token panel's kernel half without a browser: what is on the page and why, what a message changes, threads, losses, and what stays when there is no widget."""

import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from causal_models import causal_model  # noqa: F401
from panel_wire import says, wired  # noqa: F401

from finetune_wb.data.load import load_data
from finetune_wb.errors import DataError, ModelError, RecipeError, RunError
from finetune_wb.panels import encoded, paging
from finetune_wb.panels import tokens as module
from finetune_wb.panels.encoded import changes, everything
from finetune_wb.panels.pages import MODES, ORDERS, STATES, parts
from finetune_wb.panels.tokens import TokenPanel, TokenPanelView
from finetune_wb.panels.work import Job
from finetune_wb.recipe import Recipe, override
from finetune_wb.training.examples import load_examples, preflight

pytest.importorskip("anywidget")
STATIC = Path(module.__file__).parents[1] / "static"
ANIMALS = "cat dog bird cow fish".split()
HOSTILE = "<img src=x onerror=alert(1)></pre>\x1b[31m\u202eevil\u202c\u200b"


def chat(question: str, answer: str, **more) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def chats(number: int = 30) -> list[dict]: return [chat(f"which {i}?", f"the {ANIMALS[i % 5]} {i}") for i in range(number)]


@pytest.fixture
def files(tmp_path):
    """`files(train=rows, …)` → a recipe's source, so that each row is where it was put."""

    def write(**rows) -> dict:
        for name, part in rows.items(): (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
        return {name: str(tmp_path / f"{name}.jsonl") for name in rows}

    return lambda train: write(train=train, valid=[chat(f"valid {i}?", "the cow") for i in range(3)], test=[chat(f"test {i}?", "the cow") for i in range(3)])


@pytest.fixture
def recipe_of(causal_model, files):  # noqa: F811
    def make(rows, *overrides, kind="llama") -> Recipe:
        return override(Recipe(model={"id": str(causal_model(kind))}, data={"source": files(rows)}), *overrides)

    return make


@pytest.fixture
def panel_of(monkeypatch, tmp_path, wired):  # noqa: F811
    """`panel_of(recipe)` → a live panel."""
    monkeypatch.setattr(module, "_where", lambda live: "widget")

    def make(*arguments, wait=True, **options):
        panel = wired(TokenPanel(*arguments, **{"runs_dir": tmp_path / "runs", **options}))
        return panel.wait() if wait else panel

    return make


def places(traits: dict) -> list[int]: return [card["place"] for card in traits["page"]["cards"]]


# What is on the page


LONG = [*chats(12), chat("which?", "the dog " * 30), chat("which one?", "the dog " * 60), chat("the " * 120, "the cat"), chat("two?", "<|eot_id|> the cow")]


def test_worst_first_is_what_is_lost_and_the_longest_last(recipe_of, panel_of):
    panel = panel_of(recipe_of(LONG, "train.max_length=40"), rows_per_page=16)
    shown = places(panel.view.comm.traits)
    assert shown[0] == 14  # its prompt alone fills the limit: nothing is trained
    assert shown[1:4] == [13, 12, 15]  # more of its answer cut, less of it; a special token in its text
    lengths = panel._pages.full.sheets["train"].columns["length"]
    assert lengths[shown[4:]].tolist() == sorted(lengths[shown[4:]], reverse=True)


def test_the_page_is_what_training_reads(recipe_of, panel_of):
    recipe = recipe_of(LONG, "train.max_length=40", "train.loss_on=assistant")
    panel, rows = panel_of(recipe, rows_per_page=20), load_examples(recipe).train
    page = says(panel, "show", order="data")["page"]
    assert len(page["cards"]) == len(rows) == 16
    for card in page["cards"]:
        row, (side,) = rows.rows[card["place"]], card["sides"]
        drawn = [page["vocabulary"][n] for n in side["tokens"]]
        assert [token[0] for token in drawn] == row.ids.tolist() and "".join(token[1] for token in drawn) == row.tokenizer.decode(row.ids)
        labels = [token[0] if state == "t" else -100 for token, state in zip(drawn, side["states"]) if state != "x"]
        assert labels == rows[card["place"]]["labels"] and tuple(side["ends"]) == row.ends
        assert {token[2] for token in drawn if token[3]} <= {*row.tokenizer.all_special_tokens, *row.tokenizer.get_added_vocab()}


def test_counts_are_those_of_the_rows(recipe_of, panel_of):
    recipe = recipe_of(LONG, "train.max_length=40", "train.tokens_per_batch=160")
    panel, rows = panel_of(recipe), load_examples(recipe).train
    found = panel.view.comm.traits["state"]["counts"]["train"]
    assert (found["rows"], found["tokens"], found["trained"], found["cut"], found["cut_answers"]) == (16, rows.lengths.sum(), rows.trained.sum(), 3, 3)
    assert found["longest"] == max(len(row.ids) for row in rows.rows) and 0 < found["padding"] < 0.5
    packed = says(panel, "set", "train.batching=packed")
    panel.wait()
    assert packed["state"]["counts"] and panel.view.comm.traits["state"]["counts"]["train"]["padding"] is None


@pytest.mark.parametrize(("query", "mode", "expected"), [("FISH", "text", [4, 9]), ("which 1", "text", [1, 10, 11]), ("<|eot_id|>", "token", [*range(12)]), ("3", "row", [2]), ("#3", "row", [2]), ("jsonl, line 12", "row", [11]), ("nothing says this", "text", [])])
def test_search(query, mode, expected, recipe_of, panel_of):
    panel = panel_of(recipe_of(chats(12)), rows_per_page=20)
    if mode == "row" and "line" in query: query = panel._pages.full.sheets["train"].rows.rows[11].name[-14:]
    page = says(panel, "show", query=query, mode=mode, order="data")["page"]
    assert places({"page": page}) == expected and page["found"] == len(expected)
    if mode == "text":
        for card in page["cards"]:
            side = card["sides"][0]
            hit = "".join(page["vocabulary"][side["tokens"][place]][1] for place in side["hits"])  # rows of this size are shown whole
            assert query.casefold() in hit.casefold()


def test_a_search_for_what_is_no_token_says_what_it_is(recipe_of, panel_of):
    page = says(panel_of(recipe_of(chats())), "show", query="the cat sat", mode="token")["page"]
    assert page["cards"] == [] and page["note"].startswith('"the cat sat" is not one token here but ')


def test_a_findings_rows(recipe_of, panel_of):
    panel = panel_of(recipe_of(LONG, "train.max_length=40"))
    number = next(i for i, finding in enumerate(panel.findings) if finding.kind == "cut_answer")
    traits = says(panel, "show", finding=number)
    assert sorted(places(traits)) == [12, 13] and traits["page"]["found"] == 2 == traits["state"]["findings"][number]["rows"]
    assert all(number in card["findings"] for card in traits["page"]["cards"])
    assert says(panel, "show")["page"]["found"] == 16  # asked for nothing: all rows again


def test_pairs_stand_side_by_side(causal_model, panel_of):  # noqa: F811
    def pairs(name, number): return [{"prompt": f"{name} {i}?", "chosen": f"the {ANIMALS[i % 5]}", "rejected": f"no {i}" + " the cow" * (40 if i == 7 else 0)} for i in range(number)]

    rows, recipe = {"train": pairs("which", 12), "valid": pairs("one", 3), "test": pairs("a", 3)}, Recipe(model={"id": str(causal_model("llama"))}, train={"max_length": 60})
    panel, examples = panel_of(recipe, rows), load_examples(recipe, rows)
    page = panel.view.comm.traits["page"]
    texts = [["".join(page["vocabulary"][n][1] for n in side["tokens"]) for side in card["sides"]] for card in page["cards"]]
    assert all("the " in chosen and "no " in rejected and "no " not in chosen for chosen, rejected in texts)
    assert places(panel.view.comm.traits)[0] == 7 and page["cards"][0]["sides"][0]["cut"] == 0 < page["cards"][0]["sides"][1]["cut_answer"]  # the worse side counts for the order
    assert panel.view.comm.traits["state"]["counts"]["train"]["tokens"] == examples.train.lengths.sum() + examples.rejected["train"].lengths.sum()


def test_what_of_a_long_row_travels():
    states = "c" * 5000 + "t" * 3000 + "c" * 10 + "t" * 500 + "x" * 900
    shown = parts(states, hits=[2500])
    inside = {i for a, b in shown for i in range(a, b)}
    assert {0, 2500, 4999, 5000, 7999, 8000, 8010, 8509, 8510, len(states) - 1} <= inside and len(inside) < 1200
    assert all(a < b for a, b in shown) and all(b + 30 <= c for (_, b), (c, _) in zip(shown, shown[1:]))
    assert parts("ct" * 20_000, whole=True) == [[0, 20_000]] and sum(b - a for a, b in parts("ct" * 20_000)) < 2000


def test_only_a_page_travels(recipe_of, panel_of):
    few, many = (panel_of(recipe_of([chat(f"which {i}?", f"the {ANIMALS[i % 5]}") for i in range(number)])) for number in (50, 1500))
    sizes = [len(json.dumps(panel.view.comm.traits[name])) for panel in (few, many) for name in ("page", "state")]
    assert max(sizes) < 6000 and abs(sizes[0] - sizes[2]) < 500 and abs(sizes[1] - sizes[3]) < 100


# What a message changes


def test_an_option_shows_its_effect_before_all_rows_are_encoded(recipe_of, panel_of, monkeypatch):
    panel = panel_of(recipe_of(chats(20)))
    before, gate = places(says(panel, "show", order="longest", at=1)), threading.Event()
    monkeypatch.setattr(module, "everything", lambda ready, step: (gate.wait(20), everything(ready, step))[1])
    traits = says(panel, "set", "train.loss_on=all", asked=7)
    assert places(traits) == before and traits["page"]["pinned"] and traits["page"]["partial"] and not traits["state"]["checked"]
    assert all(set(card["sides"][0]["states"]) == {"t"} for card in traits["page"]["cards"])  # the rows that were looked at, all trained now
    assert traits["page"]["asked"] == traits["state"]["asked"] == 7 and panel.recipe.train.loss_on == "all"
    gate.set()
    panel.wait()
    traits = panel.view.comm.traits
    assert places(traits) == before and traits["state"]["checked"] and [f["kind"] for f in traits["state"]["findings"]] == ["prompts_trained"]
    assert not says(panel, "show", order="longest")["page"]["pinned"]


def test_the_work_of_an_old_choice_is_given_up(recipe_of, panel_of, monkeypatch):
    panel, gate, seen = panel_of(recipe_of(chats(20))), threading.Event(), []
    real = everything

    def slow(ready, step):
        seen.append(ready.recipe.train.max_length)
        if ready.recipe.train.max_length == 20: gate.wait(20)
        return real(ready, step)

    monkeypatch.setattr(module, "everything", slow)
    says(panel, "set", "train.max_length=20")
    old = panel._jobs["encoding"]
    says(panel, "set", "train.max_length=30")
    panel.wait()
    gate.set()
    old.wait()
    assert seen == [20, 30] and panel._pages.full.examples.train.max_length == 30 and panel.view.comm.traits["page"]["cards"]


def test_a_page_asked_for_while_rows_are_encoded_comes_in_the_order_of_the_data(recipe_of, panel_of, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(module, "everything", lambda ready, step: (gate.wait(20), everything(ready, step))[1])
    panel = panel_of(recipe_of(LONG, "train.max_length=40"), wait=False)
    assert places(says(panel, "show", at=1)) == [5, 6, 7, 8, 9]
    traits = says(panel, "show", query="which one?", order="worst")
    assert traits["page"]["partial"] and places(traits) == [0, 1, 2, 3, 4]
    gate.set()
    panel.wait()
    assert places(panel.view.comm.traits) == [13]  # what was searched for meanwhile


def test_what_is_wrong_is_said_and_changes_nothing(recipe_of, panel_of):
    panel = panel_of(recipe_of(chats()))
    recipe, page = panel.recipe, panel.view.comm.traits["page"]
    for message, said in [(("set", "train.loss_on=everything"), "loss_on"), (("set", "train.max_lenght=3"), "max_length"), (("set", "model.chat_template=chatml"), "the vocabulary has no"), (("show",), None),
                          (("cure", 5), "no such finding"), (("close",), "is not something to ask"), (("__init__",), "is not something to ask"), (("ask_model", "gpt-5"), "no model that can be asked"), (("show", "test"), "is not known here")]:
        error = says(panel, *message, asked=3)["error"]
        assert error == "" if said is None else said in error, message
        assert panel.view.comm.traits["state"]["asked"] == 3 and panel.recipe == recipe
    for fields in ({"at": -1}, {"at": "x"}, {"order": "best"}, {"finding": 3}, {"query": 3}, {"nonsense": 1}):
        assert says(panel, "show", **fields)["error"], fields
    assert places(panel.view.comm.traits) == places({"page": page}) and not panel.view.comm.closed_now


def test_no_template_is_one_click_away(recipe_of, panel_of):
    panel = panel_of(recipe_of(chats(), kind="gpt2"))
    state = panel.view.comm.traits["state"]
    assert [f["kind"] for f in state["findings"]] == ["no_template"] and places(panel.view.comm.traits) == [] and not state["template"] and state["checked"]
    says(panel, "cure", 0)
    panel.wait()
    traits = panel.view.comm.traits
    assert traits["state"]["findings"] == [] and len(traits["page"]["cards"]) == 5 and traits["state"]["code"]["overrides"] == ["model.chat_template=alpaca"]
    assert traits["state"]["code"]["line"] == "ftwb preflight recipe.yaml model.chat_template=alpaca" and preflight(panel.recipe) == []
    says(panel, "reset")
    assert panel.recipe.model.chat_template is None and panel.view.comm.traits["state"]["code"]["overrides"] == []


def test_bad_rows_are_left_out_in_sight(recipe_of, panel_of):
    panel = panel_of(recipe_of(LONG, "train.max_length=40"))
    says(panel, "set", "data.bad_rows=drop")
    panel.wait()
    traits = says(panel, "show", order="worst")
    out = [card for card in traits["page"]["cards"] if card["left_out"]]
    assert {card["place"]: card["left_out"] for card in out} == {14: "nothing of it is trained", 13: "its answer is cut off", 12: "its answer is cut off"}
    assert traits["state"]["counts"]["train"]["rows"] == 13 == len(load_examples(panel.recipe).train) and traits["state"]["counts"]["train"]["left_out"] == 3
    special = next(i for i, f in enumerate(panel.findings) if f.kind == "special_in_text")
    assert places(says(panel, "show", finding=special)) == [15]  # findings count the rows that are left, the page all


def test_rows_that_can_not_be_read_are_a_finding_with_a_cure(recipe_of, panel_of):
    broken = {"messages": [{"role": "user", "content": "which?"}, {"role": "assistant", "content": ""}]}
    recipe = recipe_of([*chats(20), broken])
    with pytest.raises(DataError): load_data(recipe)
    panel = panel_of(recipe)
    (finding,) = panel.findings
    assert (finding.kind, finding.severity, finding.cure) == ("bad_rows", "error", ("data.bad_rows=drop",)) and len(panel.view.comm.traits["page"]["cards"]) == 5
    says(panel, "cure", 0)
    panel.wait()
    assert not [f for f in panel.findings if f.severity == "error"] and load_data(panel.recipe).train.shape[0] == 20


def test_data_is_read_once_for_all_options(recipe_of, panel_of, monkeypatch):
    read, real = [], encoded.core.curate
    monkeypatch.setattr(encoded.core, "curate", lambda *a: (read.append(a[0].data.bad_rows), real(*a))[1])
    panel = panel_of(recipe_of(chats()))
    for change in ("train.loss_on=all", "data.bad_rows=drop", "train.max_length=30", "data.bad_rows=error", "model.chat_template=llama-3"): says(panel, "set", change)
    panel.wait()
    assert read == ["error"]
    says(panel, "set", "data.max_rows=20")
    assert read == ["error", "error"]


@pytest.mark.parametrize("edits", [(), ("train.max_length=64",), ("model.chat_template='{{ messages }} # \"x\"\n  y'", "train.loss_on=assistant"), ("method.name=lora", "method.r=4", "train.learning_rate=3e-4"), ("train.extra={adam_beta2: 0.9}", "data.source={train: a.csv, valid: b.csv}")])
def test_changes_make_the_new_recipe_of_the_old(edits):
    old = Recipe()
    new = override(old, *edits)
    assert override(old, *changes(old, new)) == new


# Losses


def test_losses_are_the_models_own_and_stay_known(recipe_of, panel_of):
    import torch
    from transformers import AutoModelForCausalLM

    recipe = recipe_of(chats(20))
    panel = panel_of(recipe)
    says(panel, "show", order="data")
    says(panel, "measure")
    panel.wait()
    card = panel.view.comm.traits["page"]["cards"][0]["sides"][0]
    row, model = load_examples(recipe).train.rows[0], AutoModelForCausalLM.from_pretrained(recipe.model.id).eval()
    mean = model(input_ids=torch.tensor(row.ids[None]).long(), labels=torch.tensor(row.labels[None]).long()).loss.item()
    assert card["mean"] == pytest.approx(mean, abs=0.01) and np.mean([nats for nats in card["losses"] if nats is not None]) == pytest.approx(mean, abs=0.02)
    assert [nats is not None for nats in card["losses"]] == [state == "t" for state in card["states"]]
    assert panel.view.comm.traits["state"]["losses"]["known"] == 5
    says(panel, "set", "train.loss_on=all")  # the same tokens, more of them trained: nobody has to be asked again
    assert all(nats is not None for nats in panel.view.comm.traits["page"]["cards"][0]["sides"][0]["losses"][1:])


def test_highest_loss_first(recipe_of, panel_of):
    panel = panel_of(recipe_of(chats(20)), rows_per_page=20)
    says(panel, "measure", all_rows=True)
    panel.wait()
    page = says(panel, "show", order="loss")["page"]
    means = [card["sides"][0]["mean"] for card in page["cards"]]
    assert len(means) == 20 and means == sorted(means, reverse=True)


def test_asking_a_model_can_be_cancelled_and_what_is_known_stays(recipe_of, panel_of, monkeypatch):
    gate, asked = threading.Event(), []

    def slow(model, rows):
        for i, row in enumerate(rows):
            if i == 2: gate.wait(20)
            asked.append(i)
            yield i, np.full(row.kept, 1.5)

    monkeypatch.setattr(paging, "row_losses", slow)
    panel = panel_of(recipe_of(chats(20)))
    says(panel, "measure", all_rows=True)
    while len(asked) < 2: time.sleep(0.01)
    job = says(panel, "cancel")["state"]["job"]
    gate.set()
    panel.wait()
    assert job["name"] == "losses of all rows" and len(asked) == 3 and panel.view.comm.traits["state"]["losses"]["known"] == 3 and panel.view.comm.traits["state"]["job"] is None


def test_a_runs_model_is_asked_where_its_vocabulary_is_this_one(recipe_of, panel_of, monkeypatch, causal_model):  # noqa: F811
    from transformers import AutoModelForCausalLM, AutoTokenizer

    recipe = recipe_of(chats(20))
    monkeypatch.setattr(paging, "open_run", lambda name, folder: name)
    panel = panel_of(recipe)
    panel._losses.choices += [["tuned", "run tuned"], ["other", "run other"]]
    kinds = {"tuned": "llama", "other": "phi"}
    monkeypatch.setattr("finetune_wb.training.saved.load_trained", lambda run: (AutoModelForCausalLM.from_pretrained(causal_model(kinds[run])), AutoTokenizer.from_pretrained(causal_model(kinds[run]))))
    says(panel, "ask_model", "tuned")
    assert panel.view.comm.traits["page"]["cards"][0]["sides"][0]["losses"] is None  # another model, other losses
    says(panel, "measure")
    panel.wait()
    assert panel.view.comm.traits["error"] == "" and panel.view.comm.traits["page"]["cards"][0]["sides"][0]["mean"] > 0
    says(panel, "ask_model", "other")
    says(panel, "measure")
    panel.wait()
    assert "has another vocabulary" in panel.view.comm.traits["error"]


# Other places, other hands


def test_examples_are_shown_as_they_are(recipe_of, panel_of):
    examples = load_examples(recipe_of(LONG, "train.max_length=40"))
    panel = panel_of(examples)
    state = panel.view.comm.traits["state"]
    assert state["options"] is None and state["code"] is None and state["losses"]["choices"] == [] and {f["kind"] for f in state["findings"]} >= {"cut_answer", "special_in_text"}
    assert places(panel.view.comm.traits)[0] == 14
    for call in (lambda: panel.set("train.loss_on=all"), lambda: panel.recipe, lambda: panel.reset()):
        with pytest.raises(RecipeError, match="does not know"): call()
    with pytest.raises(RunError, match="no model to ask"): panel.measure()


def test_what_can_not_be_shown_is_refused(recipe_of, panel_of, tmp_path):
    recipe = recipe_of(chats())
    with pytest.raises(ModelError): TokenPanel(override(recipe, f"model.id={tmp_path / 'nowhere'}"), live=False)
    with pytest.raises(RecipeError, match="is no recipe"): TokenPanel("recipe.yaml", live=False)
    with pytest.raises(DataError, match="from 1 to 50"): TokenPanel(recipe, rows_per_page=0, live=False)
    with pytest.raises(RecipeError, match="the task is classification"): TokenPanel(recipe, [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)], live=False)
    with pytest.raises(TypeError): TokenPanel(recipe, page=3)
    with pytest.raises(TypeError): panel_of(recipe).show(rows=3)


def test_hostile_text_is_text(causal_model, panel_of, monkeypatch):  # noqa: F811
    published = []
    monkeypatch.setattr("IPython.display.publish_display_data", lambda bundle, *rest, **more: published.append(bundle))
    rows = [chat(f"{HOSTILE} {i}", f"{HOSTILE} the cat {i}", id=HOSTILE) for i in range(20)]
    panel = panel_of(Recipe(model={"id": str(causal_model("qwen3"))}), rows)
    page = panel.view.comm.traits["page"]
    for card in page["cards"]:
        drawn = "".join(page["vocabulary"][n][1] for n in card["sides"][0]["tokens"])
        assert drawn.count(HOSTILE) == 2 and "\x1b" not in card["name"]  # texts travel as they are, and are set as text
    panel._ipython_display_()
    text, html = published[0]["text/plain"], published[1]["text/html"]
    assert "<img" not in html and "&lt;" in html and not {"\x1b", "\u202e", "\u200b"} & {*text, *html, *published[1]["text/plain"], *repr(panel)}


def test_without_a_front_end_text_and_rows_stand_in(recipe_of, monkeypatch, capsys):
    published = []
    monkeypatch.setattr("IPython.display.publish_display_data", lambda bundle, metadata, transient, update: published.append((bundle, transient["display_id"].split("-")[1], update)))
    recipe = recipe_of(LONG, "train.max_length=40")
    monkeypatch.setattr(module, "_where", lambda live: "picture")
    panel = TokenPanel(recipe, live=False)
    panel._ipython_display_()
    (text, _, _), (html, part, update) = published
    assert "cut_answer" in text["text/plain"] and part == "rows" and not update and "ftwb-tokens" in html["text/html"] and panel.view is None
    panel.set("train.max_length=256").wait()
    assert [(part, update) for _, part, update in published[2:]] == [("text", True), ("rows", True)] and "cut_answer" not in published[2][0]["text/plain"]
    monkeypatch.setattr(module, "_where", lambda live: "text")
    TokenPanel(recipe, live=False)._ipython_display_()
    assert capsys.readouterr().out.startswith("train: 16 rows · ")


def test_a_cell_that_runs_again_ends_its_panels(recipe_of, panel_of, monkeypatch):
    recipe = recipe_of(chats())
    monkeypatch.setattr(module, "_cell", lambda: ("cell 1", "first run"))
    one, two = panel_of(recipe), panel_of(recipe)
    monkeypatch.setattr(module, "_cell", lambda: ("cell 2", "its run"))
    other = panel_of(recipe)
    monkeypatch.setattr(module, "_cell", lambda: ("cell 1", "second run"))
    panel_of(recipe)
    assert one.view is None and two.view is None and other.view is not None


def test_a_failing_thread_is_heard(recipe_of, panel_of, monkeypatch):
    panel = panel_of(recipe_of(chats()))
    monkeypatch.setattr(module, "everything", lambda ready, step: 1 / 0)
    says(panel, "set", "train.loss_on=all")
    panel.wait()
    assert "ZeroDivisionError" in panel.view.comm.traits["error"] and panel.view.comm.traits["state"]["job"] is None


def test_a_job_is_given_up_at_its_next_piece():
    pieces = []

    def do(job):
        for i in range(10**6):
            pieces.append(i)
            job.step(i, 10**6)
            time.sleep(0.001)

    job = Job("work", do, lambda job: None, lambda error: pieces.append(error)).start()
    while not pieces: time.sleep(0.001)
    job.give_up()
    job.wait()
    assert job.over and len(pieces) < 10**6 and not isinstance(pieces[-1], Exception)


# Names


def test_names_are_the_same_on_both_sides():
    script = (STATIC / "tokenpanel.js").read_text(encoding="utf-8")
    watched = re.search(r"live\(view, \[(.*?)\]", script)[1]
    assert {*re.findall(r'"(\w+)"', watched)} == {name for name in TokenPanelView().keys if not name.startswith("_") and name not in ("layout", "tabbable", "tooltip")}
    asked = {*re.findall(r'panel\.ask\("(\w+)"', script), "set", "show"}
    assert asked == {*TokenPanel.asked_for}
    for known, name in ((ORDERS, "ORDERS"), (MODES, "MODES")):
        listed = re.search(rf"const {name} = \{{(.*?)\}};", script)[1]
        assert [*re.findall(r"(\w+): [\"\[]", listed)] == [*known]
    assert {*re.findall(r'(\w): "(\w+)"', re.search(r"STATES = \{(.*?)\}", script)[1])} == {(letter, name) for name, letter in STATES.items()}


def test_the_page_has_what_the_script_reads(recipe_of, panel_of):
    script = (STATIC / "tokenpanel.js").read_text(encoding="utf-8")
    panel = panel_of(recipe_of(LONG, "train.max_length=40"))
    traits = panel.view.comm.traits
    for name in ("state", "page"):
        read = {*re.findall(rf"(?<![\w.]){name}\.(\w+)", script)}
        assert read <= {*traits[name]}, read - {*traits[name]}
    read = {*re.findall(r"\bfinding\.(\w+)", script)} - {"length"}
    assert read <= {*traits["state"]["findings"][0]} and {*re.findall(r"\bside\.(\w+)", script)} <= {*traits["page"]["cards"][0]["sides"][0]}


def test_text_is_only_ever_text():
    from finetune_wb.panels import view

    script, style = view.script("tokenpanel.js"), (STATIC / "tokenpanel.css").read_text(encoding="utf-8")  # as it is sent, with what the panels share
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "createContextualFragment", "document.write", "eval(", "new Function"): assert word not in script, word
    assert not re.search(r"^import\b|\bimport\(", script, re.M)
    for text in (script, style): assert not re.search(r"https?://|@import|url\(", text)
