"Packed rows: the loss and gradients of rows alone, on every attention and architecture that claims it; batches that repeat by seed."

import numpy as np
import pytest
import torch
from causal_models import KINDS, causal_model  # noqa: F401
from test_lmloss import loaded, slopes

from finetune_wb.errors import ModelError
from finetune_wb.training.collate import PackedSampler, collator, packed_batches, settle_batching
from finetune_wb.training.lmloss import answer_loss


def rows(vocabulary: int, count: int = 5) -> list[dict]:
    random = np.random.default_rng(0)
    found = [random.integers(6, vocabulary, n).tolist() for n in random.integers(4, 45, count)]
    return [{"input_ids": ids, "labels": [-100 if i < len(ids) // 3 else t for i, t in enumerate(ids)]} for ids in found]


def loss_of(model, items, batching, pad=0):
    class Tokenizer:
        pad_token_id, eos_token_id = pad, None

    batch = collator(Tokenizer, batching)(items)
    labels = batch.pop("labels")
    return answer_loss(model, batch, labels), int((labels != -100).sum())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_rows_do_not_see_each_other(causal_model, kind, attention):  # noqa: F811
    model = loaded(causal_model(kind), attn_implementation=attention).eval()
    items = rows(model.config.vocab_size)
    assert settle_batching("packed", model, attention) == "packed"
    (packed, count), (padded, same) = loss_of(model, items, "packed"), loss_of(model, items, "grouped")
    assert count == same and torch.allclose(packed, padded, atol=1e-5)
    alone = [loss_of(model, [item], "grouped") for item in items]
    assert torch.allclose(packed, sum(loss * n for loss, n in alone) / count, atol=1e-5)
    got, want = slopes(model, packed), slopes(model, padded)
    assert all(torch.allclose(got[name], want[name], atol=1e-5) for name in want)


def test_without_positions_rows_would_see_each_other(causal_model):  # noqa: F811
    "The test above can fail."
    model = loaded(causal_model("llama")).eval()
    items = rows(model.config.vocab_size)
    batch = collator(None, "packed")(items)
    labels = batch.pop("labels")
    assert not torch.allclose(answer_loss(model, {"input_ids": batch["input_ids"]}, labels), loss_of(model, items, "grouped")[0], atol=1e-4)


@pytest.mark.parametrize("name", ["BloomConfig", "MambaConfig", "Mamba2Config", "FalconConfig", "MptConfig", "OPTConfig", "JambaConfig", "Qwen3NextConfig", "RwkvConfig", "Lfm2Config", "BartConfig"])
def test_what_claims_to_pack_packs_and_the_rest_is_refused(name):
    "Architectures off the beaten track: where packing is allowed its loss is right; where it would be wrong it is refused."
    import transformers

    sizes = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 64, "pad_token_id": 0}
    extra = {"Mamba2Config": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8}, "FalconConfig": {"alibi": True}, "OPTConfig": {"ffn_dim": 64, "word_embed_proj_dim": 32},
             "MptConfig": {"d_model": 32, "n_heads": 2, "n_layers": 2, "expansion_ratio": 2}, "BartConfig": {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "is_decoder": True},
             "Qwen3NextConfig": {"head_dim": 16, "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 0},
             "JambaConfig": {"num_experts": 1, "use_mamba_kernels": False}}.get(name, {})  # fmt: skip
    if not hasattr(transformers, name):
        pytest.skip(f"this transformers has no {name}")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**{**sizes, **extra})).eval()
    try:
        settle_batching("packed", model, "eager")
    except ModelError as error:
        assert "rows can't be packed" in str(error)
        assert settle_batching("auto", model, "eager") == "grouped"
        return
    items = rows(120)
    assert torch.allclose(loss_of(model, items, "packed")[0], loss_of(model, items, "grouped")[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig", "PromptEncoderConfig"])
def test_virtual_tokens_are_not_packed(causal_model, kind):  # noqa: F811
    import peft

    model = peft.get_peft_model(loaded(causal_model("llama")), getattr(peft, kind)(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    with pytest.raises(ModelError, match="virtual tokens"):
        settle_batching("packed", model, "sdpa")
    assert settle_batching("auto", model, "flash_attention_2") == "grouped"


@pytest.mark.parametrize("seed", range(5))
def test_best_fit_decreasing(seed):
    "The same sequences as the quadratic textbook form, for random lengths."
    random = np.random.default_rng(seed)
    lengths, budget = random.integers(1, 130, 300), 100

    def textbook() -> list[int]:
        room: list[int] = []
        for need in sorted(lengths.tolist(), reverse=True):
            fits = [i for i, left in enumerate(room) if left >= need]
            if fits:
                room[min(fits, key=room.__getitem__)] -= need
            else:
                room.append(max(0, budget - need))
        return sorted(room)

    batches = packed_batches(lengths, budget, seed=(seed, 0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(300))
    assert sorted(max(0, budget - int(lengths[b].sum())) for b in batches) == textbook()
    assert all(lengths[b].sum() <= budget or len(b) == 1 for b in batches)


def test_an_epoch_can_be_taken_up_in_its_middle():
    "What a resumed loop skips and goes on with is what an unbroken one saw."
    from torch.utils.data import DataLoader

    lengths = np.random.default_rng(0).integers(3, 60, 400)
    whole, again = PackedSampler(lengths, 256, 7), PackedSampler(lengths, 256, 7)
    for sampler in (whole, again):
        sampler.set_epoch(3)
    seen = list(DataLoader(range(400), batch_sampler=whole, collate_fn=list))
    import accelerate

    rest = list(accelerate.skip_first_batches(DataLoader(range(400), batch_sampler=again, collate_fn=list), 5))
    assert rest == seen[5:] and len(seen) == len(whole)


def test_a_packed_run_that_was_cut_off_ends_as_the_unbroken_one(causal_model, tmp_path):  # noqa: F811
    from functools import partial

    from test_language_options import Pad, token_rows

    from finetune_wb.recipe import Recipe, TrainSpec
    from finetune_wb.run import create_run
    from finetune_wb.training.arguments import training_arguments
    from finetune_wb.training.checkpoints import checkpoint_name, checkpoints, set_aside
    from finetune_wb.training.language import language_trainer
    from finetune_wb.training.trainer import Live, fine_tune

    spec = TrainSpec(tokens_per_batch=80, num_train_epochs=3, save_steps=2, metric_for_best_model="loss", early_stopping_patience=None, neftune_noise_alpha=3.0, bf16=False)
    rows = token_rows(24)

    def learn(run, **options):
        torch.manual_seed(0)
        model = loaded(causal_model("llama"))
        arguments = training_arguments(spec, run.checkpoints, 1e-3, False, "cpu", len(PackedSampler(rows.lengths, 80, 0)))
        trainer = partial(language_trainer, model, None, Pad, rows, token_rows(4), spec, arguments, batching="packed")
        fine_tune(trainer, Live(run, keep=99), **options)
        return model

    unbroken = learn(create_run(Recipe(), tmp_path, "one"))
    cut = create_run(Recipe(), tmp_path, "two")
    learn(cut)
    steps = checkpoints(cut)
    middle = max(step for step in steps if step <= max(steps) // 2)
    for step in steps:
        if step > middle:
            set_aside(cut.checkpoints / checkpoint_name(step))
    resumed = learn(cut, resume_from=cut.checkpoints / checkpoint_name(middle))
    assert middle > 0 and all(a.equal(b) for a, b in zip(unbroken.parameters(), resumed.parameters()))
