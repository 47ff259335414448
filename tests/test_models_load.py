"""Model folders, sound and broken in every way of PITFALLS 60 and 71–87 that is about a model."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import DECODERS, ENCODERS, build_tiny_model, tiny_tokenizer

from finetune_wb.errors import ModelError
from finetune_wb.models.catalog import find_model
from finetune_wb.models.load import (
    check_model,
    describe_model,
    load_encoder,
    load_tokenizer,
    max_positions,
    pooling_of,
    read_header,
)
from finetune_wb.recipe import ModelSpec


@pytest.fixture
def copy(tiny_model, tmp_path):
    """`copy("bert")` → a folder of one's own to break."""
    def make(kind: str = "bert") -> Path:
        return shutil.copytree(tiny_model(kind), tmp_path / kind, dirs_exist_ok=True)
    return make


def check(folder: Path, **spec) -> None:
    spec = ModelSpec(id=str(folder), **spec)
    check_model(find_model(spec), spec)


def refused(folder: Path, **spec) -> str:
    with pytest.raises(ModelError) as caught:
        check(folder, **spec)
    return str(caught.value)


def configure(folder: Path, file: str = "config.json", /, **changes) -> None:
    path = folder / file
    values = (json.loads(path.read_text()) if path.exists() else {}) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def encode(folder: Path, texts: list[str], attn: str = "eager", **spec):
    """(tokenizer, encoder, last hidden states) as a task would get them."""
    import torch
    spec = ModelSpec(id=str(folder), **spec)
    source = find_model(spec)
    tokenizer, encoder = load_tokenizer(source, spec), load_encoder(source, spec, attn)
    rows = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return tokenizer, encoder, encoder(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).last_hidden_state


# ---- architectures

@pytest.mark.parametrize("kind", ENCODERS + DECODERS)
def test_every_architecture_passes_and_reads_padding_right(kind, tiny_model):
    import torch
    folder = tiny_model(kind)
    check(folder)
    tokenizer, encoder, both = encode(folder, ["the cat runs", "the bird eats quickly and sleeps in the red frame"])
    _, _, alone = encode(folder, ["the cat runs"])
    assert torch.allclose(both[0, : alone.shape[1]], alone[0], atol=1e-5)
    assert encoder.dtype == torch.float32 and not encoder.training
    spec = ModelSpec(id=str(folder))
    assert pooling_of(find_model(spec), spec, encoder.config) == ("last" if kind in DECODERS else "mean")


@pytest.mark.parametrize("kind", ENCODERS + DECODERS)
def test_dropout_by_whatever_name(kind, tiny_model):
    import torch
    spec = ModelSpec(id=str(tiny_model(kind)))
    source = find_model(spec)
    for rate in (0.0, 0.4):
        encoder = load_encoder(source, spec, "eager", dropout=rate)
        rates = {m.p for m in encoder.modules() if isinstance(m, torch.nn.Dropout)}
        set_to = {v for k, v in encoder.config.to_dict().items() if "drop" in k and isinstance(v, float)}
        assert rates <= {rate} and set_to == {rate}, (rates, set_to)


@pytest.mark.parametrize("kind", ENCODERS + DECODERS)
def test_the_longest_row_fits_and_87_a_longer_one_is_known(kind, tiny_model):
    import torch
    spec = ModelSpec(id=str(tiny_model(kind)))
    source = find_model(spec)
    tokenizer, encoder = load_tokenizer(source, spec), load_encoder(source, spec, "eager")
    limit = max_positions(encoder, tokenizer)
    assert limit == max_positions(encoder.config, tokenizer) == describe_model(source)["max_length"] == 64
    rows = tokenizer(["cat " * 500], truncation=True, max_length=limit, return_tensors="pt")
    assert rows["input_ids"].shape == (1, 64)
    tokenizer.model_max_length = int(1e30)  # upstream's "not said": the table of positions still counts
    assert max_positions(encoder, tokenizer) == 64
    with torch.no_grad():
        encoder(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"])
    if kind not in ("modernbert", "llama", "qwen2"):  # rotary positions go on; a table ends
        longer = torch.full((1, 65), 7)
        with pytest.raises((IndexError, RuntimeError)):
            encoder(input_ids=longer, attention_mask=torch.ones_like(longer))


def test_dropout_leaves_layerdrop_alone():
    from transformers import OPTConfig

    from finetune_wb.models.load import _set_dropout
    config = OPTConfig(layerdrop=0.05)
    _set_dropout(config, 0.3)
    assert (config.dropout, config.attention_dropout, config.layerdrop) == (0.3, 0.3, 0.05)


def test_minilm_is_what_its_hash_says(capfd):
    """Features of the embedded model, from its own pooling: near texts are near."""
    import torch

    from finetune_wb.models.classifier import pool
    spec = ModelSpec()
    source = find_model(spec)
    check_model(source, spec)
    tokenizer, encoder = load_tokenizer(source, spec), load_encoder(source, spec, "sdpa")
    rows = tokenizer(["A cat sits on the mat.", "A kitten is on the rug.", "The bank raised its rates."], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(**rows).last_hidden_state
    vectors = torch.nn.functional.normalize(pool(hidden, rows["attention_mask"], pooling_of(source, spec, encoder.config)), dim=-1)
    near, far = (vectors[0] @ vectors[1]).item(), (vectors[0] @ vectors[2]).item()
    assert near > 0.5 > 0.2 > far
    assert describe_model(source)["parameters"] == sum(p.numel() for p in encoder.parameters())  # its file also holds a table of integers
    assert capfd.readouterr() == ("", "")


def test_sdpa_where_there_is_none(tiny_model):
    folder = tiny_model("deberta-v2")
    spec = ModelSpec(id=str(folder))
    assert load_encoder(find_model(spec), spec, "sdpa").config._attn_implementation == "eager"
    spec = ModelSpec(id=str(folder), attn_implementation="sdpa")
    with pytest.raises(ModelError, match="model.attn_implementation"):
        load_encoder(find_model(spec), spec, "sdpa")


def test_flash_attention_that_is_not_installed(tiny_model):
    spec = ModelSpec(id=str(tiny_model()), attn_implementation="flash_attention_2")
    with pytest.raises(ModelError, match="model.attn_implementation"):
        load_encoder(find_model(spec), spec, "flash_attention_2")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtype_is_the_one_asked_for(dtype, copy):
    folder = copy()
    configure(folder, dtype="float16")
    spec = ModelSpec(id=str(folder))
    assert str(load_encoder(find_model(spec), spec, "eager", dtype=dtype).dtype) == f"torch.{dtype}"


def test_loading_says_nothing_and_leaves_the_log_as_it_was(tiny_model, capfd):
    from transformers.utils import logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_warning()
        logging.enable_progress_bar()
        check(tiny_model("albert"))
        encode(tiny_model("albert"), ["the cat"])
        assert capfd.readouterr() == ("", "")
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.WARNING, True)
    finally:
        logging.set_verbosity(level)
        if not bars:
            logging.disable_progress_bar()


# ---- what is refused: the configuration

@pytest.mark.parametrize("architectures", [..., None, [], "BertModel", 5, ["NoSuchModel"], [None], ["logging"]])
def test_architectures_that_say_nothing(architectures, copy):
    folder = copy()
    configure(folder, architectures=architectures)
    try:
        check(folder)
    except ModelError as error:  # upstream's own validation may object to the type
        assert "config.json" in str(error)


def test_no_config(copy):
    folder = copy()
    (folder / "config.json").unlink()
    assert "there is no config.json" in refused(folder)


@pytest.mark.parametrize("text, said", [("{", "config.json, line 1: is not valid JSON"), ("[1]", "holds no JSON object"), ("{}", "names no model_type"), ('{"model_type": 3}', "names no model_type")])
def test_config_that_is_none(text, said, copy):
    folder = copy()
    (folder / "config.json").write_text(text)
    assert said in refused(folder)


def test_config_that_is_not_text(copy):
    folder = copy()
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "config.json: can't be read" in refused(folder)


def test_config_with_impossible_values(copy):
    folder = copy()
    configure(folder, hidden_size=30, num_attention_heads=4)
    assert "not a multiple of the number of attention heads" in refused(folder)
    configure(folder, hidden_size="32")
    assert refused(folder).count("\n") == 0 and "config.json: is not a configuration that can be read" in refused(folder) and "hidden_size" in refused(folder)


def test_unknown_architecture(copy):
    folder = copy()
    configure(folder, model_type="brt")
    said = refused(folder)
    assert 'field "model_type"' in said and 'Did you mean "bert"?' in said and "config.json" in said
    configure(folder, model_type="quantum-zebra-9")
    assert "A newer transformers may have it" in refused(folder)


def test_78_another_architecture_than_the_weights(copy):
    folder = copy()
    configure(folder, model_type="distilbert", architectures=...)
    assert "would be random" in refused(folder) and "config.json and weights don't belong together" in refused(folder)
    spec = ModelSpec(id=str(folder))
    with pytest.raises(ModelError, match="would be random"):
        load_encoder(find_model(spec), spec, "eager")
    configure(folder, model_type="roberta", architectures=["BertModel"])  # the same tensor names: only config.json gives it away
    assert 'architectures says "BertModel"' in refused(folder)


@pytest.mark.parametrize("change, said", [({"num_hidden_layers": 4}, "32 tensors of the model are not in the weights"), ({"vocab_size": 99}, "config.json asks for (99, 32)"), ({"hidden_size": 64}, "config.json asks for")])
def test_weights_that_do_not_fit_the_configuration(change, said, copy):
    folder = copy()
    configure(folder, **change)
    assert said in refused(folder)


def test_layers_that_the_configuration_does_not_count(copy):
    folder = copy()
    configure(folder, num_hidden_layers=1)
    assert "16 tensors of further layers are in the weights and would be left out: encoder.layer.1" in refused(folder)
    configure(folder, num_hidden_layers=0)
    assert "a model without layers" in refused(folder)


def test_encoder_decoder(tiny_model):
    assert "encoder-decoder" in refused(tiny_model("t5")) and '"t5"' in refused(tiny_model("t5"))


@pytest.mark.parametrize("model_type", ["vit", "whisper", "wav2vec2", "clip", "gemma3"])
def test_pictures_and_sound(model_type, copy):
    folder = copy()
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    said = refused(folder)
    assert "not a text model" in said or "encoder-decoder" in said
    assert "no tokenizer" not in said or "encoder-decoder" in said


def test_81_remote_code(copy, tmp_path):
    folder = copy()
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nfrom transformers import BertConfig\nclass OwnConfig(BertConfig): model_type = 'own'\n")
    configure(folder, model_type="own", auto_map={"AutoConfig": "own.OwnConfig"})
    said = refused(folder)
    assert "auto_map" in said and "model.trust_remote_code: true" in said and not ran.exists()
    configure(folder, model_type="bert")  # transformers has code of its own for it: theirs is not run
    check(folder)
    assert not ran.exists()


def test_quantised_weights(copy):
    folder = copy()
    configure(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "quantised" in refused(folder)


def test_84_an_adapter_is_not_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/base", "peft_type": "LORA"}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    said = refused(tmp_path)
    assert "is an adapter, not a model" in said and '"someone/base"' in said


def test_a_classifier_that_was_trained_here(copy):
    folder = copy()
    configure(folder, model_type="finetune_wb_classifier")
    assert "Name the model its run started from" in refused(folder)


@pytest.mark.parametrize("labels", [3, 7])
def test_79_86_a_task_head_in_the_folder_is_left_out(labels, tmp_path, tiny_model):
    """A head for other classes neither breaks loading nor is it taken for ours."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel
    base = BertModel.from_pretrained(tiny_model("bert"))
    folder = shutil.copytree(tiny_model("bert"), tmp_path / "model")
    headed = BertForSequenceClassification(BertConfig(**(base.config.to_dict() | {"num_labels": labels})))
    headed.bert = base
    headed.save_pretrained(folder)
    assert "classifier.weight" in read_header(folder / "model.safetensors")
    check(folder)
    _, encoder, _ = encode(folder, ["the cat"])
    assert not any(name.startswith("classifier") for name, _ in encoder.named_parameters())
    assert torch.equal(encoder.embeddings.word_embeddings.weight, base.embeddings.word_embeddings.weight)


# ---- what is refused: the tokenizer

def test_71_no_tokenizer(copy):
    folder = copy()
    (folder / "tokenizer.json").unlink()
    said = refused(folder)
    assert "there is no tokenizer" in said and "tokenizer.json" in said and str(folder) in said


@pytest.mark.parametrize("content, said", [("{", "can't be loaded"), ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer, not the vocabulary")])
def test_a_tokenizer_that_is_none(content, said, copy):
    folder = copy()
    (folder / "tokenizer.json").write_text(content)
    assert said in refused(folder)


def test_a_tokenizer_without_words(copy):
    folder = copy()
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    empty = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=empty, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    assert "knows no words" in refused(folder)


@pytest.mark.parametrize("kind", DECODERS)
def test_73_74_no_pad_token_or_pad_is_eos(kind, tiny_model):
    """The end-of-text token pads: no new embedding row, and an end-of-text in a row still counts."""
    import torch
    spec = ModelSpec(id=str(tiny_model(kind)))
    tokenizer = load_tokenizer(find_model(spec), spec)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id and tokenizer.padding_side == "right"
    rows = tokenizer(["the cat" + tokenizer.eos_token, "the bird eats quickly"], padding=True, return_tensors="pt")
    real = len(tokenizer("the cat" + tokenizer.eos_token)["input_ids"])
    assert rows["input_ids"][0, real - 1] == tokenizer.eos_token_id and rows["attention_mask"][0].sum() == real
    assert torch.equal(rows["attention_mask"][0].sort(descending=True).values, rows["attention_mask"][0])


@pytest.mark.parametrize("template", [None, "{{ messages[0]['content'] }}", "{% for m in messages %}"])
def test_72_a_chat_template_missing_set_or_broken_is_not_asked_to_classify(template, copy):
    folder, texts = copy("llama"), ["the cat runs", "one two"]
    plain_ids = load_tokenizer(*_source(folder))(texts)["input_ids"]
    if template is not None: (folder / "chat_template.jinja").write_text(template)
    check(folder)
    assert load_tokenizer(*_source(folder))(texts)["input_ids"] == plain_ids


@pytest.mark.parametrize("kind", DECODERS)
def test_75_an_end_of_turn_that_is_not_eos_changes_no_row_to_classify(kind, copy):
    """A chat model's generation_config ends turns by another token; rows to classify carry neither."""
    folder = copy(kind)
    before = load_tokenizer(*_source(folder))(["the cat runs"])["input_ids"]
    configure(folder, "generation_config.json", eos_token_id=[0, 7])
    check(folder)
    tokenizer = load_tokenizer(*_source(folder))
    assert tokenizer(["the cat runs"])["input_ids"] == before
    assert tokenizer.eos_token_id not in before[0][1:]


@pytest.mark.parametrize("kind", ENCODERS + DECODERS)
def test_60_a_row_that_fills_the_length_keeps_its_special_tokens_and_is_counted(kind, tiny_model):
    from finetune_wb.training.encode import encode
    tokenizer = load_tokenizer(*_source(tiny_model(kind)))
    whole = tokenizer("cat")["input_ids"]
    rows = encode(tokenizer, ["cat " * 80, "cat"], 4)
    assert rows.cut == (0,) and len(rows.input_ids[0]) == 4 and rows.input_ids[1] == whole
    special = set(tokenizer.all_special_ids)
    assert [t for t in rows.input_ids[0] if t in special] == [t for t in whole if t in special]


def _source(folder: Path):
    "A folder's source and spec, as `load_tokenizer` takes them."
    spec = ModelSpec(id=str(folder))
    return find_model(spec), spec


def test_a_tokenizer_that_pads_left_is_turned_round(copy):
    folder = copy("gpt2")
    configure(folder, "tokenizer_config.json", padding_side="left", truncation_side="left")
    tokenizer, _, _ = encode(folder, ["the cat", "the"])
    assert tokenizer.padding_side == tokenizer.truncation_side == "right"


def test_76_more_tokens_than_embedding_rows(copy):
    folder = copy()
    tokenizer = tiny_tokenizer("bert", model_max_length=64)
    tokenizer.add_tokens(["zebra", "quokka"])
    tokenizer.save_pretrained(folder)
    assert "token ids up to 125, the embedding has 124 rows" in refused(folder)
    assert "the tokenizer that came with the model" in refused(folder)


def test_fewer_tokens_than_embedding_rows_is_how_many_models_are(tmp_path):
    folder = build_tiny_model("bert", tmp_path / "padded", vocab_size=128)
    check(folder)


def test_77_another_tokenizer_of_the_same_size(copy):
    """Nothing in a folder tells for sure; ids of special tokens that disagree are refused, and the record holds the hash."""
    folder = copy("roberta")
    spec = ModelSpec(id=str(folder))
    before = describe_model(find_model(spec))["tokenizer_sha256"]
    tiny_tokenizer("bert", model_max_length=64).save_pretrained(folder)
    assert "the tokenizer pads with id 0, the model with id 1" in refused(folder)
    assert describe_model(find_model(spec))["tokenizer_sha256"] != before


# ---- what is refused: the weights

def pickled(folder: Path) -> Path:
    import torch
    from safetensors.torch import load_file
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_80_pickles_only_on_request(copy):
    folder = pickled(copy())
    said = refused(folder)
    assert "a pickle can run code" in said and "model.allow_pickle: true" in said and "pytorch_model.bin" in said
    spec = ModelSpec(id=str(folder))
    with pytest.raises(ModelError, match="allow_pickle"):
        load_encoder(find_model(spec), spec, "eager")
    check(folder, allow_pickle=True)
    _, encoder, _ = encode(folder, ["the cat"], allow_pickle=True)
    assert type(encoder).__name__ == "BertModel" and describe_model(find_model(spec))["parameters"] is None


def test_80_a_pickle_that_runs_code_does_not(copy, tmp_path):
    import pickle
    folder, ran = copy(), tmp_path / "ran"

    class Boom:
        def __reduce__(self):
            return open, (str(ran), "w")

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Boom()}))
    spec = ModelSpec(id=str(folder), allow_pickle=True)
    with pytest.raises(ModelError, match="can't be loaded"):
        load_encoder(find_model(spec), spec, "eager")
    assert not ran.exists()


def test_safetensors_are_preferred_to_a_pickle_beside_them(copy):
    folder = copy()
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    for allow in (False, True):
        check(folder, allow_pickle=allow)
        encode(folder, ["the cat"], allow_pickle=allow)


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1])
def test_82_truncated_weights(keep, copy):
    folder = copy()
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:keep])
    said = refused(folder)
    assert "model.safetensors: is cut short" in said and "Fetch the file again" in said


@pytest.mark.parametrize("content", [b"\xff" * 100, (20).to_bytes(8, "little") + b"{" * 40, (2).to_bytes(8, "little") + b"[]", (12).to_bytes(8, "little") + b'{"a":"b"}   ', b"<html>404</html>"])
def test_weights_that_are_none(content, copy):
    folder = copy()
    (folder / "model.safetensors").write_bytes(content)
    assert "model.safetensors: " in refused(folder)


def test_83_lfs_pointer_in_place_of_weights(copy):
    folder = copy()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:53aa51\nsize 90868376\n"
    (folder / "model.safetensors").write_bytes(pointer)
    assert "git-lfs pointer, not the weights" in refused(folder) and "git lfs pull" in refused(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pointer)
    assert "git-lfs pointer, not the weights" in refused(folder, allow_pickle=True)


def shards(folder: Path) -> Path:
    from transformers import AutoModel
    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="30KB")
    return folder


def test_shards_missing_cut_and_astray(copy):
    folder = shards(copy())
    check(folder)
    encode(folder, ["the cat"])
    files = sorted(folder.glob("model-*.safetensors"))
    assert len(files) > 2
    files[0].write_bytes(files[0].read_bytes()[:-1])
    files[1].unlink()
    said = refused(folder)
    assert f"{files[0].name}: is cut short" in said and f"{files[1].name}: the index names this shard, and it is not there" in said
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    assert "names a shard outside the folder" in refused(folder)
    for broken, said in (("{", "index.json, line 1: is not valid JSON"), ("{}", "names no shards")):
        index.write_text(broken)
        assert said in refused(folder)


def test_weights_of_another_kind(copy):
    folder = copy()
    (folder / "model.safetensors").rename(folder / "model.gguf")
    said = refused(folder)
    assert "has no weights that can be loaded" in said and "model.gguf" in said


def test_everything_at_once(copy):
    folder = pickled(copy())
    (folder / "tokenizer.json").unlink()
    configure(folder, model_type="brt", quantization_config={"bits": 4})
    (folder / "1_Pooling").mkdir()
    with pytest.raises(ModelError) as caught:
        check(folder)
    assert len(caught.value.problems) == 4 and all(str(folder) in str(p) for p in caught.value.problems)
    said = str(caught.value)
    assert all(part in said for part in ("pickle", "tokenizer", '"bert"', "quantised"))


def test_nothing_at_all(tmp_path):
    spec = ModelSpec(id=str(tmp_path))
    for load in (load_tokenizer, lambda source, spec: load_encoder(source, spec, "eager")):
        with pytest.raises(ModelError):
            load(find_model(spec), spec)
    said = refused(tmp_path)
    assert "has no weights" in said and "there is no config.json" in said and "there is no tokenizer" in said


# ---- pooling

@pytest.mark.parametrize("own, expected", [({"pooling_mode_mean_tokens": True}, "mean"), ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"), ({"pooling_mode_lasttoken": True}, "last"), ({"pooling_mode": "cls"}, "cls")])
def test_pooling_follows_the_models_own_file(own, expected, copy):
    folder = copy()
    (folder / "1_Pooling").mkdir()
    configure(folder, "1_Pooling/config.json", **own)
    _, encoder, _ = encode(folder, ["the cat"])
    for asked, got in (("auto", expected), ("mean", "mean"), ("cls", "cls")):
        spec = ModelSpec(id=str(folder), pooling=asked)
        assert pooling_of(find_model(spec), spec, encoder.config) == got


@pytest.mark.parametrize("own", [{"pooling_mode_max_tokens": True}, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, {}])
def test_pooling_that_is_none_of_ours(own, copy):
    folder = copy()
    (folder / "1_Pooling").mkdir()
    configure(folder, "1_Pooling/config.json", **own)
    said = refused(folder)
    assert "1_Pooling/config.json" in said and "model.pooling" in said
    check(folder, pooling="mean")


def test_first_token_of_a_decoder(tiny_model):
    assert "has seen nothing" in refused(tiny_model("gpt2"), pooling="cls")
    check(tiny_model("gpt2"), pooling="mean")


# ---- lengths and descriptions

def test_length_of_a_sentence_encoder(copy):
    folder = copy()
    configure(folder, "sentence_bert_config.json", max_seq_length=20)
    tokenizer, encoder, _ = encode(folder, ["the cat"])
    assert max_positions(encoder, tokenizer) == describe_model(find_model(ModelSpec(id=str(folder))))["max_length"] == 20


def test_a_length_that_tokenizer_json_brings_along_is_taken_off():
    """MiniLM's cuts and fills every row to 128 tokens where the tokenizer behind is called itself."""
    spec = ModelSpec()
    tokenizer = load_tokenizer(find_model(spec), spec)
    assert tokenizer.model_max_length == 256
    assert [len(tokenizer.backend_tokenizer.encode("cat " * n).ids) for n in (3, 400)] == [5, 402]


def test_length_that_nobody_says(tiny_model):
    from transformers import BloomConfig
    spec = ModelSpec(id=str(tiny_model("llama")))
    assert max_positions(BloomConfig(), load_tokenizer(find_model(spec), spec)) == 512


@pytest.mark.parametrize("kind", ENCODERS + DECODERS)
def test_description_counts_what_loads(kind, tiny_model):
    spec = ModelSpec(id=str(tiny_model(kind)))
    source = find_model(spec)
    told, encoder = describe_model(source), load_encoder(source, spec, "eager")
    assert told["parameters"] == sum(p.numel() for p in encoder.parameters()) and told["dtype"] == "F32"
    assert (told["architecture"], told["layers"], told["hidden_size"]) == (encoder.config.model_type, 2, 32)
    assert told["sha256"] and told["license"] is None and json.dumps(told)


def test_description_of_a_damaged_folder(copy):
    folder = copy()
    source = find_model(ModelSpec(id=str(folder)))
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="cut short"):
        describe_model(source)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        describe_model(source)


@pytest.mark.parametrize("card, license", [("---\nlicense: mit\n---\ntext", "mit"), ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"), ("no front matter", None), ("---\nlicense: !!python/object:os.system x\n---\n", None),
                                           ("---\n- a\n---\n", None), ("---\n", None), ('---\nlicense: "\\e[31m<b>\\u202e"\n---\n', "\\x1b[31m<b>\\u202e")])
def test_licence_of_a_card_is_plain_text(card, license, copy):
    folder = copy()
    (folder / "README.md").write_text(card)
    assert describe_model(find_model(ModelSpec(id=str(folder))))["license"] == license
