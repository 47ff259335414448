"""The playground's kernel half without a browser: what is told and when, stop by message and by file, threads, and where no widget lives."""

import json
import threading
import time

import comm
import pytest
from causal_models import causal_model  # noqa: F401
from talks import SYSTEM, train_talk
from test_panels_monitor import until
from test_talk import planted

from finetune_wb.errors import RunError
from finetune_wb.evaluation.talk import Speaker, Talk
from finetune_wb.panels import playground as module
from finetune_wb.panels.playground import Playground
from finetune_wb.run import open_run

pytest.importorskip("anywidget")


class Wire(comm.DummyComm):
    """A comm whose other end writes down what came, as JSON would carry it, and holds what a page would."""

    panels: list["Wire"] = []

    def __init__(self, *args, **kwargs):
        self.sent, self.traits, self.text, self.closed_now, self._reply_subshell_for = [], {}, {}, False, None
        super().__init__(*args, **kwargs)
        if "turns" in self.traits: Wire.panels.append(self)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        data = json.loads(json.dumps(data or {}, allow_nan=False, ensure_ascii=False).encode())
        if data.get("method") == "custom": self.sent.append({**data["content"], "thread": threading.current_thread().name})
        elif msg_type != "comm_close": self.traits |= data.get("state", {})
        self.closed_now |= msg_type == "comm_close"

    def browser_says(self, **content): self.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})
    def of(self, kind: str) -> list[dict]: return [message for message in self.sent if message["type"] == kind]
    def answer(self, side: str, turn: int = -1) -> dict: return self.traits["turns"][turn]["answers"][side]
    def rests(self, asked: int): return until(lambda: self.traits["status"] == {"phase": "rest", "side": "", "asked": asked}, 60)


@pytest.fixture(autouse=True)
def wires(monkeypatch):
    """Every widget's comm is a `Wire`; no panel outlives its test."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    Wire.panels, made, begin = [], [], Playground.__init__

    def kept(panel, *args, **options):
        begin(panel, *args, **options)
        made.append(panel)

    monkeypatch.setattr(Playground, "__init__", kept)
    yield Wire.panels
    for panel in made: panel.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("playground") or t.name == "answer"]


@pytest.fixture(scope="module")
def sides(causal_model):  # noqa: F811
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finetune_wb.models.load import quiet

    with quiet(): return {name: Speaker(AutoModelForCausalLM.from_pretrained(causal_model("qwen3")).eval(), AutoTokenizer.from_pretrained(causal_model("qwen3"))) for name in ("base", "tuned")}


@pytest.fixture
def panel(sides): return Playground(Talk(sides), live=True)


@pytest.fixture
def wire(panel, wires): return wires[0]


@pytest.fixture(scope="module")
def run(causal_model, tmp_path_factory): return train_talk(causal_model("llama"), tmp_path_factory.mktemp("runs"), "talked")  # noqa: F811


def ids(sides, text: str) -> list[int]: return sides["base"].tokenizer(text, add_special_tokens=False)["input_ids"]
def end(sides) -> int: return sides["base"].tokenizer.eos_token_id


def ask(wire, id: int, text: str, **settings): wire.browser_says(type="ask", id=id, text=text, settings={**wire.traits["settings"], **settings})


def test_a_question_is_answered_by_both_one_after_the_other(wire, sides):
    with planted(sides["base"].model, [*ids(sides, "the file"), end(sides)]), planted(sides["tuned"].model, [*ids(sides, "good 🙂 größer"), end(sides)]):
        ask(wire, 5, "which is it")
        wire.rests(5)
    assert (wire.answer("base")["text"], wire.answer("tuned")["text"]) == ("the file", "good 🙂 größer")
    assert wire.answer("tuned")["why"] == "ended by itself (<|im_end|>)" and wire.answer("tuned")["rate"] > 0 and wire.traits["error"] == ""
    assert wire.traits["facts"]["sides"] == [{"name": "base", "about": ""}, {"name": "tuned", "about": ""}]


def test_the_newest_text_travels_as_pieces_in_javascripts_places(wire, sides):
    gate = threading.Event()
    words = ids(sides, "🙂🙂 größer and the file reads")
    half = len(words) // 2
    with planted(sides["base"].model, [*words, end(sides)], lambda count: count == half and gate.wait(30)), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 5, "which")
        until(lambda: wire.of("text"))
        time.sleep(0.2)
        gate.set()
        wire.rests(5)
    held = "".encode("utf-16-le")
    for piece in wire.of("text"):
        assert (piece["turn"], piece["side"]) == (0, "base") and piece["at"] * 2 == len(held), "nothing is missing and nothing comes twice"
        held += piece["text"].encode("utf-16-le")
    assert wire.answer("base")["text"].encode("utf-16-le").startswith(held) and len(held) > 8
    assert {piece["thread"] for piece in wire.of("text")} == {"playground's teller"}


def test_while_it_writes_the_kernel_answers_and_beats(wire, sides):
    """The main thread is free: a page that opens now gets the text so far, and a slow prompt is no silence."""
    gate = threading.Event()
    with planted(sides["base"].model, [*ids(sides, "a a"), end(sides)], lambda count: count == 2 and gate.wait(60)), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 5, "which")
        until(lambda: wire.of("text"))
        wire.traits.pop("turns")
        wire.browser_says(type="sync")
        assert wire.traits["status"]["phase"] == "write" and wire.answer("base")["ended"] is None and wire.answer("base")["text"].startswith("a")
        beats = len(wire.of("beat"))
        until(lambda: len(wire.of("beat")) > beats)
        gate.set()
        wire.rests(5)


@pytest.mark.parametrize("by", ["message", "file"])
def test_stop_ends_both_answers_at_once(wire, panel, sides, tmp_path, by):
    panel._worker.stops.folder = tmp_path
    (word,) = ids(sides, "a")
    with planted(sides["base"].model, [word], lambda count: time.sleep(0.02)), planted(sides["tuned"].model, [word], lambda count: time.sleep(0.02)) as second:
        ask(wire, 5, "which", max_new_tokens=200)
        until(lambda: wire.of("text"))
        if by == "message": wire.browser_says(type="stop", id=5)
        else: (tmp_path / "stop.json").write_text(json.dumps({"stop": 5}))
        wire.rests(5)
    assert [wire.answer(side)["ended"] for side in ("base", "tuned")] == ["stopped", "stopped"] and second.count == 0
    assert 0 < wire.answer("base")["tokens"] < 200


def test_a_stop_means_only_what_was_asked_before_it(wire, panel, sides, tmp_path):
    panel._worker.stops.folder = tmp_path
    (tmp_path / "stop.json").write_text(json.dumps({"stop": 5}))
    with planted(sides["base"].model, [*ids(sides, "good"), end(sides)]), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 5, "called off before it was taken")
        ask(wire, 6, "this one is meant")
        wire.rests(6)
    assert [turn["asked"] for turn in wire.traits["turns"]] == ["this one is meant"] and wire.answer("base")["text"] == "good"
    (tmp_path / "stop.json").write_text('{"stop": ')  # torn, and then nonsense
    assert panel._worker.stops.read() == 5
    (tmp_path / "stop.json").write_text('["no"]')
    assert panel._worker.stops.read() == 5


def test_what_is_refused_is_said_and_given_back(wire, sides):
    ask(wire, 5, "reads the file " * 300)
    until(lambda: wire.of("refused"))
    assert wire.of("refused")[0]["id"] == 5 and "no room for an answer" in wire.traits["error"] and wire.traits["turns"] == []
    ask(wire, 6, "hi", temperature=-3)
    until(lambda: len(wire.of("refused")) == 2)
    assert 'field "temperature": has to be a number from 0 to 10' in wire.traits["error"]
    with planted(sides["base"].model, [end(sides)]), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 7, "hi")
        wire.rests(7)
    assert wire.traits["error"] == "" and wire.answer("base")["text"] == ""


def test_what_fails_while_writing_stays_in_its_turn_and_the_next_question_works(wire, sides):
    def break_down(count):
        if count == 2: raise MemoryError("no room on the device")

    with planted(sides["base"].model, ids(sides, "a") * 9, break_down):
        ask(wire, 5, "which")
        until(lambda: wire.traits["error"])
        wire.rests(5)
    assert wire.traits["error"] == "MemoryError: no room on the device" and wire.answer("base")["ended"] == "failed" and wire.answer("base")["text"] == "aa" and not wire.of("refused")
    with planted(sides["base"].model, [end(sides)]), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 6, "and now")
        wire.rests(6)
    assert wire.answer("tuned")["ended"] == "stop"


def test_exact_tokens_of_an_answer_and_of_a_question_not_asked_yet(wire, sides):
    with planted(sides["base"].model, [*ids(sides, "good"), end(sides)]), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 5, "which", system="be short")
        wire.rests(5)
    wire.browser_says(type="exact", turn=0, side="base")
    wire.browser_says(type="exact", turn=None, text="next", system="be long")
    until(lambda: len(wire.of("exact")) == 2)
    answer, draft = wire.of("exact")
    (block,) = answer["blocks"]
    read = "".join(box[0] for box in block["boxes"])
    assert read.startswith("<|im_start|>system\nbe short<|im_end|>\n") and read.endswith("good<|im_end|>") and block["boxes"][0][3] and not block["boxes"][1][3]
    assert block["count"] - block["prompt"] == len(ids(sides, "good")) + 1
    assert [b["side"] for b in draft["blocks"]] == ["base", "tuned"] and "be long" in "".join(box[0] for box in draft["blocks"][0]["boxes"])
    assert "good" in "".join(box[0] for box in draft["blocks"][0]["boxes"]) and "good" not in "".join(box[0] for box in draft["blocks"][1]["boxes"])
    wire.browser_says(type="exact", turn=9, side="base")
    until(lambda: wire.of("refused"))
    wire.browser_says(type="reset")
    until(lambda: wire.traits["turns"] == [] and wire.traits["error"] == "")


def test_closing_stops_what_is_written_and_leaves_no_thread(wire, panel, sides):
    (word,) = ids(sides, "a")
    with planted(sides["base"].model, [word], lambda count: time.sleep(0.05)):
        ask(wire, 5, "which", max_new_tokens=200)
        until(lambda: wire.of("text"))
        panel.close()
        assert panel.talk.turns[0].answers["base"].ended == "stopped" and wire.closed_now
        assert not [t.name for t in threading.enumerate() if t.name.startswith("playground") or t.name == "answer"]
        panel.close()  # twice is once


def test_hostile_words_travel_as_json(wire, sides):
    hostile = '<img src=x onerror="x">\x1b[31m\u202e'
    with planted(sides["base"].model, [*ids(sides, hostile), end(sides)]), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 5, hostile)
        wire.rests(5)
    assert wire.answer("base")["text"] == hostile and wire.traits["turns"][0]["asked"] == hostile


def test_nothing_of_the_threads_lands_in_a_cell(wire, sides, capfd):
    with planted(sides["base"].model, [end(sides)]), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 5, "which")
        wire.rests(5)
    said = capfd.readouterr()
    assert said.out == said.err == ""


# ---- of a run ----


def test_a_run_brings_its_names_examples_and_the_rows_answer(run, wires):
    panel = Playground(run, live=True, max_new_tokens=3)
    (wire,) = wires
    examples = until(lambda: wire.traits.get("examples"), 60)
    assert len(examples) == 8 and all(one["system"] == SYSTEM for one in examples) and not panel.talk.loaded, "nothing is loaded before the first question"
    assert wire.traits["facts"]["sides"][1] == {"name": "tuned", "about": "lora"} and wire.traits["facts"]["title"] == "talked" and wire.traits["facts"]["task"] == "chat"
    ask(wire, 5, examples[0]["text"], system=SYSTEM, only="tuned")
    wire.rests(5)
    assert [*wire.traits["turns"][0]["answers"]] == ["tuned"] and wire.traits["turns"][0]["reference"] == examples[0]["answer"]
    again = Playground(run, live=True)
    assert wire.closed_now and module._open == {run.folder.resolve(): again} and not panel.talk.loaded, "the newer one takes its place, and the memory is free"
    assert not (run.folder / "playground").exists()


def test_a_model_that_does_not_load_is_said(run, wires):
    Playground(run, live=True)
    weights = next(run.model_folder.glob("*.safetensors"))
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-5])
        ask(wires[0], 5, "say it")
        until(lambda: wires[0].of("refused"), 60)
        assert "can't be trusted" in wires[0].traits["error"]
    finally: weights.write_bytes(whole)


# ---- where no widget lives ----


def test_without_a_front_end_it_is_text(sides, run, capsys, wires):
    talk = Talk(sides)
    panel = Playground(talk)  # pytest has no kernel
    panel._ipython_display_()
    assert panel.widget is None and wires == [] and capsys.readouterr().out == "Playground of two models: base and tuned. The panel lives in JupyterLab; elsewhere: ftwb chat RUN\n"
    with planted(sides["base"].model, [*ids(sides, "good"), end(sides)]), planted(sides["tuned"].model, [end(sides)]):
        for answer in talk.ask("which").values(): answer.read()
    assert repr(panel) == "Playground of two models: base and tuned.\n\nuser: which\n\nbase: good\n\ntuned: "
    assert repr(Playground(run)) == f"Playground of talked: base ({open_run(run).recipe.model.id.rsplit('/', 1)[-1]}) and tuned (lora). The panel lives in JupyterLab; elsewhere: ftwb chat talked"
    with pytest.raises(RunError, match="there is no such run"): Playground("nowhere", live=True)
    assert wires == []


def test_the_text_that_stays_is_renewed_after_each_turn(wire, panel, sides, monkeypatch):
    import IPython.display

    put = []
    monkeypatch.setattr(IPython.display, "publish_display_data", lambda bundle, metadata, transient, update: put.append((transient["display_id"].rsplit("-", 1)[1], update, bundle)))
    panel._ipython_display_()
    assert [(part, update) for part, update, _ in put] == [("text", False), ("widget", False)] and "application/vnd.jupyter.widget-view+json" in put[1][2]
    with planted(sides["base"].model, [*ids(sides, "good"), end(sides)]), planted(sides["tuned"].model, [end(sides)]):
        ask(wire, 5, "which")
        until(lambda: len(put) == 3)
    assert put[2][:2] == ("text", True) and "base: good" in put[2][2]["text/plain"]
    panel.close()
    assert put[-1] == ("widget", True, {"text/plain": "(the panel was closed)"})
