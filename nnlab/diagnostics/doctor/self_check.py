"""Batched runs against a plain torch.optim loop: every family of models, every optimizer and every engine, on one device.

Both start from the same weights and see the same batches and dropout masks; all else is computed in two ways. Few steps on small
networks: rounding then stays where it is, and a wrong term shows.
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

Row = tuple[int, ...]

# Rounding was seen to make 3e-14 and 4e-6 at most; a gradient wrong by 1 % makes 1e-3.
TOLERANCES: Final[Mapping[str, float]] = {"float64": 1e-11, "float32": 1e-4}
ENGINES: Final[tuple[str, ...]] = tuple(name for name in get_args(EngineName) if name != "loop")

_FLAT: Final[Row] = (3,)
_SERIES: Final[Row] = (2, 12)
_IMAGE: Final[Row] = (2, 6, 6)
_CLASSES: Final = 3
_ROWS: Final = 45  # batches of 16, 16 and 13: the last one is short
_SHARED: Final[Mapping[str, object]] = {
    "activation": "tanh",  # no gradient of it vanishes, so that a rule which divides by the gradient's size magnifies no rounding
    "batch_size": 16,
    "epochs": 2,
    "validation": 0,
    "test": 0,
}
# Large enough that a term wrong by 1 % moves a weight by more than the tolerance.
_RATES: Final[Mapping[str, tuple[float, ...]]] = {"model": (0.1, 0.3), "optimizer": (0.01, 0.03)}
_SEEDS: Final = (0, 1)
_TRIED_ROWS: Final = 5

# Of every family what its layers can be, as small as it may be; biases before a batch norm have no gradient but rounding.
SMALL_MODELS: Final[Mapping[str, Sequence[tuple[str, Row]]]] = {
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
class Subject:
    """One thing that is checked: a few runs that differ in rate and seed.

    Attributes:
        about: `model` or `optimizer`.
        name: its specification.
        settings: as a person would write them.
        row: the shape of a row of data.
    """

    about: str
    name: str
    settings: Mapping[str, object]
    row: Row


@dataclass(frozen=True)
class Check:
    """What a check found.

    Attributes:
        verdict: `ok`, `wrong`, or `not batched` where the engine says beforehand that it can't take such a network.
        difference: the largest, relative to the largest entry of its tensor; NaN where nothing came of it.
        tolerance: what rounding may make of it.
        where: the tensor or curve that differs most, or why nothing came of it.
    """

    subject: Subject
    engine: str
    dtype: str
    verdict: str
    difference: float
    tolerance: float
    where: str


def subjects() -> Iterator[Subject]:
    """Every family of models with plain SGD, every optimizer with one small network."""
    for name in MODELS:
        for model, row in SMALL_MODELS[name]:
            yield Subject("model", model, {"model": model}, row)
    for name in OPTIMIZERS:
        yield Subject("optimizer", name, {"model": "mlp:hidden=7x5", "optimizer": name}, _FLAT)


def checks(
    device: torch.device, dtypes: Sequence[str] = tuple(TOLERANCES), of: Iterable[Subject] | None = None
) -> Iterator[Check]:
    """A check of each subject (all, unless named) by each engine in each floating-point type, as they are done."""
    machine = Machine(device, threads=1)
    for subject, dtype in product(subjects() if of is None else of, dtypes):
        dataset = _rows_of(subject)
        runs = _runs(subject, dataset, dtype)
        # Convolutions of cuDNN round to ten bits unless they are told not to.
        with torch.backends.cudnn.flags(allow_tf32=False):
            reference = _trained(runs, "loop", dataset, machine)
            for engine in ENGINES:
                verdict, difference, where = _found(runs, engine, dataset, machine, reference)
                yield Check(subject, engine, dtype, verdict, difference, TOLERANCES[dtype], where)


def _found(
    runs: Sequence[Run], engine: str, dataset: Dataset, machine: Machine, reference: Sequence[Fitted]
) -> tuple[str, float, str]:
    """The verdict on an engine, the largest difference, and where it is."""
    obstacle = _obstacle(runs, engine, dataset)
    if obstacle is not None:
        return "not batched", math.nan, obstacle
    try:
        found = _trained(runs, engine, dataset, machine)
    except RuntimeError as error:  # what PyTorch can't do on this device is a finding, not an end
        return "wrong", math.nan, str(error).partition("\n")[0]
    where, difference = largest_difference(found, reference)
    return "ok" if difference <= TOLERANCES[runs[0].settings.dtype] else "wrong", difference, where


def _obstacle(runs: Sequence[Run], engine: str, dataset: Dataset) -> str | None:
    """Why an engine does not take the network of these runs; None where it does."""
    sources = Sources(dataset)
    program = program_of(runs[0], sources.shape(runs[0]))
    if engine == "native":
        return None if is_native(program.layers) else "no kernel of its own"
    x = torch.from_numpy(sources.parts(runs[0].settings, runs[0].seed).train.x)
    starts = [starting_weights(program, run, x) for run in (runs[0], runs[-1])]
    return vmap_obstacle(program.layers, starts, x[:_TRIED_ROWS], program.dtype)


def largest_difference(found: Sequence[Fitted], wanted: Sequence[Fitted]) -> tuple[str, float]:
    """Where runs trained twice differ most, relative to the largest entry of that tensor or curve; and by how much."""
    each = [pair for one, other in zip(found, wanted, strict=True) for pair in _differences(one, other)]
    return max(each, key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1])


def _differences(found: Fitted, wanted: Fitted) -> Iterator[tuple[str, float]]:
    assert found.weights is not None
    assert wanted.weights is not None
    for name, value in found.weights.items():
        # A running mean may be 0 but for rounding; its scale is that of normalised units.
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


def _rows_of(subject: Subject) -> Dataset:
    """Random rows of the subject's shape, and classes that depend on them; or themselves as targets, for a model that reconstructs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((_ROWS, math.prod(subject.row)))
    y = (x @ rng.standard_normal((x.shape[1], _CLASSES))).argmax(1)
    dataset = dataset_from_arrays(x, y, "multiclass", row_shape=subject.row)
    model = model_named(parse_spec(str(subject.settings["model"]), what=mention("model")))
    return reconstruction_dataset(dataset) if model.reconstructs else dataset


def _runs(subject: Subject, dataset: Dataset, dtype: str) -> list[Run]:
    settings = complete_settings(RunSettings.from_values({**_SHARED, **subject.settings, "dtype": dtype}))
    settings = settings_for_data(settings, dataset)
    return [
        Run(f"{lr!r}|{seed}", repr(lr), seed, settings.model_copy(update={"lr": lr}))
        for seed in _SEEDS
        for lr in _RATES[subject.about]
    ]


def _trained(runs: Sequence[Run], engine: str, dataset: Dataset, machine: Machine) -> list[Fitted]:
    asked = [replace(run, settings=run.settings.model_copy(update={"engine": engine})) for run in runs]
    finished: list[Fitted] = []
    execute(asked, Sources(dataset), machine, Hooks(finished.extend, keep_weights=True))
    by_id = {fitted.record.run.run_id: fitted for fitted in finished}
    return [by_id[run.run_id] for run in runs]
