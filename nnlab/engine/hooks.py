"""Calls that a caller asks for while runs are trained: one object, passed whole from the command down to the loop over epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nnlab.engine.outcomes import Fitted
from nnlab.engine.program import Program
from nnlab.engine.rows import TileData
from nnlab.settings.run_records import Run


@dataclass(frozen=True)
class Seen:
    """The view that a probe has of runs in training, the same from every engine.

    Attributes:
        program: of all the runs.
        runs: those still being trained.
        seed_of_run: the position of each run's seed among the tile's, [R].
        parameters: by name, [R, *shape]; to be read and not written.
    """

    program: Program
    runs: Sequence[Run]
    seed_of_run: Tensor
    parameters: Mapping[str, Tensor]


# A probe, given the runs, the epoch and the data: for each run its rows of layers.csv; an empty list in an epoch without a look.
Watch = Callable[[Seen, int, TileData], Sequence[Sequence[Mapping[str, str | int | float | None]]]]


@dataclass(frozen=True)
class Hooks:
    """The calls that a caller asks for, and what finished runs are to carry.

    Attributes:
        on_finished: takes the runs of each tile that is over, in the thread that called `execute`. An error that it raises stops
            everything.
        on_begun: called once, when the first tiles are under way. This is the place to start threads: a fork does not copy threads, but
            it does copy the locks that they hold.
        on_epoch: told how many runs have just ended an epoch; from any thread.
        watch: a probe, called before the first step and at the end of each epoch.
        keep_weights: finished runs carry their parameters.
    """

    on_finished: Callable[[Sequence[Fitted]], None] = lambda _: None
    on_begun: Callable[[], None] = lambda: None
    on_epoch: Callable[[int], None] = lambda _: None
    watch: Watch | None = None
    keep_weights: bool = False


@dataclass(frozen=True)
class FitOptions:
    """The options for training one tile.

    Attributes:
        device: where.
        hooks: the caller's.
        is_stopped: asked during training whether to give up.
    """

    device: torch.device
    hooks: Hooks = field(default_factory=Hooks)
    is_stopped: Callable[[], bool] = lambda: False


class Stopped(Exception):  # noqa: N818
    """The tile was told to stop before its end: none of its runs is recorded."""
