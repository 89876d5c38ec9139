"""All the tiles of an experiment, trained side by side; results are handed over as tiles finish.

Several tiles at once, each on one core, are faster than several cores in one tile, which would fork and join at every operation. The
same bits come out for any number of tiles at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import torch

from nnlab.core.errors import PartialError
from nnlab.core.spelling import mention
from nnlab.engine.device import deterministic_algorithms
from nnlab.engine.hooks import Hooks
from nnlab.engine.memory import keep_freed_memory
from nnlab.engine.plan import tiles_of
from nnlab.engine.sources import Sources
from nnlab.engine.teams import Team, TileResult, Work, team
from nnlab.settings.run_records import Run

_KILLED: Final = (
    "The system killed a process that was training runs, most likely because memory ran out. Finished runs are recorded; "
    f"the same command goes on from there, and with {mention('threads', '1')} needs less memory."
)
_GLANCE: Final = 0.1  # seconds between looks at the workers' progress


@dataclass(frozen=True)
class Machine:
    """Where and how wide runs are computed.

    Attributes:
        threads: tiles at once, each on a core of its own.
        deterministic: use only algorithms that give the same bits each time.
    """

    device: torch.device
    threads: int
    deterministic: bool = False


def execute(runs: Sequence[Run], sources: Sources, machine: Machine, hooks: Hooks) -> list[int]:
    """Train every run, handing finished runs to `hooks.on_finished` tile by tile, in the calling thread.

    Args:
        runs: to be trained, each by the engine that `settings.engine` names.
        sources: the data.
        machine: where.
        hooks: the caller's.

    Returns:
        For each group of runs that took too much memory, and was trained in halves, its number of runs.

    Raises:
        PartialError: the system killed a worker; what was handed over stands.
    """
    keep_freed_memory()
    tiles = tiles_of(runs, sources.shape, threads=machine.threads)
    halved: list[int] = []
    work = Work(tiles, sources, machine.device, hooks)
    with deterministic_algorithms(machine.deterministic), team(work, machine.threads) as workers:
        try:
            for result in _results(workers, len(tiles), machine.threads, hooks):
                halved += result.halved
                hooks.on_finished(result.runs)
        except BrokenProcessPool as error:
            raise PartialError(_KILLED) from error
        except BaseException:
            workers.stop()
            raise
    return halved


def _results(workers: Team, num_tiles: int, width: int, hooks: Hooks) -> Iterator[TileResult]:
    """The tiles' results as they come; `width` tiles are in training and one is ready, so memory does not grow with their number."""
    waiting = iter(range(num_tiles))
    going = {workers.begin(index) for index in islice(waiting, width + 1)}
    hooks.on_begun()
    while going:
        done, going = wait(going, timeout=_GLANCE, return_when=FIRST_COMPLETED)
        if num_ended := workers.num_ended():
            hooks.on_epoch(num_ended)
        for future in sorted(done, key=_has_failed):  # finished tiles are handed over before an error is raised
            yield workers.result(future)
        going |= {workers.begin(index) for index in islice(waiting, len(done))}


def _has_failed(future: Future[Any]) -> bool:
    return future.exception() is not None
