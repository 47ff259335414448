"""The wheel: built from the tree, installed into an empty environment, and asked for help."""
import configparser
import os
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import finetune_wb

ROOT = Path(__file__).parent.parent


def settings() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(delimiters=["="], inline_comment_prefixes=None)
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def run(*command: str | Path, **kwargs) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    "A wheel of a copy of the tree, so that nothing is built or left behind in the tree itself."
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in listed:
        if not name.startswith("nbs/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", dist)
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory) -> Path:
    """The script folder of a new environment that holds the wheel.

    A real install would fetch gigabytes of dependencies, so only the wheel is installed, and a .pth file lets the new
    environment see the running one's packages *after* its own. `finetune_wb` must then come from the wheel.
    """
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def test_wheel_holds_every_module_and_the_static_files(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {p.relative_to(ROOT).as_posix() for p in (ROOT / "finetune_wb").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert wanted <= names, sorted(wanted - names)
    assert not [n for n in names if not n.startswith(("finetune_wb/", "finetune_wb-"))]
    assert [n for n in names if n.endswith("LICENSE")]


def test_metadata_is_that_of_settings_ini(wheel):
    archive, ini = zipfile.ZipFile(wheel), settings()
    info = f"finetune_wb-{finetune_wb.__version__}.dist-info"
    metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
    assert (metadata["Name"].replace("-", "_"), metadata["Version"]) == (ini["lib_name"], finetune_wb.__version__)
    assert metadata["Summary"] == ini["description"]
    assert metadata["Requires-Python"] == ">=" + ini["min_python"]
    assert ini["license"] in (metadata["License-Expression"], metadata["License"])
    assert {"embedded", "lab", "gpu", "dev", "all"} <= set(metadata.get_all("Provides-Extra"))
    needed = {r.split(">")[0].strip() for r in metadata.get_all("Requires-Dist") if "extra ==" not in r}
    assert needed == {line.split(">")[0] for line in ini["requirements"].split()}
    scripts = configparser.ConfigParser()
    scripts.read_string(archive.read(f"{info}/entry_points.txt").decode())
    assert scripts["console_scripts"]["ftwb"] == ini["console_scripts"].split("=")[1].strip()


def test_constraints_pin_every_requirement():
    pinned = {line.split("==")[0].replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = {
        line.split(">")[0].split("=")[0].replace("_", "-")
        for key, value in settings().items() if key.endswith("requirements") for line in value.split()
    }  # fmt: skip
    assert wanted <= pinned, sorted(wanted - pinned)


def test_wheel_runs_in_an_empty_environment(scripts, tmp_path):
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    where = run(scripts / "python", "-c", "import finetune_wb; print(finetune_wb.__file__)", cwd=tmp_path, env=environ)
    assert Path(where.strip()).is_relative_to(scripts.parent)
    told = run(scripts / "ftwb", "--help", cwd=tmp_path, env=environ)
    for command in ("train", "evaluate", "runs", "show"): assert command in told
