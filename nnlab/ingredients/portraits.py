"""What an ingredient looks like: curves, a histogram, the first rows, and numbers that only torch or the data can tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nnlab.catalog.entry import first_line
from nnlab.catalog.inits import resolve_gain
from nnlab.core.kinds import Value
from nnlab.core.lazy import lazy
from nnlab.core.rng import stream
from nnlab.core.spec import Spec
from nnlab.data.loading import load
from nnlab.ingredients.schedule_rates import STALLED, ScheduleSettings, schedule_rates

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from torch import Tensor

    from nnlab.catalog.activations import Activation
    from nnlab.catalog.inits import Init
    from nnlab.catalog.losses import Loss
    from nnlab.catalog.optimizers import Optimizer
    from nnlab.catalog.schedules import Schedule
    from nnlab.data.named_data import Data
else:
    np, pd, torch = lazy("numpy"), lazy("pandas"), lazy("torch")

Values = Mapping[str, Value | None]

_POINTS: Final = 401
_SIDE: Final = 100  # of the weights that a histogram is of
_BINS: Final = 60
_ROWS: Final = 5
_NAMED: Final = 6  # so many features or classes are named


@dataclass(frozen=True, eq=False)
class Portrait:
    """What there is to see of an ingredient.

    Attributes:
        facts: further rows `property, value`, in full precision.
        curves: pictures, each a frame with the axis in its first column.
        histogram: draws in each bin, by the bin's middle.
        sample: the first rows of a data set.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    curves: tuple[pd.DataFrame, ...] = ()
    histogram: pd.DataFrame | None = None
    sample: pd.DataFrame | None = None


def _activation(entry: Activation, _spec: Spec, values: Values) -> Portrait:
    """f and its slope over [-4, 4]."""
    z = torch.linspace(-4.0, 4.0, _POINTS, dtype=torch.float64)
    h = entry.function(z, **values)
    slope = entry.slope(h if entry.slope_of == "output" else z, **values)
    facts = {"slope": first_line(entry.slope), "gain=auto": repr(entry.gain(**values))}
    return Portrait(facts, (_curves({"z": z, "f(z)": h, "slope": slope}),))


def _loss(entry: Loss, _spec: Spec, values: Values) -> Portrait:
    """The loss of one row and its slope: by the residual for a distance, else by the score for the targets 0 and 1."""
    facts = {"slope": first_line(entry.gradient)} if entry.gradient else {}
    score = torch.linspace(-4.0, 4.0, _POINTS, dtype=torch.float64)
    if entry.link == "identity":
        loss, slope = _row_loss(entry, score, 0, values)
        return Portrait(facts, (_curves({"s - y": score, "loss": loss, "slope": slope}),))
    is_one = "one" in entry.outputs.values()
    axis = "score s" if is_one else "scores (0, s)"
    rows = {target: _row_loss(entry, score, target, values) for target in (0, 1)}
    curves = [
        {axis: score, **{f"{name}, y = {target}": rows[target][index] for target in rows}}
        for index, name in enumerate(("loss", "slope"))
    ]
    return Portrait(facts, tuple(map(_curves, curves)))


def _row_loss(entry: Loss, score: Tensor, target: int, values: Values) -> tuple[Tensor, Tensor]:
    """The loss at each score [B], and its slope by that score, from autograd: a loss need not bring its gradient."""
    score = score.clone().requires_grad_()
    is_one = "one" in entry.outputs.values()
    scores = score.unsqueeze(0) if is_one else torch.stack([torch.zeros_like(score), score])
    loss = entry.function(scores, torch.full(score.shape, target), **values)
    (slope,) = torch.autograd.grad(loss.sum(), score)
    return loss.detach(), slope


def _init(entry: Init, _spec: Spec, values: Values) -> Portrait:
    """The weights of one layer of 100 inputs and 100 units at seed 0."""
    shape, values = (_SIDE, _SIDE), resolve_gain(values, "relu")
    weights = entry.function(shape, generator=stream(0, "init"), **values)
    rescaled = ", before training data rescale each layer" if entry.data_dependent else ""
    expected = math.sqrt(entry.variance(shape, **values))
    counts, edges = np.histogram(weights.flatten().numpy(), _BINS)
    facts = {
        "variance": first_line(entry.variance),
        "histogram": f"{_SIDE} x {_SIDE} weights at seed 0{rescaled}",
        "standard deviation": repr(weights.std(correction=0).item()),
        "expected": "" if math.isnan(expected) else repr(expected),
    }
    return Portrait(facts, histogram=pd.DataFrame({"weight": (edges[:-1] + edges[1:]) / 2, "draws": counts}))


def _schedule(entry: Schedule, spec: Spec, _values: Values) -> Portrait:
    """The rate over the budget that `nnlab schedule` has by default."""
    settings = ScheduleSettings(schedule=spec)
    rates = schedule_rates(settings)
    curve = pd.DataFrame({"epoch": rates.frame["step"] / settings.steps_per_epoch, "lr": rates.frame["lr"]})
    heard = f" {STALLED}" if entry.listens else ""
    return Portrait({"picture": f"{rates.title}.{heard}"}, (curve,))


def _optimizer(entry: Optimizer, _spec: Spec, _values: Values) -> Portrait:
    """Nothing to see: what it keeps."""
    return Portrait({"keeps": f"at most {', '.join(entry.state)}: each as large as the parameters"})


def _data(_entry: Data, spec: Spec, _values: Values) -> Portrait:
    """How large the set is, and its first rows."""
    dataset = load(spec)
    facts = {"rows": str(len(dataset.x)), "features": _counted(dataset.feature_names)}
    facts |= {f"{part} rows": str(len(x)) for part, (x, _) in dataset.given.items()}
    names = dataset.class_names
    y = dataset.y[:_ROWS]
    sample = pd.DataFrame(dataset.x[:_ROWS], columns=list(dataset.feature_names))
    sample[dataset.target_name] = [names[index] for index in y] if names else y
    facts |= {"classes": _counted(names)} if names else {}
    return Portrait(facts, sample=sample)


def _curves(columns: Mapping[str, Tensor]) -> pd.DataFrame:
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def _counted(names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)}: {', '.join(names[:_NAMED])}{more}"


PORTRAITS: Final[Mapping[str, Callable[[Any, Spec, Values], Portrait]]] = {
    "data": _data,
    "activations": _activation,
    "inits": _init,
    "losses": _loss,
    "optimizers": _optimizer,
    "schedules": _schedule,
}
