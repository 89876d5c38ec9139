"""The plan of which runs are trained together: runs -> programs -> tiles.

Runs of one program are cut into tiles small enough that weights and activations stay in cache while a tile goes through its epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from nnlab.engine.program import Program, Shape, program_of
from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run

# Elements of a tile's weights and activations that fit a core's cache (measured, see benchmarks/).
_TILE_ELEMENTS: Final = 1_200_000
_LARGEST_TILE: Final = 512
# A tile with fewer elements is not worth a worker: the calls take longer than the sums.
_WORTH_A_WORKER: Final = 100_000
# Runs too large for that are still trained together: the cache holds one layer of a few of them, and calls are shared.
_SMALL_TILE: Final = 8
_SMALL_TILE_ELEMENTS: Final = 50_000_000


@dataclass(frozen=True)
class Tile:
    """Runs that are trained together.

    Attributes:
        program: of all of them.
        runs: in the order of their rows in every array.
        seeds: the distinct seeds, in order of appearance.
    """

    program: Program
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(run.seed for run in self.runs))


def by_arm(runs: Sequence[Run]) -> Iterator[tuple[RunSettings, list[Run]]]:
    """Groups of runs side by side that have one arm and equal settings, in order.

    An arm's runs stand together and share one settings object, so each arm is one group. Only neighbours are compared: names of arms
    first, and an object equals itself without a look at its fields. That takes 0.1 us a run (measured); a dictionary by settings would
    take 1 us, to hash them.
    """
    for (_, settings), group in groupby(runs, key=lambda run: (run.arm, run.settings)):
        yield settings, list(group)


def tiles_of(runs: Sequence[Run], shape_of: Callable[[Run], Shape], *, threads: int = 1) -> list[Tile]:
    """Tiles for all runs: one program each, runs of one seed together.

    A seed with many runs fills tiles of its own, whose runs share every batch; seeds with few runs are put together.

    Args:
        runs: to be trained.
        shape_of: the sizes of a run's data.
        threads: tiles that are trained at once; none of them should idle while there is work for all.
    """
    by_program: dict[Program, dict[int, list[Run]]] = {}
    for _, group in by_arm(runs):
        # A program is made once for all seeds of an arm; by shape, since a seed may divide the data into parts of other sizes.
        by_shape: dict[Shape, dict[int, list[Run]]] = {}
        for run in group:
            shape = shape_of(run)
            if shape not in by_shape:
                by_shape[shape] = by_program.setdefault(program_of(run, shape), {})
            by_shape[shape].setdefault(run.seed, []).append(run)
    return [
        Tile(program, group)
        for program, by_seed in by_program.items()
        for group in _groups(list(by_seed.values()), _tile_size(program, sum(map(len, by_seed.values())), threads))
    ]


def largest_tile_size(program: Program) -> int:
    """The most runs that go through the program together."""
    small = min(_SMALL_TILE, _SMALL_TILE_ELEMENTS // program.elements)
    return max(1, min(_LARGEST_TILE, max(small, _TILE_ELEMENTS // program.elements)))


def _tile_size(program: Program, num_runs: int, threads: int) -> int:
    """Runs of a tile: a program's tiles are a multiple of the threads, unless that makes a tile too small to be worth a worker."""
    largest = largest_tile_size(program)
    num_tiles = math.ceil(math.ceil(num_runs / largest) / threads) * threads
    return min(largest, max(math.ceil(num_runs / num_tiles), math.ceil(_WORTH_A_WORKER / program.elements)))


def _groups(by_seed: list[list[Run]], size: int) -> list[tuple[Run, ...]]:
    """Runs cut into groups of about `size`: equal parts of a seed with more than half as many, else several seeds in one."""
    groups: list[tuple[Run, ...]] = []
    open_group: list[Run] = []
    for runs in by_seed:
        num_tiles = max(1, round(len(runs) / size))
        if num_tiles > 1 or len(runs) > size // 2:
            length = -(-len(runs) // num_tiles)
            groups.extend(tuple(runs[i : i + length]) for i in range(0, len(runs), length))
        elif len(open_group) + len(runs) > size:
            groups.append(tuple(open_group))
            open_group = list(runs)
        else:
            open_group.extend(runs)
    return [*groups, tuple(open_group)] if open_group else groups
