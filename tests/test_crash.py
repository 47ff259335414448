"""kill -9 at random moments, half of them inside a save: every run goes on to the bits of one that nothing disturbed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = Path(__file__).resolve().parent.parent / "benchmarks" / "crash.py"
KILLS = 16  # of each method


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """What the benchmark counts, with fewer kills and without its contender."""
    found = tmp_path_factory.mktemp("crash") / "counts.json"
    done = subprocess.run([sys.executable, CRASH, "--kills", str(KILLS), "--only", "full", "lora", "--json", found], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return {one["name"]: one for one in json.loads(found.read_text())}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_killed_run_ends_with_the_same_weights_and_the_same_curve(counts, method):
    told = counts[method]
    print(told)
    assert told["kills"] >= KILLS and told["runs"] >= 5
    assert (told.get("crashed", 0), told.get("differs", 0), told["identical"]) == (0, 0, told["runs"]), told


def test_saves_were_hit(counts):
    """Or the hard half was not tested."""
    hit = sum(told["inside a save"] for told in counts.values())
    assert hit >= KILLS // 2, counts
