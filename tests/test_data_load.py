"""Every door data can come through, the hub's included: the real client against a small server on this machine."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pyarrow
import pytest

from finetune_wb.data.load import load_data
from finetune_wb.errors import DataError
from finetune_wb.recipe import DataSpec, Recipe

ROWS = [{"text": f"{word} text number {i} about {label}s", "label": label} for i in range(12) for word in ("old", "new") for label in ("cat", "dog")]
TEST = [{"text": f"another text {i}, a {label}", "label": label} for i in range(4) for label in ("cat", "dog")]


def as_csv(rows, header="text,label"): return header + "\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in rows)
def as_jsonl(rows): return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_csv", ".csv").replace("_jsonl", ".jsonl").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(folder)


def all_texts(data): return sorted([*data.train.text, *data.valid.text, *data.test.text])


EVERY = sorted(row["text"] for row in ROWS)


def load(source, **spec): return load_data(DataSpec(**spec), source)


def test_files(tmp_path):
    write(tmp_path, a_csv=as_csv(ROWS), a_jsonl=as_jsonl(ROWS), a_json=json.dumps({"data": ROWS}))
    pd.DataFrame(ROWS).to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.jsonl", "a.json", "a.parquet"):
        data = load_data(DataSpec(source=str(tmp_path / name)))
        assert all_texts(data) == EVERY and data.label_names == ("cat", "dog") and data.source == str(tmp_path / name)
        assert data.train.origin[0].startswith(name + ":")


def test_a_recipe_and_an_override(tmp_path):
    write(tmp_path, a_csv=as_csv(ROWS))
    recipe = Recipe(data=DataSpec(source="nowhere.csv"))
    assert all_texts(load_data(recipe, tmp_path / "a.csv")) == EVERY
    with pytest.raises(DataError, match="nowhere.csv: there is no such file"): load_data(recipe)


def test_files_by_split(tmp_path):
    write(tmp_path, train_csv=as_csv(ROWS), dev_csv=as_csv(TEST[:4]), test_csv=as_csv(TEST[4:]))
    data = load(source={"train": str(tmp_path / "train.csv"), "dev": str(tmp_path / "dev.csv"), "test": str(tmp_path / "test.csv")})
    assert sorted(data.train.text) == EVERY and len(data.valid) == 4 and len(data.test) == 4
    assert data.test.origin.tolist() == ["test.csv:2", "test.csv:3", "test.csv:4", "test.csv:5"]


def test_folders(tmp_path):
    folder = write(tmp_path, train_csv=as_csv(ROWS), test_csv=as_csv(TEST), categories_json='["cat"]')
    assert sorted(load(folder).test.text) == sorted(row["text"] for row in TEST)
    nested = write(tmp_path / "nested", **{"train__part-0_jsonl": as_jsonl(ROWS[:20]), "train__part-1_jsonl": as_jsonl(ROWS[20:]), "test__part-0_jsonl": as_jsonl(TEST)})
    data = load(nested)
    assert len(data.test) == len(TEST) and len(data.train) + len(data.valid) == len(ROWS)
    with pytest.raises(DataError, match="several files could be"): load(write(tmp_path / "unclear", a_csv=as_csv(ROWS), b_csv=as_csv(ROWS)))
    with pytest.raises(DataError, match="holds no data files"): load(write(tmp_path / "none", notes="hello"))


def test_objects():
    datasets = pytest.importorskip("datasets")
    frame = pd.DataFrame(ROWS)
    dataset = datasets.Dataset.from_pandas(frame).class_encode_column("label")
    shuffled = dataset.shuffle(seed=1).select(range(len(ROWS)))
    for source in (ROWS, frame, frame.set_index([pd.RangeIndex(5, 5 + len(frame))]), dataset, shuffled, pyarrow.Table.from_pylist(ROWS), {"all": frame}):
        data = load(source)
        assert all_texts(data) == EVERY and data.label_names == ("cat", "dog")
    others = datasets.Dataset.from_list(TEST).class_encode_column("label")
    data = load(datasets.DatasetDict(train=dataset, test=others, unsupervised=dataset))
    assert any("unsupervised" in note for note in data.notes) and len(data.test) == 8
    assert load({"train": frame, "test": TEST}).test.text.tolist() == [row["text"] for row in TEST]
    with pytest.raises(DataError, match="streamed"): load(dataset.to_iterable_dataset())


def test_class_numbers_that_differ_between_splits():
    datasets = pytest.importorskip("datasets")
    def numbered(rows, names): return datasets.Dataset.from_list(rows).cast_column("label", datasets.ClassLabel(names=names))
    data = load({"train": numbered(ROWS, ["cat", "dog"]), "test": numbered(TEST, ["dog", "cat"])})
    assert dict(zip(data.test.text, data.test.label)) == {row["text"]: row["label"] for row in TEST}


def test_saved_datasets_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows, others = (datasets.Dataset.from_list(part).class_encode_column("label") for part in (ROWS, TEST))
    datasets.DatasetDict(train=rows, test=others).save_to_disk(tmp_path / "both")
    rows.save_to_disk(tmp_path / "one")
    assert len(load(str(tmp_path / "both")).test) == len(TEST)
    assert all_texts(load(str(tmp_path / "one"))) == EVERY


def test_values_of_frames():
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(20)], "label": pd.Series(range(20)) % 2 + 7})
    assert load(frame).label_names == ("7", "8")
    assert load(frame.astype({"label": "category"})).label_names == ("7", "8")
    assert load(frame.assign(label=frame.label == 7)).label_names == ("false", "true")
    holes = frame.assign(label=frame.label.astype("Int64").where(frame.index > 2, pd.NA))
    with pytest.raises(DataError, match='DataFrame, row 1, field "label": the value is missing'): load(holes)
    data = load(holes, bad_rows="drop")
    assert data.label_names == ("7", "8") and "3 rows without text or label were left out (row 1, 2, 3)" in " ".join(data.notes)
    with pytest.raises(DataError, match="beside missing values"): load(frame.assign(label=frame.label.where(frame.index > 2)))
    twins = pd.concat([frame, frame], axis=1)
    with pytest.raises(DataError, match='field "text": the column name comes twice'): load(twins)


@pytest.mark.parametrize("source, part", [
    ([], "there are no rows"),
    (pd.DataFrame(), "there are no rows"),
    ([{"text": "a"}, "b"], 'row 2: the row is not a mapping.*"b"'),
    (42, "cannot read rows from a int"),
    ({"train": 42}, "train .int.: cannot read rows from a int"),
    ({"trian": ROWS}, 'Did you mean "train"'),
    ({"test": ROWS}, "there is no train split, only test"),
    ({"all": ROWS, "test": TEST}, "both all rows and splits"),
    ({"train": ROWS, "dev": TEST, "validation": TEST}, "two parts could be the valid split"),
    ({"train": ROWS, "test": [{"text": "a", "labels": "cat"}]}, 'column of the train split is missing here.*Did you mean "labels"'),
    ({"train": ROWS, "test": [{"text": "a", "label": "Cat"}]}, 'differ only in case.*Did you mean "cat"'),
    ("builtin:docstring", 'Did you mean "builtin:docstrings"'),
    ("https://example.org/train.csv", "address on the net.*Download it"),
    ("data.csvv", "no such file or folder.*hub:name"),
    ("./no/train", "there is no such file"),
    ("~/no-such-file.csv", "there is no such file"),
    ("nested/folders/data", "there is no such file"),
    ("hub:", "not a dataset name"),
    ("hub:a/b/c", "not a dataset name"),
])
def test_sources_that_are_none(source, part, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=part): load(source)


def test_a_slip_in_a_local_path_is_not_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, data__train_csv=as_csv(ROWS))
    with pytest.raises(DataError, match="data/trian: there is no such file"): load("data/trian")
    with pytest.raises(DataError, match='Did you mean "data"'): load("dta")


def test_problems_of_all_files_at_once(tmp_path):
    source = {"train": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")}
    write(tmp_path, train_csv="text,label\na\n", test_csv="text,label\nb\n")
    with pytest.raises(DataError) as caught: load(source)
    assert [Path(problem.file).name for problem in caught.value.problems] == ["train.csv", "test.csv"]
    write(tmp_path, train_csv="text,label\na,\n,x\nb,y\n", test_csv="text,label\nb,\n")
    with pytest.raises(DataError) as caught: load(source)
    assert len(caught.value.problems) >= 2


def test_notes_reach_the_dataset(tmp_path):
    write(tmp_path, a_csv=as_csv(ROWS, " text,label"))
    assert any("spaces around column names" in note for note in load(str(tmp_path / "a.csv")).notes)


# --- the hub ---------------------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FEATURES = {"features": [{"name": "text", "dtype": "string"}, {"name": "label", "dtype": {"class_label": {"names": {"0": "cat", "1": "dog"}}}}]}
NUMBERED = [{**row, "label": int(row["label"] == "dog")} for row in ROWS]


def repositories(tmp_path):
    for name, rows in {"half": ROWS[:24], "rest": ROWS[24:], "test": TEST}.items(): pd.DataFrame(rows).to_parquet(tmp_path / name)
    half, rest, test = ((tmp_path / name).read_bytes() for name in ("half", "rest", "test"))
    both = {"train.csv": as_csv(ROWS), "test.csv": as_csv(TEST), "README.md": "hello"}
    return {  # name → (card, files)
        "me/plain": ({}, both),
        "me/shards": ({}, {"data/train-00000-of-00002.parquet": half, "data/train-00001-of-00002.parquet": rest, "data/test-00000-of-00001.parquet": test}),
        "me/numbered": ({"dataset_info": FEATURES}, {"train.jsonl": as_jsonl(NUMBERED)}),
        "me/configs": ({"configs": [{"config_name": "en", "data_files": [{"split": "train", "path": "en/*.csv"}]}, {"config_name": "de", "data_files": "de/a.csv"}]}, {"en/x.csv": as_csv(ROWS), "de/a.csv": as_csv(TEST)}),
        "me/default": ({"configs": [{"config_name": "en", "data_dir": "en"}, {"config_name": "de", "data_dir": "de", "default": True}]}, {"en/a.csv": as_csv(TEST), "de/a.csv": as_csv(ROWS)}),
        "me/broken": ({"configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "gone/*.csv"}]}]}, both),
        "me/script": ({}, {"script.py": "raise SystemExit('never run')", "README.md": "hello"}),
        "me/script@refs/convert/parquet": ({}, {"default/train/0000.parquet": half, "default/train/0001.parquet": rest, "default/test/0000.parquet": test}),
        "me/pickle": ({}, {"data.pkl": "hello"}),
        "me/pickle@refs/convert/parquet": ({}, {}),
        "me/lost": ({}, {"train.csv": None}),
        "me/bad": ({}, {"train.csv": "text,label\na\n"}),
    }


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *args): pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items(): self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET": self.wfile.write(body)

    def do_GET(self):
        self.server.seen.append(self.path)
        parts = self.path.split("?")[0].replace("%2F", "/").strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[1:3])
        error = {"me/gated": (403, {"X_Error_Code": "GatedRepo"}), "me/private": (401, {}), "me/forbidden": (403, {}), "me/down": (500, {})}.get(name)
        if error: return self.answer(error[0], **error[1])
        repository = self.server.repositories.get(name)
        if repository is None: return self.answer(404, X_Error_Code="RepoNotFound")
        if parts[0] == "api":
            revision = "/".join(parts[5:])
            if revision == "refs/convert/parquet": repository = self.server.repositories.get(f"{name}@{revision}", repository)
            elif revision not in ("", COMMIT): return self.answer(404, X_Error_Code="RevisionNotFound")
            card, files = repository
            info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files], "cardData": card, "private": False, "gated": False, "tags": [], "downloads": 0, "likes": 0}
            return self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
        path = "/".join(parts[5:])
        files = {**repository[1], **self.server.repositories.get(f"{name}@refs/convert/parquet", ({}, {}))[1]}
        if name == "me/pickle" or files.get(path) is None: return self.answer(404, X_Error_Code="EntryNotFound")
        body = files[path] if isinstance(files[path], bytes) else files[path].encode()
        self.answer(200, body, ETag=f'"{hash(body) & 0xFFFFFFFF:x}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import huggingface_hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repositories, server.seen = repositories(tmp_path), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    set_endpoint(monkeypatch, huggingface_hub.constants, address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    monkeypatch.chdir(tmp_path)
    yield server
    server.shutdown()
    server.server_close()


def set_endpoint(monkeypatch, constants, address):
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}", raising=False)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address, raising=False)
    for name in ("NO_PROXY", "no_proxy"): monkeypatch.setenv(name, "127.0.0.1")


def test_hub_files(hub):
    data = load("me/plain")
    assert len(data.test) == len(TEST) and data.source == f"hub:me/plain@{COMMIT}" and data.test.origin[0] == "test.csv:2"
    assert not any("README" in path for path in hub.seen)
    shards = load("hub:me/shards")
    assert len(shards.test) == len(TEST) and sorted([*shards.train.text, *shards.valid.text]) == EVERY
    assert load("me/plain", revision=COMMIT).source == data.source


def test_hub_class_names_from_the_card(hub):
    data = load("me/numbered")
    assert data.label_names == ("cat", "dog") and any("dataset card" in note for note in data.notes)


def test_hub_configurations(hub):
    assert all_texts(load("me/configs", config="en")) == EVERY
    assert all_texts(load("me/default")) == EVERY
    with pytest.raises(DataError, match="2 configurations: en, de.*data.config=en"): load("me/configs")
    with pytest.raises(DataError, match="no such configuration.*Known: en, de"): load("me/configs", config="french")
    with pytest.raises(DataError, match="promises files"): load("me/broken")


def test_hub_scripts_are_never_run(hub):
    assert len(load("me/script").test) == len(TEST)
    assert not any(path.endswith(".py") for path in hub.seen)
    with pytest.raises(DataError, match="hub:me/pickle"): load("me/pickle")


@pytest.mark.parametrize("name, spec, part", [
    ("me/missing", {}, "no such dataset on the hub, or it is private.*hf auth login"),
    ("me/private", {}, "refuses access .HTTP 401."),
    ("me/gated", {}, "gated.*Accept its terms"),
    ("me/forbidden", {}, "refuses access .HTTP 403."),
    ("me/down", {}, "answers with HTTP 500"),
    ("me/plain", {"revision": "v9"}, 'no revision "v9"'),
    ("me/lost", {}, "a file of the dataset's list is not there"),
    ("me/bad", {}, "hub:me/bad/train.csv, line 2: found 1 fields"),
])
def test_hub_refusals(hub, name, spec, part):
    with pytest.raises(DataError, match=part) as caught: load(name, **spec)
    assert "secret" not in str(caught.value) and f"hub:{name}" in str(caught.value)


def test_hub_downloads_that_cannot_be_stored(hub, monkeypatch):
    def full(*args, **kwargs): raise OSError(28, "No space left on device")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(DataError, match="cannot be stored: No space left on device.*HF_HOME"): load("me/plain")


def test_no_network(monkeypatch, tmp_path):
    import huggingface_hub
    with socket.socket() as free: free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]
    set_endpoint(monkeypatch, huggingface_hub.constants, f"http://127.0.0.1:{port}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot be reached.*local file.*builtin:docstrings"): load("me/plain")


def test_hub_offline(hub, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    if huggingface_hub.constants.is_offline_mode():
        with pytest.raises(DataError, match="cannot be reached"): load("me/plain")


def test_banking77():
    shared = Path(__file__).parents[2] / "shared" / "data" / "banking77"
    if not shared.exists(): pytest.skip("the benchmark data is not beside the project")
    data = load(str(shared))
    assert len(data.test) == 3_080 and len(data.train) + len(data.valid) <= 10_003 and len(data.label_names) == 77


def test_a_split_without_labels_or_a_train_split_without_any(tmp_path):
    hidden = {"train": ROWS, "test": [{"text": "a", "label": None}, {"text": "b", "label": None}]}
    with pytest.raises(DataError, match='test .list., field|field "label".*empty in all 2 rows.*bad_rows=drop'): load(hidden)
    data = load(hidden, bad_rows="drop")
    assert all_texts(data) == EVERY and any("the test split was left out" in note for note in data.notes)
    with pytest.raises(DataError, match="no row has both"): load([{"text": "a", "label": None}, {"text": "", "label": "x"}], bad_rows="drop", text="text", label="label")
