"""The data of every run: loaded once a specification, divided once a seed, put on the device once a tile."""

from __future__ import annotations

import numpy as np
import torch

from nnlab.catalog.losses import loss_named, row_weights
from nnlab.data.dataset import Dataset
from nnlab.data.loading import load
from nnlab.data.parts import Part, Parts, class_weights, divide
from nnlab.data.splits import parse_split
from nnlab.data.target_noise import parse_outliers
from nnlab.engine.arrays import wide
from nnlab.engine.evaluate import TargetUnit
from nnlab.engine.fit import TileData
from nnlab.engine.plan import Program, Shape, Tile
from nnlab.engine.precision import kept_in
from nnlab.engine.rows import PartArrays
from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run

_LOADED_BY = ("data", "target", "task", "missing", "split")
_DIVIDED_BY = (*_LOADED_BY, "validation", "test", "standardize", "label_noise", "outliers", "class_weights")


class Sources:
    """What the runs of an experiment learn from. Loaded and divided by one thread; `tile_data`, which only reads, by any."""

    def __init__(self, dataset: Dataset | None = None) -> None:
        """
        Args:
            dataset: what every run learns from; None loads what each run's settings name.
        """
        self._dataset = dataset
        self._datasets: dict[tuple[object, ...], Dataset] = {}
        self._parts: dict[tuple[object, ...], Parts] = {}

    def dataset(self, settings: RunSettings) -> Dataset:
        """The data set that the settings name, loaded once."""
        if self._dataset is not None:
            return self._dataset
        key = tuple(getattr(settings, name) for name in _LOADED_BY)
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
        """The data divided by the seed's split stream."""
        raw = settings.loss is not None and loss_named(settings.loss).raw_targets
        key = (seed, raw, *(getattr(settings, name) for name in _DIVIDED_BY))
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
        """What the data say of a run's program."""
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
        each = [self.parts(program.settings, seed) for seed in tile.seeds]
        val = [parts.val for parts in each if parts.val is not None]
        test = [parts.test for parts in each if parts.test is not None]
        balanced = program.settings.class_weights == "balanced"
        return TileData(
            train=_stacked(program, [parts.train for parts in each], device, balanced=balanced),
            val=_stacked(program, val, device) if val else None,
            test=_stacked(program, test, device) if test else None,
            unit=_unit(each, device) if program.shape.task == "regression" else None,
        )


def _stacked(program: Program, parts: list[Part], device: torch.device, *, balanced: bool = False) -> PartArrays:
    dtype = kept_in(program.settings.dtype)
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
    dtype = wide(device)
    return TargetUnit(
        mean=torch.tensor([parts.preprocessing.target_mean for parts in each], dtype=dtype, device=device),
        scale=torch.tensor([parts.preprocessing.target_scale for parts in each], dtype=dtype, device=device),
    )
