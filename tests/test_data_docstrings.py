"""The built-in rows: nothing gives the answer away, origins lead back to the source, the same rows every time."""

import ast
import hashlib
import os
import re
import subprocess
import sys

import pytest

from finetune_wb.data import docstrings
from finetune_wb.data.docstrings import docstring_rows, library_versions, mask_names
from finetune_wb.errors import DataError

GIVE_AWAY = re.compile(r"numpy|pandas|scipy|sklearn|scikit|matplotlib|pyplot|torch|\btransformers\b|hugging ?face|python|\b(np|pd|plt|nn)\.\w|\bimport \w+ as\b|>>>", re.I)
PRINT_HASH = """
import hashlib, sys
from finetune_wb.data.docstrings import docstring_rows
rows = docstring_rows()
loaded = {"torch", "transformers", "sklearn", "matplotlib", "scipy"} & set(sys.modules)
print(hashlib.sha256(rows.to_csv().encode("utf-8", "surrogatepass")).hexdigest(), sorted(loaded))
"""


@pytest.fixture(scope="module")
def rows(): return docstring_rows()


def test_rows_have_the_common_form(rows):
    assert list(rows.columns) == ["text", "label", "origin"] and list(rows.index) == list(range(len(rows)))
    assert rows.origin.is_unique and rows.notna().all(axis=None)
    assert rows.text.str.len().between(40, 300).all()
    assert set(rows.label) == set(library_versions()) >= {"python", "numpy", "pandas", "scikit-learn", "scipy", "torch", "transformers"}
    assert 4_000 <= len(rows) <= 6_000 and rows.label.value_counts().max() <= 600


def test_no_name_gives_the_answer_away(rows):
    found = {origin: GIVE_AWAY.search(text)[0] for text, origin in zip(rows.text, rows.origin) if GIVE_AWAY.search(text)}
    assert not found
    assert rows.text.str.contains(r"\blibrary\b").any()


@pytest.mark.parametrize(("text", "masked"), [
    ("See numpy.linalg.svd.", "See library."),
    ("an instance of :class:`~torch.nn.Module`", "an instance of :class:`~library`"),
    ("NumPy, PANDAS and SciKit-Learn", "library, library and library"),
    ("pd.DataFrame or np.array, F is free", "library or library, F is free"),
    ("PyTorch's numpydoc", "library's library"),
    ("A Transformer layer of transformers", "A Transformer layer of library"),
    ("import sklearn", "import library"),
    ("Hugging Face hub, a snippet, an input", "library hub, a snippet, an input"),
    ("_np.x stays short", "_np.x stays short"),
])
def test_masking(text, masked): assert mask_names(text) == masked


def test_origins_lead_to_the_documented_object(rows):
    for label, part in rows.groupby("label"):
        for origin in part.origin.sample(5, random_state=0):
            library, _, name = origin.partition(":")
            assert library == label
            folder, parts = docstrings._folder(docstrings.LIBRARIES[label]), name.split(".")[bool(docstrings.LIBRARIES[label]):]
            at = next(i for i in range(len(parts), -1, -1) if folder.joinpath(*parts[:i]).with_suffix(".py").is_file() or folder.joinpath(*parts[:i], "__init__.py").is_file())
            path = folder.joinpath(*parts[:at]).with_suffix(".py")
            nodes = [ast.parse((path if path.is_file() else folder.joinpath(*parts[:at], "__init__.py")).read_bytes())]
            for part_name in parts[at:]: nodes = [child for node in nodes for child in node.body if getattr(child, "name", None) == part_name]
            assert any(ast.get_docstring(node) for node in nodes), origin


def test_no_tests_and_no_vendored_copies(rows):
    assert not rows.origin.str.contains(r"\.(?:tests?|_vendor|externals|site-packages|array_api_compat)\.").any()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_gives_the_same_rows_and_imports_no_library(rows, seed):
    ours = hashlib.sha256(rows.to_csv().encode("utf-8", "surrogatepass")).hexdigest()
    done = subprocess.run([sys.executable, "-c", PRINT_HASH], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [ours, "[]\n"]


@pytest.fixture
def unread():
    "The rows are read once a process; a test that moves the packages reads them anew, and so do those after it."
    docstrings._all_rows.cache_clear()
    yield docstrings._all_rows.cache_clear
    docstrings._all_rows.cache_clear()


def test_a_package_that_is_not_there_is_left_out(monkeypatch, tmp_path, unread):
    (tmp_path / "mod.py").write_text('"""Reads and writes the settings of the programme as plain text."""\ndef broken(:\n')
    (tmp_path / "good.py").write_text('def f():\n    r"""Adds up \\d numbers, one after the other, and gives their sum.\n\n    >>> f()\n    """\n')
    (tmp_path / "null.py").write_bytes(b"x = 1\0")
    places = {"numpy": tmp_path, "": tmp_path}
    monkeypatch.setattr(docstrings, "_folder", lambda package: places.get(package))
    found = docstring_rows()
    assert sorted(found.origin) == ["numpy:numpy.good.f", "python:good.f"] and not found.text.str.contains(">>>").any()
    del places[""]
    unread()
    with pytest.raises(DataError, match="fewer than two libraries"): docstring_rows()
