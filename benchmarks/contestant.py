"""The task that each contestant's process is given, and its answer: one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter, process_time
from typing import NoReturn

import numpy as np

from benchmarks.workloads import GROWING, WORKLOADS, Arrays, BenchRun, Workload

TRIES = 3


@dataclass(frozen=True)
class Task:
    """The task of this process.

    Attributes:
        workload: of which it trains some runs.
        path: the file of the data.
        runs: those that it trains.
        way: how, where there are several ways (threads, runs at once); empty where the fastest is to be found, and no more.
    """

    workload: Workload
    path: Path
    runs: list[BenchRun]
    way: tuple[int, ...]

    @cached_property
    def arrays(self) -> Arrays:
        """The arrays that `workloads.arrays_of` returned."""
        with np.load(self.path) as stored:
            return dict(stored)

    def part(self, name: str, seed: int) -> tuple:
        """x and y of one part of one seed."""
        return self.arrays[f"x_{name}"][seed], self.arrays[f"y_{name}"][seed]


@dataclass(frozen=True)
class Trained:
    """A run that is over: final mean loss on the training part, accuracy on the test part."""

    run: BenchRun
    train_loss: float
    test_accuracy: float


def task_of_command_line() -> Task:
    """`WORKLOAD ARRAYS.npz RUNS WAY`: a number of the workload's runs, `2,16` or nothing for the way."""
    key, path, num_runs, *way = sys.argv[1:]
    workload = next(each for each in (*WORKLOADS.values(), *GROWING) if each.key == key)
    ways = tuple(int(number) for text in way for number in text.split(","))
    return Task(workload, Path(path), workload.some_runs(int(num_runs)), ways)


@dataclass(frozen=True)
class Spent:
    """Time that a piece of work took.

    Attributes:
        wall_s: on the clock.
        cpu_s: of this process and of those that it began and saw end, on all cores; it hardly changes when the machine is busy
            with other things as well.
    """

    wall_s: float
    cpu_s: float


def spent_on(work: Callable[[], object]) -> Spent:
    """The time of one call."""
    wall, cpu = perf_counter(), _cpu_s()
    work()
    return Spent(perf_counter() - wall, _cpu_s() - cpu)


def _cpu_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + ended.ru_utime + ended.ru_stime


def answer_fastest(ways: Sequence[tuple[int, ...]], an_epoch: Callable[[tuple[int, ...]], int]) -> None:
    """Print the way that takes the least time a run for an epoch: the best of several, after one that may compile.

    Args:
        ways: to do it.
        an_epoch: trains one, for as many runs as it says.
    """
    took = dict.fromkeys(ways, float("inf"))
    for way in ways * (1 + TRIES):
        start = perf_counter()
        num_runs = an_epoch(way)
        took[way] = min(took[way], (perf_counter() - start) / num_runs)
    print(json.dumps({"way": min(took, key=took.__getitem__)}))


def answer(training: Spent, trained: Sequence[Trained], *, prepare_s: float = 0.0, note: str = "") -> None:
    """Print what was measured.

    Args:
        training: from drawing the first weights to the last number; without loading, warming up and compiling.
        trained: the runs that were trained in that time.
        prepare_s: what compiling and warming up took.
        note: what the table should say of the way it was done.
    """
    runs = [asdict(each.run) | {"train_loss": each.train_loss, "test_accuracy": each.test_accuracy} for each in trained]
    print(json.dumps(asdict(training) | {"prepare_s": prepare_s, "note": note, "runs": runs}))


def unavailable(reason: str) -> NoReturn:
    """Say why there is no number, and end."""
    print(json.dumps({"unavailable": reason}))
    raise SystemExit
