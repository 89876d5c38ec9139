"""Batched runs compared with a plain torch.optim loop: every family of models, every optimizer and every engine, on one device.

Both start from the same weights and see the same batches and dropout masks; everything else is computed in two ways. With few steps
on small networks, rounding errors do not grow and a wrong term is visible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, get_args

import numpy as np
import torch

from nnlab.catalog.optimizers import OPTIMIZERS
from nnlab.core.spec import parse_spec
from nnlab.core.spelling import mention
from nnlab.data.dataset import Dataset, dataset_from_arrays, reconstruction_dataset
from nnlab.engine.choice import EngineName, is_native, vmap_obstacle
from nnlab.engine.executors import Machine, execute
from nnlab.engine.hooks import Hooks
from nnlab.engine.outcomes import Fitted
from nnlab.engine.program import program_of
from nnlab.engine.sources import Sources
from nnlab.engine.starting import starting_weights
from nnlab.ingredients.resolve import complete_settings, settings_for_data
from nnlab.networks.models import MODELS, model_named
from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run

RowShape = tuple[int, ...]

# The largest differences measured were 3e-14 and 4e-6 from rounding alone, and 1e-3 from a gradient that is wrong by 1 %.
TOLERANCES: Final[Mapping[str, float]] = {"float64": 1e-11, "float32": 1e-4}
ENGINES: Final[tuple[str, ...]] = tuple(name for name in get_args(EngineName) if name != "loop")

_FLAT: Final[RowShape] = (3,)
_SERIES: Final[RowShape] = (2, 12)
_IMAGE: Final[RowShape] = (2, 6, 6)
_CLASSES: Final = 3
_ROWS: Final = 45  # batches of 16, 16 and 13: the last one is short
_SHARED: Final[Mapping[str, object]] = {
    "activation": "tanh",  # its gradient is never 0, so a rule that divides by the gradient's size does not magnify rounding
    "batch_size": 16,
    "epochs": 2,
    "validation": 0,
    "test": 0,
}
# Large enough that a term wrong by 1 % changes a weight by more than the tolerance.
_RATES: Final[Mapping[str, tuple[float, ...]]] = {"model": (0.1, 0.3), "optimizer": (0.01, 0.03)}
_SEEDS: Final = (0, 1)
_TRIED_ROWS: Final = 5

# For every family, every kind of layer that it can have, as small as possible. No biases before batch norm: their gradient is only
# rounding.
SMALL_MODELS: Final[Mapping[str, Sequence[tuple[str, RowShape]]]] = {
    "linear": [("linear", _FLAT)],
    "mlp": [
        ("mlp:hidden=7x5", _FLAT),
        ("mlp:width=6:depth=3:residual=true:norm=layer:dropout=0.2", _FLAT),
        ("mlp:hidden=9:norm=batch:bias=false", _FLAT),
    ],
    "autoencoder": [("autoencoder:hidden=5:code=2", _FLAT)],
    "neuron": [("neuron", _FLAT)],
    "point": [("point", _FLAT)],
    "conv1d": [
        ("conv1d:channels=4x6:kernel=3:padding=1", _SERIES),
        ("conv1d:channels=4x4:kernel=3:padding=1:norm=batch:bias=false:pool=mean", _SERIES),
    ],
    "conv2d": [
        ("conv2d:channels=3x4", _IMAGE),
        ("conv2d:channels=4:norm=group:groups=2:residual=true:pool=mean", _IMAGE),
    ],
    "lenet": [("lenet", (1, 28, 28))],
    "cnn_mnist1d": [("cnn_mnist1d", (1, 40))],
    "rnn": [("rnn:hidden=4", _SERIES)],
    "gru": [("gru:hidden=3:bidirectional=true", _SERIES)],
    "lstm": [("lstm:hidden=4:layers=2", _SERIES)],
    "transformer": [("transformer:width=4:heads=2:depth=1:feedforward=6", _SERIES)],
}


@dataclass(frozen=True)
class EngineCase:
    """One case to check: a few runs that differ in learning rate and seed.

    Attributes:
        about: `model` or `optimizer`.
        name: its specification.
        settings: as a person would write them.
        row: the shape of a row of data.
    """

    about: str
    name: str
    settings: Mapping[str, object]
    row: RowShape


@dataclass(frozen=True)
class EngineCheck:
    """The result of the check of one engine in one case.

    Attributes:
        verdict: `ok`, `wrong`, or `not batched` if the engine reports in advance that it does not support the network.
        difference: the largest one, relative to the largest entry of its tensor; NaN if nothing was compared.
        tolerance: the largest difference that rounding may cause.
        where: the tensor or curve that differs most, or why nothing was compared.
    """

    case: EngineCase
    engine: str
    dtype: str
    verdict: str
    difference: float
    tolerance: float
    where: str


def engine_cases() -> Iterator[EngineCase]:
    """Every family of models with plain SGD, every optimizer with one small network."""
    for name in MODELS:
        for model, row in SMALL_MODELS[name]:
            yield EngineCase("model", model, {"model": model}, row)
    for name in OPTIMIZERS:
        yield EngineCase("optimizer", name, {"model": "mlp:hidden=7x5", "optimizer": name}, _FLAT)


def engine_checks(
    device: torch.device, dtypes: Sequence[str] = tuple(TOLERANCES), of: Iterable[EngineCase] | None = None
) -> Iterator[EngineCheck]:
    """The check of each case by each engine in each floating-point type, one after the other.

    Args:
        of: the cases; all of them if None.
    """
    machine = Machine(device, threads=1)
    for case, dtype in product(engine_cases() if of is None else of, dtypes):
        dataset = _dataset_of(case)
        runs = _runs(case, dataset, dtype)
        # Convolutions in cuDNN round to ten bits unless TF32 is switched off.
        with torch.backends.cudnn.flags(allow_tf32=False):
            reference = _train(runs, "loop", dataset, machine)
            for engine in ENGINES:
                verdict, difference, where = _verdict_on(runs, engine, dataset, machine, reference)
                yield EngineCheck(case, engine, dtype, verdict, difference, TOLERANCES[dtype], where)


def _verdict_on(
    runs: Sequence[Run], engine: str, dataset: Dataset, machine: Machine, reference: Sequence[Fitted]
) -> tuple[str, float, str]:
    """The verdict on an engine, the largest difference, and its place."""
    obstacle = _obstacle(runs, engine, dataset)
    if obstacle is not None:
        return "not batched", math.nan, obstacle
    try:
        found = _train(runs, engine, dataset, machine)
    except (
        RuntimeError
    ) as error:  # an operation that PyTorch can't do on this device is a result, not the end of the checks
        return "wrong", math.nan, str(error).partition("\n")[0]
    where, difference = largest_difference(found, reference)
    return "ok" if difference <= TOLERANCES[runs[0].settings.dtype] else "wrong", difference, where


def _obstacle(runs: Sequence[Run], engine: str, dataset: Dataset) -> str | None:
    """The reason why an engine does not support the network of these runs; None if it does."""
    sources = Sources(dataset)
    program = program_of(runs[0], sources.shape(runs[0]))
    if engine == "native":
        return None if is_native(program.layers) else "no kernel of its own"
    x = torch.from_numpy(sources.parts(runs[0].settings, runs[0].seed).train.x)
    starts = [starting_weights(program, run, x) for run in (runs[0], runs[-1])]
    return vmap_obstacle(program.layers, starts, x[:_TRIED_ROWS], program.dtype)


def largest_difference(found: Sequence[Fitted], wanted: Sequence[Fitted]) -> tuple[str, float]:
    """The tensor or curve in which runs trained twice differ most, and the difference relative to its largest entry."""
    each = [pair for one, other in zip(found, wanted, strict=True) for pair in _differences(one, other)]
    return max(each, key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1])


def _differences(found: Fitted, wanted: Fitted) -> Iterator[tuple[str, float]]:
    assert found.weights is not None
    assert wanted.weights is not None
    for name, value in found.weights.items():
        # A running mean may be 0 except for rounding; its scale is that of normalised units.
        least = 1.0 if "running" in name else 0.0
        yield name, _relative(value.double(), wanted.weights[name].double(), least)
    for name in ("batch_loss", "train_loss"):
        one, other = (torch.tensor(fitted.record.curves[name]).double() for fitted in (found, wanted))
        yield name, _relative(one.nan_to_num(), other.nan_to_num(), 0.0)


def _relative(found: torch.Tensor, wanted: torch.Tensor, least: float) -> float:
    if found.shape != wanted.shape:
        return math.nan
    scale = max(wanted.abs().max().item(), least)
    return (found - wanted).abs().max().item() / (scale or 1.0)


def _dataset_of(case: EngineCase) -> Dataset:
    """Random rows of the case's shape, and classes that depend on them; for a model that reconstructs, the rows are the targets."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((_ROWS, math.prod(case.row)))
    y = (x @ rng.standard_normal((x.shape[1], _CLASSES))).argmax(1)
    dataset = dataset_from_arrays(x, y, "multiclass", row_shape=case.row)
    model = model_named(parse_spec(str(case.settings["model"]), what=mention("model")))
    return reconstruction_dataset(dataset) if model.reconstructs else dataset


def _runs(case: EngineCase, dataset: Dataset, dtype: str) -> list[Run]:
    settings = complete_settings(RunSettings.from_values({**_SHARED, **case.settings, "dtype": dtype}))
    settings = settings_for_data(settings, dataset)
    return [
        Run(f"{lr!r}|{seed}", repr(lr), seed, settings.model_copy(update={"lr": lr}))
        for seed in _SEEDS
        for lr in _RATES[case.about]
    ]


def _train(runs: Sequence[Run], engine: str, dataset: Dataset, machine: Machine) -> list[Fitted]:
    asked = [replace(run, settings=run.settings.model_copy(update={"engine": engine})) for run in runs]
    finished: list[Fitted] = []
    execute(asked, Sources(dataset), machine, Hooks(finished.extend, keep_weights=True))
    by_id = {fitted.record.run.run_id: fitted for fitted in finished}
    return [by_id[run.run_id] for run in runs]
