"""Tiles side by side: one thread a tile, each computing on one core, results handed over as tiles finish.

Several tiles at once, each on one thread, are faster than several threads in one tile (no fork and join at every operation), and the
same bits come out whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

import torch

from nnlab.core.records import Run
from nnlab.engine import looped
from nnlab.engine.device import deterministic_algorithms
from nnlab.engine.fit import FitOptions, TileData, Watch, fit
from nnlab.engine.halving import fit_in_memory
from nnlab.engine.memory import keep_freed_memory
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import Tile, tiles_of
from nnlab.engine.sources import Sources


@dataclass(frozen=True)
class Machine:
    """Where and how wide runs are computed.

    Attributes:
        threads: tiles at once.
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
    on_epoch: Callable[[int], None] | None = None,
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
        on_epoch: told, from any thread, how many runs have just ended an epoch.
        keep_weights: finished runs carry their parameters.
        watch: a probe, called at every epoch's end.
        on_halved: told, from any thread, how many runs were too many for the memory and are trained in halves.
    """
    stop = Event()

    def work(tile: Tile, data: TileData) -> list[Fitted]:
        options = FitOptions(machine.device, stop, keep_weights, watch, on_epoch)
        train = looped.fit if tile.program.settings.engine == "loop" else fit
        return fit_in_memory(tile, data, options, train, on_halved)

    keep_freed_memory()
    tiles = tiles_of(runs, sources.shape, threads=machine.threads)
    with (
        deterministic_algorithms(machine.deterministic),
        ThreadPoolExecutor(machine.threads, thread_name_prefix="tile", initializer=_one_core) as pool,
    ):
        try:
            _drain(
                pool, tiles, lambda tile: sources.tile_data(tile, machine.device), work, machine.threads, on_finished
            )
        except BaseException:
            stop.set()
            raise


def _drain(
    pool: ThreadPoolExecutor,
    tiles: Sequence[Tile],
    load: Callable[[Tile], TileData],
    work: Callable[[Tile, TileData], list[Fitted]],
    width: int,
    on_finished: Callable[[Sequence[Fitted]], None],
) -> None:
    """Keep `width` tiles going and one ready: the memory in use does not grow with their number."""
    waiting: Iterator[Tile] = iter(tiles)
    going: set[Future[list[Fitted]]] = set()
    while True:
        while len(going) <= width and (tile := next(waiting, None)) is not None:
            going.add(pool.submit(work, tile, load(tile)))
        if not going:
            return
        done, going = wait(going, return_when=FIRST_COMPLETED)
        for future in done:
            on_finished(future.result())


def _one_core() -> None:
    """This thread computes on one core from now on, and flushes denormals: vanishing numbers cost no more than others."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Within, this thread computes on one core and flushes denormals. Not for use beside tiles: part of it is global."""
    before = torch.get_num_threads()
    _one_core()
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
