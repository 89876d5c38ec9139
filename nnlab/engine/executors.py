"""All the tiles of an experiment, trained side by side; results are handed over as tiles finish.

Several tiles at once, each on one core, are faster than several cores in one tile (no fork and join at every operation), and the
same bits come out whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import torch

from nnlab.core.errors import PartialError
from nnlab.core.spelling import mention
from nnlab.engine.device import deterministic_algorithms
from nnlab.engine.fit import Watch
from nnlab.engine.memory import keep_freed_memory
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import tiles_of
from nnlab.engine.sources import Sources
from nnlab.engine.teams import Team, Trained, Work, team
from nnlab.settings.run_records import Run

_KILLED: Final = (
    "The system killed a process that trained runs, most likely for want of memory. What is finished is recorded; "
    f"the same command goes on from there, and with {mention('threads', '1')} takes less memory."
)
_GLANCE: Final = 0.1  # seconds between looks at how far the workers are


@dataclass(frozen=True)
class Machine:
    """Where and how wide runs are computed.

    Attributes:
        threads: tiles at once, each on a core of its own.
        deterministic: only by algorithms that give the same bits each time.
    """

    device: torch.device
    threads: int
    deterministic: bool = False


def execute(
    runs: Sequence[Run],
    sources: Sources,
    machine: Machine,
    *,
    on_finished: Callable[[Sequence[Fitted]], None],
    on_begun: Callable[[], None] = lambda: None,
    on_epoch: Callable[[int], None] = lambda _: None,
    keep_weights: bool = False,
    watch: Watch | None = None,
    on_halved: Callable[[int], None] = lambda _: None,
) -> None:
    """Train every run, handing finished ones over tile by tile, in the calling thread.

    Args:
        runs: what to train; `settings.engine` says by which engine.
        sources: the data.
        machine: where.
        on_finished: takes the runs of a tile that is over. What it raises stops everything.
        on_begun: called once the first tiles are under way. Threads had better be started here: a fork does not copy them,
            but it does copy the locks that they hold.
        on_epoch: told, from any thread, how many runs have ended an epoch.
        keep_weights: finished runs carry their parameters.
        watch: a probe, called at every epoch's end.
        on_halved: told how many runs were too many for the memory and were trained in halves.

    Raises:
        PartialError: the system killed a worker; what was handed over stands.
    """
    keep_freed_memory()
    tiles = tiles_of(runs, sources.shape, threads=machine.threads)
    work = Work(tiles, sources, machine.device, keep_weights, watch)
    with deterministic_algorithms(machine.deterministic), team(work, machine.threads, on_epoch) as workers:
        try:
            for trained in _in_turn(workers, len(tiles), machine.threads, on_begun, on_epoch):
                for num_runs in trained.halved:
                    on_halved(num_runs)
                on_finished(trained.runs)
        except BrokenProcessPool as error:
            raise PartialError(_KILLED) from error
        except BaseException:
            workers.stop()
            raise


def _in_turn(
    workers: Team, num_tiles: int, width: int, on_begun: Callable[[], None], on_epoch: Callable[[int], None]
) -> Iterator[Trained]:
    """Keep `width` tiles going and one ready: the memory in use does not grow with their number."""
    waiting = iter(range(num_tiles))
    going = {workers.begin(index) for index in islice(waiting, width + 1)}
    on_begun()
    while going:
        done, going = wait(going, timeout=_GLANCE, return_when=FIRST_COMPLETED)
        if num_ended := workers.num_ended():
            on_epoch(num_ended)
        for future in sorted(done, key=_has_failed):  # what is finished is handed over first
            yield workers.result(future)
        going |= {workers.begin(index) for index in islice(waiting, len(done))}


def _has_failed(future: Future[Any]) -> bool:
    return future.exception() is not None
