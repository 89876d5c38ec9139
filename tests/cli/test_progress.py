"""ProgressBar: counted from any thread, told on stderr and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nnlab.cli import progress
from nnlab.cli.progress import ProgressBar
from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run, RunRecord

ROOT = Path(__file__).parents[2]


def record(arm: str, seed: int, status: str = "done", epochs: int = 10, **scores: float) -> RunRecord:
    run = Run(f"{arm}-{seed}", arm, seed, RunSettings())
    return RunRecord(run, status, None, epochs, epochs * 32, scores, {}, "native")


@pytest.fixture
def every_line(monkeypatch):
    """Lines are told at once, not every ten seconds."""
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)


def test_a_log_gets_a_line_with_all_there_is_to_say(capsys, every_line):
    with ProgressBar(4, 10, metric="val_loss", factor="lr") as told:
        told.advance(20)
        told.count_finished([record("0.1", 0, val_loss=1.5), record("0.00184784979742", 0, val_loss=1.25)])
        told.count_finished([record("1.0", 0, "diverged", 1, val_loss=float("inf")), record("1.0", 1, "failed", 0)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("0 of 4 runs done, about ")
    assert lines[1].startswith("2 of 4 runs done, best so far lr 0.00185 (val_loss 1.25), about ")
    assert lines[-1].startswith("4 of 4 runs done, 1 diverged, 1 failed, best so far lr 0.00185 (val_loss 1.25), in ")


def test_the_best_is_of_the_mean_and_of_arms_without_a_lost_run(capsys, every_line):
    with ProgressBar(5, 10, metric="val_accuracy", factor="init") as told:
        told.count_finished([record("zeros", 0, val_accuracy=0.9), record("zeros", 1, "diverged", 3)])
        told.count_finished([record("[red]", 0, val_accuracy=0.7), record("[red]", 1, val_accuracy=0.5)])
        told.count_finished([record("normal", 0, val_accuracy=0.55)])
    assert "best so far init [red] (val_accuracy 0.6)" in capsys.readouterr().err.splitlines()[-1]


def test_a_short_run_tells_a_log_its_end_alone(capsys):
    with ProgressBar(1, 10, metric="val_loss") as told:
        told.advance(10)
        told.count_finished([record("0.1", 0, val_loss=1.0)])
    assert capsys.readouterr().err.startswith("1 of 1 run done, in ")


def test_quiet_says_nothing(capsys, every_line):
    with ProgressBar(1, 10, metric="val_loss", quiet=True) as told:
        told.advance(10)
        told.count_finished([record("0.1", 0, val_loss=1.0)])
    assert capsys.readouterr() == ("", "")


def test_no_epoch_is_lost_between_threads_and_runs_that_end_early_are_whole():
    with ProgressBar(800, 10, metric="val_loss", quiet=True) as told:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: told.advance(1), range(799 * 10 + 4)))
        told.count_finished([record("0.1", seed, val_loss=1.0) for seed in range(799)])
        told.count_finished([record("9", 0, "diverged", 4)])
        assert told._work_done == 8000


def test_a_terminal_gets_a_bar_that_goes_away():
    code = """
import time
from tests.cli.test_progress import record
from nnlab.cli.progress import ProgressBar
with ProgressBar(2, 10, metric="val_loss", factor="lr") as told:
    time.sleep(0.15)
    told.advance(10)
    told.count_finished([record("[red]", 0, val_loss=1.0)])
    time.sleep(0.3)
    told.count_finished([record("[red]", 1, "diverged", 3)])
"""
    mine, theirs = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "LANG": "en_US.UTF-8",
        "PYTHONUTF8": "1",
        "COLUMNS": "100",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env=environment, check=True
    )
    os.close(theirs)
    received = os.read(mine, 65536).decode()
    os.close(mine)
    assert done.stdout == b""
    assert "50%" in received
    assert "1 of 2 runs done, best so far lr [red] (val_loss 1)" in received
    assert received.rstrip().splitlines()[-1].endswith(" s")
