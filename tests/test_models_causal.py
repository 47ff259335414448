"""Language models with every weight, or a refusal."""

import json

import pytest
from causal_models import KINDS, build_causal_model, causal_model  # noqa: F401

from finetune_wb.errors import ModelError
from finetune_wb.models.catalog import find_model
from finetune_wb.models.causal import load_causal, outline
from finetune_wb.recipe import ModelSpec


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_loads_whole_in_float32_with_the_dropout_that_was_asked_for(causal_model, kind):  # noqa: F811
    import torch
    from transformers import AutoModelForCausalLM

    spec = ModelSpec(id=str(causal_model(kind)))
    model = load_causal(find_model(spec), spec, "sdpa", dropout=0.25)
    theirs = AutoModelForCausalLM.from_pretrained(causal_model(kind))
    assert {p.dtype for p in model.parameters()} == {torch.float32} and not model.training
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in model.state_dict().items())
    assert 0.25 in [value for name, value in model.config.to_dict().items() if "drop" in name]
    assert model.generation_config.eos_token_id == theirs.generation_config.eos_token_id


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_weights_of_more_layers_than_the_configuration_are_refused(tmp_path, kind):
    "transformers leaves the further layers out, with a line in a log."
    folder = build_causal_model(kind, tmp_path / kind)
    config = json.loads((folder / "config.json").read_text())
    name = "n_layer" if kind == "gpt2" else "num_hidden_layers"
    extra = {"layer_types": config["layer_types"][:1]} if config.get("layer_types") else {}
    (folder / "config.json").write_text(json.dumps({**config, name: 1, **extra}))
    spec = ModelSpec(id=str(folder))
    for load in (outline, load_causal):
        with pytest.raises(ModelError, match="would be left out"):
            load(find_model(spec), spec)
