"""What is batched with what: runs -> programs -> tiles.

A setting that changes the program (the model's shape, the loss, the batch size, which terms the optimizer has) makes another
program; one that changes numbers (rate, seed, init, schedule, momentum, weight decay) is an axis of one. Runs of one program are cut
into tiles small enough that weights and activations stay in cache while a tile goes through its epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

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
from nnlab.engine.precision import kept_in
from nnlab.networks.layers import Layers, Linear, activation_of, has_batch_norm, parameters, walk
from nnlab.networks.models import model_named
from nnlab.networks.row_shapes import RowShape
from nnlab.networks.spatial_layers import Conv
from nnlab.settings import RunSettings, Task
from nnlab.settings.run_records import Run

# Kinds whose values are numbers that may differ between the runs of one program.
_AXIS_KINDS: Final = frozenset({"Number", "Positive", "NonNegative", "Fraction", "Probability"})

# Elements of weights and activations of one tile that a core's cache holds; measured, see benchmarks/.
_TILE_ELEMENTS: Final = 1_200_000
_LARGEST_TILE: Final = 512
# Less than that in a tile is not worth a worker: its calls take longer than its sums.
_WORTH_A_WORKER: Final = 100_000
# A network too large for that is better off in company: a cache holds one layer of a few runs, and calls are shared.
_SMALL_TILE: Final = 8
_SMALL_TILE_ELEMENTS: Final = 50_000_000


@dataclass(frozen=True)
class Shape:
    """What the data say of the network's ends and of the program's length.

    Attributes:
        row: the shape of a row's features.
        num_classes: C, or 0 where there are no classes.
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
        """C: what a network gives for a row, for this loss to take."""
        return {"one": 1, "classes": self.num_classes, "features": self.features}[loss.outputs[self.task]]


@dataclass(frozen=True)
class Program:
    """What all runs of one batched program have in common."""

    shape: Shape
    settings: RunSettings  # with the axes blanked: equal for runs that may share a tile
    layers: Layers

    @cached_property
    def loss(self) -> Loss:
        assert self.settings.loss is not None
        return loss_named(self.settings.loss)

    @property
    def link(self) -> str:
        """What makes predictions of the scores."""
        return self.loss.link_for(self.shape.task)

    @cached_property
    def loss_values(self) -> dict[str, Value | None]:
        assert self.settings.loss is not None
        return key_values(self.loss.function, self.settings.loss, what=mention("loss"))

    @property
    def num_scores(self) -> int:
        """C: what the network puts out for a row."""
        return self.shape.num_scores(self.loss)

    @property
    def has_class_targets(self) -> bool:
        """Whether targets are class indices, not numbers."""
        return self.loss.outputs[self.shape.task] == "classes"

    @property
    def batch_size(self) -> int:
        size = self.settings.batch_size
        return self.shape.num_train if size == "full" else min(size, self.shape.num_train)

    @property
    def shuffles(self) -> bool:
        """Whether the order of the rows matters and is drawn anew: a full batch is the same in any order."""
        return self.settings.shuffle and self.batch_size < self.shape.num_train

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.shape.num_train // self.batch_size)

    @property
    def steps(self) -> int:
        """Steps of a whole run: `--steps` where given, else all epochs'."""
        return self.settings.steps or self.settings.epochs * self.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Epochs begun by a whole run; the last one may be cut short by `--steps`."""
        return -(-self.steps // self.steps_per_epoch)

    @cached_property
    def num_weights(self) -> int:
        return sum(math.prod(parameter.shape) for parameter in parameters(self.layers))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Rows that each parameter's block has room for: more than it has where its layer's products are the faster for it."""
        found = {parameter.name: 0 for parameter in parameters(self.layers)}
        for name, layer in walk(self.layers):
            dtype = kept_in(self.settings.dtype)
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

    @property
    def tile_size(self) -> int:
        """The most runs that go through the program together."""
        small = min(_SMALL_TILE, _SMALL_TILE_ELEMENTS // self.elements)
        return max(1, min(_LARGEST_TILE, max(small, _TILE_ELEMENTS // self.elements)))


@dataclass(frozen=True)
class Tile:
    """Runs that are trained together.

    Attributes:
        program: what they share.
        runs: in the order of their rows in every array.
        seeds: the distinct seeds, in order of appearance.
    """

    program: Program
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(run.seed for run in self.runs))


def layers_of(settings: RunSettings, shape: Shape) -> Layers:
    """The network that the settings describe, between the data's features and the loss's outputs."""
    model = model_named(settings.model)
    assert settings.loss is not None
    assert settings.activation is not None
    outputs = shape.num_scores(loss_named(settings.loss))
    values = key_values(model.function, settings.model, what=mention("model"))
    return model.function(shape.row, outputs, settings.activation, **values)


def program_of(run: Run, shape: Shape) -> Program:
    """The program that `run` can be a row of.

    Raises:
        UsageError: batch norm would meet a batch of one row, which has no variance.
    """
    settings = run.settings
    blank = settings.model_copy(
        update={
            "lr": 1.0,
            "init": Spec("lsuv") if init_named(settings.init).data_dependent else Spec("zeros"),
            "schedule": _program_schedule(settings.schedule),
            "warmup": 0,
            "optimizer": _program_optimizer(settings.optimizer),
            "clip_norm": settings.clip_norm and 1.0,
        }
    )
    program = Program(shape, blank, layers_of(settings, shape))
    if shape.num_train % program.batch_size == 1 and has_batch_norm(program.layers):
        raise UsageError(
            f"{mention('batch_size', settings.batch_size)} leaves one row of {shape.num_train} for the last batch, and batch norm "
            f"can't scale one row. Take another batch size."
        )
    return program


def _program_schedule(schedule: Spec) -> Spec:
    """What of a schedule is the program's: whether it listens, and whether it sets the momentum of every step."""
    if SCHEDULES[schedule.name].listens:
        return Spec("reduce_on_plateau")
    cycles = schedule_values(schedule).get("cycle_momentum")
    return Spec("one_cycle", (("cycle_momentum", "true"),)) if cycles else Spec("none")


def axes_of(optimizer: Spec) -> dict[str, float]:
    """The optimizer's numbers that were set to something else than their default: an axis of the program.

    What is left at its default is the program's, so that a term nobody asked for costs nothing, and whether it is computed never
    depends on other runs.
    """
    function = optimizer_named(optimizer).function
    values = key_values(function, optimizer, what=mention("optimizer"))
    return {
        key.name: float(values[key.name])  # type: ignore[arg-type]
        for key in keys(function).values()
        if key.kind in _AXIS_KINDS and values[key.name] != key.default
    }


def _program_optimizer(optimizer: Spec) -> Spec:
    function = optimizer_named(optimizer).function
    accepted, axes = keys(function), axes_of(optimizer)
    kept = [(key, text) for key, text in optimizer.options if accepted[key].kind not in _AXIS_KINDS]
    return Spec(optimizer.name, (*sorted(kept), *((name, "axis") for name in sorted(axes))))


def tiles_of(runs: Sequence[Run], shape_of: Callable[[Run], Shape], *, threads: int = 1) -> list[Tile]:
    """Tiles for all runs: one program each, runs of one seed together.

    A seed with many runs fills tiles of its own, whose runs share every batch; seeds with few runs are put together.

    Args:
        runs: what is to be trained.
        shape_of: the shape of a run's data.
        threads: how many tiles are trained at once; none of them should idle where there is work for all.
    """
    by_program: dict[Program, dict[int, list[Run]]] = {}
    # Runs of one arm share their settings: its program is made once, not for each seed.
    by_settings: dict[tuple[int, Shape], dict[int, list[Run]]] = {}
    for run in runs:
        shape = shape_of(run)
        key = id(run.settings), shape
        if key not in by_settings:
            by_settings[key] = by_program.setdefault(program_of(run, shape), {})
        by_settings[key].setdefault(run.seed, []).append(run)
    return [
        Tile(program, group)
        for program, by_seed in by_program.items()
        for group in _groups(list(by_seed.values()), _size(program, sum(map(len, by_seed.values())), threads))
    ]


def _size(program: Program, num_runs: int, threads: int) -> int:
    """Runs of a tile, so that a program's tiles are a multiple of the threads, but none too small to be worth a worker."""
    largest = program.tile_size
    num_tiles = math.ceil(math.ceil(num_runs / largest) / threads) * threads
    return min(largest, max(math.ceil(num_runs / num_tiles), math.ceil(_WORTH_A_WORKER / program.elements)))


def _groups(by_seed: list[list[Run]], size: int) -> list[tuple[Run, ...]]:
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


def gain_activation(layers: Layers) -> str:
    """The activation that `gain=auto` follows; identity where there is none."""
    spec = activation_of(layers)
    return "identity" if spec is None else str(spec)
