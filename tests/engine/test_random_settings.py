"""Random settings over the whole catalogue: whatever goes together trains natively as in the plain loop, number for number.

What is drawn is a whole command: data, split and noise, model, activation, init, loss, optimizer, schedule and every way to
train, each ingredient with random keys. The tables of the catalogue say what there is to draw, so a new ingredient is drawn
as soon as it has its line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from problems import SOURCES, runs_of, trained

from nnlab.catalog.activations import ACTIVATIONS
from nnlab.catalog.averages import AVERAGES
from nnlab.catalog.entry import Key, keys
from nnlab.catalog.inits import INITS
from nnlab.catalog.losses import LOSSES
from nnlab.catalog.metrics import METRICS
from nnlab.catalog.optimizers import OPTIMIZERS
from nnlab.catalog.schedules import SCHEDULES
from nnlab.core.errors import DataError, UsageError
from nnlab.core.spec import Spec
from nnlab.engine.choice import is_native
from nnlab.engine.outcomes import Fitted
from nnlab.engine.program import layers_of
from nnlab.networks.models import MODELS

Strategy = st.SearchStrategy[Any]

# Few rows, so that a training takes milliseconds; most have a last batch that is short.
DATA: Final[Mapping[str, Sequence[str]]] = {
    "regression": [
        "linear_regression:samples=45:features=3",
        "sine:samples=45",
        "location:samples=40",
        "chebyshev",
        "quadratic:samples=32:dimension=3",
        "double_well",
    ],
    "counts": ["counts:samples=45:features=3"],
    "binary": ["moons:samples=45", "circles:samples=45", "xor:samples=45", "spirals:samples=45"],
    "multiclass": ["blobs:samples=45:std=3:features=3:classes=4", "spirals:samples=60:classes=3", "iris"],
    "series": ["blobs:samples=45:std=3:features=12:classes=3"],
    "images": ["digits:image=true"],
}
ROWS: Final = {"series": (12,), "images": (1, 8, 8)}  # their shape; a few features elsewhere
TABLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "activation": ACTIVATIONS,
    "init": INITS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}

# Values of a key by its kind, moderate ones: three steps must not blow a rounding up.
OF_KIND: Final[Mapping[str, Sequence[str]]] = {
    "Number": ["-0.5", "0", "0.3", "1"],
    "Positive": ["0.3", "0.9", "1", "2"],
    "NonNegative": ["0", "0.1", "1"],
    "Fraction": ["0", "0.3", "0.9"],
    "Probability": ["0.1", "0.5", "0.9"],
    "Count": ["1", "2", "5"],
    "Whole": ["0", "1", "3"],
    "Flag": ["true", "false"],
    "Gain": ["0.7", "1", "auto"],
    "Sizes": ["6", "7x5"],
}
# Those of which the kind does not say enough: words and sequences, and where only some make sense.
OF_KEY: Final[Mapping[str, Sequence[str]]] = {
    "mlp.norm": ["layer", "batch"],
    "channels": ["2", "2x3"],
    "kernel": ["3"],
    "stride": ["1", "2"],
    "padding": ["1"],
    "pool": ["max", "mean", "none"],
    "norm": ["none", "batch", "group"],
    "groups": ["1"],
    "layers": ["1", "2"],
    "gelu.approximate": ["none", "tanh"],
    "hardtanh.min_val": ["-1", "-0.5"],
    "hardtanh.max_val": ["0.5", "2"],
    "constant.val": ["-0.3", "0.1"],
    "normal.std": ["0.1", "0.5"],
    "truncated_normal.std": ["0.1", "0.5"],
    "uniform.a": ["-0.6", "-0.3"],
    "uniform.b": ["0.2", "0.6"],
    "truncated_normal.a": ["-2", "-0.7"],
    "truncated_normal.b": ["0.7", "2"],
    "kaiming_uniform.mode": ["fan_in", "fan_out"],
    "kaiming_normal.mode": ["fan_in", "fan_out"],
    "lambda.lr_lambda": ["0.5**epoch", "1/(1+epoch)"],
    "multiplicative.lr_lambda": ["0.9"],
    "multi_step.milestones": ["1", "1x2"],
    "cyclic.mode": ["triangular", "triangular2", "exp_range"],
    "cyclic.gamma": ["0.9", "1"],
    "one_cycle.total_steps": ["12", "40"],
    "one_cycle.anneal_strategy": ["cos", "linear"],
    "reduce_on_plateau.threshold_mode": ["rel", "abs"],
    # PyTorch's SGD makes its buffer at the first step whose momentum is not 0, so these stay above 0.
    "base_momentum": ["0.5", "0.8"],
    "max_momentum": ["0.85", "0.95"],
    # Below, the running mean square is the square of the running mean, and their difference rounding.
    "rmsprop.alpha": ["0.9", "0.99"],
    "cyclic.base_lr": ["0", "0.001"],
    "betas": ["0.9x0.999", "0.7x0.95"],
    # Rules that divide by the gradient's size: by the default eps of 1e-8 they blow a gradient that is zero but for
    # rounding (1e-17, where rows cancel) up to 1e-9.
    "eps": ["1e-4", "1e-3"],
    "initial_accumulator_value": ["0.1", "0.5"],
}
ALWAYS: Final = frozenset({"eps", "initial_accumulator_value", "channels", "kernel", "padding", "uniform.a"})


def values_of(name: str, key: Key) -> Sequence[str]:
    """The values that a key is drawn from; None for a word without a line here, which keeps its default."""
    return OF_KEY.get(f"{name}.{key.name}") or OF_KEY.get(key.name) or OF_KIND.get(key.kind, ())


@st.composite
def specs(draw: st.DrawFn, table: Mapping[str, Any], names: Sequence[str] | None = None) -> str:
    """An ingredient of the table with some of its keys."""
    name = draw(st.sampled_from(sorted(table) if names is None else names))
    parts = [name]
    for key in keys(table[name].function).values():
        values = values_of(name, key)
        if values and (key.required or ALWAYS & {key.name, f"{name}.{key.name}"} or draw(st.booleans())):
            parts.append(f"{key.name}={draw(st.sampled_from(values))}")
    return ":".join(parts)


def models_for(row: tuple[int, ...]) -> list[str]:
    """The models that take rows of this shape."""
    found = []
    for name, entry in MODELS.items():
        with suppress(UsageError):
            entry.function(row, 2, Spec("relu"))
            found.append(name)
    return found


MODELS_FOR: Final = {kind: models_for(ROWS.get(kind, (3,))) for kind in DATA}


@st.composite
def models(draw: st.DrawFn, names: Sequence[str]) -> str:
    """A model; an mlp with hidden= or with width= and depth=, narrow either way."""
    name, *options = draw(specs(MODELS, names)).split(":")
    if name == "mlp":
        sizes = draw(st.sampled_from(["hidden=6", "hidden=7x5", "width=4:depth=1", "width=6:depth=3"]))
        options = [sizes, *(o for o in options if o.partition("=")[0] not in ("hidden", "width", "depth"))]
    if "norm=batch" in options:
        # A shift before a batch norm has gradient 0, and its rounding is all that lion or adam would see.
        options = [*(option for option in options if not option.startswith("bias=")), "bias=false"]
    return ":".join([name, *options])


def ways_to_train(kind: str, optimizer: str) -> dict[str, Strategy]:
    """Settings that may be given beside the ingredients."""
    ways: dict[str, Strategy] = {
        "average": specs(AVERAGES),
        "warmup": st.integers(1, 3),
        "clip_norm": st.sampled_from([0.05, 1.0]),
        "weight_decay": st.sampled_from([0.0, 0.03]),
    }
    if "weight_decay" in optimizer:
        del ways["weight_decay"]
    if kind not in ("regression", "counts"):
        ways |= {"label_noise": st.just(0.2), "split": st.just("stratified"), "class_weights": st.just("balanced")}
    elif kind == "regression":
        ways |= {"outliers": st.just("0.1:scale=5")}
    return ways


def is_level(drawn: Mapping[str, object]) -> bool:
    """True if units, or all weights of a unit, start alike."""
    return str(drawn["init"]).startswith(("zeros", "constant", "sparse"))


def is_firm(drawn: Mapping[str, object]) -> bool:
    """True if no sign, kink or maximum depends on a number that is 0 except for rounding, where sums cancel."""
    model, is_lion = str(drawn["model"]), str(drawn["optimizer"]).startswith("lion")
    if is_level(drawn) and ("class_weights" in drawn or model.startswith(("conv", "cnn", "lenet"))):
        return False  # balanced classes cancel; of equal channels a pool takes one
    if model == "point" and (is_lion or "early_stop" in drawn):
        return False  # the same scores everywhere: slopes that cancel, losses that stay
    if is_lion and (is_level(drawn) or "norm=" in model or "class_weights" in drawn):
        return False
    return not (
        drawn["data"] == "chebyshev" and "norm=" in model
    )  # evenly spaced: the mean of a batch is one of its rows


@st.composite
def experiments(draw: st.DrawFn) -> dict[str, object]:
    """Settings of a run, as a person would write them; a few of them can't be meant, and are refused."""
    kind = draw(st.sampled_from(sorted(DATA)))
    task = {"counts": "regression", "series": "multiclass", "images": "multiclass"}.get(kind, kind)
    losses = [name for name, loss in LOSSES.items() if task in loss.tasks and loss.raw_targets == (kind == "counts")]
    drawn: dict[str, object] = {name: draw(specs(table)) for name, table in TABLES.items()}
    drawn |= {
        "model": draw(models(MODELS_FOR[kind])),
        "loss": draw(specs(LOSSES, losses)),
        "data": draw(st.sampled_from(DATA[kind])),
    }
    for name, way in ways_to_train(kind, str(drawn["optimizer"])).items():
        if draw(st.booleans()):
            drawn[name] = draw(way)
    if draw(st.booleans()):
        drawn |= {"validation": 0.2, "early_stop": 1}
    else:
        drawn |= {"validation": draw(st.sampled_from([0.0, 0.2]))}
    assume(is_firm(drawn))
    return drawn | {
        "lr": draw(st.sampled_from([0.003, 0.03])),
        "batch_size": draw(st.sampled_from([7, 16, "full"])),
        "shuffle": draw(st.booleans()),
        "standardize": draw(st.booleans()),
        "test": draw(st.sampled_from([0.0, 0.2])),
        "epochs": 2,
        "steps": draw(st.sampled_from([1, 3, 4])),
        "dtype": "float64",
    }


def difference(native: Fitted, loop: Fitted, *, has_ties: bool = False) -> tuple[float, str]:
    """The largest relative difference of a parameter, a curve or a score, and whose it is.

    Where scores tie but for rounding, nothing is said of metrics: the larger of two decides them.
    """
    one, other = native.record, loop.record
    assert (one.status, one.diverged_step, one.steps) == (other.status, other.diverged_step, other.steps)
    if one.status == "diverged":  # on the way there a rounding grows with the loss
        return 0.0, ""
    assert native.weights is not None
    assert loop.weights is not None
    pairs: dict[str, tuple[list[float], list[float]]] = {
        name: (value.flatten().tolist(), loop.weights[name].flatten().tolist())
        for name, value in native.weights.items()
    }
    pairs |= {f"curve {name}": (list(one.curves[name]), list(values)) for name, values in other.curves.items()}
    pairs |= {f"score {name}": ([one.scores[name]], [value]) for name, value in other.scores.items()}
    compared = {name: pair for name, pair in pairs.items() if not (has_ties and name.partition("_")[2] in METRICS)}
    return max((_relative(found, wanted), name) for name, (found, wanted) in compared.items())


def _relative(found: Sequence[float], wanted: Sequence[float]) -> float:
    assert [math.isnan(value) for value in found] == [math.isnan(value) for value in wanted]
    pairs = [(a, b) for a, b in zip(found, wanted, strict=True) if not math.isnan(b)]
    # At least of unit size, as rows and weights are: what is 0 but for rounding has no size of its own.
    size = max([1.0, *(abs(b) for _, b in pairs)])
    return max((abs(a - b) for a, b in pairs), default=0.0) / size


@settings(max_examples=200, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(experiments())
def test_random_settings_train_natively_as_in_the_plain_loop(asked):
    try:
        (run,) = runs_of(asked, seeds=[1])
        layers = layers_of(run.settings, SOURCES.shape(run))
        (native,) = trained([run], engine="native" if is_native(layers) else "vmap").values()
    except (UsageError, DataError):
        reject()
    (loop,) = trained([run], engine="loop").values()
    worst, name = difference(native, loop, has_ties=is_level(asked))
    # The bound of whole trajectories, where the problem is not chaotic. Rounding is at 1e-15 as a rule, a wrong term at 1e-8 or more.
    assert worst < 1e-10, name


def test_every_ingredient_can_be_drawn():
    for table in (*TABLES.values(), MODELS, LOSSES, AVERAGES):
        for name, entry in table.items():
            assert all(values_of(name, key) for key in keys(entry.function).values() if key.required)
    assert set(MODELS) == {name for names in MODELS_FOR.values() for name in names}
