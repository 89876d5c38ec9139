"""Everything in the catalogue, and PyTorch's own layers, as subjects of a gradient check.

Points are normal draws with the places beside them where activations and losses have their kinks: 0, 1, 3, a residual of
nothing. Slopes and gradients that the catalogue writes by hand are subjects of their own (`relu slope`, `l1 gradient`).

C scores of a row, B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from nnlab.catalog.activations import ACTIVATIONS, Activation
from nnlab.catalog.entry import keys
from nnlab.catalog.links import LINKS
from nnlab.catalog.losses import LOSSES, Loss
from nnlab.core.rng import stream
from nnlab.diagnostics.gradcheck.subjects import Subject, Tensors, of_module

_KINKS: Final = (-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0)
_CLASSES: Final = 4
_ROWS: Final = 6


def activation_subjects() -> Iterator[Subject]:
    """Every activation, and every slope written by hand, at normal draws and at its kinks."""
    z = torch.cat([_normal(24), torch.tensor(_KINKS, dtype=torch.float64)])
    for name, row in ACTIVATIONS.items():
        function = partial(row.function, **_defaults(row.function))
        yield Subject(f"activation {name}", partial(_applied, function, "z"), {"z": z})
        yield Subject(f"activation {name} slope", partial(_applied, function, "z"), {"z": z}, {}, _by_slope(row))


def loss_subjects() -> Iterator[Subject]:
    """Every loss of every task it serves, and every gradient written by hand."""
    for name, row in LOSSES.items():
        for task, outputs in row.outputs.items():
            count = 1 if outputs == "one" else _CLASSES
            scores, targets = _scored(task, count, raw=row.raw_targets)
            function = partial(row.function, **_defaults(row.function))
            call = partial(_lost, function)
            yield Subject(f"loss {name} ({task})", call, {"scores": scores}, {"targets": targets})
            if row.gradient is not None:
                yield Subject(
                    f"loss {name} gradient ({task})", call, {"scores": scores}, {"targets": targets}, _by_gradient(row)
                )


def link_subjects() -> Iterator[Subject]:
    """Every link, for one score and for several."""
    for name, link in LINKS.items():
        for count in (1, _CLASSES):
            scores = _normal(count, _ROWS)
            yield Subject(
                f"link {name} ({count} scores)", partial(_applied, link.function, "scores"), {"scores": scores}
            )


def layer_subjects() -> Iterator[Subject]:
    """PyTorch's own layers: parameters and inputs."""
    for name, (make, shape) in LAYERS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a layer takes no generator
            module = make().double()
        yield of_module(_First(module), [_normal(*shape)], name=f"layer {name}")


def catalogue_subjects() -> Iterator[Subject]:
    """All of the above."""
    yield from activation_subjects()
    yield from loss_subjects()
    yield from link_subjects()
    yield from layer_subjects()


class _First(nn.Module):
    """A module that gives a tuple (a recurrent layer, an attention), cut down to its first output."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """The module's output, or the first of several."""
        output = self.inner(x, x, x) if isinstance(self.inner, nn.MultiheadAttention) else self.inner(x)
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result


LAYERS: Final[Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]] = {
    "Linear": (lambda: nn.Linear(5, 3), (4, 5)),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 2, 9)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 5, 5)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(2, 3, 3), (2, 2, 5)),
    "LayerNorm": (lambda: nn.LayerNorm(6), (4, 6)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (7, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (3, 4, 5)),
    "Dropout": (lambda: nn.Dropout(0.4), (5, 6)),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), (2, 3, 8)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (2, 2, 4, 4)),
    "AvgPool1d": (lambda: nn.AvgPool1d(2), (2, 3, 8)),
    "PReLU": (lambda: nn.PReLU(3), (4, 3)),
    "Softmax": (lambda: nn.Softmax(1), (4, 5)),
    "RNN": (lambda: nn.RNN(3, 4, batch_first=True), (2, 5, 3)),
    "GRU": (lambda: nn.GRU(3, 4, batch_first=True), (2, 5, 3)),
    "LSTM": (lambda: nn.LSTM(3, 4, batch_first=True), (2, 5, 3)),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), (2, 3, 4)),
}


def _applied(function: Callable[[Tensor], Tensor], argument: str, tensors: Tensors) -> Tensor:
    return function(tensors[argument])


def _lost(function: Callable[[Tensor, Tensor], Tensor], tensors: Tensors) -> Tensor:
    return function(tensors["scores"], tensors["targets"])


def _by_slope(row: Activation) -> Callable[[Tensors, Tensor], Mapping[str, Tensor]]:
    values = _defaults(row.function)

    def backward(tensors: Tensors, upstream: Tensor) -> Mapping[str, Tensor]:
        z = tensors["z"]
        given = row.function(z, **values) if row.slope_of == "output" else z
        return {"z": upstream * row.slope(given, **values)}

    return backward


def _by_gradient(row: Loss) -> Callable[[Tensors, Tensor], Mapping[str, Tensor]]:
    values = _defaults(row.function)
    assert row.gradient is not None
    gradient = row.gradient

    def backward(tensors: Tensors, upstream: Tensor) -> Mapping[str, Tensor]:
        return {"scores": upstream.unsqueeze(-2) * gradient(tensors["scores"], tensors["targets"], **values)}

    return backward


def _defaults(function: Callable[..., object]) -> dict[str, object]:
    return {name: key.default for name, key in keys(function).items()}


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=stream(len(shape), "init"), dtype=torch.float64)


def _scored(task: str, count: int, *, raw: bool) -> tuple[Tensor, Tensor]:
    """Scores [C, B] and targets [B], or [C, B]; where targets are numbers the first score is exactly its target."""
    scores = _normal(count, _ROWS)
    if task == "multiclass":
        return scores, torch.arange(_ROWS) % _CLASSES
    if task == "binary":
        return scores, torch.arange(_ROWS) % 2
    if task == "reconstruction":
        targets = scores.flip(-1)
        targets[0, 0] = scores[0, 0]
        return scores, targets
    targets = torch.arange(_ROWS, dtype=torch.float64) if raw else _normal(_ROWS)
    if not raw:
        scores[0, 0] = targets[0]
    return scores, targets
