"""A command that is stopped in the middle, by Ctrl-C, by a system, or by force: what is finished is never lost."""

from __future__ import annotations

import signal
import time

import pytest
from commands import nnlab, started

# Some tiles of some tenths of a second each, two at once by forked workers: time to stop between the first and the last.
SLOW = ("sweep-lr", "--data", "moons:samples=200", "--model", "mlp:hidden=300x300", "--batch-size", 20, "--threads", 2)
WORDS = (*SLOW, "--lr", "0.001:0.1:9", "--seeds", 6, "--epochs", 4, "--quiet", "--format", "csv")

STOPPED = {
    signal.SIGINT: (130, "error: interrupted. What is finished is recorded; the same command continues from there.\n"),
    signal.SIGTERM: (143, "error: terminated. What is finished is recorded; the same command continues from there.\n"),
    signal.SIGKILL: (-9, ""),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert nnlab(*WORDS, "--out", "out", cwd=folder).code == 0
    return folder / "out"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, uninterrupted):
    """A folder in which the same command was stopped in each way, how each ended, and what a second one was told."""
    folder = tmp_path_factory.mktemp("stopped")
    processes = {sign: started(*WORDS, "--out", sign.name, cwd=folder) for sign in STOPPED}
    sent, ends, second = {}, {}, None
    while len(ends) < len(processes):
        for sign, process in processes.items():
            journal = folder / sign.name / "journal.jsonl"
            if sign in sent:
                if sign not in ends and process.poll() is not None:
                    ends[sign] = (process.returncode, process.communicate()[1], time.monotonic() - sent[sign])
            elif journal.exists() and journal.stat().st_size:
                second = second or nnlab(*WORDS, "--out", sign.name, cwd=folder)
                process.send_signal(sign)
                sent[sign] = time.monotonic()
        time.sleep(0.01)
    return folder, ends, second


@pytest.mark.parametrize("sign", STOPPED, ids=lambda sign: sign.name)
def test_it_ends_soon_with_the_code_that_scripts_expect(stopped, sign):
    code, err, seconds = stopped[1][sign]
    assert (code, err) == STOPPED[sign]
    assert seconds < 30  # about one where the machine is idle: a step takes milliseconds, the end of torch the rest


def test_while_it_runs_its_directory_is_its_own(stopped):
    second = stopped[2]
    assert second.code == 5
    assert " is in use by another nnlab. Wait until it is done, or give another --out or --name." in second.err


@pytest.mark.parametrize("sign", STOPPED, ids=lambda sign: sign.name)
def test_the_same_command_completes_what_an_uninterrupted_one_gives_bit_for_bit(stopped, uninterrupted, sign):
    results = stopped[0] / sign.name
    recorded = (results / "journal.jsonl").read_bytes()
    assert 0 < recorded.count(b"\n") < 54
    ended = nnlab(*WORDS, "--out", sign.name, cwd=stopped[0])
    assert ended.code == 0, ended.err
    assert (results / "journal.jsonl").read_bytes().startswith(recorded)
    for name in ("runs.csv", "curves.csv", "summary.csv"):
        assert (results / name).read_bytes() == (uninterrupted / name).read_bytes()
