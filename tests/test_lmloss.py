"The loss on trained tokens: the numbers and gradients of plain cross entropy, for every architecture and adapter, in less memory."

import contextlib

import pytest
import torch
import torch.nn.functional as F
from causal_models import KINDS, causal_model  # noqa: F401

from finetune_wb.training import lmloss
from finetune_wb.training.lmloss import answer_loss, token_losses

ADAPTERS = {
    "lora": lambda peft: peft.LoraConfig(r=4, lora_dropout=0.0, target_modules="all-linear", init_lora_weights=False),
    "lora_head": lambda peft: peft.LoraConfig(r=4, target_modules=["lm_head", "embed_out"], init_lora_weights=False),
    "saved_head": lambda peft: peft.LoraConfig(r=4, target_modules="all-linear", modules_to_save=["lm_head", "embed_out"], init_lora_weights=False),
    "ia3": lambda peft: peft.IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "prompt": lambda peft: peft.PromptTuningConfig(num_virtual_tokens=5),
    "p_tuning": lambda peft: peft.PromptEncoderConfig(num_virtual_tokens=3, encoder_hidden_size=16),
    "prefix": lambda peft: peft.PrefixTuningConfig(num_virtual_tokens=4),
}


def loaded(folder, **options):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).train()


def adapted(folder, name: str):
    import peft

    config = ADAPTERS[name](peft)
    config.task_type = "CAUSAL_LM"
    torch.manual_seed(1)
    return peft.get_peft_model(loaded(folder), config)


def batch(vocabulary: int, rows: int = 3, length: int = 24):
    "Rows of different lengths, padded on the right; the later part of each is trained."
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(6, vocabulary, (rows, length), generator=random)
    lengths = torch.tensor([length - 5 * i for i in range(rows)])
    mask = (torch.arange(length) < lengths[:, None]).long()
    trained = (mask == 1) & (torch.arange(length) > lengths[:, None] // 2)
    return {"input_ids": ids, "attention_mask": mask}, torch.where(trained, ids, -100)


def plain(model, inputs, labels, smoothing=0.0):
    "What every tutorial computes."
    logits = model(**inputs).logits
    logits = logits[:, logits.shape[1] - labels.shape[1] :]  # virtual tokens in front
    return F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), label_smoothing=smoothing)


def slopes(model, loss) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def agree(model, mine, theirs, tolerance=1e-5):
    "Same loss, same weights with a gradient, same gradients."
    assert torch.allclose(mine, theirs, atol=tolerance)
    got, want = slopes(model, mine), slopes(model, theirs)
    assert got.keys() == want.keys() and got
    for name in want:
        assert torch.allclose(got[name], want[name], atol=tolerance), name


@pytest.fixture
def small_chunks(monkeypatch):
    "Products of four tokens that are softened two at a time, so that every batch has several of either."
    monkeypatch.setattr(lmloss, "CHUNK_LOGITS", 4 * 420)
    monkeypatch.setattr(lmloss, "_BUFFER", 4 * 4 * 420)
    monkeypatch.setattr(lmloss, "_PIECE", 2 * 420)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_plain_cross_entropy(causal_model, kind, small_chunks):  # noqa: F811
    model = loaded(causal_model(kind)).eval()
    inputs, labels = batch(model.config.vocab_size)
    agree(model, answer_loss(model, inputs, labels), plain(model, inputs, labels))
    agree(model, answer_loss(model, inputs, labels, label_smoothing=0.2), plain(model, inputs, labels, 0.2))


@pytest.mark.parametrize("name", ADAPTERS)
def test_equals_plain_cross_entropy_under_peft(causal_model, name, small_chunks):  # noqa: F811
    model = adapted(causal_model("llama"), name).eval()
    inputs, labels = batch(model.config.vocab_size)
    agree(model, answer_loss(model, inputs, labels, label_smoothing=0.1), plain(model, inputs, labels, 0.1))
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(slopes(model, answer_loss(model, inputs, labels)))
    kept = token_losses(model, inputs, labels)
    assert torch.equal(kept.isnan(), labels == -100) and torch.allclose(kept.nanmean(), plain(model, inputs, labels), atol=1e-5)


@pytest.mark.parametrize(("name", "changes"), [("Gemma2Config", {"final_logit_softcapping": 0.3, "head_dim": 16, "num_key_value_heads": 2}), ("GraniteConfig", {"logits_scaling": 7.0}), ("CohereConfig", {"logit_scale": 0.25}),
                                               ("PhiConfig", {}), ("GPTJConfig", {"n_embd": 32, "n_head": 2, "n_layer": 2, "rotary_dim": 8}), ("BloomConfig", {"n_head": 2})])  # fmt: skip
def test_heads_with_a_bias_a_scale_or_a_cap(name, changes, small_chunks):
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": 420, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "pad_token_id": 0}
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**{**sizes, **changes})).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
        if model.get_output_embeddings().bias is not None:
            model.get_output_embeddings().bias.normal_()
    inputs, labels = batch(420)
    for _ in range(2):  # the second time what the model does to logits is known
        agree(model, answer_loss(model, inputs, labels, label_smoothing=0.1), plain(model, inputs, labels, 0.1))
    assert lmloss._SHAPES[model] != "unknown"


def test_a_head_that_nobody_knows_gets_whole_logits(causal_model):  # noqa: F811
    model = loaded(causal_model("llama")).eval()
    forward = model.forward

    def odd(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits.pow(3)
        return out

    model.forward = odd
    inputs, labels = batch(model.config.vocab_size)
    for _ in range(2):
        agree(model, answer_loss(model, inputs, labels), plain(model, inputs, labels))
    assert lmloss._SHAPES[model] == "unknown"


def test_tied_and_frozen_weights(causal_model, small_chunks):  # noqa: F811
    model = loaded(causal_model("smollm"))
    inputs, labels = batch(model.config.vocab_size)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    agree(model, answer_loss(model, inputs, labels), plain(model, inputs, labels))
    model.lm_head.weight.requires_grad_(False)
    agree(model, answer_loss(model, inputs, labels), plain(model, inputs, labels))
    assert "model.embed_tokens.weight" not in slopes(model, answer_loss(model, inputs, labels))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_accumulated_batches_are_one_big_batch(causal_model, checkpointing, small_chunks):  # noqa: F811
    model = loaded(causal_model("qwen3"))
    inputs, labels = batch(model.config.vocab_size, rows=4)
    want = slopes(model, plain(model, inputs, labels))
    if checkpointing:
        model.gradient_checkpointing_enable()
    count = int((labels[:, 1:] != -100).sum())
    assert len({int((row != -100).sum()) for row in labels}) > 1  # means of means would differ
    parts = [({k: v[i : i + 1] for k, v in inputs.items()}, labels[i : i + 1]) for i in range(4)]
    model.zero_grad()
    for part in parts:
        answer_loss(model, *part, num_items=count).backward()
    got = {name: p.grad for name, p in model.named_parameters()}
    assert all(torch.allclose(got[name], want[name], atol=1e-5) for name in want)


def test_bf16_autocast_is_as_near_to_fp32_as_plain_cross_entropy_is(causal_model, small_chunks):  # noqa: F811
    model = loaded(causal_model("llama")).eval()
    inputs, labels = batch(model.config.vocab_size)
    exact = slopes(model, plain(model, inputs, labels))

    def off(loss_of):
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, inputs, labels)
        assert loss.dtype == torch.float32
        found = slopes(model, loss)
        return float(sum((found[n] - exact[n]).norm() for n in exact) / sum(e.norm() for e in exact.values()))

    assert 0 < off(answer_loss) < 1.3 * off(plain)


def test_bf16_weights_get_bf16_gradients(causal_model, small_chunks):  # noqa: F811
    model = loaded(causal_model("llama")).to(torch.bfloat16)
    inputs, labels = batch(model.config.vocab_size)
    found = slopes(model, answer_loss(model, inputs, labels))
    assert found["lm_head.weight"].dtype == torch.bfloat16 and found["lm_head.weight"].isfinite().all()


def test_nothing_trained_is_a_loss_of_zero(causal_model):  # noqa: F811
    model = loaded(causal_model("llama"))
    inputs, labels = batch(model.config.vocab_size)
    loss = answer_loss(model, inputs, torch.full_like(labels, -100))
    assert loss.item() == 0.0 and all(not g.any() for g in slopes(model, loss).values())
    assert token_losses(model, inputs, torch.full_like(labels, -100)).isnan().all()


def test_the_model_is_left_as_it_was(causal_model):  # noqa: F811
    model = loaded(causal_model("llama"))
    inputs, labels = batch(model.config.vocab_size)
    answer_loss(model, inputs, labels)
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        answer_loss(model, {"input_ids": "no tensor"}, labels)
    assert "forward" not in model.lm_head.__dict__ and model(**inputs).logits.shape[-1] == model.config.vocab_size
    token_losses(model, inputs, labels)
    assert model.training


def test_a_second_backward_says_why_it_fails(causal_model):  # noqa: F811
    model = loaded(causal_model("llama"))
    loss = answer_loss(model, *batch(model.config.vocab_size))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="used and released"):
        loss.backward()


class _Largest(torch.utils._python_dispatch.TorchDispatchMode):
    "Notes the most elements that any tensor had."

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.most = max(self.most, tensor.numel())
        return out


@pytest.mark.parametrize("name", [None, "lora", "lora_head"])
def test_no_tensor_is_as_large_as_the_logits(causal_model, name, small_chunks):  # noqa: F811
    model = adapted(causal_model("llama"), name) if name else loaded(causal_model("llama"))
    inputs, labels = batch(model.config.vocab_size, rows=8, length=64)
    with _Largest() as mine:
        answer_loss(model, inputs, labels).backward()
    with _Largest() as theirs:
        plain(model, inputs, labels).backward()
    assert theirs.most >= 8 * 63 * model.config.vocab_size > 6 * mine.most  # the widest left are attention and MLP
