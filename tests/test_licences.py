"""Licences: every name of the hub has an answer, and no name that a stranger writes breaks it."""
import pytest

from finetune_wb.models.licences import GATES, LICENCES, licence_of

# The identifiers of https://huggingface.co/docs/hub/repositories-licenses
HUB = """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0
gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown other""".split()


@pytest.mark.parametrize("name", HUB)
def test_the_hubs_licences_are_known(name):
    found = licence_of(name)
    assert found.gate in GATES and found.allows.endswith(".") and found.asks.endswith(".") and found.title
    assert found.id == ("" if name == "unknown" else name)
    if name not in ("unknown", "other", "cc", "apple-ascl"): assert found.gate != "unknown"


def test_gates_follow_the_terms():
    for name, licence in LICENCES.items():
        assert name == licence.id and name == name.lower()
        if "-nc" in name or "noncommercial" in name or "research" in name: assert licence.gate == "non-commercial", name
        if "gpl" in name or "rail" in name or "llama" in name or name.startswith("cc-by-sa"): assert licence.gate == "conditions", name
    assert {licence_of(name).gate for name in ("mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0")} == {"open"}
    assert "fine-tuned model, may not be shared" in licence_of("cc-by-nd-4.0").asks


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\x1b[2J\x1b[H", "\u202emit", "a" * 100_000, ",,,", "[]", "mit\n\napache", "none", "\ud800", "{{ 7*7 }}"])
def test_a_strangers_name_is_text(name):
    found = licence_of(name)
    assert found.gate in ("unknown", "non-commercial") and len(str(found)) < 500
    assert not {"\x1b", "\u202e", "\n", "\ud800"} & set(str(found))


def test_several_licences_are_as_narrow_as_the_narrowest():
    assert licence_of("mit, apache-2.0").gate == "open"
    assert licence_of("mit, gpl-3.0").gate == "conditions" and "GNU GPL 3.0" in licence_of("mit, gpl-3.0").title
    assert licence_of("mit, something of ours").gate == "unknown"
    assert licence_of(",".join(["mit"] * 1000 + ["cc-by-nc-4.0"])).title == "MIT and Creative Commons Attribution-NonCommercial 4.0"
    assert "and 95 more" in licence_of(",".join(f"licence {i}" for i in range(98))).title
