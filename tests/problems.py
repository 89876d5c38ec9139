"""The bank of problems: settings as plain mappings, each with an id, and how a test turns them into finished runs.

Data are small and made here, so that a whole bank trains in seconds; every one is dealt out by the seed like real data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import torch

from nnlab.engine.executors import Machine, execute
from nnlab.engine.hooks import Hooks
from nnlab.engine.outcomes import Fitted
from nnlab.engine.sources import Sources
from nnlab.ingredients.resolve import complete_settings, settings_for_data
from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run

SOURCES: Final = Sources()  # data are loaded and divided once for all tests
CPU: Final = torch.device("cpu")


@dataclass(frozen=True)
class Problem:
    """One configuration: an id, and its settings as a person would write them."""

    name: str
    settings: Mapping[str, object]

    def __str__(self) -> str:
        return self.name


# Trajectories on these are not chaotic: a disturbance in the last place stays there over the steps they take.
CALM: Final = (
    Problem(
        "moons-mlp-sgd", {"data": "moons:samples=200", "model": "mlp:hidden=8x8", "activation": "tanh", "epochs": 20}
    ),
    Problem(
        "moons-mlp-relu-short-last-batch",
        {"data": "moons:samples=150", "model": "mlp:hidden=7x13", "epochs": 10, "batch_size": 33},
    ),
    Problem("quadratic-linear", {"data": "quadratic", "model": "linear", "epochs": 50, "batch_size": "full"}),
    Problem(
        "quadratic-linear-nesterov",
        {
            "data": "quadratic",
            "model": "linear",
            "optimizer": "sgd:momentum=0.9:nesterov=true",
            "epochs": 20,
            "lr": 0.01,
        },
    ),
    Problem(
        "regression-huber-rmsprop-cosine",
        {
            "data": "linear_regression:samples=120",
            "model": "mlp:hidden=9",
            "activation": "softplus",
            "loss": "huber:delta=0.5",
            "optimizer": "rmsprop",
            "schedule": "cosine",
            "lr": 1e-3,
            "epochs": 6,
        },
    ),
    Problem(
        "blobs-adam-step-schedule",
        {
            "data": "blobs:samples=180:std=4",
            "model": "mlp:hidden=12",
            "activation": "sigmoid",
            "optimizer": "adam",
            "schedule": "step:step_size=2",
            "lr": 1e-3,
            "epochs": 5,
            "batch_size": 50,
        },
    ),
    Problem(
        "blobs-layer-norm-residual-plateau",
        {
            "data": "blobs:samples=180:std=4",
            "model": "mlp:width=8:depth=3:residual=true:norm=layer",
            "activation": "gelu",
            "schedule": "reduce_on_plateau:patience=0:threshold=0.2",
            "lr": 0.03,
            "epochs": 6,
        },
    ),
    Problem(
        "moons-dropout-batch-norm-one-cycle",
        {
            "data": "moons:samples=200",
            "model": "mlp:hidden=8x8:norm=batch:dropout=0.2:bias=false",
            "activation": "tanh",
            "schedule": "one_cycle",
            "epochs": 4,
            "batch_size": 40,
        },
    ),
    Problem(
        "moons-stopped-early",
        {
            "data": "moons:samples=200",
            "model": "mlp:hidden=8",
            "activation": "tanh",
            "optimizer": "sgd:momentum=0.9",
            "lr": 0.5,
            "epochs": 25,
            "early_stop": 2,
        },
    ),
    Problem(
        "regression-averaged",
        {
            "data": "linear_regression:samples=120",
            "model": "mlp:hidden=9:norm=batch:bias=false",
            "average": "ema:decay=0.7",
            "lr": 0.02,
            "epochs": 6,
            "batch_size": 30,
        },
    ),
    Problem(
        "counts-poisson-warmup",
        {
            "data": "counts:samples=150",
            "model": "linear",
            "loss": "poisson_nll",
            "lr": 0.01,
            "warmup": 5,
            "epochs": 5,
            "validation": 0,
        },
    ),
)


def run_settings(settings: Mapping[str, object], sources: Sources = SOURCES) -> RunSettings:
    """Complete settings of one run, as a command would make them."""
    complete = complete_settings(RunSettings.from_values(settings))
    return settings_for_data(complete, sources.dataset(complete))


def runs_of(
    settings: Mapping[str, object], *, lrs: Iterable[float] | None = None, seeds: Iterable[int] = (0,), name: str = ""
) -> list[Run]:
    """A run for each seed and rate; its id is `NAME|RATE|SEED`."""
    base = run_settings(settings)
    rates = [base.lr] if lrs is None else list(lrs)
    return [
        Run(f"{name}|{lr!r}|{seed}", repr(lr), seed, base.model_copy(update={"lr": lr}))
        for seed in seeds
        for lr in rates
    ]


def trained(
    runs: Sequence[Run],
    *,
    engine: str = "native",
    threads: int = 1,
    keep_weights: bool = True,
    device: torch.device = CPU,
) -> dict[str, Fitted]:
    """The finished runs by id, computed by `engine`."""
    asked = [Run(run.run_id, run.arm, run.seed, run.settings.model_copy(update={"engine": engine})) for run in runs]
    finished: list[Fitted] = []
    execute(asked, SOURCES, Machine(device, threads), Hooks(finished.extend, keep_weights=keep_weights))
    assert len(finished) == len(runs)
    return {each.record.run.run_id: each for each in finished}


def numbers(fitted: Fitted) -> dict[str, object]:
    """Everything that a run's numbers are, bit for bit: two runs are the same where these are equal.

    A NaN equals no other, so every float stands in its exact spelling.
    """
    record = fitted.record
    weights = fitted.weights or {}
    return {
        "status": record.status,
        "diverged_step": record.diverged_step,
        "steps": record.steps,
        "scores": {name: float(value).hex() for name, value in record.scores.items()},
        "curves": {name: [float(value).hex() for value in values] for name, values in record.curves.items()},
        "weights": {name: value.double().flatten().tolist() for name, value in weights.items()},
    }


Case = dict[str, str]


def pairwise(factors: Mapping[str, Sequence[str]], fits: Callable[[Case], bool]) -> list[Case]:
    """Cases in which every two levels of two factors that go together meet at least once.

    Greedy: each case starts from a pair that no case has yet, and each further factor takes the level that adds most new pairs.

    Args:
        factors: name -> levels.
        fits: whether the levels chosen so far go together; asked of whole cases and of parts.
    """
    wanted = [
        ((one, a), (other, b))
        for one, other in combinations(factors, 2)
        for a in factors[one]
        for b in factors[other]
        if fits({one: a, other: b})
    ]
    open_pairs = dict.fromkeys(wanted)
    cases: list[Case] = []
    while open_pairs:
        case = dict(next(iter(open_pairs)))
        for name in factors:
            if name not in case:
                case[name] = _best_level(case, name, factors[name], open_pairs, fits)
        covered = [pair for pair in _pairs(case, factors) if pair in open_pairs]
        assert covered
        for pair in covered:
            del open_pairs[pair]
        cases.append({name: case[name] for name in factors})
    return cases


Pair = tuple[tuple[str, str], tuple[str, str]]


def _pairs(case: Case, order: Mapping[str, object]) -> list[Pair]:
    return list(combinations([(name, case[name]) for name in order if name in case], 2))


def _best_level(
    case: Case, name: str, levels: Sequence[str], open_pairs: Mapping[Pair, None], fits: Callable[[Case], bool]
) -> str:
    def gain(level: str) -> int:
        both = [(((name, level)), other) for other in case.items()]
        return sum((pair in open_pairs) or (pair[::-1] in open_pairs) for pair in both)

    fitting = [level for level in levels if fits({**case, name: level})]
    return max(fitting, key=gain)
