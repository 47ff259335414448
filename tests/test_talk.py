"""Talking to a model: text from tokens, when an answer ends, who answers, and what is refused. Real architectures with random weights; where
the words matter, a hook plants which token comes next."""

import re
import threading
import time

import numpy as np
import pytest
import torch
from causal_models import KINDS, causal_model  # noqa: F401

from finetune_wb.errors import DataError, RunError
from finetune_wb.evaluation.stream import Sampling, Stream, _Pieces
from finetune_wb.evaluation.talk import Speaker, Talk, token_boxes
from finetune_wb.training.generate import generate, stop_ids

ASKED = [{"role": "user", "content": "reads the file"}]
PLANTED = "größer 🙂🙂 日本 the file\nreads é"


@pytest.fixture(scope="module")
def load(causal_model):  # noqa: F811
    """`load("qwen3")` → a new model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finetune_wb.models.load import quiet

    def loaded(kind: str):
        folder = causal_model(kind)
        with quiet(): return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    return loaded


@pytest.fixture(scope="module")
def qwen(load): return load("qwen3")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def prompt_for(tokenizer) -> str:
    if not tokenizer.chat_template: return "reads the file"
    return tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)


class planted:
    """`with planted(model, ids)`: the model finds these tokens the likeliest, one after the other; `then` is called before each."""

    def __init__(self, model, ids, then=lambda n: None):
        self.model, self.ids, self.then, self.count = model, list(ids), then, 0

    def __enter__(self):
        self.hook = self.model.register_forward_hook(self._after)
        return self

    def __exit__(self, *_): self.hook.remove()

    def _after(self, module, args, output):
        self.then(self.count)
        token = self.ids[min(self.count, len(self.ids) - 1)]
        self.count += 1
        output.logits[:] = -50.0
        output.logits[:, -1, token] = 50.0


def read(stream: Stream) -> str: return stream.read()


# ---- text from tokens ----


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_writes_what_generate_writes(load, kind):
    model, tokenizer = load(kind)
    prompt = prompt_for(tokenizer)
    stream = Stream(model, tokenizer, prompt, Sampling(max_new_tokens=20))
    read(stream)
    (written,) = generate(model, tokenizer, [prompt], 20)
    stop = stream.ids[-1:] if stream.ended == "stop" else []
    assert tuple(stream.ids) == (*written.ids, *stop) and stream.text == written.text
    assert (stream.ended == "stop") == written.stopped


@pytest.mark.parametrize("kind", KINDS)
def test_characters_come_whole_and_special_tokens_stay_out_of_the_text(load, kind):
    model, tokenizer = load(kind)
    ids = tokenizer(PLANTED, add_special_tokens=False)["input_ids"]
    stop = stop_ids(tokenizer, model)[0]
    middle = sorted({*tokenizer.all_special_ids} - {*stop_ids(tokenizer, model)})  # GPT-2 has none
    with planted(model, [*ids, *middle, *ids, stop]):
        stream = Stream(model, tokenizer, prompt_for(tokenizer), Sampling(max_new_tokens=200))
        pieces = [*stream]
    assert "".join(pieces) == stream.text and "�" not in stream.text
    assert all(pieces) and len(pieces) > 10
    assert {part.strip() for part in re.split(r"(?<=reads é)", stream.text)} == {PLANTED, ""}, "twice the same text, the special tokens between unseen"
    assert stream.ended == "stop" and stream.ids[-1] == stop and stream.why == f"ended by itself ({tokenizer.convert_ids_to_tokens(stop)})"


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "phi"])
def test_plain_text_goes_on_with_its_space(load, kind):
    """Pieces that carry their space lose it when they are decoded alone."""
    model, tokenizer = load(kind)
    before, both = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("the file", "the file reads"))
    assert both[: len(before)] == before
    with planted(model, [*both[len(before) :], stop_ids(tokenizer, model)[0]]): assert read(Stream(model, tokenizer, "the file")) == " reads"


def test_bytes_that_make_no_character_do_not_stop_the_text(qwen):
    model, tokenizer = qwen
    lead, word = tokenizer("🙂", add_special_tokens=False)["input_ids"][0], tokenizer("reads", add_special_tokens=False)["input_ids"]
    with planted(model, [lead, *word, lead]):
        stream = Stream(model, tokenizer, prompt_for(tokenizer), Sampling(max_new_tokens=len(word) + 2))
        assert read(stream) == stream.text == "�reads�"


def test_pieces_of_any_tokens_make_the_decoded_text(qwen):
    _, tokenizer = qwen
    source = np.random.default_rng(0)
    for _ in range(200):
        ids = source.integers(0, len(tokenizer), 30).tolist()
        pieces = _Pieces(tokenizer, [])
        said = "".join(map(pieces.add, ids))
        whole = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert whole.startswith(said) and set(whole[len(said) :]) <= {*whole[-6:]}


# ---- the end ----


@pytest.mark.parametrize("stop", range(2))
def test_every_known_stop_ends_an_answer(qwen, stop):
    model, tokenizer = qwen
    word, end = tokenizer("reads", add_special_tokens=False)["input_ids"], stop_ids(tokenizer, model)[stop]
    with planted(model, [*word, end, *word]):
        stream = Stream(model, tokenizer, prompt_for(tokenizer))
        assert read(stream) == "reads" and stream.ended == "stop" and stream.ids == [*word, end]


def test_stopped_from_another_thread_it_ends_after_the_token_it_is_at(qwen):
    model, tokenizer = qwen
    (word,) = tokenizer("a", add_special_tokens=False)["input_ids"]
    reached, go_on = threading.Event(), threading.Event()

    def hold(count):
        if count == 5:
            reached.set()
            go_on.wait(30)

    with planted(model, [word], hold):
        stream = Stream(model, tokenizer, prompt_for(tokenizer), Sampling(max_new_tokens=100))
        reader = threading.Thread(target=read, args=(stream,))
        reader.start()
        assert reached.wait(30)
        stream.stop()
        go_on.set()
        reader.join(30)
    assert (stream.ended, len(stream.ids), stream.why) == ("stopped", 6, "stopped") and stream.text == "a" * 6


def test_stopped_before_it_began_nothing_is_computed(qwen):
    model, tokenizer = qwen
    with planted(model, [5]) as watched:
        stream = Stream(model, tokenizer, prompt_for(tokenizer))
        stream.stop()
        assert read(stream) == "" and stream.ended == "stopped" and watched.count == 0 and stream.tokens_per_s is None


def test_leaving_the_loop_ends_the_thread(qwen):
    model, tokenizer = qwen
    (word,) = tokenizer("a", add_special_tokens=False)["input_ids"]
    with planted(model, [word], lambda count: time.sleep(0.01)):
        stream = Stream(model, tokenizer, prompt_for(tokenizer), Sampling(max_new_tokens=150))
        for _ in stream: break
    assert stream.ended == "stopped" and len(stream.ids) < 150
    assert not [thread for thread in threading.enumerate() if thread.name == "answer"]
    with pytest.raises(RunError, match="written already"): read(stream)


def test_the_limit_and_the_end_of_the_context_have_their_own_names(qwen):
    model, tokenizer = qwen
    prompt, (word,) = prompt_for(tokenizer), tokenizer("a", add_special_tokens=False)["input_ids"]
    with planted(model, [word]):
        short, long = Stream(model, tokenizer, prompt, Sampling(max_new_tokens=3)), Stream(model, tokenizer, prompt, Sampling(max_new_tokens=5000))
        assert read(short) == "aaa" and short.why == "cut off at 3 new tokens"
        read(long)
    assert len(long.ids) + len(long.prompt_ids) == 256 and long.why == "ran out of room: the model reads 256 tokens at most"


def test_what_fails_while_writing_is_raised_where_it_is_read(qwen, capfd):
    model, tokenizer = qwen

    def break_down(count):
        if count == 2: raise MemoryError("no room on the device")

    (word,) = tokenizer("a", add_special_tokens=False)["input_ids"]
    with planted(model, [word], break_down):
        stream = Stream(model, tokenizer, prompt_for(tokenizer))
        with pytest.raises(MemoryError, match="no room on the device"): read(stream)
    assert stream.ended == "failed" and stream.text == "aa" and "Traceback" not in capfd.readouterr().err


def test_nothing_is_printed_and_nothing_left_behind(qwen, capfd):
    """The thread's words would land in whatever cell runs."""
    model, tokenizer = qwen
    own, state = model.generation_config, torch.random.get_rng_state()
    read(Stream(model, tokenizer, prompt_for(tokenizer), Sampling(max_new_tokens=5, temperature=0.7, top_p=0.9)))
    said = capfd.readouterr()
    assert said.out == said.err == "" and model.generation_config is own and torch.equal(state, torch.random.get_rng_state())


# ---- how tokens are chosen ----


def test_a_folders_own_settings_do_not_make_greedy_another_thing(load):
    model, tokenizer = load("llama")
    prompt = prompt_for(tokenizer)
    plain = Stream(model, tokenizer, prompt, Sampling(max_new_tokens=20))
    read(plain)
    model.generation_config.update(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=5.0)
    again = Stream(model, tokenizer, prompt, Sampling(max_new_tokens=20))
    read(again)
    assert again.ids == plain.ids


def test_draws_follow_the_models_probabilities_and_the_nucleus(qwen):
    model, tokenizer = qwen
    prompt = prompt_for(tokenizer)
    with torch.no_grad(): logits = model(torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])).logits[0, -1]
    sharp = 0.02  # random weights are nearly indifferent: a low temperature makes some tokens likely
    chances = (logits / sharp).softmax(-1)
    first = lambda **how: np.bincount([_first(model, tokenizer, prompt, seed, **how) for seed in range(200)], minlength=len(logits)) / 200
    drawn = first(temperature=sharp)
    likely = chances.topk(5)
    assert np.abs(drawn[likely.indices] - likely.values.numpy()).max() < 0.1 and (drawn > 0).sum() > 3
    top = likely.values.sum().item() * 0.6
    within = {int(i) for i, before in zip(chances.sort(descending=True).indices, chances.sort(descending=True).values.cumsum(0) - chances.sort(descending=True).values) if before < top}
    assert set(np.flatnonzero(first(temperature=sharp, top_p=top))) <= within < set(np.flatnonzero(drawn))


def _first(model, tokenizer, prompt: str, seed: int, **how) -> int:
    stream = Stream(model, tokenizer, prompt, Sampling(max_new_tokens=1, seed=seed, **how))
    read(stream)
    return stream.ids[0]


@pytest.mark.parametrize("wrong, named", [
    ({"max_new_tokens": 0}, "max_new_tokens"), ({"max_new_tokens": 2.5}, "max_new_tokens"), ({"max_new_tokens": True}, "max_new_tokens"), ({"temperature": float("nan")}, "temperature"),
    ({"temperature": "hot"}, "temperature"), ({"top_p": 0}, "top_p"), ({"top_p": 1.1}, "top_p"), ({"seed": -1}, "seed"), ({"seed": 2**63}, "seed"),
])  # fmt: skip
def test_settings_that_can_not_be(wrong, named):
    with pytest.raises(RunError) as caught: Sampling(**wrong)
    assert [problem.field for problem in caught.value.problems] == [named]


# ---- the conversation ----


def test_each_goes_on_from_its_own_answers(qwen, load):
    model, tokenizer = qwen
    other, _ = load("qwen3")
    talk = Talk({"base": Speaker(model, tokenizer), "tuned": Speaker(other, tokenizer)}, system="be short")
    stop = stop_ids(tokenizer, model)[0]
    for speaker, word in ((model, "good"), (other, "bad")):
        with planted(speaker, [*tokenizer(word, add_special_tokens=False)["input_ids"], stop]):
            if not talk.turns: talk.ask("which is it")
            read(talk.turns[0].answers["base" if speaker is model else "tuned"])
    assert [m["content"] for m in talk.messages("base")] == ["be short", "which is it", "good"] and talk.messages("tuned")[-1]["content"] == "bad"
    assert "bad<|im_end|>" in talk.prompt("tuned", "sure") and "good" not in talk.prompt("tuned", "sure")
    assert str(talk) == "system: be short\n\nuser: which is it\n\nbase: good\n\ntuned: bad"
    talk.ask("only one", only="tuned")
    assert [m["content"] for m in talk.messages("base")][-1] == "good", "who was not asked has not heard it"


def test_a_prompt_is_what_training_saw(qwen):
    """The rendered prompt is the beginning of the row as it was encoded for training."""
    from finetune_wb.training.tokens import encode_messages

    model, tokenizer = qwen
    turns = [{"role": "system", "content": "be short"}, {"role": "user", "content": "which is it"}, {"role": "assistant", "content": "good"}]
    row = encode_messages(tokenizer, [turns], 256).rows[0]
    prompt = Talk({"tuned": Speaker(model, tokenizer)}, system="be short").ask("which is it")["tuned"].prompt_ids
    assert row.ids[: len(prompt)].tolist() == prompt and row.trained[len(prompt) :][0]


def test_plain_text_begins_as_training_began_it(load):
    from finetune_wb.training.tokens import encode_text

    model, tokenizer = load("llama")
    talk = Talk({"tuned": Speaker(model, tokenizer)}, plain=True)
    asked = talk.ask("reads the file")["tuned"].prompt_ids
    assert encode_text(tokenizer, ["reads the file"], 99).rows[0].ids[: len(asked)].tolist() == asked and asked[0] == tokenizer.bos_token_id


def test_refusals_leave_the_conversation_as_it_was(load):
    model, tokenizer = load("gpt_neox")
    talk = Talk({"tuned": Speaker(model, tokenizer)})
    with pytest.raises(DataError, match=r"the prompt has [\d,]+ tokens and the model reads 256, so there is no room for an answer"): talk.ask("reads the file " * 200)
    with pytest.raises(DataError, match="nothing to answer"): talk.ask("\n ")
    assert talk.turns == []


def test_a_template_that_drops_the_system_prompt_is_found_out(load):
    model, tokenizer = load("qwen3")
    tokenizer.chat_template = "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(DataError, match="the chat template shows no system prompt"): Talk({"tuned": Speaker(model, tokenizer)}, system="be short").ask("hello")
    tokenizer.chat_template = "{{ raise_exception('no \x1b[31msystem role') }}"
    with pytest.raises(DataError, match=r"refuses it: no \\x1b\[31msystem role"): Talk({"tuned": Speaker(model, tokenizer)}).ask("hello")


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_name_every_token(load, kind):
    _, tokenizer = load(kind)
    ids = tokenizer(prompt_for(tokenizer) + PLANTED, add_special_tokens=False)["input_ids"]
    boxes = token_boxes(tokenizer, ids)
    assert [box[2] for box in boxes] == ids and all(isinstance(box[0], str) and isinstance(box[3], bool) for box in boxes)
    assert PLANTED in "".join(box[0] for box in boxes if not box[3])
    assert all(box[3] == (box[2] in tokenizer.added_tokens_decoder) for box in boxes)


# ---- base and tuned of one set of weights ----


def _adapted(model, method: str):
    import peft

    torch.manual_seed(0)
    config = {"lora": lambda: peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
              "prompt_tuning": lambda: peft.PromptTuningConfig(num_virtual_tokens=6, task_type="CAUSAL_LM"),
              "prefix_tuning": lambda: peft.PrefixTuningConfig(num_virtual_tokens=6, task_type="CAUSAL_LM")}[method]()
    made = peft.get_peft_model(model, config).eval()
    for name, weight in made.named_parameters():
        if "prompt_encoder" in name: torch.nn.init.normal_(weight, std=3.0)
    return made


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "prefix_tuning"])
def test_with_the_adapter_off_the_base_answers_as_it_did(load, method):
    model, tokenizer = load("llama")
    for weight in model.parameters(): weight.data.mul_(3)  # so that what stands before a token matters
    how = Sampling(max_new_tokens=15)
    alone = Stream(model, tokenizer, prompt_for(tokenizer), how)
    read(alone)
    tuned = _adapted(model, method)
    talk = Talk({"base": Speaker(tuned.get_base_model(), tokenizer, around=tuned.disable_adapter), "tuned": Speaker(tuned, tokenizer)})
    for _ in range(2):  # and the other way round: each leaves the weights as it found them
        answers = talk.ask("reads the file", how)
        for answer in answers.values(): read(answer)
        assert answers["base"].ids == alone.ids != answers["tuned"].ids
        (written,) = generate(tuned, tokenizer, [answers["tuned"].prompt], 15)
        assert answers["tuned"].text == written.text
        assert answers["base"].positions - answers["tuned"].positions == (0 if method == "lora" else 6)
        talk.reset()
