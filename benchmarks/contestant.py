"""What every contestant's process is given, and what it answers: one line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter, process_time
from typing import NoReturn, TypeVar

import numpy as np

from benchmarks.workloads import GROWING, WORKLOADS, Arrays, BenchRun, Workload

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Task:
    """The runs that this process trains, and the file of the data for them."""

    workload: Workload
    path: Path
    runs: list[BenchRun]

    @cached_property
    def arrays(self) -> Arrays:
        """What `workloads.arrays_of` gave."""
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
    """`WORKLOAD ARRAYS.npz RUNS`: so many of the workload's runs."""
    key, path, num_runs = sys.argv[1:]
    workload = next(each for each in (*WORKLOADS.values(), *GROWING) if each.key == key)
    return Task(workload, Path(path), workload.some_runs(int(num_runs)))


@dataclass(frozen=True)
class Spent:
    """Time that a piece of work took.

    Attributes:
        wall_s: on the clock.
        cpu_s: of this process on all cores, which hardly changes when the machine is busy with other things as well.
    """

    wall_s: float
    cpu_s: float


def spent_on(work: Callable[[], object]) -> Spent:
    """The time of one call."""
    wall, cpu = perf_counter(), process_time()
    work()
    return Spent(perf_counter() - wall, process_time() - cpu)


def fastest(candidates: Sequence[Choice], work: Callable[[Choice], int]) -> Choice:
    """The candidate that takes the least time a run for a short piece of the work, once it has done it before.

    Args:
        candidates: ways to do it.
        work: does it one way, for as many runs as it says.
    """
    if len(candidates) == 1:
        return candidates[0]
    took = {}
    for candidate in candidates:
        work(candidate)
        start = perf_counter()
        num_runs = work(candidate)
        took[candidate] = (perf_counter() - start) / num_runs
    return min(took, key=took.__getitem__)


def answer(training: Spent, trained: Sequence[Trained], *, prepare_s: float = 0.0, note: str = "") -> None:
    """Print what was measured.

    Args:
        training: from drawing the first weights to the last number; without loading, warming up and compiling.
        trained: the runs that were trained in that time.
        prepare_s: what compiling, warming up and finding the best size took.
        note: what the table should say of the way it was done.
    """
    runs = [asdict(each.run) | {"train_loss": each.train_loss, "test_accuracy": each.test_accuracy} for each in trained]
    print(json.dumps(asdict(training) | {"prepare_s": prepare_s, "note": note, "runs": runs}))


def unavailable(reason: str) -> NoReturn:
    """Say why there is no number, and end."""
    print(json.dumps({"unavailable": reason}))
    raise SystemExit
