"""Package metadata: everything comes from settings.ini, the version from finetune_wb/__init__.py."""
import configparser
import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = configparser.ConfigParser(delimiters=["="], inline_comment_prefixes=None)
parser.read(here / "settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]


def lines(key: str) -> list[str]:
    "The requirements under `key`, one a line."
    return [line for line in settings[key].split("\n") if line]


version = re.search(r'^__version__ = "(.+)"$', (here / "finetune_wb/__init__.py").read_text(encoding="utf-8"), re.M)[1]
extras = {key.removesuffix("_requirements"): lines(key) for key in settings if key.endswith("_requirements")}
extras["all"] = sorted({name for names in extras.values() for name in names})

setup(
    name=settings["lib_name"],
    version=version,
    description=settings["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8") if (here / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author=settings["author"],
    license=settings["license"],
    keywords=settings["keywords"].split(),
    python_requires=">=" + settings["min_python"],
    packages=find_packages(include=["finetune_wb", "finetune_wb.*"]),
    package_data={"finetune_wb": ["static/*", "models/minidoc/*"]},
    install_requires=lines("requirements"),
    extras_require=extras,
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": ["finetune_wb = finetune_wb._modidx:d"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        f"Development Status :: {settings['status']} - Alpha",
        "Framework :: Jupyter",
        "Intended Audience :: Science/Research",
    ],
)
