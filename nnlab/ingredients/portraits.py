"""The portrait of an ingredient: curves, a histogram, the first rows, and facts that need torch or the data."""

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
_SIDE: Final = 100  # inputs and units of the layer in the histogram
_BINS: Final = 60
_ROWS: Final = 5
_MOST_NAMES: Final = 6


@dataclass(frozen=True, eq=False)
class Portrait:
    """The pictures of an ingredient and the facts beside them.

    Attributes:
        facts: further rows `property, value`, in full precision.
        curves: pictures, each a frame with the horizontal axis in its first column.
        histogram: the number of draws in each bin, by the bin's midpoint.
        sample: the first rows of a data set.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    curves: tuple[pd.DataFrame, ...] = ()
    histogram: pd.DataFrame | None = None
    sample: pd.DataFrame | None = None


def _activation_portrait(entry: Activation, _spec: Spec, values: Values) -> Portrait:
    """f and its slope over [-4, 4]."""
    z = torch.linspace(-4.0, 4.0, _POINTS, dtype=torch.float64)
    h = entry.function(z, **values)
    slope = entry.slope(h if entry.slope_of == "output" else z, **values)
    facts = {"slope": first_line(entry.slope), "gain=auto": repr(entry.gain(**values))}
    return Portrait(facts, (_curve_frame({"z": z, "f(z)": h, "slope": slope}),))


def _loss_portrait(entry: Loss, _spec: Spec, values: Values) -> Portrait:
    """The loss of one row and its slope: over the residual for a distance, else over the score for the targets 0 and 1."""
    facts = {"slope": first_line(entry.gradient)} if entry.gradient else {}
    score = torch.linspace(-4.0, 4.0, _POINTS, dtype=torch.float64)
    if entry.is_distance:
        loss, slope = _row_loss(entry, score, 0, values)
        return Portrait(facts, (_curve_frame({"s - y": score, "loss": loss, "slope": slope}),))
    is_one = "one" in entry.outputs.values()
    axis = "score s" if is_one else "scores (0, s)"
    rows = {target: _row_loss(entry, score, target, values) for target in (0, 1)}
    curves = [
        {axis: score, **{f"{name}, y = {target}": rows[target][index] for target in rows}}
        for index, name in enumerate(("loss", "slope"))
    ]
    return Portrait(facts, tuple(map(_curve_frame, curves)))


def _row_loss(entry: Loss, score: Tensor, target: int, values: Values) -> tuple[Tensor, Tensor]:
    """The loss at each score [B], and its slope by that score from autograd, since a loss may have no gradient of its own."""
    score = score.clone().requires_grad_()
    is_one = "one" in entry.outputs.values()
    scores = score.unsqueeze(0) if is_one else torch.stack([torch.zeros_like(score), score])
    loss = entry.function(scores, torch.full(score.shape, target), **values)
    (slope,) = torch.autograd.grad(loss.sum(), score)
    return loss.detach(), slope


def _init_portrait(entry: Init, _spec: Spec, values: Values) -> Portrait:
    """The weights of one layer with 100 inputs and 100 units at seed 0."""
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


def _schedule_portrait(entry: Schedule, spec: Spec, _values: Values) -> Portrait:
    """The rate over the default budget of `nnlab schedule`."""
    settings = ScheduleSettings(schedule=spec)
    rates = schedule_rates(settings)
    curve = pd.DataFrame({"epoch": rates.frame["step"] / settings.steps_per_epoch, "lr": rates.frame["lr"]})
    stalled = f" {STALLED}" if entry.listens else ""
    return Portrait({"picture": f"{rates.title}.{stalled}"}, (curve,))


def _optimizer_portrait(entry: Optimizer, _spec: Spec, _values: Values) -> Portrait:
    """No picture; the names of the tensors that it keeps."""
    return Portrait({"keeps": f"at most {', '.join(entry.state)}: each as large as the parameters"})


def _data_portrait(_entry: Data, spec: Spec, _values: Values) -> Portrait:
    """The size of the data set and its first rows."""
    dataset = load(spec)
    facts = {"rows": str(len(dataset.x)), "features": _count_and_names(dataset.feature_names)}
    facts |= {f"{part} rows": str(len(x)) for part, (x, _) in dataset.given.items()}
    names = dataset.class_names
    y = dataset.y[:_ROWS]
    sample = pd.DataFrame(dataset.x[:_ROWS], columns=list(dataset.feature_names))
    sample[dataset.target_name] = [names[index] for index in y] if names else y
    facts |= {"classes": _count_and_names(names)} if names else {}
    return Portrait(facts, sample=sample)


def _curve_frame(columns: Mapping[str, Tensor]) -> pd.DataFrame:
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def _count_and_names(names: tuple[str, ...]) -> str:
    """`3: setosa, versicolor, virginica`, with at most six names."""
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"{len(names)}: {', '.join(names[:_MOST_NAMES])}{more}"


PORTRAITS: Final[Mapping[str, Callable[[Any, Spec, Values], Portrait]]] = {
    "data": _data_portrait,
    "activations": _activation_portrait,
    "inits": _init_portrait,
    "losses": _loss_portrait,
    "optimizers": _optimizer_portrait,
    "schedules": _schedule_portrait,
}
