"""Fixtures that several test files share: small real models, built once a session."""

import gc
import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches the network; the hub tests start processes of their own
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what it puts in the background so; here and in children Ctrl-C has to work
    signal.signal(signal.SIGINT, signal.default_int_handler)

WORDS = """the a and of to in is that for it as with on by from are this which library array frame index returns computes model layer
tensor value values sorted figure axis plot draws train test fits estimator predicts labels rows columns joins reads writes
file files path open close cat dog bird runs sleeps eats quickly slowly red green blue good bad fine zero one two three""".split()
LAYOUTS = {  # special tokens in the order of their ids, then begin and end of a row
    "bert": (("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), "[CLS]", "[SEP]"),
    "roberta": (("<s>", "<pad>", "</s>", "<unk>", "<mask>"), "<s>", "</s>"),
    "gpt2": (("<|endoftext|>",), None, None),
    "llama": (("<unk>", "<s>", "</s>"), "<s>", None),
}
KINDS = {  # kind -> (configuration class, model class, layout of the tokenizer, what differs from SIZES)
    "bert": ("BertConfig", "BertModel", "bert", {}),
    "electra": ("ElectraConfig", "ElectraModel", "bert", {"embedding_size": 32}),
    "albert": ("AlbertConfig", "AlbertModel", "bert", {"embedding_size": 16}),
    "distilbert": ("DistilBertConfig", "DistilBertModel", "bert", {"hidden_dim": 64}),
    "deberta-v2": ("DebertaV2Config", "DebertaV2Model", "bert", {"pos_att_type": ["c2p", "p2c"], "relative_attention": True}),
    "modernbert": ("ModernBertConfig", "ModernBertModel", "bert", {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3, "reference_compile": False}),
    "roberta": ("RobertaConfig", "RobertaModel", "roberta", {"max_position_embeddings": 66}),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaModel", "roberta", {"max_position_embeddings": 66}),
    "mpnet": ("MPNetConfig", "MPNetModel", "roberta", {"max_position_embeddings": 66}),
    "gpt2": ("GPT2Config", "GPT2Model", "gpt2", {"bos_token_id": 0, "eos_token_id": 0}),
    "llama": ("LlamaConfig", "LlamaModel", "llama", {"bos_token_id": 1, "eos_token_id": 2}),
    "qwen2": ("Qwen2Config", "Qwen2Model", "gpt2", {"num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": 0}),
    "t5": ("T5Config", "T5Model", "bert", {"d_kv": 16, "d_ff": 64, "decoder_start_token_id": 0}),
}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
ENCODERS = ("bert", "electra", "albert", "distilbert", "deberta-v2", "modernbert", "roberta", "xlm-roberta", "mpnet")
DECODERS = ("gpt2", "llama", "qwen2")


def tiny_tokenizer(layout: str, **options):
    """A real fast tokenizer: WordPiece for the rows with begin and end, byte-level BPE for the decoders."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials, begin, end = LAYOUTS[layout]
    lines = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
    if layout in ("gpt2", "llama"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
        tokenizer.train_from_iterator(lines, trainer)
    else:
        letters = "abcdefghijklmnopqrstuvwxyz"  # the vocabulary is written down: the WordPiece trainer breaks ties differently each time
        pieces = [*specials, *letters, *("##" + letter for letter in letters), *(word for word in WORDS if len(word) > 1)]
        tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]" if layout == "bert" else "<unk>"))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    if begin:
        template = f"{begin} $A {end}" if end else f"{begin} $A"
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[(t, specials.index(t)) for t in (begin, end) if t])
    roles = {
        "bert": {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
        "roberta": {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"},
        "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
        "llama": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    }[layout]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles, **options)


def build_tiny_model(kind: str, folder: Path, **config) -> Path:
    """A folder with two layers of random weights of a real architecture, and a tokenizer that fits it."""
    import torch
    import transformers

    config_name, model_name, layout, differs = KINDS[kind]
    tokenizer = tiny_tokenizer(layout, **({"model_max_length": 64} if layout != "llama" else {}))
    pad = {} if tokenizer.pad_token_id is None else {"pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = getattr(transformers, config_name)(**{**SIZES, "vocab_size": len(tokenizer), **pad, **differs, **config})
        model = getattr(transformers, model_name)(settings)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers.utils.logging.enable_progress_bar()
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def quick_garbage():
    """accelerate collects garbage at the start of each training; what the libraries hold is none, and looking through it takes half of a tiny training."""
    import peft  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    import finetune_wb.training.train
    import finetune_wb.training.trainer  # noqa: F401

    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """`tiny_model("bert")` → a folder; one a kind, built once and to be left as it is (copy it before breaking it)."""
    built: dict[str, Path] = {}

    def make(kind: str = "bert") -> Path:
        if kind not in built:
            built[kind] = build_tiny_model(kind, tmp_path_factory.mktemp("models") / kind)
        return built[kind]

    return make
