"""The house rules a machine can check: notebooks and modules match, imports point down, outputs are clean."""
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import finetune_wb

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "finetune_wb"
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if not {".ipynb_checkpoints", "runs"} & {*p.relative_to(ROOT).parts})
LIBRARY = [p for p in NOTEBOOKS if p.parent == ROOT / "nbs" and p.name[:2].isdigit()]
PANELS = range(70, 80)  # the one wing that may import widgets
MACHINE_PATH = re.compile(r"(?<![\w.])/(root|work|home/\w+|Users/\w+)/")
TEMPORARY_PATH = re.compile(r"(?<![\w.])/(tmp|var|private)/")
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT / "nbs")))
every_library_notebook = pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "code") -> list[dict]:
    "The notebook's cells of one `kind`, each with its `source` as text."
    found = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind]
    return [{**c, "source": "".join(c["source"])} for c in found]


def is_exported(cell: dict) -> bool: return bool(re.search(r"^#\|\s*exporti?\b", cell["source"], re.M))


def module_of(path: Path) -> str | None:
    "The dotted name in the notebook's `default_exp`."
    found = re.findall(r"^#\|\s*default_exp\s+(\S+)", "\n".join(c["source"] for c in cells(path)), re.M)
    assert len(found) <= 1, f"{path.name} has {len(found)} default_exp lines"
    return found[0] if found else None


def module_file(path: Path) -> Path: return PACKAGE / (module_of(path).replace(".", "/") + ".py")


def exported_tree(path: Path) -> ast.Module:
    return ast.parse("\n\n".join(c["source"] for c in cells(path) if is_exported(c)))


def imported(tree: ast.Module) -> set[str]:
    "Every module named in an import, at any depth; of `from a import b` both `a` and `a.b`."
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom): names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return names


def output_texts(cell: dict) -> list[str]:
    "What the cell's stored outputs say, pictures left out."
    texts = []
    for output in cell.get("outputs", []):
        data = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
        texts += ["".join(output.get("text", "")), *("".join(t) for t in data.values() if isinstance(t, str | list))]
    return texts


def test_every_module_has_one_notebook_and_every_notebook_its_module():
    modules = [module_of(path) for path in LIBRARY]
    assert None not in modules, f"no default_exp in {LIBRARY[modules.index(None)].name}"
    assert len(set(modules)) == len(modules), f"shared default_exp: {sorted({m for m in modules if modules.count(m) > 1})}"
    folders = {p.parent for p in PACKAGE.rglob("*.py")}
    assert not [f for f in folders if not (f / "__init__.py").is_file()], "run nbdev-export"
    files = {p for p in PACKAGE.rglob("*.py") if p.name not in ("__init__.py", "_modidx.py")}
    assert files == {module_file(path) for path in LIBRARY}
    assert not [p for p in NOTEBOOKS if p not in LIBRARY and module_of(p)], "only numbered notebooks export"


@every_library_notebook
def test_notebook_is_named_after_its_module(path):
    assert re.fullmatch(r"\d\d_" + re.escape(module_of(path)), path.stem)
    assert f"../nbs/{path.name}" in module_file(path).read_text(encoding="utf-8").split("\n\n")[1]


@every_library_notebook
def test_imports_point_to_lower_numbers_only(path):
    number = {f"finetune_wb.{module_of(other)}": int(other.name[:2]) for other in LIBRARY}
    higher = {name for name in imported(exported_tree(path)) if number.get(name, -1) >= int(path.name[:2])}
    assert not higher, f"{path.name} imports {sorted(higher)}"


@every_library_notebook
def test_core_imports_no_widgets_and_no_stars(path):
    names = imported(exported_tree(path))
    if int(path.name[:2]) not in PANELS:
        assert not [n for n in names if n.split(".")[0] in ("ipywidgets", "anywidget") or n.startswith("finetune_wb.panels")]
    assert not [n for n in names if n.endswith(".*")], "star import"


@every_library_notebook
def test_public_names_have_a_docstring_and_an_example(path):
    tree = exported_tree(path)
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    module = ast.parse(module_file(path).read_text(encoding="utf-8"))
    lists = [node.value for node in module.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    public = ast.literal_eval(lists[0])
    examples = "\n".join(c["source"] for c in cells(path) if not is_exported(c))
    bare = [n for n in public if n in defined and not ast.get_docstring(defined[n])]
    assert not bare, f"public names without docstring: {bare}"
    prose = examples + "\n".join(c["source"] for c in cells(path, "markdown"))
    # A function is called in an example; a class, which others may return, is at least spoken of; one of a
    # family is enough. A command's example is its line in a terminal.
    family = {n for n, node in defined.items() if isinstance(node, ast.ClassDef) and {ast.unparse(b) for b in node.bases} & set(defined)}
    commands = {n for n, node in defined.items() if any("app.command" in ast.unparse(d) for d in node.decorator_list)}
    seen = {n: examples if isinstance(defined[n], ast.FunctionDef) else prose for n in public if n in set(defined) - family - commands}
    unmet = [n for n, text in seen.items() if not re.search(rf"\b{n}\b", text)]
    assert not unmet, f"public names without an example: {unmet}"


@every_notebook
def test_notebook_is_small(path):
    sizes = [len(c["source"].splitlines()) for c in cells(path) if is_exported(c)]
    assert len(cells(path) + cells(path, "markdown")) <= 60, "over 60 cells: two concepts"
    assert path.stat().st_size <= 60_000, "over 60 KB with outputs"
    assert max(sizes, default=0) <= 60, "an exported cell over 60 lines"


@every_notebook
def test_stored_outputs_are_clean(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert set(notebook["metadata"]) <= {"kernelspec"}, "run nbdev-clean"
    for cell in cells(path):
        start = cell["source"][:80]
        assert cell["execution_count"] is None and set(cell["metadata"]) <= {"tags"}, f"run nbdev-clean: {start}"
        kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
        assert not [k for k in kinds if "widget" in k], f"stored widget, run make clean-notebooks: {start}"
        assert not [o for o in cell["outputs"] if o["output_type"] == "error"], f"stored traceback: {start}"
        assert not [o for o in cell["outputs"] if o.get("name") == "stderr"], f"stored stderr, run make clean-notebooks: {start}"
        for text in output_texts(cell):
            assert not MACHINE_PATH.search(text) and not TEMPORARY_PATH.search(text), f"stored path: {start}"
            assert "\r" not in text and "it/s]" not in text, f"stored progress bar: {start}"


@every_notebook
def test_source_names_no_machine(path):
    for cell in cells(path) + cells(path, "markdown"): assert not MACHINE_PATH.search(cell["source"]), cell["source"][:80]


def test_papermill_recipes_have_a_parameters_cell():
    for path in sorted((ROOT / "nbs/recipes").glob("*.ipynb")):
        tagged = [c for c in cells(path) if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1, f"{path.name}: {len(tagged)} cells tagged `parameters`"


@pytest.mark.parametrize("name", ["Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".ci/run"])
def test_files_named_elsewhere_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    named = re.findall(r"\bnbs/[\w./-]+\.ipynb", text) + re.findall(r"\]\(([^)#:]+)\)", text)
    assert not [n for n in named if not (ROOT / n).is_file()], f"{name} names a file that is not there"
    assert not MACHINE_PATH.search(text)


def test_readme_names_every_command_and_method():
    from finetune_wb.cli import app
    from finetune_wb.method import METHODS
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert not [c for c in commands if f"ftwb {c}" not in text]
    assert not [m for m in METHODS if f"`{m}`" not in text]


def test_import_is_light():
    "Importing the package, or a recipe's reader, must not cost a beginner ten seconds of torch."
    heavy = ("torch", "transformers", "datasets", "peft", "sklearn", "scipy", "pandas", "numpy", "matplotlib", "pydantic", "typer")
    code = f"import sys, finetune_wb; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_every_promised_name_is_there():
    for name in finetune_wb.__all__: assert callable(getattr(finetune_wb, name)) or name == "catalog"  # the one that is a value
    assert set(finetune_wb.__all__) <= set(dir(finetune_wb))
    with pytest.raises(AttributeError, match="no attribute 'trian'"): finetune_wb.trian  # noqa: B018
