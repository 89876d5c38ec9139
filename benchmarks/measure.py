"""Measurements by child processes, taken in turn: whatever else the machine does falls on all alike."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Any

from benchmarks.contestants import NNLAB, Contestant
from benchmarks.workloads import Workload

_GLANCE = 0.1  # seconds between looks at the memory
ROOT = Path(__file__).parents[1]
Losses = Mapping[tuple[str, int], float]


@dataclass(frozen=True)
class Process:
    """A process that is over.

    Attributes:
        wall_s: from start to end.
        printed: on stdout.
        complaint: the last line on stderr where it failed, else nothing.
        peak_mib: the most memory that it and its workers were seen to hold, where that was asked for; else nan.
    """

    wall_s: float
    printed: str
    complaint: str
    peak_mib: float


def process(words: Sequence[str], folder: Path = ROOT, *, weigh: bool = False) -> Process:
    """Run Python with these words to its end; each look at its memory takes some 30 ms of a core from it."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = perf_counter()
        child = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=out, stderr=err)
        with _watched(child.pid) if weigh else nullcontext([math.nan]) as held_mib:
            status = child.wait()
        wall_s = perf_counter() - start
        out.seek(0)
        err.seek(0)
        said = err.read().strip().splitlines()
        complaint = (said or ["no word"])[-1] if status else ""
        return Process(wall_s, out.read(), complaint, max(held_mib))


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """Context manager: sample the memory of a process and its workers; yields the samples, in MiB."""
    found, is_over = [0.0], Event()

    def look() -> None:
        while not is_over.wait(_GLANCE):
            found.append(_held_mib(pid))

    watcher = Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        is_over.set()
        watcher.join()


def _held_mib(pid: int) -> float:
    """The memory of a process and its children, what they share counted once; 0 where Linux does not tell or it is over."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [int(word) for of in Path(f"/proc/{pid}/task").glob("*/children") for word in of.read_text().split()]
    except OSError:
        return 0.0
    share_kib = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return share_kib / 1024 + sum(map(_held_mib, children))


@dataclass(frozen=True)
class Timing:
    """A contestant's work, scaled to all runs of the workload.

    Attributes:
        train_s: training alone.
        cpu_s: of training, on all cores.
        whole_s: the whole process.
        prepare_s: of it, compiling and warming up.
        share: the part of the runs that were trained.
        note: how it was done, or why there is no number.
        losses: the final training loss of each arm and seed.
    """

    train_s: float
    cpu_s: float
    whole_s: float
    prepare_s: float
    share: float
    note: str
    losses: Losses


def fastest_way(contestant: Contestant, workload: Workload, arrays: Path) -> str:
    """The way that serves the contestant best, as its process is told it; nothing where it has one or can't do any."""
    if not contestant.has_ways:
        return ""
    answered = _answer(process(_words(contestant, workload, arrays)))
    return ",".join(map(str, answered.get("way", ())))


def timing(contestant: Contestant, workload: Workload, arrays: Path, way: str = "") -> Timing:
    """The contestant's work once."""
    done = process([*_words(contestant, workload, arrays), *filter(None, [way])])
    answered = _answer(done)
    if "unavailable" in answered:
        return Timing(*[math.nan] * 5, f"n/a: {answered['unavailable']}", {})
    losses = {
        (f"{run['model']} {run['init']} {run['lr']!r}", run["seed"]): run["train_loss"] for run in answered["runs"]
    }
    share = len(answered["runs"]) / len(workload.runs)
    train_s, cpu_s = answered["wall_s"] / share, answered["cpu_s"] / share
    whole_s = command(workload).wall_s if contestant is NNLAB else done.wall_s - answered["wall_s"] + train_s
    return Timing(train_s, cpu_s, whole_s, answered["prepare_s"], share, answered["note"], losses)


def _words(contestant: Contestant, workload: Workload, arrays: Path) -> list[str]:
    num_runs = contestant.num_runs(workload)
    return ["-m", f"benchmarks.peers.{contestant.name}", workload.key, str(arrays), str(num_runs)]


def _answer(done: Process) -> dict[str, Any]:
    return {"unavailable": done.complaint} if done.complaint else json.loads(done.printed.splitlines()[-1])


def command(workload: Workload, *, weigh: bool = False) -> Process:
    """nnlab's own command, start-up, statistics, files and table included."""
    with tempfile.TemporaryDirectory() as folder:
        done = process(["-m", "nnlab", *workload.command_line, "--out", f"{folder}/out"], Path(folder), weigh=weigh)
    assert not done.complaint, done.complaint
    return done


def median(timings: Sequence[Timing]) -> Timing:
    """Of the same work, done several times."""
    last = timings[-1]
    times = [
        statistics.median(getattr(each, name) for each in timings)
        for name in ("train_s", "cpu_s", "whole_s", "prepare_s")
    ]
    return Timing(*times, last.share, last.note, last.losses)


def difference(ours: Losses, theirs: Losses) -> float:
    """By what fraction their final training losses are higher: the median over the runs that both trained to an end."""
    both = [(theirs[run], ours[run]) for run in theirs if run in ours]
    apart = [b / a - 1 for b, a in both if math.isfinite(a) and math.isfinite(b)]
    return statistics.median(apart) if apart else math.nan
