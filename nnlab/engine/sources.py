"""The data of every run: loaded once for each data set, divided once for each seed, copied to the device once for each tile."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import torch

from nnlab.catalog.losses import loss_named, row_weights
from nnlab.data.dataset import Dataset
from nnlab.data.loading import load
from nnlab.data.parts import Part, Parts, class_weights, divide
from nnlab.data.splits import parse_split
from nnlab.data.target_noise import parse_outliers
from nnlab.engine.arrays import wide_dtype
from nnlab.engine.plan import Tile
from nnlab.engine.precision import storage_dtype
from nnlab.engine.program import Division, Program, Shape
from nnlab.engine.rows import PartArrays, TargetUnit, TileData
from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run

_loading_values = attrgetter("data", "target", "task", "missing", "split")  # the settings that decide what is loaded


class Sources:
    """The data that the runs of an experiment learn from.

    One thread loads and divides them. Any thread may then call `tile_data`, which only reads.
    """

    def __init__(self, dataset: Dataset | None = None) -> None:
        """
        Args:
            dataset: for every run; None loads the data set that each run's settings name.
        """
        self._dataset = dataset
        self._datasets: dict[tuple[object, ...], Dataset] = {}
        self._parts: dict[tuple[object, ...], Parts] = {}

    def dataset(self, settings: RunSettings) -> Dataset:
        """The data set that the settings name, loaded once."""
        if self._dataset is not None:
            return self._dataset
        key = _loading_values(settings)
        if key not in self._datasets:
            self._datasets[key] = load(
                settings.data,
                target=settings.target,
                task=settings.task,
                missing=settings.missing,
                split=parse_split(settings.split),
            )
        return self._datasets[key]

    def parts(self, settings: RunSettings, seed: int) -> Parts:
        """The data, divided by the seed's split stream."""
        raw = settings.loss is not None and loss_named(settings.loss).raw_targets
        key = seed, raw, Division.of(settings)
        if key not in self._parts:
            self._parts[key] = divide(
                self.dataset(settings),
                seed=seed,
                validation=settings.validation,
                test=settings.test,
                split=parse_split(settings.split),
                standardize=settings.standardize,
                label_noise=settings.label_noise,
                outliers=None if settings.outliers is None else parse_outliers(settings.outliers),
                raw_targets=raw,
            )
        return self._parts[key]

    def shape(self, run: Run) -> Shape:
        """The sizes that the data give a run's program."""
        dataset, parts = self.dataset(run.settings), self.parts(run.settings, run.seed)
        return Shape(
            task=dataset.task,
            row=dataset.row_shape,
            num_classes=dataset.num_classes,
            num_train=len(parts.train.y),
            num_val=0 if parts.val is None else len(parts.val.y),
            num_test=0 if parts.test is None else len(parts.test.y),
        )

    def tile_data(self, tile: Tile, device: torch.device) -> TileData:
        """The parts of every seed of the tile, stacked, on the device."""
        program = tile.program
        each = [self.parts(tile.runs[0].settings, seed) for seed in tile.seeds]  # divided alike for all of its runs
        val = [parts.val for parts in each if parts.val is not None]
        test = [parts.test for parts in each if parts.test is not None]
        return TileData(
            train=_stack(program, [parts.train for parts in each], device, balanced=program.balances_classes),
            val=_stack(program, val, device) if val else None,
            test=_stack(program, test, device) if test else None,
            unit=_unit(each, device) if program.shape.task == "regression" else None,
        )


def _stack(program: Program, parts: list[Part], device: torch.device, *, balanced: bool = False) -> PartArrays:
    """One part of all seeds on the device; if balanced, every class of a seed's part gets the same total weight."""
    dtype = storage_dtype(program.dtype)
    y = torch.from_numpy(np.stack([part.y for part in parts]))
    weights = None
    if balanced:
        by_class = [
            torch.from_numpy(class_weights(part.y.astype(np.int64), program.shape.num_classes)) for part in parts
        ]
        weights = torch.stack([row_weights(row, weight) for row, weight in zip(y, by_class, strict=True)])
    return PartArrays(
        x=torch.from_numpy(np.stack([part.x for part in parts])).to(device, dtype),
        y=y.to(device, torch.int64 if program.has_class_targets else dtype),
        row_weights=None if weights is None else weights.to(device, dtype),
    )


def _unit(each: list[Parts], device: torch.device) -> TargetUnit:
    """The standardisation of each seed's targets."""
    dtype = wide_dtype(device)
    return TargetUnit(
        mean=torch.tensor([parts.preprocessing.target_mean for parts in each], dtype=dtype, device=device),
        scale=torch.tensor([parts.preprocessing.target_scale for parts in each], dtype=dtype, device=device),
    )
