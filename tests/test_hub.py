"""The hub of our own (tests/hub.py), asked by huggingface_hub's real client: what other tests stand on."""

import hashlib
import time
from pathlib import Path

import pytest
from hub import TOKEN, Hub, Repo, safetensors_bytes
from huggingface_hub import HfApi, errors, get_safetensors_metadata, hf_hub_download, snapshot_download

WEIGHTS = safetensors_bytes({"a": (1000, 20), "b": (7,)})
FILES = {"config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}', "model.safetensors": WEIGHTS, "sub/extra.txt": b"x"}


def repos():
    yield Repo("someone/tiny", FILES, pipeline_tag="text-classification", card={"license": "mit", "language": ["en", "de"]}, downloads=5, likes=1, history=({"config.json": b"{}"},), refs={"v1": 0})
    yield Repo("gpt2", {"config.json": b"{}"}, downloads=90)
    yield Repo("owner/gated", FILES, gated="auto", downloads=50)
    yield Repo("owner/closed", FILES, gated="manual", closed_to_token=True, downloads=40)
    yield Repo("owner/private", FILES, private=True)
    for i in range(7): yield Repo(f"many/model-{i}", downloads=10 + i, pipeline_tag="fill-mask")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub(repos(), page=4) as running: yield running.use(monkeypatch, tmp_path)


def test_the_list_filters_sorts_and_pages(hub):
    api = HfApi()
    names = [m.id for m in api.list_models(sort="downloads")]
    assert names[:3] == ["gpt2", "owner/gated", "owner/closed"] and len(names) == 11 and "owner/private" not in names  # 3 pages of 4
    assert len([p for p in hub.paths() if p == "/api/models"]) == 3
    assert [m.id for m in api.list_models(search="TINY")] == ["someone/tiny"]
    assert [m.id for m in api.list_models(filter=["license:mit", "de"])] == ["someone/tiny"]
    assert [m.id for m in api.list_models(pipeline_tag="fill-mask", sort="downloads", limit=2)] == ["many/model-6", "many/model-5"]
    assert {m.id for m in api.list_models(gated=True)} == {"owner/gated", "owner/closed"}
    assert {m.id for m in api.list_models(num_parameters="max:30K")} == {"someone/tiny", "owner/gated", "owner/closed"} and not [*api.list_models(num_parameters="min:1B")]
    (tiny,) = api.list_models(search="tiny", expand=["safetensors", "cardData", "lastModified", "gated"])
    assert tiny.safetensors.total == 20_007 and tiny.card_data.license == "mit" and tiny.gated is False and tiny.downloads is None
    assert "owner/private" in {m.id for m in HfApi(token=TOKEN).list_models()}


def test_info_says_what_the_hub_says(hub):
    info = HfApi().model_info("someone/tiny", files_metadata=True)
    sizes = {s.rfilename: (s.size, s.lfs and s.lfs.sha256) for s in info.siblings}
    assert sizes["model.safetensors"] == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest()) and sizes["config.json"][1] is None
    assert info.sha == hub.repos["someone/tiny"].sha and info.safetensors.parameters == {"F32": 20_007} and info.config["model_type"] == "bert"
    assert HfApi().model_info("someone/tiny", revision="v1").sha != info.sha
    assert HfApi().model_info("owner/gated").gated == "auto"  # the page of a gated model is open, its files are not
    with pytest.raises(errors.RevisionNotFoundError): HfApi().model_info("someone/tiny", revision="v9")
    assert {f.path for f in HfApi().list_repo_tree("someone/tiny", recursive=True)} == {*FILES, "sub"}
    assert [t.name for t in HfApi().list_repo_refs("someone/tiny").tags] == ["v1"]


def test_files_come_by_redirects_and_no_token_goes_to_the_other_host(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = snapshot_download("owner/gated")
    assert {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()} == set(FILES)
    assert open(f"{folder}/model.safetensors", "rb").read() == WEIGHTS and folder.endswith(hub.repos["owner/gated"].sha)
    cdn = [a for a in hub.asked if a.to == "cdn"]
    assert cdn and not any(a.token for a in cdn) and any(a.token == TOKEN for a in hub.asked if a.to == "hub")
    assert open(hf_hub_download("gpt2", "config.json"), "rb").read() == b"{}"


def test_headers_are_read_by_ranges(hub):
    found = get_safetensors_metadata("someone/tiny")
    assert found.parameter_count == {"F32": 20_007}
    assert any(a.headers.get("range") == "bytes=0-100000" for a in hub.asked if a.to == "cdn")


def test_refusals(hub, monkeypatch):
    with pytest.raises(errors.GatedRepoError, match="401"): hf_hub_download("owner/gated", "config.json")
    with pytest.raises(errors.RepositoryNotFoundError, match="401"): hf_hub_download("owner/private", "config.json")
    with pytest.raises(errors.RepositoryNotFoundError, match="401"): HfApi().model_info("no/such")
    with pytest.raises(errors.EntryNotFoundError): hf_hub_download("someone/tiny", "none.txt")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(errors.RepositoryNotFoundError, match="404"): HfApi().model_info("no/such")
    with pytest.raises(errors.GatedRepoError, match="403"): hf_hub_download("owner/closed", "config.json")
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(errors.HfHubHTTPError, match="401"): HfApi().model_info("someone/tiny")


def test_a_busy_hub_is_asked_again_after_the_time_it_names(hub):
    hub.fault("/api/models\\?", status=429, retry_after=0)
    assert [m.id for m in HfApi().list_models(search="tiny")] == ["someone/tiny"] and hub.paths() == ["/api/models"] * 2
    hub.fault("/api/models/someone", status=503, times=None)
    with pytest.raises(errors.HfHubHTTPError, match="503"): HfApi().model_info("someone/tiny")


def test_a_cut_download_goes_on_where_it_stopped(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)  # 10 MB; what came of a chunk is lost with the connection
    hub.fault("/lfs/", cut=30_000)
    assert open(hf_hub_download("someone/tiny", "model.safetensors"), "rb").read() == WEIGHTS
    assert [a.headers.get("range") for a in hub.asked if a.to == "cdn"] == [None, "bytes=30000-"]


def test_slow_dropped_and_corrupt_answers(hub):
    hub.fault("/lfs/", pace=400_000)
    started = time.monotonic()
    hf_hub_download("someone/tiny", "model.safetensors")
    assert time.monotonic() - started > 0.1  # 80 KB; without the fault a few milliseconds
    hub.fault("/api/models/", drop=True)
    with pytest.raises(Exception, match="disconnected"): HfApi().model_info("someone/tiny")
    hub.fault("config.json", corrupt=True, method="GET")
    assert open(hf_hub_download("gpt2", "config.json"), "rb").read() == b"z}"  # huggingface_hub itself does not compare hashes


def test_an_environment_for_another_process_holds_no_stranger_settings(hub, monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HTTPS_PROXY", "HF_HUB_OFFLINE"): monkeypatch.setenv(name, "leftover")
    made = hub.environment(tmp_path)
    assert "leftover" not in [made.get(n) for n in ("HF_TOKEN", "HTTPS_PROXY", "HF_HUB_OFFLINE")] and made["HF_ENDPOINT"] == hub.url and made["HF_HOME"] == str(tmp_path)
