"""Generation: a batch writes what each prompt gets alone, for every architecture and method, and it stops at every known stop."""

import pytest
import torch
from causal_models import KINDS, causal_model, causal_tokens  # noqa: F401

from finetune_wb.errors import DataError
from finetune_wb.training.generate import answer_of, generate, prompt_of, stop_ids

WORDS = "reads the file and returns rows of a table sorted by index value".split()
PROMPTS = [" ".join((WORDS * 8)[:n]) for n in (3, 11, 40, 1)] + ["the table"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def loaded(causal_model):  # noqa: F811
    """`loaded("qwen3")` → model, whose random weights are large enough to write different things, and tokenizer; to be left as they are."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finetune_wb.models.load import quiet

    kept = {}

    def get(kind):
        if kind not in kept:
            with quiet():
                model = AutoModelForCausalLM.from_pretrained(causal_model(kind)).eval()
            for weights in model.parameters():
                weights.data.mul_(3)
            kept[kind] = model, AutoTokenizer.from_pretrained(causal_model(kind))
        return kept[kind]

    return get


def step_by_step(model, tokenizer, prompt, new, stops):
    """The likeliest token each time, by whole forward passes without a cache or padding."""
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    written = []
    while len(written) < new:
        with torch.no_grad():
            likeliest = int(model(input_ids=torch.tensor([ids + written])).logits[0, -1].argmax())
        if likeliest in stops:
            return tuple(written), True
        written.append(likeliest)
    return tuple(written), False


# ---- a batch is what each is alone


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_writes_what_each_prompt_gets_alone_and_without_a_cache(loaded, kind):
    model, tokenizer = loaded(kind)
    together, stops = generate(model, tokenizer, PROMPTS, 24), stop_ids(tokenizer, model)
    for prompt, written in zip(PROMPTS, together, strict=True):
        assert generate(model, tokenizer, [prompt], 24) == [written]
        assert (written.ids, written.stopped) == step_by_step(model, tokenizer, prompt, 24, stops)
    assert len({written.ids for written in together}) > 2, "the prompts make a difference"


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("method", ["lora", "prompt", "prefix", "p_tuning"])
def test_adapters_and_learned_prompts_too(loaded, kind, method):
    import copy

    import peft

    from finetune_wb.models.load import quiet

    configs = {
        "lora": lambda: peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, target_modules="all-linear"),
        "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
        "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
        "p_tuning": lambda: peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=5, encoder_hidden_size=16),
    }
    bare, tokenizer = loaded(kind)
    torch.manual_seed(1)
    with quiet():
        model = peft.get_peft_model(copy.deepcopy(bare), configs[method]()).eval()
    together, stops = generate(model, tokenizer, PROMPTS, 16), stop_ids(tokenizer, model)
    for prompt, written in zip(PROMPTS, together, strict=True):
        assert generate(model, tokenizer, [prompt], 16) == [written]
        assert (written.ids, written.stopped) == step_by_step(model, tokenizer, prompt, 16, stops)
    assert together != generate(bare, tokenizer, PROMPTS, 16), "the adapter has a say"


@pytest.mark.parametrize("budget", [1, 60, 300])
def test_the_size_of_batches_changes_nothing(loaded, budget):
    model, tokenizer = loaded("qwen3")
    assert generate(model, tokenizer, PROMPTS, 12, budget=budget) == generate(model, tokenizer, PROMPTS, 12)


# ---- stops


@pytest.mark.parametrize("kind", KINDS)
def test_every_known_stop_is_one(loaded, kind):
    model, tokenizer = loaded(kind)
    *_, end, named = KINDS[kind]
    assert {*tokenizer.convert_tokens_to_ids([end, *named]), tokenizer.eos_token_id} == set(stop_ids(tokenizer, model))


def test_the_end_of_turn_stops_where_the_model_does_not_name_it(loaded):
    """Phi's folder may name <|endoftext|> alone, while its template ends turns with <|end|>."""
    import copy

    model, tokenizer = loaded("phi")
    model = copy.deepcopy(model)
    model.generation_config.eos_token_id = model.config.eos_token_id = tokenizer.eos_token_id
    assert set(tokenizer.convert_ids_to_tokens(stop_ids(tokenizer, model))) == {"<|endoftext|>", "<|end|>"}


def test_what_follows_a_stop_is_left_out_and_stopping_is_told_from_running_out(loaded):
    model, tokenizer = loaded("llama")
    free = generate(model, tokenizer, PROMPTS, 20, stops=())
    assert all(len(w.ids) == 20 and not w.stopped for w in free)
    stop = free[0].ids[7]
    ended = generate(model, tokenizer, PROMPTS, 20, stops=(stop,))
    for before, after in zip(free, ended):
        cut = before.ids.index(stop) if stop in before.ids else 20
        assert after.ids == before.ids[:cut] and after.stopped == (cut < 20)
    assert ended[0].stopped


# ---- the model's own settings, mode and room


def test_settings_that_the_model_brings_are_set_aside_and_put_back(loaded):
    import copy

    model, tokenizer = loaded("qwen3")
    plain, model = generate(model, tokenizer, PROMPTS, 16), copy.deepcopy(model)
    stubborn = {"do_sample": True, "temperature": 9.0, "repetition_penalty": 8.0, "no_repeat_ngram_size": 1, "suppress_tokens": list(range(40)), "min_new_tokens": 9, "num_beams": 3}
    for name, value in stubborn.items():
        setattr(model.generation_config, name, value)
    model.train()
    assert generate(model, tokenizer, PROMPTS, 16) == plain
    assert model.training and all(getattr(model.generation_config, name) == value for name, value in stubborn.items())


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_prompt_near_the_last_position_has_less_room_and_says_so(loaded, kind):
    model, tokenizer = loaded(kind)
    long = [" the" * n for n in (250, 256, 300)]
    lengths = [len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) for prompt in long]
    written = generate(model, tokenizer, [*PROMPTS, *long], 12, stops=())
    assert [w.room for w in written] == [*[12] * len(PROMPTS), *[min(12, max(0, 256 - n)) for n in lengths]]
    assert [len(w.ids) for w in written] == [w.room for w in written] and written[-1].room == 0
    assert written[: len(PROMPTS)] == generate(model, tokenizer, PROMPTS, 12, stops=())


def test_what_tick_raises_ends_the_generation_and_leaves_the_model_as_it_was(loaded):
    model, tokenizer = loaded("llama")
    own, ticks = model.generation_config, []

    def tick():
        ticks.append(1)
        if len(ticks) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(model, tokenizer, PROMPTS, 20, stops=(), tick=tick)
    assert len(ticks) == 5 and model.generation_config is own


# ---- prompts and texts


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gpt2"])
def test_the_prompt_of_a_row_is_how_its_training_row_begins(causal_tokens, kind):  # noqa: F811
    from finetune_wb.training.tokens import encode_messages

    tokenizer = causal_tokens(kind)
    turns = [("user", "reads the file"), ("assistant", "rows"), ("user", "sorted by <b>index</b>"), ("assistant", "a table")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    encoded = encode_messages(tokenizer, [row], 256).rows[0]
    ids = tokenizer(prompt_of(tokenizer, row), add_special_tokens=False)["input_ids"]
    assert encoded.ids[: len(ids)].tolist() == ids and encoded.trained[len(ids)] and answer_of(row) == "a table"


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_text_begins_as_in_training_and_its_halves_are_the_text(causal_tokens, kind):  # noqa: F811
    from finetune_wb.training.tokens import encode_text

    tokenizer, text = causal_tokens(kind), "reads the file and returns rows of a table"
    prompt = prompt_of(tokenizer, {"text": text})
    assert prompt.endswith(text.removesuffix(answer_of({"text": text}))) and answer_of({"text": text}).startswith(" ")
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert encode_text(tokenizer, [text], 256).rows[0].ids[: len(ids)].tolist() == ids


def test_a_row_the_template_refuses_is_named(causal_tokens):  # noqa: F811
    row = {"messages": [{"role": "assistant", "content": "hm"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "origin": "rows.jsonl:7"}
    with pytest.raises(DataError, match="rows.jsonl:7.*template refuses"):
        prompt_of(causal_tokens("gemma3"), row)


@pytest.mark.parametrize("kind", ["gpt2", "gemma3", "mistral"])
def test_text_goes_on_from_the_prompt_with_its_leading_space(loaded, causal_tokens, kind):  # noqa: F811
    from finetune_wb.training.generate import _written

    tokenizer = causal_tokens(kind)
    whole = tokenizer("reads the file and rows 😀", add_special_tokens=False)["input_ids"]
    prompt = tokenizer("reads the file", add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert _written(tokenizer, prompt, whole[len(prompt) :], set(), 99).text == " and rows 😀"
