"""`ftwb chat`: in a terminal, from a pipe, in one shot; what a person's Ctrl-C does; and whose models answer."""

import io
import os
import signal
import subprocess
import sys

import pytest
import torch
from causal_models import causal_model  # noqa: F401
from talks import SYSTEM, rows, train_talk
from test_talk import planted

from finetune_wb.chat import _safe, chat
from finetune_wb.cli import main
from finetune_wb.errors import DataError, RunError
from finetune_wb.evaluation.stream import Sampling
from finetune_wb.evaluation.talk import Speaker, Talk, example_prompts, load_speakers
from finetune_wb.run import open_run, write_json


@pytest.fixture(scope="module")
def runs_dir(causal_model, tmp_path_factory):  # noqa: F811
    """A folder with the runs `lora` and `full`."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("lora", "full"): train_talk(causal_model("llama"), folder, method, method)
    return folder


@pytest.fixture
def talk(causal_model):  # noqa: F811
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finetune_wb.models.load import quiet

    with quiet(): sides = {name: Speaker(AutoModelForCausalLM.from_pretrained(causal_model("qwen3")).eval(), AutoTokenizer.from_pretrained(causal_model("qwen3"))) for name in ("base", "tuned")}
    return Talk(sides)


def ids(talk, text: str) -> list[int]: return talk.speakers["base"].tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.fixture
def ftwb(monkeypatch, capsys):
    """`ftwb("chat", "lora", given="…")` → exit code, stdout and stderr of the command, in this process."""

    def command(*words: str, given: str = "", runs_dir=None):
        monkeypatch.setattr("sys.argv", ["ftwb", *words, *(["--runs-dir", str(runs_dir)] if runs_dir else [])])
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        with pytest.raises(SystemExit) as ended: main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return command


# ---- whose models answer ----


@pytest.mark.parametrize("method", ["lora", "full"])
def test_base_is_the_model_before_and_tuned_the_one_after(runs_dir, causal_model, method):  # noqa: F811
    from transformers import AutoModelForCausalLM

    from finetune_wb.models.load import quiet
    from finetune_wb.training.saved import load_trained

    run = open_run(method, runs_dir)
    speakers = load_speakers(run)
    with quiet(): before = AutoModelForCausalLM.from_pretrained(causal_model("llama")).eval()
    after, _ = load_trained(run)
    row = torch.arange(5, 60)[None]
    with torch.no_grad():
        want = {"base": before(row).logits, "tuned": after(row).logits}
        for name, speaker in speakers.items():
            with speaker.around(): found = speaker.model(row).logits
            assert torch.allclose(found.cpu(), want[name], atol=1e-5), name
    assert (want["base"] - want["tuned"]).abs().max() > 0.01
    assert [*load_speakers(run, "tuned")] == ["tuned"] and [*load_speakers(run, "base")] == ["base"]


def test_examples_are_valid_rows_with_their_system_prompt_and_answer(runs_dir):
    from finetune_wb.data.kept import kept_rows

    data, examples = kept_rows(runs_dir / "lora"), example_prompts(open_run("lora", runs_dir), 5)
    asked = lambda frame: {turns[1]["content"]: turns[2]["content"] for turns in frame["messages"]}
    assert len(examples) == 5 and {e.text for e in examples} <= set(asked(data.valid)) and not {e.text for e in examples} & set(asked(data.test))
    assert all(e.system == SYSTEM and asked(data.valid)[e.text] == e.answer for e in examples)


def test_rows_that_changed_since_give_no_examples(causal_model, tmp_path):  # noqa: F811
    import json

    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    from finetune_wb.recipe import Recipe
    from finetune_wb.training.train import train

    run = train(Recipe(task="chat", model={"id": str(causal_model("llama"))}, data={"source": str(source)}, method={"name": "lora"}, train={"max_steps": 1}), runs_dir=tmp_path / "runs", run_id="file")
    assert len(example_prompts(run, 4)) == 4
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()[5:]))
    with pytest.raises(DataError, match="not those of training"): example_prompts(run, 4)


# ---- who can't be talked to ----


def test_runs_without_answers_are_refused_in_words(ftwb, tmp_path):
    from finetune_wb.recipe import Recipe
    from finetune_wb.run import create_run

    labels = create_run(Recipe(), tmp_path, "labels")
    write_json(labels.folder / "record.json", {"task": "classification"})
    with pytest.raises(RunError, match="learned to classify, so its model gives labels"): Talk(labels)
    going = create_run(Recipe(task="chat"), tmp_path, "going")
    write_json(going.folder / "record.json", {"task": "chat"})
    with pytest.raises(RunError, match=r"has no trained model yet \(it is queued\). Wait for its end"): Talk(going)
    code, _, err = ftwb("chat", "going", "--prompt", "hi", runs_dir=tmp_path)
    assert code == 2 and err.startswith("ERROR") and "has no trained model yet" in err


# ---- the command ----


def test_one_question_in_one_shot_from_a_terminal(runs_dir):
    """The command itself, as a script calls it."""
    words = ["chat", "lora", "--prompt", "say cat and dog", "--max-new-tokens", "5", "--system", SYSTEM]
    environment = {**os.environ, "FTWB_RUNS": str(runs_dir), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", "from finetune_wb.cli import main; main()", *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    base, tuned = done.stdout.split("\ntuned:\n")
    assert base.startswith("base:\n") and done.stderr.count("tokens/s") == 2
    answers = Talk("lora", system=SYSTEM, runs_dir=runs_dir).ask("say cat and dog", Sampling(5))
    assert _safe(answers["tuned"].read()) == tuned.removesuffix("\n") and _safe(answers["base"].read()) == base.removeprefix("base:\n").removesuffix("\n")


def test_one_side_alone_prints_its_text_alone_and_the_same_seed_again(ftwb, runs_dir):
    words = ("chat", "lora", "--prompt", "say cat and dog", "--max-new-tokens", "6", "--only", "tuned", "--temperature", "1.5", "--seed")
    first, again, other = (ftwb(*words, seed, runs_dir=runs_dir)[1] for seed in ("3", "3", "4"))
    assert first == again != other and "tuned" not in first.splitlines()[0]


def test_questions_from_a_pipe(ftwb, runs_dir):
    code, out, err = ftwb("chat", "full", "--only", "tuned", "--max-new-tokens", "4", runs_dir=runs_dir, given=f"/system {SYSTEM}\nsay cat and dog\n\n//odd question\n/prompt\n/quit\nnever\n")
    assert code == 0, err
    assert f"system prompt: {SYSTEM}" in out and err.count("tokens/s") == 2 and "never" not in out
    exact = out.split("--- tuned read")[1]
    assert exact.index(SYSTEM) < exact.index("say cat and dog") < exact.index("/odd question<|eot_id|>") < exact.index("--- written") and "<|begin_of_text|>" in exact


@pytest.mark.parametrize("words, given, said", [
    (["--only", "tuned"], "/what\nsay it\n", "is no command"), (["--only", "tune", "--prompt", "hi"], "", 'Did you mean "tuned"?'),
    (["--temperature", "-1", "--prompt", "hi"], "", "has to be a number from 0 to 10"), (["--prompt", " "], "", "nothing to answer"),
])  # fmt: skip
def test_a_script_notices_what_went_wrong(ftwb, runs_dir, words, given, said):
    code, out, err = ftwb("chat", "full", *words, runs_dir=runs_dir, given=given)
    assert out == "" and said in err and code == 2


# ---- a person ----


def test_ctrl_c_ends_an_answer_and_the_next_begins(talk, capsys):
    (word,) = ids(talk, "a")
    base, tuned = talk.speakers["base"].model, talk.speakers["tuned"].model
    interrupt = lambda count: count == 3 and signal.raise_signal(signal.SIGINT)
    with planted(base, [word], interrupt), planted(tuned, [*ids(talk, "good"), talk.speakers["base"].tokenizer.eos_token_id]):
        chat(talk, lines=["which"])
    said = capsys.readouterr()
    turn = talk.turns[0]
    assert turn.answers["base"].ended == "stopped" and len(turn.answers["base"].ids) < 20 and turn.answers["tuned"].text == "good"
    assert said.out.endswith("\ntuned:\ngood\n") and "stopped" in said.err and "ended by itself (<|im_end|>)" in said.err


def test_a_person_is_told_what_went_wrong_and_goes_on(talk, capsys, monkeypatch):
    said = iter([KeyboardInterrupt, "/promt", "reads " * 500, "  ", "/reset", "/help", EOFError])

    def typed(_):
        line = next(said)
        if isinstance(line, str): return line
        raise line

    monkeypatch.setattr("builtins.input", typed)
    chat(talk)
    out, err = capsys.readouterr()
    assert "/quit or Ctrl-D ends" in out and "/system  the system prompt" in out and next(said, None) is None
    assert 'Did you mean "/prompt"?' in err and "no room for an answer" in err


def test_what_a_model_writes_can_not_drive_the_terminal(talk, capsys):
    hostile = "\x1b[2J\x1b]0;owned\x07\u202ereads\r"
    tokenizer = talk.speakers["base"].tokenizer
    with planted(talk.speakers["tuned"].model, [*ids(talk, hostile), tokenizer.eos_token_id]), planted(talk.speakers["base"].model, [tokenizer.eos_token_id]):
        chat(talk, lines=[f"say {hostile}", "/prompt"])
    out, err = capsys.readouterr()
    for text in (out, err): assert not set(text) & {"\x1b", "\x07", "\u202e", "\r"}
    assert out.count("\\x1b[2J\\x1b]0;owned\\x07\\u202ereads") == 4, "the answer, the question read by each, and what was written"
