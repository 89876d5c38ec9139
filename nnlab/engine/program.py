"""The program of a run: everything it computes except its own numbers.

A setting that changes the program (the model's shape, the loss, the batch size, the terms of the optimizer) makes another program. A
setting that changes only numbers (learning rate, seed, init, schedule, momentum, weight decay, clipping norm) is an *axis*: it may
differ between the runs of one program, and is an array with an entry for each run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from nnlab.catalog.entry import key_values, keys
from nnlab.catalog.inits import init_named
from nnlab.catalog.losses import Loss, loss_named
from nnlab.catalog.optimizers import optimizer_named
from nnlab.catalog.schedules import SCHEDULES, schedule_values
from nnlab.core.errors import UsageError
from nnlab.core.kinds import Value
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.engine.arrays import padded_rows
from nnlab.engine.precision import storage_dtype
from nnlab.networks.layers import Layers, Linear, has_batch_norm, parameters, walk
from nnlab.networks.models import model_named
from nnlab.networks.row_shapes import RowShape
from nnlab.networks.spatial_layers import Conv
from nnlab.settings import RunSettings, Task
from nnlab.settings.run_records import Run

# Kinds of option whose values are numbers, which may differ between the runs of one program.
_AXIS_KINDS: Final = frozenset({"Number", "Positive", "NonNegative", "Fraction", "Probability"})


@dataclass(frozen=True)
class Shape:
    """The sizes that the data give: the network's ends, and the number of rows.

    Attributes:
        row: the shape of a row's features.
        num_classes: C, or 0 if there are no classes.
        num_train, num_val, num_test: rows of the parts.
    """

    task: Task
    row: RowShape
    num_classes: int
    num_train: int
    num_val: int
    num_test: int

    @property
    def features(self) -> int:
        """D: numbers in a row."""
        return math.prod(self.row)

    def num_scores(self, loss: Loss) -> int:
        """C: scores that a network must give for a row, for this loss."""
        return {"one": 1, "classes": self.num_classes, "features": self.features}[loss.outputs[self.task]]


class Division(NamedTuple):
    """The settings that decide, with the seed and the loss, which rows a run learns from."""

    data: Spec
    target: str | None
    task: str
    missing: str
    split: str
    validation: float
    test: float
    standardize: bool
    label_noise: float
    outliers: str | None

    @classmethod
    def of(cls, settings: RunSettings) -> Division:
        """The division that a run's settings ask for."""
        return cls(*_division_values(settings))


_division_values: Final = attrgetter(*Division._fields)


@dataclass(frozen=True, kw_only=True)
class Program:
    """Everything that the runs of one batched program have in common: runs may share a tile exactly if their programs are equal.

    Attributes:
        shape: sizes given by the data.
        division: where a seed's rows come from.
        balances_classes: rows are weighted so that every class counts the same.
        model, activation, loss_spec: as the settings name them.
        layers: the network that they describe.
        optimizer: the update rule, and those of its options that are not axes.
        axes: names of the optimizer's numbers that are not at their default; each run has its own.
        clips: the norm of each run's gradient is clipped, to a bound of its own.
        average: the average of the weights that is evaluated in their place; None for the weights themselves.
        listens: the schedule sets the rate from the validation loss, so its rates can't be tabulated before training.
        cycles_momentum: the schedule sets the momentum of every step.
        init_sees_data: the init measures the training rows.
        shuffle: the rows are put in a new order every epoch.
        asked_batch_size, asked_epochs, asked_steps: as set; `batch_size`, `epochs` and `steps` are what the data make of them.
        early_stop: epochs without a better validation loss after which a run ends; None for never.
        dtype, engine: as set.
    """

    shape: Shape
    division: Division
    balances_classes: bool
    model: Spec
    activation: Spec
    loss_spec: Spec
    layers: Layers
    optimizer: Spec
    axes: tuple[str, ...]
    clips: bool
    average: Spec | None
    listens: bool
    cycles_momentum: bool
    init_sees_data: bool
    shuffle: bool
    asked_batch_size: int | Literal["full"]
    asked_epochs: int
    asked_steps: int | None
    early_stop: int | None
    dtype: str
    engine: Literal["auto", "native", "vmap", "loop"]

    @cached_property
    def loss(self) -> Loss:
        """The loss's row of the catalogue."""
        return loss_named(self.loss_spec)

    @property
    def link(self) -> str:
        """The name of the link that maps scores to predictions."""
        return self.loss.link_for(self.shape.task)

    @cached_property
    def loss_values(self) -> dict[str, Value | None]:
        """The loss's own options, with their values."""
        return key_values(self.loss.function, self.loss_spec, what=mention("loss"))

    @property
    def num_scores(self) -> int:
        """C: the network's outputs for a row."""
        return self.shape.num_scores(self.loss)

    @property
    def has_class_targets(self) -> bool:
        """True if targets are class indices rather than numbers."""
        return self.loss.outputs[self.shape.task] == "classes"

    @property
    def batch_size(self) -> int:
        """Rows of a batch; the last batch of an epoch may have fewer."""
        size = self.asked_batch_size
        return self.shape.num_train if size == "full" else min(size, self.shape.num_train)

    @property
    def shuffles(self) -> bool:
        """True if a new order of the rows is drawn every epoch; a full batch is the same in any order."""
        return self.shuffle and self.batch_size < self.shape.num_train

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass over the training part."""
        return -(-self.shape.num_train // self.batch_size)

    @property
    def steps(self) -> int:
        """Steps of a whole run: `--steps` if given, else those of all epochs."""
        return self.asked_steps or self.asked_epochs * self.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Epochs that a whole run begins; `--steps` may cut the last one short."""
        return -(-self.steps // self.steps_per_epoch)

    @cached_property
    def num_weights(self) -> int:
        """Trained numbers of one run."""
        return sum(math.prod(parameter.shape) for parameter in parameters(self.layers))

    @cached_property
    def block_rows(self) -> dict[str, int]:
        """Rows that each parameter's block has room for: more than the parameter has where that makes products faster, else 0."""
        found = {parameter.name: 0 for parameter in parameters(self.layers)}
        dtype = storage_dtype(self.dtype)
        for name, layer in walk(self.layers):
            if isinstance(layer, Linear) and layer.outputs > 1:
                columns = (self.batch_size, layer.inputs)
                found[f"{name}.weight"] = padded_rows(layer.outputs, layer.inputs, *columns, dtype=dtype)
            if isinstance(layer, Conv):
                columns = (self.batch_size * math.prod(layer.positions), layer.fan_in)
                found[f"{name}.weight"] = padded_rows(layer.outputs, layer.fan_in, *columns, dtype=dtype)
        return found

    @cached_property
    def num_units(self) -> int:
        """Outputs of all layers for one row: what a forward pass keeps."""
        return sum(layer.units for _, layer in walk(self.layers))

    @property
    def elements(self) -> int:
        """Numbers that a run works with in a step: weights and activations, and the gradients of both."""
        return 2 * self.num_weights + 2 * self.num_units * self.batch_size


def program_of(run: Run, shape: Shape) -> Program:
    """The program of a run.

    Raises:
        UsageError: batch norm would meet a batch of one row, which has no variance.
    """
    settings, listens = run.settings, SCHEDULES[run.settings.schedule.name].listens
    assert settings.loss is not None
    assert settings.activation is not None
    program = Program(
        shape=shape,
        division=Division.of(settings),
        balances_classes=settings.class_weights == "balanced",
        model=settings.model,
        activation=settings.activation,
        loss_spec=settings.loss,
        layers=layers_of(settings, shape),
        optimizer=_without_axes(settings.optimizer),
        axes=tuple(sorted(axes_of(settings.optimizer))),
        clips=settings.clip_norm is not None,
        average=settings.average,
        listens=listens,
        cycles_momentum=not listens and bool(schedule_values(settings.schedule).get("cycle_momentum")),
        init_sees_data=init_named(settings.init).data_dependent,
        shuffle=settings.shuffle,
        asked_batch_size=settings.batch_size,
        asked_epochs=settings.epochs,
        asked_steps=settings.steps,
        early_stop=settings.early_stop,
        dtype=settings.dtype,
        engine=settings.engine,
    )
    if shape.num_train % program.batch_size == 1 and has_batch_norm(program.layers):
        raise UsageError(
            f"{mention('batch_size', settings.batch_size)} leaves one row of {shape.num_train} for the last batch, and batch norm "
            f"can't scale one row. Take another batch size."
        )
    return program


def layers_of(settings: RunSettings, shape: Shape) -> Layers:
    """The network that the settings describe, between the data's features and the loss's scores."""
    model = model_named(settings.model)
    assert settings.loss is not None
    assert settings.activation is not None
    outputs = shape.num_scores(loss_named(settings.loss))
    values = key_values(model.function, settings.model, what=mention("model"))
    return model.function(shape.row, outputs, settings.activation, **values)


def axes_of(optimizer: Spec) -> dict[str, float]:
    """The optimizer's numbers that are not at their default: axes of the program.

    A number at its default belongs to the program instead. So a term that nobody asked for costs nothing, and whether a term is
    computed never depends on other runs.
    """
    function = optimizer_named(optimizer).function
    values = key_values(function, optimizer, what=mention("optimizer"))
    return {
        key.name: float(values[key.name])  # type: ignore[arg-type]
        for key in keys(function).values()
        if key.kind in _AXIS_KINDS and values[key.name] != key.default
    }


def _without_axes(optimizer: Spec) -> Spec:
    """The optimizer with only those options that are not numbers."""
    accepted = keys(optimizer_named(optimizer).function)
    options = [(key, text) for key, text in optimizer.options if accepted[key].kind not in _AXIS_KINDS]
    return Spec(optimizer.name, tuple(sorted(options)))
