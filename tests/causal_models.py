"""Tiny causal models of eight families: real configuration classes, random weights, each with its own kind of tokenizer and
chat template. `causal_model("qwen3")` → a folder; one a kind and session."""

import functools
import json
from pathlib import Path

import pytest
from conftest import WORDS

CHATML = (
    "{%- if messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{%- endif %}"
    "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}"
    "{%- if m.role == 'assistant' %}{%- set answer = m.content.split('</think>')[-1].lstrip('\n') if m.content is string else '' %}"
    "{%- set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') if m.content is string and '</think>' in m.content else '' %}"
    "{{- '<|im_start|>assistant\n' }}"
    "{%- if loop.index0 > ns.last and (loop.last or thought) %}{{- '<think>\n' + thought + '\n</think>\n\n' }}{%- endif %}{{- answer }}"
    "{%- for call in m.tool_calls or [] %}{{- '<tool_call>\n' + call.function | tojson + '\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}"
    "{%- elif m.role == 'tool' %}{{- '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}"
    "{%- elif m.role == 'user' or not loop.first %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)  # Qwen3's: an empty thought before the last answer, and thoughts dropped from earlier ones
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set first = messages[0]['content'] + '\n\n' -%}{%- set turns = messages[1:] -%}"
    "{%- else -%}{%- set first = '' -%}{%- set turns = messages -%}{%- endif -%}"
    "{%- for m in turns -%}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif -%}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + (first if loop.first else '') + m['content'] | trim + '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
MISTRAL = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] + '\n\n' %}{%- set turns = messages[1:] %}{%- else %}{%- set system = '' %}{%- set turns = messages %}{%- endif %}"
    "{{- bos_token }}{%- for m in turns %}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}{%- endif %}"
    "{%- if m['role'] == 'user' %}{{- '[INST] ' + (system if loop.first else '') + m['content'] + '[/INST]' }}"
    "{%- else %}{{- ' ' + m['content'] | trim + eos_token }}{%- endif %}{%- endfor %}"
)  # no prompt for answers of its own; the system text stands in the first question
PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
SMOLLM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OASST = (
    "{% for m in messages %}{{ '<|' + ('prompter' if m['role'] == 'user' else m['role']) + '|>' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# kind -> (configuration class, what differs from SIZES, layout of the tokenizer, its special tokens in the order of their ids,
#          roles of the tokens, template, end of a turn, ids that stop generation by name)
KINDS = {
    "llama": ("LlamaConfig", {"num_key_value_heads": 2}, "bytes+bos",
              ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|finetune_right_pad_id|>"),
              {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"}, LLAMA3, "<|eot_id|>", ("<|end_of_text|>", "<|eot_id|>")),
    "qwen3": ("Qwen3Config", {"num_key_value_heads": 2, "head_dim": 16}, "bytes", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
              {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, CHATML, "<|im_end|>", ("<|im_end|>", "<|endoftext|>")),
    "gemma3": ("Gemma3TextConfig", {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": 32}, "pieces+bos", ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
               {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}, GEMMA, "<end_of_turn>", ("<eos>", "<end_of_turn>")),
    "mistral": ("MistralConfig", {"num_key_value_heads": 2, "sliding_window": None}, "pieces+prefix+bos", ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
                {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, MISTRAL, "</s>", ("</s>",)),
    "phi": ("Phi3Config", {"num_key_value_heads": 2}, "pieces+prefix", ("<unk>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
            {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<unk>"}, PHI, "<|end|>", ("<|endoftext|>", "<|end|>")),
    "smollm": ("LlamaConfig", {"num_key_value_heads": 1, "tie_word_embeddings": True}, "bytes+digits", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
               {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}, SMOLLM, "<|im_end|>", ("<|im_end|>",)),
    "gpt2": ("GPT2Config", {}, "bytes", ("<|endoftext|>",), {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}, None, "<|endoftext|>", ("<|endoftext|>",)),
    "gpt_neox": ("GPTNeoXConfig", {}, "bytes+trim", ("<|endoftext|>", "<|padding|>", "<|prompter|>", "<|assistant|>", "<|system|>"),
                 {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|padding|>"}, OASST, "<|endoftext|>", ("<|endoftext|>",)),
}  # fmt: skip
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 256}


def _lines() -> list[str]:
    "Text to learn merges from: words, digits, blank lines, markup."
    lines = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
    return lines + ["### Instruction:\nreads the file\n\n### Response:\n42 rows\n\n", "assistant\n\nuser\n\nsystem\n\nmodel\n"]


def _bytes_tokenizer(specials: tuple[str, ...], options: set[str]):
    "Byte-level BPE, as GPT-2, Llama 3, Qwen, SmolLM and GPT-NeoX have it."
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), split]) if "digits" in options else split
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(_lines(), trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets="trim" in options)
    return tokenizer


def _pieces_tokenizer(specials: tuple[str, ...], options: set[str]):
    "BPE over pieces that carry their space (▁), with byte fallback: what SentencePiece models become."
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.train_from_iterator([piece for line in _lines() for piece in (" " + line).replace(" ", "\0 ").split("\0")], trainers.BpeTrainer(vocab_size=420, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    vocab = {token: i for i, token in enumerate([*specials, *(f"<0x{i:02X}>" for i in range(256)), *(p for p in learnt["vocab"] if p not in specials)])}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(pair) for pair in learnt["merges"]], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if "prefix" in options else replace
    strip = [decoders.Strip(" ", 1, 0)] if "prefix" in options else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    tokenizer.add_special_tokens(list(specials))
    return tokenizer


def causal_tokenizer(kind: str, **options):
    "The tokenizer of a kind, with its template; `options` go to the tokenizer."
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    _, _, layout, specials, roles, template, _, _ = KINDS[kind]
    form, *extras = layout.split("+")
    tokenizer = (_bytes_tokenizer if form == "bytes" else _pieces_tokenizer)(specials, set(extras))
    if "bos" in extras:
        bos = roles["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, specials.index(bos))])
    spare = [token for token in specials if token not in roles.values()]
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{"model_max_length": 256, "additional_special_tokens": spare, **roles, **options})
    made.chat_template = template
    return made


def build_causal_model(kind: str, folder: Path, **config) -> Path:
    "A folder with two layers of random weights of a real architecture, its tokenizer, template and generation settings."
    import torch
    import transformers

    name, differs, _, _, _, _, _, stops = KINDS[kind]
    tokenizer = causal_tokenizer(kind)
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = getattr(transformers, name)(**{**SIZES, "vocab_size": len(tokenizer), **ids, **differs, **config})
        model = transformers.AutoModelForCausalLM.from_config(settings)
        table = model.get_input_embeddings()
        if table.padding_idx is not None:  # torch sets that row to zero, and where it ends turns as well nobody would have trained it
            torch.nn.init.normal_(table.weight.data[table.padding_idx], std=settings.initializer_range)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(stops))
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers.utils.logging.enable_progress_bar()
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def causal_model(tmp_path_factory):
    """`causal_model("qwen3")` → a folder; one a kind, built once and to be left as it is (copy it before breaking it)."""
    built: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in built:
            built[kind] = build_causal_model(kind, tmp_path_factory.mktemp("causal") / kind)
        return built[kind]

    return make


@pytest.fixture(scope="session")
def causal_tokens():
    """`causal_tokens("qwen3")` → its tokenizer, no weights; built once and to be left as it is."""
    return functools.cache(causal_tokenizer)
