"""The monitor's front end: its arithmetic under node, and the page with a model of plain JavaScript in a real browser."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from lab import CHROMIUM, CI, ISOLATED, QUIET

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "finetune_wb" / "static"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None and not CI, reason="no node on this machine")
def test_arithmetic_under_node():
    assert NODE, "CI has to have node: the monitor's arithmetic is tested there"
    environment = {name: value for name, value in os.environ.items() if name != "NODE_TEST_CONTEXT"}
    done = subprocess.run([NODE, "--test", "tests/js/"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    passed = int(re.search(r"^# pass (\d+)$", done.stdout, re.M)[1])
    assert passed >= len(re.findall(r"^test\(", (ROOT / "tests/js/monitor.test.mjs").read_text(), re.M)) > 20


def test_text_is_only_ever_text():
    """No way from data to markup, and nothing from elsewhere."""
    script, style = (STATIC / "monitor.js").read_text(), (STATIC / "monitor.css").read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "window.confirm", "import "):
        assert word not in re.sub(r"//.*|/\*.*?\*/", "", script, flags=re.S if word == "import " else 0), word
    for text in (script, style): assert not re.search(r"https?://|@import|url\(", text)
