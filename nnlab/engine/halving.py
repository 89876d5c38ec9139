"""Out of memory: a tile too large for the machine is trained in halves, with the same numbers.

A run's numbers never depend on the runs beside it, so nothing but time is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from nnlab.engine.hooks import FitOptions
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import Tile
from nnlab.engine.rows import PartArrays, TileData
from nnlab.settings.run_records import Run, RunRecord

Trainer = Callable[[Tile, TileData, FitOptions], list[Fitted]]


def fit_in_memory(
    tile: Tile, data: TileData, options: FitOptions, train: Trainer, on_halved: Callable[[int], None]
) -> list[Fitted]:
    """Train a tile whole, or in halves if that takes too much memory; a run too large by itself has failed.

    Args:
        tile, data, options: as `train` takes them.
        train: trains a tile.
        on_halved: called with the number of runs that were too many at once.
    """
    found = _fit_or_reason(tile, data, options, train)
    if isinstance(found, list):
        return found
    if len(tile.runs) == 1:
        return [Fitted(failed_record(tile.runs[0], f"out of memory: {found}"), None)]
    on_halved(len(tile.runs))
    middle = len(tile.runs) // 2
    halves = (replace(tile, runs=tile.runs[:middle]), replace(tile, runs=tile.runs[middle:]))
    return [
        fitted
        for half in halves
        for fitted in fit_in_memory(half, _data_of(half, tile, data), options, train, on_halved)
    ]


def _fit_or_reason(tile: Tile, data: TileData, options: FitOptions, train: Trainer) -> list[Fitted] | str:
    """The finished runs, or the words of the error that said memory ran out; the error itself would keep that memory in use."""
    try:
        return train(tile, data, options)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return str(error)


def _data_of(half: Tile, tile: Tile, data: TileData) -> TileData:
    """The data of the seeds that a half has."""
    if half.seeds == tile.seeds:
        return data
    # The runs of a seed stand together in a tile, so the seeds of a half do too, and their data are a view.
    first = tile.seeds.index(half.seeds[0])
    chosen = slice(first, first + len(half.seeds))

    def of_seeds(part: PartArrays | None) -> PartArrays | None:
        if part is None:
            return None
        weights = None if part.row_weights is None else part.row_weights[chosen]
        return PartArrays(part.x[chosen], part.y[chosen], weights)

    unit = data.unit and replace(data.unit, mean=data.unit.mean[chosen], scale=data.unit.scale[chosen])
    train = of_seeds(data.train)
    assert train is not None
    return TileData(train, of_seeds(data.val), of_seeds(data.test), unit)


def is_out_of_memory(error: Exception) -> bool:
    """True if memory ran out: PyTorch has an error class for a device's memory, but only words for the CPU's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def failed_record(run: Run, reason: str) -> RunRecord:
    """The record of a run that failed on this machine."""
    return RunRecord(run, "failed", None, 0, 0, {}, {}, run.settings.engine, reason)
