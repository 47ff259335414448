"""Tiny models of many architectures, heads and tied weights included: what `save_pretrained` writes, with random weights.

`architecture("bert")` → a folder; `architecture("llama", "sharded", "bfloat16")` → one of another form. Each is built once a session, and to be left
as it is (copy it before breaking it)."""

import json
import os
from pathlib import Path

import pytest
from conftest import SIZES, tiny_tokenizer

_BERT, _ROBERTA = {"type_vocab_size": 2}, {"max_position_embeddings": 66}
ARCHITECTURES = {  # kind -> (configuration class, model class, layout of the tokenizer or None, what differs from SIZES)
    "bert": ("BertConfig", "BertForMaskedLM", "bert", _BERT),
    "roberta": ("RobertaConfig", "RobertaForMaskedLM", "roberta", _ROBERTA),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaForMaskedLM", "roberta", _ROBERTA),
    "distilbert": ("DistilBertConfig", "DistilBertForMaskedLM", "bert", {"hidden_dim": 64}),
    "mpnet": ("MPNetConfig", "MPNetForMaskedLM", "roberta", _ROBERTA),
    "deberta-v2": ("DebertaV2Config", "DebertaV2ForMaskedLM", "bert", {"pos_att_type": ["c2p", "p2c"], "relative_attention": True}),
    "electra": ("ElectraConfig", "ElectraForPreTraining", "bert", {"embedding_size": 16}),
    "albert": ("AlbertConfig", "AlbertForMaskedLM", "bert", {"embedding_size": 16}),
    "modernbert": ("ModernBertConfig", "ModernBertForMaskedLM", "bert", {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3, "reference_compile": False}),
    "bert-classifier": ("BertConfig", "BertForSequenceClassification", "bert", {**_BERT, "num_labels": 3}),
    "bert-encoder": ("BertConfig", "BertModel", "bert", _BERT),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", "gpt2", {"bos_token_id": 0, "eos_token_id": 0}),
    "llama": ("LlamaConfig", "LlamaForCausalLM", "llama", {"bos_token_id": 1, "eos_token_id": 2}),
    "llama-tied": ("LlamaConfig", "LlamaForCausalLM", "llama", {"bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True, "num_key_value_heads": 1}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", "gpt2", {"num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": 0, "tie_word_embeddings": True}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", "llama", {"head_dim": 16, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2}),
    "mistral": ("MistralConfig", "MistralForCausalLM", "llama", {"num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}),
    "opt": ("OPTConfig", "OPTForCausalLM", "gpt2", {"ffn_dim": 64, "word_embed_proj_dim": 32, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", "gpt2", {"bos_token_id": 0, "eos_token_id": 0}),
    "bloom": ("BloomConfig", "BloomForCausalLM", "gpt2", {"bos_token_id": 0, "eos_token_id": 0, "n_layer": 2, "n_head": 2}),
    "t5": ("T5Config", "T5ForConditionalGeneration", "bert", {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_heads": 2, "num_layers": 2, "decoder_start_token_id": 0}),
    "vit": ("ViTConfig", "ViTForImageClassification", None, {"image_size": 32, "patch_size": 8, "num_labels": 3}),
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2ForCTC", None, {"conv_dim": [16, 16], "conv_kernel": [3, 3], "conv_stride": [2, 2], "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 12}),
}  # fmt: skip
ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "deberta-v2", "electra", "albert", "modernbert", "bert-classifier", "bert-encoder")
DECODERS = ("gpt2", "llama", "llama-tied", "qwen2", "gemma", "mistral", "opt", "gpt_neox", "bloom")
REFUSED = {"t5": "encoder-decoder", "vit": "images or audio", "wav2vec2": "images or audio"}  # kind -> what the reason says


def load(folder: Path, **options):
    """The model as transformers loads it, of the class that config.json names."""
    import transformers

    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, name).from_pretrained(folder, local_files_only=True, **options)


def build_architecture(kind: str, folder: Path, *forms: str, layers: int | None = None) -> Path:
    """Writes a model of `kind`; forms: sharded, pickled, or a torch dtype such as bfloat16."""
    import torch
    import transformers

    config_name, model_name, layout, differs = ARCHITECTURES[kind]
    tokenizer = tiny_tokenizer(layout, model_max_length=64) if layout else None
    known = {} if tokenizer is None else {"vocab_size": len(tokenizer), **({} if tokenizer.pad_token_id is None else {"pad_token_id": tokenizer.pad_token_id})}
    depth = {} if layers is None else {"n_layer" if kind == "bloom" else "num_hidden_layers": layers}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, model_name)(getattr(transformers, config_name)(**{**SIZES, **known, **differs, **depth}))
    for form in {*forms} - {"sharded", "pickled"}:
        model = model.to(getattr(torch, form))
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder, **({"max_shard_size": "30KB"} if "sharded" in forms else {}))
    if bars:
        transformers.utils.logging.enable_progress_bar()
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    if "pickled" in forms:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        os.unlink(folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def architecture(tmp_path_factory):
    """`architecture("bert")` → a folder; one a kind and form, built once and to be left as it is."""
    built: dict[tuple, Path] = {}

    def make(kind: str, *forms: str, layers: int | None = None) -> Path:
        if (kind, forms, layers) not in built:
            built[kind, forms, layers] = build_architecture(kind, tmp_path_factory.mktemp("architectures") / kind, *forms, layers=layers)
        return built[kind, forms, layers]

    return make
