"""A part of the data on the device, and the batches that it is cut into, for all the seeds of a tile.

Shapes: S seeds, N rows, T full batches, B rows of a batch, D features. A batch holds its features first, as the network does.
Runs of one seed see the same batches, so rows are held once for each seed, not for each run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nnlab.engine.arrays import block_size, padded_zeros


@dataclass(frozen=True)
class PartArrays:
    """One part (train, val or test) of every seed of a tile.

    Attributes:
        x: [S, N, D].
        y: [S, N]; class index (long) or a float. [S, N, D] in reconstruction.
        row_weights: [S, N], or None if all rows weigh the same.
    """

    x: Tensor
    y: Tensor
    row_weights: Tensor | None

    @property
    def num_rows(self) -> int:
        return self.x.shape[1]


@dataclass(frozen=True)
class TargetUnit:
    """The standardisation of the targets, for each seed: y = scale * y_standardised + mean."""

    mean: Tensor
    scale: Tensor


@dataclass(frozen=True)
class TileData:
    """The parts of a tile's data on its device, with an entry for each seed in the tile's order."""

    train: PartArrays
    val: PartArrays | None
    test: PartArrays | None
    unit: TargetUnit | None


@dataclass(frozen=True)
class Batch:
    """Rows for one forward pass.

    Attributes:
        x: [S, D, B].
        y: [S, B'], with B' = B rounded up to whole vectors; [S, D, B'] in reconstruction.
        shares: [S or 1, B'], each row's weight in the mean, and 0 for the rows that only fill up; 1 if all seeds have the same.
        width: B.
    """

    x: Tensor
    y: Tensor
    shares: Tensor
    width: int


class Batches:
    """The batches of a part, in the order last given to `arrange`.

    A row's share is its weight in the mean of its batch (`whole=False`, for training) or of the whole part (for evaluation).
    """

    def __init__(self, part: PartArrays, width: int, *, whole: bool) -> None:
        self.part = part
        self.width = min(width, part.num_rows)
        self.num_full, self.rest = divmod(part.num_rows, self.width)
        self.num_batches = self.num_full + (self.rest > 0)
        self.full = _Blocks(part, self.num_full, self.width, whole=whole)
        self.last = _Blocks(part, 1, self.rest, whole=whole) if self.rest else None
        self.arrange(None)

    def arrange(self, order: Tensor | None) -> None:
        """Put the rows into the order [S, N]; None is the order they are stored in."""
        split = self.num_full * self.width
        self.full.fill(self.part, order, 0, split)
        if self.last is not None:
            self.last.fill(self.part, order, split, self.part.num_rows)

    def batch(self, index: int) -> Batch:
        """The batch of every seed: views, which the next `arrange` overwrites."""
        if index < self.num_full:
            return self.full.batch(index)
        assert self.last is not None
        return self.last.batch(0)


class _Blocks:
    """T batches of the same width, each of them a padded block for each seed."""

    def __init__(self, part: PartArrays, num_batches: int, width: int, *, whole: bool) -> None:
        num_seeds, num_rows, num_features = part.x.shape
        weights = part.x.new_ones(1, num_rows) if part.row_weights is None else part.row_weights
        self.row_shares = weights / weights.sum(1, keepdim=True) if whole else weights
        self.whole = whole
        self.width, self.num_batches = width, num_batches
        self.x = padded_zeros(num_seeds * num_batches, num_features, width, dtype=part.x.dtype, device=part.x.device)
        filled = block_size(width, part.x.dtype)
        self.y = part.y.new_zeros(num_seeds, num_batches, *part.y.shape[2:], filled)
        self.shares = part.x.new_zeros(weights.shape[0], num_batches, filled)
        self.views: dict[int, Batch] = {}

    def fill(self, part: PartArrays, order: Tensor | None, start: int, stop: int) -> None:
        """Copy the rows `start` to `stop` of each seed's order into the blocks, features first."""
        shape = (self.num_batches, self.width)
        for s in range(part.x.shape[0]):
            rows = torch.arange(start, stop, device=part.x.device) if order is None else order[s, start:stop]
            blocks = slice(s * self.num_batches, (s + 1) * self.num_batches)
            self.x[blocks].copy_(part.x[s].index_select(0, rows).view(*shape, -1).transpose(1, 2))
            y = part.y[s].index_select(0, rows).view(*shape, *part.y.shape[2:])
            self.y[s, ..., : self.width] = y.movedim(1, -1)
            if s < self.shares.shape[0]:  # if all seeds have the same shares, those of the first serve all
                shares = self.row_shares[s].index_select(0, rows).view(shape)
                self.shares[s, :, : self.width] = shares if self.whole else shares / shares.sum(1, keepdim=True)

    def batch(self, index: int) -> Batch:
        """The batch of every seed; the blocks of a seed stand together, so a batch is every T-th block."""
        if index not in self.views:
            x_SDB = self.x[index :: self.num_batches]
            self.views[index] = Batch(x_SDB, self.y[:, index], self.shares[:, index], self.width)
        return self.views[index]
