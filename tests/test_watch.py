"""`ftwb watch`: a live run in a real terminal (a pseudo-terminal), in a pipe, and with Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_runs import fill, live

from finetune_wb.run import Run
from finetune_wb.watch import braille

FTWB = [sys.executable, "-c", "from finetune_wb.cli import main; main()"]
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "100", "TERM": "xterm-256color"}


def in_terminal(*arguments: str, until: str, seconds: float = 30, interrupt: bool = False) -> tuple[str, int]:
    """What a command writes to a terminal up to its end, and its exit code; Ctrl-C is pressed when `until` has been seen."""
    master, slave = pty.openpty()
    process = subprocess.Popen([*FTWB, *arguments], stdin=slave, stdout=slave, stderr=slave, env=ENV, start_new_session=True)
    os.close(slave)
    seen, end = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                try: seen += os.read(master, 65536)
                except OSError: break  # the other end is closed
            if interrupt and re.search(until, seen.decode(errors="replace")):
                process.send_signal(signal.SIGINT)
                interrupt = False
        return seen.decode(), process.wait(10)
    finally:
        process.kill()
        os.close(master)


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminal")
def test_in_a_terminal_until_the_end(tmp_path):
    writer = live(tmp_path / "run", hertz=100, seconds=4, steps=10_000, before=100)
    try:
        (tmp_path / "run/control/1-note.json").write_text("{}")
        seen, code = in_terminal("watch", "run", "--runs-dir", str(tmp_path), until="")
    finally:
        writer.kill(), writer.wait()
    assert code == 0 and "run · finished" in seen and "[" in seen  # it drew in place
    steps = [int(step) for step in re.findall(r"step (\d+) of 10000", seen)]
    assert len(set(steps)) >= 3 and steps == sorted(steps) and "tokens/s" in seen and "CPU" in seen and re.search("[\u2801-\u28ff]", seen)


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminal")
def test_ctrl_c_leaves_the_run_running(tmp_path):
    writer = live(tmp_path / "run", hertz=50, seconds=60, steps=10_000)
    try:
        seen, code = in_terminal("watch", str(tmp_path / "run"), until="step [1-9]", interrupt=True)
        assert code == 0 and "No longer watching; the run is running." in seen and "Traceback" not in seen
        assert writer.poll() is None and Run(tmp_path / "run").state == "running" and not list((tmp_path / "run/control").iterdir())
    finally:
        writer.kill(), writer.wait()


def test_in_a_pipe_it_is_lines_and_hostile_text_stays_text(tmp_path):
    run = fill(tmp_path / "run", steps=200)
    run.log.write("alert", severity="warning", message="\x1b[2J\u202e[bold]boo[/bold]", cure="\r\nnone", step=3)
    done = subprocess.run([*FTWB, "watch", "run", "--runs-dir", str(tmp_path)], env=ENV, capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout.count("\n") == 2 and not set(done.stdout) & set("\x1b\u202e\r")
    assert "run · finished · step 200 of 200" in done.stdout and r"\x1b[2J\u202e[bold]boo[/bold]" in done.stdout
    missing = subprocess.run([*FTWB, "watch", "rum", "--runs-dir", str(tmp_path)], env=ENV, capture_output=True, text=True)
    assert missing.returncode == 2 and 'Did you mean "run"?' in missing.stderr


def test_hostile_text_in_a_terminal_stays_text(tmp_path):
    import io

    from rich.console import Console

    from finetune_wb.follow import Follower
    from finetune_wb.watch import screen

    run = fill(tmp_path / "run", steps=60)
    run.log.write("metric", step=61, **{"valid_[red]x": 1.0})
    run.log.write("alert", message="[red]x[/red]\x07\x1b]0;title\x07")
    follower, out = Follower(run), io.StringIO()
    follower.update()
    Console(file=out, force_terminal=True, width=100, color_system=None).print(screen(follower, 100))
    assert "[red]x[/red]" in out.getvalue() and "\x07" not in out.getvalue() and "\x1b]" not in out.getvalue()


@pytest.mark.parametrize("size", [0, 1, 2, 7, 80, 81, 5000])
def test_braille_shows_first_last_and_extremes(size):
    values = np.linspace(0, 1, size)
    drawn = braille(values, 40, 5)
    assert len(drawn) == 5 and {len(row) for row in drawn} == {40}
    dots = sum(bin(ord(letter) - 0x2800).count("1") for row in drawn for letter in row)
    assert (dots == 0) == (size == 0)
    if size > 1:
        assert drawn[0][-1] != "\u2800" and drawn[-1][0] != "\u2800" and drawn[0][0] == drawn[-1][-1] == "\u2800"  # it rises


def test_braille_leaves_gaps_and_keeps_a_spike():
    values = np.zeros(8000)
    values[4000] = 1.0
    values[:1000] = np.nan
    drawn = braille(values)
    assert drawn[0][20] != "\u2800" and sum(letter != "\u2800" for letter in drawn[0]) == 1 and drawn[-1].startswith("\u2800" * 5)
    assert braille(np.array([np.nan, np.inf])) == ["\u2800" * 40] * 5
