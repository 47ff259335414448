"""Downloads from a hub on loopback: resumed, verified, cancelled, and refused in our words."""
import errno
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from architectures import architecture, load  # noqa: F401
from hub import TOKEN, Hub, Repo, point_at, safetensors_bytes, wait_until

from finetune_wb.errors import ModelError
from finetune_wb.models import download as module
from finetune_wb.models.catalog import find_model
from finetune_wb.models.download import download
from finetune_wb.recipe import ModelSpec

ID = "acme/tiny"


@pytest.fixture
def home(tmp_path): return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch, tmp_path, home):
    monkeypatch.setenv("FTWB_CACHE", str(tmp_path / "measured"))
    with Hub() as server: yield server.use(monkeypatch, home)


@pytest.fixture
def repo(hub, architecture): return hub.add(Repo(ID, architecture("bert"), lfs_from=1000))  # noqa: F811


@pytest.fixture
def large(hub, architecture):  # noqa: F811
    """Weights of 4 MB that are no weights of anything: what counts is the bytes."""
    files = {f.name: f.read_bytes() for f in architecture("bert").iterdir()}
    return hub.add(Repo(ID, files | {"model.safetensors": safetensors_bytes({"a": (1000, 1000)})}, lfs_from=1000))


def parts(home: Path) -> list[Path]: return sorted((home / "hub").rglob("*.incomplete"))


def fetches(hub) -> list: return [a for a in hub.asked if a.method == "GET" and "/lfs/" in a.path]


def failed(job) -> str:
    assert job.wait(60).state == "failed"
    with pytest.raises(ModelError) as caught: job.check()
    return str(caught.value)


# ------------------------------------------------------------------------------------------------- the whole way


def test_find_model_has_it_afterwards_without_a_network(repo, hub, home, monkeypatch, tmp_path):
    seen = []
    job = download(ID, on_progress=lambda job: seen.append((job.state, job.done, job.total))).wait(60)
    assert (job.state, job.error, job.commit) == ("finished", None, repo.sha) and job.check() is job
    assert job.done == job.total == sum(map(len, repo.files.values()))
    assert seen[0][0] == "running" and seen[-1] == ("finished", job.total, job.total) and [d for _, d, _ in seen] == sorted(d for _, d, _ in seen)
    point_at(monkeypatch, "http://127.0.0.1:9", home)
    source = find_model(ModelSpec(id=ID))
    assert source.commit == repo.sha and source.folder == job.folder and sum(p.numel() for p in load(source.folder).parameters()) > 0
    assert not parts(home)


def test_what_is_here_is_not_fetched_again(repo, hub):
    download(ID).wait(60).check()
    hub.asked.clear()
    job = download(ID).wait(60).check()
    assert job.done == job.total > 0 and not [a for a in hub.asked if "/resolve/" in a.path or "/lfs/" in a.path]


def test_by_the_commit_of_a_card_it_is_found_by_name(repo, hub, home, monkeypatch):
    download(ID, repo.sha).wait(60).check()
    point_at(monkeypatch, "http://127.0.0.1:9", home)
    assert find_model(ModelSpec(id=ID)).commit == repo.sha


def test_an_older_revision_does_not_become_the_branch(repo, hub, home, monkeypatch):
    files = dict(repo.files)
    new = hub.add(Repo(ID, {**files, "README.md": b"new"}, history=(files,), refs={"v1": 0}, lfs_from=1000))
    old = new.commits()[0][0]
    assert download(ID, "v1").wait(60).check().commit == old and download(ID, old).wait(60).check().commit == old
    point_at(monkeypatch, "http://127.0.0.1:9", home)
    assert find_model(ModelSpec(id=ID, revision="v1")).commit == old
    with pytest.raises(ModelError): find_model(ModelSpec(id=ID))


def test_shards_and_only_what_a_text_model_needs(hub, architecture):  # noqa: F811
    files = {f.name: f.read_bytes() for f in architecture("llama", "sharded").iterdir()}
    hub.add(Repo(ID, {**files, "pytorch_model.bin": b"pickled" * 1000, "onnx/model.onnx": b"o" * 9000, "evil.py": b"1 / 0"}, lfs_from=1000))
    job = download(ID).wait(60).check()
    assert {f.name for f in job.folder.iterdir()} == set(files) and "generation_config.json" in files
    assert not [a for a in hub.asked if a.path.endswith((".py", ".onnx", ".bin"))]


def test_embedded_models_and_folders_are_finished_at_once(architecture):  # noqa: F811
    assert [download(id).wait(60).check().state for id in ("minilm", str(architecture("bert")))] == ["finished"] * 2


# ------------------------------------------------------------------------------------------------- cuts


def test_a_cut_is_gone_on_with_by_a_range(large, hub, monkeypatch):
    monkeypatch.setattr(module.Download, "_pause", lambda self, seconds, why: None)
    hub.fault("/lfs/", cut=1_500_000)
    job = download(ID).wait(60).check()
    first, second = fetches(hub)
    assert "range" not in first.headers and int(second.headers["range"].removeprefix("bytes=").rstrip("-")) > 500_000
    assert (job.folder / "model.safetensors").read_bytes() == large.files["model.safetensors"]


def test_a_cut_for_good_keeps_its_part_and_the_next_download_goes_on(large, hub, home, monkeypatch):
    monkeypatch.setattr(module.Download, "_pause", lambda self, seconds, why: None)
    hub.fault("/lfs/", cut=1_000_000)
    hub.fault("/lfs/", drop=True, times=None)
    assert "can't be reached" in failed(download(ID))
    part, = parts(home)
    have = part.stat().st_size
    assert 500_000 < have < 4_000_000 and part.read_bytes() == large.files["model.safetensors"][:have]
    hub.heal()
    hub.asked.clear()
    job = download(ID).wait(60).check()
    asked, = fetches(hub)
    assert asked.headers["range"] == f"bytes={have}-" and not parts(home)
    assert (job.folder / "model.safetensors").read_bytes() == large.files["model.safetensors"]


def test_a_part_that_was_damaged_meanwhile_is_thrown_away(large, hub, home):
    sha = hashlib.sha256(large.files["model.safetensors"]).hexdigest()
    for body in (b"x" * 1000, b"x" * 5_000_000):
        shutil.rmtree(home, ignore_errors=True)
        blobs = home / "hub/models--acme--tiny/blobs"
        blobs.mkdir(parents=True)
        (blobs / f"{sha}.incomplete").write_bytes(body)
        job = download(ID).wait(60).check()
        assert (job.folder / "model.safetensors").read_bytes() == large.files["model.safetensors"] and job.done == job.total


def test_other_content_than_listed_is_never_put_in_place(large, hub, home):
    hub.fault("/lfs/", corrupt=True, times=None)
    assert "does not have the hash that the hub lists" in failed(download(ID))
    assert len(fetches(hub)) == 2 and not parts(home) and not list((home / "hub").rglob("snapshots/*/model.safetensors"))
    hub.heal()
    assert download(ID).wait(60).state == "finished"


def test_small_files_are_verified_too(repo, hub, home):
    hub.fault("resolve-cache/.*/config.json", corrupt=True, method="GET")
    assert "config.json: does not have the hash" in failed(download(ID))
    assert not list((home / "hub").rglob("snapshots/*/config.json"))
    assert download(ID).wait(60).state == "finished"


# ------------------------------------------------------------------------------------------------- cancel, progress


def test_cancel_stops_in_the_middle_and_keeps_the_part(large, hub, home):
    hub.fault("/lfs/", pace=2_000_000, times=None)
    job = download(ID)
    wait_until(lambda: parts(home) and parts(home)[0].stat().st_size > 100_000)
    begun = time.monotonic()
    job.cancel()
    assert job.wait(10).state == "cancelled" and time.monotonic() - begun < 10 and job.error is None
    have = parts(home)[0].stat().st_size
    assert 0 < have < 4_000_000 and 0 < job.done < job.total
    hub.heal()
    assert download(ID).wait(60).check().done == job.total
    assert fetches(hub)[-1].headers["range"] == f"bytes={have}-"


def test_cancel_wakes_a_download_that_waits(large, hub):
    hub.fault("/lfs/", status=429, retry_after=50, times=None)
    job = download(ID)
    wait_until(lambda: job.note)
    job.cancel()
    assert job.wait(10).state == "cancelled"


def test_a_pause_of_an_hour_for_a_small_file_is_neither_waited_for_nor_in_the_way_of_cancel(large, hub, monkeypatch):
    from finetune_wb.models import glimpse
    from finetune_wb.models.card import inspect_model
    hub.fault("resolve/.*config.json", status=429, retry_after=3600, times=None)
    job = download(ID)
    wait_until(lambda: any("config.json" in a.path for a in hub.asked))
    job.cancel()
    assert job.wait(20).state == "cancelled"
    monkeypatch.setattr(module, "_PATIENCE", 1.0)
    monkeypatch.setattr(glimpse, "_LONG", 1.0)
    assert "can't be reached (TimeoutError)" in failed(download(ID))
    card = inspect_model(ID, memory=False)
    assert not card.verdict.ok and "can't be reached (TimeoutError)" in card.verdict.reason
    hub.heal()
    hub.fault("/lfs/", pace=20, times=None)  # nor for a header that comes byte by byte
    assert "can't be reached (TimeoutError)" in inspect_model(ID, memory=False).verdict.reason


def test_two_at_once_share_the_work(large, hub):
    jobs = [download(ID) for _ in range(3)]
    assert [job.wait(60).state for job in jobs] == ["finished"] * 3
    assert len(fetches(hub)) == 1


def test_a_callback_that_fails_stops_nothing(repo):
    assert download(ID, on_progress=lambda job: 1 / 0).wait(60).state == "finished"


def test_it_runs_beside_us(large, hub):
    hub.fault("/lfs/", delay=0.5)
    job = download(ID)
    assert job.state in ("waiting", "running") and threading.current_thread() is not job._thread and "Download(acme/tiny" in repr(job)
    assert job.wait(0.01) is job and job.wait(60).state == "finished"


# ------------------------------------------------------------------------------------------------- errors in our words


def test_429_is_waited_for_as_long_as_the_hub_says(large, hub, monkeypatch):
    waited = []
    monkeypatch.setattr(module.Download, "_pause", lambda self, seconds, why: waited.append((seconds, why)))
    hub.fault("/lfs/", status=429, retry_after=7, times=2)
    assert download(ID).wait(60).state == "finished" and waited == [(7.0, "the hub asks to wait")] * 2


@pytest.mark.parametrize("fault, says", [({"status": 429, "retry_after": 3600}, "takes no more requests for 3,600 seconds"), ({"status": 503}, "keeps answering with status 503"), ({"status": 404}, "status 404"), ({"status": 403}, "refuses access")])
def test_answers_that_stay_bad(fault, says, large, hub, home, monkeypatch):
    monkeypatch.setattr(module.Download, "_pause", lambda self, seconds, why: None)
    hub.fault("/lfs/", times=None, **fault)
    assert says in failed(download(ID))


def test_models_that_can_not_be_had(hub, repo, home, monkeypatch):
    assert "no such model, or it is private" in failed(download("acme/nothing"))
    assert "no such revision" in failed(download(ID, "v9"))
    assert "or a hub id" in failed(download("what is this?"))
    hub.add(Repo("acme/closed", dict(repo.files), gated="manual", lfs_from=1000))
    assert "is gated" in failed(download("acme/closed"))
    hub.add(Repo("acme/data", {"README.md": b"rows"}))
    assert "none of the files of a text model" in failed(download("acme/data"))
    hub.add(Repo("acme/pickled", {"config.json": b"{}", "pytorch_model.bin": b"p" * 5000}))
    assert "pickle can run code" in failed(download("acme/pickled"))
    assert (download("acme/pickled", allow_pickle=True).wait(60).check().folder / "pytorch_model.bin").stat().st_size == 5000
    point_at(monkeypatch, "http://127.0.0.1:9", home)
    assert "can't be reached" in failed(download("acme/elsewhere"))


def test_a_token_opens_a_gate_and_is_never_told(hub, repo, home, monkeypatch):
    hub.add(Repo("acme/closed", dict(repo.files), gated="manual", lfs_from=1000))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    job = download("acme/closed").wait(60).check()
    assert all(a.token is None for a in hub.asked if a.to == "cdn")  # the other host gets none
    hub.repos["acme/closed"].closed_to_token = True
    shutil.rmtree(home)
    said = failed(refused := download("acme/closed"))
    assert TOKEN not in said + repr(job) + repr(refused) + json.dumps([str(v) for v in vars(refused).values()])
    assert not [f for f in home.rglob("*") if f.is_file() and TOKEN.encode() in f.read_bytes()]


SESSION = """
import json, logging, traceback
logging.basicConfig(level=logging.DEBUG, filename="debug.log")
from finetune_wb import Recipe, catalog, download, inspect_model, train
found, card, job = catalog.search("closed"), inspect_model("acme/closed"), download("acme/closed").wait(60).check()
print(found, repr(found), found._repr_html_(), card, card._repr_html_(), json.dumps(card.as_dict()), repr(job), vars(job))
refused = download("acme/nothing").wait(60)
for step in (refused.check, lambda: inspect_model("acme/nothing")):
    try: step()
    except Exception as error: print(repr(refused), repr(error), traceback.format_exc())
rows = [{"text": f"row {i} says hello world {i * 7}"} for i in range(60)]
print(train(Recipe(task="completion", model={"id": "acme/closed"}, train={"max_steps": 2, "max_length": 32, "tokens_per_batch": 128}), data=rows).state)
"""


@pytest.mark.parametrize("way", ["environment", "store"])
def test_a_token_is_in_nothing_that_a_session_says_or_writes(way, hub, architecture, tmp_path):  # noqa: F811
    """From search to a trained run, with every log at its most talkative: output, logs, run folder, caches."""
    hub.add(Repo("acme/closed", architecture("llama-tied"), gated="manual", pipeline_tag="text-generation", card={"license": "llama3.2"}, lfs_from=1000))
    (work := tmp_path / "work").mkdir()
    (store := tmp_path / "hf").mkdir()
    if way == "store": (store / "token").write_text(TOKEN)
    environment = hub.environment(store, token=TOKEN if way == "environment" else None, HF_HUB_VERBOSITY="debug", FTWB_CACHE=str(tmp_path / "measured"))
    done = subprocess.run([sys.executable, "-c", SESSION], capture_output=True, text=True, env=environment, cwd=work)
    assert done.returncode == 0 and done.stdout.strip().endswith("finished") and done.stdout.count("no such model") >= 4, done.stderr[-2000:]
    assert any(a.token == TOKEN for a in hub.asked) and not any(a.token for a in hub.asked if a.to == "cdn") and (work / "debug.log").stat().st_size > 1000
    holds = [str(f) for f in tmp_path.rglob("*") if f.is_file() and TOKEN.encode() in f.read_bytes()]
    assert TOKEN not in done.stdout + done.stderr and holds == ([str(store / "token")] if way == "store" else [])


def test_a_full_disk_is_said_before_and_while(large, hub, home, monkeypatch):
    usage = shutil.disk_usage
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(path)._replace(free=1_000_000))
    assert "1 MB are free" in failed(download(ID)) and not fetches(hub)
    monkeypatch.setattr(module.shutil, "disk_usage", usage)

    def full(url, part, start, got): raise OSError(errno.ENOSPC, "No space left on device", str(part))
    monkeypatch.setattr(module, "_stream", full)
    said = failed(download(ID))
    assert "can't be stored in the Hugging Face cache: No space left on device" in said and "HF_HOME" in said and str(home) not in said


def test_a_server_that_ignores_ranges_is_followed(large, hub, home, monkeypatch):
    monkeypatch.setattr(module.Download, "_pause", lambda self, seconds, why: None)
    import hub as server
    whole = server._Handler._body

    def without_ranges(self, body, etag, **headers):
        del self.headers["Range"]
        return whole(self, body, etag, **headers)
    monkeypatch.setattr(server._Handler, "_body", without_ranges)
    hub.fault("/lfs/", cut=1_000_000)
    job = download(ID).wait(60).check()
    assert (job.folder / "model.safetensors").read_bytes() == large.files["model.safetensors"] and job.done == job.total
