"""Data that the runs of a seed share: the rows that they learn from, and their dropout masks.

Shapes: S seeds, R runs, H units out, D features, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import torch
from torch import Tensor

from nnlab.engine.arrays import padded_like, padded_zeros
from nnlab.engine.kernels.linear import LinearKernel
from nnlab.engine.kernels.site import Kernel

# Numbers to be copied for the runs of a seed, from which one more product for each seed costs less than copying them. Measured on a
# CPU; an accelerator always copies, since there the calls cost more.
_WORTH_A_PRODUCT: Final = 30_000


def network_of_seeds(network: list[Kernel], seed_of_run: Tensor, width: int) -> list[Kernel]:
    """The network changed to take a block of rows for each seed, [S, D, B]: by a kernel before it, or by another first layer.

    Args:
        network: kernels that take a block for each run.
        seed_of_run: the position of each run's seed among the blocks, [R].
        width: B.
    """
    first, spans = network[0], _spans(seed_of_run)
    if isinstance(first, LinearKernel) and len(spans) > 1 and seed_of_run.device.type == "cpu":
        num_copied = len(seed_of_run) // len(spans) * first.layer.inputs * width
        if num_copied >= _WORTH_A_PRODUCT:
            return [LinearOfSeeds(first, spans), *network[1:]]
    return [RowsOfRuns(seed_of_run), *network]


def _spans(seed_of_run: Tensor) -> list[tuple[int, slice]]:
    """For each stretch of runs of one seed that stand side by side: the seed, and the stretch."""
    seeds = seed_of_run.tolist()
    found = []
    for seed, group in groupby(range(len(seeds)), key=seeds.__getitem__):
        places = list(group)
        found.append((seed, slice(places[0], places[-1] + 1)))
    return found


class RowsOfRuns:
    """Every run's rows: a copy of its seed's, or, if all runs have one seed, a view of them."""

    def __init__(self, seed_of_run: Tensor) -> None:
        self.seed_of_run = seed_of_run
        seeds = set(seed_of_run.tolist())
        self.only = seeds.pop() if len(seeds) == 1 else None
        self.rows: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        num_runs = len(self.seed_of_run)
        if self.only is not None:
            return x[self.only].expand(num_runs, -1, -1)
        if self.rows is None:
            self.rows = padded_zeros(num_runs, *x.shape[1:], dtype=x.dtype, device=x.device)
        return torch.index_select(x, 0, self.seed_of_run, out=self.rows)

    def backward(self, d: Tensor) -> Tensor:
        return d


class LinearOfSeeds:
    """A first layer in which the runs of one seed multiply the same rows: nothing is copied, which leaves more of the cache free."""

    def __init__(self, layer: LinearKernel, spans: list[tuple[int, slice]]) -> None:
        self.z = layer.z
        self.parts = [(seed, span, layer.of_runs(span)) for seed, span in spans]

    def forward(self, x: Tensor, training: bool) -> Tensor:
        for seed, span, part in self.parts:
            part.forward(x[seed].expand(span.stop - span.start, -1, -1), training)
        return self.z

    def backward(self, d: Tensor) -> Tensor:
        for _, span, part in self.parts:
            part.backward(d[span])
        return d


class SharedMasks:
    """Dropout masks, drawn once for each seed from its own stream.

    This is an object of its own so that a layer that draws masks need not hold the population, which holds the layer. Such a circle
    stays in memory until Python's collector finds it, and that seldom runs in a worker with only a dozen large tensors to a tile.

    Attributes:
        streams: of the seeds.
    """

    def __init__(self, seed_of_run: Tensor, streams: Sequence[torch.Generator]) -> None:
        self.streams, self.spans = streams, _spans(seed_of_run)

    def __call__(self, x: Tensor, p: float) -> Tensor:
        """Masks for `x` [R, H, B], 0 or 1 / (1 - p), in its layout."""
        mask = padded_like(x)
        kept = {
            seed: torch.rand(*x.shape[1:], generator=self.streams[seed], dtype=torch.float64) >= p
            for seed in {seed for seed, _ in self.spans}
        }
        for seed, span in self.spans:
            mask[span] = kept[seed].to(mask) / (1 - p)
        return mask
